"""A brief as a document: set as PDF, taken through the gate as a batch of its own, and frozen to be signed.

All briefs of a campaign are versions of one asset, so that notes travel from one draft to the next and two can be
compared. What a document shows is its brief's content as it was drafted, which never changes; its hash is printed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from dam.catalog.models import Asset, Batch, BatchFile, Brief, Package, PackageStatus, Purpose, Version, VersionState
from dam.errors import Refused
from dam.ingest import batches, gate, released
from dam.plan import briefs
from dam.review import packages
from dam.taxonomy.naming import FileName

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.services import Services


def freeze(services: Services, *, brief_id: str, run: str | None = None) -> str:
    """Freeze a brief's document as a package to be signed, and return the package's id.

    The document is made first where there is none yet. The same brief makes the same document and freezes the same
    package, also after a process was killed half-way. An older draft's open round ends by it: that draft is sent
    back.

    :raises Refused: the brief has faults, was sent back, or is older than one that is signed; too few people may
        sign it, for whoever drafted it may not; or its document was not taken in.
    :raises NotFound: there is no such brief.
    """
    with services.session() as session:
        brief = briefs.known(session, brief_id)
        if brief.status != "draft":
            frozen = session.scalar(
                select(Package.id).where(Package.brief_id == brief_id).order_by(Package.round.desc()).limit(1)
            )
            if frozen is None:
                raise Refused(f"the brief is {brief.status}", where=f"brief {brief_id}", remedy="Draft it again.")
            return frozen
        _check_newest(session, brief)
    if faults := briefs.check(services, brief_id=brief_id):
        raise Refused(
            f"the brief has {len(faults)} faults, first {faults[0].field}: {faults[0].problem}",
            where=f"brief {brief_id}",
            remedy="Draft it again.",
        )
    batch_id, version_id = make(services, brief_id=brief_id, run=run)
    with services.session() as session:  # another draft may have been quicker
        _check_newest(session, briefs.known(session, brief_id))
    return packages.freeze(
        services, batch_id=batch_id, version_ids=[version_id], purpose=Purpose.BRIEF, brief_id=brief_id, run=run
    )


def _check_newest(session: Session, brief: Brief) -> None:
    """Refuse a brief that a later one has taken the place of, or is about to."""
    briefs.check_newest(session, brief)
    later = session.scalar(
        select(func.max(Brief.number))
        .join(Package, Package.brief_id == Brief.id)
        .where(Brief.campaign_id == brief.campaign_id, Brief.number > brief.number)
        .where(Package.status == PackageStatus.IN_REVIEW)
    )
    if later is not None:
        raise Refused(
            f"brief {later} of {brief.campaign.slug} is being reviewed, which is newer",
            where=f"brief {brief.id}",
            remedy="Draft it again if it is to take that one's place.",
        )


def make(services: Services, *, brief_id: str, run: str | None = None) -> tuple[str, str]:
    """Take a brief's document through the gate; return its batch and its version.

    :raises Refused: it was not taken in, for example because it waits for the malware scanner.
    """
    location, slug, drafted_by = _put(services, brief_id)
    batch_id = batches.register(
        services, location=location, source=briefs.SOURCE, sent_by=drafted_by, campaign_slug=slug, run=run
    )
    for chunk in batches.plan_chunks(services, batch_id=batch_id):
        gate.ingest_chunk(services, batch_id=batch_id, file_ids=chunk, run=run)
    with services.session() as session:
        row = session.scalars(select(BatchFile).where(BatchFile.batch_id == batch_id)).one()
        if row.version is None or row.version.state == VersionState.QUARANTINED:
            raise Refused(
                f"the brief's document was not taken in: {row.reason}",
                where=f"inbox/{location}/{row.path}",
                remedy="When that is put right, clear the task: it goes on from here.",
            )
        batch = session.get_one(Batch, batch_id, with_for_update={"of": Batch})
        released.take(session, batch, run)  # it may have waited for the scanner; nobody else takes it up
        version_id = row.version.id
    batches.close(services, batch_id=batch_id, run=run)
    return batch_id, version_id


def _put(services: Services, brief_id: str) -> tuple[str, str, str]:
    """Put a brief's document into the inbox, once; return its location, the campaign's slug and who drafted it."""
    with services.session() as session:
        brief = briefs.known(session, brief_id)
        slug = brief.campaign.slug
        location = f"briefs/{slug}/{brief_id}"  # no drop, so that nobody takes it up as one
        told = (location, slug, brief.drafted_by)
        if session.scalar(select(Batch.id).where(Batch.location == location)) is not None:
            return told
        name = _name(session, brief)
        facts = _facts(services, brief)
    inbox = services.storage.inbox
    if not any(inbox.list(f"{location}/")):  # a run that was killed may have come so far, when another number was next
        from dam.plan import brief_pdf  # ReportLab

        inbox.put(f"{location}/{name}", brief_pdf.render(facts))
    return told


def _name(session: Session, brief: Brief) -> FileName:
    """Return the file's name: PROJECT and CLIENT are those of the campaign's first brief, the version the next."""
    first = session.scalars(
        select(Brief).where(Brief.campaign_id == brief.campaign_id).order_by(Brief.number).limit(1)
    ).one()
    named = FileName(
        f"{first.content['project']}-{briefs.DOCUMENT}", first.content["client"], brief.drafted_at.date(), 1, "pdf"
    )
    last = session.scalar(
        select(func.max(Version.number))
        .join(Asset, Asset.id == Version.asset_id)
        .where(Asset.campaign_id == brief.campaign_id, Asset.name == named.asset)
    )
    return FileName(named.project, named.client, named.date, (last or 0) + 1, named.ext)


def _facts(services: Services, brief: Brief) -> dict[str, Any]:
    person = services.workflow.people.get(brief.drafted_by)
    return {
        "brief_id": brief.id,
        "number": brief.number,
        "drafted_by": f"{person.name} ({brief.drafted_by})" if person else brief.drafted_by,
        "drafted_at": brief.drafted_at,
        "content": brief.content,
        "sha256": briefs.sha256(brief.content),
        "title": str(briefs.template(services, brief.content).get("title") or "Brief"),
        "sections": briefs.sections(services, brief.content),
    }
