"""How rough a played run is: what may go wrong in it, and how late things come."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Chances:
    """How likely it is that something goes wrong: that an append fails, that the engine is lost after a turn."""

    conflict: float = 0.0
    loss: float = 0.0
    most_losses: int = 3
    spurious: float = 0.0
    held_back_off_seconds: int = 60
    lag_seconds: int = 0


CALM = Chances()
