"""The table `callers`: the only place of a caller's number, and how numbers that an older release wrote get there."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import Boolean, CheckConstraint, Column, Index, LargeBinary, Row, Table, Text, func, text
from sqlalchemy.ext.asyncio import AsyncConnection

from trunkline_transcripts.caller_hash import HASH_CHARACTERS, CallerKey
from trunkline_transcripts.columns import MOMENT, by_month, metadata, of_call
from trunkline_transcripts.rows import CallerRow

BATCH_CALLS_MAX: Final = 500
"""Rows that one transaction locks; it takes about 50 ms."""

callers: Final = by_month(
    CallerRow,
    *of_call(),
    Column(
        "number",
        Text,
        nullable=False,
        comment="Who called: a phone number as Twilio gave it (E.164). Personal data.",
    ),
    Index("callers_number", "number"),
    comment="The callers' numbers, and their only place. Calls whose caller withheld the number have no row.",
)


caller_hash_key: Final = Table(
    "caller_hash_key",
    metadata,
    Column(
        "only_row",
        Boolean,
        CheckConstraint("only_row"),
        primary_key=True,
        server_default=text("true"),
        comment="There is one key: two would make two callers of one.",
    ),
    Column(
        "key",
        LargeBinary,
        comment="The key, where the setting CALLER_HASH_KEY does not give it. Null: it does.",
    ),
    Column(
        "check_value",
        Text,
        nullable=False,
        comment="What the key makes of a certain text: tells another key from it.",
    ),
    Column(
        "made_at",
        MOMENT,
        nullable=False,
        server_default=func.now(),
        comment="When it was first used, by the clock of the database.",
    ),
    comment="The key that turns callers' numbers into hashes. Who reads it can find out who called.",
)


async def move_numbers(connection: AsyncConnection, key: CallerKey) -> int:
    """Move what a service of the release before left in `calls` and `events`; return how many calls had some; commits."""
    moved = 0
    while True:
        left = (await connection.execute(_LEFT, {"limit": BATCH_CALLS_MAX})).all()
        if left:
            await _move(connection, key, left)
        await connection.commit()
        moved += len(left)
        if len(left) < BATCH_CALLS_MAX:
            return moved


async def move_number_of(
    connection: AsyncConnection, key: CallerKey, call_started_at: datetime, call_id: str
) -> None:
    """Do the same for one call, in the transaction that is open."""
    left = await connection.execute(_LEFT_OF, {"began": call_started_at, "call_id": call_id})
    await _move(connection, key, left.all())


async def _move(connection: AsyncConnection, key: CallerKey, left: Sequence[Row[datetime, str, str]]) -> None:
    for call_started_at, call_id, caller in left:
        call = {"began": call_started_at, "call_id": call_id}
        # A service of the release before that makes a call's rows anew finds the hash in its events.
        hashed = caller if _is_hash(caller) else key.hash(caller)
        if hashed is not None and hashed != caller:
            await connection.execute(_KEEP, {**call, "number": caller})
        await connection.execute(_HASH_IN_EVENTS, {**call, "hashed": hashed or ""})
        await connection.execute(_HASH_IN_CALLS, {**call, "hashed": hashed})


def _is_hash(caller: str) -> bool:
    return len(caller) == HASH_CHARACTERS and not set(caller) - set("0123456789abcdef")


_OF_CALL: Final = "call_started_at = cast(:began as timestamptz) and call_id = cast(:call_id as text)"

_LEFT: Final = text("""
    select call_started_at, call_id, caller
    from calls
    where caller is not null
    order by call_started_at, call_id
    limit :limit
    for update skip locked
""")
_LEFT_OF: Final = text(f"""
    select call_started_at, call_id, caller
    from calls
    where {_OF_CALL} and caller is not null
    for update
""")  # noqa: S608 - the text in it is ours
_KEEP: Final = text("""
    insert into callers (call_started_at, call_id, number)
    values (:began, :call_id, :number)
    on conflict do nothing
""")
_HASH_IN_EVENTS: Final = text(f"""
    update events
    set data = jsonb_set(data, '{{caller}}', to_jsonb(cast(:hashed as text)))
    where {_OF_CALL} and kind = 'call_started' and data ->> 'caller' is distinct from cast(:hashed as text)
""")  # noqa: S608 - the text in it is ours
_HASH_IN_CALLS: Final = text(f"""
    update calls
    set caller = null, caller_hash = cast(:hashed as text)
    where {_OF_CALL}
""")  # noqa: S608 - the text in it is ours
