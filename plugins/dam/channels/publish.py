"""Publish approved versions to channels and withdraw them, both proved by probing.

The order of things makes every step safe to kill and run again: what will be seen at the origin is
written down before it is put there, a channel is sent the publication's idempotency key, and the
catalogue says *live* (or *withdrawn*) only after the probes. A row lock on the publication makes two
workers take turns; the second finds the work done.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from datetime import time as clock
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from dam import audit, channels
from dam.catalog.lifecycle import ALLOWED, change_state
from dam.catalog.models import (
    Asset,
    Campaign,
    Package,
    PackageStatus,
    Publication,
    PublicationStatus,
    Purpose,
    Version,
    VersionState,
    new_id,
    utcnow,
)
from dam.channels import JsonChannel, OriginChannel, Window, deliver, recipes_of
from dam.channels.wire import AGENT, ChannelRefused, Probe, Wait, probe_until
from dam.enrich import contracts
from dam.errors import DamError, NotFound, Refused
from dam.review import packages
from dam.rights import policy, risk

if TYPE_CHECKING:
    from sqlalchemy import Select

    from dam.renditions.recipes import Recipe
    from dam.services import Services
    from dam.workflow import Risks

ACTOR = "dam"  # who the audit trail names where no person acted
CONTRACT = "activate"  # the stage whose contracts are asked before anything goes out


class ApprovalVoid(Refused):
    """What was approved is not what is there now, so it may not go out."""


class NotSeen(DamError):
    """A publication was delivered, but its endpoints do not answer with the right bytes (yet)."""


class StillLive(DamError):
    """A takedown is not proved: the URLs named here did not answer 404 or 410.

    :param probes: what each of them answered.
    """

    def __init__(self, what: str, *, probes: Sequence[Probe], where: str = "", remedy: str = "") -> None:
        super().__init__(what, where=where, remedy=remedy)
        self.probes = list(probes)


# ---------------------------------------------------------------------------------------------- plan


def plan(
    services: Services,
    *,
    package_id: str,
    channels: Sequence[str] | None = None,
    not_before: datetime | None = None,
    now: datetime | None = None,
    run: str | None = None,
) -> dict[str, Any]:
    """Ask the rights policy for every approved version of a package and every channel it is meant for, hold the
    versions to their ``activate`` contract, and schedule what is allowed. Run again, it answers the same
    publications.

    A version that another package's publication already brought to a channel keeps that publication.

    :param channels: only these channels; ``None``: what the package was frozen for, or else what the
        deliverables (or the campaign) name.
    :param not_before: an embargo; the campaign's first day counts too where the channel says so.
    :returns: ``{"publications": [row], "refused": [row], "void": bool, "next_package_id": str | None}``;
        a row is ``{version_id, asset, channel, allowed, explanation, publication_id, status, starts_at,
        ends_at, risks}``; one with ``risks`` goes out only after :func:`clear`.
        When ``void``, nothing was planned: bytes, metadata or rights changed since the
        approval, and ``next_package_id`` is under review instead.
    :raises NotFound: there is no such package.
    :raises Refused: the package is not approved.
    """
    now = now or utcnow()
    if (next_id := _void(services, package_id, run)) is not None:
        return {"publications": [], "refused": [], "void": True, "next_package_id": next_id}
    templates, recipes = _templates(services), recipes_of(services)
    lacks = _held_to_contract(services, package_id, now)
    rows: list[dict[str, Any]] = []
    with services.session() as session:
        own = session.get_one(Package, package_id).channels if channels is None else list(channels)
        for version, asset in policy.package_versions(session, package_id):
            meant, territories = policy.destinations(asset)
            wanted = meant if own is None else own
            if not wanted:
                reason = f"Neither a deliverable nor a campaign names a channel for {asset.name}."
                rows.append(_row(version, asset, "", reason))
            for name in wanted:
                rows.append(
                    _schedule(
                        session,
                        version=version,
                        asset=asset,
                        package_id=package_id,
                        template=templates.get(name),
                        channel=name,
                        territories=territories,
                        lacks=lacks.get(version.id, []),
                        recipes=recipes.get(name, []),
                        starts_at=max(now, not_before or now),
                        rules=services.workflow.policy.risks,
                        run=run,
                    )
                )
    return {
        "publications": [row for row in rows if row["allowed"]],
        "refused": [row for row in rows if not row["allowed"]],
        "void": False,
        "next_package_id": None,
    }


def _held_to_contract(services: Services, package_id: str, now: datetime) -> dict[str, list[str]]:
    """Hold a package's versions to their ``activate`` contract, all at once; the result is kept row by row.

    :returns: what is missing, as sentences by version id.
    """
    with services.session() as session:
        version_ids = [version.id for version, _ in policy.package_versions(session, package_id)]
    report = contracts.check_for(services, stage=CONTRACT, version_ids=version_ids, today=now.date())
    return {version_id: [fault.sentences for fault in found] for version_id, found in report.incomplete.items()}


def _templates(services: Services) -> dict[str, OriginChannel | JsonChannel]:
    return channels.load(services)


def _void(services: Services, package_id: str, run: str | None) -> str | None:
    """Return the package that took an approval's place, or ``None`` while the approval holds.

    :raises Refused: the package is not approved, or is void and nothing of it can be reviewed again.
    """
    with services.session() as session:
        found = session.get(Package, package_id)
        if found is None:
            raise NotFound(f"There is no package {package_id}.", where="publish")
        if found.purpose != Purpose.RELEASE:
            raise Refused(
                f"The package was signed for its {found.purpose}, which releases nothing.",
                where=f"package {package_id}",
                remedy="Publish the package that its versions were approved in.",
            )
    following = packages.revalidate(services, package_id=package_id, run=run)
    if following is not None:
        return following
    with services.session() as session:
        package = session.get_one(Package, package_id)
        if package.status == PackageStatus.VOID:
            raise Refused(
                f"The package is void: {package.void_reason or 'its versions changed'}.",
                where=f"package {package_id}",
                remedy="Withdraw its versions and have them reviewed again.",
            )
        if package.status != PackageStatus.APPROVED:
            raise Refused(
                f"The package is {package.status}, not approved.",
                where=f"package {package_id}",
                remedy="Wait for its seats to be signed.",
            )
        if waiting := packages.waits_for(session, package):
            raise Refused(
                f"The package goes out as one, and changes are asked for: {', '.join(waiting)}.",
                where=f"package {package_id}",
                remedy="Wait until what answers them is approved, or let the rest go on the package's page.",
            )
    return None


def _schedule(
    session: Session,
    *,
    version: Version,
    asset: Asset,
    package_id: str,
    template: OriginChannel | JsonChannel | None,
    channel: str,
    territories: list[str],
    lacks: list[str],
    recipes: list[Recipe],
    starts_at: datetime,
    rules: Risks,
    run: str | None,
) -> dict[str, Any]:
    if template is None:
        reason = f"There is no channel template named {channel} in include/templates/channels."
        return _row(version, asset, channel, reason)
    if reason := _not_publishable(version):
        return _row(version, asset, channel, reason)
    key = idempotency_key(version_id=version.id, channel=channel, package_id=package_id)
    found = _existing(session, version_id=version.id, channel=channel, key=key)
    if found is not None and found.status == PublicationStatus.WITHDRAWN:
        when = policy.day(found.withdrawn_at.date() if found.withdrawn_at else None)
        reason = f"It was withdrawn from {channel} on {when} ({found.reason}); it needs a new review."
        return _row(version, asset, channel, reason, found)
    if found is not None and found.status == PublicationStatus.LIVE:
        return _row(version, asset, channel, "", found)
    if reason := _superseded(session, version, channel):
        return _row(version, asset, channel, reason, found)
    starts_at = max([starts_at, *_campaign_start(asset.campaign, template.window)])
    answer = policy.ask(
        session,
        version_id=version.id,
        channel=channel,
        territories=territories,
        on=starts_at.date(),
        recipes=recipes,
    )
    ends_at = _end(answer, asset.campaign, template.window)
    if reasons := [*answer.reasons, *lacks]:
        return _row(version, asset, channel, " ".join(reasons), found)
    if ends_at is not None and ends_at <= starts_at:
        return _row(version, asset, channel, f"The campaign was over on {policy.day(ends_at.date())}.", found)
    risks = risk.of(session, asset=asset, rules=rules, on=starts_at.date())
    if found is None:
        session.execute(
            insert(Publication)
            .values(
                id=new_id("pub"),
                version_id=version.id,
                package_id=package_id,
                channel=channel,
                idempotency_key=key,
                status=PublicationStatus.SCHEDULED,
                starts_at=starts_at,
                ends_at=ends_at,
                endpoints=[],
                risks=risks,
                created_at=utcnow(),
            )
            .on_conflict_do_nothing(index_elements=["idempotency_key"])
        )
        found = session.scalars(select(Publication).where(Publication.idempotency_key == key)).one()
        audit.record(
            session,
            actor=ACTOR,
            action="publication.scheduled",
            subject_id=found.id,
            data={
                "version_id": version.id,
                "channel": channel,
                "starts_at": found.starts_at.isoformat(),
                "risks": risks,
            },
            run=run,
        )
    elif found.status == PublicationStatus.FAILED:
        found.status, found.starts_at, found.ends_at = PublicationStatus.SCHEDULED, starts_at, ends_at
    if found.risks != risks:  # another day, another licence, another hold: what was cleared is not this
        found.risks, found.cleared_by, found.cleared_at = risks, None, None
    return _row(version, asset, channel, "", found, answer.explanation)


def idempotency_key(*, version_id: str, channel: str, package_id: str) -> str:
    """Return the SHA-256 that names the publication of a version at a channel under a package."""
    return hashlib.sha256(f"{version_id}\n{channel}\n{package_id}".encode()).hexdigest()


def _existing(session: Session, *, version_id: str, channel: str, key: str) -> Publication | None:
    """Return this publication, or else one of another package that is, or will be, at the channel."""
    rows = session.scalars(
        select(Publication).where(Publication.version_id == version_id, Publication.channel == channel)
    ).all()
    own = next((row for row in rows if row.idempotency_key == key), None)
    return own or next((row for row in rows if row.status == PublicationStatus.LIVE), None)


def _not_publishable(version: Version) -> str:
    state = VersionState(version.state)
    if state is VersionState.LIVE or VersionState.LIVE in ALLOWED[state]:
        return ""
    return f"The version is {state.value.replace('_', ' ')}; only an approved one can be published."


def _campaign_start(campaign: Campaign | None, window: Window) -> list[datetime]:
    if campaign is None or not window.start_with_campaign:
        return []
    return [datetime.combine(campaign.starts_on, clock.min, UTC)]


def _end(answer: policy.Answer, campaign: Campaign | None, window: Window) -> datetime | None:
    """Return the moment after the last day of use (UTC), of the licence or, if so set, the campaign."""
    days = [answer.ends_on] if answer.ends_on else []
    if campaign is not None and window.end_with_campaign:
        days.append(campaign.ends_on)
    return datetime.combine(min(days) + timedelta(days=1), clock.min, UTC) if days else None


def _row(
    version: Version,
    asset: Asset,
    channel: str,
    refusal: str,
    publication: Publication | None = None,
    explanation: str = "",
) -> dict[str, Any]:
    return {
        "version_id": version.id,
        "asset": asset.name,
        "channel": channel,
        "allowed": not refusal,
        "explanation": refusal or explanation or f"It is already {publication.status if publication else ''}.",
        "publication_id": publication.id if publication else None,
        "status": publication.status if publication else None,
        "starts_at": publication.starts_at.isoformat() if publication else None,
        "ends_at": publication.ends_at.isoformat() if publication and publication.ends_at else None,
        "risks": publication.risks if publication and publication.cleared_by is None and _is_open(publication) else [],
    }


def _is_open(publication: Publication) -> bool:
    return publication.status in (PublicationStatus.SCHEDULED, PublicationStatus.FAILED)


# ------------------------------------------------------------------------------------------- clearing


def risky(services: Services, *, publication_ids: Sequence[str]) -> list[dict[str, Any]]:
    """Return those of the publications that wait to be cleared, with their risks.

    :returns: ``{publication_id, version_id, asset, number, channel, starts_at, risks}``, by asset and channel.
    """
    with services.session() as session:
        rows = session.execute(
            select(Publication, Version, Asset)
            .join(Version, Version.id == Publication.version_id)
            .join(Asset, Asset.id == Version.asset_id)
            .where(Publication.id.in_(publication_ids), Publication.cleared_by.is_(None), Publication.risks != [])
            .where(Publication.status == PublicationStatus.SCHEDULED)
            .order_by(Asset.name, Publication.channel)
        )
        return [
            {
                "publication_id": publication.id,
                "version_id": version.id,
                "asset": asset.name,
                "number": version.number,
                "channel": publication.channel,
                "starts_at": publication.starts_at.isoformat(),
                "risks": publication.risks,
            }
            for publication, version, asset in rows
        ]


def cleared(services: Services, *, publication_ids: Sequence[str]) -> list[dict[str, Any]]:
    """Return those of the publications that somebody cleared: ``{publication_id, version_id, cleared_by}``."""
    with services.session() as session:
        rows = session.scalars(
            select(Publication)
            .where(Publication.id.in_(publication_ids), Publication.cleared_by.is_not(None))
            .order_by(Publication.id)
        )
        return [{"publication_id": row.id, "version_id": row.version_id, "cleared_by": row.cleared_by} for row in rows]


def clear(services: Services, *, publication_ids: Sequence[str], person: str, run: str | None = None) -> None:
    """Let risky publications go out, under a person's name; what is cleared already stays as it is.

    :raises Refused: the person is not of the digital team.
    """
    _decide(services, publication_ids, person, run, "publication.cleared", "")


def hold_back(
    services: Services, *, publication_ids: Sequence[str], person: str, reason: str, run: str | None = None
) -> None:
    """Keep risky publications from going out; planning them again asks again.

    :param person: of the digital team, or ``airflow`` when nobody answered in time.
    :raises Refused: the person is not of the digital team.
    """
    _decide(services, publication_ids, person, run, "publication.held_back", reason or "No reason given.")


def _decide(
    services: Services, publication_ids: Sequence[str], person: str, run: str | None, action: str, reason: str
) -> None:
    if not services.workflow.has_role(person, "digital_team") and (person != "airflow" or not reason):
        raise Refused(
            f"{person} is not of the digital team.",
            where="publication",
            remedy=f"Ask one of: {', '.join(services.workflow.members('digital_team'))}.",
        )
    with services.session() as session:
        for publication_id in sorted(set(publication_ids)):
            publication = _locked(session, publication_id)
            if publication.status != PublicationStatus.SCHEDULED or publication.cleared_by or not publication.risks:
                continue
            if reason:
                publication.status = PublicationStatus.FAILED
                publication.reason = f"Held back by {person}: {reason}"
            else:
                publication.cleared_by, publication.cleared_at = person, utcnow()
            audit.record(
                session,
                actor=person,
                action=action,
                subject_id=publication.id,
                data={"version_id": publication.version_id, "risks": publication.risks, "reason": reason},
                run=run,
            )


# ------------------------------------------------------------------------------------------- publish


def due(services: Services, *, now: datetime | None = None) -> list[str]:
    """Return the scheduled publications whose time has come, the earliest first."""
    with services.session() as session:
        return list(
            session.scalars(
                select(Publication.id)
                .where(
                    Publication.status == PublicationStatus.SCHEDULED,
                    Publication.starts_at <= (now or utcnow()),
                )
                .order_by(Publication.starts_at, Publication.id)
            )
        )


def publish(
    services: Services,
    *,
    publication_id: str,
    now: datetime | None = None,
    wait: Wait = time.sleep,
    run: str | None = None,
    whole: bool = True,
) -> dict[str, Any]:
    """Bring a scheduled publication to its channel, prove it by probing, and make its version live.

    What an earlier version of the asset still has live at the channel is withdrawn then, with its proof.

    :param wait: called with the seconds to wait between tries.
    :param whole: compare the whole package with what was approved, and not this version alone; who publishes
        many of one package does it once, by :func:`revalidate`.
    :returns: ``{publication_id, version_id, channel, status, live_url, endpoints, starts_at, ends_at,
        probed_at}``; ``endpoints`` are URLs. Before ``starts_at`` the status is ``scheduled`` and
        nothing was sent. One that is live already is answered as it is. When the approval is void and the
        next round is frozen, the status is ``void`` and ``next_package_id`` names it, for its review to be
        started; the publication is ``failed`` then.
    :raises Refused: the rights policy or the version's state forbids it, or the approval is void and nothing
        can be reviewed again; the publication is then ``failed`` with the reason, and what an interrupted try
        had left is removed.
    :raises ChannelRefused: the channel will not take it (``failed`` too).
    :raises ChannelUnavailable: the channel did not answer; it stays scheduled, to be tried again.
    :raises NotSeen: an endpoint does not answer with the right bytes; it stays scheduled.
    :raises StillLive: an earlier version could not be withdrawn; this one is live. Run again, it is tried again.
    """
    if whole:
        revalidate(services, publication_ids=[publication_id], run=run)
    told = _publish(services, publication_id, now=now or utcnow(), wait=wait, run=run)
    if told["status"] == PublicationStatus.LIVE:
        _supersede(services, publication_id, wait=wait, run=run)
    return told


def revalidate(services: Services, *, publication_ids: Sequence[str], run: str | None = None) -> None:
    """Compare the packages of publications, each once and as a whole, with what was approved; void what changed."""
    with services.session() as session:
        package_ids = session.scalars(
            select(Publication.package_id)
            .where(Publication.id.in_(publication_ids), Publication.package_id.is_not(None))
            .where(Publication.status.in_([PublicationStatus.SCHEDULED, PublicationStatus.FAILED]))
            .distinct()
        ).all()
    for package_id in package_ids:
        packages.revalidate(services, package_id=str(package_id), run=run)


def _supersede(services: Services, publication_id: str, *, wait: Wait, run: str | None) -> None:
    """Withdraw what earlier versions of a live publication's asset have live at its channel."""
    with services.session() as session:
        publication = session.get_one(Publication, publication_id)
        version, channel = publication.version, publication.channel
        older = session.scalars(
            _live_at(version, channel).where(Version.number < version.number).order_by(Version.number, Publication.id)
        ).all()
    for other in older:
        reason = f"version {version.number} took its place"
        withdraw(services, publication_id=other.id, actor=ACTOR, reason=reason, wait=wait, run=run)


