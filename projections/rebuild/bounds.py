"""The settings of a rebuild, and its progress reports."""

from collections.abc import Callable
from enum import StrEnum

from msgspec import Struct


class Phase(StrEnum):
    """The phase of a rebuild."""

    FOLDING = "folding"
    INDEXING = "indexing"
    COMPARING = "comparing"
    SWAPPING = "swapping"


class Progress(Struct, frozen=True, kw_only=True):
    """Progress in positions of the log; `target` is the position of the live projection."""

    phase: Phase
    position: int
    target: int
    events: int
    """Facts folded since the start or the last resume."""


Tell = Callable[[Progress], None]
