"""Encoding of values as JSON that PostgreSQL, browsers and client libraries can all represent."""

import re
from typing import Final, cast

import msgspec

from domain.json_bounds import JSON_DEPTH_MAX, is_within_bounds
from store.errors import TooDeep, UnstorableText

BACKSLASH: Final = b"\\"
NUL: Final = rb"\u0000"
# These six characters may also be an escaped backslash followed by "u0000", which is valid text.
ESCAPED_NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")

UNBOUNDED: Final = 2**62
MEASURED: Final = (str, dict, list)

_encoder: Final = msgspec.json.Encoder()


SMALL_BYTES: Final = 1_024
BYTES_PER_MARK: Final = 64
"""Memory of one element of decoded JSON: an empty list takes 64 bytes and three characters."""
BYTES_PER_RECORD: Final = 1_024
"""Memory of the Structs, ids and times around one decoded value."""


def weigh_json(encoded: bytes | str) -> int:
    """Return the memory that a decoded JSON text takes, within a factor of two: texts once, and each element.

    25,000 numbers in 250 KB of JSON take 2.4 MB. Small texts are not looked through.
    """
    length = len(encoded)
    if length <= SMALL_BYTES:
        return BYTES_PER_RECORD + 2 * length
    if isinstance(encoded, str):
        marks = encoded.count(",") + encoded.count("[") + encoded.count("{") + encoded.count(":")
    else:
        marks = encoded.count(b",") + encoded.count(b"[") + encoded.count(b"{") + encoded.count(b":")
    return BYTES_PER_RECORD + length + BYTES_PER_MARK * marks


def encode(value: object) -> bytes:
    """Write a value as JSON. Raises UnstorableText for NUL, which PostgreSQL's text refuses, and lone surrogates."""
    try:
        encoded = _encoder.encode(value)
    except UnicodeEncodeError as fault:
        raise UnstorableText("invalid Unicode: unpaired surrogate") from fault
    # Most values have no escaped character, which takes 30 ns to find out; a search for NUL took 250.
    if BACKSLASH in encoded and NUL in encoded and ESCAPED_NUL.search(encoded):
        raise UnstorableText("the character NUL (U+0000) cannot be stored")
    return encoded


def encode_shallow(value: object) -> bytes:
    """Encode a value as JSON that every reader can decode, at any depth of calls. Raises TooDeep, UnstorableText.

    The decoder is limited by the rest of the stack: a value that one reader accepts could block another one forever.
    """
    try:
        encoded = encode(value)
    except RecursionError as fault:
        raise TooDeep(JSON_DEPTH_MAX) from fault
    except TypeError as fault:
        raise UnstorableText(
            "value is not JSON-serializable"
        ) from fault  # JMESPath can return one of its own expressions
    if encoded.count(b"[") + encoded.count(b"{") > JSON_DEPTH_MAX and not is_within_bounds(
        value, items_max=UNBOUNDED, length_max=UNBOUNDED
    ):
        raise TooDeep(JSON_DEPTH_MAX)
    return encoded


def outgrows(value: object, most_bytes: int) -> bool:
    """Return whether a JSON value certainly takes more bytes than a limit, without encoding it.

    What stands in many places is one object in memory and is written as many times: a list of 400 references to a text
    of 14 MB took 5.6 GB. The walk ends as soon as it is certain, so that it never costs more than the writing would.
    """
    written = 0
    pending: list[object] = [value]
    for item in pending:  # the list grows during the iteration; no function calls, because every output passes here
        if isinstance(item, str):
            written += len(item)
        elif isinstance(item, dict):
            parts = cast("dict[str, object]", item)
            written += 2 * len(parts)  # one character and a comma each, at least
            pending.extend(cast("list[object]", [part for part in parts.values() if isinstance(part, MEASURED)]))
        elif isinstance(item, list):
            elements = cast("list[object]", item)
            written += 2 * len(elements)
            pending.extend(cast("list[object]", [part for part in elements if isinstance(part, MEASURED)]))
        if written > most_bytes:
            return True
    return False
