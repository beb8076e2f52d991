"""Reading a client event, and saying in OpenAI's words what is wrong with a refused one.

A good event is decoded in one step; only a refused one is walked a second time, beside its types,
to find the first fault and name its path (OpenAI: Realtime API reference, `error`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from trunkline_simulators.openai_schema import ClientEvent

Event = TypeVar("Event")


class Rejection(Exception):  # noqa: N818 - an answer to the client, not a failure of ours
    """A client event that is dropped whole; becomes one `error` event, and the session goes on."""

    def __init__(
        self,
        message: str,
        *,
        code: str | None = "invalid_value",
        param: str | None = None,
        error_type: str = "invalid_request_error",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.param = param
        self.error_type = error_type
        self.event_id: str | None = None  # of the refused event, when it had a readable one


def parse_client_event(frame: str | bytes) -> ClientEvent:
    """Return the event of one websocket message; `Rejection` when OpenAI would refuse it."""
    return read(frame, _DECODER, _client_event_type)


def read(
    frame: str | bytes, decoder: msgspec.json.Decoder[Event], expected: Callable[[], inspect.Type]
) -> Event:
    """Return the event of one websocket message by the decoder's types, which `expected` describes."""
    if isinstance(frame, bytes):
        raise Rejection("Binary messages are not supported. Send JSON text.", code="invalid_event")
    try:
        return decoder.decode(frame)
    except msgspec.ValidationError as error:
        rejection = explain(msgspec.json.decode(frame), expected()) or Rejection(str(error))
        raise rejection from None
    except msgspec.DecodeError:
        raise Rejection("The message is not valid JSON.", code="invalid_event") from None


def explain(raw: Any, expected: inspect.Type | None = None) -> Rejection | None:
    """Return the first fault of a decoded client event, or None when its types are in order.

    The types are GA's, or those that are described by `expected`.
    """
    if not isinstance(raw, dict):
        return Rejection("The message is not a JSON object.", code="invalid_event")
    event_id = raw.get("event_id")
    if "type" not in raw:
        fault: Rejection | None = Rejection("The 'type' field is missing.", code="invalid_event")
    else:
        fault = _fault(expected or _client_event_type(), raw, "")
    if fault is not None and isinstance(event_id, str):
        fault.event_id = event_id
    return fault


def supported(values: tuple[object, ...]) -> str:
    """Return the end of OpenAI's sentence about a wrong choice, listing the right ones."""
    quoted = [f"'{value}'" for value in values]
    if len(quoted) == 1:
        return f"Value must be {quoted[0]}."
    listed = ", ".join(quoted[:-1])
    comma = "," if len(quoted) > 2 else ""
    return f"Supported values are: {listed}{comma} and {quoted[-1]}."


_DECODER: msgspec.json.Decoder[ClientEvent] = msgspec.json.Decoder(ClientEvent)
_MISSING = object()


@cache
def _client_event_type() -> inspect.Type:
    return inspect.type_info(ClientEvent)


def _fault(expected: inspect.Type, value: Any, path: str) -> Rejection | None:
    options = expected.types if isinstance(expected, inspect.UnionType) else (expected,)
    fitting = [option for option in options if _JSON_TYPES[type(option)].accepts(option, value)]
    if not fitting:
        return _wrong_type(options, value, path)
    if isinstance(value, dict):
        return _object_fault(fitting, value, path)
    if isinstance(value, list):
        return _list_fault(fitting[0], value, path)
    if isinstance(value, str):
        return _text_fault(fitting, value, path)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _number_fault(fitting[0], value, path)
    return None


def _object_fault(options: list[inspect.Type], value: dict[str, Any], path: str) -> Rejection | None:
    structs = [option for option in options if isinstance(option, inspect.StructType)]
    if not structs:
        return _dict_fault(options[0], value, path)
    tag_field = structs[0].tag_field
    chosen = structs[0]
    if tag_field is not None:
        tag = value.get(tag_field, _MISSING)
        if tag is _MISSING:
            return _missing(_join(path, tag_field))
        tags = {struct.tag: struct for struct in structs}
        if not isinstance(tag, str):
            return _wrong_type((inspect.StrType(),), tag, _join(path, tag_field))
        if tag not in tags:
            return Rejection(
                f"Invalid value: '{tag}'. {supported(tuple(tags))}", param=_join(path, tag_field)
            )
        chosen = tags[tag]
    return _struct_fault(chosen, value, path)


def _struct_fault(struct: inspect.StructType, value: dict[str, Any], path: str) -> Rejection | None:
    fields = {field.encode_name: field for field in struct.fields}
    for name in value:
        if name not in fields and name != struct.tag_field and struct.forbid_unknown_fields:
            where = _join(path, name)
            return Rejection(f"Unknown parameter: '{where}'.", code="unknown_parameter", param=where)
    for name, field in fields.items():
        if name in value:
            fault = _fault(field.type, value[name], _join(path, name))
            if fault is not None:
                return fault
        elif field.required and not _may_be_unset(field):
            return _missing(_join(path, name))
    return None


