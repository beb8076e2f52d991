"""A seeded world around one media stream: whatever comes in whatever order, the rules hold.

Its owners die, hang, get stuck, hand over, answer late or not at all; the link to them breaks, with and without a
word. A failing seed is printed; give it its own case in `test_stream.py` or `test_stream_owners.py`.
"""

import base64
import json
import random

import pytest
from media_stream import FENCE, SID, Line, agent, media, sent

from trunkline_common import control
from trunkline_common.control import AssignKind, Checkpoint
from trunkline_common.frames import FINAL, Fence, Frame, FrameKind, decode
from trunkline_gateway import events, twilio
from trunkline_gateway.caller_ring import RING_BYTES_MAX
from trunkline_gateway.comfort import DOUBLE_TICK, SILENCE_S
from trunkline_gateway.owner_link import ATTACH_BUFFER_BYTES_MAX
from trunkline_gateway.ownership import OWNERLESS_S_MAX
from trunkline_gateway.reasons import Drop, Ending, Loss, Rejection
from trunkline_gateway.stream import EARLY_FRAMES_MAX, State

SEEDS = 300
STEPS = 400
FOREIGN = 255
"""What audio under another fence is made of; the rest is made of its generation."""


class Owner:
    """A worker that owns the call, or did, or will: what it got, each number once."""

    def __init__(self, name: str, fence: Fence) -> None:
        self.name = name
        self.fence = fence
        self.consumed = -1
        self.down_seq = 0
        self.heard: list[int] = []
        self.t_ms = 0
        self.has_let_go = False

    def take(self, frame: Frame) -> None:
        """Take a frame that arrived, unless it did before."""
        if frame.seq <= self.consumed or self.has_let_go:
            return
        self.consumed = frame.seq
        if frame.kind == FrameKind.AUDIO:
            self.heard.append(int.from_bytes(frame.payload[:4]))
            self.t_ms = frame.t_ms


