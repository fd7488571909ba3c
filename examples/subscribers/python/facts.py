"""Compute what one event adds to the counts, from its CloudEvents envelope."""

import json
from dataclasses import dataclass, field
from typing import Any, cast

COUNTERS = ("started", "completed", "failed", "cancelled", "model_calls", "input_tokens", "output_tokens")
COUNTED_BY_TOPIC = {
    "run.started": "started",
    "run.completed": "completed",
    "run.failed": "failed",
    "run.cancelled": "cancelled",
}
NAMES_A_WORKFLOW = ("workflow.created", "workflow.renamed")
ATTO_DIGITS = 18
TAG_DIGITS = 12


class Unreadable(Exception):
    """The message is not an event that this program can count."""


@dataclass(frozen=True, kw_only=True)
class EventCounts:
    """Counts that one event adds. `subject` is the id of its stream: `run_…`, `wf_…`.

    `log` is the end of the log's id, and the tag of its first epoch. `epoch` is the tag of the epoch in the event's id,
    which began after the position `epoch_after`.
    """

    id: str
    log: str
    epoch: str
    epoch_after: int
    position: int
    workspace: str
    subject: str
    day: str
    workflow: str | None = None
    name: str | None = None
    counters: dict[str, int] = field(default_factory=dict)
    cost_atto_usd: int = 0


def read_envelope(envelope: bytes) -> EventCounts:
    """Parse an envelope. A topic that is not counted has no counters; its position still counts as seen."""
    try:
        event: dict[str, Any] = json.loads(envelope)
        topic: str = event["type"]
        data = event.get("data")
        if not isinstance(data, dict):
            raise Unreadable(f"{topic} has no JSON data")
        data = cast("dict[str, Any]", data)
        usage = cast("dict[str, Any]", data.get("usage") or {})
        return EventCounts(
            id=event["id"],
            log=event["source"][-TAG_DIGITS:],
            epoch=event["id"].rpartition("-")[0],
            epoch_after=int(event.get("epochafter", "0")),
            position=int(event["position"]),
            workspace=event["workspace"],
            subject=event["subject"],
            day=event["time"][:10],
            workflow=str(data["workflow_id"]) if topic == "run.started" else None,
            name=str(data["name"]) if topic in NAMES_A_WORKFLOW else None,
            counters=_count_topic_and_usage(topic, usage),
            cost_atto_usd=parse_atto_usd(usage.get("cost_usd", "0")),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as fault:
        raise Unreadable(f"{type(fault).__name__}: {fault}") from fault


def _count_topic_and_usage(topic: str, usage: dict[str, Any]) -> dict[str, int]:
    """Count the start or end of a run, and one model call for each fact with `usage`.

    `took` of `step.items-settled` is ignored: the facts of the child runs report the same calls.
    """
    counters: dict[str, int] = {}
    if topic in COUNTED_BY_TOPIC:
        counters[COUNTED_BY_TOPIC[topic]] = 1
    if usage:
        counters["model_calls"] = 1
        counters["input_tokens"] = int(usage["input_tokens"])
        counters["output_tokens"] = int(usage["output_tokens"])
    return counters


def parse_atto_usd(decimal: str) -> int:
    """Parse a decimal string into an integer of 10^-18 USD, so that sums are exact."""
    whole, _, rest = decimal.partition(".")
    if len(rest) > ATTO_DIGITS:
        raise ValueError(f"{decimal} has more than {ATTO_DIGITS} decimals")
    return int(whole + rest.ljust(ATTO_DIGITS, "0"))


def format_usd(atto: int) -> str:
    """Format an integer of 10^-18 USD as a decimal string."""
    digits = str(atto).rjust(ATTO_DIGITS + 1, "0")
    return f"{digits[:-ATTO_DIGITS]}.{digits[-ATTO_DIGITS:]}".rstrip("0").rstrip(".")
