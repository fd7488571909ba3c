"""Appending: whole commands under an expected version, each accepted or refused on its own."""

import asyncio
from collections import Counter
from uuid import uuid4

import msgspec
import psycopg
import pytest

from domain.project import ProjectCreated
from store.errors import Conflict, FactTooLarge, QueueFull, UnstorableText
from store.log.appender import EARLIEST_COMMANDS
from store.log.codec import MAX_FACT_BYTES
from store.log.records import Accepted, Actor, CommandId, Guard, Metadata, Repeated
from store.settings import StoreSettings
from tests.support.servers.postgres import EVERY_POSTGRES
from tests.support.store.given import (
    CREATED,
    RENAMED,
    create_append,
    open_log,
    read_whole_log,
    require_accepted,
    wait_for_head_waiter,
)


def create_command_id(key: bytes = b"key", request: bytes = b"request") -> CommandId:
    return CommandId(key=key, request_hash=request)


@EVERY_POSTGRES
async def test_a_command_is_given_the_positions_of_its_facts(database: str) -> None:
    stream, project = uuid4(), uuid4()
    async with open_log(database) as log:
        first = require_accepted(await log.append(create_append(stream, 0, CREATED, RENAMED, project=project)))
        second = require_accepted(await log.append(create_append(stream, 2)))
        assert (first.version, first.position) == (2, 2)
        assert (second.version, second.position) == (3, 3)
        assert await read_whole_log(log) == [*first.recorded, *second.recorded]
        assert [(event.position, event.version, event.project_id) for event in first.recorded] == [
            (1, 1, project),
            (2, 2, project),
        ]


@EVERY_POSTGRES
async def test_a_command_against_an_old_version_conflicts_and_its_neighbours_do_not(database: str) -> None:
    stream = uuid4()
    async with open_log(database) as log:
        await log.append(create_append(stream, 0))
        outcomes = await asyncio.gather(
            log.append(create_append(uuid4(), 0)),
            log.append(create_append(stream, 0)),
            log.append(create_append(uuid4(), 0)),
            log.append(create_append(uuid4(), 3)),  # a version that the stream has not reached
            return_exceptions=True,
        )
        assert [type(outcome) for outcome in outcomes] == [Accepted, Conflict, Accepted, Conflict]
        assert [event.position for event in await read_whole_log(log)] == [1, 2, 3]


async def test_a_command_without_facts_is_a_mistake(database: str) -> None:
    async with open_log(database) as log:
        empty = msgspec.structs.replace(create_append(uuid4(), 0), facts=())
        with pytest.raises(ValueError, match="must append at least one fact"):
            await log.append(empty)


@EVERY_POSTGRES
async def test_a_guard_that_has_moved_is_a_conflict_of_its_command_alone(database: str) -> None:
    guarded = uuid4()
    async with open_log(database) as log:
        await log.append(create_append(guarded, 0))
        outcomes = await asyncio.gather(
            log.append(create_append(uuid4(), 0, guards=(Guard(guarded, 1),))),
            log.append(create_append(uuid4(), 0, guards=(Guard(guarded, 0),))),
            log.append(create_append(uuid4(), 0, guards=(Guard(guarded, 1), Guard(uuid4(), 0)))),
            log.append(create_append(uuid4(), 0, guards=(Guard(guarded, 1), Guard(uuid4(), 7)))),
            return_exceptions=True,
        )
        assert [type(outcome) for outcome in outcomes] == [Accepted, Conflict, Accepted, Conflict]


async def test_a_guard_notices_a_write_that_was_waiting_before_it(database: str) -> None:
    guarded = uuid4()
    async with open_log(database) as log:
        await log.append(create_append(guarded, 0))
        moved, decided = await asyncio.gather(
            log.append(create_append(guarded, 1)),
            log.append(create_append(uuid4(), 0, guards=(Guard(guarded, 1),))),
            return_exceptions=True,
        )
        assert isinstance(moved, Accepted)
        assert isinstance(decided, Conflict)


async def test_a_write_that_was_waiting_after_a_guard_does_not_fail_it(database: str) -> None:
    guarded = uuid4()
    async with open_log(database) as log:
        await log.append(create_append(guarded, 0))
        decided, moved = await asyncio.gather(
            log.append(create_append(uuid4(), 0, guards=(Guard(guarded, 1),))), log.append(create_append(guarded, 1))
        )
        assert require_accepted(decided).position < require_accepted(moved).position


