"""Pure: what an agent may do besides talking, as the model is told of it and as it is called.

Where a request goes is the profile's business: arguments fill marked places in the path and the query, escaped,
and never reach the scheme, the host or a header.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import quote, urlencode

import msgspec

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]

PLACE: Final = re.compile(r"\{([^{}]*)\}")
"""A place in a URL that an argument fills."""

FILLER_AFTER_MS: Final = 1500
"""A caller takes a longer silence for a dead line."""


class ArgumentsError(ValueError):
    """The arguments cannot be used; the text tells the model why."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request of a tool, ready to be sent."""

    method: Method
    url: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    """Not shown: they hold secrets."""
    body: bytes = field(repr=False)
    timeout_s: float
    retry: bool
    result_bytes_max: int


@dataclass(frozen=True, slots=True)
class HttpTool:
    """A tool behind an HTTP endpoint of ours."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    """JSON Schema of the arguments."""
    method: Method
    url: str
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    timeout_s: float = 5.0
    retry: bool = False
    result_bytes_max: int = 8192
    filler: str = ""
    """What the agent says when it takes long; nothing when empty."""
    filler_after_ms: int = FILLER_AFTER_MS

    @property
    def only_reads(self) -> bool:
        """Return whether giving up on a call changes nothing (RFC 9110: safe methods)."""
        return self.method == "GET"

    def definition(self) -> dict[str, Any]:
        """Return the tool as the session is told of it (OpenAI: Function calling, flat shape)."""
        return _function(self.name, self.description, self.parameters)

    def request(self, arguments: Mapping[str, Any], idempotency_key: str) -> HttpRequest:
        """Return the request of one call; arguments without a place go to the query, or to the body as JSON.

        Raises `ArgumentsError` for an argument that cannot fill its place.
        """
        path, mark, query = self.url.partition("?")
        path = PLACE.sub(lambda place: _path_part(place[1], arguments), path)
        query = PLACE.sub(lambda place: quote(_plain(place[1], arguments), safe=""), query)
        placed = set(PLACE.findall(self.url))
        rest = {name: value for name, value in arguments.items() if name not in placed}
        headers = [*self.headers]
        body = b""
        if self.method in {"GET", "DELETE"}:
            added = urlencode([pair for name, value in rest.items() for pair in _pairs(name, value)])
            query = "&".join(part for part in (query, added) if part)
        elif rest or not placed:
            body = msgspec.json.encode(rest)
            headers.append(("Content-Type", "application/json"))
        if not self.only_reads:
            headers.append(("Idempotency-Key", idempotency_key))
        url = f"{path}?{query}" if mark or query else path
        return HttpRequest(
            self.method, url, tuple(headers), body, self.timeout_s, self.retry, self.result_bytes_max
        )


@dataclass(frozen=True, slots=True)
class McpTool:
    """A server of tools that the model calls by itself (OpenAI: MCP and connectors)."""

    server_label: str
    server_url: str
    allowed_tools: tuple[str, ...]
    authorization: str = field(default="", repr=False)

    def definition(self) -> dict[str, Any]:
        """Return the server as the session is told of it."""
        definition: dict[str, Any] = {
            "type": "mcp",
            "server_label": self.server_label,
            "server_url": self.server_url,
            "allowed_tools": list(self.allowed_tools),
            # Nobody is there to approve a call; the profile did, by naming the tool.
            "require_approval": "never",
        }
        if self.authorization:
            definition["authorization"] = self.authorization
        return definition


@dataclass(frozen=True, slots=True)
class TransferTarget:
    """Somebody a caller may be put through to."""

    name: str
    number: str = field(repr=False)
    """E.164; the model never sees it."""
    description: str = ""
    timeout_s: int = 20
    """How long it may ring."""


END_CALL: Final = "end_call"
TRANSFER_CALL: Final = "transfer_call"
SEND_DIGITS: Final = "send_digits"
BUILT_IN: Final = frozenset({END_CALL, TRANSFER_CALL, SEND_DIGITS})

DIGITS_MAX: Final = 32
"""The longest that a menu or a card asks for; Twilio plays about two digits a second."""


@dataclass(frozen=True, slots=True)
class BuiltInTool:
    """A tool that acts on the call itself."""

    name: str
    description: str
    parameters: Mapping[str, Any]

    def definition(self) -> dict[str, Any]:
        """Return the tool as the session is told of it."""
        return _function(self.name, self.description, self.parameters)


def end_call() -> BuiltInTool:
    """Return the tool that hangs up."""
    return BuiltInTool(
        END_CALL,
        "Hang up. Use it when the caller has what they wanted and has said goodbye, or wants to stop. "
        "Say goodbye first; the call ends once your goodbye was heard.",
        {"type": "object", "properties": {}, "additionalProperties": False},
    )


def transfer_call(targets: tuple[TransferTarget, ...]) -> BuiltInTool:
    """Return the tool that puts the caller through to one of the targets."""
    told = "; ".join(
        f"{each.name}: {each.description}" if each.description else each.name for each in targets
    )
    return BuiltInTool(
        TRANSFER_CALL,
        "Put the caller through to a person. Tell the caller first; it happens once that was heard. When nobody "
        f"answers you get the caller back. Targets: {told}",
        {
            "type": "object",
            "properties": {"target": {"type": "string", "enum": [each.name for each in targets]}},
            "required": ["target"],
            "additionalProperties": False,
        },
    )


def send_digits() -> BuiltInTool:
    """Return the tool that presses keys."""
    return BuiltInTool(
        SEND_DIGITS,
        "Press keys of the phone (DTMF), for a voice menu at the other end. Only digits, * and #; w waits half a "
        "second.",
        {
            "type": "object",
            "properties": {"digits": {"type": "string", "pattern": f"^[0-9*#w]{{1,{DIGITS_MAX}}}$"}},
            "required": ["digits"],
            "additionalProperties": False,
        },
    )


def _function(name: str, description: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "function", "name": name, "description": description, "parameters": dict(parameters)}


def _path_part(name: str, arguments: Mapping[str, Any]) -> str:
    value = _plain(name, arguments)
    # A server may decode before it looks for the resource: `..` would lead it to another one.
    if not value or {".", ".."} & set(re.split(r"[/\\]", value)):
        raise ArgumentsError(f"{name} must not be empty or hold a path")
    return quote(value, safe="")


def _plain(name: str, arguments: Mapping[str, Any]) -> str:
    value = arguments.get(name)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise ArgumentsError(f"{name} must be a text or a number")


def _pairs(name: str, value: Any) -> list[tuple[str, str]]:
    """Return an argument as it stands in a query: a list repeats its name, what has no plain form is JSON."""
    if value is None:
        return []
    if isinstance(value, list):
        return [pair for each in value for pair in _pairs(name, each)]
    if isinstance(value, dict):
        return [(name, msgspec.json.encode(value).decode())]
    return [(name, _plain(name, {name: value}))]
