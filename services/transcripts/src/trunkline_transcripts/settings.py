"""Every variable that the transcripts service and the `migrate` command read."""

from typing import Final

from pydantic import Field, SecretStr, field_validator
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from trunkline_common.settings import CommonSettings, EventLogSettings

DRIVER: Final = "postgresql+asyncpg"
URL_FORM: Final = f"{DRIVER}://user:password@host:5432/database"


CALLER_HASH_KEY_CHARACTERS_MIN: Final = 32
"""Phone numbers are few enough to try them all: only the key keeps a hash from telling its number."""


class DatabaseSettings(CommonSettings):
    """What `trunkline migrate` reads."""

    database_url: SecretStr = Field(description=f"the Postgres that holds the transcripts, as {URL_FORM}")
    caller_hash_key: SecretStr | None = Field(
        None,
        description="secret that turns callers' numbers into hashes, 32 characters at least; without it the database "
        "keeps a random one",
    )

    @field_validator("caller_hash_key")
    @classmethod
    def _cannot_be_guessed(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < CALLER_HASH_KEY_CHARACTERS_MIN:
            raise ValueError(f"must have {CALLER_HASH_KEY_CHARACTERS_MIN} characters at least")
        return value

    @field_validator("database_url")
    @classmethod
    def _is_for_asyncpg(cls, value: SecretStr) -> SecretStr:
        # The reason never quotes the value: it holds a password.
        try:
            url = make_url(value.get_secret_value())
        except (ArgumentError, ValueError):
            raise ValueError("is no database URL") from None
        if url.drivername != DRIVER:
            raise ValueError(f"must begin with {DRIVER}://")
        if not url.database:
            raise ValueError("names no database")
        return value


class TranscriptsSettings(DatabaseSettings, EventLogSettings):
    """What `trunkline transcripts` reads."""

    calls_lost_after_s: float = Field(
        7200,
        ge=3900,
        description="seconds without an event after which a call without an end is closed as `end-unknown`; "
        "one that lives writes an event every 3600 at least",
    )
    host: str = Field("127.0.0.1", description="address of the health and metrics pages")
    metrics_port: int = Field(9102, ge=0, le=65535, description="port of the health and metrics pages")
