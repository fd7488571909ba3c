"""Execute the first part of map and workflow steps: compute the inputs of their child runs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, cast
from uuid import UUID

import msgspec
from msgspec import Struct

from domain.asset import AssetContentRevised, AssetCreated, get_new_content
from domain.expressions.budget import CHARACTERS_PER_WORK, Budget
from domain.expressions.common import ExpressionFault
from domain.expressions.jmespath_queries import apply_query, compile_query
from domain.graphs.configs import MapConfig, WorkflowConfig
from domain.graphs.graph import ErrorClass, MapNode, Node, RepeatNode, WorkflowNode
from domain.ids import to_uuid
from domain.payload import INLINE_BYTES, Payload
from domain.runs.facts import StepWaiting, WaitFor
from engine.steps.attempts import compute_total_deadline
from engine.steps.contract import Failed, StepCall, Succeeded, Waiting, build_failure
from engine.steps.evaluator import Evaluator
from engine.steps.run_data import resolve_pass_through
from store.contents import ContentStore, encode_content, keep, keep_encoded, read_encoded
from store.log.log import Log

PAGE = 1_000
WORK_PER_ITEM: Final = 16
"""Work of building, measuring and encoding the inputs of one run of a map: on the event loop up to 250 items."""
JSON_NAMES: Final[dict[type, str]] = {type(None): "null", bool: "true or false", str: "a string", dict: "an object"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSteps:
    """Executes map and workflow steps up to the wait for their child runs."""

    log: Log
    contents: ContentStore
    slow: Evaluator

    async def start_waiting(
        self, call: StepCall, node: MapNode | WorkflowNode | RepeatNode, now: datetime
    ) -> Waiting | Succeeded | Failed:
        """Return the wait for the child runs; a map over an empty list succeeds. Raises ExpressionFault, Unavailable.

        A retried step with completed children waits for the recorded items again.
        """
        kept = call.run.kept_items.get(node.id)
        if kept is not None:
            return _wait(call, kept.items, kept.children, now, resumes=True)
        if isinstance(node, RepeatNode):
            rounds = node.config
            picks = partial(_build_workflow_inputs, call.data.to_expression_data(), rounds.inputs)
            base = await self.slow.evaluate(call.workspace_id, picks)
            return _wait(call, await keep(self.contents, call.workspace_id, [base]), rounds.most_rounds, now)
        if isinstance(node, WorkflowNode):
            config = node.config
            inputs = [await self.slow.evaluate(call.workspace_id, _prepare_workflow_inputs(call, config))]
        else:
            return await self._start_map(call, node.config, now)
        return _wait(call, await keep(self.contents, call.workspace_id, inputs), len(inputs), now)

    async def _start_map(self, call: StepCall, config: MapConfig, now: datetime) -> Waiting | Succeeded | Failed:
        """Return the wait for the runs of a map. The inputs of many items are built and encoded in a worker."""
        dataset = None if config.dataset_id is None else await self._read_dataset(call, config.dataset_id)
        prepare = partial(prepare_items, call.data.to_expression_data(), config, dataset)
        prepared = await self.slow.evaluate(call.workspace_id, prepare)
        if isinstance(prepared, UnusableItems):
            return build_failure(prepared.error_class, prepared.message)
        if not prepared.count:
            return Succeeded([], await keep(self.contents, call.workspace_id, []))
        if len(prepared.encoded) <= INLINE_BYTES:
            payload = Payload(value=msgspec.json.decode(prepared.encoded))
        else:
            payload = await keep_encoded(self.contents, call.workspace_id, prepared.encoded)
        return _wait(call, payload, prepared.count, now)

    async def _read_dataset(self, call: StepCall, dataset_id: str) -> bytes:
        """Return the JSON of the dataset's version that the run is pinned to. Raises ExpressionFault, Unavailable."""
        asset_id = to_uuid("ast", dataset_id)
        version = call.run.pins.assets[asset_id]
        after = 0
        while page := await self.log.read_stream(asset_id, after=after, limit=PAGE):
            for event in page:
                after = event.version
                if event.workspace_id != call.workspace_id or not isinstance(
                    event.fact, AssetCreated | AssetContentRevised
                ):
                    continue
                content = get_new_content(event.fact)
                if content is not None and content[0] == version:
                    return await read_encoded(self.contents, call.workspace_id, content[1])
        raise ExpressionFault(f"Version {version} of the dataset does not exist")


