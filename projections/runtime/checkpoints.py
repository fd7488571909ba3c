"""Positions of projections, and waiting until a projection has reached a position."""

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

from msgspec import Struct

from projections.runtime.event_filter import NOTHING_PARKED
from projections.runtime.read_pool import ReadModels
from projections.runtime.waiters import Waiter, Waiters
from store.errors import Unavailable

ALL: Final = "select projection, position, revision from checkpoints"
"""Read every checkpoint, and the revision of its parked and skipped facts."""

PARKED: Final = "select workspace_id, from_position from parked where projection = %(projection)b"
"""Read the workspaces that are parked in a projection."""

POLL_SECONDS: Final = 0.05
"""Poll interval for checkpoints that another process moves."""
FOLLOWED_POLL_SECONDS: Final = 1.0
"""Poll interval for those that this process moves, in case that a change was missed."""


class ProjectionBehind(Unavailable):
    """The projection did not reach the position in time."""


class ProjectionParked(Unavailable):
    """The workspace is parked before the position: waiting does not help, an operator has to act."""


class ParkedWorkspaces(Struct, frozen=True, kw_only=True):
    """The parked workspaces of a projection, at a revision."""

    revision: int = -1
    parked: Mapping[UUID, int] = NOTHING_PARKED


NOTHING_KNOWN: Final = ParkedWorkspaces()


class Checkpoints:
    """Positions of projections, reported by this process's worker or read from the table.

    The worker reports at once, so that most waits cost no query. Where another process has the projection, one waiter
    polls the table every `poll_seconds` for all of them.
    """

    def __init__(
        self,
        models: ReadModels,
        *,
        poll_seconds: float = POLL_SECONDS,
        followed_poll_seconds: float = FOLLOWED_POLL_SECONDS,
    ) -> None:
        """Create it without known positions."""
        self._models = models
        self._poll_seconds = poll_seconds
        self._followed_poll_seconds = followed_poll_seconds
        self._positions: dict[str, int] = {}
        self._followed: set[str] = set()
        self._left_out: dict[str, ParkedWorkspaces] = {}
        self._waiters = Waiters(lambda projection: projection not in self._followed)
        self._refreshing = asyncio.Lock()
        self._refreshed_at = 0.0

    def position(self, projection: str) -> int:
        """Return the last known position; 0 when none is known."""
        return self._positions.get(projection, 0)

    async def read_position(self, projections: Sequence[str], workspace_id: UUID) -> int:
        """Return the position up to which these projections have everything of a workspace. Raises Unavailable.

        Where another process has one of them it is at most `poll_seconds` old.
        """
        if not self._followed.issuperset(projections):
            await self.refresh()
        return min(self._complete_position(projection, workspace_id) for projection in projections)

    def _complete_position(self, projection: str, workspace_id: UUID) -> int:
        parked = self._left_out.get(projection, NOTHING_KNOWN).parked
        position = self.position(projection)
        return min(position, parked[workspace_id] - 1) if workspace_id in parked else position

    def advance(self, projection: str, position: int, *, revision: int | None = None) -> None:
        """Set the position of a projection: everything up to it is readable, except what a revision excludes.

        Ignored at an older revision: that worker has not noticed yet that a workspace is no longer parked.
        """
        if revision is not None and revision < self._left_out.get(projection, NOTHING_KNOWN).revision:
            return
        self._positions[projection] = position
        self._waiters.advance(projection, position)

    def set_followed(self, projection: str, *, here: bool) -> None:
        """Set whether this process's worker owns a projection."""
        (self._followed.add if here else self._followed.discard)(projection)
        self._waiters.elect_poller()

    def set_parked(self, projection: str, revision: int, parked: Mapping[UUID, int]) -> None:
        """Set the parked workspaces of a projection; call it before `advance`, which wakes the waiters."""
        if revision >= self._left_out.get(projection, NOTHING_KNOWN).revision:
            self._left_out[projection] = ParkedWorkspaces(revision=revision, parked=parked)

    def count_parked(self) -> dict[str, int]:
        """Return the known number of parked workspaces of each projection that has any."""
        return {projection: len(known.parked) for projection, known in self._left_out.items() if known.parked}

    async def wait_for(
        self, projection: str, position: int, timeout_seconds: float, *, workspace_id: UUID | None = None
    ) -> None:
        """Wait until a projection has reached a position and, if given, the workspace is not parked before it.

        Raises ProjectionBehind after the time, ProjectionParked, Unavailable.
        """
        if workspace_id is not None and self._is_parked(projection, position, workspace_id):
            await self._refresh_from_now()  # an operator may have retried it in another process
            self._refuse_parked(projection, position, workspace_id)
        if self._positions.get(projection, -1) >= position:
            return
        with self._waiters.register(projection, position) as waiter:
            try:
                async with asyncio.timeout(timeout_seconds):
                    await self._wait(waiter)
            except TimeoutError as late:
                message = f"{projection} did not reach position {position} within {timeout_seconds} s"
                raise ProjectionBehind(message) from late
        if workspace_id is not None:
            self._refuse_parked(projection, position, workspace_id)

    def _is_parked(self, projection: str, position: int, workspace_id: UUID) -> bool:
        parked = self._left_out.get(projection, NOTHING_KNOWN).parked
        return bool(parked) and parked.get(workspace_id, position + 1) <= position

    def _refuse_parked(self, projection: str, position: int, workspace_id: UUID) -> None:
        if self._is_parked(projection, position, workspace_id):
            raise ProjectionParked(f"the workspace is parked in {projection}, before position {position}")

    async def _wait(self, waiter: Waiter) -> None:
        while not waiter.reached:
            if waiter.projection in self._followed:
                self._waiters.release_polling(waiter)
                await waiter.wait(self._followed_poll_seconds)
            elif self._waiters.claim_polling(waiter):
                await self.refresh()
                if not waiter.reached:
                    await waiter.wait(self._poll_seconds * random.uniform(0.8, 1.2))  # noqa: S311  # jitter, nothing secret
            else:
                await waiter.wait(None)

    async def refresh(self) -> None:
        """Read every checkpoint, and changed parked workspaces, unless another waiter has just done so.

        For a projection of this process only parked workspaces are used. Raises Unavailable.
        """
        async with self._refreshing:
            if time.monotonic() - self._refreshed_at >= self._poll_seconds / 2:
                await self._refresh()

    async def _refresh_from_now(self) -> None:
        """Read, or share a read that starts after this call: only one runs at a time however many callers ask."""
        asked_at = time.monotonic()
        async with self._refreshing:
            if self._refreshed_at < asked_at:
                await self._refresh()

    async def _refresh(self) -> None:
        looked_at = time.monotonic()
        for projection, position, revision in await self._models.rows(ALL, {}):
            noticed = await self._refresh_parked(projection, revision)
            if noticed or projection not in self._followed:
                self.advance(projection, position)
        self._refreshed_at = looked_at

    async def _refresh_parked(self, projection: str, revision: int) -> bool:
        """Read parked workspaces if they changed; after the checkpoint, so that none up to it is missed."""
        if revision <= self._left_out.get(projection, NOTHING_KNOWN).revision:
            return False
        rows = await self._models.rows(PARKED, {"projection": projection}) if revision else []
        if revision <= self._left_out.get(projection, NOTHING_KNOWN).revision:
            return False  # the worker of this process has reported it meanwhile, and may be further
        self.set_parked(projection, revision, dict(rows))
        return True
