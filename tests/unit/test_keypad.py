"""The caller's keys become one message."""

from trunkline_worker.keypad import DIGITS_MAX, PAUSE_S, Keypad

NOW = 1000.0


def test_keys_are_one_message_once_the_caller_pauses() -> None:
    keypad = Keypad()
    assert keypad.press("4", NOW) is None
    assert keypad.press("2", NOW + 1) is None
    assert keypad.tick(NOW + PAUSE_S) is None, "the second key began a new pause"

    assert keypad.wake_at() == NOW + 1 + PAUSE_S
    assert keypad.tick(NOW + 1 + PAUSE_S) == "The caller pressed 42 on the keypad."
    assert keypad.wake_at() is None
    assert keypad.tick(NOW + 9) is None


def test_a_hash_ends_the_number_at_once() -> None:
    keypad = Keypad()
    keypad.press("5", NOW)

    assert keypad.press("#", NOW) == "The caller pressed 5# on the keypad."
    assert keypad.wake_at() is None


def test_keys_without_an_end_are_not_collected_for_ever() -> None:
    keypad = Keypad()

    messages = [keypad.press("1", NOW) for _ in range(DIGITS_MAX)]

    assert messages[-1] == f"The caller pressed {'1' * DIGITS_MAX} on the keypad."
    assert set(messages[:-1]) == {None}


def test_keys_of_another_owner_wait_for_the_rest_of_the_number() -> None:
    keypad = Keypad()
    keypad.restore("42", NOW)

    assert keypad.digits == "42"
    assert keypad.wake_at() == NOW + PAUSE_S
    assert keypad.press("#", NOW + 1) == "The caller pressed 42# on the keypad."


def test_without_keys_of_another_owner_nothing_is_due() -> None:
    keypad = Keypad()
    keypad.restore("", NOW)

    assert keypad.wake_at() is None
