"""The data of one run is bounded: a step whose output exceeds the bound fails, and an older run still ends."""

from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import pytest

from commands.aggregates import RUN
from commands.runs.lifecycle import ForkRun, RetryRun
from domain.graphs.graph import ErrorClass
from domain.payload import Payload
from domain.runs.facts import Pins, RunCancelled, RunRetried, RunStarted, StepCompleted
from domain.runs.run import Run, RunStatus
from domain.runs.steps import StepStatus
from engine.children.outcome import build_item_result
from engine.executors import LARGE_OUTPUTS_AT_ONCE
from store.contents import CONTENT_BYTES_MAX
from store.errors import ContentTooLarge
from tests.support.commands.processes import new_id
from tests.support.commands.scenario import NOW
from tests.support.domain.histories import fold
from tests.support.engine.child_graphs import maps
from tests.support.engine.harness import Harness, HeldContents, asks, open_harness, reviews
from tests.support.engine.simulator.simulator import NOBODY, NoContents
from tests.support.graphs import Json, edge, graph, node
from tests.support.waiting import eventually

LARGE_BYTES = 10 * 4_002 + 11
"""Result of a large output: ten texts in a list."""
ROOM = 2 * LARGE_BYTES
"""Room for two of them."""
LARGE = f'`"{"x" * 4_000}"` | [{", ".join("@" * 10)}]'


def large(node_id: str, **fields: Any) -> Json:  # noqa: ANN401  # JSON
    return node(node_id, config={"expression": LARGE}, **fields)


def chain(*nodes: Json) -> Json:
    return graph(*nodes, edges=[edge(nodes[at]["id"], nodes[at + 1]["id"]) for at in range(len(nodes) - 1)])


def is_refused(run: Run, step: str) -> None:
    assert run.steps[step].status is StepStatus.FAILED
    error = run.steps[step].error
    assert error is not None
    assert error.error_class is ErrorClass.INVALID_OUTPUT
    assert f"the limit of {ROOM} bytes" in error.message
    assert "CALLSHEET_ENGINE_RUN_DATA_BYTES" in error.message
    assert run.data_bytes <= ROOM


async def test_a_step_whose_output_is_too_much_for_its_run_fails_and_says_so(database: str) -> None:
    async with open_harness(database) as harness, replace(harness, run_data_bytes=ROOM).run_engine():
        run = await harness.begin(
            chain(large("a"), large("b"), node("small", config={"expression": "'x'"}), large("c"))
        )
        ended = await harness.wait_until_ended(run, RunStatus.FAILED)
    is_refused(ended, "c")
    assert ended.data_bytes == ROOM
    assert ended.error is not None
    held = f"the run holds {ROOM} bytes of data, and the {LARGE_BYTES} bytes of this step"
    assert ended.error.message.startswith(held)


async def test_it_is_not_tried_again_and_its_on_error_leads_on(database: str) -> None:
    again = {"max_attempts": 3, "retry_on": ["invalid_output"], "backoff": {"initial_seconds": 0, "jitter": 0}}
    too_much = large("c", retry=again, on_error={"action": "continue", "output": "too much"})
    async with open_harness(database) as harness, replace(harness, run_data_bytes=ROOM).run_engine():
        run = await harness.begin(chain(large("a"), large("b"), too_much, node("d")))
        ended = await harness.wait_until_ended(run)
    is_refused(ended, "c")
    assert ended.steps["c"].attempt == 1
    assert ended.outputs["d"].value == "too much"


async def test_of_outputs_that_come_together_those_are_kept_for_which_there_is_room(database: str) -> None:
    continues = {"action": "continue", "output": None}
    names = ("a", "b", "c", "d")
    async with open_harness(database) as harness, replace(harness, run_data_bytes=ROOM).run_engine():
        run = await harness.begin(graph(*(large(name, on_error=continues) for name in names)))
        ended = await harness.wait_until_ended(run)
    assert sum(ended.steps[name].status is StepStatus.COMPLETED for name in names) == 2
    assert ended.data_bytes == ROOM


async def test_what_children_are_started_with_counts_too(database: str) -> None:
    list_of_two = f"[{LARGE.replace('@, @', '@', 1)}, inputs.more]"
    async with open_harness(database) as harness, replace(harness, run_data_bytes=ROOM).run_engine():
        project = await harness.project()
        inner = await harness.workflow(project, graph(node("a", config={"expression": "'x'"})))
        each = maps(inner, items=list_of_two)
        run = await harness.start(await harness.workflow(project, chain(large("a"), large("b"), each)), {"more": 1})
        ended = await harness.wait_until_ended(run, RunStatus.FAILED)
        fits = await harness.start(await harness.workflow(project, chain(large("a"), each)), {"more": 1})
        done = await harness.wait_until_ended(fits)
    is_refused(ended, "each")
    assert done.data_bytes == LARGE_BYTES, "they do not once the children have ended"


