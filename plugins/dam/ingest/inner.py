"""Pictures inside other files: a drawing's photographs, a model's textures, a document's own thumbnail."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pyvips

from dam.errors import BadInput
from dam.ingest.damage import tidy
from dam.renditions import pictures

#: First bytes of what libvips decodes; Pillow is asked for the rest.
_BY_VIPS = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"II*\x00", b"MM\x00*", b"RIFF")


def picture(data: bytes, most_megapixels: float) -> Any:
    """Decode a whole picture from memory and return it as a libvips image in memory.

    :raises BadInput: it is damaged or larger than allowed; the message is the decoder's.
    :raises pictures.NoDecoder: nothing here decodes it.
    """
    if data.startswith(_BY_VIPS) or data[4:8] == b"ftyp":
        try:
            image = pyvips.Image.new_from_buffer(data, "", fail_on="warning")
            _limit(image.width, image.height, most_megapixels)
            return image.copy_memory()
        except pyvips.Error as error:
            raise BadInput(tidy(error)) from error
    return _by_pillow(data, most_megapixels)


def _by_pillow(data: bytes, most_megapixels: float) -> Any:
    """Decode what libvips has no loader for: BMP, TGA, DDS, JPEG 2000 …"""
    from PIL import Image, UnidentifiedImageError

    Image.MAX_IMAGE_PIXELS = None  # our own limit is asked from the header, before pixels are read
    try:
        with Image.open(io.BytesIO(data)) as opened:
            _limit(opened.width, opened.height, most_megapixels)
            pixels = np.asarray(opened.convert("RGBA" if opened.has_transparency_data else "RGB"))
    except UnidentifiedImageError as error:
        raise pictures.NoDecoder("Nothing here decodes it.") from error
    except (OSError, ValueError, SyntaxError, RuntimeError, EOFError, NotImplementedError) as error:
        raise BadInput(tidy(error)) from error
    return from_array(pixels)


def from_array(pixels: Any) -> Any:
    """Return height × width × bands of 8 bits as a libvips image in sRGB or grey."""
    height, width, bands = pixels.shape
    image = pyvips.Image.new_from_memory(np.ascontiguousarray(pixels).tobytes(), width, height, bands, "uchar")
    return image.copy(interpretation="srgb" if bands > 2 else "b-w")


def _limit(width: int, height: int, most: float) -> None:
    if width * height / 1e6 > most:
        raise BadInput(f"it claims to be {width} × {height} pixels; at most {most:g} megapixels are accepted")
