"""`callsheet doctor`: each check, on a database where it is made wrong."""

import asyncio
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final, LiteralString

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from bus.nats.relay_status import LOCK, SESSION_LABEL
from callsheet.wiring.identity import write_checkpoint
from store.log.epochs import Mark, Witness, read_state
from store.postgres.lock_status import name_session
from tests.support.callsheet.operate import migrate_database, project_with_names, run_callsheet, run_callsheet_json
from tests.support.callsheet.separate_processes import apart
from tests.support.servers.nats import NatsForTests
from tests.support.servers.postgres import PostgresForTests
from tests.support.servers.restorable import RestorablePostgres
from tests.support.waiting import eventually

FAILED: Final = "select from pg_stat_archiver where last_failed_time > coalesce(last_archived_time, '-infinity')"
REFERENCE: Final = f"sha256:{'ab' * 32}"


@pytest.fixture(autouse=True)
def data_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CALLSHEET_DATA_DIRECTORY", str(tmp_path))
    return tmp_path


def change(database: str, *statements: LiteralString) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def examine(database: str, *arguments: str) -> dict[str, dict[str, Any]]:
    """Return the findings by check."""
    found = run_callsheet_json(database, "doctor", *arguments)
    return {finding["check"]: finding for finding in found["findings"]}


def expect_wrong(database: str, check: str, says: str, *arguments: str) -> None:
    finding = examine(database, *arguments)[check]
    assert (finding["level"], says in finding["says"]) == ("wrong", True), finding
    assert finding["do"]
    assert run_callsheet(database, "doctor", *arguments).exit_code == 1


def test_a_healthy_log_is_described_in_sentences_and_exits_with_0(database: str) -> None:
    project_with_names(migrate_database(database), "one", "two")
    found = run_callsheet(database, "doctor", "--deep")
    assert found.exit_code == 0, found.stdout
    assert "The log has no gaps: 2 positions." in found.stdout
    assert "WAL is not archived" in found.stdout
    assert all(finding["level"] != "wrong" for finding in examine(database, "--deep").values())


def test_missing_rows_are_named(database: str) -> None:
    project_with_names(migrate_database(database), "one", "two", "three", "four", "five")
    change(database, "delete from events where notification_id in (2, 3, 5)")
    expect_wrong(database, "gaps", "The log lacks positions 2 to 3, position 5")


def test_rows_past_the_head_are_named(database: str) -> None:
    project_with_names(migrate_database(database), "one", "two")
    change(database, "update log_head set position = 1")
    expect_wrong(database, "gaps", "1 rows are past the end of the log")


def test_a_rewound_log_without_an_epoch_is_named(database: str, data_directory: Path) -> None:
    project_with_names(migrate_database(database), "one", "two")
    remember_position(database, data_directory, 9)
    expect_wrong(database, "epoch", "the log ends at 2, and")


def remember_position(database: str, directory: Path, position: int) -> None:
    """Write a checkpoint file as of a process that knew more than the log has now."""
    with psycopg.connect(database) as connection:
        row = connection.execute("select originator_id, recorded_at from events limit 1").fetchone()
    assert row is not None

    async def write() -> None:
        async with await psycopg.AsyncConnection.connect(database) as connection:
            identity = (await read_state(connection)).identity
        mark = Mark(position=position, stream_id=row[0], version=1, recorded_at=row[1])
        witness = Witness(log_id=identity.log_id, tag=identity.tag, mark=mark, origin="the checkpoint file")
        write_checkpoint(directory / f"log-{identity.tag}.checkpoint.json", witness, identity)

    asyncio.run(write())


def test_checkpoints_past_the_end_of_the_log_are_named(database: str) -> None:
    project_with_names(migrate_database(database), "one")
    change(
        database,
        "insert into checkpoints (projection, position) values ('runs', 7)",
        "insert into relay_cursors (carrier, position) values ('nats', 9)",
    )
    expect_wrong(database, "checkpoints", "relay at 9, runs at 7")


