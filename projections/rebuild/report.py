"""Report of a rebuild: counts and hashes of the former and the new tables, and the rows that differ."""

from datetime import datetime
from typing import Literal

from msgspec import Struct


class Difference(Struct, frozen=True, kw_only=True):
    """A row that differs: only in the `former` table, only in the `new` one, or in both and `changed`."""

    key: str
    kind: Literal["former", "new", "changed"]
    columns: tuple[str, ...] = ()
    """The differing columns of a row that is in both tables."""


class TableReport(Struct, frozen=True, kw_only=True):
    """A table before and after the rebuild. The hashes do not depend on the order of rows."""

    table: str
    rows_former: int
    rows_new: int
    hash_former: str
    hash_new: str
    different: int
    samples: tuple[Difference, ...] = ()


class ProjectionReport(Struct, frozen=True, kw_only=True):
    """A projection: its tables, compared at one position of the log."""

    projection: str
    compared_at: int
    tables: tuple[TableReport, ...]

    @property
    def different(self) -> int:
        """Return the number of differing rows."""
        return sum(table.different for table in self.tables)


class RebuildReport(Struct, frozen=True, kw_only=True):
    """A whole rebuild; `events` and `seconds` count since its last start or resume."""

    id: int
    projections: tuple[ProjectionReport, ...]
    events: int
    seconds: float
    events_per_second: float
    swapped_at: dict[str, int]
    """The position of each projection when its tables were replaced."""
    ended_at: datetime
    same: bool
