"""Add golden histories: `python -m tests.support.engine.golden.record [NAME…]` plays the missing scenarios."""

import asyncio
import sys
from collections.abc import AsyncGenerator
from random import Random
from typing import Any
from uuid import UUID

import msgspec

from commands.repository import read_graph
from domain.runs.facts import RunFact
from domain.runs.run import Run
from domain.runs.steps import Step
from engine.children.step_children import create_child_id
from tests.support.engine.golden.histories import HISTORIES, History, recorded, store
from tests.support.engine.golden.scenarios import STORIES, Story
from tests.support.engine.harness import Site, site
from tests.support.engine.simulator.faults import Chances
from tests.support.engine.simulator.random_graphs import plot
from tests.support.engine.simulator.simulator import Play
from tests.support.servers.postgres import PostgresForTests

PLAYED = range(40, 400, 15)
ROUGH = Chances(conflict=0.1, loss=0.1, spurious=0.2, held_back_off_seconds=0, lag_seconds=2)


async def graphs_of(here: Site, facts: list[RunFact]) -> dict[str, Any]:
    """Give the versions of its workflow's graph that a run has gone by."""
    graphs: dict[str, Any] = {}
    run = Run()
    for fact in facts:
        version = getattr(fact, "workflow_version", None)
        if version is not None:
            run = msgspec.structs.replace(run, workflow_id=getattr(fact, "workflow_id", run.workflow_id))
            graphs[str(version)] = msgspec.to_builtins(await read_graph(here.log, run.workflow_id, version))
    return graphs


def children_of(run_id: UUID, run: Run, step: Step) -> list[UUID]:
    waiting = step.waiting
    if waiting is None:
        return []
    return [create_child_id(run_id, run.attempt, waiting, item) for item in range(waiting.children)]


async def of_run(here: Site, run_id: UUID, name: str) -> AsyncGenerator[tuple[str, History]]:
    """Give the history of a run, and those of its children."""
    facts: list[Any] = await here.of(run_id)
    if not facts:
        return  # a child that never began
    yield name, recorded(await graphs_of(here, facts), facts)
    run = await here.run(run_id)
    for step in run.steps.values():
        for item, child in enumerate(children_of(run_id, run, step)):
            async for one in of_run(here, child, f"{name}_child_{item}"):
                yield one


async def told(server: PostgresForTests, story: Story) -> list[tuple[str, History]]:
    conninfo = await asyncio.to_thread(server.lend_database, migrated=True)
    async with site(conninfo) as here:
        run_id = await story(here)
        return [one async for one in of_run(here, run_id, story.__name__)]


def played(seed: int) -> History:
    drawn = plot(seed)
    play = Play(drawn, Random(seed), ROUGH).begin().to_the_end()  # noqa: S311  # the same seed gives the same history
    return recorded({"1": msgspec.to_builtins(drawn.graph)}, play.facts)


def main(names: list[str]) -> None:
    """Record the stories with these names, all where there are none."""
    server = PostgresForTests(18)
    try:
        for story in STORIES:
            if (not names or story.__name__ in names) and not (HISTORIES / f"{story.__name__}.json").exists():
                for name, history in asyncio.run(told(server, story)):
                    store(name, history)
    finally:
        server.destroy()
    for seed in PLAYED:
        name = f"played_{seed}"
        if (not names or name in names) and not (HISTORIES / f"{name}.json").exists():
            store(name, played(seed))


if __name__ == "__main__":
    main(sys.argv[1:])
