"""Calls through a real gateway process and a real NATS server; the test is Twilio, and the worker."""

import asyncio
import base64

import pytest
from gateway_driver import CALLED, CALLER, ULAW, Gateway, call, new_call_id
from played_worker import Worker

from trunkline_common import control
from trunkline_common.control import HangUp, LineReport, NextStep, StopReason
from trunkline_common.frames import Fence, FrameKind

pytest_plugins = ["gateway_fixtures"]


async def test_a_call_is_offered_to_a_worker_and_its_stream_attached(
    gateway: Gateway, worker: Worker
) -> None:
    async with call(gateway, worker) as (call_id, socket, twiml):
        assert twiml.verbs == ["Connect", "Redirect"]
        assert twiml.parameters.keys() == {"callerNumber", "calledNumber", "token"}

    (assigned,) = worker.assigned
    assert (assigned.call_id, assigned.fence) == (call_id, Fence(1, 1))
    assert (assigned.caller, assigned.called) == (CALLER, CALLED)
    assert f"started={assigned.started_at_ms}" in twiml.action
    (attached,) = worker.attached
    assert (attached.fence.attach, attached.stream_sid) == (1, socket.stream_sid)


async def test_caller_audio_arrives_whole_and_in_order(gateway: Gateway, worker: Worker) -> None:
    async with call(gateway, worker) as (_, socket, _):
        for number in range(1, 101):
            await socket.media(number * 20, bytes([number]) * (80 + number))

        arrived = [await worker.frame(FrameKind.AUDIO) for _ in range(100)]

    assert [frame.t_ms for frame in arrived] == [number * 20 for number in range(1, 101)]
    assert [frame.payload for frame in arrived] == [bytes([n]) * (80 + n) for n in range(1, 101)]
    assert {frame.fence for frame in arrived} == {Fence(1, 1)}


async def test_what_the_caller_says_before_the_attach_is_not_lost(gateway: Gateway, worker: Worker) -> None:
    call_id = new_call_id()
    twiml = await gateway.voice(call_id)
    async with gateway.socket() as socket:
        await socket.start(call_id, twiml.parameters)
        for number in range(20):
            await socket.media(number * 20, bytes([number]))

        arrived = [await worker.frame() for _ in range(20)]

    assert [frame.payload for frame in arrived] == [bytes([number]) for number in range(20)]
    assert [frame.t_ms for frame in arrived] == [number * 20 for number in range(20)]


async def test_agent_audio_and_marks_reach_twilio_in_order(gateway: Gateway, worker: Worker) -> None:
    async with call(gateway, worker) as (call_id, socket, _):
        for number in range(50):
            await worker.send(call_id, FrameKind.AUDIO, bytes([number]) * 160)
            await worker.send(call_id, FrameKind.MARK, f"0:item:{number * 20}".encode())

        messages = [await socket.next() for _ in range(100)]

    assert {message["streamSid"] for message in messages} == {socket.stream_sid}
    assert [base64.b64decode(message["media"]["payload"]) for message in messages[::2]] == [
        bytes([number]) * 160 for number in range(50)
    ]
    assert [message["mark"]["name"] for message in messages[1::2]] == [
        f"0:item:{number * 20}" for number in range(50)
    ]


async def test_echoed_marks_and_digits_reach_the_worker(gateway: Gateway, worker: Worker) -> None:
    async with call(gateway, worker) as (_, socket, _):
        await socket.mark("0:item:20")
        await socket.send("dtmf", dtmf={"track": "inbound_track", "digit": "#"})

        mark, digit = await worker.frame(), await worker.frame()

    assert (mark.kind, mark.payload) == (FrameKind.MARK, b"0:item:20")
    assert (digit.kind, digit.payload) == (FrameKind.DTMF, b"#")


async def test_after_a_clear_nothing_older_is_sent(gateway: Gateway, worker: Worker) -> None:
    async with call(gateway, worker) as (call_id, socket, _):
        await worker.send(call_id, FrameKind.CLEAR, generation=1)
        await worker.send(call_id, FrameKind.AUDIO, b"old", generation=0)
        await worker.send(call_id, FrameKind.MARK, b"0:item:20", generation=0)
        await worker.send(call_id, FrameKind.AUDIO, b"new", generation=1)

        clear, media = await socket.next(), await socket.next()

    assert clear == {"event": "clear", "streamSid": socket.stream_sid}
    assert base64.b64decode(media["media"]["payload"]) == b"new"


async def test_frames_under_another_fence_are_dropped_counted_and_logged_once(
    gateway: Gateway, worker: Worker
) -> None:
    name = "trunkline_gateway_frames_dropped_total"
    before = [await gateway.metric(name, reason=reason) for reason in ("stale-fence", "future-fence")]
    async with call(gateway, worker) as (call_id, socket, _):
        for _ in range(3):
            await worker.send(call_id, FrameKind.AUDIO, b"zombie", fence=Fence(0, 1))
        await worker.send(call_id, FrameKind.HANG_UP, b"", fence=Fence(7, 1))
        await worker.send(call_id, FrameKind.AUDIO, ULAW)

        assert base64.b64decode((await socket.next())["media"]["payload"]) == ULAW

    after = [await gateway.metric(name, reason=reason) for reason in ("stale-fence", "future-fence")]
    assert after == [before[0] + 3, before[1] + 1]
    lines = [line for line in gateway.process.log_path.read_text().splitlines() if call_id in line]
    assert sum("stale-fence" in line for line in lines) == 1
    assert sum("future-fence" in line for line in lines) == 1


