"""Whether a file goes on as far as it says, by its own account; asked before anything is decoded."""

from __future__ import annotations

from typing import BinaryIO

from dam.ingest.media import riff

#: A page of an Ogg file is never longer (RFC 3533, 6).
_LONGEST_PAGE = 65_307


def missing(stream: BinaryIO, family: str) -> int:
    """Return how many bytes a file says that it has beyond its end, at least; 0 where its format doesn't say.

    :param family: see :func:`dam.ingest.media.tracks.family`.
    """
    if family in ("wav", "avi"):
        return _riff(stream)
    return _ogg(stream) if family == "ogg" else 0


def _riff(stream: BinaryIO) -> int:
    end = stream.seek(0, 2)
    stream.seek(0)
    for chunk in riff.chunks(stream):
        if chunk.size and chunk.name in ("data", "LIST"):
            stream.seek(chunk.start)
            if chunk.name == "data" or stream.read(4) == b"movi":
                return max(0, chunk.start + chunk.size - end)
    return 0


def _ogg(stream: BinaryIO) -> int:
    """Look at the last page: its head tells the lengths of what is in it."""
    end = stream.seek(0, 2)
    stream.seek(max(0, end - _LONGEST_PAGE))
    tail = stream.read()
    at = tail.rfind(b"OggS")
    if at < 0:
        return 0
    page = tail[at:]
    lengths = page[27 : 27 + page[26]] if len(page) > 26 else b""
    if len(page) <= 26 or len(lengths) < page[26]:
        return 1
    return max(0, 27 + len(lengths) + sum(lengths) - len(page))
