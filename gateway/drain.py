"""Graceful shutdown: end the requests that wait for facts, so that they respond before the process stops."""

from uuid import UUID

from bus.feed import Feed
from bus.watch import StreamWatch, Watching
from gateway.http.rejections import Draining


class Drain:
    """Tracks every open watch. Call `begin` once, when the process has to stop."""

    def __init__(self, feed: Feed) -> None:
        """Create a drain without watches."""
        self._feed = feed
        self._watches: set[StreamWatch] = set()
        self.begun = False

    @property
    def watching(self) -> int:
        """Return how many requests wait for facts."""
        return len(self._watches)

    def begin(self) -> None:
        """Stop every watch: its request responds with what it has."""
        self.begun = True
        for watch in self._watches:
            watch.stop(Draining())

    def watch(self, stream_id: UUID) -> Watching:
        """Watch a stream for the length of a `with` block; `facts` raises Draining once the process is stopping."""
        return self._stop_if_begun(self._feed.watch(stream_id, among=self._watches))

    def watch_project(self, project_id: UUID) -> Watching:
        """Watch every stream of a project likewise."""
        return self._stop_if_begun(self._feed.watch_project(project_id, among=self._watches))

    def _stop_if_begun(self, watching: Watching) -> Watching:
        if self.begun:
            watching.watch.stop(Draining())
        return watching
