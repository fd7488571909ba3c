"""The in-process bus: commits of this process reach its feed directly, those of others by PostgreSQL NOTIFY."""

import asyncio

from bus.deltas import DeltaHub
from bus.feed import Feed
from bus.listener import Listener
from bus.presence import PresenceHub
from store.log.log import Log


class InProcessBus:
    """Carry facts within the process, and wake-ups between processes. Deltas and presence stay in the process."""

    def __init__(self, listener: Listener, log: Log, feed: Feed, presence: PresenceHub) -> None:
        """Create the bus; it carries nothing until `run`."""
        self._listener = listener
        self._log = log
        self._feed = feed
        self.deltas = DeltaHub()
        self.presence = presence

    async def run(self) -> None:
        """Run until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listener.run(self._log, self._feed), name="listener")
            group.create_task(self.presence.run(), name="presence")

    def list_degraded(self) -> tuple[str, ...]:
        """Return nothing: while the listener has no connection the poll of the feed replaces it."""
        return ()
