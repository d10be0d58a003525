"""How a script joins in two lines: `from backends.runtime import session` and `run = session.join()`.

    run = session.join()
    trainer = run.data_parallel(model, optimizer)
    run.resume(model=model, optimizer=optimizer)
    for step in run.steps(total=100):
        run.loss = trainer.step(loss_function, batch_indices(step, 64, len(data)))

The same script runs alone (`python train.py`), under torchrun, and under dualtrack on any device and world size.
PyTorch is imported when it is needed: a rank alone in its world that neither saves nor asks for its device needs none.
"""

import atexit
import os
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any

from backends.devices.base import DeviceAdapter
from backends.devices.emulated import Pacer, limit_growth
from backends.devices.registry import get_adapter
from backends.runtime.checkpoint import CheckpointStore
from backends.runtime.data_parallel import DataParallel
from backends.runtime.notice import Notice
from backends.runtime.progress import Progress
from backends.runtime.rank_reports import RankLine
from backends.runtime.seat import Seat, read_seat
from scheduler.errors import UsageError
from scheduler.model.jobs import MAIN_ROLE

__all__ = ["Run", "join"]

RENDEZVOUS_TIMEOUT_S = 120.0


class Run:
    """One rank's part in a job. Made by `join`."""

    def __init__(self, seat: Seat, adapter: DeviceAdapter, timeout_s: float) -> None:
        self.seat = seat
        self.rank = seat.rank
        self.world_size = seat.world_size
        self.local_rank = seat.local_rank
        self.role = seat.role
        self.replica = seat.replica
        self.emulated = seat.emulated
        self.service_port = seat.service_port
        self.step_count = 0  # steps done, over all attempts
        self.samples = 0  # samples seen, over all attempts and ranks
        self._adapter = adapter
        self._notice = Notice()
        self._progress = Progress(seat.report_path)
        self._pacer = Pacer(seat.pace_s)
        self._overruns = 0  # of the pacers before this one
        self._objects: dict[str, Any] = {}
        self._trainer: DataParallel | None = None
        self._checkpoints = _checkpoints_of(seat) if seat.checkpoint_path else None
        self._next_save = time.monotonic() + seat.checkpoint_every_s
        self._group = self._rendezvous(timeout_s) if seat.world_size > 1 else None
        if self._checkpoints is not None and self.rank == 0:
            self._checkpoints.open()

    @property
    def device(self) -> Any:
        """The torch device of this rank."""
        import torch

        return torch.device(self._adapter.device_string(self.local_rank))

    @property
    def done(self) -> float:
        """Work done over all attempts, in the workload's unit."""
        return self._progress.done

    @property
    def loss(self) -> float | None:
        return self._progress.loss

    @loss.setter
    def loss(self, value: float) -> None:
        self._progress.loss = float(value)

    @property
    def overruns(self) -> int:
        """Steps that took longer than the emulated device would have."""
        return self._overruns + self._pacer.overruns

    @property
    def notified(self) -> bool:
        """Whether this rank has the notice to end. Asks no other rank: for services, and ranks that work alone."""
        return self._notice.given

    @property
    def should_stop(self) -> bool:
        """Whether any rank has the notice. A collective: all ranks ask equally often. `steps` asks by itself."""
        return self._notice.agreed(self._group)

    def data_parallel(self, model: Any, optimizer: Any, micro_batch: int = 0) -> DataParallel:
        """A trainer over all ranks; see `DataParallel`. Its samples are counted into the checkpoints."""
        self._trainer = DataParallel(
            model,
            optimizer,
            rank=self.rank,
            world_size=self.world_size,
            device=self.device,
            micro_batch=micro_batch,
        )
        self._trainer.samples = self.samples
        return self._trainer

    def resume(self, **objects: Any) -> int:
        """Load the newest checkpoint into the objects (each with state_dict and load_state_dict), and keep them for
        every later checkpoint. The number of steps that were done before."""
        self._objects.update(objects)
        state = self.load()
        for name, value in objects.items():
            if state is not None and name in state:
                value.load_state_dict(state[name])
        if self._trainer is not None:
            self._trainer.samples = self.samples
        return self.step_count

    def load(self) -> dict[str, Any] | None:
        """The newest whole checkpoint, or None. Every rank loads the one that rank 0 has chosen."""
        if self._checkpoints is None:
            return None
        manifest = self._from_first(self._checkpoints.newest() if self.rank == 0 else None)
        if manifest is None:
            return None
        self.step_count, self.samples = manifest.step, manifest.samples
        self._progress.begin(manifest.done)
        return self._checkpoints.load(manifest)

    def save(self, state: Mapping[str, Any] | None = None) -> None:
        """Write a checkpoint of `state`, or of the objects given to `resume`. Rank 0 writes; the others return at once.

        Raises StaleEpochError when a newer attempt has taken over.
        """
        if self._checkpoints is None or self.rank != 0:
            return
        content = state if state is not None else {name: value.state_dict() for name, value in self._objects.items()}
        self._checkpoints.save(
            content,
            step=self.step_count,
            done=self.done,
            samples=self._trainer.samples if self._trainer else self.samples,
            world_size=self.world_size,
            accelerator=self.seat.accelerator,
        )
        self._progress.saved = self.done
        self._set_pace()
        self._next_save = time.monotonic() + self.seat.checkpoint_every_s
        self._progress.tell(now=True)

    def steps(self, total: int | None = None, work: float = 1.0) -> Iterator[int]:
        """The numbers of the steps that are left, of `total` (else the job's declared work); each is `work` units.

        After each step: pace, progress, a checkpoint when one is due. On a notice all ranks stop after the same step,
        save, and the process exits with code 0.
        """
        if total is None:
            if self.seat.work is None:
                raise UsageError("the job declares no work", "call steps(total=...)")
            total = round(self.seat.work / work)
        self._set_pace()
        self._progress.set_out()
        while self.step_count < total:
            yield self.step_count
            self.step(work=work)
            if self.should_stop and self.step_count < total:
                self.save()
                raise SystemExit(0)
        self._progress.tell(now=True)
        if self._checkpoints is not None and self._objects and self._progress.saved < self.done:
            self.save()
        self.finished()

    def step(self, *, loss: float | None = None, work: float = 1.0) -> None:
        """Call at the end of a step of one's own loop: counts it, paces it, reports it, saves when it is time."""
        if loss is not None:
            self.loss = loss
        self.step_count += 1
        self._pacer.step(work)
        self._progress.overruns = self.overruns
        self.progress(self.done + work)
        if self._objects and self.seat.checkpoint_every_s > 0 and time.monotonic() >= self._next_save:
            self.save()

    def progress(self, done: float, loss: float | None = None, *, came: float | None = None) -> None:
        """Report work done over all attempts, in the workload's unit. Only rank 0's counts, of a service the first
        replica's. `came`: requests that have come to that replica, where `done` counts those that it has answered: from
        both follows how many it can answer."""
        self._progress.done = float(done)
        if came is not None:
            self._progress.came = float(came)
        if loss is not None:
            self.loss = loss
        if self.rank == 0:
            self._progress.tell()

    def ready(self) -> None:
        """Tell that a service answers, sooner than its port is noticed."""
        self._progress.send(RankLine(ready=True))

    def finished(self) -> None:
        """Tell that the work is done: an exit with code 0 then is success, even after a notice. `steps` tells it."""
        self._progress.send(RankLine(finished=True))

    def _set_pace(self) -> None:
        """Pace from here on: neither building a model nor saving it is part of a step."""
        self._overruns += self._pacer.overruns
        self._pacer = Pacer(self.seat.pace_s)

    def _rendezvous(self, timeout_s: float) -> Any:
        """Join the world and return the group in which ranks agree on small things, over gloo."""
        import torch.distributed as dist

        import_module("torch.distributed.nn.functional")  # imported later, its defaults would keep this world alive
        if os.environ.get("MASTER_ADDR", "").startswith("127."):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        dist.init_process_group(self._adapter.backend, timeout=timedelta(seconds=timeout_s))
        atexit.register(self._leave_world)
        return dist.group.WORLD if self._adapter.backend == "gloo" else dist.new_group(backend="gloo")

    def _leave_world(self) -> None:
        """A process that ends while a group lives may be aborted by the group's threads (exit code 134), work done or
        not; a group lives as long as anybody refers to it."""
        import torch.distributed as dist

        self._group = None
        if dist.is_initialized():
            dist.destroy_process_group()

    def _from_first(self, value: Any) -> Any:
        if self._group is None:
            return value
        import torch.distributed as dist

        box = [value]
        dist.broadcast_object_list(box, src=0, group=self._group)
        return box[0]


