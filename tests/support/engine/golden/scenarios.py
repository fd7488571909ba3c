"""The stories that the golden corpus was recorded from, on real parts: every kind of step, every policy, every verb."""

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
from tests.support.engine.harness import Site, asks, reviews
from tests.support.engine.workers import create_evaluator
from tests.support.graphs import Json, edge, graph, node
from tests.support.servers.web import WebServer
from tests.support.waiting import eventually

Story = Callable[[Site], Awaitable[UUID]]


async def ended(here: Site, run: UUID, attempt: int = 1) -> UUID:
    await here.until(run, lambda state: state.attempt == attempt and state.has_ended, "has ended")
    return run


async def prompts(here: Site) -> UUID:
    async with here.engaged():
        return await ended(here, await here.begin(PROMPTS, BRIEF))


async def people(here: Site) -> UUID:
    async with here.engaged():
        run = await here.begin(PEOPLE, BRIEF)
        await here.step(run, "late", StepStatus.COMPLETED)
        await here.step(run, "nobody", StepStatus.FAILED)
        await here.decide(run, "asked")
        return await ended(here, run)


async def waits_for_a_person(here: Site) -> UUID:
    async with here.engaged():
        run = await here.begin(graph(asks("a"), reviews("b"), edges=[edge("a", "b")]))
        await here.step(run, "b", StepStatus.WAITING)
        return run


async def policies(here: Site) -> UUID:
    async with here.engaged():
        return await ended(here, await here.begin(POLICIES))


async def delays(here: Site) -> UUID:
    async with here.engaged():
        return await ended(here, await here.begin(DELAYS, BRIEF))


@asynccontextmanager
async def web(plain: Site) -> AsyncGenerator[tuple[Site, WebServer]]:
    steps = HttpSteps(
        Guard(allowed=AllowList("127.0.0.1")), {}, OutgoingSettings(timeout_seconds=60), create_evaluator()
    )
    with WebServer() as server:
        yield replace(plain, http=steps), server
    await steps.close()


async def http(plain: Site) -> UUID:
    async with web(plain) as (here, server), here.engaged():
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
        return await ended(here, await here.begin(calls))


async def family(here: Site, child: Json, parent: Callable[[UUID], Json]) -> UUID:
    project = await here.project()
    inner = await here.workflow(project, child)
    return await here.start(await here.workflow(project, parent(inner)), BRIEF)


async def map_completed(here: Site) -> UUID:
    nothing = {"items": "inputs.nothing || `[]`"}
    async with here.engaged():
        child = graph(asks("a"), picks("b", "inputs.item"))
        run = await family(here, child, lambda inner: graph(maps(inner, concurrency=2), maps(inner, "none", **nothing)))
        return await ended(here, run)


async def map_failed(here: Site) -> UUID:
    async with here.engaged():
        return await ended(here, await family(here, ODD, lambda inner: graph(maps(inner, concurrency=1))))


async def map_continued(here: Site) -> UUID:
    async with here.engaged():
        lenient: Json = {"on_item_failure": "continue", "most_failed_items": 3}
        return await ended(here, await family(here, ODD, lambda inner: graph(maps(inner, **lenient))))


async def map_retried(here: Site) -> UUID:
    """Two items are done, and kept; the third fails twice."""
    async with here.engaged():
        run = await ended(here, await family(here, HARD, lambda inner: graph(maps(inner, concurrency=1))))
        for attempt in (2, 3):
            await here.does(RetryRun(target_id=run, user_id="ada"))
            await ended(here, run, attempt)
        return run


async def map_tried_again(here: Site) -> UUID:
    again = {"retry": {**SOON, "retry_on": ["child_failed"]}}
    async with here.engaged():
        return await ended(here, await family(here, HARD, lambda inner: graph({**maps(inner, concurrency=1), **again})))


async def workflow_out_of_time(here: Site) -> UUID:
    async with here.engaged():
        child = graph(asks("a"), asks("b", "held"), edges=[edge("a", "b")])
        return await ended(
            here, await family(here, child, lambda inner: graph({**runs(inner), "timeout_seconds": 0.5}))
        )


async def workflow_completed(here: Site) -> UUID:
    async with here.engaged():
        child = graph(asks("a"), picks("b", "inputs.brief"))
        return await ended(here, await family(here, child, lambda inner: graph(runs(inner))))


async def workflow_failed(here: Site) -> UUID:
    async with here.engaged():
        return await ended(here, await family(here, graph(asks("a", "moody")), lambda inner: graph(runs(inner))))


async def cancel(here: Site, run: UUID, attempt: int = 1) -> None:
    await here.does(CancelRun(target_id=run, user_id="ada", reason="too late"))
    await ended(here, run, attempt)


async def cancelled_and_retried(here: Site) -> UUID:
    async with here.engaged():
        run = await here.begin(HELD)
        await here.asked("b")
        await cancel(here, run)
        here.gate.open.set()
        await here.does(RetryRun(target_id=run, user_id="ada"))
        return await ended(here, run, 2)


async def cancelled_while_queued(here: Site) -> UUID:
    run = await here.begin(HELD)
    await here.does(CancelRun(target_id=run, user_id="ada"))
    async with here.engaged():
        return await ended(here, run)


