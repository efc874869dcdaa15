"""Licence expiry: warn the owners in time, withdraw at expiry, and prove it.

Both sweeps read what is due and nothing else, by the partial indexes ``ix_grants_due`` and
``ix_publications_ending``.
"""

from __future__ import annotations

import logging
import time
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, exists, func, or_, select

from dam import audit, channels, mail
from dam.catalog.models import (
    Asset,
    Grant,
    Publication,
    PublicationStatus,
    RightsAlert,
    Version,
    VersionState,
    utcnow,
)
from dam.channels import publish
from dam.errors import DamError
from dam.retention.clock import is_rehearsal, real_today
from dam.rights import policy
from dam.rights.policy import day

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Select
    from sqlalchemy.orm import Session

    from dam.channels.wire import Wait
    from dam.services import Services

log = logging.getLogger(__name__)

#: Days before the last day of use at which the owners are told.
MARKS = (90, 60, 30, 14, 7, 1)
ACTOR = "licence_expiry_sweep"


# ----------------------------------------------------------------------------------------------- alerts


def alert(services: Services, *, today: date, run: str | None = None) -> list[dict[str, Any]]:
    """Mail the owners of what expires soon, each mark once for each end date.

    After missed days only the smallest mark that is due is mailed; the greater ones count as told. Assets of
    which nothing is kept outside the archive are left alone. A licence that is renewed starts anew. From a day
    that has not come it is a rehearsal: the rows say what would be mailed, and nothing is mailed or noted.

    :returns: rows of ``{"grant_id", "asset", "days", "mark", "to", "mailed"}``; ``to`` are usernames. Those of
        a rehearsal have ``rehearsal`` as well.
    :raises MailFailed: some mails could not be sent; all others were. Run again, it sends just those.
    """
    sent: list[dict[str, Any]] = []
    failed: list[str] = []
    with services.session() as session:
        ids = session.scalars(_expiring(today)).all()
    for grant_id in ids:
        try:
            row = _alert_one(services, grant_id, today, run)
        except mail.MailFailed as error:
            log.warning("No alert for grant %s: %s", grant_id, error)
            failed.append(str(error))
            continue
        if row is not None:
            sent.append(row)
    if failed:
        raise mail.MailFailed(
            f"{len(failed)} of {len(failed) + len(sent)} licence alerts were not sent: {failed[0]}",
            where="licence alerts",
            remedy="When the mail server is up, run the sweep again; it sends only these.",
        )
    return sent


def _expiring(today: date) -> Select[str]:
    """Return the query of the grants that end within the first mark, the soonest first."""
    kept = exists().where(
        Version.asset_id == Grant.asset_id,
        Version.state.not_in([VersionState.ARCHIVED, VersionState.DESTROYED]),
    )
    return (
        select(Grant.id)
        .where(Grant.ends_on.is_not(None), Grant.closed_at.is_(None))
        .where(Grant.ends_on >= today, Grant.ends_on <= today + timedelta(days=MARKS[0]), kept)
        .order_by(Grant.ends_on, Grant.id)
    )


def _alert_one(services: Services, grant_id: str, today: date, run: str | None) -> dict[str, Any] | None:
    """Send one grant's alert, if a mark is due, under the grant's lock: two sweeps send it once."""
    with services.session() as session:
        grant = session.get_one(Grant, grant_id, with_for_update={"of": Grant})
        untold = _untold(session, grant, today)
        if not untold:
            return None
        owners = _owners(services, grant.asset)
        left = (grant.ends_on - today).days if grant.ends_on else 0
        row = {
            "grant_id": grant_id, "asset": grant.asset.name, "days": left, "mark": min(untold), "to": owners,
            "mailed": False,
        }  # fmt: skip
        if is_rehearsal(services, today):
            return row | {"rehearsal": True}
        session.add_all(
            RightsAlert(grant_id=grant_id, ends_on=grant.ends_on, days=mark, recipients=owners, sent_at=utcnow())
            for mark in untold
        )
        session.flush()  # what the database refuses must not be mailed first
        row["mailed"] = _mail_alert(services, session, grant, owners, left)
        audit.record(session, actor="airflow", action="rights.alerted", subject_id=grant.asset_id, data=row, run=run)
        return row


