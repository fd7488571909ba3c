"""Files of assets: `POST /v1/assets/{assetId}:upload`, and `GET /v1/assets/{assetId}/contents/{digest}`."""

from typing import Final

from commands.aggregates import ASSET
from commands.asset import ChangeAsset
from commands.command import Command
from domain.asset import (
    Asset,
    AssetContentRevised,
    AssetContentUnacceptable,
    AssetCreated,
    AssetNotActive,
    AssetNotFound,
    check_upload,
    get_new_content,
)
from domain.folded import Folded
from domain.payload import Payload
from domain.project import ProjectNotActive
from domain.refusal import Refusal, RefusalKind
from gateway.access.permissions import Permission
from gateway.assets import ASSET_ID, AssetBody, create_asset_body
from gateway.deps import Deps
from gateway.http.media import DIGEST, SHOWN_TYPES, UNKNOWN_TYPE, create_media_reply, is_media, parse_upload_type
from gateway.http.rejections import Malformed
from gateway.http.replies import Reply
from gateway.identity.scopes import Scope
from gateway.operations.context import RequestContext
from gateway.operations.operation import DeclaredResponse, Method, Operation, PathText, respond_changed
from gateway.operations.results import Result
from store.errors import ContentMissing

PAGE: Final = 1_000


class AssetContentNotFound(Refusal):
    """The asset has no content with this digest."""

    code = "content_not_found"
    kind = RefusalKind.MISSING


async def upload_asset(request: RequestContext[None, None], deps: Deps) -> Result:
    """Keep the bytes of the body as the new content of a media asset."""
    if not request.raw_body:
        raise Malformed("The body is empty. Send the bytes of the file.")
    media_type, size = parse_upload_type(request.headers), len(request.raw_body)
    kept: list[Payload] = []

    async def create_command(loaded: Folded[Asset], version: int) -> Command[Asset]:
        check_upload(loaded.state.type)
        if not kept:
            reference = await deps.contents.put(request.workspace_id, request.raw_body, media_type)
            kept.append(Payload(ref=reference, bytes=size, media_type=media_type))
        return ChangeAsset(target_id=request.target_id, if_version=version, content=kept[0])

    outcome = await request.change(ASSET, create_command)
    return Result.of_change(outcome, create_asset_body(outcome.loaded))


UPLOAD_ASSET: Final = Operation(
    method=Method.POST,
    path="/v1/assets/{assetId}:upload",
    operation_id="uploadAsset",
    tag="assets",
    summary="Make the bytes of the body the content of a media asset: an image or a file, in its `Content-Type`.",
    scope=Scope.ASSETS_WRITE,
    permission=Permission.EDIT,
    path_parameters=(ASSET_ID,),
    takes_file=True,
    responses=(respond_changed(AssetBody, "The asset with its new content."),),
    problems=(AssetNotActive, ProjectNotActive, AssetContentUnacceptable),
    idempotent_by_key=True,
    handler=upload_asset,
)


async def get_asset_content(request: RequestContext[None, None], deps: Deps) -> Reply:
    """Return the bytes of a version of a media asset."""
    digest = request.texts["digest"]
    found = await _find_content(request, deps, f"sha256:{digest}") if DIGEST.fullmatch(digest) else None
    if found is None or found.ref is None:
        raise AssetContentNotFound
    try:
        content, _ = await deps.contents.get(request.workspace_id, found.ref)
    except ContentMissing:
        raise AssetContentNotFound from None
    return create_media_reply(content, found.media_type or UNKNOWN_TYPE)


async def _find_content(request: RequestContext[None, None], deps: Deps, reference: str) -> Payload | None:
    """Return the file of a version of the asset, None if no version has it. Raises AssetNotFound."""
    after = 0
    while page := await deps.log.read_stream(request.target_id, after=after, limit=PAGE):
        after = page[-1].version
        for recorded in page:
            if recorded.workspace_id != request.workspace_id:
                raise AssetNotFound
            if isinstance(recorded.fact, AssetCreated | AssetContentRevised):
                content = get_new_content(recorded.fact)
                if content is not None and is_media(content[1]) and content[1].ref == reference:
                    return content[1]
    return None


GET_ASSET_CONTENT: Final = Operation(
    method=Method.GET,
    path="/v1/assets/{assetId}/contents/{digest}",
    operation_id="getAssetContent",
    tag="assets",
    summary="Get the image or file of a version of a media asset, in its media type.",
    scope=Scope.ASSETS_READ,
    permission=Permission.READ,
    path_parameters=(ASSET_ID, PathText("digest", "The 64 hex digits of the reference in `content.content`.")),
    responses=tuple(
        DeclaredResponse(status=200, description="The bytes.", media_type=media_type)
        for media_type in (UNKNOWN_TYPE, *SHOWN_TYPES)
    ),
    problems=(AssetContentNotFound,),
    handler=get_asset_content,
)

OPERATIONS: Final = (UPLOAD_ASSET, GET_ASSET_CONTENT)
