"""Dialogues and calls in the states that tests start from, and short names for what happens and what follows."""

from trunkline_common.call_events import CallEnded, CallEvent, TurnLatency
from trunkline_common.control import StopReason
from trunkline_common.verdict import Verdict
from trunkline_worker import commands, events
from trunkline_worker.agent import Agent
from trunkline_worker.call import Call
from trunkline_worker.call_life import SESSION_MAX_S
from trunkline_worker.commands import (
    ClientEvent,
    Command,
    Count,
    Finish,
    Measure,
    Play,
    RecordLatency,
    SendCheckpoint,
    SendToModel,
)
from trunkline_worker.dialogue import Dialogue
from trunkline_worker.limits import Limits
from trunkline_worker.model_link import RETRY_S

SESSION = 1
AGENT = Agent(audio_path="pcmu", filler="none", limits=Limits(minutes=0, silence_s=0))
"""Without the sound that fills a silence: it has tests of its own."""
ATTACHED = events.Attached("gw-1", "MZ1")
HUNG_UP = events.StreamStopped(StopReason.CALLER_HUNG_UP)
LOST = events.SessionLost(1, "close-1006", fatal=False)
ROTATES_AT = 0.2 + SESSION_MAX_S
"""When the session of a call that began at 0.0 is replaced, at the latest."""

STREAM_LOST = events.StreamStopped(StopReason.STREAM_LOST)


class Talk:
    """One call's talk; `now` is its clock."""

    def __init__(self, agent: Agent = Agent(audio_path="pcmu")) -> None:  # noqa: B008 - it is frozen
        self.dialogue = Dialogue(agent, "polyphase")
        self.dialogue.resume(now=0.0)
        self.dialogue.session_opened(0.0, deaf=False)
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

    def caller_sends(self, ms: int, code: int = 0x21, from_ms: int = 0) -> list[Command]:
        """Let 20 ms frames of the caller's come, loud ones unless `code` says otherwise, as time goes by."""
        following = []
        for t_ms in range(from_ms, from_ms + ms, 20):
            self.now += 0.02
            following += self.dialogue.caller_audio(t_ms, bytes([code]) * 160, self.now)
        return following

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


def acts(following: list[Command]) -> list[Command]:
    """Return what is done, without what the next owner is told of it."""
    return [command for command in following if not isinstance(command, SendCheckpoint)]


def counted(following: list[Command]) -> list[Measure]:
    """Return what is counted."""
    return [command.measure for command in following if isinstance(command, Count)]


def latencies(following: list[Command]) -> list[TurnLatency]:
    """Return the latencies of turns."""
    return [command.latency for command in following if isinstance(command, RecordLatency)]


def new_call(agent: Agent = AGENT) -> Call:
    """Return a call that has not begun."""
    return Call("CA1", "+1555", "+1666", "wk-1", agent, "polyphase")


def offered(agent: Agent = AGENT) -> Call:
    """Return a call with an open session and no stream."""
    call = new_call(agent)
    call.start(now=0.0)
    call.handle(events.SessionCreated(1, "sess_1"), now=0.1)
    call.handle(events.SessionConfigured(1, agent.session()), now=0.2)
    return call


def talking(agent: Agent = AGENT) -> Call:
    """Return a call with an open session and a stream."""
    call = offered(agent)
    call.handle(ATTACHED, now=0.3)
    return call


def greeted() -> Call:
    """Return a call that owes nobody anything."""
    call = talking()
    call.handle(events.ResponseCreated(1, "R0"), now=0.4)
    call.handle(events.ResponseDone(1, "R0", "completed", "", None), now=0.4)
    return call


def caller_audio(t_ms: int) -> events.CallerAudio:
    """Return 20 ms of the caller's voice."""
    return events.CallerAudio(t_ms, b"\x21" * 160)


def caller_speaks(call: Call, now: float) -> None:
    """Let the caller say something; its words are still to come."""
    call.handle(events.SpeechStarted(1, "U1", 0), now)
    call.handle(events.SpeechStopped(1, "U1", 900), now)
    call.handle(events.ItemAdded(1, "U1", "user"), now)


def agent_speaks(
    call: Call, ms: int, now: float, item_id: str = "A1", response_id: str = "R1"
) -> list[Command]:
    """Let the agent begin to answer."""
    following = call.handle(events.ResponseCreated(1, response_id), now)
    following += call.handle(events.ItemAdded(1, item_id, "assistant"), now)
    return following + call.handle(events.AudioDelta(1, response_id, item_id, b"\x21" * (8 * ms)), now)


def caller_asks(call: Call) -> None:
    """Let the caller say something for a second, from 0.5 s on, all of which the model took as a turn."""
    for t_ms in range(0, 3_000, 20):
        voice = b"\x21" if 500 <= t_ms < 1_500 else b"\xff"
        call.handle(events.CallerAudio(t_ms, voice * 160), now=1.0 + t_ms / 1000)
    call.handle(events.SpeechStarted(1, "U1", 200), now=2.0)
    call.handle(events.SpeechStopped(1, "U1", 2_000), now=3.0)
    call.handle(events.ItemAdded(1, "U1", "user"), now=3.0)


def answered() -> Call:
    """Return a call in which a question was asked and its answer was heard."""
    call = talking()
    caller_asks(call)
    call.handle(events.CallerText(1, "U1", "When are you open?"), now=3.0)
    agent_speaks(call, 100, now=3.1)
    call.handle(events.SpokenText(1, "A1", "one two three four", final=True), now=3.2)
    call.handle(events.ResponseDone(1, "R1", "completed", "", None), now=3.2)
    call.handle(events.MarkPlayed("0:A1:100"), now=3.5)
    return call


def an_hour_later(call: Call) -> Call:
    """Return the call when its session is due to be replaced; the caller is still there."""
    call.handle(events.LineMeasured(None, 0.5), now=ROTATES_AT - 1)
    return call


def restored(call: Call, *, lost: bool = True, at: float = 20.0) -> tuple[list[Command], list[Command]]:
    """Lose the session and set up the next one; return what follows from its creation and its configuration."""
    if lost:
        call.handle(LOST, now=at)
    call.handle(events.Tick(), now=at + RETRY_S[0])
    created = call.handle(events.SessionCreated(2, "sess_2"), now=at + 0.4)
    opened = call.handle(events.SessionConfigured(2, AGENT.session(deaf=True)), now=at + 0.5)
    call.handle(events.SessionConfigured(2, AGENT.session()), now=at + 0.6)
    return created, opened


def verdict_of(following: list[Command]) -> Verdict:
    """Return how the call ended, which it must have."""
    finish = following[-1]
    assert isinstance(finish, Finish)
    assert isinstance(recorded(following)[-1], CallEnded)
    return finish.verdict
