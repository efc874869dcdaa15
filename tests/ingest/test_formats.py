"""Formats are known by content: every kind, whatever it is called, and nothing by accident."""

from __future__ import annotations

import gzip
import random
import struct

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import samples
import world
from dam.ingest import formats, inspectors
from dam.ingest.content import OVERLAP, WINDOW, Content
from dam.ingest.formats import known

SVG_TEXT = samples.SVG
EVERY = sorted(samples.KINDS)
FUZZ = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def identified(tmp_path, data, name=""):
    path = tmp_path / "file"
    path.write_bytes(data)
    return formats.identify(path, name)


@pytest.mark.parametrize("name", EVERY)
def test_every_kind_is_known_by_its_content(tmp_path, name):
    media_type, kind, _ = samples.KINDS[name]
    found = identified(tmp_path, samples.made(name), name)
    assert (found.media_type, found.kind) == (media_type, kind)
    assert name.rpartition(".")[2] in found.extensions


@pytest.mark.parametrize("name", [name for name in EVERY if name != "a.js"])
def test_a_name_that_lies_changes_nothing(tmp_path, name):
    right = identified(tmp_path, samples.made(name), name)
    for lie in ("holiday.jpg", "holiday.mp4", "holiday.ttf"):
        found = identified(tmp_path, samples.made(name), lie)
        assert found.media_type == right.media_type or {found, right} <= {known.EPS, known.AI_PS}


def test_formats_are_told_once_and_go_to_inspectors_that_are_there():
    every = [found for found in vars(known).values() if isinstance(found, formats.Format)]
    assert {found.inspector for found in every} - {""} <= set(inspectors.MODULES)
    kinds = {"image", "vector", "document", "video", "audio", "model", "font", "archive", "opaque"}
    assert {found.kind for found in every} == kinds
    for found in every:
        assert found is known.OPAQUE or (
            found.extensions and found.extensions == tuple(map(str.lower, found.extensions))
        )


