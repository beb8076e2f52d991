"""Agent profiles on disk: one YAML file each, all of a folder together or none.

Every problem is one line that begins with the file, its line and the field. No message quotes a phone number or
what an agent is told, because the lines of a failed reload go to the log.
"""

import difflib
import re
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from ruamel.yaml.nodes import Node

from trunkline_worker import yaml_file
from trunkline_worker.agent import Agent, takes_reasoning
from trunkline_worker.profiles import (
    ANY_NUMBER,
    LimitsProfile,
    Profile,
    SemanticVadProfile,
    ServerVadProfile,
    TranscriptionProfile,
)
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
from trunkline_worker.yaml_file import Location, dotted, line_of

PROFILE_BYTES_MAX: Final = 128 * 1024
"""Instructions end at 16,384 tokens (OpenAI: Realtime, limits), some 64 KiB; this is no profile."""

PROFILES_MAX: Final = 1000
"""More files than this are the wrong folder."""

ENDINGS: Final = frozenset({".yaml", ".yml"})

_VARIANTS: Final[Set[str | int]] = frozenset(
    {"server_vad", "semantic_vad", "http", "mcp", "say", "dial", "busy", "wait", "hang-up"}
)
"""Pydantic puts the variant of a union into the path of a problem; the file has no such level."""

_MODELS: Final[dict[tuple[str, ...], type[BaseModel]]] = {
    (): Profile,
    ("transcription",): TranscriptionProfile,
    ("turn_detection", "server_vad"): ServerVadProfile,
    ("turn_detection", "semantic_vad"): SemanticVadProfile,
    ("limits",): LimitsProfile,
    ("tools", "http"): HttpToolProfile,
    ("tools", "mcp"): McpToolProfile,
    ("transfer",): TransferProfile,
    ("transfer", "targets"): TransferTargetProfile,
    ("when_full", "say"): SayProfile,
    ("when_full", "dial"): DialProfile,
    ("when_full", "busy"): BusyProfile,
    ("when_full", "wait"): WaitProfile,
    ("when_full", "wait", "then", "say"): SayProfile,
    ("when_full", "wait", "then", "dial"): DialProfile,
    ("when_full", "wait", "then", "hang-up"): HangUpProfile,
    ("when_failing", "say"): SayProfile,
    ("when_failing", "dial"): DialProfile,
}
_TYPES: Final = {
    "turn_detection": "server_vad or semantic_vad",
    "tools": "http or mcp",
    "when_full": "say, dial, busy or wait",
    "then": "say, dial or hang-up",
    "when_failing": "say or dial",
}

_NO_TOOLS: Final = ToolRules()


