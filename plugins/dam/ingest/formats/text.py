"""Formats that are text: drawings, pages, models, tables, scripts; in any of the usual encodings."""

from __future__ import annotations

import codecs
import csv
import re
from pathlib import PurePosixPath

from dam.ingest.content import Content
from dam.ingest.formats import known
from dam.ingest.formats.known import Format

#: So far into a file its first element is looked for, behind comments and declarations.
PROLOG = 1 << 18
#: A glTF says its version anywhere in its JSON: at the start or at the end, as writers do it.
_ENDS = 1 << 16

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
#: Without a mark, every second byte of Latin text is zero (XML 1.0, appendix F).
_UNMARKED = ((re.compile(rb"([\t\n\r -~]\x00){2}"), "utf-16-le"), (re.compile(rb"(\x00[\t\n\r -~]){2}"), "utf-16-be"))
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")


def decode(start: bytes) -> tuple[str, str] | None:
    """Return a text's beginning and its encoding; None for what is no text.

    :param start: the first bytes; a character cut off at their end is left out.
    """
    for mark, encoding in _MARKS:
        if start.startswith(mark):
            return _as_text(start[len(mark) :], encoding)
    for pattern, encoding in _UNMARKED:
        if pattern.match(start):
            return _as_text(start, encoding)
    if b"\x00" in start:
        return None
    return _as_text(start, "utf-8") or _latin(start)


def _as_text(data: bytes, encoding: str) -> tuple[str, str] | None:
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(data)
    except UnicodeDecodeError:
        return None
    return None if _CONTROL.search(text) else (text, encoding)


def _latin(data: bytes) -> tuple[str, str] | None:
    """Take bytes for Windows' Latin letters only when nearly all of them are plain."""
    text = data.decode("cp1252", "replace")
    plain = sum(byte < 0x7F for byte in data)
    if len(data) < 16 or plain < 0.85 * len(data) or _CONTROL.search(text) or "\ufffd" in text:
        return None
    return text, "cp1252"


_BLANK = "\ufeff \t\r\n\x0c"
_COMMENT, _INSTRUCTION = ("<!--", "-->"), ("<?", "?>")
#: A document type with what it declares. Every part is taken whole: nothing here is tried twice.
_DOCTYPE = re.compile(
    r"<!DOCTYPE[^\[>]*+(?:\[(?:<!--(?:(?!-->).)*+-->|\"[^\"]*+\"|'[^']*+'|[^\]\"'<]++|<)*+\])?\s*+>",
    re.DOTALL | re.IGNORECASE,
)
_HTML_DOCTYPE = re.compile(r"<!DOCTYPE\s+HTML\b", re.IGNORECASE)
_ROOT = re.compile(r"<(?:[A-Za-z_][\w.\-]*+:)?([A-Za-z_][\w.\-]*+)")
#: What a browser takes for a web page, whatever it is called (WHATWG MIME Sniffing, section 7.1).
_PAGE = re.compile(
    r"<(?:!DOCTYPE\s+HTML|HTML|HEAD|SCRIPT|IFRAME|H1|DIV|FONT|TABLE|A|STYLE|TITLE|B|BODY|BR|P|META|LINK|IMG|FORM)[\s>/]",
    re.IGNORECASE,
)
_ELEMENTS = {"html": known.HTML, "xmpmeta": known.XMP, "RDF": known.XMP, "COLLADA": known.DAE}


def _behind(text: str, at: int, *skipped: tuple[str, str]) -> int:
    """Return where text goes on behind blanks and what stands between marks."""
    while at < len(text):
        if text[at] in _BLANK:
            at += 1
            continue
        end = next((end for start, end in skipped if text.startswith(start, at)), None)
        if end is None:
            return at
        found = text.find(end, at + 2)
        at = found + len(end) if found >= 0 else len(text)
    return at


def markup(text: str) -> Format | None:
    """Know markup by its first element, behind declarations, comments and a DOCTYPE."""
    start = _behind(text, 0)
    if re.compile(r"<\?(?:php\b|=)").match(text, start):
        return known.SCRIPT
    if _PAGE.match(text, _behind(text, 0, _COMMENT)):
        return known.HTML
    at = _behind(text, 0, _COMMENT, _INSTRUCTION)
    if doctype := _DOCTYPE.match(text, at):
        if _HTML_DOCTYPE.match(text, at):
            return known.HTML
        at = _behind(text, doctype.end(), _COMMENT, _INSTRUCTION)
    root = _ROOT.match(text, at)
    if root and root[1] == "svg":
        return known.SVG
    declared = text.startswith("<?xml", start) or at > start
    return _ELEMENTS.get(root[1] if root else "", known.XML if declared else None)


