"""Versions of an asset's content: `GET /v1/assets/{assetId}/versions` and `…/versions/{version}`."""

from datetime import datetime
from typing import Any, Final

from msgspec import Struct

from domain.ids import from_uuid
from domain.refusal import Refusal, RefusalKind
from gateway.access.permissions import Permission
from gateway.assets import ASSET_ID, show_content
from gateway.deps import Deps
from gateway.http.payloads import fetch_contents
from gateway.identity.scopes import Scope
from gateway.operations.context import RequestContext
from gateway.operations.operation import DeclaredResponse, Method, Operation, ResponseHeader, respond_page
from gateway.operations.results import Page, Result
from gateway.operations.versions import VERSION, VersionQuery, parse_version
from store.contents import CONTENT_BYTES_MAX


class AssetVersionNotFound(Refusal):
    """The asset has no such version."""

    code = "asset_version_not_found"
    kind = RefusalKind.MISSING


class AssetVersionItem(Struct, frozen=True, kw_only=True):
    """A version of an asset, without its content."""

    asset_id: str
    version: int
    created_at: datetime


class AssetVersionBody(Struct, frozen=True, kw_only=True):
    """A version of an asset. It never changes."""

    asset_id: str
    version: int
    content: Any
    created_at: datetime


async def list_asset_versions(request: RequestContext[VersionQuery, None], deps: Deps) -> Page:
    """List the versions of an asset, newest first."""
    limit = request.query.limit or deps.settings.page_items
    page = await deps.assets.list_versions(
        request.workspace_id, request.target_id, limit=limit, before=request.query.cursor
    )
    asset_id = from_uuid("ast", request.target_id)
    items = [
        AssetVersionItem(asset_id=asset_id, version=found.number, created_at=found.created_at) for found in page.items
    ]
    return Page(items=items, next_cursor=None if page.next_before is None else str(page.next_before))


LIST_ASSET_VERSIONS: Final = Operation(
    method=Method.GET,
    path="/v1/assets/{assetId}/versions",
    operation_id="listAssetVersions",
    tag="assets",
    summary="List the versions of an asset, newest first, without their contents.",
    scope=Scope.ASSETS_READ,
    permission=Permission.READ,
    path_parameters=(ASSET_ID,),
    query=VersionQuery,
    responses=(respond_page(AssetVersionItem, "A page of versions."),),
    reads=("assets",),
    handler=list_asset_versions,
)


async def get_asset_version(request: RequestContext[None, None], deps: Deps) -> Result:
    """Return a version of an asset with its content."""
    number = parse_version(request.texts)
    found = None
    if number is not None:
        found = await deps.assets.version(request.workspace_id, request.target_id, number)
    if found is None:
        raise AssetVersionNotFound
    contents = await fetch_contents(deps.contents, request.workspace_id, [found.content], bytes_max=CONTENT_BYTES_MAX)
    body = AssetVersionBody(
        asset_id=from_uuid("ast", request.target_id),
        version=found.number,
        content=show_content(request.target_id, found.content, contents),
        created_at=found.created_at,
    )
    return Result(body=body)


GET_ASSET_VERSION: Final = Operation(
    method=Method.GET,
    path="/v1/assets/{assetId}/versions/{version}",
    operation_id="getAssetVersion",
    tag="assets",
    summary="Get a version of an asset with its content.",
    scope=Scope.ASSETS_READ,
    permission=Permission.READ,
    path_parameters=(ASSET_ID, VERSION),
    responses=(
        DeclaredResponse(
            status=200, description="The version.", body=AssetVersionBody, headers=(ResponseHeader.POSITION,)
        ),
    ),
    problems=(AssetVersionNotFound,),
    reads=("assets",),
    handler=get_asset_version,
)

OPERATIONS: Final = (LIST_ASSET_VERSIONS, GET_ASSET_VERSION)
