"""A dialogue with an open session, and short names for what happens in it and what follows."""

from trunkline_common.call_events import CallEvent, TurnLatency
from trunkline_worker import commands, events
from trunkline_worker.agent import Agent
from trunkline_worker.commands import ClientEvent, Command, Count, Measure, Play, RecordLatency, SendToModel
from trunkline_worker.dialogue import Dialogue

SESSION = 1


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
