"""What a file may not be or do, whatever decodes it: looked for before anything decodes it.

Refused: programs, files that are two things at once, drawings and documents that run something or fetch
something, archives that are bombs or write outside their folder. Absurd sizes of pictures are measured by
their inspectors, from the header.
"""

from __future__ import annotations

import re

from dam.ingest.content import Content
from dam.ingest.formats import PROGRAMS, Format, known
from dam.ingest.inspection import Job, Unusable
from dam.ingest.safety import polyglots


def check(job: Job, found: Format) -> list[str]:
    """Look for what makes a file unsafe to keep among the others.

    :param job: the file and its limits. :param found: its format.
    :returns: notes for the batch's receipt on what is unusual and harmless.
    :raises Unusable: the file is refused, with a sentence for the person who sent it.
    :raises CantCheck: it is an archive that nothing here opens.
    """
    if found in PROGRAMS:
        raise Unusable(
            f"It is {PROGRAMS[found]}: those are not kept as assets.",
            remedy="Send what it shows as a picture, a film or a PDF.",
        )
    with Content(job.path) as content:
        return polyglots.check(content, found) + _by_kind(job, found, content)


def _by_kind(job: Job, found: Format, content: Content) -> list[str]:
    if found.kind == "archive":
        from dam.ingest import archives

        return archives.check(job.path, job.limits, job.name)
    if found.inspector == "svg":
        from dam.ingest.safety import svg

        return svg.check(content, int(job.limits["decoder_bytes"]) // 16)
    if found.inspector == "pdf":
        from dam.ingest.safety import pdf

        return pdf.check(content)
    if found.inspector == "office":
        from dam.ingest.safety import office

        return office.check(content, found, job.limits)
    if found.inspector == "postscript":
        _postscript(content)
    elif found is known.CSV:
        _table(content)
    return []


_PS_REACHES_OUT = re.compile(
    rb"%pipe%|(?<![\w/.-])(?:deletefile|renamefile|\.runexec|\.tempfile)(?![\w.-])|\([^()]{0,512}\)\s*\((?:w|a|r\+|w\+|a\+)\)\s*file(?![\w-])"
)


def _postscript(content: Content) -> None:
    """PostScript is a program: one that touches files or starts others is refused."""
    if hit := content.search(_PS_REACHES_OUT):
        line = content.read(0, hit[0]).count(b"\n") + 1 if hit[0] < 64 << 20 else 0
        what = hit[1][:40].decode("latin-1")
        raise Unusable(
            f"The drawing's program reaches for files or other programs (“{what}”, line {line}).",
            remedy="Ask for it as a PDF or an SVG.",
        )


#: A formula that asks another program (``=cmd|'/c …'!A1``), or fetches something.
_FORMULA = re.compile(
    rb"(?:^|[,;\t\"\r\n]) {0,16}[=+@-][^\r\n,;\t]{0,200}?"
    rb"(?:\|[^\r\n]{0,200}?!|(?:DDE|WEBSERVICE|IMPORTXML|IMPORTDATA|CALL|EXEC) {0,16}\()",
    re.IGNORECASE,
)


def _table(content: Content) -> None:
    """A spreadsheet program runs the formulas of a table when it opens it."""
    if hit := content.search(_FORMULA):
        line = content.read(0, hit[0] + 1).count(b"\n") + 1 if hit[0] < 64 << 20 else 0
        raise Unusable(
            f"The table has a formula that starts a program or fetches something (line {line}).",
            remedy="Ask for the table with values alone.",
        )
