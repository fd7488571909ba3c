"""`callsheet projections parked`: list, retry and skip, each with its exit code."""

import asyncio
from typing import LiteralString

import psycopg
import pytest
from uuid_utils.compat import uuid7

from callsheet.operate.printing import ABSENT, ATTENTION
from domain.ids import from_uuid
from projections.read_models.projects import ProjectsProjection
from projections.runtime.commit import OwnedProjection
from projections.runtime.parking import load_state
from store.postgres.arrays import register
from store.postgres.connections import open_connection
from tests.support.callsheet.operate import migrate_database, project_with_names, run_callsheet, run_callsheet_json
from tests.support.store.given import WORKSPACE, open_log

NO_POISON = "alter table projects add constraint no_poison check (name <> 'poison')"
MENDED = "alter table projects drop constraint no_poison"
MANY = """
with parked_now as (
    insert into parked (projection, workspace_id, from_position, stream_id, version, topic, error, parked_at)
    select 'projects', gen_random_uuid(), 1, gen_random_uuid(), 1, 'a.topic', 'a test', now() - at * interval '1s'
      from generate_series(1, 1005) at
)
insert into checkpoints (projection) values ('projects')
"""
OURS = from_uuid("ws", WORKSPACE)


def execute_statement(database: str, statement: LiteralString) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(statement)


async def fold_projects(database: str) -> None:
    """Fold the whole log into the projects, as a worker does."""
    async with open_log(database) as log, open_connection(database) as connection:
        register(connection)
        projection = ProjectsProjection(most_remembered=10)
        owned = OwnedProjection(
            connection,
            projection,
            await load_state(connection, "projects"),
            commit_seconds=60,
            failpoint=lambda _point: None,
        )
        page = await log.read_log(after=owned.state.position, limit=1_000)
        await owned.commit(owned.filter.select(page.events, owned.state.position), page.through)


@pytest.fixture
def poisoned_database(database: str) -> str:
    """A database in which one workspace is parked in the projects, at position 3."""
    execute_statement(migrate_database(database), NO_POISON)
    project_with_names(database, "a", "b", "poison")
    project_with_names(database, "hers", workspace=uuid7())
    asyncio.run(fold_projects(database))
    return database


def test_what_is_parked_is_listed_and_shown(poisoned_database: str) -> None:
    listed = run_callsheet_json(poisoned_database, "projections", "parked", "list")
    (parked,) = listed["parked"]
    assert (parked["projection"], parked["workspace_id"], parked["topic"]) == ("projects", OURS, "project.renamed")
    assert "no_poison" in parked["error"]
    assert run_callsheet(poisoned_database, "projections", "parked", "list").exit_code == ATTENTION
    assert run_callsheet(poisoned_database, "projections", "parked", "list", "runs").exit_code == 0
    shown = run_callsheet(poisoned_database, "projections", "parked", "show", "projects", OURS)
    assert shown.exit_code == ATTENTION
    assert "parked" in shown.stdout
    assert run_callsheet(poisoned_database, "projections", "parked", "show", "runs", OURS).exit_code == ABSENT


def test_where_nothing_is_parked_a_sentence_says_so(database: str) -> None:
    parked = ("projections", "parked")
    listed = run_callsheet(migrate_database(database), *parked, "list")
    assert (listed.exit_code, listed.stdout) == (0, "Nothing is parked.\n")
    assert run_callsheet_json(database, *parked, "list") == {"parked": [], "skipped": [], "history": []}
    retried = run_callsheet(database, *parked, "retry", "projects")
    assert (retried.exit_code, retried.stdout) == (ABSENT, "Nothing is parked there: nothing to retry.\n")
    assert run_callsheet_json(database, *parked, "retry", "projects") == []
    shown = run_callsheet(database, *parked, "show", "projects", OURS)
    assert shown.exit_code == ABSENT
    assert "was never parked" in shown.stdout


def test_a_retry_says_whether_the_fault_is_mended(poisoned_database: str) -> None:
    (still,) = run_callsheet_json(poisoned_database, "projections", "parked", "retry", "projects", OURS)
    assert "no_poison" in still["error"]
    assert run_callsheet(poisoned_database, "projections", "parked", "retry", "projects").exit_code == ATTENTION
    execute_statement(poisoned_database, MENDED)
    (mended,) = run_callsheet_json(poisoned_database, "projections", "parked", "retry", "projects")
    assert (mended["error"], mended["workspace_id"]) == (None, OURS)
    assert run_callsheet(poisoned_database, "projections", "parked", "retry", "projects").exit_code == ABSENT
    assert run_callsheet(poisoned_database, "projections", "parked", "list").exit_code == 0


def test_only_the_fact_at_which_it_is_parked_can_be_skipped(poisoned_database: str) -> None:
    (projection,) = run_callsheet_json(poisoned_database, "projections", "parked", "list")["parked"]
    skip = ("projections", "parked", "skip", "projects", OURS, "--why", "a test", "--by", "ada", "--position")
    elsewhere = run_callsheet(poisoned_database, *skip, str(projection["from_position"] + 1))
    assert (elsewhere.exit_code, run_callsheet_json(poisoned_database, "projections", "parked", "list")["skipped"]) == (
        ABSENT,
        [],
    )
    assert run_callsheet(poisoned_database, *skip, str(projection["from_position"])).exit_code == 0
    (skipped,) = run_callsheet_json(poisoned_database, "projections", "parked", "list")["skipped"]
    assert (skipped["skipped_by"], skipped["why"], skipped["rest_of_stream"]) == ("ada", "a test", False)
    shown = run_callsheet_json(poisoned_database, "projections", "parked", "show", "projects", OURS)
    assert [row["happened"] for row in shown["history"]] == ["unparked", "retried", "skipped", "parked"]


def test_a_retry_takes_up_every_workspace_however_many_are_parked(database: str) -> None:
    execute_statement(migrate_database(database), MANY)
    assert "counts them all" in run_callsheet(database, "projections", "parked", "list").stdout
    found = run_callsheet_json(database, "projections", "parked", "retry", "projects")
    assert len({row["workspace_id"] for row in found}) == 1_005
    assert run_callsheet_json(database, "projections", "parked", "list") == {"parked": [], "skipped": [], "history": []}
