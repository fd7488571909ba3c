"""Shared by operations on numbered versions: the number in the path, and the query of a list."""

import re
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from gateway.operations.operation import PathText
from gateway.operations.query import Limit, VersionNumber

VERSION: Final = PathText("version", "The number of the version, from 1.")
DIGITS: Final = re.compile("[0-9]{1,9}")


class VersionQuery(Struct, frozen=True, kw_only=True):
    """Query of a list of versions: those before `cursor`."""

    limit: Limit | None = None
    cursor: VersionNumber | None = None


def parse_version(texts: Mapping[str, str]) -> int | None:
    """Return the number of the version in the path, None if it is no number: then there is no such version."""
    text = texts[VERSION.name]
    return int(text) if DIGITS.fullmatch(text) else None
