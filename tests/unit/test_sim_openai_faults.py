"""Every fault knob, and how it is written."""

import pytest
from sim_openai_driver import UNKNOWN_TYPE, Driver

from trunkline_simulators import recordings
from trunkline_simulators.openai_dice import Dice
from trunkline_simulators.openai_faults import KINDS, ArmedFaults, Fault, Losses, parse_fault

SOUND = "response.output_audio.delta"


def greeted(*faults: str) -> Driver:
    driver = Driver(*faults)
    driver.send("response.create")
    driver.wait(4)
    return driver


def test_the_full_form() -> None:
    assert parse_fault("close=1011@response.done:2*") == Fault("close", "1011", "response.done", 2, True)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_an_event_of_its_own(kind: str) -> None:
    _, event, example = KINDS[kind]

    assert parse_fault(f"{kind}={example}" if example else kind) == Fault(kind, example, event, 1, False)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "not of the form"),
        ("close=1011@response.created:0", "not of the form"),
        ("explode", "no fault"),
        ("close", "needs a value"),
        ("stall=1", "takes no value"),
        ("close=1002", "close knows"),
        ("failed=bad_luck", "fails with"),
        ("slow=fast", "needs a number"),
        ("expire=0", "above 0"),
        ("refuse=5:418", "refuse knows"),
        ("arguments=right", "arguments can be"),
        ("failed=never", "fails with"),
        ("half@response.created+5", "some time after"),
        ("half@response.done", "only strike at response.created"),
    ],
)
def test_a_wrong_fault_is_explained(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_fault(text)


def test_a_fault_strikes_once_or_in_every_session() -> None:
    armed = ArmedFaults([parse_fault("stall@response.done:2"), parse_fault("half@response.created*")])

    assert armed.strike("response.done", 1) == []
    assert [fault.kind for fault in armed.strike("response.done", 2)] == ["stall"]
    assert armed.strike("response.done", 2) == []
    assert armed.strike("response.created", 1) == armed.strike("response.created", 1) != []


@pytest.mark.parametrize("code", [1000, 1001, 1006, 1011, 1012, 1013])
def test_close_at_a_sent_event(code: int) -> None:
    driver = greeted(f"close={code}@{SOUND}:3")

    assert driver.closed is not None
    assert driver.closed.code == code
    assert driver.kinds()[-1] == SOUND
    assert len(driver.of(SOUND)) == 3


def test_close_at_a_received_event() -> None:
    driver = Driver("close=1011@input_audio_buffer.append:10")

    driver.be_silent(1_000)

    assert driver.closed is not None
    assert sum(note.event == "append-received" for note in driver.notes) == 9


def test_stall_at_connect() -> None:
    driver = Driver("stall@connect")

    assert driver.stalled
    assert driver.events == []
    assert driver.send("response.create") == []


def test_expire() -> None:
    driver = Driver("expire=30")
    driver.wait(29)
    assert not driver.errors()

    driver.wait(1)

    assert driver.errors()[0]["code"] == "session_expired"
    assert driver.closed is not None
    assert driver.closed.code == 1001


def test_error_refuses_the_client_event_once() -> None:
    driver = Driver("error=insufficient_quota@session.update")

    (refused,) = driver.send(
        "session.update", event_id="cfg", session={"type": "realtime", "instructions": "x"}
    )

    assert (refused["error"]["code"], refused["error"]["event_id"]) == ("insufficient_quota", "cfg")
    driver.configure(instructions="y")


def test_anonymous_error() -> None:
    driver = Driver("anonymous-error")

    (refused,) = driver.send("response.cancel", event_id="c")

    assert refused["error"]["event_id"] is None


def test_unknown_event() -> None:
    driver = greeted("unknown-event@response.done")

    assert driver.kinds()[-2:] == [UNKNOWN_TYPE, "rate_limits.updated"]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("rate_limit_exceeded", "tokens"),
        ("server_error", "server_error"),
        ("insufficient_quota", "insufficient_quota"),
    ],
)
def test_failed(code: str, kind: str) -> None:
    driver = greeted(f"failed={code}")

    response = driver.one("response.done")["response"]
    error = response["status_details"]["error"]

    assert driver.kinds()[1:] == ["response.created", "response.done", "rate_limits.updated"]
    assert (response["status"], response["status_details"]["type"]) == ("failed", "failed")
    assert (error["code"], error["type"]) == (code, kind)
    assert response["usage"]["total_tokens"] == 0
    assert not driver.errors(), "a failed response is no error event"


def test_half_never_ends_until_it_is_cancelled() -> None:
    driver = greeted("half")
    driver.wait(60)
    assert driver.of(SOUND)
    assert not driver.of("response.done")

    cancelled = driver.send("response.cancel")

    assert cancelled[-2]["response"]["status"] == "cancelled"


