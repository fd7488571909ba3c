"""Cached TypeIDs: the ids of projects and workflows are formatted and parsed with every run."""

from functools import lru_cache
from typing import Final

from domain.ids import from_uuid, to_uuid

format_id: Final = lru_cache(maxsize=10_000)(from_uuid)
"""Returns a TypeID; use it for kinds of which the same few ids recur."""
parse_id: Final = lru_cache(maxsize=10_000)(to_uuid)
"""Parses a TypeID. Raises ValueError if it is malformed or has another prefix."""
