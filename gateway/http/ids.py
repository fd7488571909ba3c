"""Ids as callers see them, remembered: those of projects and workflows come with every run."""

from functools import lru_cache
from typing import Final

from domain.ids import from_uuid, to_uuid

shown_id: Final = lru_cache(maxsize=10_000)(from_uuid)
"""Writes an id of a kind of which the same few are written again and again."""
parsed_id: Final = lru_cache(maxsize=10_000)(to_uuid)
"""Reads an id. Raises ValueError when it is malformed or of another kind."""
