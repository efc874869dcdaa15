"""Metadata contracts: what a version must have before it can be reviewed, checked by Great Expectations.

Contracts are data (``include/taxonomy/contracts``), compiled to suites and run once a batch; the result
is kept row by row, and shown to the person who fills in what is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from dam import audit
from dam.catalog.models import (
    Batch,
    ContractResult,
    Description,
    Grant,
    Tag,
    Term,
    Version,
    VersionState,
    new_id,
    utcnow,
)
from dam.enrich.rights import grant_asset
from dam.errors import BadInput, Fault, NotFound, Refused
from dam.taxonomy import Contract, Rule, sync_terms
from dam.taxonomy.vocabulary import shown

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy.orm import Session

    from dam.services import Services

DESCRIBED = ("title", "description", "alt_text", "creator", "credit_line", "copyright_notice", "language")
RIGHTS = (
    "licence", "holder", "kind", "territories", "channels", "starts_on", "ends_on", "model_release", "property_release",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ContractReport:
    """Version ids that meet their contract, and the faults of those that don't."""

    complete: list[str]
    incomplete: dict[str, list[Fault]]


def check(services: Services, *, batch_id: str, run: str | None = None) -> ContractReport:
    """Hold a batch's ingested versions to their contracts; the result is kept row by row.

    A batch with incomplete versions waits (for the librarian); its complete ones go on.
    """
    with services.session() as session:
        frame_rows = _rows(session, batch_id)
    faults: dict[str, list[Fault]] = {row["version_id"]: [] for row in frame_rows}
    kinds: dict[str, list[dict[str, Any]]] = {}
    for row in frame_rows:
        kinds.setdefault(row["kind"] if row["kind"] in services.taxonomy.contracts else "*", []).append(row)
    for kind, rows in sorted(kinds.items()):
        contract = services.taxonomy.contracts.get(kind)
        if contract is not None:
            for version_id, fault in _validate(contract, rows):
                faults[version_id].append(fault)
    with services.session() as session:
        batch = session.get(Batch, batch_id, with_for_update={"of": Batch})
        if batch is None:
            raise NotFound("there is no such batch", where=batch_id)
        for row in frame_rows:
            session.add(
                ContractResult(
                    version_id=row["version_id"],
                    batch_id=batch_id,
                    suite=f"ingest/{row['kind'] if row['kind'] in services.taxonomy.contracts else '*'}",
                    complete=not faults[row["version_id"]],
                    faults=[fault.as_dict() for fault in faults[row["version_id"]]],
                )
            )
        report = ContractReport(
            complete=sorted(version_id for version_id, found in faults.items() if not found),
            incomplete={version_id: found for version_id, found in sorted(faults.items()) if found},
        )
        if batch.status != "done":
            batch.status = "waiting" if report.incomplete else "ingesting"
        audit.record(
            session,
            actor="airflow",
            action="batch.checked",
            subject_id=batch_id,
            data={"complete": len(report.complete), "incomplete": sorted(report.incomplete)},
            run=run,
        )
    return report


def _rows(session: Session, batch_id: str) -> list[dict[str, Any]]:
    """Return one row a version that waits at the end of ingest, with what contracts look at."""
    licences = select(func.count(Grant.id)).where(Grant.asset_id == Version.asset_id).scalar_subquery()
    tags = select(func.count(Tag.id)).where(Tag.version_id == Version.id, Tag.status == "applied").scalar_subquery()
    found = session.execute(
        select(Version, Description, licences, tags)
        .outerjoin(Description, Description.version_id == Version.id)
        .where(Version.batch_id == batch_id, Version.state == VersionState.INGESTED)
        .order_by(Version.id)
    ).all()
    return [
        {
            "version_id": version.id,
            "kind": version.asset.kind if version.asset else "*",
            "width": version.width,
            "height": version.height,
            "licence": "granted" if licence_count else None,
            "tags": tag_count,
            **{name: (getattr(described, name) or None) if described else None for name in DESCRIBED},
        }
        for version, described, licence_count, tag_count in found
    ]


def _validate(contract: Contract, rows: list[dict[str, Any]]) -> list[tuple[str, Fault]]:
    """Run a contract over rows with Great Expectations and return the faults by version id."""
    import great_expectations as gx
    import pandas as pd
    from great_expectations.data_context.types.base import ProgressBarsConfig

    frame = pd.DataFrame(rows)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    batch = (
        context.data_sources.add_pandas("catalogue")
        .add_dataframe_asset("versions")
        .add_batch_definition_whole_dataframe("batch")
        .get_batch(batch_parameters={"dataframe": frame})
    )
    suite = gx.ExpectationSuite(name=f"{contract.stage}/{contract.kind}")
    for index, rule in enumerate(contract.rules):
        if rule.field not in frame.columns:
            raise BadInput(
                f"{rule.field!r} is no field that contracts can look at",
                where=f"contract {contract.stage}/{contract.kind}",
                remedy=f"Use one of: {', '.join(sorted(set(frame.columns) - {'version_id', 'kind'}))}.",
            )
        suite.add_expectation(_expectation(rule, str(index)))
    result = batch.validate(suite, result_format="COMPLETE")
    found = []
    for outcome in result.results:
        if outcome.exception_info and outcome.exception_info.get("raised_exception"):
            raise BadInput(
                str(outcome.exception_info.get("exception_message")),
                where=f"contract {contract.stage}/{contract.kind}",
                remedy="Mend the rule.",
            )
        meta = (outcome.expectation_config.meta if outcome.expectation_config else None) or {}
        rule = contract.rules[int(meta["rule"])]
        for at in outcome.result.get("unexpected_index_list") or []:
            found.append((str(frame.loc[at, "version_id"]), _fault(rule, frame, at)))
    return found


