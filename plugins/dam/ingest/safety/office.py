"""Office documents: nothing in them may run or be fetched when they are opened.

Office Open XML (ECMA-376), OpenDocument (ISO/IEC 26300), the compound files before them (MS-CFB) and RTF.
"""

from __future__ import annotations

import html
import io
import logging
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import olefile
from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

from dam.errors import DamError
from dam.ingest.content import Content
from dam.ingest.damage import AGAIN
from dam.ingest.formats import Format, known
from dam.ingest.formats import text as texts
from dam.ingest.inspection import Unusable
from dam.ingest.safety.programs import is_program
from dam.ingest.unpacking import check_table

REMEDY = "Ask for it without, or as a PDF."
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
#: Longest part that is read as XML, and how deep documents may hold documents.
_MOST, _DEPTH = 64 << 20, 3


def check(content: Content, found: Format, limits: dict[str, Any]) -> list[str]:
    """Go through a document and what it holds.

    :returns: notes on what is harmless.
    :raises Unusable: it is locked, damaged, or does more than show pages.
    """
    if found is known.RTF:
        return _rich_text(content)
    if content.head.startswith(_OLE):
        _compound(content.path)
        return []
    with _readable(), zipfile.ZipFile(content.path) as opened:
        check_table(opened.infolist(), limits, packed=content.path.stat().st_size, what="The document")
    return _package(content.path, 0)


@contextmanager
def _readable() -> Iterator[None]:
    """Turn whatever damaged parts make their readers raise into a refusal."""
    try:
        yield
    except (DamError, MemoryError):
        raise
    except DefusedXmlException as error:
        raise Unusable("The document declares entities, which office programs never do.", remedy=REMEDY) from error
    except Exception as error:  # over foreign bytes a parser may raise anything
        raise Unusable("The document is damaged: its parts can't be read.", remedy=AGAIN) from error


def _locked() -> Unusable:
    return Unusable("The document is locked with a password.", remedy="Ask for one without a password.")


# ---------------------------------------------------------------------------------- Office Open XML and ODF


def _package(source: Path | BinaryIO, depth: int) -> list[str]:
    with _readable(), zipfile.ZipFile(source) as opened:
        notes: list[str] = []
        for entry in opened.infolist():
            if entry.flag_bits & 1:
                raise _locked()
            notes += _part(opened, entry, depth)
        return list(dict.fromkeys(notes))


_MACROS = re.compile(r"vbaproject|vbadata|macrosheets?/|(^|/)basic/.+\.x(ml|lb)$|^scripts/.+", re.IGNORECASE)
_CONTROLS = re.compile(r"(^|/)activex/", re.IGNORECASE)
_MACRO_TYPES = re.compile(rb"vbaProject|macrosheet\+xml|intlmacrosheet|ms-office\.activeX", re.IGNORECASE)


def _part(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, depth: int) -> list[str]:
    """Judge one part of a document, by its name and then by what it says."""
    name = entry.filename
    if _MACROS.search(name):
        raise Unusable(f"The document holds macros (“{name}”).", remedy=REMEDY)
    if _CONTROLS.search(name):
        raise Unusable(f"The document holds controls that run programs (“{name}”).", remedy=REMEDY)
    if entry.is_dir():
        return []
    with opened.open(entry) as stream:
        start = stream.read(8)
    if told := is_program(start, name):
        raise Unusable(f"The document holds {told}: “{name}”.", remedy=REMEDY)
    if start.startswith(_OLE):
        _compound(io.BytesIO(_read(opened, entry)), f" in “{name}”")
    elif start.startswith(b"PK\x03\x04"):
        if depth >= _DEPTH:
            raise Unusable("The document holds documents in documents in documents.", remedy=REMEDY)
        return _package(io.BytesIO(_read(opened, entry)), depth + 1)
    elif name.lower().endswith(".rels"):
        return _relations(_read(opened, entry))
    elif name == "[Content_Types].xml":
        if _MACRO_TYPES.search(_read(opened, entry)):
            raise Unusable("The document holds macros or controls.", remedy=REMEDY)
    elif name.lower().endswith(".xml"):
        _words(name, _read(opened, entry))
    return []


