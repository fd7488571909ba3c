"""The contract of a bus: it carries facts and deltas between processes, and is never the truth."""

from typing import Protocol

from bus.deltas import DeltaHub


class Bus(Protocol):
    """Brings to the feed of this process what others commit, as soon as it can; what it loses the log has."""

    @property
    def deltas(self) -> DeltaHub:
        """Give what passes deltas to those who follow a run."""
        ...

    async def run(self) -> None:
        """Carry until cancelled; what is away is tried again."""
        ...

    def degraded(self) -> tuple[str, ...]:
        """Say what does not go on here just now, for `/readyz`."""
        ...
