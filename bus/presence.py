"""Presence: who is in a project at the moment, people and agents, in this process and in others. Stored nowhere.

Each process knows its own members, and hears of those of others from a carrier. What a process said is forgotten when
nothing is heard of it for the expiry, so that the roster becomes true again whatever was lost or killed.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

from msgspec import Struct

from bus.settings import PresenceSettings

CHANGES_MAX: Final = 5_000
"""Changes of which a follower is told one by one; after more it gets the whole roster."""


class Member(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A member of a roster: a person at one subscription, or an agent that works on an attempt of a step."""

    id: str
    kind: Literal["user", "agent"]
    joined_at: datetime
    user_id: str | None = None
    run_id: str | None = None
    node: str | None = None
    attempt: int | None = None
    cursor: Any = None


class News(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The members of another process that joined, changed or left; with `whole` it has no others than these."""

    origin: str
    changed: tuple[Member, ...] = ()
    left: tuple[str, ...] = ()
    whole: tuple[str, ...] | None = None


class RosterChange(Struct, frozen=True, kw_only=True):
    """A change for one follower. With `roster` it replaces all that the follower knows."""

    roster: tuple[Member, ...] | None = None
    joined: tuple[Member, ...] = ()
    updated: tuple[Member, ...] = ()
    left: tuple[Member, ...] = ()


class Local(Struct, kw_only=True):
    """A member of this process, and when it last gave a sign of life; None for an agent, which leaves by itself."""

    member: Member
    seen_at: float | None


class Remote(Struct, kw_only=True):
    """The members of another process, and when it was last heard of."""

    members: dict[str, Member] = {}
    heard_at: float


class Room(Struct, kw_only=True, eq=False):
    """The members and the followers of one project."""

    local: dict[str, Local] = {}
    remote: dict[str, Remote] = {}
    followers: "set[RosterFollower]" = set()

    def find(self, member_id: str) -> Member | None:
        """Return a member of any process."""
        if member_id in self.local:
            return self.local[member_id].member
        found = (remote.members.get(member_id) for remote in self.remote.values())
        return next((member for member in found if member is not None), None)

    def list_members(self) -> dict[str, Member]:
        """Return the members of all processes by their ids."""
        elsewhere = {key: member for remote in self.remote.values() for key, member in remote.members.items()}
        return elsewhere | {key: local.member for key, local in self.local.items()}

    def note(self, member_ids: Collection[str]) -> None:
        """Wake all followers because of members that have changed."""
        for follower in self.followers:
            follower.note(member_ids)


class RosterFollower:
    """The roster of a project for one follower: the difference to what it has taken before, in bounded memory."""

    def __init__(self, room: Room, wake: Callable[[], None]) -> None:
        """Create a follower that knows nothing; `wake` is called for every change."""
        self._room = room
        self._wake = wake
        self._known: dict[str, Member] = {}
        self._changed: set[str] = set()
        self._needs_roster = True

    def note(self, member_ids: Collection[str]) -> None:
        """Note that members have changed."""
        if not self._needs_roster:
            self._changed.update(member_ids)
            if len(self._changed) > CHANGES_MAX:
                self._changed.clear()
                self._needs_roster = True
        self._wake()

    def take(self) -> RosterChange:
        """Return what has changed since the last call; at first, and after very many changes, the whole roster."""
        if self._needs_roster:
            self._needs_roster = False
            self._changed.clear()
            self._known = self._room.list_members()
            return RosterChange(roster=tuple(self._known.values()))
        joined, updated, left = list[Member](), list[Member](), list[Member]()
        for member_id in self._changed:
            before, now = self._known.pop(member_id, None), self._room.find(member_id)
            if now is not None:
                self._known[member_id] = now
            if before is None and now is not None:
                joined.append(now)
            elif before is not None and now is None:
                left.append(before)
            elif now is not None and now != before:
                updated.append(now)
        self._changed.clear()
        return RosterChange(joined=tuple(joined), updated=tuple(updated), left=tuple(left))


class PresenceHub:
    """The rosters of this process."""

    def __init__(self, settings: PresenceSettings, clock: Callable[[], float] = time.monotonic) -> None:
        """Create a hub without members; `run` lets them expire."""
        self._settings = settings
        self._clock = clock
        self._rooms: dict[UUID, Room] = {}
        self._on_change: Callable[[UUID], None] | None = None
        self._on_followed: Callable[[UUID], None] | None = None

    def __len__(self) -> int:
        """Return the number of projects with a member or a follower."""
        return len(self._rooms)

    @property
    def expiry_seconds(self) -> float:
        """Return how long a member, or another process, may be silent."""
        return self._settings.expiry_seconds

    @property
    def followed_projects(self) -> frozenset[UUID]:
        """Return the projects that have a follower in this process."""
        return frozenset(project_id for project_id, room in self._rooms.items() if room.followers)

    @property
    def entered_projects(self) -> frozenset[UUID]:
        """Return the projects that have a member in this process."""
        return frozenset(project_id for project_id, room in self._rooms.items() if room.local)

    def carry(self, *, change: Callable[[UUID], None], follow: Callable[[UUID], None]) -> None:
        """Register a carrier: callbacks for each project with a change of members here, or of followers."""
        self._on_change = change
        self._on_followed = follow

    def is_full(self, project_id: UUID) -> bool:
        """Return whether no further person may enter a project in this process."""
        room = self._rooms.get(project_id)
        return room is not None and len(room.local) >= self._settings.members_max

    def list_local(self, project_id: UUID) -> Mapping[str, Member]:
        """Return the members of this process by their ids."""
        room = self._rooms.get(project_id)
        return {} if room is None else {key: local.member for key, local in room.local.items()}

    def enter(self, project_id: UUID, member: Member) -> None:
        """Add a member of this process, change it, or renew its sign of life."""
        room = self._rooms.setdefault(project_id, Room())
        seen_at = self._clock() if member.kind == "user" else None
        known = room.local.get(member.id)
        room.local[member.id] = Local(member=member, seen_at=seen_at)
        if known is None or known.member != member:
            self._note(project_id, room, (member.id,))

    def leave(self, project_id: UUID, member_id: str) -> None:
        """Remove a member of this process."""
        room = self._rooms.get(project_id)
        if room is not None and room.local.pop(member_id, None) is not None:
            self._note(project_id, room, (member_id,))
            self._drop_empty(project_id, room)

    @contextmanager
    def present(self, project_id: UUID, member: Member) -> Generator[None]:
        """Add a member for the length of a block."""
        self.enter(project_id, member)
        try:
            yield
        finally:
            self.leave(project_id, member.id)

    def _note(self, project_id: UUID, room: Room, member_ids: Collection[str]) -> None:
        room.note(member_ids)
        if self._on_change is not None:
            self._on_change(project_id)

    def receive(self, project_id: UUID, news: News) -> None:
        """Note the members of another process."""
        room = self._rooms.get(project_id)
        if room is None or not room.followers:
            return
        remote = room.remote.setdefault(news.origin, Remote(heard_at=0.0))
        remote.heard_at = self._clock()
        gone = set(news.left)
        if news.whole is not None:
            gone |= remote.members.keys() - set(news.whole)
        for member_id in gone:
            remote.members.pop(member_id, None)
        for member in news.changed:
            remote.members[member.id] = member
        room.note(gone | {member.id for member in news.changed})

    @contextmanager
    def follow(self, project_id: UUID, wake: Callable[[], None]) -> Generator[RosterFollower]:
        """Yield a follower of a project's roster."""
        room = self._rooms.setdefault(project_id, Room())
        follower = RosterFollower(room, wake)
        room.followers.add(follower)
        if self._on_followed is not None:
            self._on_followed(project_id)
        try:
            yield follower
        finally:
            room.followers.discard(follower)
            if not room.followers:
                room.remote.clear()
                if self._on_followed is not None:
                    self._on_followed(project_id)
            self._drop_empty(project_id, room)

    def _drop_empty(self, project_id: UUID, room: Room) -> None:
        if not room.local and not room.followers:
            self._rooms.pop(project_id, None)

    def expire(self) -> None:
        """Remove members without a sign of life, and those of processes of which nothing was heard, for the expiry."""
        before = self._clock() - self._settings.expiry_seconds
        for project_id, room in list(self._rooms.items()):
            for member_id, local in list(room.local.items()):
                if local.seen_at is not None and local.seen_at < before:
                    self.leave(project_id, member_id)
            for origin, remote in list(room.remote.items()):
                if remote.heard_at < before:
                    del room.remote[origin]
                    room.note(remote.members.keys())

    async def run(self) -> None:
        """Remove expired members until cancelled."""
        while True:
            await asyncio.sleep(self._settings.expiry_seconds / 30)
            self.expire()
