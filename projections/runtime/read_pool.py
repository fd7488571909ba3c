"""The connections by which read models are read: a pool of their own, bounded."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, LiteralString

from msgspec import Struct
from psycopg import AsyncConnection

from store.postgres.connections import Sessions, bounded
from store.postgres.migrations import check_schema

Row = tuple[Any, ...]
Parameters = Mapping[str, Any]


class ReadBounds(Struct, frozen=True, kw_only=True):
    """The bounds of one process's reads of read models; `callsheet.settings.load` names and documents each."""

    readers: int = 4
    most_waiting: int = 1_000
    statement_timeout_ms: int = 5_000
    read_timeout_seconds: float = 5.0


class ReadModels:
    """Reads the tables of read models, for as long as `opened` lasts."""

    def __init__(self, conninfo: str, bounds: ReadBounds) -> None:
        """Make the pool, closed."""
        self._sessions = Sessions(
            bounded(conninfo, statement_timeout_ms=bounds.statement_timeout_ms, application_name="callsheet-views"),
            most=bounds.readers,
            most_waiting=bounds.most_waiting,
            timeout_seconds=bounds.read_timeout_seconds,
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
        """Give all rows; the query bounds them. Raises Unavailable."""
        return await self._sessions.rows(query, parameters)

    def connection(self) -> AbstractAsyncContextManager[AsyncConnection[Row]]:
        """Lend a connection that commits every statement by itself. Raises Unavailable."""
        return self._sessions.connection()
