"""Problems (RFC 9457): the one place where refusals, conflicts, faults and bugs become HTTP statuses and documents."""

from collections.abc import Mapping
from typing import Any, Final

import structlog
from litestar import Request
from litestar.exceptions import HTTPException
from litestar.response import Response
from msgspec import Struct
from msgspec.json import encode

from bus.feed import FeedStopped
from domain.refusal import Refusal, RefusalKind
from gateway.http import rejections as r
from gateway.http.trace import Trace
from projections.runtime.checkpoints import ProjectionBehind, ProjectionParked
from store.errors import (
    ContentTooLarge,
    FactTooLarge,
    OutcomeUnknown,
    TooDeep,
    Unavailable,
    UnreadableEvent,
    UnstorableText,
)

MEDIA_TYPE: Final = "application/problem+json"
TYPES: Final = "https://callsheet.dev/problems/"

TITLES: Final[Mapping[int, str]] = {
    400: "Malformed request",
    401: "Authentication needed",
    403: "Not permitted",
    404: "Not found",
    405: "Method not allowed",
    408: "Too slow",
    409: "Conflict",
    410: "Gone",
    412: "Precondition failed",
    413: "Too large",
    415: "Unsupported media type",
    422: "Unacceptable content",
    431: "Head too large",
    500: "Internal error",
    503: "Unavailable",
}
CODES: Final[Mapping[int, str]] = {400: "malformed", 404: "not_found", 405: "method_not_allowed"}
"""The codes of what Litestar itself rejects: routes, methods, the Host header."""
DETAILS: Final[Mapping[int, str]] = {
    404: "There is no route for this path: look at how it is spelt, and at the verb after the colon if there is one.",
    405: "This path takes other methods: the header Allow names them.",
}

OF_KIND: Final[Mapping[RefusalKind, int]] = {
    RefusalKind.MISSING: 404,
    RefusalKind.CONFLICT: 409,
    RefusalKind.UNACCEPTABLE: 422,
    RefusalKind.STALE: 412,
    RefusalKind.FORBIDDEN: 403,
}
OF_REJECTION: Final[Mapping[type[r.Rejection], int]] = {
    r.Malformed: 400,
    r.NotReadable: 400,
    r.Unauthenticated: 401,
    r.NotPermitted: 403,
    r.RequestTooSlow: 408,
    r.OtherLog: 410,
    r.BodyTooLarge: 413,
    r.MediaTypeUnsupported: 415,
    r.BodyUnacceptable: 422,
    r.HeadTooLarge: 431,
    r.Draining: 503,
}
RETRY_SOON: Final = {"Retry-After": "1"}


class Document(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A problem as it is sent. `errors` names each fault of the body by a JSON pointer, of the query by its name."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    trace_id: str
    errors: r.Problems = ()


class Told(Struct, frozen=True, kw_only=True):
    """What is told of a fault."""

    status: int
    code: str
    detail: str
    errors: r.Problems = ()
    headers: Mapping[str, str] = {}


def told_of(fault: Exception) -> Told:
    """Tell what a caller is told of a fault; of a bug nothing but that there is one."""
    match fault:
        case r.Rejection():
            status = OF_REJECTION[type(fault)]
            headers = {**RETRY_SOON, **fault.headers} if status == 503 else fault.headers  # noqa: PLR2004  # an HTTP status says more as its number
            return Told(status=status, code=fault.code, detail=fault.detail, errors=fault.problems, headers=headers)
        case Refusal():
            return Told(status=OF_KIND[fault.kind], code=fault.code, detail=fault.detail, errors=fault.problems)
        case Unavailable():
            return _unavailable(fault)
        case UnreadableEvent():
            detail = "The history of this holds an event that this version cannot read, and a person has to look."
            return Told(status=503, code="event_unreadable", detail=detail, headers={"Retry-After": "60"})
        case FeedStopped():
            return Told(status=503, code="draining", detail=r.Draining().detail, headers=RETRY_SOON)
        case FactTooLarge() | ContentTooLarge():
            return Told(status=413, code="content_too_large", detail=str(fault))
        case UnstorableText() | TooDeep():
            return Told(status=400, code="malformed", detail=str(fault))
        case HTTPException() if fault.status_code in TITLES and fault.status_code < 500:  # noqa: PLR2004  # an HTTP status says more as its number
            return Told(
                status=fault.status_code,
                code=CODES.get(fault.status_code, "malformed"),
                detail=DETAILS.get(fault.status_code) or fault.detail or TITLES[fault.status_code],
                headers=fault.headers or {},
            )
        case _:
            return Told(status=500, code="internal", detail="This is a bug of ours. Give us the trace id.")


def _unavailable(fault: Unavailable) -> Told:
    headers = {"Retry-After": str(max(1, round(fault.retry_after_seconds)))}
    match fault:
        case OutcomeUnknown():
            return Told(status=503, code="outcome_unknown", detail=str(fault), headers=headers)
        case ProjectionBehind():
            return Told(status=503, code="projection_behind", detail=str(fault), headers=headers)
        case ProjectionParked():
            detail = "What this reads from has stopped at a fault for this workspace, and a person has to look."
            return Told(status=503, code="projection_parked", detail=detail, headers=headers)
        case _:
            return Told(status=503, code="unavailable", detail=str(fault), headers=headers)


def document(told: Told, *, instance: str, trace: Trace) -> bytes:
    """Write a problem as JSON."""
    return encode(
        Document(
            type=f"{TYPES}{told.code.replace('_', '-')}",
            title=TITLES[told.status],
            status=told.status,
            detail=told.detail,
            instance=instance,
            code=told.code,
            trace_id=trace.trace_id,
            errors=told.errors,
        )
    )


def answer(request: Request[Any, Any, Any], fault: Exception) -> Response[bytes]:
    """Answer a request that ended in a fault; Litestar calls it for every exception."""
    told = told_of(fault)
    state: dict[str, Any] = request.scope["state"]
    trace: Trace = state["trace"]
    if told.status == 500:  # noqa: PLR2004  # an HTTP status says more as its number
        structlog.get_logger("gateway").error(
            "gateway.bug", trace_id=trace.trace_id, method=request.method, path=state["path"], exc_info=fault
        )
    return Response(
        document(told, instance=state["path"], trace=trace),
        status_code=told.status,
        media_type=MEDIA_TYPE,
        headers=dict(told.headers),
    )
