"""The role `trunkline_analyst`: reads the views and nothing else.

What it may not do is a matter of grants: it owns nothing and may select from the views below. Its settings are there
for accidents, not for enemies, because any session can change its own.

It is looked at whenever `trunkline migrate` runs, because roles belong to the server and views to a database: the
role may have been made by hand, for another database, or not survived a move.
"""

from typing import Final

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from trunkline_transcripts import database
from trunkline_transcripts.database import Trouble

ROLE: Final = "trunkline_analyst"
VIEWS: Final = (
    "call_owners",
    "call_summary",
    "conversation",
    "daily_usage",
    "interruptions",
    "model_connections",
    "tool_usage",
    "transfer_attempts",
    "turn_latency",
)
"""Everything it may read."""

CREATE: Final = (
    # Without a password nobody can log in where one is asked for; setting it is up to the administrator.
    f"create role {ROLE} login",
    f"alter role {ROLE} set default_transaction_read_only = on",
    f"alter role {ROLE} set statement_timeout = '30s'",
    f"alter role {ROLE} set idle_in_transaction_session_timeout = '60s'",
)


async def ensure(connection: AsyncConnection) -> list[str]:
    """Create the role if it is missing, and let it read the views; return what was done or could not be."""
    news = []
    if not await connection.scalar(_EXISTS, {"role": ROLE}):
        if not await connection.scalar(_MAY_CREATE):
            await connection.commit()
            return [
                f"the role {ROLE} does not exist and {await _user(connection)} may not create roles: "
                "docs/analysts.md says how to do it by hand"
            ]
        if await _create(connection):
            news.append(f"created the role {ROLE}")
    unreadable = await connection.scalars(_UNREADABLE, {"role": ROLE, "views": list(VIEWS)})
    if views := unreadable.all():
        schema = await connection.scalar(text("select quote_ident(current_schema())"))
        await connection.execute(text(f"grant usage on schema {schema} to {ROLE}"))
        await connection.execute(text(f"grant select on {', '.join(views)} to {ROLE}"))
        news.append(f"{ROLE} may read {', '.join(views)}")
    await connection.commit()
    return news


async def _create(connection: AsyncConnection) -> bool:
    """Return whether it was us; a migration of another database may have been first."""
    try:
        for statement in CREATE:
            await connection.execute(text(statement))
        await connection.commit()
    except DBAPIError as error:
        await connection.rollback()
        if database.trouble(error) is Trouble.ACCESS or not await connection.scalar(_EXISTS, {"role": ROLE}):
            raise
        return False
    return True


async def _user(connection: AsyncConnection) -> str:
    user = await connection.scalar(text("select current_user"))
    await connection.commit()
    return str(user)


_EXISTS: Final = text("select exists (select from pg_roles where rolname = :role)")
_MAY_CREATE: Final = text("select rolsuper or rolcreaterole from pg_roles where rolname = current_user")
_UNREADABLE: Final = text("""
    select name
    from unnest(cast(:views as text[])) as name
    where not has_table_privilege(cast(:role as name), name, 'select')
    order by name
""")