def _live_at(version: Version, channel: str) -> Select[Publication]:
    """Return the query of what any version of a version's asset has live at a channel."""
    return (
        select(Publication)
        .join(Version, Version.id == Publication.version_id)
        .where(Version.asset_id == version.asset_id)
        .where(Publication.channel == channel, Publication.status == PublicationStatus.LIVE)
    )


def _superseded(session: Session, version: Version, channel: str) -> str:
    """Say why a version may not go live at a channel any more; empty when it is the newest there."""
    newer = session.scalar(_live_at(version, channel).where(Version.number > version.number).limit(1))
    return f"Version {newer.version.number} took its place on {channel}." if newer else ""


def _publish(services: Services, publication_id: str, *, now: datetime, wait: Wait, run: str | None) -> dict[str, Any]:
    with services.session() as session:
        publication = _locked(session, publication_id)
        if publication.status == PublicationStatus.LIVE:
            return _result(publication)
        if publication.status == PublicationStatus.WITHDRAWN:
            raise Refused(
                f"It was withdrawn: {publication.reason}.",
                where=f"publication {publication_id}",
                remedy="Plan it again from a newly approved package.",
            )
        early = publication.status == PublicationStatus.SCHEDULED and publication.starts_at > now
    try:
        _undo(services, publication_id, wait=wait)  # what a takedown that was not proved has left
        with services.session() as session:
            _check_approval(session, session.get_one(Publication, publication_id))
        if early:
            return _result(publication)
        channel = _cleared(services, publication_id, now=now)
        sent = deliver.items(services, publication_id=publication_id, channel=channel, run=run)
        _announce(services, publication_id, sent)
        return _deliver(services, publication_id, channel=channel, sent=sent, wait=wait, run=run)
    except Refused as error:
        _give_up(services, publication_id, error, wait=wait, run=run)
        if isinstance(error, ApprovalVoid) and (following := _following(services, publication_id, run)):
            with services.session() as session:
                told = _result(session.get_one(Publication, publication_id))
            return told | {"status": "void", "next_package_id": following}
        raise
    except DamError as error:
        with services.session() as session:
            _locked(session, publication_id).reason = str(error)
        raise


