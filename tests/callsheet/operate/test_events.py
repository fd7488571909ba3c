"""`callsheet events tail|show`: the log in order and whole, also what cannot be read, and following until Ctrl-C."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import psycopg
from uuid_utils.compat import uuid7

from domain.graphs.graph import ErrorClass
from domain.ids import from_uuid
from domain.payload import Payload
from domain.runs.facts import Pins, RunFailed, RunStarted, StepError, StepFailed
from store.contents import PostgresContents
from store.log.raw_reads import POSITIONS_MAX
from tests.support.callsheet.operate import (
    answered_lines,
    migrate_database,
    project_with_names,
    record_events,
    run_callsheet,
)
from tests.support.projections.given import NOW
from tests.support.store.given import WORKSPACE, open_log

OTHER_WORKSPACE = UUID("0192f000-0000-7000-8000-000000000002")
ZONE = """
do $$ begin execute format('alter database %%I set timezone to %%L', current_database(), 'Asia/Kolkata'); end $$
"""
NO_ZONE = "do $$ begin execute format('alter database %%I reset timezone', current_database()); end $$"
UNREADABLE = 'update events set state = \'{"fact": "project.renamed", "name": 7}\' where notification_id = %s'


def positions(lines: list[dict[str, Any]]) -> list[int]:
    return [int(line["position"]) for line in lines]


def names(lines: list[dict[str, Any]]) -> list[str]:
    return [line["data"]["name"] for line in lines]


def execute_statement(database: str, statement: str, *parameters: object) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(statement.encode(), parameters)


@contextmanager
def following(database: str, *arguments: str) -> Generator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "callsheet", "events", "tail", "--follow", *arguments],
        env={**os.environ, "DATABASE_URL": database},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_the_last_ones_come_in_order(database: str) -> None:
    project = project_with_names(migrate_database(database), "a", "b", "c", "d")
    lines = answered_lines(database, "events", "tail", "--last", "2")
    assert (positions(lines), names(lines)) == ([3, 4], ["c", "d"])
    assert lines[0]["subject"] == from_uuid("prj", project)
    assert lines[0]["specversion"] == "1.0"


def test_all_of_the_log_comes_once_and_in_order_from_a_position_on(database: str) -> None:
    project_with_names(migrate_database(database), *(str(number) for number in range(450)))
    lines = answered_lines(database, "events", "tail", "--from", "3")
    assert positions(lines) == list(range(3, 451))
    assert positions(answered_lines(database, "events", "tail", "--from", "3", "--limit", "201")) == list(range(3, 204))


def test_so_many_from_a_position_on_are_given_and_no_more(database: str) -> None:
    project_with_names(migrate_database(database), *(str(number) for number in range(300)))
    tail = ("events", "tail", "--from", "3")
    assert positions(answered_lines(database, *tail, "-n", "2")) == [3, 4]
    assert positions(answered_lines(database, *tail, "-n", "250")) == list(range(3, 253))
    assert positions(answered_lines(database, *tail, "-n", "5", "--limit", "2")) == [3, 4]
    assert positions(answered_lines(database, *tail, "-n", "2", "--limit", "5")) == [3, 4]
    assert answered_lines(database, *tail, "-n", "0") == []
    assert len(answered_lines(database, "events", "tail")) == 20


def test_where_there_is_nothing_to_show_a_person_is_told_so_and_a_program_gets_no_line(database: str) -> None:
    project_with_names(migrate_database(database), "a", "b")
    nothing = run_callsheet(database, "events", "tail", "--topic", "run.*")
    assert (nothing.stdout, nothing.stderr) == ("", "callsheet: no event to show; the log ends at 2\n")
    beyond = run_callsheet(database, "events", "tail", "--from", "7", "--json")
    assert (beyond.exit_code, beyond.stdout, beyond.stderr) == (0, "", "")


def test_following_so_many_from_a_position_on_waits_for_them_and_ends(database: str) -> None:
    project_with_names(migrate_database(database), "a", "b", "c")
    with following(database, "--from", "3", "-n", "2", "--json") as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["data"]["name"] == "c"
        project_with_names(database, "d", "e")
        stdout, stderr = process.communicate(timeout=20)
        assert (process.returncode, stderr) == (0, "")
        assert [json.loads(line)["data"]["name"] for line in stdout.splitlines()] == ["d"]


def test_a_line_of_a_failure_says_why_and_show_says_it_in_full(database: str) -> None:
    message = "Liquid: inputs.product is undefined, " + "and so on " * 40
    error = StepError(error_class=ErrorClass.EXPRESSION, message=message)
    record_events(
        migrate_database(database),
        uuid7(),
        StepFailed(node="draft", attempt=2, error=error, failed_at=NOW),
        RunFailed(node="draft", error=error, failed_at=NOW),
    )
    failed, ended = run_callsheet(database, "events", "tail").stdout.splitlines()
    assert "node=draft attempt=2 expression: Liquid: inputs.product is undefined, and so on" in failed
    assert "node=draft expression: Liquid: inputs.product is undefined, and so on" in ended
    assert failed.endswith("…")
    assert len(failed) < 320
    assert json.loads(run_callsheet(database, "events", "show", "1").stdout)["data"]["error"] == {
        "error_class": "expression",
        "message": message,
    }


def test_filters_narrow(database: str) -> None:
    ours = project_with_names(migrate_database(database), "a", "b")
    theirs = project_with_names(database, "c", "d", workspace=OTHER_WORKSPACE)
    tail = ("events", "tail")
    assert names(answered_lines(database, *tail, "--workspace", from_uuid("ws", OTHER_WORKSPACE))) == ["c", "d"]
    assert names(answered_lines(database, *tail, "--project", from_uuid("prj", ours))) == ["a", "b"]
    assert names(answered_lines(database, *tail, "--stream", from_uuid("prj", theirs))) == ["c", "d"]
    assert names(answered_lines(database, *tail, "--stream", str(ours))) == ["a", "b"]
    assert names(answered_lines(database, *tail, "--topic", "project.renamed")) == ["b", "d"]
    assert names(answered_lines(database, *tail, "--topic", "project.*", "--topic", "run.*")) == ["a", "b", "c", "d"]
    assert answered_lines(database, *tail, "--topic", "run.*") == []


def test_the_last_ones_are_found_however_rare_they_are(database: str) -> None:
    project = project_with_names(migrate_database(database), "rare")
    execute_statement(
        database,
        """insert into events (notification_id, originator_version, originator_id, workspace_id, project_id,
                               recorded_at, state_format, topic, metadata, state)
           select g, g, gen_random_uuid(), workspace_id, project_id, recorded_at, state_format, topic, metadata, state
             from events, generate_series(2, %s) as g where notification_id = 1""",
        2 * POSITIONS_MAX + 5,
    )
    execute_statement(database, "update log_head set position = %s", 2 * POSITIONS_MAX + 5)
    lines = answered_lines(database, "events", "tail", "--stream", from_uuid("prj", project))
    assert positions(lines) == [1]
    assert positions(answered_lines(database, "events", "tail", "--from", "1", "--stream", str(project))) == [1]


def test_a_line_for_people_says_what_and_when_and_of_what(database: str) -> None:
    project = project_with_names(migrate_database(database), "Launch", "Re launch")
    first, second = run_callsheet(database, "events", "tail").stdout.splitlines()
    assert first.split()[0] == "1"
    assert "project.created" in first
    assert f"{from_uuid('prj', project)} v1" in first
    assert "name=Launch" in first
    assert 'name="Re launch"' in second


def test_what_somebody_stored_does_not_command_the_terminal(database: str) -> None:
    project_with_names(migrate_database(database), "\x1b[2Jgone\x9b2J")
    shown = run_callsheet(database, "events", "tail").stdout
    assert "gone" in shown
    assert not {"\x1b", "\x9b"} & set(shown)


def test_what_this_version_cannot_read_is_shown_all_the_same(database: str) -> None:
    project_with_names(migrate_database(database), "a", "b", "c")
    execute_statement(database, UNREADABLE, 2)
    lines = run_callsheet(database, "events", "tail").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["1", "2", "3"]
    assert lines[1].endswith("(this version cannot read it)")
    assert positions(answered_lines(database, "events", "tail")) == [1, 2, 3]
    shown = json.loads(run_callsheet(database, "events", "show", "2").stdout)
    assert shown["data"]["name"] == 7
    assert "event 2 (project.renamed) cannot be read" in shown["unreadable"]


def test_an_event_of_another_format_is_shown_as_its_bytes(database: str) -> None:
    project_with_names(migrate_database(database), "a")
    execute_statement(database, "update events set state_format = 0, state = '\\x00ff' where notification_id = 1")
    assert answered_lines(database, "events", "tail")[0]["data_base64"] == "AP8="


def test_large_contents_are_shown_only_where_asked_for(database: str) -> None:
    run = uuid7()
    inputs = {"text": "x" * 40_000}
    reference = asyncio.run(save_content(migrate_database(database), json.dumps(inputs).encode()))
    payload = Payload(ref=reference, bytes=40_012, media_type="application/json")
    record_events(
        database, run, RunStarted(workflow_id=run, workflow_version=1, inputs=payload, pins=Pins(), started_at=NOW)
    )
    (line,) = answered_lines(database, "events", "tail")
    assert line["data"]["inputs"] == {"$ref": reference, "bytes": 40_012, "media_type": "application/json"}
    (whole,) = answered_lines(database, "events", "tail", "--contents")
    assert whole["data"]["inputs"]["value"] == inputs
    assert json.loads(run_callsheet(database, "events", "show", "1").stdout)["data"] == line["data"]
    assert json.loads(run_callsheet(database, "events", "show", "--contents", "1").stdout)["data"] == whole["data"]


async def save_content(database: str, content: bytes) -> str:
    async with open_log(database) as log:
        return await PostgresContents(log.sessions).put(WORKSPACE, content, "application/json")


def test_a_callers_value_is_never_taken_for_a_reference(database: str) -> None:
    reference = asyncio.run(save_content(migrate_database(database), b'"secret"'))
    mine = Payload(value={"$ref": reference, "bytes": 8, "media_type": "application/json"})
    run = uuid7()
    record_events(
        database, run, RunStarted(workflow_id=run, workflow_version=1, inputs=mine, pins=Pins(), started_at=NOW)
    )
    (whole,) = answered_lines(database, "events", "tail", "--contents")
    assert "secret" not in json.dumps(whole)


def test_an_event_is_found_by_position_and_by_its_id(database: str) -> None:
    project_with_names(migrate_database(database), "a", "b")
    by_position = json.loads(run_callsheet(database, "events", "show", "2").stdout)
    assert by_position["data"]["name"] == "b"
    assert json.loads(run_callsheet(database, "events", "show", by_position["id"]).stdout) == by_position


def test_an_event_that_is_not_there_ends_with_exit_code_4(database: str) -> None:
    project_with_names(migrate_database(database), "a")
    absent = run_callsheet(database, "events", "show", "1", "2", "0123456789ab-1")
    assert absent.exit_code == 4
    assert "there is no event 2: the log ends at 1" in absent.stderr
    assert "0123456789ab-1 is of another log" in absent.stderr
    assert json.loads(absent.stdout)["position"] == "1"


def test_a_filter_that_cannot_be_is_refused(database: str) -> None:
    for option, value in (("--topic", "run.strated"), ("--workspace", "prj_1"), ("--stream", "x"), ("--from", "0")):
        assert run_callsheet(database, "events", "tail", option, value).exit_code == 2
    assert run_callsheet(database, "events", "show", "first").exit_code == 2
    assert (
        "'nope' is neither an id of the form prj_…"
        in run_callsheet(database, "events", "tail", "--stream", "nope").stderr
    )


def test_following_goes_on_with_what_comes_until_it_is_interrupted(database: str) -> None:
    project_with_names(migrate_database(database), "a")
    for number, arguments in ((signal.SIGINT, ()), (signal.SIGTERM, ("--json",))):
        with following(database, "--last", "1", *arguments) as process:
            assert process.stdout is not None
            assert process.stdout.readline()
            project_with_names(database, "b", "c")
            assert [bool(process.stdout.readline()) for _ in range(2)] == [True, True]
            process.send_signal(number)
            _, stderr = process.communicate(timeout=20)
            assert (process.returncode, stderr) == (0, "")


def test_following_ends_after_so_many(database: str) -> None:
    project_with_names(migrate_database(database), "a", "b", "c")
    with following(database, "--from", "1", "--limit", "4", "--json") as process:
        assert process.stdout is not None
        assert [json.loads(process.stdout.readline())["data"]["name"] for _ in range(3)] == ["a", "b", "c"]
        project_with_names(database, "d", "e")
        stdout, stderr = process.communicate(timeout=20)
        assert (process.returncode, stderr) == (0, "")
        assert [json.loads(line)["data"]["name"] for line in stdout.splitlines()] == ["d"]


def test_a_reader_who_has_seen_enough_is_left_without_a_word(database: str) -> None:
    project_with_names(migrate_database(database), *("x" * 500 for _ in range(400)))
    with following(database, "--from", "1") as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.stdout.close()
        process.wait(timeout=20)
        assert process.stderr is not None
        assert process.stderr.read() == ""
        process.stdout = None


def test_times_are_in_utc_whatever_the_zone_of_the_database(database: str) -> None:
    migrate_database(database)
    execute_statement(database, ZONE)
    try:
        project_with_names(database, "a")
        (event,) = answered_lines(database, "events", "tail")
        assert event["time"].endswith("Z")
        assert event["time"][:19].replace("T", " ") in run_callsheet(database, "events", "tail").stdout
    finally:
        execute_statement(database, NO_ZONE)
