"""Laws of the log under concurrent writers: positions gapless, versions contiguous, one winner a version."""

import asyncio
import subprocess
import sys
from collections import defaultdict
from itertools import pairwise
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.project import ProjectRenamed
from store.errors import Conflict
from store.log.log import Log
from store.log.records import Accepted, Recorded
from store.settings import StoreSettings
from tests.support.servers.postgres import EVERY_POSTGRES
from tests.support.store.given import create_append, open_log, read_whole_log, require_accepted

Command = tuple[int, int, int]
"""Of which stream, against which version, with how many facts."""

COMMANDS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(1, 3)), min_size=1, max_size=40)
LAW = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


async def append_command(log: Log, streams: list[UUID], command: Command) -> tuple[Command, Accepted | None]:
    stream, expected, facts = command
    names = (ProjectRenamed(name=f"{expected}/{n}") for n in range(facts))
    try:
        return command, require_accepted(await log.append(create_append(streams[stream], expected, *names)))
    except Conflict:
        return command, None


def assert_gapless(events: list[Recorded], after: int) -> None:
    """In order of position, which is the order of commits: so the times never decrease either."""
    assert [event.position for event in events] == list(range(after + 1, after + 1 + len(events)))
    assert all(earlier.recorded_at <= later.recorded_at for earlier, later in pairwise(events))


def assert_contiguous(events: list[Recorded]) -> None:
    versions: dict[UUID, list[int]] = defaultdict(list)
    for event in events:
        versions[event.stream_id].append(event.version)
    assert all(found == list(range(1, len(found) + 1)) for found in versions.values())


@EVERY_POSTGRES
@LAW
@given(here=COMMANDS, there=COMMANDS, batch=st.integers(1, 20))
async def test_positions_are_gapless_versions_contiguous_and_each_version_has_one_winner(
    database: str, here: list[Command], there: list[Command], batch: int
) -> None:
    streams = [uuid4() for _ in range(4)]
    async with open_log(database, StoreSettings(append_batch_events=batch)) as ours, open_log(database) as theirs:
        after, _ = await ours.head()
        outcomes = await asyncio.gather(
            *(append_command(ours, streams, command) for command in here),
            *(append_command(theirs, streams, command) for command in there),
        )
        events = [event for event in await read_whole_log(ours) if event.position > after]
    assert_gapless(events, after)
    assert_contiguous(events)
    won = [(stream, expected) for (stream, expected, _), accepted in outcomes if accepted is not None]
    assert len(won) == len(set(won))
    recorded = [event for _, accepted in outcomes if accepted is not None for event in accepted.recorded]
    assert sorted(recorded, key=lambda event: event.position) == events


@EVERY_POSTGRES
async def test_two_processes_append_to_one_log_without_a_gap_and_each_in_its_own_order(database: str) -> None:
    commands, theirs_count = 200, 2_000  # enough that a starved process cannot miss all of the other's time
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.store.second_process", database, str(theirs_count), stdout=subprocess.PIPE
    )
    async with open_log(database) as log:
        ours: list[int] = []
        while other.returncode is None or len(ours) < commands:
            batch = await asyncio.gather(*(log.append(create_append(uuid4(), 0)) for _ in range(8)))
            ours += [require_accepted(outcome).position for outcome in batch]
        told, _ = await other.communicate()
        theirs = [int(line) for line in told.split()]
        events = await read_whole_log(log)
    assert other.returncode == 0
    assert len(theirs) == theirs_count
    assert ours == sorted(ours)
    assert theirs == sorted(theirs)
    assert sorted(ours + theirs) == list(range(1, len(events) + 1))
    assert_gapless(events, 0)
    assert min(theirs) < max(ours), "the two did not write at the same time"


@pytest.mark.parametrize("racers", [2, 8])
async def test_of_racing_deciders_on_one_stream_one_wins_each_version(database: str, racers: int) -> None:
    stream, rounds = uuid4(), 30

    async def decide_again_and_again(log: Log) -> int:
        won = 0
        while (version := len(await log.read_stream(stream))) < rounds:
            won += (await append_command(log, [stream], (0, version, 1)))[1] is not None
        return won

    async with open_log(database) as ours, open_log(database) as theirs:
        won = await asyncio.gather(*(decide_again_and_again((ours, theirs)[n % 2]) for n in range(racers)))
        events = await ours.read_stream(stream)
    assert sum(won) == len(events) == rounds
    assert_contiguous(events)
