"""Content negotiation: `Accept` by media ranges and `Accept-Encoding`, with weights (RFC 9110, section 12)."""

import re
from functools import lru_cache
from typing import Final, NamedTuple

from msgspec import Struct

WEIGHT: Final = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")
RANGES_MAX: Final = 64
"""Further ranges of a header are ignored."""


class Range(Struct, frozen=True):
    """A media range or a coding that the caller accepts, in lower case without parameters, and its weight."""

    name: str
    weight: float


class Match(NamedTuple):
    """Result of a match: the weight, and how exactly something was named (3: by name, 1: by `*`)."""

    weight: float
    exactness: int


NO_MATCH: Final = Match(0.0, 0)


@lru_cache(maxsize=256)
def parse_ranges(header: bytes) -> tuple[Range, ...]:
    """Return the ranges of `Accept` or `Accept-Encoding`; a malformed one is left out."""
    ranges: list[Range] = []
    for item in header.decode("latin-1").lower().split(",")[:RANGES_MAX]:
        name, *parameters = (part.strip() for part in item.split(";"))
        weights = [text[2:].strip() for text in parameters if text.startswith("q=")]
        if name and all(WEIGHT.fullmatch(weight) for weight in weights):
            ranges.append(Range(name, float(weights[0]) if weights else 1.0))
    return tuple(ranges)


def match_media_type(accept: bytes | None, media_type: str) -> Match:
    """Return how well `Accept` matches a media type: the most exact range decides. Without the header all match."""
    if accept is None or not accept.strip():
        return Match(1.0, 1)
    names = {media_type: 3, f"{media_type.partition('/')[0]}/*": 2, "*/*": 1}
    found = [Match(each.weight, names[each.name]) for each in parse_ranges(accept) if each.name in names]
    return max(found, key=lambda match: (match.exactness, match.weight), default=NO_MATCH)


def prefers(accept: bytes | None, media_type: str, default: str) -> bool:
    """Return whether the caller wants a media type instead of the default.

    It does if it weighs more, or as much and is named more exactly, or as exactly: who names it asks for it.
    """
    wanted, usual = match_media_type(accept, media_type), match_media_type(accept, default)
    if wanted.weight <= 0 or wanted.exactness == 1:
        return False
    return wanted.weight > usual.weight or (wanted.weight == usual.weight and wanted.exactness >= usual.exactness)


def accepts_coding(accept_encoding: bytes | None, coding: str) -> bool:
    """Return whether `Accept-Encoding` names a coding, or `*`, with a weight above 0."""
    if accept_encoding is None:
        return False
    weights = {each.name: each.weight for each in reversed(parse_ranges(accept_encoding))}
    return weights.get(coding, weights.get("*", 0.0)) > 0
