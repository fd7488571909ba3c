"""Set-up shared by the tests of projections: a log with a feed, a worker, and projections made for tests."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import psycopg
import uuid_utils.compat
from msgspec import Struct
from psycopg import AsyncConnection

from bus.feed import Feed
from bus.settings import FeedSettings
from domain.fact import Fact
from domain.project import ProjectCreated, ProjectRenamed
from projections.runtime.checkpoints import Checkpoints
from projections.runtime.projection import Cursor, Projection, Unfoldable
from projections.runtime.read_pool import ReadModels
from projections.runtime.worker import Worker
from projections.settings import ProjectionSettings
from store.log.codec import encode_fact
from store.log.json_encoding import weigh_json
from store.log.log import Log
from store.log.records import Recorded
from store.postgres.arrays import register
from store.postgres.migrations import migrate
from tests.support.store.given import METADATA, WORKSPACE, create_append, open_log, require_accepted

NOW: Final = datetime(2026, 5, 1, 12, 30, 0, 123_456, tzinfo=UTC)
PROMPT_BOUNDS: Final = ProjectionSettings(standby_seconds=0.05, checkpoint_seconds=0.05)
POLL_SECONDS: Final = 0.02
WAIT_SECONDS: Final = 15.0


def create_prompt_checkpoints(models: ReadModels) -> Checkpoints:
    """Return checkpoints that are read often enough for tests."""
    return Checkpoints(models, poll_seconds=POLL_SECONDS, followed_poll_seconds=0.05)


def new_id() -> UUID:
    return uuid_utils.compat.uuid7()


class Harness(Struct, frozen=True, kw_only=True):
    """A migrated database with its log and its feed, both running, and its read models, opened."""

    conninfo: str
    log: Log
    feed: Feed
    models: ReadModels

    def create_checkpoints(self) -> Checkpoints:
        return create_prompt_checkpoints(self.models)

    def create_worker(self, checkpoints: Checkpoints, *projections: Projection) -> Worker:
        return Worker(self.conninfo, self.feed, projections, checkpoints, PROMPT_BOUNDS)

    async def read_checkpoint(self, projection: str) -> int:
        row = await self.models.first(
            "select position from checkpoints where projection = %(name)b", {"name": projection}
        )
        return -1 if row is None else int(row[0])

    async def append_facts(
        self, stream: UUID, *facts: Fact, after: int = 0, workspace: UUID = WORKSPACE
    ) -> Sequence[Recorded]:
        """Append facts after a version. Returns them as recorded."""
        command = create_append(stream, after, *facts, workspace=workspace, project=stream)
        return require_accepted(await self.log.append(command)).recorded

    async def append_renames(self, times: int) -> int:
        """Create a project and rename it `times` times, one commit each. Returns the last position."""
        stream = new_id()
        last = await self.append_facts(stream, ProjectCreated(name="0", owner="ada"))
        for number in range(1, times + 1):
            last = await self.append_facts(stream, ProjectRenamed(name=str(number)), after=number)
        return last[-1].position


@asynccontextmanager
async def open_harness(database: str, *, poll_seconds: float = 0.05) -> AsyncGenerator[Harness]:
    await migrate(database, ["store", "projections"])
    models = ReadModels(database, ProjectionSettings())
    async with open_log(database) as log, models.open():
        feed = Feed(log, FeedSettings(poll_seconds=poll_seconds))
        async with run_in_background(feed.run()):
            async with models.connection() as connection:
                await connection.execute(CREATE_TALLY)
            yield Harness(conninfo=database, log=log, feed=feed, models=models)


@asynccontextmanager
async def run_in_background(work: Coroutine[None, None, None]) -> AsyncGenerator[asyncio.Task[None]]:
    """Run a coroutine during the block and cancel it at its end. Raises what it raised."""
    task = asyncio.ensure_future(work)
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def open_read_models(database: str) -> AsyncGenerator[AsyncConnection]:
    """Open a connection to migrated read models, without a log."""
    await migrate(database, ["store", "projections"])
    async with await AsyncConnection.connect(database, autocommit=True) as connection:
        register(connection)
        yield connection


def number_facts(
    facts: Sequence[tuple[UUID, Fact]], *, workspace: UUID = WORKSPACE, project: UUID | None = None
) -> list[Recorded]:
    """Number facts as the log would: positions from 1 over all, versions from 1 over each stream."""
    versions: dict[UUID, int] = {}
    result: list[Recorded] = []
    for position, (stream, fact) in enumerate(facts, start=1):
        versions[stream] = versions.get(stream, 0) + 1
        result.append(
            Recorded(
                position=position,
                stream_id=stream,
                version=versions[stream],
                workspace_id=workspace,
                project_id=project or stream,
                fact=fact,
                metadata=METADATA,
                recorded_at=NOW,
                weight=weigh_json(encode_fact(fact)),
            )
        )
    return result


async def apply_facts(connection: AsyncConnection, projection: Projection, facts: Sequence[Recorded]) -> None:
    """Apply facts in one transaction."""
    async with connection.transaction():
        await projection.apply(connection.cursor(binary=True), facts)


CREATE_TALLY: Final = "create table if not exists tallies (name text primary key, facts bigint not null)"
ADD_TO_TALLY: Final = """
insert into tallies (name, facts) values (%b, %b::bigint)
on conflict (name) do update set facts = tallies.facts + excluded.facts
"""


class Tally:
    """Counts facts, which is not idempotent: so a batch that is folded twice, or not at all, stays visible.

    `after_writing` is told the backend of each transaction once its rows are written.
    """

    tables = ("tallies",)
    wants: frozenset[type[Fact]] = frozenset({ProjectCreated, ProjectRenamed})

    def __init__(self, name: str = "tally", *, after_writing: Callable[[int], None] | None = None) -> None:
        """Count nothing yet."""
        self.name = name
        self.batches = 0
        self._after_writing = after_writing

    async def apply(self, cursor: Cursor, facts: Sequence[Recorded]) -> None:
        await cursor.execute(ADD_TO_TALLY, (self.name, len(facts)))
        self.batches += 1
        if self._after_writing is not None:
            self._after_writing(cursor.connection.info.backend_pid)

    def forget(self) -> None:
        pass


class Picky:
    """Cannot fold one name of a project."""

    name = "picky"
    tables = ()
    wants: frozenset[type[Fact]] = frozenset({ProjectRenamed})

    def __init__(self, cannot: str) -> None:
        """Create the projection; it cannot fold the name `cannot`."""
        self._cannot = cannot

    async def apply(self, cursor: Cursor, facts: Sequence[Recorded]) -> None:  # noqa: ARG002  # it writes nothing
        for event in facts:
            if isinstance(event.fact, ProjectRenamed) and event.fact.name == self._cannot:
                raise Unfoldable(event, "it is not to its taste")

    def forget(self) -> None:
        pass


def terminate_backend(conninfo: str, backend: int) -> None:
    """End a backend of PostgreSQL and wait until it is gone, with whatever transaction it had open."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("select pg_terminate_backend(%s, 5000)", [backend])


async def read_tally(harness: Harness, name: str = "tally") -> int:
    row = await harness.models.first("select facts from tallies where name = %(name)b", {"name": name})
    return 0 if row is None else int(row[0])
