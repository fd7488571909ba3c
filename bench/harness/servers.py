"""The PostgreSQL that is measured: the embedded one in a temporary directory, or one of the person's own."""

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
from bench.harness.progress import say
from callsheet.embedded.postgres import EmbeddedPostgres
from store.postgres.migrations import migrate

PREFIX: Final = "callsheet_bench_"
TOLD: Final = (
    "server_version", "fsync", "full_page_writes", "synchronous_commit", "wal_sync_method", "wal_compression",
    "shared_buffers", "max_wal_size", "checkpoint_timeout", "autovacuum", "jit",
)  # fmt: skip
SETTINGS: Final = "select name, current_setting(name) from pg_settings where name = any(%s) order by name"


class Postgres(Struct, frozen=True, kw_only=True):
    """A running server: how to reach it, and, when it is ours, where it lives and its processor clock."""

    conninfo: str
    directory: Path | None
    clock: CpuClock | None

    def fresh_database(self, name: str, components: Sequence[str]) -> str:
        """Make an empty database of ours anew, migrate some components into it, and give its connection string."""
        self.drop_database(name)
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(PREFIX + name)))
        if components:
            asyncio.run(migrate(self.of_database(name), components))
        return self.of_database(name)

    def of_database(self, name: str) -> str:
        """Give the connection string of a database of ours."""
        return make_conninfo(self.conninfo, dbname=PREFIX + name)

    def drop_database(self, name: str) -> None:
        """Drop a database of ours; nobody may be using it."""
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            connection.execute(sql.SQL("drop database if exists {}").format(sql.Identifier(PREFIX + name)))

    def settings(self) -> dict[str, str]:
        """Give the settings that decide what the figures mean."""
        with psycopg.connect(self.conninfo) as connection:
            return dict(connection.execute(SETTINGS, [list(TOLD)]).fetchall())

    def checkpoint(self) -> None:
        """Write everything out now, so that what was done before costs the next measurement nothing."""
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            connection.execute("checkpoint")


@contextmanager
def postgres(options: Options) -> Generator[Postgres]:
    """Run, or reach, the server to measure on. Raises EmbeddedUnusable."""
    if options.database_url is not None:
        yield Postgres(conninfo=options.database_url, directory=None, clock=None)
        return
    with tempfile.TemporaryDirectory(prefix="callsheet-bench-") as path:
        directory = Path(path)
        directory.chmod(0o711)  # as root the server runs under an account of its own, which must pass here
        say(f"starting an embedded PostgreSQL in {directory}")
        server = EmbeddedPostgres(directory)
        try:
            conninfo = server.start()
            postmaster = int((server.data / "postmaster.pid").read_text().splitlines()[0])
            clock = CpuClock(pid=postmaster, with_children=True)
            yield Postgres(conninfo=conninfo, directory=directory, clock=clock)
        finally:
            server.stop()
