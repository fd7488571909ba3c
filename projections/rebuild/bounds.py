"""The settings of a rebuild, and what it says of itself while it goes on."""

from collections.abc import Callable
from enum import StrEnum

from msgspec import Struct


class Phase(StrEnum):
    """What a rebuild is doing."""

    FOLDING = "folding"
    INDEXING = "indexing"
    COMPARING = "comparing"
    SWAPPING = "swapping"


class Progress(Struct, frozen=True, kw_only=True):
    """How far a rebuild has come: positions of the log, of which `target` is where the live projection stands."""

    phase: Phase
    position: int
    target: int
    events: int
    """How many facts were folded in this sitting."""


Tell = Callable[[Progress], None]
