"""Exports of a log with proofs: lines of JSON that a verifier checks without the server, the database or this code.

The first line names the signed checkpoint. Each further line has the leaf of an event as text, exactly as it was
hashed, and its audit path in the tree of the checkpoint. The last line has the number of events, so that a cut file is
noticed. Positions that a selection leaves out are not in the file; that none of the selected ones is missing follows
only for a whole log, whose paths can be left out because the tree itself can be computed again.
"""

from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct
from msgspec.json import Encoder
from psycopg import AsyncConnection

from store.log.queries import NO_FILTER, LogFilter
from store.log.raw_reads import read_raw_page
from store.log.records import StoredEvent
from store.seals.leaves import encode_leaf
from store.seals.merkle import prove_inclusion
from store.seals.notes import Checkpoint
from store.seals.seal_store import read_hashes, read_seal_head
from store.seals.tiles import TILE_WIDTH, TileId, Tiles, list_tiles

Connection = AsyncConnection[tuple[Any, ...]]

PAGE_EVENTS: Final = 1_000
VERSION: Final = "callsheet-export/1"
_encoder: Final = Encoder()


class NothingSealed(Exception):  # noqa: N818  # an answer to the operator
    """The log is not sealed yet: set CALLSHEET_SEAL_KEY_FILE, and run `callsheet project` or `dev`."""


class ExportStart(Struct, frozen=True, kw_only=True):
    """The first line of an export: its version, the signed checkpoint, and whether every event up to it follows."""

    export: str = VERSION
    checkpoint: str
    is_whole: bool


class ExportedEvent(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line of an export: the leaf as text, and its audit path in base64, from the leaf to the root."""

    leaf: str
    path: tuple[str, ...] = ()


class ExportEnd(Struct, frozen=True, kw_only=True):
    """The last line of an export."""

    events: int


async def export_log(
    connection: Connection, only: LogFilter, on_progress: Callable[[int, int], None]
) -> AsyncIterator[bytes]:
    """Yield the lines of an export of the sealed events that match a filter. Raises NothingSealed.

    Memory does not grow with the events; it holds the tiles above the leaves, 32 bytes for each 256 events.
    """
    head = await read_seal_head(connection)
    if head.note is None:
        raise NothingSealed(" ".join((NothingSealed.__doc__ or "").split()))
    checkpoint = Checkpoint.parse(head.note.rpartition("\n\n")[0] + "\n")
    is_whole = only == NO_FILTER
    yield _encoder.encode(ExportStart(checkpoint=head.note, is_whole=is_whole)) + b"\n"
    upper: dict[TileId, bytes] = {}
    if not is_whole:
        upper = await read_hashes(connection, [tile for tile, _ in list_tiles(checkpoint.size) if tile.level > 0])
    exported = after = 0
    while after < checkpoint.size:
        events, after = await read_raw_page(connection, after=after, head=checkpoint.size, limit=PAGE_EVENTS, only=only)
        tiles = Tiles(0, {}) if is_whole else await _read_tiles(connection, events, upper, checkpoint.size)
        for event in events:
            yield _encoder.encode(_export_event(event, tiles, 0 if is_whole else checkpoint.size)) + b"\n"
        exported += len(events)
        on_progress(after, checkpoint.size)
    yield _encoder.encode(ExportEnd(events=exported)) + b"\n"


def _export_event(event: StoredEvent, tiles: Tiles, size: int) -> ExportedEvent:
    leaf = encode_leaf(event).decode()
    if not size:
        return ExportedEvent(leaf=leaf)
    path = prove_inclusion(event.position - 1, size, tiles.read_node)
    return ExportedEvent(leaf=leaf, path=tuple(b64encode(node).decode() for node in path))


async def _read_tiles(
    connection: Connection, events: Sequence[StoredEvent], upper: Mapping[TileId, bytes], size: int
) -> Tiles:
    """Return the tree with the tiles above the leaves, and the tiles of leaves that the paths of some events need."""
    lowest = {TileId(0, (event.position - 1) // TILE_WIDTH) for event in events}
    hashes = await read_hashes(connection, [*lowest, TileId(0, size // TILE_WIDTH)])
    return Tiles(size, {**upper, **hashes})