class World:
    """Draws events, and checks after each what followed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.line = Line()
        self.owner: Owner | None = None
        self.candidate: Owner | None = None
        self.past: list[Owner] = []
        self.workers = 0
        self.asked: list[events.AskWorkers] = []
        self.link = "up"
        self.was_silent = False
        """What was lost without a word, only a worker that says how far it is can tell."""
        self.needed_from_ms = 0
        self.first_generation = 0
        self.newest_played = -1
        self.worker_generation = 0
        self.said = 0
        self.dropped = 0
        self.stops = 0
        self.ends = 0
        self.t_ms = 0

    @property
    def is_active(self) -> bool:
        return self.line.stream.state is State.ACTIVE

    def step(self) -> None:
        self.line.now += self.random.choice([0, 0.001, 0.02, 0.02, 0.02, 0.02, 0.3, 1])
        draws = [self.caller, self.worker, self.owners, self.ping, self.answer, self.rare]
        self.random.choices(draws, weights=[50, 30, 4, 10, 10, 0.7], k=1)[0]()
        self.wake()
        self.check()

    def caller(self) -> None:
        event = twilio.decode(json.dumps(self.said_by_caller()))
        if isinstance(event, twilio.Media):
            frame = self.line.stream.caller_audio(event, self.line.now)
            if frame is not None:
                self.take([events.Publish(FrameKind.AUDIO, frame)])
                return
        self.feed(event)

    def said_by_caller(self) -> dict[str, object]:
        other: list[dict[str, object]] = [
            {"event": "mark", "streamSid": SID, "mark": {"name": "0:item:20"}},
            {"event": "mark", "streamSid": SID, "mark": {"name": f"probe:{self.random.randrange(9)}"}},
            {"event": "dtmf", "streamSid": SID, "dtmf": {"digit": "5"}},
            {"event": "nonsense"},
        ]
        if self.random.random() < 0.1:
            return self.random.choice(other)
        payload = self.said.to_bytes(4) + bytes(self.random.choice([156, 156, 156, 1996]))
        if self.line.stream.state is not State.AWAITING_START:
            self.said += 1
        message = media(self.t_ms, payload)
        self.t_ms += len(payload) // twilio.BYTES_PER_MS
        return message

    def worker(self) -> None:
        """Agent audio, marks and clears: of the owner, of one that was, or of nobody."""
        owner = self.random.choice([*[self.owner] * 9, *self.past[-2:]]) or Owner("nobody", Fence(9, 9))
        kind = self.random.choices(
            [FrameKind.AUDIO, FrameKind.MARK, FrameKind.CLEAR, FrameKind.HANG_UP],
            weights=[80, 40, 10, 0.2],
            k=1,
        )[0]
        if kind is FrameKind.CLEAR:
            self.worker_generation += 1
        stale = 0 if kind is FrameKind.CLEAR else self.random.choice([0, 0, 0, 1])
        generation = max(self.worker_generation - stale, 0)
        audio = bytes([generation if owner is self.owner else FOREIGN]) * 160
        self.down(owner, kind, b"0:item:20" if kind is FrameKind.MARK else audio, generation)

    def down(
        self, owner: Owner, kind: FrameKind, payload: bytes, generation: int = 0, flags: int = 0
    ) -> None:
        frame = agent(
            kind,
            seq=owner.down_seq,
            fence=owner.fence,
            t_ms=round(self.line.now * 1000) - self.random.choice([0, 0, 0, 5_000]),
            generation=generation,
            payload=payload,
        )._replace(flags=flags)
        owner.down_seq += self.random.choice([0, 1, 1, 1, 1, 2])
        text = self.line.stream.agent_audio(frame, self.line.now)
        if text is not None:
            self.take([events.Send(text)])
        else:
            self.feed(frame)

    def owners(self) -> None:
        """What happens to workers and to the link to them."""
        self.random.choice([self.lose, self.lose, self.checkpoint, self.move, self.let_go, self.break_link])()

    def lose(self) -> None:
        worker = self.random.choice([each for each in (self.owner, self.candidate) if each] or [None])
        if worker:
            self.feed(events.WorkerLost(worker.name, self.random.choice(list(Loss))))

    def checkpoint(self, flags: int = 0) -> None:
        owner = self.random.choice([*[self.owner] * 5, *self.past[-1:]])
        if owner is None:
            return
        needed_from_ms = self.random.randrange(owner.t_ms + 1)
        state = self.random.choice([b"state", b"state", bytes(65 * 1024)])
        payload = control.encode(Checkpoint(needed_from_ms=needed_from_ms, state=state))
        if owner is self.owner and self.is_active and len(state) < 1000:
            self.needed_from_ms = max(self.needed_from_ms, needed_from_ms)
        self.down(owner, FrameKind.CHECKPOINT, self.random.choice([payload] * 5 + [b"{"]), flags=flags)

    def move(self) -> None:
        if self.owner:
            self.down(self.owner, FrameKind.MOVE, b"")
        ready = self.random.choice([self.candidate, self.owner, *self.past[-1:]])
        if ready:
            self.down(ready, FrameKind.READY, b"")

    def let_go(self) -> None:
        if self.owner and self.candidate:
            self.owner.has_let_go = True
            self.checkpoint(FINAL)

    def break_link(self) -> None:
        following = {"up": ["silent", "down"], "silent": ["down"], "down": ["up"]}
        self.link = self.random.choice(following[self.link])
        self.was_silent = self.was_silent or self.link == "silent"
        if self.link == "up":
            self.feed(events.LinkLost())

    def ping(self) -> None:
        owner = self.random.choice([self.owner, self.owner, self.candidate])
        if owner and self.link == "up":
            is_told = self.random.random() < 0.8 or self.was_silent
            consumed = owner.consumed if is_told and not owner.has_let_go else None
            self.feed(events.Pinged(1.0, owner.name, consumed))

    def answer(self) -> None:
        """The shell answers each question of the stream once."""
        if not self.asked:
            return
        asked = self.asked.pop(0)
        if self.random.random() < 0.4:
            self.feed(events.NotAssigned(asked.fence, is_full=self.random.random() < 0.5))
            return
        self.workers += 1
        taken = Owner(f"worker-{self.workers}", asked.fence)
        if asked.kind is AssignKind.HANDOVER:
            self.candidate = taken
        self.feed(events.Assigned(asked.fence, taken.name))

    def rare(self) -> None:
        choices: list[events.Event] = [
            *[events.Attached(FENCE, "worker-0")] * 6,
            events.AttachFailed(Ending.REFUSED, Rejection.TOKEN_USED),
            events.EndDecided(Ending.GATEWAY_STOPPED),
            events.EndDecided(Ending.REPLACED),
            events.SocketClosed(1005),
            events.BinaryReceived(),
            twilio.Stop(SID),
        ]
        event = self.random.choice(choices)
        if isinstance(event, events.Attached):
            if self.owner or self.line.stream.state is State.AWAITING_START:
                return  # the shell asks once, after `start`
            self.owner = Owner("worker-0", FENCE)
        elif isinstance(event, events.AttachFailed) and self.owner:
            return
        self.feed(event)

    def wake(self) -> None:
        for _ in range(40):
            wake_at = self.line.stream.wake_at()
            if wake_at is None or wake_at > self.line.now:
                return
            self.feed(events.Wake())
        raise AssertionError("waking leads to nothing")

    def feed(self, event: events.Event) -> None:
        generation = self.line.stream._link._downlink.generation
        commands = self.line.feed(event)
        self.take(commands, is_new_generation=generation != self.line.stream._link._downlink.generation)

    def take(self, commands: list[events.Command], *, is_new_generation: bool = False) -> None:
        unsent: int | None = None
        for command in commands:
            if isinstance(command, events.ChangeOwner):
                self.change_owner(command)
            elif isinstance(command, events.Publish):
                unsent = self.publish(decode(command.frame)) if unsent is None else unsent
            elif isinstance(command, events.AskWorkers):
                self.asked.append(command)
                assert len(self.asked) == 1, "one question at a time"
            elif isinstance(command, events.DropFrame):
                self.dropped += command.drop in {Drop.RING_FULL, Drop.ATTACH_BUFFER_FULL}
        self.hear(commands, is_new_generation)
        self.ends += sum(isinstance(command, events.Ended) for command in commands)
        if unsent is not None:
            self.feed(events.LinkLost(unsent))

    def publish(self, frame: Frame) -> int | None:
        """Carry a frame to the owner; return its number when it could not leave."""
        assert self.owner is not None, "nothing is published before the owner is known"
        assert frame.fence == self.owner.fence, "only the owner is sent anything"
        self.stops += frame.kind == FrameKind.STOP
        if self.link == "up":
            self.owner.take(frame)
        return frame.seq if self.link == "down" and frame.kind != FrameKind.STOP else None

    def change_owner(self, change: events.ChangeOwner) -> None:
        assert self.owner is not None
        assert change.fence > self.owner.fence
        self.past.append(self.owner)
        is_candidate = self.candidate is not None and self.candidate.fence == change.fence
        self.owner = self.candidate if is_candidate else Owner(change.worker, change.fence)
        assert self.owner is not None
        assert self.owner.name == change.worker
        self.candidate = None

    def hear(self, commands: list[events.Command], is_new_generation: bool) -> None:
        for message in sent(commands):
            assert self.ends == 0, "nothing is sent after the end"
            if message["event"] == "clear" and is_new_generation:
                self.first_generation = self.newest_played + 1
            elif message["event"] == "media":
                body = message["media"]
                assert isinstance(body, dict)
                payload = base64.b64decode(body["payload"])
                if payload == DOUBLE_TICK:
                    trouble_since = self.line.stream._link._ownership.trouble_since
                    assert trouble_since is None or self.line.now >= trouble_since + SILENCE_S
                    continue
                assert payload[0] != FOREIGN, "audio of another fence is not played"
                assert payload[0] >= self.first_generation, (
                    "what was playing before a clear is not played after it"
                )
                self.newest_played = max(self.newest_played, payload[0])

    def check(self) -> None:
        stream = self.line.stream
        assert self.ends <= 1
        assert self.stops <= 1 + bool(self.past)
        assert (stream.wake_at() is None) == (stream.state is State.ENDED) == bool(self.ends)
        assert len(stream._early) <= EARLY_FRAMES_MAX
        attached = self.owner is not None
        assert stream._link.kept_audio_bytes <= (RING_BYTES_MAX if attached else ATTACH_BUFFER_BYTES_MAX)
        if self.owner:
            self.check_what_was_heard(self.owner)
        if self.is_active:
            trouble_since = stream._link._ownership.trouble_since
            assert trouble_since is None or self.line.now < trouble_since + OWNERLESS_S_MAX + 1

    def check_what_was_heard(self, owner: Owner) -> None:
        heard = owner.heard
        assert heard == sorted(set(heard)), "everything once and in order"
        missing = heard[-1] - heard[0] + 1 - len(heard) if heard else 0
        assert missing <= self.dropped, "nothing is missing that was not counted"

    def end_well(self) -> None:
        """Mend everything: then the owner, whoever it is, has heard the caller to the last word."""
        while self.link != "up":
            self.break_link()
        for _ in range(200):
            self.line.now += 0.05
            while self.asked:
                self.answer()
            self.wake()
            if self.owner and self.owner.has_let_go:
                self.feed(events.WorkerLost(self.owner.name, Loss.STUCK))
            elif self.owner:
                self.feed(events.Pinged(1.0, self.owner.name, self.owner.consumed))
        if self.is_active and self.said:
            assert self.owner is not None
            self.check()
            assert self.line.stream._link._ownership.trouble_since is None
            assert self.owner.heard or self.needed_from_ms
            assert not self.owner.heard or self.owner.heard[-1] == self.said - 1


@pytest.mark.parametrize("first_seed", range(0, SEEDS, 50))
def test_whatever_happens_the_rules_hold(first_seed: int) -> None:
    for seed in range(first_seed, first_seed + 50):
        world = World(seed)
        try:
            if world.random.random() < 0.95:
                world.take(world.line.start())
            for _ in range(STEPS):
                world.step()
            world.end_well()
            if world.line.stream.state is not State.ENDED:
                world.take(world.line.close())
            assert world.ends == 1
        except AssertionError as error:
            raise AssertionError(f"seed {seed}") from error
