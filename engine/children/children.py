"""The children of a waiting step: runs of their own, started up to a bound and gathered as they end.

What is started and what has ended can be read from the log: children have ids that follow from their place, and start
in the order of the list. So who takes the parent over walks the list again, and what has begun answers "conflict".
"""

import asyncio
import math
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
import structlog
from msgspec.structs import replace

from commands.aggregates import RUN, new_stream
from commands.repository import Streams
from commands.runs.turn import append_turn
from domain.folded import Folded
from domain.graphs.graph import ErrorClass, Node
from domain.runs.facts import ItemResult, Parent, RunCancelRequested, RunStarted, StepWaiting
from domain.runs.run import Run
from domain.runs.steps import Step
from engine.children.child_ids import child_id
from engine.children.inline_child import AtOnce, only_begun
from engine.children.outcome import counted_of, item_result, outcome_of
from engine.executors import BUG
from engine.steps.child import get_child_concurrency, get_child_workflow_id
from engine.steps.contract import ItemsSettled, build_failure
from store.contents import ContentStore, keep, resolve
from store.errors import Conflict, ContentTooLarge, TooDeep, Unavailable, UnstorableText
from store.log.appender import back_off_seconds
from store.log.log import Log
from store.log.records import Append, Metadata

BATCH_ITEMS: Final = 250
BATCH_BYTES: Final = 128 * 1024
"""What one fact about settled items may hold: half of what the log takes, an item over it being the last."""

SHORTEST_REST_SECONDS: Final = 0.001

OUT_OF_TIME: Final = "the runs that the step waits for had not all ended when its time was over"
PARENT_ENDED: Final = "the step that began this run waits for it no longer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Nursery:
    """What the children of every step share."""

    log: Log
    streams: Streams
    contents: ContentStore
    at_once: AtOnce
    rest_seconds: float = 1.0
    """After so long without a child's end the parent need not stay in memory: the next end wakes it."""


def is_late(waiting: StepWaiting, now: datetime) -> bool:
    """Tell whether the time of a wait is over."""
    return waiting.until is not None and now >= waiting.until


