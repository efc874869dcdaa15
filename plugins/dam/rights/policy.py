"""The one rights policy. Every exit asks it, and every refusal is a sentence a person can act on.

An asset may be covered by several grants (the photographer's licence, a trade mark's, a stock
agency's). Each of them must allow the use: the strictest wins, in every dimension, so that adding
a grant can only ever narrow what is allowed. A licence that is renewed is the same grant with a later
``ends_on``; a grant that has ended keeps refusing until then.

A legal hold does not refuse publication: it forbids change and destruction, not use.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session, selectinload

from dam import channels
from dam.catalog.models import (
    Asset,
    Campaign,
    Deliverable,
    Grant,
    Package,
    PackageVersion,
    Publication,
    PublicationStatus,
    Verdict,
    Version,
)
from dam.errors import NotFound

if TYPE_CHECKING:
    from sqlalchemy import Select

    from dam.renditions.recipes import Recipe
    from dam.services import Services

ANYWHERE = "*"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the policy says of one use.

    :param allowed: whether the use is allowed.
    :param reasons: why not, one sentence each; empty when it is allowed.
    :param ends_on: the last day of use over all grants, inclusive; ``None``: without end, or no grant.
    :param duties: what the use asks for, one sentence each.
    """

    allowed: bool
    reasons: list[str]
    ends_on: date | None
    duties: list[str] = field(default_factory=list)

    @property
    def explanation(self) -> str:
        """The whole answer as text for a person."""
        if not self.allowed:
            return " ".join(self.reasons)
        allowed = f"Allowed until {day(self.ends_on)}." if self.ends_on else "Allowed without end."
        return " ".join([allowed, *self.duties])

    def as_dict(self) -> dict[str, Any]:
        """Return the answer as a JSON-able dict with its explanation."""
        return {
            "allowed": self.allowed,
            "reasons": self.reasons,
            "explanation": self.explanation,
            "ends_on": self.ends_on.isoformat() if self.ends_on else None,
            "duties": self.duties,
        }


def ask(
    session: Session,
    *,
    version_id: str,
    channel: str,
    territories: Sequence[str],
    on: date,
    actions: Sequence[str] = ("distribute",),
    recipes: Iterable[Recipe] = (),
) -> Answer:
    """Ask whether a version may be used on a channel, in all of these territories, on a day.

    :param territories: territory codes as the grants write them (``DE``, ``FR``, …). An empty list
        or ``*`` means everywhere, which only a grant for ``*`` covers.
    :param on: the day of use.
    :param actions: what is to be done, in ODRL's words: ``distribute``; ``modify`` when it is cut or recoloured;
        ``derive`` when it becomes part of something else.
    :param recipes: what the channel's renditions are made by; those that cut the picture ask for ``modify``, too.
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
    use = Use(
        name=asset.name,
        channel=channel,
        territories=territories,
        on=on,
        actions=actions,
        cut_by=_cutting(version, recipes),
        elsewhere=_elsewhere(session, version, channel) if any(grant.max_count for grant in grants) else 0,
        credit=(version.description and (version.description.credit_line or version.description.creator)) or "",
    )
    return judge(grants, use)


def _cutting(version: Version, recipes: Iterable[Recipe]) -> list[str]:
    """Return the names of the recipes that cut a version; what is no picture goes out as it is."""
    if not version.media_type.startswith("image/"):
        return []
    return [recipe.name for recipe in recipes if recipe.cuts(version.width, version.height)]


def places(session: Session, asset_id: str) -> int:
    """Count the places an asset is or was published at, each version's place on each channel one."""
    return session.scalar(_places(asset_id)) or 0


def _places(asset_id: str | None) -> Select[int]:
    return (
        select(func.count(Publication.id))
        .join(Version, Version.id == Publication.version_id)
        .where(Version.asset_id == asset_id)
        .where(Publication.status.in_([PublicationStatus.LIVE, PublicationStatus.WITHDRAWN]))
    )


def _elsewhere(session: Session, version: Version, channel: str) -> int:
    """Count the places an asset is or was published at, this version's place on this channel left out."""
    here = (Publication.version_id == version.id) & (Publication.channel == channel)
    return session.scalar(_places(version.asset_id).where(~here)) or 0


@dataclass(frozen=True, slots=True)
class Use:
    """One use that the policy is asked about; see :func:`ask`.

    :param name: the asset's, for the sentences. :param elsewhere: at how many other places it is or was published.
    :param credit: the line it is credited with; empty when there is none. :param cut_by: the recipes that cut it,
        which asks for ``modify`` beside the actions.
    """

    name: str
    channel: str
    territories: Sequence[str]
    on: date
    actions: Sequence[str] = ("distribute",)
    elsewhere: int = 0
    credit: str = ""
    cut_by: Sequence[str] = ()


