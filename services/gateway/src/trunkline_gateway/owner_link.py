"""Pure: what passes between one stream and whoever owns its call: its owners, one after another.

* Up, everything has a number, and what must not be lost is kept until no owner will need it.
* While nobody can be reached it waits; afterwards the owner gets what it missed, or a new owner all that is kept.
* Of the caller's audio, what waits goes before what comes.
"""

from collections.abc import Callable, Sequence
from typing import Final

from trunkline_common import control
from trunkline_common.control import Checkpoint, ControlError, Own
from trunkline_common.frames import FINAL, REPLAYED, Fence, Frame, FrameKind, encode
from trunkline_gateway import twilio
from trunkline_gateway.caller_ring import RING_BYTES_MAX, RING_FRAMES_MAX, CallerRing, Kept
from trunkline_gateway.comfort import Comfort
from trunkline_gateway.downlink import FOR_TWILIO, Downlink
from trunkline_gateway.events import (
    AgentHeard,
    ChangeOwner,
    ComfortPlayed,
    Command,
    DropFrame,
    Publish,
    Revoke,
    Send,
    SendClear,
)
from trunkline_gateway.ownership import NOBODY, GiveUp, LetGo, Owner, Ownership, Resume, Step, Switch, Yield
from trunkline_gateway.probe import LineProbe
from trunkline_gateway.reasons import Drop, Ending, Loss

ATTACH_BUFFER_BYTES_MAX: Final = 2_000 * twilio.BYTES_PER_MS
"""Two seconds of the caller until a worker is found; older words would be answered out of place."""

ATTACH_BUFFER_FRAMES_MAX: Final = 400
"""Bounds it for frames smaller than the usual 20 ms, too."""

CHECKPOINT_BYTES_MAX: Final = 64 * 1024
"""Of its state: some hundred times what a conversation needs beside the event log."""

REPLAY_FRAMES_MAX: Final = 50
"""At once, a second of audio: twenty calls that do so in the same turn fit into what may wait for the socket."""

REPLAY_INTERVAL_S: Final = 0.01
"""Until the next ones: fifteen seconds of audio take 150 ms."""

End = Callable[[Ending, float], list[Command]]
"""Ends the stream."""

_FLAGGED: Final = frozenset({FrameKind.AUDIO, FrameKind.DTMF})