@EVERY_POSTGRES
async def test_commands_on_one_stream_that_wait_together_are_taken_in_turn(database: str) -> None:
    stream = uuid4()
    async with open_log(database) as log:
        outcomes = await asyncio.gather(*(log.append(create_append(stream, version)) for version in range(20)))
        assert [require_accepted(outcome).position for outcome in outcomes] == list(range(1, 21))


async def test_of_two_commands_on_one_version_that_wait_together_the_first_wins(database: str) -> None:
    stream = uuid4()
    async with open_log(database) as log:
        first, second = await asyncio.gather(
            log.append(create_append(stream, 0)), log.append(create_append(stream, 0)), return_exceptions=True
        )
        assert isinstance(first, Accepted)
        assert isinstance(second, Conflict)


@EVERY_POSTGRES
async def test_a_command_with_a_known_id_is_answered_with_what_it_came_to(database: str) -> None:
    stream = uuid4()
    async with open_log(database) as log:
        first = require_accepted(
            await log.append(create_append(stream, 0, CREATED, RENAMED, command_id=create_command_id()))
        )
        await log.append(create_append(stream, 2))
        again = await log.append(create_append(stream, 0, CREATED, RENAMED, command_id=create_command_id()))
        assert again == Repeated(
            request_hash=b"request",
            stream_id=stream,
            version=2,
            position=first.position,
            recorded_at=first.recorded_at,
        )
        assert (await log.head())[0] == 3


async def test_another_request_under_a_known_id_is_told_by_the_hash(database: str) -> None:
    async with open_log(database) as log:
        await log.append(create_append(uuid4(), 0, command_id=create_command_id(request=b"one")))
        again = await log.append(create_append(uuid4(), 0, command_id=create_command_id(request=b"another")))
        assert isinstance(again, Repeated)
        assert again.request_hash == b"one"


@EVERY_POSTGRES
async def test_an_id_that_is_sent_twice_at_once_takes_effect_once(database: str) -> None:
    async with open_log(database) as log:
        outcomes = await asyncio.gather(
            *(log.append(create_append(uuid4(), 0, command_id=create_command_id())) for _ in range(5))
        )
        assert [type(outcome) for outcome in outcomes] == [Accepted, *[Repeated] * 4]
        assert (await log.head())[0] == 1


async def test_an_id_of_a_command_that_conflicted_is_free(database: str) -> None:
    stream = uuid4()
    async with open_log(database) as log:
        with pytest.raises(Conflict):
            await log.append(create_append(stream, 4, command_id=create_command_id()))
        assert await log.find_repeated(b"key") is None
        require_accepted(await log.append(create_append(stream, 0, command_id=create_command_id())))
        assert await log.find_repeated(b"key") is not None


async def test_a_caller_that_goes_away_before_its_command_is_sent_takes_it_along(database: str) -> None:
    async with open_log(database) as log:
        gone = asyncio.create_task(log.append(create_append(uuid4(), 0)))
        kept = asyncio.create_task(log.append(create_append(uuid4(), 0)))
        await asyncio.sleep(0)  # both are in the queue, and the appender has not had its turn
        gone.cancel()
        assert require_accepted(await kept).position == 1
        assert (await log.head())[0] == 1


async def test_a_command_whose_caller_goes_away_while_it_is_sent_stays_whole(database: str) -> None:
    told: list[int] = []
    async with open_log(database) as log:
        log.tell(lambda recorded: told.extend(event.position for event in recorded))
        async with await psycopg.AsyncConnection.connect(database) as holder:
            await holder.execute("select from log_head for update")
            gone = asyncio.create_task(log.append(create_append(uuid4(), 0, CREATED, RENAMED)))
            await wait_for_head_waiter(database)
            gone.cancel()
        assert require_accepted(await log.append(create_append(uuid4(), 0))).position == 3
        assert told == [1, 2, 3]


async def test_a_fact_that_is_too_large_fails_its_own_command(database: str) -> None:
    async with open_log(database) as log:
        with pytest.raises(FactTooLarge, match="the limit is 262144"):
            await log.append(create_append(uuid4(), 0, ProjectCreated(name="x" * MAX_FACT_BYTES, owner="ada")))
        fits = MAX_FACT_BYTES - len('{"fact":"project.created","name":"","owner":"ada"}')
        require_accepted(await log.append(create_append(uuid4(), 0, ProjectCreated(name="x" * fits, owner="ada"))))


