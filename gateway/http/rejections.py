"""Rejections: what is wrong with a request before any command is made of it. `problems` gives each its HTTP status."""

from collections.abc import Mapping
from typing import ClassVar

from msgspec import Struct

from domain.refusal import Problem


class ParameterProblem(Struct, frozen=True):
    """One fault in the query of a request: the name of the parameter, and a message."""

    parameter: str
    message: str


Problems = tuple[Problem | ParameterProblem, ...]


class Rejection(Exception):  # noqa: N818  # an answer, not an error
    """The request cannot be taken. The docstring of a subclass is its message; `code` is stable for programs."""

    code: ClassVar[str] = "rejected"

    def __init__(
        self,
        detail: str | None = None,
        problems: Problems = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Make it; `detail` says more than the docstring, `headers` go with the answer."""
        self.detail = detail if detail is not None else (type(self).__doc__ or "")
        self.problems = problems
        self.headers = headers or {}
        super().__init__(self.detail)


class Malformed(Rejection):
    """The request cannot be read."""

    code = "malformed"


class Unauthenticated(Rejection):
    """A valid token is needed: `Authorization: Bearer <token>`."""

    code = "unauthenticated"


class NotPermitted(Rejection):
    """The token does not carry the scope that this needs."""

    code = "not_permitted"


class OtherLog(Rejection):
    """The position belongs to another log, perhaps to one from before a restore: begin again without it."""

    code = "position_of_another_log"


class BodyTooLarge(Rejection):
    """The body is larger than is taken."""

    code = "body_too_large"


class MediaTypeUnsupported(Rejection):
    """The body has to be JSON in UTF-8."""

    code = "media_type_unsupported"


class BodyUnacceptable(Rejection):
    """The body is JSON, but not of the shape that is needed."""

    code = "body_unacceptable"


class NotReadable(Rejection):
    """The body could not be read to its end."""

    code = "body_broken_off"


class HeadTooLarge(Rejection):
    """The head of the request, its first line and its headers, is larger than is taken."""

    code = "head_too_large"


class RequestTooSlow(Rejection):
    """The request did not arrive whole in time."""

    code = "request_too_slow"


class Draining(Rejection):
    """The process is about to stop; another takes requests."""

    code = "draining"
