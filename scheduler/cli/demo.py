"""The verb `demo`: a mixed cluster of emulated accelerators that really trains and serves, on this machine."""

import os
import platform
import signal
import time
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Annotated, Final

import typer

from scheduler.cli.demo_collect import recorded
from scheduler.cli.demo_stage import Stage
from scheduler.cli.demo_summary import summarise
from scheduler.cli.output import say

__all__ = ["DemoExecutor", "demo"]

ORDER: Final = (
    "Venus cluster of the Helios traces (CC-BY-4.0): bursts of arrivals, half of the jobs on one device, median length "
    "204 s and 90th percentile 5 h, here about 7 s and 60 s on a square-root scale"
)


class DemoExecutor(StrEnum):
    RAY = "ray"
    LOCAL = "local"


def demo(
    executor: Annotated[DemoExecutor, typer.Option(help="What runs the imported cell")] = DemoExecutor.RAY,
    quick: Annotated[bool, typer.Option("--quick", help="Seven jobs in half a minute")] = False,
    report: Annotated[Path, typer.Option(help="Where the report goes")] = Path("dualtrack-report"),
    keep: Annotated[bool, typer.Option("--keep", help="Keep the home with its journal and logs")] = False,
) -> int:
    """Run a small mixed cluster with real jobs on this machine, end to end, and report."""
    _needs(executor)
    signal.signal(signal.SIGTERM, _interrupted)  # leaves through the same door as Ctrl-C
    stage = Stage(executor)
    try:
        with stage:
            return _perform(stage, executor, quick, report.absolute())
    finally:
        if keep:
            say(f"kept {stage.home}")
        else:
            stage.discard()


def _interrupted(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _needs(executor: DemoExecutor) -> None:
    """Raises UnavailableError for what is not installed."""
    from importlib.util import find_spec

    from scheduler.errors import UnavailableError

    wanted = ["torch", "sklearn", "fastapi", "uvicorn", "httpx"] + (["ray"] if executor is DemoExecutor.RAY else [])
    missing = [name for name in wanted if find_spec(name) is None]
    if missing:
        hint = "pip install 'dualtrack[run,service]'" + ("" if missing != ["ray"] else ", or use --executor local")
        raise UnavailableError(f"the demo needs {', '.join(missing)}", hint)


def _perform(stage: Stage, executor: DemoExecutor, quick: bool, folder: Path) -> int:
    from scheduler.cli.demo_forecast import expect, start_cost_s
    from scheduler.cli.demo_play import play
    from scheduler.cli.demo_report import write_report
    from scheduler.cli.demo_table import Watch
    from scheduler.config import load_catalog, load_workload, shipped
    from scheduler.service.client import Client
    from scheduler.service.settings import find_endpoint

    began = time.monotonic()
    name = "demo-quick" if quick else "demo"
    workload = load_workload(shipped("workload", name), load_catalog())
    say(f"starting {'Ray and ' if executor is DemoExecutor.RAY else ''}the service; H200, H20 and 910C are emulated")
    stage.start()
    expected = expect(workload, "demo", executor, start_cost_s())
    say(f"{len(workload.arrivals)} submissions to come; forecast: done in {expected.makespan_s:.0f} s")
    with Client(find_endpoint(None, str(stage.home), {})) as client, Watch() as watch:
        limit_s = 3 * expected.makespan_s + 60
        played = play(client, workload.arrivals, stage.workdir, limit_s, watch.show)
        about = {"variant": name, "executor": str(executor), "order": ORDER, "machine": _machine()}
        record = recorded(played, expected, client.fleet(), client.tenants(), about, time.monotonic() - began)
    page = write_report(record, folder)
    summarise(record)
    say(f"report: {page}")
    return 1 if record.problems() else 0


def _machine() -> str:
    return f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
