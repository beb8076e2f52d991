"""Checks X-Twilio-Signature on webhooks and on the websocket upgrade, over `PUBLIC_URL` and never over Host.

Everything that cannot be checked is refused. Without an auth token (a gateway on loopback only) everything is
accepted; the service says so at each start.
"""

import hmac
from typing import Final

from starlette.datastructures import FormData, ImmutableMultiDict
from twilio.request_validator import (  # type: ignore[import-untyped]  # twilio ships no types
    HMAC_SHA1,
    HMAC_SHA256,
    RequestValidator,
    get_signature_algorithm,
)

from trunkline_common import log
from trunkline_gateway.public_url import PublicUrl
from trunkline_gateway.reasons import Rejection

SIGNATURE_HEADER: Final = "x-twilio-signature"
ALGORITHM_HEADER: Final = "x-twilio-webhooks-signature-settings"
"""Sent when a webhook is signed with a shared key instead of the auth token (Twilio: Webhook Shared Keys)."""

SIGNATURE_CHARS_MAX: Final = 128
"""Base64 of SHA-1 takes 28 characters, of SHA-256 44."""

_SIGNED_LATER: Final = frozenset({"CallToken", "StirVerstat"})
"""Fields that Twilio is said to add after signing. The documentation says that all fields are signed, so they
are left out in a second try only; nothing here reads them."""

_log = log.get(__name__)


class SignatureVerifier:
    """Knows the address that Twilio was given and the auth tokens that may have signed."""

    def __init__(self, public_url: PublicUrl, auth_tokens: tuple[str, ...]) -> None:
        self._public_url = public_url
        self._validators = [RequestValidator(auth_token) for auth_token in auth_tokens]

    @property
    def checks(self) -> bool:
        """False when there is no auth token, so that every request is accepted."""
        return bool(self._validators)

    def webhook(
        self, path: str, query: str, form: FormData, signature: str | None, algorithm_settings: str | None
    ) -> Rejection | None:
        """Return why a POST is refused, or None when Twilio signed it (Twilio: Webhooks Security)."""
        if not self.checks:
            return None
        if not signature:
            return Rejection.MISSING_SIGNATURE
        algorithm = get_signature_algorithm(algorithm_settings).upper()
        fields = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
        if (
            algorithm not in {HMAC_SHA1, HMAC_SHA256}
            or len(fields) != len(form.multi_items())
            or not _is_plausible(signature)
        ):
            return Rejection.BAD_SIGNATURE
        url = self._public_url.http(path, query)
        if self._is_signed(url, fields, signature, algorithm):
            return None
        fewer = [(name, value) for name, value in fields if name not in _SIGNED_LATER]
        if len(fewer) < len(fields) and self._is_signed(url, fewer, signature, algorithm):
            _log.info("signature-without-late-fields", fields=sorted(_SIGNED_LATER))
            return None
        return Rejection.BAD_SIGNATURE

    def websocket(self, signature: str | None) -> Rejection | None:
        """Return why an upgrade is refused, or None when Twilio signed the stream's address."""
        if not self.checks:
            return None
        if not signature:
            return Rejection.MISSING_SIGNATURE
        if not _is_plausible(signature):
            return Rejection.BAD_SIGNATURE
        # Not `validate`: for wss it would try port 80 instead of 443.
        expected = [
            validator.compute_signature(url, {})
            for validator in self._validators
            for url in self._public_url.stream_variants()
        ]
        if not any(hmac.compare_digest(candidate, signature) for candidate in expected):
            return Rejection.BAD_SIGNATURE
        return None

    def _is_signed(self, url: str, fields: list[tuple[str, str]], signature: str, algorithm: str) -> bool:
        form = ImmutableMultiDict(fields)
        return any(validator.validate(url, form, signature, algorithm) for validator in self._validators)


def _is_plausible(signature: str) -> bool:
    return len(signature) <= SIGNATURE_CHARS_MAX and signature.isascii()
