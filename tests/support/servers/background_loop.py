"""An event loop in a thread of its own, for servers beside tests that block."""

import asyncio
from collections.abc import Coroutine
from threading import Thread
from typing import Any, Final, Self, TypeVar

T = TypeVar("T")
CALL_SECONDS_MAX: Final = 10.0


class BackgroundLoop:
    """Runs coroutines of a test's servers while the test itself blocks."""

    def __init__(self) -> None:
        """Create it; it runs within a `with` block."""
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(self, *_fault: object) -> None:
        """Cancel what still runs, and end the thread."""
        self.call(_cancel_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end and return its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(CALL_SECONDS_MAX)


async def _cancel_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.sleep(0.01)  # transports that were aborted close in the loop's next turns
