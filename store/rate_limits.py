"""Tokens of rate limits, leased from PostgreSQL in chunks, so that all processes together keep to a limit."""

import asyncio
import random
import time
from typing import Final, Never
from uuid import UUID

import structlog
from msgspec import Struct

from store.errors import Unavailable
from store.postgres.connections import Sessions

PRUNE_SECONDS: Final = 300
PRUNED_MAX: Final = 10_000

LEASE: Final = "select granted, remaining, retry_seconds from lease_tokens(%b, %b::int, %b::int, %b::float8, %b::int)"
"""Lease tokens of a bucket."""

PRUNE: Final = """
delete from rate_limit_buckets
 where bucket_id in (
     select bucket_id from rate_limit_buckets where spent_until < %b::float8 limit %b::int for update skip locked)
"""
"""Delete some buckets that are full, as missing ones are."""


class Lease(Struct, frozen=True):
    """Tokens that were leased, 0 if those needed were not there, and what the bucket has left.

    `retry_seconds` is after how long those needed are there.
    """

    granted: int
    remaining: int
    retry_seconds: float


class RateLimitBuckets:
    """The buckets of all processes, in the database."""

    def __init__(self, sessions: Sessions) -> None:
        """Create it."""
        self._sessions = sessions
        self._logger = structlog.get_logger("store.rate_limits")

    async def lease(self, bucket_id: UUID, *, wanted: int, needed: int, per_second: float, burst: int) -> Lease:
        """Lease up to `wanted` tokens of a bucket of `burst` that gets `per_second` back. Raises Unavailable.

        Tokens of a lease whose answer is lost are lost: a limit is never exceeded.
        """
        row = await self._sessions.one(LEASE, (bucket_id, wanted, needed, 1 / per_second, burst))
        if row is None:
            raise Unavailable("the rate limits cannot be read")
        return Lease(*row)

    async def prune(self, before_seconds: float) -> int:
        """Delete up to 10,000 buckets that have been full since a time in seconds since 1970; return their number."""
        return await self._sessions.run(PRUNE, (before_seconds, PRUNED_MAX))

    async def run(self) -> Never:
        """Delete full buckets at intervals until cancelled."""
        while True:
            await asyncio.sleep(PRUNE_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311  # spreads processes out
            try:
                while await self.prune(time.time() - PRUNE_SECONDS) >= PRUNED_MAX:
                    pass
            except Unavailable as fault:
                self._logger.warning("rate_limits.not_pruned", reason=str(fault))
