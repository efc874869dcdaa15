"""A signed record as PDF: for people to read and file, and by its attachment as good a proof as the JSON.

Everything on its pages comes from the record, so that the same record gives the same bytes; verification sets it
again and compares. Headings, paragraphs and pictures are tagged for screen readers (ISO 32000-2, 14.8), and the
JSON is an associated file (14.13).
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections import Counter
from collections.abc import Iterator, Mapping
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
from reportlab.lib.utils import ImageReader
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import BaseDocTemplate, Flowable, Frame, KeepTogether, PageTemplate, Paragraph, Spacer, Table
from sqlalchemy import select

from dam import fonts
from dam.catalog.models import Rendition
from dam.errors import BadInput, DamError
from dam.review.record import PICTURE, as_bytes

if TYPE_CHECKING:
    import pikepdf

    from dam.services import Services

ATTACHMENT = "record.json"
#: Raised when the pages are set otherwise: what was set before can't be set again to the same bytes.
LAYOUT = 1
INK, SOFT, LINE, ACCENT = HexColor("#1a1f26"), HexColor("#57616d"), HexColor("#d9dee5"), HexColor("#2558c4")
COLOUR = {"approve": "#1a7f4b", "approved": "#1a7f4b", "reject": "#b3261e", "rejected": "#b3261e"}
MARGIN, THUMB = 20 * mm, 30 * mm
WIDTH = A4[0] - 2 * MARGIN
#: Between the line at the left of a card and what is on it.
INDENT = 9


def export(services: Services, document: dict[str, Any]) -> bytes:
    """Return a record as PDF, with its pictures where the renditions store still has them."""
    wanted = {sha256 for sha256 in document["record"]["pictures"].values() if sha256}
    with services.session() as session:
        uris = session.execute(
            select(Rendition.sha256, Rendition.storage_uri)
            .where(Rendition.version_id.in_(document["record"]["pictures"]), Rendition.recipe == PICTURE)
            .where(Rendition.sha256.in_(wanted))
        ).all()
    pictures = {}
    for sha256, uri in uris:
        store, key = services.storage.resolve(uri)
        if store.exists(key):
            pictures[sha256] = store.read(key)
    return render(document, pictures)


def render(document: dict[str, Any], pictures: Mapping[str, bytes]) -> bytes:
    """Set a record.

    :param pictures: JPEG bytes by their SHA-256; those missing leave an empty frame.
    """
    pages = 0
    for _ in range(2):  # the foot of a page names their count, which is known after the first time
        tags, out = _Tags(), io.BytesIO()
        template = _Template(out, document, pages, tags)
        template.build(_story(document["record"], document, pictures))
        pages = template.page
    return _finish(out.getvalue(), document, tags)


# ------------------------------------------------------------------------------------------------ reading


def attached(content: bytes, *, where: str) -> bytes:
    """Return the JSON that a record's PDF carries. :raises BadInput: it carries none."""
    import pikepdf

    try:
        with pikepdf.open(io.BytesIO(content)) as pdf:
            if ATTACHMENT in pdf.attachments:
                return bytes(pdf.attachments[ATTACHMENT].get_file().read_bytes())
    except pikepdf.PdfError as error:
        raise BadInput(f"can't be read: {error}", where=where, remedy="Ask for the file again.") from error
    raise BadInput("carries no signed record", where=where, remedy="Name one of `dam record export`.")


def differs(content: bytes, document: dict[str, Any]) -> list[tuple[str, str]]:
    """Return where the pages of a record's PDF say or show something else than the record it carries.

    It is set again and compared: by its bytes, or, when it was made by another edition of this software, by its
    words and pictures.
    """
    shown = _pictures(content)
    known = {sha256 for sha256 in document["record"].get("pictures", {}).values() if sha256}
    try:
        again = render(document, {sha256: data for sha256, data in shown if sha256 in known})
    except (KeyError, TypeError, ValueError, AttributeError, DamError) as error:
        return [("pages", f"can't be compared, for the record they belong to is not whole: {error!r}")]
    if again == content:
        return []
    found = list(_other_words(content, again))
    if [sha256 for sha256, _ in shown] != [sha256 for sha256, _ in _pictures(again)]:
        found.append(("pages", "a picture is not the one of the record, or is not at its place"))
    if not found and _producer(content) == _producer(again):
        found.append(("pages", "the file was changed or saved again by another program: ask for it again"))
    return found


