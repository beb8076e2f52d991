"""The price list on disk: one YAML file, used whole or refused with a line for each problem."""

from importlib import resources
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from trunkline_common.settings import SettingsError
from trunkline_worker import yaml_file
from trunkline_worker.prices import PriceList

PRICE_FILE_BYTES_MAX: Final = 64 * 1024
"""Hundreds of models; this is no price list."""

SHIPPED: Final = "prices.yaml"


class PricesError(Exception):
    """The file cannot be used; the text has a line for each reason: file, line, field."""


def price_list(path: Path | None) -> PriceList:
    """Return the list that the setting PRICES names, or the one that comes along; raise `SettingsError`."""
    try:
        return read_prices(path)
    except PricesError as error:
        raise SettingsError("\n".join(f"PRICES: {line}" for line in str(error).splitlines())) from None


def read_prices(path: Path | None) -> PriceList:
    """Return the prices in `path`, or those that come with this package; raise `PricesError`."""
    if path is None:
        return _read(SHIPPED, resources.files(__package__).joinpath(SHIPPED).read_bytes())
    try:
        with path.open("rb") as file:
            content = file.read(PRICE_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise PricesError(f"{path}: cannot be read: {error.strerror}") from None
    if len(content) > PRICE_FILE_BYTES_MAX:
        raise PricesError(f"{path}: is larger than {PRICE_FILE_BYTES_MAX // 1024} KiB")
    return _read(path.name, content)


def _read(file: str, content: bytes) -> PriceList:
    try:
        values, root = yaml_file.read(content)
    except yaml_file.UnreadableError as error:
        raise PricesError(f"{file}{error}") from None
    if not isinstance(values, dict) or root is None:
        raise PricesError(f"{file}:1: must hold date, source, models and transcription")
    try:
        return PriceList.model_validate(values)
    except ValidationError as error:
        problems = [
            (yaml_file.line_of(root, problem["loc"]), yaml_file.dotted(problem["loc"]), _message(problem))
            for problem in error.errors()
        ]
        lines = (f"{file}:{line}: {field}: {message}" for line, field, message in sorted(problems))
        raise PricesError("\n".join(lines)) from None


def _message(problem: Any) -> str:
    match problem["type"]:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            return "unknown key"
        case "date_type":
            return "must be a date, such as 2026-11-22"
        case "float_type":
            return "must be a number of USD"
    text = str(problem["msg"]).removeprefix("Value error, ")
    return text.replace("Input should be", "must be").replace("String should", "must")