def _untold(session: Session, grant: Grant, today: date) -> list[int]:
    """Return the marks that are to be told now; none when the smallest that is due was told."""
    if grant.ends_on is None:
        return []
    crossed = [mark for mark in MARKS if (grant.ends_on - today).days <= mark]
    told = set(
        session.scalars(
            select(RightsAlert.days).where(RightsAlert.grant_id == grant.id, RightsAlert.ends_on == grant.ends_on)
        )
    )
    if not crossed or min(crossed) in told:
        return []
    return [mark for mark in crossed if mark not in told]


def _mail_alert(services: Services, session: Session, grant: Grant, owners: list[str], left: int) -> bool:
    live = session.scalars(
        select(Publication.live_url)
        .join(Version, Version.id == Publication.version_id)
        .where(Version.asset_id == grant.asset_id, Publication.status == PublicationStatus.LIVE)
        .order_by(Publication.id)
    )
    return mail.send(
        services,
        to=owners,
        template="licence_alert",
        context={
            "reference": grant.licence.reference,
            "holder": grant.licence.holder,
            "asset": grant.asset.name,
            "days": left,
            "ends_on": day(grant.ends_on) if grant.ends_on else "",
            "live_urls": list(live),
            "link": _page(services, grant.asset_id),
        },
    )


def _owners(services: Services, asset: Asset) -> list[str]:
    """Return who answers for an asset's rights: its campaign's owners, the digital team, the marketing leads."""
    workflow = services.workflow
    people: list[str] = []
    if asset.campaign is not None:
        for names in asset.campaign.owners.values():
            people += [names] if isinstance(names, str) else list(names)
    people += [*workflow.members("digital_team"), *workflow.members("marketing_lead")]
    return [name for name in dict.fromkeys(people) if name in workflow.people]


def _page(services: Services, asset_id: str) -> str:
    return f"{services.settings.web_url.rstrip('/')}/dam/assets/{asset_id}"


# --------------------------------------------------------------------------------------------- takedowns


def expired(services: Services, *, today: date) -> list[str]:
    """Return the publications that are out, or may be, although their rights or their window have ended.

    Reads what is due only: grants that ended and are not closed, and publications whose window is over.
    """
    with services.session() as session:
        return list(_expired(services, session, today))


def _expired(services: Services, session: Session, today: date) -> dict[str, str]:
    """Return publication id → reason, one sentence."""
    due = {
        publication_id: f"the licence {grant.licence.reference} ended on {day(grant.ends_on)}"
        for publication_id, grant in session.execute(_ended_rights(today))
    }
    for publication in session.scalars(_ended_windows(today)):
        if publication.id not in due and (reason := _over(services, session, publication, today)):
            due[publication.id] = reason
    return due


def _ended_rights(today: date) -> Select[str, Grant]:
    return (
        select(Publication.id, Grant)
        .join(Version, Version.id == Publication.version_id)
        .join(Grant, Grant.asset_id == Version.asset_id)
        .where(Grant.ends_on.is_not(None), Grant.closed_at.is_(None), Grant.ends_on < today, _out())
        .order_by(Grant.ends_on.desc(), Publication.id)
    )


def _ended_windows(today: date) -> Select[Publication]:
    return (
        select(Publication)
        .where(Publication.status == PublicationStatus.LIVE, Publication.ends_at.is_not(None))
        .where(Publication.ends_at <= datetime.combine(today, clock.min, UTC))
        .order_by(Publication.id)
    )


def _out() -> ColumnElement[bool]:
    """A publication that is live, will be, or failed while it was being delivered and was not taken down."""
    return or_(
        Publication.status.in_([PublicationStatus.LIVE, PublicationStatus.SCHEDULED]),
        and_(Publication.status == PublicationStatus.FAILED, func.jsonb_typeof(Publication.receipt) == "object"),
    )


def _over(services: Services, session: Session, publication: Publication, today: date) -> str:
    """Say why a publication whose window has ended must go; empty when its rights were renewed."""
    asset = session.get_one(Asset, publication.version.asset_id)
    answer = policy.ask(
        session,
        version_id=publication.version_id,
        channel=publication.channel,
        territories=policy.destinations(asset)[1],
        on=today,
        recipes=channels.recipes_of(services).get(publication.channel, ()),
    )
    if not answer.allowed:
        return answer.explanation
    campaign = asset.campaign
    if campaign is not None and _ends_with_campaign(services, publication) and campaign.ends_on < today:
        return f"the campaign {campaign.name} ended on {day(campaign.ends_on)}"
    return ""


