"""Follows the log for what ends access: revoked API keys, and changes of teams, made by any process."""

import asyncio
from typing import Final, get_args

from bus.feed import Feed, FeedStopped
from commands.repository import Streams
from domain.api_key import ApiKeyRevoked
from domain.fact import Fact
from domain.project import MemberRemoved, ProjectFact
from gateway.access.open_requests import OpenRequests
from gateway.identity.api_keys import ApiKeyVerifier
from store.log.epochs import LogRewound
from store.log.records import Recorded

PAGE: Final = 10_000
PAUSE_SECONDS: Final = 0.05
"""Pause between pages: a wake-up for every commit would cost each run, and revocations are rare."""
FOLLOWED: Final[frozenset[type[Fact]]] = frozenset((ApiKeyRevoked, *get_args(ProjectFact)))


class AccessFollower:
    """Keeps what access is decided on up to date: a stream that another process changed is reloaded."""

    def __init__(self, feed: Feed, streams: Streams, api_keys: ApiKeyVerifier, open_requests: OpenRequests) -> None:
        """Create it; `following` is set once nothing is missed any more."""
        self.following = asyncio.Event()
        self._feed = feed
        self._streams = streams
        self._api_keys = api_keys
        self._open_requests = open_requests

    async def run(self) -> None:
        """Follow the log until cancelled, or until the feed ends: then the process stops or starts again."""
        try:
            await self._follow()
        except (FeedStopped, LogRewound):
            pass
        finally:
            self.following.set()

    async def _follow(self) -> None:
        await self._feed.wait_past(-1)
        after = self._feed.through
        self.following.set()
        async for page in self._feed.follow(after, PAGE):
            for recorded in page.events:
                if type(recorded.fact) in FOLLOWED:
                    self._apply(recorded)
            await asyncio.sleep(PAUSE_SECONDS)

    def _apply(self, recorded: Recorded) -> None:
        cached = self._streams.find_cached(recorded.stream_id)
        if cached is not None and cached.version < recorded.version:
            self._streams.forget(recorded.stream_id)
        match recorded.fact:
            case ApiKeyRevoked():
                self._api_keys.forget(recorded.stream_id)
                self._open_requests.end_key(recorded.stream_id)
            case MemberRemoved(user_id=user_id):
                self._open_requests.end_member(recorded.stream_id, user_id)
            case _:
                pass
