"""The event that `append` appends, the same for all systems: about 200 bytes of state, made before the clock runs."""

from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import msgspec
from msgspec import Struct
from uuid_utils.compat import uuid7

from domain.fact import get_topic
from domain.payload import Payload
from domain.runs.facts import StepCompleted
from store.log.records import Actor, Append, Metadata

FACT: Final = StepCompleted(
    node="outline",
    attempt=1,
    output=Payload(value={"text": "Three drafts, one voice: what the launch says, where, and to whom, in that order."}),
    edges_taken=(0, 1),
    completed_at=datetime(2026, 1, 1, 12, 30, 15, 123_456, tzinfo=UTC),
)
METADATA: Final = Metadata(
    actor=Actor("engine", "engine-1"),
    correlation_id="req_01k9hqzj5yf3vbsn6pdx3e0w7m",
    causation=123_456,
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
)
TOPIC: Final = get_topic(StepCompleted)
STATE: Final = msgspec.json.encode(FACT)
METADATA_TEXT: Final = msgspec.json.encode(METADATA).decode()


class Row(Struct, frozen=True, kw_only=True):
    """Sizes of one event in bytes."""

    topic: str
    state_bytes: int
    metadata_bytes: int


class Source(Struct, frozen=True, kw_only=True):
    """Source of commands with one event each; only the stream id differs."""

    workspace_id: UUID
    project_id: UUID

    def command(self, stream_id: UUID) -> Append:
        """Return a command that begins a stream."""
        return Append(
            stream_id=stream_id,
            expected_version=0,
            workspace_id=self.workspace_id,
            project_id=self.project_id,
            facts=(FACT,),
            metadata=METADATA,
        )


def source() -> Source:
    """Create the source for a new workspace."""
    return Source(workspace_id=uuid7(), project_id=uuid7())


def row() -> Row:
    """Return the size of an event."""
    return Row(topic=TOPIC, state_bytes=len(STATE), metadata_bytes=len(METADATA_TEXT))
