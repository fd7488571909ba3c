"""Operations for operators: `/healthz` and `/readyz`, which need no token, and `/metrics`."""

import hmac
from typing import Final

from msgspec import Struct

from gateway.deps import Deps
from gateway.http.rejections import Draining, Unauthenticated
from gateway.operations.context import RequestContext
from gateway.operations.operation import DeclaredResponse, Method, Operation
from gateway.operations.results import Result

METRICS_ELSEWHERE: Final = (
    "Metrics are served on the admin port (`CALLSHEET_ADMIN_PORT`); here only with the token of "
    "`CALLSHEET_HTTP_METRICS_TOKEN`, which is not set."
)
METRICS_CONDITION: Final = "Send the token of `CALLSHEET_HTTP_METRICS_TOKEN`: `Authorization: Bearer <token>`."
METRICS_CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="callsheet metrics"'}
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


async def get_metrics(request: RequestContext[None, None], deps: Deps) -> Result:
    """Return the metrics of this process, to whoever has the token for them. Raises Unauthenticated."""
    token = deps.settings.metrics_token
    if token is None:
        raise Unauthenticated(METRICS_ELSEWHERE, headers=METRICS_CHALLENGE)
    expected = b"bearer " + token.reveal().encode()
    scheme, _, sent = request.headers.get(b"authorization", b"").partition(b" ")
    if not hmac.compare_digest(scheme.lower() + b" " + sent, expected):
        raise Unauthenticated(METRICS_CONDITION, headers=METRICS_CHALLENGE)
    return Result(body=await deps.metrics())


GET_METRICS: Final = Operation(
    method=Method.GET,
    path="/metrics",
    operation_id="getMetrics",
    tag="operations",
    summary="Get the metrics of the process in the text format of Prometheus, with a token of their own.",
    scope=None,
    responses=(DeclaredResponse(status=200, description="The metrics.", media_type=PROMETHEUS_TEXT),),
    problems=(Unauthenticated,),
    handler=get_metrics,
)

OPERATIONS: Final = (GET_HEALTH, GET_READINESS, GET_METRICS)
