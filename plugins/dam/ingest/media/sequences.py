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
#: Frames show the same within so many bits of 64: encoded again, or the next moment of the same shot. Those of
#: different pictures are mostly 20 and more apart.
ALIKE = 12


def of_key_frames(one: Sequence[int], other: Sequence[int], *, steps: tuple[float, float] = (1, 1)) -> float:
    """Return which part of one film's key frames the other shows, too, from 0 to 1: of that film which has more.

    1 is the same film, or all of it is in the other; 0 an unrelated one. Where the frames stand doesn't count, so
    that a film may begin later, lack a part, or be shown faster. A frame that stays, or comes back, counts as it
    does on the clock, but where that would make the films more alike than their different pictures do, each of
    these counts once: the card at the end, shown for long, makes no two films the same. A film of fewer than
    :data:`FEWEST` different pictures, one that is such a card, must be all of the other one as well.

    :param one: perceptual hashes, as ``Version`` keeps them. :param other: likewise.
    :param steps: seconds from one key frame to the next, of each; of the denser film every nth is compared.
    """
    first, second = (seen(hashes) for hashes in (one, other))
    if not len(first) or not len(second):
        return 0.0
    met = np.bitwise_count(first[:, None] ^ second[None, :]) <= ALIKE
    ratio = steps[1] / steps[0]
    shares = (
        _shown(first, met.any(axis=1), max(1, round(ratio))),
        _shown(second, met.any(axis=0), max(1, round(1 / ratio))),
    )
    few = min(pictures for _, pictures in shares) < FEWEST
    return min(shares)[0] if few else max(shares)[0]


def seen(hashes: Sequence[int]) -> NDArray[np.uint64]:
    """Return the perceptual hashes of frames that show something, unsigned."""
    array: NDArray[np.uint64] = np.array(hashes, np.int64).view(np.uint64)
    shown: NDArray[np.uint64] = array[array != BLANK]
    return shown


def _shown(frames: NDArray[np.uint64], met: NDArray[np.bool_], every: int) -> tuple[float, int]:
    """Return which part of a film's frames was met, and how many different pictures they are.

    :param every: only every nth frame is compared, from where they fit best.
    """
    found = (0.0, 0)
    for phase in range(min(every, len(frames))):
        part, known = frames[phase::every], met[phase::every]
        alike = np.bitwise_count(part[:, None] ^ part[None, :]) <= ALIKE
        left, shares = np.ones(len(part), bool), []
        while left.any():
            same = alike[left.argmax()] & left
            shares.append(float(known[same].mean()))
            left &= ~same
        found = max(found, (min(float(known.mean()), sum(shares) / len(shares)), len(shares)))
    return found


def similarity(one: NDArray[Any], other: NDArray[Any], *, bits: int, blank: int) -> float:
    """Return how alike two sequences are at the moment where they fit best, from 0 (unrelated) to 1 (the same).

    Unrelated items differ in half of their bits, so that is 0. What doesn't overlap counts as half unlike;
    less than half of the shorter sequence in common is not looked at.

    :param one: unsigned integers. :param other: likewise. :param bits: of an item.
    :param blank: an item that stands for nothing; it matches no other and is not counted.
    """
    one, other = sorted((_told(one, blank), _told(other, blank)), key=len)
    full = min(int((items != blank).sum()) for items in (one, other))
    if min(len({*np.unique(items).tolist()} - {blank}) for items in (one, other)) < FEWEST:
        return 0.0
    told = (one != blank)[:, None] & (other != blank)[None, :]
    counts = _diagonals(told)
    wrong = _diagonals(np.where(told, np.bitwise_count(one[:, None] ^ other[None, :]), np.uint8(0)))
    common = counts / full
    alike = np.maximum(0, 1 - 2 * wrong / np.maximum(1, counts) / bits) * (1 + common) / 2
    least = (len(one) + 1) // 2  # items that overlap, whether they tell something or not
    return float(np.where(common >= 0.5, alike, 0)[least - 1 : len(alike) + 1 - least].max())


def _told(items: NDArray[Any], blank: int) -> NDArray[Any]:
    """Return a sequence from the first to the last item that stands for something."""
    told = np.flatnonzero(items != blank)
    return items[told[0] : told[-1] + 1] if len(told) else items[:0]


def _diagonals(matrix: NDArray[Any]) -> NDArray[np.int64]:
    """Return the sum of every diagonal, from the lower left corner on: one for every way to lay a row on a column."""
    rows, columns = matrix.shape
    wide = np.zeros((rows, rows + columns), matrix.dtype)
    wide[:, :columns] = matrix[::-1]
    # read with rows that are one shorter, each row begins one further to the right
    slanted = wide.reshape(-1)[: rows * (rows + columns - 1)].reshape(rows, rows + columns - 1)
    sums: NDArray[np.int64] = slanted.sum(axis=0, dtype=np.int64)
    return sums
