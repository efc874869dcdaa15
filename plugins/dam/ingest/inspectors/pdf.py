"""PDF, and Illustrator files that are PDF inside.

qpdf reads the structure and decodes every stream (page content, JPEG and packed pictures, fonts), so that damage
is found on every page; PDFium opens every page, tells its text and draws the first ones.

Limits: pictures in JBIG2, CCITT and JPEG 2000 are proved where they are drawn or decoded, not by qpdf. Colours are
PDFium's: CMYK without the profile of its output intent.
"""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, BinaryIO

import pikepdf
import pypdfium2 as pdfium

from dam.errors import BadInput
from dam.ingest import embedded, inner, proofs, xmp
from dam.ingest.damage import AGAIN, locked, refused, tidy, unusable
from dam.ingest.formats import Format
from dam.ingest.inspection import Inspection, Job, Unusable
from dam.renditions import pictures

#: Bytes at the end in which a whole file has its end mark; some programs write a little behind it.
_TAIL = 2048
#: So many seconds the pictures of pages may take beyond the first; the file is proved without them.
_PATIENCE = 25.0
#: A document may take so many seconds, and so many more a page: its bytes tell less than its pages.
_PATIENCE_IN_ALL, _A_PAGE = 90.0, 0.1
#: What zlib packs at most, and how long unpacked data may be without being looked at.
_ZLIB_MOST, _HARMLESS = 1032, 200_000_000
_PIECE = 1 << 18
_MM = 25.4 / 72
_PDF_X = ("Xmp.pdfxid.GTS_PDFXVersion", "Xmp.pdfx.GTS_PDFXVersion", "PDF.GTS_PDFXVersion")
_PROCESS = {"All", "None", "Cyan", "Magenta", "Yellow", "Black"}
#: What qpdf says of a stream that it can't decode.
_BROKEN = re.compile(r"error decoding stream data|errors while decoding|ERROR")
_OBJECT = re.compile(r"object (\d+)[ ,](\d+)")
_PAGE = re.compile(r"page (\d+):")


def inspect(job: Job, found: Format) -> Inspection:
    """Read all of a document, open all its pages and draw the first ones.

    :raises Unusable: it is damaged (names the page where one is), locked by a password, or has absurdly many pages.
    """
    told = Inspection()
    with refused("The document"), _opened(job) as pdf:
        pages, remarks = _pages(job, pdf)
        _refuse_bombs(pdf, float(job.limits["max_unpacked_ratio"]))
        _prove(pdf, pages, remarks, told)
        resources = _Resources(pages, float(job.limits["max_megapixels"]))
        told.embedded = _embedded(pdf)
        told.technical = _technical(pdf, pages, told.embedded) | resources.technical()
    # by its stream: the path may be that of a nameless file in memory, which PDFium does not open
    with refused("The document"), job.path.open("rb") as stream:
        _draw(job, stream, told)
    return told


@contextmanager
def _opened(job: Job) -> Iterator[pikepdf.Pdf]:
    if _cut_off(job):
        raise Unusable("The document is cut off: its end is missing.", remedy=AGAIN)
    try:
        pdf = pikepdf.open(job.path)
    except pikepdf.PasswordError as error:
        raise locked("The document") from error
    with pdf:
        yield pdf


def _cut_off(job: Job) -> bool:
    """Tell whether the end is missing: no end mark, or shorter than a linearized file says (ISO 32000-2, F.2)."""
    size = job.path.stat().st_size
    with job.path.open("rb") as stream:
        head = stream.read(_TAIL)
        stream.seek(max(0, size - _TAIL))
        tail = stream.read(_TAIL).rstrip(b"\0 \r\n\t")
    if claimed := re.search(rb"/Linearized\b[^>]*?/L\s+(\d+)", head):
        return int(claimed[1]) > size
    return b"%%EOF" not in tail and not re.search(rb"startxref\s+\d+$", tail)


