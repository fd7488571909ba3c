"""Set-up shared by the tests of the log: a running log, and commands to append to it."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Final
from uuid import UUID

import psycopg
from msgspec.structs import replace

from domain.fact import Fact
from domain.project import ProjectCreated, ProjectRenamed
from store.log.log import Log
from store.log.records import Accepted, Actor, Append, CommandId, Guard, Metadata, Recorded, Repeated
from store.settings import StoreSettings
from tests.support.waiting import eventually

WORKSPACE: Final = UUID("0192f000-0000-7000-8000-000000000001")
METADATA: Final = Metadata(actor=Actor(kind="user", id="ada"), correlation_id="a-request")
CREATED: Final = ProjectCreated(name="Launch", owner="ada")
RENAMED: Final = ProjectRenamed(name="Relaunch")
WAITING: Final = """
select from pg_stat_activity
 where application_name = 'callsheet-log' and wait_event_type = 'Lock' and query like '%append_events%'
"""


def create_append(
    stream: UUID,
    expected: int,
    *facts: Fact,
    command_id: CommandId | None = None,
    guards: tuple[Guard, ...] = (),
    metadata: Metadata = METADATA,
    workspace: UUID = WORKSPACE,
    project: UUID | None = None,
    contradicted_by: tuple[str, ...] | None = None,
) -> Append:
    """Create a command of one stream; without facts it creates a project, or renames it."""
    return Append(
        stream_id=stream,
        expected_version=expected,
        workspace_id=workspace,
        project_id=project,
        facts=facts or ((RENAMED if expected else CREATED),),
        metadata=metadata,
        guards=guards,
        command_id=command_id,
        contradicted_by=contradicted_by,
    )


def drop_weights(events: Iterable[Recorded]) -> list[Recorded]:
    """Return events without their estimated memory, which depends on how they came into this process."""
    return [replace(event, weight=0) for event in events]


def require_accepted(outcome: Accepted | Repeated) -> Accepted:
    """Return the outcome. Raises AssertionError unless the command was accepted for the first time."""
    assert isinstance(outcome, Accepted), outcome
    return outcome


async def read_whole_log(log: Log) -> list[Recorded]:
    """Read all of the log, page by page."""
    events: list[Recorded] = []
    after, head = 0, (await log.head())[0]
    while after < head:
        page = await log.read_log(after=after, limit=1_000)
        events += page.events
        after = page.through
    return events


@asynccontextmanager
async def open_log(conninfo: str, bounds: StoreSettings | None = None) -> AsyncGenerator[Log]:
    """Open a log that serves appends during the block."""
    log = Log(conninfo, bounds or StoreSettings())
    async with log.open_readers():
        serving = asyncio.create_task(log.run())
        try:
            await wait_until_served(log, serving)
            yield log
        finally:
            serving.cancel()
            with suppress(asyncio.CancelledError):
                await serving


async def wait_until_served(log: Log, serving: asyncio.Task[None]) -> None:
    """Wait until appends are served; raises what ended the serving."""
    connected = asyncio.create_task(log.wait_until_connected())
    await asyncio.wait({connected, serving}, return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        connected.cancel()
        await serving
    await connected


async def wait_for_head_waiter(conninfo: str) -> None:
    """Wait until an appender waits for the lock of the head row."""
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:

        async def waiting() -> bool:
            return await (await connection.execute(WAITING)).fetchone() is not None

        await eventually(waiting, what="an appender waits for the head")
