"""Formats without a sure signature: what repeats itself, or adds up, is believed."""

from __future__ import annotations

import re

from dam.ingest.content import Content
from dam.ingest.formats import known
from dam.ingest.formats.containers import is_tar
from dam.ingest.formats.known import Format

#: So many frames in a row, one where the other says it ends, are no accident.
FRAMES = 3


def sound_after_id3(content: Content) -> Format | None:
    """Look behind an ID3v2 tag: MP3 mostly, but FLAC and AAC have one, too."""
    head = content.head[:10]
    if len(head) < 10 or head[3] not in (2, 3, 4) or any(byte & 0x80 for byte in head[6:10]):
        return None
    length = sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
    start = 10 + length + (10 if head[5] & 0x10 else 0)
    if content.read(start, 4) == b"fLaC":
        return known.FLAC
    if found := mpeg_audio(content, start):
        return found
    after = content.read(start, 1 << 16)  # some writers pad after the tag
    sync = re.search(rb"\xff[\xe2-\xff]", after.lstrip(b"\x00"))
    if sync and (found := mpeg_audio(content, start + len(after) - len(after.lstrip(b"\x00")) + sync.start())):
        return found
    return known.MP3


def mpeg_audio(content: Content, start: int = 0) -> Format | None:
    """Know MPEG audio (ISO/IEC 11172-3, 13818-3) and AAC in ADTS (13818-7) by frames that follow one another."""
    for length_of, found in ((_mpeg_frame, known.MP3), (_adts_frame, known.AAC)):
        at, count, kind = start, 0, b""
        while count < FRAMES:
            head = content.read(at, 7)
            length, this = length_of(head)
            if not length or (kind and this != kind):
                break
            at, count, kind = at + length, count + 1, this
            if at >= content.size:
                break
        if count == FRAMES or (count and at == content.size):
            return found
    return None


