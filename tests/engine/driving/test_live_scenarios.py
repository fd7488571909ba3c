"""Random scenarios on real engines and a real log match the reference, with lost engines and retried runs."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from random import Random
from uuid import UUID

import pytest

from commands.runs.lifecycle import CancelRun, RetryRun
from domain.graphs.graph import ErrorClass
from domain.runs.facts import StepFailed, StepStarted
from domain.runs.refusals import RunNotRunning
from domain.runs.run import Run, RunStatus
from domain.runs.steps import SETTLED, StepStatus
from tests.support.engine.harness import Harness, open_harness
from tests.support.engine.simulator.laws import check_end, check_history, check_kept_outputs, list_last_attempt
from tests.support.engine.simulator.live_scenarios import (
    Child,
    GraphCaseModel,
    LiveRun,
    build_inputs,
    create_workflow,
    decide_all,
    list_children,
    without_bounds,
)
from tests.support.engine.simulator.random_graphs import GraphCase, draw_graph_case
from tests.support.engine.simulator.reference import (
    HANGING,
    NO_ITEMS,
    NO_OUTPUTS,
    NOTHING_KEPT,
    Items,
    KeptOutputs,
    StepOutcome,
    compute_expected,
)
from tests.support.engine.simulator.simulated_retries import (
    ExpectedSteps,
    compute_kept_items,
    compute_kept_outputs,
    compute_kept_steps,
)
from tests.support.projections.given import run_in_background
from tests.support.waiting import eventually

REST_SECONDS = 120.0
SEEDS = (83, 106, 143, 158, 188, 258, 288, 289, 384, 138, 151, 237, 316, 344, *range(100, 400, 25))
"""In the first items of maps are kept, or children are cancelled."""


class LiveRuns:
    """Runs of plots on one site, by their keys."""

    def __init__(self, harness: Harness, model: GraphCaseModel) -> None:
        """Begin without any."""
        self.harness = harness
        self.model = model
        self.runs: dict[str, UUID] = {}
        self.kept: dict[str, tuple[ExpectedSteps, Items, KeptOutputs]] = {}

    async def begin(self, project: UUID, key: str, drawn: GraphCase) -> None:
        self.model.learn(key, drawn)
        workflow = await create_workflow(self.harness, project, drawn)
        self.kept[key] = NOTHING_KEPT, NO_ITEMS, NO_OUTPUTS
        self.runs[key] = await self.harness.start(workflow, build_inputs(key, drawn))

    async def live(self, run_id: UUID, drawn: GraphCase) -> LiveRun:
        facts = [event.fact for event in await self.harness.facts(run_id)]
        return LiveRun(drawn, await self.harness.run(run_id), facts)  # pyright: ignore[reportArgumentType]  # the facts of a run

    async def wait_for_rest(self, key: str) -> LiveRun:
        """Wait until a run is idle, and compare it with the reference."""
        run_id, drawn = self.runs[key], self.model.graph_cases[key]
        live = await self._at_rest(run_id, drawn, *self.kept[key])
        if key not in {late.partition(".")[0] for late in self.model.late}:
            await self._check(run_id, live, *self.kept[key])
        return live

    async def _at_rest(
        self,
        run_id: UUID,
        drawn: GraphCase,
        kept: ExpectedSteps = NOTHING_KEPT,
        items: Items = NO_ITEMS,
        kept_outputs: KeptOutputs = NO_OUTPUTS,
    ) -> LiveRun:
        expected_steps = compute_expected(drawn, kept, items, kept_outputs)

        async def rests() -> bool:
            return comes_to_rest(await self.harness.run(run_id), expected_steps)

        await eventually(rests, what=f"the run {run_id} rests", seconds=REST_SECONDS)
        return await self.live(run_id, drawn)

    async def _check(
        self,
        run_id: UUID,
        live: LiveRun,
        kept: ExpectedSteps = NOTHING_KEPT,
        items: Items = NO_ITEMS,
        kept_outputs: KeptOutputs = NO_OUTPUTS,
    ) -> None:
        expected_steps = compute_expected(live.graph_case, kept, items, kept_outputs)
        try:
            check_end(live, expected_steps)
            check_history(live, list_last_attempt(live.facts), kept, kept_outputs)
            check_kept_outputs(list_last_attempt(live.facts), expected_steps)
            self._check_calls(run_id, live)
        except AssertionError as fault:
            told = "\n".join(map(str, live.facts))
            raise AssertionError(f"{fault}\n{live.graph_case.raw}\n{live.graph_case.behaviours}\n{told}") from fault
        compute_kept_items(live, items)
        for child in list_children(run_id, live.facts, live.graph_case):
            if await self.harness.facts(child.run_id):
                assert not child.was_done, f"a child of {child.node} is done once more"
                await self._check_child(live, child)

    async def _check_child(self, parent: LiveRun, child: Child) -> None:
        if parent.run.steps[child.node].status is not StepStatus.WAITING:
            # Nobody waits for it any more: it has ended, or is cancelled.
            await self.harness.wait_until(child.run_id, lambda run: run.has_ended, "has ended with its parent's step")
        await self._check(child.run_id, await self._at_rest(child.run_id, child.graph_case))

    def _check_calls(self, run_id: UUID, live: LiveRun) -> None:
        """No model was called for an attempt that is not on record."""
        for node in live.run.steps:
            again = f".{live.run.attempt}" if live.run.attempt > 1 else ""
            starts = [f for f in list_last_attempt(live.facts) if isinstance(f, StepStarted) and f.node == node]
            assert self.model.made[f"{run_id}.{node}{again}"] <= len(starts), f"{node} is called unrecorded"

    async def cancel(self, key: str) -> None:
        with suppress(RunNotRunning):
            await self.harness.does(CancelRun(target_id=self.runs[key], user_id="ada"))

    async def retry(self, key: str, live: LiveRun) -> None:
        """Fix the failing steps that can be fixed, and retry the run."""
        kept, items, kept_outputs = self.kept[key]
        expected_steps = compute_expected(live.graph_case, kept, items, kept_outputs)
        now_kept, given = (
            compute_kept_steps(live.facts, expected_steps),
            compute_kept_outputs(live, expected_steps, kept_outputs),
        )
        done = {
            node: some
            for node, some in compute_kept_items(live, items).items()
            if some and node not in {*now_kept, *given}
        }
        self.model.learn(key, live.graph_case.heal())
        self.kept[key] = now_kept, done, given
        await self.harness.does(RetryRun(target_id=self.runs[key], user_id="ada"))


def comes_to_rest(run: Run, expected_steps: ExpectedSteps) -> bool:
    if run.has_ended:
        return True
    of = {expected_step.outcome for expected_step in expected_steps.values()}
    if StepOutcome.FAILS_THE_RUN in of or StepOutcome.WAITS_FOR_EVER not in of:
        return False
    statuses = {node: step.status for node, step in run.steps.items()}
    settled = {node for node, expected_step in expected_steps.items() if expected_step.outcome not in HANGING}
    waits = {
        node for node, expected_step in expected_steps.items() if expected_step.outcome is StepOutcome.WAITS_FOR_EVER
    }
    return all(statuses.get(node) in SETTLED for node in settled) and all(
        statuses.get(node) is StepStatus.WAITING for node in waits
    )


async def play_live(harness: Harness, model: GraphCaseModel, seeds: Sequence[int]) -> Counter[str]:
    """Run scenarios on three engines in sequence, and return the outcomes."""
    cast, random = LiveRuns(harness, model), Random(len(seeds))  # noqa: S311  # who is cancelled
    project = await harness.project()
    async with run_in_background(decide_all(harness, model)):
        async with harness.run_engine("first", active_runs=1_000):
            for seed in seeds:
                await cast.begin(project, f"k{seed}", without_bounds(draw_graph_case(seed)))
                if random.random() < 0.2:
                    await cast.cancel(random.choice(sorted(cast.runs)))
        async with harness.run_engine("second", active_runs=1_000):
            ended = {key: await cast.wait_for_rest(key) for key in cast.runs}
            again = {k: live for k, live in ended.items() if live.run.status in (RunStatus.FAILED, RunStatus.CANCELLED)}
            for key, live in again.items():
                await cast.retry(key, live)
        async with harness.run_engine("third", active_runs=1_000):
            retried = [await cast.wait_for_rest(key) for key in again]
    assert {live.run.attempt for live in retried} <= {2}
    assert len(model.late) <= len(seeds) // 5, "this machine is too slow to say much"
    facts = [fact for live in (*ended.values(), *retried) for fact in live.facts]
    lost = sum(isinstance(f, StepFailed) and f.error.error_class is ErrorClass.OWNER_LOST for f in facts)
    return Counter(live.run.status.value for live in (*ended.values(), *retried)) + Counter(lost=lost)


async def test_plots_on_real_engines_come_to_what_the_reference_says(database: str) -> None:
    model = GraphCaseModel()
    async with open_harness(database, model) as harness:
        told = await play_live(harness, model, SEEDS)
    assert {status for status in told if told[status]} == {"completed", "failed", "cancelled", "waiting", "lost"}, told


@pytest.mark.long
@pytest.mark.parametrize("first", range(0, 1_000, 100))
async def test_a_thousand_plots_on_real_engines_come_to_what_the_reference_says(database: str, first: int) -> None:
    model = GraphCaseModel()
    async with open_harness(database, model) as harness:
        await play_live(harness, model, range(first, first + 100))
