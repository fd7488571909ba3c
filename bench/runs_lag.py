"""How far the read models are behind the log, sampled while runs are going on."""

import asyncio
from contextlib import suppress
from typing import Final

from msgspec import Struct

from bench.figures import percentile
from callsheet.projection_wiring import PROJECTIONS
from domain.fact import topic_of
from store.connections import connect

SAMPLE_SECONDS: Final = 0.1

AGE: Final = """
select coalesce(max(extract(epoch from clock_timestamp() - oldest.recorded_at)) * 1000, 0)::float8
  from checkpoints c
 cross join lateral (
       select e.recorded_at
         from events e
        where e.notification_id > c.position
          and exists (select from unnest(%(projections)b::text[], %(topics)b::text[]) as w (projection, topic)
                       where w.projection = c.projection and w.topic = e.topic)
        order by e.notification_id
        limit 1) as oldest
 where c.projection = any (%(projections)b::text[])
"""
"""The age of the oldest fact that a projection wants and has not committed, of all projections the worst, in ms.

A checkpoint moves in the transaction that writes the read model, so this is what a reader of the tables sees. The row
of a projection may stand behind facts that it does not want: they change nothing that could be read.
"""


class Lag(Struct, frozen=True, kw_only=True):
    """The lag over a time, from samples of all projections."""

    samples: int
    p50_ms: float
    p99_ms: float
    max_ms: float


class LagSampler:
    """Samples the lag until it is told to stop."""

    def __init__(self, conninfo: str) -> None:
        """Make it; it does nothing until `run`."""
        self._conninfo = conninfo
        self._stopping = asyncio.Event()
        self._samples: list[float] = []

    async def run(self) -> Lag:
        """Sample ten times a second."""
        wanted = _wanted()
        async with await connect(self._conninfo) as connection:
            cursor = connection.cursor(binary=True)
            while not self._stopping.is_set():
                await cursor.execute(AGE, wanted, prepare=True)
                row = await cursor.fetchone()
                self._samples.append(0.0 if row is None else row[0])
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), SAMPLE_SECONDS)
        return lag(self._samples)

    def stop(self) -> None:
        """Let `run` return."""
        self._stopping.set()


def lag(samples_ms: list[float]) -> Lag:
    """Sum up samples."""
    ordered = sorted(samples_ms)
    return Lag(
        samples=len(ordered),
        p50_ms=round(percentile(ordered, 50), 1),
        p99_ms=round(percentile(ordered, 99), 1),
        max_ms=round(percentile(ordered, 100), 1),
    )


def _wanted() -> dict[str, list[str]]:
    """Give the topics of each projection, as two columns."""
    pairs = [(one.name, topic_of(kind)) for make in PROJECTIONS.values() for one in (make(),) for kind in one.wants]
    return {"projections": [name for name, _ in pairs], "topics": [topic for _, topic in pairs]}
