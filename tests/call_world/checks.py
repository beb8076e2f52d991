"""What must hold after every step of a call, whatever happened: see `Checks`."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from call_world import endings
from call_world.heard import Heard
from call_world.manners import Manners, counted
from call_world.model import BLOCK_MS, PREFIX_MS
from call_world.understanding import Understanding
from trunkline_common.call_events import AgentTurn, CallEnded, CallerTurn, ModelConnected
from trunkline_common.control import StopReason
from trunkline_common.verdict import Verdict
from trunkline_worker import commands, events
from trunkline_worker.call_life import LINGER_S
from trunkline_worker.filler import SOFT
from trunkline_worker.playing_item import FRAME_BYTES
from trunkline_worker.uplink import BACKLOG_MS_MAX, RESTORED_MS_MAX

if TYPE_CHECKING:
    from call_world.world import World


class Checks:
    """Watches the events that go into one call and the commands that come out."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._cause: object = None
        self._finish: commands.Finish | None = None
        self._hung_up = False
        self._ended_recorded = False
        self._let_go = False
        self._must_end_by: float | None = None
        self._verdict: Verdict | None = None
        """The one that a caller's hang-up demands."""
        # The link to the model.
        self._sessions = 0
        self._open: set[int] = set()
        self._configured: set[int] = set()
        self._in_use: int | None = None
        self._first_in_use = True
        self._active_response: str | None = None
        self._asked_for_response = False
        # The caller's audio.
        self._stream_end_ms = -1
        self._listens = False
        self._manners = Manners(world)
        # The agent's audio.
        self._attached = False
        self._generation = 0
        self._unmarked_bytes = 0
        self._marked_ms: Counter[tuple[int, str]] = Counter()
        self._echoed: set[str] = set()
        self._agent_was_heard = False
        self._heard = Heard(world)
        # Turns.
        self._added: list[str] = []
        self._speech_at_ms: dict[str, int] = {}
        self._positions: dict[str, int] = {}
        self._revisions: Counter[str] = Counter()
        self._agent_turns: set[str] = set()
        self._understood = Understanding(world.line.speech_starts_ms)
        self._served_since: float | None = None
        self._served_to_the_end = False
        self._was_served = False

    def owner_gone(self) -> None:
        """The call's worker is no more; what it had not written is the next one's business."""
        self._sessions, self._in_use, self._first_in_use = 0, None, False
        self._open, self._configured = set(), set()
        self._active_response, self._asked_for_response = None, False
        self._speech_at_ms = {item: at for item, at in self._speech_at_ms.items() if item in self._positions}
        self._manners.session_changed()
        self._echoed.clear()
        owners = self._world.owners
        assert owners is not None
        self._agent_turns -= owners.lost_items

    # --- Events

    def before(self, event: events.Event) -> None:
        """Note what the call is about to learn."""
        if self._world.ended:
            return
        match event:
            case events.CallerAudio(t_ms, ulaw):
                end_ms = t_ms + len(ulaw) // 8
                if end_ms > self._stream_end_ms:
                    gap_ms = end_ms - len(ulaw) // 8 - self._stream_end_ms
                    self._manners.voice(ulaw, gap_ms, listens=self._is_open and self._listens)
                self._stream_end_ms = max(end_ms, self._stream_end_ms)
            case events.Attached():
                self._attached, self._stream_end_ms = True, -1
                self._manners.stream_changed()
                self._line_broke()
            case events.StreamStopped(reason):
                self._line_broke()
                self._attached = False
                self._on_stopped(reason)
            case events.MarkPlayed(name):
                if int(name.split(":")[0]) == self._generation and name not in self._echoed:
                    self._echoed.add(name)
                    self._agent_was_heard = True
            case events.Tick() | events.KeyPressed() | events.LineMeasured() | events.WorkerStopping():
                pass
            case events.YieldAsked() | events.BusChanged() | events.PlaybackLost():
                pass
            case events.Owned():
                # What was not answered comes again.
                self._stream_end_ms = -1
                self._manners.stream_changed()
            case events.ToolReturned() | events.Dialed() | events.RedirectAnswered() | events.OverAtTwilio():
                pass
            case _:
                if event.session in self._open and isinstance(event, events.SessionConfigured):
                    self._configured.add(event.session)
                if event.session == self._in_use:
                    self._on_model(event)

    def _on_stopped(self, reason: StopReason) -> None:
        verdict = endings.demanded(reason, agent_was_heard=self._agent_was_heard)
        since = self._served_since
        self._served_to_the_end = self._is_open and since is not None and self._world.now > since + 1
        if verdict is None or self._world.call.state.value == "lingering":
            return
        self._verdict = verdict
        self._must_end_by = self._world.now + LINGER_S + 0.1

    def _line_broke(self) -> None:
        self._heard.cut_by_line |= set(self._heard.received_bytes) - self._agent_turns
        self._echoed.clear()

    def _on_model(self, event: events.ModelEvent) -> None:
        match event:
            case events.ItemAdded(_, item_id, role):
                if item_id not in self._added:
                    self._added.append(item_id)
                session = self._world.session
                told = session is not None and item_id in session.items and session.items[item_id].is_text
                if role == "assistant" and self._active_response is not None and not told:
                    self._heard.response_items[self._active_response].add(item_id)
            case events.SpeechStarted(_, item_id, audio_start_ms):
                self._speech_at_ms[item_id] = audio_start_ms
                self._manners.speech_started(item_id, audio_start_ms)
            case events.SpeechStopped():
                self._manners.speaking = None
            case events.AudioDelta(_, response_id, item_id, audio):
                self._active_response, self._asked_for_response = response_id, False
                self._heard.received_bytes[item_id] += len(audio)
                self._heard.response_items[response_id].add(item_id)
            case events.ResponseCreated(_, response_id):
                self._active_response, self._asked_for_response = response_id, False
            case events.ResponseDone(_, response_id):
                if self._active_response == response_id:
                    self._active_response = None
                self._asked_for_response = False
                self._world.saw(f"response {event.status}")
            case events.ModelError():
                self._asked_for_response = False

    @property
    def _is_open(self) -> bool:
        return self._in_use is not None

    # --- Commands

    def start_step(self, cause: object) -> None:
        """The commands of one event follow."""
        self._cause = cause
        if isinstance(cause, events.CallerAudio | events.MarkPlayed):
            # What was on its way when its gateway died: the call goes on as if that had only been slow.
            self._attached = self._attached or self._world.call.state.value == "talking"

    def command(self, command: commands.Command) -> None:
        """Check one command before it is performed."""
        assert self._finish is None, "nothing may follow Finish"
        self._world.saw(type(command).__name__)
        match command:
            case commands.OpenSession(session):
                assert session == self._sessions + 1
                assert len(self._open) <= 1, "two sessions at most"
                self._sessions = session
                self._open.add(session)
            case commands.UseSession(session):
                assert session in self._open & self._configured
                assert self._in_use is None, "the session before was not closed"
                self._in_use, self._served_since = session, self._world.now
                self._listens = self._world.sessions[session].listening
            case commands.CloseSession(session):
                self._open.remove(session)
                if session == self._in_use:
                    self._manners.session_changed()
                    self._in_use, self._first_in_use = None, False
                    # The next session hears again what was not written down.
                    self._speech_at_ms = {
                        item_id: at
                        for item_id, at in self._speech_at_ms.items()
                        if item_id in self._positions
                    }
                    self._active_response, self._asked_for_response = None, False
            case commands.SendToModel(event, session):
                self._on_client_event(event, session)
            case commands.Play(generation, ulaw):
                assert self._attached, "played to nobody"
                assert generation == self._generation
                assert ulaw
                assert len(ulaw) % FRAME_BYTES == 0
                if ulaw in SOFT:
                    self._manners.filler()
                    return
                self._unmarked_bytes += len(ulaw)
            case commands.PutMark(generation, name):
                self._on_mark(generation, name)
            case commands.ClearPlayback(generation):
                assert generation == self._generation + 1
                self._generation = generation
            case commands.Count(measure):
                self._world.saw(measure)
                counted(measure, self._manners, self._cause, attached=self._attached)
            case commands.Record(event):
                self._on_record(event)
            case commands.HangUp():
                self._hung_up = True
            case commands.Finish():
                self._finish = command
            case commands.LetGo():
                self._let_go = True

    def _on_client_event(self, event: commands.ClientEvent, session: int | None) -> None:
        self._world.saw(type(event).__name__)
        if isinstance(event, commands.ConfigureSession):
            assert session in self._open - self._configured
            return
        assert session is None
        assert self._is_open, "nothing may be sent before session.updated"
        match event:
            case commands.AppendAudio(audio):
                assert audio
                live = isinstance(self._cause, events.CallerAudio)
                self._manners.given(len(audio) // self._heard.bytes_per_ms, live=live)
                limit_ms = BACKLOG_MS_MAX if self._first_in_use else RESTORED_MS_MAX
                if isinstance(self._cause, events.SessionConfigured):
                    assert len(audio) <= limit_ms * self._heard.bytes_per_ms
                if live:
                    self._manners.given_frame(audio)
            case commands.CreateResponse():
                assert self._active_response is None, "the model is answering already"
                assert not self._asked_for_response, "asked twice"
                self._manners.asked_to_speak()
                self._asked_for_response = True
            case commands.CancelResponse(_, response_id):
                assert response_id == self._active_response
            case commands.TruncateItem(_, item_id, audio_end_ms):
                self._heard.truncated(item_id, audio_end_ms)
            case commands.DeleteItem(_, item_id):
                self._heard.deleted(item_id, self._manners.ignored)
            case commands.SetTurnDetection():
                self._listens = True
                if not isinstance(self._cause, events.SessionConfigured):
                    self._world.saw("listened after the greeting")
                    self._understood.first_ms = self._world.call.duration_ms

    def _on_mark(self, generation: int, name: str) -> None:
        assert generation == self._generation
        of, item_id, position_ms = name.split(":")
        assert int(of) == generation
        if (generation, item_id) not in self._marked_ms:
            # What was not heard when a line broke is sent again, from where it was heard to.
            before = [ms for (_, item), ms in self._marked_ms.items() if item == item_id]
            began_ms = int(position_ms) - self._unmarked_bytes // 8
            assert 0 <= began_ms <= max(before, default=0)
            self._marked_ms[generation, item_id] = began_ms
        self._marked_ms[generation, item_id] += self._unmarked_bytes // 8
        assert int(position_ms) == self._marked_ms[generation, item_id]
        assert self._unmarked_bytes
        self._unmarked_bytes = 0

    # --- Records

    def _on_record(self, event: object) -> None:
        assert not self._ended_recorded, "CallEnded is the last event"
        match event:
            case CallerTurn():
                self._on_caller_turn(event)
            case AgentTurn():
                self._on_agent_turn(event)
            case ModelConnected(cause=cause):
                self._world.saw(f"session {cause}")
                if cause == "start" or not self._was_served:
                    self._was_served = True
                    held_off = not self._world.agent.listen_during_greeting
                    self._understood.first_ms = 1 << 62 if held_off else event.media_start_ms or 0
            case CallEnded():
                self._ended_recorded = True

    def _on_caller_turn(self, turn: CallerTurn) -> None:
        self._world.saw(f"transcript {turn.transcription}")
        self._place(turn.item_id, turn.position)
        self._revisions[turn.item_id] += 1
        assert turn.revision == self._revisions[turn.item_id]
        assert turn.end_ms >= turn.start_ms >= 0
        self._understood.turns[turn.item_id] = turn
        line = self._world.line
        if not line.delays_were_even or line.streams_opened > 1 or not self._speech_at_ms.get(turn.item_id):
            return
        error_ms = self._understood.error_ms(turn, turn.start_ms + PREFIX_MS)
        # Silence that was filled in while a frame was on its way lies in the padding before speech.
        allowed_ms = BLOCK_MS + self._world.line.jitter_ms + (0 if line.silence_is_sent else line.frame_ms)
        assert error_ms <= allowed_ms, f"speech began {error_ms} ms off"

    def _on_agent_turn(self, turn: AgentTurn) -> None:
        assert turn.item_id not in self._agent_turns, "an agent's turn is written once"
        self._agent_turns.add(turn.item_id)
        self._place(turn.item_id, turn.position)
        assert turn.generated_text.startswith(turn.heard_text)
        assert 0 <= turn.heard_ms <= turn.generated_ms
        assert turn.interrupted or turn.heard_ms == turn.generated_ms
        self._heard.written(turn)

    def _place(self, item_id: str, position: int) -> None:
        assert position >= 1
        assert self._positions.setdefault(item_id, position) == position, "a turn keeps its place"

    # --- After a step, and after all

    def end_step(self) -> None:
        """Check what must hold between two events."""
        assert not self._unmarked_bytes, "audio without a mark behind it"
        lingers = self._world.call.state.value == "lingering"
        if self._world.agent.audio_path == "pcmu" and self._is_open and not lingers:
            self._manners.no_word_is_lost()
        self._manners.coughs_are_forgotten(self._cause)
        if isinstance(self._cause, events.ResponseDone) and self._cause.status == "cancelled":
            self._heard.beliefs(self._cause.response_id)
        if self._world.ended:
            assert self._finish is not None or self._let_go
            assert self._world.call.wake_at() is None
        else:
            assert self._must_end_by is None or self._world.now <= self._must_end_by

    def at_the_end(self) -> None:
        """Check what the call left behind."""
        finish = self._finish
        assert finish is not None, "the call never ended"
        assert self._ended_recorded
        assert not self._open, "a session was left open"
        self._world.saw(finish.verdict.name)
        endings.check(finish, self._verdict, hung_up=self._hung_up)
        no_turns = set(self._manners.ignored)
        if self._world.agent.min_speech_ms and self._manners.speaking is not None:
            # Who hangs up in mid-cough leaves no turn.
            no_turns.add(self._manners.speaking)
        assert set(self._speech_at_ms) - no_turns <= set(self._positions), "a caller's turn was lost"
        assert not self._manners.ignored & set(self._positions), "a cough became a turn"
        if (
            self._served_to_the_end
            and self._world.line.delays_were_even
            and self._world.line.streams_opened == 1
            and not self._manners.ignored
        ):
            self._understood.check_that_nothing_was_lost(self._world.call.duration_ms)
        assert len(set(self._positions.values())) == len(self._positions)
        in_order = [self._positions[item_id] for item_id in self._added if item_id in self._positions]
        assert in_order == sorted(in_order), "turns are out of order"
