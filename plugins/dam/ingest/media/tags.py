"""Metadata inside video and sound, raw, by keys that say where each stands.

``ID3.TIT2``, ``Vorbis.title``, ``QuickTime.com.apple.quicktime.title``, ``RIFF.INAM``, ``RIFF.bext.Description``,
``Matroska.title``; XMP packets by the keys that pictures' XMP has, ``Xmp.dc.title``.
"""

from __future__ import annotations

import io
import re
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import mutagen
import pyexiv2
import pyvips
from av.container import InputContainer
from mutagen.id3 import ID3

from dam.ingest.media import riff
from dam.ingest.media.tracks import family

#: Longer values (pictures, cue sheets) are not kept.
LONGEST = 4000
_NAMES = {"mov": "QuickTime", "matroska": "Matroska", "asf": "ASF", "aiff": "AIFF", "mpegts": "MPEG"}
#: What a container says of its own make, and what is kept elsewhere.
_TECHNICAL = {"major_brand", "minor_version", "compatible_brands", "xmp", "timecode"}
_LANGUAGE = re.compile(r"^[a-z]{3}$")


def read(path: Path, container: InputContainer) -> dict[str, Any]:
    """Return everything a file says about its content.

    :param container: the same file, opened with ``export_all`` and ``export_xmp``.
    """
    kind = family(container)
    found: dict[str, Any] = {}
    xmp: str | bytes = container.metadata.get("xmp", "")
    with path.open("rb") as stream:
        if kind in ("wav", "w64", "avi"):
            found, packet, id3 = riff.tags(stream)
            xmp = packet or xmp
            if id3:
                found |= _id3(io.BytesIO(id3))[0]
        elif kind in ("mp3", "aac", "aiff"):
            found, packet = _id3(stream) if kind != "aiff" else _aiff(stream)
            xmp = packet or xmp
        elif kind in ("flac", "ogg"):
            found = _vorbis(stream)
    if kind in _NAMES:
        found |= _container(container, _NAMES[kind])
    if xmp:
        found |= from_xmp(xmp)
    return {key: value for key, value in ((key, _plain(value)) for key, value in found.items()) if value}


def from_xmp(packet: str | bytes) -> dict[str, Any]:
    """Return an XMP packet by key, as :mod:`dam.ingest.embedded` reads it from pictures; nothing of a broken one."""
    text = packet.decode("utf-8", "replace") if isinstance(packet, bytes) else packet
    inside = re.search(r"<(x:xmpmeta|rdf:RDF)\b.*</\1>", text, re.DOTALL)
    if inside is None:
        return {}
    try:
        with pyexiv2.ImageData(_carrier()) as image:
            image.modify_raw_xmp(inside[0])
            read: dict[str, Any] = image.read_xmp()
            return read
    except (RuntimeError, UnicodeDecodeError):
        return {}


@cache
def _carrier() -> bytes:
    """Return a picture for a packet to be read in: the reader knows no packets by themselves."""
    return bytes(pyvips.Image.black(8, 8).jpegsave_buffer())


def _container(container: InputContainer, name: str) -> dict[str, Any]:
    """Return what the container says; of a value told again for a language, the plain one alone."""
    told = container.metadata
    return {
        f"{name}.{key}": value
        for key, value in told.items()
        if key not in _TECHNICAL and not (_LANGUAGE.match(key.rpartition("-")[2]) and key.rpartition("-")[0] in told)
    }


def _id3(stream: BinaryIO) -> tuple[dict[str, Any], bytes]:
    try:
        return _frames(ID3(stream))  # type: ignore[no-untyped-call]
    except mutagen.MutagenError:
        return {}, b""


def _aiff(stream: BinaryIO) -> tuple[dict[str, Any], bytes]:
    from mutagen.aiff import AIFF

    try:
        tags = AIFF(stream).tags  # type: ignore[no-untyped-call]
    except mutagen.MutagenError:
        return {}, b""
    return _frames(tags) if tags else ({}, b"")


def _frames(tags: Any) -> tuple[dict[str, Any], bytes]:
    """Return an ID3 tag's texts by frame (``TIT2``; ``TXXX.<description>``), and the XMP packet in it."""
    found: dict[str, Any] = {}
    xmp = b""
    for frame in tags.values():
        name = frame.FrameID
        if name == "PRIV" and frame.owner == "XMP":
            xmp = frame.data
        value = getattr(frame, "text", None) or getattr(frame, "url", None)
        if value is None:
            continue
        if name in ("TXXX", "WXXX") and frame.desc:
            name = f"{name}.{frame.desc}"
        values = value if isinstance(value, list) else [value]
        texts = [_mended(str(one), frame) for one in values]
        found.setdefault(f"ID3.{name}", texts if len(texts) > 1 else texts[0])
    return found, xmp


def _mended(value: str, frame: Any) -> str:
    """Mend a text that says it is Latin-1 and is something else, as many programs have written."""
    if int(getattr(frame, "encoding", 3)) or value.isascii():
        return value
    return riff.text(value.encode("latin-1", "replace"))


def _vorbis(stream: BinaryIO) -> dict[str, Any]:
    try:
        opened = mutagen.File(stream)
    except mutagen.MutagenError:
        return {}
    found: dict[str, Any] = {}
    for key, value in (opened.tags or []) if opened is not None else []:
        if key.lower() != "metadata_block_picture":
            found.setdefault(f"Vorbis.{key.lower()}", []).append(value)
    return {key: values if len(values) > 1 else values[0] for key, values in found.items()}


def _plain(value: Any) -> Any:
    """Return a value as JSON keeps it: language alternatives by language, no control characters, not too long."""
    if isinstance(value, dict):
        return {key.removeprefix('lang="').removesuffix('"'): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    text = re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", "", str(value)).strip()
    return text if len(text) <= LONGEST else None
