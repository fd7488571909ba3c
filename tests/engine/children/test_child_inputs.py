"""Children whose workflow has an `input_schema`: inputs that do not meet it are refused as those of a caller are."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from domain.graphs.graph import ErrorClass
from domain.ids import from_uuid
from domain.runs.run import Run, RunStatus
from engine.children.step_children import create_child_id
from tests.support.engine.child_graphs import maps, runs
from tests.support.engine.harness import Harness, open_harness
from tests.support.graphs import Json, graph, node

CHILD: Json = {
    **graph(node("a", config={"expression": "inputs.n"})),
    "input_schema": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
}
"""A workflow that takes a number."""


async def run_parent(
    harness: Harness, parent: Callable[[UUID], Json], inputs: Json, status: RunStatus = RunStatus.COMPLETED
) -> tuple[Run, UUID]:
    """Run the graph that `parent` makes of the id of CHILD to its end."""
    project = await harness.project()
    inner = await harness.workflow(project, CHILD)
    run = await harness.start(await harness.workflow(project, graph(parent(inner))), inputs)
    return await harness.wait_until_ended(run, status), run


async def test_a_sub_workflow_is_not_started_with_inputs_that_it_does_not_accept(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        pick = {"n": "inputs.n"}
        good, _ = await run_parent(harness, lambda inner: runs(inner, inputs=pick), {"n": 7})
        bad, run = await run_parent(harness, lambda inner: runs(inner, inputs=pick), {"n": "x"}, RunStatus.FAILED)
        waiting = bad.steps["inner"].waiting
        assert waiting is not None
        assert await harness.list_facts(create_child_id(run, 1, waiting, 0)) == []
    assert good.outputs["inner"].value == {"a": 7}
    assert bad.error is not None
    assert bad.error.error_class is ErrorClass.CHILD_FAILED
    assert "do not meet the input_schema of the workflow: /n:" in bad.error.message


async def test_items_of_a_map_are_refused_one_by_one(database: str) -> None:
    items: list[Any] = [1, "two", 3, None]
    config: dict[str, Any] = {"items": "inputs.items", "inputs": {"n": "item"}, "on_item_failure": "continue"}
    async with open_harness(database) as harness, harness.run_engine():
        ended, _ = await run_parent(harness, lambda inner: maps(inner, **config), {"items": items})
    results: Any = ended.outputs["each"].value
    assert [results[place] for place in (0, 2)] == [{"a": 1}, {"a": 3}]
    assert [results[place]["error"]["error_class"] for place in (1, 3)] == ["bad_request"] * 2


async def test_a_map_stops_at_the_first_item_that_is_refused(database: str) -> None:
    config: dict[str, Any] = {"items": "inputs.items", "inputs": {"n": "item"}}
    async with open_harness(database) as harness, harness.run_engine():
        ended, _ = await run_parent(harness, lambda inner: maps(inner, **config), {"items": ["x", 1]}, RunStatus.FAILED)
    assert ended.error is not None
    assert "item 0 failed: The inputs do not meet" in ended.error.message


async def test_a_round_of_a_repeat_is_refused(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        ended, _ = await run_parent(
            harness,
            lambda inner: node(
                "again",
                kind="repeat",
                config={"workflow_id": from_uuid("wf", inner), "until": "true", "most_rounds": 2},
            ),
            {},
            RunStatus.FAILED,
        )
    assert ended.error is not None
    assert "do not meet the input_schema" in ended.error.message
