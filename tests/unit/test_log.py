import asyncio
import io
import json
import logging
import sys
from collections.abc import Callable
from typing import Any

import pytest

from trunkline_common import log

CALL_SID = "CA0123456789abcdef0123456789abcdef"

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Lines:
    """What a process configured like a service has logged."""
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    # structlog's formatter copies records, which the suite's guard against error logs cannot read.
    logging.setLogRecordFactory(logging.LogRecord)
    log.configure("gateway", "debug")
    return lambda: [json.loads(line) for line in written.getvalue().splitlines()]


def scrubbed(value: object, key: str = "note") -> Any:
    return log.scrub(None, "info", {key: value})[key]


class TestALine:
    def test_is_json_with_the_service_the_level_and_the_fields(self, lines: Lines) -> None:
        log.get("some.module").info("call-started", profile="desk", seconds=1.5)

        (line,) = lines()

        assert line.pop("timestamp").endswith("Z")
        assert line == {
            "event": "call-started",
            "level": "info",
            "logger": "some.module",
            "profile": "desk",
            "seconds": 1.5,
            "service": "gateway",
        }

    def test_below_the_level_nothing_is_written(self, lines: Lines) -> None:
        log.configure("gateway", "warning")

        log.get("some.module").info("quiet")

        assert lines() == []

    def test_on_a_terminal_is_for_people(self, monkeypatch: pytest.MonkeyPatch, lines: Lines) -> None:
        assert lines() == []
        written = io.StringIO()
        monkeypatch.setattr(written, "isatty", lambda: True)
        monkeypatch.setattr(sys, "stderr", written)
        log.configure("gateway", "debug")
        try:
            raise ValueError("from +15550100123")
        except ValueError:
            log.get("some.module").warning("call-refused", exc_info=True)

        assert "call-refused" in written.getvalue()
        assert "ValueError: from [number]" in written.getvalue()
        assert "5550100" not in written.getvalue()

    def test_values_that_json_does_not_know_are_shown_as_python_does(self, lines: Lines) -> None:
        log.get("some.module").info("odd", path=ValueError("broken"), parts={"a"}, nothing=None)

        (line,) = lines()

        assert (line["path"], line["parts"], line["nothing"]) == ("ValueError('broken')", "{'a'}", None)


class TestCallId:
    async def test_is_on_every_line_of_the_task_that_carries_the_call(self, lines: Lines) -> None:
        logger = log.get("some.module")

        async def carry(call_id: str) -> None:
            log.bind_call(call_id)
            await asyncio.gather(asyncio.to_thread(logger.info, "in-a-thread"), inner())

        async def inner() -> None:
            logging.getLogger("a.library").warning("from a library")

        await asyncio.gather(carry("CA1"), carry("CA2"))
        logger.info("outside")

        said = [(line["event"], line.get("call_id")) for line in lines()]
        assert sorted(said, key=str) == [
            ("from a library", "CA1"),
            ("from a library", "CA2"),
            ("in-a-thread", "CA1"),
            ("in-a-thread", "CA2"),
            ("outside", None),
        ]

    def test_survives_the_scrubber(self, lines: Lines) -> None:
        log.get("some.module").info(
            "call-started",
            call_id=CALL_SID,
            stream_sid="MZ18ad3ab5a668481ce02b83e7395059f0",
            message_id=f"{CALL_SID}-1.2-7",
            trace="4bf92f3577b34da6a3ce929d0e0e4736",
            worker="wk-host-20261122-1a2b3c",
            uuid="550e8400-e29b-41d4-a716-446655440000",
            subject=f"rt.v1.w.wk-1.c.{CALL_SID}.up",
        )

        (line,) = lines()

        assert not {"[number]", "[key]", "[redacted]"} & set(line.values())
        assert line["subject"] == f"rt.v1.w.wk-1.c.{CALL_SID}.up"


class TestLibraries:
    def test_log_through_the_same_stream(self, lines: Lines) -> None:
        logging.getLogger("asyncpg.pool").warning("caller %s, key %s", "+15550100123", "sk-canary-0123456789")

        (line,) = lines()

        assert line["event"] == "caller [number], key [key]"
        assert (line["level"], line["logger"], line["service"]) == ("warning", "asyncpg.pool", "gateway")

    def test_a_traceback_is_scrubbed_too(self, lines: Lines) -> None:
        try:
            raise ValueError("no route to +1 (555) 010-0123 with Bearer abc.def")
        except ValueError:
            logging.getLogger("a.library").exception("it broke")

        (line,) = lines()

        assert "Traceback" in line["exception"]
        assert "ValueError: no route to [number] with [bearer]" in line["exception"]

    @pytest.mark.parametrize("library", ["nats", "websockets.server", "uvicorn.error", "httpx"])
    def test_the_chatty_ones_only_warn(self, lines: Lines, library: str) -> None:
        logging.getLogger(library).info("chat")
        logging.getLogger(library).warning("trouble")

        assert [line["event"] for line in lines()] == ["trouble"]

    def test_nor_do_they_warn_when_only_errors_are_wanted(self, lines: Lines) -> None:
        log.configure("gateway", "error")

        logging.getLogger("websockets.server").warning("trouble")

        assert lines() == []


