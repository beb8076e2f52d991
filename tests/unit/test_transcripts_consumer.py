from collections.abc import Sequence

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from trunkline_transcripts.consumer import BATCH_BYTES_MAX, BATCH_EVENTS_MAX, batches


def _messages(*sizes_bytes: int) -> list[Msg]:
    return [Msg(Client(), data=bytes(size_bytes)) for size_bytes in sizes_bytes]


@pytest.mark.parametrize(
    ("sizes_bytes", "batch_events"),
    [
        ([], []),
        ([1], [1]),
        ([1] * BATCH_EVENTS_MAX, [BATCH_EVENTS_MAX]),
        ([1] * (2 * BATCH_EVENTS_MAX + 1), [BATCH_EVENTS_MAX, BATCH_EVENTS_MAX, 1]),
        ([BATCH_BYTES_MAX // 2] * 5, [2, 2, 1]),
        ([1, BATCH_BYTES_MAX + 1, 1], [1, 1, 1]),
    ],
)
def test_a_batch_keeps_both_limits(sizes_bytes: Sequence[int], batch_events: Sequence[int]) -> None:
    messages = _messages(*sizes_bytes)

    cut = list(batches(messages))

    assert [len(batch) for batch in cut] == batch_events
    assert [message for batch in cut for message in batch] == messages
