"""Retention of command ids in the log."""

import asyncio
from datetime import timedelta
from uuid import uuid4

from store.log.records import Accepted, CommandId, Repeated
from store.log.retention import keep_pruned, prune_command_ids
from store.postgres.connections import open_connection
from store.settings import StoreSettings
from tests.support.servers.postgres import EVERY_POSTGRES
from tests.support.store.given import create_append, open_log, require_accepted
from tests.support.waiting import eventually


@EVERY_POSTGRES
async def test_command_ids_are_forgotten_after_their_retention_so_many_at_a_time(database: str) -> None:
    def command(n: int) -> CommandId:
        return CommandId(key=bytes([n]), request_hash=b"r")

    async with open_log(database) as log:
        times = [
            require_accepted(await log.append(create_append(uuid4(), 0, command_id=command(n)))).recorded_at
            for n in range(5)
        ]
        keep_from = times[4]
        assert await prune_command_ids(log.sessions, before=keep_from, at_most=3) == 3
        assert await prune_command_ids(log.sessions, before=keep_from, at_most=3) == 1
        assert await prune_command_ids(log.sessions, before=keep_from, at_most=3) == 0
        assert await prune_command_ids(log.sessions, before=keep_from - timedelta(days=1), at_most=3) == 0
        assert isinstance(await log.append(create_append(uuid4(), 0, command_id=command(0))), Accepted)
        assert isinstance(await log.append(create_append(uuid4(), 0, command_id=command(4))), Repeated)


async def test_command_ids_are_kept_pruned_in_the_background(database: str) -> None:
    async with open_log(database) as log:
        for n in range(5):
            await log.append(create_append(uuid4(), 0, command_id=CommandId(key=bytes([n]), request_hash=b"r")))
        async with open_connection(database) as connection:
            await connection.execute("update command_ids set recorded_at = recorded_at - interval '61 minutes'")
        await log.append(create_append(uuid4(), 0, command_id=CommandId(key=b"k", request_hash=b"r")))
        pruning = asyncio.create_task(keep_pruned(log.sessions, StoreSettings(command_ids_hours=1), at_most=2))

        async def is_forgotten() -> bool:
            return all([await log.find_repeated(bytes([n])) is None for n in range(5)])

        await eventually(is_forgotten, what="all ids past the retention are forgotten")
        pruning.cancel()
        assert await log.find_repeated(b"k") is not None