@pytest.mark.parametrize("text", ["NUL\0", "\ud800"])
async def test_text_that_cannot_be_stored_fails_its_own_command(database: str, text: str) -> None:
    metadata = Metadata(actor=Actor(kind="user", id=text), correlation_id="c")
    async with open_log(database) as log:
        outcomes = await asyncio.gather(
            log.append(create_append(uuid4(), 0)),
            log.append(create_append(uuid4(), 0, ProjectCreated(name=text, owner="ada"))),
            log.append(create_append(uuid4(), 0, metadata=metadata)),
            log.append(create_append(uuid4(), 0)),
            return_exceptions=True,
        )
        assert [type(outcome) for outcome in outcomes] == [Accepted, UnstorableText, UnstorableText, Accepted]


@EVERY_POSTGRES
@pytest.mark.parametrize("guilty", [0, 6, 19])
async def test_a_command_that_the_database_refuses_fails_alone(database: str, guilty: int) -> None:
    """For faults that no check foresees, such as a constraint that an operator added to the table."""
    streams = [uuid4() for _ in range(20)]
    with psycopg.connect(database) as connection:
        connection.execute(f"alter table events add check (originator_id <> '{streams[guilty]}')".encode())
    async with open_log(database) as log:
        outcomes = await asyncio.gather(
            *(log.append(create_append(stream, 0)) for stream in streams), return_exceptions=True
        )
        kinds = [psycopg.errors.CheckViolation if n == guilty else Accepted for n in range(20)]
        assert [type(outcome) for outcome in outcomes] == kinds
        assert [event.stream_id for event in await read_whole_log(log)] == [
            s for n, s in enumerate(streams) if n != guilty
        ]
        require_accepted(await log.append(create_append(uuid4(), 0)))


async def test_a_command_that_cannot_be_sent_fails_alone(database: str) -> None:
    async with open_log(database) as log:
        outcomes = await asyncio.gather(
            *(log.append(create_append(uuid4(), expected)) for expected in (0, 2**70, 0)), return_exceptions=True
        )
        assert [isinstance(outcome, Accepted) for outcome in outcomes] == [True, False, True]
        require_accepted(await log.append(create_append(uuid4(), 0)))


async def test_more_waiting_commands_than_settings_allow_are_refused_at_once(database: str) -> None:
    async with open_log(database, StoreSettings(append_queue_commands=3)) as log:
        outcomes = await asyncio.gather(
            *(log.append(create_append(uuid4(), 0)) for _ in range(5)), return_exceptions=True
        )
        assert [type(outcome) for outcome in outcomes] == [Accepted] * 3 + [QueueFull] * 2
        require_accepted(await log.append(create_append(uuid4(), 0)))


@EVERY_POSTGRES
async def test_many_commands_that_come_at_once_are_sent_in_two_so_that_both_sides_work(database: str) -> None:
    async with open_log(database) as log:
        appends = (log.append(create_append(uuid4(), 0)) for _ in range(EARLIEST_COMMANDS + 36))
        outcomes = [require_accepted(outcome) for outcome in await asyncio.gather(*appends)]
    batches = Counter(outcome.recorded_at for outcome in outcomes)  # a batch is stamped once
    assert sorted(batches.values()) == [36, EARLIEST_COMMANDS]
    assert [outcome.position for outcome in outcomes] == list(range(1, EARLIEST_COMMANDS + 37))


async def test_few_commands_that_come_at_once_are_one_batch(database: str) -> None:
    async with open_log(database) as log:
        appends = (log.append(create_append(uuid4(), 0)) for _ in range(EARLIEST_COMMANDS - 1))
        outcomes = [require_accepted(outcome) for outcome in await asyncio.gather(*appends)]
    assert len({outcome.recorded_at for outcome in outcomes}) == 1


async def test_the_time_of_recording_never_decreases(database: str) -> None:
    """A head from the future stands for a clock that was set back."""
    async with open_log(database) as log:
        before = require_accepted(await log.append(create_append(uuid4(), 0)))
        async with await psycopg.AsyncConnection.connect(database) as connection:
            await connection.execute("update log_head set recorded_at = now() + interval '1 hour'")
        ahead = require_accepted(await log.append(create_append(uuid4(), 0)))
        after = require_accepted(await log.append(create_append(uuid4(), 0)))
        assert before.recorded_at < ahead.recorded_at == after.recorded_at
