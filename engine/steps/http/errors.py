"""Failures of `http` steps, classified by status or by how the connection failed."""

from collections.abc import Mapping
from http import HTTPStatus

from domain.graphs.graph import ErrorClass
from engine.egress.http_errors import classify_transport_error, get_error_class, read_wait_seconds, shorten_quote


class HttpFault(Exception):  # noqa: N818  # a classified outcome of the step, not a bug
    """The call of a step failed. The message may be recorded once secrets are removed from it."""

    def __init__(self, error_class: ErrorClass, message: str, wait_seconds: float | None = None) -> None:
        """Create it; `wait_seconds` is how long the server asked to wait before the next request."""
        super().__init__(message)
        self.error_class = error_class
        self.message = message
        self.wait_seconds = wait_seconds


def is_fault(status: int) -> bool:
    """Return whether a response fails its step. Redirects do not: they are not followed, and are output as they are."""
    return status >= HTTPStatus.BAD_REQUEST


def build_status_fault(status: int, headers: Mapping[str, str], quote: str) -> HttpFault:
    """Return the fault of a response by its status; `quote` is its body, without secrets."""
    error_class = get_error_class(status)
    words = shorten_quote(quote)
    message = f"The server responded with HTTP {status}" + (f": {words}" if words else "")
    return HttpFault(error_class, message, read_wait_seconds(error_class, headers))


def build_transport_fault(error: Exception) -> HttpFault:
    """Return the fault of a connection that could not be made or broke."""
    return HttpFault(*classify_transport_error(error, "The host"))
