"""Every variable of this service."""

from typing import Final

from pydantic import Field, SecretStr, field_validator, model_validator

from trunkline_common.settings import CommonSettings, secrets
from trunkline_gateway.public_url import PublicUrl, is_loopback

SENTENCE_CHARS_MAX: Final = 1_000
"""About a minute of speech; a longer text is the wrong text."""


class GatewaySettings(CommonSettings):
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
