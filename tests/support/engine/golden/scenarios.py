"""The scenarios of the golden corpus, on real parts: every kind of step, every policy, every verb."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final
from uuid import UUID

from commands.runs.lifecycle import CancelRun, ForkRun, RetryRun
from commands.runs.signal import SendSignal
from commands.workflow import ChangeWorkflow
from domain.ids import from_uuid
from domain.payload import Payload
from domain.runs.facts import StepAsked, StepItemCounted
from domain.runs.run import RunStatus
from domain.runs.steps import StepStatus
from engine.egress.allow_list import AllowList
from engine.egress.guard import Guard
from engine.settings import OutgoingSettings
from engine.steps.http.step import HttpSteps
from tests.support.commands.processes import new_id
from tests.support.engine.child_graphs import maps, runs
from tests.support.engine.golden.graphs import (
    BRIEF,
    DELAYS,
    HARD,
    HELD,
    MOODY,
    NEWEST,
    ODD,
    PEOPLE,
    POLICIES,
    PROMPTS,
    SOON,
    picks,
)
from tests.support.engine.harness import Harness, asks, reviews
from tests.support.engine.workers import create_evaluator
from tests.support.graphs import Json, edge, graph, node
from tests.support.servers.web import WebServer
from tests.support.waiting import eventually

Scenario = Callable[[Harness], Awaitable[UUID]]


async def wait_until_ended(harness: Harness, run: UUID, attempt: int = 1) -> UUID:
    await harness.wait_until(run, lambda state: state.attempt == attempt and state.has_ended, "has ended")
    return run


async def prompts(harness: Harness) -> UUID:
    async with harness.run_engine():
        return await wait_until_ended(harness, await harness.begin(PROMPTS, BRIEF))


async def people(harness: Harness) -> UUID:
    async with harness.run_engine():
        run = await harness.begin(PEOPLE, BRIEF)
        await harness.wait_for_step(run, "late", StepStatus.COMPLETED)
        await harness.wait_for_step(run, "nobody", StepStatus.FAILED)
        await harness.decide(run, "asked")
        return await wait_until_ended(harness, run)


async def waits_for_a_person(harness: Harness) -> UUID:
    async with harness.run_engine():
        run = await harness.begin(graph(asks("a"), reviews("b"), edges=[edge("a", "b")]))
        await harness.wait_for_step(run, "b", StepStatus.WAITING)
        return run


async def policies(harness: Harness) -> UUID:
    async with harness.run_engine():
        return await wait_until_ended(harness, await harness.begin(POLICIES))


async def delays(harness: Harness) -> UUID:
    async with harness.run_engine():
        return await wait_until_ended(harness, await harness.begin(DELAYS, BRIEF))


@asynccontextmanager
async def web(plain: Harness) -> AsyncGenerator[tuple[Harness, WebServer]]:
    steps = HttpSteps(
        Guard(allowed=AllowList("127.0.0.1")), {}, OutgoingSettings(timeout_seconds=60), create_evaluator()
    )
    with WebServer() as server:
        yield replace(plain, http=steps), server
    await steps.close()


async def http(plain: Harness) -> UUID:
    async with web(plain) as (harness, server), harness.run_engine():
        calls = graph(
            node("ok", kind="http", config={"url": server.url("/echo")}),
            node(
                "bad",
                kind="http",
                config={"url": server.url("/status/500")},
                retry={**SOON, "retry_on": ["unavailable"]},
                on_error={"action": "continue"},
            ),
            picks("end", "steps.ok.output.status"),
            edges=[edge("ok", "end"), edge("bad", "end")],
        )
        return await wait_until_ended(harness, await harness.begin(calls))


async def family(harness: Harness, child: Json, parent: Callable[[UUID], Json]) -> UUID:
    project = await harness.project()
    inner = await harness.workflow(project, child)
    return await harness.start(await harness.workflow(project, parent(inner)), BRIEF)


async def map_completed(harness: Harness) -> UUID:
    nothing = {"items": "inputs.nothing || `[]`"}
    async with harness.run_engine():
        child = graph(asks("a"), picks("b", "inputs.item"))
        run = await family(
            harness, child, lambda inner: graph(maps(inner, concurrency=2), maps(inner, "none", **nothing))
        )
        return await wait_until_ended(harness, run)


async def map_failed(harness: Harness) -> UUID:
    async with harness.run_engine():
        return await wait_until_ended(
            harness, await family(harness, ODD, lambda inner: graph(maps(inner, concurrency=1)))
        )


async def map_continued(harness: Harness) -> UUID:
    async with harness.run_engine():
        lenient: Json = {"on_item_failure": "continue", "most_failed_items": 3}
        return await wait_until_ended(harness, await family(harness, ODD, lambda inner: graph(maps(inner, **lenient))))


async def map_retried(harness: Harness) -> UUID:
    """Two items are done, and kept; the third fails twice."""
    async with harness.run_engine():
        run = await wait_until_ended(
            harness, await family(harness, HARD, lambda inner: graph(maps(inner, concurrency=1)))
        )
        for attempt in (2, 3):
            await harness.does(RetryRun(target_id=run, user_id="ada"))
            await wait_until_ended(harness, run, attempt)
        return run


async def map_tried_again(harness: Harness) -> UUID:
    again = {"retry": {**SOON, "retry_on": ["child_failed"]}}
    async with harness.run_engine():
        return await wait_until_ended(
            harness, await family(harness, HARD, lambda inner: graph({**maps(inner, concurrency=1), **again}))
        )


async def workflow_out_of_time(harness: Harness) -> UUID:
    async with harness.run_engine():
        child = graph(asks("a"), asks("b", "held"), edges=[edge("a", "b")])
        return await wait_until_ended(
            harness, await family(harness, child, lambda inner: graph({**runs(inner), "timeout_seconds": 0.5}))
        )


async def workflow_completed(harness: Harness) -> UUID:
    async with harness.run_engine():
        child = graph(asks("a"), picks("b", "inputs.brief"))
        return await wait_until_ended(harness, await family(harness, child, lambda inner: graph(runs(inner))))


async def workflow_failed(harness: Harness) -> UUID:
    async with harness.run_engine():
        return await wait_until_ended(
            harness, await family(harness, graph(asks("a", "moody")), lambda inner: graph(runs(inner)))
        )


async def cancel(harness: Harness, run: UUID, attempt: int = 1) -> None:
    await harness.does(CancelRun(target_id=run, user_id="ada", reason="too late"))
    await wait_until_ended(harness, run, attempt)


async def cancelled_and_retried(harness: Harness) -> UUID:
    async with harness.run_engine():
        run = await harness.begin(HELD)
        await harness.wait_until_called("b")
        await cancel(harness, run)
        harness.fake_model.open.set()
        await harness.does(RetryRun(target_id=run, user_id="ada"))
        return await wait_until_ended(harness, run, 2)


async def cancelled_while_queued(harness: Harness) -> UUID:
    run = await harness.begin(HELD)
    await harness.does(CancelRun(target_id=run, user_id="ada"))
    async with harness.run_engine():
        return await wait_until_ended(harness, run)


async def map_cancelled(harness: Harness) -> UUID:
    async with harness.run_engine():
        run = await family(harness, graph(asks("a", "held")), lambda inner: graph(maps(inner)))
        await harness.wait_until_called("a", times=3)
        await cancel(harness, run)
        return run


async def fail_run(harness: Harness) -> UUID:
    run = await harness.begin(MOODY)
    await harness.wait_until(run, lambda state: state.status is RunStatus.FAILED, "has failed")
    return run


async def failed_and_retried(harness: Harness) -> UUID:
    async with harness.run_engine():
        run = await fail_run(harness)
        for attempt in (2, 3):
            await harness.does(RetryRun(target_id=run, user_id="ada"))
            await wait_until_ended(harness, run, attempt)
        return run


async def retried_on_the_newest_graph(harness: Harness) -> UUID:
    async with harness.run_engine():
        run = await fail_run(harness)
        await harness.does(ChangeWorkflow(target_id=(await harness.run(run)).workflow_id, graph=NEWEST))
        await harness.does(RetryRun(target_id=run, user_id="ada", newest_graph=True))
        return await wait_until_ended(harness, run, 2)


async def output_kept(harness: Harness) -> UUID:
    """A condition fails behind an answer, once more when the run is retried, and holds on the newest graph."""

    def raw(when: str) -> Json:
        return graph(asks("a"), asks("b"), edges=[edge("a", "b", when=when)])

    async with harness.run_engine():
        run = await wait_until_ended(harness, await harness.begin(raw("steps.a.output.nope == 1")))
        await harness.does(RetryRun(target_id=run, user_id="ada"))
        await wait_until_ended(harness, run, 2)
        await harness.does(
            ChangeWorkflow(target_id=(await harness.run(run)).workflow_id, graph=raw("steps.a.output != ''"))
        )
        await harness.does(RetryRun(target_id=run, user_id="ada", newest_graph=True))
        return await wait_until_ended(harness, run, 3)


async def output_kept_and_failed(harness: Harness) -> UUID:
    async with harness.run_engine():
        broken = graph(asks("a"), node("b"), edges=[edge("a", "b", when="steps.a.output.nope == 1")])
        return await wait_until_ended(harness, await harness.begin(broken))


async def fork_run(harness: Harness) -> UUID:
    async with harness.run_engine():
        source = await harness.begin(PROMPTS, BRIEF)
        await wait_until_ended(harness, source)
        fork = new_id()
        inputs = Payload(value={**BRIEF, "channels": ["video"]})
        await harness.does(ForkRun(target_id=fork, source_id=source, node="page", inputs=inputs))
        return await wait_until_ended(harness, fork)


async def taken_over(harness: Harness) -> UUID:
    run = await harness.begin(HELD)
    async with harness.run_engine("first"):
        await harness.wait_until_called("b")
    harness.fake_model.open.set()
    async with harness.run_engine("second"):
        return await wait_until_ended(harness, run)


async def slow_call(harness: Harness) -> UUID:
    """A call is announced while it is under way, and answered after that."""
    async with harness.run_engine():
        run = await harness.begin(graph(asks("a", "held")))

        async def is_announced() -> bool:
            return any(isinstance(fact, StepAsked) for fact in await harness.list_facts(run))

        await eventually(is_announced, what="the call is announced", seconds=30)
        harness.fake_model.open.set()
        return await wait_until_ended(harness, run)


async def signal_run(harness: Harness) -> UUID:
    async with harness.run_engine():
        text = node("text", kind="compose", config={"template": "{{ steps.go.output.data }}"})
        run = await harness.begin(
            graph(node("go", kind="wait", config={"signal": "go"}), text, edges=[edge("go", "text")])
        )
        await harness.wait_for_step(run, "go", StepStatus.WAITING)
        await harness.does(SendSignal(target_id=run, name="go", data=1, data_payload=Payload(value=1), user_id="ada"))
        return await wait_until_ended(harness, run)


async def repeat_steps(harness: Harness) -> UUID:
    async with harness.run_engine():
        project = await harness.project()
        inner = await harness.workflow(project, graph(node("n", config={"expression": "inputs.round"})))
        config = {"workflow_id": from_uuid("wf", inner), "until": "steps.n.output == 1", "most_rounds": 3}
        outer = await harness.workflow(project, graph(node("again", kind="repeat", config=config)))
        return await wait_until_ended(harness, await harness.start(outer))


async def item_counted_late(harness: Harness) -> UUID:
    """A map fails, and what a cancelled item has taken by then is counted when that has ended."""
    picky = graph(
        node("pick", config={"expression": "inputs.item"}),
        asks("slow", "counting"),
        asks("bad", "moody"),
        edges=[edge("pick", "slow", when="inputs.item != 'bad'"), edge("pick", "bad", when="inputs.item == 'bad'")],
    )
    async with harness.run_engine():
        project = await harness.project()
        inner = await harness.workflow(project, picky)
        run = await harness.start(await harness.workflow(project, graph(maps(inner))), {"list": ["a", "bad"]})

        async def is_counted() -> bool:
            return any(isinstance(fact, StepItemCounted) for fact in await harness.list_facts(run))

        await eventually(is_counted, what="the cancelled item is counted", seconds=20)
        return run


NAMED_AS_THEIR_FILES: Final[tuple[Scenario, ...]] = (
    prompts, people, waits_for_a_person, policies, delays, http, map_completed, map_failed, map_continued,
    map_retried, map_tried_again, workflow_out_of_time,
    workflow_completed, workflow_failed, cancelled_and_retried, cancelled_while_queued, map_cancelled,
    output_kept, output_kept_and_failed, failed_and_retried, retried_on_the_newest_graph, taken_over, slow_call,
    item_counted_late,
)  # fmt: skip
SCENARIOS: Final[dict[str, Scenario]] = {
    "forked": fork_run,
    "signalled": signal_run,
    "repeated": repeat_steps,
    **{scenario.__name__: scenario for scenario in NAMED_AS_THEIR_FILES},
}
"""The scenarios by the names of their golden files."""
