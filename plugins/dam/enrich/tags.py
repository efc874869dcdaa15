"""Tags: what the taggers say of a version, always terms of the vocabulary, each with its source, model and reason.

Free and quick taggers are asked in the gate, in the file's own transaction. Slow and paid ones are asked
afterwards, once a version and model version, within their budgets. What a person said goes before all of them:
a term that somebody refused is not said again, and where somebody has tagged, machines only suggest.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sqlalchemy import Text, bindparam, cast, column, func, select
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.exc import SQLAlchemyError

from dam import audit
from dam.catalog.models import Tag, TaggerLook, Version, VersionState, new_id, utcnow
from dam.enrich import budget, taggers
from dam.enrich.taggers import Failed, Said, Tagger
from dam.taxonomy import sync_terms

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.services import Services
    from dam.taxonomy import Vocabulary

log = logging.getLogger(__name__)

#: Slow taggers are asked for so many versions a task.
CHUNK = 100


def get_ready(services: Services) -> None:
    """Mirror the vocabulary, and make the taggers. :raises BadInput: a fault in their files, with its place."""
    sync_terms(services)
    log.debug("taggers: %s", ", ".join(tagger.name for tagger in services.taggers))


def tag_versions(services: Services, *, version_ids: list[str], run: str | None = None) -> int:
    """Tag versions that are in the catalogue; see :func:`tag`. Returns how many tags were added."""
    if not version_ids:
        return 0
    get_ready(services)
    added = 0
    for version_id in version_ids:
        with services.session() as session:
            added += tag(services, session, session.get_one(Version, version_id), run=run)
    return added


@dataclass(frozen=True, slots=True)
class People:
    """What people said of a version: whether anybody tagged it, and the terms they decided on."""

    tagged: bool
    refused: frozenset[str]
    applied: frozenset[str]

    @property
    def decided(self) -> frozenset[str]:
        """Terms that a person decided on, either way."""
        return self.refused | self.applied


#: What people said of a version that is new.
NOBODY = People(False, frozenset(), frozenset())


def tag(
    services: Services, session: Session, version: Version, *, people: People | None = None, run: str | None = None
) -> int:
    """Ask the taggers of the gate about a version, in ``session``.

    A tag below its tagger's threshold is a suggestion. Tags that are there already, a person's among them, stay.

    :param people: what people said of it, where that is known.
    :returns: how many tags were added.
    """
    rows = []
    people = people or _people(session, version.id)
    vocabulary = services.taxonomy.vocabulary
    for tagger in services.taggers:
        if taggers.afterwards(tagger) or tagger.unready() is not None:
            continue
        try:
            said = list(tagger.say(session, version, services.taxonomy))
        except SQLAlchemyError:
            raise
        except Exception:
            log.exception("%s failed at %s", tagger.name, version.id)  # the file goes on without its word
            continue
        rows += rows_of(services, tagger, version, said, people, vocabulary)
    return _add(session, version, rows, run)


def _people(session: Session, version_id: str) -> People:
    told = session.execute(select(Tag.term_id, Tag.source, Tag.status).where(Tag.version_id == version_id)).all()
    return people_of((row.term_id, row.source, row.status) for row in told)


def people_of(rows: Iterable[tuple[str, str, str]]) -> People:
    """Return what people said, from rows of term, source and status. Only people refuse."""
    refused, applied = set(), set()
    for term_id, source, status in rows:
        if status == "refused":
            refused.add(term_id)
        elif source.startswith("person:"):
            applied.add(term_id)
    return People(bool(applied or refused), frozenset(refused - applied), frozenset(applied))


def rows_of(
    services: Services,
    tagger: Tagger,
    version: Version,
    said: Iterable[Said],
    people: People,
    vocabulary: Vocabulary | None = None,
) -> list[dict[str, Any]]:
    """Return rows of :class:`~dam.catalog.models.Tag` for what a tagger says, each term once, the surest.

    A deprecated term is taken as the one that replaces it; one that nobody knows is left out.
    """
    known = vocabulary or services.taxonomy.vocabulary
    best: dict[str, Said] = {}
    for word in said:
        term_id = known.current(word.term_id)
        if term_id and term_id not in people.refused:
            best[term_id] = max(best.get(term_id, word), word, key=lambda one: one.confidence)
    if not best:
        return []
    least = taggers.threshold(services, tagger)
    may_apply = tagger.trusted() and not people.tagged
    share = (tagger.cost / len(best)).quantize(Decimal("0.000001"))
    return [
        {
            "id": new_id("tag"),
            "version_id": version.id,
            "term_id": term_id,
            "source": tagger.name,
            "model": tagger.model,
            "model_version": word.version or tagger.version,
            "confidence": word.confidence,
            "because": word.because,
            "cost": share,
            "status": "applied" if may_apply and word.confidence >= least else "suggested",
            "created_at": utcnow(),
        }
        for term_id, word in best.items()
    ]


_TABLE = Tag.metadata.tables["tags"]
_COLUMNS = [column(made.name, made.type) for made in _TABLE.columns]
_ROWS = func.jsonb_to_recordset(cast(bindparam("rows", type_=Text), JSONB)).table_valued(*_COLUMNS)
#: One statement for any number of rows, so that it is prepared once.
_INSERT = (
    insert(_TABLE)
    .from_select([made.name for made in _COLUMNS], select(_ROWS.render_derived(with_types=True)))
    .on_conflict_do_nothing()
    .returning(Tag.term_id)
)


def _add(session: Session, version: Version, rows: list[dict[str, Any]], run: str | None) -> int:
    if not rows:
        return 0
    made = session.scalars(_INSERT, {"rows": json.dumps(rows, default=str)}).all()
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


# ------------------------------------------------------------------------------------------ afterwards


def later(services: Services) -> list[Tagger]:
    """Return the slow and paid taggers that are switched on and can say something here."""
    asked = [tagger for tagger in services.taggers if taggers.afterwards(tagger)]
    for tagger in asked:
        tagger.prepare()
    return [tagger for tagger in asked if tagger.unready() is None]


def plan_later(services: Services, *, batch_id: str) -> list[list[str]]:
    """Return chunks of a batch's versions that slow taggers have not looked at; none when there is no such tagger."""
    asked = later(services)
    if not asked:
        return []
    looked = select(TaggerLook.version_id).where(TaggerLook.version_id == Version.id, TaggerLook.outcome == "done")
    unseen = [~looked.where(TaggerLook.tagger == tagger.name).exists() for tagger in asked]
    with services.session() as session:
        found = session.scalars(
            select(Version.id)
            .where(Version.batch_id == batch_id, Version.state == VersionState.INGESTED)
            .where(_any(unseen))
            .order_by(Version.id)
        ).all()
    return [list(found[start : start + CHUNK]) for start in range(0, len(found), CHUNK)]


