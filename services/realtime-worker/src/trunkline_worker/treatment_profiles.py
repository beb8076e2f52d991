"""The fields of an agent profile that say what callers get who get no agent: `when_full` and `when_failing`."""

from typing import Annotated, Final, Literal

from pydantic import Field, field_validator

from trunkline_common.control import Transfer, Treatment, TreatmentKind
from trunkline_worker.tool_profiles import E164, StrictFields

TEXT_CHARS_MAX: Final = 1_000
"""About a minute of speech; a longer text is the wrong text."""

POSITION: Final = "{position}"

_LANGUAGE: Final = r"^([A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*)?$"
_LANGUAGE_MEANING: Final = (
    "language of these words, such as `nl-NL`; unless set, the gateway's `GATEWAY_SAY_LANGUAGE`"
)


class SayProfile(StrictFields):
    """A sentence, then the call ends."""

    type: Literal["say"] = Field(description="a sentence, then the call ends")
    text: str = Field(
        "",
        max_length=TEXT_CHARS_MAX,
        description="what Twilio's voice says; unless set, the gateway's `GATEWAY_FULL_SAY` or `GATEWAY_FALLBACK_SAY`",
    )
    language: str = Field("", pattern=_LANGUAGE, description=_LANGUAGE_MEANING)

    def treatment(self) -> Treatment:
        """Return what gateways are told."""
        return Treatment(kind=TreatmentKind.SAY, text=self.text, language=self.language)


class DialProfile(StrictFields):
    """Somebody else is called."""

    type: Literal["dial"] = Field(description="another number is dialled")
    number: str = Field(pattern=E164, description="whom Twilio dials (E.164, in quotes)")
    timeout_s: int = Field(20, ge=5, le=60, description="seconds that it may ring (5–60)")
    text: str = Field(
        "",
        max_length=TEXT_CHARS_MAX,
        description="what is said when nobody answers; unless set, as with `say`",
    )
    language: str = Field("", pattern=_LANGUAGE, description=_LANGUAGE_MEANING)

    def treatment(self) -> Treatment:
        """Return what gateways are told."""
        return Treatment(
            kind=TreatmentKind.DIAL,
            text=self.text,
            language=self.language,
            transfer=Transfer(number=self.number, timeout_s=self.timeout_s),
        )


class BusyProfile(StrictFields):
    """The busy tone."""

    type: Literal["busy"] = Field(
        description="the busy tone, and nobody pays for the call; a call that was answered already gets `say`"
    )

    def treatment(self) -> Treatment:
        """Return what gateways are told."""
        return Treatment(kind=TreatmentKind.BUSY)


class HangUpProfile(StrictFields):
    """Nothing more."""

    type: Literal["hang-up"] = Field(description="the call ends without a word")

    def treatment(self) -> Treatment:
        """Return what gateways are told."""
        return Treatment(kind=TreatmentKind.HANG_UP)


class WaitProfile(StrictFields):
    """Music, until somebody has room."""

    type: Literal["wait"] = Field(description="the caller waits in a queue at Twilio until a worker has room")
    text: str = Field(
        "All our lines are busy. Please hold the line.",
        max_length=TEXT_CHARS_MAX,
        description="what is said first, once; empty: nothing",
    )
    position_text: str = Field(
        "You are number {position} in line.",
        max_length=TEXT_CHARS_MAX,
        description="what is said at first, when the caller moves up, and every 30 s; empty: nothing",
    )
    language: str = Field("", pattern=_LANGUAGE, description=_LANGUAGE_MEANING)
    hold_music: str = Field(
        "",
        pattern=r"^(https://[^\s]+)?$",
        max_length=500,
        description="`https://…` of a sound file, best of 5 to 15 s: Twilio plays it whole before a free line is noticed; "
        "unless set, a few quiet notes",
    )
    max_wait_minutes: float = Field(
        10, ge=0.1, le=60, description="how long a caller waits at most, in minutes (0.1–60)"
    )
    then: Annotated[SayProfile | DialProfile | HangUpProfile, Field(discriminator="type")] = Field(
        SayProfile(type="say"),
        description="what comes after that: `say`, `dial` or `hang-up`, with the fields of these",
    )

    @field_validator("position_text")
    @classmethod
    def _has_one_place(cls, text: str) -> str:
        if text and (POSITION not in text or "{" in text.replace(POSITION, "")):
            raise ValueError(f"must hold {POSITION} and no other place")
        return text

    def treatment(self) -> Treatment:
        """Return what gateways are told."""
        return Treatment(
            kind=TreatmentKind.WAIT,
            text=self.text,
            language=self.language,
            position_text=self.position_text,
            hold_music=self.hold_music,
            wait_s_max=round(self.max_wait_minutes * 60),
        )


WhenFullProfile = Annotated[SayProfile | DialProfile | BusyProfile | WaitProfile, Field(discriminator="type")]
WhenFailingProfile = Annotated[SayProfile | DialProfile, Field(discriminator="type")]


def after_waiting(when_full: SayProfile | DialProfile | BusyProfile | WaitProfile) -> Treatment:
    """Return what a caller gets who has waited for as long as one may."""
    return when_full.then.treatment() if isinstance(when_full, WaitProfile) else Treatment()
