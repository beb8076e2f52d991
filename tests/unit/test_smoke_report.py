"""What a smoke talk shows: exit codes, and what to do about each refused or changed field."""

import pytest

from trunkline_common.call_events import Usage
from trunkline_worker import events
from trunkline_worker.agent import Agent
from trunkline_worker.smoke_report import Level, Report, what_to_change


def report() -> Report:
    return Report("wss://api.openai.com/v1/realtime", "gpt-realtime-2.1", "built-in", "pcm24k", "ga")


@pytest.mark.parametrize(
    ("levels", "code"),
    [
        ([], 0),
        ([Level.NOTE], 0),
        ([Level.DIFFERS], 1),
        ([Level.FAULT, Level.NOTE], 1),
        ([Level.FAULT, Level.LATE], 3),
    ],
)
def test_the_gravest_finding_decides_the_exit_code(levels: list[Level], code: int) -> None:
    found = report()
    for level in levels:
        found.find(level, "something", "what to do")

    assert (found.exit_code, found.as_json()["exit_code"]) == (code, code)


def test_people_get_a_table() -> None:
    found = report()
    found.connect_ms, found.answer_ms, found.cut_at_ms, found.cut_of_ms = 412.4, 773.0, 939, 3848
    found.caller_said.append("What does it cost?")

    table = "\n".join(found.lines())

    assert "end of speech → first audio  773 ms" in table
    assert "939 of 3848 ms heard" in table
    assert "caller “What does it cost?”" in table
    assert "took every setting" in table


def test_every_setting_of_an_agent_has_its_advice() -> None:
    audio = Agent().session()["audio"]
    ours = [f"session.audio.input.{name}" for name in audio["input"]]
    ours += [f"session.audio.output.{name}" for name in audio["output"]]
    ours += ["session.reasoning.effort", "session.max_output_tokens", "session.tools[0].name"]

    assert [path for path in ours if "not compatible" in what_to_change(path)] == []


def test_the_older_names_of_fields_have_the_same_advice() -> None:
    assert what_to_change("session.input_audio_noise_reduction") == what_to_change(
        "session.audio.input.noise_reduction.type"
    )


def test_a_refused_field_is_named_with_what_to_do() -> None:
    found = report()

    found.refused(events.ModelError(1, "invalid_value", False, "configure_1", "session.audio.output.voice"))

    assert "refused: invalid_value session.audio.output.voice, about configure_1" in found.lines()[-1]
    assert "`voice`" in found.lines()[-1]


def test_a_race_that_loses_nothing_is_only_a_note() -> None:
    found = report()

    found.refused(events.ModelError(1, "item_truncate_invalid_item_id", False, "truncate_1"))

    assert found.exit_code == 0


def test_a_failed_response_is_a_fault_and_its_tokens_count() -> None:
    found = report()
    usage = Usage(
        response_id="resp_1",
        input_tokens=41,
        input_text_tokens=14,
        input_audio_tokens=27,
        cached_tokens=8,
        output_tokens=0,
        output_text_tokens=0,
        output_audio_tokens=0,
    )

    found.response_done(events.ResponseDone(1, "resp_1", "failed", "insufficient_quota", usage))

    assert found.input_tokens == 41
    assert "billing" in found.lines()[-1]
