"""Random stories of a run: played, cancelled, retried and forked, and held against the reference at each rest."""

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random

from domain.runs.facts import RunRetried
from domain.runs.refusals import CompletedPartChanged
from domain.runs.run import RunStatus
from tests.support.engine.simulator.faults import Chances
from tests.support.engine.simulator.laws import check
from tests.support.engine.simulator.random_graphs import Plot, plot
from tests.support.engine.simulator.random_revisions import revised
from tests.support.engine.simulator.reference import NO_GIFTS, NO_ITEMS, NOTHING_KEPT, Gifts, Items, expected
from tests.support.engine.simulator.simulated_retries import (
    Fates,
    begins_alike,
    fork,
    gifts_of,
    items_of,
    kept_of,
    moved_to,
    retry,
    says_the_same,
    taken_over_of,
)
from tests.support.engine.simulator.simulator import Play

CHAPTERS = 4


@dataclass
class Story:
    """What somebody does with a run, chapter after chapter; `told` counts what came of it."""

    random: Random
    chances: Chances
    told: Counter[str] = field(default_factory=Counter[str])

    def tell(self, first: Plot) -> None:
        """Tell a whole story."""
        play = Play(first, self.random, self.chances)
        self._perhaps_cancelled(play)
        kept: Fates = NOTHING_KEPT
        items: Items = NO_ITEMS
        gifts: Gifts = NO_GIFTS
        play.begin()
        for _ in range(CHAPTERS):
            if self.random.random() < 0.3:
                self._forked(self._midway(play), kept, items, gifts)
            fates = self._rested(play, kept, items, gifts)
            items = items_of(play, items)
            if play.run.status not in (RunStatus.FAILED, RunStatus.CANCELLED):
                return
            kept, gifts = kept_of(play.facts, fates), gifts_of(play, fates, gifts)
            items = {node: done for node, done in items.items() if done and node not in {*kept, *gifts}}
            kept, items, gifts = self._retried(play, kept, items, gifts)

    def _rested(self, play: Play, kept: Fates, items: Items = NO_ITEMS, gifts: Gifts = NO_GIFTS) -> Fates:
        play.to_the_end()
        self.told[play.run.status] += 1
        return check(play, kept, items, gifts, disturbed=bool(self.chances.loss))

    def _midway(self, play: Play) -> Play:
        for _ in range(self.random.randrange(12)):
            play.advance()
        return play

    def _perhaps_cancelled(self, play: Play) -> None:
        if self.random.random() < 0.4:
            play.cancel_at = play.now + timedelta(seconds=self.random.choice([0, 0, 1, 2, 5, 9, 20]))

    def _retried(self, play: Play, kept: Fates, items: Items, gifts: Gifts) -> tuple[Fates, Items, Gifts]:
        """Retry a run on the same graph, or on a newer one where that is accepted; gives what is kept."""
        plot = play.plot.healed() if self.random.random() < 0.7 else play.plot
        newest = revised(plot, kept, self.random) if self.random.random() < 0.5 else plot
        if newest is not plot:
            before = len(play.facts)
            accepted = says_the_same(plot, newest, kept)
            self.told["retried on a newer graph" if accepted else "a newer graph refused"] += 1
            try:
                retry(play, newest)
            except CompletedPartChanged:
                assert not accepted, "a graph that leaves alone what is done is refused"
                assert len(play.facts) == before
            else:
                assert accepted, "a graph that changes what is done is accepted"
                alike = {node: done for node, done in items.items() if begins_alike(plot, newest, node)}
                given = {node: one for node, one in gifts.items() if begins_alike(plot, newest, node)}
                self.told["an output begun anew"] += len(given) < len(gifts)
                return self._kept(play, moved_to(plot, newest, kept), alike, given)
        self.told["retried"] += 1
        retry(play, plot)
        return self._kept(play, kept, items, gifts)

    def _kept(self, play: Play, kept: Fates, items: Items, gifts: Gifts) -> tuple[Fates, Items, Gifts]:
        self.told["items kept"] += bool(items)
        self.told["outputs kept"] += bool(gifts)
        retried = [fact for fact in play.facts if isinstance(fact, RunRetried)][-1]
        assert {node: frozenset(taken) for node, taken in retried.kept.items()} == {n: f.taken for n, f in kept.items()}
        assert set(retried.items_kept) == set(items)
        assert set(retried.outputs_kept) == set(gifts)
        assert play.run.attempt == retried.run_attempt
        self._perhaps_cancelled(play)
        return kept, items, gifts

    def _forked(self, source: Play, kept_before: Fates, items_before: Items, gifts_before: Gifts) -> None:
        """Fork a run, at whatever point it is, from some step, perhaps with other inputs and on a newer graph."""
        fates = expected(source.plot, kept_before, items_before, gifts_before)
        node = self.random.choice(source.plot.raw["nodes"])["id"]
        kept = taken_over_of(source.plot, source.facts, fates, node)
        plot = source.plot.healed() if self.random.random() < 0.5 else source.plot
        if self.random.random() < 0.5:
            plot = replace(plot, inputs={"n": self.random.randrange(10)})
        newest = revised(plot, kept, self.random) if self.random.random() < 0.4 else plot
        accepted = says_the_same(plot, newest, kept)
        self.told["forked" if accepted else "a fork refused"] += 1
        try:
            forked = fork(source, newest, node)
        except CompletedPartChanged:
            assert not accepted, "a graph that leaves alone what is taken over is refused"
            return
        assert accepted, "a graph that changes what is taken over is accepted"
        self._rested(forked, moved_to(plot, newest, kept))


def random_of(seed: int) -> Random:
    """Give the order in which things happen to a plot."""
    return Random(seed + 1_000_000)  # noqa: S311  # the same seed gives the same order


def tell(seed: int, chances: Chances, *, timed: bool = False) -> Counter[str]:
    """Tell the story of a seed; gives what came of it."""
    story = Story(random_of(seed), chances)
    drawn = plot(seed, timed=timed)
    try:
        story.tell(drawn)
    except AssertionError as fault:
        raise AssertionError(f"seed {seed}: {fault}\n{drawn.raw}\n{drawn.behaviours}") from fault
    return story.told
