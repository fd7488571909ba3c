"""The history of a project is its part of the log, in order; filters narrow it and pages cover it."""

from datetime import timedelta

import pytest

from domain.project import ProjectCreated, ProjectRenamed
from projections.read_models import history_view
from projections.read_models.history import HistoryProjection
from projections.read_models.history_view import HistoryFilters, HistoryView
from projections.runtime.read_pool import ReadModels
from projections.settings import ProjectionSettings
from store.log.records import Page
from tests.support.projections.given import NOW, apply_facts, new_id, number_facts, open_read_models
from tests.support.projections.run_histories import write_log
from tests.support.store.given import WORKSPACE, drop_weights

HERE, THERE = new_id(), new_id()


async def test_a_history_is_the_projects_part_of_the_log(database: str) -> None:
    facts = number_facts(
        [
            (stream, ProjectRenamed(name=str(number)) if number > 1 else ProjectCreated(name="p", owner="ada"))
            for number in range(6)
            for stream in (HERE, THERE)
        ]
    )
    models = ReadModels(database, ProjectionSettings(readers=1))
    async with open_read_models(database) as connection, models.open():
        await write_log(connection, facts)
        await apply_facts(connection, HistoryProjection(), facts)
        await apply_facts(connection, HistoryProjection(), facts)
        view = HistoryView(models)
        whole = await view.page(WORKSPACE, HERE, after=0, limit=100)
        assert drop_weights(whole.events) == drop_weights(event for event in facts if event.stream_id == HERE)
        assert (await view.page(new_id(), HERE, after=0, limit=100)).events == ()
        pages: list[Page] = [await view.page(WORKSPACE, HERE, after=0, limit=2)]
        while pages[-1].events:
            pages.append(await view.page(WORKSPACE, HERE, after=pages[-1].through, limit=2))
        assert [event for page in pages for event in page.events] == list(whole.events)
        renamed = HistoryFilters(topics=("project.renamed",), stream_id=HERE, actor_id="ada", since=NOW)
        found = await view.page(WORKSPACE, HERE, after=0, limit=100, only=renamed)
        assert list(found.events) == [event for event in whole.events if isinstance(event.fact, ProjectRenamed)]
        for nothing in (
            HistoryFilters(topics=("run.started",)),
            HistoryFilters(stream_id=THERE),
            HistoryFilters(actor_id="bob"),
            HistoryFilters(since=NOW + timedelta(seconds=1)),
            HistoryFilters(until=NOW),
        ):
            assert (await view.page(WORKSPACE, HERE, after=0, limit=100, only=nothing)).events == ()


async def test_a_rare_filter_looks_so_far_and_says_how_far(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_view, "SEARCHED_MAX", 3)  # so that a short history is a long one
    facts = number_facts([(HERE, ProjectRenamed(name=str(number))) for number in range(7)])
    models = ReadModels(database, ProjectionSettings(readers=1))
    async with open_read_models(database) as connection, models.open():
        await write_log(connection, facts)
        await apply_facts(connection, HistoryProjection(), facts)
        view, rare = HistoryView(models), HistoryFilters(topics=("run.started",))
        found = [await view.page(WORKSPACE, HERE, after=after, limit=5, only=rare) for after in (0, 3, 6, 7)]
        assert [(page.events, page.through) for page in found] == [((), 3), ((), 6), ((), 7), ((), 7)]
