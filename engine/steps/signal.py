"""Execute wait steps: what they wait for, and their output."""

from datetime import datetime
from typing import Any

from domain.graphs.configs import WaitConfig
from domain.runs.facts import StepWaiting, WaitFor
from engine.steps.contract import StepCall
from engine.steps.delay import compute_deadline


def build_signal_wait(call: StepCall, config: WaitConfig, now: datetime) -> StepWaiting:
    """Return the fact of a step that waits for a signal. Raises ExpressionFault for a deadline that never comes."""
    return StepWaiting(
        node=call.node.id,
        attempt=call.attempt,
        waiting_for=WaitFor.SIGNAL,
        until=compute_deadline(config.deadline, now),
        form=config.schema,
        signal=config.signal,
        waiting_since=now,
    )


def build_signal_output(data: Any, *, received: bool) -> dict[str, Any]:  # noqa: ANN401  # JSON of any shape
    """Return the output of a step that has waited for a signal."""
    return {"received": received, "data": data}
