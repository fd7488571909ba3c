"""The logs that `append` measures on: an empty one, and one that has grown without ever being analysed."""

from typing import Final

import psycopg
from msgspec import Struct
from psycopg import Connection

from bench.append.event import METADATA_TEXT, STATE, TOPIC
from bench.harness.progress import print_progress

CHUNK: Final = 100_000
EVENTS_A_STREAM: Final = 8
"""As many as a run of three steps has, more or less."""

NEVER_ANALYSE: Final = "alter table events set (autovacuum_enabled = false)"
"""Keep the statistics away for as long as the measurement takes: a planner that knows nothing is the hard case."""

GROW: Final = """
insert into events (notification_id, originator_version, recorded_at, originator_id, workspace_id, project_id,
                    state_format, topic, metadata, state)
select n, (n - 1) %% %(a_stream)s + 1, now(),
       (lpad(to_hex(%(since_ms)s + s), 12, '0') || '7' || substr(md5(s::text), 1, 3)
        || '8' || substr(md5(s::text), 4, 15))::uuid,
       '00000000-0000-7000-8000-000000000001', '00000000-0000-7000-8000-000000000002',
       1, %(topic)s, %(metadata)s::text::json, %(state)s
  from generate_series(%(first)s::bigint, %(last)s::bigint) as n, lateral (select (n - 1) / %(a_stream)s) as of (s)
"""
"""Write a stretch of a log: streams of several events, with ids of version 7 (RFC 9562) from an earlier time."""

MOVE_HEAD: Final = "update log_head set position = %s, recorded_at = now()"
LONG_AGO_MS: Final = 1_735_689_600_000
"""The start of 2025: the ids of the streams in the log come before those that are appended."""

STATE_OF_LOG: Final = """
select (select position from log_head), (select count(*) from events), (select max(notification_id) from events),
       pg_total_relation_size('events'),
       (select coalesce(last_analyze, last_autoanalyze) is not null from pg_stat_user_tables where relname = 'events')
"""


class LogState(Struct, frozen=True, kw_only=True):
    """A log after its measurements. Gapless: as many events as the highest position, and the head is there."""

    events: int
    megabytes: int
    gapless: bool
    analysed: bool


def never_analyse(conninfo: str) -> None:
    """Keep PostgreSQL from gathering statistics on the events of a log."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(NEVER_ANALYSE)


def grow(conninfo: str, events: int) -> None:
    """Fill an empty log with this many events."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        for first in range(1, events + 1, CHUNK):
            last = min(events, first + CHUNK - 1)
            _write(connection, first, last)
            print_progress(f"  a log of {last:,} events")


def _write(connection: Connection, first: int, last: int) -> None:
    values = {
        "a_stream": EVENTS_A_STREAM, "since_ms": LONG_AGO_MS, "topic": TOPIC, "metadata": METADATA_TEXT,
        "state": STATE, "first": first, "last": last,
    }  # fmt: skip
    with connection.transaction():
        connection.execute(GROW, values)
        connection.execute(MOVE_HEAD, [last])


def read_state(conninfo: str) -> LogState:
    """Read the state of a log after its measurements."""
    with psycopg.connect(conninfo) as connection:
        found = connection.execute(STATE_OF_LOG).fetchone()
    if found is None:
        message = "a select without from gives one row"
        raise TypeError(message)
    head, events, last, size, analysed = found
    return LogState(
        events=events, megabytes=size // 2**20, gapless=head == events == (last or 0), analysed=bool(analysed)
    )
