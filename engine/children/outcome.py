"""What the children of a step come to: the step's output, or its failure."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from domain.graphs.configs import MapConfig
from domain.graphs.graph import ErrorClass, MapNode, Node
from domain.runs.facts import ItemOutcome, ItemResult, StepError
from domain.runs.run import Run, RunStatus
from domain.runs.run_usage import took_by
from engine.steps.contract import Failed, Succeeded, build_failure
from store.contents import CONTENT_BYTES_MAX, ContentStore, keep, resolve
from store.errors import ContentTooLarge

OUTCOMES = {
    RunStatus.COMPLETED: ItemOutcome.COMPLETED,
    RunStatus.FAILED: ItemOutcome.FAILED,
    RunStatus.CANCELLED: ItemOutcome.CANCELLED,
}
CANCELLED = StepError(error_class=ErrorClass.CHILD_FAILED, message="the child run was cancelled")


async def item_result(item: int, run_id: UUID, run: Run, contents: ContentStore, workspace_id: UUID) -> ItemResult:
    """Give what a child that has ended came to: its outputs by node, or why there are none.

    Raises ContentTooLarge, TooDeep, Unavailable.
    """
    sum_of_calls = took_by(run)
    took = sum_of_calls if sum_of_calls.model_calls else None
    if run.status is not RunStatus.COMPLETED:
        error = run.error if run.status is RunStatus.FAILED else None
        return ItemResult(item=item, run_id=run_id, outcome=OUTCOMES[run.status], error=error or CANCELLED, took=took)
    size = sum(output.bytes or 0 for output in run.outputs.values())
    if size > CONTENT_BYTES_MAX:  # told before any of it is read
        raise ContentTooLarge(size, CONTENT_BYTES_MAX)
    outputs = {node: await resolve(contents, workspace_id, output) for node, output in run.outputs.items()}
    payload = await keep(contents, workspace_id, outputs)
    return ItemResult(item=item, run_id=run_id, outcome=ItemOutcome.COMPLETED, output=payload, took=took)


def counted_of(known: Mapping[int, ItemResult], *, late: bool) -> Mapping[int, ItemResult]:
    """Give the ends of children that decide what their step comes to.

    Out of time, a child that was cancelled was so for that, perhaps by an engine that was lost before it said so.
    """
    if not late:
        return known
    return {item: one for item, one in known.items() if one.outcome is not ItemOutcome.CANCELLED}


async def outcome_of(
    node: Node, children: int, known: Mapping[int, ItemResult], contents: ContentStore, workspace_id: UUID
) -> Succeeded | Failed | None:
    """Give what a step comes to by the ends of its children that are known; None while it goes on.

    Raises ContentTooLarge, TooDeep, Unavailable.
    """
    bad = [one for _, one in sorted(known.items()) if one.outcome is not ItemOutcome.COMPLETED]
    if not isinstance(node, MapNode):
        if bad:
            return build_failure(ErrorClass.CHILD_FAILED, f"the child run failed: {_why(bad[0])}")
    elif len(bad) > _most_failed(node.config):
        cause = _cause(bad)
        why = f"item {cause.item} failed: {_why(cause)}"
        return build_failure(ErrorClass.CHILD_FAILED, why if len(bad) == 1 else f"{len(bad)} items failed; {why}")
    if len(known) < children:
        return None
    size = sum(one.output.bytes or 0 for one in known.values())
    if size > CONTENT_BYTES_MAX:  # told before any of it is read
        raise ContentTooLarge(size, CONTENT_BYTES_MAX)
    results: list[object] = []
    for item in range(children):
        one = known[item]
        if one.error is None:
            results.append(await resolve(contents, workspace_id, one.output))
        else:
            results.append({"error": {"error_class": one.error.error_class.value, "message": one.error.message}})
    output = results if isinstance(node, MapNode) else results[0]
    return Succeeded(output, await keep(contents, workspace_id, output))


def _most_failed(config: MapConfig) -> int:
    if config.on_item_failure == "fail":
        return 0
    return config.most_items if config.most_failed_items is None else config.most_failed_items


def _cause(bad: Sequence[ItemResult]) -> ItemResult:
    """Give the item that tells why a map failed; those that were cancelled may have been so because of it."""
    return next((one for one in bad if one.outcome is ItemOutcome.FAILED), bad[0])


def _why(one: ItemResult) -> str:
    return (one.error or CANCELLED).message
