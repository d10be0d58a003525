"""The process `up` starts: recovery, executors, the engine's thread, and the API in the main thread."""

import contextlib
import errno
import gc
import logging
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from getpass import getuser
from pathlib import Path
from types import FrameType
from typing import Final

import uvicorn
from msgspec import Struct, structs

from scheduler import __version__
from scheduler.engine.image import encode
from scheduler.engine.intake import configured as checked
from scheduler.engine.state import State
from scheduler.errors import DualtrackError, PortInUseError, UnavailableError, UsageError
from scheduler.journal.replay import replay
from scheduler.journal.store import open_journal
from scheduler.model.events import Configured
from scheduler.ports import JournalStore
from scheduler.service.api import build_app
from scheduler.service.configuration import Sources, configured
from scheduler.service.desk import Desk
from scheduler.service.feed import KEPT, Feed
from scheduler.service.fleet_views import gauges
from scheduler.service.forecasts import Forecaster
from scheduler.service.identity import Role, TokenStore
from scheduler.service.links import CellLink
from scheduler.service.loop import EngineLoop
from scheduler.service.metrics import Gauges, Metrics
from scheduler.service.modes import RunMode
from scheduler.service.recovery import Recovered, adopted, recover, seen_of
from scheduler.service.rehearsal import rehearse_aside
from scheduler.service.rule_views import rule_gauges
from scheduler.service.settings import (
    JOURNAL_FILE,
    TOKEN_FILE,
    ServiceFile,
    forget_service,
    write_private,
    write_service,
)
from scheduler.service.wiring import Backends, RayCluster

__all__ = ["listening", "new_id", "serve", "ServeOptions", "Service", "spare_collector", "user_name"]

log = logging.getLogger(__name__)

LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
ID_ALPHABET: Final = "abcdefghjkmnpqrstuvwxyz23456789"  # without letters that look like digits
ID_LENGTH: Final = 12

COLLECT_EVERY: Final = (50_000, 20, 50)
"""Objects made and not yet freed between two looks for cycles, and looks between two thorough ones."""


class ServeOptions(Struct, frozen=True, kw_only=True):
    """`sources` None: go on with the configuration of the last time. `journal` empty: SQLite in the home."""

    home: Path
    sources: Sources | None
    mode: RunMode = RunMode.ENFORCE
    host: str = "127.0.0.1"
    port: int = 0
    journal: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    plain_http: bool = False
    ray: RayCluster = RayCluster()


def serve(options: ServeOptions, ready: Callable[[str], None] = lambda url: None) -> None:
    """Run until told to stop; `ready` hears the URL once it answers.

    Raises DualtrackError where it cannot start, or the error that ended it.
    """
    _check_host(options)
    options.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    sources = options.sources
    wanted = configured(sources) if sources is not None and sources.cluster else None
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(listening(options.host, options.port))
        journal = stack.enter_context(contextlib.closing(open_journal(options.journal or options.home / JOURNAL_FILE)))
        if sources is not None and wanted is None:
            wanted = configured(sources, _recorded(journal))
        found = recover(journal, wanted)
        if wanted is not None and wanted != found.state.config:
            checked(found.state, wanted)
        config = wanted or found.state.config
        backends = Backends(options.home, config.cluster, found.clock, options.ray)
        service = Service(options, config, journal, found, backends)
        stack.enter_context(_terminating(service.stop))
        try:
            service.run(listener, ready)
        finally:
            service.close()
        if service.loop.failure is not None:
            raise service.loop.failure


def _recorded(journal: JournalStore) -> Configured:
    """The configuration in force. Raises UnavailableError where there is none yet."""
    found = replay(journal).engine
    if found is None:
        raise UnavailableError("this home holds no state yet", "name a cluster with --cluster")
    return found.state.config


@contextlib.contextmanager
def _terminating(stop: Callable[[], None]) -> Iterator[None]:
    """A SIGTERM ends the serving, and then the process in good order: uvicorn raises the signal again when it is done,
    and by default that would end the process before its checkpoint."""

    def told(number: int, frame: FrameType | None) -> None:
        stop()

    before = signal.signal(signal.SIGTERM, told)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _check_host(options: ServeOptions) -> None:
    if bool(options.tls_cert) != bool(options.tls_key):
        raise UsageError("a certificate and its key belong together", "give both --tls-cert and --tls-key")
    if options.host not in LOOPBACK and not options.tls_cert and not options.plain_http:
        raise UsageError(
            f"tokens would travel in the clear to {options.host}",
            "give --tls-cert and --tls-key, or --plain-http where something in front ends TLS",
        )


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A bound socket; port 0 is any free one. Raises PortInUseError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(128)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortInUseError(f"port {port} of {host} is in use", "free it, or choose another port") from error
            raise UnavailableError(
                f"cannot listen on {host} port {port}: {error.strerror}", "choose another"
            ) from error
        yield listener


