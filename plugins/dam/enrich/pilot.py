"""Tries the vocabulary on the library: what it covers, what it lacks, where it is unclear, and who agrees with whom."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import Integer, case, func, literal_column, select, text
from sqlalchemy.orm import aliased

from dam.catalog.models import Asset, Campaign, Deliverable, Description, Tag, Version, VersionState
from dam.enrich.taggers.words import spaced
from dam.errors import BadInput
from dam.ingest import embedded
from dam.plan import briefs
from dam.taxonomy import naming
from dam.taxonomy.words import tokens

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.services import Services
    from dam.taxonomy import Taxonomy, Vocabulary

#: So many words are kept count of; beyond, those seen once are forgotten.
_WORDS = 200_000
_EXAMPLES = 3


@dataclass
class Missing:
    """A word that the library's people use and the vocabulary has not: in how many versions, where, and which."""

    word: str
    versions: int = 0
    where: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)


@dataclass
class Pilot:
    """What a pilot found; every number is of versions in the library that are not destroyed.

    :param coverage: facet → versions with a term of it. :param kinds: kind → (versions, with a subject).
    :param unused: terms that are on no version; ``below`` of them have narrower terms that are used.
    :param only_suggested: terms that nobody applied yet. :param retired: deprecated terms that are still on versions.
    :param ambiguous: labels of several terms, and the one that is taken. :param taggers: each one's tags, and what
        people made of them. :param agreement: of pairs of taggers, where both said something of a facet.
    """

    versions: int
    subject: str
    coverage: dict[str, int]
    kinds: dict[str, tuple[int, int]]
    unused: list[str]
    below: list[str]
    only_suggested: list[str]
    retired: dict[str, int]
    missing: list[Missing]
    ambiguous: list[dict[str, Any]]
    taggers: list[dict[str, Any]]
    agreement: list[dict[str, Any]]

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON keeps it."""
        return asdict(self) | {"share": self.share}

    @property
    def share(self) -> float | None:
        """The share of versions with at least one subject."""
        return round(self.coverage.get(self.subject, 0) / self.versions, 4) if self.versions else None

    def lines(self) -> Iterator[str]:
        """Yield the report as people read it."""
        if not self.versions:
            yield "The library is empty: there is nothing to try the vocabulary on."
            return
        yield f"Coverage: {_percent(self.share)} of {self.versions} versions have a term of the facet {self.subject}."
        for kind, (count, covered) in sorted(self.kinds.items()):
            yield f"  {kind}: {covered} of {count}"
        others = [
            f"{facet} {_percent(n / self.versions)}" for facet, n in self.coverage.items() if facet != self.subject
        ]
        yield f"  other facets: {', '.join(others) or 'none'}"
        yield _list("Never used", [*self.unused, *(f"{term} (narrower ones are)" for term in self.below)])
        yield _list("Only suggested so far", self.only_suggested)
        yield _list("Deprecated and still on versions", [f"{term} ({n})" for term, n in self.retired.items()])
        yield f"Seen and missing: {len(self.missing) or 'none'}"
        for word in self.missing:
            where = ", ".join(f"{count} in {place}" for place, count in word.where.items())
            yield f"  {word.word}: {word.versions} versions ({where}), e.g. {', '.join(word.examples)}"
        yield f"Ambiguous labels: {len(self.ambiguous) or 'none'}"
        for label in self.ambiguous:
            yield f"  {label['label']}: {', '.join(label['terms'])}; taken as {label['taken']}"
        yield "Taggers, and what people made of their tags:"
        for row in self.taggers:
            judged = f"{row['kept']} kept, {row['refused']} refused, precision {_percent(row['precision'])}"
            yield f"  {row['tagger']}: {row['applied']} applied, {row['suggested']} suggested; {judged}"
        for pair in self.agreement:
            yield f"  {pair['one']} and {pair['other']} agree on {_percent(pair['share'])} of {pair['of']} terms"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share * 100:.1f} %"


def _list(title: str, items: list[str]) -> str:
    return f"{title}: {', '.join(items) or 'none'}"


def pilot(services: Services, *, most: int = 40) -> Pilot:
    """Try the vocabulary on the library. Reads only.

    :param most: list at most so many missing words.
    """
    vocabulary = services.taxonomy.vocabulary
    subject = "subject" if "subject" in vocabulary.facets else next(iter(vocabulary.facets))
    with services.session() as session:
        session.execute(text("SET TRANSACTION READ ONLY"))
        applied, suggested = _used(session, "applied"), _used(session, "suggested")
        unused = [t for t, term in vocabulary.terms.items() if not term.retired and not applied[t] and not suggested[t]]
        below = [t for t in unused if any(applied[other] for other in vocabulary.below(t))]
        return Pilot(
            versions=session.scalar(select(func.count()).select_from(_library().subquery())) or 0,
            subject=subject,
            coverage=_coverage(session, vocabulary),
            kinds=_kinds(session, subject),
            unused=[t for t in unused if t not in below],
            below=below,
            only_suggested=[
                t for t, term in vocabulary.terms.items() if suggested[t] and not applied[t] and not term.retired
            ],
            retired={
                t: applied[t] + suggested[t] for t in sorted({*applied, *suggested}) if vocabulary.current(t) != t
            },
            missing=_missing(session, services.taxonomy, most),
            ambiguous=_ambiguous(vocabulary),
            taggers=_taggers(session),
            agreement=_agreement(session),
        )


def _library() -> Any:
    return select(Version.id).where(
        Version.asset_id.is_not(None), Version.state != VersionState.DESTROYED, Version.batch_id.not_in(briefs.BATCHES)
    )


def _facet() -> Any:
    return literal_column("split_part(tags.term_id, '/', 1)")  # without parameters, as it is grouped by


def _used(session: Session, status: str) -> Counter[str]:
    rows = session.execute(select(Tag.term_id, func.count()).where(Tag.status == status).group_by(Tag.term_id))
    return Counter(dict(rows.all()))


def _coverage(session: Session, vocabulary: Vocabulary) -> dict[str, int]:
    rows = session.execute(
        select(_facet(), func.count(Tag.version_id.distinct()))
        .where(Tag.status == "applied", Tag.version_id.in_(_library()))
        .group_by(_facet())
    )
    found: dict[str, int] = dict(rows.all())
    return {facet: found.get(facet, 0) for facet in vocabulary.facets}


def _kinds(session: Session, subject: str) -> dict[str, tuple[int, int]]:
    has = select(Tag.id).where(Tag.version_id == Version.id, Tag.status == "applied", _facet() == subject).exists()
    rows = session.execute(
        select(Asset.kind, func.count(), func.sum(case((has, 1), else_=0).cast(Integer)))
        .join(Version, Version.asset_id == Asset.id)
        .where(Version.state != VersionState.DESTROYED)
        .group_by(Asset.kind)
    )
    return {kind: (count, int(covered)) for kind, count, covered in rows}


# ------------------------------------------------------------------------------------------- missing words


def _missing(session: Session, taxonomy: Taxonomy, most: int) -> list[Missing]:
    """Return the words that titles, keywords and file names have and the vocabulary has not, the commonest first."""
    quiet = taxonomy.stopwords | _own_names(session)
    found: dict[str, Missing] = {}
    for name, words in _words(session, taxonomy):
        for word in sorted(set(words) - quiet):
            one = found.setdefault(word, Missing(word))
            one.versions += 1
            for place in words[word]:
                one.where[place] = one.where.get(place, 0) + 1
            if name not in one.examples and len(one.examples) < _EXAMPLES:
                one.examples.append(name)
        if len(found) > _WORDS:
            found = {word: one for word, one in found.items() if one.versions > 1}
    ranked = sorted(found.values(), key=lambda one: (-one.versions, one.word))
    return ranked[:most]


def _words(session: Session, taxonomy: Taxonomy) -> Iterator[tuple[str, dict[str, list[str]]]]:
    """Yield each version's name with the words that lead to no term, and where each stands."""
    keys = taxonomy.metadata.keywords
    rows = session.execute(
        select(Version.filename, Asset.name, Description.title, *(Version.embedded[key] for key in keys))
        .join(Asset, Asset.id == Version.asset_id)
        .outerjoin(Description, Description.version_id == Version.id)
        .where(Version.state != VersionState.DESTROYED)
        .execution_options(yield_per=1000)
    )
    matcher = taxonomy.vocabulary.matcher
    for filename, name, title, *keywords in rows:
        found: dict[str, list[str]] = {}
        for place, words in (("titles", title or ""), ("file names", _told_by(filename))):
            alone = tokens(words)
            for hit in matcher.search(alone):
                alone[hit.at : hit.at + hit.length] = [""] * hit.length
            for word in sorted(set(alone)):
                if (len(word) > 2 or not word.isascii()) and not word.isdigit():
                    found.setdefault(word, []).append(place)
        told = {key: value for key, value in zip(keys, keywords, strict=True) if value}
        for keyword in embedded.keywords(told, taxonomy.metadata):
            phrase = " ".join(tokens(keyword))
            if phrase and not matcher.search(phrase):
                found.setdefault(phrase, []).append("keywords")
        yield name, found


