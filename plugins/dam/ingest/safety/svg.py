"""Drawings in SVG: nothing in them may run, and nothing may be fetched from elsewhere."""

from __future__ import annotations

import base64
import binascii
import gzip
import io
import re
import zlib
from typing import Any, BinaryIO, cast
from urllib.parse import unquote_to_bytes
from xml.sax import SAXException, SAXParseException  # the classes alone; parsing is defusedxml's
from xml.sax.handler import ContentHandler, feature_external_ges, feature_namespaces
from xml.sax.xmlreader import AttributesNSImpl

from defusedxml.common import DefusedXmlException
from defusedxml.expatreader import DefusedExpatParser

from dam.ingest.content import Content
from dam.ingest.damage import AGAIN
from dam.ingest.inspection import Unusable

REMEDY = "Ask for it saved as plain SVG, with pictures and fonts embedded and without scripts."
SVG, XLINK, XML = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink", "http://www.w3.org/XML/1998/namespace"
#: Drawings of editors that keep their own data beside the drawing.
_EDITORS = ("http://ns.adobe.com/",)
#: Drawings may hold pictures that are drawings, so deep.
_DEPTH = 3
#: Longest text of an entity; Illustrator's are names of namespaces.
_ENTITY = 1000

_SCRIPTS = {"script", "handler", "listener"}
_RUNS = _SCRIPTS | {"iframe", "object", "embed", "applet", "frame", "audio", "video", "form"}
_NESTED = {"foreignobject"}
_EXTERNAL_CSS = re.compile(
    r"@import|expression\s*\(|-moz-binding|behavior\s*:|image-set\(\s*+['\"](?!data:)"
    r"|url\(\s*+['\"]?+\s*+(?!#|data:|['\")\s])[^'\")\s]*",
    re.IGNORECASE,
)
#: Attributes that are styles, or may name something by ``url()``.
_STYLED = {
    "style", "fill", "stroke", "filter", "mask", "mask-image", "clip-path", "marker", "marker-start", "marker-mid",
    "marker-end", "cursor", "content", "background", "background-image", "color-profile", "shape-inside",
    "shape-subtract", "shape-outside", "list-style-image",
}  # fmt: skip
_ANIMATES = {"set", "animate", "animatemotion", "animatetransform", "animatecolor"}
_CSS_DATA = re.compile(r"url\(\s*+['\"]?+\s*+(data:[^'\")\s]*)", re.IGNORECASE)
_SAFE_DATA = re.compile(
    r"data:(image/(?:png|jpe?g|gif|webp|avif|bmp|svg\+xml)|font/[\w.+-]+|application/(?:x-)?font-[\w.+-]+"
    r"|application/vnd\.ms-fontobject|application/font-sfnt|application/octet-stream)?[;,]",
    re.IGNORECASE,
)


def check(content: Content, most_bytes: int) -> list[str]:
    """Go through a drawing.

    :param most_bytes: a packed one may unpack to.
    :raises Unusable: it holds a script, fetches something, or can't be read as XML; says what and in which line.
    """
    packed = content.head[:2] == b"\x1f\x8b"
    with content.path.open("rb") as plain:
        stream = cast("BinaryIO", _Limited(gzip.GzipFile(fileobj=plain), most_bytes) if packed else plain)
        try:
            _parse(stream, 0)
        except (zlib.error, EOFError, gzip.BadGzipFile) as error:
            raise Unusable("The packed drawing is damaged or cut off.", remedy=AGAIN) from error
    return []


class _Limited(io.RawIOBase):
    """A stream that unpacks to so many bytes and no more."""

    def __init__(self, packed: gzip.GzipFile, most: int) -> None:
        self._packed, self._left = packed, most

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._packed.read(min(size if size >= 0 else 1 << 16, 1 << 16))
        self._left -= len(data)
        if self._left < 0:
            raise Unusable("The packed drawing unpacks to more than is allowed here.", remedy="Ask for a smaller one.")
        return data


class _Entities(DefusedExpatParser):  # type: ignore[misc]  # has no types
    """Lets Illustrator's abbreviations of names pass, and nothing that grows or is elsewhere."""

    def defused_entity_decl(self, name: str, is_parameter_entity: bool, value: str | None, base: str | None,
                            sysid: str | None, pubid: str | None, notation_name: str | None) -> None:  # fmt: skip
        if value is None or is_parameter_entity or sysid or "&" in value or "%" in value or len(value) > _ENTITY:
            super().defused_entity_decl(name, is_parameter_entity, value, base, sysid, pubid, notation_name)


def _parse(stream: BinaryIO, depth: int, where: str = "") -> None:
    parser = _Entities(forbid_entities=True, forbid_external=False)
    parser.setFeature(feature_namespaces, True)
    parser.setFeature(feature_external_ges, False)  # a DOCTYPE may name its DTD, which is not fetched
    drawing = _Drawing(depth, where)
    parser.setContentHandler(drawing)
    try:
        parser.parse(stream)
    except DefusedXmlException as error:
        line = parser.getLineNumber()
        raise Unusable(
            f"The drawing declares an entity that grows or is fetched from elsewhere (line {line}{where}).",
            remedy=REMEDY,
        ) from error
    except SAXParseException as error:
        raise Unusable(
            f"The drawing is damaged: {error.getMessage()} (line {error.getLineNumber()}{where}).",
            remedy=AGAIN,
        ) from error
    except (SAXException, ValueError, LookupError, UnicodeError) as error:
        raise Unusable(f"The drawing can't be read as XML: {error}.", remedy=AGAIN) from error


