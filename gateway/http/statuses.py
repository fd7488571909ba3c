"""The statuses that callers set and ask for; a thing that has not begun has one as well, of which nobody is told."""

from enum import StrEnum
from typing import TypeVar

from msgspec import UnsetType

E = TypeVar("E", bound=StrEnum)


class Status(StrEnum):
    """What a project, a workflow or an asset can be."""

    ACTIVE = "active"
    ARCHIVED = "archived"


def status_set(sent: Status | UnsetType, kind: type[E]) -> E | UnsetType:
    """Give a status that a caller sent as the noun's own."""
    return sent if isinstance(sent, UnsetType) else kind(sent.value)