def _following(services: Services, publication_id: str, run: str | None) -> str | None:
    """Return the next round of a publication's package when it is void; None when it is not, or none can be made."""
    with services.session() as session:
        package_id = session.get_one(Publication, publication_id).package_id
    return packages.revalidate(services, package_id=package_id, run=run) if package_id else None


def _locked(session: Session, publication_id: str) -> Publication:
    publication = session.get(Publication, publication_id, with_for_update=True)
    if publication is None:
        raise NotFound(f"There is no publication {publication_id}.", where="publish")
    return publication


def _result(publication: Publication) -> dict[str, Any]:
    return {
        "publication_id": publication.id,
        "version_id": publication.version_id,
        "channel": publication.channel,
        "status": publication.status,
        "live_url": publication.live_url,
        "endpoints": [endpoint["url"] for endpoint in publication.endpoints],
        "starts_at": publication.starts_at.isoformat(),
        "ends_at": publication.ends_at.isoformat() if publication.ends_at else None,
        "probed_at": publication.probed_at.isoformat() if publication.probed_at else None,
    }


def _cleared(services: Services, publication_id: str, *, now: datetime) -> OriginChannel | JsonChannel:
    """Ask everything that may forbid a publication once more; return its channel, or raise Refused."""
    where = f"publication {publication_id}"
    with services.session() as session:
        name = session.get_one(Publication, publication_id).channel
    channel = _channel(services, name)
    with services.session() as session:
        publication = session.get_one(Publication, publication_id)
        version = publication.version
        if reason := _not_publishable(version):
            raise Refused(reason, where=where, remedy="Have it reviewed first.")
        if reason := _superseded(session, version, name):
            raise Refused(reason, where=where, remedy="Let it go, or withdraw the newer one first.")
        asset = session.get_one(Asset, version.asset_id)
        answer = policy.ask(
            session,
            version_id=version.id,
            channel=name,
            territories=policy.destinations(asset)[1],
            on=now.date(),
            recipes=recipes_of(services).get(name, []),
        )
        if not answer.allowed:
            raise Refused(answer.explanation, where=where, remedy="Renew or widen the licence, or let it go.")
        # the check that the newest plan made and kept: what was filled in since needs a new review, and so a new plan
        if lacks := contracts.lacking(session, stage=CONTRACT, version_ids=[version.id]):
            raise Refused(" ".join(lacks[version.id]), where=where, remedy="Then have it reviewed again.")
        ends_at = _end(answer, asset.campaign, channel.window)
        if publication.risks and publication.cleared_by is None:
            raise Refused(
                f"The digital team has not cleared it. {' '.join(publication.risks)}",
                where=where,
                remedy="Plan the package again and answer the question that comes.",
            )
        if ends_at is not None and ends_at <= now:
            raise Refused(f"Its window ended on {policy.day(ends_at.date())}.", where=where, remedy="Let it go.")
        _locked(session, publication_id).ends_at = ends_at
    return channel


