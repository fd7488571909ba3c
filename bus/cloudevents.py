"""An event as it is read outside, over HTTP, NATS and in the output of the CLI: a CloudEvents 1.0 event in JSON.

Source: CloudEvents 1.0.2, JSON event format, and its distributed tracing extension.
"""

import re
from base64 import b64encode
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from bus.public_ids import TOPICS_WITH_IDS, publish_ids, restore_ids
from domain.fact import get_topic
from domain.ids import Prefix, from_uuid, to_uuid
from store.errors import UnreadableEvent
from store.log.codec import PLAIN_JSON, decode_fact, decode_metadata
from store.log.epochs import Mark, Witness
from store.log.identity import LogIdentity
from store.log.json_encoding import weigh_json
from store.log.records import Actor, ActorKind, Metadata, Recorded, StoredEvent

MEDIA_TYPE: Final = "application/cloudevents+json"
JSON: Final = "application/json"
OPAQUE: Final = "application/octet-stream"

LOG_TAG: Final = re.compile("[0-9a-f]{12}")

PREFIXES: Final[dict[str, Prefix]] = {
    "project": "prj",
    "workflow": "wf",
    "asset": "ast",
    "run": "run",
    "step": "run",
    "api-key": "key",
    "announcement": "ann",
}
"""The id prefix of a stream, by the noun of its facts."""


class Event(Struct, frozen=True, kw_only=True):
    """A fact with its context, the same wherever it is read.

    The names after `time`, except for the data, are extension attributes.
    Positions are strings, since CloudEvents integers end at 2^31.
    """

    id: str
    """The event's id, `<log tag>-<position>`: unique, and the same however often the event is delivered."""
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
    """The kind of actor: `user`, `api_key`, `engine` or `system`."""
    actorid: str | UnsetType = UNSET
    """The id of the actor."""
    correlationid: str | UnsetType = UNSET
    """The trace that the fact belongs to."""
    causation: str | UnsetType = UNSET
    """The position of the fact that caused it, if any."""
    traceparent: str | UnsetType = UNSET
    """The W3C trace context of the request, if there was one."""
    schemaversion: int | UnsetType = UNSET
    """The version of the fact's schema that the data is written in."""
    epochafter: str | UnsetType = UNSET
    """The position after which the epoch of the log tag began, if it is not the first: events of earlier tags with
    a greater position are no longer in the log."""
    datacontenttype: str = JSON
    data: Raw | UnsetType = UNSET
    """The fact as the log holds it, with public ids."""
    data_base64: str | UnsetType = UNSET
    """Instead of `data`: bytes that are not plain JSON."""


class UnusableEnvelope(Exception):  # noqa: N818  # expected: read the log instead
    """An envelope cannot be decoded as a fact of this log."""


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Event)
_any_json: Final = msgspec.json.Decoder()


def encode_envelope(identity: LogIdentity, stored: StoredEvent) -> bytes:
    """Encode a row as an event, also when this code cannot decode its fact."""
    try:
        metadata = decode_metadata(stored.position, stored.topic, stored.metadata)
    except UnreadableEvent:
        metadata = None
    return _encoder.encode(_create_event(identity, stored, stored.topic, metadata, _encode_data(stored)))


def create_event(identity: LogIdentity, recorded: Recorded, data: bytes) -> Event:
    """Return a decoded fact as an event; `data` is what `write_public_data` returns for it."""
    topic = get_topic(type(recorded.fact))
    return _create_event(identity, recorded, topic, recorded.metadata, {"data": Raw(data)})


def write_public_data(topic: str, state: bytes) -> bytes:
    """Return the JSON of a stored fact as it is read outside: with public ids. Raises what decoding raises."""
    if topic not in TOPICS_WITH_IDS:
        return state
    return _encoder.encode(publish_ids(_any_json.decode(state)))


def _create_event(
    identity: LogIdentity,
    row: StoredEvent | Recorded,
    topic: str,
    metadata: Metadata | None,
    data: dict[str, Any],
) -> Event:
    epoch = identity.find_epoch(row.position)
    return Event(
        id=identity.format_event_id(row.position),
        source=identity.log_id.urn,
        type=topic,
        subject=_format_subject(topic, row.stream_id),
        time=row.recorded_at,
        position=str(row.position),
        workspace=from_uuid("ws", row.workspace_id),
        project=UNSET if row.project_id is None else from_uuid("prj", row.project_id),
        streamversion=row.version,
        epochafter=UNSET if epoch is identity.epochs[0] else str(epoch.after),
        **_list_attributes(metadata),
        **data,
    )


