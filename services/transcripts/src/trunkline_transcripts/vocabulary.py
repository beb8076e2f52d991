"""The words that were said in several calls, learned once an hour: the search corrects misspelt ones by them.

Every process does this for itself, without a leader: who comes second finds the words there. A word that only few
calls hold, such as most names, is not learned; one that was learned stays when a call with it is erased.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final

from pydantic import SecretStr
from sqlalchemy import text

from trunkline_common import log
from trunkline_transcripts import database, metrics

CALLS_MIN: Final = 3
INTERVAL_S: Final = 3600
FIRST_DAYS: Final = 30
"""What a process that starts looks at: enough words for any line of business."""
LATER: Final = timedelta(days=1)
"""What is looked at each hour. A rare word gets a whole day to be said in enough calls."""
RUN_TIMEOUT_S: Final = 600

_log = log.get(__name__)


async def keep_learned(url: SecretStr) -> None:
    """Learn the words of the last days, now and once an hour, until cancelled."""
    ago = timedelta(days=FIRST_DAYS)
    while True:
        try:
            async with asyncio.timeout(RUN_TIMEOUT_S):
                learned = await _learn(url, datetime.now(UTC) - ago)
        except database.ERRORS as error:
            metrics.WORDS_FAILURES.inc()
            _log.warning("words-not-learned", why=database.describe(error), retry_s=INTERVAL_S)
        else:
            ago = LATER
            _log.debug("words-learned", words=learned)
        await asyncio.sleep(INTERVAL_S)


async def _learn(url: SecretStr, since: datetime) -> int:
    # A connection of its own: the store's only one must not wait for it.
    engine = database.connect(url)
    try:
        async with engine.begin() as connection:
            # Sorting a day's words on disk takes ten times as long.
            await connection.execute(text("set local work_mem = '64MB'"))
            learned = await connection.scalar(_LEARN, {"since": since, "calls_min": CALLS_MIN})
    finally:
        await engine.dispose()
    return int(learned or 0)


_LEARN: Final = text("select learn_turn_words(:since, :calls_min)")
