"""Assets over HTTP: `GET/POST /v1/projects/{projectId}/assets`, `GET/PATCH /v1/assets/{assetId}`."""

from datetime import datetime
from typing import Any, Final

from litestar import get, patch, post
from litestar.handlers import HTTPRouteHandler
from msgspec import UNSET, Struct, UnsetType

from commands.aggregates import ASSET
from commands.asset import ChangeAsset, CreateAsset
from commands.command import Command
from domain.asset import Asset, AssetNotFound, AssetStatus, AssetType, check_content
from domain.folded import Folded
from domain.ids import from_uuid
from domain.payload import Payload
from domain.project import ProjectNotFound
from gateway.deps import Deps
from gateway.endpoint import AnyRequest, Door, Entry, location, written
from gateway.http.bodies import PATCH_TYPES, Shape
from gateway.http.ids import shown_id
from gateway.http.merge_patch import merged, merged_object
from gateway.http.paging import PAGED
from gateway.http.payloads import NOTHING_RESOLVED, Resolved, resolved, value_of
from gateway.http.preconditions import etag
from gateway.http.query import choice_of
from gateway.http.replies import Reply, json_reply
from gateway.http.statuses import Status, status_set
from gateway.projects import Name
from projections.read_models.assets_view import AssetFilters
from store.contents import keep


class NewAsset(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An asset to begin; content is any JSON."""

    type: AssetType
    label: Name
    metadata: dict[str, Any] = {}
    content: Any = None


class AssetPatch(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to change of an asset, as a JSON Merge Patch; content that is an object is merged too."""

    label: Name | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType | None = UNSET
    content: Any = UNSET
    status: Status | UnsetType = UNSET


class AssetBody(Struct, frozen=True, kw_only=True):
    """An asset as it is sent. `version` counts its contents from 1; in lists large content is a reference."""

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


NEW: Final = Shape(NewAsset)
PATCH: Final = Shape(AssetPatch, allowed=PATCH_TYPES)


def asset_body(folded: Folded[Asset], known: Resolved = NOTHING_RESOLVED) -> AssetBody:
    """Return an asset as JSON shows it."""
    asset, asset_id = folded.state, folded.stream_id
    return AssetBody(
        id=from_uuid("ast", asset_id),
        project_id=shown_id("prj", folded.project_id or asset_id),
        type=asset.type,
        label=asset.label,
        status=asset.status,
        metadata=asset.metadata,
        version=asset.version,
        content=value_of(asset.content, known),
        created_at=folded.created_at,
        updated_at=folded.updated_at,
    )


class Assets:
    """The routes of assets."""

    def __init__(self, deps: Deps, door: Door) -> None:
        """Make them of what the gateway is built from."""
        self._view = deps.assets
        self._contents = deps.contents
        self._make_id = deps.make_id
        self._door = door

    def routes(self) -> list[HTTPRouteHandler]:
        """Give the routes."""
        return [
            get("/v1/projects/{projectId:str}/assets", operation_id="listAssets")(self.list_assets),
            post("/v1/projects/{projectId:str}/assets", operation_id="createAsset")(self.create),
            get("/v1/assets/{assetId:str}", operation_id="getAsset")(self.get),
            patch("/v1/assets/{assetId:str}", operation_id="changeAsset")(self.change),
        ]

    async def list_assets(self, request: AnyRequest) -> Reply:
        """List a project's assets."""
        entry = self._door.enter(request, "assets:read", *PAGED, "status", "type", "label")
        query = entry.query
        asked = self._door.paging.asked(query)
        filters = AssetFilters(
            project_id=await self._door.project(entry, "assets"),
            status=choice_of(query, "status", AssetStatus),
            type=choice_of(query, "type", AssetType),
            label=query.get("label"),
        )
        listing = await self._view.list(
            entry.workspace_id, filters=filters, limit=asked.limit, cursor=asked.cursor, sort=asked.sort
        )
        items = [asset_body(view) for view in listing.items]
        return self._door.paging.reply(entry.path, query, items, listing.next)

    async def create(self, request: AnyRequest) -> Reply:
        """Begin an asset in a project."""
        entry = self._door.enter(request, "assets:write")
        project_id = entry.id("prj", "projectId", ProjectNotFound)
        new, raw = await self._door.read(entry, NEW)
        check_content(new.type, new.content)  # here too, since the decision sees only a reference to what is large
        command = CreateAsset(
            target_id=self._make_id(),
            project_id=project_id,
            type=new.type,
            label=new.label,
            metadata=new.metadata,
            content=await keep(self._contents, entry.workspace_id, new.content),
        )
        outcome = await self._door.execute(entry, command, raw)
        body = await self._whole(entry, outcome.loaded)
        return written(201, outcome, body, location(f"/v1/assets/{body.id}"))

    async def get(self, request: AnyRequest) -> Reply:
        """Give an asset with its newest content."""
        entry = self._door.enter(request, "assets:read")
        asset_id = entry.id("ast", "assetId", AssetNotFound)
        await self._door.reach(entry, "assets")
        view = await self._view.get(entry.workspace_id, asset_id)
        if view is None:
            raise AssetNotFound
        return json_reply(200, await self._whole(entry, view), etag(view.version))

    async def change(self, request: AnyRequest) -> Reply:
        """Change an asset; other content makes a new version of it."""
        entry = self._door.enter(request, "assets:write")
        asset_id = entry.id("ast", "assetId", AssetNotFound)
        sent, raw = await self._door.read(entry, PATCH)

        async def make(loaded: Folded[Asset], version: int) -> Command[Asset]:
            return ChangeAsset(
                target_id=asset_id,
                if_version=version,
                label=sent.label,
                metadata=merged_object(loaded.state.metadata, sent.metadata),
                content=await self._revised(entry, loaded.state, sent.content),
                status=status_set(sent.status, AssetStatus),
            )

        outcome = await self._door.change(entry, ASSET, asset_id, raw, make)
        body = await self._whole(entry, outcome.loaded)
        return written(200, outcome, body)

    async def _revised(self, entry: Entry, asset: Asset, change: Any) -> Payload | UnsetType:  # noqa: ANN401  # JSON
        if change is UNSET:
            return UNSET
        known = await resolved(self._contents, entry.workspace_id, [asset.content])
        content = merged(value_of(asset.content, known), change)
        check_content(asset.type, content)
        return await keep(self._contents, entry.workspace_id, content)

    async def _whole(self, entry: Entry, folded: Folded[Asset]) -> AssetBody:
        known = await resolved(self._contents, entry.workspace_id, [folded.state.content])
        return asset_body(folded, known)
