"""Parking: a fact that cannot be folded sets its workspace aside in that projection, and nothing and nobody else."""

from collections.abc import Sequence
from uuid import UUID

import psycopg
import pytest
from msgspec.structs import replace

from bus.feed import Feed
from bus.settings import FeedSettings
from domain.project import ProjectCreated, ProjectRenamed
from projections.parked.queries import history_rows, skipped_rows
from projections.parked.retry import NotParked, Retried, Retry
from projections.parked.skip import ParkedElsewhere, Skip, skip
from projections.read_models.projects import ProjectsProjection
from projections.read_models.timers import TimersProjection
from projections.runtime.checkpoints import ProjectionParked
from projections.runtime.commit import OwnedProjection
from projections.runtime.parking import load_state
from projections.runtime.projection import Cursor, Projection, Unfoldable
from projections.runtime.worker import Worker
from projections.settings import ProjectionSettings
from store.log.records import Recorded
from store.postgres.arrays import register
from store.postgres.connections import open_connection
from tests.support.projections.given import (
    PROMPT_BOUNDS,
    WAIT_SECONDS,
    Harness,
    Picky,
    Tally,
    new_id,
    open_harness,
    read_tally,
    run_in_background,
)
from tests.support.store.given import WORKSPACE

SMALL = ProjectionSettings(batch_events=3)
OTHER = UUID("0192f000-0000-7000-8000-00000000000b")


async def append_names(harness: Harness, names: str, *, workspace: UUID = WORKSPACE) -> list[Recorded]:
    """Append a project with one name after another, a letter each."""
    facts = [ProjectCreated(name="-", owner="ada"), *(ProjectRenamed(name=name) for name in names)]
    return list(await harness.append_facts(new_id(), *facts, workspace=workspace))


async def read_parked(harness: Harness) -> list[tuple[object, ...]]:
    return await harness.models.rows("select projection, workspace_id, from_position, topic, error from parked", {})


async def test_poison_parks_its_workspace_and_the_others_go_on(database: str) -> None:
    async with open_harness(database) as harness:
        checkpoints = harness.create_checkpoints()
        async with run_in_background(harness.create_worker(checkpoints, Picky("x"), Tally()).run()):
            poison = (await append_names(harness, "abxc"))[3]
            last = (await append_names(harness, "abc", workspace=OTHER))[-1].position
            await checkpoints.wait_for("picky", last, WAIT_SECONDS, workspace_id=OTHER)
            await checkpoints.wait_for("tally", last, WAIT_SECONDS, workspace_id=WORKSPACE)
            with pytest.raises(ProjectionParked):
                await checkpoints.wait_for("picky", poison.position, WAIT_SECONDS, workspace_id=WORKSPACE)
            await checkpoints.wait_for("picky", poison.position - 1, WAIT_SECONDS, workspace_id=WORKSPACE)
        assert await read_parked(harness) == [
            ("picky", WORKSPACE, poison.position, "project.renamed", "it is not to its taste"),
        ]
        assert await read_tally(harness) == 9


class Fussy(ProjectsProjection):
    """Folds projects and fails on some names; a test may change these, as a new version of the code would."""

    name = "projects"

    def __init__(self, cannot: set[str]) -> None:
        """Create the projection; it fails on the names in `cannot`."""
        super().__init__(most_remembered=2)
        self.cannot = cannot

    async def apply(self, cursor: Cursor, facts: Sequence[Recorded]) -> None:
        for event in facts:
            if isinstance(event.fact, ProjectRenamed) and event.fact.name in self.cannot:
                raise ValueError(event.fact.name)
        await super().apply(cursor, facts)


async def retry_workspace(harness: Harness, projection: Projection, workspace: UUID = WORKSPACE) -> Retried:
    async with open_connection(harness.conninfo) as connection:
        return await Retry(connection, projection, workspace, SMALL, stretch_positions=4).run("ada")


async def read_names(harness: Harness) -> set[str]:
    return {row[0] for row in await harness.models.rows("select name from projects", {})}


