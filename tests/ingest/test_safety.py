"""What is refused before anything decodes it, with what and where; and what must pass."""

from __future__ import annotations

import base64
import gzip
import io
import struct
import zipfile
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import samples
import world
from dam.errors import BadInput
from dam.ingest import formats, safety
from dam.ingest.content import Content
from dam.ingest.formats import known
from dam.ingest.inspection import CantCheck, Job, Unusable
from dam.ingest.safety import ends
from dam.load import load
from dam.settings import PROJECT
from dam.taxonomy import Limits

LIMITS = load(PROJECT / "include" / "taxonomy" / "limits.yaml", Limits).model_dump()
FUZZ = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def checked(tmp_path, data, name="file", **limits):
    """Return the notes on a file's safety."""
    path = tmp_path / "file"
    path.write_bytes(data)
    job = Job(path, name, tmp_path, LIMITS | limits, PROJECT / "include" / "templates" / "recipes.yaml")
    return safety.check(job, formats.identify(path, name))


def refused(tmp_path, data, *words, name="file", **limits):
    """Assert that a file is refused, with these words."""
    with pytest.raises(Unusable) as caught:
        checked(tmp_path, data, name, **limits)
    told = f"{caught.value.what} {caught.value.remedy}"
    assert all(word in told for word in words), told
    assert caught.value.remedy


GOOD = sorted(
    name
    for name, (_, kind, _make) in samples.KINDS.items()
    if kind not in ("opaque",) and name not in ("a.7z", "a.rar")
)
PICTURES = [
    "a.jpg",
    "progressive.jpg",
    "cmyk.jpg",
    "a.png",
    "a.gif",
    "moving.gif",
    "a.webp",
    "a.bmp",
    "a.avif",
    "a.heic",
]
ENDED = [*PICTURES, "a.mp4", "a.mov", "a.wav", "a.avi", "a.glb", "a.woff2", "a.jp2", "a.pdf", "a.ai", "a.jxl"]


@pytest.mark.parametrize("name", GOOD)
def test_good_files_of_every_kind_pass_without_a_word(tmp_path, name):
    notes = checked(tmp_path, samples.made(name), name)
    assert notes == [] or samples.KINDS[name][1] == "archive"


@pytest.mark.parametrize("name", ["a.elf", "a.exe", "a.dylib", "a.jar", "a.sh", "a.php", "a.js", "a.html"])
def test_programs_and_pages_are_no_assets(tmp_path, name):
    refused(tmp_path, samples.made(name), "not kept as assets", name=name)


def test_a_look_tells_what_was_refused_and_what_was_noted(tmp_path):
    bad, good = tmp_path / "bad.svg", tmp_path / "good.jpg"
    bad.write_bytes(samples.svg("<script>alert(1)</script>"))
    answer = world.look(bad)
    assert answer["media_type"] == "image/svg+xml"
    assert "holds a script (line 3)" in answer["unusable"]
    good.write_bytes(samples.made("a.jpg") + samples.made("a.mp4"))
    assert "a short film" in world.look(good)["told"]["notes"][0]


# ----------------------------------------------------------------------------------------------- two in one


@pytest.mark.parametrize("name", ENDED)
def test_the_true_end_of_a_file_is_found(tmp_path, name):
    data = samples.made(name)
    path = tmp_path / name
    for rest in (b"", b"rest", bytes(7) + b"more of it" * 999):
        path.write_bytes(data + rest)
        with Content(path) as content:
            found = formats.identify(path, name)
            end = ends.end_of(content, found)
        if found is known.JXL:
            assert end is None  # a bare codestream does not tell
        else:
            assert end is not None
            assert data[end:].strip() == b""


@FUZZ
@given(name=st.sampled_from(["a.jpg", "progressive.jpg", "a.png", "moving.gif", "a.webp"]), share=st.floats(0.01, 0.99))
def test_a_picture_that_is_cut_off_has_no_end(tmp_path, name, share):
    data = samples.made(name)
    path = tmp_path / name
    path.write_bytes(data[: max(20, int(len(data) * share))])
    with Content(path) as content:
        assert ends.end_of(content, formats.identify(path)) is None


