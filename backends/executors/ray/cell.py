"""The attempts of one cell on Ray: what the gateway does for the executor.

Ray holds what runs: a placement group per attempt and a named actor per task. A *mirror* on this machine's disk holds
what was commanded and told: the command, its fence, and the tasks' reports as they were pulled. Reports are numbered by
the supervisors and the loss of a task is written into the mirror once, so the numbers stay the same for every process
that reads it, and whatever becomes of Ray.
"""

import contextlib
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from backends.executors.local.record import AttemptRecord
from backends.executors.ray.link import RayLink
from backends.executors.ray.mirror import Mirror
from backends.executors.ray.puller import Puller
from backends.executors.ray.request import RayRequest, actor_name, check_id, group_prefix
from backends.runtime.output import read_all, read_from
from backends.runtime.places import write_atomically
from backends.runtime.ports import with_addresses
from backends.runtime.request import TaskRequest
from scheduler.errors import DualtrackError, ExecutorError, NotFoundError, OutcomeUnknownError, StaleEpochError
from scheduler.model.commands import Release, Stop
from scheduler.ports import AttemptKey, AttemptStatus, Report

__all__ = ["RayCell"]

START_TIMEOUT_S = 60.0  # for the actors' processes to come up, on a machine that does more than this
CALL_TIMEOUT_S = 15.0


