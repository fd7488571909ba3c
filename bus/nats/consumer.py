"""Consume facts from NATS into the feed: messages that arrive together are added together."""

import asyncio
from typing import Final

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from bus.cloudevents import UnusableEnvelope, decode_envelope
from bus.feed import Feed
from bus.nats.publisher import POSITION
from bus.nats.subjects import EVERY_FACT
from store.log.identity import LogIdentity
from store.log.records import Recorded
from store.postgres.connections import cancellable

# nats-py is typed in part only.
# pyright: reportUnknownMemberType=false

MOST_PENDING_BYTES: Final = 64 * 1024 * 1024


class FactConsumer:
    """Decode every fact from NATS, in any order, and add it to the feed, which decides which fact is next."""

    def __init__(self, identity: LogIdentity, feed: Feed, most_pending: int) -> None:
        """Create the consumer. Past `most_pending` waiting messages the newest are dropped, and the log is read."""
        self._identity = identity
        self._feed = feed
        self._most_pending = most_pending
        self._together: list[Recorded] = []
        self._handing_over: asyncio.Handle | None = None
        self._logger = structlog.get_logger("bus.carrying")
        self.carried = 0
        self.not_understood = 0

    async def subscribe(self, client: Client) -> None:
        """Subscribe over a connection; the feed reads earlier facts from the log."""
        with cancellable():
            await client.subscribe(
                EVERY_FACT,
                cb=self._receive,
                pending_msgs_limit=self._most_pending,
                pending_bytes_limit=MOST_PENDING_BYTES,
            )
            await client.flush()
        self._feed.wake()

    async def _receive(self, message: Msg) -> None:
        # The header avoids decoding facts that the feed has already.
        position = (message.headers or {}).get(POSITION, "")
        if position.isdecimal() and int(position) <= self._feed.through:
            return
        try:
            self._together.append(decode_envelope(self._identity, message.data))
        except UnusableEnvelope as odd:
            self._log_unusable(message, odd)
            self._feed.wake()
            return
        if self._handing_over is None:
            self._handing_over = asyncio.get_running_loop().call_soon(self._hand_over)

    def _log_unusable(self, message: Msg, odd: UnusableEnvelope) -> None:
        """Log an unusable message, after 1, 2, 4, 8 … of them: an outsider must not fill the logs."""
        self.not_understood += 1
        if self.not_understood.bit_count() == 1:
            times = self.not_understood
            reason = str(odd)[:200]
            self._logger.warning("bus.not_understood", subject=message.subject, reason=reason, times=times)

    def _hand_over(self) -> None:
        together, self._together, self._handing_over = self._together, [], None
        before = self._feed.through
        self._feed.add_arrived(together)
        self.carried += self._feed.through - before
