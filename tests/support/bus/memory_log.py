"""A log in memory, for schedules of thousands: what the feed asks of a log, with every pause where a test wants it."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from domain.project import ProjectRenamed
from store.log.appender import OnCommit
from store.log.codec import PLAIN_JSON, encode_fact, encode_metadata
from store.log.identity import create_identity
from store.log.records import Actor, Metadata, Page, Recorded, StoredEvent

LOG_ID: Final = UUID("0192f000-0000-7000-8000-0000000000aa")
IDENTITY: Final = create_identity(LOG_ID)
STREAM: Final = UUID("0192f000-0000-7000-8000-0000000000bb")
AT: Final = datetime(2026, 11, 24, tzinfo=UTC)
METADATA: Final = Metadata(actor=Actor("user", "ada"), correlation_id="x")


class MemoryLog:
    """Positions from 1; some of them are of outside libraries, and no reader is given those."""

    def __init__(self, turns: Callable[[], int]) -> None:
        """Create an empty log; each read waits for `turns()` loop turns before and after it."""
        self.facts: list[Recorded] = []
        self.position = 0
        self.missing_positions = 0
        self._turns = turns
        self._on_commit: OnCommit | None = None

    def tell(self, on_commit: OnCommit) -> None:
        """Register the callback for commits of this process."""
        self._on_commit = on_commit

    def commit(self, count: int, *, opaque: bool = False) -> list[Recorded]:
        """Append `count` facts, or records of an outside library. Returns the facts."""
        made: list[Recorded] = []
        for _ in range(count):
            self.position += 1
            if not opaque:
                made.append(create_event(self.position))
        self.facts.extend(made)
        return made

    def notify_commit(self, recorded: list[Recorded]) -> None:
        """Call the callback for a commit of this process, possibly late."""
        assert self._on_commit is not None
        self._on_commit(recorded)

    def remember(self, recorded: Recorded) -> None:
        """Remember nothing: this log is never restored."""

    async def check_unchanged(self) -> None:
        """Check nothing: this log is never restored."""

    async def head(self) -> tuple[int, UUID]:
        """Return the last position and the id of the log."""
        await self._pause()
        return self.position, LOG_ID

    async def read_log(self, *, after: int, limit: int) -> Page:
        """Return a page, as `store.log.log.Log` does."""
        await self._pause()
        through = self.position
        events = tuple(event for event in self.facts if after < event.position <= through)[:limit]
        await self._pause()
        if len(events) == limit:
            through = events[-1].position
        return Page(events=events, through=max(through, after))

    async def read_next(self, *, after: int, limit: int) -> Page:
        """Return the events of the next positions, as `store.log.log.Log` does."""
        await self._pause()
        through = min(self.position, after + limit)
        events = tuple(event for event in self.facts if after < event.position <= through)
        await self._pause()
        return Page(events=events, through=max(through, after))

    async def _pause(self) -> None:
        for _ in range(self._turns()):
            await asyncio.sleep(0)


def create_event(position: int) -> Recorded:
    """Return the event of a position; its name is the position."""
    return Recorded(
        position=position,
        stream_id=STREAM,
        version=position,
        workspace_id=STREAM,
        project_id=STREAM,
        fact=ProjectRenamed(name=str(position)),
        metadata=METADATA,
        recorded_at=AT,
    )


def create_stored(recorded: Recorded) -> StoredEvent:
    """Return an event as its row in the log."""
    return StoredEvent(
        recorded.position,
        recorded.stream_id,
        recorded.version,
        recorded.workspace_id,
        recorded.project_id,
        recorded.recorded_at,
        "project.renamed",
        PLAIN_JSON,
        None,
        encode_fact(recorded.fact),
        encode_metadata(recorded.metadata).decode(),
    )
