"""The output of an attempt: of one rank, or of all ranks in one stream whose offsets stay true as it grows."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from backends.runtime.places import AttemptPlace, locked, write_atomically

__all__ = ["MAX_BYTES", "RankOutput", "read_all", "read_from"]

MAX_BYTES = 1024 * 1024


class RankOutput(Struct, frozen=True):
    label: str  # role/rank
    path: Path


class _Cursor(Struct):
    """How far each rank's log has been taken over, and how long the merged stream is."""

    size: int = 0
    taken: list[int] = []


def read_from(path: Path, offset: int) -> bytes:
    """At most 1 MiB of the file from byte `offset`; empty when there is no such file or byte."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, offset))
            return file.read(MAX_BYTES)
    except FileNotFoundError:
        return b""


def read_all(place: AttemptPlace, ranks: Sequence[RankOutput], offset: int) -> bytes:
    """The merged stream from byte `offset`. Each line carries `[role/rank] `, in the order in which lines were seen.

    The stream is kept in a file and only ever grows, so that an offset means the same to everyone who reads.
    """
    with locked(place.directory / "output.lock"):
        try:
            cursor = msgspec.json.decode(place.output_cursor.read_bytes(), type=_Cursor)
        except FileNotFoundError:
            cursor = _Cursor(taken=[0] * len(ranks))
        with place.output.open("ab") as stream:
            stream.truncate(cursor.size)  # what a crash wrote without its cursor is written again
            before = cursor.size
            while cursor.size < offset + MAX_BYTES and (added := _take_over(stream.write, ranks, cursor.taken)):
                cursor.size += added
        if cursor.size != before:
            write_atomically(place.output_cursor, msgspec.json.encode(cursor))
    return read_from(place.output, offset)


def _take_over(write: object, ranks: Sequence[RankOutput], taken: list[int]) -> int:
    """Append the whole lines that each rank has added, at most 1 MiB of each; how many bytes were written."""
    assert callable(write)
    added = 0
    for index, rank in enumerate(ranks):
        chunk = read_from(rank.path, taken[index])
        whole = chunk[: chunk.rfind(b"\n") + 1] or (chunk if len(chunk) == MAX_BYTES else b"")
        taken[index] += len(whole)
        for line in whole.splitlines():
            added += write(f"[{rank.label}] ".encode() + line + b"\n")
    return added
