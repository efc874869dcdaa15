"""Drawings in SVG and SVGZ, drawn by librsvg from memory: it has no file to look beside and no network.

Scripts and references to other places are refused before (:mod:`dam.ingest.safety`); what is read here is read
as if they were still there.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

import numpy as np
import pyvips

from dam.errors import BadInput
from dam.ingest import embedded, inner, markup, proofs, xmp
from dam.ingest.damage import AGAIN, refused, tidy
from dam.ingest.formats import Format
from dam.ingest.inspection import CantCheck, Inspection, Job, Unusable
from dam.renditions import pictures

_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink href"
_DC = "http://purl.org/dc/elements/1.1/"
_CC = ("http://creativecommons.org/ns#", "http://web.resource.org/cc/")
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_DPI = 96  # of CSS pixels
#: CSS units in pixels; em and ex of the initial font.
_UNITS = {"": 1, "px": 1, "in": 96, "cm": 96 / 2.54, "mm": 96 / 25.4, "q": 96 / 101.6, "pt": 96 / 72, "pc": 16,
          "em": 16, "ex": 8}  # fmt: skip
_GENERIC = {"serif", "sans-serif", "monospace", "cursive", "fantasy", "system-ui", "inherit", "initial", "unset"}
_SAID = {f"{_SVG} {kind}" for kind in ("text", "title", "desc", "style")} | {"text", "title", "desc", "style"}
#: Light drawings on nothing can't be seen on white: they are shown on this grey.
_DARK, _LIGHT = (84, 92, 104), 0.8


def inspect(job: Job, found: Format) -> Inspection:
    """Read and draw a drawing.

    :raises Unusable: it is damaged, claims absurd sizes, or holds a damaged picture.
    """
    data = _unpacked(job)
    drawing = _Drawing(job.limits["max_text"])
    with refused("The drawing"):
        drawing.read(data)
    told = Inspection(words=" ".join(drawing.words))
    with refused("The drawing"):
        picture = _drawn(data, drawing, job)
    if drawing.size:
        told.width, told.height = (max(1, round(side)) for side in drawing.size)
    _check_photographs(drawing, job.limits["max_megapixels"])
    _show(job, picture, told)
    told.technical |= {
        "view_box": drawing.view_box,
        "elements": drawing.elements,
        "fonts": [{"name": name, "embedded": name in drawing.fonts_inside} for name in sorted(drawing.fonts)],
        "pictures": len(drawing.pictures),
    }
    told.embedded = drawing.metadata(data)
    outside = sorted(drawing.fonts - drawing.fonts_inside)
    if outside and told.words:
        told.notes.append(f"Its text uses fonts that are not inside it ({', '.join(outside)}): it may look different.")
    return told


# ------------------------------------------------------------------------------------------------- reading


def _unpacked(job: Job) -> bytes:
    """Return the drawing's XML, unpacked when it is an SVGZ."""
    most = int(job.limits["max_drawing_bytes"])
    with job.path.open("rb") as stream:
        data = stream.read(most + 1)
    if data[:2] == b"\x1f\x8b":
        unpacker = zlib.decompressobj(wbits=31)
        with refused("The packed drawing"):
            data = unpacker.decompress(data, most + 1)
        if not unpacker.eof and len(data) <= most:
            raise Unusable("The packed drawing is cut off.", remedy=AGAIN)
    if len(data) > most:
        raise Unusable(
            f"The drawing is larger than {most / 1e6:g} MB unpacked.", remedy="Ask for a simpler one, or a PDF."
        )
    return data


