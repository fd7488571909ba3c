"""Delay steps: until when they wait, and what they give then."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

import msgspec

from domain.expressions.budget import Budget
from domain.expressions.common import ExpressionFault
from domain.expressions.liquid_templates import compile_template
from domain.graphs.configs import DelayConfig
from domain.runs.facts import StepWaiting, WaitFor
from engine.steps.contract import StepCall

Moment = Annotated[datetime, msgspec.Meta(tz=True)]
MOST_SHOWN: Final = 100


def compute_wait_end(call: StepCall, config: DelayConfig, now: datetime, budget: Budget | None = None) -> datetime:
    """Return when the wait ends, in UTC. Raises ExpressionFault when the template renders no such time."""
    if config.seconds is not None:
        return now + timedelta(seconds=config.seconds)
    return parse_time(compile_template(config.until or "").render(call.data.to_expression_data(), budget))


def parse_time(text: str) -> datetime:
    """Read a time in the form of RFC 3339, with its offset, as UTC. Raises ExpressionFault."""
    try:
        return msgspec.convert(text.strip(), Moment).astimezone(UTC)
    except (msgspec.ValidationError, OverflowError) as fault:
        shown = text.strip()[:MOST_SHOWN]
        raise ExpressionFault(
            f"until gave {shown!r}, which is no time of RFC 3339, such as 2026-03-01T12:00:00Z"
        ) from fault


def build_timer_wait(call: StepCall, until: datetime, now: datetime) -> StepWaiting:
    """Return the fact that a step waits for a time."""
    return StepWaiting(
        node=call.node.id, attempt=call.attempt, waiting_for=WaitFor.TIMER, until=until, waiting_since=now
    )


def build_delay_output(until: datetime) -> dict[str, Any]:
    """Return the output of a delay: the time that it waited for."""
    return {"until": until.astimezone(UTC).isoformat().replace("+00:00", "Z")}
