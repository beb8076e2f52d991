"""Dialogues and calls in the states that tests start from, and short names for what happens and what follows."""

from trunkline_common.call_events import CallEnded, CallEvent, TurnLatency, Verdict
from trunkline_common.control import StopReason
from trunkline_worker import commands, events
from trunkline_worker.agent import Agent
from trunkline_worker.call import Call
from trunkline_worker.commands import (
    ClientEvent,
    Command,
    Count,
    Finish,
    Measure,
    Play,
    RecordLatency,
    SendToModel,
)
from trunkline_worker.dialogue import Dialogue

SESSION = 1
AGENT = Agent(audio_path="pcmu")
ATTACHED = events.Attached("gw-1", "MZ1")
HUNG_UP = events.StreamStopped(StopReason.CALLER_HUNG_UP)
STREAM_LOST = events.StreamStopped(StopReason.STREAM_LOST)


class Talk:
    """One call's talk; `now` is its clock."""

    def __init__(self) -> None:
        self.dialogue = Dialogue(Agent(audio_path="pcmu"), "polyphase")
        self.dialogue.resume(now=0.0)
        self.dialogue.session_opened()
        self.now = 10.0

    def hear(self, event: events.ModelEvent) -> list[Command]:
        return self.dialogue.on_model(event, self.now)

    def agent_speaks(self, ms: int, item_id: str = "A1", response_id: str = "R1") -> list[Command]:
        following = self.hear(events.ResponseCreated(SESSION, response_id))
        following += self.hear(events.ItemAdded(SESSION, item_id, "assistant"))
        return following + self.audio(ms, item_id, response_id)

    def audio(self, ms: int, item_id: str = "A1", response_id: str = "R1") -> list[Command]:
        return self.hear(events.AudioDelta(SESSION, response_id, item_id, b"\x21" * (8 * ms)))

    def agent_ends(self, item_id: str = "A1", response_id: str = "R1") -> list[Command]:
        following = self.hear(events.AudioDone(SESSION, response_id, item_id))
        following += self.hear(events.SpokenText(SESSION, item_id, "one two three four", final=True))
        return following + self.done(response_id)

    def done(self, response_id: str = "R1", status: str = "completed", reason: str = "") -> list[Command]:
        return self.hear(events.ResponseDone(SESSION, response_id, status, reason, None))

    def caller_starts(self, item_id: str = "U1", audio_start_ms: int = 0) -> list[Command]:
        return self.hear(events.SpeechStarted(SESSION, item_id, audio_start_ms))

    def caller_stops(self, item_id: str = "U1", audio_end_ms: int = 1_000) -> list[Command]:
        return self.hear(events.SpeechStopped(SESSION, item_id, audio_end_ms))

    def echo(self, name: str) -> list[Command]:
        return self.dialogue.mark_played(name, self.now)


def sent(following: list[Command]) -> list[ClientEvent]:
    """Return what the model is told."""
    return [command.event for command in following if isinstance(command, SendToModel)]


def played(following: list[Command]) -> list[Play]:
    """Return the audio for the caller."""
    return [command for command in following if isinstance(command, Play)]


def recorded(following: list[Command]) -> list[CallEvent]:
    """Return what goes to the event log."""
    return [command.event for command in following if isinstance(command, commands.Record)]


def counted(following: list[Command]) -> list[Measure]:
    """Return what is counted."""
    return [command.measure for command in following if isinstance(command, Count)]


def latencies(following: list[Command]) -> list[TurnLatency]:
    """Return the latencies of turns."""
    return [command.latency for command in following if isinstance(command, RecordLatency)]


def new_call() -> Call:
    """Return a call that has not begun."""
    return Call("CA1", "+1555", "+1666", "wk-1", AGENT, "polyphase")


def offered() -> Call:
    """Return a call with an open session and no stream."""
    call = new_call()
    call.start(now=0.0)
    call.handle(events.SessionCreated(1, "sess_1"), now=0.1)
    call.handle(events.SessionConfigured(1, AGENT.session()), now=0.2)
    return call


def talking() -> Call:
    """Return a call with an open session and a stream."""
    call = offered()
    call.handle(ATTACHED, now=0.3)
    return call


def caller_audio(t_ms: int) -> events.CallerAudio:
    """Return 20 ms of the caller's voice."""
    return events.CallerAudio(t_ms, b"\x21" * 160)


def caller_speaks(call: Call, now: float) -> None:
    """Let the caller say something; its words are still to come."""
    call.handle(events.SpeechStarted(1, "U1", 0), now)
    call.handle(events.SpeechStopped(1, "U1", 900), now)
    call.handle(events.ItemAdded(1, "U1", "user"), now)


def agent_speaks(call: Call, ms: int, now: float) -> list[Command]:
    """Let the agent begin to answer."""
    following = call.handle(events.ResponseCreated(1, "R1"), now)
    following += call.handle(events.ItemAdded(1, "A1", "assistant"), now)
    return following + call.handle(events.AudioDelta(1, "R1", "A1", b"\x21" * (8 * ms)), now)


def verdict_of(following: list[Command]) -> Verdict:
    """Return how the call ended, which it must have."""
    finish = following[-1]
    assert isinstance(finish, Finish)
    assert isinstance(recorded(following)[-1], CallEnded)
    return finish.verdict
