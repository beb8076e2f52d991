"""What takes a call off its stream for a while: transfers and DTMF, at a real gateway process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from gateway_driver import Gateway, Twiml, call
from played_worker import Worker

from trunkline_common import control
from trunkline_common.control import HangUp, NextStep, Transfer
from trunkline_common.frames import Fence, FrameKind

pytest_plugins = ["gateway_fixtures"]

COLLEAGUE = Transfer(number="+12025550177", timeout_s=20)


@asynccontextmanager
async def left(gateway: Gateway, worker: Worker, next_step: NextStep) -> AsyncIterator[tuple[str, str]]:
    """A call whose worker has let go of the stream; yields its id and the address that Twilio asks now."""
    async with call(gateway, worker) as (call_id, socket, twiml):
        worker.states[call_id], worker.next = "leaving", next_step
        await worker.send(call_id, FrameKind.HANG_UP, control.encode(HangUp(next=next_step)))
        assert await socket.closed() == 1000
        yield call_id, twiml.action


async def transferred(gateway: Gateway, call_id: str, url: str) -> tuple[Twiml, str]:
    twiml = await gateway.reattach(call_id, url, CallStatus="in-progress")
    dial = twiml.response.find("Dial")
    assert dial is not None, twiml.text
    return twiml, dial.attrib["action"]


async def test_a_transfer_is_dialled_and_ends_with_the_conversation(gateway: Gateway, worker: Worker) -> None:
    worker.transfer, worker.after_dial = COLLEAGUE, "ended"
    async with left(gateway, worker, NextStep.TRANSFER) as (call_id, url):
        dialling, dialed_url = await transferred(gateway, call_id, url)
        after = await gateway.reattach(
            call_id, dialed_url, CallStatus="in-progress", DialCallStatus="completed"
        )

    assert dialling.verbs == ["Dial", "Redirect"]
    assert dialling.response.findtext("Dial/Number") == COLLEAGUE.number
    assert after.verbs == ["Hangup"]
    assert worker.dialed == ["completed"]


@pytest.mark.parametrize("status", ["busy", "no-answer", "failed", "canceled"])
async def test_nobody_answers_and_the_agent_goes_on(gateway: Gateway, worker: Worker, status: str) -> None:
    worker.transfer = COLLEAGUE
    async with left(gateway, worker, NextStep.TRANSFER) as (call_id, url):
        _, dialed_url = await transferred(gateway, call_id, url)
        back = await gateway.reattach(call_id, dialed_url, CallStatus="in-progress", DialCallStatus=status)
        async with gateway.socket() as socket:
            await socket.start(call_id, back.parameters)
            await socket.media(0)
            frame = await worker.frame(FrameKind.AUDIO)

    assert back.verbs == ["Connect", "Redirect"]
    assert worker.dialed == [status]
    assert frame.fence == Fence(2, 1), "the dialling took no attach number"
    assert len(worker.assigned) == 1


async def test_twilio_asks_twice_and_the_answers_are_the_same(gateway: Gateway, worker: Worker) -> None:
    worker.transfer = COLLEAGUE
    async with left(gateway, worker, NextStep.TRANSFER) as (call_id, url):
        first, dialed_url = await transferred(gateway, call_id, url)
        again, _ = await transferred(gateway, call_id, url)
        backs = [
            await gateway.reattach(call_id, dialed_url, CallStatus="in-progress", DialCallStatus="busy")
            for _ in range(2)
        ]

    assert first.text == again.text
    assert [back.action for back in backs] == [backs[0].action] * 2


@pytest.mark.parametrize(
    ("status", "verbs", "assigned"),
    [
        ("completed", ["Hangup"], 1),
        ("answered", ["Hangup"], 1),
        # Back from a transfer that came to nothing: another worker goes on from the log.
        ("no-answer", ["Connect", "Redirect"], 2),
    ],
)
async def test_the_owner_is_gone_when_the_transfer_ends(
    gateway: Gateway, worker: Worker, status: str, verbs: list[str], assigned: int
) -> None:
    worker.transfer = COLLEAGUE
    async with left(gateway, worker, NextStep.TRANSFER) as (call_id, url):
        _, dialed_url = await transferred(gateway, call_id, url)
        await worker.disown()
        after = await gateway.reattach(call_id, dialed_url, CallStatus="in-progress", DialCallStatus=status)

    assert after.verbs == verbs
    assert len(worker.assigned) == assigned


@pytest.mark.parametrize("fields", [{}, {"DialCallStatus": "vanished"}])
async def test_a_dial_status_that_is_none_means_failed(
    gateway: Gateway, worker: Worker, fields: dict[str, str]
) -> None:
    before = await gateway.rejected("bad-dial-status")
    worker.transfer = COLLEAGUE
    async with left(gateway, worker, NextStep.TRANSFER) as (call_id, url):
        _, dialed_url = await transferred(gateway, call_id, url)
        back = await gateway.reattach(call_id, dialed_url, CallStatus="in-progress", **fields)

    assert back.verbs == ["Connect", "Redirect"]
    assert worker.dialed == ["failed"]
    assert await gateway.rejected("bad-dial-status") == before + 1


async def test_the_caller_hangs_up_while_being_put_through(gateway: Gateway, worker: Worker) -> None:
    worker.transfer = COLLEAGUE
    async with left(gateway, worker, NextStep.TRANSFER) as (call_id, url):
        _, dialed_url = await transferred(gateway, call_id, url)
        after = await gateway.reattach(
            call_id, dialed_url, CallStatus="completed", DialCallStatus="completed"
        )

    assert after.verbs == ["Hangup"]
    assert worker.dialed == ["completed"], "the owner can close its books"


async def test_an_owner_that_would_dial_again_and_again_is_stopped(gateway: Gateway, worker: Worker) -> None:
    worker.transfer, worker.after_dial = COLLEAGUE, "leaving"
    async with left(gateway, worker, NextStep.TRANSFER) as (call_id, url):
        _, dialed_url = await transferred(gateway, call_id, url)
        after = await gateway.reattach(call_id, dialed_url, CallStatus="in-progress", DialCallStatus="busy")

    assert after.verbs == ["Say", "Hangup"]


async def test_what_is_no_number_is_never_dialled(gateway: Gateway, worker: Worker) -> None:
    before = await gateway.rejected("bad-transfer-number")
    worker.transfer = Transfer(number="sip:boss@example.com", timeout_s=20)
    async with left(gateway, worker, NextStep.TRANSFER) as (call_id, url):
        after = await gateway.reattach(call_id, url, CallStatus="in-progress")

    assert after.verbs == ["Say", "Hangup"]
    assert await gateway.rejected("bad-transfer-number") == before + 1


@pytest.mark.parametrize(
    ("next_step", "verbs"),
    [
        (NextStep.HANG_UP, ["Hangup"]),
        (NextStep.FALLBACK, ["Say", "Hangup"]),
        (NextStep.TRANSFER, ["Say", "Hangup"]),
    ],
)
async def test_an_owner_that_leaves_without_a_target_has_ended(
    gateway: Gateway, worker: Worker, next_step: NextStep, verbs: list[str]
) -> None:
    async with left(gateway, worker, next_step) as (call_id, url):
        assert (await gateway.reattach(call_id, url, CallStatus="in-progress")).verbs == verbs


async def test_digits_are_played_and_the_agent_goes_on(gateway: Gateway, worker: Worker) -> None:
    worker.digits = "1w234#"
    async with left(gateway, worker, NextStep.SEND_DIGITS) as (call_id, url):
        twiml = await gateway.reattach(call_id, url, CallStatus="in-progress")
        async with gateway.socket() as socket:
            await socket.start(call_id, twiml.parameters)
            await socket.media(0)
            frame = await worker.frame(FrameKind.AUDIO)

    assert twiml.verbs == ["Play", "Connect", "Redirect"]
    assert twiml.response[0].attrib == {"digits": "1w234#"}
    assert frame.fence == Fence(2, 1)


async def test_digits_that_are_none_are_not_played(gateway: Gateway, worker: Worker) -> None:
    before = await gateway.rejected("bad-digits")
    worker.digits = "call +12025550177"
    async with left(gateway, worker, NextStep.SEND_DIGITS) as (call_id, url):
        twiml = await gateway.reattach(call_id, url, CallStatus="in-progress")

    assert twiml.verbs == ["Connect", "Redirect"]
    assert await gateway.rejected("bad-digits") == before + 1


async def test_a_long_menu_is_no_loop_of_lost_streams_but_ends_all_the_same(
    gateway: Gateway, worker: Worker
) -> None:
    worker.digits = "1"
    async with left(gateway, worker, NextStep.SEND_DIGITS) as (call_id, url):
        rounds = 0
        twiml = await gateway.reattach(call_id, url, CallStatus="in-progress")
        while "Connect" in twiml.verbs:
            rounds += 1
            worker.fences[call_id] = Fence(rounds + 1, 1)
            twiml = await gateway.reattach(call_id, twiml.action, CallStatus="in-progress")

    assert rounds == 20
    assert twiml.verbs == ["Say", "Hangup"]
