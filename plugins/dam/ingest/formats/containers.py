"""Formats that are containers of others: ISO media, RIFF, Matroska, Ogg, TIFF, ZIP, OLE, gzip."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import PurePosixPath

from dam.ingest.content import HEAD, Content
from dam.ingest.formats import known
from dam.ingest.formats.known import Format
from dam.renditions import pictures

#: Most boxes of a file's top level that are walked through, and most bytes of one that are searched.
MOST_BOXES, MOST_SEARCHED = 4096, 8 << 20

# ------------------------------------------------------------------------------------------------ ISO media

_IMAGES: tuple[tuple[tuple[str, ...], Format], ...] = (
    (("avif", "avis"), known.AVIF),
    (("heic", "heix", "heim", "heis", "hevc", "hevx"), known.HEIC),
)
_STILLS = ("mif1", "msf1", "heif", "miaf")
_MOVIES: tuple[tuple[tuple[str, ...], Format], ...] = (
    (("qt  ",), known.MOV),
    (("M4A ", "M4B ", "M4P "), known.M4A),
    (("M4V ", "M4VH", "M4VP"), known.M4V),
    (("3gp", "3g2", "3ge", "3gg", "kddi"), known.TGP),
)


#: What the standards put at the top level.
_TOP = {b"jP  ", b"JXL ", b"xml "}.union(
    b"ftyp moov mdat free skip wide uuid moof mfra sidx ssix styp meta pnot PICT udta pdin prft emsg jumb imda meco"
    b" jp2h jp2c jp2i jxlc jxlp jxll jxli Exif jbrd brob".split()
)


def boxes(content: Content, at: int = 0) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, start and end of the boxes of a file's top level (ISO/IEC 14496-12).

    A box that is not known counts when one that is known follows it: cameras have their own. A box that says
    it ends beyond the file is yielded with that end, and is the last.
    """
    for _ in range(MOST_BOXES):
        head = content.read(at, 16)
        if len(head) < 8:
            return
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        elif length == 0:
            length = content.size - at
        if length < 8 or (head[4:8] not in _TOP and content.read(at + length + 4, 4) not in _TOP):
            return
        yield head[4:8], at, at + length
        at += length
        if at >= content.size:
            return


def iso_media(content: Content) -> Format | None:
    """Tell pictures, films and sound of the ISO family apart, by their brands and tracks."""
    if content.read(4, 4) != b"ftyp":
        return None
    brands = _brands(content)
    major = brands[0]
    if major == "crx ":
        return known.CR3
    named = brands if major in _STILLS else [major]
    for names, found in _IMAGES:
        if any(brand in names for brand in named):
            return found
    if major in _STILLS:
        return known.HEIC
    for starts, found in _MOVIES:
        if major.startswith(starts):
            return found
    tracks = _tracks(content)
    return known.M4A if tracks == {b"soun"} else known.MP4


def _brands(content: Content) -> list[str]:
    """Return the major brand and then the compatible ones; AVIF and HEIC may stand for one another's major."""
    length = min(content.number(0, 4), HEAD)
    head = content.head[:length]
    places = [8, *range(16, len(head) - 3, 4)]
    return [head[at : at + 4].decode("latin-1") for at in places]


def _tracks(content: Content) -> set[bytes]:
    for kind, start, end in boxes(content):
        if kind == b"moov":
            film = content.read(start, min(end - start, MOST_SEARCHED))
            return set(re.findall(rb"hdlr[\s\S]{8}(vide|soun)", film))
    return set()


