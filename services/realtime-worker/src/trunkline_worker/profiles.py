"""An agent profile: every field that one YAML file may hold, its limits, and the agent it makes.

Only fields that have an effect exist. The field descriptions here are the ones in `agents.schema.json` and in
`docs/agents.md`; defaults are the built-in agent's.
"""

import re
from typing import Annotated, Any, Final, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from trunkline_common.call_events import Redaction
from trunkline_worker.agent import (
    Agent,
    Eagerness,
    Filler,
    NoiseReduction,
    ReasoningEffort,
    SemanticVad,
    ServerVad,
    living_model,
)
from trunkline_worker.events import AudioPath
from trunkline_worker.limits import Limits
from trunkline_worker.tool_profiles import (
    E164,
    TOOLS_MAX,
    HttpToolProfile,
    McpToolProfile,
    Secrets,
    StrictFields,
    ToolProfile,
    TransferProfile,
    check_names,
)
from trunkline_worker.treatment_profiles import WhenFailingProfile, WhenFullProfile

ANY_NUMBER: Final = "any"
RETENTION_DAYS_MAX: Final = 3650
"""Ten years: beyond, nobody means it."""
NUMBERS_MAX: Final = 1000
"""A line with more numbers than this is `any`."""

_BUILT_IN: Final = Agent()

Number = Annotated[str, Field(pattern=E164)]
Voice = Literal["alloy", "ash", "ballad", "cedar", "coral", "echo", "marin", "sage", "shimmer", "verse"]
TranscriptionModel = Literal[
    "gpt-realtime-whisper",
    "gpt-live-transcribe",
    "gpt-transcribe",
    "gpt-4o-transcribe",
    "gpt-4o-transcribe-diarize",
    "gpt-4o-mini-transcribe",
    "gpt-4o-mini-transcribe-2025-12-15",
    "whisper-1",
]


class TranscriptionProfile(StrictFields):
    """How the caller's words are written down; the agent itself hears sound, not these words."""

    model: TranscriptionModel = Field(
        "gpt-realtime-whisper",
        description="the model that writes down what the caller says: `gpt-realtime-whisper`, `gpt-live-transcribe`, "
        "`gpt-transcribe`, `gpt-4o-transcribe`, `gpt-4o-transcribe-diarize`, `gpt-4o-mini-transcribe`, "
        "`gpt-4o-mini-transcribe-2025-12-15`, `whisper-1`",
    )
    language: str = Field(
        _BUILT_IN.language,
        pattern=r"^(auto|[a-z]{2,3})$",
        description="language that the caller speaks (ISO 639-1, such as `nl`), or `auto` to find out",
    )


class _TurnsProfile(StrictFields):
    """What does not depend on the detector."""

    listen_during_greeting: bool = Field(
        _BUILT_IN.listen_during_greeting,
        description="`false`: the caller cannot interrupt the greeting, and what they say over it is not heard",
    )
    min_speech_ms: int = Field(
        _BUILT_IN.min_speech_ms,
        ge=0,
        le=1000,
        description="speech that is shorter (a cough) does not stop the agent, in ms (0–1000); 0: all speech does",
    )


class ServerVadProfile(_TurnsProfile):
    """The caller's turn ends with silence."""

    type: Literal["server_vad"] = Field(description="turns by loudness and silence")
    threshold: float = Field(
        ServerVad().threshold,
        ge=0,
        le=1,
        description="how sure it must be that it hears speech (0–1); higher on noisy lines",
    )
    prefix_padding_ms: int = Field(
        ServerVad().prefix_padding_ms,
        ge=0,
        le=2000,
        description="sound kept from before the speech began, in ms (0–2000)",
    )
    silence_duration_ms: int = Field(
        ServerVad().silence_duration_ms,
        ge=100,
        le=5000,
        description="silence that ends a turn, in ms (100–5000); all of it is added to each answer's wait",
    )
    idle_timeout_ms: int | None = Field(
        None,
        ge=5000,
        le=30000,
        description="silence after an answer until the agent speaks again by itself, in ms (5000–30000); "
        "unless set, never",
    )


class SemanticVadProfile(_TurnsProfile):
    """The caller's turn ends when the thought does."""

    type: Literal["semantic_vad"] = Field(description="turns by what was said")
    eagerness: Eagerness = Field(
        SemanticVad().eagerness,
        description="how soon it answers: at the latest after 8 s (`low`), 4 s (`medium`, `auto`) or 2 s (`high`)",
    )


