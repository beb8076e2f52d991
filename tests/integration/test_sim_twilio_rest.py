"""The simulated REST API, asked by Twilio's own client."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from media_server import PUBLIC_HOST, Answer, Asked, Media, MediaServer, Session
from simulated_calls import (
    AUTH_TOKEN,
    CONNECT_AGAIN,
    HANGS_UP,
    STREAM,
    WEBHOOK,
    documents,
    greets,
    listens,
    settings_for,
)
from twilio.base.exceptions import TwilioRestException  # type: ignore[import-untyped]  # twilio ships no types
from twilio.http.async_http_client import AsyncTwilioHttpClient  # type: ignore[import-untyped]
from twilio.rest import Client  # type: ignore[import-untyped]

from trunkline_simulators.twilio_callee import Callee
from trunkline_simulators.twilio_conversations import Conversation
from trunkline_simulators.twilio_rest import RestServer, RestSettings
from trunkline_simulators.twilio_rest_calls import Account
from trunkline_simulators.twilio_rest_numbers import AccountState, PhoneNumber

# Twilio's client hands its credentials to aiohttp in the old way.
pytestmark = [
    pytest.mark.filterwarnings("ignore:BasicAuth is deprecated"),
    pytest.mark.filterwarnings("ignore:The 'auth' parameter is deprecated"),
]

CALLEE, LINE = "+12025550123", "+12025550147"
WAITS = Conversation("never says a word, and waits", (), patience_ms=10_000)
PAGES = documents(voice=f"<Connect>{STREAM}</Connect>", again="<Say>Goodbye</Say>", status="")


@asynccontextmanager
async def asked(
    callee: Callee, webhook: Callable[..., Any] = PAGES, *media: Media
) -> AsyncIterator[tuple[Any, RestServer, MediaServer]]:
    """A system under test, Twilio beside it, and a client of Twilio's."""
    async with MediaServer(webhook, list(media) or [greets, listens]).running() as server:
        call = settings_for(server, WAITS, callee=callee)
        settings = RestSettings(Account("AC1", AUTH_TOKEN, {}), call)
        async with RestServer(settings).running() as twilio, AsyncTwilioHttpClient() as http:
            yield client_of(twilio, http, "AC1", AUTH_TOKEN).calls, twilio, server


def client_of(twilio: RestServer, http: AsyncTwilioHttpClient, user: str, password: str) -> Any:
    client = Client(user, password, "AC1", http_client=http)
    client.api.base_url = f"http://127.0.0.1:{twilio.port}"
    return client


async def placed(calls: Any, **options: Any) -> Any:
    return await calls.create_async(CALLEE, LINE, url=WEBHOOK, **options)


async def streaming(server: MediaServer) -> None:
    await asyncio.wait_for(server.upgraded.wait(), 5)


async def test_a_call_rings_and_is_led_by_its_url() -> None:
    status = f"https://{PUBLIC_HOST}/status"
    async with asked(Callee(after_s=0.1)) as (calls, twilio, server):
        call = await placed(calls, status_callback=status)
        await streaming(server)
        await calls(call.sid).update_async(status="completed")
        await twilio.until_over()

    voice, told = server.asked[0].fields, server.asked[-1].fields
    assert (call.status, call.direction) == ("queued", "outbound-api")
    assert (voice["Direction"], voice["CallStatus"]) == ("outbound-api", "in-progress")
    assert (voice["From"], voice["To"]) == (LINE, CALLEE)
    assert (told["CallSid"], told["CallStatus"]) == (call.sid, "completed")
    assert server.sessions[0].received[-1]["event"] == "stop"


@pytest.mark.parametrize(
    "update", [{"twiml": "<Response><Say>Goodbye</Say></Response>"}, {"url": f"{WEBHOOK[:-5]}again"}]
)
async def test_an_updated_call_leaves_its_stream_for_another_document(update: dict[str, str]) -> None:
    async with asked(Callee(after_s=0)) as (calls, twilio, server):
        call = await placed(calls)
        await streaming(server)
        await calls(call.sid).update_async(**update)
        await twilio.until_over()

    (result,) = twilio.results
    assert (result.said, result.end_reason) == (["Goodbye"], "end-of-twiml")
    assert server.sessions[0].received[-1]["event"] == "stop"


async def test_a_server_that_hangs_does_not_keep_a_call_from_its_new_document() -> None:
    hung, asked_again, released = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def hangs(session: Session) -> None:
        await session.receive_until("media")
        hung.set()
        await released.wait()

    def webhook(asked: Asked) -> Answer:
        if asked.path == "/again":
            asked_again.set()
        return PAGES(asked)

    async with asked(Callee(), webhook, hangs) as (calls, twilio, server), asyncio.timeout(4):
        calling = asyncio.create_task(twilio.place_inbound(twilio.settings.call))
        await hung.wait()
        changed = await calls(server.asked[0].fields["CallSid"]).update_async(url=f"{WEBHOOK[:-5]}again")
        await asked_again.wait()
        released.set()
        result = await calling

    assert (changed.status, changed.direction) == ("in-progress", "inbound")
    assert [each.path for each in server.asked] == ["/voice", "/again"]
    assert (result.said, result.end_reason) == (["Goodbye"], "end-of-twiml")


