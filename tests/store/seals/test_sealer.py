"""The sealer: every event is sealed by one process at a time, and a checkpoint is what the log itself gives."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from uuid import UUID

import psycopg
import pytest
from uuid_utils.compat import uuid7

from store.log.identity import LogIdentity, create_identity
from store.log.log import Log
from store.log.raw_reads import read_sealed_range
from store.seals.leaves import hash_event
from store.seals.merkle import compute_root
from store.seals.notes import Checkpoint, SignerKey, open_note
from store.seals.seal_store import SealHead, read_seal_head
from store.seals.sealer import Sealer, format_origin
from store.seals.tiles import Tiles
from store.settings import SealSettings
from tests.support.store.given import create_append, open_log
from tests.support.waiting import eventually

SIGNER = SignerKey("callsheet/test", bytes(range(32)))


@asynccontextmanager
async def sealing(database: str, identity: LogIdentity, page_events: int = 7) -> AsyncGenerator[Sealer]:
    async def wait_past(position: int) -> None:
        async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
            while True:
                row = await (await connection.execute("select position from log_head")).fetchone()
                if row is not None and row[0] > position:
                    return
                await asyncio.sleep(0.01)

    sealer = Sealer(database, identity, [SIGNER], wait_past, SealSettings(page_events=page_events))
    task = asyncio.create_task(sealer.run())
    try:
        yield sealer
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def append_projects(log: Log, count: int) -> None:
    await asyncio.gather(*(log.append(create_append(uuid7(), 0)) for _ in range(count)))


async def read_head(database: str) -> SealHead:
    async with await psycopg.AsyncConnection.connect(database) as connection:
        return await read_seal_head(connection)


async def wait_until_sealed(database: str, size: int) -> SealHead:
    async def is_sealed() -> bool:
        return (await read_head(database)).size >= size

    await eventually(is_sealed, what=f"{size} events are sealed", seconds=30)
    return await read_head(database)


async def compute_checkpoint(database: str, identity: LogIdentity, size: int) -> Checkpoint:
    """Return the checkpoint that the events themselves give."""
    tiles = Tiles(0, {})
    async with await psycopg.AsyncConnection.connect(database) as connection:
        for event in await read_sealed_range(connection, after=0, limit=size):
            tiles.append(hash_event(event))
    return Checkpoint(origin=format_origin(identity), size=size, root=compute_root(size, tiles.read_node))


def open_checkpoint(head: SealHead) -> Checkpoint:
    assert head.note is not None
    return Checkpoint.parse(open_note(head.note, [SIGNER.verifier]))


async def test_every_event_is_sealed_as_the_log_grows_and_sealers_change(database: str) -> None:
    async with open_log(database) as log:
        size = 0
        for count in (1, 5, 300, 40):
            await append_projects(log, count)
            size += count
            async with sealing(database, log.identity):
                head = await wait_until_sealed(database, size)
            assert open_checkpoint(head) == await compute_checkpoint(database, log.identity, size)
        assert head.size == size


async def test_of_two_sealers_one_works_and_the_other_takes_over(database: str) -> None:
    async with open_log(database) as log:
        async with sealing(database, log.identity):
            await append_projects(log, 3)
            await wait_until_sealed(database, 3)
            async with sealing(database, log.identity):
                await append_projects(log, 3)
                head = await wait_until_sealed(database, 6)
        assert open_checkpoint(head) == await compute_checkpoint(database, log.identity, 6)
        async with sealing(database, log.identity):
            await append_projects(log, 3)
            assert open_checkpoint(await wait_until_sealed(database, 9)).size == 9


async def test_nothing_after_a_gap_is_sealed_until_it_is_mended(database: str) -> None:
    async with open_log(database) as log:
        await append_projects(log, 9)
        async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
            await connection.execute("create table kept as select * from events where notification_id = 5")
            await connection.execute("delete from events where notification_id = 5")
            async with sealing(database, log.identity, page_events=2) as sealer:

                async def is_told() -> bool:
                    return sealer.fault is not None and "lacks position 5" in sealer.fault

                await eventually(is_told, what="the gap is reported", seconds=30)
                assert (await read_head(database)).size == 4
                await connection.execute("insert into events select * from kept")
                head = await wait_until_sealed(database, 9)
        assert open_checkpoint(head) == await compute_checkpoint(database, log.identity, 9)


async def test_a_new_epoch_is_another_tree_with_the_valid_prefix_of_the_old(database: str) -> None:
    async with open_log(database) as log:
        await append_projects(log, 300)
        async with sealing(database, log.identity):
            await wait_until_sealed(database, 300)
        log_id: UUID = log.identity.log_id
        first = create_identity(log_id)
        later = create_identity(log_id, [first.epoch.__class__(tag="zzz", after=100)])
        async with sealing(database, later):
            await append_projects(log, 1)

            async def is_of_the_epoch() -> bool:
                head = await read_head(database)
                return head.origin == format_origin(later) and head.size == 301

            await eventually(is_of_the_epoch, what="the log is sealed anew from the epoch on", seconds=30)
        head = await read_head(database)
        assert open_checkpoint(head) == await compute_checkpoint(database, later, 301)


@pytest.mark.parametrize("field", ["state", "metadata", "topic", "version", "time", "stream", "workspace"])
async def test_no_column_can_be_changed_without_another_root(database: str, field: str) -> None:
    changes = {
        "state": "state = convert_to(replace(convert_from(state, 'UTF8'), 'Launch', 'Lunch'), 'UTF8')",
        "metadata": "metadata = replace(metadata::text, 'ada', 'eve')::json",
        "topic": "topic = 'project.renamed'",
        "version": "originator_version = originator_version + 1",
        "time": "recorded_at = recorded_at - interval '1 microsecond'",
        "stream": "originator_id = gen_random_uuid()",
        "workspace": "workspace_id = gen_random_uuid()",
    }
    async with open_log(database) as log:
        await append_projects(log, 3)
        before = await compute_checkpoint(database, log.identity, 3)
        async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
            changed = f"update events set {changes[field]} where notification_id = 2"  # noqa: S608  # the texts above
            assert (await connection.execute(changed.encode())).rowcount == 1
        assert await compute_checkpoint(database, log.identity, 3) != before
