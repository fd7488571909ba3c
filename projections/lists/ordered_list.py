"""Lists in the order of an index, in pages that cost the same however many rows there are.

A page reads rows in order until it is full. Where a filter has no index of its own, at most `SEARCHED_MAX` rows are
searched: a page may then have fewer items than its limit, or none, and a cursor that goes on behind them. A page also
ends once its documents take `PAGE_BYTES`, so that 200 documents of 16 MB are not read at once.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, LiteralString

from msgspec import Struct

from projections.runtime.paging import LEAST, MOST, Cursor, Sort, find_start
from projections.runtime.read_pool import ReadModels

SEARCHED_MAX: Final = 1_000
PAGE_BYTES: Final = 1024 * 1024
"""Size of the documents of a page as they are stored, possibly compressed."""

COLUMNS: Final = (
    "id, workspace_id, project_id, version, position, created_position, created_at, updated_at, document::text"
)

PAGE: Final = """
select {columns}, {rank}, found
  from (select *, count(*) over () as found,
               sum(pg_column_size(document)) over (order by {rank} {order} rows unbounded preceding)
               - pg_column_size(document) as bytes_before
          from (select *
                  from {table}
                 where {scope}
                   and {filters}
                   and {rank} {beyond} %(after)b
                   and {rank} {before} %(boundary)b
                 order by {rank} {order}
                 limit %(limit)b) as limited) as page
 where bytes_before < %(bytes)b
 order by {rank} {order}
"""
"""Read a page: one row more than the caller wants, but for large documents."""

BOUNDARY: Final = """
select {rank}
  from {table}
 where {scope}
   and {rank} {beyond} %(after)b
 order by {rank} {order}
offset %(searched)b
 limit 1
"""
"""Read the rank of the row at which a search stops."""


class OrderedList(Struct, frozen=True, kw_only=True):
    """A list: its table, the condition that an index answers, and the other filters."""

    table: LiteralString
    scope: LiteralString
    filters: LiteralString
    columns: LiteralString = COLUMNS

    def page_statement(self, sort: Sort) -> LiteralString:
        """Return the statement that reads a page."""
        rank, order, beyond, before = _ORDERS[sort]
        return PAGE.format(
            columns=self.columns,
            table=self.table,
            scope=self.scope,
            filters=self.filters,
            rank=rank,
            order=order,
            beyond=beyond,
            before=before,
        )

    def boundary_statement(self, sort: Sort) -> LiteralString:
        """Return the statement that reads where a search stops."""
        rank, order, beyond, _ = _ORDERS[sort]
        return BOUNDARY.format(table=self.table, scope=self.scope, rank=rank, order=order, beyond=beyond)


_ORDERS: Final[Mapping[Sort, tuple[LiteralString, LiteralString, LiteralString, LiteralString]]] = {
    Sort.NEWEST: ("created_position", "desc", "<", ">"),
    Sort.OLDEST: ("created_position", "asc", ">", "<"),
    Sort.LATEST_CHANGED: ("position", "desc", "<", ">"),
    Sort.LONGEST_UNCHANGED: ("position", "asc", ">", "<"),
}


class RowPage(Struct, frozen=True):
    """The rows of a page, and where the next one begins."""

    rows: Sequence[tuple[Any, ...]]
    next: Cursor | None


async def read_page(
    models: ReadModels,
    listed: OrderedList,
    parameters: Mapping[str, Any],
    *,
    limit: int,
    sort: Sort,
    cursor: Cursor | None,
    is_searched: bool,
    ranks: tuple[int, int] = (LEAST, MOST),
) -> RowPage:
    """Return a page of a list. `is_searched`: a filter has no index, so the number of rows read is bounded.

    Only rows with ranks between the two of `ranks` can match.
    Raises Unavailable; ValueError for a cursor of another order.
    """
    start = find_start(cursor, sort)
    least, most = ranks
    last = least if sort.descending else most
    given = {**parameters, "after": min(start, most) if sort.descending else max(start, least)}
    boundary = None
    if is_searched:
        boundary = await models.first(listed.boundary_statement(sort), {**given, "searched": SEARCHED_MAX})
    if boundary is not None and (boundary[0] <= least if sort.descending else boundary[0] >= most):
        boundary = None  # everything that can match was searched
    given |= {"boundary": last if boundary is None else boundary[0], "limit": limit + 1, "bytes": PAGE_BYTES}
    found = await models.rows(listed.page_statement(sort), given)
    rows = [row[:-2] for row in found[:limit]]
    if found and found[0][-1] > len(rows):
        return RowPage(rows, Cursor(sort, found[len(rows) - 1][-2]))
    if boundary is not None:  # the row at the boundary was not searched
        return RowPage(rows, Cursor(sort, boundary[0] + (1 if sort.descending else -1)))
    return RowPage(rows, None)
