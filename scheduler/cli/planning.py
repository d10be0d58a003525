"""The verbs `plan` and `simulate`: what would happen to a job or a workload, by the engine that decides."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from scheduler.cli.humanise import duration, parse_time, when
from scheduler.cli.insight import band, say_changes, say_options, say_rules
from scheduler.cli.output import Format, complain, document, fields, say
from scheduler.cli.selection import FormatOption, HomeOption, ServerOption, connect

if TYPE_CHECKING:
    from scheduler.service.configuration import Sources
    from scheduler.simulator.report import SimulationReport

__all__ = ["plan", "register", "show_plans", "simulate"]

VERDICTS: Final = {
    "starts_now": "starts now",
    "waits": "would wait",
    "after_delivery": "can run only after a delivery",
    "infeasible": "can never run here",
    "denied": "can never be admitted",
}

ClusterOption = Annotated[str, typer.Option(help="Cluster file or shipped name")]
TenantsOption = Annotated[str, typer.Option(help="Tenants file or shipped name")]
ProfilesOption = Annotated[str, typer.Option(help="File of rates and fits that go before the shipped ones")]
RulesOption = Annotated[str, typer.Option(help="Rules file or shipped name")]
PolicyOption = Annotated[str, typer.Option(help="Policy file, shipped name, or the name of a policy")]


def plan(
    files: Annotated[list[str], typer.Argument(help="Job files")],
    cluster: ClusterOption = "",
    tenants: TenantsOption = "",
    rules: RulesOption = "",
    profiles: ProfilesOption = "",
    policy: PolicyOption = "",
    output: FormatOption = Format.TABLE,
    server: ServerOption = None,
    home: HomeOption = None,
) -> None:
    """What would happen to a job: on the running service as it is, or with --cluster on that fleet while it is empty.

    Exit code: 0 starts now, 3 would wait or needs a delivery, 4 infeasible for ever, 5 denied.
    """
    if cluster:
        from scheduler.service.configuration import Sources

        sources = Sources(cluster=cluster, tenants=tenants, rules=rules, policy=policy, profiles=profiles)
        show_plans(_on_empty(files, sources), output)
        return
    from scheduler.cli.submitting import jobs_of_files

    jobs = jobs_of_files(files)
    with connect(server, home) as client:
        found = [client.plan(job) for job in jobs]
    show_plans(found, output)


def _on_empty(files: list[str], sources: "Sources") -> list[dict[str, Any]]:
    import getpass

    import msgspec

    from scheduler.config import load_jobs
    from scheduler.model.events import Actor
    from scheduler.model.tenants import Tenant, Tenants
    from scheduler.service.configuration import configured
    from scheduler.service.plans import plan_on_empty
    from scheduler.service.wallclock import WallClock

    config = configured(sources)
    jobs = [job for file in files for job in load_jobs(Path(file), config.catalog)]
    if not sources.tenants:  # nobody said who there is: whoever the jobs name, without limits
        names = sorted({part for job in jobs for part in _with_parents(job.tenant)} - {""})
        config = msgspec.structs.replace(config, tenants=Tenants(tenants=tuple(Tenant(name=name) for name in names)))
    user = getpass.getuser()
    now_us = WallClock().now_us()
    return [plan_on_empty(config, job, Actor(user, job.tenant, False), now_us) for job in jobs]


def _with_parents(tenant: str) -> list[str]:
    parts = tenant.split("/")
    return ["/".join(parts[: n + 1]) for n in range(len(parts))]


def show_plans(plans: list[dict[str, Any]], output: Format) -> None:
    """Print plans, and leave with the worst of their exit codes."""
    code = max((found["exit_code"] for found in plans), default=0)
    if output is Format.NAME:
        for found in plans:
            say(found["name"])
    elif not document(plans[0] if len(plans) == 1 else plans, output):
        for number, found in enumerate(plans):
            if number:
                say()
            _say_plan(found, output)
    raise typer.Exit(code)


def _say_plan(found: dict[str, Any], output: Format) -> None:
    many = f" ({found['jobs']} jobs)" if found["jobs"] > 1 else ""
    say(f"{found['name']}{many} {VERDICTS[found['verdict']]}.")
    wait = found["wait_s"]
    later = wait is not None and found["verdict"] != "starts_now"
    place = f" (number {found['position']} of {found['waiting']})" if later and found["position"] else ""
    fields(
        (
            ("problem", found["problem"]),
            ("what to do", found["remedy"]),
            ("takes", found["chosen"]),
            ("nodes", ", ".join(found["nodes"])),
            ("waits", f"{duration(wait)}{place}" if later else ""),
            ("starts", when(found["start"]) + band(found, "start") if later else ""),
            ("runs", "" if found["run_s"] is None else duration(found["run_s"])),
            ("ends", when(found["finish"]) + band(found, "finish") if found["finish"] else ""),
            ("rates in", _rates_in(found)),
            ("rates for", _formats(found["formats"])),
            ("run time from", str(found["basis"] or "").replace("_", " ")),
            ("prices", "; ".join(_price(price) for price in found["prices"])),
            ("optimum", _optimum(found["gap"])),
        )
    )
    say_options(found["options"], output)
    for victim in found["victims"]:
        say(f"- {victim['name']} of {victim['tenant']} would leave ({victim['cause']})")
    for quota in found["quota"]:
        tenant = quota["tenant"] or "the fleet"
        say(f"- {tenant}, {quota['resource']}: {quota['before']} of {quota['limit']} before, {quota['after']} after")
    say_rules(found.get("rules", ()))
    say_changes(found["changes"])


def _rates_in(found: dict[str, Any]) -> str:
    """A rate of which only the ratio to others is known counts one H20 as one."""
    known = [option["absolute"] for option in found["options"] if option["rate"]]
    return "" if not known else f"{found['unit']} a second" if all(known) else "H20-equivalents"


def _formats(told: dict[str, str]) -> str:
    """What the job states of its formats and its engine, in words; nothing where it states neither."""
    named = {
        "precision": "",
        "experts_precision": "experts in ",
        "kv_precision": "cache in ",
        "engine": "",
        "runtime": "",
    }
    return ", ".join(f"{word}{told[key]}" for key, word in named.items() if told.get(key))


def _optimum(gap: float | None) -> str:
    """How far the whole choice lies from the best there is, as far as that is proved."""
    return "" if gap is None else "proved" if gap == 0 else f"within {100 * gap:.2g} %"


def _price(price: dict[str, Any]) -> str:
    """A shadow price with what one device more and one less would make of it."""
    return f"{price['row']} {price['price']:.3g} ({price['one_more']:.3g} to {price['one_less']:.3g})"


def simulate(
    cluster: Annotated[str, typer.Option(help="Cluster file or shipped name")],
    workload: Annotated[str, typer.Option(help="Workload file or shipped name; with --rates a trace's job list")],
    tenants: TenantsOption = "",
    rules: RulesOption = "",
    profiles: ProfilesOption = "",
    policy: PolicyOption = "",
    rates: Annotated[str, typer.Option(help="Table of rates of a public trace (Gavel, Sia)")] = "",
    placement: Annotated[str, typer.Option(help="best-fit or spread")] = "",
    seed: Annotated[int, typer.Option(help="Seed of everything that is drawn")] = 0,
    start: Annotated[str, typer.Option(help="When the workload begins, ISO date and time; default: as it says")] = "",
    window: Annotated[str, typer.Option(help="FIRST:LAST: statistics over those jobs only, by arrival")] = "",
    reproducible: Annotated[bool, typer.Option("--reproducible", help="Leave out what the machine decides")] = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Replay a workload in virtual time, with the engine that schedules."""
    import msgspec

    from scheduler.config import load_workload
    from scheduler.service.configuration import Sources, configured, file_of
    from scheduler.simulator.simulate import reproducible as without_machine
    from scheduler.simulator.simulate import simulate as run

    sources = Sources(
        cluster=cluster, tenants=tenants, rules=rules, policy=policy, placement=placement, profiles=profiles
    )
    config = configured(sources)
    if rates:
        from scheduler.simulator.readers.trace import read_trace

        jobs = read_trace(workload, rates)
    else:
        jobs = load_workload(file_of("workload", workload), config.catalog)
    if start:
        jobs = msgspec.structs.replace(jobs, start_us=parse_time(start))
    if rules and not jobs.start_us:
        complain("the workload says no `start`: the rules' dates are held against 1970; give --start")
    if not tenants:
        config = _with_tenants_of(config, jobs)
    report = run(config, jobs, seed=seed, window=_window(window)).report
    if reproducible:
        report = without_machine(report)
    values = {name: value for name, value in msgspec.to_builtins(report).items() if value is not None}
    if document(values, output):
        return
    _say_report(report)


