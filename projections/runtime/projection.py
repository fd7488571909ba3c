"""The contract of a projection: what it is called, which facts it wants, how it takes a batch of them."""

from collections.abc import Sequence
from typing import Any, Protocol
from uuid import UUID

from psycopg import AsyncCursor

from domain.fact import Fact
from store.log.records import Page, Recorded

Cursor = AsyncCursor[tuple[Any, ...]]


class Reader(Protocol):
    """What a follower reads the log by: `bus.feed.Feed`, or anything else that is contiguous."""

    async def read(self, after: int, limit: int) -> Page:
        """Give facts after a position, as soon as there are any, in order and without a gap."""
        ...

    @property
    def through(self) -> int:
        """Give the last position that is known to be in the log; below zero where nothing is known yet."""
        ...


class Projection(Protocol):
    """Folds facts into rows. It never reads or moves its checkpoint: the follower does, in the same transaction."""

    @property
    def name(self) -> str:
        """Give the name by which its checkpoint is known."""
        ...

    @property
    def tables(self) -> tuple[str, ...]:
        """Give the tables that it writes, and nobody else does: a rebuild makes just these anew."""
        ...

    @property
    def wants(self) -> frozenset[type[Fact]]:
        """Give the kinds of fact that it folds; it is given no others."""
        ...

    async def apply(self, cursor: Cursor, facts: Sequence[Recorded]) -> None:
        """Fold facts, in order of position, and write what they change. Raises Unfoldable."""
        ...

    def forget(self) -> None:
        """Drop all that is kept in memory: what was applied last may not have been committed."""
        ...


class Unfoldable(Exception):  # noqa: N818  # poison: the field's other word, for one fact
    """A fact cannot be folded into a read model. It says which, and whose, so that one workspace can be parked."""

    def __init__(self, recorded: Recorded, reason: str) -> None:
        """Say which fact, and why."""
        super().__init__(f"event {recorded.position} of stream {recorded.stream_id} cannot be folded: {reason}")
        self.recorded = recorded
        self.reason = reason
        self.position = recorded.position
        self.workspace_id: UUID = recorded.workspace_id
