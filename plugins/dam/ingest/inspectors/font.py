"""Fonts: TrueType, OpenType, collections, WOFF and WOFF2, plain and variable.

Every table is checked against its checksum and read to the end, and every glyph is drawn into nothing, which
walks all of its outlines; then FreeType draws a specimen for people.
"""

from __future__ import annotations

import io
import logging
import struct
from collections import Counter
from typing import Any

import brotli
import numpy as np
from fontTools import unicodedata
from fontTools.ttLib import TTFont, TTLibError, woff2
from fontTools.ttLib.ttCollection import TTCollection

from dam.ingest import embedded, inner, proofs, specimen
from dam.ingest.damage import AGAIN, refused, tidy, unusable
from dam.ingest.formats import Format
from dam.ingest.inspection import Inspection, Job, Unusable

logging.getLogger("fontTools").setLevel(logging.CRITICAL)  # it tells stray bytes in tables, which harm nobody

#: Faces of a collection that are read; real ones have up to some dozens.
_FACES = 256
#: Most characters that Unicode has, and so most that a font can have.
_CHARACTERS = 0x110000
#: Most components a glyph may come to, its components' components counted.
_COMPONENTS = 10_000
#: What a name's number means (OpenType specification, ``name``).
_NAMES = {
    0: "copyright", 1: "family", 2: "style", 4: "name", 5: "version", 6: "postscript_name", 7: "trademark",
    8: "manufacturer", 9: "designer", 10: "description", 11: "vendor_url", 12: "designer_url", 13: "licence",
    14: "licence_url", 16: "typographic_family", 17: "typographic_style",
}  # fmt: skip
_EMBEDDING = {0: "installable", 2: "restricted: not to be embedded", 4: "preview and print", 8: "editable"}
_WEIGHTS = (100, 200, 300, 400, 500, 600, 700, 800, 900, 1000)


def inspect(job: Job, found: Format) -> Inspection:
    """Read every table and draw every glyph of all faces in a font.

    :raises Unusable: a table is damaged (names it), or claims what no font can have.
    """
    with job.path.open("rb") as stream:
        data = stream.read()
    told = Inspection()
    with refused("The font"):
        _limit(data, job)
        data = _without_padding(data)
        faces = _faces(data)
    for number, face in enumerate(faces, start=1):
        _prove(face, f"Face {number} of {len(faces)}" if len(faces) > 1 else "The font")
    with refused("The font"):
        first = _described(faces[0])
        told.technical = {"faces": len(faces), "packed": faces[0].flavor} | first.technical
        if len(faces) > 1:
            told.technical["names"] = [_full_name(face) for face in faces]
        told.embedded = first.embedded
        told.words = " ".join(dict.fromkeys(_full_name(face) for face in faces))
        _show(job, data, faces[0], first.embedded, told)
    return told


# -------------------------------------------------------------------------------------------------- limits


def _limit(data: bytes, job: Job) -> None:
    """Refuse a packed font that grows without measure, before anything of it is unpacked."""
    signature = data[:4]
    if signature not in (b"wOFF", b"wOF2"):
        return
    if len(data) < 44 or int.from_bytes(data[8:12], "big") > len(data):
        raise Unusable("The font is cut off.", remedy=AGAIN)
    claimed = int.from_bytes(data[16:20], "big")
    if signature == b"wOFF":
        count = int.from_bytes(data[12:14], "big")
        claimed = sum(int.from_bytes(data[at + 12 : at + 16], "big") for at in range(44, 44 + 20 * count, 20))
    most = min(float(job.limits["max_unpacked_bytes"]), len(data) * float(job.limits["max_unpacked_ratio"]))
    if claimed > most:
        raise Unusable(
            f"The font claims to grow from {len(data):,} to {claimed:,} bytes when it is unpacked.",
            remedy="No real font does; ask for another one.",
        )


