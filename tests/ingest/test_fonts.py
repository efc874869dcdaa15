"""Fonts: every table read, every glyph walked, and a specimen drawn; damage is named by its table."""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.ttLib import TTCollection, TTFont
from fontTools.ttLib.tables.TupleVariation import TupleVariation
from hypothesis import given

import fuzzing
import world
from dam.ingest.inspection import Unusable


def carried(package, name):
    """Return a font that a package of ours carries, found without importing it."""
    spec = find_spec(package)
    assert spec
    assert spec.origin
    return next(Path(spec.origin).parent.rglob(name))


@pytest.fixture(scope="module")
def grotesk():
    return carried("great_expectations", "HKGrotesk-Medium.otf")


def built(letters="AaBbHMgkz ", *, weight=False, family="Blocks", **names):
    """Build a TrueType font whose letters are blocks, as wide as their place; variable in weight if asked."""
    order = [".notdef", *(f"u{ord(letter):04X}" for letter in letters), "pair"]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(order)
    builder.setupCharacterMap({ord(letter): f"u{ord(letter):04X}" for letter in letters})
    glyphs = {}
    for number, name in enumerate(order[:-1]):
        pen = TTGlyphPen(None)
        pen.moveTo((50, 0))
        for point in ((50, 700), (150 + 20 * number, 700), (150 + 20 * number, 0)):
            pen.lineTo(point)
        pen.closePath()
        glyphs[name] = pen.glyph()
    pen = TTGlyphPen(dict.fromkeys(order))
    pen.addComponent(order[1], (1, 0, 0, 1, 0, 0))
    pen.addComponent(order[2], (1, 0, 0, 1, 400, 0))
    glyphs["pair"] = pen.glyph()
    builder.setupGlyf(glyphs)
    builder.setupHorizontalMetrics(dict.fromkeys(order, (600, 50)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": family, "styleName": "Regular"} | names)
    builder.setupOS2(sTypoAscender=800, usWeightClass=400, fsType=4)
    builder.setupPost()
    if weight:
        builder.setupFvar([("wght", 100, 400, 900, "Weight")], [])
        wide = [TupleVariation({"wght": (0, 1, 1)}, [(0, 0), (0, 0), (90, 0), (90, 0), *[(0, 0)] * 4])]
        builder.setupGvar({order[1]: wide})
    return builder.font


def saved(font, tmp_path, name="font.ttf", flavour=None):
    font.flavor = flavour
    path = tmp_path / name
    font.save(path)
    return path


def test_a_font_tells_what_it_is(grotesk):
    told = world.inspected(grotesk, "font")
    assert told.technical["family"] == "HK Grotesk"
    assert told.technical["style"] == "Medium"
    assert told.technical["weight"] == 500
    assert told.technical["outlines"] == "PostScript (CFF)"
    assert told.technical["glyphs"] == 636
    assert told.technical["scripts"][:2] == ["Latin", "Cyrillic"]
    assert "Basic Latin" in told.technical["unicode_ranges"]
    assert told.technical["embedding"] == "editable"
    assert told.embedded["Font.designer"] == "Alfredo Marco Pradil and Stefan Peev"
    assert told.embedded["Font.licence_url"] == "http://scripts.sil.org/OFL"
    assert "HKGrotesk-Medium" in told.words


def test_a_specimen_is_drawn_and_is_no_fingerprint(grotesk):
    told = world.inspected(grotesk, "font")
    preview, thumbnail = told.proofs
    ink = np.asarray(preview.picture().convert("L")) < 100
    assert ink[: ink.shape[0] // 3, : ink.shape[1] // 3].mean() > 0.05  # the large pair
    assert ink[ink.shape[0] // 2 :].any()  # the sentences
    assert thumbnail.width == 256
    assert (told.phash, told.colours) == (None, [])


@pytest.mark.parametrize(
    "name", ["fa-solid-900.woff2", "fa-brands-400.woff2", "fa-regular-400.ttf", "glyphicons-halflings-regular.woff"]
)
def test_web_fonts_and_fonts_of_icons_are_read_and_shown(name):
    told = world.inspected(carried("flask_appbuilder", name), "font")
    assert told.technical["packed"] == {"woff2": "woff2", "woff": "woff", "ttf": None}[name.rpartition(".")[2]]
    assert "Private Use Area" in told.technical["unicode_ranges"]
    assert told.proofs[0].name == "preview"


@pytest.mark.parametrize("flavour", [None, "woff", "woff2"])
def test_every_packing_of_a_font_tells_the_same(tmp_path, flavour):
    told = world.inspected(saved(built(copyright="© Acme"), tmp_path, flavour=flavour), "font")
    assert told.technical["family"] == "Blocks"
    assert told.technical["glyphs"] == 12
    assert told.technical["outlines"] == "TrueType"
    assert told.technical["embedding"] == "preview and print"
    assert told.embedded["Font.copyright"] == "© Acme"


def test_a_collection_tells_all_its_faces(tmp_path):
    both = TTCollection()
    both.fonts = [built(family="Blocks One"), built(family="Blocks Two")]
    path = tmp_path / "both.ttc"
    both.save(path)
    told = world.inspected(path, "font")
    assert told.technical["faces"] == 2
    assert told.technical["names"] == ["Blocks One Regular", "Blocks Two Regular"]
    assert "Blocks Two" in told.words


def test_a_variable_font_tells_its_axes(tmp_path):
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz ,"
    plain = world.inspected(saved(built(letters), tmp_path), "font")
    told = world.inspected(saved(built(letters, weight=True), tmp_path), "font")
    assert told.proofs[0].height > plain.proofs[0].height  # a row of weights
    assert told.technical["axes"] == [{"tag": "wght", "name": "Weight", "min": 100, "default": 400, "max": 900}]


def test_a_damaged_table_is_named(tmp_path, grotesk):
    whole = bytearray(grotesk.read_bytes())
    with TTFont(grotesk) as font:
        entry = font.reader.tables["CFF "]
    whole[entry.offset + entry.length // 2] ^= 0xFF
    path = tmp_path / "damaged.otf"
    path.write_bytes(whole)
    with pytest.raises(Unusable, match="its table 'CFF' does not match its checksum"):
        world.inspected(path, "font")


@pytest.mark.parametrize("flavour", [None, "woff", "woff2"])
def test_a_font_that_is_cut_off_is_refused(tmp_path, flavour):
    path = world.truncated(saved(built(), tmp_path, flavour=flavour), 0.7)
    with pytest.raises(Unusable, match=r"cut off|damaged"):
        world.inspected(path, "font")


def test_a_glyph_made_of_itself_is_refused(tmp_path):
    font = built()
    font["glyf"]["pair"].components[0].glyphName = "pair"
    font["maxp"].recalc = lambda *_: None
    with pytest.raises(Unusable, match="made of itself"):
        world.inspected(saved_unchecked(font, tmp_path), "font")


def test_a_glyph_of_absurdly_many_parts_is_refused(tmp_path):
    letters = "ABCDEFGHIJKLMNOP"
    font = built(letters)
    order = font.getGlyphOrder()
    for below, name in itertools.pairwise(order[1:]):
        pen = TTGlyphPen(dict.fromkeys(order))
        for shift in (0, 100):
            pen.addComponent(below, (1, 0, 0, 1, shift, 0))
        font["glyf"][name] = made = pen.glyph()
        made.xMin = made.yMin = made.xMax = made.yMax = 0
    with pytest.raises(Unusable, match="absurdly many parts"):
        world.inspected(saved_unchecked(font, tmp_path), "font")


def saved_unchecked(font, tmp_path):
    """Save a font without working out the bounds of its glyphs, which would go round in circles."""
    font.recalcBBoxes = False
    return saved(font, tmp_path)


def test_a_character_map_longer_than_unicode_is_refused(tmp_path):
    font = built()
    out = io.BytesIO()
    font.save(out)
    with TTFont(io.BytesIO(out.getvalue())) as opened:
        tables = {tag: opened.reader[tag] for tag in opened.reader.keys()}  # noqa: SIM118 - it is no dict
    groups = struct.pack(">III", 0, 0xFFFFFFFF, 1)
    subtable = struct.pack(">HHIII", 12, 0, 16 + len(groups), 0, 1) + groups
    tables["cmap"] = struct.pack(">HHHHI", 0, 1, 3, 10, 12) + subtable
    path = tmp_path / "absurd.ttf"
    path.write_bytes(assembled(tables))
    with pytest.raises(Unusable, match="more characters than there are"):
        world.inspected(path, "font")


def assembled(tables):
    """Put raw tables together to a TrueType font with right checksums."""
    head = struct.pack(">IHHHH", 0x00010000, len(tables), 0, 0, 0)
    at, entries, body = 12 + 16 * len(tables), b"", b""
    for tag, data in sorted(tables.items()):
        summed = data if tag != "head" else data[:8] + b"\0\0\0\0" + data[12:]
        padded = summed + b"\0" * (-len(summed) % 4)
        total = sum(struct.unpack(f">{len(padded) // 4}I", padded)) & 0xFFFFFFFF
        entries += struct.pack(">4sIII", tag.encode(), total, at + len(body), len(data))
        body += data + b"\0" * (-len(data) % 4)
    return head + entries + body


def test_a_web_font_that_grows_without_measure_is_refused_before_it_is_unpacked(tmp_path):
    packed = zlib.compress(bytes(50_000_000))
    entry = struct.pack(">4sIIII", b"glyf", 64, len(packed), 50_000_000, 0)
    size = 64 + len(packed)
    head = struct.pack(">4sIIHHIHHIIIII", b"wOFF", 0x00010000, size, 1, 0, 100, 1, 0, 0, 0, 0, 0, 0)
    path = tmp_path / "bomb.woff"
    path.write_bytes(head + entry + packed)
    with pytest.raises(Unusable, match="claims to grow from"):
        world.inspected(path, "font")


@pytest.mark.parametrize("flavour", [None, "woff", "woff2"])
def test_a_damaged_font_is_refused_or_told(tmp_path, flavour):
    whole = saved(built(weight=True), tmp_path, flavour=flavour).read_bytes()

    @fuzzing.examples
    @given(content=fuzzing.damaged(whole))
    def examine(content):
        path = tmp_path / "damaged.ttf"
        path.write_bytes(content)
        fuzzing.refused_or_told(path, "font")

    examine()
