"""Reads XML that strangers wrote: bounded depth, no entity tricks, at the speed of expat.

Entities are allowed in the one form that real files have (Illustrator's ``<!ENTITY ns_svg "http://…">``): plain
text. One that refers to another entity or to another file ends the reading. Nothing is ever fetched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import IO
from xml.parsers import expat  # what defusedxml does in Python, at a tenth of the speed, is done here by its handlers

#: Elements within elements; real drawings and office parts stay below a hundred.
DEEPEST = 1000
_BLOCK = 1 << 18

Start = Callable[[str, Mapping[str, str]], None]
End = Callable[[str], None]
Text = Callable[[str], None]


class Malformed(ValueError):
    """It is no well-formed XML, or uses what is not allowed here; the message names the line."""


class Reader:
    """Pushes a document's elements and text to three functions.

    :param start: gets an element's name and attributes; names with a namespace are ``namespace name``.
    :param end: gets an element's name. :param text: gets text, in pieces.
    """

    def __init__(self, start: Start | None = None, end: End | None = None, text: Text | None = None) -> None:
        self._start, self._end = start, end
        self._depth = 0
        self.parser = parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.EntityDeclHandler = self._entity
        if start is not None or end is not None:
            parser.StartElementHandler, parser.EndElementHandler = self._opened, self._closed
        if text is not None:
            parser.CharacterDataHandler = text

    def read(self, source: bytes | IO[bytes]) -> None:
        """Read a whole document. :raises Malformed: it ends early, is not well-formed, or goes too far."""
        try:
            if isinstance(source, bytes):
                self.parser.Parse(source, True)
                return
            while block := source.read(_BLOCK):
                self.parser.Parse(block, False)
            self.parser.Parse(b"", True)
        except expat.ExpatError as error:
            raise Malformed(str(error)) from error

    def _opened(self, name: str, attributes: Mapping[str, str]) -> None:
        self._depth += 1
        if self._depth > DEEPEST:
            raise Malformed(f"more than {DEEPEST} elements within each other: line {self.parser.CurrentLineNumber}")
        if self._start is not None:
            self._start(name, attributes)

    def _closed(self, name: str) -> None:
        self._depth -= 1
        if self._end is not None:
            self._end(name)

    def _entity(self, *declared: str | bool | None) -> None:
        value = declared[2]  # None: it stands in another file
        if not isinstance(value, str) or "&" in value or "%" in value:
            raise Malformed(f"an entity that refers to others: line {self.parser.CurrentLineNumber}")


def wellformed(source: bytes | IO[bytes]) -> None:
    """Read a document for its form alone. :raises Malformed: it has none."""
    Reader().read(source)


def local(name: str) -> str:
    """Return an element's name without its namespace."""
    return name.rpartition(" ")[2]