async def test_a_retry_folds_what_was_parked_while_the_others_go_on(database: str) -> None:
    async with open_harness(database) as harness:
        checkpoints = harness.create_checkpoints()
        async with run_in_background(harness.create_worker(checkpoints, Fussy({"x"})).run()):
            await append_names(harness, "abxcdefgh")
            last = (await append_names(harness, "ij"))[-1].position
            other = (await append_names(harness, "z", workspace=OTHER))[-1].position
            await checkpoints.wait_for("projects", other, WAIT_SECONDS, workspace_id=OTHER)
            assert await read_names(harness) == {"b", "z"}, "what came before is there"
            still = await retry_workspace(harness, Fussy({"e"}))
            assert still.error == "ValueError('e')"
            assert await read_names(harness) == {"d", "z"}
            assert [row[2] for row in await read_parked(harness)] == [still.position]
            with pytest.raises(ProjectionParked):
                await checkpoints.wait_for("projects", last, WAIT_SECONDS, workspace_id=WORKSPACE)
            mended = await retry_workspace(harness, Fussy(set()))
            assert mended.error is None
            await checkpoints.wait_for("projects", last, WAIT_SECONDS, workspace_id=WORKSPACE)
            assert await read_names(harness) == {"h", "j", "z"}
            assert await read_parked(harness) == []
            with pytest.raises(NotParked):
                await retry_workspace(harness, Fussy(set()))
            again = (await append_names(harness, "k"))[-1].position
            await checkpoints.wait_for("projects", again, WAIT_SECONDS, workspace_id=WORKSPACE)
            assert await read_names(harness) == {"h", "j", "z", "k"}, "it goes on with the others"


async def test_what_a_person_skips_is_left_out_and_its_stream_goes_on(database: str) -> None:
    async with open_harness(database) as harness:
        checkpoints = harness.create_checkpoints()
        async with run_in_background(harness.create_worker(checkpoints, Fussy({"x"})).run()):
            facts = await append_names(harness, "abxc")
            await checkpoints.wait_for("projects", facts[-1].position, WAIT_SECONDS)
            said = Skip(
                projection="projects",
                workspace_id=WORKSPACE,
                position=facts[3].position,
                rest_of_stream=False,
                by="ada",
                why="a test",
            )
            async with open_connection(harness.conninfo) as connection:
                with pytest.raises(ParkedElsewhere):
                    await skip(connection, replace(said, position=facts[2].position))
                await skip(connection, said)
            assert (await retry_workspace(harness, Fussy({"x"}))).error is None
            await checkpoints.wait_for("projects", facts[-1].position, WAIT_SECONDS, workspace_id=WORKSPACE)
            assert await read_names(harness) == {"c"}
            assert await harness.models.rows("select version from projects", {}) == [(5,)]
            (later,) = await harness.append_facts(facts[0].stream_id, ProjectRenamed(name="d"), after=5)
            await checkpoints.wait_for("projects", later.position, WAIT_SECONDS, workspace_id=WORKSPACE)
            assert await read_names(harness) == {"d"}
        async with open_connection(harness.conninfo) as connection:
            (skipped,) = await skipped_rows(connection)
            history = await history_rows(connection, "projects", WORKSPACE)
        assert (skipped.position, skipped.skipped_by, skipped.why) == (facts[3].position, "ada", "a test")
        assert [entry.happened for entry in history] == ["unparked", "retried", "skipped", "parked"]


async def test_after_the_first_fact_the_rest_of_a_stream_is_left_out(database: str) -> None:
    async with open_harness(database) as harness:
        checkpoints = harness.create_checkpoints()
        async with harness.models.connection() as connection:
            await connection.execute("alter table projects add constraint no_dash check (name <> '-')")
        async with run_in_background(harness.create_worker(checkpoints, ProjectsProjection(most_remembered=2)).run()):
            (first,) = await harness.append_facts(new_id(), ProjectCreated(name="-", owner="ada"))
            last = (await append_names(harness, "a"))[-1].position
            await checkpoints.wait_for("projects", last, WAIT_SECONDS)
            assert [row[4] for row in await read_parked(harness)] == [
                'new row for relation "projects" violates check constraint "no_dash"'
            ]
            said = Skip(
                projection="projects",
                workspace_id=WORKSPACE,
                position=first.position,
                rest_of_stream=False,
                by="ada",
                why="a test",
            )
            async with open_connection(harness.conninfo) as connection:
                await skip(connection, said)
            assert (await retry_workspace(harness, ProjectsProjection(most_remembered=2))).error is None
            await checkpoints.wait_for("projects", last, WAIT_SECONDS, workspace_id=WORKSPACE)
            assert await read_names(harness) == {"a"}
            (later,) = await harness.append_facts(first.stream_id, ProjectRenamed(name="b"), after=1)
            await checkpoints.wait_for("projects", later.position, WAIT_SECONDS, workspace_id=WORKSPACE)
            assert await read_names(harness) == {"a"}


