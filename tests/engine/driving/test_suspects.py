"""Children that an engine may have died of are claimed before they are done; the others are begun and ended at once."""

from datetime import datetime
from uuid import UUID

from domain.runs.facts import RunStarted, StepStarted
from domain.runs.steps import StepStatus
from engine.failpoints import FailPoint
from tests.engine.children.test_children import list_children, picks, started_with
from tests.support.engine.child_graphs import maps
from tests.support.engine.harness import Harness, check_history, open_harness
from tests.support.graphs import graph
from tests.support.waiting import eventually

ITEMS = 6
CONCURRENCY = 2


class GivenUp(Exception):  # noqa: N818  # what befalls an engine here is no error
    """The engine lets its run go, as if it were dead."""


def gives_up(point: str) -> None:
    """Stop driving the run as soon as its map waits, before a child has begun."""
    if point == FailPoint.RECORDED:
        raise GivenUp


async def is_at_once(harness: Harness, run: UUID) -> list[bool]:
    """Return for each child whether its start and its claim were one append."""
    ended = await harness.wait_until_ended(run)
    answers: list[bool] = []
    for child in list_children(run, ended.steps["each"]):
        facts = await harness.facts(child)
        check_history([event.fact for event in facts])
        at: dict[type, datetime] = {type(event.fact): event.recorded_at for event in facts}
        answers.append(at[RunStarted] == at[StepStarted])
    return answers


async def test_children_of_a_map_that_was_taken_over_are_claimed_before_they_are_done(database: str) -> None:
    async with open_harness(database) as harness:
        async with harness.run_engine(failpoint=gives_up) as first:
            run = await started_with(
                harness,
                graph(picks("inputs.item")),
                lambda inner: graph(maps(inner, concurrency=CONCURRENCY)),
                {"list": list(range(ITEMS))},
            )

            async def let_go() -> bool:
                return run in first.stuck_runs

            await harness.wait_for_step(run, "each", StepStatus.WAITING)
            await eventually(let_go, what="the first engine lets the run go")
        async with harness.run_engine("second"):
            at_once = await is_at_once(harness, run)
    assert at_once == [False] * CONCURRENCY + [True] * (ITEMS - CONCURRENCY), "no more than were under way are suspect"


async def test_children_of_a_map_that_this_engine_claimed_are_begun_and_ended_at_once(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        run = await started_with(
            harness, graph(picks("inputs.item")), lambda inner: graph(maps(inner)), {"list": list(range(ITEMS))}
        )
        assert await is_at_once(harness, run) == [True] * ITEMS