async def test_an_output_that_a_retry_has_kept_has_room_whatever_the_setting_is_by_then(database: str) -> None:
    raw = graph(large("a"), node("b"), edges=[edge("a", "b", when="steps.a.output.nope == 1")])
    async with open_harness(database) as harness:
        async with harness.run_engine():
            run = await harness.begin(raw)
            await harness.wait_until_ended(run, RunStatus.FAILED)
        async with replace(harness, run_data_bytes=1).run_engine("second"):
            await harness.does(RetryRun(target_id=run, user_id="ada"))
            again = await harness.wait_until(
                run, lambda state: state.has_ended and state.attempt == 2, "has ended again"
            )
    assert again.error is not None
    assert again.error.error_class is ErrorClass.EXPRESSION
    assert again.steps["a"].gave is not None
    assert again.data_bytes == LARGE_BYTES


async def test_a_fork_counts_what_it_took_over(database: str) -> None:
    async with open_harness(database) as harness:
        async with harness.run_engine():
            run = await harness.begin(chain(large("a"), large("b"), large("c")))
            await harness.wait_until_ended(run)
        forked = new_id()
        async with replace(harness, run_data_bytes=ROOM).run_engine("second"):
            await harness.does(ForkRun(target_id=forked, source_id=run, node="c", inputs=None))
            ended = await harness.wait_until_ended(forked, RunStatus.FAILED)
    assert ended.steps["b"].reused_from == run
    is_refused(ended, "c")


@pytest.mark.parametrize("last", [node("last", config={"expression": "'x'"}), large("last")])
async def test_a_run_that_holds_more_than_is_allowed_now_gets_to_its_end(database: str, last: Json) -> None:
    async with open_harness(database) as harness:
        async with harness.run_engine():
            run = await harness.begin(chain(large("a"), large("b"), reviews("r"), last))
            await harness.wait_for_step(run, "r", StepStatus.WAITING)
        async with replace(harness, run_data_bytes=1).run_engine("second"):
            await harness.decide(run, "r")
            ended = await harness.wait_until(run, lambda state: state.has_ended, "has ended")
    assert ended.steps["r"].status is StepStatus.COMPLETED
    assert ended.status is (RunStatus.FAILED if last["config"]["expression"] == LARGE else RunStatus.COMPLETED)


async def test_who_takes_a_run_over_judges_alike(database: str) -> None:
    async with open_harness(database) as harness:
        bounded = replace(harness, run_data_bytes=ROOM)
        async with bounded.run_engine():
            run = await harness.begin(chain(large("a"), large("b"), asks("q", "held"), large("c")))
            await harness.wait_until_called("q")
        harness.fake_model.open.set()
        async with bounded.run_engine("second"):
            ended = await harness.wait_until_ended(run, RunStatus.FAILED)
    is_refused(ended, "c")


def refers_to(size: int) -> Payload:
    return Payload(ref="sha256:" + "ab" * 32, bytes=size, media_type="application/json")


def test_what_a_retry_begins_anew_counts_no_longer() -> None:
    run: Run = fold(
        RUN,
        [
            RunStarted(workflow_id=NOBODY, workflow_version=1, inputs=refers_to(1), pins=Pins(), started_at=NOW),
            StepCompleted(node="a", attempt=1, output=refers_to(20), completed_at=NOW),
            StepCompleted(node="b", attempt=1, output=refers_to(300), completed_at=NOW),
            RunCancelled(cancelled_at=NOW),
            RunRetried(run_attempt=2, workflow_version=1, kept={"a": ()}, retried_by="ada", retried_at=NOW),
        ],
    )
    assert run.data_bytes == 21


async def test_outputs_of_a_child_that_are_too_much_together_are_told_before_any_is_read() -> None:
    outputs = {"a": refers_to(CONTENT_BYTES_MAX), "b": refers_to(1)}
    child = Run(status=RunStatus.COMPLETED, outputs=outputs)
    with pytest.raises(ContentTooLarge):
        await build_item_result(0, NOBODY, child, NoContents(), NOBODY)


@dataclass
class CountedContents(HeldContents):
    """A content store that counts how many contents are on their way to it at once, and holds them until let go."""

    putting: int = 0
    most: int = 0

    async def put(self, workspace_id: UUID, content: bytes, media_type: str, digest_key: bytes | None = None) -> str:
        self.putting += 1
        self.most = max(self.most, self.putting)
        await self.open.wait()
        self.putting -= 1
        return await self.kept.put(workspace_id, content, media_type, digest_key)


async def test_so_many_large_outputs_are_on_their_way_at_once_and_no_more(database: str) -> None:
    async with open_harness(database) as harness:
        contents = CountedContents(harness.contents.kept, harness.contents.open)
        contents.open.clear()
        counting: Harness = replace(harness, contents=contents)
        async with counting.run_engine():
            run = await harness.begin(graph(*(large(f"n{number}") for number in range(3 * LARGE_OUTPUTS_AT_ONCE))))

            async def full() -> bool:
                return contents.putting >= LARGE_OUTPUTS_AT_ONCE

            await eventually(full, what="large outputs are on their way")
            contents.open.set()
            await harness.wait_until_ended(run)
    assert contents.most == LARGE_OUTPUTS_AT_ONCE
