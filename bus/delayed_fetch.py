"""Patience: waiting a little for what will probably come by itself, before it is fetched."""

import asyncio
from collections.abc import Callable


class Patience:
    """Fetches what was announced and has not come in time. It looks once a wait, however much is announced."""

    def __init__(self, through: Callable[[], int], fetch: Callable[[], None]) -> None:
        """Take what says how far everything has come, and what fetches the rest; at first there is no patience."""
        self.seconds: Callable[[], float] = lambda: 0.0
        self._through = through
        self._fetch = fetch
        self._announced = 0
        self._looking: asyncio.TimerHandle | None = None

    def expect(self, position: int) -> None:
        """Say that everything up to a position is to come."""
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
        """Fetch if what was expected then is not there; what was announced since gets its own time."""
        self._looking = None
        if self._through() < expected:
            self._fetch()
        elif self._through() < self._announced:
            self._wait()
