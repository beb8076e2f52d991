"""Both dialects of the Realtime wire: they say and mean the same, to strict servers, and nothing breaks them."""

import json
from functools import cache
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sim_openai_driver import Driver
from unit.test_realtime_api import CLIENT_EVENTS

from trunkline_simulators import openai_beta
from trunkline_simulators.openai_rejection import parse_client_event
from trunkline_worker import commands, events
from trunkline_worker.agent import Agent, Eagerness, NoiseReduction, SemanticVad, ServerVad
from trunkline_worker.dialects import CODECS, Dialect
from trunkline_worker.realtime_api import differences

SESSION = 7
DIALECTS: tuple[Dialect, ...] = get_args(Dialect)
STRICT_SERVER = {"ga": parse_client_event, "beta": openai_beta.parse_client_event}

VADS = st.builds(
    ServerVad,
    threshold=st.floats(0, 1),
    prefix_padding_ms=st.integers(0, 2_000),
    silence_duration_ms=st.integers(0, 5_000),
) | st.builds(SemanticVad, eagerness=st.sampled_from(get_args(Eagerness)))
AGENTS = st.builds(
    Agent,
    instructions=st.text(max_size=40),
    voice=st.sampled_from(["alloy", "marin", "cedar"]),
    model=st.sampled_from(["gpt-realtime-2.1", "gpt-realtime-1.5"]),
    audio_path=st.sampled_from(get_args(events.AudioPath)),
    language=st.sampled_from(["auto", "en", "nl"]),
    noise_reduction=st.sampled_from(get_args(NoiseReduction)),
    turn_detection=VADS,
    max_output_tokens=st.integers(1, 4096) | st.just("inf"),
    speed=st.floats(0.25, 1.5),
)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("event", CLIENT_EVENTS, ids=lambda event: type(event).__name__)
def test_a_strict_server_accepts_every_client_event(event: commands.ClientEvent, dialect: Dialect) -> None:
    sent = CODECS[dialect].encode(event).decode()

    STRICT_SERVER[dialect](sent)


@pytest.mark.parametrize("dialect", DIALECTS)
@given(agent=AGENTS)
@settings(max_examples=100)
def test_a_strict_server_accepts_every_agent_and_echoes_it(agent: Agent, dialect: Dialect) -> None:
    asked = agent.session()
    codec = CODECS[dialect]
    sent = codec.encode(commands.ConfigureSession("configure_1", asked)).decode()
    driver = Driver(model=agent.model)

    driver.send_frame(json.dumps(in_ga(sent, dialect)))

    echo = codec.decode(on_the_wire(driver.one("session.updated"), dialect), SESSION)
    assert isinstance(echo, events.SessionConfigured)
    assert differences(asked, echo.echo) == []


@pytest.mark.parametrize(
    "fault", ["phases", "text-only", "text-twice", "no-created", "failed=server_error", "unknown-event"]
)
def test_a_talk_means_the_same_in_both(fault: str) -> None:
    stream = talk(f"{fault}@response.created:2")

    newer = [CODECS["ga"].decode(on_the_wire(event, "ga"), SESSION) for event in stream]
    older = [CODECS["beta"].decode(on_the_wire(event, "beta"), SESSION) for event in stream]

    configured = events.SessionConfigured
    assert [event for event in newer if not isinstance(event, configured)] == [
        event for event in older if not isinstance(event, configured)
    ]
    assert not [event for event in newer if isinstance(event, events.ModelError)]


def test_items_of_one_response_stay_apart_however_their_events_interleave() -> None:
    # A commentary and the final answer: the second begins before the first has ended.
    meant = [
        CODECS["ga"].decode(on_the_wire(event, "ga"), SESSION) for event in talk("phases@response.created:2")
    ]

    done = [event for event in meant if isinstance(event, events.AudioDone)]
    spoken = [event for event in meant if isinstance(event, events.SpokenText) and event.final]
    answer = [event.item_id for event in done if event.response_id == done[-1].response_id]
    assert len(answer) == 2
    assert [event.item_id for event in spoken if event.item_id in answer] == answer


@pytest.mark.parametrize("dialect", DIALECTS)
@given(data=st.data())
@settings(max_examples=150)
def test_events_cut_off_anywhere_break_nothing(data: st.DataObject, dialect: Dialect) -> None:
    message = data.draw(st.sampled_from(wire(dialect)))
    cut = data.draw(st.integers(0, len(message) - 1))

    event = CODECS[dialect].decode(message[:cut], SESSION)

    assert event in {None, events.ModelError(SESSION, "malformed-event", fatal=False)}


@pytest.mark.parametrize("dialect", DIALECTS)
@given(order=st.randoms(use_true_random=False))
@settings(max_examples=20)
def test_what_an_event_means_depends_on_no_other(order: Any, dialect: Dialect) -> None:
    # Repeated and shuffled: order and repetition are the call's business.
    stream = [*wire(dialect), *wire(dialect)]
    alone = {message: repr(CODECS[dialect].decode(message, SESSION)) for message in stream}
    order.shuffle(stream)

    assert all(repr(CODECS[dialect].decode(message, SESSION)) == alone[message] for message in stream)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
FLAT_FIELDS = ["modalities", "input_audio_format", "output_audio_format", "turn_detection", "tools", "voice"]


@given(session=st.dictionaries(st.sampled_from(FLAT_FIELDS), JSON) | JSON)
@settings(max_examples=200)
def test_an_echo_of_any_shape_breaks_nothing(session: Any) -> None:
    event = CODECS["beta"].decode(json.dumps({"type": "session.updated", "session": session}), SESSION)

    if isinstance(event, events.SessionConfigured):
        differences(Agent().session(), event.echo)


@pytest.mark.parametrize("dialect", DIALECTS)
@given(data=st.binary(max_size=60) | st.text(max_size=60) | JSON.map(json.dumps))
@settings(max_examples=200)
def test_no_message_breaks_a_codec(data: str | bytes, dialect: Dialect) -> None:
    CODECS[dialect].decode(data, SESSION)


@cache
def talk(*faults: str) -> list[dict[str, Any]]:
    """A greeting, and a question with its answer."""
    driver = Driver(*faults)
    driver.configure_pcmu()
    driver.send("response.create")
    driver.wait(10)
    driver.say("caller-hours")
    driver.wait(10)
    return driver.events


@cache
def wire(dialect: Dialect) -> list[str]:
    return [message for event in talk() if (message := on_the_wire(event, dialect)) != UNKNOWN]


UNKNOWN = '{"type":"not.sent"}'


def on_the_wire(event: dict[str, Any], dialect: Dialect) -> str:
    shown = openai_beta.server_event(event) if dialect == "beta" else event
    return UNKNOWN if shown is None else json.dumps(shown)


def in_ga(sent: str, dialect: Dialect) -> Any:
    if dialect == "ga":
        return json.loads(sent)
    return msgspec.to_builtins(openai_beta.parse_client_event(sent))
