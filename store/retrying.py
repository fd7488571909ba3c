"""Retry with exponential back-off: one definition for every loop that waits for PostgreSQL, NATS or another process.

Retry until it works::

    page = await Retrying(Unavailable, outages=outages).call(lambda: log.read(position, limit))

    async for attempt in Retrying(Unavailable):
        with attempt:
            await write_leases()

Supervise a connection that may serve for days. `reset` starts the back-off over, so that a connection lost after a
day is opened again at once::

    async for attempt in Retrying(psycopg.Error, outages=outages):
        with attempt:
            async with open_connection(conninfo) as connection:
                attempt.reset()
                await serve(connection)

A loop that counts failures without raising uses `BackOff` alone.

Why not stamina (25.1): its attempts cannot start the back-off over while they last, which is what eight of our
fourteen loops need; it does not look into exception groups; and it retries ten times or 45 seconds by default, where
ours retry until they are cancelled. It would add a dependency (tenacity) for the other six.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, Self, TypeVar, cast

from msgspec import Struct

from store.outage_log import OutageLog

T = TypeVar("T")


class BackOffBounds(Struct, frozen=True, kw_only=True):
    """The delay after the first failure, and the longest delay; each further failure in a row doubles it."""

    first_seconds: float = 0.1
    longest_seconds: float = 1.0


DEFAULT_BOUNDS: Final = BackOffBounds()
DOUBLINGS_MAX: Final = 20
"""0.1 s doubled 20 times is over a day; unbounded, a float overflows after 1,000 failures."""


class BackOff:
    """Count failures in a row and wait after each: exponentially longer, bounded, with jitter.

    Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    def __init__(
        self,
        bounds: BackOffBounds = DEFAULT_BOUNDS,
        *,
        jitter: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Create a back-off without failures. `jitter` returns a number from 0 to 1; tests pass it and `sleep`."""
        self.failures = 0
        self._bounds = bounds
        self._jitter = jitter
        self._sleep = sleep

    @property
    def delay_seconds(self) -> float:
        """Return the next delay: between half of the bound for so many failures and all of it; 0 without failures."""
        if not self.failures:
            return 0.0
        doubled = self._bounds.first_seconds * 2 ** min(self.failures - 1, DOUBLINGS_MAX)
        return min(self._bounds.longest_seconds, doubled) * (0.5 + self._jitter() / 2)

    def reset(self) -> None:
        """Start over: the next failure is the first again."""
        self.failures = 0

    async def wait(self) -> None:
        """Sleep as long as the failures so far ask for."""
        await self._sleep(self.delay_seconds)

    async def fail(self) -> None:
        """Count a failure, and sleep."""
        self.failures += 1
        await self.wait()


class Retrying:
    """Attempts at one piece of work until one does not raise, with back-off between them; forever unless cancelled."""

    def __init__(
        self,
        *retried: type[Exception],
        back_off: BackOff | None = None,
        on_failure: Callable[[Exception, int], None] | None = None,
        outages: OutageLog | None = None,
        steady_seconds: float | None = None,
    ) -> None:
        """Retry after the exceptions in `retried`, and after exception groups that hold nothing else.

        `on_failure` is called with the exception and the number of failures in a row, before the wait. `outages` logs
        the first failure, and the success after it: an attempt that ends, or is reset. An attempt that
        fails after `steady_seconds` or more counts as a first failure. Any other exception ends the loop, and so does
        cancellation.
        """
        self._retried = retried
        self._back_off = back_off or BackOff()
        self._on_failure = on_failure
        self._outages = outages
        self._steady_seconds = steady_seconds
        self._last: Attempt | None = None

    def __aiter__(self) -> Self:
        """Start over: one instance may serve several loops in sequence."""
        self._last = None
        self._back_off.reset()
        return self

    async def __anext__(self) -> "Attempt":
        """Wait when the last attempt failed; end when it did not."""
        if self._last is not None:
            if not self._last.has_failed:
                raise StopAsyncIteration
            await self._back_off.wait()
        self._last = Attempt(self)
        return self._last

    async def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """Return what `work` returns, as soon as it does not raise one of the exceptions that are retried."""
        async for attempt in self:
            with attempt:
                return await work()
        raise AssertionError("attempts end only by success")

    def reset(self) -> None:
        """Start the back-off over."""
        self._back_off.reset()
        self.note_success()

    def note_success(self) -> None:
        """Log that an outage is over, if there was one."""
        if self._outages is not None:
            self._outages.note_success()

    def is_retried(self, fault: Exception, lasted_seconds: float) -> bool:
        """Count the failure of an attempt and report it; return False when it is not one to retry after."""
        if not all(isinstance(each, self._retried) for each in list_causes(fault)):
            return False
        if self._steady_seconds is not None and lasted_seconds >= self._steady_seconds:
            self._back_off.reset()
        self._back_off.failures += 1
        if self._outages is not None:
            self._outages.note_failure(join_reasons(fault))
        if self._on_failure is not None:
            self._on_failure(fault, self._back_off.failures)
        return True


class Attempt:
    """One attempt, as a context: it suppresses an exception that is retried."""

    def __init__(self, retrying: Retrying) -> None:
        """Create it; its time starts when it is entered."""
        self.has_failed = False
        self._retrying = retrying
        self._began_at = 0.0

    def __enter__(self) -> Self:
        """Start the attempt."""
        self._began_at = asyncio.get_running_loop().time()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Suppress an exception that is retried; the loop then waits and yields the next attempt."""
        if fault is None:
            self._retrying.note_success()
        if not isinstance(fault, Exception):
            return False
        self.has_failed = self._retrying.is_retried(fault, asyncio.get_running_loop().time() - self._began_at)
        return self.has_failed

    def reset(self) -> None:
        """Start the back-off over: the attempt counts as successful, such as after connecting."""
        self._retrying.reset()


def list_causes(fault: Exception) -> list[Exception]:
    """Return the exceptions in a group, nested groups flattened; an exception that is no group by itself."""
    if not isinstance(fault, ExceptionGroup):
        return [fault]
    group = cast("ExceptionGroup[Exception]", fault)
    return [cause for each in group.exceptions for cause in list_causes(each)]


def join_reasons(fault: Exception) -> str:
    """Return the messages of an exception, or of all exceptions in a group, on one line for a log."""
    return "; ".join(str(cause).strip() or repr(cause) for cause in list_causes(fault))
