"""Calls of the steps of a run, with requests and answers: `GET /v1/runs/{runId}/steps/{nodeId}/calls`.

Read from the log itself, so it never lags.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from msgspec import UNSET, Struct

from commands.aggregates import RUN
from domain.payload import NOTHING, Payload
from domain.runs.facts import (
    AnswerRejected,
    CallRecord,
    RunRetried,
    StepAsked,
    StepCompleted,
    StepError,
    StepFailed,
    StepResultRefused,
    Usage,
)
from domain.runs.refusals import RunNotFound, StepNotFound
from gateway.access.permissions import Permission
from gateway.deps import Deps
from gateway.http.payloads import Contents, fetch_contents, show_payload
from gateway.identity.scopes import Scope
from gateway.operations.context import RequestContext
from gateway.operations.operation import Method, Operation, PathText, respond_page
from gateway.operations.positions import PositionCodec
from gateway.operations.query import Limit, LogPosition
from gateway.operations.results import Page
from gateway.runs.operations import RUN_ID
from store.log.records import Recorded

PAGE: Final = 1_000
"""How many facts are read from the log at a time."""


class CallStatus(StrEnum):
    """Outcome of a call."""

    ASKED = "asked"
    """No response is recorded: the call is in progress, or its engine died."""
    COMPLETED = "completed"
    REJECTED = "rejected"
    """The answer did not meet the schema, and the model was asked to repair it."""
    FAILED = "failed"
    LATE = "late"
    """The answer came after its attempt had been given up."""


class CallQuery(Struct, frozen=True, kw_only=True):
    """Query of a list of calls. `cursor` is that of a page."""

    limit: Limit | None = None
    cursor: LogPosition | None = None


class CallBody(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One call of a step, in the order in which calls ended. Fields that do not apply are absent.

    `asked` is the rendered prompt with its parameters and schema, or the request of an `http` step without secrets;
    absent if the project does not record calls. `answered` is the output of the step, or `{text, reasoning}` of an
    answer that is not its output. `usage` has the model, tokens, cost, latency and the server's id of the call.
    """

    run_attempt: int
    attempt: int
    number: int
    status: CallStatus
    asked: Any = UNSET
    answered: Any = UNSET
    usage: Usage | None = None
    problems: tuple[str, ...] = ()
    error: StepError | None = None
    asked_at: datetime | None = None
    ended_at: datetime | None = None


class _Call(Struct, kw_only=True):
    """A call, folded from its facts; `position` is that of the last one."""

    position: int
    run_attempt: int
    attempt: int
    number: int
    status: CallStatus = CallStatus.ASKED
    asked: Payload = NOTHING
    answered: Payload = NOTHING
    usage: Usage | None = None
    problems: tuple[str, ...] = ()
    error: StepError | None = None
    asked_at: datetime | None = None
    ended_at: datetime | None = None


class CallHistory:
    """Collects the calls of one step from the facts of its run, in order."""

    def __init__(self, node: str) -> None:
        """Create it with no calls."""
        self._node = node
        self._run_attempt = 1
        self._calls: list[_Call] = []
        self._open: _Call | None = None

    def add(self, recorded: Recorded) -> None:
        """Add the next fact of the run."""
        fact = recorded.fact
        if isinstance(fact, RunRetried):
            self._run_attempt = fact.run_attempt
            self._open = None
        elif getattr(fact, "node", None) == self._node:
            self._add_of_node(recorded)

    def list_after(self, position: int) -> Iterator[_Call]:
        """Yield the calls whose last fact is after a position."""
        return (call for call in self._calls if call.position > position)

    def _add_of_node(self, recorded: Recorded) -> None:
        match recorded.fact:
            case StepAsked() as fact:
                self._open = self._begin(recorded, fact.attempt, fact.call.number)
                self._open.asked, self._open.asked_at = fact.call.asked, fact.asked_at
            case AnswerRejected() as fact:
                call = self._end(recorded, fact.attempt, fact.call, fact.usage, fact.rejected_at)
                call.status, call.problems = CallStatus.REJECTED, fact.problems
            case StepCompleted() as fact if fact.usage is not None or fact.call is not None:
                call = self._end(recorded, fact.attempt, fact.call, fact.usage, fact.completed_at)
                call.status = CallStatus.COMPLETED
                call.answered = fact.output if call.answered == NOTHING else call.answered
            case StepFailed() as fact if fact.usage is not None or fact.call is not None or self._open is not None:
                call = self._end(recorded, fact.attempt, fact.call, fact.usage, fact.failed_at)
                call.status, call.error = CallStatus.FAILED, fact.error
            case StepResultRefused() as fact if fact.usage is not None:
                call = self._end(recorded, fact.attempt, None, fact.usage, fact.refused_at)
                call.status = CallStatus.LATE
            case _:
                pass

    def _begin(self, recorded: Recorded, attempt: int, number: int) -> _Call:
        call = _Call(position=recorded.position, run_attempt=self._run_attempt, attempt=attempt, number=number)
        self._calls.append(call)
        return call

    def _end(
        self, recorded: Recorded, attempt: int, record: CallRecord | None, usage: Usage | None, at: datetime
    ) -> _Call:
        """Return the call that a fact ends: the one announced before, or a new one."""
        known, self._open = self._open, None
        call = known if known is not None and known.attempt == attempt else None
        if call is None:
            call = self._begin(recorded, attempt, 1 if record is None else record.number)
        call.position, call.usage, call.ended_at = recorded.position, usage, at
        if record is not None:
            call.asked = call.asked if record.asked == NOTHING else record.asked
            call.answered = record.answered
        if call.asked_at is None and usage is not None:
            call.asked_at = at - timedelta(milliseconds=usage.latency_ms)
        return call


