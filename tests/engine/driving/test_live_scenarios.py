"""Random plots on real engines and a real log come to what the reference says, with engines lost and runs retried."""

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
from tests.support.engine.harness import Site, site
from tests.support.engine.simulator.laws import check_end, check_gifts, check_history, last_chapter
from tests.support.engine.simulator.live_scenarios import (
    Child,
    Live,
    PlotModel,
    children_of,
    decide_all,
    inputs_of,
    without_bounds,
    workflow_of,
)
from tests.support.engine.simulator.random_graphs import Plot, plot
from tests.support.engine.simulator.reference import (
    HANGING,
    NO_GIFTS,
    NO_ITEMS,
    NOTHING_KEPT,
    Fate,
    Gifts,
    Items,
    expected,
)
from tests.support.engine.simulator.simulated_retries import Fates, gifts_of, items_of, kept_of
from tests.support.projections.given import run_in_background
from tests.support.waiting import eventually

REST_SECONDS = 120.0
SEEDS = (83, 106, 143, 158, 188, 258, 288, 289, 384, 138, 151, 237, 316, 344, *range(100, 400, 25))
"""In the first items of maps are kept, or children are cancelled."""


class Cast:
    """Runs of plots on one site, by their keys."""

    def __init__(self, here: Site, model: PlotModel) -> None:
        """Begin without any."""
        self.here = here
        self.model = model
        self.runs: dict[str, UUID] = {}
        self.kept: dict[str, tuple[Fates, Items, Gifts]] = {}

    async def begin(self, project: UUID, key: str, drawn: Plot) -> None:
        self.model.learn(key, drawn)
        workflow = await workflow_of(self.here, project, drawn)
        self.kept[key] = NOTHING_KEPT, NO_ITEMS, NO_GIFTS
        self.runs[key] = await self.here.start(workflow, inputs_of(key, drawn))

    async def live(self, run_id: UUID, drawn: Plot) -> Live:
        facts = [one.fact for one in await self.here.facts(run_id)]
        return Live(drawn, await self.here.run(run_id), facts)  # pyright: ignore[reportArgumentType]  # the facts of a run

    async def rested(self, key: str) -> Live:
        """Wait until a run has come to rest, and hold it against the reference."""
        run_id, drawn = self.runs[key], self.model.plots[key]
        live = await self._at_rest(run_id, drawn, *self.kept[key])
        if key not in {late.partition(".")[0] for late in self.model.late}:
            await self._check(run_id, live, *self.kept[key])
        return live

    async def _at_rest(
        self, run_id: UUID, drawn: Plot, kept: Fates = NOTHING_KEPT, items: Items = NO_ITEMS, gifts: Gifts = NO_GIFTS
    ) -> Live:
        fates = expected(drawn, kept, items, gifts)

        async def rests() -> bool:
            return comes_to_rest(await self.here.run(run_id), fates)

        await eventually(rests, what=f"the run {run_id} rests", seconds=REST_SECONDS)
        return await self.live(run_id, drawn)

    async def _check(
        self, run_id: UUID, live: Live, kept: Fates = NOTHING_KEPT, items: Items = NO_ITEMS, gifts: Gifts = NO_GIFTS
    ) -> None:
        fates = expected(live.plot, kept, items, gifts)
        try:
            check_end(live, fates)
            check_history(live, last_chapter(live.facts), kept, gifts)
            check_gifts(last_chapter(live.facts), fates)
            self._check_calls(run_id, live)
        except AssertionError as fault:
            told = "\n".join(map(str, live.facts))
            raise AssertionError(f"{fault}\n{live.plot.raw}\n{live.plot.behaviours}\n{told}") from fault
        items_of(live, items)
        for child in children_of(run_id, live.facts, live.plot):
            if await self.here.facts(child.run_id):
                assert not child.was_done, f"a child of {child.node} is done once more"
                await self._check_child(live, child)

    async def _check_child(self, parent: Live, child: Child) -> None:
        if parent.run.steps[child.node].status is not StepStatus.WAITING:
            # Nobody waits for it any more: it has ended, or is cancelled.
            await self.here.until(child.run_id, lambda run: run.has_ended, "has ended with its parent's step")
        await self._check(child.run_id, await self._at_rest(child.run_id, child.plot))

    def _check_calls(self, run_id: UUID, live: Live) -> None:
        """No model was called for an attempt that is not on record."""
        for node in live.run.steps:
            again = f".{live.run.attempt}" if live.run.attempt > 1 else ""
            starts = [f for f in last_chapter(live.facts) if isinstance(f, StepStarted) and f.node == node]
            assert self.model.made[f"{run_id}.{node}{again}"] <= len(starts), f"{node} is called unrecorded"

    async def cancel(self, key: str) -> None:
        with suppress(RunNotRunning):
            await self.here.does(CancelRun(target_id=self.runs[key], user_id="ada"))

    async def retry(self, key: str, live: Live) -> None:
        """Mend what can be mended, and have the run go on."""
        kept, items, gifts = self.kept[key]
        fates = expected(live.plot, kept, items, gifts)
        now_kept, given = kept_of(live.facts, fates), gifts_of(live, fates, gifts)
        done = {node: some for node, some in items_of(live, items).items() if some and node not in {*now_kept, *given}}
        self.model.learn(key, live.plot.healed())
        self.kept[key] = now_kept, done, given
        await self.here.does(RetryRun(target_id=self.runs[key], user_id="ada"))


