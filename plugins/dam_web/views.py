"""What pages and API show, read from the catalogue as plain dicts."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session, aliased, selectinload

from dam import audit
from dam.catalog.lifecycle import holds_on
from dam.catalog.models import (
    Asset,
    Batch,
    BatchFile,
    Brief,
    Campaign,
    Description,
    KpiReport,
    Merge,
    NearDuplicate,
    Package,
    PackageVersion,
    Tag,
    Term,
    Version,
    VersionState,
)
from dam.enrich import contracts, results, sheet
from dam.errors import BadInput, NotFound
from dam.ingest import duplicates, embedded
from dam.plan import briefs
from dam.renditions.render import ASIDE
from dam.review import annotations as notes
from dam.review import completion, packages, purposes, seating
from dam.rights import policy
from dam.rights.terms import RELEASES
from dam.services import Services
from dam.taxonomy.contracts import choices, label
from dam.taxonomy.vocabulary import shown

FIELDS = ("title", "description", "alt_text", "creator", "credit_line", "copyright_notice", "language")


def package(services: Services, package_id: str, *, person: str | None = None) -> dict[str, Any]:
    """Return a package with its versions, seats, notes and what rights allow.

    :param person: who is shown the notes; None is shown no private one.
    :returns: with ``live``, the moment at which it was read, from which live events go on.
    """
    shown: dict[str, Any] = {"live": services.live.position()}  # before anything is read
    with services.session() as session:
        found = session.get(Package, package_id, options=seating.SIGNED)
        if found is None:
            raise NotFound("there is no such package", where=package_id)
        rows = session.scalars(
            select(PackageVersion)
            .where(PackageVersion.package_id == package_id)
            .options(selectinload(PackageVersion.version).selectinload(Version.description))
        ).all()
        shown |= standing(session, found, packages.makers_of(session, found)) | {
            "versions": sorted(
                (_version(services, row) for row in rows), key=lambda row: (row["asset"] or "", row["number"] or 0)
            ),
            "rest": found.rest,
            "follows_id": found.follows_id,
        }
    shown |= said(services, package_id, shown["status"], shown["follows_id"], person)
    shown["decisions"] = [
        {"role": seat["role"], **signature} for seat in shown["seats"] for signature in seat["signatures"]
    ]
    answers: dict[str, list[dict[str, Any]]] = {}
    for row in policy.ask_package(services, package_id=package_id):
        answers.setdefault(row["version_id"], []).append(row)
    for version in shown["versions"]:
        version["rights_answers"] = answers.get(version["version_id"], [])
    return shown


def standing(session: Session, package: Package, makers: set[str]) -> dict[str, Any]:
    """Return where the review of a package stands: its round and status, its seats, and what it waits for.

    :param package: read with :data:`dam.review.seating.SIGNED`. :param makers: who made or sent its versions.
    """
    return {
        "package_id": package.id,
        "purpose": package.purpose,
        "batch_id": package.batch_id,
        "of": purposes.source(package),
        "campaign": package.campaign.name if package.campaign else None,
        "brief": _signed(package.brief),
        "round": package.round,
        "status": package.status,
        "manifest_sha256": package.manifest_sha256,
        "void_reason": package.void_reason,
        "lapsed": package.status == "in_review" and any(packages.has_lapsed(seat) for seat in package.seats),
        "frozen_at": package.frozen_at.isoformat(),
        "next_package_id": packages.next_round(session, package) if package.status in ("void", "expired") else None,
        "waits_for": packages.waits_for(session, package),
        "seats": seating.told(session, package, makers),
    }


def _signed(brief: Brief | None) -> dict[str, Any] | None:
    """Return the brief that a package is to sign, as its room names it."""
    if brief is None:
        return None
    return {"brief_id": brief.id, "number": brief.number, "status": brief.status, "drafted_by": brief.drafted_by}


def said(
    services: Services, package_id: str, status: str, before: str | None, person: str | None
) -> dict[str, list[dict[str, Any]]]:
    """Return what changed after a package was frozen and since the round before it, and what is noted on it.

    :param before: the package that it follows. :param person: who is shown the notes.
    """
    return {
        "changes": packages.what_changed(services, package_id=package_id) if status == "void" else [],
        "changed_since": packages.what_changed(services, package_id=before) if before else [],
        "annotations": notes.of_package(services, package_id=package_id, person=person),
    }


def _version(services: Services, row: PackageVersion) -> dict[str, Any]:
    version = row.version
    return version_row(services, version) | {"verdict": row.verdict}


def version_row(services: Services, version: Version, *, see_place: bool = False) -> dict[str, Any]:
    """Return a version with metadata, tags, rights and look-alikes; its session must be open.

    :param see_place: whether coordinates of where it was taken are shown.
    """
    from sqlalchemy.orm import object_session

    session = object_session(version)
    if session is None:
        raise NotFound("the version is not attached to a session", where=version.id)
    terms = session.execute(
        select(Term.labels, func.max(Tag.confidence), func.array_agg(Tag.source))
        .join(Tag, Tag.term_id == Term.id)
        .where(Tag.version_id == version.id, Tag.status == "applied")
        .group_by(Term.id, Term.labels)
        .order_by(Term.id)
    ).all()
    suggested = session.execute(
        select(Term.labels, Tag.source, Tag.confidence, Tag.because)
        .join(Tag, Tag.term_id == Term.id)
        .where(Tag.version_id == version.id, Tag.status == "suggested")
        .order_by(Tag.confidence.desc(), Term.id)
    ).all()
    near = session.execute(
        select(NearDuplicate)
        .where(or_(NearDuplicate.version_id == version.id, NearDuplicate.other_id == version.id))
        .where(NearDuplicate.answer.is_distinct_from("different"))
    ).scalars()
    asset = version.asset
    return {
        "version_id": version.id,
        "asset_id": version.asset_id,
        "asset": asset.name if asset else None,
        "number": version.number,
        "filename": version.filename,
        "state": version.state,
        "state_reason": version.state_reason,
        "embedded": version.embedded if see_place else embedded.without_place(version.embedded),
        "place_hidden": not see_place and embedded.tells_place(version.embedded),
        "tier": version.tier,
        "media_type": version.media_type,
        "bytes": version.bytes,
        "width": version.width,
        "height": version.height,
        "seconds": version.seconds,
        "sha256": version.sha256,
        "scan": version.scan,
        "scan_note": version.scan_note,
        "made_by": version.made_by,
        "created_at": version.created_at.isoformat(),
        "colour_profile": version.technical.get("icc_name"),
        "metadata": {name: getattr(version.description, name) if version.description else None for name in FIELDS},
        "tags": [
            {"label": shown(labels), "confidence": confidence, "sources": sorted(set(sources))}
            for labels, confidence, sources in terms
        ],
        "suggestions": [
            {"label": shown(labels), "source": source, "confidence": confidence, "because": because}
            for labels, source, confidence, because in suggested
        ],
        "recipes": sorted({rendition.recipe for rendition in version.renditions}.difference(ASIDE)),
        "grants": [
            {
                "licence": grant.licence.reference,
                "holder": grant.licence.holder,
                "kind": grant.licence.kind,
                "territories": grant.territories,
                "channels": grant.channels,
                "starts_on": grant.starts_on.isoformat(),
                "ends_on": grant.ends_on.isoformat() if grant.ends_on else None,
                "model_release": grant.model_release,
                "property_release": grant.property_release,
                "permissions": grant.permissions,
                "duties": grant.duties,
                "max_count": grant.max_count,
            }
            for grant in (asset.grants if asset else [])
        ],
        "lacks": contracts.lacking(session, stage="activate", version_ids=[version.id]).get(version.id, []),
        "near": [row for pair in near if (row := _near(services, pair, version.id))],
        "deliveries": duplicates.deliveries(session, version.id),
        "merged_into": _short(session, version.merged_into_id),
    }


def _short(session: Session, version_id: str | None) -> dict[str, Any] | None:
    version = session.get(Version, version_id) if version_id else None
    if version is None or version.asset is None:
        return None
    return {"version_id": version.id, "asset_id": version.asset_id, "label": f"{version.asset.name} v{version.number}"}


def _near(_services: Services, pair: NearDuplicate, own_id: str) -> dict[str, Any] | None:
    """Return the other one of a pair; None when it was merged, so that the one it was merged into stands for it."""
    from sqlalchemy.orm import object_session

    session = object_session(pair)
    other_id = pair.other_id if pair.version_id == own_id else pair.version_id
    other, own = (session.get(Version, version_id) if session else None for version_id in (other_id, own_id))
    if other is not None and other.merged_into_id is not None:
        return None
    return {
        "version_id": other_id,
        "asset_id": other.asset_id if other else None,
        "asset": other.asset.name if other and other.asset else None,
        "same_pixels": pair.same_pixels,
        "distance": pair.distance,
        "by_sound": pair.distance is None and pair.key_frames is None,
        "how": duplicates.how(pair, *(found.asset.kind for found in (other, own) if found and found.asset)),
    }


def asset(services: Services, asset_id: str, *, see_place: bool = False) -> dict[str, Any]:
    """Return an asset with its versions, publications, holds and history.

    :param see_place: whether coordinates of where it was taken are shown.
    """
    with services.session() as session:
        found = session.get(Asset, asset_id)
        if found is None:
            raise NotFound("there is no such asset", where=asset_id)
        versions = sorted(
            found.versions, key=lambda version: (version.merged_into_id is None, version.number or 0), reverse=True
        )
        events = [event for version in versions for event in audit.history(session, version.id, limit=50)]
        events += audit.history(session, asset_id, limit=50)
        counted = _counted(session, versions)
        told_of = {version.id: f"{version.asset.name} v{version.number}" for version in counted if version.asset}
        away = [version for version in counted if version.asset_id != asset_id]
        events += [event for version in away for event in audit.history(session, version.id, limit=50)]
        events = list({event.seq: event for event in events}.values())
        return {
            "asset_id": found.id,
            "name": found.name,
            "kind": found.kind,
            "campaign": found.campaign.name if found.campaign else None,
            "deliverable": found.deliverable.title if found.deliverable else None,
            "versions": [version_row(services, version, see_place=see_place) for version in versions],
            "publications": [
                {
                    "publication_id": row.id,
                    "channel": row.channel,
                    "status": row.status,
                    "number": version.number,
                    "of": told_of[version.id] if version in away else None,
                    "requests": duplicates.requests_of(session, row.id),
                    "live_url": row.live_url,
                    "starts_at": row.starts_at.isoformat(),
                    "ends_at": row.ends_at.isoformat() if row.ends_at else None,
                    "probed_at": row.probed_at.isoformat() if row.probed_at else None,
                    "withdrawn_at": row.withdrawn_at.isoformat() if row.withdrawn_at else None,
                    "endpoints": len(row.endpoints),
                    "takedown": row.takedown,
                    "reason": row.reason,
                }
                for version in counted
                for row in sorted(version.publications, key=lambda row: row.id)
            ],
            "requests": duplicates.requests(session, [version.id for version in counted]),
            "places": policy.places(session, asset_id),
            "merges": [
                duplicates.merge_row(session, row)
                for row in session.scalars(
                    select(Merge)
                    .where(Merge.kept_asset_id == asset_id, Merge.undone_at.is_(None))
                    .order_by(Merge.merged_at)
                )
            ],
            "holds": [
                {"reason": hold.reason, "placed_by": hold.placed_by, "placed_at": hold.placed_at.isoformat()}
                for hold in (holds_on(session, versions[0]) if versions else [])
            ],
            "history": [
                {
                    "seq": event.seq,
                    "at": event.at.isoformat(),
                    "actor": event.actor,
                    "action": event.action,
                    "data": event.data,
                    "of": told_of.get(event.subject_id) if event.subject_id in {row.id for row in away} else None,
                    "run": event.run,
                }
                for event in sorted(events, key=lambda event: -event.seq)
            ],
        }


def _counted(session: Session, versions: list[Version]) -> list[Version]:
    """Return versions whose use counts for their asset: its own, but for those merged away, and those merged in."""
    own = [version for version in versions if version.merged_into_id is None]
    merged_in = session.scalars(
        select(Version).where(Version.merged_into_id.in_([version.id for version in own])).order_by(Version.id)
    )
    return [*own, *merged_in]


def leads_to(services: Services, asset_id: str) -> str | None:
    """Return the asset that a merged one leads to; None while it stands by itself."""
    with services.session() as session:
        return duplicates.leads_to(session, asset_id)


def name_of(services: Services, asset_id: str) -> str | None:
    """Return an asset's name."""
    with services.session() as session:
        return session.scalar(select(Asset.name).where(Asset.id == asset_id))


