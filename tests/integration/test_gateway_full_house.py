"""What a real gateway does with callers for whom there is no worker; the worker that says so is played."""

import io
import wave
from collections.abc import Mapping

import pytest
from gateway_driver import CALLED, PUBLIC_URL, Gateway, Twiml, call_fields, new_call_id
from played_worker import LIMIT_S, Worker

from trunkline_common.control import LineTreatment, Transfer, Treatment, TreatmentKind

pytest_plugins = ["gateway_fixtures"]

FRONT_DESK = Transfer(number="+12025550160", timeout_s=25)
WAIT = Treatment(
    kind=TreatmentKind.WAIT, text="Please hold.", position_text="Number {position}.", wait_s_max=60
)
OWN = Treatment()
DIAL = Treatment(kind=TreatmentKind.DIAL, text="Nobody is there.", transfer=FRONT_DESK)


@pytest.fixture
async def full_worker(worker: Worker) -> Worker:
    """The only worker; it has no room."""
    await worker.be_full()
    return worker


def line(full: Treatment, then: Treatment = OWN, failing: Treatment = OWN) -> LineTreatment:
    return LineTreatment(worker="wk-test", queue="front desk", full=full, then=then, failing=failing)


async def ask(gateway: Gateway, call_id: str, url: str, **fields: str) -> Twiml:
    """Ask at an address that a document gave."""
    return await gateway.reattach(call_id, url, **{"CallStatus": "in-progress"} | fields)


async def queued(gateway: Gateway, call_id: str) -> Mapping[str, str]:
    """Call, be sent into the queue, and return the addresses of its music and of what comes after it."""
    twiml = await gateway.voice(call_id)
    enqueue = twiml.response.find("Enqueue")
    assert enqueue is not None, twiml.text
    assert enqueue.text == "front desk"
    return enqueue.attrib


async def test_a_sentence_of_the_profile_replaces_the_gateways(gateway: Gateway, full_worker: Worker) -> None:
    full_worker.line = line(Treatment(kind=TreatmentKind.SAY, text="Call later.", language="en-GB"))

    twiml = await gateway.voice(new_call_id())

    assert (twiml.verbs, twiml.sentence) == (["Say", "Hangup"], "Call later.")
    assert full_worker.asked_lines == [CALLED]


async def test_a_worker_that_does_not_say_leaves_the_gateways_sentence(
    gateway: Gateway, full_worker: Worker
) -> None:
    twiml = await gateway.voice(new_call_id())

    assert (twiml.verbs, full_worker.asked_lines) == (["Say", "Hangup"], [CALLED])
    assert "busy" in twiml.sentence


async def test_busy_is_for_calls_that_nobody_has_answered(gateway: Gateway, full_worker: Worker) -> None:
    full_worker.line = line(Treatment(kind=TreatmentKind.BUSY))
    call_id = new_call_id()

    ringing = await gateway.voice(call_id)
    answered = await ask(gateway, call_id, f"{PUBLIC_URL}/voice/reattach?attach=2&started=1")

    assert ringing.verbs == ["Reject"]
    assert answered.verbs == ["Say", "Hangup"]


@pytest.mark.parametrize(
    ("status", "verbs"), [("completed", ["Hangup"]), ("busy", ["Say", "Hangup"]), ("", ["Say", "Hangup"])]
)
async def test_somebody_is_dialled_once(
    gateway: Gateway, full_worker: Worker, status: str, verbs: list[str]
) -> None:
    full_worker.line = line(DIAL)
    call_id = new_call_id()

    dialling = await gateway.voice(call_id)
    dial = dialling.response.find("Dial")
    assert dial is not None
    after = await ask(gateway, call_id, dial.attrib["action"], DialCallStatus=status)

    assert (dial.findtext("Number"), dial.attrib["timeout"]) == ("+12025550160", "25")
    assert after.verbs == verbs
    assert after.sentence == ("Nobody is there." if "Say" in verbs else "")


async def test_a_number_that_is_none_is_not_dialled(gateway: Gateway, full_worker: Worker) -> None:
    full_worker.line = line(
        Treatment(kind=TreatmentKind.DIAL, transfer=Transfer(number="sip:x", timeout_s=5))
    )
    before = await gateway.rejected("bad-transfer-number")

    assert (await gateway.voice(new_call_id())).verbs == ["Say", "Hangup"]
    assert await gateway.rejected("bad-transfer-number") == before + 1


async def test_a_call_that_cannot_go_on_is_dialled_somewhere_else(gateway: Gateway, worker: Worker) -> None:
    worker.line, worker.taking = line(WAIT, failing=DIAL), False

    assert (await gateway.voice(new_call_id())).verbs == ["Dial", "Redirect"]


async def test_a_waiting_caller_hears_the_position_and_music(gateway: Gateway, full_worker: Worker) -> None:
    full_worker.line = line(WAIT)
    call_id = new_call_id()
    addresses = await queued(gateway, call_id)

    first = await ask(gateway, call_id, addresses["waitUrl"], QueuePosition="2", QueueTime="0")
    same = await ask(gateway, call_id, redirect(first), QueuePosition="2", QueueTime="9")
    moved = await ask(gateway, call_id, redirect(same), QueuePosition="1", QueueTime="18")
    untold = await ask(gateway, call_id, redirect(moved))

    assert [each.sentence for each in (first, same, moved)] == ["Number 2.", "", "Number 1."]
    assert [each.verbs[-2:] for each in (first, same, moved)] == [["Play", "Redirect"]] * 3
    assert untold.verbs == ["Play"], "where Twilio does not tell the place, its own loop does"
    assert first.response.findtext("Play") == f"{PUBLIC_URL}/voice/hold-music.wav"
    assert full_worker.assigned == []


