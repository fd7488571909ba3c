"""The status that callers can set; aggregates have a further one before their first fact."""

from enum import StrEnum
from typing import TypeVar

from msgspec import UnsetType

E = TypeVar("E", bound=StrEnum)


class Status(StrEnum):
    """The status of a project, a workflow or an asset."""

    ACTIVE = "active"
    ARCHIVED = "archived"


def convert_status(sent: Status | UnsetType, kind: type[E]) -> E | UnsetType:
    """Return the status of a request body as the type of the aggregate."""
    return sent if isinstance(sent, UnsetType) else kind(sent.value)
