"""Raster pictures: JPEG, PNG, WebP, AVIF, HEIC, JPEG XL, TIFF, GIF, PSD and cameras' raw files.

Every picture is decoded once, and from this one decode come the proof that it can be used, its fingerprints,
its colours, preview and thumbnail. A JPEG or WebP is decoded at the scale that the preview needs: every coded
coefficient is read all the same, which is what damage shows in. Other formats are decoded strip by strip and
shrunk at once, so that memory stays small whatever the picture's size.

Limits: a changed byte inside the compressed data of a baseline JPEG mostly decodes to something. Only a
checksum that the sender promised finds that.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyvips
import xxhash

from dam.ingest import embedded, proofs
from dam.ingest.damage import AGAIN
from dam.ingest.formats import Format
from dam.ingest.inspection import CantCheck, Inspection, Job, Unusable
from dam.ingest.pixels import explain
from dam.renditions import imaging, pictures

#: Rows decoded at a time, about.
STRIP = 256
#: A JPEG's or WebP's pixels are hashed in the smallest decode whose longer side has so many; others' are all hashed.
#: The hash is of the picture alone, so this is no recipe's affair; the preview that is shipped needs the same decode.
HASHED = 1500
#: Frames or pages looked at beyond the first.
MOST_PAGES = 1000


def inspect(job: Job, found: Format) -> Inspection:
    """Decode every pixel of a picture, and of all its pages, once.

    :raises Unusable: it can't be decoded to the end, or is too large; says so in plain words.
    :raises CantCheck: there is no decoder for it here.
    """
    most = float(job.limits["max_megapixels"])
    progress = _Progress()
    told = Inspection()
    try:
        _whole(job.path)
        source = _Proved(job.path, most, progress)
        proofs.of_picture(job, source, told)
        told.pixel_hash = source.pixel_hash()
        for page in range(1, min(source.pages, MOST_PAGES)):
            progress.page = page + 1
            _prove(job.path, page, most)
    except pictures.NoDecoder as error:
        raise CantCheck(error.what) from error
    except (pyvips.Error, pictures.Broken) as error:
        complaint = str(error)
        if re.search(r"unsupported codec|no decoding plugin|unsupported feature", complaint, re.IGNORECASE):
            raise CantCheck("There is no decoder for this picture's compression here.") from error
        raise Unusable(explain(complaint, _reached(job.path, progress)), remedy=AGAIN) from error
    told.width, told.height = source.width, source.height
    told.technical = _technical(source) | told.technical
    told.embedded = embedded.read(job.path)
    if dots := _dots_per_inch(job.path, source.header, told.embedded):
        told.technical["dots_per_inch"] = dots
    return told


def _whole(path: Path) -> None:
    """Refuse a cut-off WebP by the length it states (RIFF): its decoder fills up what is missing, silently."""
    with path.open("rb") as stream:
        head = stream.read(12)
    if head[:4] == b"RIFF" and head[8:] == b"WEBP":
        stated, there = int.from_bytes(head[4:8], "little") + 8, path.stat().st_size
        if there < stated:
            raise Unusable(
                f"The file is cut off: {there:,} of its {stated:,} bytes are there.",
                remedy="Ask the sender for the file again.",
            )


class _Progress:
    """How far a decode came, for the person who asks what is left of a broken picture."""

    def __init__(self) -> None:
        self.row = 0
        self.height = 0
        self.page = 1

    def reached(self) -> str:
        if self.page > 1:
            return f"at page {self.page}"
        return f"after {100 * self.row // self.height} % of its height" if self.row else ""


class _Proved(imaging.Source):
    """A source whose decode is strict, measured before it begins, and hashed."""

    def __init__(self, path: Path, max_megapixels: float, progress: _Progress) -> None:
        self._path = path
        self._at_once = pictures.shrinks_on_load(path)
        self.progress = progress
        self._digests: dict[int, str] = {}  # by the eighths of the picture's size that were hashed
        # the header is that of the very image that is decoded next, where that is possible
        self.header = pictures.open_picture(path, fail_on="warning")
        self.pages = self.header.get("n-pages") if self.header.get_typeof("n-pages") else 1
        _limit(self.header.width, self.header.height, self.pages, max_megapixels)
        progress.height = self.header.height
        self.orientation = self.header.get("orientation") if self.header.get_typeof("orientation") else 1
        super().__init__(path, header=self.header)

    def decode(self, eighths: int) -> Any:
        """Decode the whole picture and hash its pixels on the way."""
        pixels = self._jpeg.pixels(eighths) if self._jpeg else None
        if pixels is not None:
            self._digests[eighths] = _hash(self.header, pixels, eighths).hexdigest()
            return imaging.in_memory(self.header, pixels, pixels.shape[1], pixels.shape[0])
        if self._at_once:
            image = pictures.open_picture(self._path, fail_on="warning", eighths=eighths)
            data = image.write_to_memory()
            self._digests[eighths] = _hash(image, data, eighths).hexdigest()
            return imaging.shrunk(imaging.in_memory(image, data, image.width, image.height), 1)
        image, scale = self.header, 8 // eighths
        digest, parts = _hash(image, b"", 8), []
        rows = max(scale, STRIP // scale * scale)
        region = pyvips.Region.new(image)
        for top in range(0, image.height, rows):
            count = min(rows, image.height - top)
            strip = region.fetch(0, top, image.width, count)
            digest.update(strip)
            self.progress.row = top + count
            part = pyvips.Image.new_from_memory(strip, image.width, count, image.bands, image.format)
            part = imaging.shrunk(part.copy(interpretation=image.interpretation), min(scale, count, image.width))
            parts.append(imaging.in_memory(part))
        self._digests[8] = digest.hexdigest()
        return _stacked(parts, image)

    def pixel_hash(self) -> str:
        """Return the hash of the pixels. What decides its scale is the picture, never a recipe."""
        eighths = self.eighths_from(max(self.width, self.height) / HASHED) if self._at_once else 8
        if eighths not in self._digests:  # a recipe that people wrote asked for another scale
            self.decode(eighths)
        return self._digests[eighths]


def _hash(image: Any, data: Any, eighths: int) -> Any:
    shape = f"{image.width}x{image.height}x{image.bands}:{image.format}:{eighths}:"
    digest = xxhash.xxh3_128(shape.encode())
    digest.update(data)
    return digest


def _stacked(parts: list[Any], like: Any) -> Any:
    """Return strips as one image, with the profile and orientation of ``like``."""
    for name in ("icc-profile-data", "orientation"):
        if like.get_typeof(name):
            parts[0].set_type(like.get_typeof(name), name, like.get(name))
    data = b"".join(part.write_to_memory() for part in parts)
    return imaging.in_memory(parts[0], data, parts[0].width, sum(part.height for part in parts))


def _reached(path: Path, progress: _Progress) -> str:
    """Say how far a broken picture can be decoded; one that is decoded at once is gone through by rows."""
    if progress.row or progress.page > 1:
        return progress.reached()
    try:
        image = pictures.open_picture(path, fail_on="warning")
        progress.height = image.height
        region = pyvips.Region.new(image)
        for top in range(0, image.height, 64):
            region.fetch(0, top, image.width, min(64, image.height - top))
            progress.row = top + 64
    except (pyvips.Error, pictures.Broken, pictures.NoDecoder):
        pass
    return progress.reached()


def _limit(width: int, height: int, pages: int, most: float) -> None:
    megapixels = width * height * max(pages, 1) / 1e6
    if megapixels > most:
        of_all = f" on {pages:,} pages" if pages > 1 else ""
        raise Unusable(
            f"The picture claims to be {width} × {height} pixels{of_all} ({megapixels:,.0f} megapixels).",
            remedy=f"At most {most:g} megapixels are accepted; ask for a smaller file.",
        )


def _prove(path: Path, page: int, max_megapixels: float) -> None:
    """Decode a further page and forget it."""
    image = pictures.open_picture(path, fail_on="warning", page=page)
    _limit(image.width, image.height, 1, max_megapixels)
    region = pyvips.Region.new(image)
    for top in range(0, image.height, STRIP):
        region.fetch(0, top, image.width, min(STRIP, image.height - top))


_DEPTHS = {"uchar": 8, "char": 8, "ushort": 16, "short": 16, "uint": 32, "int": 32, "float": 32, "double": 64}


def _technical(source: _Proved) -> dict[str, Any]:
    """Return what the file's header says of its pixels."""
    header = source.header
    known = {
        "bands": header.bands,
        "bits": _DEPTHS.get(header.format, 0),
        "colour_space": header.interpretation,
        "has_alpha": bool(header.hasalpha()),
        "pages": source.pages,
        "orientation": source.orientation,
    }
    if header.get_typeof("icc-profile-data"):
        profile = bytes(header.get("icc-profile-data"))
        known["icc_sha256"] = hashlib.sha256(profile).hexdigest()
        known["icc_name"] = _icc_name(profile)
    return known


