"""What a profile's fields become, and that examples, documentation and schema keep up with them."""

import dataclasses
import json
from pathlib import Path
from typing import Any, get_args

import pytest
from openai.types.realtime import SessionUpdateEvent
from pydantic import BaseModel
from sim_openai_driver import Driver

from trunkline_common.call_events import Redaction
from trunkline_worker import profiles
from trunkline_worker.agent import Agent, Eagerness, NoiseReduction, ReasoningEffort, SemanticVad, ServerVad
from trunkline_worker.agent_tools import HttpTool, McpTool, Method, TransferTarget
from trunkline_worker.events import AudioPath
from trunkline_worker.limits import Limits
from trunkline_worker.profile_files import LoadedProfile, read_folder
from trunkline_worker.profiles import Profile
from trunkline_worker.tool_hosts import ToolHosts
from trunkline_worker.tool_profiles import (
    HttpToolProfile,
    McpToolProfile,
    TransferProfile,
    TransferTargetProfile,
)
from trunkline_worker.tool_rules import ToolRules
from trunkline_worker.treatment_profiles import (
    BusyProfile,
    DialProfile,
    HangUpProfile,
    SayProfile,
    WaitProfile,
)

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "agents"
BUILT_IN = Agent()

LEAST: dict[str, Any] = {"name": "desk", "numbers": "any", "instructions": "Be brief."}

EVERYTHING: dict[str, Any] = {
    "name": "desk",
    "numbers": ["+12025550147"],
    "instructions": "Be brief.",
    "greeting": "Say hello.",
    "voice": "cedar",
    "speed": 1.25,
    "model": "gpt-realtime-2.1-mini",
    "reasoning_effort": "high",
    "max_output_tokens": "inf",
    "audio_path": "pcmu",
    "noise_reduction": "none",
    "transcription": {"model": "whisper-1", "language": "no"},
    "turn_detection": {
        "type": "server_vad",
        "threshold": 0.75,
        "prefix_padding_ms": 200,
        "silence_duration_ms": 700,
        "idle_timeout_ms": 8000,
        "listen_during_greeting": False,
        "min_speech_ms": 250,
    },
    "filler": "none",
    "end_call": True,
    "transfer": {
        "targets": [{"name": "desk", "number": "+12025550160", "description": "A person.", "timeout_s": 30}]
    },
    "send_digits": True,
    "tools": [
        {
            "type": "http",
            "name": "book",
            "description": "Book.",
            "parameters": {"type": "object", "properties": {"day": {"type": "string"}}, "required": ["day"]},
            "method": "POST",
            "url": "https://calendar.example.com/{day}",
            "headers": {"Authorization": "Bearer ${TOOL_SECRET_CALENDAR}"},
            "timeout_s": 3.0,
            "retry": True,
            "idempotent": True,
            "result_bytes_max": 1000,
            "filler": "One moment.",
            "filler_after_ms": 900,
        },
        {
            "type": "mcp",
            "server_label": "stock",
            "server_url": "https://mcp.example.com/stock",
            "allowed_tools": ["find"],
            "authorization": "${TOOL_SECRET_STOCK}",
        },
    ],
    "tools_per_minute": 5,
    "limits": {"minutes": 15, "silence_s": 20, "cost_usd": 0.75},
    "redact": ["emails", "card-numbers"],
    "retention_days": 30,
    "when_full": {
        "type": "wait",
        "text": "Please hold.",
        "position_text": "Number {position}.",
        "language": "en-GB",
        "hold_music": "https://media.example.com/hold.mp3",
        "max_wait_minutes": 2.5,
        "then": {
            "type": "dial",
            "number": "+12025550160",
            "timeout_s": 30,
            "text": "Nobody is there.",
            "language": "en-GB",
        },
    },
    "when_failing": {"type": "say", "text": "Sorry.", "language": "en-GB"},
}
SECRETS = {"TOOL_SECRET_CALENDAR": "calendar-key", "TOOL_SECRET_STOCK": "stock-key"}
RULES = ToolRules(ToolHosts.parse("calendar.example.com"))


