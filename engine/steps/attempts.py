"""Times of attempts: when the next attempt of a step is due, and the deadline of all attempts."""

from datetime import datetime, timedelta
from random import Random

from domain.graphs.graph import Backoff, Node
from domain.runs.steps import Step


def compute_total_deadline(node: Node, step: Step) -> datetime | None:
    """Return when a step's total timeout ends, counted from its first claim; None for a step without one."""
    began_at = step.first_started_at or step.started_at
    if node.total_timeout_seconds is None or began_at is None:
        return None
    return began_at + timedelta(seconds=node.total_timeout_seconds)


def compute_backoff_seconds(backoff: Backoff, failures: int, random: Random) -> float:
    """Return the wait after that many failed attempts: exponential, capped, less a random share of jitter."""
    whole = min(backoff.max_seconds, backoff.initial_seconds * backoff.factor ** (failures - 1))
    return whole * (1 - backoff.jitter * random.random())