HIDDEN = {
    "a ZIP archive": lambda: samples.zipped({"payload.html": "<script>"}),
    "a RAR archive": lambda: samples.made("a.rar"),
    "a 7z archive": lambda: samples.made("a.7z"),
    "a gzip archive": lambda: gzip.compress(b"payload" * 99),
    "a tar archive": lambda: samples.tar({"payload": b"x"}),
    "an xz archive": lambda: samples.made("a.txt.xz"),
    "a bzip2 archive": lambda: samples.made("a.txt.bz2"),
    "a program for Windows": samples.windows_program,
    "a program for Linux": lambda: samples.made("a.elf"),
    "a web page or a script": lambda: b"<HTML><body onload=alert(1)>",
    "an office file": lambda: samples.made("a.doc"),
}


@pytest.mark.parametrize("what", HIDDEN)
@pytest.mark.parametrize(
    "name", ["a.jpg", "progressive.jpg", "a.png", "moving.gif", "a.webp", "a.bmp", "a.mp4", "a.pdf"]
)
def test_what_hides_behind_a_file_is_found_and_named(tmp_path, name, what):
    data = samples.made(name)
    for padding in (b"", bytes(3), b"\r\n \xff\xff"):
        refused(tmp_path, data + padding + HIDDEN[what](), "two things at once", what)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "moving.gif"])
def test_a_pdf_behind_a_picture_or_in_its_head_is_found(tmp_path, name):
    data = samples.made(name)
    refused(tmp_path, data + samples.pdf(), "a PDF")
    if name == "a.jpg":
        comment = b"\xff\xfe" + struct.pack(">H", 2 + len(samples.pdf())) + samples.pdf()
        refused(tmp_path, data[:2] + comment + data[2:], "a PDF")


def test_a_page_behind_a_further_picture_is_found(tmp_path):
    data = samples.made("a.jpg")
    refused(tmp_path, data + data + bytes(9) + b"<script >1</script>", "a web page or a script")


def test_an_archive_is_found_at_the_end_of_what_has_no_end_of_its_own(tmp_path):
    for name in ("a.tif", "a.psd", "a.mp3", "a.ttf", "a.mkv", "a.nef"):
        refused(tmp_path, samples.made(name) + HIDDEN["a ZIP archive"](), "a ZIP archive", name=name)
    refused(tmp_path, b"\x01\x02nothing known" + HIDDEN["a ZIP archive"](), "a ZIP archive")


def test_an_archive_whose_comment_looks_like_the_end_of_a_pdf_is_found(tmp_path):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as opened:
        opened.writestr("x", "y")
        opened.comment = b"%%EOF"
    refused(tmp_path, samples.pdf() + out.getvalue(), "a ZIP archive")


@pytest.mark.parametrize("lead", [b"MZ" + bytes(100), b"\x7fELF\x02\x01\x01\x00", b"<html><script>"])
def test_what_leads_a_pdf_is_judged(tmp_path, lead):
    path = tmp_path / "file"
    path.write_bytes(lead + samples.pdf())
    with pytest.raises(Unusable):
        checked(tmp_path, lead + samples.pdf())


def test_a_pdf_may_begin_a_little_late(tmp_path):
    assert checked(tmp_path, b"\r\n" + samples.pdf()) == []


def test_a_picture_that_is_a_script_is_found(tmp_path):
    size = struct.unpack("<H", b"/*")[0]
    gif = bytearray(samples.made("a.gif"))
    gif[6:8] = struct.pack("<H", size)
    refused(tmp_path, bytes(gif[:-1]) + b"!\xfe\x1b*/=1;alert('it runs now');//\x00;", "a script")
    jpeg = samples.made("a.jpg")
    head = b"\xff\xd8\xff\xe0/*" + bytes(0x2F2A - 2 - 40) + b"*/=alert('it runs here, too')/*".ljust(40)
    refused(tmp_path, head + jpeg[2:], "a script")