def search(services: Services, words: str, *, limit: int = 60, offset: int = 0) -> dict[str, Any]:
    """Find assets by words in their name, metadata or tags; without words, the newest.

    :returns: ``{"total", "assets"}``; rows are ``{"asset_id", "name", "title", "version_id", "state", "number",
        "campaign", "has_thumbnail"}``.
    """
    with services.session() as session:
        newest = (
            select(func.max(Version.number))
            .where(Version.asset_id == Asset.id, Version.merged_into_id.is_(None))
            .correlate(Asset)
            .scalar_subquery()
        )
        query = (
            select(Asset, Version, Description.title)
            .join(Version, (Version.asset_id == Asset.id) & (Version.number == newest))
            .outerjoin(Description, Description.version_id == Version.id)
            .where(Version.state != VersionState.DESTROYED)
        )
        if words.strip():
            tagged = select(Tag.version_id).where(Tag.status == "applied", Tag.term_id.in_(_meant(services, words)))
            gone, former = aliased(Version), aliased(Asset)
            merged_in = (
                select(gone.merged_into_id)
                .join(former, former.id == gone.asset_id)
                .where(gone.merged_into_id.is_not(None), former.name.icontains(words.strip(), autoescape=True))
            )
            query = query.where(
                or_(
                    Description.search.op("@@")(func.websearch_to_tsquery("simple", words)),
                    Asset.name.icontains(words.strip(), autoescape=True),
                    Version.id.in_(tagged),
                    Version.id.in_(merged_in),
                )
            )
        total = session.scalar(select(func.count()).select_from(query.subquery())) or 0
        rows = session.execute(query.order_by(Asset.id.desc()).limit(limit).offset(offset)).all()
        return {
            "total": total,
            "assets": [
                {
                    "asset_id": found.id,
                    "name": found.name,
                    "title": title,
                    "version_id": version.id,
                    "number": version.number,
                    "state": version.state,
                    "campaign": found.campaign.name if found.campaign else None,
                    "has_thumbnail": any(rendition.recipe == "thumbnail" for rendition in version.renditions),
                }
                for found, version, title in rows
            ],
        }


