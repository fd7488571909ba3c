"""Draining: what waits for facts is told when the process is about to stop, so that it can end well and at once."""

from uuid import UUID

from bus.feed import Feed
from bus.watch import StreamWatch, Watching
from gateway.http.rejections import Draining


class Drain:
    """Knows every open watch. `begin` is called once, by whoever hears that the process shall stop."""

    def __init__(self, feed: Feed) -> None:
        """Make it, with nothing to drain."""
        self._feed = feed
        self._watches: set[StreamWatch] = set()
        self.begun = False

    @property
    def watching(self) -> int:
        """Give how many requests wait for facts."""
        return len(self._watches)

    def begin(self) -> None:
        """Tell everyone who waits that nothing more comes from here."""
        self.begun = True
        for watch in self._watches:
            watch.stop(Draining())

    def watch(self, stream_id: UUID) -> Watching:
        """Follow one stream for as long as a block lasts; `facts` raise Draining once the process is about to stop."""
        watching = self._feed.watch(stream_id, among=self._watches)
        if self.begun:
            watching.watch.stop(Draining())
        return watching
