"""Map and workflow steps: which children they wait for, and what these are started with."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, cast
from uuid import UUID

from domain.asset import AssetContentRevised, AssetCreated, content_of
from domain.expressions.budget import Budget
from domain.expressions.common import ExpressionFault
from domain.expressions.jmespath_queries import compile_query
from domain.graphs.configs import MapConfig, WorkflowConfig
from domain.graphs.graph import ErrorClass, MapNode, Node, WorkflowNode
from domain.ids import to_uuid
from domain.payload import Payload
from domain.runs.facts import StepWaiting, WaitFor
from engine.steps.attempts import compute_total_deadline
from engine.steps.contract import Failed, StepCall, Succeeded, Waiting, build_failure
from engine.steps.evaluator import Evaluator
from engine.steps.run_data import resolve_pass_through
from store.contents import ContentStore, keep, resolve
from store.log.log import Log

PAGE = 1_000
JSON_NAMES: Final[dict[type, str]] = {type(None): "null", bool: "true or false", str: "a text", dict: "an object"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSteps:
    """Carries out the first part of map and workflow steps: what each child is to be started with."""

    log: Log
    contents: ContentStore
    slow: Evaluator = field(default_factory=Evaluator)

    async def waits(self, call: StepCall, node: MapNode | WorkflowNode, now: datetime) -> Waiting | Succeeded | Failed:
        """Return the wait for the children; a map over nothing completes at once. Raises ExpressionFault, Unavailable.

        A step that is begun anew with finished children waits for the same items once more, as they were recorded.
        """
        kept = call.run.kept_items.get(node.id)
        if kept is not None:
            return _wait(call, kept.items, kept.children, now, resumes=True)
        if isinstance(node, WorkflowNode):
            one = node.config
            inputs = [
                await self.slow.evaluate(call.workspace_id, lambda budget: _inputs_of_workflow(call, one, budget))
            ]
        else:
            items = await self._items(call, node.config)
            if not isinstance(items, list):
                return build_failure(ErrorClass.EXPRESSION, _no_list(node.config, items))
            found = cast("list[Any]", items)
            if len(found) > node.config.most_items:
                message = f"the map has {len(found)} items, and most_items allows {node.config.most_items}"
                return build_failure(ErrorClass.BAD_REQUEST, message)
            each = node.config
            inputs = await self.slow.evaluate(
                call.workspace_id, lambda budget: _inputs_of_items(call, each, found, budget)
            )
        if not inputs:
            return Succeeded([], await keep(self.contents, call.workspace_id, []))
        return _wait(call, await keep(self.contents, call.workspace_id, inputs), len(inputs), now)

    async def _items(self, call: StepCall, config: MapConfig) -> object:
        if config.dataset_id is None:
            query, seen = compile_query(config.items or ""), call.data.to_expression_data()
            return await self.slow.evaluate(call.workspace_id, lambda budget: query.apply(seen, budget))
        asset_id = to_uuid("ast", config.dataset_id)
        version = call.run.pins.assets[asset_id]
        after = 0
        while page := await self.log.read_stream(asset_id, after=after, limit=PAGE):
            for one in page:
                after = one.version
                if one.workspace_id != call.workspace_id or not isinstance(
                    one.fact, AssetCreated | AssetContentRevised
                ):
                    continue
                brought = content_of(one.fact)
                if brought is not None and brought[0] == version:
                    return await resolve(self.contents, call.workspace_id, brought[1])
        raise ExpressionFault(f"version {version} of the dataset is not in the log")


def _no_list(config: MapConfig, found: object) -> str:
    """Say what stands where the items of a map should: null is what a query gives for a name that is misspelt."""
    where = "what items picks" if config.dataset_id is None else "the content of its dataset"
    return f"the items of a map must be a list, and {where} is {JSON_NAMES.get(type(found), 'a number')}"


def _wait(call: StepCall, items: Payload, children: int, now: datetime, *, resumes: bool = False) -> Waiting:
    return Waiting(
        StepWaiting(
            node=call.node.id,
            attempt=call.attempt,
            waiting_for=WaitFor.CHILD,
            items=items,
            children=children,
            resumes=resumes,
            until=_until(call),
            waiting_since=now,
        )
    )


def _until(call: StepCall) -> datetime | None:
    """Return when the time of the step is over: that of the attempt, or of all of them."""
    node, step = call.node, call.run.steps[call.node.id]
    ends = [compute_total_deadline(node, step)]
    if node.timeout_seconds is not None and step.started_at is not None:
        ends.append(step.started_at + timedelta(seconds=node.timeout_seconds))
    return min((one for one in ends if one is not None), default=None)


def _inputs_of_workflow(call: StepCall, config: WorkflowConfig, budget: Budget) -> object:
    if not config.inputs:
        return resolve_pass_through(call.graph, call.run, call.node.id, call.data)
    seen = call.data.to_expression_data()
    return {name: compile_query(query).apply(seen, budget) for name, query in config.inputs.items()}


def _inputs_of_items(call: StepCall, config: MapConfig, items: list[Any], budget: Budget) -> list[object]:
    """Return what each child starts with, within one budget: what one item may take, 10,000 may not."""
    if not config.inputs:
        return [{"item": item, "index": index} for index, item in enumerate(items)]
    seen = call.data.to_expression_data()
    queries = {name: compile_query(query) for name, query in config.inputs.items()}
    return [
        {name: query.apply({**seen, "item": item, "index": index}, budget) for name, query in queries.items()}
        for index, item in enumerate(items)
    ]


def get_child_workflow_id(node: Node) -> UUID:
    """Return the workflow that each child of a step runs."""
    if not isinstance(node, MapNode | WorkflowNode):
        raise TypeError(f"{node.id} has no children")
    return to_uuid("wf", node.config.workflow_id)


def get_child_concurrency(node: Node) -> int:
    """Return how many children of a step may be under way at once."""
    return node.config.concurrency if isinstance(node, MapNode) else 1
