"""RIFF files (WAV, AVI; RF64 and BW64 of the EBU, Tech 3306): their chunks, and what those tell of the content."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from defusedxml import ElementTree

#: Longest chunk of metadata that is read.
LONGEST = 4_000_000
_UNKNOWN = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk: its four letters, where its content begins, and how long it says that is; None when it doesn't."""

    name: str
    start: int
    size: int | None


def chunks(stream: BinaryIO) -> Iterator[Chunk]:
    """Yield the chunks of a file, those inside lists named ``LIST/INFO/INAM``; none when it is no RIFF file."""
    head = stream.read(12)
    if len(head) == 12 and head[:4] in (b"RIFF", b"RF64", b"BW64"):
        end = stream.seek(0, 2)
        yield from _inside(stream, 12, end, "", {})


def _inside(stream: BinaryIO, at: int, end: int, prefix: str, wide: dict[str, int]) -> Iterator[Chunk]:
    while at + 8 <= end:
        stream.seek(at)
        letters, size = struct.unpack("<4sI", stream.read(8))
        name, start = letters.decode("latin-1"), at + 8
        if name == "ds64":  # sizes that 32 bits don't hold
            _, wide["data"] = struct.unpack("<QQ", stream.read(16).ljust(16, b"\0"))
        known: int | None = wide.get(name, size) if size == _UNKNOWN else size
        if size == _UNKNOWN and name not in wide:
            known = None  # a recorder that could not go back to fill it in
        yield Chunk(prefix + name, start, known)
        if name == "LIST" and known is not None and known >= 4:
            inner = stream.read(4).decode("latin-1")
            if inner != "movi":
                yield from _inside(stream, start + 4, min(end, start + known), f"{prefix}LIST/{inner}/", wide)
        if known is None:
            return
        at = start + known + known % 2


def tags(stream: BinaryIO) -> tuple[dict[str, str], bytes, bytes]:
    """Return what a file says of itself: INFO, broadcast extension and iXML by key; its XMP packet and its ID3 tag."""
    found: dict[str, str] = {}
    xmp = id3 = b""
    for chunk in chunks(stream):
        if not chunk.size or chunk.size > LONGEST or chunk.name == "data":
            continue
        wanted = chunk.name.startswith("LIST/INFO/") or chunk.name in ("bext", "iXML", "_PMX", "id3 ", "ID3 ")
        if not wanted:
            continue
        stream.seek(chunk.start)
        data = stream.read(chunk.size)
        if chunk.name.startswith("LIST/INFO/"):
            found[f"RIFF.{chunk.name[-4:].strip()}"] = text(data)
        elif chunk.name == "bext":
            found |= _bext(data)
        elif chunk.name == "iXML":
            found |= _ixml(data)
        elif chunk.name == "_PMX":
            xmp = data
        else:
            id3 = data
    return {key: value for key, value in found.items() if value}, xmp, id3


def text(data: bytes) -> str:
    """Return a string of a file that doesn't say its encoding: UTF-8 when it is that, else Windows's."""
    data = data.split(b"\0", 1)[0]
    try:
        return data.decode("utf-8").strip()
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace").strip()


#: EBU Tech 3285: field, first byte, length.
_BEXT = (
    ("Description", 0, 256),
    ("Originator", 256, 32),
    ("OriginatorReference", 288, 32),
    ("OriginationDate", 320, 10),
    ("OriginationTime", 330, 8),
    ("CodingHistory", 602, LONGEST),
)


def _bext(data: bytes) -> dict[str, str]:
    found = {f"RIFF.bext.{name}": text(data[at : at + length]) for name, at, length in _BEXT}
    if len(data) >= 346:
        found["RIFF.bext.TimeReference"] = str(int.from_bytes(data[338:346], "little"))
    day, time = found["RIFF.bext.OriginationDate"], found["RIFF.bext.OriginationTime"]
    if len(day) == 10 and len(time) == 8:  # one moment, as other readers name it
        found["RIFF.bext.DateTimeOriginal"] = f"{day[:4]}-{day[5:7]}-{day[8:]}T{time.replace('-', ':')}"
    return found


def _ixml(data: bytes) -> dict[str, str]:
    try:
        root = ElementTree.fromstring(data.split(b"\0", 1)[0].strip())
    except (ElementTree.ParseError, ValueError):
        return {}
    return {f"RIFF.iXML.{leaf.tag}": leaf.text.strip() for leaf in root if leaf.text and leaf.text.strip()}
