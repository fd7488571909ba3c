"""Cancelling, retrying and forking runs under an engine: calls are aborted, and nothing is paid for twice."""

from typing import Any
from uuid import UUID

from commands.runs.lifecycle import CancelRun, ForkRun, RetryRun
from commands.workflow import ChangeWorkflow
from domain.payload import Payload
from domain.runs.facts import RunCancelled, RunCancelRequested, RunRetried, StepReused
from domain.runs.refusals import CompletedPartChanged, RunNotRetriable, RunNotRunning, StepNotFound
from domain.runs.run import Run, RunStatus
from domain.runs.steps import StepStatus
from tests.support.commands.processes import new_id
from tests.support.engine.fake_model import FakeModel
from tests.support.engine.harness import Harness, asks, open_harness, reviews
from tests.support.graphs import Json, edge, graph, node

HELD = graph(asks("a"), asks("b", "held"), node("c"), edges=[edge("a", "b"), edge("b", "c")])
MOODY = graph(asks("a"), asks("b", "moody"), node("c"), edges=[edge("a", "b"), edge("b", "c")])


async def cancel(harness: Harness, run: UUID) -> None:
    await harness.does(CancelRun(target_id=run, user_id="ada"))


async def retry(harness: Harness, run: UUID, *, newest_graph: bool = False) -> None:
    await harness.does(RetryRun(target_id=run, user_id="ada", newest_graph=newest_graph))


async def fork(harness: Harness, run: UUID, step: str, inputs: Any = None, *, newest_graph: bool = False) -> UUID:  # noqa: ANN401  # JSON
    found = new_id()
    payload = None if inputs is None else Payload(value=inputs)
    await harness.does(ForkRun(target_id=found, source_id=run, node=step, inputs=payload, newest_graph=newest_graph))
    return found


async def start_failing(harness: Harness, raw: Json = MOODY) -> UUID:
    run = await harness.begin(raw)
    await harness.wait_until_ended(run, RunStatus.FAILED)
    return run


async def completed_again(harness: Harness, run: UUID) -> Run:
    """Wait for the end of a run's second attempt."""
    found = await harness.wait_until(run, lambda state: state.attempt == 2 and state.has_ended, "has ended again")
    assert found.status is RunStatus.COMPLETED, found.error
    return found


async def revise(harness: Harness, run: UUID, raw: Json) -> None:
    await harness.does(ChangeWorkflow(target_id=(await harness.run(run)).workflow_id, graph=raw))


