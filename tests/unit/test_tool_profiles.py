"""What a person is told about each mistake in the tools of a profile: the file, the line, the field."""

from pathlib import Path

import pytest

from trunkline_common.settings import SettingsError
from trunkline_worker.agent import Agent
from trunkline_worker.agent_tools import HttpTool
from trunkline_worker.profile_files import ProfilesError, read_folder
from trunkline_worker.settings import tool_secrets
from trunkline_worker.tool_hosts import ToolHosts
from trunkline_worker.tool_rules import ToolRules

HEAD = "name: desk\nnumbers: any\ninstructions: Be brief.\n"
PARAMETERS = "    parameters:\n      {type: object, properties: {day: {type: string}}, required: [day]}\n"
TOOL = HEAD + (
    "tools:\n"
    "  - type: http\n"
    "    name: slots\n"
    "    description: Slots.\n"
    "    url: https://api.example.com/{day}\n" + PARAMETERS
)
MCP = HEAD + (
    "tools:\n"
    "  - type: mcp\n"
    "    server_label: stock\n"
    "    server_url: https://mcp.example.com/\n"
    "    allowed_tools: [find]\n"
)
TRANSFER = HEAD + 'transfer:\n  targets:\n    - name: desk\n      number: "+12025550160"\n'
RULES = ToolRules(ToolHosts.parse("api.example.com,mcp.example.com,*.internal.example,desk.local"), {})


def problems(folder: Path, text: str, rules: ToolRules = RULES) -> list[str]:
    (folder / "a.yaml").write_text(text)
    with pytest.raises(ProfilesError) as caught:
        read_folder(folder, Agent(), rules=rules)
    return list(caught.value.problems)


def the_agent(folder: Path, text: str, rules: ToolRules = RULES) -> Agent:
    (folder / "a.yaml").write_text(text)
    return read_folder(folder, Agent(), rules=rules).agent_for("")


@pytest.mark.parametrize("text", [TOOL, MCP, TRANSFER])
def test_what_the_others_are_made_from_is_valid(tmp_path: Path, text: str) -> None:
    assert the_agent(tmp_path, text).session()["tools"]


