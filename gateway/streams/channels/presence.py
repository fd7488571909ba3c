"""The channel `presence`: who is in a project at the moment, people and the agents that work on its steps."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from bus.presence import Member, RosterChange
from commands.aggregates import PROJECT
from gateway.http.rejections import BodyUnacceptable, TooMany
from gateway.http.replies import encode
from gateway.identity.scopes import Scope
from gateway.streams.channels.channel import Client
from gateway.streams.channels.runs import check_target
from gateway.streams.messages import ChannelName, MessageKind, Sender, describe_common, describe_server_message

CURSOR_BYTES_MAX: Final = 1_024


class SubscribePresence(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Payload of `subscribe`: join a project. `cursor` is any JSON of up to 1 KB, such as a selected node."""

    project_id: str
    cursor: Any = None


class PresenceUpdate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Payload of `presence.update`: the new cursor. Also a sign of life, like every message."""

    cursor: Any = None


class Roster(Struct, frozen=True, kw_only=True):
    """Payload of `presence.roster`: everybody who is in the project; `you` is the client's own id in it."""

    you: str
    members: tuple[Member, ...]


COMMON: Final = describe_common(ChannelName.PRESENCE)
SUBSCRIBE: Final = MessageKind(
    sender=Sender.CLIENT,
    channel=ChannelName.PRESENCE,
    event="subscribe",
    payload=SubscribePresence,
    description="Join a project, and hear who is in it.",
)
UPDATE: Final = MessageKind(
    sender=Sender.CLIENT,
    channel=ChannelName.PRESENCE,
    event="presence.update",
    payload=PresenceUpdate,
    description="Change the cursor of the subscription `id`.",
)
ROSTER: Final = describe_server_message(
    ChannelName.PRESENCE, "presence.roster", Roster, "Everybody who is in the project; replaces what was sent before."
)
JOINED: Final = describe_server_message(
    ChannelName.PRESENCE, "presence.joined", Member, "A person or an agent came into the project."
)
UPDATED: Final = describe_server_message(ChannelName.PRESENCE, "presence.updated", Member, "A member changed.")
LEFT: Final = describe_server_message(
    ChannelName.PRESENCE, "presence.left", Member, "A member left, or gave no sign of life for the expiry."
)


class PresenceChannel:
    """The channel of presence."""

    name = ChannelName.PRESENCE
    scope = Scope.PROJECTS_READ
    common = COMMON
    messages = (SUBSCRIBE, UPDATE, *COMMON.list_all(), ROSTER, JOINED, UPDATED, LEFT)

    async def subscribe(self, client: Client, payload: SubscribePresence) -> "PresenceSubscription":
        """Create a subscription. Raises ProjectNotFound, BodyUnacceptable for a large cursor, TooMany."""
        check_cursor(payload.cursor)
        project_id, _ = await check_target(client, PROJECT, "prj", payload.project_id)
        if client.deps.presence.is_full(project_id):
            raise TooMany("The project has as many members on this server as it may have. Try again later.")
        return PresenceSubscription(client, project_id, payload.cursor)


def check_cursor(cursor: object) -> None:
    """Raise BodyUnacceptable for a cursor that is too large."""
    if len(encode(cursor)) > CURSOR_BYTES_MAX:
        raise BodyUnacceptable(f"`cursor` must not be larger than {CURSOR_BYTES_MAX} bytes of JSON.")


class PresenceSubscription:
    """The presence of a client in a project, and what it hears of the others."""

    def __init__(self, client: Client, project_id: UUID, cursor: object) -> None:
        """Create it; the client is present as long as `follow` is iterated."""
        self.project_id: UUID | None = project_id
        self.position: str | None = None
        self._room_id = project_id
        self._deps = client.deps
        self._member = Member(
            id=client.deps.make_id().hex,
            kind="user",
            user_id=client.caller.user_id,
            joined_at=client.deps.clock(),
            cursor=cursor,
        )
        self._due = asyncio.Event()
        self._fault: Exception | None = None
        self._is_present = False

    def stop(self, fault: Exception) -> None:
        """End the subscription."""
        self._fault = fault
        self._due.set()

    def receive(self, event: str, payload: Struct) -> None:  # noqa: ARG002  # there is one further message
        """Change the cursor. Raises BodyUnacceptable."""
        if isinstance(payload, PresenceUpdate):
            check_cursor(payload.cursor)
            self._member = replace(self._member, cursor=payload.cursor)
            self.renew()

    def renew(self) -> None:
        """Note a sign of life; a member that has expired is present again."""
        if self._is_present:
            self._deps.presence.enter(self._room_id, self._member)

    async def follow(self) -> AsyncGenerator[Sequence[bytes]]:
        """Yield the roster, and then every change of it."""
        hub = self._deps.presence
        self._is_present = True
        try:
            hub.enter(self._room_id, self._member)
            with hub.follow(self._room_id, self._due.set) as follower:
                while True:
                    if self._fault is not None:
                        raise self._fault
                    messages = self._write_change(follower.take())
                    if messages:
                        yield messages
                    await self._due.wait()
                    self._due.clear()
        finally:
            self._is_present = False
            hub.leave(self._room_id, self._member.id)

    def _write_change(self, change: RosterChange) -> list[bytes]:
        if change.roster is not None:
            return [ROSTER.write(Roster(you=self._member.id, members=change.roster))]
        return [
            *(JOINED.write(member) for member in change.joined),
            *(UPDATED.write(member) for member in change.updated),
            *(LEFT.write(member) for member in change.left),
        ]
