"""Office documents old and new: every part proved, text and properties told, something to look at."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from hypothesis import given

import fuzzing
import world
from dam.ingest.inspection import CantCheck, Unusable
from dam.settings import PROJECT

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
A = "http://schemas.openxmlformats.org/drawingml/2006/main"
P = "http://schemas.openxmlformats.org/presentationml/2006/main"
S = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
R = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
CORE = f"""<cp:coreProperties xmlns:cp="{PACKAGE}/metadata/core-properties" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:dcterms="http://purl.org/dc/terms/"><dc:title>Spring brief</dc:title><dc:creator>Jo Brandt</dc:creator>
 <cp:keywords>spring; coffee</cp:keywords><cp:lastModifiedBy>Maya</cp:lastModifiedBy>
 <dcterms:created>2027-03-01T12:00:00Z</dcterms:created></cp:coreProperties>"""
APP = """<Properties xmlns="http://schemas.openxmlformats.org/officeDocument/2006/extended-properties">
 <Pages>3</Pages><Words>512</Words><Company>Acme</Company><Application>Writer</Application></Properties>"""


def relations(**targets):
    """Return a part of relations: id → (kind, target)."""
    inner = "".join(
        f'<Relationship Id="{identity}" Type="{R}/{kind}" Target="{target}"/>'
        for identity, (kind, target) in targets.items()
    )
    return f'<Relationships xmlns="{PACKAGE}/relationships">{inner}</Relationships>'


def zipped(tmp_path, name, parts):
    path = tmp_path / name
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for part, content in parts.items():
            if part == "mimetype":
                archive.writestr(zipfile.ZipInfo(part), content)
            else:
                archive.writestr(part, content)
    return path


def common(main, **more):
    """Return the parts that every Office Open XML document has."""
    top = relations(
        rId1=("officeDocument", main), rId2=("metadata/core-properties", "docProps/core.xml"),
        rId3=("extended-properties", "docProps/app.xml"), **more,
    )  # fmt: skip
    return {
        "[Content_Types].xml": f'<Types xmlns="{PACKAGE}/content-types"/>',
        "_rels/.rels": top,
        "docProps/core.xml": CORE,
        "docProps/app.xml": APP,
    }


def paragraphs(*lines):
    return "".join(f"<w:p><w:r><w:t>{line}</w:t></w:r></w:p>" for line in lines)


TEXT = ("Größe & Söhne".replace("&", "&amp;"), "An espresso in a red cup on a table.")


def docx(lines=TEXT, **more):
    return common("word/document.xml", **more) | {
        "word/document.xml": f'<w:document xmlns:w="{W}"><w:body>{paragraphs(*lines)}</w:body></w:document>',
        "word/_rels/document.xml.rels": relations(rId1=("image", "media/image1.png")),
        "word/media/image1.png": world.png_bytes(),
    }


def test_a_word_document_tells_its_text_and_properties(tmp_path):
    told = world.inspected(zipped(tmp_path, "brief.docx", docx()), "office")
    assert told.words == "Größe & Söhne\nAn espresso in a red cup on a table."
    assert told.technical == {"pages": 3, "words": 512, "media": 1}
    assert told.embedded["Office.title"] == "Spring brief"
    assert told.embedded["Office.creator"] == "Jo Brandt"
    assert told.embedded["Office.company"] == "Acme"
    assert told.embedded["Office.created"] == "2027-03-01T12:00:00Z"
    assert (told.phash, told.colours) == (None, [])


def test_what_has_no_picture_shows_its_first_lines(tmp_path):
    told = world.inspected(zipped(tmp_path, "brief.docx", docx([f"Line {n} of many" for n in range(200)])), "office")
    assert told.notes == ["Shown are its first lines: there is no program here to lay it out."]
    page = np.asarray(told.proofs[0].picture().convert("L"))
    assert page.shape[0] > page.shape[1]
    ink = (page < 120).mean(axis=1) > 0
    assert ink[: len(ink) // 2].sum() > 100  # lines of text
    assert not ink[-20:].any()  # which fade where there are more
    assert page[:40].min() > 250  # within margins


def test_a_machine_without_fonts_shows_lines_all_the_same(tmp_path):
    fonts = tmp_path / "fonts.conf"
    fonts.write_text("<fontconfig/>")
    code = "from dam.ingest import textpage; page = textpage.draw('Brief', ['Größe and more'] * 9, 800, 800);"
    code += " print((page < 120).any(axis=(1, 2)).sum())"
    environment = os.environ | {"FONTCONFIG_FILE": str(fonts), "PYTHONPATH": str(PROJECT / "plugins")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert int(done.stdout) > 50


def test_the_picture_that_a_document_carries_is_shown(tmp_path):
    thumbnail = world.picture(tmp_path, "thumbnail.jpg", size=(256, 192)).read_bytes()
    parts = docx(rId9=("metadata/thumbnail", "docProps/thumbnail.jpeg")) | {"docProps/thumbnail.jpeg": thumbnail}
    told = world.inspected(zipped(tmp_path, "brief.docx", parts), "office")
    assert (told.proofs[0].width, told.proofs[0].height) == (256, 192)
    assert told.notes == []


def test_a_presentation_tells_its_slides_in_their_order(tmp_path):
    def slide(text):
        return f'<p:sld xmlns:p="{P}" xmlns:a="{A}"><a:p><a:r><a:t>{text}</a:t></a:r></a:p></p:sld>'

    parts = common("ppt/presentation.xml") | {
        "ppt/presentation.xml": f'<p:presentation xmlns:p="{P}" xmlns:r="{R}"><p:sldIdLst>'
        '<p:sldId id="256" r:id="rId2"/><p:sldId id="257" r:id="rId1"/></p:sldIdLst></p:presentation>',
        "ppt/_rels/presentation.xml.rels": relations(
            rId1=("slide", "slides/slide1.xml"), rId2=("slide", "slides/slide2.xml")
        ),
        "ppt/slides/slide1.xml": slide("Comes second"),
        "ppt/slides/slide2.xml": slide("Comes first"),
        "ppt/slides/_rels/slide1.xml.rels": relations(rId1=("notesSlide", "../notesSlides/notesSlide1.xml")),
        "ppt/notesSlides/notesSlide1.xml": slide("Said aloud"),
    }
    told = world.inspected(zipped(tmp_path, "deck.pptx", parts), "office")
    assert told.words.splitlines() == ["Comes first", "Comes second", "Said aloud"]
    assert (told.technical["slides"], told.technical["pages"]) == (2, 2)
    del parts["ppt/slides/slide1.xml"]
    with pytest.raises(Unusable, match=r"lacks its part ppt/slides/slide1\.xml"):
        world.inspected(zipped(tmp_path, "deck.pptx", parts), "office")


def test_a_workbook_tells_its_sheets_and_shows_its_first_rows(tmp_path):
    strings = ["Channel", "Budget", "", "Web", "Print"]
    rows = [
        '<c r="A1" t="s"><v>0</v></c><c r="B1" t="s"><v>1</v></c>',
        '<c r="A2" t="s"><v>3</v></c><c r="C2"><v>0.30000000000000004</v></c>',
        '<c r="A3" t="inlineStr"><is><t>Inside</t></is></c>',
    ]
    items = "".join(f"<si><t>{text}</t></si>" for text in strings)
    parts = common("xl/workbook.xml") | {
        "xl/workbook.xml": f'<workbook xmlns="{S}" xmlns:r="{R}"><sheets><sheet name="Plan" r:id="rId1"/></sheets>'
        "</workbook>",
        "xl/_rels/workbook.xml.rels": relations(
            rId1=("worksheet", "worksheets/sheet1.xml"), rId2=("sharedStrings", "sharedStrings.xml")
        ),
        "xl/sharedStrings.xml": f'<sst xmlns="{S}">{items}</sst>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{S}"><sheetData>'
        + "".join(f"<row>{row}</row>" for row in rows)
        + "</sheetData></worksheet>",
    }
    told = world.inspected(zipped(tmp_path, "plan.xlsx", parts), "office")
    assert told.words.splitlines()[:4] == ["Channel\tBudget", "Web\t\t0.3", "Inside", "Plan"]
    assert "Print" in told.words
    assert told.technical["sheet_names"] == ["Plan"]
    assert told.proofs[0].width > told.proofs[0].height


OFFICE = "urn:oasis:names:tc:opendocument:xmlns:"
SPACES = " ".join(f'xmlns:{name}="{OFFICE}{name}:1.0"' for name in ("office", "text", "table", "meta", "manifest"))
DRAW = f'xmlns:draw="{OFFICE}drawing:1.0" xmlns:dc="http://purl.org/dc/elements/1.1/"'


def opendocument(kind, body, **more):
    return {
        "mimetype": f"application/vnd.oasis.opendocument.{kind}",
        "content.xml": f"<office:document-content {SPACES} {DRAW}><office:body>{body}</office:body>"
        "</office:document-content>",
        "meta.xml": f"<office:document-meta {SPACES} {DRAW}><office:meta><dc:title>Brief</dc:title>"
        "<meta:initial-creator>Jo Brandt</meta:initial-creator><dc:creator>Maya</dc:creator>"
        "<meta:keyword>spring</meta:keyword><meta:keyword>coffee</meta:keyword>"
        '<meta:document-statistic meta:page-count="4" meta:word-count="9"/></office:meta></office:document-meta>',
        "META-INF/manifest.xml": f"<manifest:manifest {SPACES}/>",
    } | more


def test_an_opendocument_text_is_read(tmp_path):
    body = "<office:text><text:tracked-changes><text:p>deleted</text:p></text:tracked-changes>"
    body += "<text:h>Goals</text:h><text:p>More<text:s/>visits <text:span>by May</text:span></text:p></office:text>"
    told = world.inspected(zipped(tmp_path, "brief.odt", opendocument("text", body)), "office")
    assert told.words.splitlines() == ["Goals", "More visits by May"]
    assert told.technical == {"pages": 4, "words": 9, "media": 0}
    assert told.embedded["Office.creator"] == "Jo Brandt"
    assert told.embedded["Office.lastModifiedBy"] == "Maya"
    assert told.embedded["Office.keywords"] == ["spring", "coffee"]


def test_an_opendocument_sheet_and_presentation_are_counted(tmp_path):
    cells = "".join(f"<table:table-cell><text:p>{text}</text:p></table:table-cell>" for text in ("Web", "Print"))
    sheet = (
        f'<office:spreadsheet><table:table table:name="Plan"><table:table-row>{cells}</table:table-row></table:table>'
    )
    told = world.inspected(
        zipped(tmp_path, "plan.ods", opendocument("spreadsheet", sheet + "</office:spreadsheet>")),
        "office",
    )
    assert told.words == "Web \tPrint"
    assert (told.technical["sheets"], told.technical["sheet_names"]) == (1, ["Plan"])
    slides = "<draw:page><text:p>One</text:p></draw:page><draw:page><text:p>Two</text:p></draw:page>"
    parts = opendocument("presentation", f"<office:presentation>{slides}</office:presentation>")
    told = world.inspected(zipped(tmp_path, "deck.odp", parts), "office")
    assert (told.technical["slides"], told.words) == (2, "One\nTwo")


def test_a_locked_opendocument_is_refused(tmp_path):
    locked = "<manifest:file-entry><manifest:encryption-data/></manifest:file-entry>"
    manifest = f"<manifest:manifest {SPACES}>{locked}</manifest:manifest>"
    parts = opendocument("text", "") | {"META-INF/manifest.xml": manifest, "content.xml": b"\x01\x02"}
    with pytest.raises(Unusable, match="asks for a password"):
        world.inspected(zipped(tmp_path, "brief.odt", parts), "office")


def test_a_damaged_part_is_named(tmp_path):
    path = zipped(tmp_path, "brief.docx", docx())
    whole = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("word/media/image1.png")
    at = info.header_offset + 30 + len(info.filename) + info.compress_size // 2
    whole[at] ^= 0xFF
    path.write_bytes(whole)
    with pytest.raises(Unusable, match=r"part word/media/image1\.png is"):
        world.inspected(path, "office")
    broken = docx() | {"word/document.xml": f'<w:document xmlns:w="{W}"><w:body>'}
    with pytest.raises(Unusable, match=r"part word/document\.xml is cut off"):
        world.inspected(zipped(tmp_path, "cut.docx", broken), "office")


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_an_office_document_that_is_cut_off_is_refused(tmp_path, share):
    with pytest.raises(Unusable, match="cut off"):
        world.inspected(world.truncated(zipped(tmp_path, "brief.docx", docx()), share), "office")


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ({"../../evil.xml": "<a/>"}, "outside of it"),
        ({"C:/evil.xml": "<a/>"}, "outside of it"),
        ({"WORD/document.xml": "<a/>"}, "twice"),
        ({"word/bomb.bin": bytes(3_000_000)}, "The document unpacks to more than 0.002 GB"),
        ({"word/laughs.xml": '<!DOCTYPE a [<!ENTITY b "c"><!ENTITY d "&b;&b;">]><a>&d;</a>'}, "refers to others"),
    ],
)
def test_what_is_made_to_harm_is_refused(tmp_path, parts, why):
    with pytest.raises(Unusable, match=why):
        world.inspected(zipped(tmp_path, "evil.docx", docx() | parts), "office", max_unpacked_bytes=2_000_000)


def test_what_claims_to_grow_two_hundred_times_is_refused(tmp_path):
    path = zipped(tmp_path, "evil.docx", docx() | {"word/bomb.bin": bytes(1_000_000)})
    data = bytearray(path.read_bytes())
    at = data.index(b"word/bomb.bin", data.index(b"PK\x01\x02")) - 46  # its entry of the table, ZIP's APPNOTE 4.3.12
    data[at + 24 : at + 28] = struct.pack("<I", 300_000_000)
    path.write_bytes(data)
    with pytest.raises(Unusable, match="The document unpacks to more than 200 times its size"):
        world.inspected(path, "office")


def test_a_packed_file_of_another_kind_waits_for_a_person(tmp_path):
    with pytest.raises(CantCheck, match="no office document"):
        world.inspected(zipped(tmp_path, "some.zip", {"readme.txt": "hello"}), "office")


# -------------------------------------------------------------------------------------------- older formats

RICH = (
    rb"{\rtf1\ansi\ansicpg1252\deff0{\fonttbl{\f0 Helvetica;}}{\info{\title Spring brief}{\author J\'f6rg}"
    rb"{\creatim\yr2027\mo3\dy1\hr12\min5}{\nofpages2}}{\*\generator Acme Write;}\f0 Gr\'f6\'dfe \u8364?5\par "
    rb"{\b Second} line\tab end\par {\pict\pngblip 89504e47}}"
)


def test_rich_text_is_read(tmp_path):
    path = tmp_path / "brief.rtf"
    path.write_bytes(RICH)
    told = world.inspected(path, "office")
    assert told.words.splitlines() == ["Größe €5", "Second line end"]
    assert told.embedded == {
        "Office.title": "Spring brief", "Office.creator": "Jörg", "Office.created": "2027-03-01T12:05:00",
    }  # fmt: skip
    assert told.technical == {"media": 1, "pages": 2}
    path.write_bytes(RICH[:-30])
    with pytest.raises(Unusable, match="cut off"):
        world.inspected(path, "office")
    path.write_bytes(rb"{\rtf1" + b"{" * 2000 + b"}" * 2001)
    with pytest.raises(Unusable, match="groups within each other"):
        world.inspected(path, "office")


def compound(streams):
    """Write a compound file (MS-CFB, version 3): no library writes one from nothing. Streams of 4 KiB and more."""
    sector, end, free = 512, 0xFFFFFFFE, 0xFFFFFFFF
    chains, body = [], b""
    for data in streams.values():
        padded = data + bytes(-len(data) % sector)
        chains.append((len(body) // sector, len(padded) // sector))
        body += padded
    names = list(streams)
    entries = [("Root Entry", 5, end, 0, 1 if names else free, free)]
    for number, (name, (start, _)) in enumerate(zip(names, chains, strict=True), start=1):
        right = number + 1 if number < len(names) else free
        entries.append((name, 2, start, len(streams[name]), free, right))
    listed = b""
    for name, kind, start, size, child, right in entries:
        wide = (name + "\0").encode("utf-16-le")
        listed += wide.ljust(64, b"\0") + struct.pack("<HBBIII", len(wide), kind, 1, free, right, child)
        listed += bytes(16) + bytes(4) + bytes(16) + struct.pack("<IQ", start, size)
    listed += (bytes(66) + bytes(2) + struct.pack("<III", free, free, free) + bytes(48)) * (-len(entries) % 4)
    directory = len(body) // sector
    body += listed
    table = len(body) // sector
    fat = [free] * (sector // 4)
    for start, count in [*chains, (directory, len(listed) // sector)]:
        for at in range(start, start + count):
            fat[at] = at + 1 if at + 1 < start + count else end
    fat[table] = 0xFFFFFFFD
    body += struct.pack(f"<{len(fat)}I", *fat)
    head = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + struct.pack("<5H", 0x3E, 3, 0xFFFE, 9, 6) + bytes(6)
    head += struct.pack("<9I", 0, 1, directory, 0, 4096, end, 0, end, 0) + struct.pack("<109I", table, *[free] * 108)
    return head + body


def word_streams(text, flags=0):
    """Return the streams of a Word 97 document of one piece of UTF-16."""
    data = text.encode("utf-16-le")
    fib = bytearray(0x800)
    fib[0:2] = b"\xec\xa5"
    struct.pack_into("<H", fib, 10, flags)
    plan = struct.pack("<II", 0, len(text)) + struct.pack("<HIH", 0, 0x800, 0)
    clx = b"\x02" + struct.pack("<I", len(plan)) + plan
    struct.pack_into("<II", fib, 0x1A2, 0, len(clx))
    return {"WordDocument": (bytes(fib) + data).ljust(8192, b"\0"), "0Table": clx.ljust(4096, b"\0")}


def test_an_old_word_document_is_read(tmp_path):
    path = tmp_path / "old.doc"
    path.write_bytes(compound(word_streams("Größe \x13 HYPERLINK x \x14Seite\x15 1\rZweite Zeile\r")))
    assert world.inspected(path, "office").words.splitlines() == ["Größe Seite 1", "Zweite Zeile"]
    path.write_bytes(compound(word_streams("secret", flags=0x0100)))
    with pytest.raises(Unusable, match="asks for a password"):
        world.inspected(path, "office")
    path.write_bytes(compound({"EncryptedPackage": bytes(4096), "EncryptionInfo": bytes(4096)}))
    with pytest.raises(Unusable, match="asks for a password"):
        world.inspected(path, "office")


def record(kind, body):
    return struct.pack("<HH", kind, len(body)) + body


def test_an_old_workbook_is_read(tmp_path):
    strings = struct.pack("<II", 3, 3)
    strings += struct.pack("<HB", 7, 0) + b"Channel" + struct.pack("<HBH", 4, 8, 1) + b"Web!" + bytes(4)
    strings += struct.pack("<HB", 6, 1) + "Grö".encode("utf-16-le")  # cut within: the rest is in the next record
    stream = record(0x0809, bytes(16)) + record(0x85, struct.pack("<IHBB", 0, 0, 4, 0) + b"Plan")
    stream += record(0xFC, strings) + record(0x3C, b"\x01" + "ße!".encode("utf-16-le")) + record(0x0A, b"")
    path = tmp_path / "old.xls"
    path.write_bytes(compound({"Workbook": stream.ljust(4096, b"\0")}))
    told = world.inspected(path, "office")
    assert told.words.splitlines() == ["Plan", "Channel", "Web!", "Größe!"]
    assert told.technical["sheets"] == 1


def test_an_old_presentation_is_read(tmp_path):
    def atom(kind, body, instance=0):
        return struct.pack("<HHI", instance << 4, kind, len(body)) + body

    def container(kind, body, instance=0):
        return struct.pack("<HHI", instance << 4 | 0xF, kind, len(body)) + body

    listed = atom(1011, bytes(20)) + atom(4000, "Größe\rJa".encode("utf-16-le")) + atom(1011, bytes(20))
    masters = atom(1011, bytes(20)) + atom(4008, b"Click to edit")
    stream = container(1000, container(4080, masters, 1) + container(4080, listed, 0))
    path = tmp_path / "old.ppt"
    path.write_bytes(compound({"PowerPoint Document": stream.ljust(4096, b"\0")}))
    told = world.inspected(path, "office")
    assert told.words.splitlines() == ["Click to edit", "Größe", "Ja"]
    assert told.technical["slides"] == 2


def test_an_old_document_that_is_cut_off_is_refused(tmp_path):
    path = tmp_path / "old.doc"
    path.write_bytes(compound(word_streams("Hello"))[:-3000])
    with pytest.raises(Unusable, match="damaged"):
        world.inspected(path, "office")


@pytest.mark.parametrize("kind", ["docx", "odt", "rtf", "doc", "xls"])
def test_a_damaged_office_document_is_refused_or_told(tmp_path, kind):
    stream = record(0x85, struct.pack("<IHBB", 0, 0, 4, 0) + b"Plan") + record(
        0xFC, struct.pack("<IIHB", 1, 1, 2, 0) + b"ab"
    )
    whole = {
        "docx": lambda: zipped(tmp_path, "a.docx", docx()).read_bytes(),
        "odt": lambda: zipped(tmp_path, "a.odt", opendocument("text", "<text:p>Hello</text:p>")).read_bytes(),
        "rtf": lambda: RICH,
        "doc": lambda: compound(word_streams("Größe")),
        "xls": lambda: compound({"Workbook": stream.ljust(4096, b"\0")}),
    }[kind]()

    @fuzzing.examples
    @given(content=fuzzing.damaged(whole))
    def examine(content):
        path = tmp_path / f"damaged.{kind}"
        path.write_bytes(content)
        fuzzing.refused_or_told(path, "office")

    examine()
