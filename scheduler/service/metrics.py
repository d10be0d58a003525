"""What Prometheus sees. Names and labels are a contract with dashboards; no label is a job id or a user's text."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from msgspec import Struct, field
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from scheduler import __version__
from scheduler.engine.records import Attempt, JobRecord
from scheduler.engine.state import State
from scheduler.model.events import (
    Allocated,
    AttemptEnded,
    AttemptProgressed,
    Event,
    JobSubmitted,
    StopOrdered,
)
from scheduler.model.lifecycle import TERMINAL, AttemptEnd, JobState, StopCause
from scheduler.model.plan import Plan
from scheduler.model.units import US_PER_S
from scheduler.service.rule_metrics import RULE_METRIC_NAMES, RuleGauges, rule_families

__all__ = ["count_jobs", "Gauges", "METRIC_NAMES", "Metrics"]

METRIC_NAMES: Final = (
    "dualtrack_build_info",
    "dualtrack_cycle_gap_ratio",
    "dualtrack_cycle_seconds",
    "dualtrack_devices",
    "dualtrack_domestic_device_share_ratio",
    "dualtrack_emulated_overruns_total",
    "dualtrack_executor_up",
    "dualtrack_job_run_seconds",
    "dualtrack_job_wait_seconds",
    "dualtrack_jobs",
    "dualtrack_jobs_finished_total",
    "dualtrack_jobs_submitted_total",
    "dualtrack_journal_commit_seconds",
    "dualtrack_preemptions_total",
    "dualtrack_quota_devices",
    "dualtrack_rate_observed_ratio",
    "dualtrack_restarts_total",
    "dualtrack_slow_nodes",
    "dualtrack_waiting_reasons",
    *RULE_METRIC_NAMES,
)

_LONG: Final = (1, 5, 15, 60, 300, 900, 3_600, 4 * 3_600, 12 * 3_600, 86_400, 3 * 86_400, 7 * 86_400, 30 * 86_400)
_SHORT: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


Key = tuple[str, ...]


class Gauges(Struct, frozen=True, kw_only=True):
    """Everything that is counted when asked, by the values of the labels."""

    jobs: Mapping[tuple[str, str], int] = field(default_factory=dict)  # state, tenant
    devices: Mapping[tuple[str, str, str], int] = field(default_factory=dict)  # cell, accelerator, state
    quota: Mapping[tuple[str, str, str], float] = field(default_factory=dict)  # tenant, resource, kind
    reasons: Mapping[str, int] = field(default_factory=dict)
    executors: Mapping[str, bool] = field(default_factory=dict)
    domestic: float = 0.0
    rates: Mapping[tuple[str, str], float] = field(default_factory=dict)  # accelerator, class of work
    slow_nodes: Mapping[tuple[str, str], int] = field(default_factory=dict)  # cell, accelerator
    rules: RuleGauges = RuleGauges()


class _Asked(Collector):
    """Gauges of one scrape, from one consistent state."""

    def __init__(self, gauges: Callable[[], Gauges]) -> None:
        self._gauges = gauges

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return ()

    def collect(self) -> Iterator[Metric]:
        found = self._gauges()
        yield _family("jobs", "Jobs by state", ("state", "tenant"), found.jobs.items())
        yield _family(
            "devices",
            "Devices by use: used, idle, foreign or unavailable",
            ("cell", "accelerator", "state"),
            found.devices.items(),
        )
        yield _family("quota_devices", "Nominal and used quota", ("tenant", "resource", "kind"), found.quota.items())
        yield _family(
            "waiting_reasons", "Waiting jobs by reason", ("reason",), (((k,), v) for k, v in found.reasons.items())
        )
        yield _family(
            "executor_up",
            "Whether the cell's executor answers",
            ("cell",),
            (((k,), v) for k, v in found.executors.items()),
        )
        share = GaugeMetricFamily(
            "dualtrack_domestic_device_share_ratio", "Domestic devices over all installed devices", value=found.domestic
        )
        yield share
        yield _family(
            "rate_observed_ratio",
            "Observed over modelled rate of running jobs",
            ("accelerator", "work_class"),
            found.rates.items(),
        )
        slow = found.slow_nodes.items()
        yield _family("slow_nodes", "Nodes slower than others of their kind", ("cell", "accelerator"), slow)
        yield from rule_families(found.rules)


def _family(name: str, text: str, labels: tuple[str, ...], values: Iterable[tuple[Key, float]]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"dualtrack_{name}", text, labels=labels)
    for key, value in sorted(values):
        family.add_metric(key, float(value))
    return family


class Metrics:
    """Counts events as they are folded (in the engine's thread), and gauges when they are scraped."""

    def __init__(self, gauges: Callable[[], Gauges]) -> None:
        self._registry = CollectorRegistry()
        r = self._registry
        labels = ("tenant", "job_class")
        self._wait = Histogram("dualtrack_job_wait_seconds", "Wait before a start", labels, registry=r, buckets=_LONG)
        self._run = Histogram(
            "dualtrack_job_run_seconds", "Time on devices per attempt", ("tenant",), registry=r, buckets=_LONG
        )
        self._submitted = Counter("dualtrack_jobs_submitted", "Jobs accepted", ("tenant",), registry=r)
        self._finished = Counter("dualtrack_jobs_finished", "Jobs ended", ("tenant", "outcome"), registry=r)
        self._preempted = Counter("dualtrack_preemptions", "Attempts told to yield", ("tenant",), registry=r)
        self._restarts = Counter(
            "dualtrack_restarts", "Attempts after the first, by what ended the one before", ("cause",), registry=r
        )
        self._overruns = Counter("dualtrack_emulated_overruns", "Emulated steps slower than their pace", registry=r)
        self._cycle = Histogram("dualtrack_cycle_seconds", "Time of one decision", registry=r, buckets=_SHORT)
        self._gap = Gauge("dualtrack_cycle_gap_ratio", "Proven distance from the optimum", ("policy",), registry=r)
        self._commit = Histogram(
            "dualtrack_journal_commit_seconds", "Time of one durable commit", registry=r, buckets=_SHORT
        )
        self._policy = ""
        Gauge("dualtrack_build_info", "The version that runs", ("version",), registry=r).labels(__version__).set(1)
        r.register(_Asked(gauges))

    def text(self) -> bytes:
        """The exposition format. Raises what asking for the gauges raises."""
        return generate_latest(self._registry)

    def before(self, state: State, event: Event, now_us: int) -> None:
        """What an event changes, counted while the state still shows the old."""
        if isinstance(event, JobSubmitted):
            self._submitted.labels(event.spec.tenant).inc()
            return
        attempt = _current(state, event)
        if isinstance(event, Allocated):
            self._count_start(state.jobs[event.job], now_us)
        elif attempt is None:
            return
        elif isinstance(event, StopOrdered):
            if event.cause is StopCause.PREEMPT and attempt.stop is not StopCause.PREEMPT:
                self._preempted.labels(state.jobs[event.job].spec.tenant).inc()
        elif isinstance(event, AttemptProgressed):
            self._overruns.inc(max(0, event.overruns - attempt.overruns) if event.seq > attempt.seq else 0)

    def after(self, state: State, event: Event, now_us: int) -> None:
        """The end of a job, and of an attempt, as the state shows it now."""
        job_number = getattr(event, "job", None)
        if job_number is None or not 0 <= job_number < len(state.jobs):
            return
        job = state.jobs[job_number]
        if job.state in TERMINAL and job.ended_us == now_us and not isinstance(event, JobSubmitted):
            self._finished.labels(job.spec.tenant, str(job.state)).inc()
        if isinstance(event, AttemptEnded):
            attempt = _current(state, event)
            if attempt is not None and attempt.ended_us == now_us and attempt.started_us is not None:
                self._run.labels(job.spec.tenant).observe((now_us - attempt.started_us) / US_PER_S)

    def planned(self, policy: str, plan: Plan) -> None:
        """How far from the optimum a decision may be, under the policy in force; nothing where it proves none."""
        if self._policy != policy or plan.gap is None:
            self._gap.clear()
        self._policy = policy
        if plan.gap is not None:
            self._gap.labels(policy).set(plan.gap)

    def cycled(self, cycle_s: float, commit_s: float) -> None:
        self._cycle.observe(cycle_s)
        self._commit.observe(commit_s)

    def _count_start(self, job: JobRecord, now_us: int) -> None:
        waited = max(0, now_us - job.waiting_since_us) / US_PER_S
        self._wait.labels(job.spec.tenant, str(job.spec.job_class)).observe(waited)
        if job.attempts:
            last = job.attempts[-1]
            self._restarts.labels(str(last.stop or last.how or AttemptEnd.LOST)).inc()


def _current(state: State, event: Event) -> Attempt | None:
    """The attempt that the event is about, if it is the job's newest."""
    job, number = getattr(event, "job", -1), getattr(event, "attempt", None)
    if number is None or not 0 <= job < len(state.jobs) or not state.jobs[job].attempts:
        return None
    last = state.jobs[job].attempts[-1]
    return last if last.n == number else None


def count_jobs(jobs: Iterable[JobRecord]) -> dict[tuple[str, str], int]:
    """Jobs by state and tenant; every state of a tenant that has jobs is present."""
    found: dict[tuple[str, str], int] = {}
    for job in jobs:
        if (JobState.WAITING.value, job.spec.tenant) not in found:
            found |= {(state.value, job.spec.tenant): 0 for state in JobState}
        found[job.state.value, job.spec.tenant] += 1
    return found
