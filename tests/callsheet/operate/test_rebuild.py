"""`callsheet projections rebuild|prune`: what is answered, and exit codes that a script can rely on."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, LiteralString

import psycopg

from callsheet.wiring.projections import ALL_PROJECTIONS, PROJECTIONS, create_projections
from projections.runtime.worker import Worker
from tests.callsheet.test_dev import environ
from tests.support.callsheet.operate import migrate_database, project_with_names, run_callsheet, run_callsheet_json
from tests.support.projections.given import PROMPT_BOUNDS, open_harness, run_in_background
from tests.support.waiting import eventually

STRANGER = """
insert into projects
select gen_random_uuid(), workspace_id, project_id, version, position, created_position, created_at, updated_at, status,
       'x', document
  from projects
 limit 1
"""


def rows(database: str, query: LiteralString, *parameters: object) -> list[Any]:
    with psycopg.connect(database, autocommit=True) as connection:
        cursor = connection.execute(query, parameters)
        return cursor.fetchall() if cursor.description else []


def fold_log(database: str, *names: str) -> str:
    """Record projects and let a worker fold them; gives the database."""

    async def fold() -> None:
        async with open_harness(database) as harness:
            checkpoints = harness.create_checkpoints()
            worker = Worker(database, harness.feed, create_projections(ALL_PROJECTIONS), checkpoints, PROMPT_BOUNDS)
            async with run_in_background(worker.run()):
                head, _ = await harness.log.head()
                for name in PROJECTIONS:
                    await checkpoints.wait_for(name, head, 15)

    for name in names:
        project_with_names(migrate_database(database), name)
    asyncio.run(fold())
    rows(database, "update checkpoints set position = %s", len(names))
    return database


def test_a_rebuild_that_comes_to_the_same_exits_with_0(database: str) -> None:
    fold_log(database, "one", "two")
    answer = run_callsheet(database, "projections", "rebuild", "--all")
    assert answer.exit_code == 0, answer.output
    assert "The tables are swapped; the former ones are kept in the schema replaced_1 until" in " ".join(
        answer.stdout.split()
    )
    told = run_callsheet_json(database, "projections", "rebuild", "projects")
    assert (told["id"], told["same"], told["events"]) == (2, True, 2)
    tables = {table["table"]: table for table in told["projections"][0]["tables"]}
    projects = tables["projects"]
    assert (projects["rows_former"], projects["rows_new"]) == (2, 2)
    for table in tables.values():
        assert table["different"] == 0
        assert table["hash_former"] == table["hash_new"]


def test_a_rebuild_mends_rows_that_were_wrong_says_which_and_exits_with_3(database: str) -> None:
    fold_log(database, "one", "two", "three")
    rows(database, "update projects set name = 'wrong' where name = 'one'")
    rows(database, "delete from projects where name = 'two'")
    rows(database, STRANGER)
    answer = run_callsheet(database, "projections", "rebuild", "projects")
    assert answer.exit_code == 3, answer.output
    assert "differs in name" in answer.stdout
    assert "only before" in answer.stdout
    assert "only now" in answer.stdout
    assert rows(database, "select name from projects order by name") == [("one",), ("three",), ("two",)]
    assert rows(database, "select count(*) from replaced_1.projects where name in ('wrong', 'x')") == [(2,)]


def test_prune_drops_what_was_replaced_and_nothing_else(database: str) -> None:
    fold_log(database, "one")
    run_callsheet(database, "projections", "rebuild", "projects")
    run_callsheet(database, "projections", "rebuild", "runs", "tasks")
    told = run_callsheet_json(database, "projections", "prune")
    assert told == {"pruned": [{"id": 1, "projections": ["projects"]}, {"id": 2, "projections": ["runs", "tasks"]}]}
    assert rows(database, "select nspname from pg_namespace where nspname ~ '^(replaced|generation)_'") == []
    assert rows(database, "select name from projects") == [("one",)]
    assert run_callsheet(database, "projections", "prune").stdout == "No replaced tables are kept.\n"


def test_what_cannot_be_meant_exits_with_2(database: str) -> None:
    fold_log(database, "one")
    for arguments, message in (
        ((), "name the projections to rebuild"),
        (("rins",), "unknown projection 'rins'"),
        (("--resume",), "there is more than one unfinished rebuild"),
        (("runs", "--resume"), "there is no rebuild of these projections to resume"),
        (("runs", "--resume", "--abandon"), "cannot be combined"),
    ):
        answer = run_callsheet(database, "projections", "rebuild", *arguments)
        assert answer.exit_code == 2
        assert message in " ".join(answer.stderr.replace("│", " ").split())


def test_a_rebuild_that_is_told_to_stop_exits_with_4_and_is_resumed(database: str, tmp_path: Path) -> None:
    fold_log(database, *(str(number) for number in range(12)))
    for number in (signal.SIGINT, signal.SIGTERM):
        process = subprocess.Popen(
            [sys.executable, "-m", "callsheet", "projections", "rebuild", "projects", "--rate", "1"]
            + (["--resume"] if number == signal.SIGTERM else []),
            env=environ(database, tmp_path),
            stderr=subprocess.PIPE,
            text=True,
        )
        begun = 1 if number == signal.SIGINT else 4

        async def under_way(begun: int = begun) -> bool:
            return bool(rows(database, "select id from rebuilds where positions[1] >= %s", begun))

        asyncio.run(eventually(under_way, what="a few facts are folded", seconds=30))
        assert os.getpriority(os.PRIO_PROCESS, process.pid) > os.getpriority(os.PRIO_PROCESS, 0), "others come first"
        process.send_signal(number)
        _, told = process.communicate(timeout=30)
        assert (process.returncode, "--resume continues it" in told) == (4, True), told
    assert run_callsheet(database, "projections", "rebuild", "projects").exit_code == 2, (
        "it is resumed or abandoned, by decision"
    )
    answer = run_callsheet_json(database, "projections", "rebuild", "--resume")
    assert (answer["id"], answer["same"]) == (1, True)
    assert 0 < answer["events"] < 10


def test_a_rebuild_that_was_stopped_can_be_abandoned(database: str) -> None:
    fold_log(database, "one")
    rows(
        database,
        "insert into rebuilds (projections, positions, migrations, state) values ('{runs}', '{0}', 1, 'building')",
    )
    rows(database, "create schema generation_1")
    assert "were migrated after rebuild 1 began" in run_callsheet(database, "projections", "rebuild", "--resume").stderr
    assert run_callsheet_json(database, "projections", "rebuild", "--abandon") == {"abandoned": [1]}
    assert rows(database, "select nspname from pg_namespace where nspname ~ '^generation_'") == []
    assert run_callsheet(database, "projections", "rebuild", "runs").exit_code == 0
