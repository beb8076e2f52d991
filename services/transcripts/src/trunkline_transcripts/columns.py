"""What the tables have in common: the columns that their keys are made of, and the split by month."""

from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import Column, DateTime, Integer, MetaData, PrimaryKeyConstraint, Table, Text
from sqlalchemy.schema import SchemaItem

from trunkline_transcripts.rows import Row

MOMENT: Final = DateTime(timezone=True)

metadata: Final = MetaData()


def of_call() -> Iterator[Column[Any]]:
    """Yield the columns that say which call it is."""
    yield Column("call_started_at", MOMENT, comment="When the call reached us.")
    yield Column("call_id", Text, comment="Twilio's CallSid.")


def of_owner() -> Iterator[Column[Any]]:
    """Yield the columns that say which call, and which of its owners."""
    yield from of_call()
    yield Column("attach", Integer, comment="How often Twilio had attached the call to us: 1, 2, …")
    yield Column(
        "assign", Integer, comment="How often a worker had been assigned within this attach: 1, 2, …"
    )


def of_event(at: str) -> Iterator[Column[Any]]:
    """Yield the columns of a row that a single event makes; `at` explains its time."""
    yield from of_owner()
    yield Column(
        "n", Integer, comment="Number of the event that this row comes from, under its attach and assign."
    )
    yield Column("at", MOMENT, nullable=False, comment=at)


def by_month(row_type: type[Row], *parts: SchemaItem, comment: str) -> Table:
    """Return the table; its key, the same for the code and the database, is the row's."""
    return Table(
        row_type.table,
        metadata,
        *parts,
        PrimaryKeyConstraint(*row_type.key_columns),
        postgresql_partition_by="range (call_started_at)",
        comment=comment,
    )