def test_parked_workspaces_are_counted(database: str) -> None:
    migrate_database(database)
    change(
        database,
        """insert into parked (projection, workspace_id, from_position, stream_id, version, topic, error)
           values ('runs', gen_random_uuid(), 1, gen_random_uuid(), 1, 'x', 'y')""",
    )
    expect_wrong(database, "parked", "runs 1")


def test_leases_of_engines_that_are_gone_are_counted(database: str) -> None:
    migrate_database(database)
    change(database, "insert into run_leases (run_id, epoch) values (gen_random_uuid(), 77)")
    expect_wrong(database, "leases", "1 runs are leased to engines that are gone")


def test_leases_of_runs_that_have_ended_are_counted(database: str) -> None:
    migrate_database(database)
    change(
        database,
        """insert into runs (id, workspace_id, workflow_id, version, position, created_position, created_at, updated_at,
                             status, document)
           values (gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 1, 1, 1, now(), now() - interval '1 hour',
                   'completed', '{}')""",
        "insert into run_leases (run_id, epoch) select id, 77 from runs",
    )
    expect_wrong(database, "leases", "1 leased runs have ended")


def test_contents_and_facts_are_compared_in_both_directions(database: str) -> None:
    project_with_names(migrate_database(database), "one")
    change(
        database,
        """insert into contents (workspace_id, sha256, media_type, stored_at, bytes)
           values (gen_random_uuid(), 'x', 'text/plain', now() - interval '2 hours', 'x')""",
    )
    finding = examine(database, "--deep")["contents"]
    assert (finding["level"], finding["says"][:10]) == ("note", "1 contents")
    with psycopg.connect(database, autocommit=True) as connection:
        state = f'{{"name":"x","inputs":{{"$ref":"{REFERENCE}"}}}}'.encode()
        connection.execute("update events set state = %s", [state])
    expect_wrong(database, "contents", REFERENCE, "--deep")


def test_a_setting_that_can_lose_commands_is_named(database: str) -> None:
    migrate_database(database)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"alter database {connection.info.dbname} set synchronous_commit = off".encode())
        try:
            expect_wrong(database, "settings", "synchronous_commit is off")
        finally:
            connection.execute(f"alter database {connection.info.dbname} reset synchronous_commit".encode())


def test_dead_rows_are_bloat(database: str) -> None:
    migrate_database(database)
    change(
        database,
        "create table swollen (id int) with (autovacuum_enabled = off)",
        "insert into swollen select generate_series(1, 20000)",
        "delete from swollen",
        "select pg_stat_force_next_flush()",
    )
    expect_wrong(database, "bloat", "swollen (20,000)")


def test_facts_in_the_future_of_the_clock_are_named(database: str) -> None:
    project_with_names(migrate_database(database), "one")
    change(database, "update log_head set recorded_at = now() + interval '1 hour'")
    expect_wrong(database, "clocks", "in the future of the database's clock")


def test_a_database_whose_clock_differs_from_ours_is_named(database: str) -> None:
    """The database's own clock is replaced for this database: by a function in a schema that is searched first."""
    migrate_database(database)
    change(
        database,
        "create schema wrong_clock",
        "create function wrong_clock.clock_timestamp() returns timestamptz language sql as "
        "$$ select pg_catalog.clock_timestamp() + interval '25 hours' $$",
    )
    with psycopg.connect(database, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f"alter database {name} set search_path = wrong_clock, pg_catalog, public".encode())
        try:
            expect_wrong(database, "clocks", "The clocks of this process and of the database differ by 25.0 h")
        finally:
            connection.execute(f"alter database {name} reset search_path".encode())
            connection.execute("drop schema wrong_clock cascade")


def test_an_encoding_that_mangles_names_is_named(postgres_server: PostgresForTests) -> None:
    """A database of before the check at the start: migrated, and not in UTF-8."""
    create: LiteralString = (
        "create database mangling encoding 'UTF8' locale_provider libc locale 'C' template template0"
    )
    change(postgres_server.conninfo, create)
    try:
        database = migrate_database(make_conninfo(postgres_server.conninfo, dbname="mangling"))
        change(
            postgres_server.conninfo,
            "update pg_database set encoding = pg_char_to_encoding('LATIN1') where datname = 'mangling'",
        )
        expect_wrong(database, "settings", "The encoding is LATIN1")
    finally:
        change(postgres_server.conninfo, "drop database mangling")


