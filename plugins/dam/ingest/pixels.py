"""Full decode of a picture in one pass: proof that it can be used, its fingerprints and its colours.

Every pixel is decoded once, strip by strip, so that memory stays small whatever the picture's size: a strip
is hashed, shrunk, and forgotten. What is left is a small picture that the perceptual hash and the colours
are made from. A decoder's complaint is turned into a sentence for the person who must ask for a new file.

Limits: a changed byte inside the compressed data of a baseline JPEG mostly decodes to something. Only a
checksum that the sender promised finds that.
"""

from __future__ import annotations

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

# One thread a file and no operation cache: the workers are the parallelism, and a cached operation would
# answer for a file that was changed meanwhile.
pyvips.cache_set_max(0)
pyvips.concurrency_set(1)

#: Longest side of the small picture, in pixels.
SMALL = 256
#: Rows decoded at a time, about.
STRIP = 256
_HASH, _DCT = 8, 32
#: Frames or pages looked at beyond the first.
MOST_PAGES = 1000


class CantCheck(BadInput):
    """The picture may be sound, but there is no decoder for it here."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What a full decode tells of a picture.

    ``width`` and ``height`` are of the upright picture; ``phash`` is signed, as PostgreSQL keeps 64 bits;
    ``colours`` are names, the most common first.
    """

    width: int
    height: int
    pixel_sha256: str
    phash: int
    colours: list[str]
    technical: dict[str, Any] = field(default_factory=dict)


def decode(path: Path, *, max_megapixels: float) -> Picture:
    """Decode every pixel of a picture, and of all its pages, once.

    :param max_megapixels: a picture with more (all pages together) is refused from its header, before it
        is decoded.
    :raises BadInput: it can't be decoded to the end, or is too large; says so in plain words.
    :raises CantCheck: there is no decoder for it here.
    """
    progress = _Progress()
    try:
        header = _open(path)
        pages = header.get("n-pages") if header.get_typeof("n-pages") else 1
        _limit(header.width, header.height, pages, max_megapixels)
        progress.height = header.height
        digest, small = _pass(header, progress)
        for page in range(1, min(pages, MOST_PAGES)):
            progress.page = page + 1
            _prove(path, page, max_megapixels)
        orientation = header.get("orientation") if header.get_typeof("orientation") else 1
        seen = _upright(small, orientation)
    except pyvips.Error as error:
        complaint = str(error)
        if re.search(r"unsupported codec|no decoding plugin|unsupported feature", complaint, re.IGNORECASE):
            raise CantCheck("There is no decoder for this picture's compression here.") from error
        raise BadInput(explain(complaint, progress.reached()), remedy="Ask the sender for the file again.") from error
    transparent = seen.shape[2] == 4 and bool((seen[:, :, 3] < 128).mean() > 0.01)
    opaque = _on_white(seen)
    width, height = (header.width, header.height) if orientation < 5 else (header.height, header.width)
    return Picture(
        width=width,
        height=height,
        pixel_sha256=digest,
        phash=perceptual_hash(opaque),
        colours=colour_names(opaque),
        technical=_technical(header, orientation, pages) | {"transparent": transparent},
    )


@dataclass
class _Progress:
    """How far a decode came, for the person who asks what is left of a broken picture."""

    row: int = 0
    height: int = 0
    page: int = 1

    def reached(self) -> str:
        if self.page > 1:
            return f"at page {self.page}"
        return f"after {100 * self.row // self.height} % of its height" if self.row else ""


def _open(path: Path, **options: Any) -> Any:
    """Open a picture for one pass from top to bottom; ``warning`` is what finds every cut-off file."""
    with path.open("rb") as stream:
        head = stream.read(4)
    if head == b"8BPS":
        return _layered(path)
    return pyvips.Image.new_from_file(str(path), access="sequential", fail_on="warning", **options)


def _layered(path: Path) -> Any:
    """Open the flat picture that Photoshop keeps beside the layers, by Pillow: libvips doesn't read it."""
    from PIL import Image, UnidentifiedImageError

    Image.MAX_IMAGE_PIXELS = None  # our own limit is asked from the header, before pixels are read
    try:
        with Image.open(path) as image:
            size = (image.width, image.height)
            if size[0] * size[1] > 500_000_000:
                raise BadInput(
                    f"The picture claims to be {size[0]} × {size[1]} pixels.", remedy="Ask for a smaller one."
                )
            array = np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise BadInput(explain(str(error)), remedy="Ask the sender for the file again.") from error
    return pyvips.Image.new_from_memory(array.tobytes(), size[0], size[1], 3, "uchar").copy(interpretation="srgb")


