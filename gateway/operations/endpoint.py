"""Endpoint: serves one operation, by the same steps for every operation and every request."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from litestar.types import Receive
from msgspec import UNSET, Struct

from bus.feed import FeedStopped
from gateway.access.permissions import Permission
from gateway.deps import Deps
from gateway.http.bodies import BodyReader, read_body
from gateway.http.headers import Headers
from gateway.http.ids import parse_id
from gateway.http.preconditions import parse_if_match
from gateway.http.preferences import parse_wait_seconds
from gateway.http.rejections import BodyUnacceptable, Draining, Malformed
from gateway.http.replies import JSON, Header, Reply
from gateway.http.trace import Trace
from gateway.http.unread import hold_large_reply
from gateway.identity.caller import Caller
from gateway.identity.tickets import find_ticket
from gateway.operations.context import RequestContext
from gateway.operations.operation import Operation, PathId
from gateway.operations.paging import CursorCodec
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


class Request(Struct, frozen=True, gc=False):
    """A request as it arrived. `path` is as the caller wrote it."""

    method: str
    path: str
    headers: Headers
    query_string: bytes
    path_parameters: Mapping[str, str]
    trace: Trace
    receive: Receive


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
        self._media_type: Header = JSON if media_type == JSON[1].decode() else (b"content-type", media_type.encode())

    async def serve(self, request: Request) -> Response:
        """Authorise and parse a request, call the handler, and render what it returns.

        Raises Rejection for what is wrong with the request, and what the handler raises.
        """
        operation = self.operation
        headers = request.headers
        caller = await self._authorise(headers, request.query_string)
        query, query_texts = self._query.read(request.query_string)
        target_id = self._parse_id(request.path_parameters)
        project_id = await self._check_access(caller, target_id)
        if_match = parse_if_match(headers.get(b"if-match")) if operation.if_match else None
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
            if_match=if_match,
            wait_seconds=self._parse_wait(headers),
        )
        if self._body is not None:
            await self._read_body(context, self._body, request.receive)
        if operation.takes_file:
            return await self._serve_upload(context, request.receive)
        position = await self._prepare_read(context) if operation.reads else None
        result = await self._handle(context)
        reply = await self._render(result, request.path, query_texts, position)
        return hold_large_reply(reply, caller, self._deps.unread) if isinstance(reply, Reply) else reply

    async def _render(self, result: Any, path: str, query: dict[str, str], position: int | None) -> Response:  # noqa: ANN401  # what handlers return
        if isinstance(result, Result):
            return render_result(result, self._status, self._media_type, read_position=position)
        if isinstance(result, Page):
            following = result.next_cursor
            cursor = self._cursors.encode(following) if isinstance(following, Cursor) else following
            items = [await encode_item(item) for item in result.items]
            return render_page(items, cursor, path, query, position=result.position or position)
        return result

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

    async def _authorise(self, headers: Headers, query_string: bytes) -> Caller:
        scope = self.operation.scope
        if scope is None:
            return NOBODY
        authorization = headers.get(b"authorization")
        ticket = find_ticket(query_string) if authorization is None and self.operation.accepts_ticket else None
        if ticket is not None:
            caller = await self._deps.tickets.redeem(ticket)
        else:
            caller = await self._deps.identity.identify(authorization)
        caller.require(scope)
        return caller

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
                depth_max=settings.json_depth_max,
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


def _list_field_permissions(operation: Operation) -> dict[str, Permission]:
    """Return the permission of each field of the body, none if the fields do not differ."""
    permission, body = operation.permission, operation.body
    if permission is None or body is None or not operation.field_permissions:
        return {}
    return {name: operation.field_permissions.get(name, permission) for name in body.type.__struct_fields__}
