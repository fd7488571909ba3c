"""Retry a parked workspace: fold its facts page by page, and unpark it at the live checkpoint."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from msgspec import Struct
from psycopg import AsyncConnection

from projections.runtime.apply import apply, find_poison, is_poisonous
from projections.runtime.event_filter import EventFilter
from projections.runtime.parking import format_error, read_topic
from projections.runtime.projection import Cursor, Projection, Unfoldable
from projections.runtime.skips import load_skips
from projections.settings import ProjectionSettings
from store.log.queries import LogFilter
from store.log.readers import read_range
from store.log.records import Recorded
from store.postgres.arrays import register

BEGUN: Final = """
insert into parking_history (projection, workspace_id, position, happened, by_whom, detail)
select projection, workspace_id, from_position, 'retried', %(by)b, ''
  from parked
 where projection = %(projection)b and workspace_id = %(workspace)b
returning position
"""
"""Record that a workspace is retried; return its position, or no row when it is not parked."""

CHECKPOINT: Final = "select position from checkpoints where projection = %b"
"""Read the live checkpoint."""

LOCK: Final = "select position from checkpoints where projection = %b for update"
"""Read the live checkpoint and lock it until the transaction ends."""

ADVANCE: Final = """
update parked set from_position = %(onward)b::bigint
 where projection = %(projection)b and workspace_id = %(workspace)b and from_position = %(expected)b::bigint
