"""Relays killed with facts published and not remembered: another takes over, and NATS holds every fact once."""

import asyncio
import signal
import sys
import time
from pathlib import Path
from random import Random
from typing import Final

import pytest

from callsheet.wiring.core import COMPONENTS
from store.log.identity import create_identity
from store.log.log import Log
from store.postgres.migrations import migrate
from tests.callsheet.test_dev import environ
from tests.support.bus.given import append_project, read_stream_ids
from tests.support.kills.engine_process import VARIABLE
from tests.support.kills.environment import TOP, WAIT_SECONDS
from tests.support.servers.nats import NatsForTests
from tests.support.store.given import open_log
from tests.support.waiting import eventually

LONG_KILLS: Final = 50
PASSED_MOST: Final = 4
TAKEN_OVER_SECONDS: Final = 20.0
"""A few seconds, and what a busy machine takes to start a process."""

CURSOR: Final = "select coalesce((select position from relay_cursors where carrier = 'nats'), 0)"
STREAM: Final = "CALLSHEET"


class Relays:
    """Processes that may relay; one does, and the next one stands by."""

    def __init__(self, database: str, server: NatsForTests, directory: Path) -> None:
        """Start nobody yet."""
        self._environ = {
            **environ(database, directory),
            "PYTHONPATH": str(TOP),
            "NATS_URL": server.url,
            "CALLSHEET_NATS_STREAM_BYTES": str(64 * 1024 * 1024),
            "CALLSHEET_NATS_RELAY_PAGE_EVENTS": "7",
            "CALLSHEET_NATS_RELAY_STANDBY_SECONDS": "0.2",
        }
        self._directory = directory
        self.processes: list[asyncio.subprocess.Process] = []

    async def start(self, kill_at: str | None = None) -> asyncio.subprocess.Process:
        ours = {**self._environ, **({} if kill_at is None else {VARIABLE: kill_at})}
        with (self._directory / f"relay-{len(self.processes)}.log").open("wb") as log:
            started = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.support.kills.projection_process", env=ours, stderr=log, cwd=TOP
            )
        self.processes.append(started)
        return started

    async def close(self) -> None:
        for process in self.processes:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def cursor(log: Log) -> int:
    row = await log.sessions.one(CURSOR, None)
    assert row is not None
    return int(row[0])


async def dies(victims: list[asyncio.subprocess.Process], log: Log) -> asyncio.subprocess.Process:
    """Append until one of the victims is dead. Returns that process."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        await append_project(log, 3)
        await asyncio.sleep(0.02)
        for victim in victims:
            if victim.returncode is not None:
                return victim
        assert time.monotonic() < deadline, "nobody came to the point"


async def kill_relays(database: str, server: NatsForTests, directory: Path, kills: int) -> None:
    await migrate(database, COMPONENTS)
    relays = Relays(database, server, directory)
    random = Random(kills)  # noqa: S311  # which page to die after, nothing secret
    try:
        async with open_log(database) as log:
            victims = [await relays.start(f"relay.published:{random.randint(0, PASSED_MOST)}") for _ in range(2)]
            behind = 0
            for number in range(kills):
                dead = await dies(victims, log)
                assert dead.returncode == -signal.SIGKILL
                behind += await cursor(log) < (await log.head())[0]
                victims.remove(dead)
                if number + 2 < kills:
                    victims.append(await relays.start(f"relay.published:{random.randint(0, PASSED_MOST)}"))
            assert behind == kills, "every one of them died before it had remembered what it published"
            await relays.start()
            last = await append_project(log, 5)

            async def is_published() -> bool:
                return await cursor(log) == last

            began = time.monotonic()
            await eventually(is_published, what="another process has published everything", seconds=WAIT_SECONDS)
            assert time.monotonic() - began < TAKEN_OVER_SECONDS
            _, log_id = await log.head()
            assert await read_stream_ids(server, STREAM) == [
                create_identity(log_id).format_event_id(position) for position in range(1, last + 1)
            ]
    finally:
        await relays.close()


async def test_a_relay_that_dies_before_it_remembers_leaves_every_fact_in_the_stream_once(
    database: str, nats_server: NatsForTests, tmp_path: Path
) -> None:
    await kill_relays(database, nats_server, tmp_path, 2)


@pytest.mark.long
async def test_relays_that_die_again_and_again_lose_nothing(
    database: str, nats_server: NatsForTests, tmp_path: Path
) -> None:
    await kill_relays(database, nats_server, tmp_path, LONG_KILLS)
