"""What another vocabulary would make of the library's tags: what the taggers of the gate would say anew or no more."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import String, cast, func, or_, select

from dam.catalog.models import BatchFile, Description, Tag, Version, VersionState
from dam.enrich import taggers, tags
from dam.enrich.retag.compare import ready
from dam.plan import briefs
from dam.taxonomy.languages import primary
from dam.taxonomy.words import forms, tokens

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.services import Services
    from dam.taxonomy import Taxonomy, Vocabulary
    from dam.taxonomy.changes import Change

_SAMPLES = 5


@dataclass
class Effect:
    """What a change of the vocabulary does.

    :param looked_at: versions that may be touched and were looked at. :param left: those that were not, for want of
        time. :param versions: that would get or lose a tag. :param added: term → tags more. :param removed: term →
        tags less. :param samples: of versions, with what changes. :param standing: tags that stand on terms that are
        gone or deprecated now: term → by machines and by people.
    """

    looked_at: int = 0
    left: int = 0
    versions: int = 0
    added: Counter[str] = field(default_factory=Counter)
    removed: Counter[str] = field(default_factory=Counter)
    samples: list[dict[str, Any]] = field(default_factory=list)
    standing: dict[str, dict[str, int]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON keeps it."""
        return {
            "looked_at": self.looked_at,
            "left": self.left,
            "versions": self.versions,
            "added": dict(self.added.most_common()),
            "removed": dict(self.removed.most_common()),
            "samples": self.samples,
            "standing": self.standing,
        }


def effect(services: Services, old: Vocabulary, new: Vocabulary, changes: list[Change], *, most: int = 5000) -> Effect:
    """Return what the taggers of the gate would say otherwise with a new vocabulary; nothing is written.

    :param most: look at no more versions than this.
    """
    told = Effect()
    terms = [change for change in changes if "/" in change.id]
    asked = [tagger for tagger in services.taggers if not taggers.afterwards(tagger)]
    before, after = services.taxonomy.with_vocabulary(old), services.taxonomy.with_vocabulary(new)
    with services.session() as session:
        told.standing = _standing(session, [c.id for c in terms if c.kind in ("removed", "deprecated")])
        touched = (
            select(Version.id)
            .where(Version.asset_id.is_not(None), Version.state != VersionState.DESTROYED, _mentions(old, new, terms))
            .where(Version.batch_id.not_in(briefs.BATCHES))
        )
        told.left = max(0, (session.scalar(select(func.count()).select_from(touched.subquery())) or 0) - most)
        ids = session.scalars(touched.order_by(Version.id.desc()).limit(most)).all()
        for start in range(0, len(ids), 200):
            query = select(Version).where(Version.id.in_(ids[start : start + 200])).order_by(Version.id.desc())
            for version in session.scalars(ready(query)):
                _look(services, session, version, asked, before, after, told)
            session.expunge_all()
    return told


def _mentions(old: Vocabulary, new: Vocabulary, terms: list[Change]) -> Any:
    """Return a condition for versions that have one of the terms, or one of the words that changed."""
    ids = {change.id for change in terms}
    conditions: list[Any] = [select(Tag.id).where(Tag.version_id == Version.id, Tag.term_id.in_(ids)).exists()]
    for word in sorted({_stem(label, old, new) for change in terms for label in (*change.words, *change.lost)}):
        if not word:
            continue
        conditions += [
            Version.filename.icontains(word, autoescape=True),
            Version.words.icontains(word, autoescape=True),
            cast(Version.embedded, String).icontains(word, autoescape=True),
            select(BatchFile.id)
            .where(BatchFile.version_id == Version.id, BatchFile.path.icontains(word, autoescape=True))
            .exists(),
            select(Description.version_id)
            .where(Description.version_id == Version.id, Description.title.icontains(word, autoescape=True))
            .exists(),
        ]
    return or_(*conditions)


def _stem(label: str, old: Vocabulary, new: Vocabulary) -> str:
    """Return what all forms of a label's longest word have in common, to look for in the database."""
    words = tokens(label)
    if not words:
        return ""
    word = max(words, key=len)
    spoken = {primary(tag) for tag in (*old.matcher.languages, *new.matcher.languages)}
    return min((form for language in spoken for form in forms(word, language)), key=len, default=word)


def _look(
    services: Services,
    session: Session,
    version: Version,
    asked: list[taggers.Tagger],
    before: Taxonomy,
    after: Taxonomy,
    told: Effect,
) -> None:
    told.looked_at += 1
    people = tags.people_of((tag.term_id, tag.source, tag.status) for tag in version.tags)
    sides = []
    for taxonomy in (before, after):
        said: dict[tuple[str, str], str] = {}
        for tagger in asked:
            words = tagger.say(session, version, taxonomy)
            for row in tags.rows_of(services, tagger, version, words, people, taxonomy.vocabulary):
                if row["term_id"] not in people.decided:
                    said[row["term_id"], row["source"]] = row["because"]
        sides.append(said)
    one, other = sides
    more, less = sorted(set(other) - set(one)), sorted(set(one) - set(other))
    if not more and not less:
        return
    told.versions += 1
    told.added.update(term_id for term_id, _ in more)
    told.removed.update(term_id for term_id, _ in less)
    if len(told.samples) < _SAMPLES:
        told.samples.append(
            {
                "version_id": version.id,
                "filename": version.filename,
                "added": [f"{key[0]} ({key[1]}: {other[key]})" for key in more],
                "removed": [f"{key[0]} ({key[1]}: {one[key]})" for key in less],
            }
        )


def _standing(session: Session, term_ids: list[str]) -> dict[str, dict[str, int]]:
    person = Tag.source.like("person:%")
    rows = session.execute(
        select(Tag.term_id, func.count().filter(person), func.count().filter(~person))
        .where(Tag.term_id.in_(term_ids), Tag.status != "refused")
        .group_by(Tag.term_id)
        .order_by(Tag.term_id)
    )
    return {term_id: {"by_people": people, "by_taggers": machines} for term_id, people, machines in rows}