def _without_padding(data: bytes) -> bytes:
    """Return a WOFF2 font without the zeros that some packers count to its packed data; others unchanged.

    Browsers pass over them, and so do people's eyes: Font Awesome's web fonts have them. The unpacker in Python
    takes them for damage.
    """
    if data[:4] != b"wOF2":
        return data
    stream = io.BytesIO(data)
    stream.seek(woff2.woff2DirectorySize)
    unpacked = 0
    for _ in range(int.from_bytes(data[12:14], "big")):
        entry = woff2.WOFF2DirectoryEntry()
        entry.fromFile(stream)
        unpacked += entry.length
    start, length = stream.tell(), int.from_bytes(data[20:24], "big")
    packed = data[start : start + length]
    unpacker = brotli.Decompressor()
    unpacker.process(packed[:-4], output_buffer_limit=unpacked + 1)
    used = len(packed) - 4
    while used < len(packed) and unpacker.can_accept_more_data() and not unpacker.is_finished():
        unpacker.process(packed[used : used + 1], output_buffer_limit=unpacked + 1)
        used += 1
    if used == len(packed) or any(packed[used:]):
        return data
    sizes = struct.pack(">I", len(data) - length + used), struct.pack(">I", used)
    head = data[:8] + sizes[0] + data[12:20] + sizes[1] + data[24:start]
    return head + packed[:used] + data[start + length :]


def _faces(data: bytes) -> list[TTFont]:
    if data[:4] == b"ttcf":
        count = int.from_bytes(data[8:12], "big")
        if not 0 < count <= _FACES:
            raise Unusable(f"The collection claims {count:,} faces; at most {_FACES} are accepted.", remedy=AGAIN)
        collection = TTCollection(io.BytesIO(data), lazy=False, checkChecksums=0, ignoreDecompileErrors=False)
        return list(collection.fonts)
    return [TTFont(io.BytesIO(data), lazy=False, checkChecksums=0, ignoreDecompileErrors=False)]


