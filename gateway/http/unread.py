"""Responses that callers have not read yet: bounds on open streams and unsent bytes, by credential and workspace."""

from collections import Counter
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Final
from uuid import UUID

from litestar.types import Receive, Send
from msgspec import Struct

from gateway.http.rejections import TooManyStreams, TooMuchUnread
from gateway.http.replies import PIECE_BYTES, Reply
from gateway.identity.caller import Caller
from gateway.settings import HttpSettings

Holder = tuple[UUID, str] | UUID
"""A credential of a workspace, or a workspace."""

RETRY: Final = {"Retry-After": "5"}


class Unread:
    """Counts the open streams and the unsent bytes of everybody in this process."""

    def __init__(self, settings: HttpSettings) -> None:
        """Create it without streams."""
        self._settings = settings
        self._streams: Counter[Holder] = Counter()
        self._bytes: Counter[Holder] = Counter()

    @property
    def total_bytes(self) -> int:
        """Return the bytes of all responses that are being sent."""
        return sum(count for holder, count in self._bytes.items() if isinstance(holder, UUID))

    @contextmanager
    def hold_stream(self, caller: Caller) -> Generator[None]:
        """Count a stream within a block. Raises TooManyStreams."""
        self.check_streams(caller)
        with _count(self._streams, list_holders(caller), 1):
            yield

    def check_streams(self, caller: Caller) -> None:
        """Raise TooManyStreams if the credential or its workspace may not open another stream."""
        settings = self._settings
        bounds = (settings.streams_per_credential_max, settings.streams_per_workspace_max)
        for holder, most, whose in zip(list_holders(caller), bounds, ("credential", "workspace"), strict=True):
            if self._streams[holder] >= most:
                detail = f"This {whose} has {most} open streams, and may have no more. Close one."
                raise TooManyStreams(detail, headers=RETRY)

    @contextmanager
    def hold_bytes(self, caller: Caller, size: int) -> Generator[None]:
        """Count bytes that wait to be sent within a block. Raises TooMuchUnread."""
        self.check_bytes(caller, size)
        with _count(self._bytes, list_holders(caller), size):
            yield

    def check_bytes(self, caller: Caller, size: int) -> None:
        """Raise TooMuchUnread if the credential or its workspace leaves too much unread; the first always passes."""
        settings = self._settings
        bounds = (settings.unread_bytes_per_credential_max, settings.unread_bytes_per_workspace_max)
        for holder, most, whose in zip(list_holders(caller), bounds, ("credential", "workspace"), strict=True):
            if self._bytes[holder] and self._bytes[holder] + size > most:
                detail = f"This {whose} leaves {most:,} bytes of earlier responses unread. Read them first."
                raise TooMuchUnread(detail, headers=RETRY)


@contextmanager
def _count(counts: Counter[Holder], holders: tuple[Holder, Holder], size: int) -> Generator[None]:
    for holder in holders:
        counts[holder] += size
    try:
        yield
    finally:
        for holder in holders:
            counts[holder] -= size
            if not counts[holder]:
                del counts[holder]


def list_holders(caller: Caller) -> tuple[Holder, Holder]:
    """Return whose bounds a caller counts for: its credential, and its workspace."""
    name = caller.user_id if caller.key_id is None else str(caller.key_id)
    return (caller.workspace_id, name), caller.workspace_id


class CallerUnread(Struct, frozen=True):
    """The bounds of one caller, for a stream of theirs."""

    unread: Unread
    caller: Caller

    def check_streams(self) -> None:
        """Raise TooManyStreams if the caller may not open another stream."""
        self.unread.check_streams(self.caller)

    def hold_stream(self) -> AbstractContextManager[None]:
        """Count a stream within a block. Raises TooManyStreams."""
        return self.unread.hold_stream(self.caller)

    def hold_bytes(self, size: int) -> AbstractContextManager[None]:
        """Count bytes that wait to be sent within a block. Raises TooMuchUnread."""
        return self.unread.hold_bytes(self.caller, size)


class HeldReply:
    """A large reply whose bytes count as unread until they are sent."""

    def __init__(self, reply: Reply, caller: Caller, unread: Unread) -> None:
        """Create it. Raises TooMuchUnread."""
        size = len(reply.content)
        unread.check_bytes(caller, size)
        self.start = reply.start
        self._reply = reply
        self._caller = caller
        self._unread = unread

    async def deliver(self, receive: Receive, send: Send) -> None:
        """Send the reply."""
        with self._unread.hold_bytes(self._caller, len(self._reply.content)):
            await self._reply.deliver(receive, send)


def hold_large_reply(reply: Reply, caller: Caller, unread: Unread) -> Reply | HeldReply:
    """Return a reply that counts as unread while it is sent, if it is large. Raises TooMuchUnread."""
    return reply if len(reply.content) <= PIECE_BYTES else HeldReply(reply, caller, unread)
