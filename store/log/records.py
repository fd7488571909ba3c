"""Structs that are appended to the log and read from it."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from msgspec import Struct

from domain.fact import Fact
from store.log.gaps import Gap

ActorKind = Literal["user", "api_key", "engine", "system"]


class Actor(Struct, frozen=True, gc=False):
    """The actor of a fact: `id` is the subject of a token, the id of a key, or the name of an engine."""

    kind: ActorKind
    id: str


class Metadata(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Metadata of a fact: its actor, its correlation, and the position of the fact that caused it."""

    actor: Actor
    correlation_id: str
    causation: int | None = None
    traceparent: str | None = None
    schema_version: int = 1


class Guard(Struct, frozen=True, gc=False):
    """A stream that a decision has read; the append conflicts if the stream has moved past `version`."""

    stream_id: UUID
    version: int


class CommandId(Struct, frozen=True, gc=False):
    """The identity of a command that may be sent again.

    `key` is a hash of workspace, credential, route and Idempotency-Key; `request_hash` detects misuse of a key.
    """

    key: bytes
    request_hash: bytes


class Append(Struct, frozen=True, kw_only=True, gc=False):
    """The facts of one command for one stream, to be appended whole or not at all.

    `contradicted_by` are the topics that conflict with it if they were appended to the stream since the expected
    version; others do not conflict. None: every fact does.
    """

    stream_id: UUID
    expected_version: int
    workspace_id: UUID
    project_id: UUID | None
    facts: tuple[Fact, ...]
    metadata: Metadata
    guards: tuple[Guard, ...] = ()
    command_id: CommandId | None = None
    contradicted_by: tuple[str, ...] | None = None


class Recorded(Struct, frozen=True, kw_only=True, gc=False):
    """A stored fact. `position` counts from 1 over the log, `version` from 1 over its stream.

    `weight` is the memory that it takes, estimated in bytes.
    """

    position: int
    stream_id: UUID
    version: int
    workspace_id: UUID
    project_id: UUID | None
    fact: Fact
    metadata: Metadata
    recorded_at: datetime
    weight: int = 0


class StoredEvent(Struct, frozen=True):
    """A row of the `events` table, undecoded; its fields have the order of `store.log.queries.COLUMNS`."""

    position: int
    stream_id: UUID
    version: int
    workspace_id: UUID
    project_id: UUID | None
    recorded_at: datetime
    topic: str
    state_format: int
    key_id: str | None
    state: bytes
    metadata: str


class Unreadable(Fact, frozen=True, kw_only=True, tag="event.unreadable"):
    """Placeholder for a fact that this version of the code cannot decode; it is never stored.

    `topic` and `state` are as they are stored.
    """

    topic: str
    reason: str
    state: bytes


class Accepted(Struct, frozen=True, kw_only=True, gc=False):
    """A command is on disk: the stream's version and the log's position after its last fact."""

    version: int
    position: int
    recorded_at: datetime
    recorded: tuple[Recorded, ...]


class Repeated(Struct, frozen=True, kw_only=True, gc=False):
    """A command with this id was accepted before; the fields are its outcome."""

    request_hash: bytes
    stream_id: UUID
    version: int
    position: int
    recorded_at: datetime


class Page(Struct, frozen=True, kw_only=True, gc=False):
    """A range of the log: the facts that matched, and the last position that was searched.

    `gaps` are positions before that without a row, where the read looks at every position.
    """

    events: tuple[Recorded, ...]
    through: int
    gaps: tuple[Gap, ...] = ()
