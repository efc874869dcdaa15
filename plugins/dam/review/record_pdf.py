"""A signed record as PDF: for people to read and file, and by its attachment as good a proof as the JSON.

Everything on its pages comes from the record, so that the same record gives the same bytes; verification sets it
again and compares. How they look is :mod:`dam.pages`.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from reportlab.lib.units import mm
from reportlab.lib.utils import ImageReader
from reportlab.platypus import Flowable, KeepTogether, Spacer
from sqlalchemy import select

from dam import pages
from dam.catalog.models import Rendition
from dam.errors import BadInput, DamError
from dam.review.record import PICTURE, as_bytes

if TYPE_CHECKING:
    from dam.services import Services

ATTACHMENT = "record.json"
#: Raised when the pages are set otherwise: what was set before can't be set again to the same bytes.
LAYOUT = 1
COLOUR = {"approve": "#1a7f4b", "approved": "#1a7f4b", "reject": "#b3261e", "rejected": "#b3261e"}
THUMB = 30 * mm


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
    record = document["record"]
    sheet = pages.Sheet(
        title=_title(record),
        subject=f"SHA-256 {document['sha256']}",
        foot=f"SHA-256 {document['sha256']}",
        identifier=f"urn:sha256:{document['sha256']}",
        producer=pages.producer("record", LAYOUT),
        moment=_latest(record),
        attachment=(ATTACHMENT, as_bytes(document), "The signed record; `dam record verify` reads it."),
    )
    return pages.build(sheet, lambda: _story(record, document, pictures))


# ------------------------------------------------------------------------------------------------ reading


def attached(content: bytes, *, where: str) -> bytes:
    """Return the JSON that a record's PDF carries. :raises BadInput: it carries none."""
    import pikepdf

    try:
        found = pages.attached(content, ATTACHMENT)
    except pikepdf.PdfError as error:
        raise BadInput(f"can't be read: {error}", where=where, remedy="Ask for the file again.") from error
    if found is not None:
        return found
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


# ------------------------------------------------------------------------------------------------ pictures


class _Picture(Flowable):  # type: ignore[misc]  # ReportLab is not typed
    """A picture in a square frame, so that what is beside it stands at the same place whatever its shape."""

    def __init__(self, data: bytes | None, text: str) -> None:
        super().__init__()
        self.data, self.text = data, text
        self.width = self.height = THUMB

    def draw(self) -> None:
        if self.data is None:
            with pages.artifact(self.canv):
                self.canv.setStrokeColor(pages.LINE)
                self.canv.rect(0, 0, THUMB, THUMB)
            return
        image = ImageReader(io.BytesIO(self.data))
        width, height = image.getSize()
        scale = THUMB / max(width, height)
        self.canv.tags.begin(self.canv, "Figure", self.text)
        self.canv.drawImage(image, 0, THUMB - height * scale, width * scale, height * scale)
        self.canv.tags.end(self.canv)


def _latest(record: dict[str, Any]) -> datetime:
    """Return the moment the record stands for: that of the newest anchor, or else of its freezing."""
    moments = [anchor["at"] for anchor in record["proof"]["anchors"]] or [record["package"]["frozen_at"]]
    return max(datetime.fromisoformat(moment) for moment in moments)


# ------------------------------------------------------------------------------------------------- words


def _title(record: dict[str, Any]) -> str:
    package = record["package"]
    return f"Record of a review: {package['campaign'] or 'package'}{_brief(record)}, round {package['round']}"


def _brief(record: dict[str, Any]) -> str:
    """Return which brief was signed, to be said after the campaign; nothing where it was no brief."""
    brief = record["manifest"].get("brief")
    return f", brief {brief['number']}" if brief else ""


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
    return f"<font name='Bold'{colour}>{pages.seen(text)}</font>"


# ------------------------------------------------------------------------------------------------- pages


def _story(record: dict[str, Any], document: dict[str, Any], pictures: Mapping[str, bytes]) -> list[Any]:
    story = [*_head(record, document), pages.Told("Signatures", pages.H2)]
    story += [_decision(record, decision) for decision in record["decisions"]]
    story += list(_unsigned(record))
    if record["guests"]:
        story.append(pages.Told("External reviewers", pages.H2))
        story += [_guest(record, guest) for guest in record["guests"]]
    story.append(pages.Told("Versions", pages.H2))
    for version_id, entry in _in_order(record):
        story += _version(record, version_id, entry, pictures)
    if record["rounds_before"]:
        story.append(pages.Told("Rounds before", pages.H2))
        story += [_earlier(record, earlier) for earlier in record["rounds_before"]]
    return story + _proof(record, document)


