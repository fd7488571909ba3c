"""Tables with a row for each API key and for each announcement of a workspace: both are few, and listed alike."""

from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final, Generic, LiteralString, Protocol, TypeVar, get_args

from msgspec import Struct

from domain import announcement, api_key
from domain.announcement import Announcement, AnnouncementFact
from domain.api_key import ApiKey, ApiKeyFact
from domain.fact import Fact


class HasStatus(Protocol):
    """A folded state by whose status a list is filtered."""

    @property
    def status(self) -> StrEnum:
        """Return the status."""
        ...


S = TypeVar("S", bound=HasStatus)


class WorkspaceTable(Struct, Generic[S], frozen=True, kw_only=True):
    """A table of one noun, with the state that its rows hold and the facts that the state is folded from."""

    name: LiteralString
    state: type[S]
    initial: S
    evolve: Callable[[S, Any], S]
    facts: tuple[type[Fact], ...]


API_KEYS: Final = WorkspaceTable(
    name="api_keys", state=ApiKey, initial=ApiKey(), evolve=api_key.evolve, facts=get_args(ApiKeyFact)
)
ANNOUNCEMENTS: Final = WorkspaceTable(
    name="announcements",
    state=Announcement,
    initial=Announcement(),
    evolve=announcement.evolve,
    facts=get_args(AnnouncementFact),
)