def _sane_characters(data: bytes, what: str) -> None:
    """Refuse a character map whose ranges are longer than Unicode: it would be written out in memory."""
    total = 0
    for number in range(int.from_bytes(data[2:4], "big")):
        (at,) = struct.unpack_from(">I", data, 8 + 8 * number)
        if int.from_bytes(data[at : at + 2], "big") not in (8, 12, 13):
            continue
        head = at + (8 if data[at + 1] == 8 else 0)
        groups = int.from_bytes(data[head + 12 : head + 16], "big")
        for group in range(min(groups, len(data) // 12)):
            first, last = struct.unpack_from(">II", data, head + 16 + 12 * group)
            total += max(0, last - first + 1)
            if last >= _CHARACTERS or total > 4 * _CHARACTERS:
                raise Unusable(f"{what} claims more characters than there are.", remedy=AGAIN)


# -------------------------------------------------------------------------------------------------- decode


def _prove(face: TTFont, what: str) -> None:
    """Read every table of a face and walk every outline."""
    with refused(what):
        tables = [tag for tag in face.keys() if tag != "GlyphOrder"]  # noqa: SIM118 - it is no dict
        if "cmap" not in tables or "head" not in tables:
            raise Unusable(f"{what} lacks the tables that every font has.", remedy=AGAIN)
        for tag in tables:
            _checksum(face, tag, what)
        _sane_characters(face.reader["cmap"], what)
        if "loca" in tables and "maxp" in tables:
            # some packers fill its list of places up with a zero
            face["loca"].locations = face["loca"].locations[: face["maxp"].numGlyphs + 1]
    for tag in tables:
        with refused(f"{what}'s table {tag.strip()!r}"):
            face[tag]
    with refused(what):
        _walk(face, what)


def _checksum(face: TTFont, tag: str, what: str) -> None:
    """Compare a table with its checksum; WOFF2 has none."""
    entry = face.reader.tables[tag]
    if face.flavor == "woff2" or not hasattr(entry, "checkSum"):
        return
    data = face.reader[tag]
    if tag == "head":  # it holds the checksum of the whole
        data = data[:8] + b"\0\0\0\0" + data[12:]
    padded = data + b"\0" * (-len(data) % 4)
    if sum(struct.unpack(f">{len(padded) // 4}I", padded)) & 0xFFFFFFFF != entry.checkSum:
        raise Unusable(f"{what} is damaged: its table {tag.strip()!r} does not match its checksum.", remedy=AGAIN)


class _Walk:
    """A pen that draws nothing and notes the components."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def moveTo(self, pt: Any) -> None:  # noqa: N802 - fontTools' names, here and below
        """Draw nothing."""

    def lineTo(self, pt: Any) -> None:  # noqa: N802
        """Draw nothing."""

    def curveTo(self, *points: Any) -> None:  # noqa: N802
        """Draw nothing."""

    def qCurveTo(self, *points: Any) -> None:  # noqa: N802
        """Draw nothing."""

    def closePath(self) -> None:  # noqa: N802
        """Draw nothing."""

    def endPath(self) -> None:  # noqa: N802
        """Draw nothing."""

    def addComponent(self, glyphName: str, transformation: Any) -> None:  # noqa: N802, N803, ARG002
        """Note a part of a composite glyph."""
        self.parts.append(glyphName)


def _walk(face: TTFont, what: str) -> None:
    """Draw every glyph; find components that are missing, or within themselves."""
    order = face.getGlyphOrder()
    glyphs = face.getGlyphSet() if {"glyf", "CFF ", "CFF2"} & set(face.keys()) else {}
    components: dict[str, list[str]] = {}
    for name in order if glyphs else ():
        pen = _Walk()
        with refused(f"{what}'s glyph {name!r}"):
            glyphs[name].draw(pen)
            if "gvar" in face:
                face["gvar"].variations.get(name)
        if pen.parts:
            components[name] = pen.parts
    counted: dict[str, int] = {}
    for name in components:
        if _count(name, components, counted, set(order), 0) > _COMPONENTS:
            raise Unusable(f"{what}'s glyph {name!r} is made of absurdly many parts.", remedy=AGAIN)


def _count(name: str, components: dict[str, list[str]], counted: dict[str, int], known: set[str], depth: int) -> int:
    """Return how many simple glyphs a glyph comes to."""
    if name not in known:
        raise ValueError(f"a glyph is made of {name!r}, which is missing")
    if depth > 64:
        raise ValueError(f"the glyph {name!r} is made of itself")
    if name not in counted:
        parts = components.get(name, ())
        counted[name] = 1 + sum(_count(part, components, counted, known, depth + 1) for part in parts)
    return counted[name]


# -------------------------------------------------------------------------------------------- what it says


def _described(face: TTFont) -> Inspection:
    """Return what a face says of itself: ``technical`` and ``embedded``."""
    told = Inspection()
    names = {known: face["name"].getDebugName(number) for number, known in _NAMES.items()} if "name" in face else {}
    told.embedded = embedded.clean({f"Font.{known}": value for known, value in names.items()})
    characters = _characters(face)
    scripts = Counter(unicodedata.script(chr(code)) for code in characters)
    blocks = Counter(unicodedata.block(chr(code)) for code in characters)
    described = face.get("OS/2")
    told.technical = {
        "family": names.get("typographic_family") or names.get("family"),
        "style": names.get("typographic_style") or names.get("style"),
        "outlines": next((kind for tag, kind in _OUTLINES.items() if tag in face), "none"),
        "glyphs": len(face.getGlyphOrder()),
        "characters": len(characters),
        "scripts": [unicodedata.script_name(code) for code, _ in scripts.most_common() if code not in _NO_SCRIPTS],
        "unicode_ranges": [name for name, _ in blocks.most_common(60) if name != "No_Block"],
        "colour": [tag.strip() for tag in ("COLR", "SVG ", "CBDT", "sbix") if tag in face],
        "features": _features(face),
        "units_per_em": face["head"].unitsPerEm,
        "monospaced": bool(face["post"].isFixedPitch) if "post" in face else False,
        "italic": bool(face["head"].macStyle & 2),
        "axes": _axes(face),
        "instances": _instances(face),
    }
    if described is not None:
        told.technical |= {
            "weight": described.usWeightClass,
            "width_class": described.usWidthClass,
            "embedding": _embedding(described.fsType),
        }
    return told


_OUTLINES = {"glyf": "TrueType", "CFF ": "PostScript (CFF)", "CFF2": "PostScript (CFF2)", "CBDT": "bitmaps",
             "sbix": "bitmaps", "EBDT": "bitmaps"}  # fmt: skip
_NO_SCRIPTS = {"Zyyy", "Zinh", "Zzzz"}


def _characters(face: TTFont) -> set[int]:
    found: set[int] = set()
    for table in face["cmap"].tables:
        if table.isUnicode() or table.isSymbol():
            found |= {code for code in table.cmap if code < _CHARACTERS and not 0xD800 <= code < 0xE000}
    return found


def _features(face: TTFont) -> list[str]:
    tags = {
        record.FeatureTag
        for name in ("GSUB", "GPOS")
        if name in face and face[name].table.FeatureList
        for record in face[name].table.FeatureList.FeatureRecord
    }
    return sorted(tags)


def _axes(face: TTFont) -> list[dict[str, Any]]:
    if "fvar" not in face:
        return []
    return [
        {
            "tag": axis.axisTag,
            "name": face["name"].getDebugName(axis.axisNameID),
            "min": axis.minValue,
            "default": axis.defaultValue,
            "max": axis.maxValue,
        }
        for axis in face["fvar"].axes
    ]


def _instances(face: TTFont) -> list[str]:
    if "fvar" not in face:
        return []
    names = (face["name"].getDebugName(one.subfamilyNameID) for one in face["fvar"].instances)
    return [name for name in names if name]


def _embedding(bits: int) -> str:
    """Say what a font's maker allows of embedding it (OpenType specification, ``OS/2.fsType``)."""
    # the least strict of those that are set holds
    words = next((_EMBEDDING[bit] for bit in (8, 4, 2) if bits & bit), _EMBEDDING[0])
    words += ", not in parts" if bits & 0x100 else ""
    return words + (", bitmaps only" if bits & 0x200 else "")


def _full_name(face: TTFont) -> str:
    names = face.get("name")
    if names is None:
        return ""
    parts = (names.getDebugName(1), names.getDebugName(2))
    return str(names.getDebugName(4) or " ".join(part for part in parts if part))


# ------------------------------------------------------------------------------------------------ specimen


def _show(job: Job, data: bytes, face: TTFont, names: dict[str, Any], told: Inspection) -> None:
    axes = told.technical["axes"]
    weight = next((number for number, axis in enumerate(axes) if axis["tag"] == "wght"), None)
    span = (axes[weight]["min"], axes[weight]["max"]) if weight is not None else (1, 0)
    shown = specimen.Face(
        data=_plain(data),
        index=0,
        family=str(told.technical["family"] or names.get("Font.name") or ""),
        style=str(told.technical["style"] or ""),
        characters=frozenset(_characters(face)),
        weights=tuple(value for value in _WEIGHTS if span[0] <= value <= span[1]),
        axes=tuple(axis["default"] for axis in axes),
        weight_axis=weight or 0,
    )
    try:
        picture = specimen.draw(shown, *proofs.box(job))
    except (OSError, ValueError) as error:
        if told.technical["outlines"] == "bitmaps":
            told.notes.append("Its glyphs are pictures of one size, so there is no specimen.")
            return
        raise unusable("The font", f"it can't be drawn: {tidy(error)}") from error
    proofs.of_picture(job, inner.from_array(np.asarray(picture)), told)
    # specimens of different fonts look alike, and all are black on white
    told.phash, told.colours = None, []
    told.technical.pop("transparent", None)


def _plain(data: bytes) -> bytes:
    """Return a web font unpacked, its tables as they are; others unchanged."""
    if data[:4] not in (b"wOFF", b"wOF2"):
        return data
    try:
        opened = TTFont(io.BytesIO(data), lazy=True, recalcBBoxes=False, recalcTimestamp=False)
        opened.flavor = None
        out = io.BytesIO()
        opened.save(out, reorderTables=None)
        return out.getvalue()
    except TTLibError as error:
        raise unusable("The font", error) from error
