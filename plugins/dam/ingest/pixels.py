"""Full decode of a picture in one pass: proof that it can be used, its fingerprints and its colours.

A decoder's complaint is turned into a sentence for the person who must ask for a new file.
"""

from __future__ import annotations

import colorsys
import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyvips

from dam.errors import BadInput

if TYPE_CHECKING:
    from numpy.typing import NDArray

# One thread a file and no operation cache: the workers are the parallelism.
pyvips.cache_set_max(0)
pyvips.concurrency_set(1)

THUMBNAIL = 256
_HASH, _DCT = 8, 32


@dataclass(frozen=True, slots=True)
class Picture:
    """What a full decode tells of a picture; ``phash`` is signed, as PostgreSQL keeps 64 bits."""

    width: int
    height: int
    pixel_sha256: str
    phash: int
    colours: list[str]
    technical: dict[str, Any] = field(default_factory=dict)


def decode(path: Path, *, max_megapixels: float) -> Picture:
    """Decode every pixel of a picture, once.

    :param max_megapixels: a picture with more is refused from its header, before it is decoded.
    :raises BadInput: it can't be decoded to the end, or is too large; says so in plain words.
    """
    try:
        header = pyvips.Image.new_from_file(str(path), access="sequential", fail_on="warning")
        megapixels = header.width * header.height / 1e6
        if megapixels > max_megapixels:
            raise BadInput(
                f"The picture claims to be {header.width} × {header.height} pixels ({megapixels:,.0f} megapixels).",
                remedy=f"At most {max_megapixels:g} megapixels are accepted; ask for a smaller file.",
            )
        pixels = header.write_to_memory()
        image = pyvips.Image.new_from_memory(pixels, header.width, header.height, header.bands, header.format)
        image = image.copy(interpretation=header.interpretation)
        small = _small(image, header)
    except pyvips.Error as error:
        raise BadInput(explain(str(error)), remedy="Ask the sender for the file again.") from error
    digest = hashlib.sha256(f"{header.width}x{header.height}x{header.bands}:{header.format}:".encode())
    digest.update(pixels)
    turned = header.get("orientation") in (5, 6, 7, 8) if header.get_typeof("orientation") else False
    width, height = (header.height, header.width) if turned else (header.width, header.height)
    return Picture(
        width=width,
        height=height,
        pixel_sha256=digest.hexdigest(),
        phash=perceptual_hash(small),
        colours=colour_names(small),
        technical=_technical(header),
    )


def _small(image: Any, header: Any) -> NDArray[np.uint8]:
    """Return an upright sRGB thumbnail, at most 256 pixels a side, as height × width × 3."""
    if header.get_typeof("orientation"):
        image = image.copy()
        image.set_type(pyvips.GValue.gint_type, "orientation", header.get("orientation"))
        image = image.autorot()
    scale = THUMBNAIL / max(image.width, image.height)
    small = image.resize(scale) if scale < 1 else image
    if small.hasalpha():
        small = small.flatten(background=255)
    small = small.colourspace("srgb").cast("uchar")
    if small.bands == 1:
        small = small.bandjoin([small, small])
    array = np.ndarray(buffer=small.write_to_memory(), dtype=np.uint8, shape=(small.height, small.width, small.bands))
    return array[:, :, :3]


def perceptual_hash(small: NDArray[np.uint8]) -> int:
    """Return a 64-bit perceptual hash (DCT of the luminance, bits above the median), signed.

    :param small: height × width × 3, 8 bit, sRGB. Pictures that look alike differ in few bits.
    """
    grey = small @ np.array([0.299, 0.587, 0.114])
    rows = np.array_split(np.arange(grey.shape[0]), min(_DCT, grey.shape[0]))
    columns = np.array_split(np.arange(grey.shape[1]), min(_DCT, grey.shape[1]))
    square = np.array([[grey[np.ix_(r, c)].mean() for c in columns] for r in rows])
    if square.shape != (_DCT, _DCT):
        square = np.kron(square, np.ones((-(-_DCT // square.shape[0]), -(-_DCT // square.shape[1]))))[:_DCT, :_DCT]
    at = np.arange(_DCT)
    basis = np.cos(np.pi / _DCT * (at[None, :] + 0.5) * at[:_HASH, None])
    low = (basis @ square @ basis.T).flatten()
    bits = low > np.median(low[1:])
    value = int("".join("1" if bit else "0" for bit in bits), 2)
    return value - (1 << 64) if value >= 1 << 63 else value


def colour_names(small: NDArray[np.uint8]) -> list[str]:
    """Return the names of the colours that cover at least a seventh of a picture, most first."""
    sample = small[:: max(1, small.shape[0] // 48), :: max(1, small.shape[1] // 48)].reshape(-1, 3)
    counts: dict[str, int] = {}
    for red, green, blue in sample:
        name = _colour(red / 255, green / 255, blue / 255)
        counts[name] = counts.get(name, 0) + 1
    enough = len(sample) / 7
    return [name for name, count in sorted(counts.items(), key=lambda item: -item[1]) if count >= enough]


def _colour(red: float, green: float, blue: float) -> str:
    hue, lightness, saturation = colorsys.rgb_to_hls(red, green, blue)
    if lightness < 0.12:
        return "black"
    if lightness > 0.92:
        return "white"
    if saturation < 0.15:
        return "grey"
    degrees = hue * 360
    if 15 <= degrees < 45:
        return "brown" if lightness < 0.45 else "orange"
    for end, name in ((15, "red"), (70, "yellow"), (165, "green"), (255, "blue"), (290, "purple"), (345, "pink")):
        if degrees < end:
            return name
    return "red"


def _technical(header: Any) -> dict[str, Any]:
    """Return bands, bit depth, colour space and resolution as the file's header says."""
    known = {
        "bands": header.bands,
        "format": header.format,
        "colour_space": header.interpretation,
        "has_alpha": bool(header.hasalpha()),
        "dots_per_inch": round(header.xres * 25.4),
        "pages": header.get("n-pages") if header.get_typeof("n-pages") else 1,
        "orientation": header.get("orientation") if header.get_typeof("orientation") else 1,
    }
    if header.get_typeof("icc-profile-data"):
        profile = bytes(header.get("icc-profile-data"))
        known["icc_sha256"] = hashlib.sha256(profile).hexdigest()
        known["icc_name"] = _icc_name(profile)
    return known


def _icc_name(profile: bytes) -> str | None:
    """Return the description of an ICC profile, or None when it can't be read."""
    import io

    from PIL import ImageCms

    try:
        return ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile))).strip()
    except (OSError, ImageCms.PyCMSError):
        return None


_EXPLAINED = (
    (r"premature end|out of order|read error|truncat|not enough data|end of (file|stream)|unexpected end|short read",
     "The file is cut off: the picture stops before its end."),
    (r"not a known|unsupported|no decoder|unable to load", "The file's format can't be read here."),
    (r"crc|checksum|corrupt|invalid|bogus|bad |error", "The file is damaged: its picture data contradicts itself."),
)  # fmt: skip


def explain(complaint: str) -> str:
    """Return a decoder's complaint as a sentence for people, the first technical line in brackets."""
    lines = [line.strip() for line in complaint.splitlines() if line.strip()]
    detail = next((line for line in reversed(lines) if ":" in line), lines[-1] if lines else "no detail")
    for pattern, sentence in _EXPLAINED:
        if re.search(pattern, complaint, re.IGNORECASE):
            return f"{sentence} ({detail})"
    return f"The picture can't be decoded. ({detail})"