class PreparedItems(Struct, frozen=True):
    """The inputs of the runs of a map: how many, and all of them as JSON."""

    count: int
    encoded: bytes


class UnusableItems(Struct, frozen=True):
    """The fault of items with which a map cannot begin."""

    error_class: ErrorClass
    message: str


def prepare_items(
    seen: dict[str, Any], config: MapConfig, dataset: bytes | None, budget: Budget
) -> PreparedItems | UnusableItems:
    """Return the inputs of the runs of a map, from the dataset's JSON or the query in `items`.

    What it costs grows with the items; it is charged, so that many are prepared in a worker. Raises ExpressionFault,
    ContentTooLarge, TooDeep, UnstorableText.
    """
    if dataset is None:
        items = apply_query(config.items or "", seen, budget)
    else:
        budget.charge(len(dataset) // CHARACTERS_PER_WORK)
        items = msgspec.json.decode(dataset)
    if not isinstance(items, list):
        return UnusableItems(ErrorClass.EXPRESSION, _describe_wrong_items(config, items))
    found = cast("list[Any]", items)
    if len(found) > config.most_items:
        message = f"The map has too many items: {len(found)}. Limit: {config.most_items} (most_items)"
        return UnusableItems(ErrorClass.BAD_REQUEST, message)
    budget.charge(len(found) * WORK_PER_ITEM)
    inputs = _build_item_inputs(seen, config, found, budget)
    return PreparedItems(len(inputs), encode_content(inputs))


def _describe_wrong_items(config: MapConfig, found: object) -> str:
    """Return the message for items that are not a list; a query with a misspelt name returns null."""
    source = "the query in items returned" if config.dataset_id is None else "the content of its dataset is"
    return f"The items of a map must be a list, but {source} {JSON_NAMES.get(type(found), 'a number')}"


def _wait(call: StepCall, items: Payload, children: int, now: datetime, *, resumes: bool = False) -> Waiting:
    return Waiting(
        StepWaiting(
            node=call.node.id,
            attempt=call.attempt,
            waiting_for=WaitFor.CHILD,
            items=items,
            children=children,
            resumes=resumes,
            until=_compute_deadline(call),
            waiting_since=now,
        )
    )


def _compute_deadline(call: StepCall) -> datetime | None:
    """Return the earlier of the attempt's deadline and the step's total deadline."""
    node, step = call.node, call.run.steps[call.node.id]
    deadlines = [compute_total_deadline(node, step)]
    if node.timeout_seconds is not None and step.started_at is not None:
        deadlines.append(step.started_at + timedelta(seconds=node.timeout_seconds))
    return min((deadline for deadline in deadlines if deadline is not None), default=None)


def _prepare_workflow_inputs(call: StepCall, config: WorkflowConfig) -> Callable[[Budget], object]:
    if not config.inputs:
        return partial(_pass_through, resolve_pass_through(call.graph, call.run, call.node.id, call.data))
    return partial(_build_workflow_inputs, call.data.to_expression_data(), config.inputs)


def _pass_through(value: object, _budget: Budget) -> object:
    return value


def _build_workflow_inputs(seen: dict[str, Any], queries: Mapping[str, str], budget: Budget) -> object:
    return {name: apply_query(query, seen, budget) for name, query in queries.items()}


def _build_item_inputs(seen: dict[str, Any], config: MapConfig, items: list[Any], budget: Budget) -> list[object]:
    """Return the inputs of each child run; one budget for all items, of which there may be 10,000."""
    if not config.inputs:
        return [{"item": item, "index": index} for index, item in enumerate(items)]
    queries = {name: compile_query(query) for name, query in config.inputs.items()}
    return [
        {name: query.apply({**seen, "item": item, "index": index}, budget) for name, query in queries.items()}
        for index, item in enumerate(items)
    ]


def get_child_workflow_id(node: Node) -> UUID:
    """Return the id of the workflow that the child runs of a step execute."""
    if not isinstance(node, MapNode | WorkflowNode | RepeatNode):
        raise TypeError(f"node {node.id} has no child runs")
    return to_uuid("wf", node.config.workflow_id)


def get_child_concurrency(node: Node) -> int:
    """Return how many child runs of a step may be in progress at once."""
    return node.config.concurrency if isinstance(node, MapNode) else 1
