"""The flat picture that Photoshop keeps beside the layers, of documents that Pillow has no decoder for.

Large documents (PSB) and 16 bits a channel, in grey or RGB, after Adobe's Photoshop File Formats Specification.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

_GREY, _RGB, _DUOTONE = 1, 3, 8
_CHANNELS = {_GREY: 1, _DUOTONE: 1, _RGB: 3}
_RAW, _PACKBITS = 0, 1


class NotKnown(ValueError):
    """A mode, depth or compression that is not read here."""


def header(path: Path) -> tuple[int, int, int, int, int]:
    """Return version, height, width, bits a channel and colour mode. :raises ValueError: the file is cut off."""
    with path.open("rb") as stream:
        return _header(stream)[:5]


def _header(stream: BinaryIO) -> tuple[int, int, int, int, int, int]:
    magic, version, channels, height, width, bits, mode = struct.unpack(">4sH6xHIIHH", _exactly(stream, 26))
    if magic != b"8BPS" or version not in (1, 2):
        raise ValueError("not a Photoshop file")
    return version, height, width, bits, mode, channels


def merged(path: Path) -> NDArray[Any]:
    """Return the flat picture, height × width (× 3), 8 or 16 bit.

    :raises NotKnown: its mode or compression is not read here. :raises ValueError: it is damaged or cut off.
    """
    with path.open("rb") as stream:
        version, height, width, bits, mode, channels = _header(stream)
        wanted = _CHANNELS.get(mode, 0)
        if not wanted or bits not in (8, 16):
            raise NotKnown(f"mode {mode} with {bits} bits")
        if channels < wanted:
            raise ValueError("channels are missing")
        for size in (">I", ">I", ">Q" if version == 2 else ">I"):  # colours, resources, layers
            (length,) = struct.unpack(size, _exactly(stream, struct.calcsize(size)))
            stream.seek(length, 1)
        (compression,) = struct.unpack(">H", _exactly(stream, 2))
        planes = _planes(stream, compression, (channels, wanted), height, width * bits // 8, version)
    kind = np.dtype(">u2") if bits == 16 else np.dtype(np.uint8)
    stacked = np.stack([plane.view(kind) for plane in planes], axis=-1).astype(kind.newbyteorder("="))
    return stacked[:, :, 0] if wanted == 1 else stacked


def _planes(stream: BinaryIO, compression: int, channels: tuple[int, int], height: int, row: int,
            version: int) -> list[NDArray[np.uint8]]:  # fmt: skip
    """Return the wanted channels as bytes, height × bytes of a row."""
    there, wanted = channels
    if compression == _RAW:
        return [
            np.frombuffer(_exactly(stream, height * row), np.uint8).reshape(height, row).copy() for _ in range(wanted)
        ]
    if compression != _PACKBITS:
        raise NotKnown(f"compression {compression}")
    width = 4 if version == 2 else 2
    counts = np.frombuffer(_exactly(stream, there * height * width), f">u{width}").reshape(there, height)
    planes = []
    for channel in range(wanted):
        packed = _exactly(stream, int(counts[channel].sum()))
        plane = Image.frombytes("L", (row, height), packed, "packbits", "L")
        planes.append(np.asarray(plane).copy())
    return planes


def _exactly(stream: BinaryIO, length: int) -> bytes:
    data = stream.read(length)
    if len(data) != length:
        raise ValueError(f"image file is truncated: got {len(data)} bytes of {length}")
    return data