async def resets(session: Session) -> None:
    await session.receive_until("media")
    session.reset()


async def test_twilio_that_does_not_notice_a_broken_socket_goes_on_when_it_is_told() -> None:
    events: list[str] = []
    reset = asyncio.Event()

    def on_event(event: dict[str, Any]) -> None:
        events.append(event["event"])
        if event["event"] == "stream-ended":
            reset.set()

    async with asked(Callee(), CONNECT_AGAIN, resets, greets) as (calls, twilio, server):
        twilio.on_event = on_event
        never = replace(twilio.settings.call, conversation=HANGS_UP, notices_lost_stream_after_s=None)
        calling = asyncio.create_task(twilio.place_inbound(never))
        await asyncio.wait_for(reset.wait(), 5)
        await calls(server.asked[0].fields["CallSid"]).update_async(url=f"{WEBHOOK[:-5]}reattach")
        result = await calling

    assert [asked.path for asked in server.asked] == ["/voice", "/reattach"]
    assert "StreamSid" not in server.asked[1].fields, "it is no action of <Connect>"
    assert (result.attaches, result.end_reason) == (2, "caller-hung-up")
    assert events.index("stream-ended") < events.index("updated")


@pytest.mark.parametrize("outcome", ["busy", "no-answer", "failed"])
async def test_nobody_answers_and_the_url_is_never_asked(outcome: Any) -> None:
    status = f"https://{PUBLIC_HOST}/status"
    async with asked(Callee(outcome, after_s=0)) as (calls, twilio, server):
        await placed(calls, status_callback=status, timeout=1)
        await twilio.until_over()

    assert [(each.path, each.fields["CallStatus"]) for each in server.asked] == [("/status", outcome)]


async def test_a_call_can_be_taken_back_while_it_rings() -> None:
    async with asked(Callee(after_s=100)) as (calls, twilio, server):
        call = await placed(calls, status_callback=f"https://{PUBLIC_HOST}/status")
        with pytest.raises(TwilioRestException) as early:
            await calls(call.sid).update_async(twiml="<Response/>")
        await calls(call.sid).update_async(status="canceled")
        await twilio.until_over()

    assert early.value.code == 21220
    assert [each.fields["CallStatus"] for each in server.asked] == ["canceled"]


async def test_a_call_that_is_over_or_unknown_cannot_be_changed() -> None:
    async with asked(Callee("busy", after_s=0)) as (calls, twilio, _):
        call = await placed(calls)
        await twilio.until_over()
        with pytest.raises(TwilioRestException) as over:
            await calls(call.sid).update_async(status="completed")
        with pytest.raises(TwilioRestException) as unknown:
            await calls("CA" + "0" * 32).update_async(status="completed")

    assert (over.value.status, over.value.code) == (400, 21220)
    assert (unknown.value.status, unknown.value.code) == (404, 20404)


async def test_the_account_and_its_numbers_are_told_page_by_page() -> None:
    numbers = tuple(
        PhoneNumber(f"+1202555{place:04}", "https://voice.example.com/voice") for place in range(5)
    )
    async with asked(Callee()) as (_, twilio, _), AsyncTwilioHttpClient() as http:
        twilio.settings = replace(twilio.settings, phone_numbers=numbers, state=AccountState(type="Trial"))
        client = client_of(twilio, http, "AC1", AUTH_TOKEN)
        account = await client.api.accounts("AC1").fetch_async()
        every = await client.incoming_phone_numbers.list_async(page_size=2)
        (one,) = await client.incoming_phone_numbers.list_async(phone_number="+12025550003")

    assert (account.status, account.type) == ("active", "Trial")
    assert [each.phone_number for each in every] == [each.phone_number for each in numbers]
    assert (one.phone_number, one.voice_url, one.voice_method) == (
        "+12025550003",
        "https://voice.example.com/voice",
        "POST",
    )


async def test_an_api_key_is_told_the_numbers_but_not_the_account() -> None:
    async with asked(Callee()) as (_, twilio, _), AsyncTwilioHttpClient() as http:
        account = Account("AC1", AUTH_TOKEN, {"SK1": "secret"})
        twilio.settings = replace(twilio.settings, account=account, phone_numbers=(PhoneNumber(LINE),))
        client = client_of(twilio, http, "SK1", "secret")
        numbers = await client.incoming_phone_numbers.list_async()
        with pytest.raises(TwilioRestException) as refused:
            await client.api.accounts("AC1").fetch_async()

    assert [each.phone_number for each in numbers] == [LINE]
    assert (refused.value.status, refused.value.code) == (401, 20003)
