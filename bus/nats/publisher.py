"""Publish to JetStream in batches: send all of a batch, then wait until all of it is acknowledged.

nats-py's `publish_async` creates a future, a timer and a task for each message; here a counter serves a batch.
"""

# nats-py is typed in part only.
# pyright: reportUnknownMemberType=false

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import msgspec
from msgspec import Struct
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error

from store.postgres.connections import cancellable

MESSAGE_ID: Final = "Nats-Msg-Id"
POSITION: Final = "Callsheet-Position"
CONTENT_TYPE: Final = "Content-Type"


class NotPublished(Exception):  # noqa: N818  # expected: the batch is published again
    """A batch, or a part of it, was not acknowledged."""


class Message(Struct, frozen=True):
    """A message to publish; its headers hold the id that JetStream deduplicates by."""

    subject: str
    payload: bytes
    headers: dict[str, str]


class _Refusal(Struct, frozen=True):
    description: str = "refused"


class _Ack(Struct, frozen=True):
    """The response of JetStream to a publish (NATS ADR-1)."""

    stream: str = ""
    seq: int = 0
    duplicate: bool = False
    error: _Refusal | None = None


_acks: Final = msgspec.json.Decoder(_Ack)


class Publisher:
    """Publish one batch after the other over one connection."""

    def __init__(self, client: Client, inbox: str, ack_seconds: float) -> None:
        """Create it; `publishing` subscribes to its inbox."""
        self._client = client
        self._inbox = inbox
        self._ack_seconds = ack_seconds
        self._batch = 0
        self._token = ""
        self._unacknowledged = 0
        self._duplicates: list[int] = []
        self._settled: asyncio.Future[None] | None = None

    async def publish(self, messages: Sequence[Message]) -> Sequence[int]:
        """Publish messages in order and wait until each is acknowledged.

        Return the sequences of the messages that the stream had already under the id of one of these: it stored
        nothing then. Raises NotPublished.
        """
        self._batch += 1
        self._token = f"{self._inbox}.{self._batch}"
        self._unacknowledged = len(messages)
        self._duplicates = []
        self._settled = asyncio.get_running_loop().create_future()
        try:
            with cancellable():
                for message in messages:
                    await self._client.publish(
                        message.subject, message.payload, reply=self._token, headers=message.headers
                    )
            async with asyncio.timeout(self._ack_seconds):
                await self._settled
        except TimeoutError:
            raise NotPublished(f"{self._unacknowledged} of {len(messages)} were not acknowledged in time") from None
        except Error as fault:
            raise NotPublished(str(fault)) from fault
        finally:
            self._settled = None
        return self._duplicates

    async def receive_ack(self, message: Msg) -> None:
        """Count an acknowledgement, or fail the batch for any other response."""
        settled = self._settled
        if settled is None or settled.done() or message.subject != self._token:
            return  # of an abandoned batch
        try:
            ack = _read_ack(message)
        except NotPublished as fault:
            settled.set_exception(fault)
            return
        if ack.duplicate:
            self._duplicates.append(ack.seq)
        self._unacknowledged -= 1
        if self._unacknowledged == 0:
            settled.set_result(None)


def _read_ack(message: Msg) -> _Ack:
    """Return an acknowledgement. Raises NotPublished for any other response."""
    if not message.data:
        raise NotPublished("no stream accepts facts")  # the server answers by itself: no responders (status 503)
    try:
        ack = _acks.decode(message.data)
    except msgspec.MsgspecError as fault:
        raise NotPublished(f"the response cannot be decoded: {fault}") from fault
    if ack.error is not None:
        raise NotPublished(ack.error.description)
    if not ack.stream:
        raise NotPublished("the response does not come from JetStream")
    return ack


@asynccontextmanager
async def publishing(client: Client, ack_seconds: float) -> AsyncGenerator[Publisher]:
    """Yield a publisher with its own inbox."""
    inbox = client.new_inbox()
    publisher = Publisher(client, inbox, ack_seconds)
    with cancellable():
        subscription = await client.subscribe(f"{inbox}.*", cb=publisher.receive_ack)
    try:
        yield publisher
    finally:
        if not client.is_closed:
            await subscription.unsubscribe()