async def map_cancelled(here: Site) -> UUID:
    async with here.engaged():
        run = await family(here, graph(asks("a", "held")), lambda inner: graph(maps(inner)))
        await here.asked("a", times=3)
        await cancel(here, run)
        return run


async def failed(here: Site) -> UUID:
    run = await here.begin(MOODY)
    await here.until(run, lambda state: state.status is RunStatus.FAILED, "has failed")
    return run


async def failed_and_retried(here: Site) -> UUID:
    async with here.engaged():
        run = await failed(here)
        for attempt in (2, 3):
            await here.does(RetryRun(target_id=run, user_id="ada"))
            await ended(here, run, attempt)
        return run


async def retried_on_the_newest_graph(here: Site) -> UUID:
    async with here.engaged():
        run = await failed(here)
        await here.does(ChangeWorkflow(target_id=(await here.run(run)).workflow_id, graph=NEWEST))
        await here.does(RetryRun(target_id=run, user_id="ada", newest_graph=True))
        return await ended(here, run, 2)


async def output_kept(here: Site) -> UUID:
    """A condition fails behind an answer, once more when the run is retried, and holds on the newest graph."""

    def raw(when: str) -> Json:
        return graph(asks("a"), asks("b"), edges=[edge("a", "b", when=when)])

    async with here.engaged():
        run = await ended(here, await here.begin(raw("steps.a.output.nope == 1")))
        await here.does(RetryRun(target_id=run, user_id="ada"))
        await ended(here, run, 2)
        await here.does(ChangeWorkflow(target_id=(await here.run(run)).workflow_id, graph=raw("steps.a.output != ''")))
        await here.does(RetryRun(target_id=run, user_id="ada", newest_graph=True))
        return await ended(here, run, 3)


async def output_kept_and_failed(here: Site) -> UUID:
    async with here.engaged():
        broken = graph(asks("a"), node("b"), edges=[edge("a", "b", when="steps.a.output.nope == 1")])
        return await ended(here, await here.begin(broken))


async def forked(here: Site) -> UUID:
    async with here.engaged():
        source = await here.begin(PROMPTS, BRIEF)
        await ended(here, source)
        fork = new_id()
        inputs = Payload(value={**BRIEF, "channels": ["video"]})
        await here.does(ForkRun(target_id=fork, source_id=source, node="page", inputs=inputs))
        return await ended(here, fork)


async def taken_over(here: Site) -> UUID:
    run = await here.begin(HELD)
    async with here.engaged("first"):
        await here.asked("b")
    here.gate.open.set()
    async with here.engaged("second"):
        return await ended(here, run)


async def slow_call(here: Site) -> UUID:
    """A call is announced while it is under way, and answered after that."""
    async with here.engaged():
        run = await here.begin(graph(asks("a", "held")))

        async def is_announced() -> bool:
            return any(isinstance(fact, StepAsked) for fact in await here.of(run))

        await eventually(is_announced, what="the call is announced", seconds=30)
        here.gate.open.set()
        return await ended(here, run)


async def signalled(here: Site) -> UUID:
    async with here.engaged():
        text = node("text", kind="compose", config={"template": "{{ steps.go.output.data }}"})
        run = await here.begin(
            graph(node("go", kind="wait", config={"signal": "go"}), text, edges=[edge("go", "text")])
        )
        await here.step(run, "go", StepStatus.WAITING)
        await here.does(SendSignal(target_id=run, name="go", data=1, data_payload=Payload(value=1), user_id="ada"))
        return await ended(here, run)


async def repeated(here: Site) -> UUID:
    async with here.engaged():
        project = await here.project()
        inner = await here.workflow(project, graph(node("n", config={"expression": "inputs.round"})))
        config = {"workflow_id": from_uuid("wf", inner), "until": "steps.n.output == 1", "most_rounds": 3}
        outer = await here.workflow(project, graph(node("again", kind="repeat", config=config)))
        return await ended(here, await here.start(outer))


async def item_counted_late(here: Site) -> UUID:
    """A map fails, and what a cancelled item has taken by then is counted when that has ended."""
    picky = graph(
        node("pick", config={"expression": "inputs.item"}),
        asks("slow", "counting"),
        asks("bad", "moody"),
        edges=[edge("pick", "slow", when="inputs.item != 'bad'"), edge("pick", "bad", when="inputs.item == 'bad'")],
    )
    async with here.engaged():
        project = await here.project()
        inner = await here.workflow(project, picky)
        run = await here.start(await here.workflow(project, graph(maps(inner))), {"list": ["a", "bad"]})

        async def is_counted() -> bool:
            return any(isinstance(fact, StepItemCounted) for fact in await here.of(run))

        await eventually(is_counted, what="the cancelled item is counted", seconds=20)
        return run


STORIES: Final[tuple[Story, ...]] = (
    prompts, people, waits_for_a_person, policies, delays, http, map_completed, map_failed, map_continued,
    map_retried, map_tried_again, workflow_out_of_time,
    workflow_completed, workflow_failed, cancelled_and_retried, cancelled_while_queued, map_cancelled,
    output_kept, output_kept_and_failed, failed_and_retried, retried_on_the_newest_graph, forked, taken_over, slow_call,
    signalled, repeated, item_counted_late,
)  # fmt: skip
