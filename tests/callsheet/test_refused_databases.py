"""A database, or a pooler before it, that Callsheet cannot rest on is refused at the start, with what to do."""

import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.callsheet.test_dev import environ
from tests.support.callsheet.separate_processes import apart, gateway
from tests.support.servers.pooler import PGBOUNCER, open_pgbouncer, open_small_pooler
from tests.support.servers.postgres import PostgresForTests

GRAPH: dict[str, Any] = {"nodes": [{"id": "a", "kind": "transform", "config": {}}], "edges": []}
EVERY_POOLER = pytest.mark.parametrize(
    "pooler",
    [
        "small",
        pytest.param("pgbouncer", marks=pytest.mark.skipif(PGBOUNCER is None, reason="PgBouncer is not installed")),
    ],
)


@contextmanager
def open_pooled(pooler: str, server: PostgresForTests, conninfo: str, mode: str) -> Generator[str]:
    """Put a pooler before a database; yields the connection string of the way through it."""
    opened = open_small_pooler if pooler == "small" else open_pgbouncer
    with opened(server.socket_path, mode) as port:
        yield make_conninfo(conninfo, host="127.0.0.1", port=port)


def migrate(conninfo: str, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "callsheet", "migrate"],
        env=environ(conninfo, directory),
        capture_output=True,
        text=True,
        check=False,
    )


@EVERY_POOLER
@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_a_pooler_that_breaks_sessions_is_refused(
    pooler: str, mode: str, postgres_server: PostgresForTests, empty_database: str, tmp_path: Path
) -> None:
    if (pooler, mode) == ("small", "statement"):
        pytest.skip("the small pooler has no statement mode")
    with open_pooled(pooler, postgres_server, empty_database, mode) as conninfo:
        done = migrate(conninfo, tmp_path)
    assert done.returncode == 2, done.stderr
    assert "pool_mode = session" in done.stderr


@EVERY_POOLER
def test_a_pooler_in_session_mode_needs_no_setting(
    pooler: str, postgres_server: PostgresForTests, empty_database: str, tmp_path: Path
) -> None:
    with (
        open_pooled(pooler, postgres_server, empty_database, "session") as conninfo,
        apart(conninfo, tmp_path, "dev", "--port", "0") as dev,
        gateway(dev, tmp_path) as here,
    ):
        run = here.post(f"/v1/workflows/{here.workflow(GRAPH)}:run", {"inputs": {"n": 1}}, prefer="wait=30")
        assert run["status"] == "completed"
        assert here.run(run["id"], here.position)["outputs"] == {"a": {"n": 1}}


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_cannot_store_every_text_is_refused(
    encoding: str, postgres_server: PostgresForTests, tmp_path: Path
) -> None:
    name = f"in_{encoding.lower()}"
    with psycopg.connect(postgres_server.conninfo, autocommit=True) as connection:
        connection.execute(
            f"create database {name} encoding '{encoding}' locale_provider libc locale 'C' template template0".encode()
        )
        done = migrate(make_conninfo(postgres_server.conninfo, dbname=name), tmp_path)
        connection.execute(f"drop database {name}".encode())
    assert done.returncode == 2, done.stderr
    assert f"the database {name} has the encoding {encoding}" in done.stderr
    assert "encoding 'UTF8'" in done.stderr
