"""A tagger that learns from the library's own work: tags that people applied, approved in review or refused.

It is a naive Bayes classifier over words and colours, and looks at pictures that look alike (perceptual hash).
What it calls confidence is measured: the share of right answers that scores like this one had on examples it had
not seen (5-fold). It says why, and only suggests until its measured precision passes its threshold.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field
from sqlalchemy import func, or_, select, text
from sqlalchemy.orm import joinedload, selectinload

from dam.catalog.models import Package, PackageVersion, Purpose, Tag, TaggerModel, Version, VersionState, utcnow
from dam.enrich.taggers import Options, Said, Tagger, threshold
from dam.enrich.taggers.words import spaced
from dam.ingest import embedded
from dam.taxonomy.words import tokens

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sqlalchemy.orm import Session

    from dam.services import Services
    from dam.taxonomy import Taxonomy

    Floats = NDArray[np.float64]

log = logging.getLogger(__name__)

_LOCK = 7_316_420_010  # pg_advisory_xact_lock: one process trains
_FORMAT = 1  # raise it when features or scores are made in another way
#: Learn anew at most so often.
EVERY = timedelta(days=1)
MOST_EXAMPLES, MOST_FEATURES, MOST_TERMS = 50_000, 10_000, 500
#: A term needs so many examples before it is learned; a feature must be in so many.
LEAST_OF_TERM, LEAST_OF_FEATURE = 4, 2
#: Pictures within so many bits (of 64) look alike.
NEAR_BITS = 10
_FOLDS, _MEASURED, _BIN = 5, 5_000, 25
#: Below this confidence nothing is said.
_QUIET = 0.3
#: Tags that people judged since count against its own measure from so many on; it needs so many sure answers.
_JUDGED, _SURE = 20, 30


class LearnedOptions(Options):
    """What the tagger learns.

    :param facets: whose terms. :param examples: so many are needed before it says anything.
    """

    facets: list[str] = Field(default_factory=lambda: ["subject", "usage"])
    examples: int = Field(100, ge=10)


@dataclass
class Examples:
    """What is learned from: features and terms of each version, as numbers."""

    ids: list[str] = field(default_factory=list)
    phashes: list[int | None] = field(default_factory=list)
    features: list[NDArray[np.int64]] = field(default_factory=list)
    terms: list[NDArray[np.int64]] = field(default_factory=list)
    feature_names: list[str] = field(default_factory=list)
    term_ids: list[str] = field(default_factory=list)
    sha256: str = ""


@dataclass
class Model:
    """A learned model: counts, what looks alike, and how often which score was right."""

    version: str
    term_ids: list[str]
    feature_names: list[str]
    with_both: NDArray[np.int32]  # terms × features
    with_term: NDArray[np.int64]
    with_feature: NDArray[np.int64]
    total: int
    ids: list[str]  # of the examples that have a perceptual hash
    phashes: NDArray[np.uint64]
    near_terms: list[NDArray[np.int64]]  # their terms
    near_weight: float
    known_scores: Floats
    precisions: Floats

    @cached_property
    def index(self) -> dict[str, int]:
        """Feature → its column."""
        return {name: at for at, name in enumerate(self.feature_names)}

    @cached_property
    def weights(self) -> Floats:
        """Evidence that each feature is for each term (log likelihood ratios), terms × features."""
        return _weights(self.with_both, self.with_term, self.with_feature, self.total)

    @cached_property
    def priors(self) -> Floats:
        """Log odds of each term before anything is known."""
        return _priors(self.with_term, self.total)

    def alike(self, phash: int | None, own_id: str) -> list[int]:
        """Return the examples that look like a picture, itself left out."""
        if phash is None or not len(self.phashes):
            return []
        bits = np.bitwise_count(self.phashes ^ np.uint64(phash & (2**64 - 1)))
        return [int(at) for at in np.flatnonzero(bits <= NEAR_BITS) if self.ids[at] != own_id]

    def scores(self, columns: NDArray[np.int64], near: list[int]) -> Floats:
        """Return every term's score for what has these features and looks like these examples."""
        scores: Floats = self.priors + self.weights[:, columns].sum(axis=1)
        if near:
            scores[np.unique(np.concatenate([self.near_terms[at] for at in near]))] += self.near_weight
        return scores

    def confidence(self, scores: Floats) -> Floats:
        """Return how often scores like these were right."""
        if not len(self.known_scores):
            return np.zeros(len(scores))
        found: Floats = np.interp(scores, self.known_scores, self.precisions)
        return found


