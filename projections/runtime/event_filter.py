"""The sieve: which facts of a page a projection is given. The worker, a retry and a rebuild share it."""

from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

from domain.fact import Fact, topic_of
from projections.runtime.skips import NEVER, NO_SKIPS, Skipped, Skips
from store.log.codec import TOPICS
from store.log.records import Recorded, Unreadable

NOTHING_PARKED: Final[Mapping[UUID, int]] = {}


class Sieve:
    """Lets through what a projection wants, less what is parked and what is skipped.

    An event that cannot be read goes through where the projection might want it, for nobody can say that it does not:
    `projections.runtime.apply` then names it as poison.
    """

    def __init__(
        self,
        wants: frozenset[type[Fact]],
        *,
        parked: Mapping[UUID, int] = NOTHING_PARKED,
        skips: Skips = NO_SKIPS,
    ) -> None:
        """Take what is parked, by workspace and from which position on, and what is skipped."""
        self._wants = wants
        self._wants_or_unread = wants | {Unreadable}
        self._topics = frozenset(topic_of(kind) for kind in wants)
        self._skips = skips
        self.parked = parked
        self._parked = {workspace.int: position for workspace, position in parked.items()}

    def parking(self, parked: Mapping[UUID, int]) -> "Sieve":
        """Give the same sieve with other workspaces parked."""
        return Sieve(self._wants, parked=parked, skips=self._skips)

    def take(self, events: Sequence[Recorded], after: int) -> list[Recorded]:
        """Give what goes through of events after a position, in their order."""
        wants = self._wants_or_unread
        if events and events[0].position <= after:
            events = [one for one in events if one.position > after]
        facts = [one for one in events if type(one.fact) in wants]
        if Unreadable in {type(one.fact) for one in facts}:
            facts = [one for one in facts if self._may_want(one.fact)]
        if self._parked:
            parked = self._parked
            facts = [one for one in facts if one.position < parked.get(one.workspace_id.int, NEVER)]
        if self._skips.positions:
            facts = self._skips.without(facts)
            if Skipped not in self._wants:
                facts = [one for one in facts if type(one.fact) is not Skipped]
        return facts

    def _may_want(self, fact: Fact) -> bool:
        return not isinstance(fact, Unreadable) or fact.topic in self._topics or fact.topic not in TOPICS
