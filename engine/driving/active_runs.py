"""The runs that an engine has in hand: one task each, up to a bound, and short lines behind them."""

import asyncio
import sys
from uuid import UUID

import structlog

from commands.aggregates import RUN, fold
from domain.folded import Folded
from domain.runs.facts import Parent, RunStarted
from domain.runs.run import Run
from engine.children.children import Nursery
from engine.children.inline_child import AtOnce
from engine.cluster.leases import Leases
from engine.cluster.membership import Membership
from engine.driving.driver import Driver, RunLost
from engine.driving.slots import Due, Places
from engine.providers.call_limiter import CallLimiter
from engine.turns.context import Parts
from engine.turns.graph_cache import Graphs
from engine.turns.lost_attempts import RunTaken
from store.errors import Unavailable
from store.log.appender import back_off_seconds
from store.log.records import Metadata, Recorded

"""So many runs are read from the log at a time, so many of one workspace: the others wait for their turn."""


class Runs:
    """Starts a driver for each run that is due, and lets it go once nothing is left to do for it."""

    def __init__(  # what it needs of the engine, by name
        self,
        parts: Parts,
        graphs: Graphs,
        group: asyncio.TaskGroup,
        most_active: int,
        *,
        most_ending: int = 100,
        membership: Membership,
        leases: Leases,
    ) -> None:
        """Make it for one membership; the drivers are tasks of `group`."""
        self._parts = parts
        self._membership = membership
        self._leases = leases
        self._graphs = graphs
        self._nursery = Nursery(
            log=parts.log,
            streams=parts.streams,
            contents=parts.contents,
            at_once=AtOnce(
                graphs=graphs,
                executors=parts.executors,
                owner=parts.owner,
                clock=parts.clock,
                random=parts.random,
                tally=parts.tally,
                failpoint=parts.failpoint,
            ),
            rest_seconds=parts.child_rest_seconds,
        )
        self._group = group
        # While a run is being loaded a version stands for its driver: the latest that others have moved it to.
        self._drivers: dict[UUID, Driver | int] = {}
        self.places = Places(most_active)
        self.freed = asyncio.Event()
        self._reading = CallLimiter(calls=16, calls_per_workspace=12, waiting_per_workspace=sys.maxsize)
        self._ending = Places(most_ending)
        self.stuck: dict[UUID, str] = {}

    @property
    def active(self) -> int:
        """Give how many runs are in hand."""
        return len(self._drivers)

    def begin(self, started: Recorded) -> None:
        """Take a run that has just started, if it falls to this engine and is not in hand already.

        A fork has facts right behind the first.
        """
        if isinstance(started.fact, RunStarted) and started.fact.forked_from is not None:
            self.wake(started.stream_id, started.workspace_id, started.version)
        elif started.stream_id not in self._drivers and self._membership.prefers(started.stream_id):
            self._take(Due(started.stream_id, started.workspace_id, started))

    def wake(self, run_id: UUID, workspace_id: UUID, version: int = 0) -> None:
        """Go on with a run that someone else has moved to a version, if it is in hand here or falls to this engine."""
        if run_id in self._drivers or self._leases.holds(run_id) or self._membership.prefers(run_id):
            self.go_on_with(run_id, workspace_id, version)

    def end(self, run_id: UUID, workspace_id: UUID, version: int) -> None:
        """Go on with a run that somebody wants to end: nothing of it is carried out, so that it need not wait its turn.

        So many at once have places of their own; the others are the next.
        """
        if run_id in self._drivers:
            self.go_on_with(run_id, workspace_id, version)
        elif self.places.leave(run_id) or self._leases.holds(run_id) or self._membership.prefers(run_id):
            self._ending.line_up(Due(run_id, workspace_id, run_id))
            self._fill_places()

    def lost(self, run_id: UUID) -> None:
        """Say that another engine has the lease of a run that is in hand: it is read again, to see who has claimed."""
        self._moved(run_id, sys.maxsize)

    def go_on_with(self, run_id: UUID, workspace_id: UUID, version: int = 0) -> None:
        """Take a run that someone else has moved to a version, or that has been left unfinished."""
        if not self._moved(run_id, version):
            self._take(Due(run_id, workspace_id, run_id))

    def _moved(self, run_id: UUID, version: int) -> bool:
        """Tell the driver of a run, if it has one, that the run has come to a version."""
        driver = self._drivers.get(run_id)
        if isinstance(driver, Driver):
            driver.moved(version)
        elif driver is not None:
            self._drivers[run_id] = max(driver, version)
        return driver is not None

    def child_ended(self, child_id: UUID, workspace_id: UUID, parent: Parent) -> None:
        """Tell a parent that a child of it has ended; one that is not in hand reads what has become of its children."""
        driver = self._drivers.get(parent.run_id)
        if isinstance(driver, Driver):
            driver.child_ended(parent.node, parent.item or 0, child_id)
        else:
            self.wake(parent.run_id, workspace_id)

    def look_again(self, run_id: UUID, workspace_id: UUID) -> bool:
        """Take a run in which the time of a step may have come; false when its workspace has no room for it now."""
        driver = self._drivers.get(run_id)
        if isinstance(driver, Driver):
            driver.look_again()
        elif driver is None and run_id not in self.stuck:
            if not self.places.waits(run_id) and not self.places.has_room(workspace_id):
                return False
            self._take(Due(run_id, workspace_id, run_id))
        return True

    def _take(self, due: Due) -> None:
        if self._ending.waits(due.run_id):
            return
        if self.places.has_place(due.workspace_id):
            self._begin_to_drive(due, self.places)  # nobody waits who could have it: a line would be put up for nothing
        else:
            self.places.line_up(due)
            self._fill_places()

    def _fill_places(self) -> None:
        for places in (self._ending, self.places):
            while (due := places.next()) is not None:
                self._begin_to_drive(due, places)

    def _begin_to_drive(self, due: Due, places: Places) -> None:
        self._drivers[due.run_id] = 0
        places.take(due.run_id, due.workspace_id)
        self._leases.began(due.run_id)
        self._group.create_task(self._drive(due, places))

    async def _drive(self, due: Due, places: Places) -> None:
        run_id = due.run_id
        failures = 0
        try:
            while not await self._driven(due):
                failures += 1
                self._drivers[run_id] = 0
                due = to_read(due)  # what it was taken with may be old by then
                await asyncio.sleep(back_off_seconds(failures))
        except RunLost as lost:
            self._let_go(run_id, lost)
        except Exception as fault:  # noqa: BLE001  # said below
            # A bug in one run must not take the others down; it is logged, counted and shown in health.
            self._let_go(run_id, fault)
        self._make_room(run_id, places)

    def _make_room(self, run_id: UUID, places: Places) -> None:
        """Take who is next; not reached when the membership ends, which cancels all and begins anew."""
        del self._drivers[run_id]
        places.give_back(run_id)
        self._leases.ended(run_id)
        self._fill_places()
        self.freed.set()

    async def _driven(self, due: Due) -> bool:
        """Drive a run until nothing is left to do here; false when it is to be tried again from what the log has."""
        run_id = due.run_id
        try:
            while await self._driven_once(due):
                due = to_read(due)
        except Unavailable as away:
            structlog.get_logger("engine").warning("run.delayed", run=str(run_id), reason=str(away))
            return False
        except RunTaken as taken:
            # What an engine had claimed that is gone is ours to go on with: it left the run before we came.
            gone = self._membership.is_gone(taken.epoch)
            structlog.get_logger("engine").info("run.taken", run=str(run_id), epoch=taken.epoch, gone=gone)
            return not gone
        return True

    async def _driven_once(self, due: Due) -> bool:
        """Drive a run as far as it goes; true when someone else has moved it since: it may be retried by then."""
        run_id = due.run_id
        driver = await self._driver(due)
        moved_to, self._drivers[run_id] = self._drivers[run_id], driver or 0
        if driver is None:
            return moved_to != 0
        if isinstance(moved_to, int):
            driver.moved(moved_to)
        await driver.drive()
        self._drivers[run_id] = 0
        return driver.was_moved

    def _let_go(self, run_id: UUID, fault: Exception) -> None:
        self.stuck[run_id] = repr(fault)
        structlog.get_logger("engine").error("run.let_go", run=str(run_id), exc_info=fault)

    async def _driver(self, due: Due) -> Driver | None:
        if isinstance(run := due.run, Recorded):
            return await self._driver_of(fold(RUN, None, (run,)), run.metadata, is_new=True)
        async with self._reading.turn(due.workspace_id):
            return await self._read(run)

    async def _read(self, run_id: UUID) -> Driver | None:
        if run_id not in await self._leases.take([run_id]):
            return None  # another engine has it in hand
        held = await self._parts.streams.reload(RUN, run_id)
        if held is None or held.state.ended:
            return None
        first = await self._parts.log.read_stream(run_id, limit=1)
        return await self._driver_of(held, first[0].metadata)

    async def _driver_of(self, held: Folded[Run], begun_by: Metadata, *, is_new: bool = False) -> Driver:
        pinned = held.state.workflow_id, held.state.workflow_version
        graph = self._graphs.known(*pinned) or await self._graphs.load(*pinned)
        return Driver(self._parts, held, graph, begun_by, self._nursery, is_new=is_new)


def to_read(due: Due) -> Due:
    """Give a run as one that is to be read from the log."""
    return Due(due.run_id, due.workspace_id, due.run_id)
