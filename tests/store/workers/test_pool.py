"""Worker processes: work leaves the process, can be ended, and workspaces take turns."""

import asyncio
import os
from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest

from store.settings import WorkSettings
from store.workers.pool import WorkerPool
from store.workers.process import WorkStopped
from tests.support.store import slow_work
from tests.support.waiting import eventually

ANA, BEN = UUID(int=1), UUID(int=2)


@pytest.fixture
async def pool() -> AsyncGenerator[WorkerPool]:
    async with WorkerPool.open(WorkSettings(seconds_max=10)) as pool:
        yield pool


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


async def test_work_is_evaluated_in_another_process_again_and_again(pool: WorkerPool) -> None:
    first = await pool.run(ANA, os.getpid)
    assert first != os.getpid()
    assert await pool.run(ANA, os.getpid) == first


async def test_what_the_work_raises_is_raised_as_it_was(pool: WorkerPool) -> None:
    with pytest.raises(slow_work.TwoFacedError, match="2 is over 1") as caught:
        await pool.run(ANA, slow_work.fail)
    assert caught.value.size == 2


async def test_a_worker_knows_no_environment(pool: WorkerPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLSHEET_OF_THE_PARENT", "a secret")
    assert "CALLSHEET_OF_THE_PARENT" not in await pool.run(ANA, slow_work.list_environment)


async def test_work_that_takes_too_long_is_killed_and_the_next_is_evaluated(tmp_path: Path) -> None:
    async with WorkerPool.open(WorkSettings(processes=1, seconds_max=0.1)) as pool:
        started = tmp_path / "started"
        with pytest.raises(WorkStopped, match=r"more than 0\.6 seconds"):
            await pool.run(ANA, partial(slow_work.sleep_for_ever, str(started)))
        assert not is_alive(int(started.read_text()))
        assert pool.stopped_count == 1
        assert await pool.run(ANA, partial(len, "abc")) == 3


async def test_work_that_computes_for_too_long_is_killed() -> None:
    async with WorkerPool.open(WorkSettings(seconds_max=1)) as pool:
        with pytest.raises(WorkStopped):
            await pool.run(ANA, slow_work.compute_for_ever)
        assert await pool.run(ANA, partial(len, "abc")) == 3


async def test_work_that_needs_too_much_memory_is_stopped_and_the_next_is_evaluated(pool: WorkerPool) -> None:
    with pytest.raises(WorkStopped, match="memory"):
        await pool.run(ANA, partial(slow_work.allocate, 10**10))
    assert await pool.run(ANA, partial(slow_work.allocate, 10**6)) == 10**6


async def test_a_worker_that_dies_fails_its_work_and_is_replaced(pool: WorkerPool) -> None:
    with pytest.raises(WorkStopped):
        await pool.run(ANA, slow_work.end_process)
    assert await pool.run(ANA, partial(len, "abc")) == 3


async def test_cancelled_work_ends_its_process(pool: WorkerPool, tmp_path: Path) -> None:
    started = tmp_path / "started"
    working = asyncio.create_task(pool.run(ANA, partial(slow_work.sleep_for_ever, str(started))))

    async def has_started() -> bool:
        return started.exists() and started.read_text() != ""

    await eventually(has_started, what="the work has started")
    working.cancel()
    await asyncio.wait({working})
    assert not is_alive(int(started.read_text()))


async def test_a_workspace_never_occupies_every_worker(pool: WorkerPool, tmp_path: Path) -> None:
    forever = asyncio.create_task(pool.run(ANA, partial(slow_work.sleep_for_ever, str(tmp_path / "started"))))
    also = asyncio.create_task(pool.run(ANA, partial(slow_work.record, str(tmp_path), "also")))
    await pool.run(BEN, partial(slow_work.record, str(tmp_path), "ben"))
    assert not (tmp_path / "also").exists()
    forever.cancel()
    await asyncio.wait({forever})
    await also


async def test_workspaces_take_turns_and_cancelled_work_is_left_out(tmp_path: Path) -> None:
    async with WorkerPool.open(WorkSettings(processes=1)) as pool:
        order: list[str] = []

        async def work(workspace_id: UUID, name: str, waits_for: str | None = None) -> None:
            await pool.run(workspace_id, partial(slow_work.record, str(tmp_path), name, waits_for))
            order.append(name)

        tasks = [asyncio.create_task(work(ANA, "ana 0", "go"))]
        tasks += [asyncio.create_task(work(ANA, f"ana {number}")) for number in range(1, 5)]
        tasks += [asyncio.create_task(work(BEN, f"ben {number}")) for number in range(2)]
        for _ in range(3):
            await asyncio.sleep(0)
        tasks[2].cancel()
        (tmp_path / "go").touch()
        await asyncio.wait(tasks)
        assert order == ["ana 0", "ana 1", "ben 0", "ana 3", "ben 1", "ana 4"]
        assert not (tmp_path / "ana 2").exists()


async def test_a_pool_ends_its_processes() -> None:
    async with WorkerPool.open(WorkSettings()) as pool:
        process = await pool.run(ANA, os.getpid)
    assert not is_alive(process)
