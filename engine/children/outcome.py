"""Outcome of a step's children: the step's output, or its failure."""

from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from domain.expressions.cel import compile_condition
from domain.expressions.common import ExpressionFault
from domain.graphs.configs import MapConfig, RepeatConfig
from domain.graphs.graph import ErrorClass, MapNode, Node, RepeatNode
from domain.runs.facts import ItemOutcome, ItemResult, StepError
from domain.runs.run import Run, RunStatus, compute_usage_totals
from engine.steps.contract import Failed, Succeeded, build_failure
from store.contents import CONTENT_BYTES_MAX, ContentStore, keep, resolve
from store.errors import ContentTooLarge

OUTCOMES = {
    RunStatus.COMPLETED: ItemOutcome.COMPLETED,
    RunStatus.FAILED: ItemOutcome.FAILED,
    RunStatus.CANCELLED: ItemOutcome.CANCELLED,
}
CANCELLED = StepError(error_class=ErrorClass.CHILD_FAILED, message="the child run was cancelled")


async def build_item_result(
    item: int, run_id: UUID, run: Run, contents: ContentStore, workspace_id: UUID
) -> ItemResult:
    """Return the result of a child that has ended: its outputs by node, or its error.

    Raises ContentTooLarge, TooDeep, Unavailable.
    """
    usage = compute_usage_totals(run)
    took = usage if usage.model_calls else None
    if run.status is not RunStatus.COMPLETED:
        error = run.error if run.status is RunStatus.FAILED else None
        return ItemResult(item=item, run_id=run_id, outcome=OUTCOMES[run.status], error=error or CANCELLED, took=took)
    size = sum(output.bytes or 0 for output in run.outputs.values())
    if size > CONTENT_BYTES_MAX:  # checked before any of it is read
        raise ContentTooLarge(size, CONTENT_BYTES_MAX)
    outputs = {node: await resolve(contents, workspace_id, output) for node, output in run.outputs.items()}
    payload = await keep(contents, workspace_id, outputs)
    return ItemResult(item=item, run_id=run_id, outcome=ItemOutcome.COMPLETED, output=payload, took=took)


def select_counted_items(known: Mapping[int, ItemResult], *, is_late: bool) -> Mapping[int, ItemResult]:
    """Return the item results that decide the step's outcome.

    After the deadline cancelled children are left out: the deadline cancelled them, perhaps by an engine that was lost
    before it recorded the timeout.
    """
    if not is_late:
        return known
    return {item: result for item, result in known.items() if result.outcome is not ItemOutcome.CANCELLED}


def count_failed(results: Iterable[ItemResult]) -> int:
    """Return how many children have failed or were cancelled."""
    return sum(result.outcome is not ItemOutcome.COMPLETED for result in results)


def has_failed(node: Node, failed: int) -> bool:
    """Return whether a step has failed because so many of its children have, whatever the others come to."""
    return failed > (_get_failed_items_max(node.config) if isinstance(node, MapNode) else 0)


async def compute_step_outcome(
    node: Node, children: int, known: Mapping[int, ItemResult], contents: ContentStore, workspace_id: UUID
) -> Succeeded | Failed | None:
    """Return the outcome of a step from the results of its children that are known; None while it is not decided.

    Raises ContentTooLarge, TooDeep, Unavailable.
    """
    failures = [result for _, result in sorted(known.items()) if result.outcome is not ItemOutcome.COMPLETED]
    if isinstance(node, RepeatNode) and not failures:
        return await _compute_rounds_outcome(node.config, known, contents, workspace_id)
    if not isinstance(node, MapNode):
        if failures:
            return build_failure(ErrorClass.CHILD_FAILED, f"the child run failed: {_get_message(failures[0])}")
    elif len(failures) > _get_failed_items_max(node.config):
        cause = _find_cause(failures)
        message = f"item {cause.item} failed: {_get_message(cause)}"
        more = "" if len(failures) == 1 else f"{len(failures)} items failed; "
        return build_failure(ErrorClass.CHILD_FAILED, more + message)
    if len(known) < children:
        return None
    size = sum(result.output.bytes or 0 for result in known.values())
    if size > CONTENT_BYTES_MAX:  # checked before any of it is read
        raise ContentTooLarge(size, CONTENT_BYTES_MAX)
    outputs: list[object] = []
    for item in range(children):
        result = known[item]
        if result.error is None:
            outputs.append(await resolve(contents, workspace_id, result.output))
        else:
            error = result.error
            outputs.append({"error": {"error_class": error.error_class.value, "message": error.message}})
    output = outputs if isinstance(node, MapNode) else outputs[0]
    return Succeeded(output, await keep(contents, workspace_id, output))


async def _compute_rounds_outcome(
    config: RepeatConfig, known: Mapping[int, ItemResult], contents: ContentStore, workspace_id: UUID
) -> Succeeded | Failed | None:
    """Return the outcome of a repeat from its completed rounds; None while another round is due."""
    if not known:
        return None
    last = max(known)
    outputs = await resolve(contents, workspace_id, known[last].output)
    steps: dict[str, object] = {name: {"output": output} for name, output in outputs.items()}
    try:
        holds = compile_condition(config.until).holds({"round": last}, steps)
    except ExpressionFault as fault:
        message = f"until cannot be evaluated after round {last}: {fault.message}"
        return build_failure(ErrorClass.EXPRESSION, message)
    if holds or (last + 1 >= config.most_rounds and config.on_limit == "continue"):
        return Succeeded(outputs, known[last].output)
    if last + 1 < config.most_rounds:
        return None
    message = f"until did not hold after any of {config.most_rounds} rounds (most_rounds)"
    return build_failure(ErrorClass.CHILD_FAILED, message)


def _get_failed_items_max(config: MapConfig) -> int:
    if config.on_item_failure == "fail":
        return 0
    return config.most_items if config.most_failed_items is None else config.most_failed_items


def _find_cause(failures: Sequence[ItemResult]) -> ItemResult:
    """Return the item that caused a map to fail; cancelled items may have been cancelled because of it."""
    return next((result for result in failures if result.outcome is ItemOutcome.FAILED), failures[0])


def _get_message(result: ItemResult) -> str:
    return (result.error or CANCELLED).message
