"""Taggers that read words: keywords in the file, names, the brief, and text inside."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, select

from dam.catalog.models import BatchFile
from dam.catalog.models import Brief as BriefRow
from dam.enrich.taggers import Said, Tagger
from dam.ingest import embedded
from dam.taxonomy.languages import looks_like
from dam.taxonomy.words import Hit

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.catalog.models import Version
    from dam.taxonomy import Taxonomy

#: So much of the text inside is read.
MOST_TEXT = 200_000


_PATHS = select(BatchFile.path).where(BatchFile.version_id == bindparam("version_id")).order_by(BatchFile.id)


class _Words(Tagger):
    """What the taggers here have in common: the model is the vocabulary's labels."""

    @property
    def model(self) -> str:
        return "labels"

    @property
    def version(self) -> str:
        return "2"


class Embedded(_Words):
    """Keywords inside the file that are, or hold, a label."""

    def say(self, session: Session, version: Version, taxonomy: Taxonomy) -> Iterable[Said]:
        """Return terms: a keyword that is a label counts for more than one that only holds it."""
        matcher, language = taxonomy.vocabulary.matcher, language_of(version)
        found: dict[str, Said] = {}
        for word in embedded.keywords(version.embedded, taxonomy.metadata):
            if named := matcher.named(word, language) or matcher.named(word):
                found.setdefault(named[0], Said(named[0], 0.9, f"the keyword “{word}”"))
        for word in embedded.keywords(version.embedded, taxonomy.metadata):
            for hit in matcher.search(word, language):
                found.setdefault(hit.term_id, Said(hit.term_id, 0.55, f"“{hit.label}” in the keyword “{word}”"))
        return found.values()


class Filename(_Words):
    """Words in the names of the file and of the folders it came in."""

    def say(self, session: Session, version: Version, taxonomy: Taxonomy) -> Iterable[Said]:
        """Return terms: the file's name counts for more than a folder's, which names many files."""
        paths = session.scalars(_PATHS, {"version_id": version.id})
        names = [PurePosixPath(version.filename).stem]
        folders: list[str] = []
        for path in map(PurePosixPath, paths):
            names.append(path.stem)
            folders += path.parent.parts
        matcher = taxonomy.vocabulary.matcher
        found: dict[str, Said] = {}
        for words, confidence, place in ((names, 0.7, "file's"), (folders, 0.6, "folder's")):
            for name in dict.fromkeys(words):
                for hit in _long(matcher.search(spaced(name))):
                    found.setdefault(
                        hit.term_id, Said(hit.term_id, confidence, f"“{hit.label}” in the {place} name “{name}”")
                    )
        return found.values()


class Brief(_Words):
    """Words of the deliverable's title, and of its campaign and brief."""

    def say(self, session: Session, version: Version, taxonomy: Taxonomy) -> Iterable[Said]:
        """Return terms: the title is about this very work, the campaign about all of it: only a suggestion."""
        if version.asset is None:
            return []
        deliverable, campaign = version.asset.deliverable, version.asset.campaign
        texts = [(deliverable.title, 0.65, "the deliverable's title")] if deliverable else []
        if campaign:
            texts.append((campaign.name, 0.4, "the campaign's name"))
        if deliverable and (brief := session.get(BriefRow, deliverable.brief_id)):
            texts += [
                (text, 0.4, f"the brief's {name}")
                for name in ("goals", "audience")
                if isinstance(text := brief.content.get(name), str)
            ]
        found: dict[str, Said] = {}
        for text, confidence, place in texts:
            for hit in _long(taxonomy.vocabulary.matcher.search(text)):
                found.setdefault(hit.term_id, Said(hit.term_id, confidence, f"“{hit.label}” in {place}"))
        return found.values()


class Text(_Words):
    """Words on pages, slides and drawings. Said once it is a suggestion; said often, a tag."""

    def say(self, session: Session, version: Version, taxonomy: Taxonomy) -> Iterable[Said]:
        """Return terms, the surer the oftener their labels stand in the text."""
        return said_of_text(version.words or "", taxonomy, language_of(version))


def said_of_text(text: str, taxonomy: Taxonomy, language: str | None) -> Iterator[Said]:
    """Yield the terms that a running text names, the surer the oftener."""
    counts: Counter[str] = Counter()
    best: dict[str, Hit] = {}
    for hit in _long(taxonomy.vocabulary.matcher.search(text[:MOST_TEXT], language)):
        counts[hit.term_id] += 1
        first = best.setdefault(hit.term_id, hit)
        if hit.rank < first.rank:
            best[hit.term_id] = hit
    for term_id, count in counts.items():
        hit = best[term_id]
        confidence = 0.35 + 0.1 * min(count, 5) + (0.05 if hit.rank == 0 else 0)
        times = "once" if count == 1 else f"{count} times"
        yield Said(term_id, round(confidence, 2), f"“{hit.label}” {times} in the text inside")


def spaced(name: str) -> str:
    """Return a file's or folder's name as words: ``SunnyBeach_launch-pad02`` → ``Sunny Beach launch pad 02``."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[^\W\d])(?=\d)|(?<=\d)(?=[^\W\d])", " ", name)
    return " ".join(re.split(r"[\W_]+", apart))


def language_of(version: Version) -> str | None:
    """Return the language a version is described in, where it says so."""
    told = version.description.language if version.description else None
    return told if looks_like(told) else None


def _long(hits: Iterable[Hit]) -> Iterator[Hit]:
    """Leave out labels of one or two Latin letters: in names and running text they are mostly something else."""
    return (hit for hit in hits if len(hit.label) > 2 or not hit.label.isascii())
