"""Office Open XML (ECMA-376): Word, Excel and PowerPoint since 2007."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

from dam.ingest import markup
from dam.ingest.damage import AGAIN
from dam.ingest.inspection import CantCheck, Unusable
from dam.ingest.office import SHOWN_LINES, Document
from dam.ingest.packed import Packed

CONTENT_TYPES = "[Content_Types].xml"
#: Relations without whose target a document can't be shown whole.
_NEEDED = ("officeDocument", "slide", "slideMaster", "slideLayout", "worksheet", "sharedStrings", "chartsheet")
_PROPERTIES = ("title", "subject", "creator", "keywords", "description", "lastModifiedBy", "revision", "created",
               "modified", "category", "contentStatus", "language", "version", "identifier")  # fmt: skip
#: Columns that a picture of a sheet shows; shared strings that are kept.
_COLUMNS, _STRINGS = 12, 500_000

Relations = dict[str, tuple[str, str]]


def read(packed: Packed, document: Document) -> None:
    """Prove every part of a document and read what it says.

    :raises Unusable: a part is damaged, or one that it needs is missing. :raises CantCheck: it is of no kind known.
    """
    for name in packed.names:
        if name.lower().endswith((".xml", ".rels")) or name == CONTENT_TYPES:
            with packed.open(name) as stream:
                markup.wellformed(stream)
        else:
            packed.prove(name)
    top = _relations(packed, "")
    main = next((target for kind, target in top.values() if kind == "officeDocument"), None)
    if main is None:
        raise Unusable("The document lacks its main part.", remedy=AGAIN)
    for name in packed.names:
        if name.endswith(".rels"):
            _relations(packed, name)
    folder = main.partition("/")[0]
    if folder == "word":
        _word(packed, main, document)
    elif folder == "ppt":
        _powerpoint(packed, main, document)
    elif folder == "xl":
        _excel(packed, main, document)
    else:
        raise CantCheck(f"The document is of a kind that is not known here ({folder}).")
    _properties(packed, top, document)
    document.technical["media"] = sum("/media/" in name for name in packed.names)
    thumbnail = next((target for kind, target in top.values() if kind == "thumbnail"), None)
    if thumbnail and thumbnail in packed:
        document.thumbnail = packed.read(thumbnail)


# ------------------------------------------------------------------------------------------------ relations


def _relations(packed: Packed, name: str) -> Relations:
    """Return a part's relations by id: the last word of their type, and the part they lead to.

    :param name: of the relations' part, or empty for the document's.
    """
    name = name or "_rels/.rels"
    folder = posixpath.dirname(posixpath.dirname(name))
    found: Relations = {}

    def start(element: str, attributes: Mapping[str, str]) -> None:
        if markup.local(element) != "Relationship" or attributes.get("TargetMode") == "External":
            return
        target = unquote(attributes.get("Target", ""))
        path = target.lstrip("/") if target.startswith("/") else posixpath.normpath(posixpath.join(folder, target))
        found[attributes.get("Id", "")] = (attributes.get("Type", "").rpartition("/")[2], path)

    with packed.open(name) as stream:
        markup.Reader(start).read(stream)
    for kind, target in found.values():
        if kind in _NEEDED and target not in packed:
            raise Unusable(f"The document lacks its part {target}.", remedy=AGAIN)
    return found


def _relations_of(packed: Packed, part: str) -> Relations:
    folder, base = posixpath.split(part)
    name = f"{folder}/_rels/{base}.rels"
    return _relations(packed, name) if name in packed else {}


def _listed(packed: Packed, main: str, element: str) -> list[tuple[str, str]]:
    """Return name and part of what the main part lists, slides or sheets, in its order."""
    relations, found = _relations_of(packed, main), list[tuple[str, str]]()

    def start(name: str, attributes: Mapping[str, str]) -> None:
        if markup.local(name) != element:
            return
        identity = next((value for key, value in attributes.items() if key.endswith("relationships id")), "")
        if identity in relations:
            found.append((attributes.get("name", ""), relations[identity][1]))

    with packed.open(main) as stream:
        markup.Reader(start).read(stream)
    return found


# ----------------------------------------------------------------------------------------------------- text


#: What says again what is said beside it: the reading aid of Japanese, and what old programs show instead.
_TWICE = ("rPh", "Fallback")


class _Text:
    """Reads the text of a part, by paragraphs: elements ``t``, ended by ``p`` or, among shared strings, ``si``.

    :param say: gets every paragraph, empty ones too.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._line: list[str] = []
        self._inside = False
        self._again = 0

    def read(self, packed: Packed, part: str) -> None:
        if part in packed:
            with packed.open(part) as stream:
                markup.Reader(self._start, self._end, self._letters).read(stream)

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:  # noqa: ARG002
        kind = markup.local(name)
        self._again += kind in _TWICE
        self._inside = kind == "t" and not self._again
        if kind in ("tab", "br", "cr"):
            self._line.append(" ")

    def _end(self, name: str) -> None:
        kind = markup.local(name)
        self._again -= kind in _TWICE
        self._inside = False
        if kind in ("p", "si"):
            self._say("".join(self._line))
            self._line = []
        elif kind == "tc":
            self._line.append(" ")

    def _letters(self, text: str) -> None:
        if self._inside:
            self._line.append(text)


