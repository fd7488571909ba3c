"""Tiles: whatever the size, they give the roots and proofs of the tree, and extend it from their edge alone."""

import pytest

from store.seals.merkle import (
    compute_root,
    hash_leaf,
    prove_consistency,
    prove_inclusion,
    verify_consistency,
    verify_inclusion,
)
from store.seals.tiles import HASH_BYTES, TileId, TileMissing, Tiles, list_edge, list_tiles
from tests.store.seals.test_merkle import define_root

SIZES = (1, 2, 255, 256, 257, 511, 512, 513, 1_000, 65_535, 65_536, 65_537, 66_000)


def create_leaves(size: int) -> list[bytes]:
    return [number.to_bytes(4, "big") for number in range(size)]


@pytest.fixture(scope="module")
def whole() -> dict[int, dict[TileId, bytes]]:
    """Return the tiles of a growing tree, by each size of `SIZES`."""
    tiles, kept, found = Tiles(0, {}), dict[TileId, bytes](), dict[int, dict[TileId, bytes]]()
    for size, leaf in enumerate(create_leaves(SIZES[-1]), 1):
        tiles.append(hash_leaf(leaf))
        if size in SIZES:
            kept |= tiles.take_changed()
            found[size] = dict(kept)
    return found


@pytest.mark.parametrize("size", SIZES)
def test_a_tree_of_tiles_has_the_root_of_the_definition(size: int, whole: dict[int, dict[TileId, bytes]]) -> None:
    assert compute_root(size, Tiles(size, whole[size]).read_node) == define_root(create_leaves(size))
    assert {tile: len(hashes) // HASH_BYTES for tile, hashes in whole[size].items()} == dict(list_tiles(size))


def test_proofs_are_read_from_tiles(whole: dict[int, dict[TileId, bytes]]) -> None:
    size = SIZES[-1]
    read = Tiles(size, whole[size]).read_node
    root = compute_root(size, read)
    for index in (0, 1, 255, 256, 65_535, 65_536, size - 1):
        leaf_hash = hash_leaf(create_leaves(size)[index])
        verify_inclusion(leaf_hash, index, size, prove_inclusion(index, size, read), root)
    for old in SIZES:
        verify_consistency(old, compute_root(old, read), size, root, prove_consistency(old, size, read))


@pytest.mark.parametrize("size", SIZES)
def test_the_edge_alone_extends_a_tree(size: int, whole: dict[int, dict[TileId, bytes]]) -> None:
    """Hashes beyond the size, left behind by a longer log of before a restore, are overwritten."""
    edge = {tile: hashes + b"\xff" * HASH_BYTES for tile, hashes in whole[size].items() if tile in set(list_edge(size))}
    tiles = Tiles(size, edge)
    leaves = create_leaves(size + 300)
    for leaf in leaves[size:]:
        tiles.append(hash_leaf(leaf))
    assert compute_root(size + 300, tiles.read_node) == define_root(leaves)


def test_a_missing_hash_is_named() -> None:
    with pytest.raises(TileMissing, match="tile 1 of level 0"):
        Tiles(300, {TileId(0, 1): b"\0" * 32 * 43}).read_node(0, 299)
