"""A log that was rewound is noticed by what is remembered outside of it, and gets one new epoch."""

import asyncio
from uuid import uuid4

import psycopg
import pytest

from bus.feed import Feed
from bus.settings import FeedSettings
from store.log.epochs import LogRewound, Witness, find_rewind, read_state, reconcile
from store.log.log import Log
from store.settings import StoreSettings
from tests.support.store.given import create_append, open_log, require_accepted
from tests.support.waiting import eventually

NOW_MS = 1_796_000_000_000
REWIND = "with gone as (delete from events where notification_id > %s) update log_head set position = %s"
KILL_APPENDER = """
select pg_terminate_backend(pid) from pg_stat_activity
 where datname = current_database() and query like '%append_events%' and pid <> pg_backend_pid()
"""


async def append(log: Log, count: int) -> None:
    for _ in range(count):
        require_accepted(await log.append(create_append(uuid4(), 0)))


async def rewind(database: str, position: int) -> None:
    """Change the log as a restore does."""
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute(REWIND, (position, position))


async def compare(database: str, *witnesses: Witness) -> list[tuple[str, int]]:
    """Compare as a starting process does; return the epochs."""
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        identity = await reconcile(connection, witnesses, NOW_MS)
        return [(epoch.tag, epoch.after) for epoch in identity.epochs]


async def create_witness(database: str, facts: int) -> Witness:
    async with open_log(database) as log:
        await append(log, facts)
        witness = log.create_witness("a witness")
        assert witness is not None
        return witness


async def test_many_processes_that_find_a_rewound_log_begin_one_epoch(database: str) -> None:
    witness = await create_witness(database, 8)
    assert len(await compare(database, witness)) == 1
    await rewind(database, 5)
    found = await asyncio.gather(*(compare(database, witness) for _ in range(8)))
    assert [len(epochs) for epochs in found] == [2] * 8
    assert found[0][1] == (f"{NOW_MS:012x}", 5)
    assert await compare(database, witness) == found[0]


async def test_a_rewound_log_that_went_past_its_witness_is_noticed_and_cut_where_it_was_restored(
    database: str,
) -> None:
    witness = await create_witness(database, 8)
    await rewind(database, 5)
    async with open_log(database) as log:
        await append(log, 6)
    assert [after for _, after in await compare(database, witness)] == [0, 5]


async def test_a_restore_to_before_an_epoch_began_gets_an_epoch_with_a_greater_tag(database: str) -> None:
    first = await create_witness(database, 8)
    await rewind(database, 5)
    await compare(database, first)
    second = await create_witness(database, 6)
    assert second.tag == f"{NOW_MS:012x}"
    await rewind(database, 3)
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute("delete from log_epochs where number = 1")
    epochs = await compare(database, first, second)
    assert epochs[-1] == (f"{NOW_MS + 1:012x}", 3)
    assert await compare(database, second, first) == epochs


async def test_a_missing_row_is_no_sign_of_a_restore(database: str) -> None:
    witness = await create_witness(database, 3)
    async with open_log(database) as log:
        await append(log, 1)
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute("delete from events where notification_id = 3")
    assert len(await compare(database, witness)) == 1


async def test_a_witness_younger_than_the_state_that_was_read_is_no_rewind(database: str) -> None:
    await create_witness(database, 3)
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        state = await read_state(connection)
        witness = await create_witness(database, 2)
        assert await find_rewind(connection, state, witness) is None


async def test_a_log_that_grows_while_it_is_checked_was_not_rewound(database: str) -> None:
    async with open_log(database) as log:
        growing = asyncio.create_task(append(log, 200))
        checked = 0
        while not growing.done():
            await log.check_unchanged()
            checked += 1
        await growing
        assert checked > 1


async def test_a_process_does_not_append_to_a_log_that_was_rewound_under_it(database: str) -> None:
    log = Log(database, StoreSettings())
    async with log.open_readers():
        serving = asyncio.create_task(log.run())
        await log.wait_until_connected()
        await append(log, 3)
        await rewind(database, 1)
        async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
            await connection.execute(KILL_APPENDER)
        with pytest.raises(LogRewound) as rewound:
            await serving
        assert rewound.value.witness is not None
        assert rewound.value.witness.mark.position == 3


async def test_a_process_that_has_read_nothing_since_its_start_notices_a_restore(database: str) -> None:
    await create_witness(database, 5)
    log = Log(database, StoreSettings())
    async with log.open_readers():
        await log.reconcile([], NOW_MS)
        await log.check_unchanged()
        await rewind(database, 3)
        with pytest.raises(LogRewound) as rewound:
            await log.check_unchanged()
    assert rewound.value.witness is not None
    assert rewound.value.witness.mark.position == 5


async def test_what_a_process_remembers_survives_the_epoch_of_another(database: str) -> None:
    """The epoch that this process knows was removed by a restore: only its own memory shows that."""
    async with open_log(database) as log:
        await append(log, 4)
        witness = log.create_witness("a witness")
        assert witness is not None
        await rewind(database, 2)
        await compare(database, witness)
        with pytest.raises(LogRewound) as rewound:
            await log.check_unchanged()
        assert rewound.value.witness is not None
        assert rewound.value.witness.mark.position == 4


async def test_a_process_notices_that_another_has_begun_an_epoch(database: str) -> None:
    async with open_log(database) as log:
        feed = Feed(log, FeedSettings(poll_seconds=0.05))
        following = asyncio.create_task(feed.run())
        await append(log, 1)
        await feed.wait_past(0)
        async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
            state = await read_state(connection)
            await connection.execute("select begin_epoch(%s, '0123456789ab', 1, 'a test')", [state.identity.tag])
        with pytest.raises(LogRewound, match="a test"):
            await following


async def test_the_feed_reports_a_missing_position_and_goes_on(
    database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with open_log(database) as reader:
        feed = Feed(reader, FeedSettings(poll_seconds=0.05))
        following = asyncio.create_task(feed.run())

        async def has_begun() -> bool:
            return feed.through == 0

        await eventually(has_begun, what="the feed has begun")
        async with await psycopg.AsyncConnection.connect(database) as connection:
            await connection.execute("select from log_head for update")  # nobody sees a part of what follows
            await connection.execute(
                """insert into events (notification_id, originator_id, originator_version, workspace_id, topic, state,
                                       state_format, metadata, recorded_at)
                   select n, gen_random_uuid(), 1, gen_random_uuid(), 'x', '', 1, '{}', now()
                     from generate_series(1, 4) as n where n <> 3"""
            )
            await connection.execute("update log_head set position = 4")
        await feed.wait_past(3)
        assert (feed.through, reader.missing_positions) == (4, 1)
        assert "feed.positions_missing" in capsys.readouterr().out
        following.cancel()
