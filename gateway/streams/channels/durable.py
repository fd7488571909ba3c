"""Subscriptions to facts: replayed from the log after a position, then followed live."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from typing import Annotated, Final
from uuid import UUID

from msgspec import Meta, Struct

from gateway.http.rejections import CursorReset
from gateway.operations.positions import PositionCodec
from gateway.streams.channels.channel import Client
from gateway.streams.messages import DurableKinds, Nothing, Reset
from gateway.streams.tail import Batch, LogTail, Source
from store.log.records import Recorded

PIECE_BYTES: Final = 64 * 1024
"""How much is sent before the back-pressure of the connection is checked again."""

After = Annotated[
    str,
    Meta(
        pattern="^([0-9a-f]{12}-)?[0-9]{1,18}$",
        description="A position: what follows it is sent. `0` for everything; without it, what happens from now on.",
    ),
]
WriteFact = Callable[[Recorded], Awaitable[Sequence[bytes]]]
"""Returns the messages that a fact becomes, possibly none."""


class StartPosition(Struct, frozen=True, kw_only=True):
    """The position to start after, and whether a restore has removed what the client has seen after it."""

    after: int
    is_reset: bool


async def find_start(client: Client, after: str | None) -> StartPosition:
    """Return where a subscription starts: the present without `after`. Raises Unavailable."""
    deps = client.deps
    codec = PositionCodec(deps.log.identity)
    await deps.feed.wait_past(-1)
    if after is None:
        return StartPosition(after=deps.feed.through, is_reset=False)
    try:
        position = codec.decode(after)
    except CursorReset as reset:
        return StartPosition(after=codec.decode(reset.reset_to), is_reset=True)
    if position > deps.feed.through and position > (head := (await deps.log.head())[0]):
        return StartPosition(after=head, is_reset=True)
    return StartPosition(after=position, is_reset=False)


class LogSubscription:
    """Messages about the facts of a source, without a gap or a repeat.

    `take_more` returns messages that are kept nowhere, to be sent before the next facts.
    """

    def __init__(
        self,
        client: Client,
        kinds: DurableKinds,
        source: Source,
        start: StartPosition,
        write: WriteFact,
        *,
        project_id: UUID | None = None,
    ) -> None:
        """Create a subscription to a source from a start on; `write` turns its facts into messages."""
        deps = client.deps
        codec = PositionCodec(deps.log.identity)
        self.project_id = project_id
        self.position: str | None = codec.encode(start.after)
        self.tail = LogTail(
            source, after=start.after, heartbeat_seconds=deps.settings.heartbeat_seconds, turns=deps.replay_turns
        )
        self._kinds = kinds
        self._start = start
        self._write = write
        self._reset = Reset(position=codec.encode(start.after))

    def stop(self, fault: Exception) -> None:
        """End the subscription."""
        self.tail.stop(fault)

    def receive(self, event: str, payload: Struct) -> None:
        """Ignore the message: clients send no further ones."""

    def renew(self) -> None:
        """Ignore the sign of life: the subscription does not depend on it."""

    def take_more(self) -> list[bytes]:
        """Return messages that are kept nowhere."""
        return []

    async def follow(self) -> AsyncGenerator[Sequence[bytes]]:
        """Yield the messages."""
        if self._start.is_reset:
            yield [self._kinds.reset.write(self._reset)]
        is_live = False
        async for batch in self.tail.follow():
            async for messages in self._write_batch(batch):
                yield messages
            if batch.is_live and not batch.facts and not is_live:
                is_live = True
                yield [self._kinds.live.write(Nothing())]

    async def _write_batch(self, batch: Batch) -> AsyncIterator[list[bytes]]:
        """Yield the messages of a batch in pieces of about 64 KiB."""
        messages: list[bytes] = []
        if batch.lagging:
            messages.append(self._kinds.lagging.write(Nothing()))
        if batch.resumed:
            messages.append(self._kinds.resumed.write(Nothing()))
        messages += self.take_more()
        size = sum(map(len, messages))
        for fact in batch.facts:
            for message in await self._write(fact):
                messages.append(message)
                size += len(message)
            if size >= PIECE_BYTES:
                yield messages
                messages, size = [], 0
        if messages:
            yield messages
