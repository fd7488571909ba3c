"""Merkle tree hashing, inclusion proofs and consistency proofs over an append-only list of leaves.

Source: RFC 6962, section 2.1, and RFC 9162, sections 2.1.1 to 2.1.4. Indexes count leaves from 0. A tree is read by
`ReadNode`: the root of the complete subtree of 2^level leaves that begins at leaf `index * 2^level`.
"""

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = sha256(b"").digest()
LEAF_PREFIX: Final = b"\x00"
NODE_PREFIX: Final = b"\x01"

ReadNode = Callable[[int, int], bytes]
"""Return the hash of a complete subtree, by its level and its index within the level."""


class ProofInvalid(ValueError):  # noqa: N818  # an answer to whoever checks a proof
    """A proof does not lead to the root that it is held against."""


def hash_leaf(data: bytes) -> bytes:
    """Return the hash of a leaf: SHA-256 over 0x00 and its data."""
    return sha256(LEAF_PREFIX + data).digest()


def hash_children(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node: SHA-256 over 0x01 and the hashes of its children."""
    return sha256(NODE_PREFIX + left + right).digest()


def split_range(begin: int, end: int) -> list[tuple[int, int]]:
    """Return the largest complete subtrees that cover leaves `begin` to `end`, as (level, index), from left to right.

    `begin` must be a multiple of every power of two up to the size of the range, as in any subtree of a tree.
    """
    subtrees: list[tuple[int, int]] = []
    while begin < end:
        level = (end - begin).bit_length() - 1
        subtrees.append((level, begin >> level))
        begin += 1 << level
    return subtrees


def hash_range(begin: int, end: int, read: ReadNode) -> bytes:
    """Return the hash of the subtree over leaves `begin` to `end`: MTH(D[begin:end]) of RFC 6962."""
    hashes = [read(level, index) for level, index in split_range(begin, end)]
    if not hashes:
        return EMPTY_ROOT
    root = hashes.pop()
    while hashes:
        root = hash_children(hashes.pop(), root)
    return root


def compute_root(size: int, read: ReadNode) -> bytes:
    """Return the root of the tree over the first `size` leaves."""
    return hash_range(0, size, read)


def find_split(size: int) -> int:
    """Return the largest power of two that is smaller than `size`, which is at least 2."""
    return 1 << ((size - 1).bit_length() - 1)


def prove_inclusion(index: int, size: int, read: ReadNode) -> list[bytes]:
    """Return the audit path of a leaf in the tree over `size` leaves, from the leaf to the root. Raises ValueError."""
    if not 0 <= index < size:
        raise ValueError(f"there is no leaf {index} in a tree of {size} leaves")
    path: list[bytes] = []
    begin, end = 0, size
    while end - begin > 1:
        middle = begin + find_split(end - begin)
        if index < middle:
            path.append(hash_range(middle, end, read))
            end = middle
        else:
            path.append(hash_range(begin, middle, read))
            begin = middle
    return path[::-1]


def prove_consistency(old_size: int, size: int, read: ReadNode) -> list[bytes]:
    """Return the proof that the tree over `old_size` leaves is a prefix of that over `size`. Raises ValueError."""
    if not 0 <= old_size <= size:
        raise ValueError(f"a tree of {size} leaves cannot contain one of {old_size}")
    if old_size in (0, size):
        return []
    path: list[bytes] = []
    begin, end = 0, size
    is_whole = True  # the old tree is a complete subtree of all that was split off so far: its root is known
    while old_size != end:
        middle = begin + find_split(end - begin)
        if old_size <= middle:
            path.append(hash_range(middle, end, read))
            end = middle
        else:
            path.append(hash_range(begin, middle, read))
            begin = middle
            is_whole = False
    if not is_whole:
        path.append(hash_range(begin, end, read))
    return path[::-1]


def list_sides(node: int, last: int, length: int) -> list[bool]:
    """Return for each hash of a path, from a node up to the root, whether it stands on the left.

    `node` and `last` are the indexes of the node and of the last node of its level. Raises ProofInvalid for a path of
    the wrong length.
    """
    sides: list[bool] = []
    for _ in range(length):
        if last == 0:
            raise ProofInvalid("the path is too long")
        is_left = node % 2 == 1 or node == last
        sides.append(is_left)
        while is_left and node % 2 == 0 and node != 0:
            node >>= 1
            last >>= 1
        node >>= 1
        last >>= 1
    if last != 0:
        raise ProofInvalid("the path is too short")
    return sides


def verify_inclusion(leaf_hash: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> None:
    """Raise ProofInvalid unless a path proves that a leaf is in a tree (RFC 9162, section 2.1.3.2)."""
    if not 0 <= index < size:
        raise ProofInvalid(f"there is no leaf {index} in a tree of {size} leaves")
    found = leaf_hash
    for is_left, sibling in zip(list_sides(index, size - 1, len(path)), path, strict=True):
        found = hash_children(sibling, found) if is_left else hash_children(found, sibling)
    if found != root:
        raise ProofInvalid(f"leaf {index} is not in the tree of {size} leaves with this root")


def verify_consistency(old_size: int, old_root: bytes, size: int, root: bytes, path: Sequence[bytes]) -> None:
    """Raise ProofInvalid unless a path proves that one tree is a prefix of another (RFC 9162, section 2.1.4.2)."""
    if not 0 <= old_size <= size:
        raise ProofInvalid(f"a tree of {size} leaves cannot contain one of {old_size}")
    if old_size in (0, size):
        if path or old_root != (EMPTY_ROOT if old_size == 0 else root):
            raise ProofInvalid(
                "equal trees have equal roots, every tree begins with the empty one, and the path is empty"
            )
        return
    hashes = list(path) if old_size & (old_size - 1) else [old_root, *path]
    if not hashes:
        raise ProofInvalid("the path is too short")
    shared = (old_size & -old_size).bit_length() - 1  # levels up to the last complete subtree of the old tree
    old_found = found = hashes[0]
    sides = list_sides((old_size - 1) >> shared, (size - 1) >> shared, len(hashes) - 1)
    for is_left, sibling in zip(sides, hashes[1:], strict=True):
        if is_left:
            old_found = hash_children(sibling, old_found)
        found = hash_children(sibling, found) if is_left else hash_children(found, sibling)
    if old_found != old_root or found != root:
        raise ProofInvalid(f"the tree of {old_size} leaves is not a prefix of the tree of {size} leaves")
