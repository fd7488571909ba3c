"""Results of read models: views of folded streams, in lists whose cursors remain valid after inserts."""

from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Generic, TypeVar

from msgspec import Struct
from msgspec.json import Decoder

from domain.folded import Folded

S = TypeVar("S")
T = TypeVar("T")

LEAST: Final = -(2**63)
MOST: Final = 2**63 - 1


class Sort(StrEnum):
    """The orders of a list. Both times follow positions, which have no ties: so a cursor is one position."""

    OLDEST = "created_at"
    NEWEST = "-created_at"
    LONGEST_UNCHANGED = "updated_at"
    LATEST_CHANGED = "-updated_at"

    @property
    def descending(self) -> bool:
        """Return whether the largest comes first."""
        return self.value.startswith("-")


class Cursor(Struct, frozen=True):
    """Cursor of a list: it continues after the item at this position, in this order."""

    sort: Sort
    after: int


class Listing(Struct, Generic[T], frozen=True, kw_only=True):
    """A page of a list; `next` is None on the last one."""

    items: tuple[T, ...]
    next: Cursor | None


class Version(Struct, Generic[T], frozen=True, kw_only=True):
    """One immutable numbered version (from 1) of something, with the position of the fact that brought it."""

    number: int
    position: int
    created_at: datetime
    content: T


class Versions(Struct, Generic[T], frozen=True, kw_only=True):
    """A page of versions, newest first; `next_before` is None on the last one."""

    items: tuple[Version[T], ...]
    next_before: int | None


def view(row: tuple[Any, ...], decoder: Decoder[S]) -> Folded[S]:
    """Decode a row whose columns are in the order of the fields of Folded, with the state as JSON text."""
    stream, workspace, project, version, position, created_position, created_at, updated_at, document = row
    return Folded(
        stream_id=stream,
        workspace_id=workspace,
        project_id=project,
        version=version,
        position=position,
        created_position=created_position,
        created_at=created_at,
        updated_at=updated_at,
        state=decoder.decode(document),
    )


V = TypeVar("V", bound=Folded[Any])


def rank_after(cursor: Cursor | None, sort: Sort) -> int:
    """Return the rank after which a page begins. Ranks always ascend: descending orders use negative ones.

    Raises ValueError for a cursor of another order.
    """
    if cursor is None:
        return LEAST
    if cursor.sort is not sort:
        message = f"the cursor belongs to the order {cursor.sort.value}, not {sort.value}"
        raise ValueError(message)
    return -cursor.after if sort.descending else cursor.after


def find_start(cursor: Cursor | None, sort: Sort) -> int:
    """Return the position after which a page begins. Raises ValueError for a cursor of another order."""
    if cursor is None:
        return MOST if sort.descending else LEAST
    if cursor.sort is not sort:
        message = f"the cursor belongs to the order {cursor.sort.value}, not {sort.value}"
        raise ValueError(message)
    return cursor.after


def listing(views: list[V], limit: int, sort: Sort) -> Listing[V]:
    """Return a page of at most `limit` items from a query for `limit + 1`, which shows whether more follow."""
    if len(views) <= limit:
        return Listing(items=tuple(views), next=None)
    items = tuple(views[:limit])
    last = items[-1]
    by_creation = sort in {Sort.OLDEST, Sort.NEWEST}
    return Listing(items=items, next=Cursor(sort, last.created_position if by_creation else last.position))


def versions(rows: list[tuple[Any, ...]], limit: int, decoder: Decoder[T]) -> Versions[T]:
    """Return a page of at most `limit` versions from a query for `limit + 1`."""
    items = tuple(version(row, decoder) for row in rows[:limit])
    return Versions(items=items, next_before=items[-1].number if len(rows) > limit else None)


def version(row: tuple[Any, ...], decoder: Decoder[T]) -> Version[T]:
    """Read a row of number, position, time and document as text."""
    number, position, created_at, document = row
    return Version(number=number, position=position, created_at=created_at, content=decoder.decode(document))
