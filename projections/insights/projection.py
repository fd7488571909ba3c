"""The insights projection: measures per hour and per day, by workflow, step and model."""

from collections.abc import Sequence
from typing import cast, get_args

from domain.fact import Fact
from domain.runs.facts import RunFact, RunRetried, RunStarted
from projections.insights.buckets import Buckets
from projections.insights.counting import Counting
from projections.runtime.folding import BYTES_REMEMBERED
from projections.runtime.projection import Cursor, Unfoldable
from projections.timelines.run_timeline import RunTimeline
from projections.timelines.run_timeline_cache import RunTimelineCache
from store.log.records import Recorded

BUCKETS_PER_RUN = 2
"""Cached buckets per cached run."""
BYTES_PER_BUCKET = 4_096
"""Memory of a bucket with the sketch of its durations."""


class InsightsProjection:
    """Counts the facts of runs."""

    name = "insights"
    tables = ("insight_buckets",)
    wants: frozenset[type[Fact]] = frozenset(get_args(RunFact))

    def __init__(self, *, most_remembered: int, bytes_remembered: int = BYTES_REMEMBERED) -> None:
        """Create the projection; it caches `most_remembered` runs and twice as many buckets between batches."""
        self._timelines = RunTimelineCache(
            self.name, most_remembered=most_remembered, bytes_remembered=bytes_remembered // 2
        )
        buckets = min(BUCKETS_PER_RUN * most_remembered, bytes_remembered // 2 // BYTES_PER_BUCKET)
        self._buckets = Buckets(most_remembered=max(1, buckets))

    async def apply(self, cursor: Cursor, facts: Sequence[Recorded]) -> None:
        """Count facts and write the buckets that changed. Raises Unfoldable."""
        counting = Counting()
        for timeline, events in await self._timelines.prepare(cursor, facts):
            counting.select_run(timeline)
            for event in events:
                if event.version <= timeline.version:
                    continue
                try:
                    self._count(counting, timeline, event)
                except Exception as fault:
                    raise Unfoldable(event, repr(fault)) from fault
        self._timelines.trim()
        if counting.news:
            await self._buckets.add(cursor, counting.news, counting.origins)

    def _count(self, counting: Counting, timeline: RunTimeline, event: Recorded) -> None:
        fact = cast("RunFact", event.fact)
        # A start is counted after it is folded: before, nothing is known of the run. Other facts need the state before.
        if type(fact) is RunStarted:
            self._timelines.apply(timeline, event)
            counting.count(fact, event.recorded_at)
        else:
            counting.count(fact, event.recorded_at)
            self._timelines.apply(timeline, event)
            if type(fact) is RunRetried:
                counting.select_run(timeline)

    def forget(self) -> None:
        """Clear the caches."""
        self._timelines.forget()
        self._buckets.forget()
