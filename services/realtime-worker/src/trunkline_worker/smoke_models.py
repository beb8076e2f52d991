"""The list of models that a key may use, and which of them is about to be shut down (OpenAI: List models)."""

import http.client
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from trunkline_common import http_probe
from trunkline_worker import endpoint, realtime_refusals
from trunkline_worker.settings import ModelSettings

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
    """Return the list, sorted; blocks for up to `http_probe.HTTP_S`. Raises `NoListError`."""
    return listed_models_and_skew(settings)[0]


def listed_models_and_skew(settings: ModelSettings) -> tuple[list[ListedModel], float | None]:
    """Return the list, and how many seconds our clock is behind the server's; else as `listed_models`."""
    url = endpoint.models_url(settings)
    try:
        answer = http_probe.get(url, endpoint.headers(settings))
    except http_probe.NoAnswerError as error:
        raise NoListError(f"{urlsplit(url).netloc}: {error}: check OPENAI_REALTIME_URL") from None
    if answer.status in _NO_SUCH_PAGE:
        raise NoListError(f"This server has no list of models (HTTP {answer.status}).", expected=True)
    if answer.status != http.client.OK:
        advice = realtime_refusals.advice(f"connect-http-{answer.status}")
        raise NoListError(f"The list of models was refused with HTTP {answer.status}: {advice}")
    try:
        return parsed(msgspec.json.decode(answer.body)), answer.skew_s
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


def _day(value: Any) -> date | None:
    try:
        return date.fromisoformat(value[:10]) if isinstance(value, str) else None
    except ValueError:
        return None
