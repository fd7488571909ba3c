"""The schedule against a slow and obvious interpreter, on random graphs of every kind of step and random callers."""

from collections import Counter
from collections.abc import Iterable

import pytest

from domain.graphs.validation.check import check_graph
from domain.graphs.validation.semantics import KnownReferences
from domain.ids import to_uuid
from domain.runs.run import RunStatus
from tests.support.engine.simulator.faults import NO_FAULTS, Faults
from tests.support.engine.simulator.laws import check_run
from tests.support.engine.simulator.random_graphs import GraphCase, draw_graph_case
from tests.support.engine.simulator.random_revisions import revise_case
from tests.support.engine.simulator.scenarios import create_random, run_scenario
from tests.support.engine.simulator.simulator import Simulator
from tests.support.graphs import CHILD

MANY_FAULTS = Faults(conflict=0.1, loss=0.1, spurious=0.2, held_back_off_seconds=0, lag_seconds=2)
KNOWN = KnownReferences(workflows=frozenset({to_uuid("wf", CHILD)}))
ALL_ENDS = {RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.WAITING}
COUNTED = {
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


def check_cases(seeds: Iterable[int], faults: Faults, *, timed: bool = False) -> Counter[RunStatus]:
    ends: Counter[RunStatus] = Counter()
    for seed in seeds:
        drawn = draw_graph_case(seed, timed=timed)
        try:
            simulator = Simulator(drawn, create_random(seed), faults).begin().run_to_end()
            check_run(simulator, disturbed=faults is not NO_FAULTS)
        except AssertionError as fault:
            raise AssertionError(f"seed {seed}: {fault}\n{drawn.raw}\n{drawn.behaviours}") from fault
        ends[simulator.run.status] += 1
    return ends


def check_scenarios(seeds: Iterable[int], faults: Faults, *, timed: bool = False) -> Counter[str]:
    counts: Counter[str] = Counter()
    for seed in seeds:
        counts += run_scenario(seed, faults, timed=timed)
    return counts


def list_cases_within(drawn: GraphCase) -> Iterable[GraphCase]:
    yield drawn
    for behaviour in drawn.behaviours.values():
        for item in behaviour.items[:1]:
            yield from list_cases_within(item)


def test_the_graph_cases_are_graphs_that_a_caller_may_send() -> None:
    for seed in range(0, 2_000, 20):
        for drawn in list_cases_within(draw_graph_case(seed, timed=seed % 40 == 0)):
            newer = revise_case(drawn, (), create_random(seed))
            assert check_graph(drawn.raw, KNOWN) == drawn.graph
            assert check_graph(newer.raw, KNOWN) == newer.graph


def test_every_run_comes_to_what_the_reference_says() -> None:
    ends = check_cases(range(3_000), NO_FAULTS)
    assert set(ends) == ALL_ENDS
    assert min(ends.values()) > 200, f"the graph cases are one-sided: {ends}"


def test_a_total_timeout_ends_each_step_when_the_reference_says() -> None:
    check_cases(range(0, 2_000, 2), NO_FAULTS, timed=True)


def test_a_run_whose_engines_are_lost_and_whose_appends_fail_comes_to_the_same() -> None:
    check_cases(range(1, 2_000, 2), MANY_FAULTS)


def test_a_run_that_is_cancelled_retried_and_forked_keeps_what_the_reference_says() -> None:
    counts = check_scenarios(range(0, 2_000, 2), NO_FAULTS)
    assert set(counts) == COUNTED
    assert min(counts.values()) > 10, f"the scenarios are one-sided: {counts}"


def test_a_scenario_with_lost_engines_comes_to_the_same() -> None:
    check_scenarios(range(1, 1_000, 2), MANY_FAULTS)


@pytest.mark.long
@pytest.mark.parametrize(
    ("faults", "timed"),
    [(NO_FAULTS, False), (NO_FAULTS, True), (MANY_FAULTS, False)],
    ids=["no faults", "timed", "many faults"],
)
def test_ten_thousand_runs_come_to_what_the_reference_says(faults: Faults, timed: bool) -> None:  # noqa: FBT001  # a parameter
    check_cases(range(10_000), faults, timed=timed)


@pytest.mark.long
@pytest.mark.parametrize(
    ("faults", "timed"),
    [(NO_FAULTS, False), (NO_FAULTS, True), (MANY_FAULTS, False)],
    ids=["no faults", "timed", "many faults"],
)
def test_ten_thousand_scenarios_come_to_what_the_reference_says(faults: Faults, timed: bool) -> None:  # noqa: FBT001  # a parameter
    check_scenarios(range(10_000), faults, timed=timed)