def old_quicktime(content: Content) -> Format | None:
    """Know a QuickTime film from before there was a ``ftyp``: one that begins with its boxes."""
    if content.read(4, 4) not in (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"):
        return None
    for kind, start, end in boxes(content):
        if kind == b"moov" and end <= content.size and re.search(rb"mvhd|cmov", content.read(start, 64)):
            return known.MOV
    return None


# ------------------------------------------------------------------------------------ RIFF, Matroska, Ogg, ASF


_RIFF = {b"WEBP": known.WEBP, b"WAVE": known.WAV, b"AVI ": known.AVI, b"AVIX": known.AVI}


def riff(content: Content) -> Format | None:
    """Know what is in a RIFF, RF64 or BW64 file by its form type."""
    return _RIFF.get(content.read(8, 4))


def form(content: Content) -> Format | None:
    """Know AIFF among IFF files."""
    return known.AIFF if content.read(8, 4) in (b"AIFF", b"AIFC") else None


def matroska(content: Content) -> Format | None:
    """Tell WebM from Matroska by the document type, and sound from film by the codecs of the tracks."""
    head = content.head
    if not (match := re.search(rb"\x42\x82[\x84-\x88](matroska|webm)", head[:256])):
        return None
    codecs = set(re.findall(rb"\x86[\x81-\xa0]([VAS])_[A-Z]", content.read(0, 1 << 16)))
    only_sound = codecs == {b"A"}
    if match[1] == b"webm":
        return known.WEBA if only_sound else known.WEBM
    return known.MKA if only_sound else known.MKV


def ogg(content: Content) -> Format | None:
    """Know the codec of an Ogg file by its first packet."""
    head = content.head
    if b"\x80theora" in head[:512]:
        return known.OGV
    return known.OPUS if head[28:36] == b"OpusHead" else known.OGG


_ASF_VIDEO = bytes.fromhex("c0ef19bc4d5bcf11a8fd00805f5c442b")


def asf(content: Content) -> Format | None:
    """Tell film from sound in an ASF file by its stream headers."""
    return known.WMV if _ASF_VIDEO in content.read(0, 1 << 16) else known.WMA


# -------------------------------------------------------------------------------------------------- TIFF, raw


_MAKERS = (
    (b"NIKON", known.NEF),
    (b"SONY", known.ARW),
    (b"PENTAX", known.PEF),
    (b"RICOH", known.PEF),
    (b"Panasonic", known.RW2),
    (b"LEICA", known.RAW),
)
_STARTS = (
    (b"FUJIFILMCCD-RAW", known.RAF),
    (b"II*\x00\x10\x00\x00\x00CR", known.CR2),
    (b"IIRO", known.ORF),
    (b"IIRS", known.ORF),
    (b"MMOR", known.ORF),
    (b"IIU\x00", known.RW2),
)
_DNG_VERSION = (b"\x12\xc6\x01\x00\x04\x00\x00\x00", b"\xc6\x12\x00\x01\x00\x00\x00\x04")


def tiff(content: Content) -> Format | None:
    """Tell a camera's raw file from a TIFF, and by which maker's camera it was taken."""
    head = content.head
    for start, found in _STARTS:
        if head.startswith(start):
            return found
    if not pictures.is_camera_raw(content.path):
        return known.TIFF
    if any(tag in head for tag in _DNG_VERSION):
        return known.DNG
    for maker, found in _MAKERS:
        if maker in head:
            return found
    return known.RAW


# --------------------------------------------------------------------------------------------- ZIP, OLE, gzip


def zip_file(content: Content) -> Format | None:
    """Know what a ZIP file is the container of, by its table of contents.

    One whose table can't be read is still a ZIP file: whoever opens it says what is wrong.
    """
    try:
        with zipfile.ZipFile(content.path) as opened:
            names = opened.namelist()
            return (
                _by_mimetype(opened, names)
                or _by_content_types(opened, names)
                or _by_names(names)
                or known.ZIP
            )  # fmt: skip
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError, EOFError, zlib.error):
        return known.ZIP
    except (OverflowError, IndexError, AttributeError):  # a made-up table of contents
        return known.ZIP


def _small(opened: zipfile.ZipFile, name: str, most: int) -> bytes:
    with opened.open(name) as stream:
        return stream.read(most)


def _by_mimetype(opened: zipfile.ZipFile, names: list[str]) -> Format | None:
    if "mimetype" not in names:
        return None
    return known.BY_MIMETYPE.get(_small(opened, "mimetype", 256).decode("latin-1").strip())


