"""The schedule against a slow and obvious interpreter, on random graphs with failures, retries, skips and people."""

from collections import Counter
from random import Random
from typing import Any, cast

import pytest

from domain.graph import ErrorClass
from domain.graph_check import check_graph
from domain.graph_meaning import Known
from domain.run import Run, RunStatus
from domain.run_facts import RunCompleted, RunFailed, StepFailed, StepStarted
from domain.run_steps import StepStatus
from tests.engine.play import Play
from tests.engine.random_graphs import plot
from tests.engine.reference import Expected, Fate, expected

STATUS = {
    Fate.GAVE: StepStatus.COMPLETED,
    Fate.DEFAULTED: StepStatus.FAILED,
    Fate.FELL_BACK: StepStatus.FAILED,
    Fate.SKIPPED: StepStatus.SKIPPED,
    Fate.FAILS_THE_RUN: StepStatus.FAILED,
    Fate.WAITS_FOR_EVER: StepStatus.WAITING,
}


def random_of(seed: int) -> Random:
    return Random(seed + 1_000_000)  # noqa: S311  # the same seed gives the same order


def outcome_of(output: Any) -> Any:  # noqa: ANN401  # JSON
    """Give what was decided where a person did, whose answer holds data and a comment too; else the output itself."""
    return cast("dict[str, Any]", output)["outcome"] if isinstance(output, dict) else output


def check_step(run: Run, node: str, fate: Expected) -> None:
    """Hold one step of a run that has come to rest against its fate; one that fails the run stops others anywhere."""
    step = run.steps.get(node)
    cut_short = run.status is RunStatus.FAILED
    if fate.fate is Fate.NEVER_REACHED:
        assert step is None, f"{node} must not be reached"
        return
    if step is None or (cut_short and step.status not in {StepStatus.COMPLETED, StepStatus.FAILED, StepStatus.SKIPPED}):
        assert cut_short, f"{node} was forgotten"
        return
    assert step.status is STATUS[fate.fate], node
    if step.status is not StepStatus.WAITING:
        assert frozenset(step.edges_taken) == fate.taken, node
    assert outcome_of(step.output.value) == outcome_of(fate.output), node
    assert step.continued is (fate.fate is Fate.DEFAULTED)


def check_end(play: Play, fates: dict[str, Expected]) -> None:
    """Hold the end of a run against the fates of its steps."""
    of = {fate.fate for fate in fates.values()}
    run = play.run
    if Fate.FAILS_THE_RUN in of:
        assert run.status is RunStatus.FAILED
        assert fates[run.failed_node or ""].fate is Fate.FAILS_THE_RUN
    elif Fate.WAITS_FOR_EVER in of:
        assert run.status is RunStatus.WAITING
    else:
        assert run.status is RunStatus.COMPLETED
        sources = {one["from"] for one in play.plot.raw["edges"]}
        ends = {n for n, fate in fates.items() if fate.fate in {Fate.GAVE, Fate.DEFAULTED} and n not in sources}
        assert set(run.outputs) == ends
    for node, fate in fates.items():
        check_step(run, node, fate)


def check_history(play: Play) -> None:
    """No attempt twice, none without a recorded reason, no join twice, one end."""
    starts = Counter((fact.node, fact.attempt) for fact in play.facts if isinstance(fact, StepStarted))
    assert set(starts.values()) <= {1}
    failures = {(fact.node, fact.attempt) for fact in play.facts if isinstance(fact, StepFailed) and fact.retry_at}
    for node, attempt in starts:
        assert attempt == 1 or (node, attempt - 1) in failures, f"{node} runs again without a reason"
    assert sum(isinstance(fact, RunCompleted | RunFailed) for fact in play.facts) == int(play.run.ended)


def check_undisturbed(play: Play, fates: dict[str, Expected]) -> None:
    """Without a change of owner each step takes exactly its attempts, and nothing is lost."""
    for node, step in play.run.steps.items():
        if step.status in {StepStatus.COMPLETED, StepStatus.FAILED}:
            assert step.attempt == fates[node].attempts, node
    assert not [f for f in play.facts if isinstance(f, StepFailed) and f.error.error_class is ErrorClass.OWNER_LOST]


def check_plots(seeds: range) -> Counter[RunStatus]:
    ends: Counter[RunStatus] = Counter()
    for seed in seeds:
        drawn = plot(seed)
        fates = expected(drawn)
        try:
            play = Play(drawn, random_of(seed)).to_the_end()
            check_end(play, fates)
            check_history(play)
            check_undisturbed(play, fates)
        except AssertionError as fault:
            raise AssertionError(f"seed {seed}: {fault}\n{drawn.raw}\n{drawn.behaviours}") from fault
        ends[play.run.status] += 1
    return ends


def check_takeovers(seeds: range, takeovers: int) -> None:
    for seed in seeds:
        drawn, random = plot(seed), random_of(seed)
        fates = expected(drawn)
        play = Play(drawn, random).to_the_end()
        for kept in random.sample(range(1, len(play.turns) + 1), min(takeovers, len(play.turns))):
            again = play.taken_over(kept, random)
            twice = again.taken_over(random.randint(1, len(again.turns)), random)
            for one in (again, twice):
                try:
                    check_end(one, fates)
                    check_history(one)
                except AssertionError as fault:
                    what = f"seed {seed}, {kept} of {len(play.turns)} turns: {fault}\n{drawn.raw}\n{drawn.behaviours}"
                    raise AssertionError(what) from fault


def test_the_plots_are_graphs_that_a_caller_may_send() -> None:
    for seed in range(0, 2_000, 10):
        drawn = plot(seed)
        assert check_graph(drawn.raw, Known()) == drawn.graph


def test_every_run_comes_to_what_the_reference_says() -> None:
    ends = check_plots(range(2_000))
    assert set(ends) == {RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.WAITING}
    assert min(ends.values()) > 200, f"the plots are one-sided: {ends}"


def test_a_run_taken_over_at_any_turn_comes_to_the_same() -> None:
    check_takeovers(range(0, 1_000, 2), takeovers=2)


@pytest.mark.long
def test_ten_thousand_runs_come_to_what_the_reference_says() -> None:
    check_plots(range(10_000))


@pytest.mark.long
def test_ten_thousand_runs_taken_over_come_to_the_same() -> None:
    check_takeovers(range(10_000), takeovers=3)
