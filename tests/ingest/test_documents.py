"""Documents: every page opened, the first ones drawn; damage named by its page; text and metadata told."""

from __future__ import annotations

import io
import zlib

import pikepdf
import pytest
from hypothesis import given
from pikepdf import Array, Dictionary, Name, Stream, String
from sqlalchemy import select

import fuzzing
import world
from dam.catalog.models import Rendition, Version
from dam.ingest.inspection import Unusable

A4 = (595.276, 841.89)


def pdf(tmp_path, pages=3, *, name="brochure.pdf", change=None, **options):
    """Write a PDF: on each page a line of text and a photograph."""
    made = pikepdf.new()
    font = made.make_indirect(Dictionary(Type=Name.Font, Subtype=Name.Type1, BaseFont=Name.Helvetica))
    for number in range(1, pages + 1):
        photo = world.picture(tmp_path, "photo.jpg", seed=number, size=(120, 80)).read_bytes()
        picture = Stream(made, photo)
        picture.stream_dict = Dictionary(
            Type=Name.XObject, Subtype=Name.Image, Width=120, Height=80, ColorSpace=Name.DeviceRGB,
            BitsPerComponent=8, Filter=Name.DCTDecode,
        )  # fmt: skip
        made.add_blank_page(page_size=A4)
        page = made.pages[-1]
        page.Resources = Dictionary(Font=Dictionary(F1=font), XObject=Dictionary(Im0=picture))
        text = f"BT /F1 24 Tf 70 700 Td (Spring catalogue, page {number}) Tj ET\n"
        page.Contents = Stream(made, (text + "q 450 0 0 300 70 300 cm /Im0 Do Q\n").encode())
    if change:
        change(made)
    path = tmp_path / name
    made.save(path, **options)
    return path


def test_a_document_is_opened_page_by_page_and_its_first_pages_are_drawn(tmp_path):
    told = world.inspected(pdf(tmp_path), "pdf", page_proofs=2)
    assert told.technical["pages"] == 3
    assert told.technical["page_mm"] == [210.0, 297.0]
    assert told.technical["fonts"] == [{"name": "Helvetica", "embedded": False}]
    assert told.technical["colour_spaces"] == ["DeviceRGB"]
    assert told.technical["pictures"] == 3
    assert told.words.splitlines() == [f"Spring catalogue, page {number}" for number in (1, 2, 3)]
    assert [proof.name for proof in told.proofs] == ["preview", "thumbnail", "page-1", "page-2"]
    assert {proof.recipe.get("page") for proof in told.proofs} == {None, 1, 2}
    assert told.notes == ["Pictures were made of the first 2 of 3 pages."]
    first = told.proofs[0].picture()
    assert first.size == (1061, 1500)
    assert min(first.getpixel((10, 10))) > 250
    assert first.tobytes() == told.proofs[2].picture().tobytes() != told.proofs[3].picture().tobytes()


def test_a_documents_metadata_are_told_under_the_names_of_their_readers(tmp_path):
    def describe(made):
        with made.open_metadata(set_pikepdf_as_editor=False) as packet:
            packet["dc:creator"] = ["Jo Brandt"]
            packet["dc:rights"] = "© Acme"
            packet["pdfaid:part"] = "2"
            packet["pdfaid:conformance"] = "B"
            packet["pdfx:GTS_PDFXVersion"] = "PDF/X-4"
        made.docinfo["/Title"] = "Spring catalogue"
        made.docinfo["/Author"] = "Größe & Söhne"
        made.docinfo["/CreationDate"] = "D:20270301120000+01'00'"

    told = world.inspected(pdf(tmp_path, 1, change=describe), "pdf")
    assert told.embedded["PDF.Title"] == "Spring catalogue"
    assert told.embedded["PDF.Author"] == "Größe & Söhne"
    assert told.embedded["PDF.CreationDate"] == "2027-03-01T12:00:00+01:00"
    assert told.embedded["Xmp.dc.creator"] == ["Jo Brandt"]
    assert told.embedded["Xmp.dc.rights"] == {"x-default": "© Acme"}
    assert (told.technical["pdf_a"], told.technical["pdf_x"]) == ("PDF/A-2B", "PDF/X-4")