async def test_the_music_is_a_sound_that_twilio_may_keep(gateway: Gateway) -> None:
    response = await gateway.get("/voice/hold-music.wav")

    assert response.headers["content-type"] == "audio/wav"
    assert response.headers["cache-control"].startswith("max-age=")
    with wave.open(io.BytesIO(response.content)) as file:
        assert file.getnframes() > 0


async def test_a_caller_leaves_the_queue_for_the_worker_that_has_room(
    gateway: Gateway, full_worker: Worker
) -> None:
    full_worker.line = line(WAIT)
    call_id = new_call_id()
    addresses = await queued(gateway, call_id)
    await full_worker.have_room()

    # Twilio asks twice where an answer was lost.
    leaving = [
        await ask(gateway, call_id, addresses["waitUrl"], QueuePosition="1", QueueTime="9") for _ in range(2)
    ]
    connecting = [
        await ask(gateway, call_id, addresses["action"], QueueResult="leave", QueueTime="9") for _ in range(2)
    ]

    assert [each.verbs for each in leaving] == [["Leave"]] * 2
    assert [each.verbs for each in connecting] == [["Connect", "Redirect"]] * 2
    assert [request.call_id for request in full_worker.assigned] == [call_id]


async def test_only_those_in_front_look_for_a_worker(gateway: Gateway, full_worker: Worker) -> None:
    full_worker.line = line(WAIT)
    call_id = new_call_id()
    addresses = await queued(gateway, call_id)
    await full_worker.have_room()

    behind = await ask(gateway, call_id, addresses["waitUrl"], QueuePosition="4", QueueTime="9")

    assert "Play" in behind.verbs
    assert full_worker.assigned == []


@pytest.mark.parametrize("then", [DIAL, Treatment(kind=TreatmentKind.HANG_UP), OWN])
async def test_after_too_long_a_wait_comes_something_else(
    gateway: Gateway, full_worker: Worker, then: Treatment
) -> None:
    full_worker.line = line(WAIT, then)
    call_id = new_call_id()
    addresses = await queued(gateway, call_id)

    leaving = await ask(gateway, call_id, addresses["waitUrl"], QueuePosition="1", QueueTime="60")
    after = await ask(gateway, call_id, addresses["action"], QueueResult="leave", QueueTime="60")

    assert leaving.verbs == ["Leave"]
    verbs = {"dial": ["Dial", "Redirect"], "hang-up": ["Hangup"], "say": ["Say", "Hangup"]}
    assert after.verbs == verbs[then.kind]


async def test_a_full_queue_is_like_too_long_a_wait(gateway: Gateway, full_worker: Worker) -> None:
    full_worker.line = line(WAIT)
    call_id = new_call_id()
    addresses = await queued(gateway, call_id)

    assert (await ask(gateway, call_id, addresses["action"], QueueResult="queue-full")).verbs == [
        "Say",
        "Hangup",
    ]


async def test_a_worker_that_was_lost_on_the_way_means_more_waiting_but_not_for_ever(
    gateway: Gateway, full_worker: Worker
) -> None:
    full_worker.line = line(WAIT)
    call_id = new_call_id()
    address = (await queued(gateway, call_id))["action"]
    rounds = 0
    while (after := await ask(gateway, call_id, address, QueueResult="leave", QueueTime="0")).verbs[0] == (
        "Enqueue"
    ):
        enqueue = after.response.find("Enqueue")
        assert enqueue is not None
        address, rounds = enqueue.attrib["action"], rounds + 1

    assert (rounds, after.verbs) == (3, ["Say", "Hangup"])


async def test_a_caller_who_hangs_up_in_the_queue_leaves_nothing_at_the_worker(
    gateway: Gateway, full_worker: Worker
) -> None:
    full_worker.line = line(WAIT)
    call_id = new_call_id()
    addresses = await queued(gateway, call_id)
    await full_worker.have_room()
    await ask(gateway, call_id, addresses["waitUrl"], QueuePosition="1", QueueTime="9")

    after = await ask(
        gateway, call_id, addresses["action"], QueueResult="hangup", QueueTime="9", CallStatus="completed"
    )
    given_up = await full_worker.given_up_call(LIMIT_S)

    assert (after.verbs, given_up) == (["Hangup"], call_id)


async def test_what_callers_got_is_counted(gateway: Gateway, full_worker: Worker) -> None:
    name, labels = "trunkline_gateway_callers_without_agent_total", {"why": "full", "treatment": "wait"}
    full_worker.line = line(WAIT)
    before = [
        await gateway.metric(name, **labels),
        await gateway.metric("trunkline_gateway_waits_begun_total"),
    ]

    await queued(gateway, new_call_id())

    after = [
        await gateway.metric(name, **labels),
        await gateway.metric("trunkline_gateway_waits_begun_total"),
    ]
    assert after == [each + 1 for each in before]


async def test_no_number_of_a_caller_or_a_line_stands_in_an_address(
    gateway: Gateway, full_worker: Worker
) -> None:
    full_worker.line = line(WAIT)

    text = (await gateway.voice(new_call_id())).text

    fields = call_fields("x")
    assert fields["From"][1:] not in text
    assert fields["To"][1:] not in text


def redirect(twiml: Twiml) -> str:
    return twiml.response.findtext("Redirect") or ""
