"""Every SQL statement that reads the `events` table, and the parameters of those with many.

`store/log/readers.py`, `store/log/raw_reads.py` and `store/log/log.py` run them. No other folder reads the table, so
that encryption or archiving has one place to change; tests/test_house.py holds that. The recorders of the
`eventsourcing` library have statements of their own in store/eventsourcing/recorders.py.
"""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from msgspec import Struct

COLUMNS: Final = """notification_id, originator_id, originator_version, workspace_id, project_id, recorded_at, topic,
       state_format, key_id, state, metadata::text"""
"""The columns of an event in the order of the fields of `StoredEvent`."""

FILTER: Final = """(%(workspace)b::uuid is null or workspace_id = %(workspace)b)
   and (%(project)b::uuid is null or project_id = %(project)b)
   and (%(stream)b::uuid is null or originator_id = %(stream)b)
   and (%(topics)b::text[] is null or topic = any (%(topics)b))"""
"""The conditions of a `LogFilter`."""

STREAM: Final = f"""
select {COLUMNS}
  from events
 where originator_id = %(stream)b and originator_version > %(after)b and notification_id > %(past)b
   and state_format <> 0
 order by originator_version
 limit %(limit)b
"""
"""Read one stream in order of version, and so of position."""

STREAM_BEGINNINGS: Final = f"""
select e.*
  from unnest(%(streams)b::uuid[], %(versions)b::bigint[]) as n (stream, version)
 cross join lateral (
       select {COLUMNS}
         from events
        where originator_id = n.stream and originator_version < n.version and state_format <> 0
        order by originator_version
        limit 100000) as e
"""
"""Read many streams, each in order and before a version; the inner limit makes the planner use the index."""

STREAM_TAILS: Final = f"""
select e.*
  from unnest(%(streams)b::uuid[], %(positions)b::bigint[]) as n (stream, position)
 cross join lateral (
       select {COLUMNS}
         from events
        where originator_id = n.stream and notification_id > n.position and topic = any (%(topics)b::text[])
          and state_format <> 0
        order by originator_version
        limit 1000) as e
"""
"""Read the events of some topics that many streams have past a position each."""

FILTERED_RANGE: Final = f"""
select {COLUMNS}
  from events
 where notification_id > %(after)b and notification_id <= %(through)b and state_format <> 0
   and {FILTER}
 order by notification_id
 limit %(limit)b
"""
"""Read the matching events of a range of positions; the caller bounds the range, and so the work."""

WHOLE_RANGE: Final = f"""
select {COLUMNS}
  from events
 where notification_id > %(after)b and notification_id <= %(through)b
 order by notification_id
"""
"""Read a range of positions with the opaque records of outside libraries, which also have positions."""

TOPICS_RANGE: Final = f"""
select {COLUMNS}
  from events
 where notification_id > %(after)b and notification_id <= %(through)b and state_format <> 0
   and (topic = any (%(wanted)b::text[]) or topic <> all (%(known)b::text[]))
 order by notification_id
"""
"""Read the events of a range that have a wanted topic or one that this code does not know."""

AT_POSITIONS: Final = f"""
select e.*
  from unnest(%(positions)b::bigint[]) with ordinality as n (position, ordinal)
 cross join lateral (select {COLUMNS} from events where notification_id = n.position limit 1) as e
 order by n.ordinal
"""
"""Read the events at some positions, in the order of these; the inner limit makes the planner use the index."""

AGES: Final = """
select notification_id, extract(epoch from clock_timestamp() - recorded_at)::float8
  from events
 where notification_id = any (%(positions)b::bigint[])
"""
"""Read how many seconds ago the events at some positions were recorded."""

RAW_RANGE: Final = f"""
select {COLUMNS}
  from events
 where notification_id > %(after)b::bigint and notification_id <= %(through)b::bigint and state_format <> 0
 order by notification_id
 limit %(limit)b::int
"""
"""Read a range of positions without the opaque records of outside libraries."""

SEALED_RANGE: Final = f"""
select {COLUMNS}
  from events
 where notification_id > %(after)b::bigint
 order by notification_id
 limit %(limit)b::int
"""
"""Read the events after a position, of every format."""

RAW_FILTERED_RANGE: Final = f"""
select {COLUMNS}
  from events
 where notification_id > %(after)b and notification_id <= %(through)b
   and {FILTER}
 order by notification_id
 limit %(limit)b
"""
"""Read the matching events of a range of positions, of every format."""

RAW_FILTERED_RANGE_BACKWARDS: Final = f"""
select {COLUMNS}
  from events
 where notification_id > %(after)b and notification_id <= %(through)b
   and {FILTER}
 order by notification_id desc
 limit %(limit)b
"""
"""Read the matching events of a range of positions, newest first."""

RECORDED_AT: Final = "select recorded_at from events where notification_id = %b"
"""Read when the event at a position was recorded."""

HEAD: Final = "select position, log_id from log_head"
"""Read the last position of the log and the log's id."""

REPEATED: Final = """
select request_hash, originator_id, originator_version, notification_id, recorded_at
  from command_ids where command_id = %b
"""
"""Read the outcome of the command with an id."""

REMEMBER: Final = "select remember_command(%b, %b, %b, %b, %b)"
"""Record the outcome of a command that appended nothing, unless there is one with this id."""


class LogFilter(Struct, frozen=True, kw_only=True):
    """Filters of a read of the log; None does not filter. An empty tuple of topics matches nothing."""

    workspace_id: UUID | None = None
    project_id: UUID | None = None
    stream_id: UUID | None = None
    topics: tuple[str, ...] | None = None


NO_FILTER: Final = LogFilter()


def range_parameters(
    after: int, through: int, limit: int, only: LogFilter
) -> dict[str, int | UUID | Sequence[str] | None]:
    """Return the parameters of a filtered range."""
    return {
        "after": after,
        "through": through,
        "limit": limit,
        "workspace": only.workspace_id,
        "project": only.project_id,
        "stream": only.stream_id,
        "topics": None if only.topics is None else list(only.topics),
    }
