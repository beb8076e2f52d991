"""Looks at calls as a whole, again and again: closes those whose end nobody wrote down, counts those with holes.

A call has no end in the log when its caller hung up while nobody owned it, or when its last owner died with its last
word. A call that lives is never silent for long: a model session ends after an hour at the latest, and the next one is
an event. So a call without an event for longer than that is over, and it was over soon after its last one.

Every process does this for itself, without a leader. What is written here is a guess: it leaves `ended_from`, the version
of these columns, as it is, so that whoever owned the call and ends it after all is right, in whatever order. A
guess that is lost because a call's rows were made anew, or that another event of the call proves wrong, is made again or
taken back the next time.
"""

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from trunkline_common import log
from trunkline_common.bus import EVENT_STREAM_MAX_AGE_S
from trunkline_common.verdict import Verdict
from trunkline_transcripts import database, metrics

INTERVAL_S: Final = 600
"""Closing a call ten minutes sooner or later means nothing after hours of silence."""
RETRY_S: Final = 60
RUN_TIMEOUT_S: Final = 120
"""Counting the events of 100,000 calls, a busy day, takes seconds."""

HOLES_SETTLE_S: Final = 600
"""Events on their way arrive within seconds; a worker that could not reach JetStream needs longer."""
HOLES_WINDOW_S: Final = 24 * 3600

_log = log.get(__name__)


class Closed(NamedTuple):
    """What one look changed."""

    lost: int
    """Calls that were closed."""
    reopened: int
    """Calls that had been closed like that and turned out to live."""


async def close_lost_calls(connection: AsyncConnection, lost_after_s: float) -> Closed:
    """Close the calls that were last heard of longer ago than that, by the database's clock; commits."""
    looked = await connection.execute(
        _CLOSE,
        {
            "lost_after_s": lost_after_s,
            "late_s": EVENT_STREAM_MAX_AGE_S + lost_after_s,
            "outcome": Verdict.END_UNKNOWN.outcome.value,
            "reason": Verdict.END_UNKNOWN.reason,
        },
    )
    changes = [(was_closed, is_closed) for was_closed, is_closed in looked]
    await connection.commit()
    return Closed(lost=changes.count((False, True)), reopened=changes.count((True, False)))


async def calls_with_holes(connection: AsyncConnection) -> int:
    """Return how many of the last day's calls that are over lack events, as `call_summary.events_missing` would tell."""
    holes = await connection.scalar(_HOLES, {"window_s": HOLES_WINDOW_S, "settle_s": HOLES_SETTLE_S})
    await connection.commit()
    return holes or 0


async def keep_watch(url: SecretStr, lost_after_s: float, is_caught_up: Callable[[], bool]) -> None:
    """Do both every ten minutes until cancelled. Failures are told and tried again in a minute.

    While events wait in the log (`is_caught_up` is false), silence in the tables says nothing of the calls.
    """
    while True:
        if not is_caught_up():
            await asyncio.sleep(RETRY_S)
            continue
        try:
            async with asyncio.timeout(RUN_TIMEOUT_S):
                await _look(url, lost_after_s)
        except database.ERRORS as error:
            metrics.AUDIT_FAILURES.inc()
            _log.warning("audit-failed", why=database.describe(error), retry_s=RETRY_S)
            await asyncio.sleep(RETRY_S)
        else:
            await asyncio.sleep(INTERVAL_S)


async def _look(url: SecretStr, lost_after_s: float) -> None:
    # A connection of its own: the store's only one must not wait for this.
    engine = database.connect(url)
    try:
        async with engine.connect() as connection:
            closed = await close_lost_calls(connection, lost_after_s)
            holes = await calls_with_holes(connection)
    finally:
        await engine.dispose()
    metrics.CALLS_END_UNKNOWN.inc(closed.lost)
    metrics.CALLS_REOPENED.inc(closed.reopened)
    metrics.CALLS_WITH_HOLES.set(holes)
    if closed.lost or closed.reopened:
        _log.warning("calls-end-unknown", closed=closed.lost, reopened=closed.reopened)
    if holes:
        _log.warning("calls-with-holes", calls=holes, window_s=HOLES_WINDOW_S)


_CLOSE: Final = text("""
    with heard as materialized (
        select call_started_at, call_id, reason is not null as was_closed, last.at as last_at,
               last.at < now() - make_interval(secs => :lost_after_s) as is_lost
        from calls
        cross join lateral (
            select coalesce(max(least(events.at, events.stored_at)), calls.call_started_at) as at
            from events
            where (events.call_started_at, events.call_id) = (calls.call_started_at, calls.call_id)
              and not events.superseded
        ) as last
        where (ended_at is null or reason = 'end-unknown')
          and call_started_at < now() - make_interval(secs => :lost_after_s)
          and (ended_at is null or call_started_at > now() - make_interval(secs => :late_s))
          and case when last.at < now() - make_interval(secs => :lost_after_s) then last.at end
              is distinct from ended_at
        for update of calls skip locked
    )
    update calls
    set ended_at = case when is_lost then last_at end,
        outcome = case when is_lost then cast(:outcome as text) end,
        reason = case when is_lost then cast(:reason as text) end
    from heard
    where (calls.call_started_at, calls.call_id) = (heard.call_started_at, heard.call_id)
    returning was_closed, is_lost
""")
"""Rows that somebody else is writing are left for the next time: this never waits, so nobody waits in a circle.

A worker's clock that is ahead counts no further than until the event was stored. Whoever locks a row reads it anew: an
end that was stored meanwhile stays.
"""

_HOLES: Final = text("""
    select count(*)
    from calls
    where call_started_at > now() - make_interval(secs => :window_s)
      and ended_at < now() - make_interval(secs => :settle_s)
      and exists (
          select
          from (
              select attach, assign, count(*) as events, max(n) + 1 as numbered
              from events
              where (events.call_started_at, events.call_id) = (calls.call_started_at, calls.call_id)
              group by attach, assign
          ) as written
          left join owners
            on (owners.call_started_at, owners.call_id) = (calls.call_started_at, calls.call_id)
           and (owners.attach, owners.assign) = (written.attach, written.assign)
          where coalesce(owners.events_expected, written.numbered) <> written.events
      )
""")
