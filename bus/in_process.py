"""The in-process bus: what this process commits it knows at once; what others commit PostgreSQL tells by NOTIFY."""

from bus.deltas import DeltaHub
from bus.feed import Feed
from bus.listener import Listener
from store.log.log import Log


class InProcessBus:
    """Carries facts within the process and wakes across processes. Deltas stay in the process."""

    def __init__(self, listener: Listener, log: Log, feed: Feed) -> None:
        """Make it; it carries nothing until `run`."""
        self._listener = listener
        self._log = log
        self._feed = feed
        self.deltas = DeltaHub()

    async def run(self) -> None:
        """Carry until cancelled."""
        await self._listener.run(self._log, self._feed)

    def degraded(self) -> tuple[str, ...]:
        """Say what does not go on; the feed's own poll makes up for a listener that has lost its connection."""
        return ()
