"""Graceful shutdown: end the requests that wait for facts, so that they respond before the process stops."""

from collections.abc import Collection, Generator
from contextlib import contextmanager
from uuid import UUID

from bus.feed import Feed
from bus.watch import StreamWatch, Watching
from domain.fact import Fact
from gateway.access.open_requests import Stoppable
from gateway.http.rejections import Draining


class Drain:
    """Tracks every open watch. Call `begin` once, when the process has to stop."""

    def __init__(self, feed: Feed) -> None:
        """Create a drain without watches."""
        self._feed = feed
        self._watches: set[StreamWatch] = set()
        self._held: set[Stoppable] = set()
        self.begun = False

    @property
    def watching(self) -> int:
        """Return how many requests wait for facts."""
        return len(self._watches)

    def begin(self) -> None:
        """Stop every watch: its request responds with what it has."""
        self.begun = True
        for watch in (*self._watches, *self._held):
            watch.stop(Draining())

    def watch(self, stream_id: UUID) -> Watching:
        """Watch a stream for the length of a `with` block; `facts` raises Draining once the process is stopping."""
        return self._stop_if_begun(self._feed.watch(stream_id, among=self._watches))

    def watch_project(self, project_id: UUID) -> Watching:
        """Watch every stream of a project; see `watch`."""
        return self._stop_if_begun(self._feed.watch_project(project_id, among=self._watches))

    def watch_workspace(self, workspace_id: UUID, kinds: Collection[type[Fact]]) -> Watching:
        """Watch every stream of a workspace for facts of some kinds likewise."""
        return self._stop_if_begun(self._feed.watch_workspace(workspace_id, kinds, among=self._watches))

    @contextmanager
    def hold(self, waiting: Stoppable) -> Generator[None]:
        """Stop what waits when the process is stopping, within a block."""
        if self.begun:
            waiting.stop(Draining())
        self._held.add(waiting)
        try:
            yield
        finally:
            self._held.discard(waiting)

    def _stop_if_begun(self, watching: Watching) -> Watching:
        if self.begun:
            watching.watch.stop(Draining())
        return watching