def _meant(services: Services, words: str) -> set[str]:
    """Return the terms that words name in any language, and all terms below them."""
    try:
        vocabulary = services.taxonomy.vocabulary
    except BadInput:  # somebody is editing it: what is found by its words is found all the same
        return set()
    return {lower for term_id in vocabulary.matcher.named(words) for lower in vocabulary.below(term_id)}


def batches(services: Services, *, waiting: bool = False, supplier: str | None = None) -> list[dict[str, Any]]:
    """Return the newest batches: all but the documents of briefs, those that wait for the librarian, a supplier's."""
    with services.session() as session:
        query = select(Batch).order_by(Batch.received_at.desc()).limit(100).options(selectinload(Batch.campaign))
        query = query.where(Batch.id.not_in(briefs.BATCHES))
        if waiting:
            asked = completion.waiting_batches()
            query = query.where(or_(Batch.status == "waiting", Batch.id.in_(asked)))
        if supplier is not None:
            query = query.where(Batch.supplier == supplier)
        found = session.scalars(query).all()
        refused = BatchFile.outcome.in_(["quarantined", "opaque"])
        counted = session.execute(
            select(BatchFile.batch_id, func.count(), func.count().filter(refused))
            .where(BatchFile.batch_id.in_([batch.id for batch in found]))
            .group_by(BatchFile.batch_id)
        )
        counts = {batch_id: (files, bad) for batch_id, files, bad in counted}
        return [
            {
                "batch_id": batch.id,
                "location": batch.location,
                "supplier": batch.supplier,
                "sent_by": batch.sent_by,
                "status": batch.status,
                "received_at": batch.received_at.isoformat(),
                "campaign": batch.campaign.name if batch.campaign else None,
                "files": counts.get(batch.id, (0, 0))[0],
                "refused": counts.get(batch.id, (0, 0))[1],
                "notes": len(batch.notes),
            }
            for batch in found
        ]


