"""The watches of a feed: a batch holds facts of many streams, and each watch receives only those of its stream."""

from uuid import uuid4

from bus.feed import Feed
from tests.support.bus.given import append_project, open_process


async def test_each_watch_hears_of_its_own_stream_and_of_no_other(database: str) -> None:
    async with open_process(database) as here:
        feed: Feed = here.feed
        await append_project(here.log)
        await append_project(here.log)
        page = await feed.read(0, 10)
        event, other = (fact.stream_id for fact in page.events[:2])
        assert event != other
        with feed.watch(event) as first, feed.watch(other) as second, feed.watch(uuid4()) as third:
            feed._notify_watches([*page.events, *page.events])  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # as a batch comes
            assert [fact.stream_id for fact in first.rest()] == [event, event]
            assert [fact.stream_id for fact in second.rest()] == [other, other]
            assert third.rest() == []
