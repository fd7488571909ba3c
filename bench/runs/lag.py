"""Lag of the read models behind the log, sampled during a load."""

import asyncio
from contextlib import suppress
from typing import Final, get_args

from msgspec import Struct

from bench.harness.figures import percentile
from callsheet.wiring.projections import PROJECTIONS
from domain.runs.facts import RunFact
from store.postgres.connections import connect

SAMPLE_SECONDS: Final = 0.1

AGE: Final = """
select coalesce(max(extract(epoch from clock_timestamp() - next.recorded_at)) * 1000, 0)::float8
  from checkpoints c join events next on next.notification_id = c.position + 1
 where c.projection = any (%(projections)b::text[])
"""
"""The age of the oldest fact that a projection has not committed, in ms: the worst of those that want all run facts.

A checkpoint moves in the transaction that writes the read model, so this is what a reader of the tables sees. The other
projections are left out: their rows stand behind facts that they do not want, and to look past those, ten times a
second, took a third of a core from what is measured.
"""


class Lag(Struct, frozen=True, kw_only=True):
    """The lag over a time, from samples of the projections that want every fact of runs."""

    samples: int
    p50_ms: float
    p99_ms: float
    max_ms: float


class LagSampler:
    """Samples the lag until `stop` is called."""

    def __init__(self, conninfo: str) -> None:
        """Create it; sampling starts with `run`."""
        self._conninfo = conninfo
        self._stopping = asyncio.Event()
        self._samples: list[float] = []

    async def run(self) -> Lag:
        """Sample ten times a second."""
        wanted = _find_run_projections()
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
        """End `run` after the current sample."""
        self._stopping.set()


def lag(samples_ms: list[float]) -> Lag:
    """Return the percentiles of samples."""
    ordered = sorted(samples_ms)
    return Lag(
        samples=len(ordered),
        p50_ms=round(percentile(ordered, 50), 1),
        p99_ms=round(percentile(ordered, 99), 1),
        max_ms=round(percentile(ordered, 100), 1),
    )


def _find_run_projections() -> dict[str, list[str]]:
    """Return the names of the projections that handle every fact of runs."""
    of_runs = frozenset(get_args(RunFact))
    return {
        "projections": [
            projection.name for make in PROJECTIONS.values() for projection in (make(),) if of_runs <= projection.wants
        ]
    }
