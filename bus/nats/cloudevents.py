"""The envelope: how a fact travels, as a CloudEvents 1.0 event in JSON (structured mode).

Source: CloudEvents 1.0.2, JSON event format, and its distributed tracing extension.
"""

from base64 import b64encode
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from domain.ids import Prefix, from_uuid, to_uuid
from store.errors import UnreadableEvent
from store.log.codec import PLAIN_JSON, decode_fact, decode_metadata
from store.log.event_id import mark_of, marked
from store.log.records import Actor, ActorKind, Metadata, Recorded

MEDIA_TYPE: Final = "application/cloudevents+json"
JSON: Final = "application/json"
OPAQUE: Final = "application/octet-stream"

PREFIXES: Final[dict[str, Prefix]] = {
    "project": "prj",
    "workflow": "wf",
    "asset": "ast",
    "run": "run",
    "step": "run",
    "api-key": "key",
    "announcement": "ws",
}
"""The kind of id that a stream has, by the noun of its facts."""


class Envelope(Struct, frozen=True, kw_only=True):
    """A fact with what surrounds it. The names after `time` are extension attributes, but for the data.

    Positions are strings, since an integer of CloudEvents ends at 2^31.
    """

    id: str
    """The event's id, `<mark of the log>-<position>`: unique, and the same however often the event is delivered."""
    source: str
    """The log, as `urn:uuid:…`; ids and positions count within it."""
    type: str
    """The topic: `run.started`."""
    subject: str
    """The id of the stream: `run_…`."""
    time: datetime
    """When the fact was recorded."""
    position: str
    """The place in the log, a decimal number: gapless within the log, in order of commit."""
    workspace: str
    """The workspace: `ws_…`."""
    streamversion: int
    """The place of the fact in its stream, from 1."""
    specversion: Literal["1.0"] = "1.0"
    project: str | UnsetType = UNSET
    """The project, if the fact belongs to one: `prj_…`."""
    actorkind: ActorKind | UnsetType = UNSET
    """Who did it: `user`, `api_key`, `engine` or `system`."""
    actorid: str | UnsetType = UNSET
    """Their id."""
    correlationid: str | UnsetType = UNSET
    """The trace that the fact belongs to."""
    causation: str | UnsetType = UNSET
    """The position of the fact that led to it, if one did."""
    traceparent: str | UnsetType = UNSET
    """The W3C trace context of the request, if there was one."""
    schemaversion: int | UnsetType = UNSET
    """By which version of the fact's schema the data is written."""
    datacontenttype: str = JSON
    data: Raw | UnsetType = UNSET
    """The fact as the log holds it."""
    data_base64: str | UnsetType = UNSET
    """In the place of `data`: bytes that are no plain JSON."""


class Stored(Struct, frozen=True):
    """A row of the log as it stands there, in the order of its columns; nothing of it has been decoded."""

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


class NotUnderstood(Exception):  # noqa: N818  # tells a reader to read the log instead
    """An envelope holds nothing that this code can take as the next fact of its log."""


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Envelope)
_any_json: Final = msgspec.json.Decoder()


def write(log_id: UUID, stored: Stored) -> bytes:
    """Write a row as an envelope. What cannot be decoded is carried all the same: the relay judges nothing."""
    return _encoder.encode(
        Envelope(
            id=marked(mark_of(log_id), stored.position),
            source=log_id.urn,
            type=stored.topic,
            subject=_subject(stored.topic, stored.stream_id),
            time=stored.recorded_at,
            position=str(stored.position),
            workspace=from_uuid("ws", stored.workspace_id),
            project=UNSET if stored.project_id is None else from_uuid("prj", stored.project_id),
            streamversion=stored.version,
            **_surroundings(stored),
            **_data(stored),
        )
    )


def _surroundings(stored: Stored) -> dict[str, Any]:
    """Give what the metadata says; nothing, when it is not what this code writes."""
    try:
        metadata = decode_metadata(stored.position, stored.topic, stored.metadata)
    except UnreadableEvent:
        return {}
    return {
        "actorkind": metadata.actor.kind,
        "actorid": metadata.actor.id,
        "correlationid": metadata.correlation_id,
        "causation": UNSET if metadata.causation is None else str(metadata.causation),
        "traceparent": UNSET if metadata.traceparent is None else metadata.traceparent,
        "schemaversion": metadata.schema_version,
    }


def _data(stored: Stored) -> dict[str, Any]:
    if stored.state_format == PLAIN_JSON and stored.key_id is None and _is_json(stored.state):
        return {"data": Raw(stored.state)}
    return {"data_base64": b64encode(stored.state).decode(), "datacontenttype": OPAQUE}


def _is_json(state: bytes) -> bool:
    try:
        _any_json.decode(state)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def read(log_id: UUID, payload: bytes) -> Recorded:
    """Read what `write` wrote for a log. Raises NotUnderstood."""
    try:
        envelope = _decoder.decode(payload)
        if envelope.source != log_id.urn:
            raise NotUnderstood(f"{envelope.id} is of another log")
        return _recorded(envelope)
    except (msgspec.MsgspecError, ValueError, UnreadableEvent, RecursionError) as fault:
        raise NotUnderstood(str(fault)) from fault


def _recorded(envelope: Envelope) -> Recorded:
    position = int(envelope.position)
    if not isinstance(envelope.data, Raw):
        raise NotUnderstood(f"{envelope.id} carries no plain JSON")
    return Recorded(
        position=position,
        stream_id=_stream(envelope.type, envelope.subject),
        version=envelope.streamversion,
        workspace_id=to_uuid("ws", envelope.workspace),
        project_id=None if envelope.project is UNSET else to_uuid("prj", envelope.project),
        fact=decode_fact(position, envelope.type, PLAIN_JSON, None, bytes(envelope.data)),
        metadata=_metadata(envelope),
        recorded_at=envelope.time,
    )


def _metadata(envelope: Envelope) -> Metadata:
    kind, actor, correlation = envelope.actorkind, envelope.actorid, envelope.correlationid
    if kind is UNSET or actor is UNSET or correlation is UNSET or envelope.schemaversion is UNSET:
        raise NotUnderstood(f"{envelope.id} does not say by whom it is")
    return Metadata(
        actor=Actor(kind, actor),
        correlation_id=correlation,
        causation=None if envelope.causation is UNSET else int(envelope.causation),
        traceparent=None if envelope.traceparent is UNSET else envelope.traceparent,
        schema_version=envelope.schemaversion,
    )


def _subject(topic: str, stream_id: UUID) -> str:
    prefix = PREFIXES.get(topic.partition(".")[0])
    return str(stream_id) if prefix is None else from_uuid(prefix, stream_id)


def _stream(topic: str, subject: str) -> UUID:
    prefix = PREFIXES.get(topic.partition(".")[0])
    return UUID(subject) if prefix is None else to_uuid(prefix, subject)
