"""Options that the commands of the simulated Twilio share, and how they are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click

from trunkline_simulators import twilio_conversations
from trunkline_simulators.twilio_callee import Callee

F = TypeVar("F", bound=Callable[..., Any])


def account(command: F) -> F:
    """Add the account and its token."""
    for option in (
        click.option(
            "--account-sid", envvar="TWILIO_ACCOUNT_SID", default="AC" + "0" * 32, show_default=True
        ),
        click.option(
            "--auth-token-file",
            envvar="TWILIO_AUTH_TOKEN_FILE",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="The same from a file.",
        ),
        click.option(
            "--auth-token",
            envvar="TWILIO_AUTH_TOKEN",
            default="",
            help="Signs requests; the first of a list.",
        ),
    ):
        command = option(command)
    return command


def callee(command: F) -> F:
    """Add whoever is called."""
    seconds = click.FloatRange(min=0)
    for option in (
        click.option("--callee-talks", type=seconds, default=1, show_default=True, metavar="SECONDS"),
        click.option("--callee-after", type=seconds, default=1, show_default=True, metavar="SECONDS"),
        click.option(
            "--callee",
            type=click.Choice(["answered", "busy", "no-answer", "failed"]),
            default="answered",
            show_default=True,
            help="What comes of calling somebody, e.g. by <Dial>.",
        ),
    ):
        command = option(command)
    return command


def first_token(auth_token: str, auth_token_file: Path | None) -> str:
    """Return the token that signs."""
    if not auth_token and auth_token_file is not None:
        auth_token = auth_token_file.read_text("utf-8")
    return auth_token.partition(",")[0].strip()


def chosen_callee(options: dict[str, Any], **more: Any) -> Callee:
    """Return what the options of `callee` say."""
    return Callee(
        outcome=options["callee"], after_s=options["callee_after"], talk_s=options["callee_talks"], **more
    )


def url(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    """Read an http or https URL."""
    if value is not None:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise click.BadParameter(f"{value!r} is not an http or https URL")
    return value


def address(_context: click.Context, _option: click.Parameter, value: str | None) -> tuple[str, int] | None:
    """Read HOST:PORT."""
    if value is None:
        return None
    host, _, port = value.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise click.BadParameter(f"{value!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


def conversation(
    _context: click.Context, _option: click.Parameter, value: str
) -> twilio_conversations.Conversation:
    """Read the name of a conversation, or a file that holds one."""
    try:
        return twilio_conversations.conversation(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


conversation_option = click.option(
    "--conversation",
    callback=conversation,
    default="demo",
    show_default=True,
    help=f"{', '.join(twilio_conversations.names())}, or a JSON file.",
)