def _may_be_unset(field: inspect.Field) -> bool:
    return field.default is not msgspec.NODEFAULT or field.default_factory is not msgspec.NODEFAULT


def _dict_fault(expected: inspect.Type, value: dict[str, Any], path: str) -> Rejection | None:
    if not isinstance(expected, inspect.DictType):
        return None
    if expected.max_length is not None and len(value) > expected.max_length:
        return Rejection(
            f"Invalid '{path}': too many properties. Expected an object with at most"
            f" {expected.max_length} properties, but got an object with {len(value)} properties instead.",
            code="object_above_max_properties",
            param=path,
        )
    for key, each in value.items():
        fault = _fault(expected.key_type, key, _join(path, key)) or _fault(
            expected.value_type, each, _join(path, key)
        )
        if fault is not None:
            return fault
    return None


def _list_fault(expected: inspect.Type, value: list[Any], path: str) -> Rejection | None:
    if not isinstance(expected, inspect.ListType):
        return None
    faults = (_fault(expected.item_type, each, f"{path}[{index}]") for index, each in enumerate(value))
    return next((fault for fault in faults if fault is not None), None)


def _text_fault(options: list[inspect.Type], value: str, path: str) -> Rejection | None:
    choices = [
        choice for option in options if isinstance(option, inspect.LiteralType) for choice in option.values
    ]
    texts = [option for option in options if isinstance(option, inspect.StrType)]
    if value in choices:
        return None
    if not texts and choices:
        return Rejection(f"Invalid value: '{value}'. {supported(tuple(choices))}", param=path)
    limit = texts[0].max_length if texts else None
    if limit is not None and len(value) > limit:
        return Rejection(
            f"Invalid '{path}': string too long. Expected a string with maximum length {limit},"
            f" but got a string with length {len(value)} instead.",
            code="string_above_max_length",
            param=path,
        )
    return None


def _number_fault(expected: inspect.Type, value: float, path: str) -> Rejection | None:
    if not isinstance(expected, inspect.IntType | inspect.FloatType):
        return None
    noun = "integer" if isinstance(expected, inspect.IntType) else "decimal"
    if expected.ge is not None and value < expected.ge:
        return _out_of_range(noun, "below minimum value", f">= {expected.ge}", value, path)
    if expected.le is not None and value > expected.le:
        return _out_of_range(noun, "above maximum value", f"<= {expected.le}", value, path)
    return None


def _out_of_range(noun: str, how: str, bound: str, value: float, path: str) -> Rejection:
    side = "below_min_value" if how.startswith("below") else "above_max_value"
    return Rejection(
        f"Invalid '{path}': {noun} {how}. Expected a value {bound}, but got {value} instead.",
        code=f"{noun}_{side}",
        param=path,
    )


def _wrong_type(options: tuple[inspect.Type, ...], value: Any, path: str) -> Rejection:
    nouns = list(dict.fromkeys(_JSON_TYPES[type(option)].noun for option in options))
    wanted = nouns[0] if len(nouns) == 1 else "one of " + " or ".join([", ".join(nouns[:-1]), nouns[-1]])
    return Rejection(
        f"Invalid type for '{path}': expected {wanted}, but got {_noun_of(value)} instead.",
        code="invalid_type",
        param=path,
    )


def _missing(path: str) -> Rejection:
    return Rejection(f"Missing required parameter: '{path}'.", code="missing_required_parameter", param=path)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


class _JsonType(msgspec.Struct, frozen=True):
    """How OpenAI calls a type of value, and which decoded values are of it."""

    noun: str
    python: tuple[type, ...]

    def accepts(self, expected: inspect.Type, value: Any) -> bool:
        if isinstance(value, bool):
            return bool in self.python
        if isinstance(expected, inspect.IntType) and isinstance(value, float):
            return value.is_integer()
        return isinstance(value, self.python)


_JSON_TYPES: dict[type[inspect.Type], _JsonType] = {
    inspect.StructType: _JsonType("an object", (dict,)),
    inspect.DictType: _JsonType("an object", (dict,)),
    inspect.ListType: _JsonType("an array", (list,)),
    inspect.StrType: _JsonType("a string", (str,)),
    inspect.LiteralType: _JsonType("a string", (str,)),
    inspect.IntType: _JsonType("an integer", (int, float)),
    inspect.FloatType: _JsonType("a decimal", (int, float)),
    inspect.BoolType: _JsonType("a boolean", (bool,)),
    inspect.NoneType: _JsonType("null", (type(None),)),
    inspect.AnyType: _JsonType("any value", (dict, list, str, int, float, bool, type(None))),
}


def _noun_of(value: Any) -> str:
    if value is None:
        return "null"
    nouns: dict[type, str] = {
        bool: "a boolean",
        int: "an integer",
        float: "a decimal",
        str: "a string",
        list: "an array",
        dict: "an object",
    }
    return nouns[type(value)]
