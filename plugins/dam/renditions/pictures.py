"""Opens a picture of any format as a libvips image: by libvips, or by another decoder where it has none.

What is decoded by another library is in memory at once, so its size is asked from the header before.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np
import pyvips

from dam.errors import BadInput

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Most pixels that a decoder which can't stream is asked for.
MOST_PIXELS = 500_000_000


class NoDecoder(BadInput):
    """Nothing here decodes this picture's format or compression."""


class Broken(BadInput):
    """A decoder gave up; the message is its own."""


def open_picture(path: Path, *, fail_on: str = "error", eighths: int = 8, page: int = 0) -> Any:
    """Open a picture to be read once, from top to bottom.

    :param fail_on: how strict libvips is: ``error``, or ``warning`` to find every cut-off file.
    :param eighths: 4, 2 or 1 to decode a JPEG or WebP at so many eighths of its size, 3 as 4; other formats are
        decoded whole.
    :param page: of a format with several, from 0.
    :raises NoDecoder: nothing here decodes it. :raises Broken: it is damaged. :raises pyvips.Error: likewise.
    """
    with path.open("rb") as stream:
        head = stream.read(32)
    decode = _decoder(head) or (_raw if is_camera_raw(path) else None)
    if decode:
        return _image(*decode(path))
    options: dict[str, Any] = {"page": page} if page else {}
    shrink = 8 // (4 if eighths == 3 else eighths)
    if shrink > 1 and head[:2] == b"\xff\xd8":
        options["shrink"] = shrink
    elif shrink > 1 and head[8:12] == b"WEBP":
        options["scale"] = 1 / shrink
    return pyvips.Image.new_from_file(str(path), access="sequential", fail_on=fail_on, **options)


@dataclass(frozen=True, slots=True)
class Jpeg:
    """A JPEG in grey or three colours, which libjpeg-turbo decodes alone: a sixth less time than libvips around it.

    :param data: of the whole file. :param height: of the picture as it is stored. :param width: likewise.
    :param grey: whether it has one colour.
    """

    data: bytes
    height: int
    width: int
    grey: bool

    def pixels(self, eighths: int) -> NDArray[np.uint8] | None:
        """Decode at so many eighths of its size.

        :returns: height × width × 1 or 3, 8 bit; None for what is damaged: then libvips has the last word.
        """
        import simplejpeg

        try:
            pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(
                self.data, "GRAY" if self.grey else "RGB",
                min_height=-(-self.height * eighths // 8), min_width=-(-self.width * eighths // 8),
            )  # fmt: skip
        except ValueError:
            return None
        return pixels


def plain_jpeg(path: Path) -> Jpeg | None:
    """Open a JPEG in grey or three colours; None for any other file."""
    import simplejpeg

    with path.open("rb", buffering=0) as stream:
        if os.pread(stream.fileno(), 2, 0) != b"\xff\xd8":
            return None
        data = stream.readall()
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    return Jpeg(data, height, width, space == "Gray") if space in ("Gray", "YCbCr", "RGB") else None


def shrinks_on_load(path: Path) -> bool:
    """Return whether a picture's decoder can make it smaller while it decodes."""
    with path.open("rb") as stream:
        head = stream.read(12)
    return head[:2] == b"\xff\xd8" or head[8:12] == b"WEBP"


Decoded = tuple["NDArray[Any]", bytes | None, int]
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_PILLOWS = (b"BM", b"\x00\x00\x00\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")
_RAW_MAKERS = (b"FUJIFILMCCD-RAW", b"II*\x00\x10\x00\x00\x00CR", b"IIRO", b"IIRS", b"IIU\x00", b"MMOR")


def _decoder(head: bytes) -> Callable[[Path], Decoded] | None:
    """Return the decoder of a format that libvips lacks, by the file's first bytes."""
    if head[:4] == b"8BPS":
        return _layered
    if head[4:8] == b"ftyp":
        if head[8:12] in _HEIC_BRANDS:
            return _heic
        if head[8:12] == b"crx ":
            return _raw
    if head[:2] == b"\xff\x0a" or head[:12] == b"\x00\x00\x00\x0cJXL \r\n\x87\n":
        return _jpeg_xl
    if head.startswith(_RAW_MAKERS):
        return _raw
    return _plain if head.startswith(_PILLOWS) else None


_DNG_VERSION, _PHOTOMETRIC, _SUB_IFDS = 50706, 262, 330
_SENSOR = (32803, 34892)  # colour filter array, linear raw


def is_camera_raw(path: Path) -> bool:
    """Return whether a file is a camera's raw file; one that is a TIFF in form tells it by its tags.

    Tags after TIFF/EP (ISO 12234-2) and Adobe's DNG specification.
    """
    with path.open("rb") as stream:
        head = stream.read(32)
        if _decoder(head) is _raw:
            return True
        if head[:4] not in (b"II*\x00", b"MM\x00*"):
            return False
        order: Literal["little", "big"] = "little" if head[:2] == b"II" else "big"
        todo, seen = [int.from_bytes(head[4:8], order)], set[int]()
        while todo and len(seen) < 16:
            offset = todo.pop(0)
            if offset in seen:
                continue
            seen.add(offset)
            for tag, values in _directory(stream, offset, order):
                if tag == _DNG_VERSION or (tag == _PHOTOMETRIC and values[:1] and values[0] in _SENSOR):
                    return True
                if tag == _SUB_IFDS:
                    todo += values
    return False


def _directory(stream: BinaryIO, offset: int, order: Literal["little", "big"]) -> Iterator[tuple[int, list[int]]]:
    """Yield the tags of a TIFF directory with their values, of those that are SHORT or LONG; others empty."""
    stream.seek(offset)
    entries = stream.read(2 + 12 * 512)
    for at in range(2, min(2 + 12 * int.from_bytes(entries[:2], order), len(entries) - 11), 12):
        tag, kind = (int.from_bytes(entries[at + skip : at + skip + 2], order) for skip in (0, 2))
        count, size = min(int.from_bytes(entries[at + 4 : at + 8], order), 64), {3: 2, 4: 4, 13: 4}.get(kind, 0)
        data = entries[at + 8 : at + 12]
        if tag in (_PHOTOMETRIC, _SUB_IFDS) and count * size > 4:
            stream.seek(int.from_bytes(data, order))
            data = stream.read(count * size)
        yield tag, [int.from_bytes(data[n : n + size], order) for n in range(0, count * size, size)] if size else []


def _image(pixels: NDArray[Any], profile: bytes | None, orientation: int) -> Any:
    """Return decoded pixels as a libvips image with profile and orientation."""
    height, width = pixels.shape[:2]
    bands = pixels.shape[2] if pixels.ndim == 3 else 1
    wide = pixels.dtype == np.uint16
    image = pyvips.Image.new_from_memory(pixels.tobytes(), width, height, bands, "ushort" if wide else "uchar")
    grey = bands < 3
    kind = ("grey16" if wide else "b-w") if grey else ("rgb16" if wide else "srgb")
    image = image.copy(interpretation=kind)
    if profile:
        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
    if orientation > 1:
        image.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    return image


#: What Pillow's other modes are turned into.
_PLAIN = {"1": "L", "P": "RGB", "PA": "RGBA", "CMYK": "RGB", "YCbCr": "RGB", "LAB": "RGB", "RGBX": "RGB"}


def _by_pillow(path: Path, mode: str | None = None) -> Decoded:
    from PIL import Image, UnidentifiedImageError

    Image.MAX_IMAGE_PIXELS = None  # our own limit is asked from the header, before pixels are read
    try:
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            _limit(image.width, image.height)
            profile = image.info.get("icc_profile")
            wanted = mode or _PLAIN.get(image.mode)
            pixels = np.asarray(image.convert(wanted) if wanted else image)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, RuntimeError, EOFError) as error:
        raise Broken(str(error)) from error
    return pixels, profile if mode in (None, "RGB", "RGBA") else None, 1