def test_a_script_in_a_comment_is_no_more_than_a_comment(tmp_path):
    out = io.BytesIO()
    samples.photo().save(out, "JPEG", comment=b"<script>alert(1)</script>")
    assert checked(tmp_path, out.getvalue()) == []


def test_what_cameras_write_behind_a_picture_passes_with_a_note(tmp_path):
    jpeg, film = samples.made("a.jpg"), samples.made("a.mp4")
    assert checked(tmp_path, jpeg + bytes(100) + b"\xff\xff") == []
    assert "a further picture" in checked(tmp_path, jpeg + jpeg)[0]
    notes = checked(tmp_path, jpeg + bytes(2) + jpeg + film)
    assert len(notes) == 2
    assert "a short film" in notes[1]
    samsung = b"\x00\x00\x30\x0a\x10\x00\x00\x00MotionPhoto_Data" + film + b"SEFH\x6b\x00\x00\x00" + bytes(24) + b"SEFT"
    assert "no viewer shows" in checked(tmp_path, jpeg + samsung)[0]
    out = io.BytesIO()
    samples.photo().save(out, "MPO", save_all=True, append_images=[samples.photo(seed=2)])
    assert "a further picture" in checked(tmp_path, out.getvalue())[0]


def test_large_trailers_of_noise_pass(tmp_path):
    import random

    noise = random.Random(3).randbytes(8_000_000)
    assert len(checked(tmp_path, samples.made("a.jpg") + b"vendor" + noise)) == 1


# ------------------------------------------------------------------------------------------------- drawings


PIXEL = base64.b64encode(world.png_bytes()).decode()
NESTED = base64.b64encode(samples.svg("<script/>")).decode()


@pytest.mark.parametrize(
    "inner, told",
    [
        ("<script>alert(1)</script>", "holds a script (line 3)"),
        ('\n\n<SCRIPT href="#x"/>', "holds a script (line 5)"),
        ('<x:script xmlns:x="http://www.w3.org/2000/svg"/>', "holds a script"),
        ('<x:script xmlns:x="http://www.w3.org/1999/xhtml"/>', "holds a script"),
        ('<rect onload="alert(1)"/>', "runs a script by “onload”"),
        ('<rect onClick="alert(1)"/>', "runs a script by “onClick”"),
        ("<foreignObject><p xmlns='http://www.w3.org/1999/xhtml'>hi</p></foreignObject>", "a web page (foreignObject)"),
        ("<foreignObject><rect/></foreignObject>", "a web page (foreignObject)"),
        ('<a xlink:href="javascript:alert(1)"><rect/></a>', "a link that runs a script"),
        ('<a href=" java&#9;script:alert(1)"><rect/></a>', "a link that runs a script"),
        ('<a href="data:text/html,x"><rect/></a>', "neither a picture nor a font"),
        ('<image href="http://x.test/a.png"/>', "fetches something that is not in it: “http://x.test/a.png”"),
        ('<image xlink:href="photo.jpg"/>', "fetches something that is not in it: “photo.jpg”"),
        ('<image xlink:href="file:///etc/passwd"/>', "fetches something"),
        ('<use href="//x.test/a.svg#b"/>', "fetches something"),
        ('<image href="data:text/html;base64,PGI+"/>', "neither a picture nor a font"),
        (f'<image href="data:image/svg+xml;base64,{NESTED}"/>', "of a drawing inside the drawing"),
        ('<rect style="fill:url(http://x.test/a)"/>', "in a style"),
        ("<rect fill=\"url( 'https://x.test/a' )\"/>", "in a style"),
        (r'<rect style="fill:\75rl(http://x.test/a)"/>', "in a style"),
        ("<style>/* plain */ @import 'x.css';</style>", "in a style"),
        ("<style><![CDATA[ a{background:u/**/rl(//x.test)} ]]></style>", "in a style"),
        ('<set attributeName="href" to="javascript:alert(1)"/>', "runs a script"),
        ('<animate attributeName="xlink:href" values="#a;http://x.test/b.png"/>', "fetches something"),
        ('<g xml:base="http://x.test/"><use href="#a"/></g>', "takes its references from elsewhere"),
        ("<iframe/>", "holds a part that is no drawing (iframe)"),
    ],
)
def test_what_a_drawing_may_not_do(tmp_path, inner, told):
    refused(tmp_path, samples.svg(inner), told)
    refused(tmp_path, gzip.compress(samples.svg(inner)), told)
    refused(tmp_path, samples.svg(inner).decode().encode("utf-16"), told)


