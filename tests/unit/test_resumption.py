"""A talk goes on at another owner of the call: what was heard, what is owed, and what is asked for."""

from typing import Any

import msgspec
from talk import AGENT, ATTACHED, HUNG_UP, STREAM_LOST, acts, new_call, played, recorded, sent, verdict_of

from trunkline_common.call_events import (
    AgentTurn,
    CallAttached,
    CallerTurn,
    CallStarted,
    CallTakenOver,
    ModelConnected,
    ToolOutcome,
    Verdict,
)
from trunkline_worker import commands, events
from trunkline_worker.agent import Agent
from trunkline_worker.agent_tools import HttpTool
from trunkline_worker.call import Call
from trunkline_worker.call_life import State
from trunkline_worker.checkpoint import Checkpoint
from trunkline_worker.commands import (
    AppendAudio,
    Command,
    CreateFunctionOutput,
    CreateMessage,
    CreateResponse,
    RunTool,
    TellReady,
)
from trunkline_worker.conversation import AgentDraft, CallerDraft
from trunkline_worker.debt import CONTINUE
from trunkline_worker.floor import Floor
from trunkline_worker.history import Remembered
from trunkline_worker.limits import Limits
from trunkline_worker.model_link import STAND_BY_S
from trunkline_worker.playback import InFlight
from trunkline_worker.response_gate import Request, Wish
from trunkline_worker.resumption import STILL_THERE

NOW = 100.0
HELLO = Remembered("A1", "agent", 1, "Hello.")
QUESTION = Remembered("U1", "caller", 2, "When are you open?", 2_000, 3_000)
QUIET = Checkpoint(
    media_ms=5_000,
    stream_shift_ms=0.0,
    position=2,
    items=(HELLO, QUESTION),
    floor=Floor(owes=False, taken_ms=3_000),
    told_ms=5_000,
    in_session=True,
    greeted=True,
    agent_was_heard=True,
    signs=1,
)
"""A call in which nobody speaks, and nothing is owed."""


def but(known: Checkpoint, **changes: Any) -> Checkpoint:
    return msgspec.structs.replace(known, **changes)


def standing_by(agent: Agent = AGENT) -> Call:
    call = new_call(agent)
    call.stand_by(NOW)
    call.handle(events.SessionCreated(1, "sess_1"), NOW)
    call.handle(events.SessionConfigured(1, agent.session(deaf=True)), NOW)
    return call


def owned(known: Checkpoint, **facts: Any) -> events.Owned:
    return events.Owned("gw-1", "MZ1", known, "worker-lost", "1.1", facts.pop("generation", 0), **facts)


def state(call: Call) -> State:
    return call.state


def taken_over(known: Checkpoint, agent: Agent = AGENT, **facts: Any) -> tuple[Call, list[Command]]:
    call = standing_by(agent)
    return call, call.handle(owned(known, **facts), NOW)


def requests(following: list[Command]) -> list[CreateResponse]:
    return [event for event in sent(following) if isinstance(event, CreateResponse)]


def orders(following: list[Command]) -> list[str]:
    """Return what the model was asked to say."""
    return [each.instructions or "" for each in requests(following)]


# Standing by


def test_a_session_is_ready_before_the_call_is_ours_and_says_nothing() -> None:
    call = new_call()
    call.stand_by(NOW)
    call.handle(events.SessionCreated(1, "sess_1"), NOW)

    assert call.handle(events.SessionConfigured(1, AGENT.session(deaf=True)), NOW) == [TellReady()]


def test_a_worker_that_is_not_needed_forgets_the_call() -> None:
    call = standing_by()

    following = call.handle(events.Tick(), NOW + STAND_BY_S)

    assert following[-1] == commands.LetGo("it was not needed")
    assert recorded(following) == []


def test_one_whose_model_cannot_be_had_forgets_the_call() -> None:
    call = new_call()
    call.stand_by(NOW)

    following = call.handle(events.SessionLost(1, "invalid_api_key", fatal=True), NOW)

    assert isinstance(following[-1], commands.LetGo)
    assert state(call) is State.ENDED


# A quiet call


def test_a_quiet_call_goes_on_in_silence_and_the_model_is_told_of_it() -> None:
    call, following = taken_over(QUIET)

    assert [event.text for event in sent(following) if isinstance(event, CreateMessage)] == [
        "Hello.",
        "When are you open?",
    ]
    assert requests(following) == []
    kinds = [type(event) for event in recorded(following)]
    assert kinds[:3] == [CallTakenOver, CallAttached, ModelConnected]
    assert state(call) is State.TALKING


def test_its_gateway_counts_as_heard_from_then_on() -> None:
    # Long before, by the clock, when this worker's part of the call began.
    call, _ = taken_over(QUIET)

    following = call.handle(events.Tick(), NOW + 0.1)

    assert state(call) is State.TALKING
    assert not [each for each in following if isinstance(each, commands.Finish)]


def test_a_caller_who_was_not_greeted_is_greeted() -> None:
    _, following = taken_over(Checkpoint(stream_shift_ms=0.0))

    assert len(requests(following)) == 1