@pytest.mark.parametrize(
    "name", ["a.bmp", "palette.bmp", "a.jp2", "a.psd", "deep.psd", "a.psb", "packed.psb", "big.tif"]
)
def test_rarer_pictures_are_decoded_to_the_pixel(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(samples.made(name))
    told = world.look(path)["told"]
    assert (told["width"], told["height"]) == (64, 48)
    assert [proof["name"] for proof in told["proofs"]] == ["preview", "thumbnail"]
    if name.endswith(("psd", "psb")):
        same = tmp_path / "same.psd"
        same.write_bytes(samples.photoshop(packed=True))
        assert world.look(same)["told"]["phash"] == told["phash"]


def test_a_photoshop_document_that_is_cut_off_is_damaged(tmp_path):
    path = tmp_path / "a.psb"
    path.write_bytes(samples.made("packed.psb")[:-100])
    assert "cut off" in world.look(path)["unusable"]


# ------------------------------------------------------------------------------------------------ drawings


COMMENT, DOCTYPE = (
    "<!-- made by hand <svg> -->",
    (
        '<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd" '
        '[ <!ENTITY ns "http://ns.adobe.com/x]>"> ]>'
    ),
)


@pytest.mark.parametrize(
    "prolog", ["", '<?xml version="1.0"?>', COMMENT, DOCTYPE, f"\n {COMMENT}\n{DOCTYPE}\n{COMMENT * 3000}"]
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_drawing_is_known_behind_any_prolog_in_any_encoding(tmp_path, prolog, encoding):
    data = (prolog + SVG_TEXT).encode(encoding)
    if len(data) > 200_000 and encoding != "utf-8":
        data = (prolog[:2000] + "-->" + SVG_TEXT).encode(encoding)
    assert identified(tmp_path, data).media_type == "image/svg+xml"


def test_a_drawing_may_have_a_prefix_and_may_be_packed(tmp_path):
    prefixed = SVG_TEXT.replace("<svg", "<s:svg").replace("xmlns=", "xmlns:s=")
    assert identified(tmp_path, prefixed.encode()) is known.SVG
    packed = identified(tmp_path, gzip.compress(b"<?xml version='1.0'?>" + SVG_TEXT.encode()))
    assert (packed.media_type, packed.extensions) == ("image/svg+xml", ("svgz",))


@pytest.mark.parametrize(
    "page",
    [
        b"<html><svg></svg></html>", b"\xef\xbb\xbf \n<!-- x --><!doctype HTML>", b"<script>alert(1)</script>",
        b"<!DOCTYPE html>\n" + SVG_TEXT.encode(), b"<html>\xff\xd8\xff\xe0\x00\x00\x00 a picture, too",
        b'<?xml version="1.0"?><!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0//EN" "x"><html xmlns="h"/>',
    ],
)  # fmt: skip
def test_a_page_is_no_drawing(tmp_path, page):
    assert identified(tmp_path, page, "logo.svg") is known.HTML


# ---------------------------------------------------------------------------------------- names as tie-breaks


def test_a_name_settles_what_content_leaves_open(tmp_path):
    assert identified(tmp_path, samples.illustrator(), "poster.ai") is known.AI
    assert identified(tmp_path, samples.illustrator(), "poster.pdf") is known.PDF
    assert identified(tmp_path, samples.pdf(), "poster.ai") is known.PDF
    eps = samples.KINDS["old.ai"][2]()
    assert identified(tmp_path, eps, "logo.ai") is known.AI_PS
    assert identified(tmp_path, eps, "logo.eps") is known.EPS
    assert identified(tmp_path, b"one\ntwo\n", "list.csv") is known.CSV
    assert identified(tmp_path, b"one\ntwo\n", "list.txt") is known.TEXT
    assert identified(tmp_path, b"start calc\n", "run.bat") is known.SCRIPT


def test_prose_with_commas_is_no_table(tmp_path):
    assert identified(tmp_path, b"Dear all,\nthe cup, which is red, arrived.\nYours,\nMaya\n") is known.TEXT
    assert identified(tmp_path, samples.TABLE) is known.CSV
    assert identified(tmp_path, samples.TABLE.replace(b",", b";")) is known.CSV
    assert identified(tmp_path, b"[section]\nkey = value\n") is known.TEXT


# ---------------------------------------------------------------------------------------------- containers


def test_sound_and_film_in_one_container_are_told_apart(tmp_path):
    assert identified(tmp_path, samples.sound("mp4", "aac")).kind == "audio"
    assert identified(tmp_path, samples.sound("matroska", "aac")).kind == "audio"
    assert identified(tmp_path, samples.sound("webm", "libopus", 48000)).kind == "audio"
    assert identified(tmp_path, samples.made("a.webm")).kind == "video"


def test_a_picture_that_is_a_still_image_in_general_is_told_by_its_other_brands(tmp_path):
    def still(brand):
        return struct.pack(">I", 24) + b"ftypmif1" + bytes(4) + b"miaf" + brand + bytes(40)

    assert identified(tmp_path, still(b"avif")) is known.AVIF
    assert identified(tmp_path, still(b"heic")) is known.HEIC


def test_a_film_without_a_type_box_is_known_by_its_boxes(tmp_path):
    film = samples.made("a.mov")
    length = struct.unpack(">I", film[:4])[0]
    assert identified(tmp_path, film[length:]) is known.MOV
    assert identified(tmp_path, b"\x00\x00\x00\x10free" + bytes(40)) is not known.MOV


def test_flac_and_aac_behind_an_id3_tag_are_not_mp3(tmp_path):
    tag = b"ID3\x04\x00\x00\x00\x00\x00\x0a" + bytes(10)
    assert identified(tmp_path, tag + samples.made("a.flac")) is known.FLAC
    assert identified(tmp_path, tag + samples.made("a.aac")) is known.AAC
    assert identified(tmp_path, tag + samples.made("bare.mp3")) is known.MP3


def test_office_files_are_told_by_what_they_say_of_themselves_not_by_their_folders(tmp_path):
    misled = samples.office("xlsx", parts={"word/document.xml": "<x/>"})
    assert identified(tmp_path, misled) is known.XLSX
    assert identified(tmp_path, samples.zipped({"word/document.xml": "<x/>"})) is known.ZIP


def test_a_locked_office_file_is_an_office_file(tmp_path):
    locked = samples.compound({"EncryptedPackage": b"x", "EncryptionInfo": b"y"})
    assert identified(tmp_path, locked) is known.LOCKED_OFFICE


def test_what_only_others_know_is_named_and_stays_opaque(tmp_path):
    database = b"SQLite format 3\x00" + bytes(100)
    found = identified(tmp_path, database)
    assert (found.kind, found.inspector) == ("opaque", "")
    assert "sqlite" in found.media_type


# ---------------------------------------------------------------------------------------- text and its bytes


@pytest.mark.parametrize("text", ["Grüße\n", "Ελληνικά κείμενο\n", "日本語のテキスト\n", ""])
def test_text_is_read_in_its_encoding_to_the_end(tmp_path, text):
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        path = tmp_path / "note.txt"
        path.write_bytes((text * 3000).encode(encoding))
        if text:
            told = world.look(path)["told"]
            assert told["words"] == text * 3000
            assert told["technical"]["lines"] == 3000


def test_text_that_turns_into_something_else_is_no_text(tmp_path):
    assert identified(tmp_path, b"plain " * 1000 + b"\x00\x01\x02" + b"text") is known.OPAQUE
    path = tmp_path / "long.txt"
    path.write_bytes(b"plain " * 100_000 + b"\xff\xfe\xfa" + b"text")
    assert "is no letter" in world.look(path)["unusable"]


def test_json_that_stops_is_damaged(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b'{"a": [1, 2')
    assert "JSON is damaged" in world.look(path)["unusable"]


# --------------------------------------------------------------------------------------------------- bytes


@settings(FUZZ, max_examples=500)
@given(seed=st.integers(), length=st.integers(64, 5000))
@example(seed=26262255, length=64)  # begins like JPEG XL
def test_random_bytes_are_nothing_that_is_decoded(tmp_path, seed, length):
    """Of bytes by chance, too many to be letters. A signature of two bytes comes by chance, and is for a decoder."""
    data = random.Random(seed).randbytes(length)
    signed = data.startswith(b"\xff\x0a")
    assert identified(tmp_path, data) is (known.JXL if signed else known.OPAQUE)


@FUZZ
@given(name=st.sampled_from(EVERY), data=st.data())
def test_a_damaged_file_is_identified_without_a_crash(tmp_path, name, data):
    whole = samples.made(name)
    cut = data.draw(st.integers(0, len(whole)))
    damaged = bytearray(whole[:cut])
    for _ in range(data.draw(st.integers(0, 6))):
        if damaged:
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    assert isinstance(identified(tmp_path, bytes(damaged), name), formats.Format)


@settings(FUZZ, max_examples=25)
@given(st.integers(0, 3 * OVERLAP), st.sampled_from([1 << 16, 3 << 16, WINDOW]))
def test_nothing_falls_between_two_windows_of_a_search(tmp_path, shift, edge):
    import re

    at = max(0, edge - shift)
    path = tmp_path / "long"
    path.write_bytes(bytes(at) + b"needle" + bytes(OVERLAP))
    with Content(path) as content:
        assert content.search(re.compile(b"needle")) == (at, b"needle")
        assert content.search(re.compile(b"needle"), at + 1) is None
        assert content.last(b"needle") == at