class Service:
    """Everything that runs in one process, in the order in which it starts."""

    def __init__(
        self, options: ServeOptions, config: Configured, journal: JournalStore, found: Recovered, backends: Backends
    ) -> None:
        self.options = options
        self.journal = journal
        self.config = config
        self.clock = found.clock
        self._found = found
        self.feed = Feed(self._about)
        self.metrics = Metrics(lambda: self.loop.ask(self._gauges))
        self.loop = EngineLoop(
            found.state, seq=found.seq, epoch=found.epoch, journal=journal, clock=self.clock, mode=options.mode,
            observer=self.metrics, publish=self.feed.publish,
        )  # fmt: skip
        self.loop.on_failure = self.stop
        self.tokens = TokenStore(options.home)
        self.forecaster = Forecaster(self._look, self.clock)
        self.feed.publish(journal.read(max(0, found.seq - KEPT)))
        self.links: dict[str, CellLink] = {}
        self._server: uvicorn.Server | None = None
        self._stopped = False
        try:
            for cell in config.cluster.cells:
                executor = backends.executor(cell)
                self.links[cell.name] = CellLink(cell.name, executor, self.loop.post, self.loop.id_of)
        except DualtrackError:
            self.close()
            raise

    def begin(self) -> None:
        """Adopt what runs, and start the threads."""
        state = self._found.state
        events, commands = adopted(state, self.links, self.clock.now_us())
        for cell, link in self.links.items():
            link.open(seen_of(state, cell))
        self.loop.start(self.links, (*self._found.events, *events), commands)
        self.forecaster.start()

    def run(self, listener: socket.socket, ready: Callable[[str], None]) -> None:
        """Begin, and serve until stopped."""
        self.begin()
        spare_collector()
        rehearse_aside(self.config)
        url = self._url(listener)
        self._announce(url)
        # uvicorn's own handling of signals ends the serving; ours follows after it
        self._server = uvicorn.Server(self._uvicorn(url))
        self._server.should_exit = self._stopped
        watcher = threading.Thread(target=self._tell_when_up, args=(ready, url), name="ready", daemon=True)
        watcher.start()
        try:
            self._server.run(sockets=[listener])
        finally:
            forget_service(self.options.home, os.getpid())

    def stop(self) -> None:
        """Ask the process to end; returns at once."""
        self._stopped = True
        self.feed.close()
        if self._server is not None:
            self._server.should_exit = True

    def close(self) -> None:
        """Let go of everything; attempts go on running."""
        self.feed.close()
        self.forecaster.close()
        self.loop.stop()
        for link in self.links.values():
            link.close()

    def desk(self, url: str) -> Desk:
        """What the API works with."""
        return Desk(
            loop=self.loop, feed=self.feed, tokens=self.tokens, metrics=self.metrics, clock=self.clock,
            forecaster=self.forecaster, journal=self.journal, new_id=new_id, stop=self.stop,
            info={"version": __version__, "cluster": self.config.cluster.name, "url": url, "pid": os.getpid(),
                  "home": str(self.options.home)},
        )  # fmt: skip

    def _uvicorn(self, url: str) -> uvicorn.Config:
        return uvicorn.Config(
            build_app(self.desk(url)), log_level="warning", access_log=False, lifespan="off",
            timeout_graceful_shutdown=5,
            ssl_certfile=self.options.tls_cert or None, ssl_keyfile=self.options.tls_key or None,
            h11_max_incomplete_event_size=64 * 1024, timeout_keep_alive=15, server_header=False,
        )  # fmt: skip

    def _url(self, listener: socket.socket) -> str:
        host, port = listener.getsockname()[:2]
        reachable = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "::1": "[::1]"}.get(host, host)  # noqa: S104  compared, not bound
        return f"{'https' if self.options.tls_cert else 'http'}://{reachable}:{port}"

    def _announce(self, url: str) -> None:
        token_path = self.options.home / TOKEN_FILE
        if not token_path.exists() or not self.tokens.records():
            write_private(token_path, self.tokens.issue(user_name(), "", Role.ADMIN) + "\n")
        write_service(
            self.options.home,
            ServiceFile(
                url=url, token_path=str(token_path), pid=os.getpid(), version=__version__, mode=str(self.options.mode),
                cluster=self.config.cluster.name, started_us=self.clock.now_us(),
            ),
        )  # fmt: skip

    def _tell_when_up(self, ready: Callable[[str], None], url: str) -> None:
        while self._server is not None and not self._server.should_exit:
            if self._server.started:
                ready(url)
                return
            time.sleep(0.02)

    def _gauges(self, state: State) -> Gauges:
        return structs.replace(gauges(state), rules=rule_gauges(state, self.clock.now_us()))

    def _about(self, job: int) -> tuple[str, str]:
        jobs = self._found.state.jobs
        return (jobs[job].id, jobs[job].spec.tenant) if 0 <= job < len(jobs) else (f"#{job}", "")

    def _look(self) -> tuple[int, int, Callable[[], bytes]]:
        version, live = self.loop.ask(lambda state: (state.version, len(state.active)))
        return version, live, lambda: self.loop.ask(encode)


def new_id() -> str:
    """A random job id: 12 characters that people can read to each other, about 59 bits."""
    drawn, letters = secrets.randbelow(len(ID_ALPHABET) ** ID_LENGTH), []
    for _ in range(ID_LENGTH):
        drawn, letter = divmod(drawn, len(ID_ALPHABET))
        letters.append(ID_ALPHABET[letter])
    return "".join(letters)


def spare_collector() -> None:
    """Have Python look for cyclic garbage seldom, and never among what is there already: the state and the records of
    jobs hold none, and looking through them again and again took a third of an admission."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_EVERY)


def user_name() -> str:
    """Who runs this process, as far as the system knows."""
    try:
        return getuser()
    except (KeyError, OSError):
        return f"uid-{os.getuid()}"
