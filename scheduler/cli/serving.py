"""Verbs that run the service: up and down."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from scheduler.cli.output import Format, complain, say
from scheduler.cli.selection import HomeOption

if TYPE_CHECKING:
    from scheduler.service.configuration import Sources
    from scheduler.service.settings import ServiceFile

__all__ = ["down", "register", "up"]

READY_WITHIN_S: Final = 120.0
GONE_WITHIN_S: Final = 60.0
LOG_FILE: Final = "service.log"
MODES: Final = ("observe", "advise", "enforce")
EXECUTORS: Final = ("ray", "local", "fake")


def up(
    cluster: Annotated[str, typer.Option(help="Cluster file or shipped name; default: as last time, or demo")] = "",
    tenants: Annotated[str, typer.Option(help="Tenants file or shipped name")] = "",
    rules: Annotated[str, typer.Option(help="Rules file or shipped name")] = "",
    profiles: Annotated[str, typer.Option(help="File of rates and fits that go before the shipped ones")] = "",
    policy: Annotated[str, typer.Option(help="Policy file, shipped name, or the name of a policy")] = "",
    executor: Annotated[str, typer.Option(help="ray, local or fake, for every cell")] = "",
    mode: Annotated[str, typer.Option(help="observe, advise or enforce")] = "enforce",
    host: Annotated[str, typer.Option(help="Address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen on; 0: any free one")] = 0,
    journal: Annotated[str, typer.Option(help="Database URL or file; default: SQLite in the home")] = "",
    tls_cert: Annotated[str, typer.Option(help="Certificate file, to serve HTTPS")] = "",
    tls_key: Annotated[str, typer.Option(help="Key file of the certificate")] = "",
    plain_http: Annotated[bool, typer.Option("--plain-http", help="Allow plain HTTP off this machine")] = False,
    ray_address: Annotated[str, typer.Option(help="HOST:PORT of a Ray that others keep; default: start one")] = "",
    ray_token: Annotated[str, typer.Option(help="File with the token of that Ray")] = "",
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay in this process")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what other files would change, start nothing")
    ] = False,
    home: HomeOption = None,
) -> None:
    """Start the service, and return once it accepts work. Where files differ from what is in force, the jobs that would
    be reclaimed or stranded are shown first."""
    from scheduler.errors import UsageError

    if mode not in MODES:
        raise UsageError(f"{mode[:40]!r} is not a mode", f"use {', '.join(MODES)}")
    if executor and executor not in EXECUTORS:
        raise UsageError(f"{executor[:40]!r} is not an executor", f"use {', '.join(EXECUTORS)}")
    given = {
        "cluster": cluster, "tenants": tenants, "rules": rules, "policy": policy, "executor": executor, "mode": mode,
        "host": host, "port": str(port), "journal": journal, "tls-cert": tls_cert, "tls-key": tls_key,
        "ray-address": ray_address, "ray-token": ray_token, "profiles": profiles,
    }  # fmt: skip
    if foreground:
        _serve(given, plain_http, home)
        return
    _show_changes(given, home, applied=not dry_run)
    if not dry_run:
        flags = [part for name, value in given.items() if value for part in (f"--{name}", value)]
        _detach([*flags, *(["--plain-http"] if plain_http else [])], home)


def _sources(given: dict[str, str], place: Path) -> "Sources | None":
    """The files that are named; None: as last time."""
    from scheduler.service.configuration import Sources
    from scheduler.service.settings import JOURNAL_FILE

    parts = {name: given[name] for name in ("tenants", "rules", "policy", "executor", "profiles")}
    named = given["cluster"] or ("" if (place / JOURNAL_FILE).exists() else "demo")
    return Sources(cluster=named, **parts) if named or any(parts.values()) else None


def _show_changes(given: dict[str, str], home: str | None, *, applied: bool) -> None:
    """What the named files change in a home that has a history; nothing is said where nothing changes."""
    from scheduler.cli.quota import show_effects
    from scheduler.service.preview import preview
    from scheduler.service.settings import home_dir

    place = home_dir(home)
    sources = _sources(given, place)
    found = preview(place, given["journal"], sources) if sources is not None else None
    if found is not None:
        say(f"{', '.join(found['parts'])} {'change' if applied else 'would change'}")
        show_effects(found, Format.TABLE, applied=applied)
    elif not applied:
        say("nothing changes")


def _serve(given: dict[str, str], plain_http: bool, home: str | None) -> None:
    import logging

    from scheduler.service.daemon import ServeOptions, serve
    from scheduler.service.modes import RunMode
    from scheduler.service.settings import home_dir
    from scheduler.service.wiring import RayCluster

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    place = home_dir(home)
    serve(
        ServeOptions(
            home=place,
            sources=_sources(given, place),
            mode=RunMode(given["mode"]),
            host=given["host"],
            port=int(given["port"]),
            journal=given["journal"],
            tls_cert=given["tls-cert"],
            tls_key=given["tls-key"],
            plain_http=plain_http,
            ray=RayCluster(given["ray-address"], given["ray-token"]),
        ),
        ready=lambda url: say(f"serving at {url}, home {place}"),
    )


def _detach(flags: list[str], home: str | None) -> None:
    """Start a process of its own session and wait until it accepts work; its failure is ours."""
    from scheduler.errors import UnavailableError
    from scheduler.service.settings import home_dir, read_service

    place = home_dir(home)
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    log_path = place / LOG_FILE
    with open(log_path, "ab", opener=_private) as log:
        start = log.tell()
        command = [sys.executable, "-m", "scheduler.cli.main", "up", "--foreground", "--home", str(place), *flags]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, close_fds=True
        )
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        code = process.poll()
        if code is not None:
            complain(_last_error(log_path, start) or f"error: the service ended with code {code}; see {log_path}")
            raise typer.Exit(code if code > 0 else 1)
        service = read_service(place)
        if service is not None and service.pid == process.pid and _answers(service, home):
            say(f"dualtrack serves {service.cluster} at {service.url} (mode {service.mode}, process {service.pid})")
            return
        time.sleep(0.05)
    process.terminate()
    raise UnavailableError(f"the service was not ready within {READY_WITHIN_S:g} s", f"see {log_path}")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _answers(service: "ServiceFile", home: str | None) -> bool:
    from scheduler.service.client import Client
    from scheduler.service.settings import Endpoint

    with Client(Endpoint(service.url, ""), timeout_s=2.0) as client:
        return client.ready()


def _last_error(log_path: Path, start: int) -> str:
    with log_path.open("rb") as log:
        log.seek(start)
        lines = log.read().decode(errors="replace").splitlines()
    return next((line for line in reversed(lines) if line.startswith("error: ")), "")


def down(home: HomeOption = None) -> None:
    """Stop the service of this home, and a Ray that it started. What runs elsewhere goes on and is adopted later."""
    from scheduler.errors import UnavailableError
    from scheduler.service.settings import forget_service, home_dir, read_service
    from scheduler.service.wiring import reap

    place = home_dir(home)
    service = read_service(place)
    alive = service is not None and _alive(service.pid)
    if service is not None and alive:
        _stop(service, place)
    reaped = reap(place)
    if service is not None and not alive:
        forget_service(place, service.pid)
    if not alive and not reaped:
        raise UnavailableError("no service is running here", "start one with `dualtrack up`")
    say("stopped")


def _stop(service: "ServiceFile", place: Path) -> None:
    """Ask the service to end, and wait until it has."""
    from scheduler.errors import UnavailableError
    from scheduler.service.client import Client
    from scheduler.service.settings import Endpoint

    with Client(Endpoint(service.url, Path(service.token_path).read_text().strip()), timeout_s=10.0) as client:
        client.stop()
    deadline = time.monotonic() + GONE_WITHIN_S
    while _alive(service.pid):
        if time.monotonic() > deadline:
            raise UnavailableError(f"process {service.pid} is still there", f"see {place / LOG_FILE}")
        time.sleep(0.05)


def _alive(pid: int) -> bool:
    """Whether the process exists and is more than an entry that its parent has not collected."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return _signalled(pid)
    return state != "Z"


def _signalled(pid: int) -> bool:
    if Path("/proc/self").exists():
        return False
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def register(app: typer.Typer) -> None:
    for verb in (up, down):
        app.command(verb.__name__)(verb)