def _limit(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise BadInput(f"The picture claims to be {width} × {height} pixels.", remedy="Ask for a smaller one.")


def _layered(path: Path) -> Decoded:
    """The flat picture that Photoshop keeps beside the layers."""
    from dam.renditions import photoshop

    try:
        version, height, width, bits, _mode = photoshop.header(path)
        if (version, bits) not in ((1, 1), (1, 8)):
            _limit(width, height)
            return photoshop.merged(path), None, 1
    except photoshop.NotKnown as error:
        raise NoDecoder("There is no decoder for this picture's mode or depth here.") from error
    except (ValueError, OSError) as error:
        raise Broken(str(error)) from error
    pixels, _, orientation = _by_pillow(path, "RGB")
    return pixels, None, orientation


def _heic(path: Path) -> Decoded:
    """HEIC and HEIF, by libheif; it turns the picture upright itself."""
    import pillow_heif

    try:
        heif = pillow_heif.open_heif(path.read_bytes(), convert_hdr_to_8bit=True)
        _limit(*heif.size)
        pixels = np.asarray(heif)
    except (ValueError, OSError, SyntaxError, RuntimeError, EOFError, IndexError) as error:
        raise Broken(str(error)) from error
    profile = heif.info.get("icc_profile")
    return pixels, profile, 1


def _plain(path: Path) -> Decoded:
    """Windows bitmaps and JPEG 2000, which this libvips has no decoder for."""
    return _by_pillow(path)


def _jpeg_xl(path: Path) -> Decoded:
    import pillow_jxl  # noqa: F401 - makes Pillow know the format

    pixels, profile, _ = _by_pillow(path)
    return pixels, profile, 1


def _raw(path: Path) -> Decoded:
    """A camera's raw file, developed by LibRaw with the camera's white balance; upright, in sRGB."""
    import rawpy

    try:
        with rawpy.imread(str(path)) as opened:
            _limit(opened.sizes.width, opened.sizes.height)
            pixels = opened.postprocess(use_camera_wb=True, output_bps=8)
    except rawpy.LibRawFileUnsupportedError as error:
        raise NoDecoder("There is no decoder for this camera's raw files here.") from error
    except rawpy.LibRawError as error:
        raise Broken(str(error)) from error
    return pixels, None, 1
