"""Those who wait for projections, and the one of them who looks at the table for all."""

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress


class Waiter:
    """One who waits until a projection has come to a position."""

    def __init__(self, projection: str, position: int) -> None:
        """Wait for a position that has not been reached yet."""
        self.projection = projection
        self.position = position
        self.reached = False
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Let the waiter look what has changed."""
        self._woken.set()

    async def woken(self, longest_seconds: float | None) -> None:
        """Wait until woken, or for so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(longest_seconds):
                await self._woken.wait()
        self._woken.clear()


class Waiters:
    """All who wait. One of them at a time is the looker, and who leaves hands that on: the others only sleep.

    Were each to look by a timer of its own, a thousand readers would wake the process twenty thousand times a second.
    """

    def __init__(self, may_look: Callable[[str], bool]) -> None:
        """Begin with nobody; `may_look` says whether the table tells anything new of a projection."""
        self._waiting: dict[str, set[Waiter]] = {}
        self._looker: Waiter | None = None
        self._may_look = may_look

    @contextmanager
    def waiting(self, projection: str, position: int) -> Generator[Waiter]:
        """Be one of those who wait, for as long as the block lasts."""
        one = Waiter(projection, position)
        waiting = self._waiting.setdefault(projection, set())
        waiting.add(one)
        try:
            yield one
        finally:
            waiting.discard(one)
            self.leave(one)

    def moved(self, projection: str, position: int) -> None:
        """Tell those who wait that a projection stands here."""
        for one in self._waiting.get(projection, ()):
            if one.position <= position and not one.reached:
                one.reached = True
                one.wake()

    def looks(self, one: Waiter) -> bool:
        """Tell whether this one is to look now: it is the looker, or there was none."""
        if self._looker is None:
            self._looker = one
        return self._looker is one

    def leave(self, one: Waiter) -> None:
        """Look no longer, and hand it on."""
        if self._looker is one:
            self._looker = None
            self.hand_on()

    def hand_on(self) -> None:
        """Let somebody look, unless somebody does."""
        if self._looker is not None:
            return
        for projection, waiting in self._waiting.items():
            if self._may_look(projection):
                for one in waiting:
                    if not one.reached:
                        self._looker = one
                        one.wake()
                        return