@pytest.fixture(scope="module")
def archiving() -> Generator[RestorablePostgres]:
    server = RestorablePostgres()
    yield server
    server.destroy()


def test_an_archive_that_fails_and_a_standby_that_is_away_are_named(archiving: RestorablePostgres) -> None:
    database = archiving.conninfo
    migrate_database(database)
    assert examine(database)["archive"]["level"] == "ok"
    change(
        database,
        "alter system set archive_command = 'false'",
        "alter system set synchronous_standby_names = 'second'",
        "select pg_reload_conf()",
        "select pg_switch_wal()",
    )

    async def has_failed() -> bool:
        async with await psycopg.AsyncConnection.connect(database) as connection:
            return (await (await connection.execute(FAILED)).fetchone()) is not None

    asyncio.run(eventually(has_failed, what="a file was not archived", seconds=30))
    expect_wrong(database, "archive", "archive_command fails for")
    expect_wrong(database, "standby", "No synchronous standby of second is connected")
    change(
        database,
        "alter system reset archive_command",
        "alter system reset synchronous_standby_names",
        "select pg_reload_conf()",
    )


def test_a_server_that_does_not_vacuum_or_wait_for_its_standby_is_named(archiving: RestorablePostgres) -> None:
    database = archiving.conninfo
    migrate_database(database)
    for settings, says in (
        ({"autovacuum": "off"}, "autovacuum is off"),
        ({"synchronous_standby_names": "second", "synchronous_commit": "local"}, "synchronous_commit is local"),
        ({"full_page_writes": "off"}, "full_page_writes is off"),
    ):
        for name, value in settings.items():
            change_server(database, f"alter system set {name} = '{value}'")
        expect_wrong(database, "settings", says)
        for name in settings:
            change_server(database, f"alter system reset {name}")
    assert examine(database)["settings"]["level"] != "wrong"


def change_server(database: str, statement: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(statement.encode())
        loaded_at = "select pg_conf_load_time()"
        before = connection.execute(loaded_at).fetchone()
        connection.execute("select pg_reload_conf()")

    async def is_loaded() -> bool:
        async with await psycopg.AsyncConnection.connect(database) as connection:
            return await (await connection.execute(loaded_at)).fetchone() != before

    asyncio.run(eventually(is_loaded, what="the server has read its settings", seconds=30))


def test_a_relay_that_is_behind_is_named(
    database: str, nats_server: NatsForTests, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The role of the relay is held by a session that does nothing."""
    monkeypatch.setenv("NATS_URL", nats_server.url)
    project_with_names(migrate_database(database), "one")
    change(database, "update events set recorded_at = recorded_at - interval '3 hours'")
    with psycopg.connect(database, application_name=name_session(SESSION_LABEL)) as holder:
        holder.execute("select pg_advisory_xact_lock(%s, 1)", [LOCK])
        expect_wrong(database, "relay", "The relay is 3.0 h and 1 events behind.")


def test_the_relay_and_its_stream_are_examined(
    database: str, nats_server: NatsForTests, data_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NATS_URL", nats_server.url)
    project_with_names(migrate_database(database), "one", "two", "three")
    with apart(database, data_directory, "project", NATS_URL=nats_server.url):

        async def is_relayed() -> bool:
            return await asyncio.to_thread(read_cursor, database) == [(3,)]

        asyncio.run(eventually(is_relayed, what="all is relayed", seconds=30))
        findings = examine(database)
        assert (findings["relay"]["level"], findings["stream"]["level"]) == ("ok", "ok")
    expect_wrong(database, "relay", "No process relays")
    change(database, "with gone as (delete from events where notification_id = 3) update log_head set position = 2")
    expect_wrong(database, "stream", "has position 3")
    change(database, "update log_head set log_id = gen_random_uuid()")
    expect_wrong(database, "stream", "facts of another log")
    nats_server.stop()
    expect_wrong(database, "stream", "cannot be read")


def read_cursor(database: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(database) as connection:
        return connection.execute("select position from relay_cursors").fetchall()
