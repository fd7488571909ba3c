"""Values that many streams of a process need at the same time: each is created once."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class SharedBytes(Generic[K]):
    """Byte strings by key, created once for all who ask at the same time, and cached up to a total size.

    A value of more than an eighth of the bound is not cached: it would evict what most streams need.
    """

    def __init__(self, *, bytes_max: int) -> None:
        """Create an empty cache."""
        self._bytes_max = bytes_max
        self._bytes = 0
        self._cached: OrderedDict[K, bytes] = OrderedDict()
        self._running: dict[K, asyncio.Future[bytes]] = {}

    def find(self, key: K) -> bytes | None:
        """Return a cached value, and mark it as used."""
        value = self._cached.get(key)
        if value is not None:
            self._cached.move_to_end(key)
        return value

    def put(self, key: K, value: bytes) -> None:
        """Cache a value, and evict the least recently used ones beyond the bound."""
        if key in self._cached or len(value) > self._bytes_max // 8:
            return
        self._cached[key] = value
        self._bytes += len(value)
        while self._bytes > self._bytes_max:
            _, evicted = self._cached.popitem(last=False)
            self._bytes -= len(evicted)

    async def get(self, key: K, create: Callable[[], Awaitable[bytes]]) -> bytes:
        """Return the value of a key; of those who ask while it is created, `create` is called for the first only."""
        value = self.find(key)
        if value is not None:
            return value
        running = self._running.get(key)
        if running is None:
            running = self._running[key] = asyncio.ensure_future(create())
            running.add_done_callback(lambda done: self._keep(key, done))
        return await asyncio.shield(running)  # one who gives up does not end it for the others

    def _keep(self, key: K, done: asyncio.Future[bytes]) -> None:
        del self._running[key]
        if not done.cancelled() and done.exception() is None:
            self.put(key, done.result())
