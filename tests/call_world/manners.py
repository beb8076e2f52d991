"""What the caller's voice may do: a cough changes nothing, speech stops the agent and every sound of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from call_world.line import LOUD
from call_world.model import SILENCE_MS
from trunkline_worker import commands, events

if TYPE_CHECKING:
    from call_world.world import World


class Manners:
    """The caller's voice against what follows from it."""

    def __init__(self, world: World) -> None:
        self.speaking: str | None = None
        """The item of the caller's speech under way, coughs included."""
        self.ignored: set[str] = set()
        """Items that were no speech."""
        self._world = world
        self._guard_ms = world.agent.min_speech_ms
        self._loud_bytes_in = 0
        self._loud_bytes_out = 0
        self._loud_run_ms = 0
        """Of the caller's voice, without a pause that ends a turn."""
        self._pause_ms = 0
        self._given_ms = 0
        """Audio for the model since the caller began to speak."""
        self._opened_with_ms: int | None = None
        """What the session was given at once, before the caller's live audio."""
        self._began_before = False
        """The speech is older than the listening or the stream, or came in one piece: its length is not known here."""

    def voice(self, ulaw: bytes, gap_ms: int, *, listens: bool) -> None:
        """A frame of the caller's comes, after a gap in the timestamps, while a session listens or not."""
        self._loud_bytes_in += ulaw.count(LOUD) if listens else 0
        loud_ms = ulaw.count(LOUD) // 8
        self._pause_ms = max(gap_ms, 0) if loud_ms else self._pause_ms + len(ulaw) // 8 + max(gap_ms, 0)
        if self._pause_ms >= SILENCE_MS:
            self._loud_run_ms = 0
        self._loud_run_ms += loud_ms

    def stream_changed(self) -> None:
        """Another stream begins with silence, or with more of what was being said."""
        self._began_before = self._began_before or self.speaking is not None
        self._loud_run_ms = self._pause_ms = 0

    def speech_started(self, item_id: str, audio_start_ms: int) -> None:
        """The model tells that the caller speaks."""
        self.speaking, self._given_ms = item_id, 0
        self._began_before = audio_start_ms == 0 or audio_start_ms < (self._opened_with_ms or 0)

    def session_changed(self) -> None:
        """Another session serves, or none."""
        self.speaking, self._opened_with_ms = None, None

    def given(self, audio_ms: int, *, live: bool) -> None:
        """The model is given audio, as it comes or what was kept."""
        self._given_ms += audio_ms
        if self._opened_with_ms is None:
            self._opened_with_ms = 0 if live else audio_ms

    def given_frame(self, audio: bytes) -> None:
        """The model is given what a frame became."""
        self._loud_bytes_out += audio.count(LOUD)

    def no_word_is_lost(self) -> None:
        """A session that listens is given all that the caller says; for G.711 sessions."""
        assert self._loud_bytes_out == self._loud_bytes_in, "the caller's words were lost"

    def asked_to_speak(self) -> None:
        """The model is asked for a response."""
        assert self._guard_ms or self.speaking is None, "asked to speak while the caller does"

    def filler(self) -> None:
        """The sound that fills a silence plays."""
        assert self._world.agent.filler == "soft"
        assert self.speaking is None, "sound while the caller speaks"

    def cough(self, cause: object) -> None:
        """Speech was ignored."""
        assert self._guard_ms
        assert isinstance(cause, events.SpeechStopped)
        assert self._loud_run_ms < self._guard_ms or not self._world.line.delays_were_even
        self.ignored.add(cause.item_id)

    def interruption(self) -> None:
        """The agent was stopped."""
        told = self._given_ms >= self._guard_ms + SILENCE_MS
        even = self._world.line.delays_were_even and not self._began_before
        assert not self._guard_ms or self._loud_run_ms >= self._guard_ms or told or not even, (
            f"{self._loud_run_ms} ms of sound stopped the agent"
        )

    def coughs_are_forgotten(self, cause: object) -> None:
        """Once it is told that a cough joined its conversation, the model must forget it."""
        if isinstance(cause, events.ItemAdded):
            session = self._world.sessions[cause.session]
            is_known = cause.item_id in self.ignored and cause.item_id in session.items
            assert not is_known or not session.alive or session.closed, "a cough is remembered"


def counted(measure: commands.Measure, manners: Manners, cause: object, *, attached: bool) -> None:
    """Check what is counted when the caller's voice is judged."""
    if measure is commands.Measure.SHORT_SPEECH:
        manners.cough(cause)
    elif measure is commands.Measure.BARGE_IN and attached:
        manners.interruption()
