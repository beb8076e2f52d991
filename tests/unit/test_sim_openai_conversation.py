"""Items: where they go, what may be cut, and the exact words of refusals."""

import base64
from typing import Any

import pytest
from sim_openai_driver import Driver, Event


def message(text: str, role: str = "user", **fields: Any) -> dict[str, Any]:
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]} | fields


def create(driver: Driver, item: dict[str, Any], **fields: Any) -> list[Event]:
    return driver.send("conversation.item.create", item=item, event_id="c1", **fields)


def error_of(events: list[Event]) -> tuple[str, str]:
    (event,) = events
    assert event["error"]["event_id"] == "c1"
    return event["error"]["code"], event["error"]["message"]


def spoken_item(driver: Driver) -> tuple[str, int]:
    """Let the agent greet; return the item's id and its milliseconds of audio received."""
    driver.send("response.create")
    driver.wait(6)
    response = driver.of("response.done")[-1]["response"]
    received = driver.audio_of(response["id"])
    return response["output"][0]["id"], len(received) // (2 * 24)


def test_a_created_item_is_added_and_done() -> None:
    driver = Driver()

    added, done = create(driver, message("Hello", id="t1_user"))

    assert (added["type"], done["type"]) == ("conversation.item.added", "conversation.item.done")
    assert added["previous_item_id"] is None
    assert added["item"] == done["item"]
    assert added["item"] == message("Hello", id="t1_user", status="completed")


def test_items_follow_the_last_one_the_named_one_or_none() -> None:
    driver = Driver()
    create(driver, message("one", id="a"))
    create(driver, message("two", id="b"))

    at_end = create(driver, message("three", id="c"))
    after_a = create(driver, message("one and a half", id="d"), previous_item_id="a")
    first = create(driver, message("zero", id="e"), previous_item_id="root")
    after_d = create(driver, message("one and three quarters", id="f"), previous_item_id="d")

    previous = [events[0]["previous_item_id"] for events in (at_end, after_a, first, after_d)]
    assert previous == ["b", "a", None, "d"]


def test_an_unknown_previous_item_is_an_error_and_nothing_is_added() -> None:
    driver = Driver()

    error_of(create(driver, message("one", id="a"), previous_item_id="nobody"))

    (answer,) = driver.send("conversation.item.retrieve", item_id="a")
    assert answer["error"]["code"] == "item_retrieve_invalid_item_id"


def test_an_id_can_be_used_once() -> None:
    driver = Driver()
    create(driver, message("one", id="a"))

    error = error_of(create(driver, message("two", id="a")))

    assert error == (
        "item_create_duplicate_item_id",
        "Error adding item: an item with id 'a' already exists.",
    )


@pytest.mark.parametrize(
    ("role", "kind", "supported"),
    [
        ("assistant", "input_text", "Value must be 'output_text'."),
        ("assistant", "output_audio", "Value must be 'output_text'."),
        ("system", "output_text", "Value must be 'input_text'."),
        ("user", "output_text", "Supported values are: 'input_text', 'input_audio', and 'input_image'."),
    ],
)
def test_each_role_has_its_kinds_of_content(role: str, kind: str, supported: str) -> None:
    content = {"type": kind, "audio": "AAAA"} if kind == "output_audio" else {"type": kind, "text": "Hello"}

    error = error_of(create(Driver(), {"type": "message", "role": role, "content": [content]}))

    assert error == ("invalid_value", f"Invalid value: '{kind}'. {supported}")


def test_the_output_of_an_unknown_call_is_refused() -> None:
    driver = Driver()
    output = {"type": "function_call_output", "call_id": "call_1", "output": "{}"}

    error = error_of(create(driver, output))
    create(driver, {"type": "function_call", "call_id": "call_1", "name": "book", "arguments": "{}"})
    accepted = create(driver, output)

    assert error == ("invalid_tool_call_id", "Tool call ID 'call_1' not found in conversation.")
    assert accepted[0]["type"] == "conversation.item.added"


def test_retrieve_returns_the_audio() -> None:
    driver = Driver()
    audio = base64.b64encode(bytes(range(200))).decode()
    content = [{"type": "input_audio", "audio": audio, "transcript": "Hello"}]
    create(driver, {"type": "message", "role": "user", "id": "a", "content": content})

    (answer,) = driver.send("conversation.item.retrieve", item_id="a")

    assert answer["item"]["content"] == content
    assert "audio" not in driver.of("conversation.item.added")[0]["item"]["content"][0]


def test_delete_removes_an_item() -> None:
    driver = Driver()
    create(driver, message("one", id="a"))

    (deleted,) = driver.send("conversation.item.delete", item_id="a")
    (again,) = driver.send("conversation.item.delete", item_id="a")

    assert (deleted["type"], deleted["item_id"]) == ("conversation.item.deleted", "a")
    assert again["error"]["code"] == "item_delete_invalid_item_id"
    assert again["error"]["message"] == "Item with item_id not found: a"


def truncate(driver: Driver, item_id: str, audio_end_ms: int, content_index: int = 0) -> Event:
    (answer,) = driver.send(
        "conversation.item.truncate",
        item_id=item_id,
        content_index=content_index,
        audio_end_ms=audio_end_ms,
    )
    return answer


def test_truncate_cuts_the_audio_and_forgets_the_transcript() -> None:
    driver = Driver()
    item_id, _ = spoken_item(driver)

    answer = truncate(driver, item_id, 1_000)

    assert answer["type"] == "conversation.item.truncated"
    assert (answer["item_id"], answer["content_index"], answer["audio_end_ms"]) == (item_id, 0, 1_000)
    (retrieved,) = driver.send("conversation.item.retrieve", item_id=item_id)
    (part,) = retrieved["item"]["content"]
    assert "transcript" not in part
    assert len(base64.b64decode(part["audio"])) == 1_000 * 48


def test_the_servers_length_is_85_ms_below_the_bytes_it_sent() -> None:
    driver = Driver()
    item_id, received_ms = spoken_item(driver)

    refused = truncate(driver, item_id, received_ms - 84)
    accepted = truncate(driver, item_id, received_ms - 85)

    assert refused["error"]["code"] == "invalid_value"
    assert refused["error"]["message"] == (
        f"Audio content of {received_ms - 85}ms is already shorter than {received_ms - 84}ms"
    )
    assert accepted["type"] == "conversation.item.truncated"


def test_a_truncated_item_can_be_cut_further_but_does_not_grow() -> None:
    driver = Driver()
    item_id, _ = spoken_item(driver)
    truncate(driver, item_id, 1_000)

    longer = truncate(driver, item_id, 1_001)
    same = truncate(driver, item_id, 1_000)

    assert longer["error"]["message"] == "Audio content of 1000ms is already shorter than 1001ms"
    assert same["type"] == "conversation.item.truncated"


def test_only_audio_of_the_model_can_be_truncated() -> None:
    driver = Driver()
    create(driver, message("one", id="a"))
    create(driver, message("two", role="assistant", id="b"))

    unknown = truncate(driver, "nobody", 0)
    of_user, of_text = truncate(driver, "a", 0), truncate(driver, "b", 0)

    assert unknown["error"]["code"] == "item_truncate_invalid_item_id"
    assert unknown["error"]["message"] == "Item with item_id not found: nobody"
    for answer in (of_user, of_text):
        assert answer["error"]["message"] == "Only model output audio messages can be truncated"


def test_content_index_is_0() -> None:
    driver = Driver()
    item_id, _ = spoken_item(driver)

    assert truncate(driver, item_id, 100, content_index=1)["error"]["param"] == "content_index"
