"""Profiles on disk: what is read, who answers which number, and what a person is told about each mistake."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trunkline_worker.agent import DEAD_MODELS, Agent
from trunkline_worker.profile_files import PROFILE_BYTES_MAX, ProfilesError, ProfileSet, read_folder

BUILT_IN = Agent(model="gpt-realtime-2.1")
VALID = 'name: desk\nnumbers: ["+12025550147"]\ninstructions: Be brief.\n'


def read(folder: Path, **files: str) -> ProfileSet:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return read_folder(folder, BUILT_IN)


def problems(folder: Path, **files: str) -> list[str]:
    with pytest.raises(ProfilesError) as caught:
        read(folder, **files)
    return list(caught.value.problems)


def line(name: str, numbers: str) -> str:
    return f"name: {name}\nnumbers: {numbers}\ninstructions: Be brief.\n"


# --- Who answers


def test_the_agent_of_the_called_number_answers(tmp_path: Path) -> None:
    agents = read(
        tmp_path, a=line("sales", '["+12025550147", "+12025550148"]'), b=line("service", '["+12025550149"]')
    )

    assert agents.agent_for("+12025550148").name == "sales"
    assert agents.agent_for("+12025550149").name == "service"


@pytest.mark.parametrize("called", ["+12025550199", "client:robin", ""])
def test_the_built_in_agent_answers_what_nobody_claims(tmp_path: Path, called: str) -> None:
    assert read(tmp_path, a=VALID).agent_for(called) == BUILT_IN


def test_an_agent_for_any_number_answers_what_nobody_else_claims(tmp_path: Path) -> None:
    agents = read(tmp_path, a=line("everybody", "any"), b=VALID)

    assert agents.agent_for("+12025550199").name == "everybody"
    assert agents.agent_for("+12025550147").name == "desk"


def test_two_profiles_for_one_number_are_named_both(tmp_path: Path) -> None:
    told = problems(
        tmp_path, a=line("a", '["+12025550147"]'), b=line("b", '["+12025550148", "+12025550147"]')
    )

    assert told == ["b.yaml:2: numbers[2]: is already taken at a.yaml:2"]


def test_two_profiles_for_any_number_or_with_one_name_are_named_both(tmp_path: Path) -> None:
    told = problems(tmp_path, a=line("a", "any"), b=line("a", "any"))

    assert told == [
        "b.yaml:1: name: is already taken at a.yaml:1",
        "b.yaml:2: numbers: is already taken at a.yaml:2",
    ]


# --- Which files


def test_a_configmap_is_read_once(tmp_path: Path) -> None:
    # As Kubernetes mounts it: the files are links into a hidden version.
    version = tmp_path / "..2026_11_01"
    version.mkdir()
    (version / "desk.yaml").write_text(VALID)
    (tmp_path / "..data").symlink_to(version.name)
    (tmp_path / "desk.yaml").symlink_to("..data/desk.yaml")
    (tmp_path / "README.md").write_text("not a profile")

    assert [each.file for each in read_folder(tmp_path, BUILT_IN).loaded] == ["desk.yaml"]


def test_a_folder_without_profiles_is_the_wrong_folder(tmp_path: Path) -> None:
    assert problems(tmp_path) == [f"{tmp_path}: holds no agent profile (*.yaml)"]
    assert problems(tmp_path / "nowhere") == [
        f"{tmp_path / 'nowhere'}: cannot be read: No such file or directory"
    ]


def test_what_cannot_be_read_is_told_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "dangling.yaml").symlink_to("nowhere")
    (tmp_path / "large.yaml").write_bytes(b"#" * (PROFILE_BYTES_MAX + 1))

    assert problems(tmp_path) == [
        "binary.yaml: is not UTF-8 text",
        "dangling.yaml: cannot be read: No such file or directory",
        "large.yaml: is larger than 128 KiB",
    ]


# --- What is said about a mistake


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        ("greating: Hello.", "greating: unknown key; the nearest known key is greeting"),
        ("threshold: 0.5", "threshold: unknown key; the nearest known key is turn_detection.threshold"),
        ("1: x", "1: unknown key; a key is a word"),
        ("voice: maria", "voice: must be 'alloy', "),
        ("speed: 3", "speed: must be less than or equal to 1.5"),
        ("speed: .nan", "speed: must be "),
        ("speed: fast", "speed: must be a valid number"),
        ("max_output_tokens: 5000", "max_output_tokens: must be a whole number from 1 to 4096, or inf"),
        ("max_output_tokens: true", "max_output_tokens: must be a whole number from 1 to 4096, or inf"),
        ("noise_reduction:", "noise_reduction: must be 'near_field', 'far_field' or 'none'"),
        ("transcription: nl", "transcription: must hold fields of its own, indented below it"),
        ("turn_detection: {threshold: 1}", "turn_detection.type: must be server_vad or semantic_vad"),
        ("turn_detection: {type: loud}", "turn_detection.type: must be server_vad or semantic_vad"),
        (
            "turn_detection: {type: semantic_vad, threshold: 1}",
            "turn_detection.threshold: unknown key; the nearest known key is eagerness",
        ),
        ("transcription: {language: Dutch}", "transcription.language: does not fit; it is language that"),
        ("voice: marin\nvoice: cedar", 'found duplicate key "voice"'),
        ("voice: marin: cedar", "mapping values are not allowed here"),
        ("voice: !!python/object:os.system x", "could not determine a constructor"),
        ("voice: *nowhere", "found undefined alias 'nowhere'"),
    ],
)
def test_each_mistake_is_told_with_file_line_and_field(tmp_path: Path, mistake: str, told: str) -> None:
    (problem,) = problems(tmp_path, desk=VALID + mistake + "\n")

    expected_line = 4 + mistake.count("\n")
    assert problem.startswith(f"desk.yaml:{expected_line}: {told}")


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        ("+12025550147", "numbers: must be any, or a list of 1 to 1000 numbers"),
        ("[]", "numbers: must be any, or a list of 1 to 1000 numbers"),
        ("[+12025550147]", 'numbers[1]: must be in quotes: "+…"'),
        ('["+12025550147", "+12025550147"]', "numbers[2]: is in the list twice"),
        ('["+1 (202) 555-0147"]', "numbers[1]: must be E.164: + and 6 to 15 digits, no spaces"),
        ('["2025550147"]', "numbers[1]: must be E.164: + and 6 to 15 digits, no spaces"),
        ('["+12025550147\\n"]', "numbers[1]: must be E.164: + and 6 to 15 digits, no spaces"),
        ("[any]", "numbers[1]: must be E.164: + and 6 to 15 digits, no spaces"),
    ],
)
def test_wrong_numbers_are_told_by_their_place_and_never_quoted(
    tmp_path: Path, numbers: str, told: str
) -> None:
    assert problems(tmp_path, desk=line("desk", numbers)) == [f"desk.yaml:2: {told}"]


def test_a_number_in_a_list_is_told_by_its_own_line(tmp_path: Path) -> None:
    text = 'name: desk\nnumbers:\n  - "+12025550147"\n  - "0147"\ninstructions: Be brief.\n'

    assert problems(tmp_path, desk=text) == [
        "desk.yaml:4: numbers[2]: must be E.164: + and 6 to 15 digits, no spaces"
    ]


@pytest.mark.parametrize(("dead", "replacement"), DEAD_MODELS.items())
def test_a_dead_model_is_refused_and_its_replacement_named(
    tmp_path: Path, dead: str, replacement: str
) -> None:
    assert problems(tmp_path, desk=f"{VALID}model: {dead}\n") == [
        f"desk.yaml:4: model: {dead} was shut down by OpenAI; use {replacement}"
    ]


def test_reasoning_is_refused_for_a_model_that_takes_none(tmp_path: Path) -> None:
    assert problems(tmp_path, desk=f"{VALID}model: gpt-realtime-1.5\nreasoning_effort: low\n") == [
        "desk.yaml:5: reasoning_effort: gpt-realtime-1.5 takes none; remove it"
    ]


def test_all_mistakes_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    told = problems(tmp_path, a="name: built-in\nnumbers: any\n", b="", c="- a list\n", d="speed: 1\n")

    assert told == [
        "a.yaml:1: instructions: is missing",
        "a.yaml:1: name: is the name of the agent that answers where no profile does",
        "b.yaml:1: must hold fields, such as `name: front desk`",
        "c.yaml:1: must hold fields, such as `name: front desk`",
        "d.yaml:1: instructions: is missing",
        "d.yaml:1: name: is missing",
        "d.yaml:1: numbers: is missing",
    ]


def test_brackets_without_end_are_refused(tmp_path: Path) -> None:
    assert problems(tmp_path, desk="[" * 1_500) == [
        "desk.yaml: holds a tag, a date or a nesting that cannot be read"
    ]


@pytest.mark.parametrize(
    "text",
    ["voice: !!bool maybe", "speed: !!float", "speed: !!int x", "voice: 2026-99-99", "? !!seq [[a]]\n: a"],
)
def test_a_value_that_its_own_tag_does_not_fit_is_refused(tmp_path: Path, text: str) -> None:
    assert problems(tmp_path, desk=f"{text}\n") == [
        "desk.yaml: holds a tag, a date or a nesting that cannot be read"
    ]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.text(max_size=200),
        st.text(alphabet="ab:-[]{}#&*!|>'\"%@? \n\t1.", max_size=80),
        st.text(alphabet="ab:-[]{}#&*!|>'\"%@? \n\t1.", max_size=30).map(
            lambda text: f"{VALID}voice: {text}"
        ),
    )
)
def test_whatever_a_file_holds_it_is_a_profile_or_a_problem(tmp_path: Path, text: str) -> None:
    (tmp_path / "desk.yaml").write_text(text, encoding="utf-8", errors="replace")
    with contextlib.suppress(ProfilesError):
        read_folder(tmp_path, BUILT_IN)


def test_only_what_changed_is_read_as_yaml_again(tmp_path: Path) -> None:
    before = read(tmp_path, a=line("a", "any"), b=VALID)

    (tmp_path / "b.yaml").write_text(VALID.replace("desk", "front desk"))
    after = read_folder(tmp_path, BUILT_IN, before.loaded)

    assert after.loaded[0] is before.loaded[0]
    assert after.agent_for("+12025550147").name == "front desk"
