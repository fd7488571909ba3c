"""Families: the runs that callers started, each with all its descendants, and the bounds on how many these may be.

Every engine reserves children in the database before it begins them, so the bounds hold whichever engines drive a
family. What a wait has reserved is recorded under its place: an engine that takes a run over reserves nothing twice.
"""

from collections.abc import Mapping
from typing import Final
from uuid import UUID

from msgspec import Struct

from commands.aggregates import RUN
from commands.repository import Streams
from domain.folded import Folded
from domain.runs.facts import StepWaiting
from domain.runs.refusals import TooManyRuns
from domain.runs.run import Run
from projections.runtime.run_admission import RunAdmission
from store.lru import LruCache
from store.postgres.connections import Sessions
from store.settings import RunSettings

RESERVE: Final = """
select reserve_children(%(root)b, %(run)b, %(wait)b, %(begun)b, %(under_way)b, %(begun_max)b, %(under_way_max)b)
"""
"""Reserve children of a step in their family."""

REMOVE: Final = """
with gone as (delete from run_families where root_id = any (%(roots)b::uuid[]))
delete from run_family_steps where root_id = any (%(roots)b::uuid[])
"""
"""Remove the counts of families."""

UNCHANGED: Final = """
select root_id from run_families where changed_at < now() - interval '1 hour' order by changed_at limit %(limit)b
"""
"""Read the families that have begun nothing for an hour."""

STOPPED_ROOTS_CACHED: Final = 10_000
PRUNED_AT_ONCE: Final = 200

MESSAGES: Final[Mapping[str, str]] = {
    "descendants": "The run would have more than {most} descendants in total",
    "descendants_under_way": "The run would have more than {most} descendants under way at once",
    "depth": "The child runs would be more than {most} levels below the run that was started",
}


class FamilyPlace(Struct, frozen=True, kw_only=True):
    """The place of a wait for children in its family: the root, and the run whose step waits."""

    root_id: UUID
    run_id: UUID
    wait: str


class Families:
    """The bounds of families, and the roots that were stopped: none of their descendants begins any more."""

    def __init__(
        self, sessions: Sessions, streams: Streams, bounds: RunSettings, admission: RunAdmission | None = None
    ) -> None:
        """Create it for one engine; `note_stopped` must be called with what the log says.

        `admission` bounds the runs of a workspace.
        """
        self._admission = admission
        self._sessions = sessions
        self._streams = streams
        self._bounds = bounds
        self._stopped = LruCache[int, bool](STOPPED_ROOTS_CACHED)

    def note_stopped(self, root_id: UUID) -> None:
        """Note that a run is cancelled, or has ended with children under way."""
        self._stopped.put(root_id.int, value=True)

    def note_retried(self, root_id: UUID) -> None:
        """Note that a run goes on after its end."""
        self._stopped.remove(root_id.int)

    def is_stopped(self, root_id: UUID | None) -> bool:
        """Return whether a root is known to be stopped."""
        return root_id is not None and root_id.int in self._stopped

    async def check_root(self, root_id: UUID) -> None:
        """Read whether a root was stopped before this engine followed the log. Raises Unavailable."""
        root = await self._streams.reload(RUN, root_id)
        if root is not None and (root.state.cancel_requested or root.state.has_ended):
            self.note_stopped(root_id)

    async def reserve(self, place: FamilyPlace, *, depth: int, begun: int, under_way: int) -> None:
        """Reserve the children that a wait begins in all, and those that it has under way at once.

        Raises TooManyRuns, with the bound that they would exceed; Unavailable.
        """
        bounds = self._bounds
        if depth > bounds.depth:
            raise TooManyRuns(describe_bound("depth", bounds.depth))
        exceeded = await self._reserve(place, begun, under_way)
        if exceeded:
            raise TooManyRuns(describe_bound(exceeded, getattr(bounds, exceeded)))

    async def admit(self, workspace_id: UUID, *, begun: int, under_way: int) -> None:
        """Admit more runs of a workspace. Raises TooManyRuns, Unavailable."""
        if self._admission is not None:
            await self._admission.admit(workspace_id, begun=begun, under_way=under_way)

    async def release(self, place: FamilyPlace) -> None:
        """Note that a wait has no child under way any more. Raises Unavailable."""
        await self._reserve(place, 0, 0)

    async def _reserve(self, place: FamilyPlace, begun: int, under_way: int) -> str:
        row = await self._sessions.one(
            RESERVE,
            {
                "root": place.root_id,
                "run": place.run_id,
                "wait": place.wait,
                "begun": begun,
                "under_way": under_way,
                "begun_max": self._bounds.descendants,
                "under_way_max": self._bounds.descendants_under_way,
            },
        )
        return "" if row is None else row[0]

    async def remove(self, *root_ids: UUID) -> None:
        """Remove the counts of families whose roots have ended. Raises Unavailable."""
        await self._sessions.run(REMOVE, {"roots": list(root_ids)})

    async def prune(self) -> None:
        """Remove the counts that an engine left behind when it was lost at the end of a root. Raises Unavailable."""
        for (root_id,) in await self._sessions.rows(UNCHANGED, {"limit": PRUNED_AT_ONCE}):
            root = await self._streams.reload(RUN, root_id)
            if root is None or root.state.has_ended:
                await self.remove(root_id)


def describe_bound(name: str, most: int) -> str:
    """Return the message for a bound that would be exceeded, with the setting that raises it."""
    return f"{MESSAGES[name].format(most=f'{most:,}')} (CALLSHEET_RUNS_{name.upper()})"


def find_root(run: Folded[Run]) -> UUID:
    """Return the root of a run's family; a run that a caller started is its own."""
    state = run.state
    if state.root_run_id is not None:
        return state.root_run_id
    return run.stream_id if state.parent is None else state.parent.run_id


def find_place(parent: Folded[Run], waiting: StepWaiting) -> FamilyPlace:
    """Return the place of a wait for children."""
    wait = f"{parent.state.attempt}.{waiting.attempt}.{waiting.node}"
    return FamilyPlace(root_id=find_root(parent), run_id=parent.stream_id, wait=wait)
