"""Checks that a response is one that its operation declares."""

import re
from typing import Final

import httpx2

from gateway.catalog import OPERATIONS
from gateway.operations.operation import Operation
from gateway.operations.problem_codes import list_problem_codes

TRANSPORT_CODES: Final = {"malformed": 400, "head_too_large": 431, "request_too_slow": 408, "draining": 503}
"""The problems that any request can get, before it is read or while the process stops."""
UNROUTED_CODES: Final = {**TRANSPORT_CODES, "not_found": 404, "method_not_allowed": 405}


def compile_path(path: str) -> re.Pattern[str]:
    """Return a pattern for the paths of an operation."""
    return re.compile(
        "".join("[^/:]+" if part.startswith("{") else re.escape(part) for part in re.split(r"(\{\w+\})", path))
    )


PATTERNS: Final = tuple((compile_path(operation.path), operation) for operation in OPERATIONS)


def find_operation(method: str, path: str) -> Operation | None:
    """Return the operation of a request, None if it is not declared."""
    matching = (operation for pattern, operation in PATTERNS if operation.method == method and pattern.fullmatch(path))
    return next(matching, None)


def check_declared(response: httpx2.Response) -> None:
    """Fail unless the operation of a response declares its status and headers, and its code if it is a problem."""
    request = response.request
    operation = find_operation(request.method, request.url.path)
    where = f"{request.method} {request.url.path} responded {response.status_code}: {response.text[:500]}"
    if response.is_success or response.status_code == 304:
        assert operation is not None, where
        declared = [answer for answer in operation.responses if answer.status == response.status_code]
        assert declared, f"undeclared status: {where}"
        media_type = response.headers.get("content-type")
        assert media_type in {answer.media_type for answer in declared}, f"undeclared media type {media_type}: {where}"
        headers = {header.lower() for answer in declared for header in answer.headers}
        for name in ("etag", "location", "link", "callsheet-position", "idempotency-replayed"):
            assert name in headers or name not in response.headers, f"undeclared header {name}: {where}"
        applied = response.headers.get("preference-applied")
        assert (applied is not None) == ("prefer" in request.headers), f"Preference-Applied is {applied}: {where}"
        assert applied in {None, "none"} or "preference-applied" in headers, f"undeclared preference {applied}: {where}"
        return
    codes = {**TRANSPORT_CODES, **list_problem_codes(operation)} if operation is not None else UNROUTED_CODES
    code = response.json()["code"]
    assert codes.get(code) == response.status_code, f"undeclared problem {code}: {where}"
