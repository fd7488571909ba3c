"""Operations for whoever runs the process: `/healthz`, `/readyz` and `/metrics`. They need no token."""

from typing import Final

from msgspec import Struct

from gateway.deps import Deps
from gateway.http.rejections import Draining
from gateway.operations.context import RequestContext
from gateway.operations.operation import DeclaredResponse, Method, Operation
from gateway.operations.results import Result

PROMETHEUS_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"


class HealthBody(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The state of the process. `degraded` lists what does not work here, without naming workspaces."""

    status: str
    degraded: tuple[str, ...] = ()


async def get_health(_request: RequestContext[None, None], _deps: Deps) -> Result:
    """Respond, which shows that the process lives."""
    return Result(body=HealthBody(status="ok"))


GET_HEALTH: Final = Operation(
    method=Method.GET,
    path="/healthz",
    operation_id="getHealth",
    tag="operations",
    summary="Check that the process lives.",
    scope=None,
    responses=(DeclaredResponse(status=200, description="The process lives.", body=HealthBody),),
    handler=get_health,
)


async def get_readiness(_request: RequestContext[None, None], deps: Deps) -> Result:
    """Check that the log can be read and written and that the process is not stopping. Raises Unavailable, Draining."""
    if deps.drain.begun:
        raise Draining
    await deps.check_ready()
    return Result(body=HealthBody(status="ready", degraded=deps.degraded()))


GET_READINESS: Final = Operation(
    method=Method.GET,
    path="/readyz",
    operation_id="getReadiness",
    tag="operations",
    summary="Check that the process can serve requests.",
    scope=None,
    responses=(DeclaredResponse(status=200, description="The process can serve.", body=HealthBody),),
    problems=(Draining,),
    handler=get_readiness,
)


async def get_metrics(_request: RequestContext[None, None], deps: Deps) -> Result:
    """Return the metrics of this process."""
    return Result(body=await deps.metrics())


GET_METRICS: Final = Operation(
    method=Method.GET,
    path="/metrics",
    operation_id="getMetrics",
    tag="operations",
    summary="Get the metrics of the process in the text format of Prometheus.",
    scope=None,
    responses=(DeclaredResponse(status=200, description="The metrics.", media_type=PROMETHEUS_TEXT),),
    handler=get_metrics,
)

OPERATIONS: Final = (GET_HEALTH, GET_READINESS, GET_METRICS)
