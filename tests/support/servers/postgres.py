"""Real PostgreSQL for tests: one server a version for the whole session, a cleared database for each test.

`database` is migrated and `empty_database` is not; both are connection strings. `own_postgres` is a server of the
test's own, to be killed and started again. A test that must hold on every server says `@EVERY_POSTGRES`.
"""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Generator
from pathlib import Path
from typing import Final

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.sql import SQL, Identifier

from callsheet.embedded.postgres import PORT, EmbeddedPostgres
from store.postgres.migrations import migrate

EVERY_POSTGRES: Final = pytest.mark.parametrize("postgres_version", [16, 18], indirect=True)
MIGRATED: Final = ("store", "engine")
"""The folders whose migrations make a `database`, in the order of their application."""
END_SECONDS: Final = 30.0
CLEAR: Final = (
    """select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid()""",
    """do $$ declare name text; begin
        for name in select nspname from pg_namespace where nspname !~ '^(pg_|information_schema)' loop
            execute format('drop schema %I cascade', name);
        end loop;
    end $$""",
    "create schema public",
)


class PostgresForTests:
    """A running server that makes databases, and that a test may kill."""

    def __init__(self, version: int) -> None:
        """Start the server in a directory of its own, directly under the folder for temporary files."""
        self._directory = Path(tempfile.mkdtemp(prefix="callsheet-test-"))
        self._directory.chmod(0o711)
        self._server = EmbeddedPostgres(self._directory, version=version)
        self._idle: list[str] = []
        self.version = version
        self.conninfo = self._server.start()

    def start(self) -> None:
        """Start it again after a kill; waits out crash recovery."""
        self._server.start()

    @property
    def socket_path(self) -> Path:
        """The Unix socket that it listens on."""
        return Path(str(conninfo_to_dict(self.conninfo)["host"])) / f".s.PGSQL.{PORT}"

    def start_as_standby(self) -> None:
        """Start it after a kill as a hot standby of nobody: it can be read, and written once it is promoted."""
        (self._server.data / "standby.signal").touch()
        self._server.start()

    def list_processes(self) -> list[int]:
        """Return the process ids of the postmaster and of all its children."""
        postmaster = self._postmaster()
        ps = shutil.which("ps") or "/bin/ps"
        listed = subprocess.run([ps, "-o", "pid=", "--ppid", str(postmaster)], capture_output=True, check=True)
        return [postmaster, *map(int, listed.stdout.split())]

    def kill(self) -> None:
        """Kill the postmaster as the out-of-memory killer would (SIGKILL); its children end by themselves."""
        os.kill(self._postmaster(), signal.SIGKILL)

    def crash(self) -> None:
        """Stop at once, without a checkpoint, breaking every connection (SIGQUIT): recovery follows the start."""
        os.kill(self._postmaster(), signal.SIGQUIT)

    def destroy(self) -> None:
        """Stop the server and delete its data; crash it when its last checkpoint outlasts the wait."""
        self._server.stop()
        if self._is_running():
            self.crash()
        deadline = time.monotonic() + END_SECONDS
        while self._is_running() and time.monotonic() < deadline:
            time.sleep(0.05)
        shutil.rmtree(self._directory)

    def lend_database(self, *, migrated: bool) -> str:
        """Return the connection string of an empty or freshly migrated database for one test.

        A returned one is taken before a new one is made: clearing and migrating it took 65 ms where copying a
        template took 300 ms, most of it fsync of files.
        """
        conninfo = self._idle.pop() if self._idle else self._create_database()
        if migrated:
            asyncio.run(migrate(conninfo, MIGRATED))
        return conninfo

    def take_back(self, conninfo: str) -> None:
        """Clear a lent database, whoever is still connected to it."""
        with psycopg.connect(conninfo, autocommit=True) as connection:
            for statement in CLEAR:
                connection.execute(statement)
        self._idle.append(conninfo)

    def _create_database(self) -> str:
        name = f"test_{uuid.uuid4().hex}"
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            connection.execute(SQL("create database {}").format(Identifier(name)))
        return make_conninfo(self.conninfo, dbname=name)

    def _postmaster(self) -> int:
        return int((self._server.data / "postmaster.pid").read_text().splitlines()[0])

    def _is_running(self) -> bool:
        try:
            os.kill(self._postmaster(), 0)
        except (FileNotFoundError, ProcessLookupError):
            return False
        return True


@pytest.fixture(scope="session")
def postgres_servers() -> Generator[dict[int, PostgresForTests]]:
    """The shared servers by version, started when first asked for."""
    servers: dict[int, PostgresForTests] = {}
    yield servers
    for server in servers.values():
        server.destroy()


@pytest.fixture
def postgres_version(request: pytest.FixtureRequest) -> int:
    """18, unless the test is marked with EVERY_POSTGRES."""
    return int(getattr(request, "param", 18))


@pytest.fixture
def postgres_server(postgres_servers: dict[int, PostgresForTests], postgres_version: int) -> PostgresForTests:
    """The shared server: never stop or kill this one."""
    if postgres_version not in postgres_servers:
        postgres_servers[postgres_version] = PostgresForTests(postgres_version)
    return postgres_servers[postgres_version]


@pytest.fixture
def database(postgres_server: PostgresForTests) -> Generator[str]:
    """A fresh, migrated database of the shared server."""
    conninfo = postgres_server.lend_database(migrated=True)
    yield conninfo
    postgres_server.take_back(conninfo)


@pytest.fixture
def empty_database(postgres_server: PostgresForTests) -> Generator[str]:
    """A fresh database of the shared server with nothing in it."""
    conninfo = postgres_server.lend_database(migrated=False)
    yield conninfo
    postgres_server.take_back(conninfo)


@pytest.fixture
def own_postgres(postgres_version: int) -> Generator[PostgresForTests]:
    """A server of the test's own, to be killed and started again."""
    server = PostgresForTests(postgres_version)
    yield server
    server.destroy()
