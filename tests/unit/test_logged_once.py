"""What is logged only the first time."""

from trunkline_worker.logged_once import KEYS_MAX, LoggedOnce


def test_the_same_is_logged_once() -> None:
    logged = LoggedOnce()

    assert [logged.is_first("old-fence", "CA1") for _ in range(3)] == [True, False, False]
    assert logged.is_first("old-fence", "CA2")


def test_it_does_not_remember_for_ever() -> None:
    logged = LoggedOnce()
    for number in range(KEYS_MAX + 1):
        logged.is_first(str(number))

    assert logged.is_first("0")
    assert not logged.is_first(str(KEYS_MAX))
