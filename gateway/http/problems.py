"""Problem documents (RFC 9457): the only place where exceptions become HTTP statuses, codes and messages."""

from collections.abc import Mapping
from typing import Final

import structlog
from litestar.exceptions import HTTPException
from msgspec import UNSET, Struct, UnsetType, field

from bus.feed import FeedStopped
from domain.refusal import Problem, Refusal, RefusalKind
from gateway.http import rejections as r
from gateway.http.replies import Reply, encode
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
from store.log.epochs import LogRewound
from store.workers.process import WorkStopped

MEDIA_TYPE: Final = "application/problem+json"
TYPES: Final = "https://callsheet.dev/problems/"
REGISTERED_TYPES: Final[Mapping[str, str]] = {
    "rate_limited": "https://iana.org/assignments/http-problem-types#quota-exceeded",
}
"""Types of problems that are registered for all APIs (draft-ietf-httpapi-ratelimit-headers-10)."""

TITLES: Final[Mapping[int, str]] = {
    400: "Malformed request",
    401: "Authentication required",
    403: "Not permitted",
    404: "Not found",
    405: "Method not allowed",
    408: "Request timeout",
    409: "Conflict",
    410: "Gone",
    412: "Precondition failed",
    413: "Content too large",
    415: "Unsupported media type",
    422: "Unprocessable content",
    429: "Too many requests",
    431: "Request header fields too large",
    500: "Internal error",
    503: "Unavailable",
}
ROUTER_PROBLEMS: Final[Mapping[int, tuple[str, str]]] = {
    400: ("malformed", "The request cannot be routed."),
    404: ("not_found", "No operation has this path. Check its spelling, and the verb after the colon if it has one."),
    405: ("method_not_allowed", "This path does not support the method. The `Allow` header lists the supported ones."),
}
"""Code and detail of what the router rejects, by status."""

REFUSAL_STATUSES: Final[Mapping[RefusalKind, int]] = {
    RefusalKind.MISSING: 404,
    RefusalKind.CONFLICT: 409,
    RefusalKind.UNACCEPTABLE: 422,
    RefusalKind.STALE: 412,
    RefusalKind.FORBIDDEN: 403,
    RefusalKind.LIMITED: 429,
}
REJECTION_STATUSES: Final[Mapping[type[r.Rejection], int]] = {
    r.Malformed: 400,
    r.NotReadable: 400,
    r.Unauthenticated: 401,
    r.NotPermitted: 403,
    r.RequestTooSlow: 408,
    r.CursorReset: 410,
    r.BodyTooLarge: 413,
    r.MediaTypeUnsupported: 415,
    r.ContentCodingUnsupported: 415,
    r.BodyUnacceptable: 422,
    r.TooMany: 429,
    r.SubscriptionNotFound: 404,
    r.SubscriptionIdTaken: 409,
    r.TooManyStreams: 429,
    r.TooMuchUnread: 429,
    r.RateLimited: 429,
    r.HeadTooLarge: 431,
    r.Draining: 503,
}
FAULT_STATUSES: Final[Mapping[str, int]] = {
    "content_too_large": 413,
    "event_unreadable": 503,
    "outcome_unknown": 503,
    "projection_behind": 503,
    "projection_parked": 503,
    "too_much_work": 422,
    "unavailable": 503,
}
"""Statuses of the codes that neither a refusal nor a rejection carries."""
RETRY_SOON: Final = {"Retry-After": "1"}
RETRY_LATER: Final = {"Retry-After": "5"}
NO_HEADERS: Final[Mapping[str, str]] = {}


class ErrorBody(Struct, frozen=True, kw_only=True):
    """A problem in a request: located by a JSON pointer in the body, or by the name of a query parameter."""

    pointer: str | UnsetType = UNSET
    parameter: str | UnsetType = UNSET
    message: str


