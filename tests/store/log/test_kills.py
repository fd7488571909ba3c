"""PostgreSQL killed and started again under load: no acknowledged command is lost, and none takes effect twice."""

import asyncio
from collections import defaultdict
from uuid import UUID, uuid4

import pytest
from msgspec import Struct

from domain.project import ProjectRenamed
from store.errors import Conflict, OutcomeUnknown, Unavailable
from store.log.log import Log
from store.log.records import CommandId, Recorded, Repeated
from store.postgres.migrations import migrate
from tests.support.servers.postgres import EVERY_POSTGRES, PostgresForTests
from tests.support.store.given import create_append, open_log, read_whole_log
from tests.support.waiting import eventually

CLIENTS = 24
COMMANDS_BETWEEN_KILLS = 100
RECOVERY_SECONDS = 60


class Ledger(Struct):
    """The record of one client: the position of each of its commands, in order, and the errors it received."""

    stream: UUID
    with_ids: bool
    positions: list[int] = []
    unavailable: int = 0
    unknown: int = 0
    unknown_had_committed: int = 0


async def run_client(log: Log, ledger: Ledger, stop: asyncio.Event) -> None:
    """Append one command after the other; repeat each until it is known to have been accepted."""
    while not stop.is_set():
        number = len(ledger.positions)
        command_id = CommandId(key=uuid4().bytes, request_hash=b"") if ledger.with_ids else None
        ledger.positions.append(await append_until_accepted(log, ledger, number, command_id))


async def append_until_accepted(log: Log, ledger: Ledger, number: int, command_id: CommandId | None) -> int:
    in_doubt = False
    command = create_append(ledger.stream, number, ProjectRenamed(name=str(number)), command_id=command_id)
    while True:
        try:
            outcome = await log.append(command)
        except OutcomeUnknown:
            ledger.unknown += 1
            in_doubt = True
        except Conflict:
            # Nobody else writes this stream: only our own command, whose outcome was unknown, can be in the way.
            assert in_doubt, "told that nothing took effect, and it had"
            assert command_id is None
            ledger.unknown_had_committed += 1
            return await read_position(log, ledger.stream, number + 1)
        except Unavailable:
            ledger.unavailable += 1
            await asyncio.sleep(0.01)  # as a client backs off
        else:
            if isinstance(outcome, Repeated):
                assert in_doubt, "told that nothing took effect, and it had"
                ledger.unknown_had_committed += 1
            return outcome.position


async def read_position(log: Log, stream: UUID, version: int) -> int:
    while True:
        try:
            (found,) = await log.read_stream(stream, after=version - 1, limit=1)
        except Unavailable:
            await asyncio.sleep(0.01)  # as a client backs off
        else:
            return found.position


async def kill_under_load(server: PostgresForTests, ledgers: list[Ledger], kills: int, most_kills: int) -> None:
    """Kill the server again and again, each time once the load has gone on for a while.

    On a fast machine no kill may have met a commit by then: it is killed until one has, `most_kills` times at most.
    """
    for turn in range(most_kills):
        if turn >= kills and any(ledger.unknown for ledger in ledgers):
            break
        await wait_for_progress(ledgers, COMMANDS_BETWEEN_KILLS)
        refusals = sum(ledger.unavailable + ledger.unknown for ledger in ledgers)
        (server.kill, server.crash)[turn % 2]()

        async def has_noticed(before: int = refusals) -> bool:
            return sum(ledger.unavailable + ledger.unknown for ledger in ledgers) > before

        await eventually(has_noticed, what="the clients notice the kill", seconds=RECOVERY_SECONDS)
        await asyncio.to_thread(server.start)
    await wait_for_progress(ledgers, COMMANDS_BETWEEN_KILLS)


async def wait_for_progress(ledgers: list[Ledger], commands: int) -> None:
    """Wait until the clients have had so many more commands accepted."""
    enough = sum(len(ledger.positions) for ledger in ledgers) + commands

    async def has_progressed() -> bool:
        return sum(len(ledger.positions) for ledger in ledgers) >= enough

    await eventually(has_progressed, what="commands are accepted", seconds=RECOVERY_SECONDS)


async def run_kills(server: PostgresForTests, kills: int, most_kills: int) -> list[Ledger]:
    """Run the load and the kills, and hold the ledgers against the log."""
    conninfo = server.lend_database(migrated=False)
    await migrate(conninfo, ["store"])
    ledgers = [Ledger(stream=uuid4(), with_ids=bool(n % 2)) for n in range(CLIENTS)]
    stop = asyncio.Event()
    async with open_log(conninfo) as log:
        async with asyncio.TaskGroup() as clients:
            for ledger in ledgers:
                clients.create_task(run_client(log, ledger, stop))
            await kill_under_load(server, ledgers, kills, most_kills)
            stop.set()
        events = await read_whole_log(log)
    assert [event.position for event in events] == list(range(1, len(events) + 1))
    by_stream: dict[UUID, list[Recorded]] = defaultdict(list)
    for event in events:
        by_stream[event.stream_id].append(event)
    for ledger in ledgers:
        assert_kept(ledger, by_stream.pop(ledger.stream))
    assert not by_stream
    return ledgers


def assert_kept(ledger: Ledger, events: list[Recorded]) -> None:
    """The stream holds each acknowledged command once, where the client was told, and nothing else."""
    assert [event.position for event in events] == ledger.positions
    assert [event.fact for event in events] == [ProjectRenamed(name=str(n)) for n in range(len(ledger.positions))]


async def test_nothing_is_lost_or_doubled_when_postgresql_is_killed_under_load(own_postgres: PostgresForTests) -> None:
    await run_kills(own_postgres, kills=2, most_kills=2)


@pytest.mark.long
@EVERY_POSTGRES
async def test_nothing_is_lost_or_doubled_in_twenty_kills(own_postgres: PostgresForTests) -> None:
    ledgers = await run_kills(own_postgres, kills=20, most_kills=100)
    told = {field: sum(getattr(ledger, field) for ledger in ledgers) for field in Ledger.__struct_fields__[3:]}
    assert told["unknown"] > 0, "no kill met a commit: the load was too light to show anything"
    print(told)  # noqa: T201  # how often the outcome was unknown, and how often the command had been committed
