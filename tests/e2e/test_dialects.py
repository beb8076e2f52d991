"""A whole call with a model of the older shape: both sides understand each other's words."""

from e2e.conftest import StartSystem, dial_and_read_back
from e2e.test_calls import digits_heard_by_caller, digits_heard_by_model, rejected_events, text_of


async def test_a_call_through_a_compatible_server_of_the_older_shape(start_system: StartSystem) -> None:
    async with start_system(
        settings={"worker": {"OPENAI_REALTIME_DIALECT": "beta"}}, simulator_options=["--dialect", "beta"]
    ) as running:
        call = await dial_and_read_back(running, "digits")

    assert call.result.script_finished
    assert rejected_events(call) == []
    assert digits_heard_by_model(call) == [text_of(f"caller-digits-{number}") for number in range(1, 5)]
    assert digits_heard_by_caller(call) == [text_of(f"agent-digits-{number}") for number in range(1, 5)]
    assert [turn.said for turn in call.rows.turns if turn.speaker == "caller"] == [
        text_of(f"caller-digits-{number}") for number in range(1, 5)
    ]
