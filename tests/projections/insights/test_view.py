"""A window is read in periods that cover each of its hours once, and long ones cost days and not hours."""

from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.json import encode

from projections.insights.buckets import DAY, HOUR
from projections.insights.figures import Window
from projections.insights.measures import Measures
from projections.insights.view import InsightsView, WindowTooLarge, split_window
from projections.runtime.read_pool import ReadModels
from projections.settings import ProjectionSettings
from tests.support.projections.given import open_read_models
from tests.support.projections.recommendations import PROJECT, WORKFLOW
from tests.support.store.given import WORKSPACE

MIDNIGHT: Final = datetime(2026, 5, 1, tzinfo=UTC)
NODES: Final = 10
FILL: Final = """
insert into insight_buckets
select %(project)s, %(grain)s, starts_at, 'step', %(workflow)s, 1, 'n' || node, '', 0, null, %(workspace)s, %(measures)s
  from generate_series(%(from)s, %(to)s - interval '1 second', make_interval(secs => %(grain)s)) as starts_at,
       generate_series(1, %(nodes)s) as node
"""


def create_window(start_hour: int, hours: int) -> Window:
    starts_at = MIDNIGHT + timedelta(hours=start_hour)
    return Window(starts_at=starts_at, ends_at=starts_at + timedelta(hours=hours))


@given(st.integers(0, 100), st.integers(1, 24 * 20))
def test_periods_cover_each_hour_of_a_window_and_of_its_past_once(start_hour: int, hours: int) -> None:
    window = create_window(start_hour, hours)
    for wanted_past, starts_at in ((False, window.starts_at), (True, window.starts_at - timedelta(hours=hours))):
        covered: list[datetime] = []
        for past, grain, start, end in split_window(window):
            if past is not wanted_past:
                continue
            assert grain == HOUR or (start.hour == end.hour == 0 and grain == DAY)
            covered += [start + timedelta(hours=n) for n in range(int((end - start).total_seconds()) // HOUR)]
        assert sorted(covered) == [starts_at + timedelta(hours=n) for n in range(hours)]


async def test_ninety_days_cost_their_days_and_add_up_as_their_hours_do(database: str) -> None:
    window = create_window(7, 90 * 24)
    models = ReadModels(database, ProjectionSettings(readers=1))
    async with open_read_models(database) as connection, models.open():
        for grain, each in ((HOUR, 1), (DAY, 24)):
            measures = Measures(started=each)
            for _ in range(each):
                measures.add_duration("duration", 1_000)
            await connection.execute(
                FILL,
                {
                    "project": PROJECT,
                    "grain": grain,
                    "workflow": WORKFLOW,
                    "workspace": WORKSPACE,
                    "measures": encode(measures.sort_keys()).decode(),
                    "from": MIDNIGHT - timedelta(days=100),
                    "to": MIDNIGHT + timedelta(days=100),
                    "nodes": NODES,
                },
            )
        edges, days = 2 * 24, 2 * 89
        figures = await InsightsView(models, most_buckets=(edges + days) * NODES).figures(WORKSPACE, PROJECT, window)
        with pytest.raises(WindowTooLarge):
            await InsightsView(models, most_buckets=100).figures(WORKSPACE, PROJECT, window)
        (workflow,) = figures.workflows.values()
    assert figures.steps.started == 90 * 24 * NODES
    assert {step.now.started for step in workflow.steps.values()} == {90 * 24}
    assert {step.past.started for step in workflow.steps.values()} == {90 * 24}
    assert figures.steps.duration is not None
    assert figures.steps.duration.count == 90 * 24 * NODES
