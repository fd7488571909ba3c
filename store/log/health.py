"""Queries of `callsheet doctor` on the events table: gaps, size, and references to contents in both directions."""

from typing import Any, Final
from uuid import UUID

from msgspec import Struct
from psycopg import AsyncConnection

from store.log.gaps import Gap, find_gaps

Connection = AsyncConnection[tuple[Any, ...]]

POSITIONS_MAX: Final = 500_000
"""Positions that one query looks at, so that it ends within the statement timeout."""

REFERENCE_POSITIONS_MAX: Final = 20_000
"""The same for queries that read what facts say."""

PAST_HEAD: Final = "select count(*) from events where notification_id > %(head)b::bigint"
"""Count the rows past the head, which are never read."""

SIZE: Final = """
select pg_total_relation_size('events'), pg_total_relation_size('contents'), pg_database_size(current_database()),
       (select count(*) from events where topic = 'run.started' and notification_id > %(after)b::bigint),
       (select count(*) from events where notification_id > %(after)b::bigint)
"""
"""Read the sizes, and how many of the last events start a run."""

SAMPLE_POSITIONS: Final = 100_000

REFERENCES: Final = """
select distinct e.workspace_id, decode(m[1], 'hex')
  from events e
 cross join lateral regexp_matches(convert_from(e.state, 'UTF8'), '"[$]ref":"sha256:([0-9a-f]{64})"', 'g') as m
 where e.notification_id > %(after)b::bigint and e.notification_id <= %(through)b::bigint and e.state_format = 1
   and position(convert_to('"$ref":"sha256:', 'UTF8') in e.state) > 0
"""
"""Read the references to contents in a range of facts."""

CONTENTS: Final = "select workspace_id, sha256 from contents where stored_at < now() - interval '1 hour'"
"""Read the contents that are old enough for the fact that refers to them."""

ALL_CONTENTS: Final = "select workspace_id, sha256 from contents"
"""Read all contents."""

Reference = tuple[UUID, bytes]


class LogSize(Struct, frozen=True, kw_only=True):
    """Bytes of the log with its indexes, of the contents, of the database; and bytes of the log for each run."""

    events: int
    contents: int
    database: int
    bytes_per_run: int | None


class ContentFaults(Struct, frozen=True, kw_only=True):
    """References without a content, and contents to which no fact refers."""

    missing: tuple[str, ...]
    orphans: int


async def find_all_gaps(connection: Connection, head: int) -> tuple[Gap, ...]:
    """Return the first missing ranges of positions of the whole log."""
    gaps: tuple[Gap, ...] = ()
    for after in range(0, head, POSITIONS_MAX):
        gaps += await find_gaps(connection, after=after, through=min(head, after + POSITIONS_MAX))
    return gaps


async def count_past_head(connection: Connection, head: int) -> int:
    """Return how many rows are past the head."""
    row = await (await connection.execute(PAST_HEAD, {"head": head})).fetchone()
    return 0 if row is None else int(row[0])


async def measure_size(connection: Connection, head: int) -> LogSize:
    """Return the sizes; the bytes of a run follow from the runs among the last 100,000 events."""
    row = await (await connection.execute(SIZE, {"after": max(0, head - SAMPLE_POSITIONS)})).fetchone()
    events, contents, database, runs, sample = row or (0, 0, 0, 0, 0)
    per_run = int(events / head * sample / runs) if runs and head else None
    return LogSize(events=events, contents=contents, database=database, bytes_per_run=per_run)


async def find_content_faults(connection: Connection, head: int) -> ContentFaults:
    """Compare the contents with the references of all facts; it reads the whole log."""
    kept = set(await _fetch(connection, ALL_CONTENTS, {}))
    old = set(await _fetch(connection, CONTENTS, {}))
    missing: set[str] = set()
    for after in range(0, head, REFERENCE_POSITIONS_MAX):
        bounds = {"after": after, "through": min(head, after + REFERENCE_POSITIONS_MAX)}
        referenced = set(await _fetch(connection, REFERENCES, bounds))
        old -= referenced
        missing |= {digest.hex() for workspace, digest in referenced if (workspace, digest) not in kept}
    return ContentFaults(missing=tuple(sorted(missing)), orphans=len(old))


async def _fetch(connection: Connection, query: str, parameters: dict[str, int]) -> list[Reference]:
    cursor = connection.cursor(binary=True)
    await cursor.execute(query.encode(), parameters)
    return [(workspace, bytes(digest)) for workspace, digest in await cursor.fetchall()]
