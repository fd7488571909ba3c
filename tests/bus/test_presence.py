"""Presence: rosters that each follower hears of in full and then by changes, in bounded memory, and that expire."""

from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bus import presence
from bus.presence import Member, News, PresenceHub, RosterFollower
from bus.settings import PresenceSettings

PROJECT = UUID(int=1)
AT = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = ("ada", "bob", "eve")
Step = tuple[str, str, str]


def create_hub(now: list[float]) -> PresenceHub:
    return PresenceHub(PresenceSettings(), lambda: now[0])


def create_member(name: str, cursor: object = None) -> Member:
    return Member(id=name, kind="user", user_id=name, joined_at=AT, cursor=cursor)


class Roster:
    """The roster of a client, which applies what it hears."""

    def __init__(self, follower: RosterFollower) -> None:
        """Know nothing."""
        self.members: dict[str, Member] = {}
        self._follower = follower

    def read(self) -> dict[str, Member]:
        change = self._follower.take()
        if change.roster is not None:
            self.members = {member.id: member for member in change.roster}
        for member in change.joined:
            assert member.id not in self.members
            self.members[member.id] = member
        for member in change.updated:
            assert self.members[member.id] != member
            self.members[member.id] = member
        for member in change.left:
            del self.members[member.id]
        return self.members


def read_rosters(hub: PresenceHub) -> Iterator[dict[str, Member]]:
    with hub.follow(PROJECT, lambda: None) as follower:
        yield Roster(follower).read()


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["enter", "change", "leave", "read", "whole"]), st.sampled_from(NAMES), st.sampled_from("ab")
    )
)


@given(STEPS)
def test_what_a_client_heard_is_the_roster_whatever_happened_between_its_reads(steps: list[Step]) -> None:
    hub = create_hub([0.0])
    remote: dict[str, Member] = {}
    with hub.follow(PROJECT, lambda: None) as follower:
        roster = Roster(follower)
        for number, (step, name, where) in enumerate(steps):
            if step == "read":
                roster.read()
            elif step == "whole":
                hub.receive(PROJECT, News(origin="there", changed=tuple(remote.values()), whole=tuple(remote)))
            elif where == "a":
                if step == "leave":
                    hub.leave(PROJECT, name)
                else:
                    hub.enter(PROJECT, create_member(name, number))
            elif step == "leave":
                remote.pop(f"{name} there", None)
                hub.receive(PROJECT, News(origin="there", left=(f"{name} there",)))
            else:
                member = replace(create_member(name, number), id=f"{name} there")
                remote[member.id] = member
                hub.receive(PROJECT, News(origin="there", changed=(member,)))
        expected = {**hub.list_local(PROJECT), **remote}
        assert roster.read() == expected
        (fresh,) = read_rosters(hub)
        assert fresh == expected


def test_people_without_a_sign_of_life_expire_and_agents_do_not() -> None:
    now = [0.0]
    hub = create_hub(now)
    hub.enter(PROJECT, create_member("ada"))
    hub.enter(PROJECT, create_member("bob"))
    hub.enter(PROJECT, replace(create_member("robot"), kind="agent"))
    now[0] = 60.0  # timers of pages in the background run once a minute
    hub.expire()
    assert set(hub.list_local(PROJECT)) == {"ada", "bob", "robot"}
    hub.enter(PROJECT, create_member("ada"))
    now[0] = 76.0
    hub.expire()
    assert set(hub.list_local(PROJECT)) == {"ada", "robot"}


def test_a_process_of_which_nothing_is_heard_expires() -> None:
    now = [0.0]
    hub = create_hub(now)
    with hub.follow(PROJECT, lambda: None) as follower:
        roster = Roster(follower)
        hub.receive(PROJECT, News(origin="there", changed=(create_member("ada"),)))
        now[0] = 74.0
        hub.expire()
        assert set(roster.read()) == {"ada"}
        now[0] = 76.0
        hub.expire()
        assert roster.read() == {}


def test_a_follower_that_reads_nothing_gets_the_roster_instead_of_many_changes() -> None:
    hub = create_hub([0.0])
    with hub.follow(PROJECT, lambda: None) as follower:
        follower.take()
        for number in range(presence.CHANGES_MAX + 10):
            hub.enter(PROJECT, create_member(str(number)))
            hub.leave(PROJECT, str(number))
        hub.enter(PROJECT, create_member("ada"))
        change = follower.take()
        assert change.roster is not None
        assert [member.id for member in change.roster] == ["ada"]


def test_a_project_without_members_and_followers_takes_no_memory() -> None:
    hub = create_hub([0.0])
    with hub.follow(PROJECT, lambda: None), hub.present(PROJECT, create_member("ada")):
        hub.receive(PROJECT, News(origin="there", changed=(create_member("bob"),)))
        assert len(hub) == 1
    assert len(hub) == 0
