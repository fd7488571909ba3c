"""The example subscribers count each event once, whatever happens to them, to NATS, or to what NATS keeps."""

import asyncio
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import psycopg
import pytest

from domain.ids import from_uuid
from tests.support.bus.given import (
    STREAM,
    Process,
    migrate_components,
    open_client,
    open_process,
    wait_until_connected,
    wait_until_published,
)
from tests.support.examples.subscriber_faults import (
    kill_between_commit_and_ack,
    limit_stream,
    lock_database,
    read_envelopes_from,
    wait_for_delivery,
)
from tests.support.examples.subscribers import (
    ELSEWHERE,
    FOLDER,
    PROGRAMS,
    TYPESCRIPT,
    Program,
    Subscriber,
    count_expected,
    record_workflow_with_runs,
    stop_and_report,
)
from tests.support.servers.nats import NatsForTests
from tests.support.servers.node import NODE, install_node_packages
from tests.support.store.given import WORKSPACE

# nats-py is typed in part only.
# pyright: reportUnknownMemberType=false

RUNS = 60
REPORT_SCHEMA = jsonschema_rs.validator_for(msgspec.json.decode((FOLDER / "report.schema.json").read_bytes()))


@pytest.fixture(scope="session")
def node_packages() -> None:
    """The packages that the TypeScript subscriber imports."""
    install_node_packages(TYPESCRIPT)


@pytest.fixture(params=PROGRAMS, ids=lambda program: program.name)
def program(request: pytest.FixtureRequest, node_packages: None) -> Program:
    """Each of the two subscribers."""
    del node_packages
    return request.param


@pytest.fixture
def subscriber(program: Program, nats_server: NatsForTests, tmp_path: Path) -> Subscriber:
    """A subscriber on the test's own server, with a file of its own."""
    return Subscriber(program, nats_server, tmp_path / "counts.db")


def matches_schema(report: dict[str, Any]) -> bool:
    REPORT_SCHEMA.validate(report)
    return True


async def assert_all_counted(subscriber: Subscriber, report: dict[str, Any], node: Process) -> None:
    """Assert that a report counts every event of a log once."""
    assert matches_schema(report)
    head, _ = await node.log.head()
    assert report["workflows"] == await count_expected(node.log)
    assert [(log["first"], log["last"], log["events"]) for log in report["logs"]] == [(1, head, head)]
    assert (report["gaps"], report["unreadable"]) == ([], 0)
    assert report == await subscriber.run_and_report("--report")


async def test_a_kill_before_the_commit_loses_nothing_and_one_after_it_counts_nothing_twice(
    database: str, nats_server: NatsForTests, subscriber: Subscriber
) -> None:
    await migrate_components(database)
    async with open_process(database, nats_server, relays=True) as node:
        await wait_until_published(node, await record_workflow_with_runs(node.log, RUNS))
        await subscriber.run_and_report("--backfill", "-")  # makes the file
        with lock_database(subscriber.database):
            async with subscriber.run_in_background():
                await wait_for_delivery(nats_server, subscriber.durable)
        assert subscriber.read_counts() == (0, 0)
        committed = 0
        while not committed:
            first = await wait_for_delivery(nats_server, subscriber.durable, more_than=-1)
            committed = await kill_between_commit_and_ack(nats_server, subscriber, first)
        await wait_until_connected(node)
        report = await subscriber.run_and_report("--once")
        assert report["seen_before"] >= committed > 0
        await assert_all_counted(subscriber, report, node)


async def test_a_restart_of_nats_and_a_stream_that_is_filled_again_count_nothing_twice(
    database: str, nats_server: NatsForTests, subscriber: Subscriber
) -> None:
    await migrate_components(database)
    async with open_process(database, nats_server, relays=True) as node:
        await wait_until_published(node, await record_workflow_with_runs(node.log, RUNS))
        async with subscriber.run_in_background() as running:
            await subscriber.wait_until_counted(await record_workflow_with_runs(node.log, 1))
            nats_server.kill()
            last = await record_workflow_with_runs(node.log, RUNS)
            nats_server.start()
            await subscriber.wait_until_counted(last)
            async with open_client(nats_server) as client:
                await client.jetstream().delete_stream(STREAM.stream)
            with psycopg.connect(database, autocommit=True) as connection:
                connection.execute("update relay_cursors set position = 0")
            await subscriber.wait_until_counted(await record_workflow_with_runs(node.log, 1), seen_before=last)
            report = await stop_and_report(running)
        await assert_all_counted(subscriber, report, node)


async def test_a_workspace_is_counted_alone(
    database: str, nats_server: NatsForTests, program: Program, tmp_path: Path
) -> None:
    await migrate_components(database)
    async with open_process(database, nats_server, relays=True) as node:
        await record_workflow_with_runs(node.log, 5)
        await wait_until_published(node, await record_workflow_with_runs(node.log, 3, workspace=ELSEWHERE))
        workspace = from_uuid("ws", ELSEWHERE)
        alone = Subscriber(program, nats_server, tmp_path / "alone.db", "--workspace", workspace)
        report = await alone.run_and_report("--once")
        assert matches_schema(report)
        assert report["workflows"] == await count_expected(node.log, workspace=ELSEWHERE)
        assert (report["subject"], report["gaps"]) == (f"callsheet.v1.{workspace}.>", None)
        everything = Subscriber(program, nats_server, alone.database)
        code, _, why = await everything.run_to_end("--once")
        assert code == 2
        assert f"counts callsheet.v1.{workspace}.>, not callsheet.v1.>" in why


