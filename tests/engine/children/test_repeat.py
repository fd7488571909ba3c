"""Repeats: rounds of a workflow, each with the last one's outputs, until a condition holds or the limit is reached."""

from typing import Any
from uuid import UUID

from commands.runs.lifecycle import RetryRun
from domain.ids import from_uuid
from domain.runs.facts import RunStarted
from domain.runs.run import RunStatus
from tests.support.engine.harness import Harness, asks, open_harness
from tests.support.graphs import Json, edge, find_problems, graph, node

COUNT = node(
    "n",
    kind="compose",
    config={"format": "json", "template": "{{ inputs.last.n | default: inputs.begin | plus: 1 }}"},
)


def repeats(workflow: UUID, **config: Any) -> Json:  # noqa: ANN401  # JSON
    base = {"workflow_id": from_uuid("wf", workflow), "inputs": {"begin": "inputs.begin"}, "most_rounds": 5}
    return node("again", kind="repeat", config={**base, **config})


async def rounds(harness: Harness, run: UUID) -> list[tuple[int | None, object]]:
    """Return the rounds of a run in the order in which they began, each with its inputs."""
    events = (await harness.log.read_log(after=0, limit=1_000)).events
    started = [event.fact for event in events if isinstance(event.fact, RunStarted)]
    return [
        (fact.parent.item, fact.inputs.value)
        for fact in started
        if fact.parent is not None and fact.parent.run_id == run
    ]


async def test_rounds_go_on_from_the_last_one_until_the_condition_holds(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        project = await harness.project()
        inner = await harness.workflow(project, graph(COUNT))
        run = await harness.start(
            await harness.workflow(project, graph(repeats(inner, until="steps.n.output >= 3"))), {"begin": 0}
        )
        ended = await harness.wait_until_ended(run)
        assert ended.outputs["again"].value == {"n": 3}
        assert await rounds(harness, run) == [
            (0, {"begin": 0, "round": 0, "last": None}),
            (1, {"begin": 0, "round": 1, "last": {"n": 1}}),
            (2, {"begin": 0, "round": 2, "last": {"n": 2}}),
        ]


async def test_a_condition_that_never_holds_fails_or_gives_the_last_outputs(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        project = await harness.project()
        inner = await harness.workflow(project, graph(COUNT))
        never = {"until": "steps.n.output < 0", "most_rounds": 2}
        run = await harness.start(await harness.workflow(project, graph(repeats(inner, **never))), {"begin": 0})
        error = (await harness.wait_until_ended(run, RunStatus.FAILED)).error
        assert error is not None
        assert error.message == "until did not hold after any of 2 rounds (most_rounds)"
        kept = graph(repeats(inner, **never, on_limit="continue"))
        ended = await harness.wait_until_ended(await harness.start(await harness.workflow(project, kept), {"begin": 0}))
        assert ended.outputs["again"].value == {"n": 2}
        broken = graph(repeats(inner, until="steps.gone.output == 1"))
        run = await harness.start(await harness.workflow(project, broken), {"begin": 0})
        error = (await harness.wait_until_ended(run, RunStatus.FAILED)).error
        assert error is not None
        assert "until cannot be evaluated after round 0" in error.message


async def test_a_round_that_fails_fails_the_step_and_a_retry_keeps_the_others(database: str) -> None:
    asked = [edge("pick", "ask", when="inputs.round == 1")]
    moody = graph(COUNT, node("pick"), asks("ask", "moody"), edges=asked)
    async with open_harness(database) as harness, harness.run_engine():
        project = await harness.project()
        inner = await harness.workflow(project, moody)
        harness.fake_model.calls.update(ask=1)  # fails once more
        run = await harness.start(
            await harness.workflow(project, graph(repeats(inner, until="steps.n.output >= 3"))), {"begin": 0}
        )
        await harness.wait_until_ended(run, RunStatus.FAILED)
        await harness.does(RetryRun(target_id=run, user_id="ada"))
        ended = await harness.wait_until(run, lambda state: state.has_ended and state.attempt > 1, "has ended again")
        assert ended.outputs["again"].value == {"n": 3}
        assert [item for item, _ in await rounds(harness, run)] == [0, 1, 1, 2]


def test_a_repeat_needs_a_condition_that_can_be_compiled_and_a_bound() -> None:
    def find(**config: object) -> dict[str, str]:
        return find_problems(
            graph(node(kind="repeat", config={"workflow_id": "wf_01h455vb4pex5vsknk084sn02q", **config}))
        )

    assert "/nodes/0/config/most_rounds" in find(until="true")
    assert "/nodes/0/config/until" in find(until="rounds > 3", most_rounds=3)
    assert "/nodes/0/config/workflow_id" in find(until="true", most_rounds=3)
