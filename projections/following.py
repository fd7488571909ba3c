"""Following the log for one projection: own it, fold what comes in batches, move rows and checkpoint together."""

import asyncio
import random
import time
from enum import StrEnum
from typing import Any, Final

import psycopg
import structlog
from msgspec import Struct
from opentelemetry import trace
from psycopg import AsyncConnection

from projections.checkpoints import Checkpoints
from projections.projection import Projection, Reader, Unfoldable
from projections.standing import worker_name
from store.arrays import register
from store.connections import bounded, connected
from store.faults import Unavailable, UnreadableEvent
from store.record import Page, Recorded

OWN: Final = "select pg_try_advisory_lock(1886547818, hashtext(%b::text))"
"""Become the one worker of a projection, for as long as the connection lives."""

BEGIN: Final = "insert into checkpoints (projection) values (%b) on conflict do nothing"
"""Make the checkpoint of a projection that has none."""

CHECKPOINT: Final = "select position from checkpoints where projection = %b"
"""Read how far a projection has folded the log."""

MOVE: Final = """
update checkpoints set position = %(position)b::bigint, updated_at = now()
 where projection = %(projection)b and position = %(expected)b::bigint
returning position
"""
"""Move the checkpoint from where this worker left it; it moves nothing where another worker has been."""

# A read model can be built again from the log, and PostgreSQL loses the tail of its rows and its checkpoint together:
# so a crash costs a moment of folding again, and a commit need not wait for the disk.
RELAXED: Final = "set synchronous_commit = off"


class WorkerBounds(Struct, frozen=True, kw_only=True):
    """The bounds of following; `callsheet.settings` names and documents each."""

    batch_events: int = 2_000
    gather_seconds_min: float = 0.03
    gather_seconds_max: float = 0.15
    gather_seconds_per_event: float = 0.0002
    checkpoint_seconds: float = 0.5
    standby_seconds: float = 1.0
    back_off_seconds: float = 0.05
    back_off_seconds_max: float = 5.0
    statement_timeout_ms: int = 30_000


class Following(StrEnum):
    """What a follower is doing."""

    CONNECTING = "connecting"
    STANDING_BY = "standing_by"
    """Another worker has the projection."""
    FOLLOWING = "following"
    STOPPED = "stopped"
    """A fact cannot be folded; a person has to look."""


class CheckpointTaken(Exception):  # noqa: N818  # tells the follower to stand by
    """The checkpoint is not where this worker left it: another worker has the projection."""


