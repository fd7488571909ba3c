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
from tests.support.engine.harness import Site, reviews, site
from tests.support.graphs import edge, graph, node
from tests.support.store.given import WORKSPACE


async def mapped_over(here: Site, content: Payload) -> tuple[UUID, UUID]:
    """Start a run that waits for a person and then maps over a dataset; gives the run and the dataset."""
    project, rows = await here.project(), new_id()
    await here.does(
        CreateAsset(
            target_id=rows, project_id=project, type=AssetType.DATASET, label="rows", metadata={}, content=content
        )
    )
    inner = await here.workflow(project, graph(node("a", config={"expression": "inputs.item.n"})))
    each = maps(inner, items=None, dataset_id=from_uuid("ast", rows), concurrency=50)
    outer = await here.workflow(project, graph(reviews("d"), each, edges=[edge("d", "each")]))
    return await here.start(outer), rows


async def decided(here: Site, run: UUID, status: RunStatus = RunStatus.COMPLETED) -> Run:
    await here.until(run, lambda state: state.waiting == 1, "waits")
    await here.decide(run, "d")
    return await here.ended(run, status)


async def test_a_map_goes_over_the_version_that_its_run_was_started_with(database: str) -> None:
    async with site(database) as here, here.engaged():
        run, rows = await mapped_over(here, Payload(value=[{"n": 1}, {"n": 2}]))
        await here.does(ChangeAsset(target_id=rows, content=Payload(value=[{"n": 3}])))
        ended = await decided(here, run)
    assert ended.pins.assets == {rows: 1}
    assert ended.outputs["each"].value == [{"a": 1}, {"a": 2}]


async def test_a_map_goes_over_a_dataset_that_is_too_large_for_a_fact(database: str) -> None:
    rows = [{"n": n, "text": "word " * 200} for n in range(500)]
    async with site(database) as here, here.engaged():
        content = await keep(here.contents, WORKSPACE, rows)
        assert content.ref is not None
        run, _ = await mapped_over(here, content)
        ended = await decided(here, run)
    assert ended.outputs["each"].value == [{"a": n} for n in range(500)]


@pytest.mark.parametrize("content", [{"rows": []}, "a,b\n1,2", None])
async def test_a_dataset_that_is_no_list_fails_the_step(database: str, content: object) -> None:
    async with site(database) as here, here.engaged():
        run, _ = await mapped_over(here, Payload(value=content))
        ended = await decided(here, run, RunStatus.FAILED)
    assert ended.error is not None
    assert ended.error.error_class is ErrorClass.EXPRESSION
    assert "must be a list" in ended.error.message
