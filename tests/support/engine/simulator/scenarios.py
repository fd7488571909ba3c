"""Random scenarios of a run: simulated, cancelled, retried and forked, and compared with the reference at each rest."""

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random

from domain.runs.facts import RunRetried
from domain.runs.refusals import CompletedPartChanged
from domain.runs.run import RunStatus
from tests.support.engine.simulator.faults import Faults
from tests.support.engine.simulator.laws import check_run
from tests.support.engine.simulator.random_graphs import GraphCase, draw_graph_case
from tests.support.engine.simulator.random_revisions import revise_case
from tests.support.engine.simulator.reference import (
    NO_ITEMS,
    NO_OUTPUTS,
    NOTHING_KEPT,
    Items,
    KeptOutputs,
    compute_expected,
)
from tests.support.engine.simulator.simulated_retries import (
    ExpectedSteps,
    compute_kept_items,
    compute_kept_outputs,
    compute_kept_steps,
    compute_reused_steps,
    fork,
    is_part_unchanged,
    is_step_unchanged_with_edges,
    retry,
    translate_edges,
)
from tests.support.engine.simulator.simulator import Simulator

CHAPTERS = 4


@dataclass
class Scenario:
    """A run that is started, cancelled, retried and forked at random; `counts` counts the outcomes."""

    random: Random
    faults: Faults
    counts: Counter[str] = field(default_factory=Counter[str])

    def run(self, first: GraphCase) -> None:
        """Run the scenario and compare each rest with the reference."""
        simulator = Simulator(first, self.random, self.faults)
        self._plan_cancel(simulator)
        kept: ExpectedSteps = NOTHING_KEPT
        items: Items = NO_ITEMS
        kept_outputs: KeptOutputs = NO_OUTPUTS
        simulator.begin()
        for _ in range(CHAPTERS):
            if self.random.random() < 0.3:
                self._fork(self._advance_some(simulator), kept, items, kept_outputs)
            expected_steps = self._run_to_rest(simulator, kept, items, kept_outputs)
            items = compute_kept_items(simulator, items)
            if simulator.run.status not in (RunStatus.FAILED, RunStatus.CANCELLED):
                return
            kept, kept_outputs = (
                compute_kept_steps(simulator.facts, expected_steps),
                compute_kept_outputs(simulator, expected_steps, kept_outputs),
            )
            items = {node: done for node, done in items.items() if done and node not in {*kept, *kept_outputs}}
            kept, items, kept_outputs = self._retry(simulator, kept, items, kept_outputs)

    def _run_to_rest(
        self, simulator: Simulator, kept: ExpectedSteps, items: Items = NO_ITEMS, kept_outputs: KeptOutputs = NO_OUTPUTS
    ) -> ExpectedSteps:
        simulator.run_to_end()
        self.counts[simulator.run.status] += 1
        return check_run(simulator, kept, items, kept_outputs, disturbed=bool(self.faults.loss))

    def _advance_some(self, simulator: Simulator) -> Simulator:
        for _ in range(self.random.randrange(12)):
            simulator.advance()
        return simulator

    def _plan_cancel(self, simulator: Simulator) -> None:
        if self.random.random() < 0.4:
            simulator.cancel_at = simulator.now + timedelta(seconds=self.random.choice([0, 0, 1, 2, 5, 9, 20]))

    def _retry(
        self, simulator: Simulator, kept: ExpectedSteps, items: Items, kept_outputs: KeptOutputs
    ) -> tuple[ExpectedSteps, Items, KeptOutputs]:
        """Retry a run on the same graph, or on a newer one where that is accepted; return the steps that are kept."""
        graph_case = simulator.graph_case.heal() if self.random.random() < 0.7 else simulator.graph_case
        newest = revise_case(graph_case, kept, self.random) if self.random.random() < 0.5 else graph_case
        if newest is not graph_case:
            before = len(simulator.facts)
            accepted = is_part_unchanged(graph_case, newest, kept)
            self.counts["retried on a newer graph" if accepted else "a newer graph refused"] += 1
            try:
                retry(simulator, newest)
            except CompletedPartChanged:
                assert not accepted, "a graph that leaves alone what is done is refused"
                assert len(simulator.facts) == before
            else:
                assert accepted, "a graph that changes what is done is accepted"
                alike = {
                    node: done for node, done in items.items() if is_step_unchanged_with_edges(graph_case, newest, node)
                }
                given = {
                    node: raw_edge
                    for node, raw_edge in kept_outputs.items()
                    if is_step_unchanged_with_edges(graph_case, newest, node)
                }
                self.counts["an output begun anew"] += len(given) < len(kept_outputs)
                return self._check_kept(simulator, translate_edges(graph_case, newest, kept), alike, given)
        self.counts["retried"] += 1
        retry(simulator, graph_case)
        return self._check_kept(simulator, kept, items, kept_outputs)

    def _check_kept(
        self, simulator: Simulator, kept: ExpectedSteps, items: Items, kept_outputs: KeptOutputs
    ) -> tuple[ExpectedSteps, Items, KeptOutputs]:
        self.counts["items kept"] += bool(items)
        self.counts["outputs kept"] += bool(kept_outputs)
        retried = [fact for fact in simulator.facts if isinstance(fact, RunRetried)][-1]
        assert {node: frozenset(taken) for node, taken in retried.kept.items()} == {n: f.taken for n, f in kept.items()}
        assert set(retried.items_kept) == set(items)
        assert set(retried.outputs_kept) == set(kept_outputs)
        assert simulator.run.attempt == retried.run_attempt
        self._plan_cancel(simulator)
        return kept, items, kept_outputs

    def _fork(
        self, source: Simulator, kept_before: ExpectedSteps, items_before: Items, gifts_before: KeptOutputs
    ) -> None:
        """Fork a run, at whatever point it is, from some step, perhaps with other inputs and on a newer graph."""
        expected_steps = compute_expected(source.graph_case, kept_before, items_before, gifts_before)
        node = self.random.choice(source.graph_case.raw["nodes"])["id"]
        kept = compute_reused_steps(source.graph_case, source.facts, expected_steps, node)
        graph_case = source.graph_case.heal() if self.random.random() < 0.5 else source.graph_case
        if self.random.random() < 0.5:
            graph_case = replace(graph_case, inputs={"n": self.random.randrange(10)})
        newest = revise_case(graph_case, kept, self.random) if self.random.random() < 0.4 else graph_case
        accepted = is_part_unchanged(graph_case, newest, kept)
        self.counts["forked" if accepted else "a fork refused"] += 1
        try:
            forked = fork(source, newest, node)
        except CompletedPartChanged:
            assert not accepted, "a graph that leaves alone what is taken over is refused"
            return
        assert accepted, "a graph that changes what is taken over is accepted"
        self._run_to_rest(forked, translate_edges(graph_case, newest, kept))


def create_random(seed: int) -> Random:
    """Return the source of randomness of a scenario's events."""
    return Random(seed + 1_000_000)  # noqa: S311  # the same seed gives the same order


def run_scenario(seed: int, faults: Faults, *, timed: bool = False) -> Counter[str]:
    """Run the scenario of a seed; return the counts of its outcomes."""
    scenario = Scenario(create_random(seed), faults)
    drawn = draw_graph_case(seed, timed=timed)
    try:
        scenario.run(drawn)
    except AssertionError as fault:
        raise AssertionError(f"seed {seed}: {fault}\n{drawn.raw}\n{drawn.behaviours}") from fault
    return scenario.counts
