"""Rich Text Format (Microsoft's specification 1.9.1): text and properties; damage shows as groups that never end."""

from __future__ import annotations

import codecs
import re
from typing import Any

from dam.ingest.damage import AGAIN
from dam.ingest.inspection import Unusable
from dam.ingest.office import Document

#: Groups within groups; real documents stay below a hundred.
_DEEPEST = 1000
#: Destinations whose text is not the document's.
_SILENT = {
    "fonttbl", "colortbl", "stylesheet", "listtable", "listoverridetable", "revtbl", "rsidtbl", "generator", "pict",
    "object", "objdata", "themedata", "colorschememapping", "datastore", "latentstyles", "xmlnstbl", "mmathPr",
    "fldinst", "bkmkstart", "bkmkend", "filetbl", "info", "header", "footer", "headerf", "footerf", "nonshppict",
}  # fmt: skip
_PROPERTIES = {
    "title": "title", "subject": "subject", "author": "creator", "operator": "lastModifiedBy", "keywords": "keywords",
    "doccomm": "description", "company": "company", "category": "category",
}  # fmt: skip
_MOMENTS = {"creatim": "created", "revtim": "modified"}
_LETTERS = {"par": "\n", "line": "\n", "sect": "\n", "page": "\n", "row": "\n", "cell": " ", "tab": " ", "emdash": "—",
            "endash": "–", "lquote": "‘", "rquote": "’", "ldblquote": "“", "rdblquote": "”", "bullet": "•",
            "emspace": " ", "enspace": " ", "~": "\xa0", "_": "-"}  # fmt: skip
_TOKEN = re.compile(
    rb"\\([a-zA-Z]{1,32})(-?\d{1,10})? ?|\\'([0-9a-fA-F]{2})|\\([^a-zA-Z])|([{}])|([^\\{}\r\n]+)|[\r\n]+", re.DOTALL
)


def read(data: bytes, document: Document) -> None:
    """Read a document. :raises Unusable: it is cut off, or nested beyond measure."""
    if not data.startswith(b"{\\rtf"):
        raise Unusable("The document does not begin as Rich Text does.", remedy=AGAIN)
    reader = _Reader()
    at, end = 0, len(data)
    while at < end:
        match = _TOKEN.match(data, at)
        if match is None:
            raise Unusable(f"The document is damaged: there is a stray sign at byte {at:,}.", remedy=AGAIN)
        at = match.end()
        at += reader.token(match)
        if reader.ended:
            break
    if not reader.ended:
        raise Unusable("The document is cut off: its groups are not closed.", remedy=AGAIN)
    for line in "".join(reader.text).split("\n"):
        document.say(line)
    document.embedded |= reader.told
    document.technical |= {"media": reader.pictures}
    if reader.pages:
        document.technical["pages"] = reader.pages


class _Reader:
    """Groups, their destinations and their text."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.told: dict[str, Any] = {}
        self.pictures = self.pages = 0
        self.ended = False
        self._groups: list[tuple[str, bool, int]] = []  # destination, silent, letters to skip after \u
        self._here: tuple[str, bool, int] = ("", False, 1)
        self._codec = "cp1252"
        self._bytes = bytearray()
        self._skip = 0
        self._star = False
        self._moment: list[int] = []

    def token(self, match: re.Match[bytes]) -> int:
        """Take a token; return how many bytes behind it are raw data."""
        word, number, code, sign, brace, plain = match.groups()
        if code is not None:
            if self._skip:
                self._skip -= 1
            else:
                self._bytes.append(int(code, 16))
            return 0
        if plain is not None:
            kept = plain[self._skip :]
            self._skip = max(0, self._skip - len(plain))
            self._bytes += kept
            return 0
        self._flush()
        if brace is not None:
            self._brace(brace)
        elif sign is not None:
            self._sign(sign)
        elif word is not None:
            return self._word(word.decode("ascii"), int(number) if number else None)
        return 0

    def _flush(self) -> None:
        if self._bytes:
            self._say(self._bytes.decode(self._codec, "replace"))
            self._bytes.clear()

    def _say(self, text: str) -> None:
        destination, silent, _ = self._here
        if destination in _PROPERTIES:
            key = f"Office.{_PROPERTIES[destination]}"
            self.told[key] = f"{self.told.get(key, '')}{text}".strip("\0")
        elif not silent:
            self.text.append(text)

    def _brace(self, brace: bytes) -> None:
        self._skip = 0
        if brace == b"{":
            self._groups.append(self._here)
            if len(self._groups) > _DEEPEST:
                raise Unusable(f"The document has more than {_DEEPEST} groups within each other.", remedy=AGAIN)
            return
        destination = self._here[0]
        if destination in _MOMENTS and len(self._moment) >= 3:
            year, month, day, hour, minute = (*self._moment, 0, 0)[:5]
            self.told[f"Office.{_MOMENTS[destination]}"] = f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:00"
        self._here = self._groups.pop()
        self.ended = not self._groups

    def _sign(self, sign: bytes) -> None:
        if sign == b"*":
            self._star = True
        elif sign in b"\\{}":
            self._say(sign.decode("latin-1"))
        elif sign in b"\r\n":
            self._say("\n")
        else:
            self._say(_LETTERS.get(sign.decode("latin-1"), ""))

    def _word(self, word: str, number: int | None) -> int:
        destination, silent, after = self._here
        if word == "bin":
            return max(0, number or 0)
        if word == "u" and number is not None:
            self._say(chr(number & 0xFFFF) if not 0xD800 <= number & 0xFFFF < 0xE000 else "\ufffd")
            self._skip = after
        elif word == "uc":
            self._here = (destination, silent, max(0, number or 0))
        elif word == "ansicpg" and number:
            self._codec = _codec(number)
        elif word == "nofpages" and number:
            self.pages = number
        elif word in _LETTERS:
            self._say(_LETTERS[word])
        elif destination in _MOMENTS and word in ("yr", "mo", "dy", "hr", "min"):
            self._moment.append(number or 0)
        elif word in _PROPERTIES and destination == "info":
            self._here = (word, True, after)
        elif word in _MOMENTS or word in _SILENT or self._star:
            self.pictures += word == "pict"
            self._moment = []
            self._here = (word, True, after)
        self._star = False
        return 0


def _codec(number: int) -> str:
    name = {65001: "utf-8", 10000: "mac_roman"}.get(number, f"cp{number}")
    try:
        return codecs.lookup(name).name
    except LookupError:
        return "cp1252"