def _list_attributes(metadata: Metadata | None) -> dict[str, Any]:
    """Return the attributes from the metadata; none when this code cannot decode it."""
    if metadata is None:
        return {}
    return {
        "actorkind": metadata.actor.kind,
        "actorid": metadata.actor.id,
        "correlationid": metadata.correlation_id,
        "causation": UNSET if metadata.causation is None else str(metadata.causation),
        "traceparent": UNSET if metadata.traceparent is None else metadata.traceparent,
        "schemaversion": metadata.schema_version,
    }


def _encode_data(stored: StoredEvent) -> dict[str, Any]:
    if stored.state_format == PLAIN_JSON and stored.key_id is None and _is_json(stored.state):
        return {"data": Raw(write_public_data(stored.topic, stored.state))}
    return {"data_base64": b64encode(stored.state).decode(), "datacontenttype": OPAQUE}


def _is_json(state: bytes) -> bool:
    try:
        _any_json.decode(state)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def decode_envelope(identity: LogIdentity, payload: bytes) -> Recorded:
    """Decode an envelope that `encode_envelope` wrote for this log. Raises UnusableEnvelope."""
    try:
        envelope = _decoder.decode(payload)
        if envelope.source != identity.log_id.urn:
            raise UnusableEnvelope(f"{envelope.id} belongs to another log")
        if envelope.id != identity.format_event_id(int(envelope.position)):
            raise UnusableEnvelope(f"{envelope.id} is of another epoch of the log")
        return _to_recorded(envelope)
    except (msgspec.MsgspecError, ValueError, UnreadableEvent, RecursionError) as fault:
        raise UnusableEnvelope(str(fault)) from fault


def decode_witness(payload: bytes, origin: str) -> Witness:
    """Read what an envelope of any log says about its fact. Raises UnusableEnvelope."""
    try:
        envelope = _decoder.decode(payload)
        return Witness(
            log_id=UUID(envelope.source.removeprefix("urn:uuid:")),
            tag=_parse_tag(envelope.id),
            mark=Mark(
                position=int(envelope.position),
                stream_id=_parse_subject(envelope.type, envelope.subject),
                version=envelope.streamversion,
                recorded_at=envelope.time,
            ),
            origin=origin,
        )
    except (msgspec.MsgspecError, ValueError, RecursionError) as fault:
        raise UnusableEnvelope(str(fault)) from fault


def _parse_tag(event_id: str) -> str:
    """Return the log tag of an event id. Raises ValueError."""
    tag = event_id.rpartition("-")[0]
    if not LOG_TAG.fullmatch(tag):
        raise ValueError(f"{event_id!r} is no id of an event: `<log tag>-<position>` is expected")
    return tag


def _restore_state(envelope: Event, data: bytes) -> bytes:
    """Return the data of an event as the fact is stored. Raises ValueError."""
    return data if envelope.type not in TOPICS_WITH_IDS else _encoder.encode(restore_ids(_any_json.decode(data)))


def _to_recorded(envelope: Event) -> Recorded:
    position = int(envelope.position)
    if not isinstance(envelope.data, Raw):
        raise UnusableEnvelope(f"the data of {envelope.id} is not plain JSON")
    return Recorded(
        position=position,
        stream_id=_parse_subject(envelope.type, envelope.subject),
        version=envelope.streamversion,
        workspace_id=to_uuid("ws", envelope.workspace),
        project_id=None if envelope.project is UNSET else to_uuid("prj", envelope.project),
        fact=decode_fact(position, envelope.type, PLAIN_JSON, None, _restore_state(envelope, bytes(envelope.data))),
        metadata=_decode_metadata(envelope),
        recorded_at=envelope.time,
        weight=weigh_json(bytes(envelope.data)),
    )


def _decode_metadata(envelope: Event) -> Metadata:
    kind, actor, correlation = envelope.actorkind, envelope.actorid, envelope.correlationid
    if kind is UNSET or actor is UNSET or correlation is UNSET or envelope.schemaversion is UNSET:
        raise UnusableEnvelope(f"{envelope.id} has no actor")
    return Metadata(
        actor=Actor(kind, actor),
        correlation_id=correlation,
        causation=None if envelope.causation is UNSET else int(envelope.causation),
        traceparent=None if envelope.traceparent is UNSET else envelope.traceparent,
        schema_version=envelope.schemaversion,
    )


def _format_subject(topic: str, stream_id: UUID) -> str:
    prefix = PREFIXES.get(topic.partition(".")[0])
    return str(stream_id) if prefix is None else from_uuid(prefix, stream_id)


def _parse_subject(topic: str, subject: str) -> UUID:
    prefix = PREFIXES.get(topic.partition(".")[0])
    return UUID(subject) if prefix is None else to_uuid(prefix, subject)
