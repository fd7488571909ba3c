"""A watch on one stream: what wakes its watcher, and what it keeps."""

import asyncio
from datetime import UTC, datetime
from uuid import UUID

import pytest

from bus.watch import MOST_UNTAKEN, StreamWatch, Watching, WatchOverrun
from domain.project import ProjectRenamed
from store.log.records import Actor, Metadata, Recorded

STREAM = UUID(int=1)


def create_event(version: int) -> Recorded:
    return Recorded(
        position=version,
        stream_id=STREAM,
        version=version,
        workspace_id=STREAM,
        project_id=None,
        fact=ProjectRenamed(name=str(version)),
        metadata=Metadata(actor=Actor("user", "ada"), correlation_id="x"),
        recorded_at=datetime(2026, 5, 1, tzinfo=UTC),
    )


def is_fifth(recorded: Recorded) -> bool:
    return recorded.version == 5


async def test_a_watcher_takes_all_that_came_at_once() -> None:
    watch = StreamWatch()
    watch.take(create_event(1))
    watch.take(create_event(2))
    assert [event.version for event in await watch.facts()] == [1, 2]


async def test_a_watcher_who_waits_for_one_fact_is_woken_by_it_with_all_before() -> None:
    watch = StreamWatch()
    watch.take(create_event(1))
    watch.until(is_fifth)
    waiting = asyncio.create_task(watch.facts())
    for version in (2, 3, 4):
        watch.take(create_event(version))
        await asyncio.sleep(0)
        assert not waiting.done()
    watch.take(create_event(5))
    assert [event.version for event in await waiting] == [1, 2, 3, 4, 5]


async def test_a_fact_that_came_before_it_was_waited_for_wakes_too() -> None:
    watch = StreamWatch()
    watch.take(create_event(5))
    watch.until(is_fifth)
    assert [event.version for event in await watch.facts()] == [5]


async def test_a_stopped_watch_gives_its_reason_and_what_came_before() -> None:
    watch = StreamWatch()
    watch.until(is_fifth)
    watch.take(create_event(1))
    watch.stop(ValueError("stopped"))
    with pytest.raises(ValueError, match="stopped"):
        await watch.facts()
    assert [event.version for event in watch.rest()] == [1]


async def test_what_is_past_the_bound_is_let_go_and_said() -> None:
    watch = StreamWatch()
    for version in range(6, MOST_UNTAKEN + 8):
        watch.take(create_event(version))
    watch.until(is_fifth)
    with pytest.raises(WatchOverrun):
        await watch.facts()
    watch.take(create_event(5))
    assert [event.version for event in await watch.facts()] == [5]


def test_a_watch_is_there_while_its_block_lasts_however_that_ends_and_nothing_of_it_stays() -> None:
    by_stream: dict[int, set[StreamWatch]] = {}
    drained: set[StreamWatch] = set()

    def ended_by_a_fault() -> None:
        with Watching(StreamWatch(), by_stream, STREAM.int, drained) as inner:
            assert (by_stream, drained) == ({STREAM.int: {outer, inner}}, {inner})
            raise ValueError("stopped")

    with Watching(StreamWatch(), by_stream, STREAM.int) as outer:
        with pytest.raises(ValueError, match="stopped"):
            ended_by_a_fault()
        assert (by_stream, drained) == ({STREAM.int: {outer}}, set())
    assert by_stream == {}
