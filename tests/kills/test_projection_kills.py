"""Workers killed with rows written, or committed: another takes over, and every read model is what the log says."""

import asyncio
import sys
import time
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any, Final
from uuid import UUID

import pytest
from psycopg import AsyncConnection

from callsheet.wiring.core import COMPONENTS
from domain.project import Project, ProjectCreated, ProjectRenamed, evolve
from store.log.log import Log
from store.postgres.migrations import migrate
from tests.callsheet.test_dev import environ
from tests.support.kills.engine_process import VARIABLE
from tests.support.kills.environment import TOP, WAIT_SECONDS
from tests.support.projections.given import new_id
from tests.support.store.given import create_append, open_log, read_whole_log
from tests.support.waiting import eventually

POINTS: Final = ("rows.written", "rows.committed")
LONG_KILLS: Final = 25
PASSED_MOST: Final = 6
TAKEN_OVER_SECONDS: Final = 20.0
"""A few seconds, and what a busy machine takes to start a process."""


class Workers:
    """Two seats for workers: one works, and the other stands by."""

    def __init__(self, database: str, directory: Path) -> None:
        """Start nobody yet."""
        self._database = database
        self._directory = directory
        self._seats: list[asyncio.subprocess.Process] = []

    async def start(self, kill_at: str | None = None) -> asyncio.subprocess.Process:
        ours = {
            **environ(self._database, self._directory),
            "PYTHONPATH": str(TOP),
            **({} if kill_at is None else {VARIABLE: kill_at}),
        }
        with (self._directory / f"worker-{len(self._seats)}.log").open("wb") as log:
            started = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.support.kills.projection_process", env=ours, stderr=log, cwd=TOP
            )
        self._seats.append(started)
        return started

    async def close(self) -> None:
        for seat in self._seats:
            if seat.returncode is None:
                seat.kill()
            await seat.wait()


async def busy(log: Log, projects: list[UUID], number: int) -> int:
    """Append to a new project and to the others; gives the last position."""
    project = new_id()
    projects.append(project)
    await log.append(create_append(project, 0, ProjectCreated(name="0", owner="ada"), project=project))
    last = 0
    for project in projects[-5:]:
        version = max((fact.version for fact in await log.read_stream(project)), default=0)
        accepted: Any = await log.append(
            create_append(project, version, ProjectRenamed(name=f"{number}"), project=project)
        )
        last = accepted.position
    return last


async def checkpoint(connection: AsyncConnection[Any]) -> int:
    row = await (await connection.execute("select position from checkpoints where projection = 'projects'")).fetchone()
    return 0 if row is None else int(row[0])


async def kill_workers(database: str, directory: Path, point: str, kills: int) -> None:
    """Kill so many workers at a point; each time the other one, or the next one, goes on within seconds."""
    await migrate(database, COMPONENTS)
    random = Random(point)  # noqa: S311  # which time at the point is the last one
    workers, projects = Workers(database, directory), list[UUID]()
    seen = 0
    async with open_log(database) as log, await AsyncConnection.connect(database, autocommit=True) as connection:
        log.wake_others = True
        try:
            doomed = await workers.start(f"{point}:0")
            for number in range(kills):
                standing_by = await workers.start(f"{point}:{random.randrange(PASSED_MOST)}")
                while doomed.returncode is None:
                    await busy(log, projects, number)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(0.1):
                            await doomed.wait()
                    assert seen <= (seen := await checkpoint(connection)) <= (await log.head())[0]
                doomed = standing_by
            died_at = time.monotonic()
            await workers.start()
            last = await busy(log, projects, kills)
            await eventually(lambda: reads(connection, last), what="the others go on", seconds=WAIT_SECONDS)
            assert time.monotonic() - died_at < TAKEN_OVER_SECONDS
            await agree(log, connection)
        finally:
            await workers.close()


async def reads(connection: AsyncConnection[Any], position: int) -> bool:
    return await checkpoint(connection) >= position


async def agree(log: Log, connection: AsyncConnection[Any]) -> None:
    """Hold the projects that are read against the log."""
    folded: dict[UUID, tuple[int, Project]] = {}
    for event in await read_whole_log(log):
        assert isinstance(event.fact, ProjectCreated | ProjectRenamed)
        _, state = folded.get(event.stream_id, (0, Project()))
        folded[event.stream_id] = event.version, evolve(state, event.fact)
    cursor = await connection.execute("select id, version, name from projects")
    rows = {row[0]: (row[1], row[2]) for row in await cursor.fetchall()}
    assert rows == {stream: (version, state.name) for stream, (version, state) in folded.items()}
    assert await (await connection.execute("select count(*) from parked")).fetchone() == (0,)


@pytest.mark.parametrize("point", POINTS)
async def test_a_killed_worker_is_followed_by_another(database: str, tmp_path: Path, point: str) -> None:
    await kill_workers(database, tmp_path, point, kills=2)


@pytest.mark.long
@pytest.mark.parametrize("point", POINTS)
async def test_twenty_five_killed_workers(database: str, tmp_path: Path, point: str) -> None:
    await kill_workers(database, tmp_path, point, LONG_KILLS)
