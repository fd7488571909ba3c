"""Waiters for positions of projections: single-flight polling, one waiter polls the table for all."""

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress


class Waiter:
    """A wait until a projection has reached a position."""

    def __init__(self, projection: str, position: int) -> None:
        """Create a waiter for a position that has not been reached yet."""
        self.projection = projection
        self.position = position
        self.reached = False
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Wake the waiter."""
        self._woken.set()

    async def wait(self, longest_seconds: float | None) -> None:
        """Wait until woken, or for at most `longest_seconds`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(longest_seconds):
                await self._woken.wait()
        self._woken.clear()


class Waiters:
    """All waiters. One of them is the poller; when it leaves the role passes on. The others only sleep.

    With a timer each, a thousand waiters would wake the process twenty thousand times a second.
    """

    def __init__(self, needs_polling: Callable[[str], bool]) -> None:
        """Create it empty; `needs_polling` returns whether another process moves a projection."""
        self._waiting: dict[str, set[Waiter]] = {}
        self._poller: Waiter | None = None
        self._needs_polling = needs_polling

    @contextmanager
    def register(self, projection: str, position: int) -> Generator[Waiter]:
        """Register a waiter for the length of the block."""
        waiter = Waiter(projection, position)
        waiting = self._waiting.setdefault(projection, set())
        waiting.add(waiter)
        try:
            yield waiter
        finally:
            waiting.discard(waiter)
            self.release_polling(waiter)

    def advance(self, projection: str, position: int) -> None:
        """Wake the waiters whose position a projection has reached."""
        for waiter in self._waiting.get(projection, ()):
            if waiter.position <= position and not waiter.reached:
                waiter.reached = True
                waiter.wake()

    def claim_polling(self, waiter: Waiter) -> bool:
        """Return whether this waiter is the poller; it becomes it when there is none."""
        if self._poller is None:
            self._poller = waiter
        return self._poller is waiter

    def release_polling(self, waiter: Waiter) -> None:
        """Stop polling, and elect another poller."""
        if self._poller is waiter:
            self._poller = None
            self.elect_poller()

    def elect_poller(self) -> None:
        """Elect a poller if there is none."""
        if self._poller is not None:
            return
        for projection, waiting in self._waiting.items():
            if self._needs_polling(projection):
                for waiter in waiting:
                    if not waiter.reached:
                        self._poller = waiter
                        waiter.wake()
                        return
