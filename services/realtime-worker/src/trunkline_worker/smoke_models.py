"""The list of models that a key may use, and which of them is about to be shut down (OpenAI: List models)."""

import http.client
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from trunkline_worker import endpoint, realtime_refusals
from trunkline_worker.settings import ModelSettings

HTTP_S: Final = 10.0
LIST_BYTES_MAX: Final = 4 * 1024 * 1024
"""OpenAI's list takes some 20 KiB."""

SOON: Final = timedelta(days=90)
"""Time enough to try another model's voice and manners."""

_NO_SUCH_PAGE: Final = frozenset({404, 405, 426, 501})


class NoListError(Exception):
    """The list cannot be had; the text says why. `expected`: this server simply has none."""

    def __init__(self, text: str, *, expected: bool = False) -> None:
        super().__init__(text)
        self.expected = expected


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A model of the list, and its last day, if that was announced."""

    name: str
    ends_on: date | None


def listed_models(settings: ModelSettings) -> list[ListedModel]:
    """Return the list, sorted; blocks for up to `HTTP_S`. Raises `NoListError`."""
    status, content = _get(settings)
    if status in _NO_SUCH_PAGE:
        raise NoListError(f"This server has no list of models (HTTP {status}).", expected=True)
    if status != http.client.OK:
        advice = realtime_refusals.advice(f"connect-http-{status}")
        raise NoListError(f"The list of models was refused with HTTP {status}: {advice}")
    try:
        return parsed(msgspec.json.decode(content))
    except (ValueError, RecursionError):
        raise NoListError("What the server sent is no list of models.") from None


def parsed(content: Any) -> list[ListedModel]:
    """Return the models of a decoded answer; `ValueError` when it is none."""
    rows = content.get("data") if isinstance(content, dict) else None
    if not isinstance(rows, list):
        raise ValueError("no list")
    models = [
        ListedModel(row["id"], _day(row.get("shutdown_date")))
        for row in rows
        if isinstance(row, dict) and isinstance(row.get("id"), str)
    ]
    return sorted(models, key=lambda model: model.name)


def ends_soon(models: list[ListedModel], name: str, today: date) -> date | None:
    """Return the last day of a model that ends within `SOON`, or has ended; None for any other."""
    for model in models:
        if model.name == name and model.ends_on is not None and model.ends_on <= today + SOON:
            return model.ends_on
    return None


def _get(settings: ModelSettings) -> tuple[int, bytes]:
    parts = urlsplit(endpoint.models_url(settings))
    secure = parts.scheme == "https"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=HTTP_S)
    try:
        connection.request("GET", parts.path, headers=endpoint.headers(settings))
        answer = connection.getresponse()
        return answer.status, answer.read(LIST_BYTES_MAX)
    except (OSError, http.client.HTTPException) as error:
        raise NoListError(
            f"{parts.netloc} does not answer ({type(error).__name__}): check OPENAI_REALTIME_URL"
        ) from None
    finally:
        connection.close()


def _day(value: Any) -> date | None:
    try:
        return date.fromisoformat(value[:10]) if isinstance(value, str) else None
    except ValueError:
        return None
