"""The transcripts service while Postgres refuses in every way it knows, and while NATS dies: nothing is lost.

Each fault is caused in the real server, by another session, and lasts until the service has said what it waits for.
"""

import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import NamedTuple

import asyncpg
import event_logs
import nats.js.errors
import pytest
from conftest import ErrorLogs
from transcripts_world import Service, World, client_of, load_on, until

from trunkline_local.nats_server import NatsServer

_role_numbers = itertools.count(1)


class Database(NamedTuple):
    """A session of an administrator, and what the service logs in as."""

    administrator: asyncpg.Connection
    name: str
    url: str
    role: str
    """No superuser: those are exempt from some of the limits."""

    async def set(self, setting: str) -> None:
        """Set it for every session that begins from now on, and end those that there are, as a failover would."""
        await self.administrator.execute(f"alter database {self.name} set {setting}")
        await self.disconnect()

    async def reset(self) -> None:
        await self.administrator.execute(f"alter database {self.name} reset all")
        await self.disconnect()

    async def disconnect(self) -> None:
        await self.administrator.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where usename = $1", self.role
        )


@pytest.fixture
async def database(migrated_database_url: str) -> AsyncIterator[Database]:
    administrator = await asyncpg.connect(migrated_database_url.replace("+asyncpg", ""))
    name = await administrator.fetchval("select current_database()")
    role = f"store_{name}_{next(_role_numbers)}"
    await administrator.execute(f"create role {role} login in role pg_read_all_data, pg_write_all_data")
    yield Database(administrator, name, migrated_database_url.replace("postgres@", f"{role}@"), role)
    await administrator.execute(
        f"select pg_terminate_backend(pid) from pg_stat_activity where usename = '{role}'"
    )
    await administrator.execute(f"drop role {role}")
    await administrator.close()


@pytest.fixture
async def world(nats_server: NatsServer, database: Database, tmp_path: Path) -> AsyncIterator[World]:
    async with client_of(nats_server) as client:
        yield World(tmp_path, nats_server.url, client, database.url)


@contextlib.asynccontextmanager
async def read_only(database: Database) -> AsyncIterator[None]:
    await database.set("default_transaction_read_only = on")
    yield
    await database.administrator.execute("set default_transaction_read_only = off")
    await database.reset()


@contextlib.asynccontextmanager
async def no_connection_left(database: Database) -> AsyncIterator[None]:
    await database.administrator.execute(f"alter role {database.role} connection limit 0")
    await database.disconnect()
    yield
    await database.administrator.execute(f"alter role {database.role} connection limit -1")


def refusing(sqlstate: str) -> Callable[[Database], AbstractAsyncContextManager[None]]:
    """Return the fault of a server that refuses to insert, with this SQLSTATE."""

    @contextlib.asynccontextmanager
    async def fault(database: Database) -> AsyncIterator[None]:
        await database.administrator.execute(f"""
            create function refuse() returns trigger language plpgsql as $$
            begin
                raise exception 'refused' using errcode = '{sqlstate}';
            end $$;
            create trigger refusal before insert on events for each statement execute function refuse();
        """)
        yield
        await database.administrator.execute("drop trigger refusal on events; drop function refuse()")

    return fault


def table_locked_beyond(timeout: str) -> Callable[[Database], AbstractAsyncContextManager[None]]:
    """Return the fault of somebody who keeps a table locked, where sessions have this timeout."""

    @contextlib.asynccontextmanager
    async def fault(database: Database) -> AsyncIterator[None]:
        await database.set(f"{timeout} = '20ms'")
        async with database.administrator.transaction():
            await database.administrator.execute("lock table turns in access exclusive mode")
            yield
        await database.reset()

    return fault


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (read_only, "(read-only): cannot execute INSERT in a read-only transaction; "),
        (no_connection_left, "(full): too many connections for role "),
        (refusing("53100"), "(full): refused; "),  # disk full
        (refusing("40001"), "(conflict): refused; "),  # serialization failure, again and again
        (refusing("XX000"), "(other): refused; "),
        (table_locked_beyond("lock_timeout"), "(conflict): canceling statement due to lock timeout; "),
        (
            table_locked_beyond("statement_timeout"),
            "(timeout): canceling statement due to statement timeout; ",
        ),
    ],
    ids=["read-only", "connections", "disk-full", "serialization", "internal", "lock", "statement"],
)
async def test_whatever_postgres_refuses_for_is_told_and_waited_for(
    world: World,
    database: Database,
    fault: Callable[[Database], AbstractAsyncContextManager[None]],
    says: str,
) -> None:
    async with world.service() as service:
        await service.ready()
        async with fault(database):
            await world.publish(event_logs.call("CA1"))
            await until(lambda: _says(service, says))
            assert "s apart at most" in await service.not_ready_because()
        await world.all_settled()
        await service.process.wait_for_line('"store-caught-up"')
        await service.ready()

    assert await world.stored() == world.acknowledged
    assert await _dead_letters(world) == 0


async def test_a_deadlock_is_lost_tried_again_and_not_worth_a_word(world: World, database: Database) -> None:
    # Who looks for a deadlock first gives up: a session looks once, when it has waited so long.
    await database.set("deadlock_timeout = '2s'")
    async with world.service() as service:
        await service.ready()
        async with database.administrator.transaction():
            await database.administrator.execute("set local deadlock_timeout = '1min'")
            await database.administrator.execute("lock table turns in access exclusive mode")
            await world.publish(event_logs.call("CA1"))
            await until(lambda: _waits_for_a_lock(database))
            await database.administrator.execute("lock table events in access exclusive mode")
            await until(lambda: _has_conflicts(service))
            assert await service.not_ready_because() == ""
        await world.all_settled()

    assert await world.stored() == world.acknowledged
    assert await _dead_letters(world) == 0


async def test_a_nats_server_that_is_killed_under_load_loses_nothing_that_it_acknowledged(
    world: World, nats_server: NatsServer, error_logs: ErrorLogs
) -> None:
    error_logs.expect("nats: encountered error")
    await world.make_stream()

    async with load_on(world) as load, world.service() as service:
        for _ in range(2):
            await service.ready()
            await load.progress()
            await nats_server.kill()
            await nats_server.restart()
        await load.progress()
        await load.stop()
        await world.all_settled()

    assert await world.stored() == world.acknowledged
    assert await world.calls_with_missing_events() == []


async def _says(service: Service, why: str) -> bool:
    return why in await service.not_ready_because()


async def _has_conflicts(service: Service) -> bool:
    return await service.metric('store_failures_total{trouble="conflict"}') > 0


async def _waits_for_a_lock(database: Database) -> bool:
    return bool(
        await database.administrator.fetchval(
            "select exists (select from pg_locks join pg_stat_activity using (pid) where not granted and usename = $1)",
            database.role,
        )
    )


async def _dead_letters(world: World) -> int:
    try:
        return (await world.jetstream.stream_info("DLQ")).state.messages
    except nats.js.errors.NotFoundError:
        return 0
