"""Microsoft's binary documents, before 2007: compound files (MS-CFB) of Word, Excel and PowerPoint.

All streams are read along their chains, which is where damage to the container shows. Text is read where it
stands plainly: Word's pieces (MS-DOC), Excel's shared strings (MS-XLS), PowerPoint's atoms (MS-PPT).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import olefile

from dam.ingest.damage import AGAIN, locked, refused, unusable
from dam.ingest.inspection import CantCheck, Unusable
from dam.ingest.office import Document

_PROPERTIES = {"title": "title", "subject": "subject", "author": "creator", "keywords": "keywords",
               "comments": "description", "last_saved_by": "lastModifiedBy", "company": "company",
               "category": "category", "creating_application": "application", "create_time": "created",
               "last_saved_time": "modified"}  # fmt: skip
#: Longest stream that text is read from.
_LONGEST = 256_000_000


def read(path: Path, document: Document) -> None:
    """Read all streams of a document and what it says.

    :raises Unusable: it is cut off, damaged or locked. :raises CantCheck: it is a compound file of another program.
    """
    try:
        opened = olefile.OleFileIO(path, raise_defects=olefile.DEFECT_INCORRECT)
    except (OSError, ValueError, IndexError, struct.error) as error:
        raise unusable("The document", error) from error
    with refused("The document"), opened as container:
        streams = ["/".join(parts) for parts in container.listdir()]
        for name in streams:
            with refused(f"The document's stream {name!r}"):
                container.openstream(name)
        if "EncryptedPackage" in streams or "EncryptedSummary" in streams:
            raise locked("The document")
        _properties(container, document)
        for name, reader in (("WordDocument", _word), ("Workbook", _excel), ("Book", _excel),
                             ("PowerPoint Document", _powerpoint)):  # fmt: skip
            if name in streams:
                reader(container, name, document)
                return
    raise CantCheck("It is a container of an old Windows program that is not known here.")


def _properties(container: Any, document: Document) -> None:
    said = container.get_metadata()
    encoding = {65001: "utf-8", 1200: "utf-16-le"}.get(said.codepage, f"cp{said.codepage or 1252}")
    for name, known in _PROPERTIES.items():
        value: Any = getattr(said, name, None)
        if isinstance(value, bytes):
            try:
                text = value.decode(encoding, "replace")
            except LookupError:
                text = value.decode("cp1252", "replace")
            value = text.strip("\0 ")
        elif isinstance(value, datetime):
            value = value.replace(tzinfo=UTC).isoformat() if value.year > 1601 else None
        if value:
            document.embedded[f"Office.{known}"] = value
    for name, known in (("num_pages", "pages"), ("slides", "pages"), ("num_words", "words")):
        if isinstance(count := getattr(said, name, None), int) and count > 0:
            document.technical[known] = count


def _stream(container: Any, name: str) -> bytes:
    with container.openstream(name) as stream:
        data: bytes = stream.read(_LONGEST)
    return data


# ----------------------------------------------------------------------------------------------------- Word

_FIB_LOCKED, _FIB_TABLE = 0x0100, 0x0200
_CLX = 0x01A2  # where the header tells place and length of the text's pieces
_PIECES, _PROPERTY = 2, 1


def _word(container: Any, name: str, document: Document) -> None:
    """Read the text of a Word document by its pieces (MS-DOC 2.4.1)."""
    data = _stream(container, name)
    if len(data) < _CLX + 8 or data[:2] != b"\xec\xa5":
        raise Unusable("The document's header is damaged.", remedy=AGAIN)
    (flags,) = struct.unpack_from("<H", data, 10)
    if flags & _FIB_LOCKED:
        raise locked("The document")
    table = _stream(container, "1Table" if flags & _FIB_TABLE else "0Table")
    start, length = struct.unpack_from("<II", data, _CLX)
    text = "".join(_pieces(table[start : start + length], data))
    field = 0
    line: list[str] = []
    for letter in text:
        # a field is its instruction, a separator, its result; the instruction is not text
        field += (letter == "\x13") - (letter in "\x14\x15" and field > 0)
        if letter in "\r\x0b\x0c":
            document.say("".join(line))
            line = []
        elif not field:
            line.append(" " if letter in "\x07\t" else letter if letter >= " " else "")
    document.say("".join(line))


def _pieces(clx: bytes, data: bytes) -> Iterator[str]:
    at = 0
    while at < len(clx) and clx[at] == _PROPERTY:
        at += 3 + struct.unpack_from("<H", clx, at + 1)[0]
    if at >= len(clx) or clx[at] != _PIECES:
        return
    (length,) = struct.unpack_from("<I", clx, at + 1)
    plan = clx[at + 5 : at + 5 + length]
    count = (len(plan) - 4) // 12
    places = struct.unpack_from(f"<{count + 1}I", plan)
    for number in range(count):
        (where,) = struct.unpack_from("<I", plan, 4 * (count + 1) + 8 * number + 2)
        letters = places[number + 1] - places[number]
        if not 0 <= letters <= len(data):
            raise ValueError("its pieces of text are out of order")
        packed, where = bool(where & 0x40000000), where & 0x3FFFFFFF
        piece = data[where // 2 : where // 2 + letters] if packed else data[where : where + 2 * letters]
        yield piece.decode("cp1252" if packed else "utf-16-le", "replace")


# ---------------------------------------------------------------------------------------------------- Excel

_SHEET, _STRINGS, _CONTINUED, _PASSWORD = 0x85, 0xFC, 0x3C, 0x2F


def _excel(container: Any, name: str, document: Document) -> None:
    """Read the names of a workbook's sheets and its shared strings (MS-XLS 2.4)."""
    data, at = _stream(container, name), 0
    sheets: list[str] = []
    strings: list[bytes] = []
    before = 0
    while at + 4 <= len(data):
        kind, length = struct.unpack_from("<HH", data, at)
        body = data[at + 4 : at + 4 + length]
        if kind == _PASSWORD:
            raise locked("The document")
        if kind == _SHEET and length > 8:
            wide = body[7] & 1
            sheets.append(body[8 : 8 + body[6] * (1 + wide)].decode("utf-16-le" if wide else "cp1252", "replace"))
        elif kind == _STRINGS or (kind == _CONTINUED and before == _STRINGS):
            strings.append(body)
            kind = _STRINGS
        before, at = kind, at + 4 + length
    document.technical |= {"pages": len(sheets), "sheets": len(sheets), "sheet_names": sheets[:100]}
    for text in (*sheets, *_shared(strings)):
        document.say(text)


