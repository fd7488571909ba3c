"""Faults of `http` steps: which class a status or a broken connection belongs to, and what is said of it."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import httpx2

from domain.graphs.graph import ErrorClass
from engine.providers.http_faults import retry_after_seconds

QUOTE_CHARACTERS_MAX: Final = 300

_CLASSES: Final = {
    401: ErrorClass.AUTH,
    403: ErrorClass.AUTH,
    408: ErrorClass.TIMEOUT,
    429: ErrorClass.RATE_LIMITED,
    503: ErrorClass.OVERLOADED,
}
_SAYS_WHEN: Final = frozenset({ErrorClass.RATE_LIMITED, ErrorClass.OVERLOADED})


class HttpFault(Exception):  # noqa: N818  # classified, and an answer to whoever drew the step
    """A step's call came to nothing. The message may be recorded once secrets are cut out of it."""

    def __init__(self, error_class: ErrorClass, message: str, wait_seconds: float | None = None) -> None:
        """Keep the class, the sentence, and when the other side said to come back."""
        super().__init__(message)
        self.error_class = error_class
        self.message = message
        self.wait_seconds = wait_seconds


def is_fault(status: int) -> bool:
    """Return whether an answer fails its step; a redirect does not: it is an answer like any other."""
    return status >= HTTPStatus.BAD_REQUEST


def classify_status(status: int, headers: Mapping[str, str], quote: str) -> HttpFault:
    """Classify an answer by its status; `quote` is what it says, without secrets."""
    server_failed = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    error_class = _CLASSES.get(status, ErrorClass.UNAVAILABLE if server_failed else ErrorClass.BAD_REQUEST)
    words = " ".join(quote.split())[:QUOTE_CHARACTERS_MAX]
    wait = retry_after_seconds(headers) if error_class in _SAYS_WHEN else None
    return HttpFault(error_class, f"the answer was HTTP {status}" + (f": {words}" if words else ""), wait)


def classify_transport_error(error: Exception) -> HttpFault:
    """Classify a connection that could not be made or broke. The error's own text is never passed on."""
    match error:
        case httpx2.PoolTimeout():
            return HttpFault(ErrorClass.OVERLOADED, "all connections of http steps are in use")
        case httpx2.ConnectTimeout():
            return HttpFault(ErrorClass.UNAVAILABLE, "the host could not be connected in time")
        case httpx2.ConnectError():
            return HttpFault(ErrorClass.UNAVAILABLE, "the host has no address, or does not take the connection")
        case httpx2.TimeoutException():
            return HttpFault(ErrorClass.TIMEOUT, "the host ran out of time")
        case httpx2.LocalProtocolError():
            return HttpFault(ErrorClass.BAD_REQUEST, "the request cannot be written as HTTP")
        case _:
            return HttpFault(ErrorClass.UNAVAILABLE, "the host broke off, or does not speak HTTP")
