"""Drawings: SVG is drawn, PostScript shown by what it carries; a damaged or absurd one is refused in plain words."""

from __future__ import annotations

import base64
import gzip
import io
import shutil
import struct

import numpy as np
import pytest
from hypothesis import given
from PIL import Image

import fuzzing
import world
from dam.ingest.inspection import CantCheck, Unusable

RDF = 'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
DRAWING = f"""<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd" [
  <!ENTITY ns_svg "http://www.w3.org/2000/svg">
]>
<svg xmlns="&ns_svg;" xmlns:dc="http://purl.org/dc/elements/1.1/" {RDF} xmlns:cc="http://creativecommons.org/ns#"
     width="100mm" viewBox="0 0 200 100">
  <title>The mark</title><desc>Two shapes and a name</desc>
  <metadata><rdf:RDF><cc:Work rdf:about="">
    <dc:title>Brand mark</dc:title><dc:creator><cc:Agent><dc:title>Jo Brandt</dc:title></cc:Agent></dc:creator>
    <dc:rights><cc:Agent><dc:title>© Acme</dc:title></cc:Agent></dc:rights>
    <dc:subject><rdf:Bag><rdf:li>logo</rdf:li><rdf:li>mark</rdf:li></rdf:Bag></dc:subject>
    <cc:license rdf:resource="https://creativecommons.org/licenses/by/4.0/"/>
  </cc:Work></rdf:RDF></metadata>
  <style>.name {{ font-family: "Acme Sans", sans-serif }}</style>
  <rect width="100" height="100" fill="#d01020"/>
  <text class="name" x="110" y="60" font-size="24">Acme <tspan fill="#00f">Coffee</tspan></text>
</svg>
"""


def written(tmp_path, content, name="drawing.svg"):
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def svg(body, head='viewBox="0 0 100 50"'):
    return f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" {head}>{body}</svg>'


def test_a_drawing_is_read_and_drawn_as_large_as_a_preview(tmp_path):
    told = world.inspected(written(tmp_path, DRAWING), "svg")
    assert (told.width, told.height) == (378, 189)  # 100 mm at 96 pixels an inch, half as high
    assert told.technical["view_box"] == [0, 0, 200, 100]
    assert told.technical["fonts"] == [{"name": "Acme Sans", "embedded": False}]
    assert told.technical["transparent"] is True
    assert told.words == "Acme Coffee"
    assert "Acme Sans" in told.notes[0]
    preview, thumbnail = told.proofs
    assert (preview.width, preview.height, thumbnail.width) == (1500, 750, 256)
    red, green, blue = preview.picture().getpixel((400, 400))
    assert red > 180
    assert max(green, blue) < 60
    assert "red" in told.colours


def test_a_drawings_metadata_have_the_names_that_photographs_have(tmp_path):
    told = world.inspected(written(tmp_path, DRAWING), "svg").embedded
    assert told["SVG.title"] == "The mark"
    assert told["Xmp.dc.title"] == {"x-default": "Brand mark"}
    assert told["Xmp.dc.creator"] == ["Jo Brandt"]
    assert told["Xmp.dc.rights"] == {"x-default": "© Acme"}
    assert told["Xmp.dc.subject"] == ["logo", "mark"]
    assert told["Xmp.xmpRights.WebStatement"] == "https://creativecommons.org/licenses/by/4.0/"


def test_an_xmp_packet_in_a_drawing_is_read_as_xmp(tmp_path):
    packet = (
        f'<metadata><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF {RDF}><rdf:Description rdf:about=""'
        ' xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title><rdf:Alt><rdf:li xml:lang="x-default">In XMP</rdf:li>'
        '<rdf:li xml:lang="de">Auf Deutsch</rdf:li></rdf:Alt></dc:title></rdf:Description></rdf:RDF></x:xmpmeta>'
        "</metadata><rect width='10' height='10'/>"
    )
    told = world.inspected(written(tmp_path, svg(packet)), "svg")
    assert told.embedded["Xmp.dc.title"] == {"x-default": "In XMP", "de": "Auf Deutsch"}


@pytest.mark.parametrize(
    ("head", "size"),
    [
        ('width="2in" height="1in"', (192, 96)),
        ('width="10" height="20"', (10, 20)),
        ('viewBox="0 0 30 40"', (30, 40)),
        ('width="100%" height="100%" viewBox="0 0 30 40"', (30, 40)),
        ('height="80" viewBox="0 0 30 40"', (60, 80)),
        ('width="1.5pc" height="12pt"', (24, 16)),
    ],
)
def test_a_drawings_size_is_in_css_pixels(tmp_path, head, size):
    told = world.inspected(written(tmp_path, svg("<rect width='9' height='9'/>", head)), "svg")
    assert (told.width, told.height) == size