class _Drawing:
    """What is told by a drawing's elements, in one pass."""

    def __init__(self, most_text: int) -> None:
        self.elements = 0
        self.view_box: list[float] | None = None
        self.size: tuple[float, float] | None = None
        self.fonts: set[str] = set()
        self.fonts_inside: set[str] = set()
        self.pictures: list[str] = []
        self.words: list[str] = []
        self._path: list[str] = []
        self._text: list[str] = []
        self._saying = 0
        self._room = most_text
        self._told: dict[str, Any] = {}
        self._packet: list[int] = []
        self._namespaces: dict[str, str] = {}

    def read(self, data: bytes) -> None:
        """Read the whole document. :raises ValueError: it is no drawing."""
        reader = markup.Reader(self._start, self._end, self._letters)
        self._reader = reader
        reader.parser.StartNamespaceDeclHandler = self._declared
        reader.read(data)

    def _declared(self, prefix: str | None, uri: str | None) -> None:
        if prefix and uri and prefix != "x":
            self._namespaces.setdefault(prefix, uri)

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        kind = markup.local(name)
        if not self._path:
            if kind != "svg":
                raise ValueError(f"its first element is <{kind}>, not <svg>")
            self.view_box = _numbers(attributes.get("viewBox"))
            self.size = _size(attributes, self.view_box)
        self._path.append(name)
        self.elements += 1
        # the text of <text> is that of all its spans
        if not self._saying:
            self._text = []
            self._saying = len(self._path) if name in _SAID else 0
        if name == f"{_RDF} RDF" and not self._packet:
            self._packet.append(self._reader.parser.CurrentByteIndex)
        self._fonts_of(attributes.get("font-family", ""), attributes.get("style", ""))
        if kind in ("image", "feImage"):
            reference = attributes.get("href") or attributes.get(_XLINK) or ""
            if reference.lstrip()[:5].lower() == "data:":
                self.pictures.append(reference.strip())
        if kind == "license":
            self._told["Xmp.xmpRights.WebStatement"] = attributes.get(f"{_RDF} resource")

    def _end(self, name: str) -> None:
        text = " ".join("".join(self._text).split())
        if self._saying == len(self._path):
            self._say(markup.local(name), text)
            self._saying = 0
        if name == f"{_RDF} RDF" and len(self._packet) == 1:
            self._packet.append(self._reader.parser.CurrentByteIndex)
        if not self._saying:
            self._text = []
            if text and any(markup.local(step) == "metadata" for step in self._path):
                self._describe(text)
        self._path.pop()

    def _letters(self, text: str) -> None:
        self._text.append(text)

    def _say(self, kind: str, text: str) -> None:
        if kind == "style":
            self._styles(text)
        elif kind in ("title", "desc"):
            if len(self._path) == 2:
                self._told.setdefault(f"SVG.{kind}", text)
        elif text and self._room > 0:
            self.words.append(text[: self._room])
            self._room -= len(text) + 1

    def _fonts_of(self, family: str, style: str) -> None:
        for declared in (family, *re.findall(r"font-family\s*:\s*([^;]+)", style)):
            first = declared.split(",")[0].strip().strip("'\"").strip()
            if first and first.lower() not in _GENERIC and "var(" not in first:
                self.fonts.add(first)

    def _styles(self, css: str) -> None:
        for face in re.findall(r"@font-face\s*{([^}]*)}", css):
            for name in re.findall(r"font-family\s*:\s*['\"]?([^;'\"]+)", face):
                if "data:" in face:
                    self.fonts_inside.add(name.strip())
        self._fonts_of("", css.replace("}", ";"))

    def _describe(self, text: str) -> None:
        """Note Dublin Core as Inkscape writes it: ``cc:Work`` with agents and bags, which is not XMP."""
        steps = [step.split(" ", 1) for step in self._path]
        own = [markup.local(step) for step in self._path if step.startswith((_DC, *_CC, _RDF))]
        terms = [word for space, word in (step for step in steps if len(step) == 2) if space == _DC]
        if "Work" not in own or not terms:
            return
        term = terms[0]
        if term in ("title", "description", "rights") and (term == "rights" or terms == [term]):
            self._told.setdefault(f"Xmp.dc.{term}", {"x-default": text})
        elif term in ("creator", "publisher", "contributor", "subject", "language"):
            self._told.setdefault(f"Xmp.dc.{term}", []).append(text)
        elif term in ("date", "source", "identifier", "relation", "coverage"):
            self._told.setdefault(f"Xmp.dc.{term}", text)

    def metadata(self, data: bytes) -> dict[str, Any]:
        """Return title and description, and Dublin Core or XMP by exiv2's keys."""
        told = embedded.clean(self._told)
        if len(self._packet) == 2:
            # its prefixes may be declared on the drawing's first element
            declared = [
                f'xmlns:{prefix}="{uri}"' for prefix, uri in self._namespaces.items() if not set(uri) & set('"&<')
            ]
            opening = f"<x:xmpmeta xmlns:x='adobe:ns:meta/' {' '.join(declared)}>"
            told |= xmp.read(opening.encode() + data[self._packet[0] : self._packet[1]] + b"</rdf:RDF></x:xmpmeta>")
        return told


