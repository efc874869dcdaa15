"""Tells whether there is lettering in a picture: rows of small marks that stand like letters do. Reads nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: Pictures are looked at in this size (longer side, pixels).
SIDE = 640
#: A mark stands out from what is around it by so much (of 255).
_CONTRAST = 24
#: So many marks in a row are lettering; gravel and coins make rows of six.
_ROW = 7
#: The next letter is looked for among so many marks to the right.
_REACH = 400


@dataclass(frozen=True, slots=True)
class _Marks:
    """Patches that stand out, from left to right: centre, size, tone, and area by height (about a stroke's width)."""

    x: Floats
    y: Floats
    width: Floats
    height: Floats
    tone: Floats
    stroke: Floats


def letters(grey: Any) -> int:
    """Return how many letters stand in rows of seven or more.

    :param grey: a libvips image of one band, 8 bit, at most :data:`SIDE` pixels wide and high.
    """
    seen = np.ndarray(buffer=grey.write_to_memory(), dtype=np.uint8, shape=(grey.height, grey.width)).astype(np.int32)
    around = _blurred(seen, max(6, min(seen.shape) // 30))
    level = np.where(seen < around - _CONTRAST, 1, np.where(seen > around + _CONTRAST, 2, 0)).astype(np.uint8)
    return sum(_in_rows(marks) for marks in _marks(seen, level))


def _blurred(seen: NDArray[np.int32], radius: int) -> Floats:
    """Return the mean around each pixel."""
    side = 2 * radius + 1
    padded = np.pad(seen, ((radius + 1, radius), (radius + 1, radius)), mode="edge")
    sums = padded.cumsum(0).cumsum(1)
    found: Floats = (sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]) / side**2
    return found


def _marks(seen: NDArray[np.int32], level: NDArray[np.uint8]) -> list[_Marks]:
    """Return patches of the size and shape of letters, dark ones and light ones apart."""
    import pyvips

    height, width = level.shape
    mask = pyvips.Image.new_from_memory(level.tobytes(), width, height, 1, "uchar").labelregions()
    labels = np.ndarray(buffer=mask.write_to_memory(), dtype=np.int32, shape=level.shape).ravel()
    count = int(labels.max()) + 1
    area = np.maximum(np.bincount(labels, minlength=count), 1)
    side = np.zeros(count, np.uint8)
    side[labels] = level.ravel()

    def mean(values: NDArray[Any]) -> Floats:
        found: Floats = np.bincount(labels, values.ravel(), count) / area
        return found

    places: NDArray[np.float64] = np.indices(level.shape).astype(np.float64)
    rows, columns = places[0, :, :], places[1, :, :]
    y, x = mean(rows), mean(columns)
    # a box of that many pixels has this variance
    high = np.sqrt(12 * np.maximum(mean(rows * rows) - y * y, 0) + 1)
    wide = np.sqrt(12 * np.maximum(mean(columns * columns) - x * x, 0) + 1)
    filled = area / (high * wide)
    fits = (high >= 7) & (high <= height / 5) & (wide <= 2 * high) & (wide >= high * 0.08)
    fits &= (filled > 0.12) & (filled < 1.05) & (area >= 12)
    tone = mean(seen)
    found = []
    for one in (1, 2):
        which = np.flatnonzero(fits & (side == one))
        which = which[np.argsort(x[which], kind="stable")]
        found.append(_Marks(x[which], y[which], wide[which], high[which], tone[which], (area / high)[which]))
    return found


def _in_rows(marks: _Marks) -> int:
    used = np.zeros(len(marks.x), dtype=bool)
    total = 0
    for start in range(len(marks.x)):
        if used[start]:
            continue
        row = _row(marks, start, used)
        if len(row) >= _ROW and _like_letters(marks, row):
            used[row] = True
            total += len(row)
    return total


def _row(marks: _Marks, start: int, used: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return a mark and those that follow it to the right, each close to the one before, level and alike."""
    row = [start]
    while True:
        at = row[-1]
        after = np.arange(at + 1, min(len(marks.x), at + _REACH))
        taller = np.maximum(marks.height[after], marks.height[at])
        gap = marks.x[after] - marks.width[after] / 2 - (marks.x[at] + marks.width[at] / 2)
        fits = (gap > -0.25 * taller) & (gap < 0.9 * taller) & (marks.x[after] > marks.x[at] + 1) & ~used[after]
        fits &= np.abs(marks.y[after] - marks.y[at]) < 0.35 * taller
        fits &= np.minimum(marks.height[after], marks.height[at]) > 0.45 * taller
        fits &= np.abs(marks.tone[after] - marks.tone[at]) < 28
        after = after[fits]
        if not len(after):
            return np.array(row)
        row.append(int(after[np.argmin(marks.x[after] - marks.width[after] / 2)]))


def _like_letters(marks: _Marks, row: NDArray[np.int64]) -> bool:
    """Return whether marks stand on a line, are about as high and thick as each other, and differ in width."""
    x, y, height = marks.x[row], marks.y[row], marks.height[row]
    usual = float(np.median(height))
    crooked = np.abs(y - np.polyval(np.polyfit(x, y, 1), x)).mean() / usual
    width, stroke = marks.width[row], marks.stroke[row]
    return bool(
        crooked < 0.12
        and height.std() / usual < 0.3
        and stroke.std() / stroke.mean() < 0.55
        and width.std() / width.mean() > 0.15
    )