async def test_an_event_that_cannot_be_read_parks_its_workspace_in_those_that_want_it(database: str) -> None:
    async with open_harness(database) as harness:
        checkpoints = harness.create_checkpoints()
        facts = await append_names(harness, "ab")
        last = (await append_names(harness, "z", workspace=OTHER))[-1].position
        async with harness.models.connection() as connection:
            await connection.execute(
                "update events set state = 'not JSON' where notification_id = %s", [facts[1].position]
            )
        feed = Feed(harness.log, FeedSettings(poll_seconds=0.05))  # one that has not seen the event
        worker = Worker(
            database,
            feed,
            [ProjectsProjection(most_remembered=2), Tally(), TimersProjection()],
            checkpoints,
            PROMPT_BOUNDS,
        )
        async with run_in_background(feed.run()), run_in_background(worker.run()):
            await checkpoints.wait_for("projects", last, WAIT_SECONDS, workspace_id=OTHER)
            for projection in ("projects", "tally"):
                await checkpoints.wait_for(projection, last, WAIT_SECONDS)
                with pytest.raises(ProjectionParked):
                    await checkpoints.wait_for(projection, last, WAIT_SECONDS, workspace_id=WORKSPACE)
            await checkpoints.wait_for("timers", last, WAIT_SECONDS, workspace_id=WORKSPACE)
        assert sorted((row[0], row[2]) for row in await read_parked(harness)) == [
            ("projects", facts[1].position),
            ("tally", facts[1].position),
        ]


class Weighed(ProjectsProjection):
    """Folds projects, and counts how many facts it was given, however often."""

    given = 0

    async def apply(self, cursor: Cursor, facts: Sequence[Recorded]) -> None:
        self.given += len(facts)
        await super().apply(cursor, facts)


async def test_many_facts_of_one_batch_that_postgresql_refuses_cost_a_few_tries_each(database: str) -> None:
    """By halves of the whole batch, from the start for each, 1,000 of 2,000 facts took a minute."""
    pairs = 100
    async with open_harness(database) as harness, open_connection(harness.conninfo) as connection:
        register(connection)
        await connection.execute("alter table projects add constraint no_poison check (name <> 'x')")
        for _ in range(pairs):
            await harness.append_facts(new_id(), ProjectCreated(name="a", owner="ada"), workspace=new_id())
            await harness.append_facts(new_id(), ProjectCreated(name="x", owner="ada"), workspace=new_id())
        projection = Weighed(most_remembered=pairs)
        state = await load_state(connection, projection.name)
        owned = OwnedProjection(connection, projection, state, commit_seconds=60, failpoint=lambda _point: None)
        page = await harness.log.read_log(after=0, limit=2 * pairs)
        await owned.commit(owned.filter.select(page.events, 0), page.through)
        assert (owned.state.position, len(owned.state.parked)) == (page.through, pairs)
        assert await read_names(harness) == {"a"}
        assert len(await read_parked(harness)) == pairs
    search_in_the_whole_batch = 2 * len(page.events)
    assert projection.given <= len(page.events) + search_in_the_whole_batch + 6 * pairs


class Naming(ProjectsProjection):
    """Folds projects, and names the fact that it cannot fold before PostgreSQL is asked."""

    async def apply(self, cursor: Cursor, facts: Sequence[Recorded]) -> None:
        for event in facts:
            if isinstance(event.fact, ProjectRenamed) and event.fact.name == "x":
                raise Unfoldable(event, "it is not to its taste")
        await super().apply(cursor, facts)


async def test_an_earlier_fact_that_postgresql_refuses_is_parked_before_one_that_the_projection_names(
    database: str,
) -> None:
    async with open_harness(database) as harness:
        with psycopg.connect(harness.conninfo, autocommit=True) as changing:
            changing.execute("alter table projects add constraint no_poison check (name <> 'p')")
        poison = (await append_names(harness, "ap"))[2]
        refused = (await append_names(harness, "ax", workspace=OTHER))[2]
        last = (await append_names(harness, "abc", workspace=new_id()))[-1].position
        checkpoints = harness.create_checkpoints()
        async with run_in_background(harness.create_worker(checkpoints, Naming(most_remembered=2)).run()):
            await checkpoints.wait_for("projects", last, WAIT_SECONDS)
        assert [row[1:3] for row in sorted(await read_parked(harness), key=lambda row: str(row[2]))] == [
            (WORKSPACE, poison.position),
            (OTHER, refused.position),
        ]
        assert await read_names(harness) == {"a", "c"}
