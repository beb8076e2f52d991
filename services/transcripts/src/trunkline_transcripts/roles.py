"""The roles `trunkline_writer`, `trunkline_console`, `trunkline_analyst` and `trunkline_admin`: each may do what its people
or programs need.

What a role may not do is a matter of grants: none owns anything. Their settings are there for accidents, not for enemies,
because any session can change its own.

They are looked at whenever `trunkline migrate` runs, because roles belong to the server and tables to a database: a role
may have been made by hand, for another database, or not survived a move.
"""

from typing import Final, NamedTuple

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from trunkline_transcripts import database
from trunkline_transcripts.database import Trouble
from trunkline_transcripts.rows import ROW_TYPES

WRITER: Final = "trunkline_writer"
"""`trunkline transcripts`: it stores, and deletes what has expired."""
CONSOLE: Final = "trunkline_console"
"""`trunkline console`: it reads. Numbers, too, because a key may have the scope `callers`."""
ANALYST: Final = "trunkline_analyst"
"""People and tools that read the views."""
ADMIN: Final = "trunkline_admin"
"""`trunkline transcripts erase` and `retire`: it may also read who called."""

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
"""Everything an analyst may read."""

TABLES: Final = tuple(row_type.table for row_type in ROW_TYPES if row_type.table != "callers")
"""What the writer reads and writes; who called it may write and not read."""
SHOWN: Final = (*(table for table in TABLES if table != "events"), "callers", "turn_words")
"""What the console reads. Everything it tells of a call is in other tables than the events."""
_DEFAULTS: Final = tuple(f"{table}_default" for table in TABLES)


class Grant(NamedTuple):
    """What a role may do with tables, with columns of a table, or with functions."""

    role: str
    privileges: tuple[str, ...]
    objects: tuple[str, ...]
    columns: str = ""
    """In parentheses; empty: all of them."""


SETTINGS: Final = {
    WRITER: {"statement_timeout": "5min", "idle_in_transaction_session_timeout": "60s"},
    CONSOLE: {
        "default_transaction_read_only": "on",
        "statement_timeout": "60s",
        "idle_in_transaction_session_timeout": "60s",
    },
    ANALYST: {
        "default_transaction_read_only": "on",
        "statement_timeout": "30s",
        "idle_in_transaction_session_timeout": "60s",
    },
    ADMIN: {"statement_timeout": "10min", "idle_in_transaction_session_timeout": "60s"},
}
"""By role. Every statement of the service has a shorter limit of its own; this one ends what a lost process left behind."""

GRANTS: Final = (
    Grant(ANALYST, ("select",), VIEWS),
    Grant(CONSOLE, ("select",), (*SHOWN, "alembic_version")),
    Grant(CONSOLE, ("execute",), ("word_trigrams(text)",)),
    Grant(WRITER, ("select", "insert", "update", "delete"), (*TABLES, "dead_letters")),
    # Numbers go in and are deleted, but a writer that was broken into cannot read them.
    Grant(WRITER, ("insert", "delete"), ("callers",)),
    Grant(WRITER, ("select",), ("callers",), "(call_started_at, call_id)"),
    Grant(WRITER, ("select",), ("alembic_version", "caller_hash_key")),
    Grant(WRITER, ("select", "insert"), ("turn_words",)),
    Grant(WRITER, ("select",), _DEFAULTS),
    Grant(WRITER, ("select",), ("callers_default",), "(call_started_at, call_id)"),
    Grant(WRITER, ("execute",), ("make_month(text, date)",)),
    Grant(ADMIN, ("select", "delete"), (*TABLES, "callers", "dead_letters")),
    Grant(ADMIN, ("select",), (*VIEWS, "alembic_version")),
    Grant(ADMIN, ("execute",), ("detach_month(text, date)",)),
)


def by_hand() -> str:
    """Return the SQL that makes the roles, for an administrator of a server where the migrating user may not."""
    return "".join(f"{statement};\n" for role in SETTINGS for statement in _statements(role))


async def ensure(connection: AsyncConnection) -> list[str]:
    """Create the roles that are missing, and grant what they lack; return what was done or could not be."""
    news = []
    for role in SETTINGS:
        if not await connection.scalar(_EXISTS, {"role": role}):
            if not await connection.scalar(_MAY_CREATE):
                news.append(
                    f"the role {role} does not exist and {await _user(connection)} may not create roles: "
                    "docs/privacy.md says how to do it by hand"
                )
                continue
            if await _create(connection, role):
                news.append(f"created the role {role}")
        if granted := await _grant_missing(connection, role):
            news.append(f"{role} has its rights in {', '.join(granted)}")
    await connection.commit()
    return news


async def _grant_missing(connection: AsyncConnection, role: str) -> list[str]:
    """Return the tables, views and functions with a new grant."""
    granted = []
    for _, privileges, objects, columns in (grant for grant in GRANTS if grant.role == role):
        kind = "function" if "execute" in privileges else "column" if columns else "table"
        for privilege in privileges:
            lacking = await connection.scalars(
                _LACKING[kind],
                {"role": role, "objects": list(objects), "privilege": privilege}
                | ({"columns": columns.strip("()").split(", ")} if columns else {}),
            )
            if names := lacking.all():
                on = "function" if kind == "function" else "table"
                await connection.execute(
                    text(f"grant {privilege} {columns} on {on} {', '.join(names)} to {role}")
                )
                granted += [name for name in names if name not in granted]
    if granted:
        schema = await connection.scalar(text("select quote_ident(current_schema())"))
        await connection.execute(text(f"grant usage on schema {schema} to {role}"))
    return granted


async def _create(connection: AsyncConnection, role: str) -> bool:
    """Return whether it was us; a migration of another database may have been first."""
    await connection.commit()
    try:
        for statement in _statements(role):
            await connection.execute(text(statement))
        await connection.commit()
    except DBAPIError as error:
        await connection.rollback()
        if database.trouble(error) is Trouble.ACCESS or not await connection.scalar(_EXISTS, {"role": role}):
            raise
        return False
    return True


def _statements(role: str) -> list[str]:
    # Without a password nobody can log in where one is asked for; setting it is up to the administrator.
    settings = SETTINGS[role].items()
    return [
        f"create role {role} login",
        *(f"alter role {role} set {name} = {_literal(value)}" for name, value in settings),
    ]


def _literal(value: str) -> str:
    return value if value in {"on", "off"} else f"'{value}'"


async def _user(connection: AsyncConnection) -> str:
    return str(await connection.scalar(text("select current_user")))


_EXISTS: Final = text("select exists (select from pg_roles where rolname = :role)")
_MAY_CREATE: Final = text("select rolsuper or rolcreaterole from pg_roles where rolname = current_user")
_OBJECTS: Final = "select name from unnest(cast(:objects as text[])) as name where"
_LACKING: Final = {
    "table": text(
        f"{_OBJECTS} not has_table_privilege(cast(:role as name), name, cast(:privilege as text)) order by name"
    ),
    "column": text(f"""
        {_OBJECTS} exists (
            select from unnest(cast(:columns as text[])) as attribute
            where not has_column_privilege(cast(:role as name), name, attribute, cast(:privilege as text))
        )
        order by name
    """),
    "function": text(
        f"{_OBJECTS} not has_function_privilege(cast(:role as name), name, cast(:privilege as text)) order by name"
    ),
}
