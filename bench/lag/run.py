"""`bench lag`: how long after its commit a fact can be read, when it goes over NATS to a worker in another process."""

import tempfile
from pathlib import Path
from typing import Final

from msgspec import Struct

from bench.harness.figures import Bar, bar
from bench.harness.machine import Machine, machine
from bench.harness.options import Options
from bench.harness.servers import postgres
from bench.lag.nats import nats
from bench.lag.readable import Readable, readable
from bench.lag.relay import relay_rate
from callsheet.wiring.core import COMPONENTS

EVENTS_PER_SECOND: Final = 1_000
P99_MS: Final = 100.0
RELAY_EVENTS_PER_SECOND: Final = 10_000
RELAYED: Final = 100_000
RELAYED_QUICK: Final = 20_000


class LagResult(Struct, frozen=True, kw_only=True):
    """Latency from the commit over NATS into every read model, and the throughput of the relay."""

    bench: str
    quick: bool
    machine: Machine
    p50_ms: float
    p99_ms: float
    relay_events_per_second: float
    lag: Readable
    relayed_events: int
    bars: list[Bar]


def run(options: Options) -> LagResult:
    """Measure, and hold the figures to the bars. Raises EmbeddedUnusable, ServerFailed."""
    seconds = options.seconds or (3.0 if options.quick else 30.0)
    relayed = RELAYED_QUICK if options.quick else RELAYED
    with postgres(options) as database, tempfile.TemporaryDirectory(prefix="callsheet-bench-") as path:
        directory = Path(path)
        where = machine(database.directory)
        with nats(directory) as url:
            rate = round(relay_rate(database.fresh_database("relay", COMPONENTS), url, relayed), 1)
            found = readable(
                database.fresh_database("lag", COMPONENTS), url, directory, rate=EVENTS_PER_SECOND, seconds=seconds
            )
        for name in ("relay", "lag"):
            database.drop_database(name)
    return LagResult(
        bench="lag",
        quick=options.quick,
        machine=where,
        p50_ms=found.p50_ms,
        p99_ms=found.p99_ms,
        relay_events_per_second=rate,
        lag=found,
        relayed_events=relayed,
        bars=[
            bar("events_per_second", found.events_per_second, ">=", 0.98 * EVENTS_PER_SECOND),
            bar("p99_ms", found.p99_ms, "<=", P99_MS),
            bar("relay_events_per_second", rate, ">=", RELAY_EVENTS_PER_SECOND),
        ],
    )
