"""Execute human steps: who may decide, the possible outcomes, and the values shown."""

import hashlib
import hmac
from datetime import datetime
from typing import Any

import msgspec

from domain.expressions.budget import Budget
from domain.expressions.jmespath_queries import compile_query
from domain.expressions.liquid_templates import render_template
from domain.graphs.configs import HumanConfig
from domain.payload import Payload
from domain.runs.facts import StepWaiting, WaitFor
from engine.steps.contract import StepCall
from engine.steps.delay import compute_deadline

_canonical = msgspec.json.Encoder(order="deterministic")


def build_shown_values(config: HumanConfig, seen: dict[str, Any], budget: Budget) -> dict[str, Any]:
    """Return what a person is shown: rendered instructions and selected values. Raises ExpressionFault."""
    shown: dict[str, Any] = {name: compile_query(query).apply(seen, budget) for name, query in config.shows.items()}
    if config.instructions is None:
        return {"values": shown}
    return {"instructions": render_template(config.instructions, seen, budget), "values": shown}


def hash_shown_values(shown: object, key: bytes) -> str:
    """Return the keyed hash (HMAC-SHA-256 over canonical JSON) of what a person was shown."""
    return "hmac-sha256:" + hmac.new(key, _canonical.encode(shown), hashlib.sha256).hexdigest()


def build_human_wait(
    call: StepCall, config: HumanConfig, payload: Payload, shown_hash: str, now: datetime
) -> StepWaiting:
    """Return the fact of a step that waits for a person."""
    return StepWaiting(
        node=call.node.id,
        attempt=call.attempt,
        waiting_for=WaitFor.HUMAN,
        until=compute_deadline(config.deadline, now),
        assignees=tuple(assignee.user for assignee in config.assignees if assignee.user is not None),
        roles=tuple(assignee.role for assignee in config.assignees if assignee.role is not None),
        form=config.form,
        outcomes=config.outcomes,
        shown=payload,
        shown_hash=shown_hash,
        waiting_since=now,
    )
