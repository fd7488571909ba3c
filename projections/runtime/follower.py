"""Follow the log for one projection: own it, fold facts in batches, commit rows and checkpoint together."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import structlog
from psycopg import AsyncConnection

from projections.runtime.checkpoints import Checkpoints
from projections.runtime.commit import ExclusionsChanged, OwnedProjection
from projections.runtime.event_filter import NOTHING_PARKED
from projections.runtime.parking import CHECKPOINT, ProjectionState, load_state
from projections.runtime.projection import Projection, Reader
from projections.runtime.rewind import reset_if_ahead
from projections.runtime.status import LOCK, label_session
from projections.settings import ProjectionSettings
from store.errors import Unavailable
from store.failpoint import FailPointHook, noop
from store.log.records import Page, Recorded
from store.outage_log import OutageLog
from store.postgres.arrays import register
from store.postgres.connections import ASYNC_COMMIT, OpenConnections, add_bounds
from store.postgres.exclusive import ExclusiveRole, Progress, RoleBounds, RoleLost
from store.postgres.lock_status import name_session
from store.retrying import BackOff, Retrying

LOST: Final = (Unavailable, RoleLost)
LOGGER: Final = "projections.follower"
INTERRUPTED: Final = "projection.interrupted"
"""Errors that a new connection may resolve."""


OnBatch = Callable[[str, int, float], None]
"""Called for each batch: the projection, the number of facts, and the seconds until they were committed."""


def ignore_batch(_projection: str, _facts: int, _seconds: float) -> None:
    """Ignore the batch: no callback is registered."""


STATEMENT_TIMEOUT_MS: Final = 30_000


class Following(StrEnum):
    """State of a follower."""

    CONNECTING = "connecting"
    STANDING_BY = "standing_by"
    """Another worker has the projection."""
    FOLLOWING = "following"


class Follower:
    """Follow the log for one projection, exactly once, as the only follower of all processes."""

    def __init__(
        self,
        conninfo: str,
        feed: Reader,
        projection: Projection,
        checkpoints: Checkpoints,
        settings: ProjectionSettings,
        failpoint: FailPointHook = noop,
        on_batch: OnBatch = ignore_batch,
        *,
        connections: OpenConnections | None = None,
    ) -> None:
        """Create the follower; it does nothing until `run`. Its connection is added to `connections`, if given."""
        self._connections = connections
        self._conninfo = add_bounds(
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
        self._position = 0  # may be a little ahead of the checkpoint row
        self._revision = 0
        self._parked: Mapping[UUID, int] = NOTHING_PARKED
        self._committed_at = 0.0
        self._role = ExclusiveRole(
            LOCK,
            projection.name,
            RoleBounds(standby_seconds=settings.standby_seconds, hung_seconds=settings.hung_seconds),
        )
        self._back_off = BackOff()
        self._busy_since: float | None = None
        self._log = structlog.get_logger(LOGGER).bind(projection=projection.name)
        self._outages = OutageLog(LOGGER, lost=INTERRUPTED, back="projection.back", projection=projection.name)
        self.doing = Following.CONNECTING

    @property
    def name(self) -> str:
        """Return the name of the projection."""
        return self._projection.name

    @property
    def position(self) -> int:
        """Return the last known position of the projection."""
        return self._position

    @property
    def parked_count(self) -> int:
        """Return the last known number of parked workspaces."""
        return len(self._parked)

    @property
    def is_stalled(self) -> bool:
        """Return whether there have been facts to fold for `stalled_seconds`, and no process has folded them."""
        busy_since = self._busy_since
        return busy_since is not None and time.monotonic() - busy_since > self._settings.stalled_seconds

    def _set_busy(self, *, busy: bool) -> None:
        if not busy:
            self._busy_since = None
        elif self._busy_since is None:
            self._busy_since = time.monotonic()

    async def run(self) -> None:
        """Follow until cancelled.

        Reconnects with back-off, also when PostgreSQL does not respond in time. A fact that cannot be folded parks its
        workspace. Unexpected exceptions are raised.
        """
        async for attempt in Retrying(*LOST, back_off=self._back_off, on_failure=self._handle_failure):
            with attempt:
                try:
                    async with self._role.hold(
                        self._conninfo, self._stand_by, self._log_ended_worker, self._connections
                    ) as connection:
                        await self._serve(connection)
                finally:
                    self._projection.forget()
                    self._checkpoints.set_followed(self.name, here=False)

    def _handle_failure(self, fault: Exception, _failures: int) -> None:
        self._outages.note_failure(str(fault).strip() or repr(fault))
        self.doing = Following.CONNECTING
        self._set_busy(busy=True)

    async def _stand_by(self, connection: AsyncConnection[Any]) -> Progress:
        """Return the progress of the worker that holds the projection."""
        self.doing = Following.STANDING_BY
        cursor = await connection.execute(CHECKPOINT, [self.name])
        row = await cursor.fetchone()
        self._outages.note_success(standing_by=True)
        position = 0 if row is None else row[0]
        self._set_busy(busy=position == self._position and position < self._feed.through)
        self._position = position
        return Progress(position, self._feed.through)

    def _log_ended_worker(self, session: str, position: int) -> None:
        self._log.warning("projection.hung_worker_ended", session=session, position=position)

    async def _serve(self, connection: AsyncConnection[Any]) -> None:
        register(connection)
        await self._feed.check_connection(connection)
        await connection.execute(ASYNC_COMMIT)  # a crash costs a moment of folding again
        await reset_if_ahead(connection, self._projection)
        owned = OwnedProjection(
            connection,
            self._projection,
            await load_state(connection, self.name),
            commit_seconds=self._settings.commit_seconds,
            failpoint=self._failpoint,
        )
        self._checkpoints.set_followed(self.name, here=True)
        self._use_state(owned.state)
        self.doing = Following.FOLLOWING
        self._log.info("projection.following", position=self._position, parked=self.parked_count)
        self._outages.note_success(position=self._position)
        while True:
            try:
                await self._step(owned)
            except ExclusionsChanged:
                # Back to the checkpoint: facts that were excluded since may not be excluded any more.
                await owned.reload()
                self._use_state(owned.state)
                self._log.info("projection.left_out_changed", position=self._position, parked=self.parked_count)

    def _use_state(self, state: ProjectionState) -> None:
        self._parked, self._revision = state.parked, state.revision
        self._checkpoints.set_parked(self.name, state.revision, state.parked)
        self._advance(state.position)

    def _advance(self, position: int) -> None:
        self._position = position
        self._checkpoints.advance(self.name, position, revision=self._revision)

    async def _step(self, owned: OwnedProjection) -> None:
        try:
            # A pause of the log must not leave the checkpoint behind: other processes read it.
            lags = owned.state.position != self._position
            async with asyncio.timeout(self._settings.checkpoint_seconds if lags else None):
                self._set_busy(busy=self._feed.through > self._position)
                page = await self._feed.read(self._position, self._settings.batch_events)
                self._set_busy(busy=True)
        except TimeoutError:
            await self._commit(owned, (), self._position)
            return
        await self._take(owned, page)
        if len(page.events) < self._settings.batch_events:
            await self._pause(len(page.events))

    async def _pause(self, events: int) -> None:
        """Pause so that the next batch is larger; the pause grows with the size of the last one.

        The fact after a quiet time is folded at once. The pause after it is short, but limits the transactions a
        second: at low load they are the cost, and not the facts.
        """
        settings = self._settings
        longest = min(settings.gather_seconds_max, events * settings.gather_seconds_per_event)
        await asyncio.sleep(max(settings.gather_seconds_min, longest))

    async def _take(self, owned: OwnedProjection, page: Page) -> None:
        facts = owned.filter.select(page.events, self._position)
        if facts or time.monotonic() - self._committed_at > self._settings.checkpoint_seconds:
            await self._commit(owned, facts, page.through)
        # Unwanted facts change no row: advance in memory now; the checkpoint row is written later.
        self._advance(page.through)
        self._set_busy(busy=False)

    async def _commit(self, owned: OwnedProjection, facts: Sequence[Recorded], through: int) -> None:
        before, begun_at = owned.state.revision, time.monotonic()
        await owned.commit(facts, through)
        self._committed_at = time.monotonic()
        if facts:
            self._on_batch(self.name, len(facts), self._committed_at - begun_at)
        self._back_off.reset()
        if owned.state.revision != before:
            self._use_state(owned.state)
