"""The children of a waiting step: runs of their own, started up to a concurrency limit and gathered as they end.

Which children exist and which have ended can be read from the log: their ids follow from their places in the list, and
they start in its order. An engine that takes the parent over walks the list again; starting a child that exists is a
conflict.
"""

import asyncio
import hashlib
import itertools
import math
from contextlib import suppress
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
import structlog
from msgspec.structs import replace

from commands.aggregates import RUN, new_stream
from commands.runs.start import RunSources, StartRun, start_run
from commands.runs.turn import Turn, append_turn
from domain.folded import Folded
from domain.graphs.compiled import CompiledGraph
from domain.graphs.graph import ErrorClass, Node, RepeatNode
from domain.runs.facts import ItemOutcome, ItemResult, Parent, StepWaiting
from domain.runs.refusals import TooManyRuns
from domain.runs.run import Run
from domain.runs.steps import Step
from engine.children.cancelling import request_cancel
from engine.children.child_inputs import find_input_error
from engine.children.families import find_place
from engine.children.inline_child import load_inline_graph, run_to_end
from engine.children.outcome import (
    build_item_result,
    compute_step_outcome,
    count_failed,
    has_failed,
    select_counted_items,
)
from engine.executors import BUG
from engine.steps.child import get_child_concurrency, get_child_workflow_id
from engine.steps.contract import ItemsSettled, build_failure
from engine.turns.context import EngineContext
from store.contents import keep, read_encoded, resolve
from store.errors import Conflict, ContentTooLarge, TooDeep, Unavailable, UnstorableText
from store.log.records import Metadata
from store.retrying import Retrying

BATCH_ITEMS: Final = 250
BATCH_BYTES: Final = 128 * 1024
"""Limit of one fact about settled items, which its last item may exceed: half of what the log accepts."""

SHORTEST_REST_SECONDS: Final = 0.001
CANCELS_AT_ONCE: Final = 8
"""How many children of a step are asked to cancel at a time: 1,000 one after the other took seconds."""

OUT_OF_TIME: Final = "the child runs of the step had not all ended at its timeout"


def create_child_id(parent: UUID, run_attempt: int, waiting: StepWaiting, item: int) -> UUID:
    """Return the id of a child: a UUIDv7 (RFC 9562) of the wait's time, whose random bits are a hash of its place.

    The same for each attempt to start it, so that starting it twice is harmless. Ids that grow with time keep the
    indexes of the log and the read models dense.
    """
    place = f"{parent}.{run_attempt}.{waiting.node}.{waiting.attempt}.{item}"
    bits = int.from_bytes(hashlib.sha256(place.encode()).digest()[:10])
    milliseconds = int(waiting.waiting_since.timestamp() * 1_000) & (2**48 - 1)
    return UUID(int=milliseconds << 80 | 0x7 << 76 | (bits >> 62 & 0xFFF) << 64 | 0b10 << 62 | bits & (2**62 - 1))


def is_past_deadline(waiting: StepWaiting, now: datetime) -> bool:
    """Return whether the deadline of a wait has passed."""
    return waiting.until is not None and now >= waiting.until