def _check_approval(session: Session, publication: Publication) -> None:
    """Raise ApprovalVoid unless the publication's package approves the version as it is at this moment."""
    if publication.package_id is None or packages.approves(session, publication.package_id, publication.version_id):
        return
    newest = packages.newest(session, publication.version_id)
    raise ApprovalVoid(
        "The approval is void: bytes, metadata or rights changed after it.",
        where=f"publication {publication.id}",
        remedy=f"Wait for the review of package {newest}."
        if newest != publication.package_id
        else "Withdraw the version and have it reviewed again.",
    )


def _channel(services: Services, name: str) -> OriginChannel | JsonChannel:
    templates = _templates(services)
    if name not in templates:
        raise Refused(
            f"There is no channel template named {name}.",
            where="include/templates/channels",
            remedy=f"Write {name}.yaml, or use one of: {', '.join(templates)}.",
        )
    return templates[name]


def _announce(services: Services, publication_id: str, sent: list[deliver.Item]) -> None:
    """Write down what is about to be seen, so that a takedown knows it even if we are killed now."""
    with services.session() as session:
        publication = _locked(session, publication_id)
        if publication.status in (PublicationStatus.LIVE, PublicationStatus.WITHDRAWN):
            return
        keys = {item.key for item in sent} | _shared(session, publication).keys()
        for old in publication.endpoints:
            if old.get("key") and old["key"] not in keys:
                services.storage.origin.delete(old["key"])
        # read before the approval is checked: what was checked, and nothing newer, is what will be sent
        said = deliver.content(publication, sent)
        _check_approval(session, publication)
        publication.endpoints = [item.endpoint() for item in sent]
        publication.receipt = {"delivery_began": utcnow().isoformat(), "content": said}
        publication.status = PublicationStatus.SCHEDULED