class TestScrubbingKeys:
    @pytest.mark.parametrize(
        "key",
        ["token", "Authorization", "auth_token", "OPENAI_API_KEY", "X-Twilio-Signature", "caller", "called"],
    )
    def test_secrets_and_numbers_are_not_logged_whatever_they_look_like(self, key: str) -> None:
        assert scrubbed("anything", key) == "[redacted]"
        assert scrubbed(12345, key) == "[redacted]"
        assert scrubbed(["a", "b"], key) == "[redacted]"

    @pytest.mark.parametrize("key", ["text", "heard_text", "generated_text", "transcript", "instructions"])
    def test_nor_what_people_said(self, key: str) -> None:
        assert scrubbed("I would like to see the dentist", key) == "[redacted]"

    @pytest.mark.parametrize("key", ["context", "tokens", "input_tokens", "callers", "signatures_checked"])
    def test_words_that_only_contain_a_private_one_stay(self, key: str) -> None:
        assert scrubbed(7, key) == 7

    def test_however_deep_they_lie(self) -> None:
        start = {"customParameters": [{"token": "t", "note": "+15550100123", "n": 2}], "tracks": ("inbound",)}

        assert scrubbed(start) == {
            "customParameters": [{"token": "[redacted]", "note": "[number]", "n": 2}],
            "tracks": ["inbound"],
        }

    def test_numbers_used_as_keys_are_scrubbed(self) -> None:
        assert scrubbed({"+15550100123": 3}) == {"[number]": 3}

    def test_so_are_objects_and_bytes(self) -> None:
        assert scrubbed(ValueError("from +15550100123")) == "ValueError('from [number]')"
        assert scrubbed(b"from +15550100123") == "b'from [number]'"


class TestScrubbingText:
    @pytest.mark.parametrize(
        "number",
        [
            "+15550100123",
            "15550100123",
            "+1 555 010 0123",
            "+1 (555) 010-0123",
            "555-010-0123",
            "555.010.0123",
            "+49 30 901820",
            "+4712345678",
            "%2B15550100123",
            "4111 1111 1111 1111",
        ],
    )
    @pytest.mark.parametrize(
        "around", ["{}", "from {}.", "caller={}&x=1", '{{"From":"{}"}}', "sip:{}@example"]
    )
    def test_phone_and_card_numbers(self, number: str, around: str) -> None:
        text = scrubbed(around.format(number))

        assert "[number]" in text
        assert not any(part in text for part in ("010", "901820", "345678", "1111"))

    @pytest.mark.parametrize(
        ("text", "written"),
        [
            ("key sk-proj-abc_DEF-123456 refused", "key [key] refused"),
            ("Authorization: Bearer abc.def-ghi=", "Authorization: [bearer]"),
            ("bearer  x", "[bearer]"),
            ("postgresql+asyncpg://user:pa55@db:5432/x", "postgresql+asyncpg://[credentials]@db:5432/x"),
            ("nats://token@bus:4222", "nats://[credentials]@bus:4222"),
            ("nats://u:p@a:4222,nats://u:p@b", "nats://[credentials]@a:4222,nats://[credentials]@b"),
            ("nats://u:p@ss@a", "nats://[credentials]@a"),
            (
                "wss://api.example/v1?model=m&api_key=abc&v=1",
                "wss://api.example/v1?model=m&api_key=[redacted]&v=1",
            ),
            ("GET /x?access_token=abc", "GET /x?access_token=[redacted]"),
            (f"seed SU{'A' * 56}", "seed [key]"),
            ("jwt eyJhbGci.eyJqdGki.c2ln-_x!", "jwt [token]!"),
        ],
    )
    def test_credentials(self, text: str, written: str) -> None:
        assert scrubbed(text) == written

    @pytest.mark.parametrize(
        "text",
        [
            "127.0.0.1:8080",
            "cannot reach nats://192.168.100.200:4222.",
            "stopped at 10.20.30.40.",
            "https://example.com/a@b",
            "2 of 1000 calls in 1200 ms",
            "version 1.30.0",
            "risk-free",
            "a token is missing",
            "2026-11-22T16:38:12.123456Z",
            CALL_SID,
            f"{CALL_SID} ended",
            "wk-host-01-1a2b3c",
            "resp_0123456789012",
        ],
    )
    def test_addresses_times_and_ids_stay_readable(self, text: str) -> None:
        assert scrubbed(text) == text

    def test_the_event_itself_is_scrubbed(self, lines: Lines) -> None:
        log.get("some.module").warning("call from +15550100123 refused")

        assert lines()[0]["event"] == "call from [number] refused"

    @pytest.mark.parametrize("part", ["a", "1 ", "a_", "://", "eyJ", "eyJa.", "+", "token=", "1.1.1.1."])
    def test_no_text_takes_long(self, part: str) -> None:
        """A quadratic expression would meet the time limit of all tests."""
        scrubbed(part * (300_000 // len(part)))