def _with_tenants_of(config: Any, jobs: Any) -> Any:
    """Tenants that the workload names and the configuration lacks exist without limits."""
    import msgspec

    from scheduler.model.tenants import Tenant, Tenants

    known = {tenant.name for tenant in config.tenants.tenants}
    named = {part for arrival in jobs.arrivals for part in _with_parents(arrival.job.tenant)} - known - {""}
    if not named:
        return config
    every = (*config.tenants.tenants, *(Tenant(name=name) for name in sorted(named)))
    return msgspec.structs.replace(config, tenants=Tenants(tenants=every, shortfall=config.tenants.shortfall))


def _window(text: str) -> tuple[int, int] | None:
    from scheduler.errors import UsageError

    if not text:
        return None
    first, colon, last = text.partition(":")
    if not (colon and first.isdecimal() and last.isdecimal() and int(first) < int(last)):
        raise UsageError(f"{text[:40]!r} is not a window", "write it like 200:500; the last is left out")
    return int(first), int(last)


def _gaps(report: "SimulationReport") -> str:
    """How far decisions were from the best there is, as far as their policy proves it."""
    gap = report.gap
    return "" if gap is None else f"within {100 * gap.p50:.2g} % (p50), {100 * gap.p99:.2g} % (p99) of each decision"


def _say_report(report: "SimulationReport") -> None:
    shares = ", ".join(f"{name} {100 * share:.1f} %" for name, share in report.utilization.items())
    fields(
        (
            ("jobs", f"{report.jobs}, of which {report.finished} finished and {report.unfinished} did not"),
            ("completion", _quantiles(report.jct_s)),
            ("waiting", _quantiles(report.wait_s)),
            ("makespan", duration(report.makespan_s)),
            ("devices used", shares),
            ("goodput", f"{report.goodput_h20_equivalents:.1f} H20-equivalents"),
            ("preemptions", f"{report.preemptions}, restarts {report.restarts}, lost {duration(report.lost_work_s)}"),
            ("domestic share", f"{100 * report.domestic_share:.1f} % of device-hours"),
            ("fairness", f"Jain {report.fairness.jain:.3f}, worst finish {report.fairness.finish_time_rho_max:.2f}x"),
            ("decided", f"{report.events} events in {report.cycles} cycles"),
            ("optimum", _gaps(report)),
        )
    )


def _quantiles(values: Any) -> str:
    parts = [(name, getattr(values, name)) for name in ("mean", "p50", "p90", "p99")]
    return ", ".join(f"{name} {duration(value)}" for name, value in parts)


def register(app: typer.Typer) -> None:
    app.command("plan")(plan)
    app.command("simulate")(simulate)