def _weights(both: NDArray[Any], term: NDArray[Any], feature: NDArray[Any], total: int) -> Floats:
    for_term = (both + 0.5) / (term[:, None] + 1.0)
    for_others = (feature[None, :] - both + 0.5) / (total - term[:, None] + 1.0)
    found: Floats = np.log(for_term) - np.log(for_others)
    return found


def _priors(term: NDArray[Any], total: int) -> Floats:
    found: Floats = np.log((term + 0.5) / (total - term + 0.5))
    return found


class Learned(Tagger):
    """Says what people here said of things like this."""

    slow: ClassVar[bool] = True
    options_model: ClassVar[type[Options]] = LearnedOptions

    @property
    def model(self) -> str:
        """Naive Bayes, and what looks alike."""
        return "naive Bayes"

    @property
    def version(self) -> str:
        """SHA-256 of what it learned from, shortened."""
        return self.row.version[:16] if self.row else "untrained"

    @cached_property
    def row(self) -> TaggerModel | None:
        """The model in use, as the catalogue knows it."""
        return _newest(self.services, self.name)

    def prepare(self) -> None:
        """Learn anew when the model is a day old, and take up what another process learned."""
        self.row = train(self.services, self)

    def unready(self) -> str | None:
        """Return what it needs to learn from, while there is too little of it."""
        if self.row:
            return None
        return (
            f"it has learned nothing yet: it needs {self.options.examples} versions that people tagged or approved"
            " (dam tags learn)"
        )

    def trusted(self) -> bool:
        """Return whether its measured precision passes its threshold."""
        return bool(self.row and self.row.measured.get("passes"))

    def say(self, session: Session, version: Version, taxonomy: Taxonomy) -> Iterator[Said]:
        """Yield terms with measured confidence and reasons."""
        if self.row is None:
            return
        model = _load(self.services, self.row.storage_uri)
        columns = np.array(
            [model.index[name] for name in features(version, taxonomy) if name in model.index], dtype=np.int64
        )
        near = model.alike(version.phash, version.id)
        scores = model.scores(columns, near)
        confidences = model.confidence(scores)
        for at in np.argsort(-scores)[:20].tolist():
            confidence, term_id = float(confidences[at]), model.term_ids[at]
            if confidence < _QUIET or term_id not in taxonomy.vocabulary or taxonomy.vocabulary.terms[term_id].retired:
                continue
            yield Said(term_id, round(confidence, 3), _because(session, model, at, columns, near), model.version[:16])


def _because(session: Session, model: Model, term: int, columns: NDArray[np.int64], near: list[int]) -> str:
    """Return what spoke for a term most, in words."""
    weights = model.weights[term, columns]
    best = [columns[at] for at in np.argsort(-weights)[:3] if weights[at] > 0.5]
    words = [f"“{name[2:]}”" for name in (model.feature_names[at] for at in best) if name.startswith("w:")]
    colours = [name[2:] for name in (model.feature_names[at] for at in best) if name.startswith("c:")]
    said = []
    if words:
        said.append(f"of the word{'s' if len(words) > 1 else ''} {', '.join(words)}")
    if colours:
        said.append(f"of the colour{'s' if len(colours) > 1 else ''} {', '.join(colours)}")
    alike = [at for at in near if term in model.near_terms[at]]
    if alike:
        other = session.get(Version, model.ids[alike[0]])
        name = f"{other.asset.name} v{other.number}" if other and other.asset else "another version"
        more = f" and {len(alike) - 1} more" if len(alike) > 1 else ""
        said.append(f"it looks like {name}{more}")
    return f"because {' and '.join(said)}" if said else "because it is common here"


# -------------------------------------------------------------------------------------------- features


def features(version: Version, taxonomy: Taxonomy) -> list[str]:
    """Return what is learned from in a version: ``w:`` its words, ``c:`` its colours, ``k:`` its kind, each once."""
    described = version.description
    texts: list[str] = [spaced(version.filename.rpartition(".")[0]), (version.words or "")[:5000]]
    if described:
        texts += [word or "" for word in (described.title, described.description, described.alt_text)]
    texts += embedded.keywords(version.embedded, taxonomy.metadata)
    words = {token for words in texts for token in tokens(words) if len(token) > 2 or not token.isascii()}
    found = [f"w:{word}" for word in sorted(words) if not word.isdigit()]
    found += [f"c:{colour}" for colour in version.technical.get("colours", [])]
    if version.asset:
        found.append(f"k:{version.asset.kind}")
    return found