def _head(record: dict[str, Any], document: dict[str, Any]) -> list[Any]:
    package = record["package"]
    status = package["status"]
    told = f"Round {package['round']}, {len(record['verdicts'])} versions: " + _bold(_plainly(status), status)
    return [
        pages.Told(pages.seen(f"{package['campaign'] or 'A package'}{_brief(record)}"), pages.H1),
        pages.Told(told, pages.style("lead", 11, spaceAfter=8)),
        pages.facts(
            [
                ("Package", package["id"]),
                ("Frozen", _when(package["frozen_at"])),
                ("Closed", _when(package["closed_at"]) if package["closed_at"] else "still open"),
                ("Void because", package["void_reason"]),
                ("Manifest, SHA-256", pages.Told(package["manifest_sha256"], pages.MONO)),
                ("The brief's content, SHA-256", _content(record)),
                ("This record, SHA-256", pages.Told(document["sha256"], pages.MONO)),
            ]
        ),
        Spacer(1, 4),
        pages.Told(
            "Each signature below was given for the manifest named above: the bytes, metadata and rights of every "
            "version as listed. The file carries the same as data, with its proof; the last section says how to "
            "check it.",
            pages.SMALL,
        ),
    ]


def _content(record: dict[str, Any]) -> Flowable | None:
    brief = record["manifest"].get("brief")
    return pages.Told(brief["sha256"], pages.MONO) if brief else None


def _decision(record: dict[str, Any], decision: dict[str, Any]) -> Flowable:
    verdict, met, back = decision["verdict"], decision["fulfilment"], decision["withdrawal"]
    who = _called(record, decision["person"])
    if decision["on_behalf_of"]:
        who += f", on behalf of {_called(record, decision['on_behalf_of'])}"
    said = _bold(_plainly(verdict).capitalize(), verdict) + (", on a condition" if decision["conditions"] else "")
    rows: list[tuple[str, Any]] = [
        ("Verdict", pages.Told(said, pages.TEXT)),
        ("Taken back", f"{_when(back['withdrawn_at'])}: it does not count" if back else None),
        ("Signed by", who),
        ("When", _when(decision["decided_at"])),
        ("Where", _plainly(decision["via"]) + (f", from {decision['address']}" if decision["address"] else "")),
        ("Over the manifest", pages.Told(decision["manifest_sha256"], pages.MONO)),
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
            rows.append(("Metadata, SHA-256", pages.Told(answer["metadata_sha256"], pages.MONO)))
    rows += [("Must be fixed", fix.get("body", "")) for fix in decision["must_fixes"]]
    return pages.facts_card(_plainly(decision["role"]).capitalize(), rows, colour=pages.LINE if back else pages.ACCENT)


def _unsigned(record: dict[str, Any]) -> Iterator[Flowable]:
    signed = {row["seat_id"] for row in record["decisions"] if row["withdrawal"] is None}
    for seat in record["seats"]:
        for row in seat["delegations"]:
            handed = f"{_called(record, row['person'])} handed it to {_called(record, row['deputy'])}: {row['why']}"
            yield pages.Told(f"{_bold(_plainly(seat['role']).capitalize())}: {pages.seen(handed)}.", pages.TEXT)
        if seat["id"] not in signed:
            told = f"{_bold(_plainly(seat['role']).capitalize())}: {pages.seen(_plainly(seat['status']))}, not signed."
            reason = f" {seat['reason']}" if seat["reason"] else f" It was due {_when(seat['due_at'])}."
            yield pages.Told(told + pages.seen(reason), pages.TEXT)


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
        rows.append(("Advice", pages.Told(told, pages.TEXT)))
        rows.append(("Comment", guest["advice_comment"]))
    return pages.facts_card(guest["name"], rows)


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
    width = pages.WIDTH - THUMB - 5 * mm
    facts = pages.facts(
        [
            ("Verdict", pages.Told(_bold(_plainly(verdict), verdict), pages.TEXT) if verdict else "none yet"),
            ("Title", title),
            ("Alt text", described.get("alt_text")),
            ("File", f"{entry['media_type']}, {entry['bytes']:_} bytes".replace("_", "\u00a0")),
            ("Rights", ("; ".join(rights) or "none recorded") if "rights" in entry else None),
            ("SHA-256", pages.Told(entry["sha256"], pages.MONO)),
        ],
        width=width,
        label=18 * mm,
    )
    picture = _Picture(
        pictures.get(record["pictures"].get(version_id) or ""), f"Thumbnail of {title or entry['asset']}"
    )
    style = [("VALIGN", (0, 0), (-1, -1), "TOP"), ("LEFTPADDING", (0, 0), (-1, -1), 0),
             ("RIGHTPADDING", (0, 0), (-1, -1), 0), ("TOPPADDING", (0, 0), (-1, -1), 1)]  # fmt: skip
    beside = pages.Grid(
        [[picture, [pages.Told(pages.seen(f"{entry['asset']} v{entry['number']}"), pages.H3), facts]]],
        colWidths=[THUMB + 5 * mm, width], style=style, hAlign="LEFT", spaceAfter=3,
    )  # fmt: skip
    return [KeepTogether(beside), *_notes(record, version_id), Spacer(1, 5)]


def _notes(record: dict[str, Any], version_id: str) -> Iterator[Flowable]:
    for note in record["notes"]:
        if note["version_id"] != version_id:
            continue
        head = f"{_bold(_called(record, note['author']))}, {pages.seen(_when(note['created_at']))}"
        head += f", {pages.seen(_plainly(note['kind']))}" if note["kind"] != "note" else ""
        if note["reply_to_id"]:
            head += ", in reply"
        if note["origin_id"]:
            head += ", from an earlier round"
        if note["target"]:
            head += f", at {pages.seen(_place(note['target']))}"
        parts = [pages.Told(head, pages.SMALL), pages.Told(pages.seen(note["body"]), pages.TEXT)]
        if note["resolved_by"]:
            answer = f": {note['resolution']}" if note["resolution"] else ""
            told = f"Resolved by {_called(record, note['resolved_by'])}, {_when(note['resolved_at'])}{answer}"
            parts.append(pages.Told(pages.seen(told), pages.SMALL))
        yield pages.card(parts)


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
        ("Manifest, SHA-256", pages.Told(earlier["manifest_sha256"], pages.MONO)),
    ]
    rows += [
        (
            _plainly(row["role"]).capitalize(),
            f"{_plainly(row['verdict'])}, {_called(record, row['person'])}, {_when(row['decided_at'])}"
            + (f": {row['comment']}" if row["comment"] else ""),
        )
        for row in earlier["decisions"]
    ]
    return pages.facts_card(f"Round {earlier['round']}", rows)