@pytest.mark.parametrize(
    "prolog, told",
    [
        ('<!DOCTYPE svg [<!ENTITY a "x"><!ENTITY b "&a;&a;"><!ENTITY c "&b;&b;">]>', "declares an entity"),
        ('<!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]>', "declares an entity"),
        ('<!DOCTYPE svg [<!ENTITY % x SYSTEM "http://x.test/x.dtd"> %x;]>', "declares an entity"),
        (f'<!DOCTYPE svg [<!ENTITY x "{"y" * 5000}">]>', "declares an entity"),
        ('<?xml-stylesheet type="text/css" href="http://x.test/a.css"?>', "loads a style sheet"),
    ],
)
def test_what_a_drawing_may_not_declare(tmp_path, prolog, told):
    refused(tmp_path, samples.svg(prolog=prolog), told, "line 1")


def test_an_entity_with_a_script_in_it_is_seen_where_it_is_used(tmp_path):
    prolog = "<!DOCTYPE svg [<!ENTITY x \"<script xmlns='http://www.w3.org/2000/svg'/>\">]>"
    refused(tmp_path, samples.svg("&x;", prolog=prolog), "holds a script")


ILLUSTRATOR = """<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd" [
    <!ENTITY ns_ai "http://ns.adobe.com/AdobeIllustrator/10.0/">
    <!ENTITY ns_svg "http://www.w3.org/2000/svg">
]>
"""


@pytest.mark.parametrize(
    "inner",
    [
        '<a href="https://example.org/"><rect/></a>',
        f'<image href="data:image/png;base64,{PIXEL}"/>',
        f'<image href="data:image/svg+xml;base64,{base64.b64encode(samples.svg()).decode()}"/>',
        '<linearGradient id="g"/><rect fill="url(#g)" style="stroke: url( &quot;#g&quot; )"/>',
        "<style>@font-face{src:url(data:font/woff2;base64,AAAA)} .a{fill:url('#g')} /* http://x */</style>",
        '<animate attributeName="fill" values="red;blue"/>',
        '<text data-note="see url(http://x.test)">on load: javascript: is a word</text>',
        '<metadata><r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#" r:about="http://x"/></metadata>',
        "<title>x</title><desc>only</desc>",
    ],
)
def test_what_a_drawing_may_do(tmp_path, inner):
    assert checked(tmp_path, samples.svg(inner)) == []
    assert checked(tmp_path, samples.svg(inner, prolog=ILLUSTRATOR)) == []


def test_illustrators_own_data_in_a_drawing_passes(tmp_path):
    inner = (
        '<switch><foreignObject requiredExtensions="&ns_ai;" x="0" y="0" width="1" height="1">'
        '<i:pgfRef xmlns:i="&ns_ai;" xlink:href="#adobe_illustrator_pgf"></i:pgfRef></foreignObject><g/></switch>'
    )
    assert checked(tmp_path, samples.svg(inner, prolog=ILLUSTRATOR)) == []


