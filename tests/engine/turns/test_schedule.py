"""The schedule against a slow and obvious interpreter, on random graphs of every kind of step, and what people do."""

from collections import Counter
from collections.abc import Iterable

import pytest

from domain.graphs.validation.check import check_graph
from domain.graphs.validation.semantics import KnownReferences
from domain.ids import to_uuid
from domain.runs.run import RunStatus
from tests.support.engine.simulator.faults import CALM, Chances
from tests.support.engine.simulator.laws import check
from tests.support.engine.simulator.random_graphs import Plot, plot
from tests.support.engine.simulator.random_revisions import revised
from tests.support.engine.simulator.scenarios import random_of, tell
from tests.support.engine.simulator.simulator import Play
from tests.support.graphs import CHILD

ROUGH = Chances(conflict=0.1, loss=0.1, spurious=0.2, held_back_off_seconds=0, lag_seconds=2)
KNOWN = KnownReferences(workflows=frozenset({to_uuid("wf", CHILD)}))
ALL_ENDS = {RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.WAITING}
TOLD = {
    *RunStatus,
    "retried",
    "retried on a newer graph",
    "a newer graph refused",
    "forked",
    "a fork refused",
    "items kept",
    "outputs kept",
    "an output begun anew",
} - {RunStatus.ABSENT, RunStatus.QUEUED, RunStatus.RUNNING}


def check_plots(seeds: Iterable[int], chances: Chances, *, timed: bool = False) -> Counter[RunStatus]:
    ends: Counter[RunStatus] = Counter()
    for seed in seeds:
        drawn = plot(seed, timed=timed)
        try:
            play = Play(drawn, random_of(seed), chances).begin().to_the_end()
            check(play, disturbed=chances is not CALM)
        except AssertionError as fault:
            raise AssertionError(f"seed {seed}: {fault}\n{drawn.raw}\n{drawn.behaviours}") from fault
        ends[play.run.status] += 1
    return ends


def check_stories(seeds: Iterable[int], chances: Chances, *, timed: bool = False) -> Counter[str]:
    told: Counter[str] = Counter()
    for seed in seeds:
        told += tell(seed, chances, timed=timed)
    return told


def plots_within(drawn: Plot) -> Iterable[Plot]:
    yield drawn
    for behaviour in drawn.behaviours.values():
        for item in behaviour.items[:1]:
            yield from plots_within(item)


def test_the_plots_are_graphs_that_a_caller_may_send() -> None:
    for seed in range(0, 2_000, 20):
        for drawn in plots_within(plot(seed, timed=seed % 40 == 0)):
            newer = revised(drawn, (), random_of(seed))
            assert check_graph(drawn.raw, KNOWN) == drawn.graph
            assert check_graph(newer.raw, KNOWN) == newer.graph


def test_every_run_comes_to_what_the_reference_says() -> None:
    ends = check_plots(range(3_000), CALM)
    assert set(ends) == ALL_ENDS
    assert min(ends.values()) > 200, f"the plots are one-sided: {ends}"


def test_a_total_timeout_ends_each_step_when_the_reference_says() -> None:
    check_plots(range(0, 2_000, 2), CALM, timed=True)


def test_a_run_whose_engines_are_lost_and_whose_appends_fail_comes_to_the_same() -> None:
    check_plots(range(1, 2_000, 2), ROUGH)


def test_a_run_that_is_cancelled_retried_and_forked_keeps_what_the_reference_says() -> None:
    told = check_stories(range(0, 2_000, 2), CALM)
    assert set(told) == TOLD
    assert min(told.values()) > 10, f"the stories are one-sided: {told}"


def test_a_story_with_lost_engines_comes_to_the_same() -> None:
    check_stories(range(1, 1_000, 2), ROUGH)


@pytest.mark.long
@pytest.mark.parametrize(
    ("chances", "timed"), [(CALM, False), (CALM, True), (ROUGH, False)], ids=["calm", "timed", "rough"]
)
def test_ten_thousand_runs_come_to_what_the_reference_says(chances: Chances, timed: bool) -> None:  # noqa: FBT001  # a parameter
    check_plots(range(10_000), chances, timed=timed)


@pytest.mark.long
@pytest.mark.parametrize(
    ("chances", "timed"), [(CALM, False), (CALM, True), (ROUGH, False)], ids=["calm", "timed", "rough"]
)
def test_ten_thousand_stories_come_to_what_the_reference_says(chances: Chances, timed: bool) -> None:  # noqa: FBT001  # a parameter
    check_stories(range(10_000), chances, timed=timed)
