"""What changed between two pictures, seen as people see it: which part of it, where, and a picture that shows it.

Both are compared at one size, in CIE L*a*b*, blurred a little, and each point with the points around its own in the
other picture: so another size, another encoder or a shift of less than a pixel is no change. Where the shapes differ,
or hardly anything lies where it lay, one is looked for inside the other: a crop is told as a crop.

Works on previews, which are our own renditions; knows no catalogue.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyvips

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[np.float32]

#: Edition of this module's figures and pictures; part of the difference picture's name.
EDITION = 1
#: Longest side at which two pictures are compared, in pixels.
SIDE = 1024
#: Colour difference (CIE76) from which on a point counts as changed: well above what encoders do.
CHANGED = 7.0
#: Parts of the picture that are nearer than this (a share of the longer side) are one region.
NEAR = 0.012
#: Least share of a picture that is told as a region, and most regions that are told one by one.
LEAST, MOST = 0.0002, 24
#: Above this share of change in place, one picture is looked for inside the other.
MOVED = 0.2
#: How well one must fit into the other to be called a crop of it, and to be looked for more finely: normalised
#: correlation, 1 the same.
FITS, COARSELY = 0.75, 0.5
#: Longer sides at which it is looked for, from coarse to fine.
LEVELS = (96, 192, 384, 640)
#: A part smaller than this share of the other's width isn't looked for.
SMALLEST = 0.25

Box = list[float]  # x, y, width, height in per cent


@dataclass(frozen=True, slots=True)
class Difference:
    """How a newer picture differs from an older one.

    :param share: which part changed of what both show, 0 to 1; None where they have nothing in common.
    :param boxes: regions that changed, in per cent of the newer picture, the largest first.
    :param more: how many further regions there are.
    :param reshaped: their proportions differ.
    :param common: the part that both show: ``{"from": box, "to": box}``, each in per cent of that picture; None
        where they have nothing in common.
    :param lighter: by how much the newer one is lighter on the whole, in L* (0 to 100); negative: darker.
    :param tinted: by how much its colours moved on the whole, in a*b*.
    """

    share: float | None
    boxes: list[Box]
    more: int
    reshaped: bool
    common: dict[str, Box] | None
    lighter: float
    tinted: float

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON keeps it."""
        return asdict(self)

    @property
    def cropped(self) -> str:
        """``from`` where the newer shows a part of the older, ``to`` where it is the other way round; else empty."""
        for side in ("from", "to"):
            if (
                self.common
                and _area(self.common[side]) < 99 * _area(self.common["to" if side == "from" else "from"]) / 100
            ):
                return side
        return ""


def between(older: bytes, newer: bytes) -> tuple[Difference, bytes]:
    """Compare two pictures.

    :param older: an encoded picture, of ours. :param newer: likewise.
    :returns: the figures, and a JPEG as large as the newer one: its own picture in grey, what changed in colour.
    """
    one, other = (_opened(data) for data in (older, newer))
    slack = 1.5 / min(one.width, one.height, other.width, other.height)
    reshaped = abs(one.width * other.height / (one.height * other.width) - 1) > slack
    whole = None if reshaped else _compared(one, other, [0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0])
    best = whole
    if whole is None or whole.share > MOVED:
        place = _place(one, other)
        if place is not None:
            moved = _compared(one, other, *place)
            if whole is None or moved.share < whole.share / 2:
                best = moved
    if best is None:
        return Difference(None, [], 0, reshaped, None, 0.0, 0.0), _drawn(other, None)
    boxes, more = _regions(best)
    told = Difference(
        share=round(float(best.share), 5),
        boxes=boxes,
        more=more,
        reshaped=reshaped,
        common={"from": _percent(best.older), "to": _percent(best.newer)},
        lighter=round(float(best.lighter), 1),
        tinted=round(float(best.tinted), 1),
    )
    return told, _drawn(other, best)


# ------------------------------------------------------------------------------------------------- comparing


@dataclass(frozen=True, slots=True)
class _Compared:
    """Two parts laid over each other: how far each point is from its like, and which changed."""

    older: Box  # the part of the older picture, in fractions
    newer: Box
    far: Pixels
    changed: NDArray[np.bool_]
    lighter: float
    tinted: float

    @property
    def share(self) -> float:
        return float(self.changed.mean())


def _opened(data: bytes) -> Any:
    image = pyvips.Image.new_from_buffer(data, "").autorot()
    if image.hasalpha():
        image = image.flatten(background=255)
    return image.colourspace("srgb").copy_memory()


def _compared(one: Any, other: Any, older: Box, newer: Box) -> _Compared:
    first, second = _cut(one, older), _cut(other, newer)
    wide = min(first.width, second.width)
    high = min(first.height, second.height)
    shrink = min(1.0, SIDE / max(wide, high))
    size = max(8, round(wide * shrink)), max(8, round(high * shrink))
    a, b = (_lab(part, size) for part in (first, second))
    far = _nearest(a, b)
    changed = _solid(far > CHANGED)
    by = (b - a).mean(axis=(0, 1))
    return _Compared(older, newer, far, changed, float(by[0]), float(np.hypot(by[1], by[2])))


