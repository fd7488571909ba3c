"""Deltas over core NATS: sent to the followers of a run in other processes, and stored nowhere."""

import asyncio
from collections import deque
from functools import partial
from typing import Final
from uuid import UUID

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from bus.deltas import Delta, DeltaHub
from bus.nats.subjects import format_deltas_subject
from store.postgres.connections import cancellable

# nats-py is typed in part only.
# pyright: reportUnknownMemberType=false

_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Delta)


class NatsDeltas:
    """Send the deltas of a hub to other processes, and deliver theirs to the followers here.

    A full queue drops the oldest deltas: followers prefer a gap to a delay.
    """

    def __init__(self, hub: DeltaHub, most_unsent: int) -> None:
        """Create it; nothing is sent or received until `run`."""
        self._hub = hub
        self._unsent: deque[tuple[UUID, Delta]] = deque(maxlen=most_unsent)
        self._subscriptions: dict[UUID, Subscription] = {}
        self._due = asyncio.Event()
        self._open = False
        hub.carry(told=self._queue_delta, followed=self._due.set)

    def _queue_delta(self, run_id: UUID, delta: Delta) -> None:
        if self._open:
            self._unsent.append((run_id, delta))
            self._due.set()

    async def run(self, client: Client) -> None:
        """Send and deliver over a connection until cancelled. Raises what NATS raises."""
        self._open = True
        self._due.set()
        try:
            while True:
                await self._due.wait()
                self._due.clear()
                with cancellable():
                    await self._subscribe(client)
                    while self._unsent:
                        run_id, delta = self._unsent.popleft()
                        await client.publish(format_deltas_subject(run_id), _encoder.encode(delta))
        finally:
            self._open = False
            self._unsent.clear()
            self._subscriptions.clear()

    async def _subscribe(self, client: Client) -> None:
        """Subscribe to exactly the runs that are followed here."""
        followed = self._hub.followed_runs
        for run_id in followed - self._subscriptions.keys():
            arrived = partial(self._receive, run_id)
            self._subscriptions[run_id] = await client.subscribe(format_deltas_subject(run_id), cb=arrived)
        for run_id in self._subscriptions.keys() - followed:
            await self._subscriptions.pop(run_id).unsubscribe()

    async def _receive(self, run_id: UUID, message: Msg) -> None:
        try:
            delta = _decoder.decode(message.data)
        except msgspec.MsgspecError:
            return  # from a later version of the code; the whole text will arrive as a fact
        self._hub.deliver(run_id, delta)