class Children:
    """The children of one waiting step of one run, as its driver tends them."""

    def __init__(self, nursery: Nursery, held: Folded[Run], node: Node, waiting: StepWaiting) -> None:
        """Make it for a wait as recorded; `tend` does the work."""
        self._nursery = nursery
        self._parent = held
        self._node = node
        self._waiting = waiting
        self._inputs: list[Any] = []
        self._again: list[int] = []
        self._next = 0
        # An engine that is gone may have ended in one of these, which leaves no trace: children begin in order.
        claimed_here = held.state.steps[node.id].epoch == nursery.at_once.owner.epoch
        self._suspects = 0 if claimed_here else get_child_concurrency(node)
        self._under_way: set[int] = set()
        self._ready: list[ItemResult] = []
        self._ended: set[int] = set()
        self._arrived = asyncio.Event()
        self._beginning: asyncio.Future[list[BaseException | None]] | None = None

    @property
    def attempt(self) -> int:
        """Give the attempt of the step that these children are of."""
        return self._waiting.attempt

    def id_of(self, item: int) -> UUID:
        """Give the id of the child at a place of the list."""
        return child_id(self._parent.stream_id, self._parent.state.attempt, self._waiting, item)

    def ended(self, item: int, run_id: UUID) -> bool:
        """Say that a child has ended; tells whether it is one of these and was waited for."""
        if item not in self._under_way or self.id_of(item) != run_id:
            return False
        self._ended.add(item)
        self._arrived.set()
        return True

    async def tend(self, step: Step, metadata: Metadata) -> ItemsSettled | None:
        """Start what may start and give what has ended; None when nothing happens for a while. Never raises."""
        failures = 0
        while True:
            try:
                return await self._tend(step, metadata)
            except Unavailable:
                failures += 1
                await asyncio.sleep(back_off_seconds(failures))
            except (ContentTooLarge, TooDeep, UnstorableText) as fault:
                return ItemsSettled((), build_failure(ErrorClass.INVALID_OUTPUT, str(fault)))
            except Exception:  # noqa: BLE001  # a bug of ours must not take the other runs down: logged and recorded
                structlog.get_logger("engine").exception(
                    "step.bug", run=str(self._parent.stream_id), node=self._node.id
                )
                return ItemsSettled((), build_failure(ErrorClass.INTERNAL, BUG))

    async def _tend(self, step: Step, metadata: Metadata) -> ItemsSettled | None:
        if not self._inputs:
            self._inputs = await resolve(self._nursery.contents, self._parent.workspace_id, self._waiting.items)
        while len(step.items) < self._waiting.children:
            await self._gather_ended()
            if self._is_late():
                break
            await self._start(step, metadata)
            while self._goes_on_at_once():
                await self._start(step, metadata)
            if self._ready:
                break
            if not self._ended and not await self._one_ends() and not self._is_late():
                return None
        return await self._settled(step, metadata)

    async def _one_ends(self) -> bool:
        """Wait for the next end of a child; false when there is none for a while, or before the step's time is over."""
        self._arrived.clear()
        until = self._waiting.until
        left = math.inf if until is None else (until - self._nursery.at_once.clock()).total_seconds()
        with suppress(TimeoutError):
            async with asyncio.timeout(max(SHORTEST_REST_SECONDS, min(self._nursery.rest_seconds, left))):
                await self._arrived.wait()
        return bool(self._ended)

    def _is_late(self) -> bool:
        return is_late(self._waiting, self._nursery.at_once.clock())

    def _goes_on_at_once(self) -> bool:
        """Tell whether more may begin before what has ended is recorded: none is under way, all ended as they began."""
        more = bool(self._again) or self._next < self._waiting.children
        return more and 0 < len(self._ready) < BATCH_ITEMS and not self._under_way

    async def _settled(self, step: Step, metadata: Metadata) -> ItemsSettled:
        batch = self._batch()
        known = {**step.items, **{one.item: one for one in batch}}
        counted = counted_of(known, late=self._is_late())
        contents, workspace_id = self._nursery.contents, self._parent.workspace_id
        then = await outcome_of(self._node, self._waiting.children, counted, contents, workspace_id)
        if then is None and len(batch) == len(self._ready) and self._is_late():
            then = build_failure(ErrorClass.TIMEOUT, OUT_OF_TIME)
        if then is not None and len(known) < self._waiting.children:
            await self.cancel(replace(step, items=known), metadata)
        if then is not None:
            self._inputs = []  # up to 16 MB, for as long as the run is driven
        del self._ready[: len(batch)]
        return ItemsSettled(tuple(batch), then)

    def _batch(self) -> list[ItemResult]:
        size, count = 0, 0
        for one in self._ready[:BATCH_ITEMS]:
            size += len(msgspec.json.encode(one))
            if count and size > BATCH_BYTES:
                break
            count += 1
        return self._ready[:count]

    async def _gather_ended(self) -> None:
        for item in sorted(self._ended & self._under_way):
            await self._look(item)
        self._ended.difference_update(set(self._ended) - self._under_way)

    async def _look(self, item: int) -> bool:
        """Take a child's end from the log, if it has ended; tells whether the child is there at all."""
        run_id = self.id_of(item)
        child = await self._nursery.streams.load(RUN, run_id)
        if child is None or not child.state.ended:
            child = await self._nursery.streams.reload(RUN, run_id)
        if child is not None and child.state.ended:
            await self._take(item, child.state)
        return child is not None

    async def _take(self, item: int, child: Run) -> None:
        result = await item_result(item, self.id_of(item), child, self._nursery.contents, self._parent.workspace_id)
        if item in self._under_way:
            self._under_way.discard(item)
            self._ready.append(result)

    async def _start(self, step: Step, metadata: Metadata) -> None:
        """Begin the next children, as many as may be under way at once; those that could not begin are next again."""
        free = get_child_concurrency(self._node) - len(self._under_way)
        items, self._again = self._again[:free], self._again[free:]
        while len(items) < free and self._next < self._waiting.children:
            if self._next not in step.items:
                items.append(self._next)
            self._next += 1
        self._under_way.update(items)
        # Shielded: what is on its way to the log gets there, and `cancel` must find it.
        self._beginning = asyncio.gather(*(self._begin(item, metadata) for item in items), return_exceptions=True)
        outcomes = await asyncio.shield(self._beginning)
        faults = {item: one for item, one in zip(items, outcomes, strict=True) if one is not None}
        self._under_way.difference_update(faults)
        self._again = [*faults, *self._again]
        for fault in faults.values():
            raise fault

    async def _begin(self, item: int, metadata: Metadata) -> None:
        """Begin one child; one that is there already may have ended while nobody looked."""
        parent, nursery = self._parent, self._nursery
        inputs = self._inputs[item]
        workflow_id = get_child_workflow_id(self._node)
        started = RunStarted(
            workflow_id=workflow_id,
            workflow_version=parent.state.pins.workflows[workflow_id],
            inputs=await keep(nursery.contents, parent.workspace_id, inputs),
            pins=parent.state.pins,
            parent=Parent(run_id=parent.stream_id, node=self._node.id, item=item),
            started_at=nursery.at_once.clock(),
        )
        child = new_stream(RUN, self.id_of(item), parent.workspace_id, parent.project_id, started.started_at)
        is_suspect = self._suspects > 0
        if is_suspect:
            turn = only_begun(child, started)
        else:
            turn = await nursery.at_once.turn(child, started, inputs, metadata.traceparent)
        try:
            await append_turn(nursery.streams, child, turn, metadata)
        except Conflict:
            await self._look(item)
            return
        self._suspects -= is_suspect
        nursery.at_once.appended(started, turn)
        if turn.run.ended:
            await self._take(item, turn.run)

    async def cancel(self, step: Step, metadata: Metadata) -> None:
        """Ask every child that is under way to end. Children start in order: behind the last there are none."""
        if self._beginning is not None:
            await self._beginning
        missing = 0
        for item in range(self._waiting.children):
            if item in step.items:
                continue
            there = await request_cancel(self._nursery, self.id_of(item), metadata)
            missing = 0 if there else missing + 1
            if missing > get_child_concurrency(self._node):
                return


async def request_cancel(nursery: Nursery, run_id: UUID, metadata: Metadata) -> bool:
    """Ask a child run to end, unless it has or was asked; tells whether there is such a run. Raises Unavailable."""
    while True:
        child = await nursery.streams.reload(RUN, run_id)
        if child is None:
            return False
        if child.state.ended or child.state.cancel_requested:
            return True
        asked = RunCancelRequested(
            requested_by=metadata.actor.id, reason=PARENT_ENDED, requested_at=nursery.at_once.clock()
        )
        try:
            await nursery.log.append(
                Append(
                    stream_id=run_id,
                    expected_version=child.version,
                    workspace_id=child.workspace_id,
                    project_id=child.project_id,
                    facts=(asked,),
                    metadata=metadata,
                )
            )
        except Conflict:
            continue
        return True
