"""Workers and relays that hang with their connections open (SIGSTOP): a standby takes over, and fences them."""

import asyncio
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from psycopg import AsyncConnection

from bus.nats.relay_status import read_relay_status
from callsheet.wiring.core import COMPONENTS
from projections.runtime.status import read_projection_statuses
from store.log.identity import create_identity
from store.postgres.migrations import migrate
from tests.callsheet.test_dev import environ
from tests.kills.test_projection_kills import agree, checkpoint
from tests.support.bus.given import append_project, read_stream_ids
from tests.support.kills.environment import TOP, WAIT_SECONDS
from tests.support.kills.projection_process import STOP_VARIABLE
from tests.support.servers.nats import NatsForTests
from tests.support.store.given import open_log
from tests.support.waiting import eventually, wait_until_stopped

HASTE: Final = {
    "CALLSHEET_PROJECTION_HUNG_SECONDS": "1",
    "CALLSHEET_PROJECTION_STANDBY_SECONDS": "0.2",
    "CALLSHEET_NATS_RELAY_HUNG_SECONDS": "1",
    "CALLSHEET_NATS_RELAY_STANDBY_SECONDS": "0.2",
    "CALLSHEET_NATS_RELAY_PAGE_EVENTS": "7",
    "CALLSHEET_NATS_STREAM_BYTES": str(64 * 1024 * 1024),
}
TOLD: Final = "projects"
"""The projection that the tests look at; a process has all of them."""


class ProcessPair:
    """A process that works, and one that stands by."""

    def __init__(self, database: str, directory: Path, connection: AsyncConnection[Any], **variables: str) -> None:
        """Start nobody yet."""
        self._environ = {**environ(database, directory), **HASTE, **variables, "PYTHONPATH": str(TOP)}
        self._directory = directory
        self.connection = connection
        self.processes: list[asyncio.subprocess.Process] = []

    async def start(self, **variables: str) -> asyncio.subprocess.Process:
        with (self._directory / f"worker-{len(self.processes)}.log").open("wb") as log:
            started = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tests.support.kills.projection_process",
                env={**self._environ, **variables},
                stderr=log,
                cwd=TOP,
            )
        self.processes.append(started)
        return started

    async def works(self, process: asyncio.subprocess.Process, *, standing_by: int) -> None:
        """Wait until a process has the projection, and so many stand by."""

        async def holds() -> bool:
            stands = (await read_projection_statuses(self.connection)).get(TOLD)
            owner = stands.followed_by
            return (
                owner is not None and owner.process.startswith(f"{process.pid}.") and stands.standing_by == standing_by
            )

        await eventually(holds, what=f"{process.pid} works, and {standing_by} stand by", seconds=WAIT_SECONDS)

    async def relays(self, process: asyncio.subprocess.Process, *, standing_by: int) -> None:
        """Wait until a process relays, and so many stand by."""

        async def holds() -> bool:
            stands = await read_relay_status(self.connection)
            holder = stands.holder
            return (
                holder is not None
                and holder.process.startswith(f"{process.pid}.")
                and stands.standing_by == standing_by
            )

        await eventually(holds, what=f"{process.pid} relays, and {standing_by} stand by", seconds=WAIT_SECONDS)

    async def wait_until_folded(self, position: int) -> None:
        async def reads() -> bool:
            return await checkpoint(self.connection) >= position

        await eventually(reads, what=f"position {position} is folded", seconds=WAIT_SECONDS)

    async def wait_until_published(self, position: int) -> None:
        async def stands() -> bool:
            return (await read_relay_status(self.connection)).cursor >= position

        await eventually(stands, what=f"position {position} is published", seconds=WAIT_SECONDS)

    async def close(self) -> None:
        for process in self.processes:
            if process.returncode is None:
                process.kill()
            await process.wait()


@asynccontextmanager
async def open_process_pair(database: str, directory: Path, **variables: str) -> AsyncGenerator[ProcessPair]:
    async with await AsyncConnection.connect(database, autocommit=True) as connection:
        made = ProcessPair(database, directory, connection, **variables)
        try:
            yield made
        finally:
            await made.close()


@pytest.mark.parametrize("stops", ["between batches", "rows.written", "rows.committed"])
async def test_a_worker_that_hangs_is_followed_by_another_and_commits_nothing_when_it_wakes(
    database: str, tmp_path: Path, stops: str
) -> None:
    await migrate(database, COMPONENTS)
    async with open_log(database) as log, open_process_pair(database, tmp_path) as here:
        log.wake_others = True
        first = await here.start(**({} if stops == "between batches" else {STOP_VARIABLE: f"{stops}:0"}))
        await here.works(first, standing_by=0)
        second = await here.start()
        await here.works(first, standing_by=1)
        if stops == "between batches":
            await here.wait_until_folded(await append_project(log, 3))
            first.send_signal(signal.SIGSTOP)
        else:
            await append_project(log)
        await wait_until_stopped(first)  # before there is more: one that hangs with nothing to do is left alone
        await here.wait_until_folded(await append_project(log, 3))
        await here.works(second, standing_by=0)
        first.send_signal(signal.SIGCONT)
        await here.works(second, standing_by=1)
        await here.wait_until_folded(await append_project(log, 3))
        await agree(log, here.connection)
        assert (first.returncode, second.returncode) == (None, None)


@pytest.mark.parametrize("stops", ["between pages", "relay.published"])
async def test_a_relay_that_hangs_is_followed_by_another_and_the_stream_holds_every_fact_once(
    database: str, nats_server: NatsForTests, tmp_path: Path, stops: str
) -> None:
    await migrate(database, COMPONENTS)
    async with open_log(database) as log, open_process_pair(database, tmp_path, NATS_URL=nats_server.url) as here:
        log.wake_others = True
        first = await here.start(**({} if stops == "between pages" else {STOP_VARIABLE: f"{stops}:1"}))
        await here.relays(first, standing_by=0)
        second = await here.start()
        await here.relays(first, standing_by=1)
        if stops == "between pages":
            await here.wait_until_published(await append_project(log, 3))
            first.send_signal(signal.SIGSTOP)
        await here.wait_until_published(await append_project(log, 30))
        await here.relays(second, standing_by=0)
        first.send_signal(signal.SIGCONT)
        await here.relays(second, standing_by=1)
        last = await append_project(log, 30)
        await here.wait_until_published(last)
        _, log_id = await log.head()
        ids = [create_identity(log_id).format_event_id(position) for position in range(1, last + 1)]
        assert await read_stream_ids(nats_server, "CALLSHEET") == ids
        assert (first.returncode, second.returncode) == (None, None)
