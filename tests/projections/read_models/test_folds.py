"""Every read model equals the fold of its facts, however they come in batches, and double deliveries change nothing."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct

from domain import asset, project, workflow
from domain.fact import Fact
from domain.runs import run
from domain.runs.run import Run
from projections.read_models.assets import AssetsProjection
from projections.read_models.assets_view import AssetsView
from projections.read_models.projects import ProjectsProjection
from projections.read_models.projects_view import ProjectsView
from projections.read_models.runs import RunsProjection
from projections.read_models.runs_view import RunsView
from projections.read_models.workflows import WorkflowsProjection
from projections.read_models.workflows_view import WorkflowsView
from projections.runtime.projection import Projection, Unfoldable
from projections.runtime.read_pool import ReadModels
from projections.settings import ProjectionSettings
from store.log.records import Recorded
from tests.support.projections import histories
from tests.support.projections.given import apply_facts, new_id, number_facts, open_read_models
from tests.support.store.given import WORKSPACE

View = ProjectsView | WorkflowsView | AssetsView | RunsView


class Kind(Struct, frozen=True):
    """One noun: its fold in the domain, its projection and its view."""

    initial: Any
    evolve: Callable[[Any, Any], Any]
    project: Callable[[int], Projection]
    view: Callable[[ReadModels], View]


PROJECTS = Kind(project.Project(), project.evolve, lambda n: ProjectsProjection(most_remembered=n), ProjectsView)
WORKFLOWS = Kind(workflow.Workflow(), workflow.evolve, lambda n: WorkflowsProjection(most_remembered=n), WorkflowsView)
ASSETS = Kind(asset.Asset(), asset.evolve, lambda n: AssetsProjection(most_remembered=n), AssetsView)
RUNS = Kind(Run(), run.evolve, lambda n: RunsProjection(most_remembered=n), RunsView)

laws = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


def batches(facts: list[Recorded], cuts: list[int]) -> list[list[Recorded]]:
    edges = sorted({0, *(cut for cut in cuts if cut < len(facts)), len(facts)})
    return [facts[start:end] for start, end in pairwise(edges)]


async def check(
    database: str, kind: Kind, history: Sequence[tuple[int, Fact]], cuts: list[int], remembered: int
) -> None:
    """Project a history in batches, each delivered twice, and compare every row with the domain's fold."""
    ids = [new_id() for _ in range(4)]
    facts = number_facts([(ids[stream], fact) for stream, fact in history])
    models = ReadModels(database, ProjectionSettings(readers=1))
    async with open_read_models(database) as connection, models.open():
        projection = kind.project(remembered)
        for batch in batches(facts, cuts):
            await apply_facts(connection, projection, batch)
            await apply_facts(connection, projection, batch)
        for stream in {event.stream_id for event in facts}:
            await compare(kind, kind.view(models), stream, [event for event in facts if event.stream_id == stream])


async def compare(kind: Kind, view: View, stream: UUID, facts: list[Recorded]) -> None:
    state = kind.initial
    for event in facts:
        state = kind.evolve(state, event.fact)
    seen = await view.get(WORKSPACE, stream)
    assert seen is not None
    assert seen.state == state
    assert (seen.version, seen.created_position, seen.position) == (
        len(facts),
        facts[0].position,
        facts[-1].position,
    )
    assert (seen.created_at, seen.updated_at) == (facts[0].recorded_at, facts[-1].recorded_at)


@laws
@given(
    histories.mix_streams(histories.project_facts, histories.project_facts), histories.cuts, st.sampled_from([1, 100])
)
async def test_projects_equal_their_fold(
    database: str, history: list[tuple[int, Fact]], cuts: list[int], remembered: int
) -> None:
    await check(database, PROJECTS, history, cuts, remembered)


@laws
@given(
    histories.mix_streams(histories.workflow_facts, histories.workflow_facts), histories.cuts, st.sampled_from([1, 100])
)
async def test_workflows_equal_their_fold(
    database: str, history: list[tuple[int, Fact]], cuts: list[int], remembered: int
) -> None:
    await check(database, WORKFLOWS, history, cuts, remembered)


@laws
@given(histories.mix_streams(histories.asset_facts, histories.asset_facts), histories.cuts, st.sampled_from([1, 100]))
async def test_assets_equal_their_fold(
    database: str, history: list[tuple[int, Fact]], cuts: list[int], remembered: int
) -> None:
    await check(database, ASSETS, history, cuts, remembered)


@laws
@given(histories.mix_streams(histories.run_starts, histories.run_facts), histories.cuts, st.sampled_from([1, 100]))
async def test_runs_equal_their_fold(
    database: str, history: list[tuple[int, Fact]], cuts: list[int], remembered: int
) -> None:
    await check(database, RUNS, history, cuts, remembered)


async def test_a_gap_in_a_stream_cannot_be_folded(database: str) -> None:
    stream = new_id()
    facts = number_facts([(stream, project.ProjectCreated(name=name, owner="ada")) for name in "abc"])
    async with open_read_models(database) as connection:
        with pytest.raises(Unfoldable, match="version 3 came after 1") as raised:
            await apply_facts(connection, ProjectsProjection(most_remembered=1), [facts[0], facts[2]])
    assert (raised.value.position, raised.value.workspace_id) == (3, WORKSPACE)


async def test_a_transaction_that_is_rolled_back_is_forgotten(database: str) -> None:
    stream = new_id()
    first, second = number_facts([(stream, project.ProjectCreated(name=name, owner="ada")) for name in "ab"])
    projection = ProjectsProjection(most_remembered=10)
    async with open_read_models(database) as connection:
        await apply_facts(connection, projection, [first])
        async with connection.transaction(force_rollback=True):
            await projection.apply(connection.cursor(binary=True), [second])
        projection.forget()
        await apply_facts(connection, projection, [second])
        cursor = await connection.execute("select version, name from projects")
        assert await cursor.fetchall() == [(2, "b")]


async def test_an_older_version_never_overwrites_a_newer_one(database: str) -> None:
    stream = new_id()
    facts = number_facts([(stream, project.ProjectCreated(name=name, owner="ada")) for name in "ab"])
    async with open_read_models(database) as connection:
        await apply_facts(connection, ProjectsProjection(most_remembered=10), facts)
        await apply_facts(connection, ProjectsProjection(most_remembered=10), facts[:1])
        cursor: psycopg.AsyncCursor[Any] = await connection.execute("select version, name from projects")
        assert await cursor.fetchall() == [(2, "b")]
