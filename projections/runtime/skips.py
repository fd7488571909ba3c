"""What people have had a projection skip, for ever; the worker obeys it, and so does every rebuild."""

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace
from psycopg import AsyncConnection

from domain.fact import Fact
from store.log.records import Recorded

SKIPPED: Final = "select position, stream_id, version, rest_of_stream from skipped where projection = %b"
"""Read what a projection skips; people put it there one by one, so it is short."""

NEVER: Final = 2**63 - 1


class Skipped(Fact, frozen=True, kw_only=True, tag="fact.skipped"):
    """In the place of a fact that is skipped, for projections that count the versions of streams and so want it."""


class Skips(Struct, frozen=True, kw_only=True):
    """The facts that one projection skips."""

    positions: frozenset[int] = frozenset()
    streams: Mapping[int, int] = {}
    """From which version on all of a stream is left out, by the stream's id as an integer."""

    def without(self, facts: Sequence[Recorded]) -> list[Recorded]:
        """Give facts with those that are skipped replaced by `Skipped`, and without what follows in a stream left out.

        Raises nothing. A projection must accept `Skipped` to be given it (`projections/runtime/event_filter.py`).
        """
        if not self.positions:
            return list(facts)
        streams, positions = self.streams, self.positions
        kept = (one for one in facts if one.version < streams.get(one.stream_id.int, NEVER))
        return [replace(one, fact=Skipped()) if one.position in positions else one for one in kept]


NO_SKIPS: Final = Skips()


async def skips_of(connection: AsyncConnection, projection: str) -> Skips:
    """Read what a projection skips."""
    cursor = await connection.execute(SKIPPED, [projection])
    rows = await cursor.fetchall()
    streams: dict[int, int] = {}
    for _, stream_id, version, rest in rows:
        if rest:
            streams[stream_id.int] = min(version, streams.get(stream_id.int, NEVER))
    return Skips(positions=frozenset(row[0] for row in rows), streams=streams)
