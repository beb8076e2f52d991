"""Where the key of the callers' hashes comes from, and that it stays the same one.

It is the setting `CALLER_HASH_KEY`, or, where there is none, a random one that `trunkline migrate` makes once and keeps in
the table `caller_hash_key`, which only the writer may read. Either way the table holds a check value: two keys in one
database would make two callers of one.
"""

import asyncio
import hmac
import secrets
from typing import Final

from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from trunkline_common import log
from trunkline_common.service import Life
from trunkline_transcripts import database
from trunkline_transcripts.caller_hash import CallerKey

KEY_BYTES: Final = 32

CHECK_INTERVAL_S: Final = 1
CHECK_TIMEOUT_S: Final = 10

_log = log.get(__name__)


class CallerKeyError(Exception):
    """There is no key, or another one than the database's; the text says what a person should do."""


async def ensure(connection: AsyncConnection, setting: SecretStr | None) -> tuple[CallerKey, list[str]]:
    """Return the database's key, made if there was none, and what was done; commits. Raises `CallerKeyError`."""
    if await connection.scalar(_IS_THERE):
        key = await load(connection, setting)
        await connection.commit()
        return key, []
    kept = None if setting is not None else secrets.token_bytes(KEY_BYTES)
    key = CallerKey(kept) if kept is not None else _key_of(setting)
    await connection.execute(_KEEP, {"key": kept, "check_value": key.check_value})
    await connection.commit()
    return key, ["made a random key for callers' hashes" if kept else "callers are hashed by CALLER_HASH_KEY"]


async def load(connection: AsyncConnection, setting: SecretStr | None) -> CallerKey:
    """Return the key; raise `CallerKeyError` when it is missing, or not the one that the database's callers have."""
    found = (await connection.execute(_LOAD)).one_or_none()
    if found is None:
        raise CallerKeyError("the database has no key for callers' hashes: run `trunkline migrate`")
    if setting is None and found.key is None:
        raise CallerKeyError("CALLER_HASH_KEY is not set, and the database's callers are hashed by one")
    key = _key_of(setting) if setting is not None else CallerKey(found.key)
    if not hmac.compare_digest(key.check_value, found.check_value):
        raise CallerKeyError("CALLER_HASH_KEY is not the key by which the database's callers are hashed")
    return key


async def wait(engine: AsyncEngine, setting: SecretStr | None, life: Life) -> CallerKey:
    """Return the key once it can be read and is the right one; meanwhile `life` tells why the service is not ready."""
    told = ""
    while True:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S), engine.connect() as connection:
                key = await load(connection, setting)
        except CallerKeyError as error:
            why = str(error)
        except database.ERRORS as error:
            await engine.dispose()
            why = f"cannot read the key for callers' hashes: {database.describe(error)}"
        else:
            life.resolved("caller-key")
            return key
        life.waiting("caller-key", why)
        if why != told:
            _log.warning("store-waiting", why=why, retry_s=CHECK_INTERVAL_S)
            told = why
        await asyncio.sleep(CHECK_INTERVAL_S)


def _key_of(setting: SecretStr | None) -> CallerKey:
    assert setting is not None, "the caller has looked"
    return CallerKey(setting.get_secret_value().encode())


_IS_THERE: Final = text("select exists (select from caller_hash_key)")
_LOAD: Final = text("select key, check_value from caller_hash_key")
_KEEP: Final = text("insert into caller_hash_key (key, check_value) values (:key, :check_value)")
