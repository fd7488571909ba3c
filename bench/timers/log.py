"""A log of runs that all wait for a time far away, as an engine would have written it."""

import asyncio
from datetime import timedelta
from typing import Final
from uuid import UUID

from uuid_utils.compat import uuid7

from callsheet.clock import utc_now
from domain.payload import Payload
from domain.runs.facts import Pins, RunStarted, StepStarted, StepWaiting, WaitFor
from store.log.log import Log
from store.log.records import Actor, Append, Metadata
from store.postgres.connections import connect
from store.settings import StoreSettings

IN_FLIGHT: Final = 256
FAR_AWAY: Final = timedelta(days=365)
FOLD_SECONDS_MAX: Final = 600
POLL_SECONDS: Final = 0.25
METADATA: Final = Metadata(actor=Actor("engine", "bench"), correlation_id="bench")

FOLDED: Final = """
select (select count(*) from timers),
       (select position from checkpoints where projection = 'timers') >= (select position from log_head)
   and (select position from checkpoints where projection = 'runs') >= (select position from log_head)
"""
"""Count the timers, and tell whether everything is folded that an engine reads."""


async def wait_in_many(conninfo: str, runs: int) -> None:
    """Append so many runs, each with one step that waits."""
    workspace_id, project_id, workflow_id = uuid7(), uuid7(), uuid7()
    left = iter(range(runs))
    log = Log(conninfo, StoreSettings())

    async def caller() -> None:
        for _ in left:
            await log.append(_waiting(workspace_id, project_id, workflow_id))

    async with log.open_readers(), asyncio.TaskGroup() as group:
        server = group.create_task(log.run())
        await log.wait_until_connected()
        await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
        server.cancel()


def _waiting(workspace_id: UUID, project_id: UUID, workflow_id: UUID) -> Append:
    now = utc_now()
    return Append(
        stream_id=uuid7(),
        expected_version=0,
        workspace_id=workspace_id,
        project_id=project_id,
        facts=(
            RunStarted(
                workflow_id=workflow_id, workflow_version=1, inputs=Payload(value={}), pins=Pins(), started_at=now
            ),
            StepStarted(node="wait", attempt=1, executor="bench", epoch=1, started_at=now),
            StepWaiting(node="wait", attempt=1, waiting_for=WaitFor.TIMER, until=now + FAR_AWAY, waiting_since=now),
        ),
        metadata=METADATA,
    )


async def wait_for_read_models(conninfo: str) -> int:
    """Wait until the read models have taken the whole log, and return how many timers they hold."""
    async with await connect(conninfo) as connection, asyncio.timeout(FOLD_SECONDS_MAX):
        while True:
            row = await (await connection.execute(FOLDED)).fetchone()
            if row is not None and row[1]:
                return int(row[0])
            await asyncio.sleep(POLL_SECONDS)