def test_a_drawing_that_is_damaged_or_swells_is_refused(tmp_path):
    refused(tmp_path, samples.svg()[:-9], "is damaged", "line")
    refused(tmp_path, gzip.compress(samples.svg())[:-12], "damaged")
    swelling = gzip.compress(samples.svg("<rect/>" + " " * 30_000_000))
    refused(tmp_path, swelling, "more than is allowed", decoder_bytes=100_000_000)


# ----------------------------------------------------------------------------------------------------- PDF


def _action(kind, **more):
    import pikepdf

    return pikepdf.Dictionary(S=pikepdf.Name(f"/{kind}"), **more)


def _annotated(action, page=1, indirect=False, key="A"):
    import pikepdf

    def change(pdf):
        made = pdf.make_indirect(action()) if indirect else action()
        note = pikepdf.Dictionary(Type=pikepdf.Name.Annot, Subtype=pikepdf.Name.Link, Rect=[0, 0, 9, 9])
        note["/" + key] = made
        pdf.pages[page].obj.Annots = pikepdf.Array([pdf.make_indirect(note)])

    return change


def _on_open(action):
    def change(pdf):
        pdf.Root.OpenAction = action

    return change


def _script_name(pdf):
    import pikepdf

    pdf.Root.Names = pikepdf.Dictionary(JavaScript=pikepdf.Dictionary(Names=["a", _action("JavaScript", JS="x")]))


def _form(**fields):
    import pikepdf

    def change(pdf):
        pdf.Root.AcroForm = pikepdf.Dictionary(**fields)

    return change


def _attached(name, data):
    import pikepdf

    def change(pdf):
        pdf.attachments[name] = pikepdf.AttachedFileSpec(pdf, data, filename=name)

    return change


def _chained():
    return _action("GoTo", D=[0], Next=_action("Launch", F="calc.exe"))


@pytest.mark.parametrize(
    "change, told",
    [
        (_on_open(_action("JavaScript", JS="app.alert(1)")), "runs a script, when it is opened"),
        (_on_open(_action("URI", URI="http://x.test")), "opens a web page by itself, when it is opened"),
        (_on_open(_chained()), "starts a program, when it is opened"),
        (_script_name, "runs a script when it is opened"),
        (_annotated(lambda: _action("Launch", F="calc.exe")), "starts a program, on page 2"),
        (
            _annotated(lambda: _action("SubmitForm", F="http://x.test"), 0, True),
            "sends what is typed into it elsewhere, on page 1",
        ),
        (_annotated(lambda: _action("ImportData", F="x.fdf")), "reads data from elsewhere"),
        (_annotated(lambda: _action("JavaScript", JS="1")), "runs a script"),
        (_annotated(_chained), "starts a program"),
        (
            _annotated(lambda: __import__("pikepdf").Dictionary(E=_action("URI", URI="http://x.test")), key="AA"),
            "on an event",
        ),
        (_form(Fields=[], XFA="<xdp/>"), "made up while it is shown (XFA)"),
        (_attached("setup.exe", b"MZ\x90"), "carries a program for Windows: “setup.exe”"),
        (_attached("notes.txt", b"\x7fELF"), "carries a program for Linux"),
        (_attached("run.vbs", b"x = 1"), "carries a program or script: “run.vbs”"),
    ],
)
def test_what_a_pdf_may_not_do(tmp_path, change, told):
    import pikepdf

    refused(tmp_path, samples.pdf(change), told)
    packed = {"object_stream_mode": pikepdf.ObjectStreamMode.generate, "compress_streams": True}
    refused(tmp_path, samples.pdf(change, **packed), told)


def test_what_a_pdf_may_do(tmp_path):
    import pikepdf

    for change in (
        _annotated(lambda: _action("URI", URI="https://example.org")),
        _on_open(_action("GoTo", D=[0])),
        _on_open([0, pikepdf.Name.Fit]),
        _form(Fields=[]),
    ):
        assert checked(tmp_path, samples.pdf(change)) == []
    assert "carries attached files: table.csv" in checked(tmp_path, samples.pdf(_attached("table.csv", b"a,b\n")))[0]


