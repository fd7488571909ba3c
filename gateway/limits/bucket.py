"""The part of a rate limit's bucket that this process has leased, and how it leases more before it runs out."""

import asyncio
import math
from collections.abc import Callable
from typing import Final
from uuid import UUID

from gateway.limits.policies import Policy
from store.errors import Unavailable
from store.rate_limits import Lease, RateLimitBuckets

LEASES_MAX: Final = 20
"""How often one request leases while others take what it leased, before it is refused."""
RESERVED_PART: Final = 4
"""A process holds tokens for so long that at most a fourth of the burst comes back meanwhile."""
CHUNKS_IN_BUCKET: Final = 8
"""A chunk is at most an eighth of the burst: what other processes cannot use while this one holds it."""


class QuotaExceeded(Exception):  # noqa: N818  # becomes a 429
    """The tokens that a request needs are not there; they are after `retry_seconds`."""

    def __init__(self, retry_seconds: float) -> None:
        """Create it."""
        self.retry_seconds = retry_seconds
        super().__init__(f"try again in {retry_seconds:.1f} seconds")


class LeasedBucket:
    """Tokens of one bucket that this process may use until they expire.

    A token that is used long after it was leased would come on top of those that have come back meanwhile, so tokens
    expire after `lease_seconds`, and the database leases out of a burst that is smaller by what comes back in that
    time: whatever the processes do, a bucket never exceeds its burst. Two chunks are held at most: the one in use, and
    the next one, leased while a half of the first is left, so that a request hardly ever waits for a query.
    """

    __slots__ = (
        "_bucket_id",
        "_buckets",
        "_burst",
        "_chunk",
        "_clock",
        "_lease_seconds",
        "_leasing",
        "_left_in_database",
        "_next_expires_at",
        "_next_tokens",
        "_policy",
        "_refused",
        "_slow_seconds",
        "_tokens",
        "_waiting",
        "expires_at",
    )  # fmt: skip

    def __init__(
        self,
        bucket_id: UUID,
        policy: Policy,
        buckets: RateLimitBuckets,
        *,
        lease_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        """Create it without tokens; `clock` is monotonic, in seconds."""
        self._bucket_id = bucket_id
        self._policy = policy
        self._buckets = buckets
        self._clock = clock
        self._slow_seconds = lease_seconds
        self._lease_seconds = min(lease_seconds, policy.burst / policy.per_second / RESERVED_PART)
        self._burst = policy.burst - math.ceil(policy.per_second * self._lease_seconds)
        self._chunk = 1
        self._tokens = self._next_tokens = 0
        self.expires_at = self._next_expires_at = 0.0
        self._left_in_database = self._burst
        self._leasing: asyncio.Task[None] | None = None
        self._refused: tuple[float, int] = (0.0, 0)
        self._waiting = 0

    @property
    def has_next_chunk(self) -> bool:
        """Return whether a chunk was leased in advance."""
        return self._next_tokens > 0

    def take(self, cost: int) -> bool:
        """Consume tokens if this process has them and no request waits for them. Never waits.

        A request that comes later must not take what was leased for one that waits: it would wait again and again.
        """
        return self._waiting == 0 and self._take(cost)

    def _take(self, cost: int) -> bool:
        """Consume tokens if this process has them, and lease the next chunk in time."""
        now = self._clock()
        if self._tokens < cost or self.expires_at <= now:
            self._use_next_chunk(now)
            if self._tokens < cost or self.expires_at <= now:
                return False
        self._tokens -= cost
        if self._tokens < self._chunk // 2 and not self.has_next_chunk and self._leasing is None:
            self._grow_chunk()
            self._start_lease(1)
        return True

    async def wait_for_tokens(self, cost: int) -> None:
        """Consume tokens, and lease more until there are enough. Raises QuotaExceeded, Unavailable."""
        self._waiting += cost
        try:
            for _ in range(LEASES_MAX):
                if self._take(cost):
                    return
                until, needed = self._refused
                if until > (now := self._clock()) and cost >= needed:
                    raise QuotaExceeded(until - now)
                if self._leasing is None and self.expires_at > now:
                    self._grow_chunk()  # the last one was used up in time
                await asyncio.shield(self._leasing or self._start_lease(cost))
        finally:
            self._waiting -= cost
        raise QuotaExceeded(1 / self._policy.per_second)

    def give_back(self, cost: int, expires_at: float) -> None:
        """Return tokens that expire at a time, of a request that another limit refuses."""
        if self.expires_at == expires_at:
            self._tokens += cost

    def estimate(self) -> tuple[int, int]:
        """Return how many tokens are left as far as this process knows, and in how many seconds all are there."""
        remaining = self._tokens + self._next_tokens + self._left_in_database
        return remaining, max(0, round((self._burst - remaining) / self._policy.per_second))

    def _use_next_chunk(self, now: float) -> None:
        if self._tokens > 0 and self.expires_at <= now:
            self._chunk = max(1, self._chunk // 2)  # more than was used in time
            self._tokens = 0
        if self._next_tokens > 0:
            self._tokens, self._next_tokens = self._next_tokens, 0
            self.expires_at = self._next_expires_at

    def _grow_chunk(self) -> None:
        self._chunk = max(1, min(self._chunk * 2, self._burst // CHUNKS_IN_BUCKET))

    def _start_lease(self, needed: int) -> asyncio.Task[None]:
        self._leasing = task = asyncio.create_task(self._lease(needed), name="rate limit lease")
        task.add_done_callback(self._end_lease)
        return task

    async def _lease(self, needed: int) -> None:
        wanted = max(needed, self._waiting, self._chunk)
        asked_at = self._clock()
        lease = await self._buckets.lease(
            self._bucket_id, wanted=wanted, needed=needed, per_second=self._policy.per_second, burst=self._burst
        )
        if lease.granted and self._clock() >= asked_at + self._slow_seconds:
            # A limit that nobody has exceeded must not refuse requests because the database is slow.
            raise Unavailable("the database leased requests too late to be used")
        self._keep(lease, needed, asked_at)

    def _keep(self, lease: Lease, needed: int, asked_at: float) -> None:
        self._left_in_database = lease.remaining
        if lease.granted == 0:
            self._refused = (self._clock() + lease.retry_seconds, needed)
            return
        self._next_tokens = lease.granted
        self._next_expires_at = asked_at + self._lease_seconds

    def _end_lease(self, task: asyncio.Task[None]) -> None:
        self._leasing = None
        if not task.cancelled():
            task.exception()  # whoever waits for it has it, and the next request meets it again
