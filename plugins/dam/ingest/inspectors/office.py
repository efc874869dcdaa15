"""Office documents: Word, Excel, PowerPoint old and new, OpenDocument, Rich Text.

Every part of a document is read to its checksum and every XML part for its form. No layout is made here: people
see the picture that the document carries of itself, or else its first lines on a sheet of paper.

Limits: text of a spreadsheet is its strings, not its numbers; Excel's binary workbooks (xlsb) are proved part by
part, and their text is not read.
"""

from __future__ import annotations

from dam.errors import BadInput
from dam.ingest import embedded, inner, packed, proofs, textpage
from dam.ingest.damage import refused
from dam.ingest.formats import Format
from dam.ingest.inspection import CantCheck, Inspection, Job, Unusable
from dam.ingest.office import SHOWN_LINES, Document, odf, ole, ooxml, rtf
from dam.renditions import pictures

#: Longest Rich Text; most of it is pictures.
_LONGEST_RTF = 500_000_000
#: A document's own picture is shown from this height on, in pixels.
_WORTH = 100


def inspect(job: Job, found: Format) -> Inspection:
    """Prove all parts of a document and read its text and properties.

    :raises Unusable: it is damaged, locked by a password, or a bomb. :raises CantCheck: it is no office document.
    """
    document = Document(room=int(job.limits["max_text"]))
    with job.path.open("rb") as stream:
        head = stream.read(8)
    with refused("The document"):
        if head.startswith(b"PK"):
            _unpack(job, document)
        elif head == b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1":
            ole.read(job.path, document)
        else:
            _read_rtf(job, document)
    told = Inspection(
        words="\n".join(document.lines),
        technical=document.technical,
        embedded=embedded.clean(document.embedded),
        notes=document.notes,
    )
    with refused("The document"):
        _show(job, document, told)
    return told


def _unpack(job: Job, document: Document) -> None:
    with packed.opened(job, "The document") as parts:
        if ooxml.CONTENT_TYPES in parts:
            ooxml.read(parts, document)
        elif odf.is_one(parts):
            odf.read(parts, document)
        else:
            raise CantCheck("It is a packed file, but no office document that is known here.")


def _read_rtf(job: Job, document: Document) -> None:
    if job.path.stat().st_size > _LONGEST_RTF:
        raise Unusable(f"The document is larger than {_LONGEST_RTF / 1e6:g} MB.", remedy="Ask for a smaller one.")
    rtf.read(job.path.read_bytes(), document)


def _show(job: Job, document: Document, told: Inspection) -> None:
    """Make preview and thumbnail of the document's own picture, or of its first lines."""
    picture = _own(job, document)
    if picture is None:
        title = str(told.embedded.get("Office.title") or "")
        page = textpage.draw(title, document.lines[:SHOWN_LINES], *proofs.box(job), table=document.table)
        picture = inner.from_array(page)
        told.notes.append("Shown are its first lines: there is no program here to lay it out.")
    proofs.of_picture(job, picture, told)
    # pages of text look alike, and so do documents from one template
    told.phash, told.colours = None, []
    told.technical.pop("transparent", None)


def _own(job: Job, document: Document) -> object | None:
    if not document.thumbnail:
        return None
    try:
        picture = inner.picture(document.thumbnail, float(job.limits["max_megapixels"]))
    except (BadInput, pictures.NoDecoder):
        return None
    return picture if picture.height >= _WORTH else None
