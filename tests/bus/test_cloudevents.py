"""The envelope: a CloudEvent that carries a fact there and back, and carries what nobody can read as well."""

from base64 import b64decode
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bus.cloudevents import PREFIXES, UnusableEnvelope, decode_envelope, decode_witness, encode_envelope
from bus.nats.jetstream import LARGEST_MESSAGE
from callsheet.operate.event_lines import PREFIXES as STREAM_PREFIXES
from gateway.catalog import OPERATIONS
from gateway.operations.operation import PathId
from store.log.codec import MAX_FACT_BYTES, PLAIN_JSON, TOPICS, decode_fact, encode_metadata
from store.log.identity import create_identity
from store.log.records import Actor, Metadata, Recorded, StoredEvent

LOG = UUID("0192f000-0000-7000-8000-0000000000aa")
IDENTITY = create_identity(LOG)
GOLDEN = (Path(__file__).parents[1] / "store" / "golden" / "facts.jsonl").read_bytes().splitlines()
STREAM = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
AT = datetime(2026, 11, 24, 9, 30, 0, 123_456, tzinfo=UTC)
METADATA = Metadata(
    actor=Actor("user", "usr_ada"),
    correlation_id="4bf92f3577b34da6a3ce929d0e0e4736",
    causation=41,
    traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
)

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
metadatas = st.builds(
    Metadata,
    actor=st.builds(Actor, st.sampled_from(["user", "api_key", "engine", "system"]), texts),
    correlation_id=texts,
    causation=st.none() | st.integers(1, 2**62),
    traceparent=st.none() | texts,
    schema_version=st.integers(1, 9),
)
times = st.integers(0, 10**15).map(lambda micros: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros))


def parse_topic(state: bytes) -> str:
    return msgspec.json.decode(state)["fact"]


def create_stored(state: bytes = GOLDEN[0], *, metadata: str | None = None, **fields: Any) -> StoredEvent:  # noqa: ANN401  # columns of several types
    at: dict[str, Any] = {
        "position": 42,
        "stream_id": STREAM,
        "version": 7,
        "workspace_id": UUID("01890a5d-ac96-774b-bcce-b302099a8058"),
        "project_id": UUID("01890a5d-ac96-774b-bcce-b302099a8059"),
        "recorded_at": AT,
        "topic": "project.created",
        "state_format": PLAIN_JSON,
        "key_id": None,
        "state": state,
        "metadata": encode_metadata(METADATA).decode() if metadata is None else metadata,
    }
    return StoredEvent(**{**at, **fields})


def encode_and_parse(event: StoredEvent) -> dict[str, Any]:
    return msgspec.json.decode(encode_envelope(IDENTITY, event))


def test_an_envelope_is_a_cloud_event() -> None:
    assert encode_and_parse(create_stored()) == {
        "specversion": "1.0",
        "id": "0000000000aa-42",
        "source": "urn:uuid:0192f000-0000-7000-8000-0000000000aa",
        "type": "project.created",
        "subject": "prj_01h455vb4pex5vsknk084sn02q",
        "time": "2026-11-24T09:30:00.123456Z",
        "position": "42",
        "workspace": "ws_01h455vb4pex5vsknk084sn02r",
        "project": "prj_01h455vb4pex5vsknk084sn02s",
        "streamversion": 7,
        "actorkind": "user",
        "actorid": "usr_ada",
        "correlationid": "4bf92f3577b34da6a3ce929d0e0e4736",
        "causation": "41",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "schemaversion": 1,
        "datacontenttype": "application/json",
        "data": {"fact": "project.created", "name": "Launch", "owner": "ada"},
    }


