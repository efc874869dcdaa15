"""Documents as PDF: the pages, their style and what makes them readable to machines.

The same content gives the same bytes. Headings, paragraphs and pictures are tagged for screen readers (ISO 32000-2,
14.8), and what the pages were set from is attached as an associated file (14.13).
"""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

import reportlab
from reportlab.lib.colors import HexColor
from reportlab.lib.enums import TA_LEFT
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import BaseDocTemplate, Flowable, Frame, KeepTogether, PageTemplate, Paragraph, Table

from dam import fonts

if TYPE_CHECKING:
    import pikepdf

INK, SOFT, LINE, ACCENT = HexColor("#1a1f26"), HexColor("#57616d"), HexColor("#d9dee5"), HexColor("#2558c4")
MARGIN = 20 * mm
WIDTH = A4[0] - 2 * MARGIN
#: Between the line at the left of a card and what is on it.
INDENT = 9


@dataclass(frozen=True, slots=True)
class Sheet:
    """What a document says of itself.

    :param foot: at the foot of every page. :param subject: in a line. :param identifier: URN of what it shows.
    :param producer: the software, with the edition of its layout. :param moment: when what it shows was made, UTC.
    :param attachment: name, content and description of what the pages were set from, JSON.
    :param author: who wrote it.
    """

    title: str
    subject: str
    foot: str
    identifier: str
    producer: str
    moment: datetime
    attachment: tuple[str, bytes, str]
    author: str = "DAM"


def build(sheet: Sheet, story: Callable[[], list[Any]]) -> bytes:
    """Set a document. :param story: gives its flowables, afresh each time, for they are set twice."""
    pages = 0
    for _ in range(2):  # the foot of a page names their count, which is known after the first time
        tags, out = Tags(), io.BytesIO()
        template = _Template(out, sheet, pages, tags)
        template.build(story())
        pages = template.page
    return _finish(out.getvalue(), sheet, tags)


def producer(what: str, layout: int) -> str:
    """Return what names the software in a document. :param layout: edition of how ``what`` is set."""
    return f"airflow-dam {what}, layout {layout}; ReportLab {reportlab.Version}; {use_fonts()}"


def attached(content: bytes, name: str) -> bytes | None:
    """Return a file that a PDF carries; None: there is none of that name. :raises pikepdf.PdfError: it is no PDF."""
    import pikepdf

    with pikepdf.open(io.BytesIO(content)) as pdf:
        return bytes(pdf.attachments[name].get_file().read_bytes()) if name in pdf.attachments else None


# ------------------------------------------------------------------------------------------------- fonts


@cache
def use_fonts() -> str:
    """Register the fonts as Text, Bold and Mono; return their family's name."""
    family = fonts.family()
    for name, file in (("Text", family.text), ("Bold", family.bold), ("Mono", family.mono)):
        pdfmetrics.registerFont(TTFont(name, str(file)))
    pdfmetrics.registerFontFamily("Text", normal="Text", bold="Bold", italic="Text", boldItalic="Bold")
    return family.name


def seen(value: Any) -> str:
    """Return text for a paragraph: nothing in it is markup, and what the font has no letter for is named."""
    use_fonts()
    known = pdfmetrics.getFont("Text").face.charToGlyph
    text = str(value).replace("\r\n", "\n").replace("\t", " ")
    text = "".join(char if char == "\n" or ord(char) in known else f"[U+{ord(char):04X}]" for char in text)
    return escape(text).replace("\n", "<br/>")


# ----------------------------------------------------------------------------------------------- tagging


@dataclass
class Tags:
    """What stands on which page: role, marked-content number and alternative text, in reading order."""

    parts: list[tuple[int, str, str]] = field(default_factory=list)  # page from 1, role, text
    numbers: Counter[int] = field(default_factory=Counter)

    def begin(self, canvas: Any, role: str, text: str = "") -> None:
        """Begin a part. :param text: what stands for it where it can't be seen."""
        page = canvas.getPageNumber()
        canvas._code.append(f"/{role} <</MCID {self.numbers[page]}>> BDC")
        self.numbers[page] += 1
        self.parts.append((page, role, text))

    @staticmethod
    def end(canvas: Any) -> None:
        """End the part that was begun."""
        canvas._code.append("EMC")


@contextmanager
def artifact(canvas: Any, kind: str = "/Artifact BMC") -> Iterator[None]:
    """Mark what is drawn meanwhile as no content."""
    canvas._code.append(kind)
    yield
    canvas._code.append("EMC")


