"""Leaves: the bytes of an event that its seal covers, exactly as an export shows them.

A leaf is one line of JSON with everything that could mislead if it were changed: position, stream, version, workspace,
project, topic, time, metadata, and the state. Contents beside the log are covered by the SHA-256 that the state names.
A verifier hashes the line as it is, and needs to know nothing about its fields.
"""

from base64 import b64encode
from datetime import UTC
from typing import Final

from msgspec import Struct
from msgspec.json import Encoder

from store.log.records import StoredEvent
from store.seals.merkle import hash_leaf


class Leaf(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The fields of a leaf, in the order in which they are written. `leaf` is the version of this format.

    The state is a string if it is UTF-8, as every fact is, and base64 otherwise; the metadata are the stored text.
    """

    leaf: int
    position: int
    recorded_at: str
    topic: str
    stream: str
    version: int
    workspace: str
    project: str | None = None
    format: int
    key: str | None = None
    metadata: str
    state: str | None = None
    state_base64: str | None = None


FORMAT: Final = 1
_encoder: Final = Encoder()


def encode_leaf(event: StoredEvent) -> bytes:
    """Return the bytes of an event that its seal covers: one line of JSON, without a line break."""
    try:
        state, opaque = event.state.decode(), None
    except UnicodeDecodeError:
        state, opaque = None, b64encode(event.state).decode()
    return _encoder.encode(
        Leaf(
            leaf=FORMAT,
            position=event.position,
            recorded_at=f"{event.recorded_at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}",
            topic=event.topic,
            stream=str(event.stream_id),
            version=event.version,
            workspace=str(event.workspace_id),
            project=None if event.project_id is None else str(event.project_id),
            format=event.state_format,
            key=event.key_id,
            metadata=event.metadata,
            state=state,
            state_base64=opaque,
        )
    )


def hash_event(event: StoredEvent) -> bytes:
    """Return the hash of an event's leaf."""
    return hash_leaf(encode_leaf(event))
