"""Where each projection stands, and waiting until one stands far enough."""

import asyncio
import random
import time
from collections.abc import Mapping
from typing import Final
from uuid import UUID

from msgspec import Struct

from projections.runtime.event_filter import NOTHING_PARKED
from projections.runtime.read_pool import ReadModels
from projections.runtime.waiters import Waiter, Waiters
from store.errors import Unavailable

ALL: Final = "select projection, position, revision from checkpoints"
"""Read every checkpoint, and the revision of what the projection leaves out."""

PARKED: Final = "select workspace_id, from_position from parked where projection = %(projection)b"
"""Read what is parked in a projection."""

POLL_SECONDS: Final = 0.05
"""How often the table is read for checkpoints that another process moves."""
FOLLOWED_POLL_SECONDS: Final = 1.0
"""How often it is read for those that this process moves: only in case that a change was missed."""


class ProjectionBehind(Unavailable):
    """The projection did not come to the position in time."""


class ProjectionParked(Unavailable):
    """The workspace is parked in the projection, before the position: waiting does not help, a person has to look."""


class LeftOut(Struct, frozen=True, kw_only=True):
    """What is parked in a projection, at a revision."""

    revision: int = -1
    parked: Mapping[UUID, int] = NOTHING_PARKED


NOTHING_KNOWN: Final = LeftOut()


class Checkpoints:
    """Positions of projections: told by this process's worker, or else read from the table.

    The worker tells at once, so that most waits cost no query. Where another process does the work, one of those who
    wait looks at the table every `poll_seconds` for all of them.
    """

    def __init__(
        self,
        models: ReadModels,
        *,
        poll_seconds: float = POLL_SECONDS,
        followed_poll_seconds: float = FOLLOWED_POLL_SECONDS,
    ) -> None:
        """Know nothing yet."""
        self._models = models
        self._poll_seconds = poll_seconds
        self._followed_poll_seconds = followed_poll_seconds
        self._positions: dict[str, int] = {}
        self._followed: set[str] = set()
        self._left_out: dict[str, LeftOut] = {}
        self._waiters = Waiters(lambda projection: projection not in self._followed)
        self._looking = asyncio.Lock()
        self._looked_at = 0.0

    def position(self, projection: str) -> int:
        """Give the last position known here; 0 where none is."""
        return self._positions.get(projection, 0)

    def moved(self, projection: str, position: int, *, revision: int | None = None) -> None:
        """Say that a projection stands here, with all before it readable, less what was left out at a revision.

        A worker that has not noticed yet that a workspace is no longer parked says nothing about that workspace.
        """
        if revision is not None and revision < self._left_out.get(projection, NOTHING_KNOWN).revision:
            return
        self._positions[projection] = position
        self._waiters.moved(projection, position)

    def followed(self, projection: str, *, here: bool) -> None:
        """Say whether this process's worker is the one that moves a projection."""
        (self._followed.add if here else self._followed.discard)(projection)
        self._waiters.hand_on()

    def left_out(self, projection: str, revision: int, parked: Mapping[UUID, int]) -> None:
        """Say what is parked in a projection; to be said before `moved`, which lets readers go on."""
        if revision >= self._left_out.get(projection, NOTHING_KNOWN).revision:
            self._left_out[projection] = LeftOut(revision=revision, parked=parked)

    def parked(self) -> dict[str, int]:
        """Give how many workspaces are parked in each projection that has any, as far as it is known here."""
        return {projection: len(one.parked) for projection, one in self._left_out.items() if one.parked}

    async def wait_for(
        self, projection: str, position: int, timeout_seconds: float, *, workspace_id: UUID | None = None
    ) -> None:
        """Return once a projection stands at the position or past it, and the workspace, if one is named, with it.

        Raises ProjectionBehind after the time, ProjectionParked, Unavailable.
        """
        if workspace_id is not None and self._is_parked(projection, position, workspace_id):
            await self._look_from_now()  # a person may have mended it since, in another process
            self._refuse_parked(projection, position, workspace_id)
        if self._positions.get(projection, -1) >= position:
            return
        with self._waiters.waiting(projection, position) as one:
            try:
                async with asyncio.timeout(timeout_seconds):
                    await self._wait(one)
            except TimeoutError as late:
                message = f"{projection} did not come to position {position} within {timeout_seconds} s"
                raise ProjectionBehind(message) from late
        if workspace_id is not None:
            self._refuse_parked(projection, position, workspace_id)

    def _is_parked(self, projection: str, position: int, workspace_id: UUID) -> bool:
        parked = self._left_out.get(projection, NOTHING_KNOWN).parked
        return bool(parked) and parked.get(workspace_id, position + 1) <= position

    def _refuse_parked(self, projection: str, position: int, workspace_id: UUID) -> None:
        if self._is_parked(projection, position, workspace_id):
            raise ProjectionParked(f"the workspace is parked in {projection}, before position {position}")

    async def _wait(self, one: Waiter) -> None:
        while not one.reached:
            if one.projection in self._followed:
                self._waiters.leave(one)
                await one.woken(self._followed_poll_seconds)
            elif self._waiters.looks(one):
                await self.look()
                if not one.reached:
                    await one.woken(self._poll_seconds * random.uniform(0.8, 1.2))  # noqa: S311  # jitter, nothing secret
            else:
                await one.woken(None)

    async def look(self) -> None:
        """Read every checkpoint, and what is parked where that has changed, unless somebody did just now.

        Of a projection that is followed here only what is parked is taken. Raises Unavailable.
        """
        async with self._looking:
            if time.monotonic() - self._looked_at >= self._poll_seconds / 2:
                await self._look()

    async def _look_from_now(self) -> None:
        """Look, or share a look that begins after this call: so that however many ask, one is under way at a time."""
        asked_at = time.monotonic()
        async with self._looking:
            if self._looked_at < asked_at:
                await self._look()

    async def _look(self) -> None:
        looked_at = time.monotonic()
        for projection, position, revision in await self._models.rows(ALL, {}):
            noticed = await self._look_at_parked(projection, revision)
            if noticed or projection not in self._followed:
                self.moved(projection, position)
        self._looked_at = looked_at

    async def _look_at_parked(self, projection: str, revision: int) -> bool:
        """Read what is parked, if that has changed: after the checkpoint, so that nothing parked up to it is missed."""
        if revision <= self._left_out.get(projection, NOTHING_KNOWN).revision:
            return False
        rows = await self._models.rows(PARKED, {"projection": projection}) if revision else []
        if revision <= self._left_out.get(projection, NOTHING_KNOWN).revision:
            return False  # the worker here has said so meanwhile, and may have said since that it is further
        self.left_out(projection, revision, dict(rows))
        return True
