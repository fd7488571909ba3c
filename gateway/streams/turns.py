"""Turns of replays: some of them work at a time, so that commands are answered while hundreds of clients resume."""

import asyncio
from typing import Final

TURN_SECONDS_MAX: Final = 0.1
"""A turn whose client does not read ends by itself after that time."""


class Turn:
    """The right to replay a page."""

    def __init__(self, places: asyncio.Semaphore) -> None:
        """Create a turn that has begun, and that ends at the latest after `TURN_SECONDS_MAX`."""
        self._places = places
        self._has_ended = False
        self._timer = asyncio.get_running_loop().call_later(TURN_SECONDS_MAX, self.end)

    def end(self) -> None:
        """End the turn: the next replay begins. Further calls do nothing."""
        if not self._has_ended:
            self._has_ended = True
            self._timer.cancel()
            self._places.release()


class ReplayTurns:
    """Admits so many replays at once, in the order in which they ask, one page each."""

    def __init__(self, replays_at_once: int) -> None:
        """Create it."""
        self._places = asyncio.Semaphore(replays_at_once)

    async def begin(self) -> Turn:
        """Wait for a turn."""
        await self._places.acquire()
        return Turn(self._places)
