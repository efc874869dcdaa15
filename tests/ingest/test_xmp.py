"""XMP packets outside of pictures: the same keys as in photographs, in every form that files hold them in."""

from __future__ import annotations

import pyexiv2
import pytest
from hypothesis import given

import fuzzing
import world
from dam.ingest import embedded, xmp

RDF = """<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""
 xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmpRights="http://ns.adobe.com/xap/1.0/rights/"
 xmpRights:Marked="True"><dc:creator><rdf:Seq><rdf:li>J\u00f6rg</rdf:li></rdf:Seq></dc:creator></rdf:Description></rdf:RDF>"""
META = f'<x:xmpmeta xmlns:x="adobe:ns:meta/">{RDF}</x:xmpmeta>'
PACKET = f'<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>{META}<?xpacket end="w"?>'
SAID = {"Xmp.xmpRights.Marked": "True", "Xmp.dc.creator": ["J\u00f6rg"]}


@pytest.mark.parametrize(
    "packet",
    [
        PACKET.encode(),
        META.encode(),
        RDF.encode(),
        b"\xff\xfe" + PACKET.encode("utf-16-le"),
        b"\xfe\xff" + PACKET.encode("utf-16-be"),
        PACKET.replace("x:", "y:").replace("xmlns:x=", "xmlns:y=").encode(),
    ],
)
def test_every_form_of_a_packet_says_the_same(packet):
    assert xmp.read(packet) == SAID


def test_a_packet_says_what_the_same_one_says_in_a_photograph(tmp_path):
    path = world.picture(tmp_path, "photo.jpg")
    with pyexiv2.Image(str(path)) as opened:
        packet = opened.read_raw_xmp().encode()
    assert xmp.read(packet) == {key: value for key, value in embedded.read(path).items() if key.startswith("Xmp.")}


@pytest.mark.parametrize(
    "packet",
    [b"", b"no packet", PACKET[:200].encode(), b'<!DOCTYPE a [<!ENTITY b "c">]>' + META.encode(), b"\xff" * 500],
)
def test_what_is_no_packet_says_nothing(packet):
    assert xmp.read(packet) == {}


@fuzzing.examples
@given(packet=fuzzing.damaged(PACKET.encode()))
def test_a_damaged_packet_harms_nobody(packet):
    assert isinstance(xmp.read(packet), dict)
