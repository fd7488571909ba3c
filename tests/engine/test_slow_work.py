"""What takes long holds nobody up: queries and templates beside the loop, and outputs while the database is away."""

import asyncio
import threading
from dataclasses import dataclass, replace
from uuid import UUID

from domain.expressions_budget import QUICK_QUERY_WORK, Budget
from domain.run import RunStatus
from engine.slow_work import SlowWork
from store.faults import Unavailable
from tests.engine.world import HeldContents, site
from tests.fixtures.graphs import graph, node

PATIENCE_SECONDS = 10.0


async def test_slow_work_leaves_the_loop_to_others() -> None:
    others_went_on = threading.Event()

    def takes_long(budget: Budget) -> bool:
        budget.charge(QUICK_QUERY_WORK + 1)
        return others_went_on.wait(PATIENCE_SECONDS)

    working = asyncio.create_task(SlowWork().done(takes_long))
    await asyncio.sleep(0)
    others_went_on.set()
    assert await working


async def test_quick_work_is_done_at_once() -> None:
    assert await SlowWork().done(lambda _budget: threading.current_thread()) is threading.current_thread()


@dataclass
class AwayContents(HeldContents):
    """A content store whose database is away for the first few puts."""

    away: int = 3

    async def put(self, workspace_id: UUID, content: bytes, media_type: str) -> str:
        self.away -= 1
        if self.away >= 0:
            raise Unavailable("the database cannot be asked now")
        return await self.kept.put(workspace_id, content, media_type)


async def test_an_output_waits_until_it_can_be_kept(database: str) -> None:
    large = f'`"{"x" * 4_000}"` | [{", ".join("@" * 10)}]'
    async with site(database) as here:
        contents = AwayContents(here.contents.kept, here.contents.open)
        away = replace(here, contents=contents)
        async with away.engaged():
            run = await away.begin(graph(node("a", config={"expression": large})))
            ended = await away.ended(run)
    assert ended.status is RunStatus.COMPLETED
    assert ended.outputs["a"].bytes == 10 * len('""') + 10 * 4_000 + len("[]") + 9
    assert contents.away == -1