async def list_calls(request: RequestContext[CallQuery, None], deps: Deps) -> Page:
    """Return a page of the calls of a step."""
    codec = PositionCodec(deps.log.identity)
    node = request.texts["nodeId"]
    loaded = await deps.streams.reload(RUN, request.target_id)
    if loaded is None or loaded.workspace_id != request.workspace_id:
        raise RunNotFound
    history = CallHistory(node)
    after = 0
    while page := await deps.log.read_stream(request.target_id, after=after, limit=PAGE):
        for recorded in page:
            history.add(recorded)
        after = page[-1].version
    if node not in loaded.state.steps and not list(history.list_after(0)):
        raise StepNotFound(f"The run has no step '{node[:63]}' that has begun.")
    found = list(history.list_after(request.query.cursor or 0))
    limit = request.query.limit or deps.settings.page_items
    shown = found[: min(limit, _count_fitting(found, deps.settings.page_bytes_max))]
    payloads = (payload for call in shown for payload in (call.asked, call.answered))
    contents = await fetch_contents(deps.contents, request.workspace_id, payloads)
    items: list[Any] = [_create_body(call, contents) for call in shown]
    return Page(items=items, next_cursor=codec.encode(shown[-1].position) if len(found) > len(shown) else None)


def _count_fitting(calls: Sequence[_Call], bytes_max: int) -> int:
    """Return how many calls, at least one, fit into a page with everything that they refer to."""
    size = 0
    for count, call in enumerate(calls):
        size += (call.asked.bytes or 0) + (call.answered.bytes or 0)
        if size > bytes_max:
            return max(1, count)
    return len(calls)


def _create_body(call: _Call, contents: Contents) -> CallBody:
    has_answer = call.status is CallStatus.COMPLETED or call.answered != NOTHING
    return CallBody(
        run_attempt=call.run_attempt,
        attempt=call.attempt,
        number=call.number,
        status=call.status,
        asked=UNSET if call.asked == NOTHING else show_payload(call.asked, contents),
        answered=show_payload(call.answered, contents) if has_answer else UNSET,
        usage=call.usage,
        problems=call.problems,
        error=call.error,
        asked_at=call.asked_at,
        ended_at=call.ended_at,
    )


LIST_CALLS: Final = Operation(
    method=Method.GET,
    path="/v1/runs/{runId}/steps/{nodeId}/calls",
    operation_id="listCalls",
    tag="runs",
    summary="List the calls of a step to models or outside addresses: what was asked and answered, and the usage.",
    scope=Scope.RUNS_READ,
    permission=Permission.READ,
    path_parameters=(RUN_ID, PathText("nodeId", "The `id` of the node in the graph of the run.")),
    query=CallQuery,
    responses=(respond_page(CallBody, "A page of calls."),),
    problems=(StepNotFound,),
    handler=list_calls,
)

OPERATIONS: Final = (LIST_CALLS,)
