"""Merkle trees: the root that RFC 9162 gives, and paths that prove one leaf and nothing else."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from dam import merkle

hashes = st.lists(st.binary(min_size=32, max_size=32).map(bytes.hex), min_size=1, max_size=40)


def by_the_book(leaves):
    """RFC 9162, 2.1.1, as it is written there."""
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + bytes.fromhex(leaves[0])).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + by_the_book(leaves[:split]) + by_the_book(leaves[split:])).digest()


@given(hashes)
def test_the_root_is_that_of_the_standard(leaves):
    assert merkle.root(leaves) == by_the_book(leaves).hex()


@given(hashes, st.data())
def test_a_path_proves_its_leaf_at_its_place_and_no_other(leaves, data):
    index = data.draw(st.integers(0, len(leaves) - 1))
    top = merkle.root(leaves)
    path = merkle.paths(leaves, [index])[index]
    assert merkle.climb(leaves[index], index, len(leaves), path) == top
    other = data.draw(st.integers(0, len(leaves) - 1).filter(lambda place: leaves[place] != leaves[index]) | st.none())
    if other is not None:
        assert merkle.climb(leaves[other], index, len(leaves), path) != top
    assert merkle.climb(leaves[index], index, len(leaves), [*path, "00" * 32]) != top
    assert merkle.climb(leaves[index], len(leaves), len(leaves), path) is None
    if path:
        assert merkle.climb(leaves[index], index, len(leaves), path[:-1]) != top


def test_nothing_has_a_root_too():
    assert merkle.root([]) == hashlib.sha256(b"").hexdigest()
