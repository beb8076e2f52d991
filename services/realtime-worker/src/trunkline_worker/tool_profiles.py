"""The part of an agent profile that says what the agent may do: HTTP tools, MCP servers, transfers."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

import jsonschema_rs
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from trunkline_worker import agent_tools
from trunkline_worker.agent_tools import (
    BUILT_IN,
    PLACE,
    HttpTool,
    McpTool,
    Method,
    TransferTarget,
)

TOOLS_MAX: Final = 32
"""Each is told to the model with every answer; a model that may choose among more chooses worse."""

HEADERS_MAX: Final = 20
TARGETS_MAX: Final = 20
TOOL_TIMEOUT_S_MAX: Final = 30
RESULT_BYTES_MAX: Final = 65_536
"""Some 16,000 tokens, which the model reads again with every answer."""

SECRET: Final = re.compile(r"\$\{([^}]*)\}")
SECRET_PREFIX: Final = "TOOL_SECRET_"  # noqa: S105 - the name of variables, no secret
"""Only such variables may stand in a profile: the key of the model and of the database are none of its business."""

E164: Final = r"^\+[1-9][0-9]{5,14}$"
_NAME: Final = r"^[a-zA-Z][a-zA-Z0-9_-]{0,63}$"
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OWN_HEADERS: Final = frozenset(
    {"host", "content-length", "content-type", "transfer-encoding", "connection", "accept-encoding"}
    | {"idempotency-key", "upgrade", "te", "trailer", "expect", "proxy-authorization"}
)
_SCALARS: Final = {"string", "number", "integer", "boolean"}

Secrets = Mapping[str, str]
"""The values of the `TOOL_SECRET_…` variables, by name."""


class StrictFields(BaseModel):
    """Nothing is converted, and a field that does not exist is an error."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class HttpToolProfile(StrictFields):
    """A tool behind an HTTP endpoint."""

    type: Literal["http"] = Field(description="a request to a service of yours")
    name: str = Field(
        pattern=_NAME,
        description="what the model calls it by: a letter, then up to 63 letters, digits, `_`, `-`",
    )
    description: str = Field(
        min_length=1, max_length=2000, description="what it does and when to use it; the model reads this"
    )
    parameters: dict[str, Any] = Field(
        default_factory=lambda: {"type": "object", "properties": {}, "additionalProperties": False},
        description="JSON Schema of its arguments, `type: object`; arguments that do not fit are refused",
    )
    method: Method = Field("GET", description="`GET`, `POST`, `PUT`, `PATCH` or `DELETE`")
    url: str = Field(
        max_length=2000,
        description="`https://…` with `{argument}` in the path or the query, which are escaped; arguments without a "
        "place go to the query (`GET`, `DELETE`) or into a JSON body",
    )
    headers: dict[str, str] = Field(
        default_factory=dict,
        max_length=HEADERS_MAX,
        description="headers of the request; `${TOOL_SECRET_…}` stands for a variable of the worker",
    )
    timeout_s: float = Field(
        5, gt=0, le=TOOL_TIMEOUT_S_MAX, description="seconds it may take, retries included"
    )
    retry: bool = Field(
        False,
        description="try again when the service cannot be reached or answers 429 or 5xx; not for `POST` and `PATCH` "
        "unless `idempotent`",
    )
    idempotent: bool = Field(
        False, description="the service acts once for each `Idempotency-Key`, a header that is always sent"
    )
    result_bytes_max: int = Field(
        8192,
        ge=64,
        le=RESULT_BYTES_MAX,
        description="largest answer in bytes (64–65536); a larger one is an error",
    )
    filler: str = Field(
        "",
        max_length=500,
        description="words that the agent says when it takes longer, such as `One moment.`",
    )
    filler_after_ms: int = Field(
        agent_tools.FILLER_AFTER_MS, ge=300, le=30_000, description="how much longer, in ms (300–30000)"
    )

    @field_validator("parameters")
    @classmethod
    def _is_a_schema(cls, schema: dict[str, Any]) -> dict[str, Any]:
        if schema.get("type") != "object":
            raise ValueError("must be a JSON Schema with type: object")
        if any(not reference.startswith("#") for reference in _references(schema)):
            raise ValueError("may refer only to itself ($ref: '#/…')")
        try:
            jsonschema_rs.meta.validate(schema)
            schema_validator(schema)
        except jsonschema_rs.ValidationError as error:
            where = ".".join(str(part) for part in error.instance_path)
            raise ValueError(f"is no JSON Schema at {where or 'its top'}") from None
        except (ValueError, jsonschema_rs.ReferencingError):
            raise ValueError("is no JSON Schema: a $ref or a pattern cannot be used") from None
        return schema

    @field_validator("headers")
    @classmethod
    def _are_headers(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            if not _HEADER.fullmatch(name) or name.lower() in _OWN_HEADERS:
                raise ValueError(f"{name[:40]} cannot be set")
            if not value.isascii() or not value.isprintable():
                raise ValueError(f"the value of {name} must be printable ASCII")
            _check_secrets(value)
        return headers

    @field_validator("url")
    @classmethod
    def _is_a_url(cls, url: str) -> str:
        _check_url(url)
        return url

    @model_validator(mode="after")
    def _fits_together(self) -> "HttpToolProfile":
        properties = self.parameters.get("properties", {})
        for name in PLACE.findall(self.url):
            if properties.get(name, {}).get("type") not in _SCALARS:
                raise ValueError(
                    f"url: {{{name[:40]}}} is no parameter of type string, number, integer or boolean"
                )
            if name not in self.parameters.get("required", []):
                raise ValueError(f"url: {{{name[:40]}}} must be in parameters.required")
        if self.retry and self.method in {"POST", "PATCH"} and not self.idempotent:
            raise ValueError(
                f"retry: a {self.method} may act twice; set idempotent when the service prevents that"
            )
        return self

    def tool(self, secrets: Secrets | None) -> HttpTool:
        """Return the tool; without `secrets` their places stay as they are."""
        headers = tuple((name, filled(value, secrets)) for name, value in self.headers.items())
        return HttpTool(
            name=self.name,
            description=self.description,
            parameters=self.parameters,
            method=self.method,
            url=self.url,
            headers=headers,
            timeout_s=self.timeout_s,
            retry=self.retry,
            result_bytes_max=self.result_bytes_max,
            filler=self.filler,
            filler_after_ms=self.filler_after_ms,
        )


class McpToolProfile(StrictFields):
    """A server of tools that the model itself calls."""

    type: Literal["mcp"] = Field(description="a public MCP server, which OpenAI calls, not the worker")
    server_label: str = Field(pattern=_NAME, description="what the model knows the server by")
    server_url: str = Field(max_length=2000, description="`https://…` of the server")
    allowed_tools: list[str] = Field(
        min_length=1,
        max_length=TOOLS_MAX,
        description="names of the tools that the model may call; nobody is asked again",
    )
    authorization: str = Field(
        "", max_length=2000, description="access token for the server: `${TOOL_SECRET_…}`"
    )

    @field_validator("server_url")
    @classmethod
    def _is_a_url(cls, url: str) -> str:
        _check_url(url)
        if PLACE.search(url) or not url.startswith("https://"):
            raise ValueError("must be https:// and hold no place")
        return url

    @field_validator("authorization")
    @classmethod
    def _is_a_secret(cls, value: str) -> str:
        if value and not SECRET.search(value):
            raise ValueError(f"must be a secret of the worker: ${{{SECRET_PREFIX}…}}")
        _check_secrets(value)
        return value

    def tool(self, secrets: Secrets | None) -> McpTool:
        """Return the tool; without `secrets` their places stay as they are."""
        return McpTool(
            self.server_label, self.server_url, tuple(self.allowed_tools), filled(self.authorization, secrets)
        )


ToolProfile = Annotated[HttpToolProfile | McpToolProfile, Field(discriminator="type")]


class TransferTargetProfile(StrictFields):
    """Somebody a caller may be put through to."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9 _-]{0,39}$",
        description="what the model knows the target by; 1–40 letters, digits, spaces, `_`, `-`",
    )
    number: str = Field(
        pattern=E164,
        description="whom Twilio dials (E.164, in quotes); the model never sees it",
    )
    description: str = Field("", max_length=300, description="when to put a caller through to it")
    timeout_s: int = Field(20, ge=5, le=60, description="seconds that it may ring (5–60)")


class TransferProfile(StrictFields):
    """Whom the agent may put a caller through to."""

    targets: list[TransferTargetProfile] = Field(
        min_length=1, max_length=TARGETS_MAX, description="list of targets, 1 to 20"
    )

    @field_validator("targets")
    @classmethod
    def _have_names_of_their_own(cls, targets: list[TransferTargetProfile]) -> list[TransferTargetProfile]:
        names = [each.name for each in targets]
        if len(set(names)) < len(names):
            raise ValueError("two of them have the same name")
        return targets

    def transfer_targets(self) -> tuple[TransferTarget, ...]:
        """Return the targets."""
        return tuple(
            TransferTarget(each.name, each.number, each.description, each.timeout_s) for each in self.targets
        )


def check_names(tools: list[HttpToolProfile | McpToolProfile]) -> None:
    """Raise `ValueError` when two tools, or a tool and a built-in one, have the same name."""
    names = [each.name if isinstance(each, HttpToolProfile) else each.server_label for each in tools]
    for index, name in enumerate(names):
        if name in BUILT_IN:
            raise ValueError(f"{name} is the name of a built-in tool")
        if name in names[:index]:
            raise ValueError(f"{name} is there twice")


def host_of(tool: HttpToolProfile | McpToolProfile) -> tuple[str, str, str]:
    """Return the field that names the tool's host, the scheme and the host."""
    field, url = ("url", tool.url) if isinstance(tool, HttpToolProfile) else ("server_url", tool.server_url)
    parts = urlsplit(url)
    return field, parts.scheme, parts.hostname or ""


def secrets_of(tool: HttpToolProfile | McpToolProfile) -> list[tuple[str, str]]:
    """Return the variables that the tool's fields name, each with its field."""
    if isinstance(tool, McpToolProfile):
        return [("authorization", name) for name in SECRET.findall(tool.authorization)]
    return [("headers", name) for value in tool.headers.values() for name in SECRET.findall(value)]


def filled(text: str, secrets: Secrets | None) -> str:
    """Return the text with its secrets in their places."""
    return text if secrets is None else SECRET.sub(lambda place: secrets[place[1]], text)


def schema_validator(schema: Mapping[str, Any]) -> jsonschema_rs.Draft202012Validator:
    """Return what checks arguments; its patterns take linear time, whatever a caller made the model write."""
    return jsonschema_rs.Draft202012Validator(dict(schema), pattern_options=jsonschema_rs.RegexOptions())


def _check_secrets(value: str) -> None:
    for name in SECRET.findall(value):
        if not re.fullmatch(SECRET_PREFIX + r"[A-Z0-9_]+", name):
            raise ValueError(f"a secret is a variable of the worker whose name begins with {SECRET_PREFIX}")


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        port_fits = parts.port != 0
    except ValueError:
        raise ValueError("is no URL") from None
    if parts.scheme not in {"https", "http"} or not parts.hostname or not port_fits:
        raise ValueError("must be https://host/…")
    if "{" in parts.netloc or "}" in parts.netloc:
        raise ValueError("an argument may stand in the path or the query, not in the host")
    if parts.username is not None or parts.password is not None or parts.fragment or "#" in url:
        raise ValueError("must hold no user, no password and no fragment")
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise ValueError("must be escaped: printable ASCII without spaces")
    if PLACE.sub("", url).count("{") or PLACE.sub("", url).count("}"):
        raise ValueError("holds a brace that belongs to no {argument}")


def _references(schema: Any) -> list[str]:
    if isinstance(schema, list):
        return [reference for each in schema for reference in _references(each)]
    if not isinstance(schema, dict):
        return []
    own = [str(schema[key]) for key in ("$ref", "$dynamicRef", "$schema", "$id") if key in schema]
    return own + [reference for each in schema.values() for reference in _references(each)]
