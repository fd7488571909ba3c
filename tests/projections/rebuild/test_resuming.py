"""A rebuild that is stopped at any point and by any means is resumed with the same result."""

import asyncio
import random
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from anyio import to_thread

from callsheet.wiring.core import COMPONENTS
from callsheet.wiring.projections import PROJECTIONS
from projections.rebuild.bounds import Progress
from projections.rebuild.faults import RebuildRefused
from store.postgres.migrations import migrate
from tests.callsheet.test_dev import environ
from tests.support.projections.given import WAIT_SECONDS, Harness, open_harness, run_in_background
from tests.support.projections.rebuilds import (
    append_traffic,
    create_projections,
    ignore_progress,
    read_all_rows,
    run_rebuild,
)
from tests.support.waiting import eventually

KILLS = [pytest.param(3, id="3"), pytest.param(25, id="25", marks=pytest.mark.long)]


class Stopped(Exception):  # noqa: N818  # as somebody would stop it
    pass


async def fold_traffic(harness: Harness, runs: int) -> dict[str, list[str]]:
    """Append traffic and wait until a worker has folded it. Returns every row."""
    checkpoints = harness.create_checkpoints()
    live = create_projections()
    async with run_in_background(harness.create_worker(checkpoints, *live).run()):
        last = await append_traffic(harness, runs)
        for projection in live:
            await checkpoints.wait_for(projection.name, last, WAIT_SECONDS)
    return await read_all_rows(harness)


async def test_a_rebuild_that_is_stopped_at_each_of_its_moments_comes_to_the_same(database: str) -> None:
    async with open_harness(database) as harness:
        before = await fold_traffic(harness, 15)
        told = 0

        def stop_later(_progress: Progress) -> None:
            nonlocal told
            told += 1
            if told > 1:
                raise Stopped

        sittings, resume = 0, False
        while True:
            told, sittings = 0, sittings + 1
            try:
                report = await run_rebuild(
                    database,
                    create_projections(),
                    resume=resume,
                    on_progress=stop_later if sittings < 30 else ignore_progress,
                )
                break
            except Stopped:
                resume = True
        assert sittings == 30
        assert report.same
        assert await read_all_rows(harness) == before


@pytest.mark.parametrize("kills", KILLS)
async def test_kills_of_the_process_lose_and_double_nothing(database: str, tmp_path: Path, kills: int) -> None:
    chance = random.Random(kills)  # noqa: S311  # where it is killed
    await migrate(database, COMPONENTS)
    async with open_harness(database) as harness:
        before = await fold_traffic(harness, 60)
        head, _ = await harness.log.head()
        hits = 0
        for number in range(kills):
            at = chance.randrange(head * number // kills, head * (number + 1) // kills)
            hits += await kill_rebuild(database, tmp_path, resume=number > 0, at=at)
        assert hits > kills / 2, "most kills find it at work"
        checked = await to_thread.run_sync(
            lambda: start_rebuild(database, tmp_path, resume=is_building(database)).wait(60)
        )
        assert checked == 0
        assert await read_all_rows(harness) == before


async def kill_rebuild(database: str, directory: Path, *, resume: bool, at: int) -> bool:
    """Run a rebuild and kill it at a position. Returns False if it had ended before."""
    process = start_rebuild(database, directory, resume=resume and is_building(database))

    async def there() -> bool:
        return process.poll() is not None or await to_thread.run_sync(read_position, database) >= at

    await eventually(there, what=f"the rebuild comes to {at}", seconds=60)
    process.send_signal(signal.SIGKILL)
    return await to_thread.run_sync(process.wait) == -signal.SIGKILL


def start_rebuild(database: str, directory: Path, *, resume: bool) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "callsheet", "projections", "rebuild", "--all", "--rate", "600"] + ["--resume"] * resume,
        env={**environ(database, directory), "CALLSHEET_REBUILD_PAGE_EVENTS": "20"},
        stdout=subprocess.DEVNULL,
    )


def read_position(database: str) -> int:
    with psycopg.connect(database, autocommit=True) as connection:
        row = connection.execute("select positions[1] from rebuilds where state = 'building'").fetchone()
    return -1 if row is None else int(row[0])


def is_building(database: str) -> bool:
    return read_position(database) >= 0


async def test_a_rebuild_is_not_begun_again_over_one_that_was_left(database: str) -> None:
    async with open_harness(database) as harness:
        await fold_traffic(harness, 5)
        with pytest.raises(asyncio.CancelledError):
            await run_rebuild(database, create_projections("runs", "tasks"), on_progress=_cancel)
        for names in ({"runs"}, {"tasks", "timers"}, set(PROJECTIONS)):
            with pytest.raises(RebuildRefused, match="rebuild 1 of runs, tasks is unfinished"):
                await run_rebuild(database, create_projections(*names))
        with pytest.raises(RebuildRefused, match="name exactly these to resume it"):
            await run_rebuild(database, create_projections("runs"), resume=True)
        assert (await run_rebuild(database, create_projections("timers"))).same
        assert (await run_rebuild(database, create_projections("tasks", "runs"), resume=True)).same


def _cancel(_progress: Progress) -> None:
    raise asyncio.CancelledError
