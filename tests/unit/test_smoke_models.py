"""The list of models: what it says of a model's end, in whatever shape it comes."""

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import Model

from trunkline_worker.smoke_models import SOON, ListedModel, ends_soon, parsed

TODAY = date(2026, 11, 22)


def test_a_list_of_openais_types_is_read() -> None:
    rows = [
        Model(id="gpt-realtime-2.1", created=1, object="model", owned_by="system"),
        Model(id="gpt-realtime", created=1, object="model", owned_by="system", shutdown_date="2027-01-20"),
    ]

    assert parsed({"object": "list", "data": [row.model_dump() for row in rows]}) == [
        ListedModel("gpt-realtime", date(2027, 1, 20)),
        ListedModel("gpt-realtime-2.1", None),
    ]


@pytest.mark.parametrize(
    ("ends_on", "warned"),
    [
        (None, False),
        (TODAY + SOON, True),
        (date(2027, 6, 1), False),
        (date(2026, 1, 1), True),
    ],
)
def test_an_end_within_ninety_days_or_past_is_warned_of(ends_on: date | None, *, warned: bool) -> None:
    listed = [ListedModel("gpt-realtime", ends_on)]

    assert (ends_soon(listed, "gpt-realtime", TODAY) is not None) is warned
    assert ends_soon(listed, "gpt-realtime-2.1", TODAY) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["data", "id", "shutdown_date"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(content=JSON)
def test_anything_else_is_no_list(content: Any) -> None:
    try:
        models = parsed(content)
    except ValueError:
        return

    assert all(isinstance(model.name, str) for model in models)