async def test_the_worker_hears_how_long_the_hops_take(gateway: Gateway, worker: Worker) -> None:
    async with call(gateway, worker) as (_, socket, _):
        listening = asyncio.create_task(socket.next())  # echoes the probe
        report = LineReport()
        while report.twilio_rtt_ms is None or report.bus_rtt_ms is None:
            report = control.decode((await worker.frame(FrameKind.LINE)).payload, LineReport)
        listening.cancel()

    assert report.twilio_rtt_ms > 0
    assert report.bus_rtt_ms > 0


async def test_the_caller_hangs_up(gateway: Gateway, worker: Worker) -> None:
    async with call(gateway, worker) as (call_id, socket, twiml):
        await socket.send("stop", stop={"callSid": call_id})

        stop = await worker.frame()

    assert (stop.kind, stop.payload) == (FrameKind.STOP, StopReason.CALLER_HUNG_UP.encode())
    # Twilio asks all the same; nobody would hear a new worker.
    assert (await gateway.reattach(call_id, twiml.action, CallStatus="completed")).verbs == ["Hangup"]


async def test_the_socket_breaks_and_the_call_is_attached_again(gateway: Gateway, worker: Worker) -> None:
    async with call(gateway, worker) as (call_id, socket, twiml):
        socket.websocket.transport.abort()

        stop = await worker.frame()
        assert (stop.kind, stop.payload) == (FrameKind.STOP, StopReason.STREAM_LOST.encode())

    again = await gateway.reattach(call_id, twiml.action, CallStatus="in-progress")
    assert again.verbs == ["Connect", "Redirect"]
    assert "attach=3&" in again.action
    async with gateway.socket(path="/media-stream/", slash="/") as socket:
        await socket.start(call_id, again.parameters)
        await socket.media(0)
        frame = await worker.frame()

    assert (frame.kind, frame.fence, frame.seq) == (FrameKind.AUDIO, Fence(2, 1), 0)
    assert len(worker.assigned) == 1, "the worker that has the call keeps it"


@pytest.mark.parametrize(
    ("next_step", "verbs"), [(NextStep.HANG_UP, ["Hangup"]), (NextStep.FALLBACK, ["Say", "Hangup"])]
)
async def test_the_agent_hangs_up(
    gateway: Gateway, worker: Worker, next_step: NextStep, verbs: list[str]
) -> None:
    async with call(gateway, worker) as (call_id, socket, twiml):
        for _ in range(20):
            await worker.send(call_id, FrameKind.AUDIO, ULAW)
        await worker.send(call_id, FrameKind.HANG_UP, control.encode(HangUp(next=next_step)))
        worker.states[call_id], worker.next = "ended", next_step

        assert [(await socket.next())["event"] for _ in range(20)] == ["media"] * 20
        assert await socket.closed() == 1000

    assert (await gateway.reattach(call_id, twiml.action, CallStatus="in-progress")).verbs == verbs


async def test_a_newer_stream_of_the_same_call_wins(gateway: Gateway, worker: Worker) -> None:
    async with call(gateway, worker) as (call_id, old, twiml):
        again = await gateway.reattach(call_id, twiml.action)
        async with gateway.socket() as new:
            await new.start(call_id, again.parameters)
            assert await old.closed() == 1000

            await new.media(0, b"new")
            frame = await worker.frame(FrameKind.AUDIO)
            await worker.send(call_id, FrameKind.AUDIO, ULAW)
            assert (await new.next())["event"] == "media"

    assert (frame.payload, frame.fence) == (b"new", Fence(2, 1))


async def test_a_call_whose_worker_died_before_the_stream_came_gets_another(
    gateway: Gateway, worker: Worker
) -> None:
    call_id = new_call_id()
    twiml = await gateway.voice(call_id)
    await worker.disown()

    async with gateway.socket() as socket:
        await socket.start(call_id, twiml.parameters)
        await socket.media(0)
        frame = await worker.frame()

    assert [request.fence for request in worker.assigned] == [Fence(1, 1), Fence(1, 4)]
    assert [request.started_at_ms for request in worker.assigned] == [worker.assigned[0].started_at_ms] * 2
    assert (worker.assigned[1].caller, worker.assigned[1].called) == (CALLER, CALLED)
    assert frame.fence == Fence(1, 4)


async def test_a_stream_that_ended_leaves_nothing_behind(gateway: Gateway, worker: Worker) -> None:
    async with call(gateway, worker) as (call_id, socket, _):
        assert await gateway.metric("trunkline_gateway_streams_active") == 1
        assert await gateway.metric("trunkline_gateway_workers_watched") == 1
        await socket.send("stop", stop={"callSid": call_id})

    await gateway.process.wait_for_line(f'"stream-ended".*{call_id}|{call_id}.*"stream-ended"')
    await worker.send(call_id, FrameKind.AUDIO, ULAW)
    await gateway.wait_for_metric(1, "trunkline_gateway_frames_dropped_total", reason="unknown-call")
    assert await gateway.metric("trunkline_gateway_streams_active") == 0
    assert await gateway.metric("trunkline_gateway_workers_watched") == 0