def test_slow_is_slower_than_real_time() -> None:
    driver = Driver("slow=0.5")
    driver.send("response.create")
    playback_s = len(recordings.samples("agent-greeting", 8_000)) / 8_000

    driver.wait(playback_s)

    received_s = len(driver.audio_of(driver.one("response.created")["response"]["id"])) / 48_000
    assert 0.4 * playback_s < received_s < 0.6 * playback_s


def test_no_created() -> None:
    driver = greeted("no-created")

    assert not driver.of("response.created")
    assert driver.one("response.done")["response"]["status"] == "completed"


def test_text_only() -> None:
    driver = greeted("text-only")

    assert driver.one("response.content_part.added")["part"]["type"] == "text"
    assert not driver.of(SOUND)


def test_text_twice() -> None:
    driver = greeted("text-twice")

    spoken, written = driver.one("response.done")["response"]["output"]

    assert spoken["content"][0]["transcript"] == written["content"][0]["text"] == recordings.greeting().text


def test_phases_interleave_two_messages() -> None:
    driver = greeted("phases")

    commentary, answer = driver.one("response.done")["response"]["output"]
    kinds = driver.kinds()
    second_added = [index for index, kind in enumerate(kinds) if kind == "response.output_item.added"][1]

    assert (commentary["phase"], answer["phase"]) == ("commentary", "final_answer")
    assert second_added < kinds.index("response.output_audio.done"), (
        "the second begins before the first has ended"
    )
    assert {event["output_index"] for event in driver.of("response.output_item.done")} == {0, 1}
    words = " ".join(item["content"][0]["transcript"] for item in (commentary, answer))
    assert words == recordings.greeting().text


def test_refusals_begin_at_the_start_or_after_a_close() -> None:
    armed = ArmedFaults([parse_fault("refuse=5:429"), parse_fault("refuse=2@start")])

    assert armed.refusals("start") == (2, 503)
    assert armed.refusals("close") == (5, 429)
    assert ArmedFaults().refusals("close") == (0, 503)


def test_an_ending_may_wait_after_its_event() -> None:
    driver = Driver("close=1011@session.updated+1500")
    driver.configure(instructions="x")

    driver.wait(1.4)
    alive = not driver.session.ended
    driver.wait(0.2)

    assert alive
    assert driver.closed is not None
    assert driver.closed.code == 1011


@pytest.mark.parametrize(("code", "reason"), [(3000, "invalid_api_key"), (4000, "beta_api_shape_disabled")])
def test_a_fatal_close_right_after_the_upgrade(code: int, reason: str) -> None:
    driver = Driver(f"close={code}@connect")

    assert driver.closed is not None
    assert (driver.closed.code, driver.closed.reason) == (code, f"invalid_request_error.{reason}")
    assert driver.events == []


def test_a_mute_session_says_nothing_and_stays_open() -> None:
    driver = Driver("mute")

    driver.send("session.update", session={"type": "realtime"})
    driver.say("caller-hours")
    driver.wait(5)

    assert driver.events == []
    assert (driver.closed, driver.stalled) == (None, False)


def test_an_event_can_be_withheld() -> None:
    driver = Driver("withhold")

    assert driver.send("session.update", session={"type": "realtime", "instructions": "x"}) == []
    assert driver.kinds() == ["session.created"]
    driver.configure(instructions="y")


def test_an_event_can_come_twice() -> None:
    driver = greeted("twice@response.done")

    first, second = driver.of("response.done")

    assert first == second


def test_a_rate_limit_says_when_to_try_again() -> None:
    driver = greeted("failed=rate_limit_exceeded")

    error = driver.one("response.done")["response"]["status_details"]["error"]

    assert error["message"].endswith("Please try again in 1.2s.")


def lost_after_s(seed: str, mean_s: float) -> tuple[float, Fault]:
    return Losses(mean_s).draw(Dice(seed))


def test_losses_come_at_random_with_the_mean_and_in_every_way() -> None:
    drawn = [lost_after_s(str(seed), 10.0) for seed in range(2_000)]

    assert 9 < sum(after_s for after_s, _ in drawn) / len(drawn) < 11
    assert {(fault.kind, fault.value) for _, fault in drawn} == {
        *(("close", str(code)) for code in (1000, 1001, 1006, 1011, 1012, 1013)),
        ("stall", ""),
        ("expire", "0"),
    }
    assert lost_after_s("7", 10.0) == lost_after_s("7", 10.0)


def test_with_losses_a_session_ends_by_itself() -> None:
    driver = Driver(losses=Losses(1.0))

    driver.wait(20)

    assert driver.session.ended
