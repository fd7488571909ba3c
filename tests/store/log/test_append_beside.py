"""Appending beside other facts: a command that only some facts contradict moves along with its stream."""

import asyncio
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.project import ProjectArchived, ProjectRenamed
from store.errors import Conflict
from store.log.log import Log
from store.log.records import Accepted, Append, CommandId, Guard, Repeated
from tests.support.servers.postgres import EVERY_POSTGRES
from tests.support.store.given import CREATED, create_append, open_log, read_whole_log, require_accepted

ARCHIVED = ProjectArchived()
CONTRADICTS = ("project.archived", "project.restored")


def create_tolerant_append(stream: UUID, expected: int, *facts: ProjectRenamed, key: bytes | None = None) -> Append:
    """Create a command that only the end of a project contradicts."""
    command_id = None if key is None else CommandId(key=key, request_hash=b"r")
    return create_append(stream, expected, *facts, contradicted_by=CONTRADICTS, command_id=command_id)


async def append_renames(log: Log, stream: UUID, times: int) -> None:
    """Create a project, and rename it so many times."""
    await log.append(create_append(stream, 0, CREATED, *(ProjectRenamed(name=str(number)) for number in range(times))))


@EVERY_POSTGRES
async def test_a_command_stands_beside_the_facts_that_came_meanwhile(database: str) -> None:
    stream = uuid4()
    async with open_log(database) as log:
        await append_renames(log, stream, 4)
        late = require_accepted(
            await log.append(create_tolerant_append(stream, 2, ProjectRenamed(name="x"), ProjectRenamed(name="y")))
        )
        after = require_accepted(await log.append(create_append(stream, 7)))
        stored = await read_whole_log(log)
    assert (late.version, late.position) == (7, 7)
    assert [event.version for event in late.recorded] == [6, 7]
    assert stored[5:7] == list(late.recorded), "what the caller is told is what stands in the log"
    assert after.version == 8


@EVERY_POSTGRES
async def test_a_fact_that_contradicts_it_makes_it_a_conflict_of_its_command_alone(database: str) -> None:
    stream, other = uuid4(), uuid4()
    async with open_log(database) as log:
        await append_renames(log, stream, 1)
        await append_renames(log, other, 5)
        await log.append(create_append(stream, 2, ARCHIVED, ProjectRenamed(name="later")))
        outcomes = await asyncio.gather(
            log.append(create_tolerant_append(stream, 2)),
            log.append(create_append(uuid4(), 0)),
            log.append(create_tolerant_append(other, 3)),
            log.append(create_append(other, 3)),
            return_exceptions=True,
        )
        before = require_accepted(await log.append(create_tolerant_append(stream, 3)))
    assert [type(outcome) for outcome in outcomes] == [Conflict, Accepted, Accepted, Conflict]
    assert before.version == 5, "what it was decided on may hold the contradiction: it has been seen"


async def test_a_version_that_the_stream_has_not_reached_is_a_conflict_still(database: str) -> None:
    stream = uuid4()
    async with open_log(database) as log:
        await append_renames(log, stream, 1)
        for ahead in (create_tolerant_append(stream, 3), create_tolerant_append(uuid4(), 1)):
            with pytest.raises(Conflict):
                await log.append(ahead)


@EVERY_POSTGRES
async def test_a_repeat_is_answered_with_the_version_that_it_moved_to(database: str) -> None:
    stream = uuid4()
    async with open_log(database) as log:
        await append_renames(log, stream, 4)
        first = require_accepted(await log.append(create_tolerant_append(stream, 1, key=b"k")))
        again = await log.append(create_tolerant_append(stream, 1, key=b"k"))
    assert isinstance(again, Repeated)
    assert (first.version, again.version, again.position) == (6, 6, first.position)


async def test_a_guard_that_has_moved_is_a_conflict_for_it_too(database: str) -> None:
    stream, guarded = uuid4(), uuid4()
    async with open_log(database) as log:
        await append_renames(log, stream, 3)
        await append_renames(log, guarded, 1)
        with pytest.raises(Conflict):
            await log.append(
                create_append(stream, 1, contradicted_by=CONTRADICTS, guards=(Guard(guarded, 1),)),
            )
        assert len(await log.read_stream(stream)) == 4


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 6), st.booleans(), st.booleans()), max_size=12))
async def test_whatever_is_sent_together_each_is_taken_unless_it_is_contradicted(
    database: str, commands: list[tuple[int, int, bool, bool]]
) -> None:
    """Against a model: the streams as lists, and the commands in the order in which the appender takes them."""
    streams = [uuid4() for _ in range(3)]
    model: dict[UUID, list[bool]] = {stream: [False] for stream in streams}
    async with open_log(database) as log:
        for stream in streams:
            await log.append(create_append(stream, 0))
        sent = [
            create_append(
                streams[which], expected, ARCHIVED if ends else ProjectRenamed(name="n"),
                contradicted_by=CONTRADICTS if tolerant else None,
            )
            for which, expected, ends, tolerant in commands
        ]  # fmt: skip
        outcomes = await asyncio.gather(*map(log.append, sent), return_exceptions=True)
        for command, outcome in zip(sent, outcomes, strict=True):
            ended = model[command.stream_id]
            missed = ended[command.expected_version :]
            stands = command.expected_version <= len(ended) and (
                not missed or (command.contradicted_by is not None and not any(missed))
            )
            assert isinstance(outcome, Accepted) is stands, (command, ended)
            if stands:
                ended.append(command.facts == (ARCHIVED,))
        stored = await read_whole_log(log)
        for stream in streams:
            found = [event for event in stored if event.stream_id == stream]
            assert [event.version for event in found] == list(range(1, len(found) + 1))
            assert [event.fact == ARCHIVED for event in found] == model[stream]
