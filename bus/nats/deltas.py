"""Deltas over core NATS: sent to the followers of a run in other processes, and stored nowhere.

A process with a new follower asks all others for what was written so far; the one that writes sends it to the same
subject as its deltas. Followers drop what they have already, by its offset.
"""

import asyncio
from collections import deque
from functools import partial
from typing import Final
from uuid import UUID

import msgspec
from msgspec.structs import replace
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from bus.deltas import Delta, DeltaHub
from bus.nats.subjects import (
    DELTAS_ASKED,
    format_deltas_asked_subject,
    format_deltas_subject,
    parse_asked_run,
)
from store.postgres.connections import cancellable

# nats-py is typed in part only.
# pyright: reportUnknownMemberType=false

PIECE_CHARACTERS: Final = 32 * 1024
"""Longer texts are sent in pieces: a message of NATS has at most 1 MB, and a character becomes up to 12 bytes."""

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
        self._unasked: set[UUID] = set()
        self._due = asyncio.Event()
        self._open = False
        hub.carry(send=self._queue_delta, follow=self._note_followed)

    def _note_followed(self, run_id: UUID) -> None:
        self._unasked.add(run_id)
        self._due.set()

    def _queue_delta(self, run_id: UUID, delta: Delta) -> None:
        if self._open:
            self._unsent.append((run_id, delta))
            self._due.set()

    async def run(self, client: Client) -> None:
        """Send and deliver over a connection until cancelled. Raises what NATS raises."""
        self._open = True
        self._unasked.update(self._hub.followed_runs)
        self._due.set()
        try:
            with cancellable():
                await client.subscribe(f"{DELTAS_ASKED}.*", cb=self._answer)
            while True:
                await self._due.wait()
                self._due.clear()
                with cancellable():
                    await self._subscribe(client)
                    await self._ask(client)
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

    async def _ask(self, client: Client) -> None:
        """Ask for what was written so far; the server has read our subscriptions before, so that no answer is lost."""
        while self._unasked:
            run_id = self._unasked.pop()
            if run_id in self._subscriptions:
                await client.publish(format_deltas_asked_subject(run_id))

    async def _answer(self, message: Msg) -> None:
        run_id = parse_asked_run(message.subject)
        if run_id is None:
            return
        for delta in self._hub.list_written(run_id):
            for start in range(0, len(delta.text), PIECE_CHARACTERS):
                piece = delta.text[start : start + PIECE_CHARACTERS]
                self._queue_delta(run_id, replace(delta, offset=delta.offset + start, text=piece))

    async def _receive(self, run_id: UUID, message: Msg) -> None:
        try:
            delta = _decoder.decode(message.data)
        except msgspec.MsgspecError:
            return  # from a later version of the code; the whole text will arrive as a fact
        self._hub.deliver(run_id, delta)
