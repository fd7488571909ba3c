"""Assets: `GET/POST /v1/projects/{projectId}/assets`, `GET/PATCH /v1/assets/{assetId}`."""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from msgspec import UNSET, Struct, UnsetType

from commands.aggregates import ASSET
from commands.asset import ChangeAsset, CreateAsset
from commands.command import Command
from domain.asset import (
    Asset,
    AssetContentUnacceptable,
    AssetNotActive,
    AssetNotFound,
    AssetStatus,
    AssetType,
    check_content,
)
from domain.folded import Folded
from domain.ids import from_uuid
from domain.payload import Payload
from domain.project import ProjectNotActive
from gateway.access.permissions import Permission
from gateway.deps import Deps
from gateway.http.bodies import PATCH_TYPES
from gateway.http.ids import format_id
from gateway.http.media import is_media, show_media
from gateway.http.merge_patch import apply_patch, patch_object
from gateway.http.payloads import NO_CONTENTS, Contents, fetch_contents, show_payload
from gateway.http.statuses import Status, convert_status
from gateway.identity.scopes import Scope
from gateway.operations.context import RequestContext
from gateway.operations.current import read_current
from gateway.operations.operation import (
    NOT_MODIFIED,
    Method,
    Operation,
    PathId,
    RequestBody,
    respond_changed,
    respond_created,
    respond_page,
    respond_read,
)
from gateway.operations.paging import PageRequest
from gateway.operations.results import Page, Result
from gateway.projects import PROJECT_ID, Name
from projections.read_models.assets_view import AssetFilters
from store.contents import CONTENT_BYTES_MAX, keep

ASSET_ID: Final = PathId("assetId", "ast", AssetNotFound)


