"""Where each projection stands, and waiting until one stands far enough."""

import asyncio
import random
import time
from contextlib import suppress
from typing import Final

from msgspec import Struct

from projections.reading import ReadModels
from store.faults import Unavailable

ALL: Final = "select projection, position from checkpoints"
"""Read every checkpoint."""


class WaitBounds(Struct, frozen=True, kw_only=True):
    """How waiting for another process's worker looks at the table; `callsheet.settings` names and documents each."""

    poll_seconds: float = 0.05
    followed_poll_seconds: float = 1.0


class ProjectionBehind(Unavailable):
    """The projection did not come to the position in time."""


class ProjectionStopped(Unavailable):
    """The projection has stopped at a fact that it cannot fold; waiting does not help."""


class Checkpoints:
    """Positions of projections: told by this process's worker, or else read from the table.

    The worker tells at once, so that most waits cost no query. Where another process does the work, all who wait
    share one look at the table every `poll_seconds`.
    """

    def __init__(self, models: ReadModels, bounds: WaitBounds) -> None:
        """Know nothing yet."""
        self._models = models
        self._bounds = bounds
        self._positions: dict[str, int] = {}
        self._followed: set[str] = set()
        self._stopped: dict[str, str] = {}
        self._waiting: dict[str, set[tuple[int, asyncio.Future[None]]]] = {}
        self._looking = asyncio.Lock()
        self._looked_at = 0.0

    def position(self, projection: str) -> int:
        """Give the last position known here; 0 where none is."""
        return self._positions.get(projection, 0)

    def moved(self, projection: str, position: int) -> None:
        """Say that a projection stands here, with all before it readable."""
        self._positions[projection] = position
        for one in list(self._waiting.get(projection, ())):
            wanted, future = one
            if wanted <= position and not future.done():
                future.set_result(None)

    def followed(self, projection: str, *, here: bool) -> None:
        """Say whether this process's worker is the one that moves a projection."""
        (self._followed.add if here else self._followed.discard)(projection)

    def stopped(self, projection: str, reason: str) -> None:
        """Say that a projection has stopped, and tell everyone who waits for it."""
        self._stopped[projection] = reason
        for _, future in list(self._waiting.get(projection, ())):
            if not future.done():
                future.set_exception(ProjectionStopped(reason))

    async def wait_for(self, projection: str, position: int, timeout_seconds: float) -> None:
        """Return once a projection stands at the position or past it.

        Raises ProjectionBehind after the time, ProjectionStopped, Unavailable.
        """
        if self._positions.get(projection, -1) >= position:
            return
        if projection in self._stopped:
            raise ProjectionStopped(self._stopped[projection])
        future = asyncio.get_running_loop().create_future()
        one = (position, future)
        waiting = self._waiting.setdefault(projection, set())
        waiting.add(one)
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._wait(projection, future)
        except TimeoutError as late:
            message = f"{projection} did not come to position {position} within {timeout_seconds} s"
            raise ProjectionBehind(message) from late
        finally:
            waiting.discard(one)

    async def _wait(self, projection: str, future: asyncio.Future[None]) -> None:
        while not future.done():
            followed = projection in self._followed
            pause = self._bounds.followed_poll_seconds if followed else self._bounds.poll_seconds
            if not followed:
                await self._look()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause * random.uniform(0.8, 1.2)):  # noqa: S311  # jitter, nothing secret
                    await asyncio.shield(future)
        future.result()

    async def _look(self) -> None:
        """Read every checkpoint, unless somebody did just now."""
        async with self._looking:
            now = time.monotonic()
            if now - self._looked_at < self._bounds.poll_seconds / 2:
                return
            for projection, position in await self._models.rows(ALL, {}):
                if projection not in self._followed:
                    self.moved(projection, position)
            self._looked_at = time.monotonic()
