"""The input and the possible results of a step's executor."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from msgspec import Struct

from domain.graphs.compiled import CompiledGraph
from domain.graphs.graph import ErrorClass, Node
from domain.payload import Payload
from domain.runs.facts import CallRecord, ItemResult, StepError, StepWaiting, Usage
from domain.runs.run import Run
from engine.steps.run_data import RunData


class AnswerRejected(Struct, frozen=True, kw_only=True):
    """A model's answer violated the step's schema; the attempt continues with repair number `repair` (from 1)."""

    attempt: int
    repair: int
    problems: tuple[str, ...]
    usage: Usage
    call: CallRecord | None = None


class CallAsked(Struct, frozen=True, kw_only=True):
    """A call of the attempt has been in progress for `asked_delay_seconds`; the attempt continues."""

    attempt: int
    call: CallRecord


def _ignore_rejection(_rejected: AnswerRejected) -> None:
    """Ignore a rejected answer."""


def _ignore_asked(_asked: CallAsked) -> None:
    """Ignore what a call asked."""


def _ignore_usage(_usage: Usage) -> None:
    """Ignore the usage of an aborted call."""


class StepCall(Struct, frozen=True, kw_only=True):
    """One attempt of a step, with the data that its expressions see.

    `reject` records a rejected answer while the attempt continues, `announce` what a slow call asked;
    `aborted` receives the usage of a cancelled model call, as far as it is known.
    """

    workspace_id: UUID
    project_id: UUID | None = None
    run_id: UUID
    run: Run
    graph: CompiledGraph
    node: Node
    attempt: int
    data: RunData
    traceparent: str | None
    reject: Callable[[AnswerRejected], None] = _ignore_rejection
    aborted: Callable[[Usage], None] = _ignore_usage
    announce: Callable[[CallAsked], None] = _ignore_asked

    @property
    def idempotency_token(self) -> str:
        """Return the idempotency token for servers: the same for all attempts of a step within one attempt of the run.

        Retrying a run asks for a new response, so each attempt of the run has its own token.
        """
        suffix = f".{self.run.attempt}" if self.run.attempt > 1 else ""
        return f"{self.run_id}.{self.node.id}{suffix}"


class Succeeded(Struct, frozen=True):
    """The attempt succeeded; `payload` is the output as stored in facts."""

    output: Any
    payload: Payload
    usage: Usage | None = None
    call: CallRecord | None = None


class Waiting(Struct, frozen=True):
    """The step waits for something outside the engine."""

    waiting: StepWaiting


class Failed(Struct, frozen=True):
    """The attempt failed; `retry_after_seconds` is the wait that the server asked for.

    `is_final`: another attempt would fail in the same way, so there is none, whatever `retry` says.
    """

    error: StepError
    usage: Usage | None = None
    retry_after_seconds: float | None = None
    is_final: bool = False
    call: CallRecord | None = None


class RetryDue(Struct, frozen=True):
    """The delay before the next attempt has elapsed."""


class ItemsSettled(Struct, frozen=True):
    """Child runs of a step have ended; `then` is the step's result, if this settles it."""

    items: tuple[ItemResult, ...]
    then: Succeeded | Failed | None = None


class DecidedAtDeadline(Struct, frozen=True):
    """The deadline passed, and the system decides as the graph specifies; `data` is the data of the decision."""

    outcome: str
    data: Payload
    gave: Succeeded


Result = Succeeded | Waiting | Failed | RetryDue | AnswerRejected | CallAsked | ItemsSettled | DecidedAtDeadline
"""A result of a step. Only AnswerRejected and CallAsked do not end the attempt."""


def build_failure(error_class: ErrorClass, message: str) -> Failed:
    """Return a failure with its class, for error policies, and its message, for people."""
    return Failed(StepError(error_class=error_class, message=make_storable(message)))


def make_storable(message: str) -> str:
    """Return a message without NUL and unpaired surrogates, which PostgreSQL cannot store and servers may send."""
    return message[:2_000].replace("\0", "").encode(errors="replace").decode()
