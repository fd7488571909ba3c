"""Rejections: requests that fail before a command is created. `problems.py` maps each to its HTTP status."""

from collections.abc import Mapping
from typing import ClassVar

from msgspec import Struct

from domain.refusal import Problem


class ParameterProblem(Struct, frozen=True):
    """One problem in the query of a request: the name of the parameter, and a message."""

    parameter: str
    message: str


Problems = tuple[Problem | ParameterProblem, ...]


class Rejection(Exception):  # noqa: N818  # a response, not an error
    """The request is rejected. The docstring of a subclass is its message; `code` is stable for programs."""

    code: ClassVar[str] = "rejected"

    def __init__(
        self,
        detail: str | None = None,
        problems: Problems = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Create a rejection; `detail` replaces the docstring as the message, `headers` are added to the response."""
        self.detail = detail if detail is not None else (type(self).__doc__ or "")
        self.problems = problems
        self.headers = headers or {}
        super().__init__(self.detail)


class Malformed(Rejection):
    """The request is malformed."""

    code = "malformed"


class Unauthenticated(Rejection):
    """A valid token is required: `Authorization: Bearer <token>`."""

    code = "unauthenticated"


class NotPermitted(Rejection):
    """The token lacks the scope that this operation requires."""

    code = "not_permitted"


class CursorReset(Rejection):
    """The position is in a part of the log that a restore has removed. Continue from `Callsheet-Reset-Position`."""

    code = "cursor_reset"

    def __init__(self, reset_to: str) -> None:
        """Create a rejection; `reset_to` is the position up to which the caller's events are still in the log."""
        super().__init__(headers={"Callsheet-Reset-Position": reset_to})
        self.reset_to = reset_to


class RateLimited(Rejection):
    """Too many requests. Retry after the seconds in `Retry-After`."""

    code = "rate_limited"

    def __init__(self, policy: str, retry_seconds: int, fields: Mapping[str, str]) -> None:
        """Create a rejection; `policy` names what is exceeded, `fields` are the headers that say what is left."""
        super().__init__(
            f"Too many requests of this {policy}. Retry in {retry_seconds} seconds.",
            headers={**fields, "Retry-After": str(retry_seconds)},
        )
        self.policy = policy


class BodyTooLarge(Rejection):
    """The body is too large."""

    code = "body_too_large"


class MediaTypeUnsupported(Rejection):
    """The body must be JSON in UTF-8."""

    code = "media_type_unsupported"


class ContentCodingUnsupported(MediaTypeUnsupported):
    """The body must be sent as it is, or with `Content-Encoding: gzip`."""


class BodyUnacceptable(Rejection):
    """The body is JSON, but does not match the schema of this operation."""

    code = "body_unacceptable"


class NotReadable(Rejection):
    """The connection ended before the whole body arrived."""

    code = "body_broken_off"


class HeadTooLarge(Rejection):
    """The request line and the headers are too large."""

    code = "head_too_large"


class RequestTooSlow(Rejection):
    """The request did not arrive completely in time."""

    code = "request_too_slow"


class Draining(Rejection):
    """This process is shutting down. Retry: another process serves the request."""

    code = "draining"


class TooMany(Rejection):
    """There are as many as are allowed."""

    code = "too_many"


class SubscriptionNotFound(Rejection):
    """No subscription of this WebSocket has the id."""

    code = "subscription_not_found"


class SubscriptionIdTaken(Rejection):
    """A subscription of this WebSocket has the id already. Choose another, or unsubscribe first."""

    code = "subscription_id_taken"


class TooManyStreams(Rejection):
    """The credential or the workspace has too many open streams."""

    code = "too_many_streams"


class TooMuchUnread(Rejection):
    """The credential or the workspace leaves too much of earlier responses unread."""

    code = "too_much_unread"
