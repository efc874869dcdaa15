"""Rights of what was ingested: from the batch card, the file itself, the brief, or the sender's default.

Terms are told in the words of ODRL 2.2 and RightsML: permissions, duties, and constraints of territory, channel,
time and count. What says more than nothing can only narrow what is granted already.
"""

from __future__ import annotations

import re
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, select
from sqlalchemy.dialects.postgresql import insert

from dam import audit
from dam.catalog.models import Asset, Batch, Campaign, Grant, Licence, Version, new_id, utcnow
from dam.errors import BadInput
from dam.ingest import embedded
from dam.ingest.paperwork import basename
from dam.rights.terms import RELEASES, no_day, of, together

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.orm import Session

    from dam.services import Services

#: ODRL actions a grant can permit: to publish, to publish cut or recoloured, to make something else of it.
PERMISSIONS = ("distribute", "modify", "derive")
#: ODRL duties: to credit, to tell the holder of each use, to pay for each use, to ask before each use.
DUTIES = ("attribute", "inform", "compensate", "obtainConsent")
#: What has no first day holds from here on.
_ALWAYS = date(1970, 1, 1)
#: PLUS vocabulary of releases (useplus.org, as IPTC embeds it) by its last letters.
_PLUS = {
    "MR-NON": "missing", "MR-NAP": "not_needed", "MR-UMR": "signed", "MR-LMR": "missing",
    "PR-NON": "missing", "PR-NAP": "not_needed", "PR-UPR": "signed", "PR-LPR": "missing",
}  # fmt: skip


def note(
    services: Services, session: Session, version: Version, batch: Batch, path: str, *, run: str | None = None
) -> list[str]:
    """Note what is said of a version's rights, in ``session``; return remarks for the batch's receipt.

    The batch card goes before the file, the file before the brief, the brief before the sender's default; the
    default counts only for an asset of which nothing is known. Where nobody says anything, nothing is noted, and
    the contract shows that the licence is missing. A licence that the asset has already is narrowed by what is
    said now, never widened; another licence is added beside it, and the strictest of all of them counts.

    :param version: of an asset whose row this transaction made or locked: nobody else grants it anything meanwhile.
    :param path: of the file in its batch.
    """
    known = _grants(session, str(version.asset_id))
    said = next(_said(services, session, version, batch, path), None)
    if said is None or (known and said[1] in ("brief", "sender")):
        return []
    terms, source = said
    terms = _releases(version) | terms
    try:
        remarks = _grant_or_narrow(session, str(version.asset_id), known, terms, source)
    except BadInput as fault:
        return [f"The rights in the {_NAMES[source]} can't be used: {fault}"]
    audit.record(
        session,
        actor="airflow",
        action="rights.noted",
        subject_id=version.id,
        data={"licence": terms["licence"], "source": source, "remarks": remarks},
        run=run,
    )
    return remarks


_NAMES = {"batch": "batch card", "embedded": "file", "brief": "brief", "sender": "sender's default"}


def _said(
    services: Services, session: Session, version: Version, batch: Batch, path: str
) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield what is said of the rights, the word that counts most first."""
    yield from _from_card(batch, path)
    yield from _from_file(services, version)
    yield from _from_brief(services, session, batch)
    yield from _from_sender(services, batch)


def _from_card(batch: Batch, path: str) -> Iterator[tuple[dict[str, Any], str]]:
    if not isinstance(batch.rights, dict) or not batch.rights.get("licence"):
        return
    excluded = batch.rights.get("except")
    excluded = {str(name) for name in excluded} if isinstance(excluded, list) else {excluded}
    if path not in excluded and basename(path) not in excluded:
        yield dict(batch.rights), "batch"


def _from_file(services: Services, version: Version) -> Iterator[tuple[dict[str, Any], str]]:
    schema = services.taxonomy.metadata
    said = " ".join(filter(None, (embedded.first(version.embedded, [key]) for key in schema.licence)))
    for known in services.taxonomy.rights.embedded:
        if said and known.pattern and re.search(known.pattern, said, re.IGNORECASE):
            yield _terms(known.model_dump()), "embedded"
            return


def _releases(version: Version) -> dict[str, Any]:
    """Return what the file says of model and property releases, in PLUS's words."""
    found = {}
    for name, key in (
        ("model_release", "Xmp.plus.ModelReleaseStatus"),
        ("property_release", "Xmp.plus.PropertyReleaseStatus"),
    ):
        said = str(version.embedded.get(key) or "").rsplit("/", 1)[-1]
        if said in _PLUS:
            found[name] = _PLUS[said]
    return found


