"""Images and files of a run: `GET /v1/runs/{runId}/contents/{digest}`, in the media type that they came with."""

from collections.abc import AsyncIterator
from typing import Final

import msgspec

from commands.aggregates import RUN
from domain.refusal import Refusal, RefusalKind
from domain.runs.refusals import RunNotFound
from gateway.access.permissions import Permission
from gateway.deps import Deps
from gateway.http.media import DIGEST, SHOWN_TYPES, UNKNOWN_TYPE, create_media_reply
from gateway.http.replies import Reply
from gateway.identity.scopes import Scope
from gateway.operations.context import RequestContext
from gateway.operations.operation import DeclaredResponse, Method, Operation, PathText
from gateway.runs.event_bodies import list_payloads
from gateway.runs.operations import RUN_ID
from store.contents import JSON
from store.errors import ContentMissing

PAGE: Final = 1_000


class RunContentNotFound(Refusal):
    """The run has no content with this digest."""

    code = "content_not_found"
    kind = RefusalKind.MISSING


async def get_content(request: RequestContext[None, None], deps: Deps) -> Reply:
    """Return the bytes of a content that an event of the run refers to."""
    digest = request.texts["digest"]
    loaded = await deps.streams.reload(RUN, request.target_id)
    if loaded is None or loaded.workspace_id != request.workspace_id:
        raise RunNotFound
    if not DIGEST.fullmatch(digest) or not await _refers_to(request, deps, digest):
        raise RunContentNotFound
    try:
        content, media_type = await deps.contents.get(request.workspace_id, f"sha256:{digest}")
    except ContentMissing:
        raise RunContentNotFound from None
    return create_media_reply(content, media_type)


async def _refers_to(request: RequestContext[None, None], deps: Deps, digest: str) -> bool:
    """Return whether an event of the run names a content, or a large value that an event refers to does."""
    needle = digest.encode()
    async for encoded in _read_values(request, deps):
        if needle in encoded:
            return True
    return False


async def _read_values(request: RequestContext[None, None], deps: Deps) -> AsyncIterator[bytes]:
    after = 0
    references: dict[str, None] = {}
    while page := await deps.log.read_stream(request.target_id, after=after, limit=PAGE):
        for recorded in page:
            yield msgspec.json.encode(recorded.fact)
            references.update(
                (payload.ref, None) for payload in list_payloads(recorded.fact) if payload.ref is not None
            )
        after = page[-1].version
    for reference in references:
        content, media_type = await deps.contents.get(request.workspace_id, reference)
        if media_type == JSON:
            yield content


GET_CONTENT: Final = Operation(
    method=Method.GET,
    path="/v1/runs/{runId}/contents/{digest}",
    operation_id="getContent",
    tag="runs",
    summary="Get an image or a file that a step of the run received, in its media type.",
    scope=Scope.RUNS_READ,
    permission=Permission.READ,
    path_parameters=(RUN_ID, PathText("digest", "The 64 hex digits of the reference in `content`.")),
    responses=tuple(
        DeclaredResponse(status=200, description="The bytes.", media_type=media_type)
        for media_type in (UNKNOWN_TYPE, *SHOWN_TYPES)
    ),
    problems=(RunContentNotFound,),
    handler=get_content,
)

OPERATIONS: Final = (GET_CONTENT,)