def test_the_next_turn_has_the_next_place() -> None:
    call, _ = taken_over(QUIET)
    call.handle(events.SpeechStarted(1, "U2", 0), NOW + 1)
    call.handle(events.SpeechStopped(1, "U2", 900), NOW + 2)
    call.handle(events.ItemAdded(1, "U2", "user"), NOW + 2)

    (turn,) = recorded(call.handle(events.CallerText(1, "U2", "Thanks."), NOW + 2))

    assert isinstance(turn, CallerTurn)
    assert turn.position == 3


# The agent speaks


def speaking(heard_ms: int = 1_000, *, complete: bool = True) -> Checkpoint:
    return but(
        QUIET,
        position=3,
        agent=(AgentDraft("A2", "R2", 3, started=True, text="From nine to one.", text_final=complete),),
        in_flight=(InFlight("A2", "R2", 4_000, heard_ms, complete),),
    )


MARKS: dict[str, Any] = {"mark_sent": "0:A2:4000", "mark_played": "0:A2:1000", "unplayed_ms": 3_000}


def test_what_twilio_holds_plays_on_and_is_not_sent_again() -> None:
    call, following = taken_over(speaking(), **MARKS)
    heard = call.handle(events.MarkPlayed("0:A2:4000"), NOW + 3)

    assert played(following) == []
    (turn,) = recorded(heard)
    assert isinstance(turn, AgentTurn)
    assert (turn.item_id, turn.heard_ms, turn.heard_text, turn.interrupted) == (
        "A2",
        4_000,
        "From nine to one.",
        False,
    )


def test_an_answer_that_broke_off_goes_on() -> None:
    _, following = taken_over(speaking(complete=False), **MARKS)

    assert any(CONTINUE in order for order in orders(following))
    assert len(requests(following)) == 1


def test_who_interrupts_it_is_answered_from_what_was_heard() -> None:
    call, _ = taken_over(speaking(), **MARKS)

    # Marks of the owner before lie wherever it put them; from the last one the clock runs on.
    call.handle(events.MarkPlayed("0:A2:1860"), NOW + 0.86)
    following = call.handle(events.SpeechStarted(1, "U2", 0), NOW + 1)

    (turn,) = [event for event in recorded(following) if isinstance(event, AgentTurn)]
    assert (turn.heard_ms, turn.generated_ms, turn.interrupted) == (2_000, 4_000, True)
    assert "From nine to one.".startswith(turn.heard_text)
    assert turn.heard_text != turn.generated_text


def test_marks_of_an_older_generation_count_for_nothing() -> None:
    call, _ = taken_over(speaking(), **MARKS)

    following = call.handle(events.MarkPlayed("7:A2:4000"), NOW + 1)

    assert recorded(following) == []


# The caller speaks


def frames(call: Call, from_ms: int, to_ms: int) -> list[Command]:
    """What the gateway kept of the caller comes again."""
    return [
        command
        for t_ms in range(from_ms, to_ms, 20)
        for command in call.handle(events.CallerAudio(t_ms, b"\x21" * 160), NOW)
    ]


def appended_ms(following: list[Command]) -> int:
    return sum(len(event.audio) for event in sent(following) if isinstance(event, AppendAudio)) // 8


def in_mid_sentence() -> Checkpoint:
    floor = Floor(speaking_item="U2", owes=False, taken_ms=3_000)
    return but(QUIET, caller=(CallerDraft("U2", 0, 4_000),), floor=floor)


def test_a_caller_in_mid_sentence_is_heard_again_from_its_beginning_and_once() -> None:
    call, following = taken_over(in_mid_sentence())

    following += frames(call, 4_000, 6_000)
    again = frames(call, 5_000, 6_000)

    assert appended_ms(following) == 2_000
    assert appended_ms(again) == 0, "what comes twice is heard once"
    call.handle(events.SpeechStarted(1, "U101", 0), NOW)
    call.handle(events.SpeechStopped(1, "U101", 1_500), NOW)
    call.handle(events.ItemAdded(1, "U101", "user"), NOW)
    (turn,) = recorded(call.handle(events.CallerText(1, "U101", "And on Sunday?"), NOW))
    assert isinstance(turn, CallerTurn)
    assert (turn.start_ms, turn.end_ms) == (4_000, 5_500)


def test_audio_that_comes_before_the_session_waits_for_it() -> None:
    call = new_call()
    call.stand_by(NOW)
    call.handle(owned(in_mid_sentence()), NOW)
    frames(call, 4_000, 6_000)
    call.handle(events.SessionCreated(1, "sess_1"), NOW + 0.3)

    following = call.handle(events.SessionConfigured(1, AGENT.session(deaf=True)), NOW + 0.4)

    assert appended_ms(following) == 2_000


# What is owed


def test_an_answer_that_had_not_begun_is_asked_for_once() -> None:
    floor = Floor(unanswered_item="U1", taken_ms=3_000)

    call, following = taken_over(but(QUIET, floor=floor, owed=Request(Wish.ANSWER)))
    following += call.handle(events.Tick(), NOW + 0.5)

    assert len(requests(following)) == 1


