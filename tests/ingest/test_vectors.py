"""Drawings: SVG is drawn, PostScript shown by what it carries; a damaged or absurd one is refused in plain words."""

from __future__ import annotations

import base64
import gzip

import fuzzing
import pytest
from hypothesis import given

import world
from dam.ingest.inspection import Unusable

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
    assert (preview.width, preview.height, thumbnail.width) == (1600, 800, 256)
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