def _limit(width: int, height: int, pages: int, most: float) -> None:
    megapixels = width * height * max(pages, 1) / 1e6
    if megapixels > most:
        of_all = f" on {pages:,} pages" if pages > 1 else ""
        raise BadInput(
            f"The picture claims to be {width} × {height} pixels{of_all} ({megapixels:,.0f} megapixels).",
            remedy=f"At most {most:g} megapixels are accepted; ask for a smaller file.",
        )


def _pass(image: Any, progress: _Progress) -> tuple[str, Any]:
    """Decode an image from top to bottom; return the SHA-256 of its pixels and the image shrunk."""
    width, height, bands = image.width, image.height, image.bands
    digest = hashlib.sha256(f"{width}x{height}x{bands}:{image.format}:".encode())
    # box-shrink by a whole number while streaming; the last step to SMALL is a proper resize
    factor = max(1, max(width, height) // (2 * SMALL))
    rows = max(factor, STRIP // factor * factor)
    region = pyvips.Region.new(image)
    shrunk = []
    for top in range(0, height, rows):
        count = min(rows, height - top)
        strip = region.fetch(0, top, width, count)
        digest.update(strip)
        progress.row = top + count
        part = pyvips.Image.new_from_memory(strip, width, count, bands, image.format)
        if factor > 1:
            part = part.shrink(min(factor, width), min(factor, count))
        shrunk.append(pyvips.Image.new_from_memory(part.write_to_memory(), part.width, part.height, bands, part.format))
    small = shrunk[0] if len(shrunk) == 1 else pyvips.Image.arrayjoin(shrunk, across=1)
    if len(shrunk) > 1:  # arrayjoin gives every strip the first one's height
        small = small.crop(0, 0, small.width, sum(part.height for part in shrunk))
    return digest.hexdigest(), small.copy(interpretation=image.interpretation)


def _prove(path: Path, page: int, max_megapixels: float) -> None:
    """Decode a further page and forget it."""
    image = _open(path, page=page)
    _limit(image.width, image.height, 1, max_megapixels)
    region = pyvips.Region.new(image)
    for top in range(0, image.height, STRIP):
        region.fetch(0, top, image.width, min(STRIP, image.height - top))


def _upright(small: Any, orientation: int) -> NDArray[np.uint8]:
    """Return the shrunk image upright, in sRGB, at most ``SMALL`` a side: height × width × 3 or 4, 8 bit."""
    if orientation > 1:
        small = small.copy()
        small.set_type(pyvips.GValue.gint_type, "orientation", orientation)
        small = small.autorot()
    scale = SMALL / max(small.width, small.height)
    if scale < 1:
        small = small.resize(scale)
    small = small.colourspace("srgb").cast("uchar")
    if small.bands < 3:
        grey = small[0]
        small = grey.bandjoin([grey, grey] + ([small[1]] if small.bands == 2 else []))
    array = np.ndarray(buffer=small.write_to_memory(), dtype=np.uint8, shape=(small.height, small.width, small.bands))
    return array[:, :, :4]


def _on_white(seen: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the picture without transparency, on white."""
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
    names = np.select(
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
        ["black", "white", "grey", "brown", "orange", "yellow", "green", "blue", "purple", "pink"],
        "red",
    )
    found, counts = np.unique(names, return_counts=True)
    order = sorted(zip(counts.tolist(), found.tolist(), strict=True), key=lambda pair: (-pair[0], pair[1]))
    return [name for count, name in order if count >= len(sample) / 7]


_DEPTHS = {"uchar": 8, "char": 8, "ushort": 16, "short": 16, "uint": 32, "int": 32, "float": 32, "double": 64}


def _technical(header: Any, orientation: int, pages: int) -> dict[str, Any]:
    """Return what the file's header says of its pixels."""
    known = {
        "bands": header.bands,
        "bits": _DEPTHS.get(header.format, 0),
        "colour_space": header.interpretation,
        "has_alpha": bool(header.hasalpha()),
        "dots_per_inch": round(header.xres * 25.4),
        "pages": pages,
        "orientation": orientation,
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
