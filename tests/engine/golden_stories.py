"""The stories that the golden corpus was recorded from, on real parts: every kind of step, every policy, every verb."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

from commands.run_again import CancelRun, ForkRun, RetryRun
from commands.workflow import ChangeWorkflow
from domain.payload import Payload
from domain.run import RunStatus
from domain.run_steps import StepStatus
from engine.allow_list import AllowList
from engine.http_step import HttpBounds, HttpSteps
from engine.outgoing import Guard
from tests.commands.processes import new_id
from tests.engine.child_graphs import maps, runs
from tests.engine.world import Site, asks, reviews
from tests.fixtures.graphs import Json, edge, graph, node
from tests.web_server.server import WebServer

Story = Callable[[Site], Awaitable[UUID]]
SOON: Final[Json] = {"max_attempts": 3, "backoff": {"initial_seconds": 0.01, "jitter": 0}}
BRIEF: Final = {"brief": "tea", "channels": ["mail", "press"], "list": [1, 2, 3]}


def picks(node_id: str, expression: str | None = None, **fields: Any) -> Json:  # noqa: ANN401  # JSON
    return node(node_id, **fields) if expression is None else node(node_id, config={"expression": expression}, **fields)


def waits(node_id: str, **config: Any) -> Json:  # noqa: ANN401  # JSON
    return node(node_id, kind="delay", config=config)


PROMPTS: Final = graph(
    asks("outline"),
    asks("mail", "moody", retry=SOON),
    asks("video"),
    node(
        "score",
        kind="prompt",
        config={
            "model": "gate/clumsy",
            "template": "score",
            "output": {"format": "json", "schema": {"type": "object", "properties": {"n": {"type": "integer"}}}},
        },
    ),
    picks("page", "{mail: steps.mail.output, video: steps.video.output, score: steps.score.output}"),
    edges=[
        edge("outline", "mail", when="'mail' in inputs.channels"),
        edge("outline", "video", when="'video' in inputs.channels"),
        edge("mail", "page"),
        edge("video", "page"),
        edge("outline", "score"),
        edge("score", "page"),
    ],
)
PEOPLE: Final = graph(
    reviews("asked"),
    reviews("late", deadline={"after_seconds": 0.1, "then": {"action": "decide", "outcome": "reject"}}),
    {
        **reviews("nobody", deadline={"after_seconds": 0.1}),
        "on_error": {"action": "fallback", "to": "instead"},
    },
    picks("instead", "'nobody came'"),
    picks("after"),
    edges=[
        edge("asked", "after", when="steps.asked.output.outcome == 'approve'"),
        edge("late", "after", when="steps.late.output.outcome == 'approve'"),
        edge("nobody", "instead"),
        edge("nobody", "after"),
    ],
)
POLICIES: Final = graph(
    picks("a", "length(`1`)", on_error={"action": "continue", "output": {"n": 1}}),
    picks("b", "length(`1`)", on_error={"action": "fallback", "to": "d"}),
    picks("c", "steps.a.output.n"),
    picks("d", "'instead'"),
    picks("e"),
    edges=[
        edge("a", "c", when="steps.a.output.n == 1"),
        edge("b", "c"),
        edge("b", "d"),
        edge("c", "e"),
        edge("d", "e"),
    ],
)
DELAYS: Final = graph(
    waits("short", seconds=0.05),
    waits("over", until="2026-01-01T00:00:00Z"),
    waits("wrong", until="{{ inputs.brief }}"),
    edges=[edge("short", "over"), edge("over", "wrong")],
)
HELD: Final = graph(asks("a"), asks("b", "held"), picks("c"), edges=[edge("a", "b"), edge("b", "c")])
MOODY: Final = graph(
    asks("a"), asks("b", "moody"), picks("c"), asks("z"), edges=[edge("a", "b"), edge("b", "c"), edge("a", "z")]
)
NEWEST: Final = graph(
    picks("new"), asks("z"), asks("a"), asks("b"), picks("c"), picks("d"),
    edges=[edge("new", "c"), edge("a", "z"), edge("a", "b"), edge("b", "c"), edge("c", "d")],
)  # fmt: skip


async def ended(here: Site, run: UUID, attempt: int = 1) -> UUID:
    await here.until(run, lambda state: state.attempt == attempt and state.ended, "has ended")
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
    steps = HttpSteps(Guard(allowed=AllowList("127.0.0.1")), {}, HttpBounds(timeout_seconds=60))
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


ODD: Final = graph(asks("a"), picks("b", "length(inputs.item || inputs.index)"), edges=[edge("a", "b")])


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


HARD: Final = graph(
    picks("which", "inputs.item"),
    asks("easy"),
    asks("hard", "moody"),
    edges=[edge("which", "easy", when="steps.which.output < 3"), edge("which", "hard", when="steps.which.output > 2")],
)


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


STORIES: Final[tuple[Story, ...]] = (
    prompts, people, waits_for_a_person, policies, delays, http, map_completed, map_failed, map_continued,
    map_retried, map_tried_again, workflow_out_of_time,
    workflow_completed, workflow_failed, cancelled_and_retried, cancelled_while_queued, map_cancelled,
    failed_and_retried, retried_on_the_newest_graph, forked, taken_over,
)  # fmt: skip