returning from_position
"""
"""Record that everything before a position is folded; it matches no row when another process did."""

STOP: Final = """
with stopped as (
    update parked
       set from_position = %(position)b::bigint, stream_id = %(stream)b, version = %(version)b::bigint,
           topic = %(topic)b, error = %(error)b
     where projection = %(projection)b and workspace_id = %(workspace)b and from_position = %(expected)b::bigint
    returning projection, workspace_id, from_position, error
)
insert into parking_history (projection, workspace_id, position, happened, by_whom, detail)
select projection, workspace_id, from_position, 'parked', 'retry', error from stopped
returning position
"""
"""Record that the workspace stays parked at this fact."""

UNPARK: Final = """
with unparked as (
    delete from parked
     where projection = %(projection)b and workspace_id = %(workspace)b and from_position = %(expected)b::bigint
    returning projection, workspace_id
), noticed as (
    update checkpoints set revision = revision + 1
     where projection = %(projection)b and exists (select from unparked)
)
insert into parking_history (projection, workspace_id, position, happened, by_whom, detail)
select projection, workspace_id, %(position)b::bigint, 'unparked', 'retry', '' from unparked
returning position
"""
"""Unpark the workspace; the worker of the projection notices the new revision."""

STRETCH_POSITIONS: Final = 10_000
"""Number of positions that one read of the log covers at most."""


class Retried(Struct, frozen=True, kw_only=True):
    """The result: everything before `position` is folded; `error` says why it stays parked there, if it does."""

    projection: str
    workspace_id: UUID
    folded: int
    position: int
    error: str | None


class NotParked(Exception):  # noqa: N818  # a message for the operator
    """The workspace is not parked in the projection."""


class RetriedByAnother(Exception):  # noqa: N818  # a message for the operator
    """Another process is retrying the same workspace in the same projection."""


class Retry:
    """One retry of one workspace, over one connection in autocommit mode.

    The others are folded meanwhile: only the last pages, which lead up to their checkpoint, hold it for a moment. What
    is folded stays folded when the retry ends early, and the next retry continues from there.
    """

    def __init__(
        self,
        connection: AsyncConnection[Any],
        projection: Projection,
        workspace_id: UUID,
        settings: ProjectionSettings,
        told: Callable[[int, int], None] = lambda _position, _checkpoint: None,
        *,
        stretch_positions: int = STRETCH_POSITIONS,
    ) -> None:
        """Create it, with a projection whose caches are empty; `told` is called with the position and the target."""
        self._connection = connection
        self._projection = projection
        self._workspace_id = workspace_id
        self._settings = settings
        self._stretch_positions = stretch_positions
        self._told = told
        self._filter = EventFilter(projection.wants)
        self._from = 0
        self._folded = 0

    async def run(self, by: str) -> Retried:
        """Fold until it is unparked, or a fact cannot be folded. Raises NotParked, RetriedByAnother, TimeoutError."""
        register(self._connection)
        cursor = await self._execute(BEGUN, {"by": by})
        row = await cursor.fetchone()
        if row is None:
            raise NotParked
        self._from = row[0]
        self._filter = EventFilter(
            self._projection.wants, skips=await load_skips(self._connection, self._projection.name)
        )
        while True:
            poison, done = await self._onward()
            if poison is not None or done:
                return Retried(
                    projection=self._projection.name,
                    workspace_id=self._workspace_id,
                    folded=self._folded,
                    position=self._from,
                    error=None if poison is None else format_error(poison),
                )

    async def _onward(self) -> tuple[Unfoldable | None, bool]:
        """Fold a page; return the poison fact that it stopped at, and whether the workspace is unparked."""
        checkpoint = await self._checkpoint(CHECKPOINT)
        self._told(self._from - 1, checkpoint)
        last = checkpoint - self._from < self._stretch_positions
        try:
            async with asyncio.timeout(self._settings.commit_seconds):
                if last:
                    return None, await self._unpark()
                facts, through = await self._page(checkpoint, self._from - 1)
                await self._advance(facts, through + 1)
                return None, False
        except _CannotFold as stopped:
            return await self._stop(stopped.facts, stopped.fault), False

    async def _unpark(self) -> bool:
        """Fold the last pages with the checkpoint locked; return False when it is too far ahead."""
        async with self._connection.transaction():
            checkpoint = await self._checkpoint(LOCK)
            facts: list[Recorded] = []
            through, begun_from = self._from - 1, self._from
            while through < checkpoint:
                page, through = await self._page(checkpoint, through)
                facts.extend(page)
                if len(facts) > self._settings.batch_events:
                    break
            whole = through >= checkpoint
            await self._fold(facts)
            unparked = {"expected": begun_from, "position": checkpoint, "onward": through + 1}
            await self._insist(UNPARK if whole else ADVANCE, unparked)
        self._from, self._folded = through + 1, self._folded + len(facts)
        return whole

    async def _advance(self, facts: Sequence[Recorded], onward: int) -> None:
        async with self._connection.transaction():
            await self._fold(facts)
            await self._insist(ADVANCE, {"expected": self._from, "onward": onward})
        self._from, self._folded = onward, self._folded + len(facts)

    async def _stop(self, facts: Sequence[Recorded], fault: Exception) -> Unfoldable:
        """Fold the facts before the poison fact, and stay parked at it. Raises faults that no fact caused."""
        while True:
            poison = await find_poison(
                self._connection, self._projection, facts, fault, try_seconds=self._settings.commit_seconds
            )
            if poison is None:
                raise fault
            facts = [fact for fact in facts if fact.position < poison.position]
            try:
                async with asyncio.timeout(self._settings.commit_seconds), self._connection.transaction():
                    await self._fold(facts)
                    await self._insist(STOP, {"expected": self._from, **_parameters(poison)})
            except _CannotFold as earlier:
                fault = earlier.fault
                continue
            self._from, self._folded = poison.position, self._folded + len(facts)
            return poison

    async def _fold(self, facts: Sequence[Recorded]) -> None:
        """Fold facts within the transaction. Raises _CannotFold, with the caches cleared."""
        try:
            async with self._connection.pipeline():
                await apply(self._projection, self._cursor(), facts)
        except Exception as fault:
            self._projection.forget()
            if not is_poisonous(fault):
                raise
            raise _CannotFold(facts, fault) from fault

    async def _page(self, checkpoint: int, after: int) -> tuple[list[Recorded], int]:
        """Return the next facts to fold, and the position that they were searched up to."""
        through = min(checkpoint, after + self._stretch_positions)
        limit = self._settings.batch_events
        only = LogFilter(workspace_id=self._workspace_id)
        events = await read_range(self._cursor(), after=after, through=through, limit=limit, only=only)
        return self._filter.select(events, after), events[-1].position if len(events) == limit else through

    async def _checkpoint(self, query: Any) -> int:  # noqa: ANN401  # a literal
        cursor = self._cursor()
        await cursor.execute(query, [self._projection.name])
        row = await cursor.fetchone()
        return 0 if row is None else int(row[0])

    async def _insist(self, statement: Any, parameters: Mapping[str, object]) -> None:  # noqa: ANN401  # a literal
        cursor = await self._execute(statement, parameters)
        if await cursor.fetchone() is None:
            raise RetriedByAnother

    async def _execute(self, statement: Any, parameters: Mapping[str, object]) -> Cursor:  # noqa: ANN401  # a literal
        ours = {"projection": self._projection.name, "workspace": self._workspace_id}
        cursor = self._cursor()
        await cursor.execute(statement, {**ours, **parameters})
        return cursor

    def _cursor(self) -> Cursor:
        return self._connection.cursor(binary=True)


class _CannotFold(Exception):  # noqa: N818  # within a retry only
    """Facts could not be folded; the poison fact is determined after the transaction."""

    def __init__(self, facts: Sequence[Recorded], fault: Exception) -> None:
        super().__init__(repr(fault))
        self.facts = facts
        self.fault = fault


def _parameters(poison: Unfoldable) -> dict[str, object]:
    return {
        "position": poison.position,
        "stream": poison.recorded.stream_id,
        "version": poison.recorded.version,
        "topic": read_topic(poison),
        "error": format_error(poison),
    }
