"""The history as lines of JSON: to look at, to keep, to move from one database to another. The bytes stay the same."""

from collections.abc import Iterable, Iterator

import msgspec
from msgspec import Struct

from scheduler.errors import JournalCorruptError
from scheduler.journal.codec import CODEC, Codec, Row
from scheduler.model.events import Record

__all__ = ["from_lines", "to_lines"]


class _Line(Struct, frozen=True):
    """A row with its payload as JSON within JSON, byte for byte."""

    seq: int
    epoch: int
    time_us: int
    version: int
    kind: str
    crc: int
    payload: msgspec.Raw


_DECODER = msgspec.json.Decoder(_Line)


def to_lines(history: Iterable[Record], codec: Codec = CODEC) -> Iterator[bytes]:
    """One line per record, without its newline."""
    for record in history:
        row = codec.encode(record)
        line = _Line(row.seq, row.epoch, row.time_us, row.version, row.kind, row.crc, msgspec.Raw(row.payload))
        yield msgspec.json.encode(line)


def from_lines(lines: Iterable[bytes], codec: Codec = CODEC) -> Iterator[Record]:
    """The records of the lines, verified as those of a database are. Raises JournalError."""
    for number, text in enumerate(lines, 1):
        try:
            line = _DECODER.decode(text)
        except msgspec.MsgspecError as error:
            raise JournalCorruptError(f"line {number} is not a record: {error}", "export the journal again") from error
        if line.seq != number:
            raise JournalCorruptError(f"line {number} holds record {line.seq}", "export the whole journal")
        payload = bytes(line.payload)
        yield codec.decode(Row(line.seq, line.epoch, line.time_us, line.version, line.kind, payload, line.crc))