class StepChildren:
    """The children of one waiting step of one run, supervised by its driver."""

    def __init__(self, context: EngineContext, held: Folded[Run], node: Node, waiting: StepWaiting) -> None:
        """Create it for a recorded wait; `tend` does the work."""
        self._context = context
        self._parent = held
        self._node = node
        self._waiting = waiting
        self._inputs: list[msgspec.Raw] = []
        self._to_restart: list[int] = []
        self._next = 0
        # An engine that is gone may have been killed by one of these, which leaves no trace: children start in order.
        claimed_here = held.state.steps[node.id].epoch == context.owner.epoch
        self._suspects = 0 if claimed_here else get_child_concurrency(node)
        self._under_way: set[int] = set()
        self._ready: list[ItemResult] = []
        self._failed_before = 0
        self._ended: set[int] = set()
        self._wake = asyncio.Event()
        self._starting: asyncio.Future[list[BaseException | None]] | None = None
        self._place = find_place(held, waiting)
        self._reserving = asyncio.Lock()
        self._reserved = (0, 0)
        self._is_root_known = self._place.root_id == held.stream_id

    @property
    def _has_rounds(self) -> bool:
        """Return whether each child starts with the outputs of the one before, as recorded."""
        return isinstance(self._node, RepeatNode)

    async def _build_inputs(self, item: int, step: Step) -> Any:  # noqa: ANN401  # JSON of any shape
        if not self._has_rounds:
            return msgspec.json.decode(self._inputs[item])
        last = step.items.get(item - 1)
        outputs = (
            None if last is None else await resolve(self._context.contents, self._parent.workspace_id, last.output)
        )
        return {**msgspec.json.decode(self._inputs[0]), "round": item, "last": outputs}

    @property
    def attempt(self) -> int:
        """Return the attempt of the step that these children belong to."""
        return self._waiting.attempt

    def get_id(self, item: int) -> UUID:
        """Return the id of the child at a place of the list."""
        return create_child_id(self._parent.stream_id, self._parent.state.attempt, self._waiting, item)

    def notify_ended(self, item: int, run_id: UUID) -> bool:
        """Note that a child has ended; return whether it is one of these and is waited for."""
        if item not in self._under_way or self.get_id(item) != run_id:
            return False
        self._ended.add(item)
        self._wake.set()
        return True

    def list_unrecorded(self) -> list[tuple[UUID, Parent]]:
        """Return the children that are known to have ended and whose results have not been handed on."""
        items = sorted((self._ended & self._under_way) | {result.item for result in self._ready})
        parent = self._parent.stream_id
        return [(self.get_id(item), Parent(run_id=parent, node=self._node.id, item=item)) for item in items]

    async def tend(self, step: Step, metadata: Metadata) -> ItemsSettled | None:
        """Start children and return the ended ones; None if nothing happens for a while. Never raises."""
        try:
            return await Retrying(Unavailable).call(lambda: self._tend(step, metadata))
        except (ContentTooLarge, TooDeep, UnstorableText) as fault:
            return ItemsSettled((), build_failure(ErrorClass.INVALID_OUTPUT, str(fault)))
        except TooManyRuns as refusal:
            await Retrying(Unavailable).call(lambda: self.cancel(step, metadata))
            return ItemsSettled((), replace(build_failure(ErrorClass.TOO_MANY_RUNS, refusal.detail), is_final=True))
        except Exception:  # noqa: BLE001  # a bug of ours must not end the other runs: it is logged and recorded
            structlog.get_logger("engine").exception("step.bug", run=str(self._parent.stream_id), node=self._node.id)
            return ItemsSettled((), build_failure(ErrorClass.INTERNAL, BUG))

    async def _tend(self, step: Step, metadata: Metadata) -> ItemsSettled | None:
        if not self._inputs:
            encoded = await read_encoded(self._context.contents, self._parent.workspace_id, self._waiting.items)
            self._inputs = msgspec.json.decode(encoded, type=list[msgspec.Raw])  # each is decoded when it is needed
        if not self._is_root_known:
            await self._context.families.check_root(self._place.root_id)
            self._is_root_known = True
        self._failed_before = count_failed(step.items.values())  # once: maps have up to 10,000 items
        while len(step.items) < self._waiting.children:
            await self._gather_ended()
            if self._is_late() or self._has_failed() or (self._has_rounds and self._ready):
                break
            await self._start_next(step, metadata)
            while self._may_start_more() and not self._has_failed():
                await self._start_next(step, metadata)
            if self._ready:
                break
            if not self._ended and not await self._wait_for_end() and not self._is_late():
                return None
        return await self._settle(step, metadata)

    @property
    def _is_family_stopped(self) -> bool:
        """Return whether the run that a caller started is stopped: then no descendant of it begins any more."""
        return self._context.families.is_stopped(self._place.root_id)

    async def _wait_for_end(self) -> bool:
        """Wait until a child ends; return False when none does for a while or before the step's deadline."""
        self._wake.clear()
        until = self._waiting.until
        left = math.inf if until is None else (until - self._context.clock()).total_seconds()
        with suppress(TimeoutError):
            async with asyncio.timeout(max(SHORTEST_REST_SECONDS, min(self._context.child_rest_seconds, left))):
                await self._wake.wait()
        return bool(self._ended)

    def _is_late(self) -> bool:
        return is_past_deadline(self._waiting, self._context.clock())

    def _has_failed(self) -> bool:
        """Return whether the step has failed by what is known: then no other child starts."""
        return has_failed(self._node, self._failed_before + count_failed(self._ready))

    def _may_start_more(self) -> bool:
        """Return whether to start more before recording what has ended: all started so far have ended inline."""
        if self._has_rounds or self._is_family_stopped:
            return False
        has_more = bool(self._to_restart) or self._next < self._waiting.children
        return has_more and 0 < len(self._ready) < BATCH_ITEMS and not self._under_way

    async def _settle(self, step: Step, metadata: Metadata) -> ItemsSettled:
        batch = self._select_batch()
        known = {**step.items, **{result.item: result for result in batch}}
        counted = select_counted_items(known, is_late=self._is_late())
        contents, workspace_id = self._context.contents, self._parent.workspace_id
        outcome = await compute_step_outcome(self._node, self._waiting.children, counted, contents, workspace_id)
        if outcome is None and len(batch) == len(self._ready) and self._is_late():
            outcome = build_failure(ErrorClass.TIMEOUT, OUT_OF_TIME)
        if outcome is not None and len(known) < self._waiting.children:
            await self.cancel(replace(step, items=known), metadata)
        if outcome is not None:
            self._inputs = []  # up to 16 MB, for as long as the run is driven
            await self._release()
        del self._ready[: len(batch)]
        return ItemsSettled(tuple(batch), outcome)

    def _select_batch(self) -> list[ItemResult]:
        size, count = 0, 0
        for result in self._ready[:BATCH_ITEMS]:
            size += len(msgspec.json.encode(result))
            if count and size > BATCH_BYTES:
                break
            count += 1
        return self._ready[:count]

    async def _gather_ended(self) -> None:
        for item in sorted(self._ended & self._under_way):
            await self._check_ended(item)
        self._ended.difference_update(set(self._ended) - self._under_way)

    async def _check_ended(self, item: int) -> None:
        """Read a child and add its result if it has ended."""
        run_id = self.get_id(item)
        child = await self._context.streams.load(RUN, run_id)
        if child is None or not child.state.has_ended:
            child = await self._context.streams.reload(RUN, run_id)
        if child is not None and child.state.has_ended:
            await self._add_result(item, child.state)

    async def _add_result(self, item: int, child: Run) -> None:
        contents, workspace_id = self._context.contents, self._parent.workspace_id
        result = await build_item_result(item, self.get_id(item), child, contents, workspace_id)
        if item in self._under_way:
            self._under_way.discard(item)
            self._ready.append(result)

    async def _start_next(self, step: Step, metadata: Metadata) -> None:
        """Start children up to the concurrency limit; those whose start failed are next again. Raises TooManyRuns."""
        if self._is_family_stopped:
            return
        free = get_child_concurrency(self._node) - len(self._under_way)
        items, self._to_restart = self._to_restart[:free], self._to_restart[free:]
        while len(items) < free and self._next < self._waiting.children:
            if self._next not in step.items:
                items.append(self._next)
            self._next += 1
        if not items:
            return
        try:
            is_inline = not self._suspects and await self._find_inline_graph() is not None
            await self._reserve(step, items[-1], is_under_way=not is_inline)
        except Unavailable:
            self._to_restart = [*items, *self._to_restart]
            raise
        self._under_way.update(items)
        # Shielded: an append in progress takes effect, and `cancel` must find the child.
        self._starting = asyncio.gather(*(self._start(item, step, metadata) for item in items), return_exceptions=True)
        outcomes = await asyncio.shield(self._starting)
        faults = {item: fault for item, fault in zip(items, outcomes, strict=True) if fault is not None}
        self._under_way.difference_update(faults)
        self._to_restart = [*faults, *self._to_restart]
        for fault in faults.values():
            raise fault

    async def _find_inline_graph(self) -> CompiledGraph | None:
        workflow_id = get_child_workflow_id(self._node)
        version = self._parent.state.pins.workflows[workflow_id]
        return await load_inline_graph(self._context, workflow_id, version)

    async def _reserve(self, step: Step, item: int, *, is_under_way: bool) -> None:
        """Reserve the children up to an item in the family: of a map all at once, so that none is begun in vain.

        Children that start and end in one append are never under way. Raises TooManyRuns.
        """
        through = item + 1 if self._has_rounds else self._waiting.children
        begun = through - (0 if self._has_rounds else len(step.items))
        slots = min(get_child_concurrency(self._node), self._waiting.children) if is_under_way else 0
        async with self._reserving:
            known_begun, known_slots = self._reserved
            if begun <= known_begun and slots <= known_slots:
                return
            reserved = (max(begun, known_begun), max(slots, known_slots))
            await self._context.families.admit(
                self._parent.workspace_id, begun=reserved[0] - known_begun, under_way=reserved[1] - known_slots
            )
            await self._context.families.reserve(
                self._place, depth=self._parent.state.depth + 1, begun=reserved[0], under_way=reserved[1]
            )
            self._reserved = reserved

    async def _release(self) -> None:
        if self._reserved[1]:
            await self._context.families.release(self._place)
            self._reserved = (self._reserved[0], 0)

    async def _start(self, item: int, step: Step, metadata: Metadata) -> None:
        """Start a child. One that exists already may have ended unnoticed."""
        context, parent = self._context, self._parent
        now = context.clock()
        child = new_stream(RUN, self.get_id(item), parent.workspace_id, parent.project_id, now)
        inputs = await self._build_inputs(item, step)
        if await self._refuse_inputs(item, inputs):
            return
        turn = await self._build_start(item, inputs, child, now)
        is_suspect = self._suspects > 0
        graph = None if is_suspect else await self._find_inline_graph()
        if graph is not None:
            turn = run_to_end(context, child, turn, graph, inputs, metadata.traceparent) or turn
        if not turn.run.has_ended:
            await self._reserve(step, item, is_under_way=True)
        try:
            await append_turn(context.streams, child, turn, metadata)
        except Conflict:
            await self._check_ended(item)
            return
        self._suspects -= is_suspect
        if graph is not None:
            context.step_counts.add(graph, turn.facts)
        if turn.run.has_ended:
            await self._add_result(item, turn.run)

    async def _refuse_inputs(self, item: int, inputs: object) -> bool:
        """Return whether a child is not started, because its workflow does not accept its inputs: it has failed then.

        One that an earlier version started without this check goes on.
        """
        context, workflow_id = self._context, get_child_workflow_id(self._node)
        version = self._parent.state.pins.workflows[workflow_id]
        error = await find_input_error(context, self._parent.workspace_id, workflow_id, version, inputs)
        run_id = self.get_id(item)
        if error is None or await context.streams.reload(RUN, run_id) is not None:
            return False
        self._under_way.discard(item)
        self._ready.append(ItemResult(item=item, run_id=run_id, outcome=ItemOutcome.FAILED, error=error))
        return True

    async def _build_start(self, item: int, inputs: object, child: Folded[Run], now: datetime) -> Turn:
        """Return a turn that only starts a child."""
        parent = self._parent
        workflow_id = get_child_workflow_id(self._node)
        pins = parent.state.pins
        command = StartRun(
            target_id=child.stream_id,
            workflow_id=workflow_id,
            inputs=await keep(self._context.contents, parent.workspace_id, inputs),
            parent=Parent(run_id=parent.stream_id, node=self._node.id, item=item),
            root_run_id=self._place.root_id,
            depth=parent.state.depth + 1,
        )
        sources = RunSources(
            project_id=parent.project_id or parent.stream_id,
            workflow_version=pins.workflows[workflow_id],
            pins=pins,
        )
        turn = Turn(child.state, now)
        turn.add(start_run(command, child.state, sources, now))
        return turn

    async def cancel(self, step: Step, metadata: Metadata) -> None:
        """Request the cancellation of every running child. Children start in order: behind the last are none."""
        if self._starting is not None:
            await self._starting
        await self._context.families.release(self._place)
        self._reserved = (self._reserved[0], 0)
        missing = 0
        items = (item for item in range(self._waiting.children) if item not in step.items)
        while page := list(itertools.islice(items, CANCELS_AT_ONCE)):
            requests = (request_cancel(self._context, self.get_id(item), metadata) for item in page)
            for exists in await asyncio.gather(*requests):
                missing = 0 if exists else missing + 1
            if missing > get_child_concurrency(self._node):
                return