def test_what_a_printer_asks_is_told(tmp_path):
    def prepare(made):
        page = made.pages[0]
        page.MediaBox = Array([0, 0, 623.622, 870.236])
        page.TrimBox = Array([14.173, 14.173, 609.449, 856.063])
        page.BleedBox = Array([5.669, 5.669, 617.953, 864.567])
        page.Rotate = 90
        tint = made.make_stream(b"{0 exch dup 0.5 mul exch 0}", FunctionType=4, Domain=[0, 1], Range=[0, 1] * 4)
        spot = Array([Name.Separation, Name("/Acme Red"), Name.DeviceCMYK, tint])
        page.Resources.ColorSpace = Dictionary(CS0=spot)
        made.Root.OutputIntents = Array(
            [Dictionary(Type=Name.OutputIntent, S=Name.GTS_PDFX, OutputConditionIdentifier=String("FOGRA51"))]
        )

    told = world.inspected(pdf(tmp_path, 1, change=prepare), "pdf").technical
    assert told["page_mm"] == [307.0, 220.0]
    assert told["trim_mm"] == [297.0, 210.0]
    assert told["bleed_mm"] == [303.0, 216.0]
    assert told["spot_colours"] == ["Acme Red"]
    assert told["output_intents"] == ["FOGRA51"]


def test_a_font_inside_is_told_from_one_that_is_not(tmp_path):
    def embed(made):
        file = made.make_stream(b"not a font that is looked at here")
        described = Dictionary(Type=Name.FontDescriptor, FontName=Name("/ABCDEF+Acme-Bold"), FontFile2=file)
        font = Dictionary(Type=Name.Font, Subtype=Name.TrueType, BaseFont=Name("/ABCDEF+Acme-Bold"),
                          FontDescriptor=described)  # fmt: skip
        made.pages[0].Resources.Font.F2 = font

    told = world.inspected(pdf(tmp_path, 1, change=embed), "pdf").technical
    assert told["fonts"] == [{"name": "Acme-Bold", "embedded": True}, {"name": "Helvetica", "embedded": False}]


def test_a_locked_document_is_refused_and_a_restricted_one_is_not(tmp_path):
    locked = pdf(tmp_path, 1, encryption=pikepdf.Encryption(owner="o", user="secret"))
    with pytest.raises(Unusable, match="asks for a password"):
        world.inspected(locked, "pdf")
    restricted = pdf(tmp_path, 1, encryption=pikepdf.Encryption(owner="o", allow=pikepdf.Permissions(extract=False)))
    assert world.inspected(restricted, "pdf").technical["encrypted"] is True


@pytest.mark.parametrize("linearize", [False, True])
@pytest.mark.parametrize("share", [0.2, 0.6, 0.97])
def test_a_document_that_is_cut_off_is_refused(tmp_path, share, linearize):
    path = world.truncated(pdf(tmp_path, linearize=linearize), share)
    with pytest.raises(Unusable, match="cut off"):
        world.inspected(path, "pdf")


@pytest.mark.parametrize("page", [1, 2, 3])
def test_a_damaged_photograph_is_named_by_its_page(tmp_path, page):
    path = pdf(tmp_path)
    whole = bytearray(path.read_bytes())
    places = [at for at in range(len(whole)) if whole.startswith(b"\xff\xd8\xff", at)]
    whole[places[page - 1] + 20 : places[page - 1] + 700] = bytes(680)
    path.write_bytes(whole)
    with pytest.raises(Unusable, match=f"page {page} of 3 can't be decoded"):
        world.inspected(path, "pdf")


def test_a_damaged_page_is_named(tmp_path):
    path = pdf(tmp_path, compress_streams=True)
    whole = bytearray(path.read_bytes())
    with pikepdf.open(path) as opened:
        raw = opened.pages[1].Contents.read_raw_bytes()
    at = whole.index(raw)
    whole[at + 2 : at + 6] = b"\xff\xff\xff\xff"
    path.write_bytes(whole)
    with pytest.raises(Unusable, match="page 2 of 3 can't be decoded"):
        world.inspected(path, "pdf")


