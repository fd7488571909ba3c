"""Schedules of poison, retries, skips and crashes, for hypothesis."""

from typing import Final
from uuid import UUID

from hypothesis import strategies as st
from msgspec import Struct

WORKSPACES: Final = tuple(UUID(f"0192f000-0000-7000-8000-00000000000{digit}") for digit in "abc")
STREAMS: Final = 2
"""How many projects each workspace has."""


class AppendFact(Struct, frozen=True):
    """A fact of a project: `poison` is a name that cannot be folded, `taken` one that PostgreSQL does not take."""

    workspace: int
    stream: int
    name: str


class FoldFacts(Struct, frozen=True):
    """The worker folds up to `events` facts; it may crash with its rows written, or with them committed."""

    events: int
    crash: str | None


class SetPoison(Struct, frozen=True):
    """The code is fixed, or broken again; running workers keep the old code until they crash."""

    poison: bool


class RetryWorkspace(Struct, frozen=True):
    """An operator retries a workspace; the retry may be interrupted before a page, or with its rows written."""

    workspace: int
    interrupted: str | None


class SkipParked(Struct, frozen=True):
    """An operator skips the fact at which a workspace is parked, if it is."""

    workspace: int
    rest: bool


Step = AppendFact | FoldFacts | SetPoison | RetryWorkspace | SkipParked

workspaces = st.integers(0, len(WORKSPACES) - 1)
appends = st.builds(
    AppendFact,
    workspaces,
    st.integers(0, STREAMS - 1),
    st.sampled_from(["a", "b", "c", "poison", "taken", "unreadable"]),
)
steps: st.SearchStrategy[Step] = st.one_of(
    appends,
    appends,
    st.builds(FoldFacts, st.integers(1, 7), st.sampled_from([None, None, None, "rows.written", "rows.committed"])),
    st.builds(SetPoison, st.booleans()),
    st.builds(RetryWorkspace, workspaces, st.sampled_from([None, None, "page", "rows"])),
    st.builds(SkipParked, workspaces, st.booleans()),
)


@st.composite
def episodes(draw: st.DrawFn) -> list[Step]:
    """Return the steps of one workspace from poison to recovery, with random steps in between."""
    workspace, stream = draw(workspaces), draw(st.integers(0, STREAMS - 1))
    poison = draw(st.sampled_from(["poison", "taken", "unreadable"]))
    mends = draw(
        st.sampled_from([SetPoison(poison=False), SkipParked(workspace, rest=False), SkipParked(workspace, rest=True)])
    )
    whole: list[Step] = [
        AppendFact(workspace, stream, "a"),
        AppendFact(workspace, stream, poison),
        FoldFacts(7, None),
        mends,
        RetryWorkspace(workspace, None),
        AppendFact(workspace, stream, "b"),
        FoldFacts(7, draw(st.sampled_from([None, "rows.written"]))),
    ]
    return [step for main_step in whole for step in (*draw(st.lists(steps, max_size=1)), main_step)]


schedules = st.lists(st.one_of(steps.map(lambda step: [step]), episodes()), min_size=1, max_size=12).map(
    lambda parts: [step for part in parts for step in part][:40]
)
