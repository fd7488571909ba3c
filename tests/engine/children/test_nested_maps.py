"""Maps within maps: lists within a list, and failures that stop where they are allowed."""

from domain.runs.run import RunStatus
from tests.engine.children.test_children import picks
from tests.support.engine.child_graphs import maps
from tests.support.engine.harness import open_harness
from tests.support.graphs import graph


async def test_a_map_within_a_map_gives_lists_within_a_list(database: str) -> None:
    rows = [[1, 2, 3], [], [4], list(range(30))]
    async with open_harness(database) as harness, harness.run_engine():
        project = await harness.project()
        leaf = await harness.workflow(project, graph(picks("inputs.item")))
        middle = await harness.workflow(project, graph(maps(leaf, items="inputs.item", concurrency=4)))
        run = await harness.start(await harness.workflow(project, graph(maps(middle, concurrency=2))), {"list": rows})
        ended = await harness.wait_until_ended(run)
    assert ended.outputs["each"].value == [{"each": [{"a": item} for item in row]} for row in rows]


async def test_what_fails_in_a_map_within_a_map_fails_there_or_further_up_as_each_allows(database: str) -> None:
    rows = [[1, "x"], ["x", "y"], [2]]
    async with open_harness(database) as harness, harness.run_engine():
        project = await harness.project()
        leaf = await harness.workflow(project, graph(picks("abs(inputs.item)")))
        inner = maps(leaf, items="inputs.item", on_item_failure="continue", most_failed_items=1)
        middle = await harness.workflow(project, graph(inner))
        lenient = graph(maps(middle, on_item_failure="continue"))
        ended = await harness.wait_until_ended(
            await harness.start(await harness.workflow(project, lenient), {"list": rows})
        )
        strict = await harness.start(await harness.workflow(project, graph(maps(middle))), {"list": rows})
        failed = await harness.wait_until_ended(strict, RunStatus.FAILED)
    first, second, third = ended.outputs["each"].value  # type: ignore[misc]  # JSON, a list as the test knows
    assert first["each"][0] == {"a": 1}
    assert first["each"][1]["error"]["error_class"] == "expression"
    assert second["error"]["error_class"] == "child_failed"
    assert third == {"each": [{"a": 2}]}
    assert failed.error is not None
    assert "item 1 failed: 2 items failed" in failed.error.message