def _any(conditions: list[Any]) -> Any:
    from sqlalchemy import or_

    return or_(*conditions)


def tag_later(services: Services, *, version_ids: list[str], run: str | None = None) -> dict[str, dict[str, int]]:
    """Ask slow and paid taggers about versions that are not in review yet.

    Nobody looks twice with the same model version. A tagger whose budget is used up, or that fails, is left out
    for that version, and the reason is kept (:class:`~dam.catalog.models.TaggerLook`); the others go on.

    :returns: by tagger, counts of ``done``, ``skipped`` and ``failed`` versions and of ``tags`` added.
    """
    asked = later(services)
    if not asked or not version_ids:
        return {}
    sync_terms(services)
    counts = {tagger.name: {"done": 0, "skipped": 0, "failed": 0, "tags": 0} for tagger in asked}
    for version_id in version_ids:
        for tagger in asked:
            outcome, added = _look(services, tagger, version_id, run)
            if outcome:
                counts[tagger.name][outcome] += 1
                counts[tagger.name]["tags"] += added
    return counts


def _look(services: Services, tagger: Tagger, version_id: str, run: str | None) -> tuple[str, int]:
    """Let one tagger look at one version; returns what became of it (empty: nothing to do) and tags added."""
    day = budget.today()
    with services.session() as session:
        version = session.get(Version, version_id)
        if version is None or version.state != VersionState.INGESTED:
            return "", 0  # what is in review has a manifest that its tags are part of
        known = session.get(TaggerLook, (version_id, tagger.name))
        if known and known.outcome == "done" and known.model_version == tagger.version:
            return "", 0
        refusal = budget.reserve(session, tagger.data) if taggers.counted(tagger) else None
        outcome = "skipped" if refusal else "begun"
        _note(session, tagger, version_id, outcome, note=f"Not asked: {refusal}." if refusal else "")
    if refusal:
        log.warning("%s is not asked about %s: %s", tagger.name, version_id, refusal)
        return outcome, 0
    try:
        with services.session() as session:
            version = session.get_one(Version, version_id)
            said = list(tagger.say(session, version, services.taxonomy))
            session.refresh(version, ["state"], with_for_update={"of": Version})
            if version.state != VersionState.INGESTED:
                _note(session, tagger, version_id, "skipped", note="It went into review meanwhile.", cost=tagger.cost)
                return "skipped", 0
            rows = rows_of(services, tagger, version, said, _people(session, version_id))
            added = _add(session, version, rows, run)
            _note(session, tagger, version_id, "done", cost=tagger.cost)
    except Exception as error:
        log.warning("%s failed at %s", tagger.name, version_id, exc_info=not isinstance(error, Failed))
        with services.session() as session:
            give_back(session, tagger, error, day)
            _note(session, tagger, version_id, "failed", note=plainly(error))
        return "failed", 0
    return "done", added


def give_back(session: Session, tagger: Tagger, error: Exception, day: date) -> None:
    """Give a call back that failed before it could cost anything."""
    if taggers.counted(tagger) and isinstance(error, Failed) and not error.billed:
        budget.release(session, tagger.data, day)


def plainly(error: Exception) -> str:
    """Return what a tagger stumbled over, in a sentence."""
    return str(error) if isinstance(error, Failed) else f"{type(error).__name__}: {error}"[:500]


def _note(
    session: Session, tagger: Tagger, version_id: str, outcome: str, *, note: str = "", cost: Decimal = Decimal(0)
) -> None:
    told = {
        "model_version": tagger.version,
        "outcome": outcome,
        "note": note,
        "cost": cost,
        "looked_at": utcnow(),
    }
    session.execute(
        insert(TaggerLook)
        .values(version_id=version_id, tagger=tagger.name, **told)
        .on_conflict_do_update(index_elements=["version_id", "tagger"], set_=told)
    )


def terms_of(services: Services, *, version_id: str) -> list[str]:
    """Return the ids of the terms applied to a version."""
    with services.session() as session:
        return sorted(
            set(session.scalars(select(Tag.term_id).where(Tag.version_id == version_id, Tag.status == "applied")))
        )
