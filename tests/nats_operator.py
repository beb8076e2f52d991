"""An operator of NATS accounts, as far as a test of credentials files needs one (NATS: JWT Authentication)."""

import base64
import json
import os
from dataclasses import dataclass
from typing import Any, Self

import nkeys  # type: ignore[import-untyped]  # ships no types

_UNLIMITED = dict.fromkeys(["subs", "data", "payload"], -1)
_UNLIMITED_ACCOUNT = _UNLIMITED | dict.fromkeys(["imports", "exports", "conn", "leaf"], -1)


@dataclass(frozen=True)
class User:
    """The only user of the only account of an operator of its own."""

    server_settings: str
    """For the configuration of a server that trusts this operator."""
    credentials: str
    """What the user's credentials file holds."""
    seed: str

    @classmethod
    def new(cls) -> Self:
        """Make a user with keys that nobody else has."""
        operator = _keys(nkeys.PREFIX_BYTE_OPERATOR)
        account = _keys(nkeys.PREFIX_BYTE_ACCOUNT)
        user = _keys(nkeys.PREFIX_BYTE_USER)
        account_jwt = _jwt("account", account, operator, limits=_UNLIMITED_ACCOUNT)
        user_jwt = _jwt("user", user, account, **_UNLIMITED)
        seed = user.seed.decode()
        return cls(
            server_settings="\n".join(
                [
                    "jetstream: disabled",  # it would need a system account
                    f"operator: {_jwt('operator', operator, operator)}",
                    "resolver: MEMORY",
                    f"resolver_preload: {{ {account.public_key.decode()}: {account_jwt} }}",
                ]
            ),
            credentials="\n".join(
                [
                    "-----BEGIN NATS USER JWT-----",
                    user_jwt,
                    "------END NATS USER JWT------",
                    "-----BEGIN USER NKEY SEED-----",
                    seed,
                    "------END USER NKEY SEED------",
                    "",
                ]
            ),
            seed=seed,
        )


def _keys(prefix: int) -> Any:
    return nkeys.from_seed(nkeys.encode_seed(os.urandom(32), prefix))


def _jwt(kind: str, subject: Any, issuer: Any, **claims: Any) -> str:
    header = {"typ": "JWT", "alg": "ed25519-nkey"}
    body = {
        "jti": kind,
        "iat": 1_700_000_000,
        "iss": issuer.public_key.decode(),
        "name": kind,
        "sub": subject.public_key.decode(),
        "nats": {"type": kind, "version": 2, **claims},
    }
    signed = f"{_base64(json.dumps(header).encode())}.{_base64(json.dumps(body).encode())}"
    return f"{signed}.{_base64(issuer.sign(signed.encode()))}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