#: How a field is filled in, where it is no line of text.
_INPUTS = {
    "description": "textarea", "alt_text": "textarea", "extended_description": "textarea", "max_count": "number",
    **dict.fromkeys(sheet.DATES, "date"), **dict.fromkeys(sheet.LISTS, "words"),
}  # fmt: skip
_LICENCE_KINDS = ["owned", "rights_managed", "royalty_free", "public_domain", "creative_commons"]


def librarian_table(services: Services, batch_id: str) -> dict[str, Any]:
    """Return what is missing in a batch as a table to fill in: a row a version, a column a field.

    :returns: ``{"batch_id", "location", "columns", "rows", "counts"}``. A column is ``{"key", "label", "inputs"}``,
        what belongs to a licence being one; a row is as of :func:`dam.enrich.contracts.missing` with ``cells``, its
        faults by column, and ``other``, the faults that no column mends.
    """
    with services.session() as session:
        batch = session.get(Batch, batch_id)
        if batch is None:
            raise NotFound("there is no such batch", where=batch_id)
        location = batch.location
    rows = contracts.missing(services, batch_id=batch_id)
    return {
        "batch_id": batch_id,
        "location": location,
        "columns": _columns(services, rows),
        "rows": rows,
        "counts": results.missing_by_field(rows),
    }


