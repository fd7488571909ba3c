"""The in-process bus: commits of this process reach its feed directly, those of others by PostgreSQL NOTIFY."""

from bus.deltas import DeltaHub
from bus.feed import Feed
from bus.listener import Listener
from store.log.log import Log


class InProcessBus:
    """Carry facts within the process, and wake-ups between processes. Deltas stay in the process."""

    def __init__(self, listener: Listener, log: Log, feed: Feed) -> None:
        """Create the bus; it carries nothing until `run`."""
        self._listener = listener
        self._log = log
        self._feed = feed
        self.deltas = DeltaHub()

    async def run(self) -> None:
        """Run until cancelled."""
        await self._listener.run(self._log, self._feed)

    def list_degraded(self) -> tuple[str, ...]:
        """Return nothing: while the listener has no connection the poll of the feed replaces it."""
        return ()