class ProfilesError(Exception):
    """A folder's profiles cannot be used; `problems` holds a line for each reason."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class LoadedProfile:
    """A valid profile, where it stands, and the agent it makes."""

    file: str
    profile: Profile
    agent: Agent
    content: bytes
    _root: Node

    def place(self, *location: str | int) -> str:
        """Return "file:line" of a field."""
        return f"{self.file}:{line_of(self._root, location)}"


class ProfileSet:
    """The agents of one folder, by the numbers that they answer."""

    def __init__(self, loaded: Sequence[LoadedProfile], built_in: Agent) -> None:
        self.loaded = tuple(loaded)
        self._built_in = built_in
        self._by_number = {
            number: each
            for each in loaded
            if each.profile.numbers != ANY_NUMBER
            for number in each.profile.numbers
        }
        anybody = [each for each in loaded if each.profile.numbers == ANY_NUMBER]
        self._otherwise = anybody[0] if anybody else None

    def agent_for(self, called: str) -> Agent:
        """Return who answers the called number: its own agent, the one for any number, or the built-in one."""
        loaded = self._by_number.get(called, self._otherwise)
        return loaded.agent if loaded else self._built_in

    def profile_for(self, called: str) -> Profile | None:
        """Return the profile of who answers the called number; None where that is the built-in agent."""
        loaded = self._by_number.get(called, self._otherwise)
        return loaded.profile if loaded else None


def read_folder(
    folder: Path, built_in: Agent, known: Sequence[LoadedProfile] = (), rules: ToolRules = _NO_TOOLS
) -> ProfileSet:
    """Read every `*.yaml` of a folder; raise `ProfilesError` with all problems of all files.

    Hidden names are passed over: Kubernetes keeps a ConfigMap's versions in them. Files that are in `known`,
    read with the same `built_in` and `rules`, are not read as YAML again: that takes some 10 ms a file.
    """
    try:
        paths = profile_paths(folder)
    except OSError as error:
        raise ProfilesError([f"{folder}: cannot be read: {error.strerror}"]) from None
    if not paths:
        raise ProfilesError([f"{folder}: holds no agent profile (*.yaml)"])
    if len(paths) > PROFILES_MAX:
        raise ProfilesError([f"{folder}: holds {len(paths)} profiles; {PROFILES_MAX} are the limit"])
    by_content = {(each.file, each.content): each for each in known}
    loaded: list[LoadedProfile] = []
    problems: list[str] = []
    for path in paths:
        try:
            content = _content(path)
            loaded.append(by_content.get((path.name, content)) or _read(path.name, content, built_in, rules))
        except ProfilesError as error:
            problems += error.problems
    problems += _claimed_twice(loaded)
    if problems:
        raise ProfilesError(problems)
    return ProfileSet(loaded, built_in)


def read_file(path: Path, built_in: Agent, rules: ToolRules = _NO_TOOLS) -> LoadedProfile:
    """Read one profile; raise `ProfilesError` with all its problems."""
    return _read(path.name, _content(path), built_in, rules)


def profile_paths(folder: Path) -> list[Path]:
    """Return the files of a folder that are read as profiles, sorted; `OSError` when there is no such folder."""
    return sorted(
        path for path in folder.iterdir() if path.suffix in ENDINGS and not path.name.startswith(".")
    )


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(PROFILE_BYTES_MAX + 1)
    except OSError as error:
        raise ProfilesError([f"{path.name}: cannot be read: {error.strerror}"]) from None
    if len(content) > PROFILE_BYTES_MAX:
        raise ProfilesError([f"{path.name}: is larger than {PROFILE_BYTES_MAX // 1024} KiB"])
    return content


def _read(file: str, content: bytes, built_in: Agent, rules: ToolRules) -> LoadedProfile:
    try:
        values, root = yaml_file.read(content)
    except yaml_file.UnreadableError as error:
        raise ProfilesError([f"{file}{error}"]) from None
    if not isinstance(values, dict) or root is None:
        raise ProfilesError([f"{file}:1: must hold fields, such as `name: front desk`"])
    try:
        profile = Profile.model_validate(values)
    except ValidationError as error:
        problems = sorted(_problem(file, root, problem) for problem in error.errors())
        raise ProfilesError([text for _, text in problems]) from None
    not_allowed = [(line_of(root, place), dotted(place), why) for place, why in rules.problems(profile.tools)]
    if not_allowed:
        raise ProfilesError([f"{file}:{line}: {where}: {why}" for line, where, why in not_allowed])
    loaded = LoadedProfile(file, profile, profile.agent(built_in, rules.secrets), content, root)
    if profile.reasoning_effort is not None and not takes_reasoning(loaded.agent.model):
        place = loaded.place("reasoning_effort")
        raise ProfilesError([f"{place}: reasoning_effort: {loaded.agent.model} takes none; remove it"])
    return loaded


def _claimed_twice(loaded: Sequence[LoadedProfile]) -> list[str]:
    """Return a problem for each name and each number that two profiles claim, with both places."""
    problems = []
    claims: dict[tuple[str, str], str] = {}
    for each in loaded:
        numbers = each.profile.numbers
        claimed: list[tuple[tuple[str, str], Location]] = [(("name", each.profile.name), ("name",))]
        if numbers == ANY_NUMBER:
            claimed.append((("numbers", ANY_NUMBER), ("numbers",)))
        else:
            claimed += [(("numbers", number), ("numbers", at)) for at, number in enumerate(numbers)]
        for claim, location in claimed:
            place = each.place(*location)
            first = claims.setdefault(claim, place)
            if first != place:
                problems.append(f"{place}: {dotted(location)}: is already taken at {first}")
    return problems


def _problem(file: str, root: Node, problem: Any) -> tuple[int, str]:
    """Return the line of the file and what is wrong there."""
    path: Location = problem["loc"]
    location: Location = tuple(part for at, part in enumerate(path) if not (at and part in _VARIANTS))
    message = str(problem["msg"]).removeprefix("Value error, ")
    message = re.sub(r"^(Input|String|List|Dictionary) should", "must", message)
    match problem["type"]:
        case "extra_forbidden":
            message = f"unknown key; the nearest known key is {_nearest(path)}"
        case "invalid_key":
            location = (*location[:-1], str(location[-1]))
            message = "unknown key; a key is a word"
        case "missing":
            message = "is missing"
        case "number":
            location = (*location, problem["ctx"]["index"])
        case "string_pattern_mismatch":
            message = f"does not fit; it is {_description(path)}"
        case "union_tag_not_found" | "union_tag_invalid":
            location = (*location, "type")
            message = f"must be {_TYPES[next(str(part) for part in reversed(path) if part in _TYPES)]}"
        case "dataclass_type" | "model_type" | "model_attributes_type":
            message = "must hold fields of its own, indented below it"
    line = line_of(root, location)
    return line, f"{file}:{line}: {dotted(location)}: {message}"


def _nearest(path: Location) -> str:
    """Return the known key that was probably meant; at the top, one of a deeper level too, by its full name."""
    *parents, key = path
    levels: dict[tuple[str, ...], type[BaseModel]] = {(): _model(path)} if parents else _MODELS
    known = {
        name: ".".join((*level[:1], name))
        for level, model in reversed(levels.items())
        for name in model.model_fields
    }
    return known[difflib.get_close_matches(str(key), known, n=1, cutoff=0)[0]]


def _description(path: Location) -> str:
    return _model(path).model_fields[str(path[-1])].description or ""


def _model(path: Location) -> type[BaseModel]:
    """Return what describes the level that holds the last part of `path`."""
    return _MODELS[tuple(part for part in path[:-1] if isinstance(part, str))]