class RayCell:
    """`scheduler.ports.Executor` over a link, for one mirror. `node_root` is where tasks keep their files on nodes."""

    def __init__(self, link: RayLink, mirror: Mirror, node_root: Path, room_timeout_s: float) -> None:
        self._link = link
        self._mirror = mirror
        self._node_root = node_root
        self._room_timeout_s = room_timeout_s
        self._handles: dict[str, Any] = {}
        self._news = threading.Condition()
        self._adopt()
        self._puller = Puller(link, mirror, self.handle, self._tell)
        self._puller.start()

    def close(self) -> None:
        """Stop looking. What runs goes on running."""
        self._puller.close()

    def start(self, request: RayRequest) -> None:
        """Start every task or none; a start whose caller died half-way is undone first."""
        command = request.launch.command
        record = self._record(command.job_id, command.attempt)
        with record.changing():
            before = record.pass_fence(command.epoch)
            if record.launched:
                return
            if before.stopped:
                raise StaleEpochError(f"attempt {command.attempt} of {command.job_id} was stopped before it started")
            self._fence_other_attempts(record)
            try:
                self._clear(record)
                self._mirror.begin(record, command)
                self._launch(request)
                write_atomically(record.place.launched, b"")
            except (DualtrackError, OSError) as error:
                self._undo(record)
                raise ExecutorError(f"attempt {command.attempt} of {command.job_id} was not started: {error}") from None
        self._puller.wake()

    def _undo(self, record: AttemptRecord) -> None:
        try:
            self._clear(record)
        except ExecutorError as error:  # the next start or release of the attempt clears what is left
            raise OutcomeUnknownError(f"attempt {record.key[1]} of {record.key[0]} is half started: {error}") from None
        self._mirror.forget(record)

    def _launch(self, request: RayRequest) -> None:
        self._check_nodes(request)
        group = self._link.place_group(request, self._room_timeout_s)
        command = request.launch.command
        handles = []
        for index, actor in enumerate(request.actors):
            arguments = (str(self._node_root), command.job_id, command.attempt, index)
            handles.append(self._link.create_actor(group, actor, arguments))
        hosts = self._link.hosts(group)
        asked = [handle.reserve_ports.remote(host) for handle, host in zip(handles, hosts, strict=True)]
        ports = self._link.answers(asked, START_TIMEOUT_S, "starting actors")
        tasks = [msgspec.structs.replace(t, host=h) for t, h in zip(request.launch.tasks, hosts, strict=True)]
        bodies = [msgspec.json.encode(task) for task in with_addresses(tasks, ports)]
        asked = [handle.start.remote(body) for handle, body in zip(handles, bodies, strict=True)]
        if wrong := [answer for answer in self._link.answers(asked, START_TIMEOUT_S, "starting supervisors") if answer]:
            raise ExecutorError(wrong[0])
        for actor, handle in zip(request.actors, handles, strict=True):
            self._handles[actor.name] = handle

    def _check_nodes(self, request: RayRequest) -> None:
        offered = self._link.nodes_offering()
        wanted = {name for bundle in request.bundles for name in bundle}
        if missing := sorted(wanted - offered.keys()):
            raise ExecutorError(f"no node of the Ray cluster offers {missing[0]}")

    def _fence_other_attempts(self, record: AttemptRecord) -> None:
        """No two attempts of a job act at once: a newer one refuses this, an older one ends now."""
        job_id, attempt = record.key
        others = self._mirror.attempts_of(job_id) | {
            int(name.split("/")[1]) for name in self._link.actors() if name.startswith(f"{job_id}/")
        }
        for other in sorted(others - {attempt}):
            if other > attempt:
                raise StaleEpochError(f"attempt {attempt} of {job_id} is older than attempt {other}")
            older = self._record(job_id, other)
            with older.changing():
                self._clear(older)

    def stop(self, command: Stop | Release) -> None:
        record = self._record(command.job_id, command.attempt)
        with record.changing():
            record.pass_fence(command.epoch, stopped=True)
            if isinstance(command, Stop) and record.command is not None and record.launched:
                self._give_notice(record, command)
                return
            if not record.released:
                self._pull_logs(record)
            self._mirror.release(record)
            self._clear(record)

    def _give_notice(self, record: AttemptRecord, command: Stop) -> None:
        asked = [
            handle.stop.remote(command.epoch, command.notice_us, command.cause) for handle in self._live_handles(record)
        ]
        for reference in asked:
            try:
                (obeyed,) = self._link.answers([reference], CALL_TIMEOUT_S, "giving notice")
            except OutcomeUnknownError:
                raise
            except ExecutorError:  # it died, which the puller tells
                continue
            if obeyed > command.epoch:
                raise StaleEpochError(f"attempt {record.key[1]} of {record.key[0]} obeys epoch {obeyed}")

    def _clear(self, record: AttemptRecord) -> None:
        """Leave nothing of the attempt in Ray: supervisors, actors, placement groups, whichever epoch made them."""
        job_id, attempt = record.key
        names = [name for name in self._link.actors() if name.startswith(f"{job_id}/{attempt}/")]
        handles = [handle for name in names if (handle := self.handle(name)) is not None]
        asked = [handle.release.remote() for handle in handles]
        for reference, handle in zip(asked, handles, strict=True):
            with contextlib.suppress(ExecutorError):  # it is killed either way, and its supervisor goes with it
                self._link.answers([reference], CALL_TIMEOUT_S, "releasing a task")
            with contextlib.suppress(ExecutorError):
                self._link.kill_actor(handle)
        self._link.remove_groups(group_prefix(self._link.namespace, job_id, attempt))
        for name in [name for name in self._handles if name.startswith(f"{job_id}/{attempt}/")]:
            del self._handles[name]
        shutil.rmtree(
            self._node_root / job_id / str(attempt), ignore_errors=True
        )  # of actors that died on this machine

    def list(self) -> tuple[AttemptStatus, ...]:
        return self._mirror.statuses()

    def reports(self, seen: Mapping[AttemptKey, int], wait_s: float) -> tuple[Report, ...]:
        deadline = time.monotonic() + wait_s
        while True:
            with self._news:
                found = self._mirror.reports(seen)
                left_s = deadline - time.monotonic()
                if found or left_s <= 0:
                    return found
                self._news.wait(left_s)

    def _tell(self) -> None:
        with self._news:
            self._news.notify_all()

    def logs(self, key: AttemptKey, rank: int | None, offset: int) -> bytes:
        record = self._record(*key)
        outputs = record.outputs()
        if not outputs:
            raise NotFoundError(f"attempt {key[1]} of {key[0]} has no output here")
        if not record.released:
            self._pull_logs(record)
        if rank is None:
            return read_all(record.place, outputs, offset)
        if not 0 <= rank < len(outputs):
            raise NotFoundError(f"attempt {key[1]} of {key[0]} has ranks 0 to {len(outputs) - 1}, not {rank}")
        return read_from(outputs[rank].path, offset)

    def _pull_logs(self, record: AttemptRecord) -> None:
        """Bring the mirror's copies of the ranks' logs up to date; from the disk where the node is this machine."""
        command = record.command
        for index, task in enumerate(command.tasks if command is not None else ()):
            local = self._node_root / record.key[0] / str(record.key[1]) / str(index)
            handle = None if local.is_dir() else self.handle(actor_name(*record.key, index))
            for rank in range(task.first_rank, task.first_rank + task.local_ranks):

                def read(offset: int, rank: int = rank, local: Path = local, handle: Any = handle) -> bytes:
                    if handle is None:
                        return read_from(local / f"rank-{rank}.log", offset)
                    (chunk,) = self._link.answers([handle.log.remote(rank, offset)], CALL_TIMEOUT_S, "reading a log")
                    return bytes(chunk)

                with contextlib.suppress(ExecutorError):  # its node is gone: what was pulled before stays
                    self._mirror.copy_log(record.place.task(index).log(rank), read)

    def handle(self, name: str) -> Any | None:
        """The actor of that name, or None when it is gone."""
        if name not in self._handles:
            found = self._link.find_actor(name)
            if found is None:
                return None
            self._handles[name] = found
        return self._handles[name]

    def _live_handles(self, record: AttemptRecord) -> Sequence[Any]:
        tasks = len(record.command.tasks) if record.command is not None else 0
        names = [actor_name(*record.key, index) for index in range(tasks)]
        return [handle for name in names if (handle := self.handle(name)) is not None]

    def _record(self, job_id: str, attempt: int) -> AttemptRecord:
        check_id(job_id)
        return self._mirror.record(job_id, attempt)

    def _adopt(self) -> None:
        """Take over what runs in our namespace, and undo what a scheduler did not live to start completely."""
        for group in self._link.groups():
            job_id, attempt, epoch, _job = group.name.removeprefix(f"{self._link.namespace}/").rsplit("/", 3)
            record = self._record(job_id, int(attempt))
            if record.released:  # and whoever said so did not live to clear it
                self._clear(record)
            if record.launched or record.released:
                continue
            requests = self._describe(record, group.bundles)
            if requests:
                with record.changing():
                    record.pass_fence(int(epoch))
                    tasks = tuple(request.task for request in requests)
                    self._mirror.begin(record, msgspec.structs.replace(requests[0].start, tasks=tasks))
                    write_atomically(record.place.launched, b"")
        for record in self._mirror.unreleased():
            with record.changing():
                if not record.launched:
                    self._clear(record)
                    self._mirror.forget(record)

    def _describe(self, record: AttemptRecord, tasks: int) -> Sequence[TaskRequest]:
        """What each actor of the attempt runs; empty unless every one of them is there and was started."""
        handles = [self.handle(actor_name(*record.key, index)) for index in range(tasks)]
        if any(handle is None for handle in handles):
            return ()
        try:
            bodies = self._link.answers([h.describe.remote() for h in handles if h], CALL_TIMEOUT_S, "adopting")
        except ExecutorError:
            return ()
        return [msgspec.json.decode(body, type=TaskRequest) for body in bodies] if all(bodies) else ()
