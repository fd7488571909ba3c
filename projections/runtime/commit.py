"""Commit the batches of a projection: rows and checkpoint in one transaction, by the worker that owns it."""

import asyncio
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any, Final

import structlog
from msgspec.structs import replace
from psycopg import AsyncConnection

from projections.runtime.apply import apply, find_poison, is_poisonous
from projections.runtime.event_filter import EventFilter
from projections.runtime.parking import CHECKPOINT, ProjectionState, format_error, load_state, park, read_topic
from projections.runtime.projection import Projection, Unfoldable
from store.failpoint import FailPointHook
from store.log.records import Recorded
from store.postgres.exclusive import RoleLost
from store.tracing import Spans

MOVE: Final = """
update checkpoints
   set position = %(position)b::bigint, revision = revision + %(grown)b::bigint, updated_at = now()
 where projection = %(projection)b and position = %(expected)b::bigint and revision = %(revision)b::bigint
returning revision
"""
"""Move the checkpoint from where this worker left it; it matches no row when another process has changed it."""


class ExclusionsChanged(Exception):  # noqa: N818  # expected: start again from the checkpoint
    """Parked or skipped facts of the projection have changed; what was committed before is valid."""


class OwnedProjection:
    """A projection that this worker owns, over the connection that holds the role."""

    def __init__(
        self,
        connection: AsyncConnection[Any],
        projection: Projection,
        state: ProjectionState,
        *,
        commit_seconds: float,
        failpoint: FailPointHook,
    ) -> None:
        """Create it from the loaded state. `failpoint` is a test hook."""
        self._connection = connection
        self._projection = projection
        self.state = state
        """Its committed state; the feed may have been read further."""
        self._commit_seconds = commit_seconds
        self._failpoint = failpoint
        self.filter = create_event_filter(projection, state)
        self._log = structlog.get_logger("projections.follower").bind(projection=projection.name)
        self._spans = Spans()

    async def commit(self, facts: Sequence[Recorded], through: int) -> None:
        """Fold filtered facts and move the checkpoint; park the workspaces whose facts cannot be folded.

        PostgreSQL does not say which fact of a batch it refuses, and more may follow: so after one the next batch has
        one fact, and each further batch twice as many. Raises RoleLost, ExclusionsChanged (what is committed by then
        is valid); TimeoutError when PostgreSQL does not respond in time.
        """
        size, is_last = len(facts), False
        with self._spans.open("projection", projection=self._projection.name):
            while not is_last:
                is_last = size >= len(facts)
                end = through if is_last else facts[size - 1].position
                fault = await self._try_to_write(facts[:size], end, None)
                if fault is None:
                    self._record_commit(end, None)
                    facts, size = facts[size:], 2 * size
                else:
                    poison = await self._set_aside(facts[:size], fault)
                    facts = [
                        fact
                        for fact in facts
                        if fact.position > poison.position and fact.workspace_id != poison.workspace_id
                    ]
                    size, is_last = 1, False

    async def _set_aside(self, facts: Sequence[Recorded], fault: Exception) -> Unfoldable:
        """Commit the facts before the poison fact, and park its workspace with them; return the poison fact."""
        while True:
            poison = await self._find_poison(facts, fault)
            facts = [fact for fact in facts if fact.position < poison.position]
            earlier = await self._try_to_write(facts, poison.position, poison)
            if earlier is None:
                self._record_commit(poison.position, poison)
                return poison
            fault = earlier  # PostgreSQL refuses a fact before the one that the projection could not fold

    async def _try_to_write(
        self, facts: Sequence[Recorded], through: int, poison: Unfoldable | None
    ) -> Exception | None:
        """Write facts, and park a workspace if `poison` is given; return the error when a fact caused one."""
        try:
            async with asyncio.timeout(self._commit_seconds):
                await self._write(facts, through, poison)
        except (RoleLost, ExclusionsChanged):
            raise
        except Exception as fault:
            if not is_poisonous(fault):
                raise
            return fault
        return None

    async def _write(self, facts: Sequence[Recorded], through: int, poison: Unfoldable | None) -> None:
        connection, name = self._connection, self._projection.name
        # Pipelined, so that a batch costs one or two round trips and not one a statement.
        async with connection.pipeline(), connection.transaction():
            await apply(self._projection, connection.cursor(binary=True), facts)
            if poison is not None:
                await park(connection.cursor(binary=True), name, poison)
            moved = connection.cursor(binary=True)
            await moved.execute(
                MOVE,
                {
                    "projection": name,
                    "position": through,
                    "expected": self.state.position,
                    "revision": self.state.revision,
                    "grown": int(poison is not None),
                },
                prepare=True,
            )
            # Waiting for the row of the last statement sends the whole buffer. psycopg's `sync` would not: after a
            # batch larger than the socket's buffer it waits for responses to statements that it has not sent.
            if await moved.fetchone() is None:
                await self._raise_reason(connection)
            self._failpoint("rows.written")
        self._failpoint("rows.committed")

    async def _raise_reason(self, connection: AsyncConnection[Any]) -> None:
        """Raise why the checkpoint did not move: RoleLost or ExclusionsChanged."""
        cursor = connection.cursor(binary=True)
        await cursor.execute(CHECKPOINT, [self._projection.name])
        row = await cursor.fetchone()
        if row is None or row[0] != self.state.position:
            raise RoleLost("another worker has moved the checkpoint")
        raise ExclusionsChanged

    async def _find_poison(self, facts: Sequence[Recorded], fault: Exception) -> Unfoldable:
        """Return the poison fact. Raises `fault` when there is none."""
        poison = await find_poison(self._connection, self._projection, facts, fault, try_seconds=self._commit_seconds)
        if poison is None:
            raise fault
        return poison

    def _record_commit(self, through: int, poison: Unfoldable | None) -> None:
        state = self.state
        if poison is None:
            self.state = replace(state, position=through)
            return
        self.state = replace(
            state,
            position=through,
            revision=state.revision + 1,
            parked=MappingProxyType({**state.parked, poison.workspace_id: poison.position}),
        )
        self.filter = create_event_filter(self._projection, self.state)
        self._log.error(
            "projection.parked",
            workspace=str(poison.workspace_id),
            position=poison.position,
            topic=read_topic(poison),
            reason=format_error(poison),
        )

    async def reload(self) -> None:
        """Load the state again: parked or skipped facts have changed."""
        self._projection.forget()
        self.state = await load_state(self._connection, self._projection.name)
        self.filter = create_event_filter(self._projection, self.state)


def create_event_filter(projection: Projection, state: ProjectionState) -> EventFilter:
    """Return a filter for the facts that the projection wants, without parked and skipped ones."""
    return EventFilter(projection.wants, parked=state.parked, skips=state.skips)