def _read(opened: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    with opened.open(entry) as stream:
        data = stream.read(_MOST + 1)
    if len(data) > _MOST:
        raise Unusable(
            f"The document's part “{entry.filename}” unpacks to more than {_MOST >> 20} MB.",
            remedy="Ask for a smaller one.",
        )
    return data


_ELSEWHERE = re.compile(r"\s*(?:(?!file:)[a-z][a-z0-9+.\-]+:|\\\\|//|file:(?://)?(?:[^/\\\s]|[/\\]{3,}[^/\\\s]+[/\\]{2}))",
                        re.IGNORECASE)  # fmt: skip
_DRIVE = re.compile(r"\s*(?:file:/*)?[a-z]:", re.IGNORECASE)


def _relations(data: bytes) -> list[str]:
    """Judge what a part refers to outside the document: links are a person's choice, the rest is fetched."""
    notes = []
    for relation in ElementTree.fromstring(data, forbid_dtd=True).iter():
        if relation.get("TargetMode", "").lower() != "external":
            continue
        kind = relation.get("Type", "").rpartition("/")[2]
        target = relation.get("Target", "")
        if kind.lower() == "hyperlink":
            continue
        if kind.lower() in ("oleobject", "frame", "subdocument") or (
            _ELSEWHERE.match(target) and not _DRIVE.match(target)
        ):
            raise Unusable(f"The document fetches its {_named(kind)} from elsewhere: {target[:80]}.", remedy=REMEDY)
        notes.append(f"Its {_named(kind)} is not in it, but was at {target[:80]}.")
    return notes


def _named(kind: str) -> str:
    return {"attachedTemplate": "template", "oleObject": "embedded object", "externalLinkPath": "linked workbook"}.get(
        kind, re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind).lower() or "part"
    )


_FIELD = re.compile(
    r"<(?:[\w.\-]+:)?(?:instrText|delInstrText)\b[^>]*>([^<]*)<|\b(?:[\w.\-]+:)?instr\s*=\s*[\"']([^\"']*)"
)
_DDE_FIELD = re.compile(r"\bDDE(AUTO)?\b|\bQUOTE\s+\d+(\s+\d+){3,}", re.IGNORECASE)
_FETCHED_FIELD = re.compile(
    r"\b(?:INCLUDE(?:PICTURE|TEXT)?|IMPORT|LINK)\b[^<]{0,80}?[\s\"](?:https?:|ftp:|\\\\|//)", re.IGNORECASE
)
_DDE_PART = re.compile(r"<(?:[\w.\-]+:)?(?:ddeLink|dde-source|dde-connection-decl|dde-connection)\b")
_EVENTS = re.compile(
    r"<(?:[\w.\-]+:)?event-listener\b|\bhref\s*=\s*[\"'](?:vnd\.sun\.star\.script|macro|javascript):", re.IGNORECASE
)
_ODF_FETCHED = re.compile(
    r"<(?:[\w.\-]+:)?(?:image|object|object-ole|plugin|applet|floating-frame|section-source|fill-image|table-source)\b"
    r"[^>]*?\bhref\s*=\s*[\"']((?:https?|ftp|file|smb):[^\"']*|//[^\"']*)",
    re.IGNORECASE,
)


def _words(name: str, data: bytes) -> None:
    """Judge fields, events and links in a part's text; plain words are looked for first, as sheets are long."""
    decoded = texts.decode(data[:4096])
    text = data.decode(decoded[1] if decoded else "utf-8", "replace")
    plain = text.lower()
    if "dde" in plain and _DDE_PART.search(text):
        raise Unusable(f"The document asks another program for data (DDE, in “{name}”).", remedy=REMEDY)
    if "instr" in plain:
        _fields(name, html.unescape("".join(first or f" {second} " for first, second in _FIELD.findall(text))))
    if ("event-listener" in plain or "href" in plain) and _EVENTS.search(text):
        raise Unusable(f"The document runs a macro on an event (“{name}”).", remedy=REMEDY)
    if "href" in plain and (fetched := _ODF_FETCHED.search(text)):
        raise Unusable(f"The document fetches something from elsewhere: {fetched[1][:80]}.", remedy=REMEDY)


def _fields(name: str, fields: str) -> None:
    """Judge the instructions of a text's fields, one after the other."""
    if _DDE_FIELD.search(fields):
        raise Unusable(f"The document has a field that starts a program (DDE, in “{name}”).", remedy=REMEDY)
    if fetched := _FETCHED_FIELD.search(fields):
        raise Unusable(f"The document has a field that fetches something: {fetched[0][:80]}.", remedy=REMEDY)


# ------------------------------------------------------------------------------------------- compound files


def _compound(source: Path | BinaryIO, where: str = "") -> None:
    """Judge a compound file: an old document, or an object in a new one."""
    with _readable():
        with olefile.OleFileIO(str(source) if isinstance(source, Path) else source) as opened:
            names = ["/".join(path) for path in opened.listdir(streams=True, storages=True)]
            _streams(opened, names, where)
        _oletools(source, where)


