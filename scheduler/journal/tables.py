"""The tables of the journal, the same in SQLite and PostgreSQL."""

from typing import Final

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, MetaData, String, Table

__all__ = ["LAYOUT", "METADATA", "checkpoints", "leadership", "records"]

LAYOUT: Final = 1
"""The version of these tables. A journal of a larger one is refused."""

METADATA: Final = MetaData()

_WIDE: Final = BigInteger().with_variant(Integer, "sqlite")  # SQLite's own row number has to be declared INTEGER

records: Final = Table(
    "records",
    METADATA,
    Column("seq", _WIDE, primary_key=True, autoincrement=False),
    Column("epoch", BigInteger, nullable=False),
    Column("time_us", BigInteger, nullable=False),
    Column("version", Integer, nullable=False),
    Column("kind", String, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("crc", BigInteger, nullable=False),
)

checkpoints: Final = Table(
    "checkpoints",
    METADATA,
    Column("seq", _WIDE, primary_key=True, autoincrement=False),
    Column("image", LargeBinary, nullable=False),
    Column("crc", BigInteger, nullable=False),
)

# One row. `head` is the number of the last record: it moves in the same transaction as the records, so that one
# statement checks the epoch and the sequence, and a lost tail shows.
leadership: Final = Table(
    "leadership",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("layout", Integer, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("head", BigInteger, nullable=False),
    Column("leader", String, nullable=False),
)