class Told(Paragraph):  # type: ignore[misc]  # ReportLab is not typed
    """A paragraph that is tagged by its style's name; headings go into the outline."""

    def draw(self) -> None:
        """Draw it, tagged."""
        role = self.style.name if self.style.name in ("H1", "H2", "H3") else "P"
        if role != "P":
            text = self.getPlainText()
            key = f"{role}-{len(self.canv.tags.parts)}"
            self.canv.bookmarkHorizontal(key, 0, self.height)
            self.canv.addOutlineEntry(text, key, level=int(role[1]) - 1, closed=role == "H2")
        self.canv.tags.begin(self.canv, role)
        super().draw()
        self.canv.tags.end(self.canv)


class Grid(Table):  # type: ignore[misc]  # ReportLab is not typed
    """A table for layout; its lines and grounds are no content."""

    def _drawBkgrnd(self) -> None:  # noqa: N802 - ReportLab's name
        with artifact(self.canv):
            super()._drawBkgrnd()

    def _drawLines(self) -> None:  # noqa: N802 - ReportLab's name
        with artifact(self.canv):
            super()._drawLines()


# ------------------------------------------------------------------------------------------------- pages


class _Template(BaseDocTemplate):  # type: ignore[misc]  # ReportLab is not typed
    """A4 pages; each foot names the document's hash and the page."""

    def __init__(self, out: io.BytesIO, sheet: Sheet, pages: int, tags: Tags) -> None:
        use_fonts()
        super().__init__(
            out, pagesize=A4, leftMargin=MARGIN, rightMargin=MARGIN, topMargin=18 * mm, bottomMargin=22 * mm,
            title=sheet.title, author=sheet.author, subject=sheet.subject,
            creator="airflow-dam", producer=sheet.producer, lang="en", invariant=1, pageCompression=1,
        )  # fmt: skip
        self.foot, self.pages, self.tags = sheet.foot, pages, tags
        frame = Frame(self.leftMargin, self.bottomMargin, self.width, self.height, 0, 0, 0, 0)
        self.addPageTemplates(PageTemplate(frames=[frame], onPage=self._begin))

    def _begin(self, canvas: Any, _template: Any) -> None:
        canvas.tags = self.tags
        with artifact(canvas, "/Artifact <</Type /Pagination>> BDC"):
            canvas.saveState()
            canvas.setStrokeColor(LINE)
            canvas.line(MARGIN, 17 * mm, A4[0] - MARGIN, 17 * mm)
            canvas.setFillColor(SOFT)
            canvas.setFont("Mono", 6.5)
            canvas.drawString(MARGIN, 13 * mm, self.foot)
            canvas.setFont("Text", 7.5)
            canvas.drawRightString(A4[0] - MARGIN, 13 * mm, f"Page {canvas.getPageNumber()} of {self.pages}")
            canvas.restoreState()


def _finish(content: bytes, sheet: Sheet, tags: Tags) -> bytes:
    """Add structure, metadata and the attachment."""
    import pikepdf

    moment, (name, data, description) = sheet.moment, sheet.attachment
    out = io.BytesIO()
    with pikepdf.open(io.BytesIO(content)) as pdf:
        for part in pdf.objects:
            if isinstance(part, pikepdf.Stream) and part.get("/Subtype") == "/Image":  # the picture's own bytes
                picture = part.read_raw_bytes().strip().removesuffix(b"~>")
                part.write(base64.a85decode(picture), filter=pikepdf.Name.DCTDecode)
        _structure(pdf, tags)
        pdf.Root.Lang = pikepdf.String("en")
        pdf.Root.MarkInfo = pikepdf.Dictionary(Marked=True)
        pdf.Root.ViewerPreferences = pikepdf.Dictionary(DisplayDocTitle=True)
        stamp = pikepdf.String(f"D:{moment:%Y%m%d%H%M%S}Z")
        pdf.docinfo["/CreationDate"] = pdf.docinfo["/ModDate"] = stamp
        with pdf.open_metadata(set_pikepdf_as_editor=False, update_docinfo=False) as meta:
            meta["dc:title"] = sheet.title
            meta["dc:language"] = {"en"}
            meta["dc:identifier"] = sheet.identifier
            meta["pdf:Producer"] = sheet.producer
            meta["xmp:CreateDate"] = meta["xmp:ModifyDate"] = moment.isoformat()
        spec = pikepdf.AttachedFileSpec(
            pdf, data, filename=name, mime_type="application/json", description=description,
            relationship=pikepdf.Name.Data, creation_date=str(stamp), mod_date=str(stamp),
        )  # fmt: skip
        pdf.attachments[name] = spec
        pdf.Root.AF = pikepdf.Array([spec.obj])
        pdf.save(out, deterministic_id=True, linearize=False, object_stream_mode=pikepdf.ObjectStreamMode.generate)
    return out.getvalue()


