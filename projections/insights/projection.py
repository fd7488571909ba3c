"""The insights projection: what happened in each hour and each day, by workflow, step and model."""

from collections.abc import Sequence
from typing import cast, get_args

from domain.fact import Fact
from domain.runs.facts import RunFact, RunRetried, RunStarted
from projections.insights.buckets import Buckets
from projections.insights.counting import Counting
from projections.read_models.run_timeline import RunCourse
from projections.read_models.run_timeline_cache import CourseMemory
from projections.runtime.projection import Cursor, Unfoldable
from store.log.records import Recorded

BUCKETS_PER_RUN = 2
"""How many buckets are remembered for each run that is."""


class InsightsProjection:
    """Counts the facts of runs."""

    name = "insights"
    tables = ("insight_buckets",)
    wants: frozenset[type[Fact]] = frozenset(get_args(RunFact))

    def __init__(self, *, most_remembered: int) -> None:
        """Make it; `most_remembered` runs are kept in memory between batches, and twice as many buckets."""
        self._courses = CourseMemory(self.name, most_remembered=most_remembered)
        self._buckets = Buckets(most_remembered=BUCKETS_PER_RUN * most_remembered)

    async def apply(self, cursor: Cursor, facts: Sequence[Recorded]) -> None:
        """Count facts and write the buckets that changed. Raises Unfoldable."""
        counting = Counting()
        for course, its in await self._courses.prepare(cursor, facts):
            counting.turn_to(course)
            for one in its:
                if one.version <= course.version:
                    continue
                try:
                    self._count(counting, course, one)
                except Exception as fault:
                    raise Unfoldable(one, repr(fault)) from fault
        self._courses.trim()
        if counting.news:
            await self._buckets.add(cursor, counting.news, counting.origins)

    def _count(self, counting: Counting, course: RunCourse, one: Recorded) -> None:
        fact = cast("RunFact", one.fact)
        # Before it has begun nothing is known of a run; of everything else the figures need what was before it.
        if type(fact) is RunStarted:
            self._courses.take(course, one)
            counting.count(fact, one.recorded_at)
        else:
            counting.count(fact, one.recorded_at)
            self._courses.take(course, one)
            if type(fact) is RunRetried:
                counting.turn_to(course)

    def forget(self) -> None:
        """Remember nothing."""
        self._courses.forget()
        self._buckets.forget()