def test_a_locked_pdf_is_asked_for_without_its_password(tmp_path):
    import pikepdf

    locked = samples.pdf(encryption=pikepdf.Encryption(user="secret", owner="secret"))
    refused(tmp_path, locked, "locked with a password", "Ask for one without a password")
    limited = samples.pdf(encryption=pikepdf.Encryption(user="", owner="secret"))
    assert "restricted" in checked(tmp_path, limited)[0]


def test_a_pdf_whose_structure_is_gone_is_damaged(tmp_path):
    refused(tmp_path, samples.pdf()[:60], "is damaged", "Ask the sender for it again")


# --------------------------------------------------------------------------------------------------- office


def instruction(text):
    return f"<w:p><w:r><w:instrText>{text}</w:instrText></w:r></w:p>"


@pytest.mark.parametrize(
    "kind, part", [("docm", "word/vbaProject.bin"), ("xlsm", "xl/vbaProject.bin"), ("docx", "word/VBAPROJECT.BIN")]
)
def test_macros_are_refused(tmp_path, kind, part):
    refused(tmp_path, samples.office(kind, parts={part: samples.compound({"VBA/dir": b"x"})}), "holds macros", part)


@pytest.mark.parametrize("streams", [samples.VBA, {"_VBA_PROJECT_CUR/VBA/dir": b"x"}])
def test_macros_of_old_documents_are_refused(tmp_path, streams):
    refused(tmp_path, samples.word97(extra=streams), "holds macros")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_field_is_found_in_any_encoding(tmp_path, encoding):
    body = f'<?xml version="1.0"?><w:document xmlns:w="{samples.WORD}">{instruction("DDEAUTO x")}</w:document>'
    refused(tmp_path, samples.office(parts={"word/document.xml": body.encode(encoding)}), "DDE")


def test_a_document_that_may_have_macros_and_has_none_passes(tmp_path):
    assert checked(tmp_path, samples.office("docm")) == []


def office(kind="docx", **parts):
    """Return a document with parts by name: ``word__activeX__a_xml`` is ``word/activeX/a.xml``."""
    named = {name.replace("__", "/").replace("_", "."): data for name, data in parts.items()}
    return samples.office(kind, parts=named)


def linked(kind, target, document="docx"):
    return samples.office(document, relations=samples.relation(kind, target))


def fields(*texts):
    return samples.office(body="".join(map(instruction, texts)))


