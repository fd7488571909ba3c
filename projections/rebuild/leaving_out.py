"""What the live projections leave out, parked or skipped, so that a rebuild leaves out exactly the same.

A rebuild never comes further than the live projection, so what is parked or skipped at a position is known by the time
it gets there. Only what a person changes behind it (a retry, a skip) it has not obeyed, and then it says so.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from psycopg import AsyncConnection

from projections.rebuild.faults import RebuildRefused
from projections.rebuild.ledger import LeftOut, Rebuild
from projections.runtime.event_filter import Sieve
from projections.runtime.parking import Footing, footing_of
from projections.runtime.projection import Projection

REVISIONS: Final = "select projection, revision from checkpoints where projection = any (%b::text[])"
"""Read whether what some projections leave out has changed."""


class LeavingOut:
    """The sieves of a rebuild's projections, kept as those of the live ones are."""

    def __init__(self, rebuild: Rebuild, projections: Sequence[Projection]) -> None:
        """Know nothing yet."""
        self._rebuild = rebuild
        self._wants = {one.name: one.wants for one in projections}
        self._revisions: dict[str, int] = {}
        self._left_out: dict[str, list[tuple[str, int]]] = {}
        self.sieves: dict[str, Sieve] = {}

    async def look(self, connection: AsyncConnection[Any]) -> None:
        """See what is left out now. Raises RebuildRefused where it was changed behind the rebuild."""
        cursor = await connection.execute(REVISIONS, [list(self._wants)])
        for name, revision in await cursor.fetchall():
            if self._revisions.get(name) != revision:
                footing = await footing_of(connection, name)
                self._take(name, footing)
        obeyed = self.obeyed(self._rebuild.positions)
        if obeyed != self._rebuild.left_out:
            names = [name for name in self._wants if obeyed.get(name) != self._rebuild.left_out.get(name)]
            raise RebuildRefused(
                f"what {', '.join(names)} leaves out was changed behind rebuild {self._rebuild.id}: "
                "--abandon it, and begin anew"
            )

    def obeyed(self, positions: Mapping[str, int]) -> LeftOut:
        """Give what is left out up to these positions."""
        told = {name: [one for one in items if one[1] <= positions[name]] for name, items in self._left_out.items()}
        return {name: items for name, items in told.items() if items}

    def _take(self, name: str, footing: Footing) -> None:
        skips = footing.skips
        self.sieves[name] = Sieve(self._wants[name], parked=footing.parked, skips=skips)
        self._left_out[name] = sorted(
            [
                *((f"parked {workspace}", position) for workspace, position in footing.parked.items()),
                *(("skipped", position) for position in skips.positions),
            ]
        )
        self._revisions[name] = footing.revision
