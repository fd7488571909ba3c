"""The codec between facts and stored bytes: plain JSON now, with room for formats that encrypt."""

from typing import Final, get_args

import msgspec

from domain.catalogue import AnyFact
from domain.fact import Fact, get_topic
from store.errors import FactTooLarge, UnreadableEvent
from store.log.json_encoding import encode
from store.log.records import Metadata

OPAQUE: Final = 0
PLAIN_JSON: Final = 1
MAX_FACT_BYTES: Final = 256 * 1024

_fact_decoder: Final = msgspec.json.Decoder(AnyFact)
_metadata_decoder: Final = msgspec.json.Decoder(Metadata)
plain_fact: Final = _fact_decoder.decode
"""Reads a fact of plain JSON. Raises MsgspecError."""
plain_metadata: Final = _metadata_decoder.decode
"""Reads metadata. Raises MsgspecError."""
TOPICS: Final = frozenset(get_topic(kind) for kind in get_args(AnyFact))


def encode_fact(fact: Fact) -> bytes:
    """Encode a fact. Raises UnstorableText, and FactTooLarge: NATS would refuse a larger message on every retry."""
    state = encode(fact)
    if len(state) > MAX_FACT_BYTES:
        raise FactTooLarge(get_topic(type(fact)), len(state), MAX_FACT_BYTES)
    return state


def decode_fact(position: int, topic: str, state_format: int, key_id: str | None, state: bytes) -> AnyFact:
    """Read a fact. Raises UnreadableEvent for a format, a topic or a shape that this code does not know."""
    if state_format != PLAIN_JSON or key_id is not None:
        raise UnreadableEvent(position, topic, f"this version does not know format {state_format} with key {key_id}")
    try:
        return _fact_decoder.decode(state)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as fault:
        raise UnreadableEvent(position, topic, str(fault)) from fault


def encode_metadata(metadata: Metadata) -> bytes:
    """Encode metadata as JSON. Raises UnstorableText."""
    return encode(metadata)


def decode_metadata(position: int, topic: str, text: bytes | str) -> Metadata:
    """Decode metadata. Raises UnreadableEvent if they are not as this code writes them."""
    try:
        return _metadata_decoder.decode(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as fault:
        raise UnreadableEvent(position, topic, f"metadata: {fault}") from fault
