"""Text: prose, tables, captions, JSON and XML; read to its end, its words kept for search."""

from __future__ import annotations

from pathlib import Path

from dam.ingest.content import HEAD
from dam.ingest.damage import AGAIN
from dam.ingest.formats import Format, known
from dam.ingest.formats import text as texts
from dam.ingest.inspection import Inspection, Job, Unusable

#: Most letters that are kept for search.
MOST_WORDS = 200_000
_BLOCK = 1 << 20


def inspect(job: Job, found: Format) -> Inspection:
    """Read a text in its encoding, to the end.

    :raises Unusable: it is no text from some place on, or JSON that does not end.
    """
    with job.path.open("rb") as stream:
        decoded = texts.decode(stream.read(HEAD))
    encoding = decoded[1] if decoded else "utf-8"
    try:
        words, letters, lines = _read(job.path, encoding)
    except UnicodeDecodeError as error:
        raise Unusable(
            f"The text is damaged: what stands at byte {error.start:,} is no letter ({encoding}).",
            remedy=AGAIN,
        ) from error
    if found is known.JSON:
        _is_json(job.path, encoding, letters)
    return Inspection(words=words, technical={"encoding": encoding, "lines": lines, "letters": letters})


def _read(path: Path, encoding: str) -> tuple[str, int, int]:
    kept: list[str] = []
    letters = lines = 0
    last = ""
    with path.open(encoding=encoding, newline=None) as stream:
        while block := stream.read(_BLOCK):
            if letters < MOST_WORDS:
                kept.append(block[: MOST_WORDS - letters])
            letters, lines, last = letters + len(block), lines + block.count("\n"), block[-1]
    return "".join(kept).replace("\x00", "").lstrip("\ufeff"), letters, lines + (last not in ("", "\n"))


def _is_json(path: Path, encoding: str, letters: int) -> None:
    import json

    if letters > 64 << 20:
        return
    try:
        json.loads(path.read_text(encoding=encoding).lstrip("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise Unusable(f"The JSON is damaged: {error}.", remedy=AGAIN) from error
