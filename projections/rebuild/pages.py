"""The log in large pages, each read and decoded while the previous one is folded."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from psycopg import AsyncConnection

from store.log.readers import read_topics
from store.log.records import Page


class LogPages:
    """Read the log over its own connection, one page ahead of the caller."""

    def __init__(
        self, connection: AsyncConnection[Any], wanted: Sequence[str], *, page_events: int, ahead: bool = True
    ) -> None:
        """Create it; a page scans `page_events` positions. Without `ahead` a page is read when it is requested."""
        self._connection = connection
        self._wanted = list(wanted)
        self._page_events = page_events
        self._ahead = ahead

    @asynccontextmanager
    async def between(self, after: int, through: int) -> AsyncGenerator[AsyncIterator[Page]]:
        """Return the pages after one position through another; events that cannot be decoded are `Unreadable`."""
        ahead: list[asyncio.Task[Page]] = []
        try:
            yield self._pages(after, through, ahead)
        finally:
            for task in ahead:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def _pages(self, after: int, through: int, ahead: list[asyncio.Task[Page]]) -> AsyncIterator[Page]:
        while after < through or ahead:
            if not ahead:
                ahead.append(self._reading(after, through))
            page = await ahead.pop()
            after = page.through
            if self._ahead and after < through:
                ahead.append(self._reading(after, through))
            yield page

    def _reading(self, after: int, through: int) -> asyncio.Task[Page]:
        return asyncio.create_task(self._read(after, min(through, after + self._page_events)), name="rebuild page")

    async def _read(self, after: int, through: int) -> Page:
        cursor = self._connection.cursor(binary=True)
        events = await read_topics(cursor, after=after, through=through, wanted=self._wanted)
        return Page(events=tuple(events), through=through)
