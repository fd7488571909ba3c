"""Outputs that were paid for before a condition failed: kept by a retry, which decides the edges and asks nobody again."""

from contextlib import AbstractAsyncContextManager
from typing import Any, Final
from uuid import UUID

import pytest

from commands.asset import ChangeAsset, CreateAsset
from commands.run_again import CancelRun, RetryRun
from commands.workflow import ChangeWorkflow
from domain.asset import AssetType
from domain.fact import Fact
from domain.graph import ErrorClass
from domain.ids import from_uuid
from domain.payload import INLINE_BYTES, Payload
from domain.run import Run, RunStatus
from domain.run_facts import RunFailed, RunRetried, StepCompleted, StepFailed, StepStarted
from domain.run_steps import StepStatus
from domain.run_took import took_by
from engine.parts import Point
from tests.commands.processes import new_id
from tests.engine.test_engine_verbs import fork, retry, revise
from tests.engine.world import Gate, Site, asks, reviews, site
from tests.fixtures.graphs import Json, edge, graph, node

BROKEN: Final = "steps.a.output.nope == 1"
MENDED: Final = "steps.a.output != ''"


def paid(when: str = BROKEN, model: str = "counting", **fields: Any) -> Json:  # noqa: ANN401  # JSON
    """Give a graph whose first step is paid for, with a condition behind it."""
    return graph(asks("a", model, **fields), node("b"), edges=[edge("a", "b", when=when)])


async def failed(here: Site, raw: Json) -> UUID:
    here.gate.open.set()
    run = await here.begin(raw)
    ended = await here.ended(run, RunStatus.FAILED)
    assert (ended.failed_node, ended.steps["a"].status) == ("a", StepStatus.FAILED)
    return run


async def again(here: Site, run: UUID, attempt: int, *, newest_graph: bool = False) -> Run:
    await retry(here, run, newest_graph=newest_graph)
    return await here.until(run, lambda state: state.ended and state.attempt == attempt, "has ended again")


def kept(facts: list[Fact]) -> list[tuple[str, ...]]:
    return [fact.outputs_kept for fact in facts if isinstance(fact, RunRetried)]


async def test_a_paid_answer_survives_a_condition_that_fails(database: str) -> None:
    async with site(database) as here, here.engaged():
        run = await failed(here, paid())
        first = await here.run(run)
        second = await again(here, run, 2)
        await revise(here, run, paid(MENDED))
        third = await again(here, run, 3, newest_graph=True)
        facts = await here.of(run)
    assert here.gate.calls["a"] == 1
    assert first.steps["a"].gave == second.steps["a"].gave == Payload(value="a #1")
    assert second.error == first.error
    assert (third.status, third.workflow_version) == (RunStatus.COMPLETED, 2)
    assert third.steps["a"].output.value == third.outputs["b"].value == "a #1"
    assert kept(facts) == [("a",), ("a",)]
    assert [fact.node for fact in facts if isinstance(fact, StepStarted)] == ["a", "b"]
    assert [type(fact).__name__ for fact in facts[-4:]] == ["StepCompleted", "StepStarted", "StepCompleted", "RunCompleted"]
    took = [took_by(state) for state in (first, second, third)]
    assert took[0] == took[1] == took[2]
    assert took[0].model_calls == 1
    assert took[0].cost_usd is not None
    assert third.steps["a"].usage == first.steps["a"].usage