def _streams(opened: Any, names: list[str], where: str) -> None:
    for name in names:
        last = name.rpartition("/")[2].lower()
        if last in ("encryptedpackage", "encryptioninfo", "encryptedsummary"):
            raise _locked()
        if last in ("\x01ole10native", "package"):
            label = _native_name(opened, name)
            raise Unusable(
                f"The document carries a file as an object{where}: {label or 'without a name'}.", remedy=REMEDY
            )
        if last in ("_vba_project", "_vba_project_cur", "macros"):
            raise Unusable(f"The document holds macros{where}.", remedy=REMEDY)
    if "WordDocument" in names and _word_field(opened):
        raise Unusable(f"The document has a field that starts a program (DDE){where}.", remedy=REMEDY)


def _native_name(opened: Any, name: str) -> str:
    """Return the name of a packaged file (MS-OLEDS 2.3.6: two zero-ended strings after six bytes)."""
    if name.lower().endswith("package"):
        return "a document"
    with opened.openstream(name) as stream:
        return str(stream.read(512)[6:].split(b"\x00")[0].decode("cp1252", "replace"))


_BINARY_DDE = re.compile(rb"\x13\s*DDE(?:AUTO)?\b|\x13\x00(?:\s\x00)*D\x00D\x00E\x00", re.IGNORECASE)


def _word_field(opened: Any) -> bool:
    """Return whether a Word document has a DDE field: text after a field's start mark (MS-DOC 2.8.25)."""
    with opened.openstream("WordDocument") as stream:
        return bool(_BINARY_DDE.search(stream.read(_MOST)))


def _oletools(source: Path | BinaryIO, where: str) -> None:
    """Let oletools look for macros and passwords, in the streams and in what is no stream any more."""
    from oletools import crypto
    from oletools.olevba import VBA_Parser

    logging.getLogger("olevba").setLevel(logging.CRITICAL)
    data = None
    if not isinstance(source, Path):
        source.seek(0)
        data = source.read()
    try:
        if data is None and crypto.is_encrypted(str(source)):
            raise _locked()
        parser = VBA_Parser(str(source) if data is None else "object.bin", data=data)
        try:
            macros = parser.detect_vba_macros() or parser.detect_xlm_macros()
        finally:
            parser.close()
    except Unusable:
        raise
    except Exception:  # it raises whatever a damaged file makes happen
        if where:
            return  # an object of another kind
        raise
    if macros:
        raise Unusable(f"The document holds macros{where}.", remedy=REMEDY)


# ------------------------------------------------------------------------------------------------------ RTF


_RTF_FIELD = re.compile(rb"\\fldinst([\s\S]{0,2000}?)(?:\\fldrslt|$)")
_RTF_WORDS = re.compile(rb"\\[a-zA-Z]+-?\d* ?|\\'[0-9a-fA-F]{2}|[{}\r\n]|\\\*")
_RTF_TEMPLATE = re.compile(
    rb"\\template\b\s*(?:\{|\\[a-z]+-?\d* ?)*\s*((?:https?:|ftp:|\\\\\\\\|file:)[^}]{0,200})", re.IGNORECASE
)


def _rich_text(content: Content) -> list[str]:
    if content.size > _MOST:
        raise Unusable(f"The document is larger than {_MOST >> 20} MB.", remedy="Ask for it as a PDF.")
    data = content.read(0, content.size)
    if template := _RTF_TEMPLATE.search(data):
        address = template[1].decode("cp1252", "replace").strip()
        raise Unusable(f"The document fetches its template from elsewhere: {address[:80]}.", remedy=REMEDY)
    for field in _RTF_FIELD.finditer(data):
        words = _RTF_WORDS.sub(b"", field[1])
        if re.search(rb"\bDDE(?:AUTO)?\b", words, re.IGNORECASE):
            raise Unusable("The document has a field that starts a program (DDE).", remedy=REMEDY)
    for what in _rtf_objects(data):
        raise Unusable(f"The document carries {what}.", remedy=REMEDY)
    return []


def _rtf_objects(data: bytes) -> Iterator[str]:
    """Yield what the objects of a document are that are more than a picture or a table."""
    if b"\\objdata" not in data and b"\\object" not in data:
        return
    from oletools.rtfobj import RtfObjParser

    parser = RtfObjParser(data)
    with _readable():
        parser.parse()
    for each in parser.objects:
        if each.is_package:
            yield f"a file as an object: {each.filename or 'without a name'}"
        elif not each.is_ole:
            yield "an object that is damaged, or made to harm"
        elif "ole2link" in str(each.class_name).lower() or "equation" in str(each.class_name).lower():
            yield "an object that is known to run programs"
        elif each.oledata and each.oledata.startswith(_OLE):
            _compound(io.BytesIO(each.oledata), " in an object")
