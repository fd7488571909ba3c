"""Deltas over core NATS: told to whoever follows the run in another process, and kept nowhere."""

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
from bus.nats.subjects import deltas_subject
from store.postgres.connections import cancellable

# nats-py is typed in part only.
# pyright: reportUnknownMemberType=false

_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Delta)


class NatsDeltas:
    """Carries the deltas of a hub to other processes, and theirs to those who follow here.

    What cannot be sent at once is dropped, the oldest first: who reads along would rather miss a piece than wait.
    """

    def __init__(self, hub: DeltaHub, most_unsent: int) -> None:
        """Make it; it carries nothing until `run`."""
        self._hub = hub
        self._unsent: deque[tuple[UUID, Delta]] = deque(maxlen=most_unsent)
        self._subscriptions: dict[UUID, Subscription] = {}
        self._due = asyncio.Event()
        self._open = False
        hub.carry(told=self._told, followed=self._due.set)

    def _told(self, run_id: UUID, delta: Delta) -> None:
        if self._open:
            self._unsent.append((run_id, delta))
            self._due.set()

    async def run(self, client: Client) -> None:
        """Carry over a connection until cancelled, or until it fails. Raises what NATS raises."""
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
                        await client.publish(deltas_subject(run_id), _encoder.encode(delta))
        finally:
            self._open = False
            self._unsent.clear()
            self._subscriptions.clear()

    async def _subscribe(self, client: Client) -> None:
        """Subscribe to the runs that are followed here, and to no others."""
        followed = self._hub.followed
        for run_id in followed - self._subscriptions.keys():
            arrived = partial(self._arrived, run_id)
            self._subscriptions[run_id] = await client.subscribe(deltas_subject(run_id), cb=arrived)
        for run_id in self._subscriptions.keys() - followed:
            await self._subscriptions.pop(run_id).unsubscribe()

    async def _arrived(self, run_id: UUID, message: Msg) -> None:
        try:
            delta = _decoder.decode(message.data)
        except msgspec.MsgspecError:
            return  # of a later version; the whole text comes as a fact
        self._hub.arrived(run_id, delta)
