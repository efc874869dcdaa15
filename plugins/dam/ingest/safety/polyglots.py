"""Files that are two things at once: a picture to one program, an archive, a page or a program to another."""

from __future__ import annotations

import re

from dam.ingest.content import Content
from dam.ingest.formats import PROGRAMS, Format, known
from dam.ingest.formats.containers import is_tar
from dam.ingest.inspection import Unusable
from dam.ingest.safety import ends
from dam.ingest.safety.programs import is_program

REMEDY = "Ask the sender to save it anew from its program, and to send nothing but that."

#: What opens as something else wherever it stands in a file. Each is long enough not to be met by accident.
_ANYWHERE = (
    (
        re.compile(
            rb"PK\x03\x04[\x00-\x3f]\x00[\s\S]{2}[\x00\x08\x09\x0c\x0e\x5d\x5f\x62]\x00[\s\S]{17}[\x00-\x03]"
        ),
        "a ZIP archive",
    ),
    (re.compile(rb"PK\x05\x06\x00\x00\x00\x00"), "a ZIP archive"),
    (re.compile(rb"Rar!\x1a\x07[\x00\x01]"), "a RAR archive"),
    (re.compile(rb"7z\xbc\xaf\x27\x1c\x00[\x00-\x09]"), "a 7z archive"),
    (re.compile(rb"\xfd7zXZ\x00\x00"), "an xz archive"),
    (re.compile(rb"BZh[1-9]1AY&SY"), "a bzip2 archive"),
    (re.compile(rb"MSCF\x00\x00\x00\x00"), "a cabinet archive"),
    (re.compile(rb"%PDF-[12]\.\d"), "a PDF"),
    (re.compile(rb"\x7fELF[\x01\x02][\x01\x02]\x01[\x00-\x12]"), PROGRAMS[known.ELF]),
    (re.compile(rb"PE\x00\x00(?:\x4c\x01|\x64\x86|\x64\xaa|\xc4\x01|\xc0\x01)"), PROGRAMS[known.PE]),
    (re.compile(rb"[\xce\xcf]\xfa\xed\xfe[\x07\x0c]\x00\x00[\x00\x01]"), PROGRAMS[known.MACH_O]),
    (re.compile(rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"), "an office file"),
    (
        re.compile(
            rb"<(?:(?:script|html|iframe|body|object|embed|svg)[\s>/]|!doctype\s+html|\?php\s)", re.IGNORECASE
        ),
        "a web page or a script",
    ),
)  # fmt: skip
#: What counts only where it begins.
_BEGINNING = ((b"\x1f\x8b\x08", "a gzip archive"), (b"#!", "a script"), (b"\xca\xfe\xba\xbe", "a program"))
#: Zeros, spaces and fill bytes, but not the first ones of a companion.
_PADDING = re.compile(rb"(?:(?!.{4}ftyp)(?:[\x00\s]|\xff(?!\xd8)))+", re.DOTALL)
#: Pictures and films that cameras keep behind a picture: previews, gain maps, moving photos.
_COMPANIONS = {"jpeg": "a further picture", "film": "a short film"}

#: A picture whose first bytes a browser would also run: a size that reads as the start of a comment.
_COMMENT_START = re.compile(rb"(?:GIF8[79]a|BM|RIFF|\xff\xd8\xff[\xe0-\xef])(?:/\*|<!--)")
_COMMENT_END = re.compile(rb"(?:\*/|-->)[\t\n\r -~]{16}")
_PDF_HEADER = re.compile(rb"%PDF-[12]\.\d")
_PDF_WITHIN = 1024


def check(content: Content, found: Format) -> list[str]:
    """Look for a second file in a file, before or behind its content.

    :returns: notes on what follows the content and is harmless.
    :raises Unusable: something follows, or leads, that another program would open.
    """
    if found.kind == "archive" or found.inspector in ("office", "text"):
        return []
    if found is known.OPAQUE or found.inspector == "":
        _not_an_archive(content)
        return []
    _one_beginning(content, found)
    end = ends.end_of(content, found)
    notes = _judge_rest(content, end) if end is not None else []
    if found is not known.USDZ:
        _not_an_archive(content)
    return notes


def _one_beginning(content: Content, found: Format) -> None:
    """Refuse a file whose first bytes mean two things."""
    head = content.head
    if found in (known.PDF, known.AI):
        start = _PDF_HEADER.search(head)
        if start and start.start():
            if told := is_program(head, ""):
                _refuse(told, 0)
            if other := _something(content, 0, start.start()):
                _refuse(other[1], other[0])
    elif found.inspector not in ("svg", "postscript") and (inner := _PDF_HEADER.search(head[: _PDF_WITHIN + 8])):
        _refuse("a PDF", inner.start())
    if _COMMENT_START.match(head) and content.search(_COMMENT_END, 6, 1 << 20):
        _refuse("a script", 0)


def _judge_rest(content: Content, at: int) -> list[str]:
    """Go through what follows the content, part by part."""
    notes: list[str] = []
    while (at := _behind_padding(content, at)) < content.size:
        part, end = _companion(content, at)
        if part:
            note = f"Behind the content lies {_COMPANIONS[part]}, as cameras write it."
            notes += [note] if note not in notes else []
            at = end
            continue
        if other := _something(content, at, content.size):
            _refuse(other[1], other[0])
        count = content.size - at
        notes.append(f"{count:,} bytes follow the content that no viewer shows: a camera's or a program's own data.")
        break
    return notes


def _behind_padding(content: Content, at: int) -> int:
    while at < content.size and (match := _PADDING.match(content.read(at, 1 << 16))):
        at += match.end()
    return at


def _companion(content: Content, at: int) -> tuple[str, int]:
    """Return which known companion begins here and where it ends; an empty name when none does."""
    if content.read(at, 3) == b"\xff\xd8\xff":
        end = ends.of_jpeg(content, at)
        return ("jpeg", end) if end and end > at else ("", at)
    if content.read(at + 4, 4) == b"ftyp":
        end = ends.of_boxes(content, at)
        return ("film", end) if end and end > at else ("", at)
    return "", at


def _something(content: Content, start: int, stop: int) -> tuple[int, str] | None:
    """Return where another program would find something to open, and what."""
    first = content.read(start, 512)
    for signature, what in _BEGINNING:
        if first.startswith(signature):
            return start, what
    if is_tar(first):
        return start, "a tar archive"
    for pattern, what in _ANYWHERE:
        if hit := content.search(pattern, start, stop):
            return hit[0], what
    return None


def _not_an_archive(content: Content) -> None:
    """Refuse what is a ZIP archive, too: one is found from its end (PKWARE APPNOTE, 4.3.16)."""
    tail = content.read(max(0, content.size - (1 << 16) - 22), (1 << 16) + 22)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < 22:
        return
    comment = int.from_bytes(tail[at + 20 : at + 22], "little")
    if tail[at + 22 + comment :].strip(b"\x00 \r\n"):
        return
    directory = content.size - len(tail) + at - int.from_bytes(tail[at + 12 : at + 16], "little")
    if content.read(directory, 4) in (b"PK\x01\x02", b"PK\x05\x06"):
        _refuse("a ZIP archive", directory)


def _refuse(what: str, at: int) -> None:
    raise Unusable(f"The file is two things at once: {what} is hidden in it, from byte {at:,} on.", remedy=REMEDY)
