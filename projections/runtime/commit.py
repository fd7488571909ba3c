"""A projection in the hands of the one worker that owns it: batches of rows, moved together with the checkpoint."""

import asyncio
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any, Final

import structlog
from msgspec.structs import replace
from psycopg import AsyncConnection

from projections.runtime.apply import apply, is_poisonous, poison_of
from projections.runtime.event_filter import Sieve
from projections.runtime.parking import CHECKPOINT, Footing, error_text, footing_of, park, topic_as_stored
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
"""Move the checkpoint from where this worker left it; it moves nothing where somebody else has changed it."""


class LeftOutChanged(Exception):  # noqa: N818  # tells the follower to begin again from the checkpoint
    """Somebody has changed what the projection leaves out; what was written before stands."""


class Owned:
    """A projection of which this worker has the lock, over one connection."""

    def __init__(
        self,
        connection: AsyncConnection[Any],
        projection: Projection,
        footing: Footing,
        *,
        commit_seconds: float,
        failpoint: FailPointHook,
    ) -> None:
        """Take a projection as it stands. `failpoint` is a test hook."""
        self._connection = connection
        self._projection = projection
        self.footing = footing
        """How it stands; the checkpoint in it is where the row is, and what was read may be ahead of it."""
        self._commit_seconds = commit_seconds
        self._failpoint = failpoint
        self.sieve = sieve_of(projection, footing)
        self._log = structlog.get_logger("projections.follower").bind(projection=projection.name)
        self._spans = Spans()

    async def commit(self, facts: Sequence[Recorded], through: int) -> None:
        """Fold facts that came through the sieve, and move the checkpoint; park the workspaces that cannot be folded.

        Behind a fact that could not be folded there may be more: so few are tried next, and then twice as many each
        time, for PostgreSQL does not say which of them it refuses. Raises RoleLost, LeftOutChanged (what is
        committed by then stands); TimeoutError when PostgreSQL does not answer in time.
        """
        size, is_last = len(facts), False
        with self._spans.open("projection", projection=self._projection.name):
            while not is_last:
                is_last = size >= len(facts)
                end = through if is_last else facts[size - 1].position
                fault = await self._try_to_write(facts[:size], end, None)
                if fault is None:
                    self._written(end, None)
                    facts, size = facts[size:], 2 * size
                else:
                    poison = await self._set_aside(facts[:size], fault)
                    facts = [
                        one
                        for one in facts
                        if one.position > poison.position and one.workspace_id != poison.workspace_id
                    ]
                    size, is_last = 1, False

    async def _set_aside(self, facts: Sequence[Recorded], fault: Exception) -> Unfoldable:
        """Commit what lies before the fact that is at fault, and with it that its workspace is parked; gives that."""
        while True:
            poison = await self._poison_of(facts, fault)
            facts = [one for one in facts if one.position < poison.position]
            earlier = await self._try_to_write(facts, poison.position, poison)
            if earlier is None:
                self._written(poison.position, poison)
                return poison
            fault = earlier  # PostgreSQL refuses one that lies before what the projection itself could not fold

    async def _try_to_write(
        self, facts: Sequence[Recorded], through: int, poison: Unfoldable | None
    ) -> Exception | None:
        """Write facts, and that a workspace is parked, if one is; or give what was wrong with a fact."""
        try:
            async with asyncio.timeout(self._commit_seconds):
                await self._write(facts, through, poison)
        except (RoleLost, LeftOutChanged):
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
                    "expected": self.footing.position,
                    "revision": self.footing.revision,
                    "grown": int(poison is not None),
                },
                prepare=True,
            )
            # Waiting for the row of the last statement sends all that is buffered. psycopg's `sync` would not: after a
            # batch larger than the socket's buffer it waits for answers to what it has not sent.
            if await moved.fetchone() is None:
                await self._explain(connection)
            self._failpoint("rows.written")
        self._failpoint("rows.committed")

    async def _explain(self, connection: AsyncConnection[Any]) -> None:
        """Say why the checkpoint did not move. Raises RoleLost, LeftOutChanged."""
        cursor = connection.cursor(binary=True)
        await cursor.execute(CHECKPOINT, [self._projection.name])
        row = await cursor.fetchone()
        if row is None or row[0] != self.footing.position:
            raise RoleLost("another worker has moved the checkpoint")
        raise LeftOutChanged

    async def _poison_of(self, facts: Sequence[Recorded], fault: Exception) -> Unfoldable:
        """Find the fact that is at fault. Raises the fault where none is."""
        poison = await poison_of(self._connection, self._projection, facts, fault, try_seconds=self._commit_seconds)
        if poison is None:
            raise fault
        return poison

    def _written(self, through: int, poison: Unfoldable | None) -> None:
        footing = self.footing
        if poison is None:
            self.footing = replace(footing, position=through)
            return
        self.footing = replace(
            footing,
            position=through,
            revision=footing.revision + 1,
            parked=MappingProxyType({**footing.parked, poison.workspace_id: poison.position}),
        )
        self.sieve = sieve_of(self._projection, self.footing)
        self._log.error(
            "projection.parked",
            workspace=str(poison.workspace_id),
            position=poison.position,
            topic=topic_as_stored(poison),
            reason=error_text(poison),
        )

    async def look_again(self) -> None:
        """Take the projection as it stands now: what it leaves out has changed."""
        self._projection.forget()
        self.footing = await footing_of(self._connection, self._projection.name)
        self.sieve = sieve_of(self._projection, self.footing)


def sieve_of(projection: Projection, footing: Footing) -> Sieve:
    """Give the sieve that obeys what is parked and skipped."""
    return Sieve(projection.wants, parked=footing.parked, skips=footing.skips)
