"""Publishing to JetStream in batches: all of a batch is sent, then all of it is acknowledged.

nats-py's own asynchronous publish makes a future, a timer and a task a message; a counter does for a batch.
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
    """What is published: where, as what, under which id."""

    subject: str
    payload: bytes
    headers: dict[str, str]


class _Refusal(Struct, frozen=True):
    description: str = "refused"


class _Ack(Struct, frozen=True):
    """What JetStream answers to a publish (ADR-1 of NATS)."""

    stream: str = ""
    error: _Refusal | None = None


_acks: Final = msgspec.json.Decoder(_Ack)


class Publisher:
    """Publishes one batch after the other over one connection."""

    def __init__(self, client: Client, inbox: str, ack_seconds: float) -> None:
        """Make it; `publishing` opens its inbox."""
        self._client = client
        self._inbox = inbox
        self._ack_seconds = ack_seconds
        self._batch = 0
        self._token = ""
        self._unacknowledged = 0
        self._settled: asyncio.Future[None] | None = None

    async def publish(self, messages: Sequence[Message]) -> None:
        """Publish messages in order and wait until each is acknowledged. Raises NotPublished."""
        self._batch += 1
        self._token = f"{self._inbox}.{self._batch}"
        self._unacknowledged = len(messages)
        self._settled = asyncio.get_running_loop().create_future()
        try:
            with cancellable():
                for one in messages:
                    await self._client.publish(one.subject, one.payload, reply=self._token, headers=one.headers)
            async with asyncio.timeout(self._ack_seconds):
                await self._settled
        except TimeoutError:
            raise NotPublished(f"{self._unacknowledged} of {len(messages)} were not acknowledged in time") from None
        except Error as fault:
            raise NotPublished(str(fault)) from fault
        finally:
            self._settled = None

    async def answered(self, message: Msg) -> None:
        """Take an acknowledgement, or what came in its place."""
        settled = self._settled
        if settled is None or settled.done() or message.subject != self._token:
            return  # of a batch that was given up
        if fault := _fault(message):
            settled.set_exception(NotPublished(fault))
            return
        self._unacknowledged -= 1
        if self._unacknowledged == 0:
            settled.set_result(None)


def _fault(message: Msg) -> str | None:
    """Tell what is wrong with an answer; None for an acknowledgement."""
    if not message.data:
        return "no stream takes facts"  # the server answers for it: there are no responders (status 503)
    try:
        ack = _acks.decode(message.data)
    except msgspec.MsgspecError as fault:
        return f"an answer that is none: {fault}"
    if ack.error is not None:
        return ack.error.description
    return None if ack.stream else "an answer of somebody else than JetStream"


@asynccontextmanager
async def publishing(client: Client, ack_seconds: float) -> AsyncGenerator[Publisher]:
    """Give a publisher for the length of a block, with an inbox of its own."""
    inbox = client.new_inbox()
    publisher = Publisher(client, inbox, ack_seconds)
    with cancellable():
        subscription = await client.subscribe(f"{inbox}.*", cb=publisher.answered)
    try:
        yield publisher
    finally:
        if not client.is_closed:
            await subscription.unsubscribe()
