"""Select the facts of a page for a projection. Workers, retries and rebuilds share it."""

from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

from domain.fact import Fact, get_topic
from projections.runtime.skips import NEVER, NO_SKIPS, Skipped, Skips
from store.log.codec import TOPICS
from store.log.records import Recorded, Unreadable

NOTHING_PARKED: Final[Mapping[UUID, int]] = {}


class EventFilter:
    """Select the facts that a projection wants, without parked workspaces and skipped facts.

    An event that cannot be decoded is selected if the projection may want it: `projections.runtime.apply` then reports
    it as poison.
    """

    def __init__(
        self,
        wants: frozenset[type[Fact]],
        *,
        parked: Mapping[UUID, int] = NOTHING_PARKED,
        skips: Skips = NO_SKIPS,
    ) -> None:
        """Create the filter; `parked` maps a workspace to the position that it is parked from."""
        self._wants = wants
        self._wants_or_unread = wants | {Unreadable}
        self._topics = frozenset(get_topic(kind) for kind in wants)
        self._skips = skips
        self.parked = parked
        self._parked = {workspace.int: position for workspace, position in parked.items()}

    def with_parked(self, parked: Mapping[UUID, int]) -> "EventFilter":
        """Return the same filter with other parked workspaces."""
        return EventFilter(self._wants, parked=parked, skips=self._skips)

    def select(self, events: Sequence[Recorded], after: int) -> list[Recorded]:
        """Return the selected facts of events after a position, in their order."""
        wants = self._wants_or_unread
        if events and events[0].position <= after:
            events = [recorded for recorded in events if recorded.position > after]
        facts = [recorded for recorded in events if type(recorded.fact) in wants]
        if Unreadable in {type(recorded.fact) for recorded in facts}:
            facts = [recorded for recorded in facts if self._may_want(recorded.fact)]
        if self._parked:
            parked = self._parked
            facts = [recorded for recorded in facts if recorded.position < parked.get(recorded.workspace_id.int, NEVER)]
        if self._skips.positions:
            facts = self._skips.apply(facts)
            if Skipped not in self._wants:
                facts = [recorded for recorded in facts if type(recorded.fact) is not Skipped]
        return facts

    def _may_want(self, fact: Fact) -> bool:
        return not isinstance(fact, Unreadable) or fact.topic in self._topics or fact.topic not in TOPICS
