"""Logs: JSON lines on standard error (or colours on a terminal), each with its call, none with a secret.

Levels: debug, a branch was taken; info, a call started or ended, a service changed state; warning, somebody
should look today; error, something is broken and a person is needed now. Nothing is logged per frame.

Values are fields, never formatted into the text. Secrets, phone numbers and what people said do not belong
in a log at all; the scrubber here is the net below, not the first line of defence.
"""

import logging
import re
import sys
from typing import Any, Final

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_PRIVATE_NAMES: Final = (
    "api_key", "arguments", "auth_token", "authorization", "caller", "called", "caller_number", "creds",
    "digit", "digits", "from_number", "instructions", "password", "payload", "secret", "signature",
    "text", "to_number", "token", "transcript",
)  # fmt: skip

_PRIVATE_KEY: Final = re.compile(rf"(?i)(?:.*[_-])?(?:{'|'.join(_PRIVATE_NAMES)})")
"""A private name, alone or at the end: `token`, `OPENAI_API_KEY`, `heard_text`, `X-Twilio-Signature`."""

_IPV4: Final = r"\d{1,3}(?:\.\d{1,3}){3}(?!\.?\d)"
_NAMED_IN_TEXT: Final = "token|password|secret|api[_-]?key|signature"

_PRIVATE_TEXT: Final = (
    (re.compile(r"\bsk-[A-Za-z0-9_-]{8,}"), "[key]"),
    (re.compile(r"\bS[ACNOU][A-Z2-7]{56}\b"), "[key]"),  # a NATS seed
    (re.compile(r"\beyJ[\w-]+\.[\w-]+(?:\.[\w-]+)?"), "[token]"),  # a JWT
    (re.compile(r"(?i)\bbearer\s+[A-Za-z0-9._~+/=-]+"), "[bearer]"),
    (re.compile(rf"(?i)\b((?:\w*[_-])?(?:{_NAMED_IN_TEXT})=)[^\s&\"']+"), r"\1[redacted]"),
    (re.compile(r"://[^/?#\s]*@"), "://[credentials]@"),
    (
        re.compile(
            rf"(?<![0-9A-Za-z._-])(?!{_IPV4})(?:\+|%2B)?[0-9][0-9 ().-]{{7,18}}[0-9](?![0-9A-Za-z_-])"
        ),
        "[number]",
    ),
)

get: Final = structlog.stdlib.get_logger
"""Return a logger: `log = get(__name__)`, then `log.info("call-started", profile="desk")`."""


def bind_call(call_id: str) -> None:
    """Put `call_id` on every line that the current task logs from here on."""
    structlog.contextvars.bind_contextvars(call_id=call_id)


def configure(service: str, level: str) -> None:
    """Send this process's logs, the libraries' included, through one scrubbed stream on standard error."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _name_service(service),
                structlog.processors.format_exc_info,
                scrub,
                structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
                if sys.stderr.isatty()
                else structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for chatty in ("websockets", "nats", "uvicorn", "alembic.runtime.plugins", "httpx", "httpcore"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))


def _name_service(service: str) -> Processor:
    def add(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
        line["service"] = service
        return line

    return add


def scrub(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """Replace what must not be read in a log: private keys' values, keys, tokens and phone numbers."""
    return {key: _clean(key, value) for key, value in line.items()}


def _clean(key: str, value: Any) -> Any:
    if _PRIVATE_KEY.fullmatch(key):
        return "[redacted]"
    if value is None or isinstance(value, bool | int | float) or key == "timestamp":
        return value
    if isinstance(value, dict):
        return {_clean_text(str(inner)): _clean(str(inner), content) for inner, content in value.items()}
    if isinstance(value, list | tuple):
        return [_clean("", content) for content in value]
    # What is neither text nor a container is rendered as its `repr`, which may hold anything.
    return _clean_text(value if isinstance(value, str) else repr(value))


def _clean_text(text: str) -> str:
    for pattern, replacement in _PRIVATE_TEXT:
        text = pattern.sub(replacement, text)
    return text