def _from_brief(services: Services, session: Session, batch: Batch) -> Iterator[tuple[dict[str, Any], str]]:
    """A campaign's own people make what the brief asks for: it is the brand's, by their contracts of work."""
    rule = services.taxonomy.rights.commissioned
    campaign = session.get(Campaign, batch.campaign_id) if batch.campaign_id else None
    if rule is None or campaign is None or batch.supplier:
        return
    if any(batch.sent_by in people for role, people in campaign.owners.items() if role in rule.roles):
        yield _terms(rule.licence.model_dump()), "brief"


def _from_sender(services: Services, batch: Batch) -> Iterator[tuple[dict[str, Any], str]]:
    for sender in (batch.supplier, batch.sent_by):
        known = services.taxonomy.rights.senders.get(sender or "")
        if known is not None:
            yield _terms(known.model_dump()), "sender"
            return


def _terms(known: dict[str, Any]) -> dict[str, Any]:
    same = ("holder", "kind", "territories", "channels", "permissions", "duties", "max_count")
    return {"licence": known["reference"], **{name: known[name] for name in same}}


_GRANTS = (
    select(Licence.reference, Grant)
    .join(Licence, Licence.id == Grant.licence_id)
    .where(Grant.asset_id == bindparam("asset_id"))
    .execution_options(populate_existing=True)
)


def _grants(session: Session, asset_id: str) -> dict[str, Grant]:
    """Return an asset's grants by their licences' references, as they are now."""
    return dict(session.execute(_GRANTS, {"asset_id": asset_id}).all())


def _grant_or_narrow(
    session: Session, asset_id: str, known: dict[str, Grant], terms: dict[str, Any], source: str
) -> list[str]:
    """Grant, or narrow the grant there is under the same licence; return remarks on what became narrower."""
    grant = known.get(str(terms.get("licence")))
    if grant is None:
        _grant(session, asset_id, None, terms, source)
        return []
    before = of(grant)
    both = together(before, before | _read(terms))
    if no_day(both):  # nobody may use it then, and a person must say which days hold
        both |= {"territories": [], "starts_on": before["starts_on"], "ends_on": before["ends_on"]}
    changed = [name for name, value in both.items() if value != before[name]]
    for name in changed:
        setattr(grant, name, both[name])
    session.flush()
    told = ", ".join(name.replace("_", " ") for name in changed)
    return [f"The licence {terms['licence']} of this asset became narrower: {told}."] if changed else []


def grant_asset(session: Session, *, asset_id: str, terms: dict[str, Any], source: str) -> None:
    """Grant a licence to an asset, or change the grant it has under that licence.

    :param terms: ``licence`` (its reference), ``holder``, ``kind``, ``territories``, ``channels``,
        ``permissions`` (:data:`PERMISSIONS`), ``duties`` (:data:`DUTIES`), ``max_count``, ``starts_on``,
        ``ends_on`` (ISO dates), ``model_release``, ``property_release``.
    :raises BadInput: a field is missing or can't be read.
    """
    session.execute(select(Asset.id).where(Asset.id == asset_id).with_for_update()).one()
    _grant(session, asset_id, _grants(session, asset_id).get(str(terms.get("licence"))), terms, source)


