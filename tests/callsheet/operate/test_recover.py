"""`callsheet recover`: an operator who restored a backup begins a new epoch of the log."""

from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.callsheet.operate import migrate_database, project_with_names, run_callsheet, run_callsheet_json


@pytest.fixture(autouse=True)
def data_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLSHEET_DATA_DIRECTORY", str(tmp_path))


def read_epochs(database: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(database) as connection:
        return connection.execute("select tag, after, reason from log_epochs order by number").fetchall()


def test_a_dry_run_says_what_would_be_done_and_does_nothing(database: str) -> None:
    project_with_names(migrate_database(database), "one", "two")
    found = run_callsheet_json(database, "recover", "--dry-run")
    assert (found["done"], found["head"], found["after"], found["noticed"]) == (False, 2, 2, [])
    assert "nothing was changed" in run_callsheet(database, "recover", "--dry-run").stdout
    assert [after for _, after, _ in read_epochs(database)] == [0]


def test_a_known_restore_begins_an_epoch_and_cursors_are_answered_by_it(database: str) -> None:
    project_with_names(migrate_database(database), "one", "two", "three")
    ((old, _, _),) = read_epochs(database)
    found = run_callsheet_json(database, "recover", "--after", "2")
    assert read_epochs(database)[1:] == [(found["new_epoch"], 2, "reported by the operator")]
    kept = run_callsheet(database, "events", "tail", "--after", f"{old}-2")
    assert (kept.exit_code, len(kept.stdout.splitlines())) == (0, 1)
    gone = run_callsheet(database, "events", "tail", "--after", f"{old}-3")
    assert (gone.exit_code, f"--after {old}-2" in gone.stderr) == (4, True)
    assert run_callsheet(database, "events", "show", f"{found['new_epoch']}-3").exit_code == 0
    assert run_callsheet(database, "events", "show", f"{old}-3").exit_code == 4


def test_without_the_stream_the_operator_must_name_the_position(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An epoch that begins too late would leave the ids of lost facts valid for good."""
    project_with_names(migrate_database(database), "one", "two")
    monkeypatch.setenv("NATS_URL", "nats://127.0.0.1:1")
    refused = run_callsheet(database, "recover")
    assert (refused.exit_code, "--after" in refused.stderr) == (2, True), refused.stderr
    assert len(read_epochs(database)) == 1
    assert run_callsheet(database, "recover", "--after", "1").exit_code == 0
    assert [after for _, after, _ in read_epochs(database)] == [0, 1]


def test_checkpoints_past_the_end_of_the_log_are_named(database: str) -> None:
    project_with_names(migrate_database(database), "one", "two")
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("insert into checkpoints (projection, position) values ('runs', 7)")
        connection.execute("insert into relay_cursors (carrier, position) values ('nats', 9)")
    found = run_callsheet_json(database, "recover", "--dry-run")
    assert found["ahead"] == {"relay": 9, "runs": 7}
    assert "The checkpoint of runs is at 7: it is folded anew" in run_callsheet(database, "recover").stdout


def test_a_missing_position_is_said_by_tail(database: str) -> None:
    project_with_names(migrate_database(database), "one", "two", "three", "four")
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("delete from events where notification_id in (2, 3)")
    for arguments in (("--from", "1"), ("-n", "2")):
        found = run_callsheet(database, "events", "tail", *arguments)
        assert (found.exit_code, len(found.stdout.splitlines())) == (3, 2)
        assert "positions 2 to 3 of the log: the row is missing" in found.stderr
