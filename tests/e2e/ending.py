"""What a campaign came to, to be compared with another one."""

from __future__ import annotations

from collections import Counter

from sqlalchemy import func, select

from dam.catalog.models import (
    ArchiveConfirmation,
    Asset,
    AuditEvent,
    BatchFile,
    Brief,
    Decision,
    NearDuplicate,
    Package,
    Publication,
    Rendition,
    Tag,
    Version,
)
from dam.services import Services

#: What a task that is tried again says again, because it looked again or tried in vain; it changes nothing.
REPEATED = {
    "batch.checked", "fixity.checked", "report.logged", "usage.read", "publication.failed",
    "publication.takedown_unproved",
}  # fmt: skip


def end_state(services: Services) -> dict[str, object]:
    """Return what a campaign came to, without the ids and times that differ between two campaigns."""

    def by_version(model: type[Publication | Rendition | Tag], *columns: object) -> list[tuple[object, ...]]:
        what = (Asset.name, Version.number, *columns)
        rows = session.execute(
            select(*what, func.count())
            .select_from(model)
            .join(Version, Version.id == model.version_id)
            .join(Asset, Asset.id == Version.asset_id)
            .group_by(*what)
        )
        return sorted(map(tuple, rows))

    def rows(*columns: object) -> list[tuple[object, ...]]:
        return sorted(map(tuple, session.execute(select(*columns))))

    with services.session() as session:
        versions = (
            select(func.coalesce(Asset.name, ""), Version.filename, Version.state, Version.tier)
            .select_from(Version)
            .outerjoin(Asset, Asset.id == Version.asset_id)
        )
        return {
            "briefs": rows(Brief.number, Brief.status),
            "versions": sorted(map(tuple, session.execute(versions))),
            "files": rows(BatchFile.path, BatchFile.outcome),
            "near duplicates": session.scalar(select(func.count()).select_from(NearDuplicate)),
            "packages": rows(Package.round, Package.status),
            "decisions": rows(Decision.person, Decision.verdict),
            "publications": by_version(Publication, Publication.channel, Publication.status),
            "renditions": by_version(Rendition),
            "tags": by_version(Tag),
            "confirmations": session.scalar(select(func.count()).select_from(ArchiveConfirmation)),
            "audit": Counter(action for action in session.scalars(select(AuditEvent.action)) if action not in REPEATED),
        }