def judge(grants: Sequence[Grant], use: Use) -> Answer:
    """Answer from the grants alone."""
    name = use.name
    if not grants:
        reason = f"No licence is recorded for {name}; the librarian can add one on its asset page."
        return Answer(False, [reason], None)
    reasons = [reason for grant in grants for reason in _refusals(grant, use)]
    ends = [grant.ends_on for grant in grants if grant.ends_on is not None]
    duties = [] if reasons else list(dict.fromkeys(duty for grant in grants for duty in _duties(grant, use)))
    return Answer(not reasons, reasons, min(ends, default=None), duties)


_DEEDS = {"distribute": "publishing it", "modify": "cutting or recolouring it", "derive": "making something else of it"}


def _duties(grant: Grant, use: Use) -> Iterable[str]:
    """Yield what a grant asks of whoever uses it, as sentences."""
    holder = grant.licence.holder
    if "attribute" in grant.duties:
        yield f"Credit “{use.credit}” beside it."
    if "inform" in grant.duties:
        yield f"Tell {holder} of this use."
    if "compensate" in grant.duties:
        yield f"Pay {holder} for this use."
    if "obtainConsent" in grant.duties:
        yield f"Ask {holder} before this use."


def _refusals(grant: Grant, use: Use) -> Iterable[str]:
    yield from _bounds(grant, use)
    licence = f"The licence {grant.licence.reference} from {grant.licence.holder}"
    for action in dict.fromkeys([*use.actions, *(["modify"] if use.cut_by else [])]):
        if not {ANYWHERE, action} & set(grant.permissions):
            yield f"{licence} does not permit {_DEEDS.get(action, action)}{_cause(action, use)}."
    if grant.max_count is not None and use.elsewhere >= grant.max_count:
        places = "one place" if grant.max_count == 1 else f"{grant.max_count} places"
        yield f"{licence} is for {places}, and {use.name} is or was at {use.elsewhere}."
    if "attribute" in grant.duties and not use.credit:
        yield f"{licence} asks for a credit, and {use.name} has neither credit line nor creator."
    for release in ("model", "property"):
        if getattr(grant, f"{release}_release") not in ("signed", "not_needed"):
            yield f"The {release} release for {use.name} is missing under {licence[0].lower()}{licence[1:]}."


def _cause(action: str, use: Use) -> str:
    """Return which recipes of the channel make an action necessary, as the end of a sentence."""
    if action != "modify" or not use.cut_by:
        return ""
    one = len(use.cut_by) == 1
    return f", which the recipe{'' if one else 's'} {listed(use.cut_by)} of {use.channel} {'does' if one else 'do'}"


def _bounds(grant: Grant, use: Use) -> Iterable[str]:
    """Yield how a use lies outside a grant's time, channels and territories."""
    on, channel, territories = use.on, use.channel, use.territories
    licence = f"The licence {grant.licence.reference} from {grant.licence.holder}"
    if on < grant.starts_on:
        yield f"{licence} starts on {day(grant.starts_on)}, after {day(on)}."
    if grant.ends_on is not None and on > grant.ends_on:
        yield f"{licence} ended on {day(grant.ends_on)}."
    if not {ANYWHERE, channel} & set(grant.channels):
        yield f"{licence} does not cover the channel {channel}; it covers {listed(grant.channels)}."
    outside = sorted(set(territories or [ANYWHERE]) - set(grant.territories))
    if outside and ANYWHERE not in grant.territories:
        places = listed("use everywhere" if place == ANYWHERE else place for place in outside)
        yield f"{licence} does not cover {places}; it covers {listed(grant.territories)}."


def ask_package(services: Services, *, package_id: str, on: date | None = None) -> list[dict[str, Any]]:
    """Ask for every approved or undecided version of a package and every channel it is meant for.

    :param on: the day of use; today when ``None``.
    :returns: ``{version_id, asset, filename, channel, territories, allowed, reasons, explanation,
        ends_on}``, in the order of asset names and channels.
    :raises NotFound: there is no such package.
    """
    recipes = channels.recipes_of(services)
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
                    recipes=recipes.get(channel, ()),
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


def listed(words: Iterable[str], *, joint: str = "and") -> str:
    """Join words as in a sentence: ``a, b and c``; ``*`` reads as *everything*."""
    shown = ["everything" if word == ANYWHERE else word for word in words]
    if not shown:
        return "nothing"
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} {joint} {shown[-1]}"
