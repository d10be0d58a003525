"""Checkpoints that survive crashes, torn files, older attempts and a change of device type or world size.

checkpoint-<attempt>-<step>.pt     tensors on the CPU, loaded with weights_only
checkpoint-<attempt>-<step>.json   the manifest, written last: without it the file does not count
fence                              the newest attempt that has opened this place
"""

import contextlib
import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from backends.runtime.places import locked, sync_directory, write_atomically
from scheduler.errors import StaleEpochError

__all__ = ["CheckpointStore", "Manifest", "on_cpu"]

KEPT = 2  # the newest, and one before it in case the newest turns out torn
NAME = re.compile(r"checkpoint-(\d{1,9})-(\d{1,18})\.json")


class Manifest(Struct, frozen=True, kw_only=True):
    job_id: str
    attempt: int
    step: int
    done: float  # in the workload's unit
    samples: int  # seen so far, over all ranks
    world_size: int
    accelerator: str
    sha256: str
    bytes: int
    file: str


class CheckpointStore:
    """The checkpoints of one job. Opening it as attempt n shuts out every smaller attempt, dead or alive."""

    def __init__(self, directory: Path, job_id: str, attempt: int) -> None:
        self.directory = directory
        self.job_id = job_id
        self.attempt = attempt

    def open(self) -> None:
        """Shut out older attempts. Raises StaleEpochError when a newer one has been here."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with locked(self._lock):
            self._check_fence()
            write_atomically(self._fence, str(self.attempt).encode())

    def save(
        self, state: Mapping[str, Any], *, step: int, done: float, samples: int, world_size: int, accelerator: str
    ) -> Manifest:
        """Write a checkpoint, durable when this returns. Raises StaleEpochError when a newer attempt has taken over."""
        import torch

        name = f"checkpoint-{self.attempt}-{step}.pt"
        draft = self.directory / f".{name}.{os.getpid()}"
        try:
            with draft.open("wb") as file:
                torch.save(on_cpu(state), file)
                file.flush()
                os.fsync(file.fileno())
            with draft.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            manifest = Manifest(
                job_id=self.job_id,
                attempt=self.attempt,
                step=step,
                done=done,
                samples=samples,
                world_size=world_size,
                accelerator=accelerator,
                sha256=digest,
                bytes=draft.stat().st_size,
                file=name,
            )
            with locked(self._lock):
                self._check_fence()
                draft.replace(self.directory / name)
                sync_directory(self.directory)
                write_atomically((self.directory / name).with_suffix(".json"), msgspec.json.encode(manifest))
                self._prune()
        finally:
            draft.unlink(missing_ok=True)
        return manifest

    def newest(self) -> Manifest | None:
        """The newest checkpoint that is whole: of the highest attempt, then the highest step."""
        for manifest in self._manifests():
            if self._is_whole(manifest):
                return manifest
        return None

    def load(self, manifest: Manifest) -> dict[str, Any]:
        """The state, with every tensor on the CPU."""
        import torch

        path = self.directory / manifest.file
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return state

    @property
    def _lock(self) -> Path:
        return self.directory / "lock"

    @property
    def _fence(self) -> Path:
        return self.directory / "fence"

    def _check_fence(self) -> None:
        with contextlib.suppress(FileNotFoundError, ValueError):
            newest = int(self._fence.read_text())
            if newest > self.attempt:
                raise StaleEpochError(f"attempt {newest} has taken over the checkpoints of attempt {self.attempt}")

    def _manifests(self) -> list[Manifest]:
        """Every manifest that can be read, newest first."""
        found = []
        for path in self.directory.glob("checkpoint-*.json"):
            if NAME.fullmatch(path.name):
                with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
                    found.append(msgspec.json.decode(path.read_bytes(), type=Manifest))
        return sorted(found, key=lambda m: (m.attempt, m.step), reverse=True)

    def _is_whole(self, manifest: Manifest) -> bool:
        path = self.directory / manifest.file
        try:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == manifest.sha256
        except FileNotFoundError:
            return False

    def _prune(self) -> None:
        for manifest in self._manifests()[KEPT:]:
            path = self.directory / manifest.file
            path.with_suffix(".json").unlink(missing_ok=True)
            path.unlink(missing_ok=True)


def on_cpu(value: Any) -> Any:
    """The same nest of dicts, lists and tuples with every tensor detached, on the CPU and contiguous."""
    import torch

    if isinstance(value, torch.Tensor):
        return value.detach().cpu().contiguous()
    if isinstance(value, Mapping):
        return {key: on_cpu(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([on_cpu(entry) for entry in value])
    return value
