"""Reading the log: a stream by version, the log by position, with filters."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final
from uuid import UUID

from msgspec import MsgspecError, Struct

from store.errors import UnreadableEvent
from store.log.codec import PLAIN_JSON, decode_fact, decode_metadata, plain_fact, plain_metadata
from store.log.records import Actor, Metadata, Recorded, Unreadable

STREAM: Final = """
select notification_id, originator_id, originator_version, workspace_id, project_id, recorded_at, topic,
       state_format, key_id, state, metadata::text
  from events
 where originator_id = %(stream)b and originator_version > %(after)b and notification_id > %(past)b
   and state_format <> 0
 order by originator_version
 limit %(limit)b
"""
"""Read one stream in order of version, and so of position."""

LOG: Final = """
select notification_id, originator_id, originator_version, workspace_id, project_id, recorded_at, topic,
       state_format, key_id, state, metadata::text
  from events
 where notification_id > %(after)b and notification_id <= %(through)b and state_format <> 0
   and (%(workspace)b::uuid is null or workspace_id = %(workspace)b)
   and (%(project)b::uuid is null or project_id = %(project)b)
   and (%(stream)b::uuid is null or originator_id = %(stream)b)
   and (%(topics)b::text[] is null or topic = any (%(topics)b))
 order by notification_id
 limit %(limit)b
"""
"""Read a stretch of the log in order of position; the caller bounds the stretch, and so the work."""

STATE_FORMAT: Final = 7
"""The place of the state's format in each row that is read here."""

NEXT: Final = """
select notification_id, originator_id, originator_version, workspace_id, project_id, recorded_at, topic,
       state_format, key_id, state, metadata::text
  from events
 where notification_id > %(after)b and notification_id <= %(through)b
 order by notification_id
"""
"""Read what stands at some positions, records of outside libraries too: so it is known how far there is anything."""

HEAD: Final = "select position, log_id from log_head"
"""Read where the log ends, and which log it is."""

REPEATED: Final = """
select request_hash, originator_id, originator_version, notification_id, recorded_at
  from command_ids where command_id = %b
"""
"""Read what a command with an id came to."""


class LogFilter(Struct, frozen=True, kw_only=True):
    """Which facts to read; what is None does not filter. An empty tuple of topics matches nothing."""

    workspace_id: UUID | None = None
    project_id: UUID | None = None
    stream_id: UUID | None = None
    topics: tuple[str, ...] | None = None


EVERYTHING: Final = LogFilter()

UNKNOWN: Final = Metadata(actor=Actor("system", "unreadable"), correlation_id="")
"""Stands in for metadata that cannot be read."""


def log_parameters(
    after: int, through: int, limit: int, only: LogFilter
) -> dict[str, int | UUID | Sequence[str] | None]:
    """Give the parameters of LOG."""
    return {
        "after": after,
        "through": through,
        "limit": limit,
        "workspace": only.workspace_id,
        "project": only.project_id,
        "stream": only.stream_id,
        "topics": None if only.topics is None else list(only.topics),
    }


def recorded(row: tuple[Any, ...]) -> Recorded:
    """Read one row. Raises UnreadableEvent."""
    position, stream, version, workspace, project, at, topic, state_format, key_id, state, metadata = row
    return Recorded(
        position=position,
        stream_id=stream,
        version=version,
        workspace_id=workspace,
        project_id=project,
        fact=decode_fact(position, topic, state_format, key_id, state),
        metadata=decode_metadata(position, topic, metadata),
        recorded_at=at,
    )


def recorded_or_unreadable(row: tuple[Any, ...]) -> Recorded:
    """Read one row, with `Unreadable` as its fact where this code cannot: one event must not hold up all the others."""
    try:
        return recorded(row)
    except UnreadableEvent as fault:
        position, stream, version, workspace, project, at, topic, _, _, state, metadata = row
        return Recorded(
            position=position,
            stream_id=stream,
            version=version,
            workspace_id=workspace,
            project_id=project,
            fact=Unreadable(topic=topic, reason=fault.reason, state=bytes(state)),
            metadata=_metadata_if_readable(position, topic, metadata),
            recorded_at=at,
        )


def recorded_or_unreadable_rows(rows: Sequence[tuple[Any, ...]]) -> list[Recorded]:
    """Read many rows as `recorded_or_unreadable` does: without the calls an event takes half the time."""
    if all(row[7] == PLAIN_JSON and row[8] is None for row in rows):
        with suppress(MsgspecError):
            return [
                Recorded(
                    position=position,
                    stream_id=stream,
                    version=version,
                    workspace_id=workspace,
                    project_id=project,
                    fact=plain_fact(state),
                    metadata=plain_metadata(metadata),
                    recorded_at=at,
                )
                for position, stream, version, workspace, project, at, _, _, _, state, metadata in rows
            ]
    return [recorded_or_unreadable(row) for row in rows]


def _metadata_if_readable(position: int, topic: str, text: str) -> Metadata:
    try:
        return decode_metadata(position, topic, text)
    except UnreadableEvent:
        return UNKNOWN