@pytest.mark.parametrize(
    "data, told",
    [
        (lambda: linked("attachedTemplate", "https://x.test/t.dotm"), "fetches its template"),
        (lambda: linked("attachedTemplate", r"\\host\share\t.dotm"), "fetches its template"),
        (lambda: linked("attachedTemplate", "file://host/t.dotm"), "fetches its template"),
        (lambda: linked("image", "http://x.test/pixel.png"), "fetches its image"),
        (lambda: linked("oleObject", "mhtml:http://x.test!x"), "its embedded object"),
        (lambda: linked("externalLinkPath", "http://x.test/a.xlsx", "xlsx"), "linked workbook"),
        (lambda: office(word___rels__a_xml_rels='<!DOCTYPE r [<!ENTITY a "x">]><r>&a;</r>'), "declares entities"),
        (lambda: fields('DDEAUTO c:\\cmd.exe "/k calc"'), "starts a program (DDE"),
        (lambda: fields("DD", "E x y"), "starts a program (DDE"),
        (lambda: samples.office(body='<w:fldSimple w:instr="DDE x y"/>'), "starts a program (DDE"),
        (lambda: fields("QUOTE 68 68 69 65 85"), "starts a program (DDE"),
        (lambda: fields('INCLUDEPICTURE "http://x.test/p.png"'), "fetches something"),
        (lambda: office("xlsx", xl__externalLinks__e_xml='<x><ddeLink ddeService="cmd"/></x>'), "DDE"),
        (lambda: office(word__activeX__activeX1_xml="<x/>"), "controls that run programs"),
        (lambda: office(word__embeddings__setup_exe=b"MZ"), "holds a program for Windows"),
        (lambda: office("xlsx", xl__macrosheets__sheet1_xml="<x/>"), "holds macros"),
        (lambda: office(word__embeddings__a_docm=office("docm", word__vbaProject_bin=b"x")), "holds macros"),
        (lambda: office(word__embeddings__oleObject1_bin=package("invoice.js")), "carries a file as an object"),
        (lambda: samples.word97(extra={"ObjectPool/_1/\x01Ole10Native": native("invoice.js")}), "invoice.js"),
        (lambda: samples.word97(b"\x13 DDEAUTO c:\\cmd \x14x\x15"), "DDE"),
        (lambda: samples.compound({"EncryptedPackage": b"x", "EncryptionInfo": b"x"}), "locked with a password"),
        (lambda: samples.opendocument(parts={"Basic/Standard/Module1.xml": "<x/>"}), "holds macros"),
        (lambda: samples.opendocument(parts={"Scripts/python/a.py": "x"}), "holds macros"),
        (lambda: samples.opendocument(body='<draw:image xlink:href="https://x.test/a.png"/>'), "fetches something"),
        (lambda: samples.opendocument(body='<script:event-listener xmlns:script="s"/>'), "a macro on an event"),
        (lambda: samples.opendocument("spreadsheet", body="<office:dde-source/>"), "DDE"),
        (lambda: rb"{\rtf1{\*\template http://x.test/t.dotm}hello}", "fetches its template"),
        (lambda: rb"{\rtf1{\field{\*\fldinst {DDE}{\b AUTO c:\\\\cmd}}{\fldrslt x}}}", "DDE"),
        (lambda: rtf_object(), "carries a file as an object: invoice.js"),
        (lambda: rb"{\rtf1{\object\objemb{\*\objdata 0105000002zz}}}", "an object that is damaged"),
    ],
)
def test_what_a_document_may_not_do(tmp_path, data, told):
    refused(tmp_path, data(), told)


def native(name):
    body = b"\x02\x00" + name.encode() + b"\x00c:\\x\\" + name.encode() + b"\x00" + bytes(8) + b"\x00" + bytes(12)
    return struct.pack("<I", len(body)) + body


def package(name):
    return samples.compound({"\x01Ole10Native": native(name)})


def rtf_object():
    payload = native("invoice.js")[4:]
    header = struct.pack("<III", 0x501, 2, 8) + b"Package\x00" + struct.pack("<III", 0, 0, len(payload)) + payload
    return rb"{\rtf1{\object\objemb{\*\objclass Package}{\*\objdata " + header.hex().encode() + rb"}}}"


@pytest.mark.parametrize(
    "data, note",
    [
        (lambda: linked("hyperlink", "https://example.org"), ""),
        (lambda: linked("attachedTemplate", "file:///C:/Users/x/Normal.dotm"), "template"),
        (lambda: linked("video", "holiday.mp4"), "video"),
        (lambda: fields("PAGE \\* MERGEFORMAT", ' HYPERLINK "http://x.test"'), ""),
        (lambda: office("pptx", ppt__embeddings__Sheet1_xlsx=samples.office("xlsx")), ""),
        (lambda: office(word__embeddings__o_bin=samples.compound({"Equation Native": b"x"})), ""),
        (lambda: samples.opendocument(body='<text:a xmlns:text="t" xlink:href="https://example.org">x</text:a>'), ""),
        (lambda: rb"{\rtf1{\field{\*\fldinst HYPERLINK http://x.test}{\fldrslt x}}}", ""),
        (lambda: samples.word97(b"the word DDE in prose"), ""),
    ],
)  # fmt: skip
def test_what_a_document_may_do(tmp_path, data, note):
    notes = checked(tmp_path, data())
    assert note in " ".join(notes) if note else notes == []