class _Drawing(ContentHandler):
    """Judges element by element, as they come."""

    _locator: Any  # set by the parser

    def __init__(self, depth: int, where: str) -> None:
        super().__init__()
        self._depth, self._where = depth, where
        self._foreign = 0  # how deep inside foreign elements
        self._style: list[str] | None = None

    def _refuse(self, what: str) -> None:
        line = self._locator.getLineNumber() if self._locator else 0
        raise Unusable(f"The drawing {what} (line {line}{self._where}).", remedy=REMEDY)

    def processingInstruction(self, target: str, data: str) -> None:  # noqa: N802
        """A style sheet from elsewhere is fetched."""
        if target.lower() == "xml-stylesheet" and not re.search(r"href\s*=\s*(['\"])#", data):
            self._refuse("loads a style sheet")

    def startElementNS(self, name: tuple[str | None, str], qname: str | None, attrs: AttributesNSImpl) -> None:  # noqa: N802, ARG002
        """Judge an element by its name and its attributes."""
        space, local = name
        tag = local.lower()
        if self._foreign:
            if not (space or "").startswith(_EDITORS):
                self._refuse("holds a web page (foreignObject)")
            self._foreign += 1
        elif tag in _NESTED:
            self._foreign = 1
        if tag in _RUNS and not (space or "").startswith(_EDITORS):
            self._refuse("holds a script" if tag in _SCRIPTS else f"holds a part that is no drawing ({tag})")
        if tag == "style":
            self._style = []
        for (at_space, at_local), value in attrs.items():
            self._attribute(tag, at_space or "", at_local, value)
        if tag in _ANIMATES:
            self._animation(attrs)

    def _attribute(self, tag: str, space: str, local: str, value: str) -> None:
        name = local.lower()
        if name.startswith("on") and space in ("", SVG):
            self._refuse(f"runs a script by “{local}”")
        if name == "base" and space == XML and value.strip():
            self._refuse(f"takes its references from elsewhere: {_short(value)}")
        if (name == "href" and space in ("", XLINK, SVG)) or (name == "src" and not space):
            self._reference(tag, value)
        elif name in _STYLED and space in ("", SVG):
            self._css(value)

    def _animation(self, attrs: AttributesNSImpl) -> None:
        """An animated reference is one, too."""
        plain = {local.lower(): value for (_space, local), value in attrs.items()}
        target = plain.get("attributename", "").rpartition(":")[2].lower()
        for name in ("to", "from", "by", "values"):
            for value in plain.get(name, "").split(";"):
                if target == "href":
                    self._reference("image", value)
                else:
                    self._css(value)
                    self._link(value)

    def _reference(self, tag: str, value: str) -> None:
        plain = re.sub(r"[\x00-\x20]", "", value)
        self._link(plain)
        if tag == "a" or not plain or plain.startswith("#"):
            return
        if plain[:5].lower() == "data:":
            self._data(plain)
        else:
            self._refuse(f"fetches something that is not in it: {_short(plain)}")

    def _link(self, value: str) -> None:
        """Refuse what runs when it is followed; other links are a person's choice."""
        plain = re.sub(r"[\x00-\x20]", "", value).lower()
        if plain.startswith(("javascript:", "vbscript:")):
            self._refuse("has a link that runs a script")
        if plain.startswith("data:") and not _SAFE_DATA.match(plain):
            self._refuse(f"holds something that is neither a picture nor a font: {_short(plain)}")

    def _data(self, plain: str) -> None:
        """A drawing inside the drawing is judged likewise."""
        if not re.match(r"data:image/svg\+xml", plain, re.IGNORECASE):
            return
        if self._depth >= _DEPTH:
            self._refuse("holds drawings in drawings in drawings")
        head, _, body = plain.partition(",")
        try:
            data = base64.b64decode(unquote_to_bytes(body)) if ";base64" in head.lower() else unquote_to_bytes(body)
        except binascii.Error:
            self._refuse("holds a picture that is damaged")
        line = self._locator.getLineNumber() if self._locator else 0
        _parse(io.BytesIO(data), self._depth + 1, f" of a drawing inside the drawing, which is in line {line}")

    def _css(self, value: str) -> None:
        text = _uncommented(_unescaped(value))
        if match := _EXTERNAL_CSS.search(text):
            self._refuse(f"fetches something that is not in it, in a style: {_short(match[0])}")
        for match in _CSS_DATA.finditer(text):
            self._link(match[1])
            self._data(match[1])

    def characters(self, content: str) -> None:
        """Gather the text of a style sheet."""
        if self._style is not None:
            self._style.append(content)

    def endElementNS(self, name: tuple[str | None, str], qname: str | None) -> None:  # noqa: N802, ARG002
        """Judge a style sheet when it is whole."""
        if self._foreign:
            self._foreign -= 1
        if name[1].lower() == "style" and self._style is not None:
            text, self._style = "".join(self._style), None
            self._css(text)


def _uncommented(text: str) -> str:
    parts, at = [], 0
    while (start := text.find("/*", at)) >= 0:
        parts.append(text[at:start])
        end = text.find("*/", start + 2)
        at = end + 2 if end >= 0 else len(text)
    return "".join(parts) + text[at:]


def _unescaped(text: str) -> str:
    r"""Return CSS with its escapes resolved: ``\75rl(`` is ``url(``."""
    return re.sub(r"\\([0-9a-fA-F]{1,6})\s?|\\(.)", lambda m: _letter(m[1]) if m[1] else m[2], text)


def _letter(digits: str) -> str:
    code = int(digits, 16)
    return chr(code) if 0 < code < 0x110000 and not 0xD800 <= code < 0xE000 else "\ufffd"


def _short(value: str) -> str:
    value = " ".join(value.split())
    return f"“{value[:60]}…”" if len(value) > 60 else f"“{value}”"