def to_fill(services: Services, package_id: str, version_id: str) -> dict[str, Any]:
    """Return what a version of a package lacks: ``columns`` as of :func:`librarian_table`, and its ``row``, or None.

    :raises NotFound: the version is not in the package.
    """
    with services.session() as session:
        entry = session.get(PackageVersion, (package_id, version_id))
        if entry is None:
            raise NotFound("the version is not in this package", where=f"version {version_id}")
        batch_id = entry.package.batch_id
    rows = contracts.missing(services, batch_id=batch_id, version_ids=[version_id])
    return {"columns": _columns(services, rows), "row": rows[0] if rows else None}


def _columns(services: Services, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the columns that rows lack something in, and note in each row its faults by column."""
    needed: set[str] = set()
    for row in rows:
        row["cells"], row["other"] = {}, []
        for fault in row["faults"]:
            names = contracts.to_fill([fault])
            needed |= set(names)
            (row["cells"].setdefault(_column(names[0]), []) if names else row["other"]).append(fault)
    columns: dict[str, dict[str, Any]] = {}
    for name in contracts.fillable(services):
        if name in needed:
            key = _column(name)
            column = columns.setdefault(key, {"key": key, "label": label(key), "inputs": []})
            column["inputs"].append({"name": name, "label": label(name), **_input(services, name)})
    return list(columns.values())


def _column(name: str) -> str:
    return "licence" if name in contracts.RIGHTS else name


def _input(services: Services, name: str) -> dict[str, Any]:
    """Return how a field is filled in: ``input``, and ``options`` where it is one of a few words."""
    if name == "tags" or name.startswith("tags."):
        return {"input": "terms", "options": [], "facet": name.removeprefix("tags").removeprefix(".")}
    known = {"kind": _LICENCE_KINDS, "model_release": RELEASES, "property_release": RELEASES}
    options = list(known.get(name, ()))
    for contract in services.taxonomy.contracts.get("ingest", {}).values():
        for rule in contract.rules:
            if rule.field == name and rule.rule == "one_of" and rule.when is None and name not in contracts.RIGHTS:
                options += [word for word in choices(rule.value) if word not in options]
    return {"input": "select" if options else _INPUTS.get(name, "text"), "options": options, "facet": ""}


def campaigns(services: Services) -> list[dict[str, str]]:
    """Return the campaigns that are not over, for choosing one."""
    with services.session() as session:
        rows = session.execute(
            select(Campaign.slug, Campaign.name).where(Campaign.ended_at.is_(None)).order_by(Campaign.name)
        )
        return [{"slug": slug, "name": name} for slug, name in rows]


def reports(services: Services) -> list[dict[str, Any]]:
    """Return the newest KPI reports."""
    with services.session() as session:
        return [
            {
                "report_id": row.id,
                "from": row.period_start.isoformat(),
                "to": row.period_end.isoformat(),
                "made_at": row.made_at.isoformat(),
                "kpis": row.kpis,
            }
            for row in session.scalars(select(KpiReport).order_by(KpiReport.made_at.desc()).limit(60))
        ]


def report_uri(services: Services, report_id: str) -> str:
    """Return where a report's HTML is stored."""
    with services.session() as session:
        found = session.get(KpiReport, report_id)
        if found is None:
            raise NotFound("there is no such report", where=report_id)
        return found.html_uri