def _structure(pdf: pikepdf.Pdf, tags: Tags) -> None:
    """Write the structure tree: one element for everything that was marked, in reading order."""
    import pikepdf

    top = pdf.make_indirect(pikepdf.Dictionary(Type=pikepdf.Name.StructTreeRoot))
    whole = pdf.make_indirect(pikepdf.Dictionary(Type=pikepdf.Name.StructElem, S=pikepdf.Name.Document, P=top))
    of_page: dict[int, list[Any]] = {}
    children = pikepdf.Array()
    for number, role, text in tags.parts:
        page = pdf.pages[number - 1].obj
        below = of_page.setdefault(number, [])
        element = pikepdf.Dictionary(
            Type=pikepdf.Name.StructElem, S=pikepdf.Name(f"/{role}"), P=whole, Pg=page, K=len(below)
        )
        if text:
            element.Alt = pikepdf.String(text)
        made = pdf.make_indirect(element)
        below.append(made)
        children.append(made)
    whole.K = children
    numbers = pikepdf.Array()
    for number, below in sorted(of_page.items()):
        pdf.pages[number - 1].obj.StructParents = number - 1
        pdf.pages[number - 1].obj.Tabs = pikepdf.Name.S
        numbers.append(number - 1)
        numbers.append(pdf.make_indirect(pikepdf.Array(below)))
    top.K = pikepdf.Array([whole])
    top.ParentTree = pdf.make_indirect(pikepdf.Dictionary(Nums=numbers))
    top.ParentTreeNextKey = len(pdf.pages)
    pdf.Root.StructTreeRoot = top


# ------------------------------------------------------------------------------------------------- words


def style(name: str, size: float, *, font: str = "Text", colour: Any = INK, **more: Any) -> ParagraphStyle:
    """Return a paragraph's style. :param size: in points. :param font: ``Text``, ``Bold`` or ``Mono``."""
    return ParagraphStyle(
        name, fontName=font, fontSize=size, leading=size * 1.42, textColor=colour, alignment=TA_LEFT,
        splitLongWords=1, **more,
    )  # fmt: skip


H1 = style("H1", 19, font="Bold", spaceAfter=2)
H2 = style("H2", 12.5, font="Bold", spaceBefore=16, spaceAfter=6, keepWithNext=1)
H3 = style("H3", 9.5, font="Bold", spaceBefore=4, spaceAfter=2, keepWithNext=1)
TEXT = style("text", 8.8, spaceAfter=2)
LABEL = style("label", 8, colour=SOFT)
SMALL = style("small", 7.6, colour=SOFT)
MONO = style("mono", 6.7, font="Mono", wordWrap="CJK")
QUOTE = style("quote", 8.8, leftIndent=8, borderPadding=(0, 0, 0, 6), spaceBefore=2, spaceAfter=3)


def facts(rows: list[tuple[str, Any]], *, width: float = WIDTH, label: float = 34 * mm) -> Flowable:
    """Return labels and values, two columns; a value is a paragraph or a plain text."""
    cells = [
        [Told(seen(name), LABEL), value if isinstance(value, Flowable) else Told(seen(value), TEXT)]
        for name, value in rows
        if value not in (None, "", [], {})
    ]
    look = [("VALIGN", (0, 0), (-1, -1), "TOP"), ("LEFTPADDING", (0, 0), (-1, -1), 0),
             ("TOPPADDING", (0, 0), (-1, -1), 0.5), ("BOTTOMPADDING", (0, 0), (-1, -1), 0.5)]  # fmt: skip
    return Grid(cells or [["", ""]], colWidths=[label, width - label], style=look, hAlign="LEFT")


def card(parts: list[Any], *, colour: Any = LINE) -> Flowable:
    """Return flowables with a line at their left."""
    look = [("LINEBEFORE", (0, 0), (0, -1), 1.6, colour), ("LEFTPADDING", (0, 0), (-1, -1), INDENT),
             ("RIGHTPADDING", (0, 0), (-1, -1), 0), ("TOPPADDING", (0, 0), (-1, -1), 0),
             ("BOTTOMPADDING", (0, 0), (-1, -1), 0), ("VALIGN", (0, 0), (-1, -1), "TOP")]  # fmt: skip
    rows = [[part] for part in parts]
    return Grid(rows, colWidths=[WIDTH], style=look, hAlign="LEFT", spaceBefore=3, spaceAfter=7)


def facts_card(heading: str, rows: list[tuple[str, Any]], *, colour: Any = LINE) -> Flowable:
    """Return facts as a card that no page break parts; its heading may be left out."""
    told = [Told(seen(heading), H3)] if heading else []
    return KeepTogether(card([*told, facts(rows, width=WIDTH - INDENT)], colour=colour))