#: EXIF's ResolutionUnit in inches: 2 is the inch, 3 the centimetre.
_UNITS = {"2": 1.0, "3": 2.54}


def _dots_per_inch(path: Path, header: pyvips.Image, said: dict[str, Any]) -> int | None:
    """Return the resolution that a file states. Where it states none, libvips answers 72 or 25.4 all the same.

    :param said: its embedded metadata; EXIF goes before the container, as everywhere.
    """
    unit = _UNITS.get(str(said.get("Exif.Image.ResolutionUnit")))
    if unit is not None:
        with contextlib.suppress(ValueError, ZeroDivisionError):
            return round(float(Fraction(str(said.get("Exif.Image.XResolution")))) * unit) or None
    loader = str(header.get("vips-loader")) if header.get_typeof("vips-loader") else ""
    if header.get_typeof("resolution-unit") and loader.startswith(("jpeg", "tiff")):
        return round(header.xres * 25.4) or None
    if loader.startswith("png"):
        from PIL import Image

        with Image.open(path) as opened:
            return round(opened.info.get("dpi", (0, 0))[0]) or None
    return None


def _icc_name(profile: bytes) -> str | None:
    """Return the description of an ICC profile, or None when it can't be read."""
    import io

    from PIL import ImageCms

    try:
        return ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile))).strip()
    except (OSError, ImageCms.PyCMSError):
        return None
