"""OpenDocument (ISO/IEC 26300): LibreOffice's and others' texts, sheets, presentations and drawings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dam.ingest import markup
from dam.ingest.damage import AGAIN, locked
from dam.ingest.inspection import Unusable
from dam.ingest.office import Document
from dam.ingest.packed import Packed

_MIMETYPE = "application/vnd.oasis.opendocument."
_TEXT = "urn:oasis:names:tc:opendocument:xmlns:text:1.0"
#: Properties of ``meta.xml`` by the names that Office Open XML gives them.
_PROPERTIES = {
    "title": "title", "subject": "subject", "description": "description", "initial-creator": "creator",
    "creator": "lastModifiedBy", "creation-date": "created", "date": "modified", "language": "language",
    "generator": "application",
}  # fmt: skip


def read(packed: Packed, document: Document) -> None:
    """Prove every part of a document and read what it says. :raises Unusable: a part is damaged, or it is locked."""
    if "META-INF/manifest.xml" in packed:
        _unlocked(packed)
    for name in packed.names:
        if name.lower().endswith((".xml", ".rdf")):
            with packed.open(name) as stream:
                markup.wellformed(stream)
        else:
            packed.prove(name)
    kind = packed.read("mimetype").decode("latin-1").strip().removeprefix(_MIMETYPE) if "mimetype" in packed else "text"
    document.table = kind.startswith("spreadsheet")
    content = _Content(document)
    with packed.open("content.xml") as stream:
        markup.Reader(content.start, content.end, content.letters).read(stream)
    if document.table:
        document.technical |= {"pages": content.sheets, "sheets": content.sheets, "sheet_names": content.names[:100]}
    elif content.pages:
        document.technical |= {"pages": content.pages, "slides": content.pages}
    if "meta.xml" in packed:
        _properties(packed, document)
    document.technical["media"] = sum(name.startswith(("Pictures/", "Media/")) for name in packed.names)
    if "Thumbnails/thumbnail.png" in packed:
        document.thumbnail = packed.read("Thumbnails/thumbnail.png")


def _unlocked(packed: Packed) -> None:
    """Refuse a document whose parts are encrypted, as its list of parts tells."""

    def start(name: str, attributes: Mapping[str, str]) -> None:  # noqa: ARG001
        if markup.local(name) == "encryption-data":
            raise locked("The document")

    with packed.open("META-INF/manifest.xml") as stream:
        markup.Reader(start).read(stream)


class _Content:
    """Text by paragraph, or by row with tabs between its cells; slides and sheets counted."""

    def __init__(self, document: Document) -> None:
        self.pages = self.sheets = 0
        self.names: list[str] = []
        self._document = document
        self._line: list[str] = []
        self._depth = 0  # of paragraphs within each other
        self._deleted = 0

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        kind = markup.local(name)
        if kind == "page" and "drawing" in name:
            self.pages += 1
        elif kind == "table":
            self.sheets += 1
            self.names += [value for key, value in attributes.items() if markup.local(key) == "name"]
        elif kind == "tracked-changes":
            self._deleted += 1
        elif name in (f"{_TEXT} p", f"{_TEXT} h"):
            self._depth += 1
        elif name in (f"{_TEXT} s", f"{_TEXT} tab", f"{_TEXT} line-break"):
            self._line.append(" ")

    def end(self, name: str) -> None:
        kind = markup.local(name)
        if kind == "tracked-changes":
            self._deleted -= 1
        elif name in (f"{_TEXT} p", f"{_TEXT} h"):
            self._depth -= 1
            if self._document.table:
                self._line.append(" ")
            elif self._depth == 0:
                self._done()
        elif self._document.table and kind in ("table-cell", "covered-table-cell"):
            self._line.append("\t")
        elif self._document.table and kind == "table-row":
            self._done()

    def letters(self, text: str) -> None:
        if self._depth and not self._deleted:
            self._line.append(text)

    def _done(self) -> None:
        self._document.say("".join(self._line).rstrip("\t "))
        self._line = []


def _properties(packed: Packed, document: Document) -> None:
    told: dict[str, Any] = {}
    keywords: list[str] = []
    text: list[str] = []

    def start(name: str, attributes: Mapping[str, str]) -> None:
        text.clear()
        if markup.local(name) == "document-statistic":
            counts = {markup.local(key): value for key, value in attributes.items()}
            if counts.get("page-count", "").isdigit():
                document.technical.setdefault("pages", int(counts["page-count"]))
            if counts.get("word-count", "").isdigit():
                document.technical["words"] = int(counts["word-count"])

    def end(name: str) -> None:
        kind, value = markup.local(name), "".join(text).strip()
        text.clear()
        if kind == "keyword" and value:
            keywords.append(value)
        elif kind in _PROPERTIES and value:
            told.setdefault(f"Office.{_PROPERTIES[kind]}", value)

    with packed.open("meta.xml") as stream:
        markup.Reader(start, end, text.append).read(stream)
    document.embedded |= told | ({"Office.keywords": keywords} if keywords else {})


def is_one(packed: Packed) -> bool:
    """Tell whether a container is an OpenDocument. :raises Unusable: it says so and lacks its content."""
    claims = "mimetype" in packed and packed.read("mimetype").startswith(_MIMETYPE.encode())
    if claims and "content.xml" not in packed:
        raise Unusable("The document lacks its part content.xml.", remedy=AGAIN)
    return claims or "content.xml" in packed
