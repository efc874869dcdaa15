"""Formats by content, never by extension."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dam.renditions import pictures

#: Bytes read from the start of a file to know its format.
HEAD = 4096


@dataclass(frozen=True, slots=True)
class Format:
    """A file format: media type, kind of asset, the extensions it is known by (the usual one first), and which
    module of :mod:`dam.ingest.inspectors` looks into it."""

    media_type: str
    kind: str
    extensions: tuple[str, ...]
    inspector: str = ""


JPEG = Format("image/jpeg", "image", ("jpg", "jpeg", "jpe", "jfif"), "raster")
PNG = Format("image/png", "image", ("png",), "raster")
GIF = Format("image/gif", "image", ("gif",), "raster")
TIFF = Format("image/tiff", "image", ("tif", "tiff"), "raster")
WEBP = Format("image/webp", "image", ("webp",), "raster")
AVIF = Format("image/avif", "image", ("avif",), "raster")
HEIC = Format("image/heic", "image", ("heic", "heif"), "raster")
PSD = Format("image/vnd.adobe.photoshop", "image", ("psd", "psb"), "raster")
JXL = Format("image/jxl", "image", ("jxl",), "raster")
RAW = Format("image/x-raw", "image", ("dng", "nef", "cr2", "cr3", "arw", "raf", "orf", "rw2", "pef"), "raster")
PDF = Format("application/pdf", "document", ("pdf", "ai"), "pdf")
MP4 = Format("video/mp4", "video", ("mp4", "m4v"), "av")
MOV = Format("video/quicktime", "video", ("mov", "qt"), "av")
WEBM = Format("video/webm", "video", ("webm", "mkv"), "av")
WAV = Format("audio/wav", "audio", ("wav",), "av")
FLAC = Format("audio/flac", "audio", ("flac",), "av")
MP3 = Format("audio/mpeg", "audio", ("mp3",), "av")
M4A = Format("audio/mp4", "audio", ("m4a",), "av")
GLB = Format("model/gltf-binary", "model", ("glb",), "model")
ZIP = Format("application/zip", "opaque", ("zip", "docx", "pptx", "xlsx", "usdz", "odt"))
OPAQUE = Format("application/octet-stream", "opaque", ())

_SIGNATURES: tuple[tuple[int, bytes, Format], ...] = (
    (0, b"\xff\xd8\xff", JPEG),
    (0, b"\x89PNG\r\n\x1a\n", PNG),
    (0, b"GIF87a", GIF),
    (0, b"GIF89a", GIF),
    (0, b"II*\x00", TIFF),
    (0, b"MM\x00*", TIFF),
    (0, b"II+\x00", TIFF),
    (0, b"MM\x00+", TIFF),
    (8, b"WEBP", WEBP),
    (8, b"WAVE", WAV),
    (0, b"8BPS", PSD),
    (0, b"\xff\x0a", JXL),
    (0, b"\x00\x00\x00\x0cJXL \r\n\x87\n", JXL),
    (0, b"%PDF-", PDF),
    (0, b"\x1a\x45\xdf\xa3", WEBM),
    (0, b"fLaC", FLAC),
    (0, b"ID3", MP3),
    (0, b"glTF", GLB),
    (0, b"PK\x03\x04", ZIP),
)
#: Major and compatible brands of ISO base media files (ISO/IEC 14496-12).
_BRANDS = (
    ((b"avif", b"avis"), AVIF),
    ((b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1"), HEIC),
    ((b"qt  ",), MOV),
    ((b"M4A ", b"M4B "), M4A),
)


def identify(path: Path) -> Format:
    """Return a file's format by its first bytes; :data:`OPAQUE` when they say nothing."""
    with path.open("rb") as stream:
        head = stream.read(HEAD)
    if pictures.is_camera_raw(path):
        return RAW
    for offset, signature, found in _SIGNATURES:
        if head[offset : offset + len(signature)] == signature:
            return found
    if head[4:8] == b"ftyp":
        length = int.from_bytes(head[:4], "big")
        brands = [head[8:12], *(head[at : at + 4] for at in range(16, min(length, len(head)), 4))]
        for names, found in _BRANDS:
            if brands[0] in names or (found is AVIF and b"avif" in brands):
                return found
        return MP4
    return OPAQUE
