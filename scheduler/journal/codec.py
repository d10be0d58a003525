"""A record of the history as a row of a table, and back: canonical JSON, a version for each kind, a checksum.

Canonical: no spaces, fields in the order of their definition, mappings in their own order, so that the value that comes
back is the value that went in, down to the order in which it is iterated.
"""

import zlib
from collections.abc import Mapping
from typing import Any, Final, get_args

import msgspec
from msgspec import Struct

from scheduler.errors import JournalCorruptError, JournalVersionError, JournalWriteError
from scheduler.journal.upgrades import UPGRADES, Upgrade
from scheduler.model.events import Event, Record

__all__ = ["CODEC", "Codec", "KIND_VERSIONS", "Row", "checksum", "kind_of"]

KIND_VERSIONS: Final[Mapping[str, int]] = {
    "action_requested": 1,
    "allocated": 1,
    "attempt_ended": 1,
    "attempt_progressed": 1,
    "attempt_started": 1,
    "carried_over": 1,
    "cell_reachability": 1,
    "configured": 1,
    "dependency_broken": 1,
    "epoch_started": 1,
    "foreign_changed": 1,
    "job_submitted": 1,
    "job_updated": 1,
    "node_state_changed": 1,
    "reasons_changed": 1,
    "reservation_cancelled": 1,
    "reservation_made": 1,
    "stop_ordered": 1,
}
"""The version in which each kind is written. Any change of its shape, nested values included, adds one."""

RESTORE: Final = "restore the journal from a backup, or see docs/journal.md, Recovery"
UPGRADE: Final = "upgrade dualtrack, or open the journal with the version that wrote it"

_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final[msgspec.json.Decoder[Event]] = msgspec.json.Decoder(Event)
_KINDS: Final[Mapping[type, str]] = {kind: str(kind.__struct_config__.tag) for kind in get_args(Event)}


class Row(Struct, frozen=True):
    """A record as it is stored. `payload` is the event's JSON; `crc` covers all the other columns."""

    seq: int
    epoch: int
    time_us: int
    version: int
    kind: str
    payload: bytes
    crc: int


def kind_of(event: Event) -> str:
    return _KINDS[type(event)]


def checksum(seq: int, epoch: int, time_us: int, version: int, kind: str, payload: bytes) -> int:
    """CRC-32 of all columns, in this order."""
    return zlib.crc32(payload, zlib.crc32(f"{seq} {epoch} {time_us} {version} {kind} ".encode()))


def _sound(row: Row) -> bool:
    try:
        return checksum(row.seq, row.epoch, row.time_us, row.version, row.kind, row.payload) == row.crc
    except TypeError:  # damage may turn bytes into something else: SQLite's columns have no fixed type
        return False


class Codec:
    """`versions` are those that this code writes; `upgrades` lead each older version to the next."""

    def __init__(
        self,
        versions: Mapping[str, int] = KIND_VERSIONS,
        upgrades: Mapping[tuple[str, int], Upgrade] = UPGRADES,
    ) -> None:
        self._versions = versions
        self._upgrades = upgrades

    def encode(self, record: Record) -> Row:
        """The row of the record; JournalWriteError when the event holds what JSON cannot give back."""
        kind = kind_of(record.event)
        try:
            payload = _ENCODER.encode(record.event)
        except (TypeError, ValueError, OverflowError) as error:
            raise JournalWriteError(f"record {record.seq} ({kind}) cannot be written: {error}") from error
        # NaN and infinities become null, which reads back as absent or not at all
        if b"null" in payload and not self._reads_back(payload, record.event):
            raise JournalWriteError(
                f"record {record.seq} ({kind}) cannot be written: it holds a number that is not finite",
                "refuse such numbers where they enter",
            )
        version = self._versions[kind]
        crc = checksum(record.seq, record.epoch, record.time_us, version, kind, payload)
        return Row(record.seq, record.epoch, record.time_us, version, kind, payload, crc)

    def decode(self, row: Row) -> Record:
        """The record of the row. JournalCorruptError when it was damaged, JournalVersionError when it is not ours."""
        if not _sound(row):
            raise JournalCorruptError(f"record {row.seq} of the journal does not match its checksum", RESTORE)
        known = self._versions.get(row.kind)
        if known is None:
            raise JournalVersionError(
                f"record {row.seq} of the journal is of kind {row.kind!r} (version {row.version}), "
                "which this dualtrack does not know",
                UPGRADE,
            )
        if row.version > known:
            raise JournalVersionError(
                f"record {row.seq} of the journal ({row.kind}) has version {row.version}; "
                f"this dualtrack knows versions up to {known}",
                UPGRADE,
            )
        return Record(row.seq, row.epoch, row.time_us, self._event(row, known))

    def _event(self, row: Row, known: int) -> Event:
        try:
            if row.version == known:
                return _DECODER.decode(row.payload)
            value: Any = msgspec.json.decode(row.payload)
            for version in range(row.version, known):
                value = self._upgrade(row, version)(value)
            event: Event = msgspec.convert(value, Event)
            return event
        except (msgspec.MsgspecError, KeyError, TypeError, ValueError) as error:
            # the checksum holds, so these are the bytes that were written: by code of another shape
            raise JournalVersionError(
                f"record {row.seq} of the journal ({row.kind}, version {row.version}) was written by another "
                f"dualtrack: {error}",
                UPGRADE,
            ) from error

    def _upgrade(self, row: Row, version: int) -> Upgrade:
        upgrade = self._upgrades.get((row.kind, version))
        if upgrade is None:
            raise JournalVersionError(
                f"record {row.seq} of the journal ({row.kind}) has version {row.version}, "
                f"and this dualtrack cannot read versions below {version + 1}",
                "open the journal once with each release between",
            )
        return upgrade

    def _reads_back(self, payload: bytes, event: Event) -> bool:
        try:
            return bool(_DECODER.decode(payload) == event)
        except msgspec.MsgspecError:
            return False


CODEC: Final = Codec()
