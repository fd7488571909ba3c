"""Find positions of the log that have no row: the log is written without gaps, so rows were deleted."""

from typing import Any, Final

from msgspec import Struct
from psycopg import AsyncConnection

Connection = AsyncConnection[tuple[Any, ...]]

COUNT: Final = """
select count(*) from events where notification_id > %(after)b::bigint and notification_id <= %(through)b::bigint
"""
"""Count the rows of a range of positions, which costs an index scan."""

GAPS: Final = """
select before + 1, position - 1
  from (select position, lag(position, 1, %(after)b::bigint) over (order by position) as before
          from (select notification_id as position from events
                 where notification_id > %(after)b::bigint and notification_id <= %(through)b::bigint
                 union all select %(through)b::bigint + 1) as present) as neighbours
 where position > before + 1
 order by position
 limit %(limit)b
"""
"""Find the ranges of positions without rows."""

GAPS_MAX: Final = 100
"""How many ranges one look finds at most."""


class Gap(Struct, frozen=True):
    """A range of positions that are missing, both ends included."""

    first: int
    last: int

    def __str__(self) -> str:
        """Return the range as text."""
        return f"position {self.first}" if self.first == self.last else f"positions {self.first} to {self.last}"


async def find_gaps(connection: Connection, *, after: int, through: int) -> tuple[Gap, ...]:
    """Return the ranges without rows between two positions, the first 100 of them."""
    if through <= after:
        return ()
    bounds = {"after": after, "through": through}
    row = await (await connection.execute(COUNT, bounds)).fetchone()
    if row is not None and row[0] == through - after:
        return ()
    rows = await (await connection.execute(GAPS, {**bounds, "limit": GAPS_MAX})).fetchall()
    return tuple(Gap(first, last) for first, last in rows)


def list_gaps(positions: list[int], after: int) -> tuple[Gap, ...]:
    """Return the ranges that are missing between a position and sorted later ones, and among these."""
    gaps: list[Gap] = []
    for position in positions:
        if position > after + 1:
            gaps.append(Gap(after + 1, position - 1))
        after = position
    return tuple(gaps)
