"""What is computed from a small upright picture, and a decoder's complaint in plain words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HASH, _DCT = 8, 32


def on_white(seen: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture (height × width × 3 or 4, 8 bit) without its transparency, on white."""
    if seen.shape[2] == 3:
        return seen
    alpha = seen[:, :, 3:].astype(np.float64) / 255
    return np.round(seen[:, :, :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


def perceptual_hash(small: NDArray[np.uint8]) -> int:
    """Return a 64-bit perceptual hash (DCT of the luminance, bits above the median), signed.

    :param small: height × width × 3, 8 bit, sRGB. Pictures that look alike differ in few bits.
    """
    grey = small @ np.array([0.299, 0.587, 0.114])
    square = _averaged(_averaged(grey).T).T
    at = np.arange(_DCT)
    basis = np.cos(np.pi / _DCT * (at[None, :] + 0.5) * at[:_HASH, None])
    low = (basis @ square @ basis.T).flatten()
    bits = low > np.median(low[1:])
    value = int("".join("1" if bit else "0" for bit in bits), 2)
    return value - (1 << 64) if value >= 1 << 63 else value


def _averaged(grey: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``grey`` with 32 rows, each the mean of those it stands for; too few rows are repeated."""
    if grey.shape[0] < _DCT:
        grey = grey[np.arange(_DCT) * grey.shape[0] // _DCT]
    starts = np.arange(_DCT) * grey.shape[0] // _DCT
    counts = np.diff(np.append(starts, grey.shape[0]))
    means: NDArray[np.float64] = np.add.reduceat(grey, starts, axis=0) / counts[:, None]
    return means


#: In the order in which they are asked; red is what is none of the others.
_COLOURS = ("black", "white", "grey", "brown", "orange", "yellow", "green", "blue", "purple", "pink", "red")


def colour_names(small: NDArray[np.uint8]) -> list[str]:
    """Return the names of the colours that cover at least a seventh of a picture, most first."""
    sample = small[:: max(1, small.shape[0] // 48), :: max(1, small.shape[1] // 48)].reshape(-1, 3) / 255
    high, low = sample.max(axis=1), sample.min(axis=1)
    spread, lightness = high - low, (high + low) / 2
    saturation = np.divide(spread, 1 - np.abs(2 * lightness - 1), out=np.zeros_like(spread), where=spread > 1e-9)
    red, green, blue = sample.T
    safe = np.where(spread > 1e-9, spread, 1)
    hue = np.where(
        high == red,
        (green - blue) / safe % 6,
        np.where(high == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    degrees = hue * 60
    codes = np.select(
        [
            lightness < 0.12,
            lightness > 0.92,
            saturation < 0.15,
            (degrees >= 15) & (degrees < 45) & (lightness < 0.45),
            (degrees >= 15) & (degrees < 45),
            (degrees >= 45) & (degrees < 70),
            (degrees >= 70) & (degrees < 165),
            (degrees >= 165) & (degrees < 255),
            (degrees >= 255) & (degrees < 290),
            (degrees >= 290) & (degrees < 345),
        ],
        range(len(_COLOURS) - 1),
        len(_COLOURS) - 1,
    )
    counts = np.bincount(codes, minlength=len(_COLOURS)).tolist()
    order = sorted(zip(counts, _COLOURS, strict=True), key=lambda pair: (-pair[0], pair[1]))
    return [name for count, name in order if count >= len(sample) / 7]


_EXPLAINED = (
    (r"premature end|out of order|read error|truncat|not enough data|end of (file|stream)|unexpected end|short read"
     r"|bad seek|unable to read pixels|got \d+ bytes",
     "The file is cut off or damaged: the picture stops {reached}."),
    (r"not a known file format", "The file begins like a picture, but the rest of it is missing or damaged."),
    (r"out of memory|malloc|cannot allocate", "The picture needs more memory than is allowed here."),
    (r"crc|checksum|corrupt|invalid|bogus|bad |error", "The file is damaged: its picture data contradicts itself{at}."),
)  # fmt: skip


def explain(complaint: str, reached: str = "") -> str:
    """Return a decoder's complaint as a sentence for people, the technical line in brackets.

    :param reached: how far the decode came, e.g. ``after 40 % of its height``; empty when nowhere.
    """
    lines = [line.strip() for line in complaint.splitlines() if line.strip()]
    detail = next((line for line in reversed(lines) if ":" in line), lines[-1] if lines else "no detail")
    detail = re.sub(r'b?["\']?/\S+', "the file", detail)
    for pattern, sentence in _EXPLAINED:
        if re.search(pattern, complaint, re.IGNORECASE):
            plain = sentence.format(reached=reached or "before its first row", at=f", {reached}" if reached else "")
            return f"{plain} ({detail})"
    return f"The picture can't be decoded. ({detail})"
