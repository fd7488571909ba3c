"""The hour in which a fact counts: its own, at any date, and whatever was counted before."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from domain.runs.facts import StepStarted
from projections.insights.buckets import HOUR, compute_bucket_start, compute_hour
from projections.insights.counting import Counting
from projections.timelines.run_timeline import RunTimeline

RUN = UUID(int=7)
LAST = datetime.max.replace(tzinfo=UTC)
FIRST = datetime.min.replace(tzinfo=UTC)
EVENING = datetime(2600, 5, 1, 12, 59, 59, 999_999, tzinfo=UTC)


def count_hours(*times: datetime) -> set[int]:
    counting = Counting()
    counting.select_run(RunTimeline(id=RUN, workspace_id=RUN, project_id=RUN))
    for at in times:
        started = StepStarted(node="a", attempt=1, executor="e", epoch=1, started_at=at)
        counting.count(started, at)
    return {hour for _, hour in counting.news}


@pytest.mark.parametrize("at", [FIRST, LAST, EVENING, datetime(1970, 1, 1, tzinfo=UTC)])
def test_a_fact_counts_in_the_hour_that_it_is_in(at: datetime) -> None:
    hour = at.replace(minute=0, second=0, microsecond=0)
    assert [compute_bucket_start(HOUR, hour_number) for hour_number in count_hours(at)] == [hour]
    assert compute_bucket_start(HOUR, compute_hour(at)) == hour


def test_the_end_of_an_hour_is_in_it_whatever_was_counted_before() -> None:
    before = EVENING - timedelta(minutes=5)
    assert count_hours(before, EVENING) == count_hours(EVENING, before) == count_hours(EVENING) == count_hours(before)
