"""The bounds of a rebuild, and what it says of itself while it goes on."""

from collections.abc import Callable
from enum import StrEnum

from msgspec import Struct


class RebuildBounds(Struct, frozen=True, kw_only=True):
    """The bounds of a rebuild; `callsheet.settings.load` names and documents each."""

    page_events: int = 10_000
    near_events: int = 2_000
    swap_events_max: int = 2_000
    swap_wait_ms: int = 500
    swap_tries: int = 40
    swap_pause_seconds: float = 0.5
    statement_timeout_ms: int = 3_600_000
    samples: int = 10


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