def join(*, timeout_s: float = RENDEZVOUS_TIMEOUT_S) -> Run:
    """Take this process's seat: check its devices, meet the other ranks, listen for the notice.

    Raises DeviceError when the devices are not those that were granted, or their software is missing.
    """
    seat = read_seat()
    adapter = get_adapter(seat.adapter or _kind_here(), emulated=seat.emulated)
    if seat.devices:
        if not seat.emulated and seat.adapter != "cpu":
            adapter.load()
        adapter.check_visible(os.environ, seat.devices, seat.dies)
    run = Run(seat, adapter, timeout_s)
    _report_lack_of_memory(run, adapter)
    if seat.memory_limit_mib and "torch" in sys.modules:
        limit_growth(seat.memory_limit_mib * 1024 * 1024)
    return run


def _checkpoints_of(seat: Seat) -> CheckpointStore:
    """Each role but a job's only one, and each replica but the first, has a place of its own."""
    path = Path(seat.checkpoint_path, seat.job_id or "alone")
    path = path if seat.role == MAIN_ROLE else path / seat.role
    path = path / f"replica-{seat.replica}" if seat.replica else path
    return CheckpointStore(path, seat.job_id, seat.attempt)


def _kind_here() -> str:
    """Outside dualtrack: an NVIDIA GPU where torch sees one, else the processor."""
    torch = sys.modules.get("torch")
    return "nvidia" if torch is not None and torch.cuda.is_available() else "cpu"


def _report_lack_of_memory(run: Run, adapter: DeviceAdapter) -> None:
    """An error that ends the process and says that memory ran out is told to the supervisor in so many words."""
    before = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if adapter.is_out_of_memory(error):
            run._progress.send(RankLine(out_of_memory=True, detail=str(error)[:500] or "out of memory"))
        before(kind, error, traceback)

    sys.excepthook = hook
