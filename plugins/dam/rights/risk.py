"""Uses that the rights allow but that a person should look at before they go out.

The policy in :mod:`dam.rights.policy` says what is forbidden. A risk forbids nothing: the digital team reads
it and clears the publication under its own name, or holds it back. What counts is written in
``workflow.yaml`` under ``policy.risks``.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from sqlalchemy import or_, select
from sqlalchemy.orm import selectinload

from dam.catalog.models import Asset, Description, Grant, Hold, Version, VersionState
from dam.rights.policy import day

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.workflow import Risks


def of(session: Session, *, asset: Asset, rules: Risks, on: date) -> list[str]:
    """Return the risks of using an asset from a day on, a sentence each.

    :param rules: what counts as a risk. :param on: the first day of use.
    """
    grants = session.scalars(
        select(Grant)
        .where(Grant.asset_id == asset.id)
        .options(selectinload(Grant.licence))
        .order_by(Grant.starts_on, Grant.id)
    ).all()
    found = []
    for grant in grants:
        licence = f"The licence {grant.licence.reference} from {grant.licence.holder}"
        if grant.ends_on is not None and 0 <= (grant.ends_on - on).days < rules.days_left:
            found.append(f"{licence} ends on {day(grant.ends_on)}: what goes out must come back by then.")
        if grant.licence.kind in rules.licence_kinds:
            found.append(f"{licence} is of the kind {grant.licence.kind.replace('_', ' ')}: check its duties.")
    if rules.made_by_ai and (kinds := _source_types(session, asset)):
        found.append(f"It was made with AI ({', '.join(kinds)}): label it where that is asked for.")
    if rules.held:
        holds = session.scalars(
            select(Hold)
            .where(or_(Hold.asset_id == asset.id, Hold.campaign_id == asset.campaign_id))
            .where(Hold.released_at.is_(None))
            .order_by(Hold.placed_at)
        )
        found += [f"There is a legal hold on it since {day(hold.placed_at.date())}: {hold.reason}." for hold in holds]
    return found


#: IPTC's digital source types of what a trained model made, or a part of it (newscodes, digitalsourcetype).
_AI = ("trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia", "compositeSynthetic")


def _source_types(session: Session, asset: Asset) -> list[str]:
    """Return which digital source types of an asset's versions tell of AI, by IPTC fields or Content Credentials."""
    rows = session.execute(
        select(Version.embedded, Description.custom)
        .outerjoin(Description, Description.version_id == Version.id)
        .where(Version.asset_id == asset.id, Version.state != VersionState.DESTROYED)
    )
    said: set[str] = set()
    for embedded, custom in rows:
        said |= {str((custom or {}).get("digital_source_type")), str(embedded.get("Xmp.iptcExt.DigitalSourceType"))}
        credentials = embedded.get("C2PA")
        said |= set(credentials.get("source_types", [])) if isinstance(credentials, dict) else set()
    return sorted({kind for kind in (word.rsplit("/", 1)[-1] for word in said) if kind in _AI})
