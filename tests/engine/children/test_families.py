"""Families of runs: bounds on all descendants of a run, and a cancellation that stops them all at once."""

from dataclasses import replace
from uuid import UUID

import psycopg
import pytest

from commands.runs.lifecycle import CancelRun
from domain.graphs.graph import ErrorClass
from domain.runs.facts import RunStarted
from domain.runs.run import Run, RunStatus
from domain.runs.steps import StepStatus
from engine.settings import EngineSettings
from store.settings import RunSettings
from tests.engine.children.test_children import list_children, picks
from tests.support.engine.child_graphs import maps, runs
from tests.support.engine.harness import Harness, asks, open_harness
from tests.support.graphs import graph
from tests.support.waiting import eventually

SHORT_REST = EngineSettings(child_rest_seconds=0.05)


async def start_nested(harness: Harness, *, model: str = "free") -> UUID:
    """Start a map of two runs, each of which maps two items to runs that ask a model: 2 + 4 descendants."""
    project = await harness.project()
    leaf = await harness.workflow(project, graph(asks("a", model)))
    middle = await harness.workflow(project, graph(maps(leaf, items="`[1, 2]`", concurrency=2)))
    return await harness.start(await harness.workflow(project, graph(maps(middle, concurrency=2))), {"list": [1, 2]})


async def play_nested(database: str, bounds: RunSettings, status: RunStatus, *, model: str = "free") -> Run:
    async with open_harness(database) as opened:
        harness = replace(opened, bounds=bounds)
        async with harness.run_engine():
            return await harness.wait_until_ended(await start_nested(harness, model=model), status)


def check_too_many(ended: Run, bound: str) -> None:
    assert ended.error is not None
    assert ended.error.error_class is ErrorClass.CHILD_FAILED
    assert bound in ended.error.message


async def test_a_family_may_have_as_many_descendants_as_its_bound(database: str) -> None:
    ended = await play_nested(database, RunSettings(descendants=6), RunStatus.COMPLETED)
    assert len(ended.outputs) == 1


async def test_the_step_that_would_begin_one_descendant_more_fails_and_names_the_bound(database: str) -> None:
    ended = await play_nested(database, RunSettings(descendants=5), RunStatus.FAILED)
    check_too_many(ended, "more than 5 descendants in total (CALLSHEET_RUNS_DESCENDANTS)")


async def test_a_family_may_have_as_many_descendants_under_way_as_its_bound(database: str) -> None:
    await play_nested(database, RunSettings(descendants_under_way=6), RunStatus.COMPLETED)


async def test_the_step_that_would_have_one_descendant_more_under_way_fails_and_names_the_bound(database: str) -> None:
    ended = await play_nested(database, RunSettings(descendants_under_way=5), RunStatus.FAILED, model="held")
    check_too_many(ended, "more than 5 descendants under way at once (CALLSHEET_RUNS_DESCENDANTS_UNDER_WAY)")


@pytest.mark.parametrize(("depth", "status"), [(2, RunStatus.COMPLETED), (1, RunStatus.FAILED)])
async def test_descendants_are_begun_as_deep_as_the_bound(database: str, depth: int, status: RunStatus) -> None:
    ended = await play_nested(database, RunSettings(depth=depth), status)
    if status is RunStatus.FAILED:
        check_too_many(ended, "more than 1 levels below the run that was started (CALLSHEET_RUNS_DEPTH)")


async def test_a_step_that_fails_by_its_family_says_so_itself_and_begins_nothing(database: str) -> None:
    async with open_harness(database) as opened:
        harness = replace(opened, bounds=RunSettings(descendants=2))
        async with harness.run_engine():
            project = await harness.project()
            leaf = await harness.workflow(project, graph(picks("inputs.item")))
            run = await harness.start(await harness.workflow(project, graph(maps(leaf))), {"list": [1, 2, 3]})
            ended = await harness.wait_until_ended(run, RunStatus.FAILED)
            begun = [len(await harness.list_facts(child)) for child in list_children(run, ended.steps["each"])]
    assert ended.error is not None
    assert ended.error.error_class is ErrorClass.TOO_MANY_RUNS
    assert begun == [0, 0, 0]


async def test_an_engine_that_takes_over_counts_no_descendant_twice(database: str) -> None:
    async with open_harness(database) as opened:
        harness = replace(opened, bounds=RunSettings(descendants=6, descendants_under_way=6))
        async with harness.run_engine("first"):
            run = await start_nested(harness, model="held")
            await harness.wait_until_called("a", times=4)
        harness.fake_model.open.set()
        async with harness.run_engine("second"):
            await harness.wait_until_ended(run)


async def test_the_counts_of_a_family_go_with_its_root(database: str) -> None:
    async with open_harness(database) as harness:
        async with harness.run_engine():
            await harness.wait_until_ended(await start_nested(harness))
        async with await psycopg.AsyncConnection.connect(database) as connection:
            counts = await connection.execute(
                "select (select count(*) from run_families), (select count(*) from run_family_steps)"
            )
            assert await counts.fetchone() == (0, 0)


async def start_held(harness: Harness) -> tuple[UUID, UUID, list[UUID]]:
    """Start a run of a run that maps three items one by one, the first of which is held; return all of them."""
    project = await harness.project()
    leaf = await harness.workflow(project, graph(asks("a", "held")))
    middle = await harness.workflow(project, graph(maps(leaf, items="`[1, 2, 3]`", concurrency=1)))
    root = await harness.start(await harness.workflow(project, graph(runs(middle))), {})
    (child,) = list_children(root, (await harness.wait_for_step(root, "inner", StepStatus.WAITING)).steps["inner"])
    waiting = await harness.wait_for_step(child, "each", StepStatus.WAITING)
    await harness.wait_until_called("a")
    return root, child, list_children(child, waiting.steps["each"])


async def count_begun(harness: Harness, run_ids: list[UUID]) -> int:
    return sum([isinstance(fact, RunStarted) for run_id in run_ids for fact in await harness.list_facts(run_id)])


async def test_a_cancelled_root_stops_its_descendants_though_nobody_drives_it(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine(ending_runs=0, timers=SHORT_REST) as engine:
        root, child, leaves = await start_held(harness)

        async def rests() -> bool:
            return engine.active_runs == 1

        await eventually(rests, what="only the leaf is active: the root rests, and there is no slot to end it")
        await harness.does(CancelRun(target_id=root, user_id="ada"))
        await harness.wait_until_ended(leaves[0], RunStatus.CANCELLED)
        await harness.wait_until_ended(child, RunStatus.CANCELLED)
        assert await count_begun(harness, leaves) == 1
        assert not (await harness.run(root)).has_ended


async def test_an_engine_that_takes_over_begins_no_descendant_of_a_cancelled_root(database: str) -> None:
    async with open_harness(database) as harness:
        async with harness.run_engine("first"):
            root, child, leaves = await start_held(harness)
        await harness.does(CancelRun(target_id=root, user_id="ada"))
        harness.fake_model.open.set()
        await harness.wait_for_read_models()
        async with harness.run_engine("second", ending_runs=0):
            await harness.wait_until_ended(child, RunStatus.CANCELLED)
        assert await count_begun(harness, leaves) == 1