def comes_to_rest(run: Run, fates: Fates) -> bool:
    if run.has_ended:
        return True
    of = {fate.fate for fate in fates.values()}
    if Fate.FAILS_THE_RUN in of or Fate.WAITS_FOR_EVER not in of:
        return False
    statuses = {node: step.status for node, step in run.steps.items()}
    settled = {node for node, fate in fates.items() if fate.fate not in HANGING}
    waits = {node for node, fate in fates.items() if fate.fate is Fate.WAITS_FOR_EVER}
    return all(statuses.get(node) in SETTLED for node in settled) and all(
        statuses.get(node) is StepStatus.WAITING for node in waits
    )


async def play_live(here: Site, model: PlotModel, seeds: Sequence[int]) -> Counter[str]:
    """Play plots through the hands of three engines; gives what came of them."""
    cast, random = Cast(here, model), Random(len(seeds))  # noqa: S311  # who is cancelled
    project = await here.project()
    async with run_in_background(decide_all(here, model)):
        async with here.engaged("first", active_runs=1_000):
            for seed in seeds:
                await cast.begin(project, f"k{seed}", without_bounds(plot(seed)))
                if random.random() < 0.2:
                    await cast.cancel(random.choice(sorted(cast.runs)))
        async with here.engaged("second", active_runs=1_000):
            ended = {key: await cast.rested(key) for key in cast.runs}
            again = {k: live for k, live in ended.items() if live.run.status in (RunStatus.FAILED, RunStatus.CANCELLED)}
            for key, live in again.items():
                await cast.retry(key, live)
        async with here.engaged("third", active_runs=1_000):
            retried = [await cast.rested(key) for key in again]
    assert {live.run.attempt for live in retried} <= {2}
    assert len(model.late) <= len(seeds) // 5, "this machine is too slow to say much"
    facts = [fact for live in (*ended.values(), *retried) for fact in live.facts]
    lost = sum(isinstance(f, StepFailed) and f.error.error_class is ErrorClass.OWNER_LOST for f in facts)
    return Counter(live.run.status.value for live in (*ended.values(), *retried)) + Counter(lost=lost)


async def test_plots_on_real_engines_come_to_what_the_reference_says(database: str) -> None:
    model = PlotModel()
    async with site(database, model) as here:
        told = await play_live(here, model, SEEDS)
    assert {status for status in told if told[status]} == {"completed", "failed", "cancelled", "waiting", "lost"}, told


@pytest.mark.long
@pytest.mark.parametrize("first", range(0, 1_000, 100))
async def test_a_thousand_plots_on_real_engines_come_to_what_the_reference_says(database: str, first: int) -> None:
    model = PlotModel()
    async with site(database, model) as here:
        await play_live(here, model, range(first, first + 100))
