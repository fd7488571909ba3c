"""Checks at the start: refuse a database that would mangle text, and a pooler that breaks sessions."""

from typing import Any, Final

import psycopg
from psycopg import AsyncConnection

from store.errors import UnsafeDatabase
from store.postgres.connections import Connection, connect

ROUNDS: Final = 5
"""How often two connections are compared: a pooler that takes servers in turn may look right once."""

BACKEND: Final = "select pg_backend_pid(), current_setting('callsheet.session', true)"
MARK: Final = "select set_config('callsheet.session', %s, false)"
"""Set something that lasts as long as a session, and nobody else sets."""

POOLED: Final = (
    "refusing to start: a connection pooler (PgBouncer?) in front of PostgreSQL gives a session's connection to others "
    "between its transactions. Callsheet holds locks and listens in sessions: set pool_mode = session for its "
    "database, or name PostgreSQL itself in DATABASE_URL"
)


def check_encoding(connection: AsyncConnection[Any]) -> None:
    """Raise UnsafeDatabase unless the database stores text as UTF-8."""
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise UnsafeDatabase(
            f"refusing to start: the database {connection.info.dbname} has the encoding {encoding}, which cannot store "
            "every text. Use one that was made with: create database … encoding 'UTF8' template template0"
        )


async def check_sessions(conninfo: str) -> None:
    """Raise UnsafeDatabase when a pooler shares server connections between transactions or statements.

    A pooler answers the start of a connection itself, with a backend id of its own; PostgreSQL with its real one.
    Behind a pooler two connections that are open at the same time are compared: in session mode each keeps its own
    backend, with what it has set.
    """
    first = await connect(conninfo)
    try:
        if await _read_backend(first) == (first.info.backend_pid, None):
            return
        second = await connect(conninfo)
        try:
            await _compare(first, second)
        finally:
            await second.close()
    finally:
        await first.close()


async def _read_backend(connection: Connection) -> tuple[int, str | None]:
    row = await (await connection.execute(BACKEND, prepare=False)).fetchone()
    return (0, None) if row is None else (row[0], row[1] or None)


async def _compare(first: Connection, second: Connection) -> None:
    """Raise UnsafeDatabase unless each connection keeps a session of its own."""
    try:
        await first.execute(MARK, ["first"], prepare=False)
        backend, _ = await _read_backend(first)
        for _ in range(ROUNDS):
            await second.execute("begin", prepare=False)
            other, _ = await _read_backend(second)
            again, mark = await _read_backend(first)
            await second.execute("commit", prepare=False)
            if other == backend or again != backend or mark != "first":
                raise UnsafeDatabase(POOLED)
    except psycopg.errors.ProtocolViolation as fault:  # statement mode refuses transactions
        raise UnsafeDatabase(POOLED) from fault