def examples() -> tuple[LoadedProfile, ...]:
    return read_folder(EXAMPLES, BUILT_IN, rules=RULES).loaded


def test_every_field_reaches_the_agent() -> None:
    agent = Profile.model_validate(EVERYTHING).agent(BUILT_IN, SECRETS)

    assert EVERYTHING.keys() == Profile.model_fields.keys()
    assert agent == Agent(
        name="desk",
        instructions="Be brief.",
        greeting="Say hello.",
        voice="cedar",
        speed=1.25,
        model="gpt-realtime-2.1-mini",
        reasoning_effort="high",
        max_output_tokens="inf",
        audio_path="pcmu",
        noise_reduction="none",
        transcription_model="whisper-1",
        language="no",
        turn_detection=ServerVad(
            threshold=0.75, prefix_padding_ms=200, silence_duration_ms=700, idle_timeout_ms=8000
        ),
        listen_during_greeting=False,
        min_speech_ms=250,
        filler="none",
        can_end_call=True,
        transfer_targets=(TransferTarget("desk", "+12025550160", "A person.", 30),),
        can_send_digits=True,
        tools=(
            HttpTool(
                name="book",
                description="Book.",
                parameters={"type": "object", "properties": {"day": {"type": "string"}}, "required": ["day"]},
                method="POST",
                url="https://calendar.example.com/{day}",
                headers=(("Authorization", "Bearer calendar-key"),),
                timeout_s=3.0,
                retry=True,
                result_bytes_max=1000,
                filler="One moment.",
                filler_after_ms=900,
            ),
            McpTool("stock", "https://mcp.example.com/stock", ("find",), "stock-key"),
        ),
        tools_per_minute=5,
        limits=Limits(minutes=15, silence_s=20, cost_usd=0.75),
        redact=(Redaction.EMAILS, Redaction.CARD_NUMBERS),
        retention_days=30,
    )
    assert not [secret for secret in SECRETS.values() if secret in repr(agent)]
    unused = [
        field.name
        for field in dataclasses.fields(Agent)
        if getattr(agent, field.name) == getattr(BUILT_IN, field.name)
    ]
    assert unused == []


def test_turns_by_meaning_reach_the_agent() -> None:
    profile = LEAST | {"turn_detection": {"type": "semantic_vad", "eagerness": "low"}}

    assert Profile.model_validate(profile).agent(BUILT_IN).turn_detection == SemanticVad("low")


def test_what_a_profile_leaves_out_is_as_in_the_built_in_agent() -> None:
    agent = Profile.model_validate(LEAST).agent(BUILT_IN)

    assert agent == dataclasses.replace(BUILT_IN, name="desk", instructions="Be brief.")


def test_model_and_audio_path_come_from_the_workers_settings_unless_a_profile_names_them() -> None:
    built_in = Agent(model="gpt-realtime-2", audio_path="pcmu")

    agent = Profile.model_validate(LEAST).agent(built_in)

    assert (agent.model, agent.audio_path) == ("gpt-realtime-2", "pcmu")


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.file)
def test_an_example_names_its_schema_for_editors(example: LoadedProfile) -> None:
    first_line = (EXAMPLES / example.file).read_text().splitlines()[0]

    assert first_line == "# yaml-language-server: $schema=agents.schema.json"
    assert (EXAMPLES / "agents.schema.json").exists()


SESSIONS = [
    *(pytest.param(example.agent, id=example.file) for example in examples()),
    pytest.param(Profile.model_validate(EVERYTHING).agent(BUILT_IN), id="everything"),
    pytest.param(Profile.model_validate(LEAST).agent(Agent(model="gpt-realtime")), id="first-generation"),
]


@pytest.mark.parametrize("agent", SESSIONS)
def test_the_session_is_one_that_openais_own_types_know(agent: Agent) -> None:
    update = SessionUpdateEvent.model_validate({"type": "session.update", "session": agent.session()})

    assert unknown_fields(update) == []


