"""The verbs of runs: `:cancel`, `:retry` and `:fork`."""

from typing import Annotated, Any, Final

from msgspec import UNSET, Meta, Struct

from commands.runs.lifecycle import CancelRun, ForkRun, RetryRun
from commands.runs.signal import SendSignal
from domain.runs.features import FORKS
from domain.runs.refusals import (
    CompletedPartChanged,
    DeadlinePassed,
    InputsUnacceptable,
    RunIsChild,
    RunNotRetriable,
    RunNotRunning,
    SignalAlreadySent,
    SignalNotAwaited,
    SignalUnacceptable,
    StepNotFound,
)
from gateway.access.permissions import Permission
from gateway.deps import Deps
from gateway.identity.scopes import Scope
from gateway.operations.context import RequestContext
from gateway.operations.operation import Method, Operation, RequestBody
from gateway.operations.results import Result
from gateway.runs.operations import PIN_PROBLEMS, RUN_ID, RUN_RESPONSES
from gateway.runs.responses import execute_on_run, store_inputs
from store.contents import keep


class Cancellation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Reason for a cancellation."""

    reason: Annotated[str, Meta(max_length=10_000)] | None = None


class Retry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Graph on which a retried run continues: the one that it is pinned to, or the newest."""

    newest_graph: bool = False


class Fork(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The step of the old run at which the new one starts, its inputs (by default the same), and its graph."""

    node: Annotated[str, Meta(min_length=1, max_length=63)]
    inputs: dict[str, Any] | None = None
    newest_graph: bool = False


class Signal(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The name of a signal that a `wait` step waits for, and its data."""

    name: Annotated[str, Meta(min_length=1, max_length=63)]
    data: Any = None


async def cancel_run(request: RequestContext[None, Cancellation], deps: Deps) -> Result:
    """Request the end of a run. A run that is already cancelled stays so."""
    command = CancelRun(target_id=request.target_id, user_id=request.caller.user_id, reason=request.body.reason)
    return await execute_on_run(request, deps, command)


CANCEL_RUN: Final = Operation(
    method=Method.POST,
    path="/v1/runs/{runId}:cancel",
    operation_id="cancelRun",
    tag="runs",
    summary="Cancel a run and abort what it is executing.",
    scope=Scope.RUNS_WRITE,
    permission=Permission.EDIT,
    path_parameters=(RUN_ID,),
    body=RequestBody(type=Cancellation, optional=True),
    responses=RUN_RESPONSES,
    problems=(RunNotRunning,),
    idempotent_by_key=True,
    prefer_wait=True,
    handler=cancel_run,
)


async def retry_run(request: RequestContext[None, Retry], deps: Deps) -> Result:
    """Continue a run that failed or was cancelled; completed steps are kept, and not paid for again."""
    command = RetryRun(
        target_id=request.target_id, user_id=request.caller.user_id, newest_graph=request.body.newest_graph
    )
    return await execute_on_run(request, deps, command)


RETRY_RUN: Final = Operation(
    method=Method.POST,
    path="/v1/runs/{runId}:retry",
    operation_id="retryRun",
    tag="runs",
    summary="Continue a run that failed or was cancelled. Completed steps are kept, and not paid for again.",
    scope=Scope.RUNS_WRITE,
    permission=Permission.EDIT,
    path_parameters=(RUN_ID,),
    body=RequestBody(type=Retry, optional=True),
    responses=RUN_RESPONSES,
    problems=(*PIN_PROBLEMS, RunIsChild, RunNotRetriable, CompletedPartChanged),
    idempotent_by_key=True,
    prefer_wait=True,
    handler=retry_run,
)


async def fork_run(request: RequestContext[None, Fork], deps: Deps) -> Result:
    """Start a run at a step of another; the results of the steps before it are reused."""
    fork = request.body
    deps.flags.require(request.caller, FORKS)
    inputs = None
    if fork.inputs is not None:
        inputs = await store_inputs(deps, request.workspace_id, fork.inputs, request.raw_body)
    command = ForkRun(
        target_id=deps.make_id(),
        source_id=request.target_id,
        node=fork.node,
        inputs=inputs,
        raw_inputs=UNSET if fork.inputs is None else fork.inputs,
        newest_graph=fork.newest_graph,
    )
    return await execute_on_run(request, deps, command)


FORK_RUN: Final = Operation(
    method=Method.POST,
    path="/v1/runs/{runId}:fork",
    operation_id="forkRun",
    tag="runs",
    summary="Start a run at a step (`node`) of another. The results of the steps before it are reused.",
    scope=Scope.RUNS_WRITE,
    permission=Permission.EDIT,
    path_parameters=(RUN_ID,),
    body=RequestBody(type=Fork),
    responses=RUN_RESPONSES,
    problems=(*PIN_PROBLEMS, StepNotFound, CompletedPartChanged, InputsUnacceptable),
    idempotent_by_key=True,
    prefer_wait=True,
    handler=fork_run,
)


async def signal_run(request: RequestContext[None, Signal], deps: Deps) -> Result:
    """Send a signal to the steps of a run that wait for it."""
    signal = request.body
    command = SendSignal(
        target_id=request.target_id,
        name=signal.name,
        data=signal.data,
        data_payload=await keep(deps.contents, request.workspace_id, signal.data),
        user_id=request.caller.actor.id,
    )
    return await execute_on_run(request, deps, command)


SIGNAL_RUN: Final = Operation(
    method=Method.POST,
    path="/v1/runs/{runId}:signal",
    operation_id="signalRun",
    tag="runs",
    summary="Send a signal (`name`, `data`) to a run. The first of a name counts; one that comes early is kept.",
    scope=Scope.RUNS_WRITE,
    permission=Permission.EDIT,
    path_parameters=(RUN_ID,),
    body=RequestBody(type=Signal),
    responses=RUN_RESPONSES,
    problems=(RunNotRunning, SignalNotAwaited, SignalAlreadySent, SignalUnacceptable, DeadlinePassed),
    idempotent_by_key=True,
    prefer_wait=True,
    handler=signal_run,
)

OPERATIONS: Final = (CANCEL_RUN, RETRY_RUN, FORK_RUN, SIGNAL_RUN)
