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
from tests.support.engine.golden.histories import HISTORIES, History, build_history, store_history
from tests.support.engine.golden.scenarios import SCENARIOS, Scenario
from tests.support.engine.harness import Harness, open_harness
from tests.support.engine.simulator.faults import Faults
from tests.support.engine.simulator.random_graphs import draw_graph_case
from tests.support.engine.simulator.simulator import Simulator
from tests.support.servers.postgres import PostgresForTests

SIMULATED_SEEDS = range(40, 400, 15)
MANY_FAULTS = Faults(conflict=0.1, loss=0.1, spurious=0.2, held_back_off_seconds=0, lag_seconds=2)


async def read_graphs(harness: Harness, facts: list[RunFact]) -> dict[str, Any]:
    """Read the versions of its workflow's graph that a run has used."""
    graphs: dict[str, Any] = {}
    run = Run()
    for fact in facts:
        version = getattr(fact, "workflow_version", None)
        if version is not None:
            run = msgspec.structs.replace(run, workflow_id=getattr(fact, "workflow_id", run.workflow_id))
            graphs[str(version)] = msgspec.to_builtins(await read_graph(harness.log, run.workflow_id, version))
    return graphs


def list_children(run_id: UUID, run: Run, step: Step) -> list[UUID]:
    waiting = step.waiting
    if waiting is None:
        return []
    return [create_child_id(run_id, run.attempt, waiting, item) for item in range(waiting.children)]


async def read_histories(harness: Harness, run_id: UUID, name: str) -> AsyncGenerator[tuple[str, History]]:
    """Yield the history of a run, and those of its children."""
    facts: list[Any] = await harness.list_facts(run_id)
    if not facts:
        return  # a child that never began
    yield name, build_history(await read_graphs(harness, facts), facts)
    run = await harness.run(run_id)
    for step in run.steps.values():
        for item, child in enumerate(list_children(run_id, run, step)):
            async for named_history in read_histories(harness, child, f"{name}_child_{item}"):
                yield named_history


async def record_scenario(server: PostgresForTests, name: str, scenario: Scenario) -> list[tuple[str, History]]:
    conninfo = await asyncio.to_thread(server.lend_database, migrated=True)
    async with open_harness(conninfo) as harness:
        run_id = await scenario(harness)
        return [named_history async for named_history in read_histories(harness, run_id, name)]


def simulate_seed(seed: int) -> History:
    drawn = draw_graph_case(seed)
    simulator = Simulator(drawn, Random(seed), MANY_FAULTS).begin().run_to_end()  # noqa: S311  # the same seed gives the same history
    return build_history({"1": msgspec.to_builtins(drawn.graph)}, simulator.facts)


def main(names: list[str]) -> None:
    """Record the scenarios with these names, or all of them."""
    server = PostgresForTests(18)
    try:
        for name, scenario in SCENARIOS.items():
            if (not names or name in names) and not (HISTORIES / f"{name}.json").exists():
                for history_name, history in asyncio.run(record_scenario(server, name, scenario)):
                    store_history(history_name, history)
    finally:
        server.destroy()
    for seed in SIMULATED_SEEDS:
        name = f"played_{seed}"
        if (not names or name in names) and not (HISTORIES / f"{name}.json").exists():
            store_history(name, simulate_seed(seed))


if __name__ == "__main__":
    main(sys.argv[1:])