def _shared(session: Session, publication: Publication) -> dict[str, str]:
    """Return the origin keys of a publication that another one, live or being delivered, names too, each with
    the other's id. Two publications of one version share their files where the channel's folder is the version's.

    The version's row is locked, so that no delivery of the other begins before we are done.
    """
    session.execute(select(Version.id).where(Version.id == publication.version_id).with_for_update())
    others = session.scalars(
        select(Publication).where(
            Publication.version_id == publication.version_id,
            Publication.id != publication.id,
            (Publication.status == PublicationStatus.LIVE)
            | (
                (Publication.status == PublicationStatus.SCHEDULED)
                & (func.jsonb_typeof(Publication.receipt) == "object")
            ),
        )
    )
    theirs = {point["key"]: other.id for other in others for point in other.endpoints if point.get("key")}
    return {point["key"]: theirs[point["key"]] for point in publication.endpoints if point.get("key") in theirs}


def _deliver(
    services: Services,
    publication_id: str,
    *,
    channel: OriginChannel | JsonChannel,
    sent: list[deliver.Item],
    wait: Wait,
    run: str | None,
) -> dict[str, Any]:
    with services.session() as session:
        publication = _locked(session, publication_id)
        if publication.status != PublicationStatus.SCHEDULED:
            return _result(publication)  # another worker was faster
        _check_approval(session, publication)
        for item in sent:
            deliver.put(services, item)
        endpoints = [item.endpoint() for item in sent]
        live_url, remote_id = sent[0].url, None
        if isinstance(channel, JsonChannel):
            known = deliver.values(services, _content(publication))
            remote_id, live_url = deliver.post(channel, known, key=deliver.key_of(publication), wait=wait)
            endpoints.append({"kind": "entry", "name": channel.name, "url": live_url, "sha256": None})
        probes = _prove_seen(publication_id, endpoints, wait=wait)
        publication.endpoints = endpoints
        publication.live_url, publication.remote_id = live_url, remote_id
        publication.probed_at = utcnow()
        publication.receipt = {
            **(publication.receipt or {}),
            "remote_id": remote_id,
            "probes": [probe.as_dict() for probe in probes],
        }
        publication.reason = None
        publication.status = PublicationStatus.LIVE
        version = session.get_one(Version, publication.version_id)
        change_state(
            session,
            version,
            VersionState.LIVE,
            actor=ACTOR,
            why=f"published to {channel.name}",
            run=run,
            package_id=publication.package_id,
        )
        audit.record(
            session,
            actor=ACTOR,
            action="publication.live",
            subject_id=publication.id,
            data={"version_id": version.id, "channel": channel.name, "live_url": live_url},
            run=run,
        )
        return _result(publication)


