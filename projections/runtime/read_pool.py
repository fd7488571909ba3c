"""A bounded pool of connections for reading read models."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, LiteralString

from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from projections.settings import ProjectionSettings
from store.postgres.connections import Sessions, add_bounds, always_present
from store.postgres.migrations import check_schema
from store.postgres.monitor import DatabaseMonitor
from store.settings import STATEMENT_TIMEOUT_MS

Row = tuple[Any, ...]
Parameters = Mapping[str, Any]


class ReadModels:
    """Read the tables of read models while the pool is open."""

    def __init__(
        self,
        conninfo: str,
        settings: ProjectionSettings,
        *,
        statement_timeout_ms: int = STATEMENT_TIMEOUT_MS,
        monitor: DatabaseMonitor | None = None,
    ) -> None:
        """Create the pool, closed. While `monitor` knows that the database is away, reads fail at once."""
        self._sessions = Sessions(
            add_bounds(
                _without_parallel_workers(conninfo),
                statement_timeout_ms=statement_timeout_ms,
                application_name="callsheet-views",
            ),
            most=settings.readers,
            most_waiting=settings.readers_waiting,
            timeout_seconds=settings.read_timeout_seconds,
            check_readable=always_present if monitor is None else monitor.check_readable,
            connections=None if monitor is None else monitor.connections,
        )
        if monitor is not None:
            monitor.subscribe(on_lost=self._sessions.renew, on_back=self._sessions.renew)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Open the pool and check the schema. Raises UnsafeDatabase, Unavailable."""
        async with self._sessions.open():
            async with self.connection() as connection:
                await check_schema(connection, ["projections"])
            yield

    async def first(self, query: LiteralString, parameters: Parameters) -> Row | None:
        """Return the first row, if any. Raises Unavailable."""
        rows = await self._sessions.rows(query, parameters)
        return rows[0] if rows else None

    async def rows(self, query: LiteralString, parameters: Parameters) -> list[Row]:
        """Return all rows; the query bounds their number. Raises Unavailable."""
        return await self._sessions.rows(query, parameters)

    def connection(self) -> AbstractAsyncContextManager[AsyncConnection[Row]]:
        """Yield a connection in autocommit mode. Raises Unavailable."""
        return self._sessions.connection()


def _without_parallel_workers(conninfo: str) -> str:
    """Return a connection string for short statements: workers took 30 of 50 ms of a list, compiling its plan 200."""
    options = conninfo_to_dict(conninfo).get("options") or ""
    return make_conninfo(
        conninfo,
        options=f"{options} -c max_parallel_workers_per_gather=0 -c jit=off".strip(),
    )
