"""Tiles of a Merkle tree: runs of up to 256 hashes of one level, of which all higher nodes are computed.

Source: C2SP, tlog-tiles.md. Tile `number` at `level` holds the hashes of the complete subtrees of `256^level` leaves
from index `256 * number` on. Only the last tile of a level is partial; it only grows.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from store.seals.merkle import HASH_BYTES, hash_children

TILE_HEIGHT: Final = 8
TILE_WIDTH: Final = 1 << TILE_HEIGHT


LEVELS_MAX: Final = 8
"""256^8 leaves are more than a position can count."""


class TileId(NamedTuple):
    """The place of a tile."""

    level: int
    number: int


class TileMissing(LookupError):  # noqa: N818  # the tiles were truncated
    """A tile, or a hash within it, is not there although the tree is said to have it."""


class Tiles:
    """A tree in memory as tiles: those that are needed to extend it, or to read from it."""

    def __init__(self, size: int, hashes: dict[TileId, bytes]) -> None:
        """Create a tree of `size` leaves of which some tiles are known; each is a run of hashes of 32 bytes."""
        self.size = size
        self._hashes = hashes
        self._changed: set[TileId] = set()

    def read_node(self, level: int, index: int) -> bytes:
        """Return the root of the complete subtree of 2^level leaves. Raises TileMissing."""
        depth = level % TILE_HEIGHT
        tile = TileId(level // TILE_HEIGHT, (index << depth) // TILE_WIDTH)
        begin = ((index << depth) % TILE_WIDTH) * HASH_BYTES
        run = self._hashes.get(tile, b"")[begin : begin + (HASH_BYTES << depth)]
        if len(run) < HASH_BYTES << depth:
            raise TileMissing(
                f"tile {tile.number} of level {tile.level} lacks a hash of the tree of {self.size} leaves"
            )
        return hash_run(run)

    def find_leaf(self, index: int) -> bytes | None:
        """Return the hash of a leaf; None if its tile does not have it."""
        run = self._hashes.get(TileId(0, index // TILE_WIDTH), b"")
        found = run[(index % TILE_WIDTH) * HASH_BYTES :][:HASH_BYTES]
        return found if len(found) == HASH_BYTES else None

    def has_prefix(self, tile: TileId, hashes: bytes) -> bool:
        """Return whether a tile begins with these hashes."""
        return self._hashes.get(tile, b"").startswith(hashes)

    def append(self, leaf_hash: bytes) -> None:
        """Append the hash of a leaf, and those of the tiles that it completes to the levels above."""
        index, found = self.size, leaf_hash
        self.size += 1
        for level in range(LEVELS_MAX):
            tile = TileId(level, index // TILE_WIDTH)
            at = index % TILE_WIDTH
            self._hashes[tile] = self._hashes.get(tile, b"")[: at * HASH_BYTES] + found
            self._changed.add(tile)
            if at < TILE_WIDTH - 1:
                return
            index, found = tile.number, hash_run(self._hashes[tile])

    def take_changed(self) -> dict[TileId, bytes]:
        """Return the tiles that were changed since the last call, and forget those that will never be read again."""
        changed = {tile: self._hashes[tile] for tile in self._changed}
        self._changed = set()
        edge = set(list_edge(self.size))
        self._hashes = {tile: hashes for tile, hashes in self._hashes.items() if tile in edge}
        return changed


def hash_run(run: bytes) -> bytes:
    """Return the root over a run of hashes, whose number is a power of two."""
    hashes = [run[at : at + HASH_BYTES] for at in range(0, len(run), HASH_BYTES)]
    while len(hashes) > 1:
        hashes = [hash_children(hashes[at], hashes[at + 1]) for at in range(0, len(hashes), 2)]
    return hashes[0]


def list_edge(size: int) -> Iterator[TileId]:
    """Yield the partial tile of each level, in a tree of `size` leaves: all that is needed to extend it."""
    level = 0
    while size:
        if size % TILE_WIDTH:
            yield TileId(level, size // TILE_WIDTH)
        size //= TILE_WIDTH
        level += 1


def list_tiles(size: int) -> Iterator[tuple[TileId, int]]:
    """Yield every tile of a tree of `size` leaves, with its number of hashes."""
    level = 0
    while size:
        for number in range(0, size, TILE_WIDTH):
            yield TileId(level, number // TILE_WIDTH), min(TILE_WIDTH, size - number)
        size //= TILE_WIDTH
        level += 1
