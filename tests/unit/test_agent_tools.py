"""What a tool call becomes on the wire: arguments in their places, escaped, and nowhere else."""

from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline_worker.agent import Agent
from trunkline_worker.agent_tools import ArgumentsError, HttpTool, TransferTarget

URL = "https://api.example.com/v1/days/{day}/slots?kind={kind}"


def tool(method: Any = "GET", url: str = URL) -> HttpTool:
    return HttpTool("t", "T.", {"type": "object"}, method, url, (("Authorization", "Bearer s"),))


def test_arguments_of_a_get_fill_their_places_and_the_query() -> None:
    request = tool().request({"day": "a b/c", "kind": "x&y=1", "n": 2, "of": ["p", "q"], "none": None}, "key")

    assert request.url == "https://api.example.com/v1/days/a%20b%2Fc/slots?kind=x%26y%3D1&n=2&of=p&of=q"
    assert request.body == b""
    assert request.headers == (("Authorization", "Bearer s"),)


def test_arguments_of_a_post_are_a_json_body() -> None:
    request = tool("POST", "https://a.example/{day}").request({"day": 1, "name": "Zoë", "yes": True}, "key")

    assert request.url == "https://a.example/1"
    assert request.body == '{"name":"Zoë","yes":true}'.encode()
    assert request.headers[1:] == (("Content-Type", "application/json"), ("Idempotency-Key", "key"))


def test_a_delete_has_no_body_but_a_key() -> None:
    request = tool("DELETE", "https://a.example/{day}").request({"day": 1, "why": "moved"}, "key")

    assert (request.url, request.body) == ("https://a.example/1?why=moved", b"")
    assert request.headers[1:] == (("Idempotency-Key", "key"),)


@pytest.mark.parametrize("day", ["", ".", "..", "../../admin", "a/../b", "a\\..\\b", None, [], {}])
def test_no_argument_leads_the_path_elsewhere(day: Any) -> None:
    with pytest.raises(ArgumentsError, match=r"^day must"):
        tool().request({"day": day, "kind": "x"}, "key")


@given(day=st.text(min_size=1), kind=st.text(), rest=st.dictionaries(st.text(min_size=1), st.text()))
def test_whatever_is_said_stays_in_its_place(day: str, kind: str, rest: dict[str, str]) -> None:
    rest = {f"x{name}": value for name, value in rest.items()}
    try:
        request = tool().request({"day": day, "kind": kind, **rest}, "key")
    except ArgumentsError:
        return

    parts = urlsplit(request.url)
    assert (parts.scheme, parts.netloc, parts.fragment) == ("https", "api.example.com", "")
    assert parts.path.count("/") == 4
    assert unquote(parts.path.split("/")[3]) == day
    assert parse_qs(parts.query, keep_blank_values=True) == {
        "kind": [kind],
        **{name: [value] for name, value in rest.items()},
    }


def test_secrets_and_numbers_are_in_no_repr() -> None:
    target = TransferTarget("desk", "+12025550160")

    shown = repr((tool(), tool().request({"day": 1, "kind": 1}, "key"), target))

    assert "Bearer" not in shown
    assert "+1202" not in shown


def test_the_model_is_told_names_and_never_numbers() -> None:
    agent = Agent(
        can_end_call=True,
        can_send_digits=True,
        transfer_targets=(TransferTarget("desk", "+12025550160", "A person."),),
    )

    told = agent.session()["tools"]

    assert [each["name"] for each in told] == ["end_call", "transfer_call", "send_digits"]
    assert told[1]["parameters"]["properties"]["target"]["enum"] == ["desk"]
    assert "desk: A person." in told[1]["description"]
    assert "+1202" not in repr(told)