def test_a_document_that_swells_is_refused(tmp_path):
    parts = {f"word/media/{n}.bmp": bytes(1_000_000) for n in range(8)}
    swelling = samples.office(parts=parts)
    assert checked(tmp_path, swelling) == []
    refused(tmp_path, swelling, "The document unpacks to more than 0.005 GB", max_unpacked_bytes=5_000_000)
    refused(tmp_path, swelling, "The document holds more than 5 files", max_unpacked_files=5)


def test_a_document_whose_parts_are_damaged_is_refused(tmp_path):
    data = bytearray(samples.office())
    at = data.index(b"word/document.xml") + 60
    data[at : at + 20] = bytes(20)
    refused(tmp_path, bytes(data), "is damaged")
    refused(tmp_path, samples.office()[:-30], "damaged")


# --------------------------------------------------------------------------------------------- other kinds


def test_a_drawing_in_postscript_may_not_reach_out(tmp_path):
    for program in (b"(%pipe%calc) (r) file", b"(/tmp/x) deletefile", b"(out.txt) (w) file"):
        refused(tmp_path, samples.EPS.replace(b"showpage", program), "reaches for files or other programs", "line 6")
    assert checked(tmp_path, samples.EPS.replace(b"a test", b"a test of deletefile-free files")) == []


def test_a_table_may_not_start_programs(tmp_path):
    for formula in (b"=cmd|'/C calc'!A0", b"\"=cmd|'/C calc'!A0\"", b"@SUM(1)+cmd|'x'!A1", b'=WEBSERVICE("http://x")'):
        refused(tmp_path, samples.TABLE + b"x,y," + formula + b"\n", "has a formula", "line 5", name="a.csv")
    assert checked(tmp_path, samples.TABLE + b"x,-4,=A1+B2\ny,+49 30 1234,|a|b!\n", "a.csv") == []


def test_what_nothing_here_opens_waits_for_a_person(tmp_path):
    for name in ("a.7z", "a.rar"):
        with pytest.raises(CantCheck, match="kept as it is"):
            checked(tmp_path, samples.made(name))


# ----------------------------------------------------------------------------------------------------- fuzz


@settings(FUZZ, max_examples=300)
@given(name=st.sampled_from(sorted(samples.KINDS)), data=st.data())
def test_a_damaged_file_is_judged_without_a_crash(tmp_path, name, data):
    whole = samples.made(name)[:200_000]
    damaged = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    for _ in range(data.draw(st.integers(0, 8))):
        if damaged:
            at = data.draw(st.integers(0, len(damaged) - 1))
            damaged[at : at + data.draw(st.integers(1, 4))] = data.draw(st.binary(max_size=8))
    try:
        notes = checked(tmp_path, bytes(damaged), name, archive_max_bytes=50_000_000)
    except BadInput:
        return
    assert all(isinstance(note, str) for note in notes)


PIECES = [
    "<script/>", "<g ", "onload='x'", ">", "</g>", "<style>", "url(http://x)", "</style>", "<!--", "-->", "&lt;", "]]>",
    "<image href='", "data:image/svg+xml,",
    "'/>", "<![CDATA[", "<?xml-stylesheet ", "?>", "\\75 rl(", "<g/>", "xml:base='",
]  # fmt: skip


@FUZZ
@given(parts=st.lists(st.sampled_from(PIECES), max_size=12))
def test_a_drawing_of_any_pieces_that_passes_runs_and_fetches_nothing(tmp_path, parts):
    data = samples.svg("".join(parts))
    try:
        checked(tmp_path, data)
    except BadInput:
        return
    for element in ElementTree.fromstring(data).iter():
        assert "script" not in str(element.tag)
        assert not any(name.startswith("on") for name in element.attrib)
        assert "http:" not in str(element.attrib.values())
        assert "http:" not in (element.text or "") or not str(element.tag).endswith("style")