def test_a_document_whose_table_of_contents_is_wrong_is_read_with_a_note(tmp_path):
    path = pdf(tmp_path)
    whole = path.read_bytes()
    start = whole.rindex(b"startxref\n") + 10
    path.write_bytes(whole[:start] + b"77" + whole[whole.index(b"\n", start) :])
    told = world.inspected(path, "pdf")
    assert told.technical["pages"] == 3
    assert any("breaks the PDF standard" in note for note in told.notes)


def test_absurdly_many_pages_and_pixels_are_refused(tmp_path):
    with pytest.raises(Unusable, match="has 3 pages; at most 2"):
        world.inspected(pdf(tmp_path), "pdf", max_pages=2)

    def claim(made):
        made.pages[0].Resources.XObject.Im0.Width = 100_000
        made.pages[0].Resources.XObject.Im0.Height = 100_000

    with pytest.raises(Unusable, match="A picture on page 1 claims to be 100000 × 100000"):
        world.inspected(pdf(tmp_path, 1, change=claim), "pdf")


@pytest.mark.parametrize("times", [1, 2])
def test_a_part_that_unpacks_without_measure_is_refused(tmp_path, times):
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(1_000_000)) for _ in range(300)) + packer.flush()

    def bomb(made):
        made.pages[0].Contents = content = Stream(made, packed if times == 1 else zlib.compress(packed))
        content.Filter = Array([Name.FlateDecode] * times)

    with pytest.raises(Unusable, match="unpacks to more than 200,000,000"):
        world.inspected(pdf(tmp_path, 1, change=bomb, compress_streams=False), "pdf")


def test_a_jpeg_2000_inside_is_decoded(tmp_path):
    from PIL import Image

    kept = io.BytesIO()
    Image.open(world.picture(tmp_path, "photo.jpg", size=(120, 80))).save(kept, "JPEG2000")

    def swap(data):
        def change(made):
            picture = Stream(made, data)
            picture.stream_dict = Dictionary(
                Type=Name.XObject, Subtype=Name.Image, Width=120, Height=80, Filter=Name.JPXDecode
            )
            made.pages[1].Resources.XObject.Im0 = picture

        return change

    assert world.inspected(pdf(tmp_path, 2, change=swap(kept.getvalue())), "pdf").technical["pictures"] == 2
    with pytest.raises(Unusable, match="A picture on page 2 is damaged"):
        world.inspected(pdf(tmp_path, 2, change=swap(kept.getvalue()[:400])), "pdf")


def test_a_document_without_pdf_content_says_so(tmp_path):
    def empty(made):
        text = b"BT /F1 12 Tf 70 700 Td (This is an Illustrator file saved without PDF Content) Tj ET"
        made.pages[0].Contents = Stream(made, text)

    assert any("Illustrator alone" in note for note in world.inspected(pdf(tmp_path, 1, change=empty), "pdf").notes)


def test_a_document_goes_through_the_gate_with_its_pages_and_words(services, tmp_path):
    path = pdf(tmp_path, 2, name="BROCHURE_ACME_20270301_v01.pdf")
    batch_id = world.drop(services, "drops/a", [path])
    assert world.ingest(services, batch_id) == {"ingested": 1}
    with services.session() as session:
        version = session.scalars(select(Version)).one()
        assert (version.media_type, version.asset.kind) == ("application/pdf", "document")
        assert version.words.splitlines() == [f"Spring catalogue, page {number}" for number in (1, 2)]
        assert version.technical["pages"] == 2
        made = session.scalars(select(Rendition).where(Rendition.version_id == version.id)).all()
        assert {each.recipe for each in made} == {"preview", "thumbnail", "page-1", "page-2"}
        assert len({each.sha256 for each in made}) == 3  # the preview is the first page


@pytest.fixture(scope="module")
def whole_pdf(tmp_path_factory):
    return pdf(tmp_path_factory.mktemp("whole"), 2, object_stream_mode=pikepdf.ObjectStreamMode.generate).read_bytes()


def test_a_damaged_pdf_is_refused_or_told(tmp_path, whole_pdf):
    @fuzzing.examples
    @given(content=fuzzing.damaged(whole_pdf))
    def examine(content):
        path = tmp_path / "damaged.pdf"
        path.write_bytes(content)
        fuzzing.refused_or_told(path, "pdf")

    examine()