def _numbers(text: str | None) -> list[float] | None:
    """Return the four numbers of a viewBox."""
    try:
        numbers = [float(part) for part in re.split(r"[\s,]+", (text or "").strip())]
    except ValueError:
        return None
    return numbers if len(numbers) == 4 and numbers[2] > 0 and numbers[3] > 0 else None


def _size(attributes: Mapping[str, str], view_box: list[float] | None) -> tuple[float, float] | None:
    """Return the size in CSS pixels that a drawing claims; None when it claims none."""
    width, height = _length(attributes.get("width")), _length(attributes.get("height"))
    if view_box:
        ratio = view_box[2] / view_box[3]
        if width is None and height is None:
            width, height = view_box[2], view_box[3]
        width = width if width is not None else (height or 0) * ratio
        height = height if height is not None else width / ratio
    return (width, height) if width is not None and height is not None else None


def _length(text: str | None) -> float | None:
    """Return a length in pixels; None for a percentage, or none at all."""
    match = re.fullmatch(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([a-zA-Z]*)\s*", text or "")
    unit = _UNITS.get(match[2].lower()) if match else None
    return float(match[1]) * unit if match and unit else None


# ------------------------------------------------------------------------------------------------- drawing


def _drawn(data: bytes, drawing: _Drawing, job: Job) -> Any:
    """Draw it as large as a preview, whatever its size is, and return it with its transparency."""
    most = float(job.limits["max_drawing_px"])
    if drawing.size and not all(0 < side <= most for side in drawing.size):
        width, height = drawing.size
        raise Unusable(
            f"The drawing claims to be {width:g} × {height:g} pixels.",
            remedy=f"A side may have 1 to {most:,.0f} pixels.",
        )
    try:
        header = pyvips.Image.svgload_buffer(data, dpi=_DPI, unlimited=True)
    except pyvips.Error as error:
        if "bad dimensions" in str(error):
            raise CantCheck("The drawing has no size and shows nothing; a person must say what it is.") from error
        raise
    # libvips takes the resolution twice: for lengths, as CSS does, and for the picture's size
    drawing.size = drawing.size or (header.width * 72 / _DPI, header.height * 72 / _DPI)
    across, down = proofs.box(job)
    scale = min(across / header.width, down / header.height)
    # a hair's breadth below, so that rounding up never passes the box; never thinner than a pixel
    scale = max(scale * (1 - 1e-6), 1 / header.width, 1 / header.height)
    return pyvips.Image.svgload_buffer(data, dpi=_DPI, unlimited=True, scale=scale).copy_memory()


def _show(job: Job, picture: Any, told: Inspection) -> None:
    """Make preview and thumbnail; what is light on nothing is put on grey to be seen."""
    pixels = np.ndarray(
        buffer=picture.write_to_memory(), dtype=np.uint8, shape=(picture.height, picture.width, picture.bands)
    )
    opacity = pixels[:, :, 3].astype(np.float64)
    covered = opacity.sum()
    if covered == 0:
        told.notes.append("The drawing is empty: nothing of it can be seen.")
    light = float((pixels[:, :, :3].mean(axis=2) * opacity).sum() / covered / 255) if covered else 0.0
    if light > _LIGHT and (opacity < 128).mean() > 0.01:
        proofs.of_picture(job, picture.flatten(background=_DARK), told)
        told.technical["transparent"] = True
        told.colours = ["white"]
        told.notes.append("It is light on a transparent ground, so it is shown on grey.")
        return
    proofs.of_picture(job, picture, told)


def _check_photographs(drawing: _Drawing, most_megapixels: float) -> None:
    """Decode every picture inside: librsvg leaves out, without a word, what it can't read."""
    for number, reference in enumerate(drawing.pictures, start=1):
        head, _, body = reference.partition(",")
        if "svg" in head:
            continue
        try:
            raw = unquote_to_bytes(body)
            data = base64.b64decode(re.sub(rb"\s", b"", raw)) if ";base64" in head else raw
            inner.picture(data, most_megapixels)
        except pictures.NoDecoder:
            raise Unusable(f"Picture {number} inside the drawing has a format that can't be shown.") from None
        except (BadInput, binascii.Error) as error:
            raise Unusable(f"Picture {number} inside the drawing is damaged. ({tidy(error)})", remedy=AGAIN) from error
