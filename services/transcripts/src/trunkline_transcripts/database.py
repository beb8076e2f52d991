"""The connection to Postgres: how long a step may take, and whose fault an error is.

An error's own text may quote a row, and a row holds what people said. Only `describe` goes to a log.
"""

import socket
from enum import StrEnum
from typing import Any, Final

from pydantic import SecretStr
from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

CONNECT_TIMEOUT_S: Final = 5
"""A server that takes longer than this to say hello is as good as gone."""

ERRORS: Final = (DBAPIError, OSError)
"""What Postgres and the way to it may raise. A connection that is refused or times out is an `OSError`."""


class Trouble(StrEnum):
    """Why a transaction failed. Only `BAD_DATA` is the rows' own fault; everything else is worth a retry."""

    BAD_DATA = "bad-data"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    ACCESS = "access"
    """The password, the user, the database or its permissions."""
    SCHEMA = "schema"
    """The tables are not the ones that this version needs."""
    CONFLICT = "conflict"
    """A deadlock or a serialization failure: somebody else was first."""
    READ_ONLY = "read-only"
    """A replica: probably the primary moved."""
    FULL = "full"
    """Disk, memory or connections are used up."""
    OTHER = "other"


_TROUBLE_OF_SQLSTATE: Final = {
    # (PostgreSQL: Appendix A, PostgreSQL Error Codes.) The longest prefix counts.
    "08": Trouble.UNREACHABLE,
    "22": Trouble.BAD_DATA,
    "23": Trouble.BAD_DATA,
    "25006": Trouble.READ_ONLY,
    "28": Trouble.ACCESS,
    "3D": Trouble.ACCESS,
    "3F": Trouble.SCHEMA,
    "40": Trouble.CONFLICT,
    "42": Trouble.SCHEMA,
    "42501": Trouble.ACCESS,
    "53": Trouble.FULL,
    # "Program limit exceeded": JSON nested too deep for its stack, a key too long for its index.
    "54": Trouble.BAD_DATA,
    "55P03": Trouble.CONFLICT,
    "57": Trouble.UNREACHABLE,
    "57014": Trouble.TIMEOUT,
    "58030": Trouble.FULL,
}


def connect(url: SecretStr) -> AsyncEngine:
    """Return an engine that keeps one connection; nothing is opened yet."""
    return create_async_engine(
        url.get_secret_value(),
        pool_size=1,
        max_overflow=0,
        hide_parameters=True,
        connect_args={
            "timeout": CONNECT_TIMEOUT_S,
            "server_settings": {"application_name": "trunkline-transcripts"},
        },
    )


def address(url: SecretStr) -> str:
    """Return `host:port/database`, which may be logged."""
    parsed = make_url(url.get_secret_value())
    host = parsed.host or parsed.query.get("host") or "localhost"
    if not isinstance(host, str):
        host = ",".join(host)
    port = f":{parsed.port}" if parsed.port else ""
    return f"{host}{port}/{parsed.database}"


def trouble(error: Exception) -> Trouble:
    """Return what kind of trouble one of `ERRORS` means."""
    if isinstance(error, TimeoutError):
        return Trouble.TIMEOUT
    if isinstance(error, OSError):
        return Trouble.UNREACHABLE
    sqlstate = _sqlstate(error)
    if sqlstate is None:
        # The driver says so itself, without the server: the connection broke.
        return Trouble.UNREACHABLE
    for length in (5, 2):
        if found := _TROUBLE_OF_SQLSTATE.get(sqlstate[:length]):
            return found
    return Trouble.OTHER


def describe(error: Exception) -> str:
    """Return one line about the error for a log: free of anything that a row held."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, socket.gaierror):
        return "the host's name cannot be resolved"
    if isinstance(error, OSError):
        return error.strerror or "the connection was closed"
    driver_error = _driver_error(error)
    if driver_error is None:
        return type(error).__name__
    if trouble(error) is Trouble.BAD_DATA:
        return f"{type(driver_error).__name__} (SQLSTATE {_sqlstate(error)})"
    return str(driver_error).splitlines()[0]


def _driver_error(error: Exception) -> Any:
    return getattr(getattr(error, "orig", None), "driver_exception", None)


def _sqlstate(error: Exception) -> str | None:
    sqlstate = getattr(_driver_error(error), "sqlstate", None)
    return sqlstate if isinstance(sqlstate, str) else None
