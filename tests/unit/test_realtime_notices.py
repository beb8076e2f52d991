"""What ignored events tell: a list that covers OpenAI's own types, and the few that matter."""

import json
from typing import get_args

import pytest
from openai.types import realtime as openai_types
from openai.types.beta import realtime as beta_types

from trunkline_worker import realtime_api, realtime_beta
from trunkline_worker.realtime_notices import Notice, notice


@pytest.mark.parametrize(
    ("server_event", "decode"),
    [
        (openai_types.RealtimeServerEvent, realtime_api.decode),
        (beta_types.RealtimeServerEvent, realtime_beta.decode),
    ],
    ids=["ga", "beta"],
)
def test_every_event_that_openai_documents_is_read_or_known(server_event: object, decode: object) -> None:
    every = [
        get_args(event_type.model_fields["type"].annotation)[0]
        for event_type in get_args(get_args(server_event)[0])
    ]
    assert callable(decode)

    ignored = [name for name in every if decode(json.dumps({"type": name}), 1) is None]

    # A session for transcription alone is no business of a call's.
    unknown = [name for name in ignored if notice(json.dumps({"type": name}))[0] is Notice.UNKNOWN]
    assert set(unknown) <= {"transcription_session.updated"}


@pytest.mark.parametrize(
    ("event", "told"),
    [
        ({"type": "response.content_part.added", "part": {"type": "text"}}, Notice.TEXT_PART),
        ({"type": "response.content_part.added", "part": {"type": "audio"}}, Notice.INFORMATIVE),
        ({"type": "response.content_part.added", "part": None}, Notice.INFORMATIVE),
        ({"type": "mcp_list_tools.failed", "item_id": "item_1"}, Notice.MCP_FAILED),
        ({"type": "response.mcp_call.failed", "item_id": "item_1"}, Notice.MCP_FAILED),
        ({"type": "response.hologram.delta"}, Notice.UNKNOWN),
        ({}, Notice.UNKNOWN),
    ],
)
def test_what_an_ignored_event_tells(event: dict[str, object], told: Notice) -> None:
    assert notice(json.dumps(event))[0] is told


@pytest.mark.parametrize("data", [b"", b"\xff", b"[]", b'{"type":' + b"[" * 20_000])
def test_what_is_no_event_tells_nothing(data: bytes) -> None:
    assert notice(data) == (Notice.UNKNOWN, "")
