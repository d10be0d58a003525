"""The executor of a cell on Ray, as the scheduler holds it: requests are prepared here and sent by the gateway."""

import threading
from collections.abc import Mapping
from pathlib import Path

from backends.executors.ray.cluster import RayHandle, refreshed
from backends.executors.ray.connection import Connection
from backends.executors.ray.request import RayRequest, prepare
from backends.executors.ray.wire import GatewaySettings, List, Logs, Reports, Send
from scheduler.errors import DeviceError, ExecutorError, UnavailableError
from scheduler.model.commands import Release, Start, Stop
from scheduler.ports import AttemptKey, AttemptStatus, Report

__all__ = ["RayExecutor"]

JOIN_TIMEOUT_S = 60.0
START_TIMEOUT_S = 180.0  # longer than the gateway's own limits together, so that it can undo and tell
CALL_TIMEOUT_S = 60.0
ROOM_TIMEOUT_S = 20.0  # for devices that the scheduler knows to be free, and Ray may not yet

REFUSED = b"InvalidAuthToken"  # what Ray's client says, in its log alone
REMEDY = "use the token file that its head was started with"


class RayExecutor:
    """Implements `scheduler.ports.Executor`. One per cell and home; `root` keeps what the cell's attempts have told.

    `node_root` is the directory of every node in which tasks keep their files while they run; by default it is below
    `root`, which suits a cluster on this machine. A gateway that has gone is replaced at the next call.
    """

    def __init__(
        self,
        handle: RayHandle,
        root: Path,
        *,
        node_root: Path | None = None,
        memory_scale: float = 1.0,
        room_timeout_s: float = ROOM_TIMEOUT_S,
    ) -> None:
        self.handle = handle
        self.root = root.resolve()
        self._node_root = node_root or self.root / "node"
        self._memory_scale = memory_scale
        self._room_timeout_s = room_timeout_s
        self._lock = threading.Lock()
        self._connection: Connection | None = None

    def prepare(self, command: Start) -> RayRequest:
        """What `start` would send, printable. Pure."""
        return prepare(command, self.handle.namespace, self._memory_scale)

    def start(self, command: Start) -> None:
        try:
            request = self.prepare(command)
        except DeviceError as error:
            raise ExecutorError(error.problem, error.remedy) from None
        self.send(request)

    def send(self, request: RayRequest) -> None:
        """Start every task or none. Older attempts of the job that still run in the cell are killed first."""
        self._joined().call(Send(request), type(None), START_TIMEOUT_S)

    def stop(self, command: Stop | Release) -> None:
        self._joined().call(command, type(None), START_TIMEOUT_S)  # it waits for a start of the same attempt

    def list(self) -> tuple[AttemptStatus, ...]:
        return self._joined().call(List(), tuple[AttemptStatus, ...], CALL_TIMEOUT_S)

    def reports(self, seen: Mapping[AttemptKey, int], wait_s: float) -> tuple[Report, ...]:
        body = Reports(tuple((job_id, n, seq) for (job_id, n), seq in seen.items()), wait_s)
        return self._joined().call(body, tuple[Report, ...], wait_s + CALL_TIMEOUT_S)

    def logs(self, key: AttemptKey, rank: int | None = None, offset: int = 0) -> bytes:
        """As the port says; ranks of a job with several worlds are counted on from task to task."""
        return self._joined().call(Logs(*key, rank, offset), bytes, CALL_TIMEOUT_S)

    def close(self) -> None:
        """End the gateway. Actors and their supervisors go on."""
        with self._lock:
            self._let_go()

    def _joined(self) -> Connection:
        """Look first whether the head is there: Ray's client goes on trying for a minute when it is not."""
        with self._lock:
            handle = refreshed(self.handle)  # the head may have been started again meanwhile
            if self._connection is not None and (handle != self.handle or not self._connection.alive):
                self._let_go()
            self.handle = handle
            try:
                self.handle.check_answers()
            except UnavailableError:
                self._let_go()
                raise
            if self._connection is None:
                self._connection = self._join()
            return self._connection

    def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _join(self) -> Connection:
        settings = GatewaySettings(
            address=self.handle.address,
            namespace=self.handle.namespace,
            mirror=str(self.root / "attempts"),
            node_root=str(self._node_root),
            room_timeout_s=self._room_timeout_s,
        )
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        env = self.handle.environment()
        log = self.root / "gateway.log"
        try:
            return Connection(settings, env, log, JOIN_TIMEOUT_S)
        except UnavailableError:
            if REFUSED in log.read_bytes():
                raise UnavailableError(f"Ray at {self.handle.address} refuses our token", REMEDY) from None
            raise