def _cut(image: Any, box: Box) -> Any:
    left, top = round(box[0] * image.width), round(box[1] * image.height)
    width = min(image.width - left, max(1, round(box[2] * image.width)))
    height = min(image.height - top, max(1, round(box[3] * image.height)))
    return image.crop(left, top, width, height)


def _lab(part: Any, size: tuple[int, int]) -> Pixels:
    """Return a part at one size in L*a*b*, blurred as an eye at some distance blurs it: colour more than light."""
    if (part.width, part.height) != size:
        part = part.resize(size[0] / part.width, vscale=size[1] / part.height)
    lab = part.colourspace("lab")
    seen = lab[0].gaussblur(1.5).bandjoin(lab[1:3].gaussblur(3))
    pixels: Pixels = np.ndarray(buffer=seen.cast("float").write_to_memory(), dtype=np.float32, shape=(*size[::-1], 3))
    return pixels


def _nearest(a: Pixels, b: Pixels) -> Pixels:
    """Return how far each point's colour is from the nearest one around its place in the other picture."""
    padded = np.pad(a, ((1, 1), (1, 1), (0, 0)), mode="edge")
    height, width = a.shape[:2]
    least = np.full((height, width), np.inf, np.float32)
    for down in range(3):
        for right in range(3):
            step = padded[down : down + height, right : right + width] - b
            np.minimum(least, np.einsum("ijk,ijk->ij", step, step), out=least)
    return np.sqrt(least)


