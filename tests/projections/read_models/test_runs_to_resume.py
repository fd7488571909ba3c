"""The columns by which an engine finds runs to resume: existing rows get what the projection writes today."""

from typing import Any, Final
from uuid import uuid4

import msgspec
import psycopg

from domain.runs.run import Run, RunStatus, evolve
from store.postgres.migrations import Migration, list_migrations
from tests.support.engine.golden.histories import HISTORIES, History, read_facts
from tests.support.servers.postgres import EVERY_POSTGRES

COLUMNS: Final = "runs_to_resume.sql"

INSERT: Final = """
insert into runs (id, workspace_id, project_id, workflow_id, version, position, created_position, created_at,
                  updated_at, status, document)
values (%s, gen_random_uuid(), null, gen_random_uuid(), 1, 1, 1, now(), now(), %s, %s)
"""
"""Write a run as the projection did before the columns existed."""

SELECT: Final = "select id, cancel_requested, waits_for_children from runs"


def list_states() -> list[Run]:
    """Return every state that the runs of the golden histories were in."""
    states: list[Run] = []
    for path in sorted(HISTORIES.glob("*.json")):
        run = Run()
        for fact in read_facts(msgspec.json.decode(path.read_bytes(), type=History)):
            run = evolve(run, fact)
            states.append(run)
    return states


def apply(connection: psycopg.Connection[tuple[Any, ...]], migrations: list[Migration]) -> None:
    for migration in migrations:
        connection.execute(migration.sql.encode())


@EVERY_POSTGRES
def test_the_migration_fills_the_columns_of_existing_runs(empty_database: str) -> None:
    migrations = list_migrations("projections")
    [number] = [each.number for each in migrations if f"{each.name}.sql" == COLUMNS]
    states = {uuid4(): state for state in list_states()}
    with psycopg.connect(empty_database, autocommit=True) as connection:
        apply(connection, [each for each in migrations if each.number < number])
        for run_id, state in states.items():
            connection.execute(INSERT, [run_id, state.status, msgspec.json.encode(state).decode()])
        apply(connection, [each for each in migrations if each.number >= number])
        rows = connection.execute(SELECT).fetchall()
    assert {row[0]: row[1:] for row in rows} == {
        run_id: (state.cancel_requested, state.waits_for_children) for run_id, state in states.items()
    }


def test_the_golden_histories_have_runs_of_every_kind_to_resume() -> None:
    states = list_states()
    assert any(state.waits_for_children and state.status is RunStatus.WAITING for state in states)
    assert any(state.cancel_requested and not state.has_ended for state in states)
    assert any(state.cancel_requested and state.has_ended for state in states)
