"""Following a run for a caller who waits: also when more facts come than are kept for it."""

import asyncio

from bus.watch import MOST_UNTAKEN, StreamWatch
from commands.aggregates import RUN
from commands.repository import Streams
from gateway.runs.wait import follow_run
from tests.support.engine.harness import open_harness, reviews
from tests.support.graphs import graph


async def test_a_wait_whose_time_is_up_gives_the_run_even_when_its_watch_was_overrun(database: str) -> None:
    async with open_harness(database) as here:
        run_id = await here.begin(graph(reviews("d")))
        streams = Streams(here.log, most_cached=10)
        loaded = await streams.reload(RUN, run_id)
        assert loaded is not None
        (begun, *_) = await here.log.read_stream(run_id)
        watch = StreamWatch()

        def overrun() -> None:
            for _ in range(MOST_UNTAKEN + 1):
                watch.take(begun)

        asyncio.get_running_loop().call_soon(overrun)  # while it waits, and none of it is what it waits for
        assert await follow_run(loaded, watch, streams, seconds=0.01) == loaded