def _solid(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a mask without specks: a point counts where most points around it do."""
    if min(mask.shape) < 5:
        return mask
    image = _vips(mask.astype(np.uint8) * 255)
    kept = image.median(5)
    return np.ndarray(buffer=kept.write_to_memory(), dtype=np.uint8, shape=mask.shape) > 127


def _vips(pixels: NDArray[np.uint8]) -> Any:
    return pyvips.Image.new_from_memory(
        np.ascontiguousarray(pixels).tobytes(), pixels.shape[1], pixels.shape[0], 1, "uchar"
    )


# --------------------------------------------------------------------------------------------------- regions


def _regions(found: _Compared) -> tuple[list[Box], int]:
    """Return the boxes of changed regions in per cent of the newer picture, and how many more there are."""
    height, width = found.changed.shape
    if not found.changed.any():
        return [], 0
    around = max(1, round(max(width, height) * NEAR))
    grown = _vips(found.changed.astype(np.uint8) * 255).gaussblur(around / 2, precision="approximate") > 0
    labels = np.ndarray(
        buffer=grown.labelregions().cast("uint").write_to_memory(), dtype=np.uint32, shape=(height, width)
    )
    rows, columns = np.nonzero(found.changed)
    named = labels[rows, columns]
    order = np.argsort(named, kind="stable")
    named, rows, columns = named[order], rows[order], columns[order]
    starts = np.flatnonzero(np.r_[True, named[1:] != named[:-1]])
    regions = []
    for start, end in zip(starts, [*starts[1:], len(named)], strict=True):
        top, bottom = rows[start:end].min(), rows[start:end].max() + 1
        left, right = columns[start:end].min(), columns[start:end].max() + 1
        regions.append(
            (int(end - start), [left / width, top / height, (right - left) / width, (bottom - top) / height])
        )
    regions.sort(key=lambda region: -region[0])
    large = [box for points, box in regions if points >= LEAST * width * height]
    x, y, wide, high = found.newer
    placed = [[x + box[0] * wide, y + box[1] * high, box[2] * wide, box[3] * high] for box in large[:MOST]]
    return [_percent(box) for box in placed], len(large[MOST:])


def _percent(box: Box) -> Box:
    return [round(float(part) * 100, 3) for part in box]


def _area(box: Box) -> float:
    return box[2] * box[3]


# --------------------------------------------------------------------------------------------------- looking


def _place(one: Any, other: Any) -> tuple[Box, Box] | None:
    """Return where the parts lie that two pictures share, where one shows a part of the other; None: it does not."""
    whole: Box = [0.0, 0.0, 1.0, 1.0]
    one, other = (_grey(image, LEVELS[-1] * 1.5) for image in (one, other))
    inside = _inside(one, other)  # the newer shows a part of the older
    if inside is not None:
        return inside, whole
    around = _inside(other, one)
    return (whole, around) if around is not None else None


def _grey(image: Any, longest: float) -> Any:
    scale = min(1.0, longest / max(image.width, image.height))
    return image.colourspace("b-w").resize(scale).copy_memory()


def _inside(big: Any, small: Any) -> Box | None:
    """Look for a picture inside another at every size, from coarse to fine; return where it is, in fractions."""
    steps = np.geomspace(1.0, SMALLEST, 48)
    best: tuple[float, float, float, float] = (0.0, 1.0, 0.0, 0.0)
    for level in LEVELS:
        scale = level / max(big.width, big.height)
        field = _values(big, max(8, round(big.width * scale)), max(8, round(big.height * scale)))
        part = small.resize(min(1.0, 1.5 * level / max(small.width, small.height))).copy_memory()
        found = [fit for step in steps if step <= 1.0 and (fit := _fit(field, part, float(step))) is not None]
        best = max(found, default=best)
        if best[0] < (FITS if level == LEVELS[-1] else COARSELY):
            return None
        steps = best[1] * (1 + np.arange(-2, 3) * 0.5 / level)
    _, wide, x, y = best
    high = wide * big.width * small.height / small.width / big.height
    return [x, y, min(wide, 1 - x), min(high, 1 - y)]


def _fit(field: Pixels, small: Any, step: float) -> tuple[float, float, float, float] | None:
    """Return how well a picture fits into a field at one width, and where: score, width, left, top, in fractions."""
    width = round(field.shape[1] * step)
    height = round(width * small.height / small.width)
    if min(width, height) < 12 or height > field.shape[0] or width > field.shape[1]:
        return None
    scores = _correlated(field, _values(small, width, height))
    top, left = np.unravel_index(int(scores.argmax()), scores.shape)
    return float(scores[top, left]), step, float(left / field.shape[1]), float(top / field.shape[0])


def _values(grey: Any, width: int, height: int) -> Pixels:
    seen = grey.resize(width / grey.width, vscale=height / grey.height).cast("float")
    pixels: Pixels = np.ndarray(buffer=seen.write_to_memory(), dtype=np.float32, shape=(seen.height, seen.width))
    return pixels


def _correlated(field: Pixels, part: Pixels) -> NDArray[np.float64]:
    """Return the normalised cross-correlation of a part at every place of a field (Lewis 1995)."""
    height, width = part.shape
    down, right = field.shape[0] - height + 1, field.shape[1] - width + 1
    centred = part - part.mean(dtype=np.float64)
    shape = [-(-side // 16) * 16 for side in field.shape]  # sides that are quick to transform
    product = np.fft.irfft2(np.fft.rfft2(field, shape) * np.conj(np.fft.rfft2(centred, shape)), shape)[:down, :right]
    sums, squares = (
        _sums(values, height, width) for values in (field.astype(np.float64), field.astype(np.float64) ** 2)
    )
    spread = np.maximum(squares - sums**2 / part.size, 0)
    size = np.sqrt(spread * float((centred**2).sum()))
    flat = size < 1e-3 * part.size
    scores: NDArray[np.float64] = np.where(flat, 0.0, product / np.where(flat, 1.0, size))
    return scores


def _sums(values: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    total = np.pad(values.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    sums: NDArray[np.float64] = (
        total[height:, width:] - total[:-height, width:] - total[height:, :-width] + total[:-height, :-width]
    )
    return sums


# --------------------------------------------------------------------------------------------------- drawing

#: What changed is drawn in this colour, which the grey below it never has.
_COLOUR = (214, 0, 110)


def _drawn(newer: Any, found: _Compared | None) -> bytes:
    """Return the newer picture in pale grey with what changed in colour; what the older one did not show is darker."""
    grey = newer.colourspace("b-w") * 0.6 + 96
    picture = grey.cast("uchar").bandjoin([grey.cast("uchar")] * 2).copy(interpretation="srgb")
    if found is not None:
        x, y, wide, high = found.newer
        left, top = round(x * newer.width), round(y * newer.height)
        width, height = (
            min(newer.width - left, round(wide * newer.width)),
            min(newer.height - top, round(high * newer.height)),
        )
        strength = np.where(found.changed, np.clip(found.far / 40, 0.55, 1.0), 0.0) * 255
        mask = _vips(strength.astype(np.uint8))
        mask = mask.resize(width / mask.width, vscale=height / mask.height, kernel="linear")
        veil = (pyvips.Image.black(newer.width, newer.height) + 0.55).insert(
            pyvips.Image.black(width, height) + 1, left, top
        )
        picture = (picture * veil).cast("uchar").copy(interpretation="srgb")
        over = mask.embed(left, top, newer.width, newer.height) / 255
        colour = pyvips.Image.black(newer.width, newer.height).bandjoin([0, 0]) + list(_COLOUR)
        picture = (colour * over + picture * (1 - over)).cast("uchar").copy(interpretation="srgb")
    return bytes(picture.jpegsave_buffer(Q=85, keep="none"))


def size_of(data: bytes) -> tuple[int, int]:
    """Return the width and height of a picture that was drawn here, in pixels; nothing of it is decoded."""
    image = pyvips.Image.new_from_buffer(data, "")
    return image.width, image.height