@given(st.sampled_from(GOLDEN), metadatas, st.uuids(), st.uuids(), st.none() | st.uuids(), st.integers(1, 2**62), times)
def test_what_was_written_is_read_as_the_log_would_give_it(
    state: bytes,
    metadata: Metadata,
    stream: UUID,
    workspace: UUID,
    project: UUID | None,
    position: int,
    at: datetime,
) -> None:
    row = create_stored(
        state,
        metadata=encode_metadata(metadata).decode(),
        topic=parse_topic(state),
        stream_id=stream,
        workspace_id=workspace,
        project_id=project,
        position=position,
        recorded_at=at,
    )
    assert replace(decode_envelope(IDENTITY, encode_envelope(IDENTITY, row)), weight=0) == Recorded(
        position=position,
        stream_id=stream,
        version=7,
        workspace_id=workspace,
        project_id=project,
        fact=decode_fact(position, parse_topic(state), PLAIN_JSON, None, state),
        metadata=metadata,
        recorded_at=at,
    )


def test_every_topic_is_written_with_an_id_that_says_of_what() -> None:
    assert {parse_topic(state) for state in GOLDEN} == TOPICS
    assert all("_" in encode_and_parse(create_stored(state, topic=parse_topic(state)))["subject"] for state in GOLDEN)


def test_a_stream_has_the_id_by_which_the_api_knows_it() -> None:
    parameters = [parameter for operation in OPERATIONS for parameter in operation.path_parameters]
    of_the_api = {parameter.prefix for parameter in parameters if isinstance(parameter, PathId)}
    assert set(PREFIXES.values()) == of_the_api == set(STREAM_PREFIXES)


@pytest.mark.parametrize(
    "unreadable",
    [
        create_stored(b"\x00\xff", topic="of a later version"),
        create_stored(b"{", topic="run.started"),
        create_stored(b'"\xff"'),
        create_stored(b"[" * 100_000),
        create_stored(state_format=2),
        create_stored(key_id="a-key"),
        create_stored(metadata="[]"),
        create_stored(b'{"fact":"run.dreamt"}', topic="run.dreamt"),
    ],
)
def test_what_this_code_cannot_read_is_carried_whole_and_taken_by_none_of_us(unreadable: StoredEvent) -> None:
    envelope = encode_and_parse(unreadable)
    assert envelope["type"] == unreadable.topic
    if "data" in envelope:
        assert msgspec.json.encode(envelope["data"]) == unreadable.state
    else:
        assert b64decode(envelope["data_base64"]) == unreadable.state
        assert envelope["datacontenttype"] == "application/octet-stream"
    with pytest.raises(UnusableEnvelope):
        decode_envelope(IDENTITY, encode_envelope(IDENTITY, unreadable))


@pytest.mark.parametrize("event_id", ["copy-5", "5", "-5", "b302099a805-5", "FFFFFFFFFFFF-5", "b302099a80571-5"])
def test_an_envelope_that_somebody_published_again_under_an_id_of_their_own_is_no_witness(event_id: str) -> None:
    envelope = msgspec.json.decode(encode_envelope(IDENTITY, create_stored()))
    assert decode_witness(msgspec.json.encode(envelope), "the stream").tag == IDENTITY.tag
    with pytest.raises(UnusableEnvelope):
        decode_witness(msgspec.json.encode({**envelope, "id": event_id}), "the stream")


@pytest.mark.parametrize("payload", [b"", b"{}", b"null", b"\xff", b"[" * 100_000])
def test_what_is_no_envelope_is_not_taken(payload: bytes) -> None:
    with pytest.raises(UnusableEnvelope):
        decode_envelope(IDENTITY, payload)


def test_an_envelope_of_another_log_is_not_taken() -> None:
    with pytest.raises(UnusableEnvelope, match="another log"):
        decode_envelope(IDENTITY, encode_envelope(create_identity(STREAM), create_stored()))


def test_the_largest_fact_fits_in_a_message_whatever_it_holds() -> None:
    opaque = encode_envelope(IDENTITY, create_stored(b"\xff" * MAX_FACT_BYTES))
    assert len(opaque) < LARGEST_MESSAGE