def _content(publication: Publication) -> dict[str, Any]:
    """Return what was approved and announced to be sent; a publication of old may not remember it."""
    return deliver.content(publication, []) | dict((publication.receipt or {}).get("content", {}))


def _prove_seen(publication_id: str, endpoints: list[dict[str, Any]], *, wait: Wait) -> list[Probe]:
    """Probe every endpoint until it answers 200 with the right bytes; raise NotSeen if one does not."""
    probes = []
    for endpoint in endpoints:
        expected = endpoint["sha256"]

        def seen(found: Probe, expected: str | None = expected) -> bool:
            return found.status == 200 and expected in (None, found.sha256)

        found = probe_until(endpoint["url"], seen, wait=wait)
        if not seen(found):
            problem = found.problem or (
                f"status {found.status}" if found.status != 200 else f"other bytes (SHA-256 {found.sha256})"
            )
            raise NotSeen(
                f"{endpoint['url']} was delivered but answers with {problem}.",
                where=f"publication {publication_id}",
                remedy="Check that the channel is up and serves what it is given, then publish again.",
            )
        probes.append(found)
    return probes


def _give_up(services: Services, publication_id: str, error: DamError, *, wait: Wait, run: str | None) -> None:
    """Mark a publication as failed. What this or an interrupted try delivered is taken down again; it
    stays failed and can be planned and published anew."""
    with services.session() as session:
        publication = _locked(session, publication_id)
        if publication.status in (PublicationStatus.LIVE, PublicationStatus.WITHDRAWN):
            return
        publication.status, publication.reason = PublicationStatus.FAILED, str(error)
        if publication.receipt is not None:
            publication.receipt = publication.receipt | {"takedown_began": utcnow().isoformat()}
        audit.record(
            session,
            actor=ACTOR,
            action="publication.failed",
            subject_id=publication_id,
            data={"reason": str(error), "channel": publication.channel},
            run=run,
        )
    _undo(services, publication_id, wait=wait, may_be_there=not isinstance(error, ChannelRefused))