def _grant(session: Session, asset_id: str, grant: Grant | None, terms: dict[str, Any], source: str) -> None:
    """Write a grant, once its terms were read; ``grant`` is the one there is under that licence."""
    for needed in ("licence", "holder"):
        if not terms.get(needed):
            raise BadInput("is missing", where=f"rights.{needed}", remedy=f"Fill in the {needed}.")
    read = _read(terms)
    first = read.get("starts_on", grant.starts_on if grant else _ALWAYS)
    last = read.get("ends_on", grant.ends_on if grant else None)
    if last and last < first:
        raise BadInput("is before starts_on", where="rights.ends_on", remedy="Put the last day after the first.")
    if grant is None:
        grant = Grant(asset_id=asset_id, licence_id=_licence(session, terms), starts_on=_ALWAYS)
        grant.territories, grant.channels, grant.permissions, grant.duties = ["*"], ["*"], ["*"], []
        session.add(grant)
    for name, value in read.items():
        setattr(grant, name, value)
    grant.source = source
    session.flush()


def _licence(session: Session, terms: dict[str, Any]) -> str:
    """Return the id of a licence by its reference; one that nobody knows yet is made."""
    asked = select(Licence.id).where(Licence.reference == terms["licence"])
    if known := session.scalar(asked):
        return known
    session.execute(
        insert(Licence)
        .values(
            id=new_id("lic"),
            reference=terms["licence"],
            holder=terms["holder"],
            kind=terms.get("kind") or "rights_managed",
            terms=terms.get("terms") or "",
            created_at=utcnow(),
        )
        .on_conflict_do_nothing(index_elements=["reference"])
    )
    return session.scalars(asked).one()


#: What terms may say; see :func:`grant_asset`. ``except`` names files of a batch that they do not cover.
FIELDS = (
    "licence", "holder", "kind", "territories", "channels", "permissions", "duties", "max_count", "starts_on",
    "ends_on", "model_release", "property_release", "except", "terms",
)  # fmt: skip


def faults(terms: dict[str, Any]) -> list[str]:
    """Return what is wrong with terms that somebody wrote, a sentence each; :func:`grant_asset` would refuse them."""
    found = [f"rights.{name} is missing." for name in ("licence", "holder") if not terms.get(name)]
    read: dict[str, Any] = {}
    for name, value in terms.items():
        try:
            read |= _read({name: value})
        except BadInput as fault:
            found.append(f"{fault.where}: {fault.what}. {fault.remedy}")
    if read.get("starts_on") and read.get("ends_on") and read["ends_on"] < read["starts_on"]:
        found.append("rights.ends_on: is before starts_on. Put the last day after the first.")
    return found


def _read(terms: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of a grant that terms name, read. :raises BadInput: one of them can't be read."""
    readers: dict[str, Any] = {
        "territories": _words,
        "channels": _words,
        "permissions": partial(_words, known=(*PERMISSIONS, "*")),
        "duties": partial(_words, known=DUTIES, empty=True),
        "max_count": lambda _, value: _count(value),
        "starts_on": lambda name, value: _day(name, value) or _ALWAYS,
        "ends_on": _day,
        "model_release": _release,
        "property_release": _release,
    }
    return {name: read(name, terms[name]) for name, read in readers.items() if name in terms}


def _release(name: str, value: Any) -> str:
    if value not in RELEASES:
        raise BadInput(f"{value!r} is unknown", where=f"rights.{name}", remedy=f"Use: {', '.join(RELEASES)}.")
    return str(value)


def _words(name: str, value: Any, *, known: tuple[str, ...] = (), empty: bool = False) -> list[str]:
    words = [value] if isinstance(value, str) else value
    if empty and not words:
        return []
    if not isinstance(words, list) or not words or not all(isinstance(word, str) and word for word in words):
        raise BadInput(f"{value!r} is no list", where=f"rights.{name}", remedy='Write it like ["DE", "FR"].')
    if unknown := [word for word in words if known and word not in known]:
        raise BadInput(f"{unknown[0]!r} is unknown", where=f"rights.{name}", remedy=f"Use: {', '.join(known)}.")
    return words


def _count(value: Any) -> int | None:
    if value in (None, ""):
        return None
    if isinstance(value, bool) or not str(value).isdigit() or int(value) < 1:
        raise BadInput(f"{value!r} is no count", where="rights.max_count", remedy="Write a whole number from 1.")
    return int(value)


def _day(name: str, value: Any) -> date | None:
    if value in (None, ""):
        return None
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        raise BadInput(f"{value!r} is no date", where=f"rights.{name}", remedy="Write it as 2027-03-01.") from None
