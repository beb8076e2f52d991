"""An agent that does not listen during its greeting, and when it begins to."""

from talk import LOST, agent_speaks, caller_audio, recorded, sent, talking

from trunkline_common.call_events import ModelConnected
from trunkline_worker import events
from trunkline_worker.agent import Agent
from trunkline_worker.call import Call
from trunkline_worker.commands import AppendAudio, Command, Count, Measure, SetTurnDetection
from trunkline_worker.greeting_ear import LISTEN_BACK_MS, LISTEN_S

AGENT = Agent(audio_path="pcmu", listen_during_greeting=False, filler="none")


def greeting() -> Call:
    """The greeting is being said, and the caller talks over it for two seconds."""
    call = talking(AGENT)
    agent_speaks(call, 100, now=1.0)
    for t_ms in range(0, 2_000, 20):
        assert call.handle(caller_audio(t_ms), now=1.0 + t_ms / 1000) == []
    return call


def listening(following: list[Command]) -> list[SetTurnDetection]:
    return [event for event in sent(following) if isinstance(event, SetTurnDetection)]


def test_it_is_configured_deaf() -> None:
    session = AGENT.session(deaf=True)
    call = Call("CA1", "+1555", "+1666", "wk-1", AGENT, "polyphase")
    call.start(now=0.0)

    (configure,) = sent(call.handle(events.SessionCreated(1, "sess_1"), now=0.1))
    opened = call.handle(events.SessionConfigured(1, session), now=0.2)

    assert getattr(configure, "session", None) == session
    assert listening(opened) == []
    (connected,) = recorded(opened)
    assert isinstance(connected, ModelConnected)
    assert connected.media_start_ms is None


def test_it_listens_once_the_greeting_was_heard() -> None:
    call = greeting()
    assert listening(call.handle(events.ResponseDone(1, "R1", "completed", "", None), now=3.0)) == []

    following = sent(call.handle(events.MarkPlayed("0:A1:100"), now=3.2))

    assert following == [
        SetTurnDetection("listen_2", AGENT.listening()),
        AppendAudio(b"\x21" * (8 * LISTEN_BACK_MS)),
    ]
    assert sent(call.handle(caller_audio(2_000), now=3.2)) == [AppendAudio(b"\x21" * 160)]


def test_what_was_said_before_is_dropped_and_counted() -> None:
    call = greeting()
    call.handle(events.ResponseDone(1, "R1", "completed", "", None), now=3.0)
    call.handle(events.MarkPlayed("0:A1:100"), now=3.2)

    ended = call.handle(events.WorkerStopping(), now=4.0)

    assert Count(Measure.CALLER_AUDIO_DROPPED_MS, 2_000 - LISTEN_BACK_MS) in ended


def test_it_listens_at_once_when_the_greeting_failed() -> None:
    call = talking(AGENT)
    call.handle(events.ResponseCreated(1, "R1"), now=1.0)

    failed = call.handle(events.ResponseDone(1, "R1", "failed", "rate_limit_exceeded", None), now=1.1)

    assert len(listening(failed)) == 1


def test_a_greeting_that_was_cut_by_its_own_limit_is_heard_first() -> None:
    call = greeting()

    assert listening(call.handle(events.ResponseDone(1, "R1", "incomplete", "max", None), now=3.0)) == []


def test_a_greeting_that_is_too_long_can_be_interrupted() -> None:
    call = talking(AGENT)
    agent_speaks(call, 25_000, now=1.0)
    call.handle(events.ResponseDone(1, "R1", "completed", "", None), now=4.0)
    due_at = 0.3 + LISTEN_S

    assert listening(call.handle(events.Tick(), now=due_at - 0.1)) == []
    assert len(listening(call.handle(events.Tick(), now=due_at))) == 1


def test_a_session_that_follows_listens_as_soon_as_it_knows_the_call() -> None:
    call = greeting()
    call.handle(LOST, now=3.0)
    call.handle(events.Tick(), now=3.3)
    call.handle(events.SessionCreated(2, "sess_2"), now=3.4)

    assert len(listening(call.handle(events.SessionConfigured(2, AGENT.session(deaf=True)), now=3.5))) == 1