class ProblemBody(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A problem document. `code` is for programs, `detail` for people, `errors` locates each fault.

    `violated-policies` names the policies of `RateLimit-Policy` that are exceeded.
    """

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    trace_id: str
    errors: tuple[ErrorBody, ...] = ()
    violated_policies: tuple[str, ...] = field(default=(), name="violated-policies")


class ProblemDetails(Struct, frozen=True, kw_only=True):
    """Response body of a failed request (RFC 9457)."""

    status: int
    code: str
    detail: str
    errors: r.Problems = ()
    headers: Mapping[str, str] = NO_HEADERS
    violated_policies: tuple[str, ...] = ()


def find_status(kind: type[Refusal] | type[r.Rejection]) -> int:
    """Return the HTTP status of a kind of refusal or rejection."""
    return REFUSAL_STATUSES[kind.kind] if issubclass(kind, Refusal) else REJECTION_STATUSES[kind]


def describe_fault(fault: Exception) -> ProblemDetails:
    """Return the problem for an exception. One that is not expected becomes an opaque 500."""
    match fault:
        case r.Rejection():
            headers = RETRY_SOON if isinstance(fault, r.Draining) else fault.headers
            return ProblemDetails(
                status=find_status(type(fault)),
                code=fault.code,
                detail=fault.detail,
                errors=fault.problems,
                headers=headers,
                violated_policies=(fault.policy,) if isinstance(fault, r.RateLimited) else (),
            )
        case Refusal():
            return ProblemDetails(
                status=find_status(type(fault)),
                code=fault.code,
                detail=fault.detail,
                errors=fault.problems,
                headers=RETRY_LATER if fault.kind is RefusalKind.LIMITED else NO_HEADERS,
            )
        case FeedStopped():
            return ProblemDetails(status=503, code="draining", detail=r.Draining().detail, headers=RETRY_SOON)
        case WorkStopped():
            code = "too_much_work"
            return ProblemDetails(status=FAULT_STATUSES[code], code=code, detail=str(fault))
        case UnstorableText() | TooDeep():
            return ProblemDetails(status=400, code="malformed", detail=str(fault))
        case HTTPException() if fault.status_code in ROUTER_PROBLEMS:
            code, detail = ROUTER_PROBLEMS[fault.status_code]
            return ProblemDetails(status=fault.status_code, code=code, detail=detail, headers=fault.headers or {})
        case _:
            return _describe_storage_fault(fault)


def _describe_storage_fault(fault: Exception) -> ProblemDetails:
    headers: Mapping[str, str] = NO_HEADERS
    if isinstance(fault, Unavailable):
        headers = {"Retry-After": str(max(1, round(fault.retry_after_seconds)))}
    detail = str(fault)
    match fault:
        case OutcomeUnknown():
            code = "outcome_unknown"
        case ProjectionBehind():
            code = "projection_behind"
        case ProjectionParked():
            code = "projection_parked"
            detail = "A projection that this reads stopped at a fault in this workspace. An operator has to repair it."
        case Unavailable() | LogRewound():
            code = "unavailable"
        case UnreadableEvent():
            code, headers = "event_unreadable", {"Retry-After": "60"}
            detail = "The history holds an event that this version cannot read. An operator has to repair it."
        case FactTooLarge() | ContentTooLarge():
            code = "content_too_large"
        case _:
            detail = "This is a bug in Callsheet. Please report it with the `trace_id`."
            return ProblemDetails(status=500, code="internal", detail=detail)
    return ProblemDetails(status=FAULT_STATUSES[code], code=code, detail=detail, headers=headers)


def encode_problem(details: ProblemDetails, *, instance: str, trace: Trace) -> bytes:
    """Return a problem document as JSON."""
    return encode(create_problem_body(details, instance=instance, trace=trace))


def create_problem_body(details: ProblemDetails, *, instance: str, trace: Trace) -> ProblemBody:
    """Return a problem document."""
    return ProblemBody(
        type=find_type(details.code),
        title=TITLES[details.status],
        status=details.status,
        detail=details.detail,
        instance=instance,
        code=details.code,
        trace_id=trace.trace_id,
        errors=tuple(_create_error_body(error) for error in details.errors),
        violated_policies=details.violated_policies,
    )


def find_type(code: str) -> str:
    """Return the type of a problem, a URI."""
    return REGISTERED_TYPES.get(code) or f"{TYPES}{code.replace('_', '-')}"


def _create_error_body(error: Problem | r.ParameterProblem) -> ErrorBody:
    if isinstance(error, Problem):
        return ErrorBody(pointer=error.pointer, message=error.message)
    return ErrorBody(parameter=error.parameter, message=error.message)


def create_problem_reply(fault: Exception, details: ProblemDetails, *, method: str, path: str, trace: Trace) -> Reply:
    """Return the response to a request that ended in an exception; log the exception if it is a bug.

    `details` is what `describe_fault` returned for it.
    """
    if details.status == 500:  # noqa: PLR2004  # an HTTP status reads best as its number
        structlog.get_logger("gateway").error(
            "gateway.bug", trace_id=trace.trace_id, method=method, path=path, exc_info=fault
        )
    headers = [(name.lower().encode(), value.encode()) for name, value in details.headers.items()]
    headers.append((b"content-type", MEDIA_TYPE.encode()))
    return Reply(details.status, headers, encode_problem(details, instance=path, trace=trace))