class LimitsProfile(StrictFields):
    """What one call may take; the agent says goodbye before it ends."""

    minutes: float = Field(
        Limits().minutes,
        ge=0,
        le=240,
        description="how long a call may last, in minutes (0–240); 0: no limit",
    )
    silence_s: float = Field(
        Limits().silence_s,
        ge=0,
        le=600,
        description="silence until the caller is asked whether they are there, and as long again until goodbye, "
        "in s (0–600); 0: never",
    )
    cost_usd: float = Field(
        Limits().cost_usd,
        ge=0,
        description="what a call may cost by the price list, in USD; 0: no limit",
    )


class Profile(StrictFields):
    """One agent: the numbers it answers and how it speaks."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}$",
        description="what the call's records say who answered; 1–64 letters, digits, spaces, `.`, `_`, `-`",
    )
    numbers: Literal["any"] | Annotated[list[Number], Field(min_length=1, max_length=NUMBERS_MAX)] = Field(
        description="list of the called numbers that it answers (E.164, in quotes), or `any` for all others"
    )
    instructions: str = Field(
        min_length=1,
        pattern=r"\S",
        description="who the agent is, what it knows and how it talks; at most about 16,000 tokens",
    )
    greeting: str = Field(
        _BUILT_IN.greeting,
        min_length=1,
        pattern=r"\S",
        description="what it is told to say first; it is an order, not the words",
    )
    voice: Voice = Field(
        "marin",
        description="the voice: `marin` or `cedar` (the newest), `alloy`, `ash`, `ballad`, `coral`, `echo`, `sage`, "
        "`shimmer`, `verse`",
    )
    speed: float = Field(_BUILT_IN.speed, ge=0.25, le=1.5, description="how fast it speaks (0.25–1.5)")
    model: str | None = Field(
        None,
        pattern=r"^\S+$",
        description="the speech-to-speech model; unless set, the worker's `OPENAI_REALTIME_MODEL`",
    )
    reasoning_effort: ReasoningEffort | None = Field(
        None,
        description="how long a model of the 2.x family thinks before it speaks: `minimal`, `low`, `medium`, `high`, "
        "`xhigh`; unless set, `low`",
    )
    max_output_tokens: Annotated[int, Field(ge=1, le=4096)] | Literal["inf"] = Field(
        _BUILT_IN.max_output_tokens,
        description="most tokens of one answer (1–4096, a second of speech is 20), or `inf`; what exceeds it is cut",
    )
    audio_path: AudioPath | None = Field(
        None,
        description="`pcm24k` (transcoded) or `pcmu` (G.711 straight through); unless set, the worker's `AUDIO_PATH`",
    )
    noise_reduction: NoiseReduction = Field(
        _BUILT_IN.noise_reduction,
        description="filter before the model: `near_field` (handset at the ear), `far_field` or `none`",
    )
    transcription: TranscriptionProfile = Field(
        TranscriptionProfile(), description="how the caller's words are written down"
    )
    turn_detection: ServerVadProfile | SemanticVadProfile = Field(
        ServerVadProfile(type="server_vad"),
        discriminator="type",
        description="how the end of the caller's turn is found",
    )
    filler: Filler = Field(
        _BUILT_IN.filler,
        description="what the caller hears while an answer does not come: a `soft` tone, or `none`",
    )
    end_call: bool = Field(False, description="the agent may hang up, once its goodbye was heard")
    transfer: TransferProfile | None = Field(None, description="whom it may put a caller through to")
    send_digits: bool = Field(
        False, description="it may press keys (DTMF), for a voice menu at the other end"
    )
    tools: list[ToolProfile] = Field(
        default_factory=list,
        max_length=TOOLS_MAX,
        description="what else it can do: list of HTTP tools and MCP servers",
    )
    tools_per_minute: int = Field(
        _BUILT_IN.tools_per_minute,
        ge=1,
        le=600,
        description="tool calls in any minute of a call (1–600); more are refused",
    )
    limits: LimitsProfile = Field(LimitsProfile(), description="what one call may take")
    redact: list[Literal["card-numbers", "emails", "phone-numbers"]] = Field(
        default_factory=list,
        max_length=len(Redaction),
        description="what is taken out of the texts before they are stored: list of `card-numbers`, `emails`, "
        "`phone-numbers`",
    )
    retention_days: int | None = Field(
        None,
        ge=1,
        le=RETENTION_DAYS_MAX,
        description="days after which its calls are deleted from Postgres (1–3650); unless set, they are kept",
    )
    when_full: WhenFullProfile | None = Field(
        None, description="what callers get while no worker has room: `say`, `dial`, `busy` or `wait`"
    )
    when_failing: WhenFailingProfile | None = Field(
        None,
        description="what callers get when their call cannot be served, or not any more: `say` or `dial`, as in `when_full`",
    )

    @field_validator("tools")
    @classmethod
    def _have_names_of_their_own(
        cls, tools: list[HttpToolProfile | McpToolProfile]
    ) -> list[HttpToolProfile | McpToolProfile]:
        check_names(tools)
        return tools

    @field_validator("name")
    @classmethod
    def _is_not_taken(cls, value: str) -> str:
        if value == _BUILT_IN.name:
            raise ValueError("is the name of the agent that answers where no profile does")
        return value

    @field_validator("numbers", mode="before")
    @classmethod
    def _are_phone_numbers(cls, value: Any) -> Any:
        # A union of types would answer with the complaints of both; and no message may quote a phone number.
        if value == ANY_NUMBER:
            return value
        if not isinstance(value, list) or not 1 <= len(value) <= NUMBERS_MAX:
            raise ValueError(f"must be any, or a list of 1 to {NUMBERS_MAX} numbers")
        for index, number in enumerate(value):
            if isinstance(number, int):
                raise PydanticCustomError("number", 'must be in quotes: "+…"', {"index": index})
            if not isinstance(number, str) or not re.fullmatch(E164, number):
                raise PydanticCustomError(
                    "number", "must be E.164: + and 6 to 15 digits, no spaces", {"index": index}
                )
            if number in value[:index]:
                raise PydanticCustomError("number", "is in the list twice", {"index": index})
        return value

    @field_validator("model")
    @classmethod
    def _is_alive(cls, value: str | None) -> str | None:
        return None if value is None else living_model(value)

    @field_validator("max_output_tokens", mode="before")
    @classmethod
    def _is_a_limit(cls, value: Any) -> Any:
        if value != "inf" and (type(value) is not int or not 1 <= value <= 4096):
            raise ValueError("must be a whole number from 1 to 4096, or inf")
        return value

    def agent(self, built_in: Agent, secrets: Secrets | None = None) -> Agent:
        """Return the agent; `built_in` gives what a profile leaves to the worker's settings.

        Without `secrets` the places of the tools' secrets stay as they are.
        """
        return Agent(
            name=self.name,
            instructions=self.instructions,
            greeting=self.greeting,
            voice=self.voice,
            model=self.model or built_in.model,
            audio_path=self.audio_path or built_in.audio_path,
            transcription_model=self.transcription.model,
            language=self.transcription.language,
            noise_reduction=self.noise_reduction,
            turn_detection=self._turn_detection(),
            listen_during_greeting=self.turn_detection.listen_during_greeting,
            min_speech_ms=self.turn_detection.min_speech_ms,
            filler=self.filler,
            max_output_tokens=self.max_output_tokens,
            speed=self.speed,
            reasoning_effort=self.reasoning_effort or built_in.reasoning_effort,
            tools=tuple(each.tool(secrets) for each in self.tools),
            can_end_call=self.end_call,
            transfer_targets=self.transfer.transfer_targets() if self.transfer else (),
            can_send_digits=self.send_digits,
            tools_per_minute=self.tools_per_minute,
            limits=Limits(self.limits.minutes, self.limits.silence_s, self.limits.cost_usd),
            redact=tuple(Redaction(word) for word in dict.fromkeys(self.redact)),
            retention_days=self.retention_days,
        )

    def _turn_detection(self) -> ServerVad | SemanticVad:
        match self.turn_detection:
            case ServerVadProfile() as vad:
                return ServerVad(
                    vad.threshold, vad.prefix_padding_ms, vad.silence_duration_ms, vad.idle_timeout_ms
                )
            case SemanticVadProfile() as vad:
                return SemanticVad(vad.eagerness)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a profile, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Profile.model_json_schema(),
        "title": "Trunkline agent profile",
    }