def _told_by(filename: str) -> str:
    """Return what a file's name tells of its content: of a conventional one, the project part."""
    try:
        return spaced(naming.parse(filename).project)
    except BadInput:
        return spaced(filename.rpartition(".")[0])


def _own_names(session: Session) -> set[str]:
    """Return words that name campaigns, clients and projects: they are no subjects."""
    names = session.execute(
        select(Campaign.project, Campaign.client, func.coalesce(Deliverable.project, "")).outerjoin(
            Deliverable, Deliverable.campaign_id == Campaign.id
        )
    )
    return {word for row in names for part in row for word in tokens(spaced(part)) + tokens(re.sub(r"[-_]", " ", part))}


def _ambiguous(vocabulary: Vocabulary) -> list[dict[str, Any]]:
    """Return labels that several terms have, with the one that is taken."""
    found: dict[tuple[str, ...], dict[str, str]] = {}
    for term_id, term in vocabulary.terms.items():
        current = vocabulary.current(term_id)
        for _, _, label in term.all_labels():
            if current and (words := tuple(tokens(label))):
                found.setdefault(words, {}).setdefault(current, label)
    return [
        {
            "label": next(iter(terms.values())),
            "terms": sorted(terms),
            "taken": vocabulary.find(next(iter(terms.values()))),
        }
        for _, terms in sorted(found.items())
        if len(terms) > 1
    ]