def _undo(services: Services, publication_id: str, *, wait: Wait, may_be_there: bool = True) -> None:
    """Take down what a publication that was given up had delivered, and prove it; do nothing when that is done."""
    with services.session() as session:
        publication = _locked(session, publication_id)
        if "takedown_began" in (publication.receipt or {}):
            _take_down(services, session, publication, wait=wait, may_be_there=may_be_there)
            publication.receipt, publication.endpoints = None, []
            publication.attempt += 1


# ------------------------------------------------------------------------------------------ withdraw


def withdraw(
    services: Services,
    *,
    publication_id: str,
    actor: str,
    reason: str,
    wait: Wait = time.sleep,
    run: str | None = None,
) -> dict[str, Any]:
    """Take a publication down at its channel and prove by probing that every endpoint is dead.

    The version becomes withdrawn when no other publication of it is live. One that was withdrawn
    already is answered with its receipt; one that never went out is withdrawn without probes. A file that
    another live publication of the version shows too stays for that one.

    :param actor: the username, or the name of the sweep.
    :returns: the receipt ``{publication_id, version_id, channel, actor, reason, withdrawn_at, agent,
        endpoints: [{url, status, sha256, problem, at, agent}], kept: [{url, publication_id}]}``; ``kept`` are
        files that are still seen, and for which publication.
    :raises StillLive: an endpoint answered, or gave no proof (404 or 410); the publication stays live.
    :raises ChannelUnavailable, ChannelRefused: the channel did not take the removal; it stays live.
    """
    try:
        with services.session() as session:
            publication = _locked(session, publication_id)
            if publication.status == PublicationStatus.WITHDRAWN:
                return dict(publication.takedown or {})
            probes: list[Probe] = []
            kept: list[dict[str, str]] = []
            if publication.status == PublicationStatus.LIVE or publication.receipt is not None:
                probes, kept = _take_down(services, session, publication, wait=wait)
            return _withdrawn(session, publication, probes, kept, actor=actor, reason=reason, run=run)
    except StillLive as error:
        with services.session() as session:
            audit.record(
                session,
                actor=actor,
                action="publication.takedown_unproved",
                subject_id=publication_id,
                data={"endpoints": [probe.as_dict() for probe in error.probes]},
                run=run,
            )
        raise