_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_KBITS = {
    (3, 3): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (3, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (3, 1): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 3): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


def _mpeg_frame(head: bytes) -> tuple[int, bytes]:
    """Return a frame's length in bytes, and what all frames of a stream share; 0 for what is no frame."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return 0, b""
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    rate, bits, padding = head[2] >> 2 & 3, head[2] >> 4, head[2] >> 1 & 1
    if version == 1 or layer == 0 or rate == 3 or bits in (0, 15):
        return 0, b""
    table = (3, layer) if version == 3 else (2, 3 if layer == 3 else 2)
    kbits, hertz = _KBITS[table][bits], _RATES[version][rate]
    if layer == 3:
        length = (12000 * kbits // hertz + padding) * 4
    else:
        length = (72000 if version != 3 and layer == 1 else 144000) * kbits // hertz + padding
    return length, bytes((head[1] & 0xFE, head[2] & 0x0C))


def _adts_frame(head: bytes) -> tuple[int, bytes]:
    if len(head) < 7 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or head[2] >> 2 & 15 > 12:
        return 0, b""
    length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return (length if length > 7 else 0), bytes((head[1], head[2] & 0xFD, head[3] & 0xC0))


def transport_stream(content: Content) -> Format | None:
    """Know an MPEG transport stream by its sync bytes: every 188, or every 192 from the fifth."""
    for first, step in ((0, 188), (4, 192)):
        places = range(first, min(content.size, 5 * step), step)
        if len(places) >= FRAMES and all(content.read(at, 1) == b"\x47" for at in places):
            return known.MPEG_TS
    return None


def program_stream(content: Content) -> Format | None:
    """Know an MPEG program stream by its first pack header, and a bare video stream by its sequence header."""
    head = content.head[:12]
    if head[:4] == b"\x00\x00\x01\xba" and len(head) > 4 and (head[4] & 0xC4 == 0x44 or head[4] & 0xF1 == 0x21):
        return known.MPEG_PS
    if head[:4] == b"\x00\x00\x01\xb3" and len(head) > 7 and head[7] & 15 in range(1, 9) and head[7] >> 4:
        return known.MPEG_PS
    return None


def stl(content: Content) -> Format | None:
    """Know a binary STL by its length, which the number of its triangles decides."""
    count = content.number(80, 4, little=True)
    return known.STL if count and content.size == 84 + 50 * count else None


def tar(content: Content) -> Format | None:
    """Know a tar archive by its first header."""
    return known.TAR if is_tar(content.head) else None


_DIB_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)


def bitmap(content: Content) -> Format | None:
    """Know a Windows bitmap: its second header has a known length, and the pixels begin within the file."""
    offset, length = content.number(10, 4, little=True), content.number(14, 4, little=True)
    return known.BMP if length in _DIB_HEADERS and 14 + length <= offset <= content.size else None


_SFNT_TAGS = {b"head", b"cmap", b"name", b"maxp", b"OS/2", b"glyf", b"CFF ", b"CFF2", b"GSUB", b"post", b"bhed"}


def sfnt(content: Content) -> Format | None:
    """Know a TrueType or OpenType font by its table directory."""
    head = content.head
    count = int.from_bytes(head[4:6], "big")
    tags = {head[at : at + 4] for at in range(12, min(12 + 16 * count, len(head) - 15), 16)}
    if not 0 < count < 200 or not tags & _SFNT_TAGS:
        return None
    return known.OTF if head[:4] == b"OTTO" else known.TTF


def font_collection(content: Content) -> Format | None:
    """Know a collection of fonts by its version and count."""
    head = content.head
    sound = head[4:8] in (b"\x00\x01\x00\x00", b"\x00\x02\x00\x00") and 0 < int.from_bytes(head[8:12], "big") < 10_000
    return known.TTC if sound else None


def web_font(content: Content) -> Format | None:
    """Know WOFF and WOFF2: the flavour they wrap is one of a font."""
    if content.read(4, 4) not in (b"\x00\x01\x00\x00", b"OTTO", b"true", b"ttcf"):
        return None
    return known.WOFF2 if content.head[:4] == b"wOF2" else known.WOFF


def portable_executable(content: Content) -> Format | None:
    """Know a program for Windows by the header that its DOS stub points to."""
    at = content.number(60, 4, little=True)
    if content.read(at, 4) == b"PE\x00\x00" or content.read(at, 2) in (b"NE", b"LE", b"LX"):
        return known.PE
    stub = b"cannot be run in DOS mode" in content.head or b"must be run under" in content.head
    return known.PE if stub else None


def fat_binary(content: Content) -> Format | None:
    """Tell a macOS program for several processors from a Java class, which share their first bytes."""
    number = content.number(4, 4)
    if 0 < number < 20:
        return known.MACH_O
    return known.CLASS if 45 <= number & 0xFFFF <= 120 else None


def photoshop(content: Content) -> Format | None:
    """Tell Photoshop's large documents from its ordinary ones, by their version."""
    return {1: known.PSD, 2: known.PSB}.get(content.number(4, 2))


#: A PDF may begin a little later than its file (ISO 32000-1, annex H).
PDF_WITHIN = 1024
_AI_MARK = re.compile(rb"/AIPrivateData|/AIMetaData|application/vnd\.adobe\.illustrator")


def pdf(content: Content, name: str = "") -> Format | None:
    """Know a PDF by its header; one that carries Illustrator's own data is a drawing, unless its name says PDF."""
    if not re.search(rb"%PDF-\d\.\d", content.head[: PDF_WITHIN + 8]):
        return None
    if not name.lower().endswith(".pdf") and content.search(_AI_MARK, 0, 64 << 20):
        return known.AI
    return known.PDF


_PS_START = re.compile(rb"(\x04|\x1b%-12345X[\s\S]{0,512}?)?%!(PS|\s)")


def postscript(content: Content, name: str = "") -> Format | None:
    """Tell PostScript, EPS, Illustrator's old drawings and Type 1 fonts apart."""
    head = content.head
    if head[:4] == b"\xc5\xd0\xd3\xc6":  # EPS with a preview (DOS binary header)
        start = int.from_bytes(head[4:8], "little")
        head = content.read(start, len(head))
        return _eps(head, name) if head[:2] == b"%!" else None
    if head.startswith((b"%!PS-AdobeFont", b"%!FontType1")):
        return known.TYPE1
    if not _PS_START.match(head):
        return None
    if re.search(rb"%!PS-Adobe-\d\.\d\s+EPSF", head[:1024]) or b"%AI5_" in head or b"%%AI8_" in head:
        return _eps(head, name)
    return known.PS


def _eps(head: bytes, name: str) -> Format:
    """Illustrator's old drawings are EPS in form: the name decides which of the two it is meant to be."""
    by_illustrator = b"%AI5_" in head or b"%%AI8_" in head or b"Adobe Illustrator" in head
    return known.AI_PS if by_illustrator and name.lower().endswith(".ai") else known.EPS
