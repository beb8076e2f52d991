"""Calls by the simulated Twilio for tests: a few documents, servers' scripts, and short conversations."""

import base64
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from media_server import PUBLIC_HOST, Answer, Asked, Media, MediaServer, Session
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]  # it has no types

from trunkline_simulators import g711, recordings
from trunkline_simulators.twilio_call import place_call
from trunkline_simulators.twilio_call_settings import CallSettings
from trunkline_simulators.twilio_conversations import Conversation, Step
from trunkline_simulators.twilio_result import CallResult
from trunkline_simulators.twilio_webhooks import ConnectTo

AUTH_TOKEN = "12345"
WEBHOOK = f"https://{PUBLIC_HOST}/voice"
STREAM_URL = f"wss://{PUBLIC_HOST}/media-stream"
STREAM = f'<Stream url="{STREAM_URL}"><Parameter name="token" value="one-time-token"/></Stream>'

TONE = g711.encode((np.sin(np.arange(2400) * 0.4) * 5000).astype(np.int16))  # 300 ms
HANGS_UP = Conversation("hangs up after the first answer", (Step(hang_up=True, after_quiet_ms=100),))
SPEAKS = Conversation("asks once", (Step(say="caller-price", after_quiet_ms=100), *HANGS_UP.steps))
WAITS = Conversation("never says a word", (), patience_ms=1_000)


def twiml(verbs: str) -> Callable[[Asked], Answer]:
    return lambda asked: Answer(f"<Response>{verbs}</Response>")


def documents(**verbs_by_page: str) -> Callable[[Asked], Answer]:
    pages = {f"/{page}": verbs for page, verbs in verbs_by_page.items()}
    return lambda asked: Answer(f"<Response>{pages[asked.path]}</Response>")


CONNECT = twiml(f"<Connect>{STREAM}</Connect>")
CONNECT_AGAIN = documents(
    voice=f'<Connect action="/reattach">{STREAM}</Connect>', reattach=f"<Connect>{STREAM}</Connect>"
)


async def greets(session: Session) -> None:
    await session.receive_until("start")
    session.send_audio(TONE)
    await session.receive_all()


async def listens(session: Session) -> None:
    await session.receive_all()


async def closes(session: Session) -> None:
    await session.receive_until("media")
    session.close(1001)
    await session.receive_all()


async def says_twice(session: Session) -> None:
    await session.receive_until("start")
    session.send_audio(TONE)
    spoken = b""
    line = g711.encode(recordings.samples("caller-price", 8_000))
    while line not in spoken:
        spoken += audio(await session.receive_until("media"))
    session.send_audio(TONE)
    await session.receive_all()


async def call(
    webhook: Callable[[Asked], Answer],
    *media: Media,
    conversation: Conversation = HANGS_UP,
    **settings: Any,
) -> tuple[CallResult, MediaServer]:
    server = MediaServer(webhook, list(media) or [greets])
    async with server.running():
        return await place_call(settings_for(server, conversation, **settings)), server


def settings_for(server: MediaServer, conversation: Conversation, **settings: Any) -> CallSettings:
    return replace(
        CallSettings(
            webhook=WEBHOOK,
            auth_token=AUTH_TOKEN,
            account_sid="AC1",
            conversation=conversation,
            connect_to=ConnectTo(PUBLIC_HOST, "127.0.0.1", server.port),
            word_ms=0,
        ),
        **settings,
    )


def codes(result: CallResult) -> list[int]:
    return [warned.code for warned in result.warnings]


def signature(url: str, fields: dict[str, str]) -> str:
    return str(RequestValidator(AUTH_TOKEN).compute_signature(url, fields))


def audio(message: dict[str, Any]) -> bytes:
    return base64.b64decode(message["media"]["payload"])
