"""Commands that may share a batch."""

import asyncio
from collections import deque
from collections.abc import Sequence
from uuid import UUID, uuid4

from domain.project import ProjectRenamed
from store.log.batch import Waiting, take_batch, waiting
from store.log.records import Append, CommandId, Guard
from tests.support.store.given import RENAMED, create_append

LARGE = 1_000_000


def queue_commands(*commands: Append) -> deque[Waiting]:
    loop = asyncio.get_running_loop()
    return deque(waiting(command, loop.create_future()) for command in commands)


def list_appends(batch: Sequence[Waiting] | deque[Waiting]) -> list[Append]:
    return [waiting_command.append for waiting_command in batch]


async def test_a_batch_holds_one_command_a_stream_and_leaves_the_others_in_their_order() -> None:
    hot, cold = uuid4(), uuid4()
    commands = [create_append(hot, 0), create_append(hot, 1), create_append(cold, 0), create_append(hot, 2)]
    queue = queue_commands(*commands)
    assert list_appends(take_batch(queue, 10, LARGE)) == [commands[0], commands[2]]
    assert list_appends(queue) == [commands[1], commands[3]]


async def test_a_batch_holds_one_command_an_id() -> None:
    command_id = CommandId(key=b"k", request_hash=b"r")
    commands = [create_append(uuid4(), 0, command_id=command_id) for _ in range(2)]
    queue = queue_commands(*commands)
    assert list_appends(take_batch(queue, 10, LARGE)) == commands[:1]
    assert list_appends(take_batch(queue, 10, LARGE)) == commands[1:]


async def test_no_guard_travels_with_a_write_of_its_stream_in_either_order() -> None:
    stream = uuid4()
    write, decided = create_append(stream, 0), create_append(uuid4(), 0, guards=(Guard(stream, 0),))
    for commands in ([write, decided], [decided, write]):
        queue = queue_commands(*commands)
        assert list_appends(take_batch(queue, 10, LARGE)) == commands[:1]
        assert list_appends(queue) == commands[1:]


async def test_a_command_does_not_pass_an_earlier_one_of_its_stream_that_has_to_wait() -> None:
    guarded, stream = uuid4(), uuid4()
    commands = [
        create_append(guarded, 0),
        create_append(stream, 0, guards=(Guard(guarded, 0),)),
        create_append(stream, 1),
    ]
    queue = queue_commands(*commands)
    assert list_appends(take_batch(queue, 10, LARGE)) == commands[:1]
    assert list_appends(queue) == commands[1:]


async def test_a_batch_is_closed_once_it_holds_enough_events_and_is_never_empty() -> None:
    commands = [create_append(uuid4(), 0, *[RENAMED] * 5) for _ in range(3)]
    queue = queue_commands(*commands)
    assert list_appends(take_batch(queue, 6, LARGE)) == commands[:2]
    assert list_appends(take_batch(queue, 1, LARGE)) == commands[2:]


async def test_a_batch_is_closed_once_it_holds_enough_bytes_and_is_never_empty() -> None:
    commands = [create_append(uuid4(), 0, ProjectRenamed(name="x" * 1_000)) for _ in range(4)]
    queue = queue_commands(*commands)
    assert list_appends(take_batch(queue, 10, 2_000)) == commands[:2]
    assert list_appends(take_batch(queue, 10, 1)) == commands[2:3]


async def test_a_command_whose_caller_went_away_is_dropped() -> None:
    queue = queue_commands(create_append(uuid4(), 0), create_append(uuid4(), 0))
    queue[0].outcome.cancel()
    kept = queue[1].append
    assert list_appends(take_batch(queue, 10, LARGE)) == [kept]
    assert not queue


async def test_behind_one_busy_stream_only_so_much_of_the_queue_is_looked_at() -> None:
    busy: UUID = uuid4()
    queue = queue_commands(*(create_append(busy, version) for version in range(100)), create_append(uuid4(), 0))
    assert [command.expected_version for command in list_appends(take_batch(queue, 10, LARGE))] == [0]
    assert [command.expected_version for command in list_appends(queue)] == [*range(1, 100), 0]
