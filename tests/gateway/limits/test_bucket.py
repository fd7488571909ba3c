"""Buckets of rate limits over a real database: several processes together never exceed a limit."""

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Final
from uuid import UUID

import pytest

from gateway.limits.bucket import LeasedBucket, QuotaExceeded
from gateway.limits.policies import Policy
from store.errors import Unavailable
from store.log.log import Log
from store.rate_limits import RateLimitBuckets
from store.settings import StoreSettings
from tests.support.gateway.given import new_id
from tests.support.waiting import eventually

SLOW: Final = Policy(per_second=0.5, burst=400)
"""So slow that nothing comes back within a test."""


@pytest.fixture
async def buckets(gateway_database: str) -> AsyncGenerator[RateLimitBuckets]:
    log = Log(gateway_database, StoreSettings())
    async with log.open_readers():
        yield RateLimitBuckets(log.sessions)


async def take_all(bucket: LeasedBucket, requests: int) -> int:
    """Send requests one after the other; return how many were admitted."""
    admitted = 0
    for _ in range(requests):
        try:
            await bucket.wait_for_tokens(1)
        except QuotaExceeded:
            continue
        admitted += 1
    return admitted


def open_in_processes(buckets: RateLimitBuckets, policy: Policy, count: int, bucket_id: UUID) -> list[LeasedBucket]:
    """Return a bucket as each of several processes has it."""
    return [LeasedBucket(bucket_id, policy, buckets, lease_seconds=1, clock=time.monotonic) for _ in range(count)]


async def test_processes_together_admit_no_more_than_the_burst(buckets: RateLimitBuckets) -> None:
    opened = open_in_processes(buckets, SLOW, 5, new_id())
    admitted = await asyncio.gather(*(take_all(bucket, 200) for bucket in opened))
    held_back = 1 + len(opened) * SLOW.burst // 8  # a chunk of each that was leased and not used
    assert SLOW.burst - held_back <= sum(admitted) <= SLOW.burst
    assert await take_all(opened[0], 20) == 0


async def test_requests_at_the_same_time_share_a_lease(buckets: RateLimitBuckets) -> None:
    (bucket,) = open_in_processes(buckets, SLOW, 1, new_id())
    outcomes = await asyncio.gather(*(bucket.wait_for_tokens(1) for _ in range(1_000)), return_exceptions=True)
    admitted = sum(outcome is None for outcome in outcomes)
    assert 390 <= admitted <= SLOW.burst
    assert all(outcome is None or isinstance(outcome, QuotaExceeded) for outcome in outcomes)


async def test_no_window_has_more_than_the_burst_and_what_comes_back(buckets: RateLimitBuckets) -> None:
    policy = Policy(per_second=200, burst=40)
    opened = open_in_processes(buckets, policy, 3, new_id())
    ends_at = time.monotonic() + 1
    admitted_at: list[float] = []

    async def hammer(bucket: LeasedBucket) -> None:
        while time.monotonic() < ends_at:
            try:
                await bucket.wait_for_tokens(1)
                admitted_at.append(time.monotonic())
            except QuotaExceeded as fault:
                await asyncio.sleep(min(fault.retry_seconds, 0.01))

    await asyncio.gather(*map(hammer, opened))
    admitted_at.sort()
    for first, begins in enumerate(admitted_at):
        for last in range(first, len(admitted_at)):
            allowed = policy.burst + policy.per_second * (admitted_at[last] - begins)
            assert last - first + 1 <= allowed + 1, "one more for the difference of two clocks"
    assert len(admitted_at) >= 100, "what comes back can be used"


async def test_a_busy_bucket_hardly_ever_asks_the_database(buckets: RateLimitBuckets) -> None:
    policy = Policy(per_second=100_000, burst=400_000)
    (bucket,) = open_in_processes(buckets, policy, 1, new_id())
    waited = 0
    for _ in range(20_000):
        if not bucket.take(1):
            waited += 1
            await bucket.wait_for_tokens(1)
        elif waited % 2 == 0:
            await asyncio.sleep(0)
    assert waited <= 20


async def test_a_request_that_costs_more_than_is_left_does_not_stop_cheaper_ones(buckets: RateLimitBuckets) -> None:
    policy = Policy(per_second=0.5, burst=8)
    (bucket,) = open_in_processes(buckets, policy, 1, new_id())
    for _ in range(4):
        await bucket.wait_for_tokens(1)
    with pytest.raises(QuotaExceeded) as refused:
        await bucket.wait_for_tokens(5)
    assert 0 < refused.value.retry_seconds <= 4
    await bucket.wait_for_tokens(1)


async def test_tokens_that_expire_are_not_used(buckets: RateLimitBuckets) -> None:
    now = 0.0
    bucket = LeasedBucket(new_id(), SLOW, buckets, lease_seconds=1, clock=lambda: now)
    await bucket.wait_for_tokens(1)
    await bucket.wait_for_tokens(2)
    held, _ = bucket.estimate()
    now = 1.5
    assert not bucket.take(1)
    assert bucket.estimate()[0] <= held


async def test_requests_that_come_later_do_not_take_what_was_leased_for_one_that_waits(
    buckets: RateLimitBuckets,
) -> None:
    (bucket,) = open_in_processes(buckets, Policy(per_second=1_000, burst=5_000), 1, new_id())
    waiting = asyncio.create_task(bucket.wait_for_tokens(1))
    while not waiting.done():
        await asyncio.sleep(0)
        bucket.take(1)
    waiting.result()


async def test_a_lease_that_comes_too_late_is_no_exceeded_quota(buckets: RateLimitBuckets) -> None:
    """Requests then pass, as they do while nothing can be leased: the database is slow, and nobody sent too many."""
    times = iter(range(0, 1_000, 2))
    bucket = LeasedBucket(new_id(), SLOW, buckets, lease_seconds=1, clock=lambda: float(next(times)))
    with pytest.raises(Unavailable):
        await bucket.wait_for_tokens(1)


async def test_a_chunk_that_was_leased_in_advance_expires_too(buckets: RateLimitBuckets) -> None:
    now = 0.0
    bucket = LeasedBucket(new_id(), SLOW, buckets, lease_seconds=1, clock=lambda: now)

    async def holds_two_chunks() -> bool:
        if not bucket.has_next_chunk:
            await bucket.wait_for_tokens(1)
        return bucket.has_next_chunk

    await eventually(holds_two_chunks, what="the next chunk is leased in advance")
    now = 1.5
    assert not bucket.take(1)


async def test_full_buckets_are_deleted(buckets: RateLimitBuckets) -> None:
    (bucket,) = open_in_processes(buckets, Policy(per_second=1_000, burst=4), 1, new_id())
    await bucket.wait_for_tokens(1)
    assert await buckets.prune(time.time() + 3_600) >= 1
    await bucket.wait_for_tokens(1)
