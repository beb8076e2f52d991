"""Every variable that `trunkline console` reads."""

import ipaddress
from typing import Final

from pydantic import Field, SecretStr, field_validator, model_validator

from trunkline_transcripts.console.keys import ApiKey, KeysError, read_keys
from trunkline_transcripts.settings import DatabaseSettings

SECRET_CHARS_MIN: Final = 32
_LOOPBACK: Final = frozenset({"localhost"})


class ConsoleSettings(DatabaseSettings):
    """What `trunkline console` reads."""

    console_api_keys: SecretStr | None = Field(
        None,
        description="who may ask, comma-separated or one per line: name:scopes:key, scopes of calls, export, live, "
        "callers joined by +, the key itself or sha256=<hex>; unset: anybody on this machine",
    )
    console_session_secret: SecretStr | None = Field(
        None,
        min_length=SECRET_CHARS_MIN,
        description="signs the sessions of the console's pages, the same in all its processes; unset: a new one at "
        "each start, so that a restart signs everybody out",
    )
    console_requests_per_minute: int = Field(
        600, ge=1, le=100_000, description="requests a minute that one key may make of this process"
    )
    console_listeners_max: int = Field(
        50, ge=1, le=1_000, description="listeners of the live calls that this process serves at once"
    )
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8081, ge=0, le=65535, description="port of the pages, the API, health and metrics")

    @field_validator("console_api_keys")
    @classmethod
    def _can_be_read(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            try:
                read_keys(value.get_secret_value())
            except KeysError as error:
                # The reason never quotes a key.
                raise ValueError(str(error)) from None
        return value

    @model_validator(mode="after")
    def _is_not_open_to_everybody(self) -> "ConsoleSettings":
        if not self.api_keys and not is_loopback(self.host):
            raise ValueError(
                f"CONSOLE_API_KEYS: is not set, and HOST {self.host} can be reached from other machines: "
                "anybody could read what callers said"
            )
        return self

    @property
    def api_keys(self) -> tuple[ApiKey, ...]:
        """The keys; none: nothing is checked."""
        return read_keys(self.console_api_keys.get_secret_value()) if self.console_api_keys else ()

    @property
    def session_secret(self) -> bytes | None:
        """What signs sessions; None: whatever this process draws."""
        secret = self.console_session_secret
        return secret.get_secret_value().encode() if secret else None


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address stays on this machine. A name that only begins like one does not."""
    if host in _LOOPBACK:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
