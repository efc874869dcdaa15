"""Formats by content, never by extension.

A file's name is asked only where content alone can't decide between two readings that are both right: a
drawing that Illustrator keeps as a PDF, a table that is text, a script that is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from dam.ingest.content import Content
from dam.ingest.formats import containers, known, streams, text
from dam.ingest.formats.known import OPAQUE, PROGRAMS, Format

__all__ = ["OPAQUE", "PROGRAMS", "Format", "identify"]

Sniffer = Callable[[Content], Format | None]

#: Where, which bytes, and what they mean: a format, or who looks closer.
_SIGNATURES: tuple[tuple[int, bytes, Format | Sniffer], ...] = (
    (0, b"\xff\xd8\xff", known.JPEG),
    (0, b"\x89PNG\r\n\x1a\n", known.PNG),
    (0, b"GIF87a", known.GIF),
    (0, b"GIF89a", known.GIF),
    (0, b"II*\x00", containers.tiff),
    (0, b"MM\x00*", containers.tiff),
    (0, b"II+\x00\x08\x00\x00\x00", known.TIFF),
    (0, b"MM\x00+\x00\x08\x00\x00", known.TIFF),
    (0, b"FUJIFILMCCD-RAW", known.RAF),
    (0, b"IIRO", known.ORF),
    (0, b"IIRS", known.ORF),
    (0, b"MMOR", known.ORF),
    (0, b"IIU\x00", containers.tiff),
    (4, b"ftyp", containers.iso_media),
    (0, b"RIFF", containers.riff),
    (0, b"RIFX", containers.riff),
    (0, b"RF64", containers.riff),
    (0, b"BW64", containers.riff),
    (0, b"FORM", containers.form),
    (0, b"8BPS", streams.photoshop),
    (0, b"\xff\x0a", known.JXL),
    (0, b"\x00\x00\x00\x0cJXL \r\n\x87\n", known.JXL),
    (0, b"\x00\x00\x00\x0cjP  \r\n\x87\n", known.JP2),
    (0, b"\xff\x4f\xff\x51", known.JP2),
    (0, b"BM", streams.bitmap),
    (0, b"\x76\x2f\x31\x01", known.EXR),
    (0, b"gimp xcf ", known.XCF),
    (0, b"DDS \x7c\x00\x00\x00", known.DDS),
    (0, b"PK\x03\x04", containers.zip_file),
    (0, b"PK\x05\x06", containers.zip_file),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", containers.ole),
    (0, b"{\\rtf", known.RTF),
    (0, b"\x06\x06\xed\xf5\xd8\x1d\x46\xe5\xbd\x31\xef\xe7\xfe\x74\xb7\x1d", known.INDD),
    (0, b"\x1a\x45\xdf\xa3", containers.matroska),
    (0, b"OggS", containers.ogg),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", containers.asf),
    (0, b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02\x01\x01", known.MXF),
    (0, b"FLV\x01", known.FLV),
    (0, b"fLaC", known.FLAC),
    (0, b"ID3", streams.sound_after_id3),
    (0, b"caff\x00\x01", known.CAF),
    (0, b"MThd\x00\x00\x00\x06", known.MIDI),
    (0, b"glTF\x01\x00\x00\x00", known.GLB),
    (0, b"glTF\x02\x00\x00\x00", known.GLB),
    (0, b"PXR-USDC", known.USDC),
    (0, b"ply\nformat ", known.PLY),
    (0, b"ply\r\nformat ", known.PLY),
    (0, b"ply\ncomment ", known.PLY),
    (0, b"Kaydara FBX Binary  \x00", known.FBX),
    (0, b"BLENDER", known.BLEND),
    (0, b"AC10", known.DWG),
    (0, b"\x00\x01\x00\x00", streams.sfnt),
    (0, b"OTTO", streams.sfnt),
    (0, b"true", streams.sfnt),
    (0, b"ttcf", streams.font_collection),
    (0, b"wOFF", streams.web_font),
    (0, b"wOF2", streams.web_font),
    (0, b"\x80\x01", lambda content: known.TYPE1 if content.read(6, 4) == b"%!PS" else None),
    (0, b"\x1f\x8b\x08", containers.compressed),
    (0, b"BZh", lambda content: containers.compressed(content) if content.read(4, 6) == b"1AY&SY" else None),
    (0, b"\xfd7zXZ\x00", containers.compressed),
    (0, b"\x28\xb5\x2f\xfd", known.ZSTD),
    (0, b"7z\xbc\xaf\x27\x1c", known.SEVEN_ZIP),
    (0, b"Rar!\x1a\x07", known.RAR),
    (0, b"MSCF\x00\x00\x00\x00", known.CAB),
    (0, b"\x7fELF", known.ELF),
    (0, b"MZ", streams.portable_executable),
    (0, b"\xfe\xed\xfa\xce", known.MACH_O),
    (0, b"\xfe\xed\xfa\xcf", known.MACH_O),
    (0, b"\xce\xfa\xed\xfe", known.MACH_O),
    (0, b"\xcf\xfa\xed\xfe", known.MACH_O),
    (0, b"\xca\xfe\xba\xbe", streams.fat_binary),
    (0, b"\x00asm\x01\x00\x00\x00", known.WASM),
    (0, b"L\x00\x00\x00\x01\x14\x02\x00", known.SHORTCUT),
    (0, b"\x00\x00\x01\x00", lambda content: known.ICO if _is_icon(content) else None),
)
_STRUCTURES: tuple[Sniffer, ...] = (
    containers.old_quicktime,
    streams.transport_stream,
    streams.program_stream,
    streams.mpeg_audio,
    streams.tar,
    streams.stl,
)


def identify(path: Path, name: str = "") -> Format:
    """Return a file's format by its content; :data:`OPAQUE` when it says nothing.

    :param name: as it was sent; settles what content leaves open, and nothing else.
    """
    with Content(path) as content:
        return (
            _by_signature(content)
            or streams.postscript(content, name)
            or streams.pdf(content, name)
            or text.textual(content, name)
            or _by_structure(content)
            or _by_puremagic(content)
            or OPAQUE
        )


def _by_signature(content: Content) -> Format | None:
    head = content.head
    for offset, signature, meaning in _SIGNATURES:
        if head.startswith(signature, offset):
            found = meaning if isinstance(meaning, Format) else meaning(content)
            if found:
                return found
    return None


def _by_structure(content: Content) -> Format | None:
    for sniff in _STRUCTURES:
        if found := sniff(content):
            return found
    return None


def _is_icon(content: Content) -> bool:
    """Return whether an icon's directory points into the file."""
    count = content.number(4, 2, little=True)
    first = content.number(18, 4, little=True)
    return 0 < count < 256 and 6 + 16 * count <= first < content.size


#: A signature shorter than this is met by accident.
_SURE = 5
_OURS = {each.media_type for each in vars(known).values() if isinstance(each, Format)}


def _by_puremagic(content: Content) -> Format | None:
    """Name what nothing here can look inside, by puremagic's list of signatures; who knows better, knows it above."""
    import puremagic

    try:
        matches = puremagic.magic_string(content.head)
    except (puremagic.PureError, ValueError):
        return None
    for match in matches:
        sound = re.fullmatch(r"[a-z]+/[\w.+\-]+", match.mime_type or "")
        if sound and len(match.byte_match.strip(b"\x00 \xff")) >= _SURE and match.mime_type not in _OURS:
            extension = match.extension.lstrip(".").lower()
            return Format(match.mime_type, "opaque", (extension,) if extension else ())
    return None
