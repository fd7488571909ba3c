"""Facts that a projection skips permanently by an operator's decision; workers and rebuilds apply it."""

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace
from psycopg import AsyncConnection

from domain.fact import Fact
from store.log.records import Recorded

SKIPPED: Final = "select position, stream_id, version, rest_of_stream from skipped where projection = %b"
"""Read the skips of a projection; operators add them one by one, so there are few."""

NEVER: Final = 2**63 - 1


class Skipped(Fact, frozen=True, kw_only=True, tag="fact.skipped"):
    """Replaces a skipped fact, for projections that count the versions of streams."""


class Skips(Struct, frozen=True, kw_only=True):
    """The facts that one projection skips."""

    positions: frozenset[int] = frozenset()
    streams: Mapping[int, int] = {}
    """The version from which on all of a stream is excluded, by the stream id as an integer."""

    def apply(self, facts: Sequence[Recorded]) -> list[Recorded]:
        """Return facts with skipped ones replaced by `Skipped`, and without the rest of excluded streams.

        Only projections that want `Skipped` receive it (`projections/runtime/event_filter.py`).
        """
        if not self.positions:
            return list(facts)
        streams, positions = self.streams, self.positions
        kept = (recorded for recorded in facts if recorded.version < streams.get(recorded.stream_id.int, NEVER))
        return [replace(recorded, fact=Skipped()) if recorded.position in positions else recorded for recorded in kept]


NO_SKIPS: Final = Skips()


async def load_skips(connection: AsyncConnection, projection: str) -> Skips:
    """Load the skips of a projection."""
    cursor = await connection.execute(SKIPPED, [projection])
    rows = await cursor.fetchall()
    streams: dict[int, int] = {}
    for _, stream_id, version, rest in rows:
        if rest:
            streams[stream_id.int] = min(version, streams.get(stream_id.int, NEVER))
    return Skips(positions=frozenset(row[0] for row in rows), streams=streams)
