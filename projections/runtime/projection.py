"""The contract of a projection: its name, tables and topics, and how it applies a batch of facts."""

from collections.abc import Sequence
from typing import Any, Protocol
from uuid import UUID

from psycopg import AsyncConnection, AsyncCursor

from domain.fact import Fact
from store.log.records import Page, Recorded

Cursor = AsyncCursor[tuple[Any, ...]]


class Reader(Protocol):
    """A contiguous reader of the log for a follower, such as `bus.feed.Feed`."""

    async def read(self, after: int, limit: int) -> Page:
        """Return facts after a position as soon as there are any, in order and without a gap."""
        ...

    @property
    def through(self) -> int:
        """Return the last known position of the log; negative when none is known yet."""
        ...

    async def check_connection(self, connection: AsyncConnection[tuple[Any, ...]]) -> None:
        """Check that a connection leads to a log that has what this reader delivers. Raises LogRewound."""
        ...


class Projection(Protocol):
    """Fold facts into rows. The follower, not the projection, moves the checkpoint, in the same transaction."""

    @property
    def name(self) -> str:
        """Return the name of its checkpoint."""
        ...

    @property
    def tables(self) -> tuple[str, ...]:
        """Return the tables that only it writes: a rebuild recreates these."""
        ...

    @property
    def wants(self) -> frozenset[type[Fact]]:
        """Return the types of the facts that it folds; it receives no others."""
        ...

    async def apply(self, cursor: Cursor, facts: Sequence[Recorded]) -> None:
        """Fold facts, in order of position, and write the changed rows. Raises Unfoldable."""
        ...

    def forget(self) -> None:
        """Clear the caches: the last applied facts may not have been committed."""
        ...


class Unfoldable(Exception):  # noqa: N818  # poison: the field's other word, for one fact
    """A fact cannot be folded into a read model. It says which, and whose, so that one workspace can be parked."""

    def __init__(self, recorded: Recorded, reason: str) -> None:
        """Create it for a fact, with the reason."""
        super().__init__(f"event {recorded.position} of stream {recorded.stream_id} cannot be folded: {reason}")
        self.recorded = recorded
        self.reason = reason
        self.position = recorded.position
        self.workspace_id: UUID = recorded.workspace_id