class Follower:
    """Follows the log for one projection, exactly once, as the only one among all processes."""

    def __init__(
        self, conninfo: str, feed: Reader, projection: Projection, checkpoints: Checkpoints, bounds: WorkerBounds
    ) -> None:
        """Make the follower; it does nothing until `run`."""
        self._conninfo = bounded(
            conninfo,
            statement_timeout_ms=bounds.statement_timeout_ms,
            application_name=worker_name(projection.name),
        )
        self._feed = feed
        self._projection = projection
        self._wants = projection.wants
        self._checkpoints = checkpoints
        self._bounds = bounds
        self._committed = 0  # where the checkpoint's row stands; what this worker has folded may be a little ahead
        self._position = 0
        self._moved_at = 0.0
        self._failures = 0
        self._log = structlog.get_logger("projections.follower").bind(projection=projection.name)
        self._tracer = trace.get_tracer("callsheet")
        self.doing = Following.CONNECTING
        self.fault: str | None = None

    @property
    def name(self) -> str:
        """Give the projection's name."""
        return self._projection.name

    @property
    def position(self) -> int:
        """Give how far the projection has come, as far as this follower knows."""
        return self._position

    async def run(self) -> None:
        """Follow until cancelled, or until a fact cannot be folded: then log it, show it in `fault`, and return.

        A lost connection is made again with jittered back-off. Anything unexpected is raised.
        """
        while True:
            try:
                async with connected(self._conninfo) as connection:
                    await self._serve(connection)
            except (Unfoldable, UnreadableEvent, psycopg.DataError, psycopg.IntegrityError) as poison:
                self._stop(poison)
                return
            except (psycopg.OperationalError, psycopg.InterfaceError, Unavailable, CheckpointTaken) as lost:
                self._log.warning("projection.interrupted", reason=str(lost).strip())
            finally:
                self._projection.forget()
                self._checkpoints.followed(self.name, here=False)
            self.doing = Following.CONNECTING
            self._failures += 1
            await asyncio.sleep(self._back_off_seconds())

    def _stop(self, poison: Exception) -> None:
        self.doing = Following.STOPPED
        self.fault = str(poison).strip()
        self._log.error("projection.stopped", position=self._committed, reason=self.fault)
        self._checkpoints.stopped(self.name, self.fault)

    def _back_off_seconds(self) -> float:
        longest = self._bounds.back_off_seconds * 2 ** min(self._failures, 10)
        return random.uniform(0.5, 1.0) * min(self._bounds.back_off_seconds_max, longest)  # noqa: S311  # jitter, nothing secret

    async def _serve(self, connection: AsyncConnection[Any]) -> None:
        await self._own(connection)
        register(connection)
        await connection.execute(RELAXED)
        await connection.execute(BEGIN, [self.name])
        cursor = await connection.execute(CHECKPOINT, [self.name])
        row = await cursor.fetchone()
        if row is None:
            raise CheckpointTaken
        self._committed = self._position = row[0]
        self._checkpoints.followed(self.name, here=True)
        self._checkpoints.moved(self.name, self._position)
        self.doing = Following.FOLLOWING
        self._log.info("projection.following", position=self._position)
        while True:
            await self._step(connection)

    async def _own(self, connection: AsyncConnection[Any]) -> None:
        while True:
            cursor = await connection.execute(OWN, [self.name])
            row = await cursor.fetchone()
            if row is not None and row[0]:
                return
            self.doing = Following.STANDING_BY
            await asyncio.sleep(self._bounds.standby_seconds * random.uniform(0.5, 1.0))  # noqa: S311  # jitter, nothing secret

    async def _step(self, connection: AsyncConnection[Any]) -> None:
        try:
            # Where the row lags behind, a pause in the log must not leave it there: other processes read it.
            async with asyncio.timeout(None if self._committed == self._position else self._bounds.checkpoint_seconds):
                page = await self._feed.read(self._position, self._bounds.batch_events)
        except TimeoutError:
            await self._commit(connection, (), self._position)
            return
        await self._take(connection, page)
        if len(page.events) < self._bounds.batch_events:
            await self._gather(len(page.events))

    async def _gather(self, events: int) -> None:
        """Let facts come together, the longer the more came last.

        The fact that ends a pause is folded at once. The pause after it is short, but it bounds the transactions a
        second: they, and not the facts, are what costs when there is little load.
        """
        bounds = self._bounds
        longest = min(bounds.gather_seconds_max, events * bounds.gather_seconds_per_event)
        await asyncio.sleep(max(bounds.gather_seconds_min, longest))

    async def _take(self, connection: AsyncConnection[Any], page: Page) -> None:
        wants, position = self._wants, self._position
        facts = [one for one in page.events if type(one.fact) in wants and one.position > position]
        if facts or time.monotonic() - self._moved_at > self._bounds.checkpoint_seconds:
            try:
                await self._commit(connection, facts, page.through)
            except Unfoldable as poison:
                await self._take_before(connection, page, poison.position)
                raise
        # Facts that the projection does not want change no row, so that it stands past them at once; the row follows.
        self._position = page.through
        self._checkpoints.moved(self.name, page.through)

    async def _take_before(self, connection: AsyncConnection[Any], page: Page, position: int) -> None:
        """Take what came before a fact that cannot be folded, so that the checkpoint stands right before it."""
        self._projection.forget()
        before = tuple(one for one in page.events if one.position < position)
        await self._take(connection, Page(events=before, through=position - 1))

    async def _commit(self, connection: AsyncConnection[Any], facts: list[Recorded] | tuple[()], through: int) -> None:
        move = {"projection": self.name, "position": through, "expected": self._committed}
        with self._tracer.start_as_current_span("projection", attributes={"projection": self.name}):
            # Pipelined, so that a batch costs one or two round trips and not one a statement.
            async with connection.pipeline(), connection.transaction():
                if facts:
                    await self._projection.apply(connection.cursor(binary=True), facts)
                moved = connection.cursor(binary=True)
                await moved.execute(MOVE, move, prepare=True)
                # Waiting for the row of the last statement sends all that is buffered. psycopg's `sync` would not:
                # after a batch larger than the socket's buffer it waits for answers to what it has not sent.
                if await moved.fetchone() is None:
                    raise CheckpointTaken
        self._committed = through
        self._moved_at = time.monotonic()
        self._failures = 0
