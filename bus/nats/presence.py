"""Presence over core NATS: each process sends its own members to the processes that follow their project.

A process that follows a project asks for it at once, and again with every beat. Members are sent only where somebody
has asked within the expiry, so that a project without followers costs no messages.
"""

import asyncio
from contextlib import suppress
from functools import partial
from typing import Final
from uuid import UUID

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from bus.nats.subjects import (
    PRESENCE_ASKED,
    format_presence_asked_subject,
    format_presence_subject,
    parse_asked_project,
)
from bus.presence import Member, News, PresenceHub
from store.postgres.connections import cancellable

# nats-py is typed in part only.
# pyright: reportUnknownMemberType=false

BEATS_PER_EXPIRY: Final = 3
"""One of three beats must arrive for a process to be present."""
MEMBERS_PER_MESSAGE: Final = 100

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(News).decode


class NatsPresence:
    """Sends the members of a hub to other processes, and tells the hub of theirs."""

    def __init__(self, hub: PresenceHub, origin: str) -> None:
        """Create it for a process with the unique name `origin`; nothing is sent or received until `run`."""
        self._hub = hub
        self._origin = origin
        self._subscriptions: dict[UUID, Subscription] = {}
        self._asked_at: dict[UUID, float] = {}
        self._sent: dict[UUID, dict[str, Member]] = {}
        self._unasked: set[UUID] = set()
        self._changed: set[UUID] = set()
        self._whole: set[UUID] = set()
        self._due = asyncio.Event()
        hub.carry(change=self._note_changed, follow=self._note_followed)

    def _note_changed(self, project_id: UUID) -> None:
        if project_id in self._asked_at:
            self._changed.add(project_id)
            self._due.set()

    def _note_followed(self, project_id: UUID) -> None:
        self._unasked.add(project_id)
        self._due.set()

    async def run(self, client: Client) -> None:
        """Send and receive over a connection until cancelled. Raises what NATS raises."""
        self._unasked.update(self._hub.followed_projects)
        self._whole.update(self._asked_at)
        self._due.set()
        beat_seconds = self._hub.expiry_seconds / BEATS_PER_EXPIRY
        loop = asyncio.get_running_loop()
        try:
            with cancellable():
                await client.subscribe(f"{PRESENCE_ASKED}.*", cb=self._receive_asked)
            next_beat = loop.time() + beat_seconds
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(next_beat):
                        await self._due.wait()
                self._due.clear()
                if loop.time() >= next_beat:
                    next_beat = loop.time() + beat_seconds
                    self._begin_beat(loop.time())
                with cancellable():
                    await self._subscribe(client)
                    await self._send(client)
        finally:
            self._subscriptions.clear()

    def _begin_beat(self, now: float) -> None:
        """Ask again for what is followed, forget who no longer asks, and send whole rosters to who does."""
        expired = [asked for asked, at in self._asked_at.items() if at < now - self._hub.expiry_seconds]
        for project_id in expired:
            del self._asked_at[project_id]
            self._sent.pop(project_id, None)
        self._unasked.update(self._hub.followed_projects)
        self._whole.update(self._asked_at)

    async def _subscribe(self, client: Client) -> None:
        followed = self._hub.followed_projects
        for project_id in followed - self._subscriptions.keys():
            arrived = partial(self._receive, project_id)
            self._subscriptions[project_id] = await client.subscribe(format_presence_subject(project_id), cb=arrived)
        for project_id in self._subscriptions.keys() - followed:
            await self._subscriptions.pop(project_id).unsubscribe()
        while self._unasked:
            project_id = self._unasked.pop()
            if project_id in self._subscriptions:
                await client.publish(format_presence_asked_subject(project_id))

    async def _send(self, client: Client) -> None:
        """Send what has changed since the last message about a project, or all of it."""
        changed, self._changed = self._changed | self._whole, set()
        whole, self._whole = self._whole, set()
        for project_id in changed:
            now = dict(self._hub.list_local(project_id))
            before = {} if project_id in whole else self._sent.get(project_id, {})
            members = [member for key, member in now.items() if before.get(key) != member]
            left = tuple(before.keys() - now.keys())
            self._sent[project_id] = now
            subject = format_presence_subject(project_id)
            for start in range(0, len(members), MEMBERS_PER_MESSAGE):
                part = tuple(members[start : start + MEMBERS_PER_MESSAGE])
                await client.publish(subject, _encode(News(origin=self._origin, changed=part)))
            if left or project_id in whole:
                ids = tuple(now) if project_id in whole else None
                await client.publish(subject, _encode(News(origin=self._origin, left=left, whole=ids)))

    async def _receive_asked(self, message: Msg) -> None:
        project_id = parse_asked_project(message.subject)
        if project_id is not None:
            self._asked_at[project_id] = asyncio.get_running_loop().time()
            self._whole.add(project_id)
            self._due.set()

    async def _receive(self, project_id: UUID, message: Msg) -> None:
        with suppress(msgspec.MsgspecError):  # from a later version of the code: its members are not shown here
            self._hub.receive(project_id, _decode(message.data))