def _proof(record: dict[str, Any], document: dict[str, Any]) -> list[Any]:
    proof = record["proof"]
    parts = [
        pages.Told("Proof", pages.H2),
        pages.Told(
            "Everything that happens is an event in one chain of hashes. The chain is anchored at intervals: its head "
            "and the root of a Merkle tree over its newest events are signed and kept outside the database. The events "
            "of this review are listed with the anchor that each is below; the path from one to the other is in the "
            "attached data.",
            pages.TEXT,
        ),
        Spacer(1, 4),
    ]
    cells = [[pages.Told(name, pages.LABEL) for name in ("Event", "When", "Who", "What", "SHA-256")]]
    for event in proof["events"]:
        cells.append(
            [
                pages.Told(f"{event['seq']}", pages.SMALL),
                pages.Told(f"{datetime.fromisoformat(event['at']):%-d %b %Y %H:%M:%S}", pages.SMALL),
                pages.Told(pages.seen(event["actor"]), pages.SMALL),
                pages.Told(pages.seen(event["action"]), pages.SMALL),
                pages.Told(f"{event['sha256'][:24]}…", pages.MONO),
            ]
        )
    style = [("VALIGN", (0, 0), (-1, -1), "TOP"), ("LINEBELOW", (0, 0), (-1, -1), 0.4, pages.LINE),
             ("LEFTPADDING", (0, 0), (-1, -1), 0), ("TOPPADDING", (0, 0), (-1, -1), 1.5),
             ("BOTTOMPADDING", (0, 0), (-1, -1), 1.5)]  # fmt: skip
    widths = [14 * mm, 33 * mm, 34 * mm, 42 * mm, 47 * mm]
    parts.append(pages.Grid(cells, colWidths=widths, repeatRows=1, style=style, hAlign="LEFT", spaceAfter=8))
    for anchor in proof["anchors"]:
        rows = [
            ("Anchored", f"{_when(anchor['at'])}, over the events {anchor['first']} to {anchor['seq']}"),
            ("Merkle root", pages.Told(anchor["root"], pages.MONO)),
            ("Signature", pages.Told(anchor["signature"], pages.MONO)),
        ]
        parts.append(pages.facts_card("", rows))
    return [
        *parts,
        pages.Told("How to check it", pages.H2),
        pages.Told(
            f"<font name='Mono'>dam record verify</font> reads this file, without any database: it takes the attached "
            f"<font name='Mono'>{ATTACHMENT}</font>, compares every page with it, and follows every event to a signed "
            "anchor. It also says which key signed; compare that with the one the owner of the DAM has published.",
            pages.TEXT,
        ),
        pages.facts(
            [
                ("Record, SHA-256", pages.Told(document["sha256"], pages.MONO)),
                ("Signature, Ed25519", pages.Told(document["signature"], pages.MONO)),
                ("Public key", pages.Told(document["public_key"], pages.MONO)),
            ]
        ),
    ]
