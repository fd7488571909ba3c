"""Runs from start to end on a real log: branches, conditions, people, failures, large values."""

import asyncio
from typing import Any, cast

from domain.graphs.graph import ErrorClass
from domain.runs.facts import StepCompleted, StepDecided, StepFailed, StepStarted, StepWaiting
from domain.runs.run import RunStatus
from domain.runs.steps import StepStatus, list_usages
from tests.support.engine.harness import asks, check_history, open_harness, reviews
from tests.support.graphs import Json, edge, graph, node
from tests.support.waiting import eventually


def transform(node_id: str, expression: str | None = None, **fields: Any) -> Json:  # noqa: ANN401  # JSON
    return node(node_id, config={} if expression is None else {"expression": expression}, **fields)


def build_scripted_node(node_id: str, template: str) -> Json:
    return node(node_id, kind="prompt", config={"model": "scripted/writer", "template": template})


LAUNCH = graph(
    transform("brief", "inputs.brief"),
    build_scripted_node("mail", "A mail about {{ steps.brief.output }}"),
    build_scripted_node("post", "A post about {{ steps.brief.output }}"),
    build_scripted_node("video", "A video about {{ steps.brief.output }}"),
    reviews("review", shows={"mail": "steps.mail.output"}, instructions="Is {{ inputs.brief }} well told?"),
    transform("kit", "{mail: steps.mail.output, post: steps.post.output, video: steps.video.output}"),
    transform("shelf"),
    edges=[
        edge("brief", "mail"),
        edge("brief", "post"),
        edge("brief", "video", when="inputs.video"),
        edge("mail", "review"),
        edge("post", "review"),
        edge("video", "review"),
        edge("review", "kit", when="steps.review.output.outcome == 'approve'"),
        edge("review", "shelf", when="steps.review.output.outcome == 'reject'"),
    ],
)


