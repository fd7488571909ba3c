"""Usage of children: counted once in the run that waited for them, and in its parent, whatever their outcome."""

from decimal import Decimal
from functools import reduce
from uuid import UUID

from commands.runs.lifecycle import RetryRun
from domain.runs.facts import RunStarted, UsageTotals, add_totals
from domain.runs.run import Run, RunStatus, compute_usage_totals
from tests.support.engine.child_graphs import maps, runs
from tests.support.engine.harness import Harness, asks, open_harness
from tests.support.graphs import edge, graph, node
from tests.support.waiting import eventually


async def children(harness: Harness, run: UUID) -> list[Run]:
    """Return every child of a run, of all of its attempts."""
    return [await harness.run(child) for child in await child_ids(harness, run)]


async def child_ids(harness: Harness, run: UUID) -> list[UUID]:
    found: list[UUID] = []
    after = 0
    while page := (await harness.log.read_log(after=after, limit=1_000)).events:
        after = page[-1].position
        for event in page:
            parent = event.fact.parent if isinstance(event.fact, RunStarted) else None
            if parent is not None and parent.run_id == run:
                found.append(event.stream_id)
    return found


async def test_a_run_counts_the_calls_of_its_children_and_of_theirs(database: str) -> None:
    again = {"max_attempts": 3, "backoff": {"initial_seconds": 0, "jitter": 0}}
    async with open_harness(database) as harness, harness.run_engine():
        project = await harness.project()
        leaf = await harness.workflow(project, graph(asks("a", "moody", retry=again)))
        middle = await harness.workflow(project, graph(maps(leaf), asks("b", "moody", retry=again)))
        run = await harness.start(
            await harness.workflow(project, graph(runs(middle), asks("c", "moody", retry=again))), {"list": [1, 2, 3]}
        )
        ended = await harness.wait_until_ended(run)
    took = compute_usage_totals(ended)
    # Three times `a` fails twice in all, or more; `b` and `c` are asked three times each.
    assert took.model_calls == sum(harness.fake_model.calls.values())
    assert took.input_tokens == took.model_calls
    assert took.cost_usd is not None
    spent = sum(
        Decimal("0.0001") + n * Decimal("0.001")
        for calls in harness.fake_model.calls.values()
        for n in range(1, calls + 1)
    )
    assert Decimal(took.cost_usd) == spent


async def test_children_that_failed_count_after_a_retry_too_and_those_that_are_kept_once(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        project = await harness.project()
        item = node("a", kind="prompt", config={"model": "fake/moody", "template": "{{ inputs.item }}"})
        inner = await harness.workflow(project, graph(item))
        harness.fake_model.calls.update(tea=2)
        run = await harness.start(
            await harness.workflow(project, graph(maps(inner, concurrency=1))), {"list": ["tea", "ink"]}
        )
        await harness.wait_until_ended(run, RunStatus.FAILED)
        for attempt in (2, 3):
            await harness.does(RetryRun(target_id=run, user_id="ada"))
            ended = await harness.wait_until(
                run, lambda state, n=attempt: state.has_ended and state.attempt == n, "has ended"
            )
        parts = [compute_usage_totals(child) for child in await children(harness, run)]
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
    async with open_harness(database) as harness, harness.run_engine():
        project = await harness.project()
        inner = await harness.workflow(project, graph(node("a")))
        run = await harness.start(await harness.workflow(project, graph(maps(inner))), {"list": [1]})
        ended = await harness.wait_until_ended(run)
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
    async with open_harness(database) as harness, harness.run_engine():
        project = await harness.project()
        inner = await harness.workflow(project, picky)
        middle = await harness.workflow(project, graph(maps(inner, concurrency=3)))
        top = await harness.start(
            await harness.workflow(project, graph(runs(middle))), {"list": ["a", "b", "bad", "d", "e"]}
        )
        await harness.wait_until_ended(top, RunStatus.FAILED)
        (parent,) = await child_ids(harness, top)
        items = await child_ids(harness, parent)

        async def is_counted() -> bool:
            parts = [await harness.run(item) for item in items]
            if not all(part.has_ended for part in parts):
                return False
            whole = reduce(add_totals, map(compute_usage_totals, parts))
            return [compute_usage_totals(await harness.run(run)) for run in (parent, top)] == [whole, whole]

        await eventually(is_counted, what="the parent and its own parent count every child", seconds=20)
        assert [compute_usage_totals(await harness.run(item)).model_calls for item in items] == [1, 1, 1]
