"""Compares sequences of bit patterns that may begin at different moments: items of sound, frames of video."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: So few different items say nothing: silence, or a still.
FEWEST = 3
#: The key frame of a moment at which there is nothing to see: black, or one colour all over.
BLANK = 0


def of_key_frames(one: Sequence[int], other: Sequence[int]) -> float:
    """Return how alike two videos are, by the perceptual hashes of their key frames, as ``Version`` keeps them.

    1 is the same film, 0 an unrelated one; above 0.7 it is the same one, encoded, scaled or trimmed another way.
    Key frames stand evenly, at a distance that is doubled for longer films, so that of two lists that don't fit
    each other, one may have to be thinned.
    """
    first, second = (np.array(hashes, np.int64).view(np.uint64) for hashes in (one, other))
    thinned = [(first, second), *((first[::n], second) for n in (2, 4)), *((first, second[::n]) for n in (2, 4))]
    return max(similarity(left, right, bits=64, blank=BLANK) for left, right in thinned)


def similarity(one: NDArray[Any], other: NDArray[Any], *, bits: int, blank: int | None = None) -> float:
    """Return how alike two sequences are at the moment where they fit best, from 0 (unrelated) to 1 (the same).

    Unrelated items differ in half of their bits, so that is 0. What doesn't overlap counts as half unlike;
    less than half of the shorter sequence in common is not looked at.

    :param one: unsigned integers. :param other: likewise. :param bits: of an item.
    :param blank: an item that stands for nothing; it matches no other and is not counted.
    """
    if len(one) > len(other):
        one, other = other, one
    if min(_variety(one, blank), _variety(other, blank)) < FEWEST:
        return 0.0
    least = (len(one) + 1) // 2
    shifts = range(least - len(one), len(other) - least + 1)
    return max(_alike(one, other, shift, bits, blank) for shift in shifts)


def _variety(items: NDArray[Any], blank: int | None) -> int:
    return len(set(np.unique(items).tolist()) - {blank})


def _alike(one: NDArray[Any], other: NDArray[Any], shift: int, bits: int, blank: int | None) -> float:
    """Compare with the first item of ``one`` laid on ``other[shift]``."""
    start, end = max(0, shift), min(len(other), shift + len(one))
    mine, theirs = one[start - shift : end - shift], other[start:end]
    common = len(mine) / len(one)
    if blank is not None:
        told = (mine != blank) & (theirs != blank)
        mine, theirs = mine[told], theirs[told]
        if len(mine) < FEWEST:
            return 0.0
    wrong = float(np.bitwise_count(mine ^ theirs).mean()) / bits
    return max(0.0, 1 - 2 * wrong) * (1 + common) / 2
