"""Datasets as what a map goes over: as they were when the run began, small or large, and lists only."""

from uuid import UUID

import pytest

from commands.asset import ChangeAsset, CreateAsset
from domain.asset import AssetType
from domain.graphs.graph import ErrorClass
from domain.ids import from_uuid
from domain.payload import Payload
from domain.runs.run import Run, RunStatus
from store.contents import keep
from tests.support.commands.processes import new_id
from tests.support.engine.child_graphs import maps
from tests.support.engine.harness import Harness, open_harness, reviews
from tests.support.graphs import edge, graph, node
from tests.support.store.given import WORKSPACE


async def mapped_over(harness: Harness, content: Payload) -> tuple[UUID, UUID]:
    """Start a run that waits for a person and then maps over a dataset; gives the run and the dataset."""
    project, rows = await harness.project(), new_id()
    await harness.does(
        CreateAsset(
            target_id=rows, project_id=project, type=AssetType.DATASET, label="rows", metadata={}, content=content
        )
    )
    inner = await harness.workflow(project, graph(node("a", config={"expression": "inputs.item.n"})))
    each = maps(inner, items=None, dataset_id=from_uuid("ast", rows), concurrency=50)
    outer = await harness.workflow(project, graph(reviews("d"), each, edges=[edge("d", "each")]))
    return await harness.start(outer), rows


async def decide_and_wait(harness: Harness, run: UUID, status: RunStatus = RunStatus.COMPLETED) -> Run:
    await harness.wait_until(run, lambda state: state.waiting == 1, "waits")
    await harness.decide(run, "d")
    return await harness.wait_until_ended(run, status)


async def test_a_map_goes_over_the_version_that_its_run_was_started_with(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        run, rows = await mapped_over(harness, Payload(value=[{"n": 1}, {"n": 2}]))
        await harness.does(ChangeAsset(target_id=rows, content=Payload(value=[{"n": 3}])))
        ended = await decide_and_wait(harness, run)
    assert ended.pins.assets == {rows: 1}
    assert ended.outputs["each"].value == [{"a": 1}, {"a": 2}]


async def test_a_map_goes_over_a_dataset_that_is_too_large_for_a_fact(database: str) -> None:
    rows = [{"n": n, "text": "word " * 200} for n in range(500)]
    async with open_harness(database) as harness, harness.run_engine():
        content = await keep(harness.contents, WORKSPACE, rows)
        assert content.ref is not None
        run, _ = await mapped_over(harness, content)
        ended = await decide_and_wait(harness, run)
    assert ended.outputs["each"].value == [{"a": n} for n in range(500)]


@pytest.mark.parametrize("content", [{"rows": []}, "a,b\n1,2", None])
async def test_a_dataset_that_is_no_list_fails_the_step(database: str, content: object) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        run, _ = await mapped_over(harness, Payload(value=content))
        ended = await decide_and_wait(harness, run, RunStatus.FAILED)
    assert ended.error is not None
    assert ended.error.error_class is ErrorClass.EXPRESSION
    assert "must be a list" in ended.error.message