def test_a_packed_drawing_is_the_same_drawing(tmp_path):
    plain = world.inspected(written(tmp_path, DRAWING), "svg")
    packed = world.inspected(written(tmp_path, gzip.compress(DRAWING.encode()), "drawing.svgz"), "svg")
    assert packed.phash == plain.phash
    assert packed.words == plain.words
    with pytest.raises(Unusable, match="cut off"):
        world.inspected(written(tmp_path, gzip.compress(DRAWING.encode())[:-40], "cut.svgz"), "svg")


def test_a_white_logo_on_nothing_can_be_seen(tmp_path):
    told = world.inspected(written(tmp_path, svg("<circle cx='50' cy='25' r='20' fill='white'/>")), "svg")
    picture = told.proofs[0].picture()
    assert min(picture.getpixel((800, 400))) > 240
    assert max(picture.getpixel((20, 20))) < 120
    assert told.technical["transparent"] is True
    assert told.colours == ["white"]


def test_a_damaged_photograph_in_a_drawing_is_found(tmp_path):
    photo = world.picture(tmp_path, "photo.jpg", size=(64, 48)).read_bytes()

    def holding(data):
        url = "data:image/jpeg;base64," + base64.b64encode(data).decode()
        return written(tmp_path, svg(f'<image width="100" height="50" xlink:href="{url}"/>'))

    assert world.inspected(holding(photo), "svg").technical["pictures"] == 1
    with pytest.raises(Unusable, match="Picture 1 inside the drawing is damaged"):
        world.inspected(holding(photo[: len(photo) // 2]), "svg")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (svg("<rect/>", 'width="1e12" height="5"'), "claims to be 1e.12"),
        (svg("<rect/>", 'width="0" height="5"'), "claims to be 0"),
        (svg("<g>" * 1200 + "</g>" * 1200), "more than 1000 elements within each other"),
        ("<html><body/></html>", "its first element is <html>"),
        ('<!DOCTYPE svg [<!ENTITY a "b"><!ENTITY c "&a;&a;">]>' + svg("<text>&c;</text>"), "refers to others"),
        ('<!DOCTYPE svg [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + svg("<text>&a;</text>"), "refers to others"),
        (DRAWING[:-20], "cut off or damaged"),
        (gzip.compress(b"<svg>" + b" " * 3_000_000), "larger than 1 MB unpacked"),
    ],
)
def test_what_is_absurd_or_cut_off_is_refused(tmp_path, content, why):
    with pytest.raises(Unusable, match=why):
        world.inspected(written(tmp_path, content), "svg", max_drawing_bytes=1_000_000)


def test_nothing_outside_is_fetched(tmp_path):
    world.picture(tmp_path, "beside.png", size=(64, 64))
    place = (tmp_path / "beside.png").as_uri()
    told = world.inspected(written(tmp_path, svg(f'<image width="100" height="50" xlink:href="{place}"/>')), "svg")
    assert "The drawing is empty: nothing of it can be seen." in told.notes


@fuzzing.examples
@given(content=fuzzing.damaged(DRAWING.encode()))
def test_a_damaged_drawing_is_refused_or_drawn(tmp_path, content):
    fuzzing.refused_or_told(written(tmp_path, content), "svg")


# --------------------------------------------------------------------------------------------- PostScript


def art():
    """Return a picture that is red on the left and blue on the right."""
    picture = Image.new("RGB", (120, 80), (200, 20, 30))
    picture.paste((20, 30, 200), (60, 0, 120, 80))
    return picture


def encoded(picture, kind, **options):
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%Title: (Brand mark \\(final\\))
%%Creator: Acme Draw 3
%%For: Jo Brandt
%%BoundingBox: 0 0 284 142
%%HiResBoundingBox: 0 0 283.465 141.732
%%DocumentNeededResources: font Helvetica-Bold
%%+ font Acme-Book
%%LanguageLevel: 2
%%EndComments
@HERE
%%EndProlog
newpath 0 0 moveto 100 100 lineto stroke
showpage
%%Trailer
%%EOF
"""


def eps(*here):
    return EPS.replace(b"@HERE\n", b"\n".join(here))


def dos_eps(preview, program=EPS):
    """Return an EPS with Windows' binary header and a TIFF preview (EPSF 3.0, table 1)."""
    start = 30
    places = (start, len(program), 0, 0, start + len(program), len(preview))
    return b"\xc5\xd0\xd3\xc6" + struct.pack("<6I", *places) + b"\xff\xff" + program + preview


def lines(data):
    digits = data.hex().upper().encode()
    return b"".join(b"%" + digits[at : at + 64] + b"\n" for at in range(0, len(digits), 64))


def looks_like_art(told):
    picture = told.proofs[0].picture()
    left = picture.getpixel((picture.width // 4, picture.height // 2))
    right = picture.getpixel((3 * picture.width // 4, picture.height // 2))
    return left[0] > 130 > left[2] and right[2] > 130 > right[0]


@pytest.fixture
def no_interpreter(monkeypatch, tmp_path):
    """Hide a Ghostscript that this machine may have."""
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.usefixtures("no_interpreter")
def test_an_eps_tells_its_comments_and_shows_its_tiff_preview(tmp_path):
    path = written(tmp_path, dos_eps(encoded(art(), "TIFF", compression="packbits")), "mark.eps")
    told = world.inspected(path, "postscript")
    assert told.embedded["PostScript.Title"] == "Brand mark (final)"
    assert told.embedded["PostScript.For"] == "Jo Brandt"
    assert told.technical["page_mm"] == [100.0, 50.0]
    assert told.technical["fonts"] == [
        {"name": "Acme-Book", "embedded": False},
        {"name": "Helvetica-Bold", "embedded": False},
    ]
    assert looks_like_art(told)
    assert "not proved" in told.notes[0]
    assert "120 × 80" in told.notes[0]


@pytest.mark.usefixtures("no_interpreter")
@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_an_epsi_preview_is_read_at_every_depth(tmp_path, depth):
    width, height = 21, 10  # no whole bytes a row
    ink = np.zeros((height, width), dtype=np.uint8)
    ink[:5, :7] = 2**depth - 1  # the upper left is black
    bits = np.unpackbits(ink[:, :, None], axis=2)[:, :, -depth:].reshape(height, -1)
    packed = np.packbits(bits, axis=1).tobytes()
    hexadecimal = lines(packed)
    preview = b"%%%%BeginPreview: %d %d %d %d\n" % (width, height, depth, hexadecimal.count(b"\n"))
    told = world.inspected(written(tmp_path, eps(preview + hexadecimal + b"%%EndPreview"), "mark.epsi"), "postscript")
    picture = np.asarray(told.proofs[0].picture().convert("L"))
    assert picture.shape == (height, width)
    assert picture[1:4, 1:5].max() < 60
    assert picture[7:, :].min() > 200


@pytest.mark.usefixtures("no_interpreter")
def test_illustrators_old_thumbnail_is_shown(tmp_path):
    palette = bytes(range(256)) * 3
    palette = bytes((200, 20, 30, 20, 30, 200)) + palette[6:]
    rows = (b"\xfd\x3c\x00" + b"\xfd\x3c\x01") * 80  # 60 of colour 0, 60 of colour 1
    body = lines(palette + b"RLE" + rows)
    thumbnail = b"%%AI7_Thumbnail: 120 80 8\n%%%%BeginData: %d Hex Bytes\n" % len(body) + body + b"%%EndData\n"
    program = eps(thumbnail, b"%%IncludeResource: procset Adobe_level2_AI5 1.2 0")
    told = world.inspected(written(tmp_path, program, "old.ai"), "postscript")
    assert looks_like_art(told)


@pytest.mark.usefixtures("no_interpreter")
def test_the_thumbnail_of_an_xmp_packet_is_shown_and_the_packet_read(tmp_path):
    jpeg = base64.b64encode(encoded(art(), "JPEG")).decode()
    packet = (
        '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        f'<rdf:RDF {RDF}><rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
        ' xmlns:xmpGImg="http://ns.adobe.com/xap/1.0/g/img/" xmlns:dc="http://purl.org/dc/elements/1.1/">'
        "<dc:title><rdf:Alt><rdf:li xml:lang='x-default'>Mark</rdf:li></rdf:Alt></dc:title>"
        '<xmp:Thumbnails><rdf:Alt><rdf:li rdf:parseType="Resource"><xmpGImg:format>JPEG</xmpGImg:format>'
        f"<xmpGImg:image>{jpeg}</xmpGImg:image></rdf:li></rdf:Alt></xmp:Thumbnails>"
        '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    )
    told = world.inspected(written(tmp_path, eps(packet.encode()), "mark.eps"), "postscript")
    assert looks_like_art(told)
    assert told.embedded["Xmp.dc.title"] == {"x-default": "Mark"}


@pytest.mark.usefixtures("no_interpreter")
def test_photoshops_thumbnail_is_shown(tmp_path):
    jpeg = encoded(art(), "JPEG")
    resource = struct.pack(">6I2H", 1, 120, 80, 360, 28800, len(jpeg), 24, 1) + jpeg
    named = b"8BIM" + struct.pack(">H", 1036) + b"\0\0" + struct.pack(">I", len(resource)) + resource
    other = b"8BIM" + struct.pack(">H", 1005) + b"\x03abc" + struct.pack(">I", 3) + b"xyz\0"
    block = b"%%BeginPhotoshop: %d\n" % len(other + named) + lines(other + named) + b"%EndPhotoshop"
    told = world.inspected(written(tmp_path, eps(block), "mark.eps"), "postscript")
    assert looks_like_art(told)


@pytest.mark.usefixtures("no_interpreter")
@pytest.mark.parametrize("coding", ["binary", "hexadecimal", "by Pillow"])
def test_a_picture_that_is_eps_in_form_is_decoded_in_full(tmp_path, coding):
    rows = np.asarray(art()).swapaxes(1, 2).tobytes()
    head = b'%%ImageData: 120 80 8 3 0 120 %d "beginimage"\nbeginimage\n'
    if coding == "by Pillow":
        program = encoded(art(), "EPS")
    elif coding == "binary":
        program = eps(head % 1 + rows)
    else:
        program = eps(head % 2 + rows.hex().encode())
    told = world.inspected(written(tmp_path, program, "photo.eps"), "postscript")
    assert (told.width, told.height) == (120, 80)
    assert looks_like_art(told)
    assert told.notes == []
    with pytest.raises(Unusable, match="cut off"):
        world.inspected(written(tmp_path, program[: len(program) // 2], "cut.eps"), "postscript")


@pytest.mark.usefixtures("no_interpreter")
def test_a_drawing_without_a_preview_waits_for_a_person(tmp_path):
    with pytest.raises(CantCheck, match="no preview inside"):
        world.inspected(written(tmp_path, eps(), "mark.eps"), "postscript")


@pytest.mark.usefixtures("no_interpreter")
@pytest.mark.parametrize(
    ("content", "why"),
    [
        (dos_eps(encoded(art(), "TIFF"))[:-900], "cut off after"),
        (dos_eps(encoded(art(), "TIFF")[:-2000]), "preview inside is damaged"),
        (EPS[:-60], "end mark is missing"),
        (eps(b"%%BeginPreview: 8 8 1 8\n%00\n%%EndPreview"), "preview inside is cut off"),
        (eps(b"%%BeginPreview: 8 8 1 8\n%00\n"), "cut off within its preview"),
        (eps(b"%%BeginBinary: 100000\n"), "cut off within its picture data"),
    ],
)
def test_a_damaged_postscript_file_is_refused(tmp_path, content, why):
    with pytest.raises(Unusable, match=why):
        world.inspected(written(tmp_path, content, "mark.eps"), "postscript")


@pytest.mark.skipif(not shutil.which("gs"), reason="Ghostscript is not on this machine")
def test_ghostscript_draws_what_it_can_and_finds_what_it_can_not(tmp_path):
    drawn = b"1 0 0 setrgbcolor 0 0 142 142 rectfill 0 0 1 setrgbcolor 142 0 142 142 rectfill"
    assert looks_like_art(world.inspected(written(tmp_path, eps(drawn), "mark.eps"), "postscript"))
    with pytest.raises(Unusable, match="ends with an error"):
        world.inspected(written(tmp_path, eps(b"0 0 nosuchoperator"), "mark.eps"), "postscript")


def test_an_interpreter_that_gives_up_or_hangs_is_no_end(tmp_path, monkeypatch):
    tool = written(tmp_path, "#!/bin/sh\necho 'Error: /undefined in nosuchoperator'\nexit 1\n", "gs")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    path = written(tmp_path, dos_eps(encoded(art(), "TIFF")), "mark.eps")
    with pytest.raises(Unusable, match="undefined in nosuchoperator"):
        world.inspected(path, "postscript")
    tool.write_text("#!/bin/sh\nexec sleep 30\n")
    monkeypatch.setattr("dam.ingest.inspectors.postscript._PATIENCE", 0.2)
    told = world.inspected(path, "postscript")
    assert looks_like_art(told)
    assert "did not finish" in told.notes[0]


WHOLE_EPS = dos_eps(encoded(art(), "TIFF", compression="tiff_lzw"))


@pytest.mark.usefixtures("no_interpreter")
@fuzzing.examples
@given(content=fuzzing.damaged(WHOLE_EPS))
def test_a_damaged_eps_is_refused_or_told(tmp_path, content):
    fuzzing.refused_or_told(written(tmp_path, content, "mark.eps"), "postscript")
