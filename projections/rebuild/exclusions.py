"""Exclude exactly the parked and skipped facts of the live projections from a rebuild.

A rebuild never passes the live projection, so exclusions at a position are known by the time it gets there. A change
behind it (a retry, a skip) is detected, and refuses the rebuild.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from psycopg import AsyncConnection

from projections.rebuild.faults import RebuildRefused
from projections.rebuild.ledger import Exclusions, Rebuild
from projections.runtime.event_filter import EventFilter
from projections.runtime.parking import ProjectionState, load_state
from projections.runtime.projection import Projection

REVISIONS: Final = "select projection, revision from checkpoints where projection = any (%b::text[])"
"""Read the revisions of the exclusions of some projections."""


class ExclusionTracker:
    """The event filters of a rebuild's projections, kept equal to those of the live ones."""

    def __init__(self, rebuild: Rebuild, projections: Sequence[Projection]) -> None:
        """Create it; `refresh` loads the exclusions."""
        self._rebuild = rebuild
        self._wants = {projection.name: projection.wants for projection in projections}
        self._revisions: dict[str, int] = {}
        self._exclusions: dict[str, list[tuple[str, int]]] = {}
        self.filters: dict[str, EventFilter] = {}

    async def refresh(self, connection: AsyncConnection[Any]) -> None:
        """Load changed exclusions. Raises RebuildRefused when one changed behind the rebuild."""
        cursor = await connection.execute(REVISIONS, [list(self._wants)])
        for name, revision in await cursor.fetchall():
            if self._revisions.get(name) != revision:
                state = await load_state(connection, name)
                self._use_state(name, state)
        obeyed = self.list_up_to(self._rebuild.positions)
        if obeyed != self._rebuild.exclusions:
            names = [name for name in self._wants if obeyed.get(name) != self._rebuild.exclusions.get(name)]
            raise RebuildRefused(
                f"what {', '.join(names)} excludes was changed behind rebuild {self._rebuild.id}: "
                "--abandon it, and start another"
            )

    def list_up_to(self, positions: Mapping[str, int]) -> Exclusions:
        """Return the exclusions up to these positions."""
        known = {
            name: [item for item in items if item[1] <= positions[name]] for name, items in self._exclusions.items()
        }
        return {name: items for name, items in known.items() if items}

    def _use_state(self, name: str, state: ProjectionState) -> None:
        skips = state.skips
        self.filters[name] = EventFilter(self._wants[name], parked=state.parked, skips=skips)
        self._exclusions[name] = sorted(
            [
                *((f"parked {workspace}", position) for workspace, position in state.parked.items()),
                *(("skipped", position) for position in skips.positions),
            ]
        )
        self._revisions[name] = state.revision
