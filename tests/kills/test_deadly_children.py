"""A child that ends every engine that does it fails for good, though it could be begun and ended in one append."""

from pathlib import Path
from uuid import UUID

from domain.graphs.graph import ErrorClass
from domain.runs.facts import ItemOutcome, StepItemsSettled
from engine.failpoints import FailPoint
from tests.support.engine.child_graphs import maps
from tests.support.graphs import graph, node
from tests.support.kills.environment import WAIT_SECONDS, Environment, open_environment
from tests.support.waiting import eventually

LOST_IN_A_ROW = 2
DIE_LEAST = 1 + LOST_IN_A_ROW
"""An engine dies when it starts the child or resumes it; several die once its step is claimed."""
DIE_MOST = 10


async def dies_or_ends_it(here: Environment, run: UUID) -> bool:
    """Run an engine that dies of any immediate step; return false once the run has ended."""
    dies = await here.engine(f"{FailPoint.INLINE}:0", CALLSHEET_ENGINE_LOST_ATTEMPTS_IN_A_ROW=str(LOST_IN_A_ROW))

    async def either() -> bool:
        return dies.returncode is not None or (await here.run(run)).has_ended

    await eventually(either, what=f"an engine is dead, or the run has ended; {here.read_logs()}", seconds=WAIT_SECONDS)
    return not (await here.run(run)).has_ended


async def test_a_child_that_ends_its_engines_fails_for_good_after_so_many(database: str, tmp_path: Path) -> None:
    async with open_environment(database, tmp_path) as here:
        project = await here.commands.project()
        inner = await here.commands.workflow(project, graph(node("a", config={"expression": "inputs.item"})))
        outer = await here.commands.workflow(project, graph(maps(inner, on_item_failure="continue")))
        run = await here.start(outer, {"list": ["deadly"]})
        while await dies_or_ends_it(here, run):
            assert here.count_killed() < DIE_MOST, "it ends one engine after the other, and nobody counts"
        ended = await here.run(run)
        facts = await here.of(run)
        assert here.count_killed() >= DIE_LEAST
    (settled,) = [item for fact in facts if isinstance(fact, StepItemsSettled) for item in fact.items]
    assert settled.outcome is ItemOutcome.FAILED
    assert settled.error is not None
    assert settled.error.error_class is ErrorClass.OWNER_LOST
    assert ended.outputs["each"].value == [
        {"error": {"error_class": "owner_lost", "message": settled.error.message}},
    ]
