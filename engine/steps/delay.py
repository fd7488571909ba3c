"""Execute delay steps: compute until when they wait, and their output."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

import msgspec

from domain.expressions.budget import Budget
from domain.expressions.common import ExpressionFault
from domain.expressions.liquid_templates import render_template
from domain.graphs.configs import Deadline, DelayConfig, LocalTime, SignalDeadline
from domain.local_time import DAYS_SEARCHED, find_next_time
from domain.runs.facts import StepWaiting, WaitFor
from engine.steps.contract import StepCall

Moment = Annotated[datetime, msgspec.Meta(tz=True)]
SHOWN_CHARACTERS_MAX: Final = 100


def compute_wait_end(config: DelayConfig, seen: dict[str, Any], now: datetime, budget: Budget) -> datetime:
    """Return when the wait ends, in UTC. Raises ExpressionFault if `until` does not render a valid time."""
    if config.seconds is not None:
        return now + timedelta(seconds=config.seconds)
    if config.at is not None:
        return find_local_time(config.at, now)
    return parse_time(render_template(config.until or "", seen, budget))


def find_local_time(at: LocalTime, now: datetime) -> datetime:
    """Return the next moment at which a local time comes, in UTC. Raises ExpressionFault if there is none."""
    found = find_next_time(now, at.time, at.timezone, at.day, at.holidays)
    if found is None:
        raise ExpressionFault(f"No day within {DAYS_SEARCHED} days is a working day: all are in holidays")
    return found


def compute_deadline(deadline: Deadline | SignalDeadline | None, now: datetime) -> datetime | None:
    """Return when a deadline is over, in UTC; None where there is none. Raises ExpressionFault."""
    if deadline is None:
        return None
    if deadline.at is not None:
        return find_local_time(deadline.at, now)
    return now + timedelta(seconds=deadline.after_seconds or 0)


def parse_time(text: str) -> datetime:
    """Parse an RFC 3339 time with an offset, and return it in UTC. Raises ExpressionFault."""
    try:
        return msgspec.convert(text.strip(), Moment).astimezone(UTC)
    except (msgspec.ValidationError, OverflowError) as fault:
        shown = text.strip()[:SHOWN_CHARACTERS_MAX]
        raise ExpressionFault(
            f"until must render an RFC 3339 time such as 2026-03-01T12:00:00Z, but rendered {shown!r}"
        ) from fault


def build_timer_wait(call: StepCall, until: datetime, now: datetime) -> StepWaiting:
    """Return the fact of a step that waits for a time."""
    return StepWaiting(
        node=call.node.id, attempt=call.attempt, waiting_for=WaitFor.TIMER, until=until, waiting_since=now
    )


def build_delay_output(until: datetime) -> dict[str, Any]:
    """Return the output of a delay: the time it waited for."""
    return {"until": until.astimezone(UTC).isoformat().replace("+00:00", "Z")}
