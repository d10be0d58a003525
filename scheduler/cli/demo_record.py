"""What a demo leaves behind, as plain values: the table, the summary and the report are drawn from these alone."""

from collections.abc import Iterable, Sequence

from msgspec import Struct

__all__ = ["DemoRecord", "JobLine", "NodeLine", "RequestCount", "Span", "TenantLine", "moves", "ranks_at_once"]


class NodeLine(Struct, frozen=True, kw_only=True):
    name: str
    cell: str
    executor: str
    accelerator: str
    devices: int
    emulated: bool


class Span(Struct, frozen=True, kw_only=True):
    """One attempt on one node: `devices` are its indices there, times in seconds since the demo began.

    `up_s` is when all ranks were up; None when they never were. `ranks` counts its processes on this node.
    """

    job: str
    tenant: str
    attempt: int
    node: str
    accelerator: str
    devices: tuple[int, ...]
    ranks: int
    start_s: float
    up_s: float | None
    end_s: float
    ended: str = ""


class JobLine(Struct, frozen=True, kw_only=True):
    """One job. `forecast_s` and `finished_s` are its end as forecast and as it was, since the demo began.

    `wait_s` counts all its waiting, `run_s` the time in which its ranks were up. `device` is the last it had.
    """

    name: str
    tenant: str
    type: str
    state: str
    device: str
    attempts: int
    preemptions: int
    wait_s: float
    run_s: float
    first_loss: float | None
    loss: float | None
    forecast_s: float | None
    finished_s: float | None
    detail: str = ""

    @property
    def as_it_should(self) -> bool:
        """Work succeeds; a service runs until it is told to stop."""
        return self.state == ("cancelled" if self.type == "inference" else "succeeded")


class TenantLine(Struct, frozen=True, kw_only=True):
    """What a tenant held, in device-seconds, its share of all that was held, and its nominal quota by resource."""

    name: str
    device_s: float
    share: float
    nominal: dict[str, int]


class RequestCount(Struct, frozen=True, kw_only=True):
    sent: int = 0
    answered: int = 0
    failed: int = 0
    p50_ms: float = 0.0
    p99_ms: float = 0.0


class DemoRecord(Struct, frozen=True, kw_only=True):
    """`makespan_s` reaches from the first arrival to the end of the last job that has an end."""

    schema: str = "dualtrack/demo/v1"
    variant: str
    executor: str
    machine: str
    versions: dict[str, str]
    order: str
    forecast_makespan_s: float
    makespan_s: float
    wall_s: float
    rank_starts: int
    ranks_at_once: int
    jobs: tuple[JobLine, ...]
    tenants: tuple[TenantLine, ...]
    nodes: tuple[NodeLine, ...]
    spans: tuple[Span, ...]
    requests: RequestCount

    @property
    def forecast_error(self) -> float:
        """(forecast - actual) / actual of the makespan."""
        return (self.forecast_makespan_s - self.makespan_s) / self.makespan_s if self.makespan_s > 0 else 0.0

    def problems(self) -> tuple[str, ...]:
        """What did not go as it should, one line each; empty when all is well."""
        found = [f"{job.name}: {job.state} {job.detail}".strip() for job in self.jobs if not job.as_it_should]
        if any(job.type == "inference" for job in self.jobs) and not self.requests.answered:
            found.append("the inference service answered no request")
        return tuple(found)


def ranks_at_once(spans: Iterable[Span]) -> int:
    """The most processes that ran at the same time."""
    changes: list[tuple[float, int]] = []
    for span in spans:
        changes += [(span.start_s, span.ranks), (span.end_s, -span.ranks)]
    most = now = 0
    for _, change in sorted(changes):  # at equal times those that leave come first
        now += change
        most = max(most, now)
    return most


def moves(spans: Sequence[Span]) -> tuple[str, ...]:
    """Where each job went that had several attempts: `pretrain: h200 x8, then h20-96 x16`."""
    held: dict[str, dict[int, tuple[str, int]]] = {}
    for span in spans:
        attempts = held.setdefault(span.job, {})
        _, count = attempts.get(span.attempt, ("", 0))
        attempts[span.attempt] = (span.accelerator, count + len(span.devices))
    return tuple(
        f"{job}: " + ", then ".join(f"{name} x{count}" for _, (name, count) in sorted(attempts.items()))
        for job, attempts in held.items()
        if len(attempts) > 1
    )
