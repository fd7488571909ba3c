"""The contract of a bus: it carries facts and deltas between processes, and is never the truth."""

from typing import Protocol

from bus.deltas import DeltaHub
from bus.presence import PresenceHub


class Bus(Protocol):
    """Bring other processes' commits to the feed of this process. Delivery is best effort: the log has what is lost."""

    @property
    def deltas(self) -> DeltaHub:
        """Return the hub that passes deltas to the followers of a run."""
        ...

    @property
    def presence(self) -> PresenceHub:
        """Return the rosters of projects."""
        ...

    async def run(self) -> None:
        """Run until cancelled; reconnect with back-off."""
        ...

    def list_degraded(self) -> tuple[str, ...]:
        """Return what does not work here at the moment, for `/readyz`."""
        ...
