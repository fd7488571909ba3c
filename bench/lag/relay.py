"""Throughput of the relay over a log of which nothing was relayed: alone in its process, acknowledged by JetStream."""

import asyncio
import time
from typing import Final

import uvloop

from bench.harness.progress import print_progress
from bench.lag.facts import FACTS_OF_A_RUN, appends_of_a_run
from bus.feed import Feed
from bus.nats.connection import connected_to_nats
from bus.nats.relay import Relay
from bus.settings import FeedSettings, NatsServers, NatsSettings
from store.log.log import Log
from store.settings import StoreSettings

AT_ONCE: Final = 256
WAIT_SECONDS_MAX: Final = 300.0
POLL_SECONDS: Final = 0.01


def relay_rate(conninfo: str, url: str, events: int) -> float:
    """Fill a log, let the relay publish all of it, and return the events per second."""
    return uvloop.run(_measure(conninfo, url, events))


async def _measure(conninfo: str, url: str, events: int) -> float:
    log = Log(conninfo, StoreSettings())
    async with log.open_readers() as identity, asyncio.TaskGroup() as group:
        serving = [group.create_task(log.run())]
        await log.wait_until_connected()
        print_progress(f"filling a log with {events:,} events")
        await _fill(log, events)
        feed = Feed(log, FeedSettings())
        serving.append(group.create_task(feed.run()))
        relay = Relay(conninfo, identity, feed, NatsSettings())
        async with connected_to_nats(NatsSettings(url=NatsServers(url)), "bench") as session:
            begun = time.perf_counter()
            serving.append(group.create_task(relay.run(session.client)))
            async with asyncio.timeout(WAIT_SECONDS_MAX):
                head, _ = await log.head()
                while relay.position < head:  # noqa: ASYNC110  # the relay tells nobody, in the product either
                    await asyncio.sleep(POLL_SECONDS)
            rate = head / (time.perf_counter() - begun)
            print_progress(f"  {rate:,.0f} events/s")
            for task in reversed(serving):
                task.cancel()
    return rate


async def _fill(log: Log, events: int) -> None:
    """Append runs concurrently until there are this many events."""
    runs = iter(range(events // FACTS_OF_A_RUN))

    async def caller() -> None:
        for _ in runs:
            for append in appends_of_a_run():
                await log.append(append)

    await asyncio.gather(*(caller() for _ in range(AT_ONCE)))
