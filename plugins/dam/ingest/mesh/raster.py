"""Triangles into a depth buffer, in numpy: those of like size are tested together, large ones tile by tile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Whole = NDArray[np.int64]

#: Samples tested at a time.
_BATCH = 1 << 21
_TILE = 64
#: Of a triangle's size: samples so far outside still count as inside, so that there are no cracks between two.
_SLACK = -1e-5


class Buffer:
    """What is nearest at every sample: its nearness (0: nothing) and the number of its triangle (-1: none)."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.near = np.zeros(width * height, dtype=np.float32)
        self.face = np.full(width * height, -1, dtype=np.int32)


@dataclass(slots=True)
class Boxes:
    """The samples around triangles: the first column and row, and how many of each.

    :param face: whose they are, as a number of the triangles given.
    """

    face: Whole
    left: Whole
    top: Whole
    across: Whole
    down: Whole

    def of(self, chosen: Any) -> Boxes:
        """Return some of them."""
        return Boxes(self.face[chosen], self.left[chosen], self.top[chosen], self.across[chosen], self.down[chosen])


def boxes(at: Floats, faces: NDArray[Any], width: int, height: int) -> Boxes:
    """Return the boxes of those triangles that may cover the middle of a sample.

    :param at: places of points, in samples. :param faces: m × 3, numbers of points.
    """
    corners = at[faces]
    low = np.maximum(np.ceil(corners.min(axis=1) - 0.5), 0).astype(np.int64)
    high = np.minimum(np.floor(corners.max(axis=1) - 0.5), (width - 1, height - 1)).astype(np.int64)
    size = high - low + 1
    edges = corners[:, 1:] - corners[:, :1]
    area = edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0]
    kept = np.flatnonzero((size > 0).all(axis=1) & (np.abs(area) > 1e-9))
    return Boxes(kept, low[kept, 0], low[kept, 1], size[kept, 0], size[kept, 1])


def fill(buffer: Buffer, at: Floats, near: Floats, faces: NDArray[Any], numbers: NDArray[Any], *,
         below: Floats | None = None, above: Floats | None = None) -> None:  # fmt: skip
    """Draw triangles.

    :param near: of points; linear in the picture. :param numbers: what each triangle is called in the buffer.
    :param below: nearness at every sample that only what is farther is drawn. :param above: likewise, nearer.
    """
    if not len(faces):
        return
    found = boxes(at, faces, buffer.width, buffer.height)
    largest = np.maximum(found.across, found.down)
    size, smaller = 2, 0
    while size <= _TILE:
        chosen = found.of(np.flatnonzero((largest > smaller) & (largest <= size)))
        _fill(buffer, at, near, faces, numbers, chosen, size, below, above)
        size, smaller = 2 * size, size
    for tiles in _tiles(found.of(np.flatnonzero(largest > _TILE))):
        _fill(buffer, at, near, faces, numbers, tiles, _TILE, below, above)


def _tiles(large: Boxes) -> Iterator[Boxes]:
    """Cut large boxes into tiles, some at a time."""
    across, down = -(-large.across // _TILE), -(-large.down // _TILE)
    ends = np.cumsum(across * down)
    first = 0
    while first < len(ends):
        before = ends[first - 1] if first else 0
        last = max(int(np.searchsorted(ends, before + _BATCH // 64)), first) + 1
        part = slice(first, last)
        counts = (across * down)[part]
        whose = np.repeat(np.arange(first, first + len(counts)), counts)
        number = np.arange(len(whose)) - np.repeat(np.cumsum(counts) - counts, counts)
        column, row = number % across[whose] * _TILE, number // across[whose] * _TILE
        yield Boxes(
            large.face[whose], large.left[whose] + column, large.top[whose] + row,
            np.minimum(_TILE, large.across[whose] - column), np.minimum(_TILE, large.down[whose] - row),
        )  # fmt: skip
        first = last


def weights(corners: Floats, x: NDArray[Any], y: NDArray[Any]) -> Floats:
    """Return the weights of triangles' corners (n × 3 × 2) at one place each: n × 3."""
    across, down = corners[:, :, 0] - x[:, None], corners[:, :, 1] - y[:, None]
    made = np.roll(across, -1, axis=1) * np.roll(down, -2, axis=1) - np.roll(across, -2, axis=1) * np.roll(
        down, -1, axis=1
    )
    area = made.sum(axis=1, keepdims=True)
    shares: Floats = (made / np.where(np.abs(area) < 1e-9, 1e-9, area)).astype(np.float32)
    return shares


def _planes(at: Floats, faces: NDArray[Any], left: Any, top: Any) -> Floats:
    """Return, for every triangle, its three weights as planes: m × 3 × (by column, by row, at the first sample)."""
    corners = at[faces].astype(np.float64)
    corners -= np.stack([left + 0.5, top + 0.5], axis=-1)[:, None, :]
    made = np.empty((len(faces), 3, 3))
    for number in range(3):
        first, second = corners[:, (number + 1) % 3], corners[:, (number + 2) % 3]
        edge = second - first
        made[:, number, 0], made[:, number, 1] = -edge[:, 1], edge[:, 0]
        made[:, number, 2] = edge[:, 1] * first[:, 0] - edge[:, 0] * first[:, 1]
    area = made[:, :, 2].sum(axis=1)
    return (made / np.where(np.abs(area) < 1e-12, 1e-12, area)[:, None, None]).astype(np.float32)


def _fill(buffer: Buffer, at: Floats, near: Floats, faces: NDArray[Any], numbers: NDArray[Any], box: Boxes, size: int,
          below: Floats | None, above: Floats | None) -> None:  # fmt: skip
    """Draw triangles whose boxes fit ``size`` × ``size`` samples."""
    steps = np.arange(size)
    many = max(1, _BATCH // (size * size))
    for start in range(0, len(box.face), many):
        part = box.of(slice(start, start + many))
        own = faces[part.face]
        planes = _planes(at, own, part.left, part.top)
        depth = np.einsum("nk,nkp->np", near[own], planes)
        inside = (steps < part.across[:, None])[:, None, :] & (steps < part.down[:, None])[:, :, None]
        for number in range(3):
            across, down, first = (planes[:, number, place, None, None] for place in range(3))
            inside &= across * steps[None, None, :] + down * steps[None, :, None] + first >= _SLACK
        which, row, column = np.nonzero(inside)
        place = (part.top[which] + row) * buffer.width + part.left[which] + column
        nearness = depth[which, 0] * column + depth[which, 1] * row + depth[which, 2]
        nearness = nearness.astype(np.float32)
        seen = nearness > buffer.near[place]
        if below is not None:
            seen &= nearness < below[place]
        if above is not None:
            seen &= nearness > above[place]
        place, nearness, which = place[seen], nearness[seen], which[seen]
        np.maximum.at(buffer.near, place, nearness)
        won = buffer.near[place] == nearness
        buffer.face[place[won]] = numbers[part.face[which[won]]]