def _approved() -> Any:
    """Versions that people tagged, or whose tags they approved in review."""
    person = select(Tag.id).where(Tag.version_id == Version.id, Tag.source.like("person:%")).exists()
    refused = select(Tag.id).where(Tag.version_id == Version.id, Tag.status == "refused").exists()
    signed = (
        select(PackageVersion.version_id)
        .join(Package, Package.id == PackageVersion.package_id)
        .where(PackageVersion.version_id == Version.id, PackageVersion.verdict == "approve")
        .where(Package.purpose == Purpose.RELEASE)
    )
    return or_(person, refused, signed.exists())


def _examples(services: Services, session: Session, facets: list[str]) -> Examples:
    """Read what is learned from, newest first when there is too much of it, a part at a time."""
    ids = session.scalars(
        select(Version.id)
        .where(Version.asset_id.is_not(None), Version.state != VersionState.DESTROYED, _approved())
        .order_by(Version.id.desc())
        .limit(MOST_EXAMPLES)
    ).all()
    told = Examples()
    feature_at: dict[str, int] = {}
    term_at: dict[str, int] = {}
    digest = hashlib.sha256(f"{_FORMAT}:{','.join(sorted(facets))}".encode())
    for start in range(0, len(ids), 500):
        rows = session.scalars(
            select(Version)
            .where(Version.id.in_(ids[start : start + 500]))
            .options(joinedload(Version.description), joinedload(Version.asset), selectinload(Version.tags))
            .order_by(Version.id.desc())
        ).all()
        for version in rows:
            applied = {tag.term_id for tag in version.tags if tag.status == "applied"}
            terms = sorted(term_id for term_id in applied if term_id.partition("/")[0] in facets)
            names = features(version, services.taxonomy)
            digest.update(json.dumps([version.id, version.phash, terms, names], ensure_ascii=False).encode())
            told.ids.append(version.id)
            told.phashes.append(version.phash)
            told.features.append(np.array([feature_at.setdefault(n, len(feature_at)) for n in names], dtype=np.int64))
            told.terms.append(np.array([term_at.setdefault(t, len(term_at)) for t in terms], dtype=np.int64))
        session.expunge_all()
    told.feature_names, told.term_ids = list(feature_at), list(term_at)
    told.sha256 = digest.hexdigest()
    return told


# -------------------------------------------------------------------------------------------- training


