"""Refusals: the expected ways in which a command can be declined."""

from enum import StrEnum
from typing import ClassVar

from msgspec import Struct


class RefusalKind(StrEnum):
    """Kind of a refusal, by what the caller can do about it; the gateway maps each kind to one HTTP status."""

    MISSING = "missing"
    """The resource does not exist, or is not visible to this caller."""
    CONFLICT = "conflict"
    """The state of the resource does not allow this."""
    UNACCEPTABLE = "unacceptable"
    """The request is well formed, but its content is not valid."""
    STALE = "stale"
    """The request names a version (If-Match) that is no longer the current one."""
    FORBIDDEN = "forbidden"
    """The caller may read the resource, but not do this."""
    LIMITED = "limited"
    """A bound of the workspace is reached; the same request may be accepted later."""


class Problem(Struct, frozen=True):
    """A problem in a request; `pointer` is a JSON pointer (RFC 6901) into the request body."""

    pointer: str
    message: str


class Refusal(Exception):  # noqa: N818  # a refusal is an answer, not an error
    """A command was declined. The docstring of a subclass is the message for people; `code` is stable for programs."""

    code: ClassVar[str] = "refused"
    kind: ClassVar[RefusalKind] = RefusalKind.CONFLICT

    def __init__(self, detail: str | None = None, problems: tuple[Problem, ...] = ()) -> None:
        """Create the refusal; `detail` replaces the docstring as the message."""
        self.detail = detail if detail is not None else (type(self).__doc__ or "")
        self.problems = problems
        super().__init__(self.detail)
