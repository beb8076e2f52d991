"""How long a call may last, be silent and cost, and that it ends with a goodbye that was heard."""

from dataclasses import replace

import pytest
from talk import ATTACHED, agent_speaks, recorded, sent, verdict_of

from trunkline_common.call_events import LimitReached, Usage
from trunkline_common.control import NextStep
from trunkline_common.verdict import Verdict
from trunkline_worker import events
from trunkline_worker.agent import Agent
from trunkline_worker.call import Call
from trunkline_worker.call_life import LINGER_S
from trunkline_worker.commands import Command, CreateResponse, HangUp
from trunkline_worker.limits import ARE_YOU_THERE, GOODBYE_S, REFUSED_TOOLS_MAX, Limits, LimitWatch, Moment
from trunkline_worker.price_file import read_prices
from trunkline_worker.response_gate import ResponseGate

CALM = Moment(quiet=True, signs=0, cost_usd=0.0, refused_tools=0, media_ms=5_000)
BUSY = replace(CALM, quiet=False)


def watch(limits: Limits) -> LimitWatch:
    gate = ResponseGate("You are Robin.")
    gate.open(0.0)
    return LimitWatch(limits, gate)


def spoken(following: list[Command]) -> list[str]:
    """Return what the model is told to say."""
    return [event.instructions or "" for event in sent(following) if isinstance(event, CreateResponse)]


# The caller's silence


def test_a_silent_caller_is_asked_and_then_bidden_goodbye() -> None:
    limits = watch(Limits(silence_s=30))
    limits.step(CALM, 0.0)
    assert limits.wake_at() == 30.0

    asked, _ = limits.step(CALM, 30.0)
    limits.step(BUSY, 30.1)
    limits.step(CALM, 33.0)
    goodbye, verdict = limits.step(CALM, 63.0)

    assert spoken(asked) == [f"You are Robin.\n\n{ARE_YOU_THERE}"]
    assert recorded(goodbye) == [LimitReached(limit="silence", at_ms=5_000)]
    assert verdict is None


def test_a_word_or_a_key_of_the_caller_begins_the_silence_anew() -> None:
    limits = watch(Limits(silence_s=30))
    limits.step(CALM, 0.0)
    limits.step(CALM, 30.0)

    limits.step(replace(CALM, signs=1), 40.0)

    assert limits.wake_at() == 70.0
    assert limits.step(replace(CALM, signs=1), 69.9) == ([], None)
    following, _ = limits.step(replace(CALM, signs=1), 70.0)
    assert recorded(following) == []


def test_an_agent_that_speaks_is_no_silence() -> None:
    limits = watch(Limits(silence_s=30, minutes=0))
    for now in range(100):
        assert limits.step(BUSY, float(now)) == ([], None)

    assert limits.wake_at() is None


# The other limits


@pytest.mark.parametrize(
    ("limits", "moment", "now", "limit"),
    [
        (Limits(minutes=10), BUSY, 600.0, "minutes"),
        (Limits(cost_usd=0.5), replace(BUSY, cost_usd=0.5), 1.0, "cost"),
        (Limits(), replace(BUSY, refused_tools=REFUSED_TOOLS_MAX + 1), 1.0, "tools"),
    ],
)
def test_each_limit_is_told_once_and_ends_the_call_when_the_goodbye_was_heard(
    limits: Limits, moment: Moment, now: float, limit: str
) -> None:
    watched = watch(limits)
    watched.step(BUSY, 0.0)

    following, _ = watched.step(moment, now)
    assert recorded(following) == [LimitReached(limit=limit, at_ms=5_000)]
    assert "goodbye" in spoken(following)[0]
    assert watched.step(moment, now + 1) == ([], None)
    _, verdict = watched.step(replace(moment, quiet=True), now + 4)

    assert verdict is not None


def test_zero_is_no_limit() -> None:
    watched = watch(Limits(minutes=0, silence_s=0, cost_usd=0))
    for now in (0.0, 1e6):
        assert watched.step(replace(CALM, cost_usd=1e6), now) == ([], None)

    assert watched.wake_at() is None


def test_a_caller_who_talks_on_is_not_listened_to_for_ever() -> None:
    watched = watch(Limits(minutes=1))
    watched.step(BUSY, 0.0)
    watched.step(BUSY, 60.0)

    assert watched.wake_at() == 60.0 + GOODBYE_S
    assert watched.step(BUSY, 60.0 + GOODBYE_S) == ([], Verdict.TIME_LIMIT)


# In a call


def test_a_call_that_costs_too_much_ends_politely() -> None:
    agent = Agent(audio_path="pcmu", limits=Limits(cost_usd=0.01))
    call = Call("CA1", "+1555", "+1666", "wk-1", agent, "polyphase", prices=read_prices(None))
    call.start(now=0.0)
    call.handle(events.SessionCreated(1, "sess_1"), now=0.1)
    call.handle(events.SessionConfigured(1, agent.session()), now=0.2)
    call.handle(ATTACHED, now=0.3)
    agent_speaks(call, 100, now=1.0)
    call.handle(events.MarkPlayed("0:A1:100"), now=1.2)
    dear = Usage(
        response_id="R1",
        input_tokens=100_000,
        input_text_tokens=0,
        input_audio_tokens=100_000,
        cached_tokens=0,
        output_tokens=0,
        output_text_tokens=0,
        output_audio_tokens=0,
    )

    reached = call.handle(events.ResponseDone(1, "R1", "completed", "", dear), now=1.3)
    agent_speaks(call, 100, now=2.0, item_id="A2", response_id="R2")
    call.handle(events.SpokenText(1, "A2", "Goodbye.", final=True), now=2.0)
    call.handle(events.ResponseDone(1, "R2", "completed", "", None), now=2.1)
    ended = call.handle(events.MarkPlayed("0:A2:100"), now=2.3)

    assert LimitReached(limit="cost", at_ms=0) in recorded(reached)
    assert HangUp(NextStep.HANG_UP) in ended
    assert verdict_of(ended) is Verdict.COST_LIMIT


def test_a_call_that_lasts_too_long_ends_by_itself_even_if_the_model_says_nothing() -> None:
    agent = Agent(audio_path="pcmu", limits=Limits(minutes=1))
    call = Call("CA1", "+1555", "+1666", "wk-1", agent, "polyphase")
    call.start(now=0.0)
    call.handle(events.SessionCreated(1, "sess_1"), now=0.1)
    call.handle(events.SessionConfigured(1, agent.session()), now=0.2)
    call.handle(ATTACHED, now=0.3)
    call.handle(events.ResponseCreated(1, "R0"), now=0.4)
    call.handle(events.ResponseDone(1, "R0", "completed", "", None), now=0.4)
    for now in range(1, 61):
        call.handle(events.LineMeasured(None, 0.5), now=float(now))
        call.handle(events.SpeechStarted(1, f"U{now}", 0), now=float(now))

    following: list[Command] = []
    for now in range(61, 95):
        following += call.handle(events.LineMeasured(None, 0.5), now=float(now))
    following += call.handle(events.Tick(), now=95.0 + LINGER_S)

    assert verdict_of(following) is Verdict.TIME_LIMIT
