"""The life of a version: one table of allowed changes, one function that makes them.

The same table stands in the database (``lifecycle_transitions``), where a trigger refuses every other
change of a version's state, whoever tries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import literal, or_, select
from sqlalchemy.orm import Session

from dam import audit
from dam.catalog.models import Asset, Campaign, Hold, Merge, Tier, Version, VersionState, utcnow
from dam.errors import BadInput, NotFound, Refused

if TYPE_CHECKING:
    from dam.services import Services

S = VersionState
#: From each state, the states a version may go to.
ALLOWED: dict[VersionState, frozenset[VersionState]] = {
    S.RECEIVED: frozenset({S.QUARANTINED, S.INGESTED}),
    S.QUARANTINED: frozenset({S.INGESTED, S.DESTROYED}),
    S.INGESTED: frozenset({S.IN_REVIEW, S.ARCHIVED}),
    S.IN_REVIEW: frozenset({S.APPROVED, S.CHANGES_REQUESTED, S.REJECTED, S.INGESTED}),
    S.APPROVED: frozenset({S.LIVE, S.IN_REVIEW, S.ARCHIVED}),
    S.CHANGES_REQUESTED: frozenset({S.ARCHIVED}),
    S.REJECTED: frozenset({S.ARCHIVED}),
    S.LIVE: frozenset({S.WITHDRAWN}),
    S.WITHDRAWN: frozenset({S.LIVE, S.IN_REVIEW, S.ARCHIVED}),
    S.ARCHIVED: frozenset({S.RESTORED, S.DESTROYED}),
    S.RESTORED: frozenset({S.LIVE, S.IN_REVIEW, S.ARCHIVED}),
    S.DESTROYED: frozenset(),
}
#: States that a version on hold can't go to.
HELD_BACK = frozenset({S.ARCHIVED, S.DESTROYED})


class IllegalTransition(Refused):
    """The table of allowed changes does not have this one."""


class HeldVersion(Refused):
    """A legal hold covers the version."""


def change_state(
    session: Session,
    version: Version,
    to: VersionState,
    *,
    actor: str,
    why: str,
    run: str | None = None,
    package_id: str | None = None,
) -> None:
    """Change a version's state and record it, in the transaction of ``session``.

    A version that is in the state already is left as it is.

    :param actor: username, or ``airflow``. :param why: one sentence, kept. :param run: ``dag_id/run_id``.
    :param package_id: the package that decided it, if one did.
    :raises IllegalTransition: the change is not allowed; nothing is changed.
    :raises HeldVersion: a hold covers the version; nothing is changed.
    """
    known = version not in session.new  # nobody else has what is only now inserted
    session.flush()
    if known:
        session.refresh(version, attribute_names=["state", "tier"], with_for_update={"of": Version})
    before = VersionState(version.state)
    if before == to:
        return
    if to not in ALLOWED[before]:
        raise IllegalTransition(
            f"a version that is {before} can't become {to}",
            where=f"version {version.id}",
            remedy=f"From {before} it can become: {', '.join(sorted(ALLOWED[before])) or 'nothing'}.",
        )
    if to in HELD_BACK and (holds := holds_on(session, version)):
        raise HeldVersion(
            f"it is on legal hold ({holds[0].reason})",
            where=f"version {version.id}",
            remedy="Release the hold first: dam hold release.",
        )
    version.state = to
    version.state_changed_at = utcnow()
    version.state_reason = why
    if to == S.DESTROYED:
        version.tier = Tier.GONE
    audit.record(
        session,
        actor=actor,
        action=f"version.{to}",
        subject_id=version.id,
        data={"from": before, "to": to, "why": why, "package_id": package_id},
        run=run,
    )
    session.flush()


def take_back(
    session: Session, version: Version, merge: Merge, *, actor: str, why: str, run: str | None = None
) -> None:
    """Take the version that a merge archived back to the state it had before, and record it.

    The one way back that is not in the table: it stands open to the undo of a merge that is in force, and the
    database holds it to that.

    :raises IllegalTransition: the merge is not of this version, or the version went on since.
    """
    session.flush()
    session.refresh(version, attribute_names=["state", "tier"], with_for_update={"of": Version})
    to = VersionState(merge.state_before)
    if merge.dropped_version_id != version.id or merge.undone_at is not None or version.state != S.ARCHIVED:
        raise IllegalTransition(
            f"a version that is {version.state} can't be taken back to {to}", where=f"version {version.id}"
        )
    version.state, version.state_changed_at, version.state_reason = to, utcnow(), why
    audit.record(
        session,
        actor=actor,
        action=f"version.{to}",
        subject_id=version.id,
        data={"from": S.ARCHIVED, "to": to, "why": why, "merge_id": merge.id},
        run=run,
    )
    session.flush()


def holds_on(session: Session, version: Version) -> list[Hold]:
    """Return the holds in force on a version: on its asset or on its asset's campaign."""
    if version.asset_id is None:
        return []
    campaign_id = session.scalar(select(Asset.campaign_id).where(Asset.id == version.asset_id))
    return list(
        session.scalars(
            select(Hold)
            .where(Hold.released_at.is_(None))
            .where(or_(Hold.asset_id == version.asset_id, literal(campaign_id) == Hold.campaign_id))
            .order_by(Hold.placed_at)
        )
    )


def place_hold(
    services: Services,
    *,
    reason: str,
    person: str,
    asset_id: str | None = None,
    campaign_slug: str | None = None,
) -> str:
    """Place a legal hold on one asset or on a whole campaign, and return its id.

    :raises BadInput: neither or both were named. :raises NotFound: there is no such asset or campaign.
    """
    if (asset_id is None) == (campaign_slug is None):
        raise BadInput("a hold covers one asset or one campaign", remedy="Name exactly one of them.")
    with services.session() as session:
        campaign_id = None
        if campaign_slug is not None:
            campaign_id = session.scalar(select(Campaign.id).where(Campaign.slug == campaign_slug))
            if campaign_id is None:
                raise NotFound("there is no such campaign", where=campaign_slug)
        elif session.get(Asset, asset_id) is None:
            raise NotFound("there is no such asset", where=str(asset_id))
        hold = Hold(asset_id=asset_id, campaign_id=campaign_id, reason=reason, placed_by=person)
        session.add(hold)
        session.flush()
        audit.record(
            session,
            actor=person,
            action="hold.placed",
            subject_id=hold.id,
            data={"asset_id": asset_id, "campaign": campaign_slug, "reason": reason},
        )
        return hold.id


def release_hold(services: Services, *, hold_id: str, person: str) -> None:
    """Release a hold; one that is released already is left as it is.

    :raises NotFound: there is no such hold.
    """
    with services.session() as session:
        hold = session.get(Hold, hold_id, with_for_update=True)
        if hold is None:
            raise NotFound("there is no such hold", where=hold_id)
        if hold.released_at is None:
            hold.released_at, hold.released_by = utcnow(), person
            audit.record(session, actor=person, action="hold.released", subject_id=hold_id)