NO_HOST = "the host {} is not allowed; TOOL_HOSTS allows api.example.com, mcp.example.com, *.internal.example, desk.local"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("api.example.com", "evil.example", "a.yaml:8: tools[1].url: " + NO_HOST.format("evil.example")),
        ("https://api", "https://x.api", "a.yaml:8: tools[1].url: " + NO_HOST.format("x.api.example.com")),
        ("https://api.e", "http://api.internal.e", "a.yaml:8: tools[1].url: " + NO_HOST.format("api.internal.example.com")),
        (
            "https://api.example.com",
            "http://a.internal.example",
            "a.yaml:8: tools[1].url: must be https://; plain http:// only for a host that TOOL_HOSTS names literally "
            "(api.example.com, mcp.example.com, *.internal.example, desk.local)",
        ),
        ("https:", "ftp:", "a.yaml:8: tools[1].url: must be https://host/…"),
        ("https://", "https://a:b@", "a.yaml:8: tools[1].url: must hold no user, no password and no fragment"),
        ("api.", "{day}.", "a.yaml:8: tools[1].url: an argument may stand in the path or the query, not in the host"),
        ("{day}", "{day", "a.yaml:8: tools[1].url: holds a brace that belongs to no {argument}"),
        ("{day}", "ä", "a.yaml:8: tools[1].url: must be escaped: printable ASCII without spaces"),
        (
            "{day}",
            "{night}",
            "a.yaml:5: tools[1]: url: {night} is no parameter of type string, number, integer or boolean",
        ),
        (", required: [day]", "", "a.yaml:5: tools[1]: url: {day} must be in parameters.required"),
        ("type: object", "type: array", "a.yaml:9: tools[1].parameters: must be a JSON Schema with type: object"),
        (
            "{type: string}",
            "{type: words}",
            "a.yaml:9: tools[1].parameters: is no JSON Schema at properties.day.type",
        ),
        (
            "{type: string}",
            "{type: string, $ref: 'https://a.example/x'}",
            "a.yaml:9: tools[1].parameters: may refer only to itself ($ref: '#/…')",
        ),
        (
            "{type: string}",
            "{type: string, pattern: '(?=a)b'}",
            "a.yaml:9: tools[1].parameters: is no JSON Schema at properties.day.pattern",
        ),
        ("name: slots", "name: end_call", "a.yaml:4: tools: end_call is the name of a built-in tool"),
        ("type: http", "type: rest", "a.yaml:5: tools[1].type: must be http or mcp"),
        ("type: http\n    name", "name", "a.yaml:5: tools[1].type: must be http or mcp"),
        ("    url", "    adress", "a.yaml:5: tools[1].url: is missing"),
    ],
)  # fmt: skip
def test_a_mistake_in_an_http_tool_is_told_with_its_place(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    assert told in problems(tmp_path, TOOL.replace(old, new))


@pytest.mark.parametrize(
    ("added", "told"),
    [
        ("    method: POST\n    retry: true\n", "a POST may act twice; set idempotent when the service prevents that"),
        ("    headers: {Host: x}\n", "a.yaml:11: tools[1].headers: Host cannot be set"),
        ("    headers: {X: '${OPENAI_API_KEY}'}\n", "a.yaml:11: tools[1].headers: a secret is a variable of the worker whose name begins with TOOL_SECRET_"),
        ("    headers: {X: '${TOOL_SECRET_X}'}\n", "a.yaml:11: tools[1].headers: the worker has no TOOL_SECRET_X; set it, or TOOL_SECRET_X_FILE"),
        ("    timeout_s: 31\n", "a.yaml:11: tools[1].timeout_s: must be less than or equal to 30"),
        ("    verb: GET\n", "a.yaml:11: tools[1].verb: unknown key; the nearest known key is"),
    ],
)  # fmt: skip
def test_a_mistake_in_an_added_field_is_told_with_its_place(tmp_path: Path, added: str, told: str) -> None:
    assert any(told in problem for problem in problems(tmp_path, TOOL + added))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("mcp.example.com", "evil.example", "a.yaml:7: tools[1].server_url: " + NO_HOST.format("evil.example")),
        ("https:", "http:", "a.yaml:7: tools[1].server_url: must be https:// and hold no place"),
        ("[find]", "[]", "a.yaml:8: tools[1].allowed_tools: must have at least 1 item"),
        (
            "allowed_tools: [find]",
            "allowed_tools: [find]\n    authorization: secret",
            "a.yaml:9: tools[1].authorization: must be a secret of the worker: ${TOOL_SECRET_…}",
        ),
    ],
)  # fmt: skip
def test_a_mistake_in_an_mcp_server_is_told_with_its_place(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    assert any(problem.startswith(told) for problem in problems(tmp_path, MCP.replace(old, new)))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("+12025550160", "2025550160", "a.yaml:7: transfer.targets[1].number: does not fit; it is whom Twilio dials"),
        ("name: desk\n      n", "name: '?'\n      n", "a.yaml:6: transfer.targets[1].name: does not fit; it is"),
        (
            "\n      number",
            "\n      number: '+12025550160'\n    - name: desk\n      number",
            "a.yaml:5: transfer.targets: two of them have the same name",
        ),
    ],
)  # fmt: skip
def test_a_mistake_in_a_target_is_told_without_its_number(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    (problem,) = problems(tmp_path, TRANSFER.replace(old, new))

    assert problem.startswith(told)
    assert "2025550160" not in problem


def test_secrets_come_from_the_environment_or_a_file_and_reach_the_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key").write_text("from-file\n")
    monkeypatch.setenv("TOOL_SECRET_A", "from-environment")
    monkeypatch.setenv("TOOL_SECRET_B_FILE", str(tmp_path / "key"))
    text = TOOL + "    headers: {X: '${TOOL_SECRET_A} ${TOOL_SECRET_B}'}\n"

    (tool,) = the_agent(tmp_path, text, ToolRules(RULES.hosts, tool_secrets())).tools

    assert isinstance(tool, HttpTool)
    assert tool.headers == (("X", "from-environment from-file"),)


def test_a_check_asks_for_no_secret(tmp_path: Path) -> None:
    text = TOOL + "    headers: {X: '${TOOL_SECRET_A}'}\n"

    assert the_agent(tmp_path, text, ToolRules(RULES.hosts, None)).tools


def test_a_secret_that_cannot_be_a_header_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOL_SECRET_A", "two\r\nlines")

    with pytest.raises(SettingsError, match=r"^TOOL_SECRET_A: must be one line") as caught:
        tool_secrets()
    assert "two" not in str(caught.value)
