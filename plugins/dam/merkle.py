"""Merkle trees over hashes, as Certificate Transparency has them (RFC 9162, section 2.1).

A root stands for a list of hashes; a path shows that one hash is in the list without telling the others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

EMPTY = hashlib.sha256(b"").hexdigest()


def root(leaves: Iterable[str]) -> str:
    """Return the root (hex) over leaves (hex), in their order; keeps no more than one hash a level."""
    stack: list[tuple[int, bytes]] = []  # (height, hash), higher ones first
    for leaf in leaves:
        height, node = 0, _leaf(leaf)
        while stack and stack[-1][0] == height:
            node = _node(stack.pop()[1], node)
            height += 1
        stack.append((height, node))
    if not stack:
        return EMPTY
    _, node = stack.pop()
    while stack:
        node = _node(stack.pop()[1], node)
    return node.hex()


def paths(leaves: Sequence[str], wanted: Iterable[int]) -> dict[int, list[str]]:
    """Return the path (hex, from the leaf up) of each wanted leaf, by its index from 0."""
    found: dict[int, list[str]] = {index: [] for index in wanted}
    at = {index: index for index in found}
    sha256 = hashlib.sha256  # by its own name: there may be a million
    level = [sha256(b"\x00" + bytes.fromhex(leaf)).digest() for leaf in leaves]
    while len(level) > 1:
        for index, place in at.items():
            if place ^ 1 < len(level):
                found[index].append(level[place ^ 1].hex())
            at[index] = place // 2
        above = [sha256(b"\x01" + left + right).digest() for left, right in zip(level[::2], level[1::2], strict=False)]
        level = above + level[len(above) * 2 :]  # a last one without a partner goes up as it is
    return found


def climb(leaf: str, index: int, size: int, path: Sequence[str]) -> str | None:
    """Return the root that a leaf's path leads to; None when the path does not fit its place (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return None
    node, last = _leaf(leaf), size - 1
    for other in path:
        if last == 0:
            return None
        if index % 2 or index == last:
            node = _node(bytes.fromhex(other), node)
            while index and not index % 2:
                index, last = index >> 1, last >> 1
        else:
            node = _node(node, bytes.fromhex(other))
        index, last = index >> 1, last >> 1
    return node.hex() if last == 0 else None


def _leaf(content: str) -> bytes:
    return hashlib.sha256(b"\x00" + bytes.fromhex(content)).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()
