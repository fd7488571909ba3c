"""Readiness of a process for `/readyz`: answered within a second even if the database hangs."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Final

from projections.runtime.checkpoints import Checkpoints
from store.errors import DatabaseAway
from store.log.log import Log

ANSWER_SECONDS: Final = 1.0


class Readiness:
    """Checks the database for `/readyz`. Checks at the same time share one read."""

    def __init__(self, log: Log, checkpoints: Checkpoints) -> None:
        """Create it for the log and the read models of a process."""
        self._log = log
        self._checkpoints = checkpoints
        self._reading: asyncio.Task[None] | None = None

    async def check(self) -> None:
        """Raise Unavailable, with the reason, unless the log takes appends and the read models can be read."""
        self._log.check_ready()
        if self._reading is not None and self._reading.done():
            self._reading = None  # of a check that gave up: its answer is old
        reading = self._reading = self._reading or asyncio.create_task(self._read())
        done, _ = await asyncio.wait({reading}, timeout=ANSWER_SECONDS)
        if not done:
            raise DatabaseAway(f"the database has not answered within {ANSWER_SECONDS:g} s")
        self._reading = None
        reading.result()

    async def _read(self) -> None:
        await self._log.head()
        await self._checkpoints.refresh()

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Cancel a read that is in progress when the block ends."""
        try:
            yield
        finally:
            if self._reading is not None:
                self._reading.cancel()
                with suppress(asyncio.CancelledError, DatabaseAway):
                    await self._reading
