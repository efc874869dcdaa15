"""A brief's pages. Everything on them comes from the brief, so that the same brief gives the same bytes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token
from reportlab.lib.units import mm
from reportlab.platypus import CondPageBreak, Flowable, Spacer

from dam import pages
from dam.plan.briefs import canonical

ATTACHMENT = "brief.json"
LAYOUT = 1
#: Marks what belongs together in a list's item.
_BULLET = "•"
#: A heading with so much below it at least; what comes after may be a table over several pages.
HEADING, HEADED = pages.style("H2", 12.5, font="Bold", spaceBefore=16, spaceAfter=6), 30 * mm
LEAD = pages.style("lead", 11, spaceAfter=8)
BODY = pages.style("body", 9.6, spaceAfter=4)
ITEM = pages.style("item", 9.6, leftIndent=10, bulletIndent=1, spaceAfter=2)
_MARKDOWN = MarkdownIt("js-default", {"html": False, "linkify": False})
#: Share of a table's width that a column has at least, and the letters that count for it at most.
_LEAST, _LETTERS = 0.09, 40


def render(told: dict[str, Any]) -> bytes:
    """Set a brief.

    :param told: ``{"brief_id", "number", "title", "drafted_by", "drafted_at", "sha256", "content", "sections"}``;
        ``sections`` are headings with texts in Markdown, ``sha256`` is that of the content, which is attached.
    """
    moment = told["drafted_at"].astimezone(UTC)
    name = told["content"]["name"]
    sheet = pages.Sheet(
        title=f"Brief {told['number']}: {name}",
        subject=f"Brief {told['number']} of the campaign {name}, drafted to be signed.",
        foot=f"{told['brief_id']} · SHA-256 {told['sha256']}",
        identifier=f"urn:sha256:{told['sha256']}",
        producer=pages.producer("brief", LAYOUT),
        moment=moment,
        attachment=(ATTACHMENT, canonical(told["content"]), "The brief's content, of which the hash is printed."),
        author=told["drafted_by"],
    )
    return pages.build(sheet, lambda: _story(told, f"{moment:%-d %B %Y, %H:%M} UTC"))


def _story(told: dict[str, Any], when: str) -> list[Flowable]:
    content = told["content"]
    story: list[Flowable] = [
        pages.Told(pages.seen(content["name"]), pages.H1),
        pages.Told(pages.seen(f"{told['title']}, number {told['number']}"), LEAD),
        pages.facts(
            [
                ("Campaign", content["slug"]),
                ("Drafted", f"{when}, by {told['drafted_by']}"),
                ("Brief", told["brief_id"]),
                ("Content, SHA-256", pages.Told(told["sha256"], pages.MONO)),
            ]
        ),
        Spacer(1, 4),
        pages.Told(
            "Whoever signs this document signs the content with the hash above, which the file carries as data.",
            pages.SMALL,
        ),
    ]
    for heading, text in told["sections"]:
        story += [CondPageBreak(HEADED), pages.Told(pages.seen(heading), HEADING), *_set(text)]
    return story


def _set(text: str) -> Iterator[Flowable]:
    """Yield a Markdown text's blocks: paragraphs, items of lists, and tables."""
    tokens = _MARKDOWN.parse(text)
    at, marks = 0, []
    while at < len(tokens):
        token = tokens[at]
        if token.type == "table_open":
            end = next(index for index in range(at, len(tokens)) if tokens[index].type == "table_close")
            yield _table(tokens[at:end])
            at = end
        elif token.type in ("bullet_list_open", "ordered_list_open"):
            marks.append(0 if token.type == "ordered_list_open" else None)
        elif token.type in ("bullet_list_close", "ordered_list_close"):
            marks.pop()
        elif token.type == "list_item_open":
            marks[-1] = None if marks[-1] is None else marks[-1] + 1
        elif token.type in ("fence", "code_block"):
            yield pages.Told(pages.seen(token.content.rstrip()), pages.MONO)
        elif token.type == "inline":
            yield _paragraph(token, marks)
        at += 1


def _paragraph(token: Token, marks: list[int | None]) -> Flowable:
    if not marks:
        return pages.Told(_inline(token), BODY)
    bullet = _BULLET if marks[-1] is None else f"{marks[-1]}."
    return pages.Told(_inline(token), ITEM, bulletText=bullet)


def _inline(token: Token) -> str:
    """Return a text with its emphasis as ReportLab's markup; links and pictures are their words."""
    marks = {
        "strong_open": "<font name='Bold'>", "strong_close": "</font>",
        "softbreak": "<br/>", "hardbreak": "<br/>",
    }  # fmt: skip
    said = []
    for part in token.children or []:
        if part.type == "code_inline":
            said.append(f"<font name='Mono'>{pages.seen(part.content)}</font>")
        else:
            said.append(marks.get(part.type) or pages.seen(part.content))
    return "".join(said)


def _table(tokens: list[Token]) -> Flowable:
    rows: list[list[Token]] = []
    for token in tokens:
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline":
            rows[-1].append(token)
    head, *body = rows
    cells = [[pages.Told(_inline(cell), pages.LABEL) for cell in head]]
    cells += [[pages.Told(_inline(cell), pages.TEXT) for cell in row] for row in body]
    look = [("VALIGN", (0, 0), (-1, -1), "TOP"), ("LINEBELOW", (0, 0), (-1, -1), 0.4, pages.LINE),
            ("LEFTPADDING", (0, 0), (-1, -1), 0), ("RIGHTPADDING", (0, 0), (-1, -1), 3 * mm),
            ("TOPPADDING", (0, 0), (-1, -1), 2), ("BOTTOMPADDING", (0, 0), (-1, -1), 2)]  # fmt: skip
    return pages.Grid(cells, colWidths=_widths(rows), repeatRows=1, style=look, hAlign="LEFT", spaceAfter=6)


def _widths(rows: list[list[Token]]) -> list[float]:
    """Return the columns' widths, by the longest text in each."""
    longest = [max(min(len(row[column].content), _LETTERS) for row in rows) for column in range(len(rows[0]))]
    shares = [max(_LEAST, count / max(1, sum(longest))) for count in longest]
    return [pages.WIDTH * share / sum(shares) for share in shares]