def is_svg(start: bytes) -> bool:
    """Return whether bytes begin like a drawing in SVG."""
    decoded = decode(start)
    return decoded is not None and markup(decoded[0]) is known.SVG


def textual(content: Content, name: str = "") -> Format | None:
    """Know what kind of text a file is; None if it is none."""
    if page := _page_before_bytes(content):
        return page
    if decode(content.head) is None:
        return None
    decoded = decode(content.read(0, PROLOG))
    if decoded is None:
        return None  # begins like text, goes on as something else
    text = decoded[0]
    stripped = text.lstrip(_BLANK)
    suffix = PurePosixPath(name).suffix.lower().lstrip(".")
    if stripped.startswith("#!") or re.match(r"@echo\s+off", stripped, re.IGNORECASE):
        return known.SCRIPT
    if stripped.startswith("<") and (found := markup(text)):
        return found
    if suffix in known.SCRIPT.extensions:
        return known.SCRIPT  # nothing but its name tells in which language a program is written
    return _by_first_words(content, stripped) or (_table(text, suffix) if text else None)


def _page_before_bytes(content: Content) -> Format | None:
    """Know a web page even where bytes that are no text follow it: a browser reads it all the same."""
    start = content.head.lstrip(b"\xef\xbb\xbf \t\r\n\x0c").decode("latin-1")
    return known.HTML if _PAGE.match(start, _behind(start, 0, _COMMENT)) else None


def _by_first_words(content: Content, stripped: str) -> Format | None:
    if stripped.startswith("#usda "):
        return known.USDA
    if stripped.startswith("WEBVTT"):
        return known.VTT
    if stripped.startswith("; FBX "):
        return known.FBX
    if stripped.startswith("solid") and re.search(r"\sfacet\s++normal\s", stripped[:4096]):
        return known.STL
    if stripped[:1] in ("{", "[") and (found := _json(content, stripped)):
        return found
    return known.OBJ if _is_obj(stripped) else None


_GLTF = re.compile(rb'"asset"\s*:\s*\{[^{}]*"version"\s*:\s*"[0-9.]+"')


def _json(content: Content, stripped: str) -> Format | None:
    """Tell glTF from other JSON by its ``asset`` with a version (Khronos glTF 2.0, section 3.2)."""
    if not re.match(r'\{\s*("|\})|\[\s*([\[{"\]\d\-]|(true|false|null)\s*[,\]])', stripped):
        return None
    ends = content.read(0, _ENDS) + b"\n" + content.read(max(0, content.size - _ENDS), _ENDS)
    if stripped[0] == "{" and re.search(rb'"(scenes?|nodes|meshes|buffers|accessors)"', ends):
        # writers that sort their keys put long lists before and behind it
        sorted_keys = re.match(r'\{\s*"(accessors|animations)"', stripped)
        if _GLTF.search(ends) or (sorted_keys and content.search(_GLTF)):
            return known.GLTF
    return known.JSON


_OBJ_WORDS = {
    "v", "vt", "vn", "vp", "f", "l", "p", "o", "g", "s", "mtllib", "usemtl", "cstype", "deg", "curv", "curv2", "surf",
    "parm", "trim", "hole", "scrv", "sp", "end", "con", "mg", "bevel", "c_interp", "d_interp", "lod", "maplib",
    "usemap", "shadow_obj", "trace_obj", "bmat", "step", "call",
}  # fmt: skip
_VERTEX = re.compile(r"v(?:\s++[-+]?(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][-+]?\d++)?){3,7}\s*+$")


def _is_obj(stripped: str) -> bool:
    """Return whether every whole line is a statement of Wavefront OBJ, and one at least a vertex."""
    lines = stripped[:PROLOG].splitlines()
    whole = lines if len(stripped) < PROLOG // 2 else lines[:-1]
    found = False
    continued = False
    for line in whole[:2000]:
        words = line.split(maxsplit=1)
        if not continued and words and not words[0].startswith("#"):
            if words[0] not in _OBJ_WORDS:
                return False
            found = found or _VERTEX.match(line) is not None
        continued = line.endswith("\\")
    return found


def _table(text: str, suffix: str) -> Format:
    """Tell a table from prose: its first lines have the same number of cells, more than one."""
    lines = [line for line in text.splitlines() if line.strip()][:21]
    whole = lines if len(lines) < 21 else lines[:20]
    if suffix in ("csv", "tsv", "tab") and whole:
        return known.CSV
    for delimiter in ",;\t|":
        if len(whole) < 3 or delimiter not in whole[0]:
            continue
        try:
            counts = {len(row) for row in csv.reader(whole, delimiter=delimiter)}
        except csv.Error:
            continue
        if len(counts) == 1 and counts.pop() > 1:
            return known.CSV
    return known.TEXT