def _take_down(
    services: Services, session: Session, publication: Publication, *, wait: Wait, may_be_there: bool = True
) -> tuple[list[Probe], list[dict[str, str]]]:
    """Remove a publication and probe every URL of it dead; raise StillLive when one is not.

    :returns: the probes, and what stays for other publications (``{url, publication_id}``).
    """
    shared = _shared(session, publication)
    kept = [
        {"url": point["url"], "publication_id": shared[point["key"]]}
        for point in publication.endpoints
        if point.get("key") in shared
    ]
    urls = _remove(services, publication, shared=shared, wait=wait, may_be_there=may_be_there)
    probes = [probe_until(url, lambda found: found.dead, wait=wait) for url in urls]
    if alive := [probe for probe in probes if not probe.dead]:
        shown = "; ".join(f"{probe.url} ({probe.problem or f'status {probe.status}'})" for probe in alive)
        raise StillLive(
            f"The takedown is not proved; these endpoints must answer 404 or 410: {shown}.",
            probes=alive,
            where=f"publication {publication.id}",
            remedy="Purge caches in front of them or remove them at the channel, then withdraw again.",
        )
    return probes, kept


def _remove(
    services: Services, publication: Publication, *, shared: Collection[str], wait: Wait, may_be_there: bool
) -> list[str]:
    """Remove a publication's entry and files; return every URL that must be dead now.

    :param shared: keys of files that stay, for another publication.
    :param may_be_there: whether an entry whose identifier we don't know may exist at the channel.
    """
    own = [endpoint for endpoint in publication.endpoints if endpoint.get("key") not in shared]
    urls = [endpoint["url"] for endpoint in own]
    for endpoint in own:  # first, so that a channel that fails keeps nothing of ours alive
        if endpoint["kind"] == "file":
            services.storage.origin.delete(endpoint["key"])
    channel = _channel(services, publication.channel)
    if isinstance(channel, OriginChannel):
        return urls
    key, remote_id, said = deliver.key_of(publication), publication.remote_id, _content(publication)
    if remote_id is None and may_be_there:
        # The delivery was cut off, so the entry may be there without our knowing its name. The same key
        # sent again names it.
        try:
            remote_id, url = deliver.post(channel, deliver.values(services, said), key=key, wait=wait)
            urls.append(url)
        except ChannelRefused:
            remote_id = None  # the channel takes nothing by this key, so it holds nothing either
    if remote_id is not None:
        known = deliver.values(services, said, remote_id=remote_id)
        deliver.remove_entry(channel, known, key=key, wait=wait)
    return list(dict.fromkeys(urls))


def _withdrawn(
    session: Session,
    publication: Publication,
    probes: list[Probe],
    kept: list[dict[str, str]],
    *,
    actor: str,
    reason: str,
    run: str | None,
) -> dict[str, Any]:
    publication.withdrawn_at = utcnow()
    publication.takedown = {
        "publication_id": publication.id,
        "version_id": publication.version_id,
        "channel": publication.channel,
        "actor": actor,
        "reason": reason,
        "withdrawn_at": publication.withdrawn_at.isoformat(),
        "agent": AGENT,
        "endpoints": [probe.as_dict() for probe in probes],
        "kept": kept,
    }
    publication.status, publication.reason = PublicationStatus.WITHDRAWN, reason
    session.flush()
    # The version's row is locked before the others are counted: a publication that is just going
    # live changes the version in the same transaction and so either counts or waits for us.
    version = session.get_one(Version, publication.version_id, with_for_update=True)
    others = session.scalar(
        select(func.count())
        .select_from(Publication)
        .where(Publication.version_id == version.id, Publication.status == PublicationStatus.LIVE)
    )
    if not others and version.state == VersionState.LIVE:
        change_state(session, version, VersionState.WITHDRAWN, actor=actor, why=reason, run=run)
    audit.record(
        session,
        actor=actor,
        action="publication.withdrawn",
        subject_id=publication.id,
        data={"version_id": version.id, "channel": publication.channel, "reason": reason},
        run=run,
    )
    return dict(publication.takedown)
