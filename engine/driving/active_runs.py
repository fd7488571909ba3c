"""The runs that an engine drives, one task each, up to a limit, and the queue of those that are next."""

import asyncio
import sys
from collections.abc import Generator
from contextlib import contextmanager
from uuid import UUID

import structlog

from commands.aggregates import RUN, fold
from domain.folded import Folded
from domain.runs.facts import Parent, RunStarted
from domain.runs.run import Run
from engine.children.late_costs import count_late_child, may_be_late
from engine.cluster.leases import Leases
from engine.cluster.membership import Membership
from engine.driving.admission import AdmissionQueue, DueRun
from engine.driving.driver import Driver, RunLost
from engine.providers.call_limiter import CallLimiter
from engine.turns.context import EngineContext
from engine.turns.lost_attempts import RunTaken
from store.errors import Unavailable
from store.log.records import Metadata, Recorded
from store.outage_log import OutageLog
from store.retrying import BackOff, Retrying


class ActiveRuns:
    """Starts a driver for each run that is due, and drops the run once there is nothing left to do for it."""

    def __init__(
        self,
        context: EngineContext,
        group: asyncio.TaskGroup,
        *,
        slots: int,
        cancelled_slots: int = 100,
        membership: Membership,
        leases: Leases,
    ) -> None:
        """Work for one membership; drivers are tasks of `group`. `cancelled_slots` serve runs that are cancelled."""
        self._context = context
        self._membership = membership
        self._leases = leases
        self._group = group
        # While a run is loaded its value is a version: the latest known of its stream.
        self._drivers: dict[UUID, Driver | int] = {}
        self.queue = AdmissionQueue(slots)
        self.slot_freed = asyncio.Event()
        # How many runs are read from the log at a time, in all and of one workspace.
        self._reading = CallLimiter(calls=16, calls_per_workspace=12, waiting_per_workspace=sys.maxsize)
        self._cancelled = AdmissionQueue(cancelled_slots)
        self._descendants: dict[UUID, set[UUID]] = {}  # the active ones of each root
        self.stuck: dict[UUID, str] = {}

    @property
    def count(self) -> int:
        """Return how many runs are active."""
        return len(self._drivers)

    def start(self, started: Recorded) -> None:
        """Start a new run, if this engine owns it and it is not active already."""
        if isinstance(started.fact, RunStarted) and started.fact.forked_from is not None:
            # A fork has further facts behind its first one: it must be read from the log.
            self.wake(started.stream_id, started.workspace_id, started.version)
        elif started.stream_id not in self._drivers and self._membership.prefers(started.stream_id):
            self._admit(DueRun(started.stream_id, started.workspace_id, started))

    def wake(self, run_id: UUID, workspace_id: UUID, version: int = 0) -> None:
        """Resume a run that another writer has moved to a version, if it is driven here or owned by this engine."""
        if run_id in self._drivers or self._leases.is_held(run_id) or self._membership.prefers(run_id):
            self.resume(run_id, workspace_id, version)

    def resume_cancelled(self, run_id: UUID, workspace_id: UUID, version: int) -> None:
        """Resume a run with a pending cancellation. It has little left to do, so it bypasses the queue."""
        if run_id in self._drivers:
            self.resume(run_id, workspace_id, version)
        elif self.queue.withdraw(run_id) or self._leases.is_held(run_id) or self._membership.prefers(run_id):
            self._cancelled.enqueue(DueRun(run_id, workspace_id, run_id))
            self._fill_slots()

    def reload(self, run_id: UUID) -> None:
        """Reload an active run, because another engine has its lease and may have claimed steps."""
        self._notify(run_id, sys.maxsize)

    def resume(self, run_id: UUID, workspace_id: UUID, version: int = 0) -> None:
        """Resume a run that another writer has moved to a version, or that was left unfinished."""
        if not self._notify(run_id, version):
            self._admit(DueRun(run_id, workspace_id, run_id))

    def _notify(self, run_id: UUID, version: int) -> bool:
        """Notify an active run of the version of its stream; return whether it is active."""
        driver = self._drivers.get(run_id)
        if isinstance(driver, Driver):
            driver.notify_version(version)
        elif driver is not None:
            self._drivers[run_id] = max(driver, version)
        return driver is not None

    def notify_child_ended(self, child_id: UUID, workspace_id: UUID, parent: Parent) -> None:
        """Notify a parent that a child has ended; a parent that is not active reads its children when it is woken."""
        driver = self._drivers.get(parent.run_id)
        if isinstance(driver, Driver):
            driver.notify_child_ended(parent.node, parent.item or 0, child_id)
            is_late = may_be_late(driver.run, parent, child_id)
        else:
            known = self._context.streams.find_cached(parent.run_id)
            is_late = known is None or not isinstance(known.state, Run) or may_be_late(known.state, parent, child_id)
            self.wake(parent.run_id, workspace_id)
        if is_late and (driver is not None or self._membership.prefers(parent.run_id)):
            self._group.create_task(self._count_late(child_id, workspace_id, parent))

    async def _count_late(self, child_id: UUID, workspace_id: UUID, parent: Parent) -> None:
        """Record the usage of a child that its parent no longer waits for. Never raises."""
        try:
            async with self._reading.slot(workspace_id):
                await Retrying(Unavailable).call(lambda: count_late_child(self._context, child_id, parent))
        except Exception:  # noqa: BLE001  # a bug here must not end the runs: their costs are short of a child's
            structlog.get_logger("engine").exception("run.late_child_not_counted", run=str(parent.run_id))

    def stop_family(self, root_id: UUID) -> None:
        """Stop the descendants of a run that is cancelled or has ended: none begins, and the active ones end."""
        self._context.families.note_stopped(root_id)
        for run_id in self._descendants.get(root_id, ()):
            driver = self._drivers.get(run_id)
            if isinstance(driver, Driver):
                driver.notify_due()

    def wake_due(self, run_id: UUID, workspace_id: UUID) -> bool:
        """Wake a run in which a step may be due; return False when its workspace has no room for it now."""
        driver = self._drivers.get(run_id)
        if isinstance(driver, Driver):
            driver.notify_due()
        elif driver is None and run_id not in self.stuck:
            if not self.queue.is_queued(run_id) and not self.queue.has_room(workspace_id):
                return False
            self._admit(DueRun(run_id, workspace_id, run_id))
        return True

    def _admit(self, due: DueRun) -> None:
        if self._cancelled.is_queued(due.run_id):
            return
        if self.queue.admits_at_once(due.workspace_id):
            self._activate(due, self.queue)
        else:
            self.queue.enqueue(due)
            self._fill_slots()

    def _fill_slots(self) -> None:
        for queue in (self._cancelled, self.queue):
            while (due := queue.pop_next()) is not None:
                self._activate(due, queue)

    def _activate(self, due: DueRun, queue: AdmissionQueue) -> None:
        self._drivers[due.run_id] = 0
        queue.activate(due.run_id, due.workspace_id)
        self._leases.add(due.run_id)
        self._group.create_task(self._drive(due, queue))

    async def _drive(self, due: DueRun, queue: AdmissionQueue) -> None:
        """Drive a run until nothing is left to do here, then free its slot."""
        run_id = due.run_id
        back_off = BackOff()
        outages = OutageLog("engine", lost="run.delayed", back="run.resumed", run=str(run_id))
        try:
            while not await self._try_to_drive(due, outages):
                self._drivers[run_id] = 0
                due = DueRun(run_id, due.workspace_id, run_id)  # its first fact may be out of date by then
                await back_off.fail()
        except RunLost as lost:
            self._drop(run_id, lost)
        except Exception as fault:  # noqa: BLE001  # a bug in one run must not end the others; `_drop` logs it
            self._drop(run_id, fault)
        # Not reached when the membership ends: that cancels all drivers.
        del self._drivers[run_id]
        queue.release(run_id)
        self._leases.remove(run_id)
        self._fill_slots()
        self.slot_freed.set()

    async def _try_to_drive(self, due: DueRun, outages: OutageLog) -> bool:
        """Drive a run until nothing is left to do here; return False when it must be tried again later."""
        try:
            while await self._drive_once(due):
                due = DueRun(due.run_id, due.workspace_id, due.run_id)
        except Unavailable as fault:
            outages.note_failure(str(fault))
            return False
        except RunTaken as taken:
            # Claims of an engine that is gone are ours to resume: it left the run before we came.
            is_gone = self._membership.is_gone(taken.epoch)
            structlog.get_logger("engine").info("run.taken", run=str(due.run_id), epoch=taken.epoch, gone=is_gone)
            return not is_gone
        outages.note_success()
        return True

    async def _drive_once(self, due: DueRun) -> bool:
        """Drive a run until it ends or waits; return True when another writer has appended since, as a retry does."""
        run_id = due.run_id
        driver = await self._create_driver(due)
        moved_to, self._drivers[run_id] = self._drivers[run_id], driver or 0
        if driver is None:
            return moved_to != 0
        if isinstance(moved_to, int):
            driver.notify_version(moved_to)
        with self._note_descendant(driver.run.root_run_id, run_id):
            await driver.drive()
        for child_id, parent in driver.list_unrecorded_children():
            self._group.create_task(self._count_late(child_id, due.workspace_id, parent))
        self._drivers[run_id] = 0
        return driver.was_moved

    @contextmanager
    def _note_descendant(self, root_id: UUID | None, run_id: UUID) -> Generator[None]:
        """Count a run among the active descendants of its root within the block."""
        if root_id is None:
            yield
            return
        self._descendants.setdefault(root_id, set()).add(run_id)
        try:
            yield
        finally:
            self._descendants[root_id].discard(run_id)
            if not self._descendants[root_id]:
                del self._descendants[root_id]

    def _drop(self, run_id: UUID, fault: Exception) -> None:
        """Abandon a run, and show it in health and metrics."""
        self.stuck[run_id] = repr(fault)
        structlog.get_logger("engine").error("run.let_go", run=str(run_id), exc_info=fault)

    async def _create_driver(self, due: DueRun) -> Driver | None:
        """Return a driver of a run, or None for a run that has ended or that another engine drives."""
        if isinstance(first := due.run, Recorded):
            held = fold(RUN, None, (first,))
            return await self._create_driver_for(held, first.metadata, is_new=True)
        async with self._reading.slot(due.workspace_id):
            if due.run_id not in await self._leases.acquire([due.run_id]):
                return None
            held = await self._context.streams.reload(RUN, due.run_id)
            if held is None or held.state.has_ended:
                return None
            if held.state.root_run_id is not None:
                await self._context.families.check_root(held.state.root_run_id)
            facts = await self._context.log.read_stream(due.run_id, limit=1)
            return await self._create_driver_for(held, facts[0].metadata)

    async def _create_driver_for(self, held: Folded[Run], begun_by: Metadata, *, is_new: bool = False) -> Driver:
        graphs, run = self._context.graphs, held.state
        graph = graphs.get(run.workflow_id, run.workflow_version)
        if graph is None:
            graph = await graphs.load(run.workflow_id, run.workflow_version)
        return Driver(self._context, held, graph, begun_by, is_new=is_new)
