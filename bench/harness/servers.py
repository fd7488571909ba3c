"""The PostgreSQL that is measured: the embedded one in a temporary directory, or a given one."""

import asyncio
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psycopg
from msgspec import Struct
from psycopg import sql
from psycopg.conninfo import make_conninfo

from bench.harness.options import Options
from bench.harness.processes import CpuClock
from bench.harness.progress import print_progress
from callsheet.embedded.postgres import EmbeddedPostgres
from store.postgres.migrations import migrate

PREFIX: Final = "callsheet_bench_"
TOLD: Final = (
    "server_version", "fsync", "full_page_writes", "synchronous_commit", "wal_sync_method", "wal_compression",
    "shared_buffers", "max_wal_size", "checkpoint_timeout", "autovacuum", "jit",
)  # fmt: skip
SETTINGS: Final = "select name, current_setting(name) from pg_settings where name = any(%s) order by name"


class Postgres(Struct, frozen=True, kw_only=True):
    """A running server: its connection string and, if embedded, its directory and CPU clock."""

    conninfo: str
    directory: Path | None
    clock: CpuClock | None

    def fresh_database(self, name: str, components: Sequence[str]) -> str:
        """Create an empty database, replacing an old one, migrate components, and return its connection string."""
        self.drop_database(name)
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(PREFIX + name)))
        if components:
            asyncio.run(migrate(self.of_database(name), components))
        return self.of_database(name)

    def of_database(self, name: str) -> str:
        """Return the connection string of a bench database."""
        return make_conninfo(self.conninfo, dbname=PREFIX + name)

    def drop_database(self, name: str) -> None:
        """Drop a bench database, which must not be in use."""
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            connection.execute(sql.SQL("drop database if exists {}").format(sql.Identifier(PREFIX + name)))

    def settings(self) -> dict[str, str]:
        """Return the PostgreSQL settings that the figures depend on."""
        with psycopg.connect(self.conninfo) as connection:
            return dict(connection.execute(SETTINGS, [list(TOLD)]).fetchall())

    def checkpoint(self) -> None:
        """Run a checkpoint, so that earlier writes do not slow the next measurement."""
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            connection.execute("checkpoint")


@contextmanager
def postgres(options: Options) -> Generator[Postgres]:
    """Start or connect to the server to measure. Raises EmbeddedUnusable."""
    if options.database_url is not None:
        yield Postgres(conninfo=options.database_url, directory=None, clock=None)
        return
    with tempfile.TemporaryDirectory(prefix="callsheet-bench-") as path:
        directory = Path(path)
        directory.chmod(0o711)  # as root the server runs under an account of its own, which must pass here
        print_progress(f"starting an embedded PostgreSQL in {directory}")
        server = EmbeddedPostgres(directory)
        try:
            conninfo = server.start()
            postmaster = int((server.data / "postmaster.pid").read_text().splitlines()[0])
            clock = CpuClock(pid=postmaster, with_children=True)
            yield Postgres(conninfo=conninfo, directory=directory, clock=clock)
        finally:
            server.stop()
