"""The keys of an issuer in memory: fetched by one task, kept while the issuer is away, fetched again for new ids."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol

import structlog

from gateway.identity.issuers import Algorithm
from gateway.identity.key_set import KeySet, KeysUnreadable, SigningKey, parse_key_set
from gateway.identity.key_sources import KeySource, KeysUnreachable
from gateway.settings import IdentitySettings
from store.errors import Unavailable
from store.outage_log import OutageLog

WAITERS_MAX: Final = 100
"""How many requests wait for one fetch. More are rejected at once, so that a slow issuer fills no memory."""


class IssuerUnavailable(Unavailable):
    """The keys of the token's issuer could not be fetched since this process started."""

    def __init__(self) -> None:
        """Create it with a message for the caller."""
        super().__init__("the keys of the token's issuer cannot be fetched")


class Keys(Protocol):
    """Finds the keys that verify tokens. `version` changes with the set of keys."""

    version: int

    async def find(self, key_id: str | None, algorithm: str) -> SigningKey | None:
        """Return a key, None if the issuer has none with this id. Raises IssuerUnavailable."""
        ...


class FixedKeys:
    """Keys that never change: those of development tokens."""

    version = 0

    def __init__(self, keys: KeySet) -> None:
        """Create them."""
        self._keys = keys

    async def find(self, key_id: str | None, algorithm: str) -> SigningKey | None:
        """Return a key."""
        return self._keys.find(key_id, algorithm)


class IssuerKeys:
    """The keys of one issuer. Callers whose key is known never wait; `run` is the only task that fetches."""

    def __init__(
        self,
        name: str,
        source: KeySource,
        algorithms: tuple[Algorithm, ...],
        settings: IdentitySettings,
        monotonic: Callable[[], float],
    ) -> None:
        """Create an empty cache; `monotonic` returns seconds."""
        self.version = 0
        self.fetches = 0
        self._name = name
        self._source = source
        self._algorithms = algorithms
        self._settings = settings
        self._monotonic = monotonic
        self._keys: KeySet | None = None
        self._document = b""
        self._attempted_at = float("-inf")
        self._fetching = True  # `run` begins with a fetch
        self._wanted = asyncio.Event()
        self._waiters: set[asyncio.Future[None]] = set()
        self._logger = structlog.get_logger("gateway.identity")
        self._outages = OutageLog(
            "gateway.identity", lost="identity.keys_not_fetched", back="identity.keys_fetched_again", issuer=name
        )

    async def find(self, key_id: str | None, algorithm: str) -> SigningKey | None:
        """Return a key. For an unknown id the keys are fetched again, unless they just were."""
        found = None if self._keys is None else self._keys.find(key_id, algorithm)
        if found is not None:
            return found
        if self._may_fetch():
            await self._wait_for_fetch()
        if self._keys is None:
            raise IssuerUnavailable
        return self._keys.find(key_id, algorithm)

    def _may_fetch(self) -> bool:
        is_due = self._monotonic() - self._attempted_at >= self._settings.unknown_key_seconds
        return (self._fetching or is_due) and len(self._waiters) < WAITERS_MAX

    async def _wait_for_fetch(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        self._wanted.set()
        try:
            async with asyncio.timeout(self._settings.fetch_seconds_max):
                await waiter
        except TimeoutError:
            pass  # what is known by then decides
        finally:
            self._waiters.discard(waiter)

    async def run(self) -> None:
        """Fetch the keys at the start, when they are due, and when an unknown key id is asked for."""
        while True:
            is_fetched = await self._fetch()
            settings = self._settings
            pause = settings.keys_refresh_seconds if is_fetched else settings.unknown_key_seconds
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wanted.wait()

    async def _fetch(self) -> bool:
        """Fetch once. Keep the keys in use if that fails, and wake the waiters."""
        self._fetching = True
        self._attempted_at = self._monotonic()
        self._wanted.clear()
        self.fetches += 1
        try:
            async with asyncio.timeout(self._settings.fetch_seconds_max):
                document = await self._source.fetch()
            self._replace(document)
        except (KeysUnreachable, KeysUnreadable, TimeoutError) as fault:
            reason = str(fault) or "the issuer took too long"
            self._outages.note_failure(reason)
            return False
        else:
            self._outages.note_success()
            return True
        finally:
            self._fetching = False
            self._wanted.clear()
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)

    def _replace(self, document: bytes) -> None:
        if document == self._document:
            return
        self._keys = parse_key_set(document, self._algorithms)
        self._document = document
        self.version += 1
        self._logger.info("identity.keys_fetched", issuer=self._name, keys=len(self._keys))
