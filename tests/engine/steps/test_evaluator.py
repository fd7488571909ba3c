"""Slow work delays nobody: queries and templates in workers, and outputs while the database is away."""

import os
from dataclasses import dataclass, replace
from functools import partial
from uuid import UUID

import pytest

from domain.expressions.budget import TooMuchWork
from domain.runs.run import RunStatus
from store.errors import Unavailable
from store.settings import WorkSettings
from tests.support.engine.harness import HeldContents, open_harness
from tests.support.engine.workers import create_evaluator, open_evaluator
from tests.support.graphs import graph, node
from tests.support.store import slow_work

ANA = UUID(int=1)


async def test_slow_work_leaves_the_process() -> None:
    async with open_evaluator() as slow:
        assert await slow.evaluate(ANA, slow_work.return_process) != os.getpid()


async def test_quick_work_is_done_at_once() -> None:
    assert await create_evaluator().evaluate(ANA, slow_work.return_process_inline) == os.getpid()


async def test_work_that_is_stopped_is_too_much_work(tmp_path_factory: pytest.TempPathFactory) -> None:
    started = str(tmp_path_factory.mktemp("work") / "started")
    async with open_evaluator(WorkSettings(seconds_max=0.1)) as slow:
        with pytest.raises(TooMuchWork, match=r"more than 0\.6 seconds"):
            await slow.run_in_worker(ANA, partial(slow_work.sleep_for_ever, started))


@dataclass
class AwayContents(HeldContents):
    """A content store whose database is away for the first few puts."""

    away: int = 3

    async def put(self, workspace_id: UUID, content: bytes, media_type: str, digest_key: bytes | None = None) -> str:
        self.away -= 1
        if self.away >= 0:
            raise Unavailable("the database cannot be asked now")
        return await self.kept.put(workspace_id, content, media_type, digest_key)


async def test_an_output_waits_until_it_can_be_kept(database: str) -> None:
    large = f'`"{"x" * 4_000}"` | [{", ".join("@" * 10)}]'
    async with open_harness(database) as harness:
        contents = AwayContents(harness.contents.kept, harness.contents.open)
        away = replace(harness, contents=contents)
        async with away.run_engine():
            run = await away.begin(graph(node("a", config={"expression": large})))
            ended = await away.wait_until_ended(run)
    assert ended.status is RunStatus.COMPLETED
    assert ended.outputs["a"].bytes == 10 * len('""') + 10 * 4_000 + len("[]") + 9
    assert contents.away == -1
