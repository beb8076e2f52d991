"""Every variable of this service."""

import re
from typing import Final
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from trunkline_common.settings import JetStreamSettings, secrets
from trunkline_gateway.public_url import PublicUrl, is_loopback

SENTENCE_CHARS_MAX: Final = 1_000
"""About a minute of speech; a longer text is the wrong text."""

API_KEY_CHARS_MIN: Final = 16
"""Whoever guesses one places calls on our account."""

_PREFIX: Final = re.compile(r"\+[1-9][0-9]{0,14}")


class GatewaySettings(JetStreamSettings):
    """What `trunkline gateway` reads from the environment."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8080, ge=0, le=65535, description="TCP port to listen on; 0 takes a free one")
    public_url: str = Field(description="the base address as Twilio sees it, https://…")
    twilio_account_sid: str | None = Field(
        None, description="if set, calls of any other Twilio account are refused"
    )
    twilio_auth_token: SecretStr | None = Field(
        None,
        description="Twilio's auth token; several, comma-separated, while rotating. Required unless HOST is loopback",
    )
    twilio_api_key: str | None = Field(
        None,
        description="SID of a Twilio API key for outbound calls; without it the first auth token signs in",
    )
    twilio_api_secret: SecretStr | None = Field(None, description="the secret of TWILIO_API_KEY")
    twilio_api_url: str = Field(
        "https://api.twilio.com", description="Twilio's REST API; another region has another host"
    )
    api_keys: SecretStr | None = Field(
        None,
        description="keys of those who may POST /calls, comma-separated; unset: there are no outbound calls",
    )
    outbound_allowed: str = Field(
        "",
        description="prefixes of the numbers that may be called, comma-separated, such as +1202,+31; unset: none",
    )
    outbound_per_minute: int = Field(
        60, ge=1, le=6_000, description="outbound calls a minute that this process places at most"
    )
    outbound_per_number_per_minute: int = Field(2, ge=1, le=60, description="and to one number")
    calls_per_caller: int = Field(
        0, ge=0, le=1_000, description="live calls that one caller may have, in all gateways; 0 is no limit"
    )
    calls_per_caller_wait_ms: int = Field(
        50, ge=5, le=1_000, description="ms that workers get to say that they have a call of this caller"
    )
    gateway_streams_max: int = Field(
        200, ge=1, le=10_000, description="calls that this process carries at once"
    )
    gateway_drain_s: float = Field(
        60, ge=0, le=3600, description="seconds that calls may go on after SIGTERM before they move elsewhere"
    )
    gateway_full_say: str = Field(
        "All our lines are busy. Please call again in a few minutes. Goodbye.",
        max_length=SENTENCE_CHARS_MAX,
        description="what a caller hears when no worker has room",
    )
    gateway_fallback_say: str = Field(
        "We are sorry, we cannot continue this call. Please call again later. Goodbye.",
        max_length=SENTENCE_CHARS_MAX,
        description="what a caller hears when a call cannot be served",
    )
    gateway_say_language: str = Field(
        "en-US", pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$", description="language of these sentences"
    )

    @field_validator("public_url")
    @classmethod
    def _can_be_called_by_twilio(cls, value: str) -> str:
        return PublicUrl(value).base

    @field_validator("twilio_api_url")
    @classmethod
    def _is_reached_by_tls(cls, value: str) -> str:
        parts = urlsplit(value)
        if (
            parts.scheme not in {"http", "https"}
            or not parts.hostname
            or parts.path.strip("/")
            or parts.query
        ):
            raise ValueError("is no address such as https://api.twilio.com")
        if parts.scheme == "http" and not is_loopback(parts.hostname):
            raise ValueError("must be https: it carries credentials")
        return value.rstrip("/")

    @field_validator("outbound_allowed")
    @classmethod
    def _lists_prefixes(cls, value: str) -> str:
        prefixes = [part.strip() for part in value.split(",") if part.strip()]
        if not all(_PREFIX.fullmatch(prefix) for prefix in prefixes):
            raise ValueError("must be E.164 prefixes such as +1202,+31")
        return ",".join(prefixes)

    @field_validator("api_keys")
    @classmethod
    def _cannot_be_guessed(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and any(len(key) < API_KEY_CHARS_MIN for key in secrets(value)):
            raise ValueError(
                f"holds a key of less than {API_KEY_CHARS_MIN} characters; make one with `openssl rand -hex 32`"
            )
        return value

    @model_validator(mode="after")
    def _can_sign_in_for_outbound_calls(self) -> "GatewaySettings":
        if not self.outbound_keys:
            return self
        if not self.twilio_account_sid:
            raise ValueError(
                "TWILIO_ACCOUNT_SID: is not set, and API_KEYS asks for outbound calls of that account"
            )
        if self.twilio_api_key and not self.twilio_api_secret:
            raise ValueError("TWILIO_API_SECRET: is not set, and TWILIO_API_KEY needs it")
        if not self.twilio_api_key and not self.auth_tokens:
            raise ValueError("TWILIO_AUTH_TOKEN: is not set, and API_KEYS asks for outbound calls")
        return self

    @model_validator(mode="after")
    def _is_not_open_to_everybody(self) -> "GatewaySettings":
        if not self.auth_tokens and not is_loopback(self.host):
            raise ValueError(
                f"TWILIO_AUTH_TOKEN: is not set, and HOST {self.host} can be reached from other machines: "
                "anybody could place calls (Twilio Console, Account info)"
            )
        return self

    @property
    def auth_tokens(self) -> tuple[str, ...]:
        """The auth tokens that may have signed a request; the first one signs what we hand out."""
        return secrets(self.twilio_auth_token) if self.twilio_auth_token else ()

    @property
    def outbound_keys(self) -> tuple[str, ...]:
        """The keys that may place calls; without any there are no outbound calls."""
        return secrets(self.api_keys) if self.api_keys else ()

    @property
    def outbound_prefixes(self) -> tuple[str, ...]:
        """What a destination must begin with."""
        return tuple(prefix for prefix in self.outbound_allowed.split(",") if prefix)

    @property
    def may_use_rest(self) -> bool:
        """Whether there are credentials for Twilio's REST API."""
        has_key = self.twilio_api_key is not None and self.twilio_api_secret is not None
        return bool(self.twilio_account_sid) and (has_key or bool(self.auth_tokens))

    @property
    def rest_credentials(self) -> tuple[str, str]:
        """User and password of Twilio's REST API."""
        if self.twilio_api_key and self.twilio_api_secret:
            return self.twilio_api_key, self.twilio_api_secret.get_secret_value()
        assert self.twilio_account_sid, "checked above, for whoever may ask"
        return self.twilio_account_sid, self.auth_tokens[0]
