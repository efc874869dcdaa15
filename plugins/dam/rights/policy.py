"""The one rights policy. Every exit asks it, and every refusal is a sentence a person can act on.

An asset may be covered by several grants (the photographer's licence, a trade mark's, a stock
agency's). Each of them must allow the use: the strictest wins, in every dimension, so that adding
a grant can only ever narrow what is allowed. A licence that is renewed is the same grant with a later
``ends_on``; a grant that has ended keeps refusing until then.

A legal hold does not refuse publication: it forbids change and destruction, not use.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from dam.catalog.models import (
    Asset,
    Campaign,
    Deliverable,
    Grant,
    Package,
    PackageVersion,
    Verdict,
    Version,
)
from dam.errors import NotFound

if TYPE_CHECKING:
    from dam.services import Services

ANYWHERE = "*"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the policy says of one use.

    :param allowed: whether the use is allowed.
    :param reasons: why not, one sentence each; empty when it is allowed.
    :param ends_on: the last day of use over all grants, inclusive; ``None``: without end, or no grant.
    """

    allowed: bool
    reasons: list[str]
    ends_on: date | None

    @property
    def explanation(self) -> str:
        """The whole answer as text for a person."""
        if not self.allowed:
            return " ".join(self.reasons)
        return f"Allowed until {day(self.ends_on)}." if self.ends_on else "Allowed without end."

    def as_dict(self) -> dict[str, Any]:
        """Return the answer as a JSON-able dict with its explanation."""
        return {
            "allowed": self.allowed,
            "reasons": self.reasons,
            "explanation": self.explanation,
            "ends_on": self.ends_on.isoformat() if self.ends_on else None,
        }


def ask(session: Session, *, version_id: str, channel: str, territories: Sequence[str], on: date) -> Answer:
    """Ask whether a version may be used on a channel, in all of these territories, on a day.

    :param territories: territory codes as the grants write them (``DE``, ``FR``, …). An empty list
        or ``*`` means everywhere, which only a grant for ``*`` covers.
    :param on: the day of use.
    :raises NotFound: there is no such version.
    """
    version = session.get(Version, version_id)
    if version is None:
        raise NotFound(f"There is no version {version_id}.", where="rights policy")
    asset = version.asset
    if asset is None:
        return Answer(False, [f"The file {version.filename} was not accepted, so it has no rights."], None)
    grants = session.scalars(
        select(Grant)
        .where(Grant.asset_id == asset.id)
        .options(selectinload(Grant.licence))
        .order_by(Grant.starts_on, Grant.id)
    ).all()
    return judge(grants, name=asset.name, channel=channel, territories=territories, on=on)


def judge(grants: Sequence[Grant], *, name: str, channel: str, territories: Sequence[str], on: date) -> Answer:
    """Answer from the grants alone; see :func:`ask`. ``name`` is the asset's, for the sentences."""
    if not grants:
        reason = f"No licence is recorded for {name}; the librarian can add one on its asset page."
        return Answer(False, [reason], None)
    reasons = [
        reason
        for grant in grants
        for reason in _refusals(grant, name=name, channel=channel, territories=territories, on=on)
    ]
    ends = [grant.ends_on for grant in grants if grant.ends_on is not None]
    return Answer(not reasons, reasons, min(ends, default=None))


def _refusals(grant: Grant, *, name: str, channel: str, territories: Sequence[str], on: date) -> Iterable[str]:
    licence = f"The licence {grant.licence.reference} from {grant.licence.holder}"
    if on < grant.starts_on:
        yield f"{licence} starts on {day(grant.starts_on)}, after {day(on)}."
    if grant.ends_on is not None and on > grant.ends_on:
        yield f"{licence} ended on {day(grant.ends_on)}."
    if not {ANYWHERE, channel} & set(grant.channels):
        yield f"{licence} does not cover the channel {channel}; it covers {_listed(grant.channels)}."
    outside = sorted(set(territories or [ANYWHERE]) - set(grant.territories))
    if outside and ANYWHERE not in grant.territories:
        places = _listed("use everywhere" if place == ANYWHERE else place for place in outside)
        yield f"{licence} does not cover {places}; it covers {_listed(grant.territories)}."
    for release in ("model", "property"):
        if getattr(grant, f"{release}_release") not in ("signed", "not_needed"):
            yield f"The {release} release for {name} is missing under {licence[0].lower()}{licence[1:]}."


def ask_package(services: Services, *, package_id: str, on: date | None = None) -> list[dict[str, Any]]:
    """Ask for every approved or undecided version of a package and every channel it is meant for.

    :param on: the day of use; today when ``None``.
    :returns: ``{version_id, asset, filename, channel, territories, allowed, reasons, explanation,
        ends_on}``, in the order of asset names and channels.
    :raises NotFound: there is no such package.
    """
    with services.session() as session:
        package = session.get(Package, package_id)
        if package is None:
            raise NotFound(f"There is no package {package_id}.", where="rights policy")
        rows = []
        for version, asset in package_versions(session, package_id):
            meant, territories = destinations(asset)
            for channel in meant if package.channels is None else package.channels:
                answer = ask(
                    session,
                    version_id=version.id,
                    channel=channel,
                    territories=territories,
                    on=on or datetime.now(UTC).date(),
                )
                rows.append(
                    {
                        "version_id": version.id,
                        "asset": asset.name,
                        "filename": version.filename,
                        "channel": channel,
                        "territories": territories,
                        **answer.as_dict(),
                    }
                )
        return rows


def package_versions(session: Session, package_id: str) -> list[tuple[Version, Asset]]:
    """Return a package's versions that were not turned down, with their assets, by asset name."""
    rows = session.execute(
        select(Version, Asset)
        .join(PackageVersion, PackageVersion.version_id == Version.id)
        .join(Asset, Asset.id == Version.asset_id)
        .where(
            PackageVersion.package_id == package_id,
            PackageVersion.verdict.is_(None) | (PackageVersion.verdict == Verdict.APPROVE),
        )
        .order_by(Asset.name, Version.number)
    )
    return [(version, asset) for version, asset in rows]


def destinations(asset: Asset) -> tuple[list[str], list[str]]:
    """Return the channels and the territories an asset is meant for: its deliverable's, else its
    campaign's, else none."""
    source: Deliverable | Campaign | None = asset.deliverable or asset.campaign
    return (list(source.channels), list(source.markets)) if source else ([], [])


def day(value: date | None) -> str:
    """Return a date as a person writes it: 3 March 2027."""
    return f"{value.day} {value:%B %Y}" if value else "no day"


def _listed(words: Iterable[str]) -> str:
    """Join words as in a sentence: ``a, b and c``; ``*`` reads as *everything*."""
    shown = ["everything" if word == ANYWHERE else word for word in words]
    if not shown:
        return "nothing"
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
