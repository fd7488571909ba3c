"""Operation: the single declaration of a route.

The router, request parsing, authorisation, the OpenAPI document, `docs/routes.md` and the tests that walk all routes
are all derived from these values.
"""

from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from typing import Any, Final

from msgspec import Struct

from domain.ids import Prefix
from domain.refusal import Refusal
from gateway.access.permissions import Permission
from gateway.deps import Deps
from gateway.http.bodies import JSON_TYPES
from gateway.http.rejections import Problems, Rejection
from gateway.identity.scopes import Scope
from gateway.operations.context import RequestContext
from gateway.operations.results import Page, Response, Result

Handler = Callable[[RequestContext[Any, Any], Deps], Awaitable[Result | Page | Response]]
FindProblems = Callable[[RequestContext[Any, None], Deps], Awaitable[Problems]]


class Method(StrEnum):
    """The HTTP methods that operations use."""

    GET = "GET"
    POST = "POST"
    PATCH = "PATCH"


class PathId(Struct, frozen=True):
    """A TypeID in the path. A malformed id raises `not_found`, exactly as an unknown one does."""

    name: str
    prefix: Prefix
    not_found: type[Refusal]


class PathText(Struct, frozen=True):
    """Any text in the path."""

    name: str
    description: str


class RequestBody(Struct, frozen=True, kw_only=True):
    """The JSON body of a request.

    `optional` reads an empty body as `{}`. `find_more_problems` is called when the body has the wrong shape, to report
    what else is wrong with it in the same response.
    """

    type: type[Struct]
    media_types: frozenset[str] = JSON_TYPES
    optional: bool = False
    find_more_problems: FindProblems | None = None


class ResponseHeader(StrEnum):
    """The headers that responses carry besides those of every response."""

    ETAG = "ETag"
    LOCATION = "Location"
    LINK = "Link"
    POSITION = "Callsheet-Position"
    REPLAYED = "Idempotency-Replayed"
    PREFERENCE_APPLIED = "Preference-Applied"


class DeclaredResponse(Struct, frozen=True, kw_only=True):
    """A successful response. `body` is a Struct type, None where there is no JSON body."""

    status: int
    description: str
    body: type[Struct] | None = None
    list_of: type[Struct] | None = None
    media_type: str | None = "application/json"
    headers: tuple[ResponseHeader, ...] = ()


NOT_MODIFIED_STATUS: Final = 304
READ_HEADERS: Final = (ResponseHeader.ETAG, ResponseHeader.POSITION)
PAGE_HEADERS: Final = (ResponseHeader.LINK, ResponseHeader.POSITION)
CHANGE_HEADERS: Final = (ResponseHeader.ETAG, ResponseHeader.POSITION, ResponseHeader.REPLAYED)


def respond_read(body: type[Struct], description: str) -> DeclaredResponse:
    """Declare a 200 with the current state of a resource and its version as ETag."""
    return DeclaredResponse(status=200, description=description, body=body, headers=READ_HEADERS)


NOT_MODIFIED: Final = DeclaredResponse(
    status=NOT_MODIFIED_STATUS,
    description="The caller has this version already: it named it in `If-None-Match`.",
    media_type=None,
    headers=READ_HEADERS,
)
"""For resources whose representation follows from their own stream alone, so that it has changed if that has."""


def respond_page(item: type[Struct], description: str) -> DeclaredResponse:
    """Declare a 200 with a page of items."""
    return DeclaredResponse(status=200, description=description, list_of=item, headers=PAGE_HEADERS)


def respond_created(body: type[Struct], description: str) -> DeclaredResponse:
    """Declare a 201 with the new resource."""
    headers = (*CHANGE_HEADERS, ResponseHeader.LOCATION)
    return DeclaredResponse(status=201, description=description, body=body, headers=headers)


def respond_changed(body: type[Struct], description: str) -> DeclaredResponse:
    """Declare a 200 with the changed resource."""
    return DeclaredResponse(status=200, description=description, body=body, headers=CHANGE_HEADERS)


class Operation(Struct, frozen=True, kw_only=True):
    """One route. The first of `responses` is the default for results without a status.

    `permission` is what the caller's role must permit in the project of the path's id; `field_permissions` replaces it
    for these fields of the body. Operations on no project have neither.

    `path` names its parameters in braces and may end in a verb: `/v1/workflows/{workflowId}:run`. Without a `scope` the
    operation needs no token. `reads` lists the projections that `Callsheet-Min-Position` waits for. `problems` are the
    refusals of this operation alone: `gateway.operations.problem_codes` adds those that follow from the other fields.
    With `accepts_ticket` a query parameter `ticket`, which the query must have, replaces `Authorization`.
    `cost` is how many requests it counts for in rate limits. With `takes_file` the body is a file of any media type.
    `compresses` is false if a response holds a secret beside text of the caller, whose length compression would tell
    (BREACH).
    """

    method: Method
    path: str
    operation_id: str
    tag: str
    summary: str
    handler: Handler
    responses: tuple[DeclaredResponse, ...]
    scope: Scope | None
    permission: Permission | None = None
    field_permissions: Mapping[str, Permission] = {}
    path_parameters: tuple[PathId | PathText, ...] = ()
    query: type[Struct] | None = None
    body: RequestBody | None = None
    takes_file: bool = False
    problems: tuple[type[Refusal] | type[Rejection], ...] = ()
    idempotent_by_key: bool = False
    if_match: bool = False
    prefer_wait: bool = False
    last_event_id: bool = False
    accepts_ticket: bool = False
    reads: tuple[str, ...] = ()
    cost: int = 1
    compresses: bool = True

    @property
    def is_revalidated(self) -> bool:
        """Return whether a read with `If-None-Match` may respond that nothing has changed."""
        return any(response.status == NOT_MODIFIED_STATUS for response in self.responses)