def _expectation(rule: Rule, number: str) -> Any:
    import great_expectations.expectations as gxe

    known: Any = gxe  # its names are not exported explicitly
    meta = {"rule": number}
    if rule.rule == "present":
        return known.ExpectColumnValuesToNotBeNull(column=rule.field, meta=meta)
    if rule.rule == "at_least":
        return known.ExpectColumnValuesToBeBetween(column=rule.field, min_value=rule.value, meta=meta)
    if rule.rule == "longest":
        return known.ExpectColumnValueLengthsToBeBetween(column=rule.field, max_value=int(rule.value or 0), meta=meta)
    return known.ExpectColumnValuesToMatchRegex(column=rule.field, regex=str(rule.value), meta=meta)


def _fault(rule: Rule, frame: pd.DataFrame, at: int) -> Fault:
    value = frame.loc[at, rule.field]
    problem = {
        "present": "is missing.",
        "at_least": f"is {value!s}, less than {rule.value}.",
        "longest": f"is longer than {rule.value} characters.",
        "matches": f"{value!r} does not fit.",
    }[rule.rule]
    return Fault(rule.field, problem, rule.remedy)


def missing(services: Services, *, batch_id: str) -> list[dict[str, Any]]:
    """Return what the newest check of a batch found missing: the librarian's table.

    :returns: rows of ``{"version_id", "asset", "asset_id", "filename", "faults", "values"}``; ``values`` are the
        descriptive fields as they are.
    """
    newest = (
        select(ContractResult.version_id, func.max(ContractResult.id).label("id"))
        .where(ContractResult.batch_id == batch_id)
        .group_by(ContractResult.version_id)
        .subquery()
    )
    with services.session() as session:
        rows = session.execute(
            select(ContractResult, Version)
            .join(newest, newest.c.id == ContractResult.id)
            .join(Version, Version.id == ContractResult.version_id)
            .where(ContractResult.complete.is_(False), Version.state == VersionState.INGESTED)
            .order_by(Version.filename)
        ).all()
        return [
            {
                "version_id": version.id,
                "asset": version.asset.name if version.asset else None,
                "asset_id": version.asset_id,
                "filename": version.filename,
                "faults": result.faults,
                "values": {
                    name: getattr(version.description, name) if version.description else None for name in DESCRIBED
                },
            }
            for result, version in rows
        ]


def fill(
    services: Services, *, version_id: str, values: dict[str, Any], person: str, run: str | None = None
) -> dict[str, Any]:
    """Fill in or change a version's metadata, tags and rights, all of it or nothing.

    An approval that was given for the old metadata or rights is void from then on: its hash is another.

    :param values: descriptive fields (:data:`DESCRIBED`), ``tags`` (term ids or labels), and rights
        (:data:`RIGHTS`; ``licence`` names the reference).
    :returns: ``{"version_id", "changed"}``: the fields that changed.
    :raises BadInput: a field or a term is unknown, or a value can't be read.
    :raises Refused: the version is destroyed.
    """
    unknown = sorted(set(values) - {*DESCRIBED, *RIGHTS, "tags"})
    if unknown:
        raise BadInput(
            f"{', '.join(unknown)} is no field",
            where="values",
            remedy=f"Use: {', '.join((*DESCRIBED, 'tags', *RIGHTS))}.",
        )
    if "tags" in values:
        sync_terms(services)
    with services.session() as session:
        version = session.get(Version, version_id, with_for_update={"of": Version})
        if version is None or version.asset_id is None:
            raise NotFound("there is no such version, or it was not accepted", where=version_id)
        if version.state == VersionState.DESTROYED:
            raise Refused("the version is destroyed", where=version_id)
        changed = _describe(session, version, values, person)
        if "tags" in values:
            _tag(services, session, version_id, values["tags"], person)
            changed.append("tags")
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
    described = session.get(Description, version.id, with_for_update=True)
    if described is None:
        described = Description(version_id=version.id, updated_by=person)
        session.add(described)
    changed = []
    for name in DESCRIBED:
        if name not in values:
            continue
        value = values[name]
        if value is not None and not isinstance(value, str):
            raise BadInput(f"{value!r} is no text", where=name)
        value = (value or "").strip() or None
        if getattr(described, name) != value:
            setattr(described, name, value)
            changed.append(name)
    if changed:
        described.updated_by, described.updated_at = person, utcnow()
    session.flush()
    return changed


def _tag(services: Services, session: Session, version_id: str, words: Any, person: str) -> None:
    """Make a person's tags exactly ``words``; what machines said stays, refused where the person left it out."""
    if not isinstance(words, list):
        raise BadInput(f"{words!r} is no list", where="tags", remedy='Write it like ["coffee", "colour/red"].')
    vocabulary = services.taxonomy.vocabulary
    wanted = set()
    for word in words:
        term_id = word if word in vocabulary else vocabulary.find(str(word))
        if term_id is None:
            raise BadInput(f"{word!r} is no term of the vocabulary", where="tags", remedy="Choose one that is there.")
        wanted.add(term_id)
    source = f"person:{person}"
    for tag in session.scalars(select(Tag).where(Tag.version_id == version_id)):
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