def _pages(job: Job, pdf: pikepdf.Pdf) -> tuple[list[Any], list[str]]:
    """Return the pages, and what qpdf remarked while it opened the file; it says each remark once."""
    count, most = len(pdf.pages), int(job.limits["max_pages"])
    claimed: Any = pdf.Root.Pages.get("/Count")
    if count > most:
        raise Unusable(
            f"The document has {count:,} pages; at most {most:,} are accepted.", remedy="Ask for it in parts."
        )
    if count == 0:
        raise Unusable("The document has no page that can be found.", remedy=AGAIN)
    remarks = [str(remark) for remark in pdf.get_warnings()]
    if remarks and isinstance(claimed, int) and claimed > count:
        raise Unusable(f"The document is damaged: of {claimed:,} pages only {count:,} can be found.", remedy=AGAIN)
    job.more_time(_PATIENCE_IN_ALL + count * _A_PAGE)
    return list(pdf.pages), remarks


def _refuse_bombs(pdf: pikepdf.Pdf, most_ratio: float) -> None:
    """Refuse streams that unpack to absurd lengths; looked at are those that can, in small pieces."""
    for item in pdf.objects:
        if not isinstance(item, pikepdf.Stream):
            continue
        named = item.get("/Filter")
        filters = [str(name) for name in named] if isinstance(named, pikepdf.Array) else [str(named)]
        packed = filters.count("/FlateDecode") + filters.count("/Fl")
        length = _number(item.get("/Length"))
        if packed == 0 or (packed == 1 and length * _ZLIB_MOST < _HARMLESS):
            continue
        # a picture may be as long as its pixels are, of up to four inks, however well it packs
        pixels = _number(item.get("/Width")) * _number(item.get("/Height")) * _number(item.get("/BitsPerComponent", 8))
        most = max(_HARMLESS, round(length * most_ratio), pixels // 2 if item.get("/Subtype") == "/Image" else 0)
        if filters[0] in ("/FlateDecode", "/Fl") and _unpacked(item.read_raw_bytes(), packed, most) > most:
            raise Unusable(
                f"A part of the document's {length:,} bytes unpacks to more than {most:,}.",
                remedy="It may be made to harm; ask for another one.",
            )


def _unpacked(data: bytes, times: int, most: int) -> int:
    """Return how long packed data are unpacked, up to a little more than ``most``; what is damaged ends early."""
    unpackers = [zlib.decompressobj() for _ in range(times)]
    pieces: Iterator[bytes] = (data[at : at + _PIECE] for at in range(0, len(data), _PIECE))
    for unpacker in unpackers:
        pieces = _through(unpacker, pieces)
    total = 0
    try:
        for piece in pieces:
            total += len(piece)
            if total > most:
                break
    except zlib.error:
        pass  # that is told with its page, by who decodes it
    return total


def _through(unpacker: Any, pieces: Iterator[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        while piece:
            yield unpacker.decompress(piece, _PIECE)
            piece = unpacker.unconsumed_tail


def _prove(pdf: pikepdf.Pdf, pages: list[Any], remarks: list[str], told: Inspection) -> None:
    """Decode every stream once. :raises Unusable: one can't be decoded; names its page."""
    remarks = remarks + pdf.check_pdf_syntax()
    broken = [remark for remark in remarks if _BROKEN.search(remark)]
    if any("bad_alloc" in remark for remark in broken):
        raise MemoryError
    if broken:
        page = _page_of(broken, pages)
        place = f"page {page} of {len(pages)}" if page else "a part that belongs to no page"
        raise Unusable(f"The document is damaged: {place} can't be decoded. ({_plain(broken[0])})", remedy=AGAIN)
    if remarks:
        told.notes.append(f"The document breaks the PDF standard, but can be read. ({_plain(remarks[0])})")


def _plain(remark: str) -> str:
    """Return what qpdf says without the file's name and the place in it."""
    remark = re.sub(r"^(WARNING|ERROR): ", "", remark)
    return tidy(re.sub(r"^(/\S+|stream <[^>]*>)( \((?:object|offset)[^)]*\))?:? ", "", remark))


def _page_of(remarks: list[str], pages: list[Any]) -> int | None:
    """Return which page a broken stream belongs to, from 1; None where no page uses it."""
    for remark in remarks:
        if named := _PAGE.search(remark):
            return int(named[1])
    wanted = {(int(found[1]), int(found[2])) for remark in remarks for found in _OBJECT.finditer(remark)}
    for number, page in enumerate(pages, start=1):
        if wanted & _reached(page.obj):
            return number
    return None


def _reached(top: Any, most: int = 2000) -> set[tuple[int, int]]:
    """Return the objects that a page uses, by number; not those of its parent and its links."""
    seen: set[tuple[int, int]] = set()
    todo = [top]
    while todo and len(seen) < most:
        item = todo.pop()
        if isinstance(item, pikepdf.Object) and item.is_indirect:
            if item.objgen in seen:
                continue
            seen.add(item.objgen)
        if isinstance(item, pikepdf.Array):
            todo += list(item)
        elif isinstance(item, pikepdf.Dictionary | pikepdf.Stream):
            todo += [value for key, value in item.items() if key not in ("/Parent", "/Annots", "/B", "/P", "/Dest")]
    return seen


# -------------------------------------------------------------------------------------------- what it says


class _Resources:
    """Fonts, colour spaces and pictures that the pages use, each looked at once."""

    def __init__(self, pages: list[Any], most_megapixels: float) -> None:
        self.fonts: dict[str, bool] = {}
        self.spaces: set[str] = set()
        self.spots: set[str] = set()
        self.pictures = 0
        self._most = most_megapixels
        self._seen: set[tuple[int, int]] = set()
        for number, page in enumerate(pages, start=1):
            with refused(f"Page {number} of {len(pages)}"):
                self._of(page.obj.get("/Resources") or _inherited(page.obj, "/Resources"), number, 0)

    def technical(self) -> dict[str, Any]:
        """Return them as :attr:`Inspection.technical` keeps them."""
        return {
            "fonts": [{"name": name, "embedded": inside} for name, inside in sorted(self.fonts.items())],
            "colour_spaces": sorted(self.spaces),
            "spot_colours": sorted(self.spots),
            "pictures": self.pictures,
        }

    def _new(self, item: Any) -> bool:
        if not isinstance(item, pikepdf.Object):
            return False
        if item.is_indirect:
            if item.objgen in self._seen:
                return False
            self._seen.add(item.objgen)
        return True

    def _of(self, resources: Any, page: int, depth: int) -> None:
        if not isinstance(resources, pikepdf.Dictionary) or not self._new(resources) or depth > 16:
            return
        for font in _values(resources, "/Font"):
            if self._new(font):
                self._font(font)
        for space in _values(resources, "/ColorSpace"):
            self._space(space)
        for thing in _values(resources, "/XObject"):
            if not isinstance(thing, pikepdf.Stream) or not self._new(thing):
                continue
            if thing.get("/Subtype") == "/Image":
                self._picture(thing, page)
            else:
                self._of(thing.get("/Resources"), page, depth + 1)

    def _font(self, font: Any) -> None:
        if not isinstance(font, pikepdf.Dictionary):
            return
        own: Any = font
        if isinstance(below := font.get("/DescendantFonts"), pikepdf.Array) and len(below):
            own = below[0]
        name = re.sub(r"^[A-Z]{6}\+", "", str(font.get("/BaseFont", "")).lstrip("/"))
        described = own.get("/FontDescriptor") if isinstance(own, pikepdf.Dictionary) else None
        drawn = font.get("/Subtype") == "/Type3"
        inside = drawn or (
            isinstance(described, pikepdf.Dictionary)
            and any(key in described for key in ("/FontFile", "/FontFile2", "/FontFile3"))
        )
        if name or not drawn:
            self.fonts[name or "(unnamed)"] = self.fonts.get(name, True) and inside

    def _space(self, space: Any) -> None:
        if isinstance(space, pikepdf.Name):
            self.spaces.add(str(space).lstrip("/"))
        if not isinstance(space, pikepdf.Array) or not len(space) or not self._new(space):
            return
        kind = str(space[0]).lstrip("/")
        if kind == "ICCBased" and len(space) > 1 and isinstance(space[1], pikepdf.Stream):
            kind = {1: "ICC grey", 3: "ICC RGB", 4: "ICC CMYK"}.get(_number(space[1].get("/N")), "ICC")
        self.spaces.add(kind)
        if kind in ("Separation", "DeviceN") and len(space) > 1:
            names = [space[1]] if kind == "Separation" else list(space[1])
            self.spots |= {str(name).lstrip("/") for name in names} - _PROCESS
        if kind == "Indexed" and len(space) > 1:
            self._space(space[1])

    def _picture(self, picture: Any, page: int) -> None:
        self.pictures += 1
        width, height = _number(picture.get("/Width")), _number(picture.get("/Height"))
        if width * height / 1e6 > self._most:
            raise Unusable(
                f"A picture on page {page} claims to be {width} × {height} pixels.",
                remedy=f"At most {self._most:g} megapixels are accepted; ask for a smaller file.",
            )
        self._space(picture.get("/ColorSpace"))
        if picture.get("/Filter") == "/JPXDecode":
            try:
                inner.picture(picture.read_raw_bytes(), self._most)
            except pictures.NoDecoder:
                return
            except BadInput as error:
                raise Unusable(f"A picture on page {page} is damaged. ({tidy(error)})", remedy=AGAIN) from error


def _values(resources: Any, kind: str) -> list[Any]:
    within = resources.get(kind)
    return [value for _, value in within.items()] if isinstance(within, pikepdf.Dictionary) else []


def _number(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return 0


def _inherited(page: Any, key: str) -> Any:
    """Return a page's attribute that it may have from the pages above it."""
    for _ in range(64):
        if key in page:
            return page[key]
        above = page.get("/Parent")
        if not isinstance(above, pikepdf.Dictionary):
            return None
        page = above
    return None


def _technical(pdf: pikepdf.Pdf, pages: list[Any], told: dict[str, Any]) -> dict[str, Any]:
    sizes: list[list[float]] = []
    for page in pages:
        size = _size(page.obj, "/CropBox") or _size(page.obj, "/MediaBox")
        if size and size not in sizes and len(sizes) < 20:
            sizes.append(size)
    first = pages[0].obj
    conformance = told.get("Xmp.pdfaid.conformance", "")
    intents = [
        str(intent.get("/OutputConditionIdentifier") or intent.get("/OutputCondition") or intent.get("/Info") or "")
        for intent in (pdf.Root.get("/OutputIntents") or [])
        if isinstance(intent, pikepdf.Dictionary)
    ]
    known = {
        "pages": len(pages),
        "page_mm": sizes[0] if sizes else None,
        "page_sizes_mm": sizes,
        "trim_mm": _size(first, "/TrimBox"),
        "bleed_mm": _size(first, "/BleedBox"),
        "pdf_version": pdf.pdf_version,
        "pdf_x": next((told[key] for key in _PDF_X if key in told), None),
        "pdf_a": f"PDF/A-{told['Xmp.pdfaid.part']}{conformance}" if "Xmp.pdfaid.part" in told else None,
        "pdf_ua": "Xmp.pdfuaid.part" in told,
        "output_intents": [intent for intent in intents if intent],
        "tagged": "/StructTreeRoot" in pdf.Root,
        "language": str(pdf.Root.get("/Lang", "")) or None,
        "encrypted": pdf.is_encrypted,
    }
    return {name: value for name, value in known.items() if value not in (None, [], "")}


def _size(page: Any, key: str) -> list[float] | None:
    """Return a box's width and height in mm as the page is seen: turned, and in its own unit."""
    box = _inherited(page, key)
    try:
        left, bottom, right, top = (float(side) for side in box)
        unit = float(page.get("/UserUnit", 1)) * _MM
        turned = int(_inherited(page, "/Rotate") or 0) % 180 == 90
    except (TypeError, ValueError, OverflowError):
        return None
    size = [round(abs(right - left) * unit, 1), round(abs(top - bottom) * unit, 1)]
    return size[::-1] if turned else size


def _embedded(pdf: pikepdf.Pdf) -> dict[str, Any]:
    """Return document information as ``PDF.Title`` …, dates as ISO 8601, and the XMP packet by exiv2's keys."""
    told: dict[str, Any] = {}
    info = pdf.trailer.get("/Info")
    for key, value in info.items() if isinstance(info, pikepdf.Dictionary) else ():
        if isinstance(value, pikepdf.String | pikepdf.Name | bool | int):
            text = str(value).lstrip("/") if isinstance(value, pikepdf.Name) else str(value)
            told[f"PDF.{key.lstrip('/')}"] = _date(text) if "Date" in key else text
    packet = pdf.Root.get("/Metadata")
    if isinstance(packet, pikepdf.Stream):
        told |= xmp.read(packet.read_bytes())
    return embedded.clean(told)


def _date(text: str) -> str:
    """Return a date of PDF (``D:20270301120000+01'00'``) as ISO 8601; anything else as it is."""
    match = re.match(r"D?:?(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?\s*(Z|[+-]\d\d'?\d?\d?)?", text)
    if not match:
        return text
    year, month, day, hour, minute, second, zone = match.groups()
    iso = f"{year}-{month or '01'}-{day or '01'}T{hour or '00'}:{minute or '00'}:{second or '00'}"
    if zone and zone != "Z":
        iso += zone[:3] + ":" + (zone[3:].strip("'") or "00")
    try:
        return datetime.fromisoformat(iso + ("Z" if zone == "Z" else "")).isoformat()
    except ValueError:
        return text


# ------------------------------------------------------------------------------------------------- drawing


def _draw(job: Job, stream: BinaryIO, told: Inspection) -> None:
    """Open every page, take its text, and draw the first ones."""
    try:
        document = pdfium.PdfDocument(stream)
    except pdfium.PdfiumError as error:
        if "assword" in str(error):
            raise locked("The document") from error
        raise unusable("The document", error) from error
    try:
        document.init_forms()
        count, words, room = len(document), [], int(job.limits["max_text"])
        until = time.monotonic() + _PATIENCE
        for number in range(1, count + 1):
            try:
                page = document[number - 1]
            except pdfium.PdfiumError as error:
                raise Unusable(f"Page {number} of {count} is damaged. ({tidy(error)})", remedy=AGAIN) from error
            if room > 0:
                words.append(_text(page, room))
                room -= len(words[-1])
            if number == 1 or (number <= int(job.limits["page_proofs"]) and time.monotonic() < until):
                picture = _picture(job, page)
                if number == 1:
                    proofs.of_picture(job, picture, told)
                proofs.of_page(job, picture, told, number)
            page.close()
    finally:
        document.close()
    del told.technical["transparent"]  # paper is not
    told.words = "\n".join(filter(None, words))
    made = sum(proof.name.startswith("page-") for proof in told.proofs)
    if made < count:
        told.notes.append(f"Pictures were made of the first {made} of {count:,} pages.")
    if "saved without PDF Content" in told.words[:2000]:
        told.notes.append("It was saved without PDF content: Illustrator alone can show it.")


def _text(page: Any, room: int) -> str:
    lines = page.get_textpage()
    try:
        return " ".join(lines.get_text_bounded()[:room].split())
    except pdfium.PdfiumError:
        return ""
    finally:
        lines.close()


def _picture(job: Job, page: Any) -> Any:
    """Draw a page as large as a preview, on white."""
    width, height = page.get_size()
    across, down = proofs.box(job)
    bitmap = page.render(scale=min(across / max(width, 1e-3), down / max(height, 1e-3)), rev_byteorder=True)
    try:
        return inner.from_array(bitmap.to_numpy()[:, :, :3]).copy_memory()
    finally:
        bitmap.close()
