"""Tags from what a file says of itself and what can be seen, always terms of the vocabulary."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from dam import audit
from dam.catalog.models import Tag, Version, new_id, utcnow
from dam.ingest import embedded
from dam.taxonomy import Taxonomy, sync_terms

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.services import Services

#: Version of these taggers together; part of every tag, so that a later tagger's work can be told apart.
MODEL_VERSION = "1"


@dataclass(frozen=True, slots=True)
class Said:
    """A tagger's word: the term, who said it, and how sure it is (0..1)."""

    term_id: str
    source: str
    confidence: float


def tag_versions(services: Services, *, version_ids: list[str], run: str | None = None) -> int:
    """Tag versions that are in the catalogue; see :func:`tag`. Returns how many tags were added."""
    if not version_ids:
        return 0
    sync_terms(services)
    added = 0
    for version_id in version_ids:
        with services.session() as session:
            added += tag(services, session, session.get_one(Version, version_id), run=run)
    return added


def tag(services: Services, session: Session, version: Version, *, run: str | None = None) -> int:
    """Tag a version from embedded keywords, names, campaign words and visible attributes, in ``session``.

    A tag below the threshold is a suggestion. Tags that are there already, a person's among them, stay.

    :returns: how many tags were added.
    """
    threshold = services.taxonomy.limits.tag_threshold
    rows = [
        {
            "id": new_id("tag"),
            "version_id": version.id,
            "term_id": said.term_id,
            "source": said.source,
            "model_version": MODEL_VERSION,
            "confidence": said.confidence,
            "status": "applied" if said.confidence >= threshold else "suggested",
            "created_at": utcnow(),
        }
        for said in _all(services.taxonomy, version)
    ]
    if not rows:
        return 0
    made = session.scalars(insert(Tag).values(rows).on_conflict_do_nothing().returning(Tag.term_id)).all()
    if made:
        audit.record(
            session,
            actor="airflow",
            action="version.tagged",
            subject_id=version.id,
            data={"terms": sorted(set(made))},
            run=run,
        )
    return len(made)


def _all(taxonomy: Taxonomy, version: Version) -> Iterator[Said]:
    """Yield what the taggers say, each term once a source."""
    seen: set[tuple[str, str]] = set()
    for tagger in (_embedded, _filename, _deliverable, _visible):
        for said in tagger(taxonomy, version):
            if (said.term_id, said.source) not in seen:
                seen.add((said.term_id, said.source))
                yield said


def _embedded(taxonomy: Taxonomy, version: Version) -> Iterator[Said]:
    for word in embedded.keywords(version.embedded, taxonomy.metadata):
        if term := taxonomy.vocabulary.find(word):
            yield Said(term, "embedded", 0.9)


def _filename(taxonomy: Taxonomy, version: Version) -> Iterator[Said]:
    for word in re.split(r"[^A-Za-z]+", version.filename.rpartition(".")[0]):
        if len(word) > 2 and (term := taxonomy.vocabulary.find(word)):
            yield Said(term, "filename", 0.7)


def _deliverable(taxonomy: Taxonomy, version: Version) -> Iterator[Said]:
    deliverable = version.asset.deliverable if version.asset else None
    for word in re.split(r"\W+", deliverable.title) if deliverable else []:
        if len(word) > 2 and (term := taxonomy.vocabulary.find(word)):
            yield Said(term, "brief", 0.65)


def _visible(taxonomy: Taxonomy, version: Version) -> Iterator[Said]:
    if version.width and version.height:
        ratio = version.width / version.height
        shape = "landscape" if ratio > 1.05 else "portrait" if ratio < 0.95 else "square"
        yield Said(f"orientation/{shape}", "visible", 1.0)
    for index, colour in enumerate(version.technical.get("colours", [])):
        if f"colour/{colour}" in taxonomy.vocabulary:
            yield Said(f"colour/{colour}", "visible", 0.8 if index == 0 else 0.6)
    if version.technical.get("has_alpha"):
        yield Said("technique/transparent", "visible", 0.75)


def terms_of(services: Services, *, version_id: str) -> list[str]:
    """Return the ids of the terms applied to a version."""
    with services.session() as session:
        return sorted(
            set(session.scalars(select(Tag.term_id).where(Tag.version_id == version_id, Tag.status == "applied")))
        )
