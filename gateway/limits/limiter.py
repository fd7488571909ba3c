"""Rate limits of requests: by workspace and by credential, kept by all processes together."""

import hashlib
import math
from collections.abc import Callable
from typing import Final
from uuid import UUID

import structlog

from gateway.http.rejections import RateLimited
from gateway.http.replies import Header
from gateway.identity.caller import Caller
from gateway.limits.bucket import LeasedBucket, QuotaExceeded
from gateway.limits.policies import Policies, Policy
from store.errors import Unavailable
from store.lru import LruCache
from store.rate_limits import RateLimitBuckets

WORKSPACE: Final = "workspace"
CREDENTIAL: Final = "credential"
UNLIMITED_SECONDS: Final = 1.0
"""How long requests pass unlimited after tokens could not be leased: what they do is refused by itself then."""


class CallerLimits:
    """The two buckets of a caller, and the header that names their policies."""

    __slots__ = ("credential", "policy_field", "workspace")

    def __init__(self, workspace: LeasedBucket, credential: LeasedBucket, policy_field: Header) -> None:
        """Create it."""
        self.workspace = workspace
        self.credential = credential
        self.policy_field = policy_field

    def list_fields(self) -> tuple[Header, ...]:
        """Return the headers of a response (draft-ietf-httpapi-ratelimit-headers-10)."""
        (workspace, workspace_seconds), (credential, credential_seconds) = (
            self.workspace.estimate(),
            self.credential.estimate(),
        )
        field = b'"workspace";r=%d;t=%d, "credential";r=%d;t=%d' % (
            workspace, workspace_seconds, credential, credential_seconds,
        )  # fmt: skip
        return (self.policy_field, (b"ratelimit", field))


class RateLimiter:
    """Admits requests while their workspace and their credential have tokens left."""

    def __init__(
        self,
        buckets: RateLimitBuckets,
        policies: Policies,
        *,
        lease_seconds: float,
        cached_max: int,
        clock: Callable[[], float],
    ) -> None:
        """Create it; `cached_max` is how many buckets this process knows at a time, `clock` is monotonic."""
        self._buckets = buckets
        self._policies = policies
        self._lease_seconds = lease_seconds
        self._clock = clock
        self._workspaces = LruCache[int, LeasedBucket](cached_max)
        self._callers = LruCache[tuple[int, str, str], CallerLimits](cached_max)
        self._unlimited_until = 0.0
        self._logger = structlog.get_logger("gateway.limits")

    async def admit(self, caller: Caller, cost: int) -> tuple[Header, ...]:
        """Consume the tokens of a request and return the headers that say what is left. Raises RateLimited."""
        actor = caller.actor
        key = caller.workspace_id.int, actor.kind, actor.id
        limits = self._callers.get(key)
        if limits is None:
            limits = self._create_limits(caller)
            self._callers.put(key, limits)
        credential, workspace = limits.credential, limits.workspace
        if not credential.take(cost):
            await self._wait(CREDENTIAL, credential, limits, cost)
        expires_at = credential.expires_at
        if not workspace.take(cost):
            try:
                await self._wait(WORKSPACE, workspace, limits, cost)
            except RateLimited:
                credential.give_back(cost, expires_at)
                raise
        return limits.list_fields()

    async def _wait(self, name: str, bucket: LeasedBucket, limits: CallerLimits, cost: int) -> None:
        """Consume tokens of a bucket after leasing some. Raises RateLimited.

        While none can be leased requests pass: without its database a process changes nothing, and what it can still
        read while the database is read-only must not depend on a table that is written.
        """
        if self._unlimited_until > self._clock():
            return
        try:
            await bucket.wait_for_tokens(cost)
        except QuotaExceeded as fault:
            headers = {field.decode(): value.decode() for field, value in limits.list_fields()}
            seconds = max(1, math.ceil(fault.retry_seconds))
            raise RateLimited(name, seconds, headers) from fault
        except Unavailable as fault:
            self._unlimited_until = self._clock() + UNLIMITED_SECONDS
            self._logger.warning("limits.not_leased", reason=str(fault))

    def _create_limits(self, caller: Caller) -> CallerLimits:
        workspace_id, actor = caller.workspace_id, caller.actor
        of_workspace = self._policies.find_workspace_policy(workspace_id)
        of_credential = self._policies.find_credential_policy(workspace_id)
        workspace = self._workspaces.get(workspace_id.int)
        if workspace is None:
            workspace = self._create_bucket(of_workspace, workspace_id.bytes)
            self._workspaces.put(workspace_id.int, workspace)
        credential = self._create_bucket(of_credential, workspace_id.bytes, actor.kind.encode(), actor.id.encode())
        field = f"{_write_policy(WORKSPACE, of_workspace)}, {_write_policy(CREDENTIAL, of_credential)}"
        return CallerLimits(workspace, credential, (b"ratelimit-policy", field.encode()))

    def _create_bucket(self, policy: Policy, *identity: bytes) -> LeasedBucket:
        digest = hashlib.blake2b(b"\0".join(identity), digest_size=16).digest()
        return LeasedBucket(
            UUID(bytes=digest), policy, self._buckets, lease_seconds=self._lease_seconds, clock=self._clock
        )


def _write_policy(name: str, policy: Policy) -> str:
    return f'"{name}";q={policy.burst};w={policy.window_seconds}'