async def test_branches_run_conditions_choose_and_a_person_decides(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        run = await harness.begin(LAUNCH, {"brief": "tea", "video": False})
        waiting = await harness.wait_for_step(run, "review", StepStatus.WAITING)
        assert waiting.status is RunStatus.WAITING
        asked = waiting.steps["review"].waiting
        assert asked is not None
        assert asked.shown.value == {
            "instructions": "Is tea well told?", "values": {"mail": waiting.steps["mail"].output.value}
        }  # fmt: skip
        await harness.decide(run, "review")
        ended = await harness.wait_until_ended(run)
        facts = await harness.list_facts(run)
    assert set(ended.outputs) == {"kit"}
    kit: Any = ended.outputs["kit"].value
    assert "A mail about tea" in kit["mail"]
    assert kit["video"] is None
    assert {name for name, step in ended.steps.items() if step.status is StepStatus.SKIPPED} == {"video", "shelf"}
    decision = next(fact for fact in facts if isinstance(fact, StepDecided))
    assert (decision.decided_by, decision.shown_hash) == ("rita", asked.shown_hash)
    check_history(facts)


async def test_a_step_is_committed_before_the_next_starts(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        run = await harness.begin(graph(*(transform(n) for n in "abc"), edges=[edge("a", "b"), edge("b", "c")]))
        await harness.wait_until_ended(run)
        recorded = await harness.facts(run)
    done = {event.fact.node: event.recorded_at for event in recorded if isinstance(event.fact, StepCompleted)}
    started = {event.fact.node: event.recorded_at for event in recorded if isinstance(event.fact, StepStarted)}
    assert done["a"] <= started["b"] <= done["b"] <= started["c"]
    assert all(event.metadata.actor.kind == "engine" for event in recorded[1:])
    assert {event.metadata.correlation_id for event in recorded} == {recorded[0].metadata.correlation_id}
    assert recorded[-1].metadata.causation is not None


async def test_what_was_rejected_goes_the_other_way(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        run = await harness.begin(LAUNCH, {"brief": "tea", "video": True})
        await harness.wait_for_step(run, "review", StepStatus.WAITING)
        await harness.decide(run, "review", "reject")
        ended = await harness.wait_until_ended(run)
    assert set(ended.outputs) == {"shelf"}
    assert ended.outputs["shelf"].value == {"outcome": "reject", "data": {}, "comment": None}


async def test_many_runs_at_once_all_come_to_their_end(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        raw = graph(asks("a"), asks("b"), transform("c"), edges=[edge("a", "b"), edge("b", "c")])
        workflow = await harness.workflow(await harness.project(), raw)
        runs = await asyncio.gather(*(harness.start(workflow) for _ in range(60)))
        for run in runs:
            await harness.wait_until_ended(run)
            check_history(await harness.list_facts(run))
    assert harness.fake_model.calls == {"a": 60, "b": 60}


async def test_more_runs_than_an_engine_may_hold_wait_their_turn(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine(active_runs=2):
        workflow = await harness.workflow(
            await harness.project(), graph(asks("a"), reviews("b"), edges=[edge("a", "b")])
        )
        runs = [await harness.start(workflow) for _ in range(12)]
        for run in runs:
            await harness.wait_for_step(run, "b", StepStatus.WAITING)
        await asyncio.gather(*(harness.decide(run, "b") for run in runs))
        for run in runs:
            await harness.wait_until_ended(run)


async def test_a_step_is_tried_again_and_each_attempt_keeps_its_cost(database: str) -> None:
    backoff = {"initial_seconds": 0, "jitter": 0}
    async with open_harness(database) as harness, harness.run_engine():
        run = await harness.begin(graph(asks("a", "moody", retry={"max_attempts": 3, "backoff": backoff})))
        ended = await harness.wait_until_ended(run)
        facts = await harness.list_facts(run)
    assert ended.steps["a"].attempt == 3
    failures = [fact for fact in facts if isinstance(fact, StepFailed)]
    assert [fact.error.error_class for fact in failures] == [ErrorClass.OVERLOADED] * 2
    assert [fact.usage.output_tokens for fact in failures if fact.usage] == [1, 2]
    assert [fact.usage.cost_usd for fact in failures if fact.usage] == ["0.0011", "0.0021"]
    assert [usage.cost_usd for usage in list_usages(ended.steps["a"])] == ["0.0011", "0.0021", "0.0031"]
    assert len(harness.fake_model.tokens["a"]) == 1, "every attempt of a step carries the same token"
    check_history(facts)


async def test_a_step_that_has_no_attempts_left_fails_the_run_and_aborts_the_others(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        raw = graph(
            asks("slow", "held"), asks("a"), transform("bad", "length(inputs.nothing)"), edges=[edge("a", "bad")]
        )
        run = await harness.begin(raw)
        ended = await harness.wait_until_ended(run, RunStatus.FAILED)
        assert ended.failed_node == "bad"
        assert ended.error is not None
        assert ended.error.error_class is ErrorClass.EXPRESSION

        async def is_aborted() -> bool:
            return harness.fake_model.aborted == {"slow": 1}

        await eventually(is_aborted, what="the call under way is aborted")


async def test_a_failure_leads_on_where_the_graph_says_so(database: str) -> None:
    raw = graph(
        asks("a", "moody", on_error={"action": "fallback", "to": "plan_b"}),
        asks("c", "moody", on_error={"action": "continue", "output": {"good": False}}),
        transform("plan_b"),
        transform("through"),
        transform("good"),
        transform("unused"),
        edges=[
            edge("a", "plan_b"),
            edge("a", "unused"),
            edge("c", "through"),
            edge("c", "good", when="steps.c.output.good"),
        ],
    )
    async with open_harness(database) as harness, harness.run_engine():
        ended = await harness.wait_until_ended(await harness.begin(raw))
    assert {name: payload.value for name, payload in ended.outputs.items()} == {
        "plan_b": {},
        "through": {"good": False},
    }
    assert ended.steps["good"].status is ended.steps["unused"].status is StepStatus.SKIPPED


async def test_a_run_that_fails_in_spite_of_a_default_output_says_why(database: str) -> None:
    raw = graph(
        asks("a", "moody", on_error={"action": "continue", "output": {}}),
        transform("b"),
        edges=[edge("a", "b", when="steps.a.output.good")],
    )
    async with open_harness(database) as harness, harness.run_engine():
        ended = await harness.wait_until_ended(await harness.begin(raw), RunStatus.FAILED)
    said = "with the output of on_error the condition of the edge to 'b' cannot be evaluated: CEL: 'good' is absent"
    own = ended.steps["a"].error
    assert own is not None
    assert own.message.endswith(f"; {said}")
    assert ended.error == own


async def test_a_condition_that_fails_with_and_without_the_default_is_told_of_once(database: str) -> None:
    raw = graph(
        transform("a", on_error={"action": "continue", "output": {}}),
        transform("b"),
        edges=[edge("a", "b", when="inputs.absent > 3")],
    )
    async with open_harness(database) as harness, harness.run_engine():
        ended = await harness.wait_until_ended(await harness.begin(raw), RunStatus.FAILED)
    assert ended.error == ended.steps["a"].error


async def test_an_attempt_that_takes_too_long_is_aborted_and_fails(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        ended = await harness.wait_until_ended(
            await harness.begin(graph(asks("a", "held", timeout_seconds=0.05))), RunStatus.FAILED
        )
    assert ended.error is not None
    assert ended.error.error_class is ErrorClass.TIMEOUT
    assert harness.fake_model.aborted == {"a": 1}


async def test_values_too_large_for_a_fact_go_through_the_content_store(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        large = "x" * 50_000
        raw = graph(
            transform("a", "inputs.text"),
            reviews("b", shows={"text": "steps.a.output"}),
            transform("c", "length(steps.a.output)"),
            edges=[edge("a", "b"), edge("b", "c")],
        )
        run = await harness.begin(raw, {"text": large})
        waiting = await harness.wait_for_step(run, "b", StepStatus.WAITING)
        assert waiting.steps["a"].output.ref is not None
        assert any(
            isinstance(fact, StepWaiting) and fact.shown.ref is not None for fact in await harness.list_facts(run)
        )
        await harness.decide(run, "b")
        ended = await harness.wait_until_ended(run)
    assert ended.outputs["c"].value == 50_000


async def test_text_that_cannot_be_stored_fails_its_step_and_is_recorded(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        ended = await harness.wait_until_ended(
            await harness.begin(graph(transform("a", '`"\\u0000"`'))), RunStatus.FAILED
        )
    assert ended.error is not None
    assert ended.error.error_class is ErrorClass.INVALID_OUTPUT


async def test_a_step_may_give_all_that_has_been_there_before_it(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        raw = graph(
            transform("a", "inputs"),
            transform("b", "steps"),
            transform("c", "@"),
            edges=[edge("a", "b"), edge("b", "c")],
        )
        ended = await harness.wait_until_ended(await harness.begin(raw, {"n": 1}))
    before = {"a": {"output": {"n": 1}}}
    assert ended.steps["b"].output.value == before
    everything = cast("dict[str, object]", ended.outputs["c"].value)
    assert set(everything) == {"inputs", "steps", "run"}
    assert (everything["inputs"], everything["steps"]) == ({"n": 1}, {**before, "b": {"output": before}})