# ------------------------------------------------------------------------------------------------ agreement


def _taggers(session: Session) -> list[dict[str, Any]]:
    """Return each tagger's tags, and how many of them people kept (applied themselves) or refused."""
    person = aliased(Tag)
    kept = (
        select(person.id)
        .where(person.version_id == Tag.version_id, person.term_id == Tag.term_id)
        .where(person.source.like("person:%"), person.status == "applied")
        .exists()
    )
    rows = session.execute(
        select(
            Tag.source,
            func.count().filter(Tag.status == "applied"),
            func.count().filter(Tag.status == "suggested"),
            func.count().filter(Tag.status != "refused", kept),
            func.count().filter(Tag.status == "refused"),
            func.sum(Tag.cost),
        )
        .where(Tag.source.not_like("person:%"))
        .group_by(Tag.source)
        .order_by(Tag.source)
    )
    return [
        {
            "tagger": source,
            "applied": applied,
            "suggested": suggested,
            "kept": agreed,
            "refused": refused,
            "precision": round(agreed / (agreed + refused), 4) if agreed + refused else None,
            "cost": str(cost),
        }
        for source, applied, suggested, agreed, refused, cost in rows
    ]


def _agreement(session: Session) -> list[dict[str, Any]]:
    """Return, for each pair of taggers, the share of terms both say, of all that either says where both speak.

    Where both speak: of a version, in a facet.
    """
    said = (
        select(Tag.version_id, _facet().label("facet"), Tag.source, Tag.term_id)
        .where(Tag.source.not_like("person:%"))
        .cte("said")
    )
    spoke = (
        select(said.c.version_id, said.c.facet, said.c.source, func.count().label("terms"))
        .group_by(said.c.version_id, said.c.facet, said.c.source)
        .cte("spoke")
    )
    one, other = spoke.alias("one"), spoke.alias("other")
    both = (
        select(
            one.c.source.label("one"), other.c.source.label("other"), func.sum(one.c.terms + other.c.terms).label("all")
        )
        .join(other, (other.c.version_id == one.c.version_id) & (other.c.facet == one.c.facet))
        .where(one.c.source < other.c.source)
        .group_by(one.c.source, other.c.source)
        .subquery()
    )
    mine, theirs = said.alias("mine"), said.alias("theirs")
    same = (
        select(mine.c.source.label("one"), theirs.c.source.label("other"), func.count().label("same"))
        .join(theirs, (theirs.c.version_id == mine.c.version_id) & (theirs.c.term_id == mine.c.term_id))
        .where(mine.c.source < theirs.c.source)
        .group_by(mine.c.source, theirs.c.source)
        .subquery()
    )
    rows = session.execute(
        select(both.c.one, both.c.other, both.c.all, func.coalesce(same.c.same, 0))
        .outerjoin(same, (same.c.one == both.c.one) & (same.c.other == both.c.other))
        .order_by(both.c.one, both.c.other)
    )
    return [
        {"one": a, "other": b, "of": int(total - alike), "share": round(alike / float(total - alike), 4)}
        for a, b, total, alike in rows
    ]
