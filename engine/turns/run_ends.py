"""What a run ends by: a step that has failed for good, with nothing to go on with in its place."""

from commands.runs.steps import FailRun
from domain.runs.run import Run
from engine.steps.contract import Failed, ItemsSettled, Result, Succeeded


def ends_by(run: Run) -> FailRun | None:
    """Give how a run ends in which a step has failed for good; None for one that goes on, or is cancelled first."""
    node = run.failing_node
    error = None if node is None or run.cancel_requested else run.steps[node].error
    return None if node is None or error is None else FailRun(node=node, error=error)


def waits_for_children(run: Run) -> bool:
    """Tell whether runs that a run has begun are under way, as far as it knows."""
    return run.waiting > 0 and any(step.waits_for_children for step in run.steps.values())


def likely_to_end(settled: tuple[str, Result]) -> tuple[bool, int]:
    """Give how likely a result is to end the run, to be compared with the others'."""
    came_to = _came_to(settled[1])
    large = came_to.payload.bytes or 0 if isinstance(came_to, Succeeded) else 0
    return isinstance(came_to, Failed), large


def fails(result: Result) -> bool:
    """Tell whether a result is a failure of its step."""
    return isinstance(_came_to(result), Failed)


def _came_to(result: Result) -> Result | None:
    return result.then if isinstance(result, ItemsSettled) else result
