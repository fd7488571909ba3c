"""Public ids: TypeIDs (typeid.dev, spec 0.3) outside, UUIDv7 inside."""

from typing import Any, Literal, cast
from uuid import UUID

from typeid import TypeID
from typeid.codecs.base32 import encode
from typeid.errors import TypeIDException

Prefix = Literal["ws", "prj", "wf", "ast", "run", "key", "ins", "ann"]


def from_uuid(prefix: Prefix, uuid: UUID) -> str:
    """Return the public form of an id, for example `run_01h455vb4pex5vsknk084sn02q`.

    Encoded with the library's alphabet, but without an object of its class: 0.2 µs instead of 1.2.
    """
    return f"{prefix}_{encode(uuid.int.to_bytes(16, 'big'))}"


def to_uuid(prefix: Prefix, text: str) -> UUID:
    """Read an id of one kind. Raises ValueError when it is malformed or of another kind."""
    try:
        parsed = cast("Any", TypeID).from_string(text)
    except (TypeIDException, ValueError) as fault:
        raise ValueError(_describe_malformed_id(prefix, text)) from fault
    if parsed.prefix != prefix:
        raise ValueError(_describe_malformed_id(prefix, text))
    # The library's own UUID class is not equal to the standard one.
    return UUID(int=parsed.uuid.int)


def _describe_malformed_id(prefix: Prefix, text: str) -> str:
    return f"'{text[:90]}' is not an id of the form {prefix}_… (26 letters and digits)"
