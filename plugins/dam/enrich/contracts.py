"""Metadata contracts: what a version must have at a stage, checked by Great Expectations, and how it is filled in.

Contracts are data (``include/taxonomy/contracts``), compiled to suites and run once a batch; the result
is kept row by row, and shown to the person who fills in what is missing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select, true
from sqlalchemy.dialects.postgresql import insert

from dam import audit
from dam.catalog.lifecycle import HeldVersion, holds_on
from dam.catalog.models import (
    Batch,
    ContractResult,
    Description,
    Tag,
    Term,
    Version,
    VersionState,
    new_id,
    utcnow,
)
from dam.enrich import expectations, facts
from dam.enrich.rights import grant_asset
from dam.errors import BadInput, DamError, Fault, NotFound, Refused
from dam.ingest import released
from dam.taxonomy import sync_terms
from dam.taxonomy.contracts import FACTS, Contract, Rule, choices, in_words, label
from dam.taxonomy.vocabulary import shown

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.services import Services

RIGHTS = (
    "licence", "holder", "kind", "territories", "channels", "starts_on", "ends_on", "model_release", "property_release",
    "permissions", "duties", "max_count",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finding(Fault):
    """A rule that a version breaks. :param rule: what was expected, in words. :param severity: must or should."""

    rule: str
    severity: str

    @property
    def sentences(self) -> str:
        """What is wrong and how to mend it, as text for a person."""
        return sentences_of(self.as_dict())


def sentences_of(fault: dict[str, str]) -> str:
    """Return what is wrong and how to mend it, of a fault as it is kept (:class:`Finding`)."""
    name = label(fault["field"])
    return f"{name[0].upper()}{name[1:]} {fault['problem']} {fault['remedy']}"


@dataclass(frozen=True, slots=True)
class ContractReport:
    """Version ids that meet their contract, and the faults of those that don't.

    :param advice: what should be mended but holds nothing up, by version id, complete ones too.
    """

    complete: list[str]
    incomplete: dict[str, list[Finding]]
    advice: dict[str, list[Finding]] = field(default_factory=dict)


def check(
    services: Services, *, batch_id: str, run: str | None = None, versions: Collection[str] | None = None
) -> ContractReport:
    """Hold a batch's ingested versions to their contracts; the result is kept row by row.

    A batch with incomplete versions waits (for the librarian); its complete ones go on.

    :param versions: only these of them; the batch's own state is left as it is then.
    """
    with services.session() as session:
        query = select(Version.id).where(Version.batch_id == batch_id, Version.state == VersionState.INGESTED)
        waiting = [found for found in session.scalars(query) if versions is None or found in versions]
    report, results = _held_to(services, "ingest", waiting, date.today())
    with services.session() as session:
        batch = _locked(session, batch_id)
        session.add_all(results)
        if versions is None:
            _note_checked(session, batch, report, run)
    return report


def hand_on(services: Services, *, batch_id: str, run: str | None = None) -> ContractReport:
    """Hold to their contracts what a run is to hand on, for review or to the librarian.

    The first run over a batch checks all of it, one after it only what was released from quarantine since
    (:mod:`dam.ingest.released`), so that nothing is handed on twice.
    """
    with services.session() as session:
        taken, late = released.take(session, _locked(session, batch_id), run)
    report, results = _held_to(services, "ingest", taken, date.today())
    with services.session() as session:
        batch = _locked(session, batch_id)
        session.add_all(results)
        _note_checked(session, batch, report, run, late=late)
    return report


def _locked(session: Session, batch_id: str) -> Batch:
    batch = session.get(Batch, batch_id, with_for_update={"of": Batch})
    if batch is None:
        raise NotFound("there is no such batch", where=batch_id)
    return batch


def _note_checked(
    session: Session, batch: Batch, report: ContractReport, run: str | None, *, late: bool = False
) -> None:
    """Note what a check found. :param late: it was of late versions alone: others may wait for the librarian, too."""
    if batch.status != "done" and (report.incomplete or not late):
        batch.status = "waiting" if report.incomplete else "ingesting"
    audit.record(
        session,
        actor="airflow",
        action="batch.checked",
        subject_id=batch.id,
        data={"complete": len(report.complete), "incomplete": sorted(report.incomplete)},
        run=run,
    )


def check_for(
    services: Services, *, stage: str, version_ids: Sequence[str], keep: bool = True, today: date | None = None
) -> ContractReport:
    """Hold any versions to the contracts of a stage, e.g. ``activate`` before anything of them is published.

    Versions of a kind that no contract of the stage names are complete.

    :param keep: whether the result is kept row by row. :param today: the day licences are counted from; the
        default is today.
    """
    report, results = _held_to(services, stage, version_ids, today or date.today())
    if keep:
        with services.session() as session:
            session.add_all(results)
    return report


def lacking(session: Session, *, stage: str, version_ids: Sequence[str]) -> dict[str, list[str]]:
    """Return what the newest kept check of a stage found that holds versions up, as sentences by version id."""
    newest = (
        select(func.max(ContractResult.id))
        .where(ContractResult.version_id.in_(version_ids), ContractResult.suite.startswith(f"{stage}/"))
        .group_by(ContractResult.version_id)
    )
    results = select(ContractResult).where(ContractResult.id.in_(newest), ContractResult.complete.is_(False))
    return {
        result.version_id: [sentences_of(fault) for fault in result.faults if fault["severity"] == "must"]
        for result in session.scalars(results)
    }


def _held_to(
    services: Services, stage: str, version_ids: Sequence[str], today: date
) -> tuple[ContractReport, list[ContractResult]]:
    """Hold versions to the contracts of a stage; return the report, and a row to keep for each of them."""
    with services.session() as session:
        rows = facts.rows(services, session, version_ids, today=today)
        batches = dict(session.execute(select(Version.id, Version.batch_id).where(Version.id.in_(version_ids))).all())
    faults: dict[str, list[Finding]] = {row["version_id"]: [] for row in rows}
    suites: dict[str, str] = {}
    by_contract: dict[str, tuple[Contract, list[dict[str, Any]]]] = {}
    for row in rows:
        contract = services.taxonomy.contract(stage, row["kind"])
        if contract is not None:
            suites[row["version_id"]] = suite_name(contract)
            by_contract.setdefault(contract.name, (contract, []))[1].append(row)
    for _, (contract, of_kind) in sorted(by_contract.items()):
        for at, rule in expectations.broken(contract, of_kind, services.taxonomy.vocabulary):
            faults[of_kind[at]["version_id"]].append(_finding(rule, of_kind[at]))
    now = utcnow()
    report = _report(faults)
    return report, [
        ContractResult(
            version_id=version_id,
            batch_id=batches[version_id],
            suite=suites.get(version_id, f"{stage}/*"),
            complete=version_id not in report.incomplete,
            faults=[fault.as_dict() for fault in found],
            checked_at=now,
        )
        for version_id, found in faults.items()
    ]


def _report(faults: dict[str, list[Finding]]) -> ContractReport:
    by_severity = {
        severity: {
            version_id: kept
            for version_id, found in sorted(faults.items())
            if (kept := [fault for fault in found if fault.severity == severity])
        }
        for severity in ("must", "should")
    }
    incomplete = by_severity["must"]
    return ContractReport(sorted(set(faults) - set(incomplete)), incomplete, by_severity["should"])


def suite_name(contract: Contract) -> str:
    """Return what results are kept under: stage, kind, and the edition of the contract."""
    digest = hashlib.sha256(contract.model_dump_json().encode()).hexdigest()
    return f"{contract.name}@{digest[:8]}"


def _finding(rule: Rule, row: dict[str, Any]) -> Finding:
    value, wanted = row[rule.field], rule.value
    if rule.rule == "one_of":
        wanted = ", ".join(map(str, choices(wanted)))
    shown = ", ".join(value) if isinstance(value, list) else value
    count = len(value) if isinstance(value, list) else value
    problem = {
        "present": "is missing.",
        "at_least": f"is {count!s}, less than {wanted}.",
        "at_most": f"is {count!s}, more than {wanted}.",
        "longest": f"is longer than {wanted} characters.",
        "shortest": f"is shorter than {wanted} characters.",
        "matches": f"{shown!r} does not fit.",
        "not_matches": f"{shown!r} does not fit.",
        "one_of": f"is {shown}, not one of: {wanted}.",
        "includes": f"does not include {wanted}.",
        "term_of": f"{shown!r} is no term of the facet {wanted}.",
    }[rule.rule]
    if isinstance(value, list) and not value and rule.rule == "at_least":
        problem = "is missing."
    return Finding(rule.field, problem, rule.remedy, in_words(rule), rule.severity)


def missing(services: Services, *, batch_id: str, version_ids: Collection[str] | None = None) -> list[dict[str, Any]]:
    """Return what the newest check of a batch found missing: the librarian's table.

    :param version_ids: only these of its versions.
    :returns: rows of ``{"version_id", "asset", "asset_id", "filename", "has_thumbnail", "faults", "values"}``;
        ``values`` are the descriptive fields, the tags and the newest licence as they are.
    """
    with services.session() as session:
        rows = session.execute(
            select(ContractResult, Version)
            .join(Version, Version.id == ContractResult.version_id)
            .where(
                ContractResult.id.in_(newest_results(batch_id)),
                ContractResult.complete.is_(False),
                Version.state == VersionState.INGESTED,
                true() if version_ids is None else Version.id.in_(version_ids),
            )
            .order_by(Version.filename, Version.id)
        ).all()
        known = {
            row["version_id"]: row
            for row in facts.rows(services, session, [version.id for _, version in rows], today=date.today())
        }
        return [
            {
                "version_id": version.id,
                "asset": version.asset.name if version.asset else None,
                "asset_id": version.asset_id,
                "filename": version.filename,
                "has_thumbnail": any(rendition.recipe == "thumbnail" for rendition in version.renditions),
                "faults": result.faults,
                "values": _values(services, version, known[version.id]),
            }
            for result, version in rows
        ]


def newest_results(batch_id: str, stage: str = "ingest") -> Any:
    """Return a query of the ids of the newest result of each version of a batch at a stage."""
    return (
        select(func.max(ContractResult.id))
        .where(ContractResult.batch_id == batch_id, ContractResult.suite.startswith(f"{stage}/"))
        .group_by(ContractResult.version_id)
    )


def _values(services: Services, version: Version, known: dict[str, Any]) -> dict[str, Any]:
    """Return what can be filled in, as it is now."""
    values = {name: known[name] for name in services.taxonomy.metadata.fields}
    values |= {name: known[name] for name in known if name == "tags" or name.startswith("tags.")}
    grants = sorted(version.asset.grants, key=lambda grant: grant.id) if version.asset else []
    if grants:
        grant, licence = grants[-1], grants[-1].licence
        values |= {"licence": licence.reference, "holder": licence.holder, "kind": licence.kind}
        values |= {name: getattr(grant, name) for name in RIGHTS if name not in values}
    return {name: value.isoformat() if isinstance(value, date) else value for name, value in values.items()}


def fillable(services: Services) -> list[str]:
    """Return the names that :func:`fill` knows: descriptive fields, tags as a whole or of a facet, rights."""
    facets = [f"tags.{facet}" for facet in services.taxonomy.vocabulary.facets]
    return [*services.taxonomy.metadata.fields, "tags", *facets, *RIGHTS]


#: What is filled in together where anything of the rights is at fault.
LICENCE = RIGHTS[:9]


def to_fill(faults: list[dict[str, Any]]) -> list[str]:
    """Return the names to fill in that would mend faults; some faults no words can mend, like a small picture."""
    names: dict[str, None] = {}
    for field_name in (fault["field"] for fault in faults):
        if field_name in RIGHTS or field_name in ("licence_kind", "days_left"):
            names |= dict.fromkeys([*LICENCE, *({field_name} & set(RIGHTS))])
        elif field_name not in FACTS or field_name == "tags":
            names[field_name] = None
    return list(names)


def fill_many(
    services: Services, *, batch_id: str, values: dict[str, dict[str, Any]], person: str, run: str | None = None
) -> dict[str, Any]:
    """Fill in versions of a batch; each of them whole or not at all, whatever becomes of the others.

    What was saved is checked at once.

    :param values: by version id, as :func:`fill` takes them.
    :returns: ``{"saved": [version id], "refused": {version id: {"field", "what", "remedy"}}, "complete": [version
        id], "missing": {version id: [fault]}}``; the last two of those that were saved.
    """
    with services.session() as session:
        if session.get(Batch, batch_id) is None:
            raise NotFound("there is no such batch", where=batch_id)
        own = set(session.scalars(select(Version.id).where(Version.batch_id == batch_id, Version.id.in_(values))))
    saved: list[str] = []
    refused: dict[str, dict[str, str]] = {}
    for version_id, given in values.items():
        try:
            if version_id not in own:
                raise NotFound("there is no such version in this batch", where=version_id)
            fill(services, version_id=version_id, values=given, person=person, run=run)
            saved.append(version_id)
        except DamError as error:
            where = error.where.removeprefix("rights.")
            refused[version_id] = {
                "field": where if where in given or where in RIGHTS else "",
                "what": error.what,
                "remedy": error.remedy,
            }
    report = check(services, batch_id=batch_id, versions=saved, run=run) if saved else ContractReport([], {})
    return {
        "saved": saved,
        "refused": refused,
        "complete": report.complete,
        "missing": {key: [fault.as_dict() for fault in found] for key, found in report.incomplete.items()},
    }


def fill(
    services: Services, *, version_id: str, values: dict[str, Any], person: str, run: str | None = None
) -> dict[str, Any]:
    """Fill in or change a version's metadata, tags and rights, all of it or nothing.

    An approval that was given for the old metadata or rights is void from then on: its hash is another.

    :param values: descriptive fields of ``metadata.yaml``, ``tags`` or ``tags.<facet>`` (term ids or labels; of a
        facet, the others stay), and rights (:data:`RIGHTS`; ``licence`` names the reference).
    :returns: ``{"version_id", "changed"}``: the fields that changed.
    :raises BadInput: a field or a term is unknown, or a value can't be read.
    :raises Refused: the version is destroyed, or was merged into another.
    :raises HeldVersion: a hold covers the version.
    """
    known = fillable(services)
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise BadInput(
            f"{', '.join(unknown)} is no field",
            where="values",
            remedy=f"Use: {', '.join(known)}.",
        )
    tags = {name: words for name, words in values.items() if name == "tags" or name.startswith("tags.")}
    if tags:
        sync_terms(services)
    with services.session() as session:
        version = session.get(Version, version_id, with_for_update={"of": Version})
        if version is None or version.asset_id is None:
            raise NotFound("there is no such version, or it was not accepted", where=version_id)
        if version.state == VersionState.DESTROYED:
            raise Refused("the version is destroyed", where=version_id)
        if version.merged_into_id is not None:
            raise Refused(
                "the version was merged into another, which has the same pixels",
                where=version_id,
                remedy=f"Change {version.merged_into_id} instead, or undo the merge on the duplicates page.",
            )
        if holds := holds_on(session, version):
            raise HeldVersion(
                f"it is on legal hold ({holds[0].reason}), so nothing of it can be changed",
                where=f"version {version_id}",
                remedy="Release the hold first: dam hold release.",
            )
        described = {name: values[name] for name in services.taxonomy.metadata.fields if name in values}
        changed = _describe(session, version, described, person)
        for name, words in sorted(tags.items()):
            _tag(services, session, version_id, words, person, field_name=name)
            changed.append(name)
        terms = {name: values[name] for name in RIGHTS if name in values}
        if terms:
            grant_asset(session, asset_id=version.asset_id, terms=terms, source=f"person:{person}")
            changed += sorted(terms)
        if changed:
            audit.record(
                session,
                actor=person,
                action="version.described",
                subject_id=version_id,
                data={name: values[name] for name in changed},
                run=run,
            )
    return {"version_id": version_id, "changed": changed}


def _describe(session: Session, version: Version, values: dict[str, Any], person: str) -> list[str]:
    """Set descriptive fields; what has no column of its own is kept as ``custom``."""
    described = session.get(Description, version.id, with_for_update=True)
    if described is None:
        described = Description(version_id=version.id, updated_by=person, custom={})
        session.add(described)
    changed = []
    for name, given in values.items():
        value = _moment(name, given) if name == "date_created" else _text(name, given)
        if facts.value_of(described, name) == value:
            continue
        if name in Description.__table__.columns:
            setattr(described, name, value)
        else:  # a new dict: SQLAlchemy does not see changes inside one
            custom = described.custom | {name: value}
            described.custom = {key: kept for key, kept in custom.items() if kept is not None}
        changed.append(name)
    if changed:
        described.updated_by, described.updated_at = person, utcnow()
    session.flush()
    return changed


def _text(name: str, value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise BadInput(f"{value!r} is no text", where=name)
    if value and "\x00" in value:
        raise BadInput("there is a character in it that no text has", where=name, remedy="Write it anew.")
    return (value or "").strip() or None


def _moment(name: str, value: Any) -> datetime | None:
    """Return a date or moment; UTC where it names no time zone."""
    if value in (None, ""):
        return None
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        raise BadInput(f"{value!r} is no date", where=name, remedy="Write it as 2027-03-01.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _tag(
    services: Services, session: Session, version_id: str, words: Any, person: str, *, field_name: str = "tags"
) -> None:
    """Make a person's tags exactly ``words``; what machines said stays, refused where the person left it out.

    :param field_name: ``tags``, or ``tags.<facet>``: then only terms of that facet are meant and touched.
    """
    if not isinstance(words, list):
        raise BadInput(f"{words!r} is no list", where=field_name, remedy='Write it like ["coffee", "colour/red"].')
    vocabulary = services.taxonomy.vocabulary
    facet = field_name.removeprefix("tags").removeprefix(".")
    wanted = set()
    for word in words:
        term_id = word if word in vocabulary else vocabulary.find(str(word))
        if term_id is None:
            raise BadInput(
                f"{word!r} is no term of the vocabulary", where=field_name, remedy="Choose one that is there."
            )
        if facet and not term_id.startswith(f"{facet}/"):
            raise BadInput(
                f"{word!r} is no term of the facet {facet}", where=field_name, remedy="Choose one that is in it."
            )
        wanted.add(term_id)
    source = f"person:{person}"
    for tag in session.scalars(select(Tag).where(Tag.version_id == version_id)):
        if tag.term_id.startswith(f"{facet}/" if facet else ""):
            tag.status = "applied" if tag.term_id in wanted else "refused"
    rows = [
        {
            "id": new_id("tag"),
            "version_id": version_id,
            "term_id": term_id,
            "source": source,
            "model": "person",
            "model_version": "person",
            "confidence": 1.0,
            "status": "applied",
            "created_at": datetime.now().astimezone(),
        }
        for term_id in sorted(wanted)
    ]
    if rows:
        session.execute(
            insert(Tag)
            .values(rows)
            .on_conflict_do_update(
                index_elements=["version_id", "term_id", "source"], set_={"status": "applied", "confidence": 1.0}
            )
        )


def vocabulary(services: Services, *, language: str = "en") -> list[dict[str, str]]:
    """Return every term in use as ``{"id", "label", "facet"}``, for look-up in forms."""
    sync_terms(services)
    with services.session() as session:
        return [
            {"id": term.id, "label": shown(term.labels, language), "facet": term.facet}
            for term in session.scalars(select(Term).where(Term.deprecated.is_(False)).order_by(Term.id))
        ]
