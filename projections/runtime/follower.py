"""Following the log for one projection: own it, fold what comes in batches, move rows and checkpoint together."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import psycopg
import structlog
from psycopg import AsyncConnection

from projections.runtime.checkpoints import Checkpoints
from projections.runtime.commit import LeftOutChanged, Owned
from projections.runtime.event_filter import NOTHING_PARKED
from projections.runtime.parking import CHECKPOINT, Footing, footing_of
from projections.runtime.projection import Projection, Reader
from projections.runtime.status import LOCK, label_session
from projections.settings import ProjectionSettings
from store.errors import Unavailable
from store.failpoint import FailPointHook, noop
from store.log.records import Page, Recorded
from store.postgres.arrays import register
from store.postgres.connections import ASYNC_COMMIT, bounded
from store.postgres.exclusive import ExclusiveRole, Progress, RoleBounds, RoleLost
from store.postgres.lock_status import name_session
from store.retrying import BackOff, BackOffBounds, Retrying

LOST: Final = (psycopg.OperationalError, psycopg.InterfaceError, Unavailable, TimeoutError, RoleLost)
"""What a new connection may mend."""


OnBatch = Callable[[str, int, float], None]
"""Is told of each batch that was folded: the projection, how many facts, and the seconds until they were committed."""


def unmeasured(_projection: str, _facts: int, _seconds: float) -> None:
    """Measure nothing."""


STATEMENT_TIMEOUT_MS: Final = 30_000
BACK_OFF: Final = BackOffBounds(longest_seconds=5.0)


class Following(StrEnum):
    """What a follower is doing."""

    CONNECTING = "connecting"
    STANDING_BY = "standing_by"
    """Another worker has the projection."""
    FOLLOWING = "following"


class Follower:
    """Follows the log for one projection, exactly once, as the only one among all processes."""

    def __init__(
        self,
        conninfo: str,
        feed: Reader,
        projection: Projection,
        checkpoints: Checkpoints,
        settings: ProjectionSettings,
        failpoint: FailPointHook = noop,
        on_batch: OnBatch = unmeasured,
    ) -> None:
        """Make the follower; it does nothing until `run`. `failpoint` is a test hook."""
        self._conninfo = bounded(
            conninfo,
            statement_timeout_ms=STATEMENT_TIMEOUT_MS,
            application_name=name_session(label_session(projection.name)),
        )
        self._feed = feed
        self._projection = projection
        self._checkpoints = checkpoints
        self._settings = settings
        self._failpoint = failpoint
        self._on_batch = on_batch
        self._position = 0  # what this worker has folded may be a little ahead of the checkpoint's row
        self._revision = 0
        self._parked: Mapping[UUID, int] = NOTHING_PARKED
        self._committed_at = 0.0
        self._role = ExclusiveRole(
            LOCK,
            projection.name,
            RoleBounds(standby_seconds=settings.standby_seconds, hung_seconds=settings.hung_seconds),
        )
        self._back_off = BackOff(BACK_OFF)
        self._busy_since: float | None = None
        self._log = structlog.get_logger("projections.follower").bind(projection=projection.name)
        self.doing = Following.CONNECTING

    @property
    def name(self) -> str:
        """Give the projection's name."""
        return self._projection.name

    @property
    def position(self) -> int:
        """Give how far the projection has come, as far as this follower knows."""
        return self._position

    @property
    def parked(self) -> int:
        """Give how many workspaces are parked in the projection, as far as this follower knows."""
        return len(self._parked)

    @property
    def stalled(self) -> bool:
        """Tell whether there has been something to fold for long, and nobody has folded it."""
        busy_since = self._busy_since
        return busy_since is not None and time.monotonic() - busy_since > self._settings.stalled_seconds

    def _busy(self, *, busy: bool) -> None:
        if not busy:
            self._busy_since = None
        elif self._busy_since is None:
            self._busy_since = time.monotonic()

    async def run(self) -> None:
        """Follow until cancelled.

        A lost connection is made again with jittered back-off, also when PostgreSQL does not answer in time. What
        cannot be folded parks its workspace. Anything unexpected is raised.
        """
        async for attempt in Retrying(*LOST, back_off=self._back_off, on_failure=self._interrupted):
            with attempt:
                try:
                    async with self._role.hold(self._conninfo, self._stand_by, self._hung_worker_ended) as connection:
                        await self._serve(connection)
                finally:
                    self._projection.forget()
                    self._checkpoints.followed(self.name, here=False)

    def _interrupted(self, fault: Exception, _failures: int) -> None:
        self._log.warning("projection.interrupted", reason=str(fault).strip() or repr(fault))
        self.doing = Following.CONNECTING
        self._busy(busy=True)

    async def _stand_by(self, connection: AsyncConnection[Any]) -> Progress:
        """Return how far the worker that has the projection has come."""
        self.doing = Following.STANDING_BY
        cursor = await connection.execute(CHECKPOINT, [self.name])
        row = await cursor.fetchone()
        position = 0 if row is None else row[0]
        self._busy(busy=position == self._position and position < self._feed.through)
        self._position = position
        return Progress(position, self._feed.through)

    def _hung_worker_ended(self, session: str, position: int) -> None:
        self._log.warning("projection.hung_worker_ended", session=session, position=position)

    async def _serve(self, connection: AsyncConnection[Any]) -> None:
        register(connection)
        await connection.execute(ASYNC_COMMIT)  # a crash costs a moment of folding again
        owned = Owned(
            connection,
            self._projection,
            await footing_of(connection, self.name),
            commit_seconds=self._settings.commit_seconds,
            failpoint=self._failpoint,
        )
        self._checkpoints.followed(self.name, here=True)
        self._stands(owned.footing)
        self.doing = Following.FOLLOWING
        self._log.info("projection.following", position=self._position, parked=self.parked)
        while True:
            try:
                await self._step(owned)
            except LeftOutChanged:
                # Back to the row: of what was passed over since, something may no longer be left out.
                await owned.look_again()
                self._stands(owned.footing)
                self._log.info("projection.left_out_changed", position=self._position, parked=self.parked)

    def _stands(self, footing: Footing) -> None:
        self._parked, self._revision = footing.parked, footing.revision
        self._checkpoints.left_out(self.name, footing.revision, footing.parked)
        self._came_to(footing.position)

    def _came_to(self, position: int) -> None:
        self._position = position
        self._checkpoints.moved(self.name, position, revision=self._revision)

    async def _step(self, owned: Owned) -> None:
        try:
            # Where the row lags behind, a pause in the log must not leave it there: other processes read it.
            lags = owned.footing.position != self._position
            async with asyncio.timeout(self._settings.checkpoint_seconds if lags else None):
                self._busy(busy=self._feed.through > self._position)
                page = await self._feed.read(self._position, self._settings.batch_events)
                self._busy(busy=True)
        except TimeoutError:
            await self._commit(owned, (), self._position)
            return
        await self._take(owned, page)
        if len(page.events) < self._settings.batch_events:
            await self._gather(len(page.events))

    async def _gather(self, events: int) -> None:
        """Let facts come together, the longer the more came last.

        The fact that ends a pause is folded at once. The pause after it is short, but it bounds the transactions a
        second: they, and not the facts, are what costs when there is little load.
        """
        settings = self._settings
        longest = min(settings.gather_seconds_max, events * settings.gather_seconds_per_event)
        await asyncio.sleep(max(settings.gather_seconds_min, longest))

    async def _take(self, owned: Owned, page: Page) -> None:
        facts = owned.sieve.take(page.events, self._position)
        if facts or time.monotonic() - self._committed_at > self._settings.checkpoint_seconds:
            await self._commit(owned, facts, page.through)
        # Facts that the projection does not want change no row, so that it stands past them at once; the row follows.
        self._came_to(page.through)
        self._busy(busy=False)

    async def _commit(self, owned: Owned, facts: Sequence[Recorded], through: int) -> None:
        before, begun_at = owned.footing.revision, time.monotonic()
        await owned.commit(facts, through)
        self._committed_at = time.monotonic()
        if facts:
            self._on_batch(self.name, len(facts), self._committed_at - begun_at)
        self._back_off.reset()
        if owned.footing.revision != before:
            self._stands(owned.footing)
