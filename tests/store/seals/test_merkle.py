"""Merkle trees: roots as in the test vectors of Certificate Transparency, and every proof of every small tree."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.seals.merkle import (
    EMPTY_ROOT,
    ProofInvalid,
    ReadNode,
    compute_root,
    find_split,
    hash_children,
    hash_leaf,
    prove_consistency,
    prove_inclusion,
    verify_consistency,
    verify_inclusion,
)

# Leaves and roots of the reference tree of Certificate Transparency
# (google/certificate-transparency, cpp/merkletree/merkle_tree_test.cc).
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
SIZE_MAX = 40


def read_from(leaves: Sequence[bytes]) -> ReadNode:
    """Return a reader that computes each subtree by the recursive definition of RFC 6962."""

    def read(level: int, index: int) -> bytes:
        if level == 0:
            return hash_leaf(leaves[index])
        return hash_children(read(level - 1, 2 * index), read(level - 1, 2 * index + 1))

    return read


def define_root(leaves: Sequence[bytes]) -> bytes:
    """Return the root by the definition of RFC 6962, section 2.1."""
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return hash_leaf(leaves[0])
    middle = find_split(len(leaves))
    return hash_children(define_root(leaves[:middle]), define_root(leaves[middle:]))


@pytest.mark.parametrize("size", range(1, len(ROOTS) + 1))
def test_roots_are_those_of_certificate_transparency(size: int) -> None:
    assert compute_root(size, read_from(LEAVES)).hex() == ROOTS[size - 1]


def test_roots_follow_the_definition_of_the_rfc() -> None:
    leaves = [str(number).encode() for number in range(SIZE_MAX)]
    for size in range(SIZE_MAX):
        assert compute_root(size, read_from(leaves)) == define_root(leaves[:size])


def test_every_leaf_of_every_tree_is_proved_and_no_other_is() -> None:
    leaves = [str(number).encode() for number in range(SIZE_MAX)]
    read = read_from(leaves)
    for size in range(1, SIZE_MAX + 1):
        root = compute_root(size, read)
        for index in range(size):
            path = prove_inclusion(index, size, read)
            verify_inclusion(hash_leaf(leaves[index]), index, size, path, root)
            for changed in (
                (hash_leaf(b"other"), index, size, path, root),
                (hash_leaf(leaves[index]), index, size, [*path, root], root),
                (hash_leaf(leaves[index]), size, size, path, root),
                (hash_leaf(leaves[index]), index, size, path, hash_leaf(b"other")),
                *([(hash_leaf(leaves[index]), index, size, path[:-1], root)] if path else []),
                *([(hash_leaf(leaves[index]), (index + 1) % size, size, path, root)] if size > 1 else []),
            ):
                with pytest.raises(ProofInvalid):
                    verify_inclusion(*changed)


def test_every_tree_is_proved_to_be_a_prefix_of_every_later_one() -> None:
    leaves = [str(number).encode() for number in range(SIZE_MAX)]
    read = read_from(leaves)
    roots = [compute_root(size, read) for size in range(SIZE_MAX + 1)]
    for size in range(SIZE_MAX + 1):
        for old_size in range(size + 1):
            path = prove_consistency(old_size, size, read)
            verify_consistency(old_size, roots[old_size], size, roots[size], path)
            with pytest.raises(ProofInvalid):
                verify_consistency(old_size, hash_leaf(b"other"), size, roots[size], path)
            if 0 < old_size < size:
                with pytest.raises(ProofInvalid):
                    verify_consistency(old_size, roots[old_size], size, hash_leaf(b"other"), path)
                with pytest.raises(ProofInvalid):
                    verify_consistency(old_size, roots[old_size], size, roots[size], path[:-1])


@given(st.lists(st.binary(max_size=4), min_size=2, max_size=60), st.data())
def test_a_changed_leaf_changes_the_root_and_breaks_consistency(leaves: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    old_size = data.draw(st.integers(index + 1, len(leaves)))
    changed = [*leaves[:index], leaves[index] + b"!", *leaves[index + 1 :]]
    old_root, root = compute_root(old_size, read_from(leaves)), compute_root(len(leaves), read_from(changed))
    path = prove_consistency(old_size, len(leaves), read_from(changed))
    with pytest.raises(ProofInvalid):
        verify_consistency(old_size, old_root, len(leaves), root, path)
