"""What children took: counted once in the run that waited for them, and in the one above it, whatever came of them."""

from decimal import Decimal
from functools import reduce
from uuid import UUID

from commands.runs.lifecycle import RetryRun
from domain.runs.facts import RunStarted, UsageTotals, add_totals
from domain.runs.run import Run, RunStatus, compute_usage_totals
from tests.support.engine.child_graphs import maps, runs
from tests.support.engine.harness import Site, asks, site
from tests.support.graphs import edge, graph, node
from tests.support.waiting import eventually


async def children(here: Site, run: UUID) -> list[Run]:
    """Give every run that a run began, in whichever of its attempts."""
    return [await here.run(child) for child in await child_ids(here, run)]


async def child_ids(here: Site, run: UUID) -> list[UUID]:
    found: list[UUID] = []
    after = 0
    while page := (await here.log.read_log(after=after, limit=1_000)).events:
        after = page[-1].position
        for one in page:
            parent = one.fact.parent if isinstance(one.fact, RunStarted) else None
            if parent is not None and parent.run_id == run:
                found.append(one.stream_id)
    return found


async def test_a_run_counts_the_calls_of_its_children_and_of_theirs(database: str) -> None:
    again = {"max_attempts": 3, "backoff": {"initial_seconds": 0, "jitter": 0}}
    async with site(database) as here, here.engaged():
        project = await here.project()
        leaf = await here.workflow(project, graph(asks("a", "moody", retry=again)))
        middle = await here.workflow(project, graph(maps(leaf), asks("b", "moody", retry=again)))
        run = await here.start(
            await here.workflow(project, graph(runs(middle), asks("c", "moody", retry=again))), {"list": [1, 2, 3]}
        )
        ended = await here.ended(run)
    took = compute_usage_totals(ended)
    # Three times `a` fails twice in all, or more; `b` and `c` are asked three times each.
    assert took.model_calls == sum(here.gate.calls.values())
    assert took.input_tokens == took.model_calls
    assert took.cost_usd is not None
    spent = sum(
        Decimal("0.0001") + n * Decimal("0.001") for calls in here.gate.calls.values() for n in range(1, calls + 1)
    )
    assert Decimal(took.cost_usd) == spent


async def test_children_that_failed_count_after_a_retry_too_and_those_that_are_kept_once(database: str) -> None:
    async with site(database) as here, here.engaged():
        project = await here.project()
        item = node("a", kind="prompt", config={"model": "gate/moody", "template": "{{ inputs.item }}"})
        inner = await here.workflow(project, graph(item))
        here.gate.calls.update(tea=2)
        run = await here.start(
            await here.workflow(project, graph(maps(inner, concurrency=1))), {"list": ["tea", "ink"]}
        )
        await here.ended(run, RunStatus.FAILED)
        for attempt in (2, 3):
            await here.does(RetryRun(target_id=run, user_id="ada"))
            ended = await here.until(run, lambda state, n=attempt: state.has_ended and state.attempt == n, "has ended")
        parts = [compute_usage_totals(child) for child in await children(here, run)]
    assert ended.status is RunStatus.COMPLETED
    assert [part.model_calls for part in parts] == [1, 1, 1, 1]
    costs = [Decimal(part.cost_usd or "0") for part in parts]
    assert compute_usage_totals(ended) == UsageTotals(
        model_calls=4,
        input_tokens=4,
        output_tokens=sum(part.output_tokens for part in parts),
        cost_usd=str(sum(costs)),
    )


async def test_children_that_ask_no_model_leave_no_word_of_it_in_the_facts(database: str) -> None:
    async with site(database) as here, here.engaged():
        project = await here.project()
        inner = await here.workflow(project, graph(node("a")))
        run = await here.start(await here.workflow(project, graph(maps(inner))), {"list": [1]})
        ended = await here.ended(run)
    assert ended.steps["each"].items[0].took is None
    assert compute_usage_totals(ended) == UsageTotals()


async def test_a_map_that_fails_starts_nothing_more_and_counts_what_its_cancelled_children_took(database: str) -> None:
    picky = graph(
        node("pick", config={"expression": "inputs.item"}),
        asks("slow", "counting"),
        asks("bad", "moody"),
        edges=[
            edge("pick", "slow", when="inputs.item != 'bad'"),
            edge("pick", "bad", when="inputs.item == 'bad'"),
        ],
    )
    async with site(database) as here, here.engaged():
        project = await here.project()
        inner = await here.workflow(project, picky)
        middle = await here.workflow(project, graph(maps(inner, concurrency=3)))
        top = await here.start(await here.workflow(project, graph(runs(middle))), {"list": ["a", "b", "bad", "d", "e"]})
        await here.ended(top, RunStatus.FAILED)
        (parent,) = await child_ids(here, top)
        items = await child_ids(here, parent)

        async def is_counted() -> bool:
            parts = [await here.run(item) for item in items]
            if not all(part.has_ended for part in parts):
                return False
            whole = reduce(add_totals, map(compute_usage_totals, parts))
            return [compute_usage_totals(await here.run(run)) for run in (parent, top)] == [whole, whole]

        await eventually(is_counted, what="the parent and its own parent count every child", seconds=20)
        assert [compute_usage_totals(await here.run(item)).model_calls for item in items] == [1, 1, 1]
