"""Endpoint: serves one operation, by the same steps for every operation and every request."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from litestar.types import Receive
from msgspec import UNSET, Struct
from msgspec.structs import replace

from bus.feed import FeedStopped
from gateway.access.permissions import Permission
from gateway.delivery.compression import compress_reply
from gateway.delivery.response_headers import list_constant_headers
from gateway.deps import Deps
from gateway.http.bodies import BodyReader, read_body
from gateway.http.headers import Headers
from gateway.http.ids import parse_id
from gateway.http.preconditions import NO_PRECONDITION, is_not_modified, parse_precondition
from gateway.http.preferences import parse_wait_seconds
from gateway.http.rejections import BodyUnacceptable, Draining, Malformed
from gateway.http.replies import JSON, Header, Reply
from gateway.http.trace import Trace
from gateway.http.unread import hold_large_reply
from gateway.identity.caller import Caller
from gateway.identity.tickets import find_ticket
from gateway.operations.context import RequestContext
from gateway.operations.operation import NOT_MODIFIED_STATUS, Method, Operation, PathId
from gateway.operations.paging import CursorCodec, compute_list_tag
from gateway.operations.positions import PositionCodec
from gateway.operations.query import QueryReader
from gateway.operations.results import Page, Response, Result, encode_item, render_page, render_result
from projections.runtime.paging import Cursor
from store.errors import OutcomeUnknown, Unavailable
from store.log.epochs import LogRewound
from store.log.records import Actor

NO_ID: Final = UUID(int=0)
NOBODY: Final = Caller(
    workspace_id=NO_ID, user_id="anonymous", actor=Actor("user", "anonymous"), scopes=frozenset(), expires_at=0
)
"""The caller of operations that need no token."""


class Request(Struct, kw_only=True):
    """A request as it arrived, and what has become known of it. `path` is as the caller wrote it.

    `limit_fields` are the headers that say what its rate limits have left; `code` is that of the problem, if there is
    one.
    """

    method: str
    path: str
    headers: Headers
    query_string: bytes
    trace: Trace
    receive: Receive
    path_parameters: Mapping[str, str] = {}
    endpoint: "Endpoint | None" = None
    caller: Caller | None = None
    limit_fields: tuple[Header, ...] = ()
    code: str | None = None


class Endpoint:
    """Serves the requests of one operation."""

    def __init__(self, operation: Operation, deps: Deps) -> None:
        """Prepare the parsers of everything that the operation declares."""
        self.operation = operation
        self._deps = deps
        self._positions = PositionCodec(deps.log.identity)
        self._cursors = CursorCodec(self._positions)
        self._query: QueryReader[Any] = QueryReader(
            operation.query,
            self._positions,
            self._cursors,
            items=deps.settings.page_items,
            items_max=deps.settings.page_items_max,
        )
        body = operation.body
        self._body = (
            None if body is None else BodyReader(body.type, media_types=body.media_types, optional=body.optional)
        )
        self._path_id = next(
            (parameter for parameter in operation.path_parameters if isinstance(parameter, PathId)), None
        )
        permission = operation.permission
        self._permissions = () if permission is None else (permission, *operation.field_permissions.values())
        self._fields = _list_field_permissions(operation)
        self._uploads = asyncio.Semaphore(deps.settings.uploads_max)
        self._status = operation.responses[0].status
        media_type = operation.responses[0].media_type or ""
        self._revalidates = operation.is_revalidated
        self.constant_headers = _list_constant_headers(operation, varies_by_origin=bool(deps.settings.cors_origins))
        self._media_type: Header = JSON if media_type == JSON[1].decode() else (b"content-type", media_type.encode())

    async def serve(self, request: Request) -> Response:
        """Authorise and parse a request, call the handler, and render what it returns.

        Raises Rejection for what is wrong with the request, and what the handler raises.
        """
        operation = self.operation
        headers = request.headers
        caller = await self._authorise(request)
        query, query_texts = self._query.read(request.query_string, request.path)
        target_id = self._parse_id(request.path_parameters)
        project_id = await self._check_access(caller, target_id)
        precondition = NO_PRECONDITION
        if operation.if_match:
            precondition = parse_precondition(headers.get(b"if-match"), headers.get(b"if-none-match"))
        context: RequestContext[Any, Any] = RequestContext(
            deps=self._deps,
            caller=caller,
            trace=request.trace,
            headers=headers,
            method=request.method,
            path=request.path,
            target_id=target_id,
            project_id=project_id,
            texts=request.path_parameters,
            query=query,
            raw_body=b"",
            body=None,
            precondition=precondition,
            wait_seconds=self._parse_wait(headers),
        )
        if self._body is not None:
            await self._read_body(context, self._body, request.receive)
        if operation.takes_file:
            return await self._serve_upload(context, request.receive)
        position = await self._prepare_read(context) if operation.reads else None
        reply = await self._render(await self._handle(context), request, query_texts, position)
        return await self._hold(reply, headers, caller) if isinstance(reply, Reply) else reply

    async def _hold(self, reply: Reply, headers: Headers, caller: Caller) -> Response:
        """Return the response to send: compressed if it may be, and counted for the caller until it is sent."""
        if self.operation.compresses:
            bytes_min = self._deps.settings.compressed_bytes_min
            reply = await compress_reply(reply, headers.get(b"accept-encoding"), bytes_min=bytes_min)
        return hold_large_reply(reply, caller, self._deps.unread)

    async def _render(
        self,
        result: Any,  # noqa: ANN401  # what handlers return
        request: Request,
        query: dict[str, str],
        position: int | None,
    ) -> Response:
        if isinstance(result, Result):
            return self._render_result(result, request.headers, position)
        if not isinstance(result, Page):
            return result
        cursor = result.next_cursor
        if isinstance(cursor, Cursor):
            cursor = self._cursors.encode(cursor, compute_list_tag(request.path, query))
        items = [await encode_item(item) for item in result.items]
        return render_page(items, cursor, request.path, query, position=result.position or position)

    def _render_result(self, result: Result, headers: Headers, position: int | None) -> Reply:
        """Return the response to send for a result: without a body if the caller has this version already."""
        if_none_match = headers.get(b"if-none-match") if self._revalidates else None
        if if_none_match is not None and result.version is not None and is_not_modified(if_none_match, result.version):
            result = replace(result, status=NOT_MODIFIED_STATUS, body=None)
        return render_result(result, self._status, self._media_type, read_position=position)

    async def _serve_upload(self, context: RequestContext[Any, Any], receive: Receive) -> Response:
        """Serve a request whose body is a file; only so many files are in memory at a time, and others wait."""
        async with self._uploads:
            limit = self._deps.settings.upload_bytes_max
            context.raw_body = await read_body(receive, context.headers, bytes_max=limit)
            return render_result(await self._handle(context), self._status, self._media_type)

    async def _handle(self, context: RequestContext[Any, Any]) -> Any:  # noqa: ANN401  # what handlers return
        """Call the handler. Once a command is accepted, "unavailable" would invite the caller to send it again."""
        try:
            return await self.operation.handler(context, self._deps)
        except (Unavailable, LogRewound, FeedStopped, Draining) as fault:
            if not context.has_committed or isinstance(fault, OutcomeUnknown):
                raise
            message = f"the command was accepted, but its result cannot be read now: {fault}"
            raise OutcomeUnknown(message) from fault

    async def _authorise(self, request: Request) -> Caller:
        """Return the caller, whose rate limits admit the request. Raises Unauthenticated, RateLimited, NotPermitted."""
        scope = self.operation.scope
        if scope is None:
            return NOBODY
        request.caller = caller = await self._identify(request)
        if self._deps.limiter is not None:
            request.limit_fields = await self._deps.limiter.admit(caller, self.operation.cost)
        caller.require(scope)
        return caller

    async def _identify(self, request: Request) -> Caller:
        authorization = request.headers.get(b"authorization")
        if authorization is None and self.operation.accepts_ticket:
            ticket = find_ticket(request.query_string)
            if ticket is not None:
                return await self._deps.tickets.redeem(ticket)
        return await self._deps.identity.identify(authorization)

    def _parse_id(self, texts: Mapping[str, str]) -> UUID:
        declared = self._path_id
        if declared is None:
            return NO_ID
        try:
            return parse_id(declared.prefix, texts[declared.name])
        except ValueError:
            raise declared.not_found from None

    async def _check_access(self, caller: Caller, target_id: UUID) -> UUID | None:
        """Return the project of the path's id. Raises its not-found refusal, NotPermitted."""
        if self._path_id is None:
            return None
        return await self._deps.access.check_target(caller, target_id, self._permissions, self._path_id.not_found)

    async def _check_fields(self, context: RequestContext[Any, Any]) -> None:
        """Check the permission of every field that the body has. Raises NotPermitted."""
        for name, permission in self._fields.items():
            if getattr(context.body, name) is not UNSET and context.project_id is not None:
                await self._deps.access.check_project(context.caller, context.project_id, (permission,))

    def _parse_wait(self, headers: Headers) -> float:
        if not self.operation.prefer_wait:
            return 0
        return parse_wait_seconds(headers.get(b"prefer"), seconds_max=self._deps.settings.prefer_wait_seconds_max)

    async def _read_body(self, context: RequestContext[Any, Any], reader: BodyReader[Any], receive: Receive) -> None:
        settings = self._deps.settings
        context.raw_body = await read_body(receive, context.headers, bytes_max=settings.body_bytes_max)
        try:
            context.body = await reader.read(
                context.raw_body,
                context.headers,
                settings.json_bounds,
                workers=self._deps.workers,
                workspace_id=context.workspace_id,
            )
        except BodyUnacceptable as fault:
            find_more = self.operation.body.find_more_problems if self.operation.body is not None else None
            if find_more is None:
                raise
            more = await find_more(context, self._deps)
            raise BodyUnacceptable(problems=(*fault.problems, *more)) from fault
        if self._fields:
            await self._check_fields(context)

    async def _prepare_read(self, context: RequestContext[Any, Any]) -> int:
        """Wait for the position that the caller asks for; return the one up to which the projections have everything.

        It is taken before the handler reads, which may then show more. Raises what `_wait_for_position` raises.
        """
        await self._wait_for_position(context)
        return await self._deps.checkpoints.read_position(self.operation.reads, context.caller.workspace_id)

    async def _wait_for_position(self, context: RequestContext[Any, Any]) -> None:
        """Wait until the operation's projections reach the position that the caller asks for, if it asks.

        Raises Malformed, CursorReset, ProjectionBehind, ProjectionParked.
        """
        text = context.headers.get(b"callsheet-min-position")
        if text is None:
            return
        try:
            position = self._positions.decode(text.decode("latin-1").strip())
        except ValueError as fault:
            raise Malformed(f"`Callsheet-Min-Position` {fault}.") from fault
        timeout = self._deps.settings.position_wait_seconds_max
        for projection in self.operation.reads:
            await self._deps.checkpoints.wait_for(
                projection, position, timeout, workspace_id=context.caller.workspace_id
            )


def _list_constant_headers(operation: Operation, *, varies_by_origin: bool) -> tuple[Header, ...]:
    """Return the headers that all responses of an operation carry."""
    media_types = {response.media_type for response in operation.responses if response.media_type is not None}
    vary = (
        *(("Accept",) if len(media_types) > 1 else ()),
        *(("Accept-Encoding",) if operation.compresses else ()),
        *(("Origin",) if varies_by_origin else ()),
    )
    is_page = any(media_type.startswith("text/html") for media_type in media_types)
    return list_constant_headers(vary, revalidates=operation.method is Method.GET, is_page=is_page)


def _list_field_permissions(operation: Operation) -> dict[str, Permission]:
    """Return the permission of each field of the body, none if the fields do not differ."""
    permission, body = operation.permission, operation.body
    if permission is None or body is None or not operation.field_permissions:
        return {}
    return {name: operation.field_permissions.get(name, permission) for name in body.type.__struct_fields__}
