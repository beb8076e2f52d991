"""The tables of who owned a call: every owner, and each change from one to the next."""

from typing import Final

from sqlalchemy import BigInteger, Column, Double, Integer, Text

from trunkline_transcripts.columns import MOMENT, by_month, of_event, of_owner
from trunkline_transcripts.rows import OwnerRow, TakeoverRow

owners: Final = by_month(
    OwnerRow,
    *of_owner(),
    Column("began_at", MOMENT, comment="When its first event happened, by the clock of the worker."),
    Column(
        "first_sequence",
        BigInteger,
        comment="Place of its first event in the event log: what owners before it wrote behind that is superseded.",
    ),
    Column("worker", Text, comment="The worker. Null: it is not known (yet)."),
    Column("worker_n", Integer, comment="Number of the event that worker comes from."),
    Column(
        "ended_at", MOMENT, comment="When it ended the call. Null: it did not, or not yet, or it was lost."
    ),
    Column("reason", Text, comment="Why it ended the call; what counts for the call is in calls."),
    Column(
        "events_expected",
        Integer,
        comment="How many rows of events it wrote, by its own count. Null: it never ended the call.",
    ),
    Column("ended_n", Integer, comment="Number of the event that the columns about the end come from."),
    comment="Every owner that a call had: the worker under one attach and assign, lost or not, superseded or not.",
)

takeovers: Final = by_month(
    TakeoverRow,
    *of_event("When the new owner went on with the call, by its clock."),
    Column("worker", Text, nullable=False, comment="The new owner."),
    Column(
        "cause",
        Text,
        nullable=False,
        comment="worker-lost, handover (the old owner was about to stop) or resumed (Twilio attached the call again).",
    ),
    Column(
        "previous_fence",
        Text,
        comment="attach.assign of the owner before. Null: nobody knew it.",
    ),
    Column(
        "items", Integer, nullable=False, comment="Items of the conversation so far that the new owner knew."
    ),
    Column(
        "lost_ms",
        Double,
        comment="From the loss of the owner before until this. Null: nothing was lost, or it is not known.",
    ),
    comment="Each time that another worker went on with a call.",
)
