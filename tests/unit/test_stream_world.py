"""A seeded world around one media stream: whatever comes in whatever order, the rules hold.

A failing seed is printed by the test's name; give it its own case in `test_stream.py`.
"""

import base64
import json
import random

import pytest
from media_stream import FENCE, SID, Line, agent, media, published, sent

from trunkline_common.frames import Fence, FrameKind
from trunkline_gateway import events, twilio
from trunkline_gateway.reasons import Ending, Rejection
from trunkline_gateway.stream import ATTACH_BUFFER_BYTES_MAX, EARLY_FRAMES_MAX, State

SEEDS = 300
STEPS = 300
FOREIGN = 255
"""What audio under another fence is made of; the rest is made of its generation."""


class World:
    """Draws events, and checks after each what followed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.line = Line()
        self.attached = False
        self.first_generation = 0
        self.newest_played = -1
        self.worker_generation = 0
        self.down_seq = 0
        self.up_seq = 0
        self.stops = 0
        self.ends = 0
        self.t_ms = 0

    def step(self) -> None:
        self.line.now += self.random.choice([0, 0.001, 0.02, 0.02, 0.02, 0.3, 3])
        draw = self.random.choices(
            [self.caller, self.worker, self.rare, self.wake], weights=[50, 30, 3, 10], k=1
        )[0]
        draw()
        self.check()

    def caller(self) -> None:
        self.t_ms += 20
        message: dict[str, object] = self.random.choice(
            [
                *[media(self.t_ms)] * 30,
                media(self.t_ms, bytes(self.random.randrange(2_000))),
                {"event": "mark", "streamSid": SID, "mark": {"name": "0:item:20"}},
                {"event": "mark", "streamSid": SID, "mark": {"name": f"probe:{self.random.randrange(9)}"}},
                {"event": "dtmf", "streamSid": SID, "dtmf": {"digit": "5"}},
                {"event": "nonsense"},
            ]
        )
        event = twilio.decode(json.dumps(message))
        if isinstance(event, twilio.Media):
            frame = self.line.stream.caller_audio(event, self.line.now)
            if frame is not None:
                assert self.attached, "nothing is published before the owner is known"
                self.take([events.Publish(FrameKind.AUDIO, frame)])
                return
        self.take(self.line.feed(event))

    def worker(self) -> None:
        kind = self.random.choices(
            [FrameKind.AUDIO, FrameKind.MARK, FrameKind.CLEAR, FrameKind.HANG_UP],
            weights=[80, 40, 10, 0.2],
            k=1,
        )[0]
        if kind is FrameKind.CLEAR:
            self.worker_generation += 1
        stale = 0 if kind is FrameKind.CLEAR else self.random.choice([0, 0, 0, 1])
        generation = self.worker_generation - stale
        fence = self.random.choice([FENCE] * 9 + [Fence(1, 1), Fence(9, 9)])
        audio = bytes([max(generation, 0) if fence == FENCE else FOREIGN]) * 160
        frame = agent(
            kind,
            seq=self.down_seq,
            fence=fence,
            t_ms=round(self.line.now * 1000) - self.random.choice([0, 0, 0, 5_000]),
            generation=max(generation, 0),
            payload=b"0:item:20" if kind is FrameKind.MARK else audio,
        )
        self.down_seq += self.random.choice([1, 1, 1, 1, 2])
        text = self.line.stream.agent_audio(frame, self.line.now)
        self.take([events.Send(text)] if text is not None else self.line.feed(frame))

    def rare(self) -> None:
        choices: list[events.Event] = [
            events.Attached(FENCE),
            events.Attached(FENCE),
            events.AttachFailed(Ending.REFUSED, Rejection.TOKEN_USED),
            events.EndDecided(Ending.WORKER_LOST),
            events.SocketClosed(1005),
            events.BinaryReceived(),
            events.Pinged(1.0),
            twilio.Stop(SID),
        ]
        event = self.random.choice(choices)
        if isinstance(event, events.Attached):
            if self.attached or self.line.stream.state is State.AWAITING_START:
                return  # the shell asks once, after `start`
            self.attached = True
        self.take(self.line.feed(event))

    def wake(self) -> None:
        wake_at = self.line.stream.wake_at()
        if wake_at is not None and wake_at <= self.line.now:
            self.take(self.line.feed(events.Wake()))

    def take(self, commands: list[events.Command]) -> None:
        for frame in published(commands):
            assert self.attached, "nothing is published before the owner is known"
            assert self.stops == 0, "nothing follows a stop"
            assert (frame.fence, frame.seq) == (FENCE, self.up_seq)
            self.up_seq += 1
            self.stops += frame.kind == FrameKind.STOP
        for message in sent(commands):
            assert self.ends == 0, "nothing is sent after the end"
            if message["event"] == "clear":
                self.first_generation = self.newest_played + 1
            elif message["event"] == "media":
                body = message["media"]
                assert isinstance(body, dict)
                generation = base64.b64decode(body["payload"])[0]
                assert generation != FOREIGN, "audio of another fence is not played"
                assert generation >= self.first_generation, (
                    "what was playing before a clear is not played after it"
                )
                self.newest_played = max(self.newest_played, generation)
        self.ends += sum(isinstance(command, events.Ended) for command in commands)

    def check(self) -> None:
        stream = self.line.stream
        assert self.stops <= 1
        assert self.ends <= 1
        assert (stream.wake_at() is None) == (stream.state is State.ENDED) == bool(self.ends)
        assert stream._waiting_bytes <= ATTACH_BUFFER_BYTES_MAX
        assert len(stream._early) <= EARLY_FRAMES_MAX


@pytest.mark.parametrize("first_seed", range(0, SEEDS, 50))
def test_whatever_happens_the_rules_hold(first_seed: int) -> None:
    for seed in range(first_seed, first_seed + 50):
        world = World(seed)
        if world.random.random() < 0.95:
            world.take(world.line.start())
        try:
            for _ in range(STEPS):
                world.step()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}") from error
        if world.line.stream.state is not State.ENDED:
            world.take(world.line.close())
        assert world.ends == 1