class NewAsset(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An asset to create. `content` is any JSON; a prompt's is text, and that of `media` is uploaded afterwards."""

    type: AssetType
    label: Name
    metadata: dict[str, Any] = {}
    content: Any = None


class AssetPatch(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A change of an asset, as a JSON Merge Patch. A `content` that is an object is merged as well."""

    label: Name | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType | None = UNSET
    content: Any = UNSET
    status: Status | UnsetType = UNSET


class AssetBody(Struct, frozen=True, kw_only=True):
    """An asset. `version` counts its contents from 1. In lists, large content is a reference."""

    id: str
    project_id: str
    type: AssetType
    label: str
    status: AssetStatus
    metadata: dict[str, Any]
    version: int
    content: Any
    created_at: datetime | None
    updated_at: datetime | None


class AssetQuery(Struct, frozen=True, kw_only=True):
    """Query of a list of assets. `label` matches exactly."""

    page: PageRequest
    status: AssetStatus | None = None
    type: AssetType | None = None
    label: str | None = None


def create_asset_body(folded: Folded[Asset], contents: Contents = NO_CONTENTS) -> AssetBody:
    """Return an asset as it is sent."""
    asset, asset_id = folded.state, folded.stream_id
    return AssetBody(
        id=from_uuid("ast", asset_id),
        project_id=format_id("prj", folded.project_id or asset_id),
        type=asset.type,
        label=asset.label,
        status=asset.status,
        metadata=asset.metadata,
        version=asset.version,
        content=show_content(asset_id, asset.content, contents),
        created_at=folded.created_at,
        updated_at=folded.updated_at,
    )


def show_content(asset_id: UUID, content: Payload, contents: Contents) -> Any:  # noqa: ANN401  # JSON
    """Return the content of a version as it is sent: the JSON, or where the file is."""
    if is_media(content):
        return show_media(content, f"/v1/assets/{from_uuid('ast', asset_id)}")
    return show_payload(content, contents)


async def _create_whole_body(deps: Deps, folded: Folded[Asset]) -> AssetBody:
    contents = await fetch_contents(
        deps.contents, folded.workspace_id, [folded.state.content], bytes_max=CONTENT_BYTES_MAX
    )
    return create_asset_body(folded, contents)


async def list_assets(request: RequestContext[AssetQuery, None], deps: Deps) -> Page:
    """List the assets of a project."""
    query = request.query
    listing = await deps.assets.list(
        request.workspace_id,
        filters=AssetFilters(project_id=request.target_id, status=query.status, type=query.type, label=query.label),
        limit=query.page.limit,
        cursor=query.page.cursor,
        sort=query.page.sort,
    )
    items = [create_asset_body(view) for view in listing.items]
    return Page(items=items, next_cursor=listing.next)


LIST_ASSETS: Final = Operation(
    method=Method.GET,
    path="/v1/projects/{projectId}/assets",
    operation_id="listAssets",
    tag="assets",
    summary="List the assets of a project.",
    scope=Scope.ASSETS_READ,
    permission=Permission.READ,
    path_parameters=(PROJECT_ID,),
    query=AssetQuery,
    responses=(respond_page(AssetBody, "A page of assets."),),
    reads=("projects", "assets"),
    handler=list_assets,
)


async def create_asset(request: RequestContext[None, NewAsset], deps: Deps) -> Result:
    """Create an asset in a project."""
    new = request.body
    check_content(new.type, new.content)  # here as well, since the decider sees only a reference to large content
    command = CreateAsset(
        target_id=deps.make_id(),
        project_id=request.target_id,
        type=new.type,
        label=new.label,
        metadata=new.metadata,
        content=await keep(deps.contents, request.workspace_id, new.content),
    )
    outcome = await request.execute(command)
    body = await _create_whole_body(deps, outcome.loaded)
    return Result.of_change(outcome, body, location=f"/v1/assets/{body.id}")


CREATE_ASSET: Final = Operation(
    method=Method.POST,
    path="/v1/projects/{projectId}/assets",
    operation_id="createAsset",
    tag="assets",
    summary="Create an asset in a project.",
    scope=Scope.ASSETS_WRITE,
    permission=Permission.EDIT,
    path_parameters=(PROJECT_ID,),
    body=RequestBody(type=NewAsset),
    responses=(respond_created(AssetBody, "The new asset."),),
    problems=(ProjectNotActive, AssetContentUnacceptable),
    idempotent_by_key=True,
    handler=create_asset,
)


async def get_asset(request: RequestContext[None, None], deps: Deps) -> Result:
    """Return an asset with its newest content."""
    asset = await read_current(deps, ASSET, request.workspace_id, request.target_id, deps.assets.get)
    return Result.of_read(asset, await _create_whole_body(deps, asset))


GET_ASSET: Final = Operation(
    method=Method.GET,
    path="/v1/assets/{assetId}",
    operation_id="getAsset",
    tag="assets",
    summary="Get an asset with its newest content.",
    scope=Scope.ASSETS_READ,
    permission=Permission.READ,
    path_parameters=(ASSET_ID,),
    responses=(respond_read(AssetBody, "The asset."), NOT_MODIFIED),
    reads=("assets",),
    handler=get_asset,
)


async def change_asset(request: RequestContext[None, AssetPatch], deps: Deps) -> Result:
    """Change an asset; other content creates a new version of it."""
    patch = request.body

    async def create_command(loaded: Folded[Asset], version: int) -> Command[Asset]:
        return ChangeAsset(
            target_id=request.target_id,
            if_version=version,
            label=patch.label,
            metadata=patch_object(loaded.state.metadata, patch.metadata),
            content=await _patch_content(deps, request.workspace_id, loaded.state, patch.content),
            status=convert_status(patch.status, AssetStatus),
        )

    outcome = await request.change(ASSET, create_command)
    return Result.of_change(outcome, await _create_whole_body(deps, outcome.loaded))


async def _patch_content(deps: Deps, workspace_id: UUID, asset: Asset, change: Any) -> Payload | UnsetType:  # noqa: ANN401  # JSON
    if change is UNSET:
        return UNSET
    contents = await fetch_contents(deps.contents, workspace_id, [asset.content], bytes_max=CONTENT_BYTES_MAX)
    content = apply_patch(show_payload(asset.content, contents), change)
    check_content(asset.type, content)
    return await keep(deps.contents, workspace_id, content)


CHANGE_ASSET: Final = Operation(
    method=Method.PATCH,
    path="/v1/assets/{assetId}",
    operation_id="changeAsset",
    tag="assets",
    summary="Change `label`, `content`, `metadata` or `status` of an asset.",
    scope=Scope.ASSETS_WRITE,
    permission=Permission.EDIT,
    path_parameters=(ASSET_ID,),
    body=RequestBody(type=AssetPatch, media_types=PATCH_TYPES),
    responses=(respond_changed(AssetBody, "The changed asset."),),
    problems=(AssetNotActive, ProjectNotActive, AssetContentUnacceptable),
    idempotent_by_key=True,
    if_match=True,
    handler=change_asset,
)

OPERATIONS: Final = (LIST_ASSETS, CREATE_ASSET, GET_ASSET, CHANGE_ASSET)