def _other_words(content: bytes, again: bytes) -> Iterator[tuple[str, str]]:
    import difflib

    is_so, should = _words(content), _words(again)
    matcher = difflib.SequenceMatcher(None, [word for _, word in is_so], [word for _, word in should], autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "equal":
            continue
        page = is_so[min(a, len(is_so) - 1)][0] if is_so else 1
        said, meant = (" ".join(word for _, word in words) or "nothing" for words in (is_so[a:b], should[c:d]))
        yield f"page {page}", f"says “{said}” where the record says “{meant}”"


def _words(content: bytes) -> list[tuple[int, str]]:
    import pypdfium2

    with pypdfium2.PdfDocument(content) as pdf:
        texts = [page.get_textpage().get_text_bounded() for page in pdf]
    return [(number, word) for number, text in enumerate(texts, start=1) for word in text.split()]


def _pictures(content: bytes) -> list[tuple[str, bytes]]:
    """Return SHA-256 and bytes of every picture in the order in which pages show them."""
    import pikepdf

    found = []
    with pikepdf.open(io.BytesIO(content)) as pdf:
        for page in pdf.pages:
            for part in pikepdf.parse_content_stream(page, "Do"):
                if str(part.operator) == "Do":
                    data = page.Resources.XObject[str(part.operands[0])].read_raw_bytes()
                    found.append((hashlib.sha256(data).hexdigest(), data))
    return found


def _producer(content: bytes) -> str:
    import pikepdf

    with pikepdf.open(io.BytesIO(content)) as pdf:
        return str(pdf.docinfo.get("/Producer", ""))


# ------------------------------------------------------------------------------------------------- fonts


@cache
def _fonts() -> str:
    """Register the fonts as Text, Bold and Mono; return their family's name."""
    family = fonts.family()
    for name, file in (("Text", family.text), ("Bold", family.bold), ("Mono", family.mono)):
        pdfmetrics.registerFont(TTFont(name, str(file)))
    pdfmetrics.registerFontFamily("Text", normal="Text", bold="Bold", italic="Text", boldItalic="Bold")
    return family.name


def _made_by() -> str:
    return f"airflow-dam record, layout {LAYOUT}; ReportLab {reportlab.Version}; {_fonts()}"


def _seen(value: Any) -> str:
    """Return text for a paragraph: nothing in it is markup, and what the font has no letter for is named."""
    _fonts()
    known = pdfmetrics.getFont("Text").face.charToGlyph
    text = str(value).replace("\r\n", "\n").replace("\t", " ")
    text = "".join(char if char == "\n" or ord(char) in known else f"[U+{ord(char):04X}]" for char in text)
    return escape(text).replace("\n", "<br/>")


# ----------------------------------------------------------------------------------------------- tagging


@dataclass
class _Tags:
    """What stands on which page: role, marked-content number and alternative text, in reading order."""

    parts: list[tuple[int, str, str]] = field(default_factory=list)  # page from 1, role, text
    numbers: Counter[int] = field(default_factory=Counter)

    def begin(self, canvas: Any, role: str, text: str = "") -> None:
        page = canvas.getPageNumber()
        canvas._code.append(f"/{role} <</MCID {self.numbers[page]}>> BDC")
        self.numbers[page] += 1
        self.parts.append((page, role, text))

    @staticmethod
    def end(canvas: Any) -> None:
        canvas._code.append("EMC")


@contextmanager
def _artifact(canvas: Any, kind: str = "/Artifact BMC") -> Iterator[None]:
    """Mark what is drawn meanwhile as no content."""
    canvas._code.append(kind)
    yield
    canvas._code.append("EMC")


class _Told(Paragraph):  # type: ignore[misc]  # ReportLab is not typed
    """A paragraph that is tagged by its style's name; headings go into the outline."""

    def draw(self) -> None:
        role = self.style.name if self.style.name in ("H1", "H2", "H3") else "P"
        if role != "P":
            text = self.getPlainText()
            key = f"{role}-{len(self.canv.tags.parts)}"
            self.canv.bookmarkHorizontal(key, 0, self.height)
            self.canv.addOutlineEntry(text, key, level=int(role[1]) - 1, closed=role == "H2")
        self.canv.tags.begin(self.canv, role)
        super().draw()
        self.canv.tags.end(self.canv)


class _Grid(Table):  # type: ignore[misc]  # ReportLab is not typed
    """A table for layout; its lines and grounds are no content."""

    def _drawBkgrnd(self) -> None:  # noqa: N802 - ReportLab's name
        with _artifact(self.canv):
            super()._drawBkgrnd()

    def _drawLines(self) -> None:  # noqa: N802 - ReportLab's name
        with _artifact(self.canv):
            super()._drawLines()


class _Picture(Flowable):  # type: ignore[misc]  # ReportLab is not typed
    """A picture in a square frame, so that what is beside it stands at the same place whatever its shape."""

    def __init__(self, data: bytes | None, text: str) -> None:
        super().__init__()
        self.data, self.text = data, text
        self.width = self.height = THUMB

    def draw(self) -> None:
        if self.data is None:
            with _artifact(self.canv):
                self.canv.setStrokeColor(LINE)
                self.canv.rect(0, 0, THUMB, THUMB)
            return
        image = ImageReader(io.BytesIO(self.data))
        width, height = image.getSize()
        scale = THUMB / max(width, height)
        self.canv.tags.begin(self.canv, "Figure", self.text)
        self.canv.drawImage(image, 0, THUMB - height * scale, width * scale, height * scale)
        self.canv.tags.end(self.canv)


class _Template(BaseDocTemplate):  # type: ignore[misc]  # ReportLab is not typed
    """A4 pages; each foot names the record's hash and the page."""

    def __init__(self, out: io.BytesIO, document: dict[str, Any], pages: int, tags: _Tags) -> None:
        _fonts()
        super().__init__(
            out, pagesize=A4, leftMargin=MARGIN, rightMargin=MARGIN, topMargin=18 * mm, bottomMargin=22 * mm,
            title=_title(document["record"]), author="DAM", subject=f"SHA-256 {document['sha256']}",
            creator="airflow-dam", producer=_made_by(), lang="en", invariant=1, pageCompression=1,
        )  # fmt: skip
        self.sha256, self.pages, self.tags = document["sha256"], pages, tags
        frame = Frame(self.leftMargin, self.bottomMargin, self.width, self.height, 0, 0, 0, 0)
        self.addPageTemplates(PageTemplate(frames=[frame], onPage=self._begin))

    def _begin(self, canvas: Any, _template: Any) -> None:
        canvas.tags = self.tags
        with _artifact(canvas, "/Artifact <</Type /Pagination>> BDC"):
            canvas.saveState()
            canvas.setStrokeColor(LINE)
            canvas.line(MARGIN, 17 * mm, A4[0] - MARGIN, 17 * mm)
            canvas.setFillColor(SOFT)
            canvas.setFont("Mono", 6.5)
            canvas.drawString(MARGIN, 13 * mm, f"SHA-256 {self.sha256}")
            canvas.setFont("Text", 7.5)
            canvas.drawRightString(A4[0] - MARGIN, 13 * mm, f"Page {canvas.getPageNumber()} of {self.pages}")
            canvas.restoreState()


def _finish(content: bytes, document: dict[str, Any], tags: _Tags) -> bytes:
    """Add structure, metadata and the JSON."""
    import pikepdf

    record = document["record"]
    moment = _latest(record)
    out = io.BytesIO()
    with pikepdf.open(io.BytesIO(content)) as pdf:
        for part in pdf.objects:
            if isinstance(part, pikepdf.Stream) and part.get("/Subtype") == "/Image":  # the picture's own bytes
                data = part.read_raw_bytes().strip().removesuffix(b"~>")
                part.write(base64.a85decode(data), filter=pikepdf.Name.DCTDecode)
        _structure(pdf, tags)
        pdf.Root.Lang = pikepdf.String("en")
        pdf.Root.MarkInfo = pikepdf.Dictionary(Marked=True)
        pdf.Root.ViewerPreferences = pikepdf.Dictionary(DisplayDocTitle=True)
        stamp = pikepdf.String(f"D:{moment:%Y%m%d%H%M%S}Z")
        pdf.docinfo["/CreationDate"] = pdf.docinfo["/ModDate"] = stamp
        with pdf.open_metadata(set_pikepdf_as_editor=False, update_docinfo=False) as meta:
            meta["dc:title"] = _title(record)
            meta["dc:language"] = {"en"}
            meta["dc:identifier"] = f"urn:sha256:{document['sha256']}"
            meta["pdf:Producer"] = _made_by()
            meta["xmp:CreateDate"] = meta["xmp:ModifyDate"] = moment.isoformat()
        spec = pikepdf.AttachedFileSpec(
            pdf, as_bytes(document), filename=ATTACHMENT, mime_type="application/json",
            description="The signed record; `dam record verify` reads it.", relationship=pikepdf.Name.Data,
            creation_date=str(stamp), mod_date=str(stamp),
        )  # fmt: skip
        pdf.attachments[ATTACHMENT] = spec
        pdf.Root.AF = pikepdf.Array([spec.obj])
        pdf.save(out, deterministic_id=True, linearize=False, object_stream_mode=pikepdf.ObjectStreamMode.generate)
    return out.getvalue()


def _structure(pdf: pikepdf.Pdf, tags: _Tags) -> None:
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


def _latest(record: dict[str, Any]) -> datetime:
    """Return the moment the record stands for: that of the newest anchor, or else of its freezing."""
    moments = [anchor["at"] for anchor in record["proof"]["anchors"]] or [record["package"]["frozen_at"]]
    return max(datetime.fromisoformat(moment) for moment in moments)


# ------------------------------------------------------------------------------------------------- words


def _style(name: str, size: float, *, font: str = "Text", colour: Any = INK, **more: Any) -> ParagraphStyle:
    return ParagraphStyle(
        name, fontName=font, fontSize=size, leading=size * 1.42, textColor=colour, alignment=TA_LEFT,
        splitLongWords=1, **more,
    )  # fmt: skip


H1 = _style("H1", 19, font="Bold", spaceAfter=2)
H2 = _style("H2", 12.5, font="Bold", spaceBefore=16, spaceAfter=6, keepWithNext=1)
H3 = _style("H3", 9.5, font="Bold", spaceBefore=4, spaceAfter=2, keepWithNext=1)
TEXT = _style("text", 8.8, spaceAfter=2)
LABEL = _style("label", 8, colour=SOFT)
SMALL = _style("small", 7.6, colour=SOFT)
MONO = _style("mono", 6.7, font="Mono", wordWrap="CJK")
QUOTE = _style("quote", 8.8, leftIndent=8, borderPadding=(0, 0, 0, 6), spaceBefore=2, spaceAfter=3)


def _title(record: dict[str, Any]) -> str:
    package = record["package"]
    return f"Record of a review: {package['campaign'] or 'package'}, round {package['round']}"


def _when(text: Any) -> str:
    return f"{datetime.fromisoformat(text):%-d %B %Y, %H:%M:%S} UTC" if text else "–"


def _called(record: dict[str, Any], person: str) -> str:
    """Return a person's name with the user name beside it."""
    name = record["names"].get(person)
    return f"{name} ({person})" if name else person


def _plainly(word: Any) -> str:
    return str(word).replace("_", " ")


def _bold(text: Any, word: str = "") -> str:
    colour = f' color="{COLOUR[word]}"' if word in COLOUR else ""
    return f"<font name='Bold'{colour}>{_seen(text)}</font>"


def _facts(rows: list[tuple[str, Any]], *, width: float = WIDTH, label: float = 34 * mm) -> Flowable:
    """Return labels and values, two columns; a value is a paragraph or a plain text."""
    cells = [
        [_Told(_seen(name), LABEL), value if isinstance(value, Flowable) else _Told(_seen(value), TEXT)]
        for name, value in rows
        if value not in (None, "", [], {})
    ]
    style = [("VALIGN", (0, 0), (-1, -1), "TOP"), ("LEFTPADDING", (0, 0), (-1, -1), 0),
             ("TOPPADDING", (0, 0), (-1, -1), 0.5), ("BOTTOMPADDING", (0, 0), (-1, -1), 0.5)]  # fmt: skip
    return _Grid(cells or [["", ""]], colWidths=[label, width - label], style=style, hAlign="LEFT")


def _card(parts: list[Any], *, colour: Any = LINE) -> Flowable:
    """Return flowables with a line at their left."""
    style = [("LINEBEFORE", (0, 0), (0, -1), 1.6, colour), ("LEFTPADDING", (0, 0), (-1, -1), INDENT),
             ("RIGHTPADDING", (0, 0), (-1, -1), 0), ("TOPPADDING", (0, 0), (-1, -1), 0),
             ("BOTTOMPADDING", (0, 0), (-1, -1), 0), ("VALIGN", (0, 0), (-1, -1), "TOP")]  # fmt: skip
    rows = [[part] for part in parts]
    return _Grid(rows, colWidths=[WIDTH], style=style, hAlign="LEFT", spaceBefore=3, spaceAfter=7)


def _facts_card(heading: str, rows: list[tuple[str, Any]], *, colour: Any = LINE) -> Flowable:
    """Return facts as a card that no page break parts; its heading may be left out."""
    told = [_Told(_seen(heading), H3)] if heading else []
    return KeepTogether(_card([*told, _facts(rows, width=WIDTH - INDENT)], colour=colour))


# ------------------------------------------------------------------------------------------------- pages


def _story(record: dict[str, Any], document: dict[str, Any], pictures: Mapping[str, bytes]) -> list[Any]:
    story = [*_head(record, document), _Told("Signatures", H2)]
    story += [_decision(record, decision) for decision in record["decisions"]]
    story += list(_unsigned(record))
    if record["guests"]:
        story.append(_Told("External reviewers", H2))
        story += [_guest(record, guest) for guest in record["guests"]]
    story.append(_Told("Versions", H2))
    for version_id, entry in _in_order(record):
        story += _version(record, version_id, entry, pictures)
    if record["rounds_before"]:
        story.append(_Told("Rounds before", H2))
        story += [_earlier(record, earlier) for earlier in record["rounds_before"]]
    return story + _proof(record, document)


def _head(record: dict[str, Any], document: dict[str, Any]) -> list[Any]:
    package = record["package"]
    status = package["status"]
    told = f"Round {package['round']}, {len(record['verdicts'])} versions: " + _bold(_plainly(status), status)
    return [
        _Told(_seen(package["campaign"] or "A package"), H1),
        _Told(told, _style("lead", 11, spaceAfter=8)),
        _facts(
            [
                ("Package", package["id"]),
                ("Frozen", _when(package["frozen_at"])),
                ("Closed", _when(package["closed_at"]) if package["closed_at"] else "still open"),
                ("Void because", package["void_reason"]),
                ("Manifest, SHA-256", _Told(package["manifest_sha256"], MONO)),
                ("This record, SHA-256", _Told(document["sha256"], MONO)),
            ]
        ),
        Spacer(1, 4),
        _Told(
            "Each signature below was given for the manifest named above: the bytes, metadata and rights of every "
            "version as listed. The file carries the same as data, with its proof; the last section says how to "
            "check it.",
            SMALL,
        ),
    ]


def _decision(record: dict[str, Any], decision: dict[str, Any]) -> Flowable:
    verdict, met, back = decision["verdict"], decision["fulfilment"], decision["withdrawal"]
    who = _called(record, decision["person"])
    if decision["on_behalf_of"]:
        who += f", on behalf of {_called(record, decision['on_behalf_of'])}"
    said = _bold(_plainly(verdict).capitalize(), verdict) + (", on a condition" if decision["conditions"] else "")
    rows: list[tuple[str, Any]] = [
        ("Verdict", _Told(said, TEXT)),
        ("Taken back", f"{_when(back['withdrawn_at'])}: it does not count" if back else None),
        ("Signed by", who),
        ("When", _when(decision["decided_at"])),
        ("Where", _plainly(decision["via"]) + (f", from {decision['address']}" if decision["address"] else "")),
        ("Over the manifest", _Told(decision["manifest_sha256"], MONO)),
        ("Condition", decision["conditions"]),
        ("Condition met", f"{_called(record, met['person'])}, {_when(met['met_at'])}. {met['note']}" if met else None),
        ("Comment", decision["comment"]),
    ]
    for version_id, answer in sorted(decision["versions"].items()):
        told = f"{_asset(record, version_id)}: {_plainly(answer.get('verdict'))}"
        rows.append(("Single version", f"{told}. {answer['comment']}" if answer.get("comment") else told))
        if "metadata_sha256" in answer:
            filled = ", ".join(map(_plainly, answer["filled"])) or "nothing"
            rows.append(("Filled in", f"{filled}; by the contract {answer['contract']}"))
            rows.append(("Metadata, SHA-256", _Told(answer["metadata_sha256"], MONO)))
    rows += [("Must be fixed", fix.get("body", "")) for fix in decision["must_fixes"]]
    return _facts_card(_plainly(decision["role"]).capitalize(), rows, colour=LINE if back else ACCENT)


def _unsigned(record: dict[str, Any]) -> Iterator[Flowable]:
    signed = {row["seat_id"] for row in record["decisions"] if row["withdrawal"] is None}
    for seat in record["seats"]:
        for row in seat["delegations"]:
            handed = f"{_called(record, row['person'])} handed it to {_called(record, row['deputy'])}: {row['why']}"
            yield _Told(f"{_bold(_plainly(seat['role']).capitalize())}: {_seen(handed)}.", TEXT)
        if seat["id"] not in signed:
            told = f"{_bold(_plainly(seat['role']).capitalize())}: {_seen(_plainly(seat['status']))}, not signed."
            reason = f" {seat['reason']}" if seat["reason"] else f" It was due {_when(seat['due_at'])}."
            yield _Told(told + _seen(reason), TEXT)


def _guest(record: dict[str, Any], guest: dict[str, Any]) -> Flowable:
    seat = next((row["role"] for row in record["seats"] if row["id"] == guest["seat_id"]), None)
    may = [f"sign as {_plainly(seat)}" if seat else "look", *(["comment"] if guest["may_comment"] else [])]
    rows: list[tuple[str, Any]] = [
        ("Address", guest["email"]),
        ("Invited", f"by {_called(record, guest['invited_by'])}, {_when(guest['invited_at'])}, to {' and '.join(may)}"),
        ("Until", _when(guest["expires_at"])),
        ("Revoked", f"by {guest['revoked_by']}, {_when(guest['revoked_at'])}" if guest["revoked_at"] else None),
    ]
    if guest["advice"]:
        told = f"{_bold(_plainly(guest['advice']), guest['advice'])}, {_when(guest['advised_at'])}; it binds nobody"
        rows.append(("Advice", _Told(told, TEXT)))
        rows.append(("Comment", guest["advice_comment"]))
    return _facts_card(guest["name"], rows)


def _in_order(record: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return sorted(record["manifest"]["versions"].items(), key=lambda row: (row[1]["asset"], row[1]["number"], row[0]))


def _asset(record: dict[str, Any], version_id: str) -> str:
    entry = record["manifest"]["versions"].get(version_id)
    return f"{entry['asset']} v{entry['number']}" if entry else version_id


def _version(
    record: dict[str, Any], version_id: str, entry: dict[str, Any], pictures: Mapping[str, bytes]
) -> list[Any]:
    verdict = record["verdicts"].get(version_id)
    described = entry.get("metadata", {})  # where that is to be filled in, the bytes alone were frozen
    title = described.get("title")
    rights = [
        f"{grant['licence']} of {grant['holder']}, {'until ' + grant['ends_on'] if grant['ends_on'] else 'without end'}"
        for grant in entry.get("rights", [])
    ]
    width = WIDTH - THUMB - 5 * mm
    facts = _facts(
        [
            ("Verdict", _Told(_bold(_plainly(verdict), verdict), TEXT) if verdict else "none yet"),
            ("Title", title),
            ("Alt text", described.get("alt_text")),
            ("File", f"{entry['media_type']}, {entry['bytes']:_} bytes".replace("_", "\u00a0")),
            ("Rights", ("; ".join(rights) or "none recorded") if "rights" in entry else None),
            ("SHA-256", _Told(entry["sha256"], MONO)),
        ],
        width=width,
        label=18 * mm,
    )
    picture = _Picture(
        pictures.get(record["pictures"].get(version_id) or ""), f"Thumbnail of {title or entry['asset']}"
    )
    style = [("VALIGN", (0, 0), (-1, -1), "TOP"), ("LEFTPADDING", (0, 0), (-1, -1), 0),
             ("RIGHTPADDING", (0, 0), (-1, -1), 0), ("TOPPADDING", (0, 0), (-1, -1), 1)]  # fmt: skip
    beside = _Grid(
        [[picture, [_Told(_seen(f"{entry['asset']} v{entry['number']}"), H3), facts]]],
        colWidths=[THUMB + 5 * mm, width], style=style, hAlign="LEFT", spaceAfter=3,
    )  # fmt: skip
    return [KeepTogether(beside), *_notes(record, version_id), Spacer(1, 5)]


def _notes(record: dict[str, Any], version_id: str) -> Iterator[Flowable]:
    for note in record["notes"]:
        if note["version_id"] != version_id:
            continue
        head = f"{_bold(_called(record, note['author']))}, {_seen(_when(note['created_at']))}"
        head += f", {_seen(_plainly(note['kind']))}" if note["kind"] != "note" else ""
        if note["reply_to_id"]:
            head += ", in reply"
        if note["origin_id"]:
            head += ", from an earlier round"
        if note["target"]:
            head += f", at {_seen(_place(note['target']))}"
        parts = [_Told(head, SMALL), _Told(_seen(note["body"]), TEXT)]
        if note["resolved_by"]:
            answer = f": {note['resolution']}" if note["resolution"] else ""
            told = f"Resolved by {_called(record, note['resolved_by'])}, {_when(note['resolved_at'])}{answer}"
            parts.append(_Told(_seen(told), SMALL))
        yield _card(parts)


def _place(target: dict[str, Any]) -> str:
    """Return where a remark points, as its selectors say it (W3C Web Annotation)."""
    found, selector = [], target.get("selector")
    while isinstance(selector, dict):
        found.append(_point(str(selector.get("value", ""))))
        selector = selector.get("refinedBy")
    return ", ".join(part for part in found if part) or "the whole"


def _point(value: str) -> str:
    """Return one selector's value in words."""
    name, _, rest = value.partition("=")
    if value.startswith("<"):
        return "a drawn shape"
    if name == "xywh":
        numbers = rest.removeprefix("percent:").split(",")
        return f"{numbers[0]} % from the left, {numbers[1]} % from the top" if len(numbers) == 4 else value
    if name == "t":
        return " to ".join(f"{moment} s" for moment in rest.split(",") if moment)
    return f"page {rest}" if name == "page" else value


def _earlier(record: dict[str, Any], earlier: dict[str, Any]) -> Flowable:
    status = _plainly(earlier["status"])
    rows: list[tuple[str, Any]] = [
        ("Ended", f"{status}, {_when(earlier['closed_at'])}"),
        ("Because", earlier["void_reason"]),
        ("Manifest, SHA-256", _Told(earlier["manifest_sha256"], MONO)),
    ]
    rows += [
        (
            _plainly(row["role"]).capitalize(),
            f"{_plainly(row['verdict'])}, {_called(record, row['person'])}, {_when(row['decided_at'])}"
            + (f": {row['comment']}" if row["comment"] else ""),
        )
        for row in earlier["decisions"]
    ]
    return _facts_card(f"Round {earlier['round']}", rows)


def _proof(record: dict[str, Any], document: dict[str, Any]) -> list[Any]:
    proof = record["proof"]
    parts = [
        _Told("Proof", H2),
        _Told(
            "Everything that happens is an event in one chain of hashes. The chain is anchored at intervals: its head "
            "and the root of a Merkle tree over its newest events are signed and kept outside the database. The events "
            "of this review are listed with the anchor that each is below; the path from one to the other is in the "
            "attached data.",
            TEXT,
        ),
        Spacer(1, 4),
    ]
    cells = [[_Told(name, LABEL) for name in ("Event", "When", "Who", "What", "SHA-256")]]
    for event in proof["events"]:
        cells.append(
            [
                _Told(f"{event['seq']}", SMALL),
                _Told(f"{datetime.fromisoformat(event['at']):%-d %b %Y %H:%M:%S}", SMALL),
                _Told(_seen(event["actor"]), SMALL),
                _Told(_seen(event["action"]), SMALL),
                _Told(f"{event['sha256'][:24]}…", MONO),
            ]
        )
    style = [("VALIGN", (0, 0), (-1, -1), "TOP"), ("LINEBELOW", (0, 0), (-1, -1), 0.4, LINE),
             ("LEFTPADDING", (0, 0), (-1, -1), 0), ("TOPPADDING", (0, 0), (-1, -1), 1.5),
             ("BOTTOMPADDING", (0, 0), (-1, -1), 1.5)]  # fmt: skip
    widths = [14 * mm, 33 * mm, 34 * mm, 42 * mm, 47 * mm]
    parts.append(_Grid(cells, colWidths=widths, repeatRows=1, style=style, hAlign="LEFT", spaceAfter=8))
    for anchor in proof["anchors"]:
        rows = [
            ("Anchored", f"{_when(anchor['at'])}, over the events {anchor['first']} to {anchor['seq']}"),
            ("Merkle root", _Told(anchor["root"], MONO)),
            ("Signature", _Told(anchor["signature"], MONO)),
        ]
        parts.append(_facts_card("", rows))
    return [
        *parts,
        _Told("How to check it", H2),
        _Told(
            f"<font name='Mono'>dam record verify</font> reads this file, without any database: it takes the attached "
            f"<font name='Mono'>{ATTACHMENT}</font>, compares every page with it, and follows every event to a signed "
            "anchor. It also says which key signed; compare that with the one the owner of the DAM has published.",
            TEXT,
        ),
        _facts(
            [
                ("Record, SHA-256", _Told(document["sha256"], MONO)),
                ("Signature, Ed25519", _Told(document["signature"], MONO)),
                ("Public key", _Told(document["public_key"], MONO)),
            ]
        ),
    ]