@pytest.mark.parametrize("agent", SESSIONS)
def test_the_session_is_accepted_and_echoed_as_asked(agent: Agent) -> None:
    driver = Driver(model=agent.model)

    answer, *_ = driver.send("session.update", event_id="cfg", session=agent.session())

    assert answer["type"] == "session.updated", answer
    assert answer["session"]["audio"]["output"]["voice"] == agent.voice
    assert answer["session"]["max_output_tokens"] == agent.max_output_tokens


@pytest.mark.parametrize("eagerness", get_args(Eagerness))
@pytest.mark.parametrize("language", ["auto", "nl"])
def test_turns_by_meaning_are_accepted(eagerness: Eagerness, language: str) -> None:
    agent = Agent(turn_detection=SemanticVad(eagerness), language=language)

    (answer,) = Driver(model=agent.model).send("session.update", event_id="cfg", session=agent.session())

    assert answer["session"]["audio"]["input"]["turn_detection"]["eagerness"] == eagerness


def test_the_schema_beside_the_examples_is_current() -> None:
    written = json.loads((EXAMPLES / "agents.schema.json").read_text())

    assert written == profiles.json_schema(), (
        "trunkline agents schema > examples/agents/agents.schema.json makes it anew"
    )


def test_the_documentation_has_every_field_with_its_meaning_and_default() -> None:
    page = (ROOT / "docs" / "agents.md").read_text().splitlines()
    told = [line for line in page if line.startswith("| `")]

    assert told == rows()


@pytest.mark.parametrize(
    "values",
    [
        *(profiles.Voice, profiles.TranscriptionModel, ReasoningEffort, Eagerness),
        *(NoiseReduction, AudioPath, Method),
    ],
)
def test_the_documentation_has_every_value_that_can_be_chosen(values: Any) -> None:
    page = (ROOT / "docs" / "agents.md").read_text()

    assert [value for value in get_args(values) if f"`{value}`" not in page] == []


def rows() -> list[str]:
    """The lines of the tables in `docs/agents.md`."""
    models: dict[str, type[BaseModel]] = {
        "": profiles.Profile,
        "transcription.": profiles.TranscriptionProfile,
        "turn_detection.": profiles.ServerVadProfile,
        "turn_detection. ": profiles.SemanticVadProfile,
        "limits.": profiles.LimitsProfile,
        "transfer.": TransferProfile,
        "transfer.targets[].": TransferTargetProfile,
        "tools[].": HttpToolProfile,
        "tools[]. ": McpToolProfile,
        "when_full.": WaitProfile,
        "when_full. ": SayProfile,
        "when_full.  ": DialProfile,
        "when_full.   ": BusyProfile,
        "when_full.then.": HangUpProfile,
    }
    lines = []
    for prefix, model in models.items():
        for name, field in model.model_fields.items():
            meaning, _, otherwise = str(field.description).partition("; unless set, ")
            default = otherwise or default_of(model, name)
            lines.append(f"| `{prefix.strip()}{name}` | {meaning} | {default} |")
    return lines


def default_of(model: type[BaseModel], name: str) -> str:
    field = model.model_fields[name]
    if field.is_required():
        values = get_args(field.annotation)
        return f"`{values[0]}`" if name == "type" else "required"
    if isinstance(field.default, BaseModel):
        return "see below"
    if field.default is None or field.default_factory is not None or field.default == "":
        return "none"
    if isinstance(field.default, bool):
        return f"`{str(field.default).lower()}`"
    return "a short greeting" if name == "greeting" else f"`{field.default}`"


def unknown_fields(model: BaseModel) -> list[str]:
    """Return the fields, at any depth, that the SDK's types keep but do not know."""
    found = list(model.model_extra or {})
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            found += [f"{name}.{inner}" for inner in unknown_fields(value)]
    return found
