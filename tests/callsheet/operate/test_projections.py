"""`callsheet projections list|status`: how far each is, who moves it, and exit codes that a script can rely on."""

import asyncio
import os
import re
import socket
from pathlib import Path

import psycopg

from callsheet.wiring.projections import PROJECTIONS
from projections.runtime.status import label_session, read_projection_statuses
from store.postgres.connections import open_connection
from store.postgres.lock_status import name_session
from tests.support.callsheet.operate import migrate_database, project_with_names, run_callsheet, run_callsheet_json
from tests.support.callsheet.separate_processes import apart
from tests.support.waiting import eventually

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


def execute_statement(database: str, statement: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(statement.encode())


def test_a_database_that_is_away_is_said_with_exit_code_2() -> None:
    answer = run_callsheet(NOWHERE, "projections", "status")
    assert answer.exit_code == 2
    assert "callsheet: the database cannot be reached: " in answer.stderr


def test_a_database_that_cannot_be_read_as_one_is_said_without_its_password() -> None:
    answer = run_callsheet("postgres//ana:hunter2@host", "projections", "list")
    assert answer.exit_code == 2
    assert "neither a URL nor a connection string" in answer.stderr
    assert "hunter2" not in answer.stderr


def test_an_older_schema_is_not_migrated_but_said(database: str) -> None:
    answer = run_callsheet(database, "projections", "list")
    assert answer.exit_code == 2
    assert re.search("callsheet: the database lacks migration 1 of [a-z]+: run `callsheet migrate`", answer.stderr)


def test_a_newer_schema_is_said(database: str) -> None:
    execute_statement(
        migrate_database(database), "insert into schema_migrations values ('projections', 9999, 'later', 'x')"
    )
    answer = run_callsheet(database, "projections", "status")
    assert answer.exit_code == 2
    assert "newer than this Callsheet knows" in answer.stderr


def test_a_name_that_is_none_is_said_with_those_that_are(database: str) -> None:
    answer = run_callsheet(database, "projections", "status", "rins")
    assert answer.exit_code == 2
    assert "unknown projection 'rins'. Supported: projects, workflows," in " ".join(
        answer.stderr.replace("│", " ").split()
    )


def test_where_nobody_follows_the_whole_log_is_behind(database: str) -> None:
    project_with_names(migrate_database(database), "one", "two", "three")
    told = run_callsheet_json(database, "projections", "status", "projects")
    assert (told["head"], told["healthy"]) == (3, False)
    (status,) = told["projections"]
    assert status["attention"] == ["nobody follows"]
    assert (status["standing"]["position"], status["standing"]["lag_events"]) == (0, 3)
    assert status["standing"]["lag_seconds"] > 0
    assert run_callsheet(database, "projections", "status").exit_code == 3


def test_the_age_of_the_first_fact_not_folded_is_the_lag(database: str) -> None:
    project_with_names(migrate_database(database), "one", "two", "three")
    execute_statement(database, "update events set recorded_at = now() - interval '1 hour' where notification_id = 3")
    execute_statement(
        database,
        "insert into checkpoints (projection, position, generation) values ('projects', 2, 0), ('runs', 3, 7)",
    )
    behind = run_callsheet_json(database, "projections", "status", "projects", "runs")["projections"]
    assert [projection["standing"]["lag_events"] for projection in behind] == [1, 0]
    assert [projection["standing"]["generation"] for projection in behind] == [0, 7]
    assert 3_600 <= behind[0]["standing"]["lag_seconds"] < 3_700
    assert behind[0]["attention"] == ["nobody follows", "over 10.0 s behind"]
    assert behind[1]["standing"]["lag_seconds"] == 0
    within = run_callsheet_json(database, "projections", "status", "projects", "--lag-seconds-max", "7200")[
        "projections"
    ]
    assert within[0]["attention"] == ["nobody follows"]


def test_the_worker_that_follows_is_named_and_another_stands_by(database: str, tmp_path: Path) -> None:
    with apart(database, tmp_path, "project") as first, apart(database, tmp_path, "project"):

        async def both() -> bool:
            async with open_connection(database) as connection:
                found = await read_projection_statuses(connection)
            return all(found.get(name).followed_by and found.get(name).standing_by == 1 for name in PROJECTIONS)

        asyncio.run(eventually(both, what="one worker has each projection and one stands by", seconds=30))
        told = run_callsheet_json(database, "projections", "status")
        workers = {projection["standing"]["followed_by"]["process"] for projection in told["projections"]}
        assert any(worker.startswith(f"{first.process.pid}.{socket.gethostname()[:5]}") for worker in workers)
        assert told["healthy"] is True
        answer = run_callsheet(database, "projections", "status")
        assert answer.exit_code == 0
        assert "The log ends at position 0." in answer.stdout
        assert all(name in answer.stdout for name in PROJECTIONS)


def test_the_list_names_what_each_folds_and_what_another_version_left(database: str) -> None:
    execute_statement(
        migrate_database(database), "insert into checkpoints (projection, position) values ('gone', 7), ('runs', 5)"
    )
    listed = {projection["name"]: projection for projection in run_callsheet_json(database, "projections", "list")}
    assert list(listed) == [*PROJECTIONS, "gone"]
    assert (listed["runs"]["known"], listed["runs"]["position"]) == (True, 5)
    assert "runs" in listed["runs"]["tables"]
    assert "run.started" in listed["runs"]["topics"]
    assert (listed["gone"]["known"], listed["gone"]["position"]) == (False, 7)
    answer = run_callsheet(database, "projections", "list")
    assert answer.exit_code == 0
    assert "gone (of another version)" in answer.stdout


def test_a_process_is_still_known_where_its_name_is_long() -> None:
    assert name_session(label_session("x" * 20)).startswith(f"callsheet-projection-{'x' * 20}@{os.getpid()}.")
    assert len(name_session(label_session("x" * 20))) <= 63


def test_a_worker_of_some_projections_leaves_the_others_alone(database: str, tmp_path: Path) -> None:
    project_with_names(migrate_database(database), "one")
    with apart(database, tmp_path, "project", "projects", "timers"):

        async def is_followed() -> bool:
            async with open_connection(database) as connection:
                found = await read_projection_statuses(connection)
            return {name for name in PROJECTIONS if found.get(name).followed_by} == {"projects", "timers"}

        asyncio.run(eventually(is_followed, what="the two that were named are followed, and no other", seconds=30))
    refused = run_callsheet(database, "project", "projects", "nothing")
    assert refused.exit_code == 2
    assert "unknown projection 'nothing'. Supported: projects" in refused.stderr.replace("\n", " ")
