"""What a profile's `when_full` and `when_failing` tell the gateways, and how their mistakes are told."""

from pathlib import Path
from typing import Any

import pytest

from trunkline_common.control import LineTreatment, Transfer, Treatment, TreatmentKind
from trunkline_worker.agent import Agent
from trunkline_worker.profile_files import ProfilesError, read_folder
from trunkline_worker.profiles import Profile
from trunkline_worker.treatment_desk import line_treatment

PROFILE = "name: desk\nnumbers: any\ninstructions: Be brief.\n"


def told(**fields: Any) -> LineTreatment:
    least = {"name": "front desk", "numbers": "any", "instructions": "Be brief."}
    return line_treatment("wk-1", Profile.model_validate(least | fields))


@pytest.mark.parametrize("line", [told(), line_treatment("wk-1", None)], ids=["silent profile", "built-in"])
def test_what_no_profile_says_is_the_gateways(line: LineTreatment) -> None:
    own = Treatment(kind=TreatmentKind.SAY, text="")

    assert (line.full, line.then, line.failing) == (own, own, own)


def test_callers_wait_in_the_profiles_queue_and_then_get_something_else() -> None:
    then = {"type": "dial", "number": "+12025550160", "text": "Nobody."}

    line = told(when_full={"type": "wait", "max_wait_minutes": 2.5, "then": then})

    assert line.queue == "front desk"
    assert (line.full.kind, line.full.wait_s_max) == (TreatmentKind.WAIT, 150)
    assert line.then == Treatment(
        kind=TreatmentKind.DIAL, text="Nobody.", transfer=Transfer(number="+12025550160", timeout_s=20)
    )


def test_busy_and_a_sentence_for_calls_that_fail() -> None:
    line = told(when_full={"type": "busy"}, when_failing={"type": "say", "text": "Sorry."})

    assert (line.full.kind, line.failing.text) == (TreatmentKind.BUSY, "Sorry.")


@pytest.mark.parametrize(
    ("block", "problem"),
    [
        ("when_full:\n  type: music\n", "5: when_full.type: must be say, dial, busy or wait"),
        (
            "when_full:\n  type: wait\n  then:\n    type: busy\n",
            "7: when_full.then.type: must be say, dial or hang-up",
        ),
        ("when_failing:\n  type: wait\n", "5: when_failing.type: must be say or dial"),
        (
            'when_full:\n  type: dial\n  number: "110"\n',
            "6: when_full.number: does not fit; it is whom Twilio dials (E.164, in quotes)",
        ),
        (
            "when_full:\n  type: wait\n  position_text: You are {place}.\n",
            "6: when_full.position_text: must hold {position} and no other place",
        ),
        (
            "when_full:\n  type: wait\n  hold_music: http://media.example.com/x.mp3\n",
            "6: when_full.hold_music: does not fit; it is `https://…` of a sound file, best of 5 to 15 s: Twilio plays "
            "it whole before a free line is noticed; unless set, a few quiet notes",
        ),
        (
            "when_full:\n  type: wait\n  then:\n    type: say\n    txet: Bye.\n",
            "8: when_full.then.txet: unknown key; the nearest known key is text",
        ),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, block: str, problem: str) -> None:
    (tmp_path / "desk.yaml").write_text(PROFILE + block)

    with pytest.raises(ProfilesError) as caught:
        read_folder(tmp_path, Agent())

    assert caught.value.problems == (f"desk.yaml:{problem}",)
