"""Office documents, a module a family: what each reads, :mod:`dam.ingest.inspectors.office` shows."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

#: Lines of text, or rows of a sheet, that the picture of a document without one of its own shows.
SHOWN_LINES = 70


@dataclass(slots=True)
class Document:
    """What a document says.

    :param room: letters of text that may still be kept. :param lines: its text by paragraph; in sheets, by row.
    :param technical: ``pages``, ``slides``, ``sheets`` … :param embedded: ``Office.title`` …
    :param thumbnail: a picture that the document carries of itself. :param table: whether the lines are rows, their
        cells set apart by tabs.
    """

    room: int
    lines: list[str] = field(default_factory=list)
    technical: dict[str, Any] = field(default_factory=dict)
    embedded: dict[str, Any] = field(default_factory=dict)
    thumbnail: bytes | None = None
    table: bool = False
    notes: list[str] = field(default_factory=list)

    def say(self, line: str) -> None:
        """Add a paragraph, as far as there is room."""
        line = re.sub(r"[ \xa0\r\n\x0b\x0c]+", " ", line).strip(" ") if self.table else " ".join(line.split())
        if line.strip() and self.room > 0:
            self.lines.append(line[: self.room])
            self.room -= len(line) + 1