class OwnerLink:
    """The two directions between a stream and its call's owner."""

    def __init__(self, gateway: str, probe: LineProbe, end: End) -> None:
        self.media_end_ms = 0
        """Where the caller's audio ends, by the stream's timestamps."""
        self._gateway = gateway
        self._probe = probe
        self._end = end
        self._stream_sid = ""
        self._outgoing = twilio.Outgoing("")
        self._downlink = Downlink(self._outgoing, probe, NOBODY.fence)
        self._ownership = Ownership()
        self._ring = CallerRing(ATTACH_BUFFER_BYTES_MAX, ATTACH_BUFFER_FRAMES_MAX)
        self._comfort = Comfort()
        self._mark_played = ""
        self._checkpoint = b""
        self._checkpoint_is_final = False
        self._held_from_seq: int | None = None
        self._replay_at: float | None = None
        self._unheard_since: float | None = None
        """When the owner before was lost, until audio of the present one is sent."""

    @property
    def fence(self) -> Fence:
        """What frames of both directions must carry."""
        return self._downlink.fence

    @property
    def kept_audio_bytes(self) -> int:
        """How much of the caller's audio is kept."""
        return self._ring.audio_bytes

    @property
    def is_up_usual(self) -> bool:
        """Whether the caller's audio goes to the owner as it comes."""
        return self._ownership.is_reachable and not self._ring.is_waiting

    @property
    def newest_seq(self) -> int:
        """The number of the newest frame that the present owner was sent."""
        return self._ring.next_seq - 1

    def is_down_usual(self, now: float) -> bool:
        """Whether the agent's audio goes to Twilio as it comes."""
        return self._unheard_since is None and not self._comfort.is_unplayed(now)

    def open(self, stream_sid: str) -> twilio.Outgoing:
        """Note which stream this is; what the caller says waits from now on."""
        self._stream_sid = stream_sid
        self._outgoing = twilio.Outgoing(stream_sid)
        return self._outgoing

    def attached(self, owner: Owner) -> list[Command]:
        """Send what waits to the call's first owner on this stream."""
        self._ownership.attached(owner)
        self._downlink = Downlink(self._outgoing, self._probe, owner.fence)
        taken = self._ring.take(ATTACH_BUFFER_FRAMES_MAX)
        self._ring.bytes_max, self._ring.frames_max = RING_BYTES_MAX, RING_FRAMES_MAX
        return [Publish(kept.kind, self._frame(kept, 0)) for kept in taken]

    def caller_audio(self, media: twilio.MediaBody) -> bytes:
        """Return the frame to publish, where `is_up_usual`."""
        payload, t_ms = media.payload, media.timestamp
        self.media_end_ms = t_ms + len(payload) // twilio.BYTES_PER_MS
        seq = self._ring.sent_audio(t_ms, payload)
        downlink = self._downlink
        return encode(Frame(FrameKind.AUDIO, downlink.fence, seq, t_ms, downlink.generation, payload))

    def agent_audio(self, frame: Frame, now: float) -> str | None:
        """Return the message to send to Twilio, where `is_down_usual`; None when `take` must look at the frame."""
        return self._downlink.audio(frame, now)

    def media(self, media: twilio.MediaBody) -> list[Command]:
        """Take the caller's audio."""
        self.media_end_ms = media.timestamp + len(media.payload) // twilio.BYTES_PER_MS
        if self.fence != NOBODY.fence and self.is_up_usual:
            return [Publish(FrameKind.AUDIO, self.caller_audio(media))]
        return self._wait(FrameKind.AUDIO, media.timestamp, media.payload)

    def mark(self, name: str) -> list[Command]:
        """Take a mark that Twilio echoed."""
        self._mark_played = name
        return self._send(FrameKind.MARK, name.encode())

    def digit(self, digit: str) -> list[Command]:
        """Take a key that the caller pressed."""
        return self._send(FrameKind.DTMF, digit.encode())

    def tell(self, kind: FrameKind, payload: bytes) -> list[Command]:
        """Send something that is not sent again."""
        seq = self._ring.take_seq()
        return [Publish(kind, self._frame(Kept(kind, self.media_end_ms, payload, seq), 0))]

    def report(self, now: float) -> list[Command]:
        """Tell the owner how long the hops take, if there is anything new."""
        if not self.is_up_usual:
            return []
        report = self._probe.report(now)
        return [] if report is None else self.tell(FrameKind.LINE, control.encode(report))

    def take(self, frame: Frame, now: float) -> list[Command]:
        """Take a frame of a worker."""
        if frame.kind == FrameKind.READY:
            steps = self._ownership.ready(frame.fence, frame.seq, now)
            if steps is None:
                return [DropFrame(self._downlink.refuses(frame) or Drop.UNKNOWN_KIND)]
            return self._follow(steps, now)
        refusal = self._downlink.refuses(frame)
        if refusal is not None:
            return [DropFrame(refusal)]
        commands = self._downlink.arrived(frame)
        if frame.kind in FOR_TWILIO:
            commands += self._to_twilio(frame, now)
        elif frame.kind == FrameKind.CHECKPOINT:
            commands += self._on_checkpoint(frame, now)
        elif frame.kind == FrameKind.RESUME:
            self._downlink.resumed(frame.payload)
        elif frame.kind == FrameKind.MOVE:
            commands += self._follow(self._ownership.asked_to_move(now), now)
        elif frame.kind == FrameKind.HANG_UP:
            commands += self._end(Ending.AGENT_HUNG_UP, now)
        else:
            commands.append(DropFrame(Drop.UNKNOWN_KIND))
        return commands + self._ask_for_lost(now)

    def pinged(self, worker: str, consumed: int | None, now: float) -> list[Command]:
        """Take a worker's word about how far it is."""
        return self._follow(self._ownership.pinged(worker, consumed, now), now) + self._ask_for_lost(now)

    def lost(self, worker: str, how: Loss, now: float) -> list[Command]:
        """A worker is lost."""
        return self._follow(self._ownership.lost(worker, how, now), now)

    def cut_off(self, first_seq: int | None, since: float) -> list[Command]:
        """The link is broken, and frames from this number on have not left."""
        known = [seq for seq in (self._held_from_seq, first_seq) if seq is not None]
        self._held_from_seq = min(known, default=None)
        self._ownership.link_lost(since)
        return []

    def assigned(self, owner: Owner, now: float) -> list[Command]:
        """A worker has taken the live call."""
        return self._follow(self._ownership.assigned(owner, now), now)

    def not_assigned(self, fence: Fence, now: float, *, is_full: bool) -> list[Command]:
        """No worker has."""
        return self._follow(self._ownership.not_assigned(fence, is_full, now), now)

    def assigned_late(self, owner: Owner, ending: Ending, now: float) -> list[Command]:
        """A worker has taken a call whose stream has ended meanwhile: it goes on from there, if nobody else does."""
        if ending is Ending.REPLACED or ending.stop is None:
            return self._follow([LetGo(owner)], now)
        commands = self._follow(self._ownership.assigned_late(owner, now), now)
        if self._ownership.owner != owner:
            return commands
        while self._ring.is_waiting:
            commands += self._replay(now)
        return commands + self.tell(FrameKind.STOP, ending.stop.encode())

    def ended(self, ending: Ending, now: float) -> list[Command]:
        """The stream is over."""
        is_given_up = ending is Ending.WORKER_LOST
        return self._follow(self._ownership.ended(is_given_up=is_given_up), now) + self.settle(now)

    def wake_at(self) -> float | None:
        """Return when `wake` is due next, if it is."""
        replay_at = self._replay_at if self._ownership.is_reachable else None
        times = (self._ownership.wake_at(), replay_at, self._comfort_at())
        return min((time for time in times if time is not None), default=None)

    def wake(self, now: float) -> list[Command]:
        """Do what is due."""
        commands: list[Command] = []
        comfort_at = self._comfort_at()
        if comfort_at is not None and now >= comfort_at:
            sound = self._comfort.sound(now)
            self._probe.audio_sent(len(sound), now)
            commands.append(Send(self._outgoing.media(sound), len(sound)))
        if self._replay_at is not None and now >= self._replay_at and self._ownership.is_reachable:
            commands += self._replay(now) + self._ask_for_lost(now)
        return commands + self._follow(self._ownership.wake(now), now)

    def settle(self, now: float) -> list[Command]:
        """End the comfort sound when the trouble is over; to be called after everything else."""
        seconds = self._comfort.over(now) if self._ownership.trouble_since is None else None
        return [] if seconds is None else [ComfortPlayed(seconds)]

    def _comfort_at(self) -> float | None:
        trouble_since = self._ownership.trouble_since
        if trouble_since is None:
            return None
        return self._comfort.due_at(trouble_since, self._probe.played_at)

    def _send(self, kind: FrameKind, payload: bytes) -> list[Command]:
        is_direct = self.fence != NOBODY.fence and self.is_up_usual
        drops = self._wait(kind, self.media_end_ms, payload)
        if not is_direct:
            return drops
        return [*drops, *(Publish(kept.kind, self._frame(kept, 0)) for kept in self._ring.take(1))]

    def _wait(self, kind: FrameKind, t_ms: int, payload: bytes) -> list[Command]:
        is_attached = self.fence != NOBODY.fence
        drop = DropFrame(Drop.RING_FULL if is_attached else Drop.ATTACH_BUFFER_FULL)
        return [drop] * self._ring.wait(kind, t_ms, payload)

    def _to_twilio(self, frame: Frame, now: float) -> list[Command]:
        commands: list[Command] = []
        if frame.kind == FrameKind.AUDIO and self._comfort.is_unplayed(now):
            self._comfort.cleared()
            self._probe.cleared(now)
            commands.append(SendClear(self._outgoing.clear))
        commands += self._downlink.take(frame, now)
        if (
            self._unheard_since is not None
            and frame.kind == FrameKind.AUDIO
            and isinstance(commands[-1], Send)
        ):
            commands.append(AgentHeard(now - self._unheard_since))
            self._unheard_since = None
        return commands

    def _on_checkpoint(self, frame: Frame, now: float) -> list[Command]:
        commands: list[Command] = []
        is_final = bool(frame.flags & FINAL)
        try:
            checkpoint = control.decode(frame.payload, Checkpoint)
        except ControlError:
            commands.append(DropFrame(Drop.BAD_CHECKPOINT))
        else:
            if len(checkpoint.state) > CHECKPOINT_BYTES_MAX:
                commands.append(DropFrame(Drop.CHECKPOINT_TOO_LARGE))
            else:
                self._checkpoint = checkpoint.state
                self._checkpoint_is_final = is_final
                self._ring.prune(checkpoint.needed_from_ms, checkpoint.consumed_seq)
        return commands + (self._follow(self._ownership.let_go(now), now) if is_final else [])

    def _follow(self, steps: Sequence[Step], now: float) -> list[Command]:
        commands: list[Command] = []
        for step in steps:
            match step:
                case Switch():
                    commands += self._switch(step, now)
                case Yield():
                    commands += self._send(FrameKind.YIELD, b"")
                case LetGo(candidate):
                    commands.append(self._revoke(candidate, 0))
                case Resume(consumed):
                    commands += self._resume(consumed, now)
                case GiveUp():
                    commands += self._end(Ending.WORKER_LOST, now)
                case _:
                    commands.append(step)
        return commands

    def _switch(self, switch: Switch, now: float) -> list[Command]:
        before, owner = switch.before, switch.owner
        revoke = self._revoke(before, self._ring.next_seq)
        own = Own(
            gateway=self._gateway,
            stream_sid=self._stream_sid,
            generation=self._downlink.generation,
            mark_played=self._mark_played,
            mark_sent=self._downlink.mark_sent,
            unplayed_ms=round(1000 * max(self._probe.played_at - now, 0)),
            checkpoint=self._checkpoint,
            is_final=switch.is_final and self._checkpoint_is_final,
        )
        frames = self._ring.begin_again(FrameKind.OWN, self.media_end_ms, control.encode(own))
        self._downlink.begin(owner.fence, switch.spent_seqs)
        self._probe.tell_again()
        self._held_from_seq = None
        self._unheard_since = switch.since if switch.loss else None
        seconds = now - switch.since
        change = ChangeOwner(before.worker, owner.worker, owner.fence, switch.loss, seconds, frames)
        # Last, for it goes by the connection that may have to wait.
        return [change, *self._replay(now), *([] if switch.is_final else [revoke])]

    def _revoke(self, owner: Owner, seq: int) -> Revoke:
        frame = Frame(FrameKind.REVOKE, owner.fence, seq, self.media_end_ms, self._downlink.generation, b"")
        return Revoke(owner.worker, encode(frame))

    def _resume(self, consumed: int | None, now: float) -> list[Command]:
        first_seq, self._held_from_seq = self._held_from_seq, None
        # A number that was never given is from an answer about an older fence.
        if consumed is not None and consumed < self._ring.next_seq:
            first_seq = consumed + 1
        if first_seq is not None:
            self._ring.send_again_from(first_seq)
        self._downlink.lacks()
        return self._replay(now)

    def _ask_for_lost(self, now: float) -> list[Command]:
        """Ask the owner to send again what was lost on its way down."""
        # Behind what waits, or its number would be above theirs.
        if not self.is_up_usual or not self._downlink.asks(now):
            return []
        self._downlink.asked(self._ring.next_seq, now)
        return self.tell(FrameKind.RESUME, self._downlink.mark_sent.encode())

    def _replay(self, now: float) -> list[Command]:
        taken = self._ring.take(REPLAY_FRAMES_MAX)
        self._replay_at = now + REPLAY_INTERVAL_S if self._ring.is_waiting else None
        commands: list[Command] = []
        for kept in taken:
            is_replayed = kept.kind in _FLAGGED
            frame = self._frame(kept, REPLAYED if is_replayed else 0)
            commands.append(Publish(kept.kind, frame, is_replayed))
        return commands

    def _frame(self, kept: Kept, flags: int) -> bytes:
        kind, t_ms, payload, seq = kept
        return encode(Frame(kind, self.fence, seq, t_ms, self._downlink.generation, payload, flags))
