"""Where a file's content truly ends: what follows that is shown by no viewer, and may be anything."""

from __future__ import annotations

import re
from collections.abc import Callable

from dam.ingest.content import Content
from dam.ingest.formats import Format, known
from dam.ingest.formats.containers import boxes

#: A marker of JPEG within entropy-coded data: no stuffed zero, no restart, no fill byte (ITU-T T.81, B.1.1).
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_SOI, _EOI, _SOS, _TEM = 0xD8, 0xD9, 0xDA, 0x01
_FILL = re.compile(rb"\xff+")


def of_jpeg(content: Content, at: int = 0) -> int | None:
    """Return where the JPEG that begins at ``at`` ends; None when it is cut off."""
    at += 2
    while at + 1 < content.size:
        here = content.read(at, 64)
        fill = _FILL.match(here)
        if fill is None:
            return None
        at += fill.end()
        code = here[fill.end()] if fill.end() < len(here) else 0
        at += 1
        if code == _EOI:
            return at
        if code in (_SOI, _TEM) or 0xD0 <= code < _SOI:
            continue
        at += max(2, content.number(at, 2))
        if code == _SOS:
            found = content.search(_MARKER, at)
            if found is None:
                return None
            at = found[0]
    return None


def of_front(content: Content) -> int:
    """Return where the part of a file that can hold metadata ends: a JPEG's before its first scan, else the file's."""
    if content.head[:2] != b"\xff\xd8":
        return content.size
    at = 2
    while (head := content.read(at, 4)) and head[0] == 0xFF and head[1] not in (_SOS, _EOI):
        at += 2 + int.from_bytes(head[2:], "big") if len(head) == 4 and head[1] != 0xFF else 1
    return min(at, content.size) if head and head[0] == 0xFF else content.size


def of_png(content: Content, at: int = 0) -> int | None:
    """Return where a PNG ends: behind its chunk IEND."""
    at += 8
    while at + 12 <= content.size:
        head = content.read(at, 8)
        at += 12 + int.from_bytes(head[:4], "big")
        if head[4:] == b"IEND":
            return at if at <= content.size else None
    return None


def of_gif(content: Content, at: int = 0) -> int | None:
    """Return where a GIF ends: behind its trailer (GIF89a specification)."""
    flags = content.number(at + 10, 1)
    at += 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    while at < content.size:
        kind = content.read(at, 10)
        if kind[:1] == b";":
            return at + 1
        if kind[:1] == b"!":
            at += 2
        elif kind[:1] == b"," and len(kind) == 10:
            at += 11 + (3 << (kind[9] & 7) + 1 if kind[9] & 0x80 else 0)
        else:
            return None
        at = _after_blocks(content, at)
    return None


def _after_blocks(content: Content, at: int) -> int:
    """Skip data sub-blocks; they are read by the window, as they are small and many."""
    window, base = b"", at
    while True:
        if at - base >= len(window):
            window, base = content.read(at, 1 << 16), at
            if not window:
                return at
        length = window[at - base]
        at += 1 + length
        if length == 0:
            return at


def of_riff(content: Content, at: int = 0) -> int | None:
    """Return where a RIFF file ends; an AVI goes on in further RIFF chunks (OpenDML)."""
    order = content.read(at, 4)
    if order not in (b"RIFF", b"RIFX"):
        return None  # 64-bit: the length is elsewhere
    while content.read(at, 4) == order and (at == 0 or content.read(at + 8, 4) == b"AVIX"):
        length = content.number(at + 4, 4, little=order == b"RIFF")
        if length in (0, 0xFFFFFFFF):
            return None  # was written to a pipe
        at += 8 + length + (length & 1)
    return at if at <= content.size + 1 else None


def of_boxes(content: Content, at: int = 0) -> int | None:
    """Return where the boxes of an ISO media file end; None when the last one is cut off."""
    end = at
    for _kind, _start, end in boxes(content, at):  # noqa: B007 - the last is asked for
        pass
    return end if at < end <= content.size else None


def of_bitmap(content: Content, at: int = 0) -> int | None:
    """Return where a Windows bitmap ends: behind its rows, or where its header says when it is compressed."""
    offset = content.number(at + 10, 4, little=True)
    if content.number(at + 14, 4, little=True) < 40:
        return None
    width, height = (content.number(at + place, 4, little=True) for place in (18, 22))
    height = height - (1 << 32) if height >= 1 << 31 else height
    bits, compression = content.number(at + 28, 2, little=True), content.number(at + 30, 4, little=True)
    if compression in (0, 3, 6):
        rows = at + offset + (width * bits + 31) // 32 * 4 * abs(height)
    else:
        rows = at + offset + content.number(at + 34, 4, little=True)
    stated = at + content.number(at + 2, 4, little=True)  # a colour profile may follow the rows
    end = max(rows, stated) if stated <= content.size else rows
    return end if end <= content.size else None


def of_glb(content: Content, at: int = 0) -> int | None:
    """Return where a binary glTF ends, by its header."""
    end = at + content.number(at + 8, 4, little=True)
    return end if 12 < end <= content.size else None


def of_woff(content: Content, at: int = 0) -> int | None:
    """Return where a web font ends, by its header."""
    end = at + content.number(at + 8, 4)
    return end if 44 <= end <= content.size else None


def of_pdf(content: Content, at: int = 0) -> int | None:
    """Return where a PDF ends: behind the last end-of-file comment."""
    mark = content.last(b"%%EOF")
    if mark < 0:
        mark = content.last(b"%%EOF", 64 << 20)
    return mark + 5 if mark > at else None


_ENDS: dict[Format, Callable[[Content], int | None]] = {
    known.JPEG: of_jpeg,
    known.PNG: of_png,
    known.GIF: of_gif,
    known.BMP: of_bitmap,
    known.GLB: of_glb,
    known.WOFF: of_woff,
    known.WOFF2: of_woff,
    known.PDF: of_pdf,
    known.AI: of_pdf,
    **dict.fromkeys((known.WEBP, known.WAV, known.AVI), of_riff),
    **dict.fromkeys(
        (known.AVIF, known.HEIC, known.CR3, known.MP4, known.M4V, known.MOV, known.TGP, known.M4A, known.JP2), of_boxes
    ),
}


def end_of(content: Content, found: Format) -> int | None:
    """Return where the content of a file ends; None when its format does not say, or it is cut off."""
    if found is known.JP2 and content.head[:2] == b"\xff\x4f":
        return None
    if found is known.JXL and content.head[:2] != b"\xff\x0a":
        return of_boxes(content)
    ends = _ENDS.get(found)
    return ends(content) if ends else None
