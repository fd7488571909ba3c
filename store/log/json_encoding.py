"""How values become JSON bytes that every database, browser and library downstream can hold."""

import re
from typing import Final, cast

import msgspec

from domain.json_bounds import JSON_DEPTH_MAX, is_within_bounds
from store.errors import TooDeep, UnstorableText

BACKSLASH: Final = b"\\"
NUL: Final = rb"\u0000"
# The six characters may also be an escaped backslash and "u0000", which is text like any other.
ESCAPED_NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")

UNBOUNDED: Final = 2**62
MEASURED: Final = (str, dict, list)

_encoder: Final = msgspec.json.Encoder()


def encode(value: object) -> bytes:
    """Write a value as JSON. Raises UnstorableText for NUL, which PostgreSQL's text refuses, and lone surrogates."""
    try:
        encoded = _encoder.encode(value)
    except UnicodeEncodeError as fault:
        raise UnstorableText("a lone surrogate is no text") from fault
    # Of most values no character is escaped, which takes 30 ns to see; to look for NUL at once took 250.
    if BACKSLASH in encoded and NUL in encoded and ESCAPED_NUL.search(encoded):
        raise UnstorableText("the character NUL (U+0000) cannot be stored")
    return encoded


def encode_shallow(value: object) -> bytes:
    """Write a value as JSON that whoever reads it can read, however deep in calls. Raises TooDeep, UnstorableText.

    The decoder's limit is what is left of the stack: a value that one reader takes would stop the next one for ever.
    """
    try:
        encoded = encode(value)
    except RecursionError as fault:
        raise TooDeep(JSON_DEPTH_MAX) from fault
    except TypeError as fault:
        raise UnstorableText("this is no JSON value") from fault  # JMESPath can give one of its own expressions
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
    for item in pending:  # which grows meanwhile; without calls, since every output goes through here
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
