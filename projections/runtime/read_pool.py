"""The connections by which read models are read: a pool of their own, bounded."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, LiteralString

from psycopg import AsyncConnection

from projections.settings import ProjectionSettings
from store.postgres.connections import Sessions, bounded
from store.postgres.migrations import check_schema
from store.settings import STATEMENT_TIMEOUT_MS

Row = tuple[Any, ...]
Parameters = Mapping[str, Any]


class ReadModels:
    """Reads the tables of read models, for as long as `opened` lasts."""

    def __init__(
        self, conninfo: str, settings: ProjectionSettings, *, statement_timeout_ms: int = STATEMENT_TIMEOUT_MS
    ) -> None:
        """Make the pool, closed."""
        self._sessions = Sessions(
            bounded(conninfo, statement_timeout_ms=statement_timeout_ms, application_name="callsheet-views"),
            most=settings.readers,
            most_waiting=settings.readers_waiting,
            timeout_seconds=settings.read_timeout_seconds,
        )

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        """Open the pool and check the schema. Raises UnsafeDatabase, Unavailable."""
        async with self._sessions.opened():
            async with self.connection() as connection:
                await check_schema(connection, ["projections"])
            yield

    async def one(self, query: LiteralString, parameters: Parameters) -> Row | None:
        """Give the first row, if any. Raises Unavailable."""
        rows = await self._sessions.rows(query, parameters)
        return rows[0] if rows else None

    async def rows(self, query: LiteralString, parameters: Parameters) -> list[Row]:
        """Return all rows; the query bounds their number. Raises Unavailable."""
        return await self._sessions.rows(query, parameters)

    def connection(self) -> AbstractAsyncContextManager[AsyncConnection[Row]]:
        """Lend a connection that commits every statement by itself. Raises Unavailable."""
        return self._sessions.connection()
