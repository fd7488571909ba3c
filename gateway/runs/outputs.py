"""Outputs of steps, each by itself: `GET /v1/runs/{runId}/outputs/{nodeId}`."""

from typing import Final

from commands.aggregates import RUN
from domain.refusal import Refusal, RefusalKind
from domain.runs.refusals import RunNotFound
from domain.runs.steps import StepStatus
from gateway.access.permissions import Permission
from gateway.deps import Deps
from gateway.http.replies import JSON, Reply, encode
from gateway.identity.scopes import Scope
from gateway.operations.context import RequestContext
from gateway.operations.operation import DeclaredResponse, Method, Operation, PathText
from gateway.runs.operations import RUN_ID


class OutputNotFound(Refusal):
    """The step has no output: it has not completed."""

    code = "output_not_found"
    kind = RefusalKind.MISSING


async def get_output(request: RequestContext[None, None], deps: Deps) -> Reply:
    """Return the output of a step as it is stored, however large it is."""
    loaded = await deps.streams.reload(RUN, request.target_id)
    if loaded is None or loaded.workspace_id != request.workspace_id:
        raise RunNotFound
    step = loaded.state.steps.get(request.texts["nodeId"])
    if step is None or not (step.status is StepStatus.COMPLETED or step.continued):
        raise OutputNotFound
    payload = step.output
    if payload.ref is None:
        return Reply(200, [JSON], encode(payload.value))
    deps.unread.check_bytes(request.caller, payload.bytes or 0)  # before it is read into memory
    content, _ = await deps.contents.get(request.workspace_id, payload.ref)
    return Reply(200, [JSON], content)


GET_OUTPUT: Final = Operation(
    method=Method.GET,
    path="/v1/runs/{runId}/outputs/{nodeId}",
    operation_id="getOutput",
    tag="runs",
    summary="Get the output of a step by itself, whole also where the run shows a reference.",
    scope=Scope.RUNS_READ,
    permission=Permission.READ,
    path_parameters=(RUN_ID, PathText("nodeId", "The `id` of the node in the graph of the run.")),
    responses=(DeclaredResponse(status=200, description="The output, as JSON."),),
    problems=(OutputNotFound,),
    handler=get_output,
)

OPERATIONS: Final = (GET_OUTPUT,)
