"""Feature flags: `GET /v1/feature-flags`."""

from typing import Any, Final

from msgspec import Struct

from gateway.deps import Deps
from gateway.identity.scopes import Scope
from gateway.operations.context import RequestContext
from gateway.operations.operation import DeclaredResponse, Method, Operation
from gateway.operations.results import Result


class FeatureFlagsBody(Struct, frozen=True, kw_only=True):
    """The feature flags as they are for the caller, by name."""

    flags: dict[str, Any]


async def get_feature_flags(request: RequestContext[None, None], deps: Deps) -> Result:
    """Return the feature flags of the caller."""
    return Result(body=FeatureFlagsBody(flags=dict(deps.flags.evaluate(request.caller))))


GET_FEATURE_FLAGS: Final = Operation(
    method=Method.GET,
    path="/v1/feature-flags",
    operation_id="getFeatureFlags",
    tag="feature-flags",
    summary="Get the feature flags as they are for the caller.",
    scope=Scope.FLAGS_READ,
    responses=(DeclaredResponse(status=200, description="The flags.", body=FeatureFlagsBody),),
    handler=get_feature_flags,
)

OPERATIONS: Final = (GET_FEATURE_FLAGS,)