def _by_content_types(opened: zipfile.ZipFile, names: list[str]) -> Format | None:
    if "[Content_Types].xml" not in names:
        return None
    text = _small(opened, "[Content_Types].xml", 1 << 20)
    encoding = "utf-16" if text[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
    for stated in re.findall(r"""ContentType\s*=\s*["']([^"']+)["']""", text.decode(encoding, "replace")):
        if found := known.BY_MAIN_PART.get(stated.strip().lower()):
            return found
    return None


def _by_names(names: list[str]) -> Format | None:
    """Know a container by what lies in it."""
    first = PurePosixPath(names[0]).suffix.lower() if names else ""
    if first in (".usd", ".usda", ".usdc"):
        return known.USDZ
    there = set(names)
    if "AndroidManifest.xml" in there and "classes.dex" in there:
        return known.APK
    if "META-INF/MANIFEST.MF" in there and any(name.endswith(".class") for name in names):
        return known.JAR
    if {"document.json", "meta.json"} <= there and any(name.startswith("pages/") for name in names):
        return known.SKETCH
    if "Index/Document.iwa" in there or "Index.zip" in there:
        return known.IWORK
    return None


def ole(content: Content) -> Format | None:
    """Know what an OLE compound file (MS-CFB) holds, by the names of its streams."""
    import olefile

    try:
        with olefile.OleFileIO(str(content.path)) as opened:
            names = {path[0].lower() for path in opened.listdir(streams=True, storages=True) if path}
            installer = (opened.root.clsid or "").lower().startswith("000c108")
    except (OSError, ValueError, IndexError, AttributeError, TypeError, KeyError, OverflowError, RecursionError):
        return known.OLE
    if installer:
        return known.MSI
    for stream, found in (
        ("encryptedpackage", known.LOCKED_OFFICE),
        ("worddocument", known.DOC),
        ("workbook", known.XLS),
        ("book", known.XLS),
        ("powerpoint document", known.PPT),
    ):
        if stream in names:
            return found
    return known.OLE


def compressed(content: Content) -> Format | None:
    """Look at what is packed in gzip, bzip2 or xz: a drawing, a tar or one file."""
    start = content.read(0, 1 << 16)
    for magic, unpack, tar, plain in _PACKERS:
        if start.startswith(magic):
            inside = unpack(start)
            if is_tar(inside):
                return tar
            from dam.ingest.formats.text import is_svg

            return known.SVGZ if plain is known.GZIP and is_svg(inside) else plain
    return None


def _gunzip(start: bytes) -> bytes:
    try:
        return zlib.decompressobj(31).decompress(start, 1 << 16)
    except zlib.error:
        return b""


def _bunzip(start: bytes) -> bytes:
    import bz2

    try:
        return bz2.BZ2Decompressor().decompress(start, 1 << 16)
    except (OSError, ValueError):
        return b""


def _unxz(start: bytes) -> bytes:
    import lzma

    try:
        return lzma.LZMADecompressor(memlimit=256 << 20).decompress(start, 1 << 16)
    except (lzma.LZMAError, ValueError):
        return b""


_PACKERS = (
    (b"\x1f\x8b\x08", _gunzip, known.TAR_GZ, known.GZIP),
    (b"BZh", _bunzip, known.TAR_BZ2, known.BZIP2),
    (b"\xfd7zXZ\x00", _unxz, known.TAR_XZ, known.XZ),
)


def is_tar(start: bytes) -> bool:
    """Return whether bytes begin like a tar archive: a header whose sum is right (POSIX.1, ustar)."""
    block = start[:512]
    if len(block) < 512 or not any(block):
        return False
    stated = re.fullmatch(rb"[ \x00]*([0-7]{1,7})[ \x00]*", block[148:156])
    if not stated:
        return False
    return int(stated[1], 8) == sum(block) - sum(block[148:156]) + 8 * ord(" ")
