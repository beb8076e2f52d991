import pytest
from pydantic import SecretStr
from sqlalchemy.exc import DBAPIError

from trunkline_common.settings import SettingsError, load
from trunkline_transcripts import database
from trunkline_transcripts.database import Trouble
from trunkline_transcripts.settings import DatabaseSettings


class DriverError(Exception):
    """Stands where asyncpg's errors stand: SQLAlchemy wraps the driver's own error twice."""

    def __init__(self, sqlstate: str | None, message: str = "it failed\nDETAIL: secret words") -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


def _wrapped(driver_error: DriverError) -> DBAPIError:
    orig = Exception("wrapped")
    orig.driver_exception = driver_error  # type: ignore[attr-defined]  # as SQLAlchemy's asyncpg dialect does
    return DBAPIError("insert", None, orig)


@pytest.mark.parametrize(
    ("sqlstate", "trouble"),
    [
        ("22003", Trouble.BAD_DATA),  # numeric value out of range
        ("22P02", Trouble.BAD_DATA),  # invalid text representation
        ("23514", Trouble.BAD_DATA),  # check violation
        ("54001", Trouble.BAD_DATA),  # JSON nested deeper than the stack allows
        ("08003", Trouble.UNREACHABLE),
        ("57P01", Trouble.UNREACHABLE),  # the server is shutting down
        ("57P03", Trouble.UNREACHABLE),  # it is starting up
        ("57014", Trouble.TIMEOUT),
        ("25006", Trouble.READ_ONLY),
        ("40001", Trouble.CONFLICT),
        ("40P01", Trouble.CONFLICT),  # deadlock
        ("42P01", Trouble.SCHEMA),  # no such table
        ("42501", Trouble.ACCESS),
        ("28P01", Trouble.ACCESS),
        ("53100", Trouble.FULL),
        ("XX000", Trouble.OTHER),
        (None, Trouble.UNREACHABLE),
    ],
)
def test_only_the_rows_own_fault_is_bad_data(sqlstate: str | None, trouble: Trouble) -> None:
    assert database.trouble(_wrapped(DriverError(sqlstate))) is trouble


def test_a_refused_connection_and_a_silent_server_are_told_apart() -> None:
    assert database.trouble(ConnectionRefusedError()) is Trouble.UNREACHABLE
    assert database.trouble(TimeoutError()) is Trouble.TIMEOUT


def test_a_description_holds_nothing_of_a_row() -> None:
    assert database.describe(_wrapped(DriverError("57P01", "shutting down\nDETAIL: x"))) == "shutting down"
    assert (
        database.describe(_wrapped(DriverError("22003", 'value "my card is 4242"')))
        == "DriverError (SQLSTATE 22003)"
    )


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("postgresql+asyncpg://user:secret@db.example:5433/calls", "db.example:5433/calls"),
        ("postgresql+asyncpg://user@/calls?host=/run/postgresql", "/run/postgresql/calls"),
        ("postgresql+asyncpg://a,b/calls?host=c&host=d", "a,b/calls"),
        ("postgresql+asyncpg:///calls", "localhost/calls"),
    ],
)
def test_the_address_is_told_without_the_password(url: str, address: str) -> None:
    assert database.address(SecretStr(url)) == address


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "DATABASE_URL: is not set"),
        ("secret", "DATABASE_URL: is no database URL"),
        ("postgresql+asyncpg://user:secret@host:port/calls", "DATABASE_URL: is no database URL"),
        ("postgres://user:secret@host/calls", "DATABASE_URL: must begin with postgresql"),
        ("postgresql+asyncpg://user:secret@host", "DATABASE_URL: names no database"),
    ],
)
def test_a_wrong_address_is_named_and_not_quoted(monkeypatch: pytest.MonkeyPatch, url: str, why: str) -> None:
    monkeypatch.setenv("DATABASE_URL", url)

    with pytest.raises(SettingsError, match=why) as raised:
        load(DatabaseSettings)

    assert "secret" not in str(raised.value)
