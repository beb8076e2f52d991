"""Observes how large the event log is: full, it refuses events (`discard=new`), and nobody may learn it only then."""

import asyncio
import contextlib
from typing import Final

from nats.js import JetStreamContext

from trunkline_common import subjects
from trunkline_transcripts import metrics
from trunkline_transcripts.consumer import BUS_ERRORS

INTERVAL_S: Final = 15
"""Of the size for which 1,000 calls need three days, nobody notices more in this time; Prometheus asks as often."""


async def keep_observed(jetstream: JetStreamContext) -> None:
    """Read the stream's size and limit until cancelled; while JetStream does not answer, both stay as they were."""
    while True:
        with contextlib.suppress(*BUS_ERRORS):
            stream = await jetstream.stream_info(subjects.EVENT_STREAM)
            metrics.EVENT_LOG_BYTES.set(stream.state.bytes)
            # JetStream says -1 where there is no limit.
            metrics.EVENT_LOG_BYTES_MAX.set(max(stream.config.max_bytes or 0, 0))
        await asyncio.sleep(INTERVAL_S)
