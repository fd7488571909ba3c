"""The anchor: the PostgreSQL recorder of the `eventsourcing` library as it comes, from one thread and from eight."""

import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from psycopg.conninfo import conninfo_to_dict
from uuid_utils.compat import uuid7

from bench.append.event import STATE, TOPIC
from bench.harness.figures import Figures, figures

THREADS = (1, 8)


def measure(conninfo: str, threads: int, seconds: float, warm_up_seconds: float) -> Figures:
    """Append one event a call from so many threads."""
    with _recorder(conninfo) as recorder:
        _callers(recorder, threads, warm_up_seconds)
        begun = time.perf_counter()
        latencies = _callers(recorder, threads, seconds)
        return figures(latencies, time.perf_counter() - begun)


@contextmanager
def _recorder(conninfo: str) -> Generator[PostgresApplicationRecorder]:
    given = {name: str(value) for name, value in conninfo_to_dict(conninfo).items() if value is not None}
    datastore = PostgresDatastore(
        dbname=given["dbname"],
        host=given.get("host", ""),
        port=given.get("port", "5432"),
        user=given.get("user", ""),
        password=given.get("password", ""),
        pool_size=max(THREADS),
    )
    try:
        recorder = PostgresApplicationRecorder(datastore)
        recorder.create_table()
        yield recorder
    finally:
        datastore.close()


def _callers(recorder: PostgresApplicationRecorder, threads: int, seconds: float) -> list[float]:
    deadline = time.perf_counter() + seconds
    with ThreadPoolExecutor(threads) as pool:
        callers = [pool.submit(_caller, recorder, deadline) for _ in range(threads)]
        return [latency for caller in callers for latency in caller.result()]


def _caller(recorder: PostgresApplicationRecorder, deadline: float) -> list[float]:
    latencies: list[float] = []
    while (begun := time.perf_counter()) < deadline:
        recorder.insert_events([StoredEvent(originator_id=uuid7(), originator_version=1, topic=TOPIC, state=STATE)])
        latencies.append(time.perf_counter() - begun)
    return latencies
