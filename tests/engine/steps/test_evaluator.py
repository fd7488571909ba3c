"""What takes long holds nobody up: queries and templates beside the loop, and outputs while the database is away."""

import asyncio
import threading
from dataclasses import dataclass, replace
from uuid import UUID

from domain.expressions.budget import INLINE_WORK_MAX, Budget
from domain.runs.run import RunStatus
from engine.steps.evaluator import Evaluator
from store.errors import Unavailable
from tests.support.engine.harness import HeldContents, site
from tests.support.graphs import graph, node

PATIENCE_SECONDS = 10.0
ANA, BEN = UUID(int=1), UUID(int=2)


async def test_slow_work_leaves_the_loop_to_others() -> None:
    others_went_on = threading.Event()

    def takes_long(budget: Budget) -> bool:
        budget.charge(INLINE_WORK_MAX + 1)
        return others_went_on.wait(PATIENCE_SECONDS)

    working = asyncio.create_task(Evaluator().evaluate(ANA, takes_long))
    await asyncio.sleep(0)
    others_went_on.set()
    assert await working


async def test_quick_work_is_done_at_once() -> None:
    assert await Evaluator().evaluate(ANA, lambda _budget: threading.current_thread()) is threading.current_thread()


class Pieces:
    """Slow pieces of work: the first takes until it is let go, and all say when they are done."""

    def __init__(self) -> None:
        """Start with none."""
        self.slow = Evaluator()
        self.done: list[str] = []
        self._first = threading.Event()

    async def does(self, workspace_id: UUID, name: str) -> None:
        def takes_long(budget: Budget) -> None:
            budget.charge(INLINE_WORK_MAX + 1)
            if not self.done:
                assert self._first.wait(PATIENCE_SECONDS)
            self.done.append(name)

        await self.slow.evaluate(workspace_id, takes_long)

    async def begin_all(self, *pieces: tuple[UUID, str]) -> list[asyncio.Task[None]]:
        tasks = [asyncio.create_task(self.does(workspace_id, name)) for workspace_id, name in pieces]
        for _ in range(3):
            await asyncio.sleep(0)
        return tasks

    def let_go(self) -> None:
        self._first.set()


async def test_slow_work_of_another_workspace_waits_for_one_piece_and_not_for_all() -> None:
    pieces = Pieces()
    tasks = await pieces.begin_all(*((ANA, f"ana {number}") for number in range(500)), (BEN, "ben 0"), (BEN, "ben 1"))
    pieces.let_go()
    await asyncio.gather(*tasks)
    assert pieces.done[:5] == ["ana 0", "ana 1", "ben 0", "ana 2", "ben 1"]
    assert pieces.done[5:] == [f"ana {number}" for number in range(3, 500)]


async def test_slow_work_that_was_cancelled_before_its_turn_is_not_done() -> None:
    pieces = Pieces()
    first, second, third = await pieces.begin_all((ANA, "first"), (ANA, "second"), (ANA, "third"))
    second.cancel()
    pieces.let_go()
    await asyncio.gather(first, third)
    assert pieces.done == ["first", "third"]
    assert second.cancelled()


async def test_who_is_cancelled_as_the_turn_comes_gives_it_to_the_next() -> None:
    pieces = Pieces()

    async def first() -> None:
        await pieces.does(ANA, "first")
        second.cancel()  # the turn has been given to it, and it has not gone on yet

    beginning = asyncio.create_task(first())
    second, third = await pieces.begin_all((ANA, "second"), (BEN, "third"))
    pieces.let_go()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await asyncio.gather(beginning, third)
    assert second.cancelled()
    assert pieces.done == ["first", "third"]


async def test_who_is_cancelled_at_work_leaves_the_turn_to_the_next() -> None:
    pieces = Pieces()
    first, second = await pieces.begin_all((ANA, "first"), (BEN, "second"))
    first.cancel()
    await asyncio.wait({first})
    pieces.let_go()
    await second
    assert pieces.done == ["first", "second"], "what the thread has begun it ends"


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
    async with site(database) as here:
        contents = AwayContents(here.contents.kept, here.contents.open)
        away = replace(here, contents=contents)
        async with away.engaged():
            run = await away.begin(graph(node("a", config={"expression": large})))
            ended = await away.ended(run)
    assert ended.status is RunStatus.COMPLETED
    assert ended.outputs["a"].bytes == 10 * len('""') + 10 * 4_000 + len("[]") + 9
    assert contents.away == -1
