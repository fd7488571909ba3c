"""Wait a short time for events that a bus will probably deliver, before reading them from the log."""

import asyncio
from collections.abc import Callable


class DelayedFetch:
    """Fetch announced events that have not arrived in time. One timer serves all announcements."""

    def __init__(self, through: Callable[[], int], fetch: Callable[[], None]) -> None:
        """Create it without a delay. `through` returns the last position that has arrived; `fetch` reads the rest."""
        self.seconds: Callable[[], float] = lambda: 0.0
        self._through = through
        self._fetch = fetch
        self._announced = 0
        self._looking: asyncio.TimerHandle | None = None

    def expect(self, position: int) -> None:
        """Expect every event up to a position."""
        self._announced = max(self._announced, position)
        if self._looking is None:
            self._wait()

    def _wait(self) -> None:
        seconds = self.seconds()
        if seconds <= 0:
            self._fetch()
        else:
            self._looking = asyncio.get_running_loop().call_later(seconds, self._look, self._announced)

    def _look(self, expected: int) -> None:
        """Fetch if an expected event is missing; events announced since then get their own delay."""
        self._looking = None
        if self._through() < expected:
            self._fetch()
        elif self._through() < self._announced:
            self._wait()
