"""Whether a package needs a seat: conditions of ``workflow.yaml``, asked of what its versions are.

Where the catalogue does not know (no market named, no rights at all), the seat is needed: a question too many
costs a minute, one too few an approval that nobody gave.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.orm import joinedload, selectinload

from dam.catalog.models import Asset, Tag, Version
from dam.rights import policy

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.catalog.models import Brief
    from dam.services import Services
    from dam.workflow import When

ANY = "*"


@dataclass(frozen=True, slots=True)
class Facts:
    """What conditions ask of a version; an empty list of markets or channels means that none is known."""

    people_shown: bool
    markets: list[str]
    channels: list[str]
    kind: str


def facts(
    services: Services, session: Session, versions: list[Version], *, channels: list[str] | None = None
) -> list[Facts]:
    """Return what conditions ask of each version; a few queries, however many there are.

    :param channels: where the package is to be published, if it says so itself.
    """
    shown = _tagged_with_people(services, session, versions)
    assets = {
        asset.id: asset
        for asset in session.scalars(
            select(Asset)
            .where(Asset.id.in_({version.asset_id for version in versions}))
            .options(joinedload(Asset.deliverable), joinedload(Asset.campaign), selectinload(Asset.grants))
        )
    }
    found = []
    for version in versions:
        asset = assets.get(version.asset_id or "")
        meant = policy.destinations(asset) if asset else ([], [])
        releases = {grant.model_release for grant in asset.grants} if asset else set()
        found.append(
            Facts(
                people_shown=version.id in shown or releases != {"not_needed"},
                markets=meant[1],
                channels=channels if channels is not None else meant[0],
                kind=asset.kind if asset else "other",
            )
        )
    return found


def of_brief(brief: Brief) -> Facts:
    """Return what conditions ask of a brief's document: it is judged by where the brief wants to go."""
    content = brief.content
    return Facts(False, list(content["markets"]), list(content["channels"]), "document")


def why_not(when: When | None, known: list[Facts]) -> str | None:
    """Return in plain words why a package need not be signed by a seat; None when it must."""
    if when is None or any(_holds(when, version) for version in known):
        return None
    said = ["shows people"] if when.people_shown else []
    said += [f"is for {policy.listed(when.markets, joint='or')}"] if when.markets else []
    said += [f"goes to {policy.listed(when.channels, joint='or')}"] if when.channels else []
    said += [f"is of the kind {policy.listed(when.media, joint='or')}"] if when.media else []
    return f"No version of the package {' and '.join(said)}."


def _holds(when: When, version: Facts) -> bool:
    return (
        (not when.people_shown or version.people_shown)
        and _meets(when.markets, version.markets)
        and _meets(when.channels, version.channels)
        and (not when.media or version.kind in when.media)
    )


def _meets(asked: list[str], known: list[str]) -> bool:
    return not asked or not known or ANY in known or not set(asked).isdisjoint(known)


def _tagged_with_people(services: Services, session: Session, versions: list[Version]) -> set[str]:
    """Return the versions that a tag says show people; a tag that is only suggested says it too."""
    vocabulary = services.taxonomy.vocabulary
    terms = {below for term in services.workflow.policy.people_shown for below in vocabulary.below(term)}
    if not terms:
        return set()
    rows = session.scalars(
        select(Tag.version_id)
        .where(Tag.version_id.in_([version.id for version in versions]))
        .where(Tag.term_id.in_(terms), Tag.status.in_(["applied", "suggested"]))
    )
    return set(rows)
