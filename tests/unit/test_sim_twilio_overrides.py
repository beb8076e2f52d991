import pytest

from trunkline_simulators.twilio_overrides import Overrides

VOICE = "https://calls.example.com/voice"


def test_without_a_fragment_the_defaults_hold() -> None:
    overrides = Overrides.of(VOICE)

    assert (overrides.connect_s, overrides.read_s, overrides.total_s, overrides.retries) == (5, 15, 15, 1)
    assert [what for what in ("ct", "rt", "4xx", "5xx", "reset") if overrides.retries_after(what)] == ["ct"]


def test_the_fragment_sets_what_it_names() -> None:
    overrides = Overrides.of(f"{VOICE}?attach=2#ct=1000&rt=2500&rc=4&rp=5xx,rt")

    assert (overrides.connect_s, overrides.read_s, overrides.total_s, overrides.retries) == (1, 2.5, 15, 4)
    assert [what for what in ("ct", "rt", "4xx", "5xx", "reset") if overrides.retries_after(what)] == [
        "rt",
        "5xx",
    ]


def test_all_is_all() -> None:
    overrides = Overrides.of(f"{VOICE}#rp=all")

    assert all(overrides.retries_after(what) for what in ("ct", "rt", "4xx", "5xx", "reset"))


@pytest.mark.parametrize("fragment", ["rc=6", "rc=-1", "rc=²", "ct=99", "rt=15001", "rp=never", "top"])
def test_what_is_out_of_bounds_is_as_if_it_were_not_there(fragment: str) -> None:
    assert Overrides.of(f"{VOICE}#{fragment}") == Overrides.of(VOICE)
