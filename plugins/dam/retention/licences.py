"""Licence expiry: warn the owners in time, withdraw at expiry, and prove it."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from dam import audit, mail
from dam.catalog.models import (
    Asset,
    Grant,
    Publication,
    PublicationStatus,
    RightsAlert,
    Version,
    utcnow,
)
from dam.channels import publish
from dam.errors import DamError
from dam.rights.policy import day

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.services import Services

#: Days before the last day of use at which the owners are told.
MARKS = (90, 60, 30, 14, 7, 1)


def alert(services: Services, *, today: date, run: str | None = None) -> list[dict[str, Any]]:
    """Mail the owners of what expires soon, each mark once for each end date.

    Only assets that have versions are told of. After missed days only the smallest mark that is due is
    mailed; the greater ones count as told.

    :returns: rows of ``{"grant_id", "asset", "days", "to", "mailed"}``.
    """
    sent = []
    with services.session() as session:
        ids = session.scalars(
            select(Grant.id)
            .where(Grant.ends_on.is_not(None), Grant.closed_at.is_(None))
            .where(Grant.ends_on >= today, Grant.ends_on <= today + timedelta(days=MARKS[0]))
            .order_by(Grant.ends_on, Grant.id)
        ).all()
    for grant_id in ids:
        row = _alert_one(services, grant_id, today, run)
        if row is not None:
            sent.append(row)
    return sent


def _alert_one(services: Services, grant_id: str, today: date, run: str | None) -> dict[str, Any] | None:
    with services.session() as session:
        grant = session.get_one(Grant, grant_id, with_for_update={"of": Grant})
        if grant.ends_on is None:
            return None
        left = (grant.ends_on - today).days
        crossed = [mark for mark in MARKS if left <= mark]
        told = set(
            session.scalars(
                select(RightsAlert.days).where(RightsAlert.grant_id == grant_id, RightsAlert.ends_on == grant.ends_on)
            )
        )
        if not crossed or min(crossed) in told:
            return None
        owners = _owners(services, grant.asset)
        for mark in crossed:
            if mark not in told:
                session.add(
                    RightsAlert(
                        grant_id=grant_id, ends_on=grant.ends_on, days=mark, recipients=owners, sent_at=utcnow()
                    )
                )
        live = _live(session, grant.asset_id)
        mailed = mail.send(
            services,
            to=[services.workflow.people[name].email for name in owners],
            template="licence_alert",
            context={
                "reference": grant.licence.reference,
                "holder": grant.licence.holder,
                "asset": grant.asset.name,
                "days": left,
                "ends_on": day(grant.ends_on),
                "live_urls": [publication.live_url for publication in live],
                "link": f"{services.settings.web_url}/dam/assets/{grant.asset_id}",
            },
        )
        audit.record(
            session,
            actor="airflow",
            action="rights.alerted",
            subject_id=grant.asset_id,
            data={"grant_id": grant_id, "days": left, "to": owners, "mailed": mailed},
            run=run,
        )
        return {"grant_id": grant_id, "asset": grant.asset.name, "days": left, "to": owners, "mailed": mailed}


def _owners(services: Services, asset: Asset) -> list[str]:
    """Return who answers for an asset's rights: the campaign's marketing lead and the digital team."""
    workflow = services.workflow
    leads = (asset.campaign.owners.get("marketing_lead") if asset.campaign else None) or workflow.members(
        "marketing_lead"
    )
    return [name for name in dict.fromkeys([*leads, *workflow.members("digital_team")]) if name in workflow.people]


def _live(session: Session, asset_id: str) -> list[Publication]:
    return list(
        session.scalars(
            select(Publication)
            .join(Version, Version.id == Publication.version_id)
            .where(Version.asset_id == asset_id, Publication.status == PublicationStatus.LIVE)
            .order_by(Publication.id)
        )
    )


def expired(services: Services, *, today: date) -> list[str]:
    """Return the publications that are live or scheduled although a licence of their asset has ended.

    Reads only what is due: grants that ended and were not closed.
    """
    with services.session() as session:
        return [publication.id for _, publication in _expired(session, today)]


def _expired(session: Session, today: date) -> list[tuple[Grant, Publication]]:
    rows = session.execute(
        select(Grant, Publication)
        .join(Version, Version.asset_id == Grant.asset_id)
        .join(Publication, Publication.version_id == Version.id)
        .where(Grant.ends_on.is_not(None), Grant.closed_at.is_(None), Grant.ends_on < today)
        .where(Publication.status.in_([PublicationStatus.LIVE, PublicationStatus.SCHEDULED]))
        .order_by(Publication.id)
    ).all()
    return [(grant, publication) for grant, publication in rows]


def withdraw_expired(services: Services, *, today: date, run: str | None = None) -> list[dict[str, Any]]:
    """Withdraw every publication whose licence has ended, prove it, tell the owners, and close the grant.

    One that can't be proved dead doesn't stop the others, and keeps its grant open for the next sweep.

    :returns: rows of ``{"publication_id", "asset", "reason", "receipt"}``, or with ``error`` instead.
    """
    with services.session() as session:
        work = [
            (publication.id, str(publication.version.asset_id), grant.licence.reference, grant.ends_on)
            for grant, publication in _expired(session, today)
        ]
    results: dict[str, dict[str, Any]] = {}
    for publication_id, asset_id, reference, ends_on in work:
        if publication_id in results:
            continue
        reason = f"the licence {reference} ended on {day(ends_on) if ends_on else 'an unknown day'}"
        try:
            receipt = publish.withdraw(
                services, publication_id=publication_id, actor="licence_expiry_sweep", reason=reason, run=run
            )
        except DamError as error:
            results[publication_id] = {"publication_id": publication_id, "asset": asset_id, "error": str(error)}
            continue
        results[publication_id] = {
            "publication_id": publication_id, "asset": asset_id, "reason": reason, "receipt": receipt,
        }  # fmt: skip
        _tell(services, asset_id, receipt)
    _close_grants(services, today, run)
    return list(results.values())


def _tell(services: Services, asset_id: str, receipt: dict[str, Any]) -> None:
    with services.session() as session:
        asset = session.get_one(Asset, asset_id)
        to = [services.workflow.people[name].email for name in _owners(services, asset)]
        name = asset.name
    link = f"{services.settings.web_url}/dam/assets/{asset_id}"
    mail.send(services, to=to, template="takedown", context=receipt | {"asset": name, "link": link})


def _close_grants(services: Services, today: date, run: str | None) -> None:
    """Close the grants that ended and whose assets have nothing out any more."""
    with services.session() as session:
        grants = session.scalars(
            select(Grant)
            .where(Grant.ends_on.is_not(None), Grant.closed_at.is_(None), Grant.ends_on < today)
            .with_for_update(skip_locked=True, of=Grant)
        ).all()
        for grant in grants:
            out = session.scalar(
                select(Publication.id)
                .join(Version, Version.id == Publication.version_id)
                .where(Version.asset_id == grant.asset_id)
                .where(Publication.status.in_([PublicationStatus.LIVE, PublicationStatus.SCHEDULED]))
                .limit(1)
            )
            if out is None:
                grant.closed_at = utcnow()
                audit.record(
                    session,
                    actor="airflow",
                    action="rights.closed",
                    subject_id=grant.asset_id,
                    data={"grant_id": grant.id, "ended_on": grant.ends_on},
                    run=run,
                )
