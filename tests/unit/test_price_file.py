"""The price list on disk: used whole, or refused with the line and the field."""

from pathlib import Path

import pytest

from trunkline_worker.agent import Agent
from trunkline_worker.price_file import PricesError, read_prices

VALID = """\
date: 2026-11-22
source: our contract
models:
  my-deployment:
    text: {input: 4, cached: 0.4, output: 24}
    audio: {input: 32, cached: 0.4, output: 64}
transcription:
  my-ears: {minute: 0.017}
"""


def test_the_prices_that_come_with_trunkline_know_the_built_in_agent() -> None:
    prices = read_prices(None)

    assert Agent().model in prices.models
    assert Agent().transcription_model in prices.transcription


def test_another_file_may_be_named(tmp_path: Path) -> None:
    (tmp_path / "prices.yaml").write_text(VALID)

    prices = read_prices(tmp_path / "prices.yaml")

    assert (prices.date.isoformat(), prices.source, list(prices.models)) == (
        "2026-11-22",
        "our contract",
        ["my-deployment"],
    )


@pytest.mark.parametrize(
    ("right", "wrong", "problem"),
    [
        ("2026-11-22", "soon", "prices.yaml:1: date: must be a date, such as 2026-11-22"),
        ("source: our contract\n", "", "prices.yaml:1: source: is missing"),
        (
            "cached: 0.4, output: 24",
            "output: 24",
            "prices.yaml:5: models.my-deployment.text.cached: is missing",
        ),
        (
            "input: 32",
            "input: -1",
            "prices.yaml:6: models.my-deployment.audio.input: must be greater than or",
        ),
        ("input: 32", "input: .inf", "prices.yaml:6: models.my-deployment.audio.input: must be"),
        ("input: 32", "input: dear", "prices.yaml:6: models.my-deployment.audio.input: must be a number"),
        ("audio: {", "video: {", "prices.yaml:6: models.my-deployment.video: unknown key"),
        (
            "minute: 0.017",
            "minute: 1, input: 1",
            "prices.yaml:8: transcription.my-ears: must have `minute`, or",
        ),
        ("minute: 0.017", "input: 1", "prices.yaml:8: transcription.my-ears: must have `minute`, or"),
        ("  my-ears:", "\tmy-ears:", "prices.yaml:8: "),
        (VALID, "", "prices.yaml:1: must hold date, source, models and transcription"),
        (VALID, "- 1", "prices.yaml:1: must hold date, source, models and transcription"),
        (VALID, "x" * 70_000, "is larger than 64 KiB"),
    ],
)
def test_a_file_that_cannot_be_used_says_where_and_why(
    tmp_path: Path, right: str, wrong: str, problem: str
) -> None:
    (tmp_path / "prices.yaml").write_text(VALID.replace(right, wrong, 1))

    with pytest.raises(PricesError) as refused:
        read_prices(tmp_path / "prices.yaml")

    assert problem in str(refused.value)


def test_a_file_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(PricesError, match=r"cannot be read: No such file"):
        read_prices(tmp_path / "none.yaml")