def train(services: Services, tagger: Learned, *, now: bool = False) -> TaggerModel | None:
    """Learn from all that people decided, at most daily, in one process at a time; return the model's row.

    The same examples make the same model, which is then only noted as checked.

    :param now: even if the model is not a day old. :returns: None while there are too few examples.
    """
    newest = _newest(services, tagger.name)
    if newest and not now and newest.trained_at > utcnow() - EVERY:
        return newest
    with services.session() as session:
        if not session.scalar(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": _LOCK}):
            return newest  # another process is at it
        few = select(Version.id).where(Version.asset_id.is_not(None), _approved()).limit(tagger.options.examples)
        if (session.scalar(select(func.count()).select_from(few.subquery())) or 0) < tagger.options.examples:
            return newest
        examples = _examples(services, session, tagger.options.facets)
        known = session.get(TaggerModel, (tagger.name, examples.sha256))
        if known is None:
            model = _fit(examples)
            measured = _measure(model, examples, threshold(services, tagger)) | _judged(session, tagger.name)
            measured["passes"] = _passes(measured, threshold(services, tagger))
            stored = services.storage.reports.put(f"taggers/{tagger.name}/{model.version}.npz", _packed(model))
            known = TaggerModel(
                tagger=tagger.name,
                version=examples.sha256,
                examples=len(examples.ids),
                measured=measured,
                storage_uri=stored.uri,
            )
            session.add(known)
            log.info("%s learned from %d versions: %s", tagger.name, len(examples.ids), measured)
        known.trained_at = utcnow()
    return known


def _fit(examples: Examples) -> Model:
    """Count which features go with which terms."""
    frequency = np.bincount(
        np.concatenate(examples.features or [np.empty(0, np.int64)]), minlength=len(examples.feature_names)
    )
    often = np.bincount(np.concatenate(examples.terms or [np.empty(0, np.int64)]), minlength=len(examples.term_ids))
    kept_features = _most(frequency, LEAST_OF_FEATURE, MOST_FEATURES)
    kept_terms = _most(often, LEAST_OF_TERM, MOST_TERMS)
    examples.features = _renumbered(examples.features, kept_features, len(frequency))
    examples.terms = _renumbered(examples.terms, kept_terms, len(often))
    examples.feature_names = [examples.feature_names[at] for at in kept_features]
    examples.term_ids = [examples.term_ids[at] for at in kept_terms]
    with_both = _counts(examples, range(len(examples.ids)))
    seen = [at for at, phash in enumerate(examples.phashes) if phash is not None]
    return Model(
        version=examples.sha256,
        term_ids=examples.term_ids,
        feature_names=examples.feature_names,
        with_both=with_both,
        with_term=often[kept_terms],
        with_feature=frequency[kept_features],
        total=len(examples.ids),
        ids=[examples.ids[at] for at in seen],
        phashes=np.array([(examples.phashes[at] or 0) & (2**64 - 1) for at in seen], dtype=np.uint64),
        near_terms=[examples.terms[at] for at in seen],
        near_weight=0.0,
        known_scores=np.empty(0),
        precisions=np.empty(0),
    )


def _most(counts: NDArray[np.int64], least: int, most: int) -> NDArray[np.int64]:
    order = np.argsort(-counts, kind="stable")[:most]
    kept: NDArray[np.int64] = np.sort(order[counts[order] >= least])
    return kept


def _renumbered(rows: list[NDArray[np.int64]], kept: NDArray[np.int64], count: int) -> list[NDArray[np.int64]]:
    new = np.full(count, -1, dtype=np.int64)
    new[kept] = np.arange(len(kept))
    return [new[row][new[row] >= 0] for row in rows]


def _counts(examples: Examples, which: Iterable[int]) -> NDArray[np.int32]:
    found = np.zeros((len(examples.term_ids), len(examples.feature_names)), dtype=np.int32)
    for at in which:
        found[np.ix_(examples.terms[at], examples.features[at])] += 1
    return found


def _measure(model: Model, examples: Examples, least: float) -> dict[str, Any]:
    """Find out how often which score is right, on examples that were not counted for it."""
    fold_of = [int(hashlib.sha256(version_id.encode()).hexdigest()[:8], 16) % _FOLDS for version_id in examples.ids]
    looked = list(range(min(len(examples.ids), _MEASURED)))
    near = {at: model.alike(examples.phashes[at], examples.ids[at]) for at in looked}
    model.near_weight = _near_weight(model, examples, near)
    scores, right = [np.empty(0)], [np.empty(0, dtype=bool)]
    for fold in range(_FOLDS):
        mine = [at for at in range(len(examples.ids)) if fold_of[at] == fold]
        both = model.with_both - _counts(examples, mine)
        term = model.with_term - _frequency(examples.terms, mine, len(model.term_ids))
        feature = model.with_feature - _frequency(examples.features, mine, len(model.feature_names))
        total = model.total - len(mine)
        weights, priors = _weights(both, term, feature, total), _priors(term, total)
        for at in (at for at in mine if at < len(looked)):
            score = priors + weights[:, examples.features[at]].sum(axis=1)
            if near[at]:
                score[np.unique(np.concatenate([model.near_terms[other] for other in near[at]]))] += model.near_weight
            truth = np.zeros(len(score), dtype=bool)
            truth[examples.terms[at]] = True
            scores.append(score)
            right.append(truth)
    all_scores, all_right = np.concatenate(scores), np.concatenate(right)
    model.known_scores, model.precisions = _calibrated(all_scores, all_right)
    confident = model.confidence(all_scores) >= least
    sure = int(confident.sum())
    return {
        "terms": len(model.term_ids),
        "sure": sure,
        "precision": round(float(all_right[confident].mean()), 4) if sure else None,
        "measured_on": len(looked),
    }


def _frequency(rows: list[NDArray[np.int64]], which: list[int], count: int) -> NDArray[np.int64]:
    return np.bincount(np.concatenate([rows[at] for at in which] or [np.empty(0, np.int64)]), minlength=count)


def _near_weight(model: Model, examples: Examples, near: dict[int, list[int]]) -> float:
    """Return how much it tells of a term that something that looks alike has it (log likelihood ratio)."""
    has_it = lacks_it = of_having = of_lacking = 0
    for at, others in near.items():
        if not others:
            continue
        own = set(examples.terms[at].tolist())
        theirs = set(np.concatenate([model.near_terms[other] for other in others]).tolist())
        has_it += len(own & theirs)
        lacks_it += len(theirs - own)
        of_having += len(own)
        of_lacking += len(model.term_ids) - len(own)
    if not of_having:
        return 0.0
    return float(np.log((has_it + 0.5) / (of_having + 1)) - np.log((lacks_it + 0.5) / (of_lacking + 1)))


def _calibrated(scores: Floats, right: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return scores, rising, and the share of right answers around each, never falling as scores rise."""
    order = np.argsort(scores, kind="stable")
    scores, right = scores[order], right[order]
    pools: list[list[float]] = []  # sum of scores, right ones, all
    for start in range(0, len(scores), _BIN):
        part = slice(start, start + _BIN)
        pools.append([float(scores[part].sum()), float(right[part].sum()), float(len(scores[part]))])
        while len(pools) > 1 and pools[-2][1] * pools[-1][2] >= pools[-1][1] * pools[-2][2]:
            last = pools.pop()
            pools[-1] = [mine + its for mine, its in zip(pools[-1], last, strict=True)]
    shares = np.array([(hits + 1) / (count + 2) for _, hits, count in pools])
    return np.array([total / count for total, _, count in pools]), np.maximum.accumulate(shares)


def _judged(session: Session, tagger: str) -> dict[str, int]:
    """Return how many of the tagger's tags people kept and refused."""
    person = select(Tag.id).where(Tag.source.like("person:%"), Tag.status == "applied").correlate(None)
    mine = select(Tag.version_id, Tag.term_id, Tag.status).where(Tag.source == tagger).subquery()
    confirmed = person.where(Tag.version_id == mine.c.version_id, Tag.term_id == mine.c.term_id).correlate(mine)
    kept = session.scalar(select(func.count()).select_from(mine).where(mine.c.status != "refused", confirmed.exists()))
    refused = session.scalar(select(func.count()).select_from(mine).where(mine.c.status == "refused"))
    return {"kept": kept or 0, "refused": refused or 0}


def _passes(measured: dict[str, Any], least: float) -> bool:
    """Return whether what was measured, and what people judged since, are both good enough."""
    if measured["sure"] < _SURE or (measured["precision"] or 0) < least:
        return False
    judged = measured["kept"] + measured["refused"]
    return judged < _JUDGED or bool(measured["kept"] / judged >= least)


# --------------------------------------------------------------------------------------------- storing


def _packed(model: Model) -> bytes:
    """Return a model as bytes: plain arrays, nothing that runs when it is read."""
    rows, columns = np.nonzero(model.with_both)
    lengths = [len(terms) for terms in model.near_terms]
    names = {"version": model.version, "terms": model.term_ids, "features": model.feature_names, "ids": model.ids}
    out = io.BytesIO()
    np.savez_compressed(
        out,
        names=np.frombuffer(json.dumps(names, ensure_ascii=False).encode(), dtype=np.uint8),
        rows=rows,
        columns=columns,
        counts=model.with_both[rows, columns],
        with_term=model.with_term,
        with_feature=model.with_feature,
        total=np.array([model.total]),
        phashes=model.phashes,
        near_lengths=np.array(lengths, dtype=np.int64),
        near_terms=np.concatenate([*model.near_terms, np.empty(0, np.int64)]),
        near_weight=np.array([model.near_weight]),
        known_scores=model.known_scores,
        precisions=model.precisions,
    )
    return out.getvalue()


def _unpacked(data: bytes) -> Model:
    with np.load(io.BytesIO(data), allow_pickle=False) as parts:
        names = json.loads(parts["names"].tobytes())
        both = np.zeros((len(names["terms"]), len(names["features"])), dtype=np.int32)
        both[parts["rows"], parts["columns"]] = parts["counts"]
        ends = np.cumsum(parts["near_lengths"])
        return Model(
            version=names["version"],
            term_ids=names["terms"],
            feature_names=names["features"],
            with_both=both,
            with_term=parts["with_term"],
            with_feature=parts["with_feature"],
            total=int(parts["total"][0]),
            ids=names["ids"],
            phashes=parts["phashes"],
            near_terms=np.split(parts["near_terms"], ends[:-1]) if len(ends) else [],
            near_weight=float(parts["near_weight"][0]),
            known_scores=parts["known_scores"],
            precisions=parts["precisions"],
        )


def _newest(services: Services, tagger: str) -> TaggerModel | None:
    with services.session() as session:
        return session.scalar(
            select(TaggerModel).where(TaggerModel.tagger == tagger).order_by(TaggerModel.trained_at.desc()).limit(1)
        )


@lru_cache(maxsize=2)
def _load(services: Services, uri: str) -> Model:
    store, key = services.storage.resolve(uri)
    return _unpacked(store.read(key))
