"""When the caller speaks, interrupts, presses a key and hangs up (see `twilio_caller`)."""

from pathlib import Path

import numpy as np
import pytest

from trunkline_simulators import g711, twilio_caller, twilio_conversations
from trunkline_simulators.twilio_caller import (
    AGENT_QUIET_MS,
    AgentAudible,
    AgentQuiet,
    Caller,
    CallerEvent,
    CallerHungUp,
    CallerSilent,
    CallerSpeaking,
    KeyPressed,
)
from trunkline_simulators.twilio_conversations import Conversation, Line, Step
from trunkline_simulators.twilio_player import SILENT_FRAME

LOUD_FRAME = g711.encode((np.sin(np.arange(160) / 3) * 5000).astype(np.int16))
FAINT_FRAME = g711.encode((np.sin(np.arange(160) / 3) * 100).astype(np.int16))
LINE = LOUD_FRAME * 5 + SILENT_FRAME * 2  # 100 ms of words and 40 ms of breath


class Scene:
    """A caller in a call; time goes on by what the agent is heard to do."""

    def __init__(self, *steps: Step, patience_ms: int = 15_000) -> None:
        lines = {step.say: Line(f"words of {step.say}", LINE) for step in steps if step.say is not None}
        self.caller = Caller(Conversation("test", steps, patience_ms=patience_ms), lines)
        self.events: list[CallerEvent] = []
        self.times_ms: dict[type, int] = {}
        self.spoken = b""
        self._t_ms = 0

    def agent(self, frame: bytes, for_ms: int) -> "Scene":
        for _ in range(for_ms // 20):
            spoken, events = self.caller.tick(frame, self._t_ms)
            for event in events:
                self.times_ms.setdefault(type(event), self._t_ms)
            self.spoken += spoken
            self.events += events
            self._t_ms += 20
        return self

    def talks(self, for_ms: int) -> "Scene":
        return self.agent(LOUD_FRAME, for_ms)

    def pauses(self, for_ms: int) -> "Scene":
        return self.agent(SILENT_FRAME, for_ms)


SPEAKING = CallerSpeaking("caller-hours", "words of caller-hours", interrupting=False)


def test_the_caller_waits_for_the_agent_to_fall_quiet() -> None:
    scene = Scene(Step(say="caller-hours", after_quiet_ms=700))

    scene.pauses(1000).talks(600).pauses(680)
    assert not scene.caller.speaking

    scene.pauses(40)
    assert SPEAKING in scene.events
    assert scene.times_ms[CallerSpeaking] == 1600 + 700


def test_a_short_pause_is_not_the_end_of_an_answer() -> None:
    scene = Scene(Step(say="caller-hours", after_quiet_ms=700))

    scene.talks(600).pauses(680).talks(200).pauses(680)

    assert not scene.caller.speaking


def test_the_caller_speaks_the_recording_and_then_silence() -> None:
    scene = Scene(Step(say="caller-hours", after_quiet_ms=700))

    scene.talks(20).pauses(700 + 140 + 100)

    assert scene.spoken.strip(b"\xff") == LINE.strip(b"\xff")
    assert scene.spoken[720 * 8 : 860 * 8] == LINE
    assert CallerSilent("caller-hours", SPEAKING.text, t_ms=720 + 100) in scene.events


def test_the_caller_interrupts_when_enough_of_the_answer_was_heard() -> None:
    scene = Scene(Step(say="caller-hours", after_heard_ms=2500))

    scene.pauses(300).talks(1000).pauses(200).talks(4000)

    (speaking,) = [event for event in scene.events if isinstance(event, CallerSpeaking)]
    assert speaking.interrupting
    assert scene.times_ms[CallerSpeaking] == 300 + 2500


def test_a_shorter_answer_is_not_interrupted_but_answered() -> None:
    scene = Scene(Step(say="caller-hours", after_heard_ms=2500, after_quiet_ms=700))

    scene.talks(500).pauses(740)

    assert SPEAKING in scene.events


def test_an_interruption_tells_how_long_the_agent_went_on() -> None:
    scene = Scene(Step(say="caller-hours", after_heard_ms=1000))

    scene.talks(1000 + 360).pauses(AGENT_QUIET_MS)

    assert scene.events[-1] == AgentQuiet(t_ms=1360, yielded_ms=360)


def test_each_step_waits_for_an_answer_of_its_own() -> None:
    scene = Scene(Step(say="caller-hours"), Step(say="caller-price"))

    scene.talks(500).pauses(5_000)
    assert [type(event) for event in scene.events].count(CallerSpeaking) == 1

    scene.talks(500).pauses(1_000)
    assert [type(event) for event in scene.events].count(CallerSpeaking) == 2
    assert scene.caller.finished


def test_what_is_heard_during_the_line_is_no_answer_to_it() -> None:
    scene = Scene(Step(say="caller-hours", after_heard_ms=1000), Step(hang_up=True, after_quiet_ms=300))

    scene.talks(1000 + 100).pauses(1_000)
    assert not scene.caller.hung_up

    scene.talks(200).pauses(400)
    assert scene.caller.hung_up


def test_an_answer_tells_how_long_it_let_the_caller_wait() -> None:
    scene = Scene(Step(say="caller-hours", after_quiet_ms=700))

    scene.talks(20).pauses(700 + 140 + 160).talks(20)

    greeting, answer = [event for event in scene.events if isinstance(event, AgentAudible)]
    assert greeting == AgentAudible(t_ms=0, reply_ms=None)
    assert answer == AgentAudible(t_ms=1020, reply_ms=200)  # of which 40 ms were the caller's breath


def test_a_key_is_pressed_in_its_turn() -> None:
    scene = Scene(Step(press="5", after_quiet_ms=300))

    scene.talks(100).pauses(340)

    assert KeyPressed("5") in scene.events


def test_the_caller_hangs_up_after_the_goodbye_was_heard() -> None:
    scene = Scene(Step(hang_up=True, after_quiet_ms=800))

    scene.talks(1000).pauses(820)

    assert scene.events[-1] == CallerHungUp("caller-hung-up")
    assert scene.times_ms[CallerHungUp] == 1800
    assert scene.caller.finished


def test_a_caller_who_hears_nothing_gives_up() -> None:
    scene = Scene(Step(say="caller-hours"), patience_ms=3_000)

    scene.pauses(3_020)

    assert scene.events == [CallerHungUp("caller-gave-up")]
    assert not scene.caller.finished


def test_faint_noise_is_not_speech() -> None:
    scene = Scene(Step(say="caller-hours"), patience_ms=3_000)

    scene.agent(FAINT_FRAME, 3_020)

    assert scene.events == [CallerHungUp("caller-gave-up")]


@pytest.mark.parametrize("name", ["demo", "digits"])
def test_the_included_conversations_have_all_their_sounds(name: str) -> None:
    conversation = twilio_conversations.conversation(name)

    lines = twilio_conversations.lines(conversation)

    assert set(lines) == {step.say for step in conversation.steps if step.say is not None}
    assert all(line.text and twilio_caller.is_loud(line.ulaw) for line in lines.values())
    assert conversation.steps[-1].hang_up


@pytest.mark.parametrize(
    "step",
    [
        "{}",
        '{"say": "caller-hours", "hang_up": true}',
        '{"say": "agent-hours"}',
        '{"press": "A"}',
        '{"say": "caller-hours", "after": 3}',
    ],
)
def test_a_conversation_of_ones_own_is_checked(step: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(f'{{"name": "mine", "steps": [{step}]}}')

    with pytest.raises(ValueError, match=r"mine\.json"):
        twilio_conversations.conversation(str(path))


def test_an_unknown_conversation_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="demo, digits"):
        twilio_conversations.conversation("small-talk")
