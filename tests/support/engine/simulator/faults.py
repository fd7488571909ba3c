"""Faults of a simulated run: their probabilities, and the lag of timers."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Faults:
    """Probabilities of faults: `conflict` of an append, `loss` of the engine after a turn, `spurious` wake-ups."""

    conflict: float = 0.0
    loss: float = 0.0
    most_losses: int = 3
    spurious: float = 0.0
    held_back_off_seconds: int = 60
    lag_seconds: int = 0


NO_FAULTS = Faults()
