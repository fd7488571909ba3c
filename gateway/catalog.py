"""All operations of the gateway, and the OpenAPI document that describes them; an unlisted one is not reachable."""

from functools import cache
from typing import Final

import gateway.announcements
import gateway.api_keys
import gateway.asset_contents
import gateway.asset_versions
import gateway.assets
import gateway.flags.operations
import gateway.insights.operations
import gateway.ops.operations
import gateway.projects
import gateway.runs.calls
import gateway.runs.contents
import gateway.runs.events
import gateway.runs.operations
import gateway.runs.outputs
import gateway.runs.verbs
import gateway.streams.project_events
import gateway.streams.tickets
import gateway.tasks
import gateway.workflows.operations
import gateway.workflows.versions
from gateway.deps import Deps
from gateway.http.replies import encode
from gateway.operations.context import RequestContext
from gateway.operations.openapi import create_openapi
from gateway.operations.operation import DeclaredResponse, Method, Operation
from gateway.operations.results import Result

DOCS_PAGE: Final = b"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Callsheet API</title></head>
<body><redoc spec-url="/v1/openapi.json"></redoc>
<script src="https://cdn.jsdelivr.net/npm/redoc@2/bundles/redoc.standalone.js"></script></body>
</html>
"""


@cache
def encode_openapi() -> bytes:
    """Return the OpenAPI document as JSON."""
    return encode(create_openapi(OPERATIONS))


async def get_openapi(_request: RequestContext[None, None], _deps: Deps) -> Result:
    """Return the OpenAPI document."""
    return Result(body=encode_openapi())


GET_OPENAPI: Final = Operation(
    method=Method.GET,
    path="/v1/openapi.json",
    operation_id="getOpenApi",
    tag="operations",
    summary="Get the OpenAPI document of this API.",
    scope=None,
    responses=(DeclaredResponse(status=200, description="The document."),),
    handler=get_openapi,
)


async def get_docs(_request: RequestContext[None, None], _deps: Deps) -> Result:
    """Return the page that shows the OpenAPI document."""
    return Result(body=DOCS_PAGE)


GET_DOCS: Final = Operation(
    method=Method.GET,
    path="/docs",
    operation_id="getDocs",
    tag="operations",
    summary="Read this reference in a browser.",
    scope=None,
    responses=(DeclaredResponse(status=200, description="The page.", media_type="text/html; charset=utf-8"),),
    handler=get_docs,
)

OPERATIONS: Final[tuple[Operation, ...]] = (
    *gateway.projects.OPERATIONS,
    *gateway.streams.project_events.OPERATIONS,
    *gateway.workflows.operations.OPERATIONS,
    *gateway.workflows.versions.OPERATIONS,
    *gateway.assets.OPERATIONS,
    *gateway.asset_versions.OPERATIONS,
    *gateway.asset_contents.OPERATIONS,
    *gateway.runs.operations.OPERATIONS,
    *gateway.runs.verbs.OPERATIONS,
    *gateway.runs.events.OPERATIONS,
    *gateway.runs.calls.OPERATIONS,
    *gateway.runs.contents.OPERATIONS,
    *gateway.streams.tickets.OPERATIONS,
    *gateway.runs.outputs.OPERATIONS,
    *gateway.tasks.OPERATIONS,
    *gateway.insights.operations.OPERATIONS,
    *gateway.api_keys.OPERATIONS,
    *gateway.announcements.OPERATIONS,
    *gateway.flags.operations.OPERATIONS,
    *gateway.ops.operations.OPERATIONS,
    GET_OPENAPI,
    GET_DOCS,
)