def _word(packed: Packed, main: str, document: Document) -> None:
    reader = _Text(document.say)
    reader.read(packed, main)
    for kind, part in _relations_of(packed, main).values():
        if kind in ("footnotes", "endnotes", "header", "footer"):
            reader.read(packed, part)


def _powerpoint(packed: Packed, main: str, document: Document) -> None:
    slides = [part for _, part in _listed(packed, main, "sldId")]
    reader = _Text(document.say)
    for part in slides if document.room else ():
        reader.read(packed, part)
        for kind, notes in _relations_of(packed, part).values():
            if kind == "notesSlide":
                reader.read(packed, notes)
    document.technical |= {"pages": len(slides), "slides": len(slides)}


# --------------------------------------------------------------------------------------------------- sheets


def _excel(packed: Packed, main: str, document: Document) -> None:
    sheets = _listed(packed, main, "sheet")
    document.table = True
    names = [name for name, _ in sheets]
    document.technical |= {"pages": len(sheets), "sheets": len(sheets), "sheet_names": names[:100]}
    shared: list[str] = []
    strings = next((part for kind, part in _relations_of(packed, main).values() if kind == "sharedStrings"), "")
    _Text(lambda text: shared.append(text) if len(shared) < _STRINGS else None).read(packed, strings)
    rows = _Rows(shared)
    for _, part in sheets[:1]:
        if part.endswith(".xml"):
            rows.read(packed, part)
    # the rows for people to look at; the text of all sheets is that of their shared strings
    for line in (*rows.made, *names, *shared):
        document.say(line)


class _Enough(Exception):
    """The first rows are there."""


class _Rows:
    """The first rows of a sheet, cells set apart by tabs."""

    def __init__(self, strings: list[str]) -> None:
        self.made: list[str] = []
        self._strings = strings
        self._row: dict[int, str] = {}
        self._kind = ""
        self._column = 0
        self._value: list[str] = []
        self._inside = False

    def read(self, packed: Packed, part: str) -> None:
        with packed.open(part) as stream:
            try:
                markup.Reader(self._start, self._end, self._letters).read(stream)
            except _Enough:
                return

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        kind = markup.local(name)
        if kind == "c":
            self._kind, self._value = attributes.get("t", ""), []
            letters = re.match(r"[A-Z]{1,3}", attributes.get("r", ""))
            self._column = _column(letters[0]) if letters else self._column + 1
        elif kind == "row":
            self._row, self._column = {}, -1
        self._inside = kind in ("v", "t")

    def _end(self, name: str) -> None:
        kind = markup.local(name)
        self._inside = False
        if kind == "c" and self._column < _COLUMNS:
            value = "".join(self._value)
            if self._kind == "s":
                at = int(value) if value.isdigit() else -1
                value = self._strings[at] if 0 <= at < len(self._strings) else ""
            self._row[self._column] = _rounded(value) if self._kind in ("", "n") else value
        elif kind == "row" and self._row:
            self.made.append("\t".join(self._row.get(at, "") for at in range(max(self._row) + 1)))
            if len(self.made) >= SHOWN_LINES:
                raise _Enough

    def _letters(self, text: str) -> None:
        if self._inside:
            self._value.append(text)


def _column(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number - 1


def _rounded(value: str) -> str:
    """Return a number without the digits that binary arithmetic adds."""
    try:
        return f"{float(value):.10g}" if value else ""
    except ValueError:
        return value


# ----------------------------------------------------------------------------------------------- properties


def _properties(packed: Packed, top: Relations, document: Document) -> None:
    told: dict[str, Any] = {}
    for kind, part in top.values():
        if part not in packed:
            continue
        if kind == "core-properties":
            told |= {f"Office.{key}": value for key, value in simple(packed.read(part)).items() if key in _PROPERTIES}
        elif kind == "extended-properties":
            said = simple(packed.read(part))
            told |= {f"Office.{key.lower()}": said.get(key) for key in ("Company", "Manager", "Application")}
            if said.get("Pages", "").isdigit() and "pages" not in document.technical:
                document.technical["pages"] = int(said["Pages"])
            if said.get("Words", "").isdigit():
                document.technical["words"] = int(said["Words"])
    document.embedded |= told


def simple(data: bytes) -> dict[str, str]:
    """Return the text of a flat XML document's elements by their local names."""
    found: dict[str, str] = {}
    text: list[str] = []

    def end(name: str) -> None:
        found.setdefault(markup.local(name), "".join(text).strip())
        text.clear()

    markup.Reader(lambda _name, _attributes: text.clear(), end, text.append).read(data)
    return {key: value for key, value in found.items() if value}
