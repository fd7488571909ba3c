"""Python's garbage collector, set for a server that makes many short-lived objects and few cycles."""

import gc
from typing import Final

YOUNG_OBJECTS: Final = 100_000


def tune_garbage_collector() -> None:
    """Raise the collection threshold, and exclude objects that exist at the start.

    Measured: with the default of 700 objects a collection of the young took a third of the time of a commit of 500
    commands, since all that waits in flight is walked again and again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 50, 100)
