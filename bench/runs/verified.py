"""Check that every run reported to a client is completed in the log and in the read model."""

import asyncio
from typing import Any, Final, LiteralString

from msgspec import Struct
from psycopg import AsyncConnection

from store.postgres.connections import connect

SETTLE_SECONDS_MAX: Final = 60
POLL_SECONDS: Final = 0.1

STANDS: Final = "select (select position from checkpoints where projection = 'runs') >= position from log_head"
"""Whether the read model of runs has taken the whole log."""

LOG: Final = """
select count(*) filter (where topic = 'run.started'),
       count(*) filter (where topic = 'run.completed'),
       count(*) filter (where topic = 'step.completed'),
       count(*) = max(notification_id) and count(*) = (select position from log_head)
  from events
"""
READ_MODEL: Final = "select count(*), count(*) filter (where status = 'completed') from runs"


class Verification(Struct, frozen=True, kw_only=True):
    """Counts from three sources: the clients, the log and the read model."""

    completed_for_clients: int
    failed_for_clients: int
    started_in_log: int
    completed_in_log: int
    steps_completed_in_log: int
    gapless: bool
    in_read_model: int
    completed_in_read_model: int


async def verification(conninfo: str, *, completed: int, failed: int) -> Verification:
    """Wait until the read model has taken the whole log, and count."""
    async with await connect(conninfo) as connection:
        await _wait_for_read_model(connection)
        started, ended, steps, gapless = await _row(connection, LOG)
        in_model, completed_in_model = await _row(connection, READ_MODEL)
    return Verification(
        completed_for_clients=completed,
        failed_for_clients=failed,
        started_in_log=started,
        completed_in_log=ended,
        steps_completed_in_log=steps,
        gapless=bool(gapless),
        in_read_model=in_model,
        completed_in_read_model=completed_in_model,
    )


def is_consistent(found: Verification, steps: int) -> bool:
    """Return whether clients, log and read model agree that every run completed with so many steps."""
    runs = found.completed_for_clients
    counts = (found.started_in_log, found.completed_in_log, found.in_read_model, found.completed_in_read_model)
    agreed = all(count == runs for count in counts) and found.steps_completed_in_log == runs * steps
    return agreed and found.gapless and runs > 0 and found.failed_for_clients == 0


async def _wait_for_read_model(connection: AsyncConnection[tuple[Any, ...]]) -> None:
    async with asyncio.timeout(SETTLE_SECONDS_MAX):
        while not (await _row(connection, STANDS))[0]:  # noqa: ASYNC110  # another process's work: there is nothing to await
            await asyncio.sleep(POLL_SECONDS)


async def _row(connection: AsyncConnection[tuple[Any, ...]], query: LiteralString) -> tuple[Any, ...]:
    cursor = await connection.execute(query)
    row = await cursor.fetchone()
    if row is None:
        message = "a count gives one row"
        raise TypeError(message)
    return row
