"""What a step's executor is given and what it comes to."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from msgspec import Struct

from domain.graphs.compiled import CompiledGraph
from domain.graphs.graph import ErrorClass, Node
from domain.payload import Payload
from domain.runs.facts import ItemResult, StepError, StepWaiting, Usage
from domain.runs.run import Run
from engine.steps.run_data import RunData


class AnswerRejected(Struct, frozen=True, kw_only=True):
    """An answer of a model did not meet the step's schema; the attempt goes on with its n-th repair (from 1)."""

    attempt: int
    repair: int
    problems: tuple[str, ...]
    usage: Usage


def _ignore_rejection(_rejected: AnswerRejected) -> None:
    """Ignore it."""


def _ignore_usage(_usage: Usage) -> None:
    """Ignore the usage of an aborted call."""


class StepCall(Struct, frozen=True, kw_only=True):
    """One attempt of a step: where it stands, what it may see, and the token that makes a repeat recognisable.

    `reject` has it recorded, while the attempt goes on, that an answer was rejected; `aborted` is told what a call of a
    model took that was cancelled, as far as that is known.
    """

    workspace_id: UUID
    run_id: UUID
    run: Run
    graph: CompiledGraph
    node: Node
    attempt: int
    data: RunData
    traceparent: str | None
    reject: Callable[[AnswerRejected], None] = _ignore_rejection
    aborted: Callable[[Usage], None] = _ignore_usage

    @property
    def idempotency_token(self) -> str:
        """Return the token for providers: the same for every attempt of one step of one run.

        Who retries a run wants another answer than the one that failed: each of its attempts has a token of its own.
        """
        again = f".{self.run.attempt}" if self.run.attempt > 1 else ""
        return f"{self.run_id}.{self.node.id}{again}"


class Succeeded(Struct, frozen=True):
    """The attempt gave an output, which stands in facts as `payload`."""

    output: Any
    payload: Payload
    usage: Usage | None = None


class Waiting(Struct, frozen=True):
    """The step waits for something outside the engine."""

    waiting: StepWaiting


class Failed(Struct, frozen=True):
    """The attempt failed; the other side may have said when another is welcome."""

    error: StepError
    usage: Usage | None = None
    retry_after_seconds: float | None = None


class RetryDue(Struct, frozen=True):
    """The wait before the next attempt is over."""


class ItemsSettled(Struct, frozen=True):
    """Some of a step's children have ended, and `then` is what the step comes to because of it, if it does."""

    items: tuple[ItemResult, ...]
    then: Succeeded | Failed | None = None


class DecidedAtDeadline(Struct, frozen=True):
    """Nobody decided until the deadline, and the system decides as the graph says; `data` is that of the decision."""

    outcome: str
    data: Payload
    gave: Succeeded


Result = Succeeded | Waiting | Failed | RetryDue | AnswerRejected | ItemsSettled | DecidedAtDeadline
"""What arrives of a step. `Rejected` alone does not end what the step has under way."""


def build_failure(error_class: ErrorClass, message: str) -> Failed:
    """Return a failure with a class for policies and a sentence for people."""
    return Failed(StepError(error_class=error_class, message=make_storable(message)))


def make_storable(message: str) -> str:
    """Return a message without NUL and lone surrogates: PostgreSQL stores neither, and providers may send them."""
    return message[:2_000].replace("\0", "").encode(errors="replace").decode()