def _ends_with_campaign(services: Services, publication: Publication) -> bool:
    template = channels.load(services).get(publication.channel)
    return template is not None and template.window.end_with_campaign


def withdraw_expired(
    services: Services, *, today: date, wait: Wait = time.sleep, run: str | None = None
) -> list[dict[str, Any]]:
    """Withdraw every publication whose rights or window have ended, prove it, tell the owners, close the grants.

    One that can't be proved dead doesn't stop the others; it keeps its grant open, so that the next sweep tries
    again. A publication whose rights were renewed in time stays, and its window is moved. From a day that has
    not come it is a rehearsal: the rows say what would be withdrawn, and nothing is.

    :param wait: called with the seconds to wait between tries.
    :returns: rows of ``{"publication_id", "asset_id", "asset", "reason", "receipt", "mailed"}``; ``error``, or
        ``rehearsal``, instead of the last two.
    """
    with services.session() as session:
        work = _expired(services, session, today)
    if is_rehearsal(services, today):
        return [
            _concerned(services, publication_id, reason)[0] | {"rehearsal": True}
            for publication_id, reason in work.items()
        ]
    results = [_withdraw_one(services, publication_id, reason, wait, run) for publication_id, reason in work.items()]
    _move_windows(services, today, run)
    _close_grants(services, today, run)
    return results


def _withdraw_one(services: Services, publication_id: str, reason: str, wait: Wait, run: str | None) -> dict[str, Any]:
    row, to = _concerned(services, publication_id, reason)
    try:
        receipt = publish.withdraw(
            services, publication_id=publication_id, actor=ACTOR, reason=reason, wait=wait, run=run
        )
    except (DamError, OSError) as error:
        return row | {"error": str(error)}
    try:
        context = receipt | {"asset": row["asset"], "link": _page(services, row["asset_id"])}
        mailed = mail.send(services, to=to, template="takedown", context=context)
    except mail.MailFailed as error:  # it is withdrawn all the same; the receipt is on the asset's page
        log.warning("The takedown of %s was not mailed: %s", publication_id, error)
        mailed = False
    return row | {"receipt": receipt, "mailed": mailed}


def _concerned(services: Services, publication_id: str, reason: str) -> tuple[dict[str, str], list[str]]:
    """Return what is told of a publication that must go, and who is told."""
    with services.session() as session:
        version = session.get_one(Publication, publication_id).version
        asset = session.get_one(Asset, version.asset_id)
        told = {"publication_id": publication_id, "asset_id": asset.id, "asset": asset.name, "reason": reason}
        return told, _owners(services, asset)


def _move_windows(services: Services, today: date, run: str | None) -> None:
    """Move the end of publications whose licence was renewed before it ended."""
    with services.session() as session:
        ended = _ended_windows(today).with_for_update(skip_locked=True, of=Publication)
        for publication in session.scalars(ended):
            if _over(services, session, publication, today):
                continue
            asset = session.get_one(Asset, publication.version.asset_id)
            lasts = [grant.ends_on for grant in asset.grants if grant.ends_on is not None]
            if asset.campaign is not None and _ends_with_campaign(services, publication):
                lasts.append(asset.campaign.ends_on)
            publication.ends_at = datetime.combine(min(lasts) + timedelta(days=1), clock.min, UTC) if lasts else None
            audit.record(
                session,
                actor=ACTOR,
                action="publication.prolonged",
                subject_id=publication.id,
                data={"ends_at": publication.ends_at},
                run=run,
            )


def _close_grants(services: Services, today: date, run: str | None) -> None:
    """Close the grants that ended and of whose assets nothing is out any more.

    What ended only for a sweep that looked ahead is not closed: a publication may come, and it is watched then.
    """
    ended_before = min(today, real_today())
    out = (
        select(Publication.id).join(Version, Version.id == Publication.version_id).where(
            Version.asset_id == Grant.asset_id, _out()
        ).exists()
    )  # fmt: skip
    with services.session() as session:
        grants = session.scalars(
            select(Grant)
            .where(Grant.ends_on.is_not(None), Grant.closed_at.is_(None), Grant.ends_on < ended_before, ~out)
            .with_for_update(skip_locked=True, of=Grant)
        ).all()
        for grant in grants:
            grant.closed_at = utcnow()
            audit.record(
                session,
                actor=ACTOR,
                action="rights.closed",
                subject_id=grant.asset_id,
                data={"grant_id": grant.id, "ended_on": grant.ends_on},
                run=run,
            )