def test_a_turn_that_only_the_model_knew_is_answered() -> None:
    # The model answers by itself: nothing was asked for.
    _, following = taken_over(but(QUIET, floor=Floor(unanswered_item="U1", taken_ms=3_000)))

    assert len(requests(following)) == 1


def test_keys_that_the_model_was_not_told_of_are_told() -> None:
    call, _ = taken_over(but(QUIET, keys="42"))
    call.handle(events.KeyPressed("#"), NOW + 0.5)

    messages = [
        event for event in sent(call.handle(events.Tick(), NOW + 5)) if isinstance(event, CreateMessage)
    ]

    assert messages == []
    assert "The caller pressed 42# on the keypad." in repr(call._dialogue.conversation.history.items())


def test_a_departure_that_did_not_happen_is_told_to_the_agent() -> None:
    call, following = taken_over(but(QUIET, departure="end_call"))

    notes = [event.text for event in sent(following) if isinstance(event, CreateMessage)]
    assert (
        notes[-1] == "You were interrupted, so end_call did not happen. Use it again if it is still wanted."
    )
    assert len(requests(following)) == 1
    assert state(call) is State.TALKING


# Tools


SCHEMA: dict[str, Any] = {"type": "object", "properties": {}}
TOOLS = Agent(
    audio_path="pcmu",
    filler="none",
    limits=Limits(minutes=0, silence_s=0),
    tools=(
        HttpTool("look", "Reads.", SCHEMA, "GET", "https://a.example/"),
        HttpTool("book", "Acts.", SCHEMA, "POST", "https://a.example/"),
        HttpTool("order", "Acts once for a key.", SCHEMA, "POST", "https://a.example/", retry=True),
    ),
)


def under_way(name: str) -> Checkpoint:
    tool = Remembered("F1", "tool", 2, tool_call_id="call_1", name=name, arguments="{}")
    return but(QUIET, items=(HELLO, QUESTION, tool))


def test_a_tool_that_acts_once_for_a_key_runs_again_under_the_same_key() -> None:
    _, following = taken_over(under_way("order"), TOOLS)

    (run,) = [command for command in following if isinstance(command, RunTool)]
    assert ("Idempotency-Key", "CA1-call_1") in run.request.headers


def test_a_tool_that_only_reads_runs_again_and_its_answer_is_spoken_of() -> None:
    call, following = taken_over(under_way("look"), TOOLS)

    (run,) = [command for command in following if isinstance(command, RunTool)]
    assert run.tool_call_id == "call_1"
    returned = call.handle(events.ToolReturned("call_1", ToolOutcome.OK, "{}", 200), NOW + 1)
    assert [event.output for event in sent(returned) if isinstance(event, CreateFunctionOutput)] == ["{}"]
    assert len(requests(returned)) == 1


def test_of_a_tool_that_acts_it_is_said_that_nobody_knows() -> None:
    _, following = taken_over(under_way("book"), TOOLS)

    (output,) = [event for event in sent(following) if isinstance(event, CreateFunctionOutput)]
    assert not [command for command in following if isinstance(command, RunTool)]
    assert "not known whether this was carried out" in output.output
    assert len(requests(following)) == 1


# What is counted


def test_limits_and_costs_go_on_counting() -> None:
    agent = Agent(audio_path="pcmu", filler="none", limits=Limits(minutes=1, silence_s=0))
    call, _ = taken_over(but(QUIET, media_ms=50_000, responses_usd=0.5, interruptions=2), agent)

    assert call.spend.total_usd == 0.5
    assert call.interruptions == 2
    wake_at = call.wake_at()
    assert wake_at is not None
    assert wake_at <= NOW + 10, "ten seconds of the minute are left"


def test_a_caller_who_heard_the_agent_at_another_owner_left_after_an_answer() -> None:
    call, _ = taken_over(but(QUIET, agent_was_heard=True))

    following = call.handle(HUNG_UP, NOW + 1)

    assert verdict_of(following) is Verdict.CALLER_HUNG_UP


# From the log alone


def test_a_call_of_which_only_the_log_is_left_says_that_it_is_still_there() -> None:
    call = new_call()
    following = call.start_again(but(QUIET, stream_shift_ms=None, in_session=False), NOW)
    call.handle(events.SessionCreated(1, "sess_1"), NOW)
    following += call.handle(events.SessionConfigured(1, AGENT.session(deaf=True)), NOW)
    following += call.handle(ATTACHED, NOW + 0.5)

    assert [type(event) for event in recorded(following)][:2] == [CallStarted, CallTakenOver]
    assert len(requests(following)) == 1
    assert STILL_THERE in orders(following)[0]


def test_a_call_whose_log_tells_nothing_begins_anew() -> None:
    call = new_call()

    following = call.start_again(Checkpoint(), NOW)

    assert not [event for event in recorded(following) if isinstance(event, CallTakenOver)]


def test_a_line_that_breaks_after_a_takeover_is_a_line_that_breaks() -> None:
    call, _ = taken_over(speaking(), **MARKS)

    following = acts(call.handle(STREAM_LOST, NOW + 1))

    assert state(call) is State.ORPHANED
    assert following[0] == commands.ClearPlayback(1)
