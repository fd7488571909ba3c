"""`callsheet relay status`: the cursor against the head, and the process that relays."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import psycopg

from bus.nats.relay_status import read_relay_status
from tests.support.callsheet.operate import migrate_database, project_with_names, run_callsheet, run_callsheet_json
from tests.support.callsheet.separate_processes import apart
from tests.support.servers.nats import NatsForTests
from tests.support.waiting import eventually


async def read_status(database: str) -> dict[str, Any]:
    """Ask as the command does, on a loop that is there already."""
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        return msgspec.to_builtins(await read_relay_status(connection))


def test_where_nothing_was_ever_relayed_somebody_has_to_look(database: str) -> None:
    project_with_names(migrate_database(database), "one", "two")
    told = run_callsheet_json(database, "relay", "status")
    assert told["standing"] | {"lag_seconds": 0} == {
        "head": 2,
        "begun": False,
        "cursor": 0,
        "moved_at": None,
        "lag_events": 2,
        "lag_seconds": 0,
        "holder": None,
        "standing_by": 0,
    }
    assert told["standing"]["lag_seconds"] > 0
    assert told["attention"] == ["nothing was ever relayed, and no process does"]
    assert run_callsheet(database, "relay", "status").exit_code == 3


def test_the_process_that_relays_is_named_and_another_stands_by(
    database: str, tmp_path: Path, nats_server: NatsForTests
) -> None:
    project_with_names(migrate_database(database), "one", "two")
    url = {"NATS_URL": nats_server.url}
    with apart(database, tmp_path, "project", **url) as first, apart(database, tmp_path, "project", **url) as second:

        async def is_relayed() -> bool:
            standing = await read_status(database)
            return standing["cursor"] == 2 and standing["holder"] is not None and standing["standing_by"] == 1

        asyncio.run(eventually(is_relayed, what="one process relays and one stands by", seconds=30))
        told = run_callsheet_json(database, "relay", "status")
        holder = int(told["standing"]["holder"]["process"].partition(".")[0])
        assert holder in {first.process.pid, second.process.pid}
        assert (told["healthy"], told["standing"]["lag_events"]) == (True, 0)
        answer = run_callsheet(database, "relay", "status")
        assert answer.exit_code == 0
        assert str(holder) in answer.stdout

        (first if holder == first.process.pid else second).process.kill()

        async def taken_over() -> bool:
            standing = await read_status(database)
            return standing["holder"] is not None and not standing["holder"]["process"].startswith(f"{holder}.")

        asyncio.run(eventually(taken_over, what="the other process relays", seconds=10))
