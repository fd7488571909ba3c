"""Counts of a run's steps: updated by each fact, and equal to a count over all steps after any facts."""

from functools import reduce
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from domain.graphs.graph import ErrorClass
from domain.payload import NOTHING
from domain.runs.facts import (
    RunCancelled,
    RunCompleted,
    RunFact,
    RunFailed,
    StepCompleted,
    StepDecided,
    StepError,
    StepFailed,
    StepSkipped,
    StepStarted,
    StepWaiting,
    WaitFor,
)
from domain.runs.run import Run, RunStatus, evolve
from domain.runs.steps import BUSY, SETTLED, StepStatus, count_stored_bytes
from tests.support.domain.histories import NOW, errors, nodes, payloads, usages, waitings

attempts = st.integers(1, 3)
moving: st.SearchStrategy[Any] = st.one_of(
    st.builds(
        StepStarted, node=nodes, attempt=attempts, executor=st.just("e"), epoch=st.just(1), started_at=st.just(NOW)
    ),
    st.builds(StepCompleted, node=nodes, attempt=attempts, output=payloads, usage=usages, completed_at=st.just(NOW)),
)
others: st.SearchStrategy[Any] = st.one_of(
    waitings,
    st.builds(
        StepFailed,
        node=nodes,
        attempt=attempts,
        error=errors,
        retry_at=st.none() | st.just(NOW),
        gave=st.none() | payloads,
        failed_at=st.just(NOW),
    ),
    st.builds(StepSkipped, node=nodes, reason=st.just("no")),
    st.builds(
        StepDecided,
        node=nodes,
        outcome=st.just("approve"),
        data=payloads,
        decided_by=st.just("ada"),
        shown_hash=st.none(),
        decided_at=st.just(NOW),
    ),
    st.builds(RunCompleted, output_nodes=st.just(()), completed_at=st.just(NOW)),
    st.builds(RunCancelled, cancelled_at=st.just(NOW)),
)
facts_in_any_order = st.lists(moving | moving | others, min_size=1, max_size=25)
A_WAITS_AND_B_IS_DONE: list[Any] = [
    StepWaiting(node="a", attempt=1, waiting_for=WaitFor.HUMAN, waiting_since=NOW),
    StepStarted(node="b", attempt=1, executor="e", epoch=1, started_at=NOW),
    StepCompleted(node="b", attempt=1, output=NOTHING, completed_at=NOW),
]
BY_STEPS = ("status", "steps", "busy", "waiting", "settled", "data_bytes", "failing_node")


def recount(run: Run, before: Run) -> tuple[Any, ...]:
    """Look at every step; a run that had ended before stays as it ended."""
    of = [step.status for step in run.steps.values()]
    busy, waiting = sum(status in BUSY for status in of), of.count(StepStatus.WAITING)
    status = RunStatus.WAITING if waiting and not busy and run.failing_node is None else RunStatus.RUNNING
    held = sum(count_stored_bytes(step) for step in run.steps.values())
    return (before.status if before.has_ended else status), busy, waiting, sum(status in SETTLED for status in of), held


@given(facts_in_any_order)
@example(A_WAITS_AND_B_IS_DONE)
def test_a_fact_of_a_step_moves_its_run_as_a_look_at_all_steps_tells(facts: list[RunFact]) -> None:
    run = Run()
    for fact in facts:
        before, run = run, evolve(run, fact)
        if not isinstance(fact, RunCompleted | RunCancelled):
            assert (run.status, run.busy, run.waiting, run.settled, run.data_bytes) == recount(run, before)
            assert run == replace(before, **{field: getattr(run, field) for field in BY_STEPS})
            assert {node: step for node, step in run.steps.items() if before.steps.get(node) is not step}.keys() <= {
                getattr(fact, "node", None)
            }


A_FAILED = StepFailed(
    node="a", attempt=1, error=StepError(error_class=ErrorClass.INTERNAL, message="no"), edges_taken=(), failed_at=NOW
)
X_WAITS: list[Any] = [StepWaiting(node="x", attempt=1, waiting_for=WaitFor.CHILD, waiting_since=NOW)]
A_STARTED = StepStarted(node="a", attempt=1, executor="e", epoch=1, started_at=NOW)


def fold_facts(*facts: RunFact) -> Run:
    return reduce(evolve, facts, Run())


def test_a_run_that_is_about_to_fail_waits_for_nobody_though_its_children_are_under_way() -> None:
    failing = fold_facts(*X_WAITS, A_STARTED, A_FAILED)
    assert (failing.status, failing.failing_node) == (RunStatus.RUNNING, "a")
    later = evolve(evolve(failing, replace(A_STARTED, node="b")), replace(A_FAILED, node="b"))
    assert (later.status, later.failing_node) == (RunStatus.RUNNING, "a"), "it ends by the first"
    ended = evolve(failing, RunFailed(node="a", error=A_FAILED.error, failed_at=NOW))
    assert (ended.status, ended.failed_node, ended.failing_node) == (RunStatus.FAILED, "a", None)


@pytest.mark.parametrize(
    "leads_on",
    [{"edges_taken": (0,)}, {"continued_with": NOTHING}, {"retry_at": NOW}],
    ids=lambda fields: next(iter(fields)),
)
def test_a_step_that_fails_and_leads_on_leaves_its_run_waiting(leads_on: dict[str, Any]) -> None:
    run = fold_facts(*X_WAITS, A_STARTED, replace(A_FAILED, **leads_on))
    assert run.failing_node is None
    assert run.status is (RunStatus.RUNNING if "retry_at" in leads_on else RunStatus.WAITING)


def test_a_claim_after_a_retry_that_kept_an_open_step_leaves_a_run_waiting_as_its_counts_say() -> None:
    run = Run(status=RunStatus.WAITING, busy=-1, waiting=1)
    claim = StepStarted(node="a", attempt=1, executor="e", epoch=1, started_at=NOW)
    assert evolve(run, claim).status is RunStatus.WAITING
    assert evolve(replace(run, busy=0), claim).status is RunStatus.RUNNING