async def test_a_cancel_aborts_the_call_that_is_under_way(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        run = await harness.begin(HELD)
        await harness.wait_until_called("b")
        await cancel(harness, run)
        ended = await harness.wait_until_ended(run, RunStatus.CANCELLED)
        await cancel(harness, run)
        facts = await harness.list_facts(run)
    assert harness.fake_model.aborted["b"] == 1
    assert (ended.steps["a"].status, ended.steps["b"].status) == (StepStatus.COMPLETED, StepStatus.CANCELLED)
    assert "c" not in ended.steps
    assert sum(isinstance(fact, RunCancelRequested) for fact in facts) == 1
    assert isinstance(facts[-1], RunCancelled)


async def test_a_run_that_waits_for_a_person_is_cancelled(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        run = await harness.begin(graph(reviews("a")))
        await harness.wait_for_step(run, "a", StepStatus.WAITING)
        await cancel(harness, run)
        ended = await harness.wait_until_ended(run, RunStatus.CANCELLED)
    assert ended.steps["a"].status is StepStatus.CANCELLED


async def test_a_run_that_is_queued_is_cancelled_without_beginning(database: str) -> None:
    async with open_harness(database) as harness:
        run = await harness.begin(HELD)
        await cancel(harness, run)
        async with harness.run_engine():
            ended = await harness.wait_until_ended(run, RunStatus.CANCELLED)
    assert ended.steps == {}
    assert not harness.fake_model.calls


async def test_a_run_waits_to_try_again_and_is_cancelled(database: str) -> None:
    slow = {"max_attempts": 3, "backoff": {"initial_seconds": 3600, "max_seconds": 3600, "jitter": 0}}
    async with open_harness(database) as harness, harness.run_engine():
        run = await harness.begin(graph(asks("a", "moody", retry=slow)))
        await harness.wait_for_step(run, "a", StepStatus.RETRYING)
        await cancel(harness, run)
        await harness.wait_until_ended(run, RunStatus.CANCELLED)
    assert harness.fake_model.calls["a"] == 1


async def test_a_cancel_that_its_engine_did_not_live_to_see_through_is_seen_through_by_the_next(database: str) -> None:
    fake_model = FakeModel()
    async with open_harness(database, fake_model) as harness:
        async with harness.run_engine("first"):
            run = await harness.begin(HELD)
            await harness.wait_until_called("b")
        await cancel(harness, run)
        async with open_harness(database, fake_model) as second_harness, second_harness.run_engine("second"):
            await second_harness.wait_until_ended(run, RunStatus.CANCELLED)
    assert fake_model.calls["b"] == 1


async def test_a_run_that_has_ended_cannot_be_cancelled_nor_one_that_completed_retried(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        run = await harness.begin(graph(asks("a")))
        await harness.wait_until_ended(run)
        assert await harness.find_refusal(CancelRun(target_id=run, user_id="ada")) is RunNotRunning
        assert await harness.find_refusal(RetryRun(target_id=run, user_id="ada")) is RunNotRetriable


async def test_a_retry_pays_for_nothing_twice(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        run = await start_failing(harness)
        await retry(harness, run)
        await harness.wait_until(run, lambda state: state.attempt == 2 and state.has_ended, "has failed again")
        await retry(harness, run)
        ended = await harness.wait_until(run, lambda state: state.attempt == 3 and state.has_ended, "has ended")
    assert ended.status is RunStatus.COMPLETED
    assert (harness.fake_model.calls["a"], harness.fake_model.calls["b"]) == (1, 3)
    assert ended.outputs["c"].value == "b #3"
    assert len(ended.earlier) == 2, "the calls that failed count"
    assert harness.fake_model.tokens["b"] == {f"{run}.b", f"{run}.b.2", f"{run}.b.3"}


async def test_a_cancelled_run_is_retried_from_where_it_stopped(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        run = await harness.begin(HELD)
        await harness.wait_until_called("b")
        await cancel(harness, run)
        await harness.wait_until_ended(run, RunStatus.CANCELLED)
        harness.fake_model.open.set()
        await retry(harness, run)
        ended = await completed_again(harness, run)
    assert (harness.fake_model.calls["a"], harness.fake_model.calls["b"]) == (1, 2)
    assert ended.outputs["c"].value == "b #2"


async def test_a_retry_is_taken_up_by_another_engine(database: str) -> None:
    async with open_harness(database) as harness:
        async with harness.run_engine("first"):
            run = await start_failing(
                harness, graph(asks("a", "moody", retry={"max_attempts": 2, "backoff": {"initial_seconds": 0}}))
            )
        await retry(harness, run)
        async with open_harness(database, harness.fake_model) as second_harness, second_harness.run_engine("second"):
            await completed_again(second_harness, run)
    assert harness.fake_model.calls["a"] == 3


async def test_a_retry_on_the_newest_graph_goes_on_behind_what_is_done(database: str) -> None:
    newest = graph(
        node("z"), asks("a"), asks("b"), node("c"), node("d"),
        edges=[edge("z", "c"), edge("a", "b"), edge("b", "c"), edge("c", "d")],
    )  # fmt: skip
    async with open_harness(database) as harness, harness.run_engine():
        run = await start_failing(harness)
        await revise(harness, run, newest)
        await retry(harness, run, newest_graph=True)
        ended = await completed_again(harness, run)
        facts = await harness.list_facts(run)
    retried = next(fact for fact in facts if isinstance(fact, RunRetried))
    assert (retried.workflow_version, retried.kept) == (2, {"a": (1,)})
    assert harness.fake_model.calls["a"] == 1
    assert set(ended.outputs) == {"d"}


async def test_the_newest_graph_is_refused_where_it_changes_what_is_done(database: str) -> None:
    changed = graph(asks("b"), asks("a", "held"), node("c"), edges=[edge("a", "c"), edge("b", "c")])
    async with open_harness(database) as harness, harness.run_engine():
        run = await start_failing(harness)
        await revise(harness, run, changed)
        assert (
            await harness.find_refusal(RetryRun(target_id=run, user_id="ada", newest_graph=True))
            is CompletedPartChanged
        )
        command = ForkRun(target_id=new_id(), source_id=run, node="b", newest_graph=True)
        assert await harness.find_refusal(command) is CompletedPartChanged
        assert (await harness.run(run)).attempt == 1


async def test_a_fork_takes_over_what_lies_before_its_step(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        run = await harness.begin(
            graph(asks("a"), asks("b"), node("c", config={"expression": "inputs.n"}),
                  edges=[edge("a", "b"), edge("b", "c")]), {"n": 1},
        )  # fmt: skip
        await harness.wait_until_ended(run)
        forked = await fork(harness, run, "b", {"n": 2})
        ended = await harness.wait_until_ended(forked)
        facts = await harness.list_facts(forked)
        again = await harness.run(run)
    assert (harness.fake_model.calls["a"], harness.fake_model.calls["b"]) == (1, 2)
    assert [fact.from_run for fact in facts if isinstance(fact, StepReused)] == [run]
    assert ended.steps["a"].reused_from == run
    assert ended.steps["a"].output == again.steps["a"].output
    assert ended.outputs["c"].value == 2
    assert again.outputs["c"].value == 1
    assert ended.forked_from is not None
    assert (ended.forked_from.run_id, ended.forked_from.node) == (run, "b")


async def test_a_fork_from_the_first_step_is_a_run_of_its_own(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        run = await start_failing(harness)
        forked = await fork(harness, run, "a")
        ended = await harness.wait_until(forked, lambda state: state.has_ended, "has ended")
        assert await harness.find_refusal(ForkRun(target_id=new_id(), source_id=run, node="nothing")) is StepNotFound
    assert harness.fake_model.calls["a"] == 2
    assert ended.steps["a"].reused_from is None


async def test_a_fork_keeps_what_was_skipped_before_its_step(database: str) -> None:
    raw = graph(
        node("a"), asks("b"), asks("no"), asks("c"),
        edges=[edge("a", "b"), edge("a", "no", when="false"), edge("b", "c"), edge("no", "c")],
    )  # fmt: skip
    async with open_harness(database) as harness, harness.run_engine():
        run = await harness.begin(raw)
        await harness.wait_until_ended(run)
        ended = await harness.wait_until_ended(await fork(harness, run, "c"))
    assert (harness.fake_model.calls["b"], harness.fake_model.calls["no"], harness.fake_model.calls["c"]) == (1, 0, 2)
    assert ended.steps["no"].status is StepStatus.SKIPPED


async def test_a_run_is_cancelled_and_retried_over_and_over(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        run = await harness.begin(HELD)
        for attempt in range(1, 11):
            await harness.wait_until_called("b", times=attempt)
            await cancel(harness, run)
            await harness.wait_until(run, lambda state: state.has_ended, "is cancelled")
            await retry(harness, run)
        harness.fake_model.open.set()
        ended = await harness.wait_until(run, lambda state: state.has_ended, "has ended")
    assert (ended.status, ended.attempt) == (RunStatus.COMPLETED, 11)
    assert (harness.fake_model.calls["a"], harness.fake_model.calls["b"], harness.fake_model.aborted["b"]) == (
        1,
        11,
        10,
    )


async def test_forks_and_retries_wait_their_turn_in_a_full_engine(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine(active_runs=1):
        done = await start_failing(harness, graph(asks("a"), asks("b", "moody"), edges=[edge("a", "b")]))
        held = await harness.begin(HELD)
        await harness.wait_until_called("b", times=2)
        await retry(harness, done)
        forked = await fork(harness, done, "b")
        harness.fake_model.open.set()
        await harness.wait_until_ended(held)
        await harness.wait_until(done, lambda state: state.attempt == 2 and state.has_ended, "has ended again")
        await harness.wait_until(forked, lambda state: state.has_ended, "has ended")
        assert (await harness.run(forked)).steps["a"].reused_from == done
