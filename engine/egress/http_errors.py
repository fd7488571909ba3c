"""Error classes of failed HTTP calls, shared by `http` steps and model providers."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import httpx2

from domain.graphs.graph import ErrorClass
from engine.egress.retry_after import read_retry_after_seconds

QUOTE_CHARACTERS_MAX: Final = 300
"""How much of an error response a message quotes."""

_CLASSES: Final = {
    401: ErrorClass.AUTH,
    403: ErrorClass.AUTH,
    408: ErrorClass.TIMEOUT,
    429: ErrorClass.RATE_LIMITED,
    503: ErrorClass.OVERLOADED,
}
_WITH_RETRY_AFTER: Final = frozenset({ErrorClass.RATE_LIMITED, ErrorClass.OVERLOADED})


def get_error_class(status: int, special: Mapping[int, ErrorClass] | None = None) -> ErrorClass:
    """Return the error class of a status of 400 or more; `special` overrides single statuses."""
    server_failed = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    default = ErrorClass.UNAVAILABLE if server_failed else ErrorClass.BAD_REQUEST
    return (special or {}).get(status) or _CLASSES.get(status, default)


def read_wait_seconds(error_class: ErrorClass, headers: Mapping[str, str]) -> float | None:
    """Return the requested wait of a response that limits the rate or is overloaded; None for other classes."""
    return read_retry_after_seconds(headers) if error_class in _WITH_RETRY_AFTER else None


def shorten_quote(text: str) -> str:
    """Return a text on one line, cut to the length that a message may quote."""
    return " ".join(text.split())[:QUOTE_CHARACTERS_MAX]


def classify_transport_error(error: Exception, server: str) -> tuple[ErrorClass, str]:
    """Return the class and the message of a connection that failed; `server` begins the sentence ("The host").

    The text of the error is never used, since it may contain URLs and header values.
    """
    match error:
        case httpx2.PoolTimeout():
            return ErrorClass.OVERLOADED, "All outgoing connections are in use"
        case httpx2.ConnectTimeout():
            return ErrorClass.UNAVAILABLE, f"{server} did not accept the connection in time"
        case httpx2.ConnectError():
            return ErrorClass.UNAVAILABLE, f"{server} could not be reached: it has no address or refused the connection"
        case httpx2.TimeoutException():
            return ErrorClass.TIMEOUT, f"{server} timed out"
        case httpx2.LocalProtocolError():
            return ErrorClass.BAD_REQUEST, "The request cannot be written as HTTP: check its URL and headers"
        case _:
            return ErrorClass.UNAVAILABLE, f"{server} closed the connection or sent an invalid response"