@pytest.mark.long
async def test_what_the_stream_has_dropped_is_seen_as_a_gap_and_filled_from_the_log(
    database: str, nats_server: NatsForTests, subscriber: Subscriber
) -> None:
    await migrate_components(database)
    async with open_process(database, nats_server, relays=True) as node:
        first = await record_workflow_with_runs(node.log, 2)
        await wait_until_published(node, first)
        await subscriber.run_and_report("--once")
        dropped = await record_workflow_with_runs(node.log, 2)
        await wait_until_published(node, dropped)
        last = await record_workflow_with_runs(node.log, 2, workspace=ELSEWHERE)
        await wait_until_published(node, last)
        await limit_stream(nats_server, last - dropped)
        _, _, err = await subscriber.run_to_end("--once")
        assert f"no longer keeps {dropped - first} messages" in err
        report = await subscriber.run_and_report("--report")
        assert [(gap["from"], gap["through"]) for gap in report["gaps"]] == [(first + 1, dropped)]
        code, table, _ = await subscriber.run_to_end("--report")
        assert (code, f"Positions {first + 1} to {dropped} of log" in table) == (0, True)
        lines = await read_envelopes_from(database, first + 1)
        report = await subscriber.run_and_report("--backfill", "-", stdin=lines.encode())
        assert report["seen_before"] > 0
        await assert_all_counted(subscriber, report, node)


async def test_runs_whose_start_comes_late_belong_to_their_workflow(database: str, subscriber: Subscriber) -> None:
    await migrate_components(database)
    async with open_process(database) as node:
        await record_workflow_with_runs(node.log, 4)
        last = await record_workflow_with_runs(node.log, 4, workspace=ELSEWHERE)
        lines = (await read_envelopes_from(database, 1)).splitlines(keepends=True)
        lines.reverse()
        _, _, err = await subscriber.run_to_end("--backfill", "-", stdin=lines[0].encode())
        assert f"{last - 1} positions from 1 on have not been delivered" in err
        early = await subscriber.run_and_report("--backfill", "-", stdin="".join(lines[:4]).encode())
        assert None in {row["workflow"] for row in early["workflows"]}
        report = await subscriber.run_and_report("--backfill", "-", stdin="".join(["\n", *lines]).encode())
        await assert_all_counted(subscriber, report, node)


async def test_what_cannot_be_read_stops_nothing_and_can_be_counted_later(
    database: str, nats_server: NatsForTests, subscriber: Subscriber
) -> None:
    await migrate_components(database)
    async with open_process(database, nats_server, relays=True) as node:
        await wait_until_published(node, await record_workflow_with_runs(node.log, 1))
        async with open_client(nats_server) as client:
            await client.jetstream().publish("callsheet.v1.x.y.z.w", b"{", headers={"Nats-Msg-Id": "strange"})
        await wait_until_published(node, await record_workflow_with_runs(node.log, 1, workspace=ELSEWHERE))
        report = await subscriber.run_and_report("--once")
        assert matches_schema(report)
        assert (report["unreadable"], report["gaps"]) == (1, [])
        assert report["workflows"] == await count_expected(node.log)


async def test_it_says_what_is_missing(nats_server: NatsForTests, subscriber: Subscriber) -> None:
    code, out, err = await subscriber.run_to_end("--once")
    assert (code, out) == (2, "")
    assert "there is no stream CALLSHEET: `callsheet dev` or `project` makes it" in err
    nats_server.stop()
    code, out, err = await subscriber.run_to_end("--once")
    assert (code, out) == (2, "")
    assert f"NATS at {nats_server.url}: " in err
    assert "Traceback" not in err
    subscriber.database.write_text("no database")
    code, _, err = await subscriber.run_to_end("--report")
    assert (code, err) == (2, "subscriber: file is not a database\n")


@pytest.mark.long
async def test_a_new_file_with_an_old_consumer_is_refused_and_filled_by_a_replay(
    database: str, nats_server: NatsForTests, subscriber: Subscriber
) -> None:
    await migrate_components(database)
    async with open_process(database, nats_server, relays=True) as node:
        await wait_until_published(node, await record_workflow_with_runs(node.log, 2))
        await subscriber.run_and_report("--once")
        subscriber.database.unlink()
        code, _, err = await subscriber.run_to_end("--once")
        assert (code, "is new, and the consumer" in err) == (2, True)
        await assert_all_counted(subscriber, await subscriber.run_and_report("--once", "--replay"), node)


async def test_both_programs_read_the_same_file_and_print_the_same(
    database: str, nats_server: NatsForTests, tmp_path: Path, node_packages: None
) -> None:
    del node_packages
    await migrate_components(database)
    async with open_process(database, nats_server, relays=True) as node:
        await record_workflow_with_runs(node.log, 3)
        await wait_until_published(node, await record_workflow_with_runs(node.log, 3, workspace=ELSEWHERE))
    python, typescript = (Subscriber(program, nats_server, tmp_path / "counts.db") for program in PROGRAMS)
    report = await python.run_and_report("--once")
    assert {row["workspace"] for row in report["workflows"]} == {from_uuid("ws", WORKSPACE), from_uuid("ws", ELSEWHERE)}
    assert await typescript.run_and_report("--report") == report
    assert (await typescript.run_to_end("--report"))[1] == (await python.run_to_end("--report"))[1]
    again = await typescript.run_and_report("--once")
    assert (again["workflows"], again["seen_before"]) == (report["workflows"], report["logs"][0]["events"])


async def test_the_types_of_the_typescript_subscriber_are_sound(node_packages: None) -> None:
    del node_packages
    compiler = TYPESCRIPT / "node_modules" / "typescript" / "bin" / "tsc"
    command = (str(NODE), str(compiler), "--project", str(TYPESCRIPT))
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
