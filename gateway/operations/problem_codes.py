"""The problems that an operation can respond with, by code: its own, and those that follow from its declaration."""

from collections.abc import Iterator, Mapping

from commands.handler import CommandContended, IdempotencyKeyReused, VersionMismatch
from domain.refusal import Refusal
from gateway.http import rejections as r
from gateway.http.problems import FAULT_STATUSES, find_status
from gateway.operations.operation import Operation, PathId
from gateway.operations.query import describe_query


def list_problem_codes(operation: Operation) -> Mapping[str, int]:
    """Return the code of every problem that the operation declares, with its status, in order of status."""
    codes = {kind.code: find_status(kind) for kind in list_problem_kinds(operation)}
    codes |= {code: FAULT_STATUSES[code] for code in _derive_faults(operation)}
    return dict(sorted(codes.items(), key=lambda item: (item[1], item[0])))


def list_problem_kinds(operation: Operation) -> tuple[type[Refusal] | type[r.Rejection], ...]:
    """Return the refusals and rejections that the operation declares, its own first."""
    return (*operation.problems, *_derive_kinds(operation))


def _derive_kinds(operation: Operation) -> Iterator[type[Refusal] | type[r.Rejection]]:
    yield r.Malformed
    if operation.scope is not None:
        yield from (r.Unauthenticated, r.NotPermitted, r.RateLimited, r.TooMuchUnread)
    if operation.last_event_id:
        yield r.TooManyStreams
    for parameter in operation.path_parameters:
        if isinstance(parameter, PathId):
            yield parameter.not_found
    if operation.reads or any(parameter.kind == "cursor" for parameter in describe_query(operation.query)):
        yield r.CursorReset
    if operation.body is not None:
        yield from (r.NotReadable, r.BodyTooLarge, r.MediaTypeUnsupported, r.BodyUnacceptable)
    if operation.takes_file:
        yield from (r.NotReadable, r.BodyTooLarge, r.MediaTypeUnsupported)
    if operation.idempotent_by_key:
        yield from (IdempotencyKeyReused, CommandContended)
    if operation.if_match:
        yield VersionMismatch


def _derive_faults(operation: Operation) -> Iterator[str]:
    if operation.scope is None:
        yield "unavailable"
        return
    yield from ("unavailable", "event_unreadable")
    if operation.reads:
        yield from ("projection_behind", "projection_parked")
    if operation.body is not None:
        yield "too_much_work"
    if operation.idempotent_by_key:
        yield from ("content_too_large", "outcome_unknown")