def _shared(parts: list[bytes]) -> Iterator[str]:
    """Yield shared strings; a long table goes on in further records, where a cut string says its width again."""
    if not parts:
        return
    (count,) = struct.unpack_from("<I", parts[0], 4)
    part, at = 0, 8
    for _ in range(count):
        while part < len(parts) and at >= len(parts[part]):
            part, at = part + 1, 0
        if part >= len(parts):
            return
        letters, flags = struct.unpack_from("<HB", parts[part], at)
        at += 3
        runs = more = 0
        if flags & 8:
            (runs,) = struct.unpack_from("<H", parts[part], at)
            at += 2
        if flags & 4:
            (more,) = struct.unpack_from("<I", parts[part], at)
            at += 4
        text: list[str] = []
        while letters:
            width = 1 + (flags & 1)
            piece = parts[part][at : at + letters * width]
            text.append(piece.decode("utf-16-le" if width == 2 else "latin-1", "replace"))
            letters -= len(piece) // width
            at += len(piece)
            if letters:
                part += 1
                if part >= len(parts):
                    break
                flags, at = parts[part][0], 1
        yield "".join(text)
        at += 4 * runs + more
        while part < len(parts) and at > len(parts[part]):
            part, at = part + 1, at - len(parts[part])


# ----------------------------------------------------------------------------------------------- PowerPoint

_CONTAINER, _WIDE, _NARROW, _SLIDE = 0xF, 4000, 4008, 1011
_LISTED = 4080  # instance 0: slides, 1: masters, 2: notes
_DEEPEST = 64


def _powerpoint(container: Any, name: str, document: Document) -> None:
    """Read the text of a presentation (MS-PPT 2.9)."""
    slides = 0
    said: set[str] = set()
    for kind, listed, body in _atoms(_stream(container, name), 0, 0):
        if kind == _SLIDE and listed == 0:
            slides += 1
        elif kind in (_WIDE, _NARROW):
            for line in body.decode("utf-16-le" if kind == _WIDE else "latin-1", "replace").split("\r"):
                if line not in said:  # of a slide and of its outline
                    said.add(line)
                    document.say(line.replace("\x0b", " "))
    document.technical |= {"pages": slides, "slides": slides}


def _atoms(data: bytes, listed: int, depth: int) -> Iterator[tuple[int, int, bytes]]:
    """Yield records that hold data, with the list of slides, masters or notes that they are in (-1: in none)."""
    at = 0
    while at + 8 <= len(data):
        version, kind, length = struct.unpack_from("<HHI", data, at)
        body = data[at + 8 : at + 8 + length]
        if version & 0xF == _CONTAINER and depth < _DEEPEST:
            yield from _atoms(body, version >> 4 if kind == _LISTED else listed if depth else -1, depth + 1)
        else:
            yield kind, listed, body
        at += 8 + length
