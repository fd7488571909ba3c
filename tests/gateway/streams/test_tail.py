"""The tail of the log: a slow reader gets `lagging`, and misses no fact."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import uuid_utils.compat

from bus.watch import MOST_UNTAKEN
from domain.project import ProjectRenamed
from gateway.drain import Drain
from gateway.streams.sources import RunFacts
from gateway.streams.tail import Batch, LogTail, Pace
from tests.support.bus.given import Process, append_project, open_process
from tests.support.store.given import create_append, require_accepted
from tests.support.waiting import eventually

FACTS_PER_APPEND = 500


async def append_more_than_a_watch_holds(process: Process, stream: UUID) -> int:
    """Append facts to a stream until a watch overflows; return the last position."""
    version, position = 1, 0
    while version <= MOST_UNTAKEN + FACTS_PER_APPEND:
        facts = (ProjectRenamed(name=str(number)) for number in range(FACTS_PER_APPEND))
        accepted = require_accepted(await process.log.append(create_append(stream, version, *facts, project=stream)))
        version, position = accepted.version, accepted.position

    async def has_all() -> bool:
        return process.feed.through >= position

    await eventually(has_all, what="the feed has all")
    return position


async def test_a_slow_reader_is_told_and_reads_on_from_the_log(database: str) -> None:
    async with open_process(database) as process:
        await process.wait_until_started()
        stream = uuid_utils.compat.uuid7()
        first = await append_project(process.log, stream=stream)
        tail = LogTail(
            RunFacts(process.feed, process.log, Drain(process.feed), stream), after=0, heartbeat_seconds=20
        ).follow()
        batches: list[Batch] = [await anext(tail)]
        while not batches[-1].is_live:
            batches.append(await anext(tail))
        last = await append_more_than_a_watch_holds(process, stream)
        while batches[-1].through < last:
            batches.append(await anext(tail))
        batches.append(await anext(tail))
        assert [batch.lagging for batch in batches].count(True) == 1
        assert batches[-1].is_live
        positions = [fact.position for batch in batches for fact in batch.facts]
        assert positions == list(range(first, last + 1))


def test_a_pause_follows_the_times_of_the_facts_and_is_bounded() -> None:
    pace = Pace(speed=8, gap_seconds_max=10)
    noon = datetime(2026, 5, 1, 12, tzinfo=UTC)
    assert pace.compute_pause(noon, noon + timedelta(seconds=4)) == 0.5
    assert pace.compute_pause(noon, noon + timedelta(hours=1)) == 10
    assert pace.compute_pause(noon, noon - timedelta(seconds=4)) == 0, "the clock was set back"
