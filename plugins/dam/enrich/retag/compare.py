"""What taggers would say today, against the tags that are there. Proposes; applies nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import joinedload, selectinload

from dam import audit
from dam.catalog.models import Asset, RetagChange, RetagRun, Tag, Version, VersionState
from dam.enrich import budget, taggers, tags
from dam.enrich.taggers import Tagger
from dam.errors import BadInput
from dam.plan import briefs
from dam.taxonomy import Taxonomy, sync_terms

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.services import Services

log = logging.getLogger(__name__)

#: Compared so many versions at a time.
CHUNK = 200
#: A run that changes more versions than this is cut off; the next one takes up the rest.
MOST = 100_000
#: A confidence that moves by less is no change.
MOVED = 0.005
_KEPT = ("id", "status", "confidence", "model", "model_version", "because", "cost", "created_at")


def propose(
    services: Services,
    *,
    person: str,
    tagger_names: Iterable[str] = (),
    since: datetime | None = None,
    run: str | None = None,
) -> str:
    """Compare what taggers say now with the tags that are there; nothing is applied. Returns the run's id.

    A run that was killed while it compared is taken up where it stopped.

    :param tagger_names: which taggers; the default is those of the gate. Paid ones take from their budgets.
    :param since: only versions that came in from then on.
    """
    asked = _asked(services, tagger_names)
    sync_terms(services)
    run_id = _begun(services, [tagger.name for tagger in asked], since, person)
    while _compare_some(services, run_id, asked):
        pass
    with services.session() as session:
        found = session.get_one(RetagRun, run_id)
        data = {"taggers": found.taggers, "versions": found.looked_at, "vocabulary": found.vocabulary_sha256}
        audit.record(session, actor=person, action="retag.proposed", subject_id=run_id, data=data, run=run)
    return run_id


def _asked(services: Services, names: Iterable[str]) -> list[Tagger]:
    """Return the taggers of a run, ready. :raises BadInput: one is unknown or can say nothing here."""
    chosen = taggers.named(services, names)
    if not chosen:
        chosen = [tagger for tagger in services.taggers if not taggers.afterwards(tagger)]
    for tagger in chosen:
        tagger.prepare()
        if reason := tagger.unready():
            raise BadInput(f"{tagger.name} can say nothing: {reason}", where="--tagger", remedy="Name another tagger.")
    return chosen


def _begun(services: Services, names: list[str], since: datetime | None, person: str) -> str:
    sha256 = services.taxonomy.vocabulary.sha256
    with services.session() as session:
        known = session.scalar(
            select(RetagRun.id)
            .where(RetagRun.status == "comparing", RetagRun.taggers == names, RetagRun.vocabulary_sha256 == sha256)
            .where(RetagRun.since.is_not_distinct_from(since))
            .limit(1)
        )
        if known:
            return known
        made = RetagRun(taggers=names, since=since, vocabulary_sha256=sha256, made_by=person)
        session.add(made)
        session.flush()
        return made.id


def _compare_some(services: Services, run_id: str, asked: list[Tagger]) -> bool:
    """Compare the next versions of a run; returns whether there may be more."""
    paid = any(tagger.cost > 0 for tagger in asked)
    with services.session() as session:
        run = session.get_one(RetagRun, run_id, with_for_update=True)
        if run.status != "comparing":
            return False
        rows = _next_versions(session, run, 1 if paid else CHUNK)
        if not rows or run.changed >= MOST:
            if rows:
                run.notes = [*run.notes, f"It stops at {MOST} changed versions; start another when it is applied."]
            run.status = "proposed"
            return False
        notes: set[str] = set()
        changes: list[dict[str, Any]] = []
        for version in rows:
            found, told = differences(services, services.taxonomy, session, version, asked)
            notes |= told
            run.changed += bool(found)
            changes += [{"run_id": run_id} | change for change in found]
        if changes:
            session.execute(insert(RetagChange), changes)
        run.cursor, run.looked_at = rows[-1].id, run.looked_at + len(rows)
        run.notes = sorted({*run.notes, *notes})
    return True


def _next_versions(session: Session, run: RetagRun, count: int) -> list[Version]:
    query = (
        select(Version)
        .where(Version.id > run.cursor, Version.asset_id.is_not(None), Version.state != VersionState.DESTROYED)
        .where(Version.batch_id.not_in(briefs.BATCHES))
    )
    if run.since:
        query = query.where(Version.created_at >= run.since)
    return list(session.scalars(ready(query).order_by(Version.id).limit(count)))


def ready(query: Any) -> Any:
    """Return a query over versions that brings along what taggers look at."""
    return query.options(
        selectinload(Version.tags),
        joinedload(Version.description),
        joinedload(Version.asset).joinedload(Asset.deliverable),
        joinedload(Version.asset).joinedload(Asset.campaign),
    )


def differences(
    services: Services, taxonomy: Taxonomy, session: Session, version: Version, asked: list[Tagger]
) -> tuple[list[dict[str, Any]], set[str]]:
    """Return what taggers would change on a version, as values of changes, and notes on taggers that said nothing.

    A tagger that failed or was not paid changes nothing: silence is not a word.
    """
    people = tags.people_of((tag.term_id, tag.source, tag.status) for tag in version.tags)
    there = {(tag.term_id, tag.source): tag for tag in version.tags}
    found, notes = [], set()
    for tagger in asked:
        said, note = _said(services, taxonomy, session, version, tagger, people)
        if said is None:
            notes.add(f"{tagger.name}: {note}")
            continue
        wanted = {(row["term_id"], row["source"]): row for row in said}
        mine = {key: tag for key, tag in there.items() if key[1] == tagger.name}
        for key in sorted({*wanted, *mine}):
            if key[0] in people.decided:
                continue
            if change := _change(version.id, key, mine.get(key), wanted.get(key)):
                found.append(change)
    return found, notes


def _said(
    services: Services, taxonomy: Taxonomy, session: Session, version: Version, tagger: Tagger, people: tags.People
) -> tuple[list[dict[str, Any]] | None, str]:
    """Ask one tagger; None and why when it said nothing. Its call is counted in a transaction of its own."""
    day = budget.today()
    if taggers.counted(tagger):
        with services.session() as counting:
            refusal = budget.reserve(counting, tagger.data)
        if refusal:
            return None, refusal
    try:
        words = list(tagger.say(session, version, taxonomy))
    except SQLAlchemyError:
        raise
    except Exception as error:
        with services.session() as counting:
            tags.give_back(counting, tagger, error, day)
        log.warning("%s failed at %s", tagger.name, version.id, exc_info=not isinstance(error, taggers.Failed))
        return None, tags.plainly(error)
    return tags.rows_of(services, tagger, version, words, people, taxonomy.vocabulary), ""


def _change(
    version_id: str, key: tuple[str, str], old: Tag | None, new: dict[str, Any] | None
) -> dict[str, Any] | None:
    """Return one difference, or None when there is none worth a word."""
    before = _kept({name: getattr(old, name) for name in _KEPT}) if old else None
    after = _kept(new) if new else None
    if before and after:
        if before["status"] == after["status"] and abs(before["confidence"] - after["confidence"]) < MOVED:
            return None
        after |= {"id": before["id"], "created_at": before["created_at"]}
    kind = "changed" if before and after else "added" if after else "removed"
    return {"version_id": version_id, "term_id": key[0], "source": key[1], "kind": kind, "old": before, "new": after}


def _kept(row: dict[str, Any]) -> dict[str, Any]:
    """Return what is kept of a tag's row, as JSON has it."""
    found: dict[str, Any] = audit.plain({name: row[name] for name in _KEPT})
    return found
