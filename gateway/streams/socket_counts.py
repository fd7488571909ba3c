"""Counts of open WebSockets, which are bounded for each workspace."""

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from uuid import UUID

from gateway.http.rejections import TooMany


class SocketCounts:
    """Counts the open WebSockets of each workspace in this process."""

    def __init__(self, sockets_max: int) -> None:
        """Create it for at most `sockets_max` in each workspace."""
        self._sockets_max = sockets_max
        self._open: Counter[UUID] = Counter()

    def __len__(self) -> int:
        """Return how many are open."""
        return self._open.total()

    @contextmanager
    def admit(self, workspace_id: UUID) -> Generator[None]:
        """Count a WebSocket as open within a block. Raises TooMany."""
        if self._open[workspace_id] >= self._sockets_max:
            raise TooMany(
                f"The workspace has {self._sockets_max} open WebSockets on this server, as many as it may have."
            )
        self._open[workspace_id] += 1
        try:
            yield
        finally:
            self._open[workspace_id] -= 1
            if not self._open[workspace_id]:
                del self._open[workspace_id]
