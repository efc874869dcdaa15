"""Rights of what was ingested: from the batch card, from the file itself, or from the sender's default."""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from dam import audit
from dam.catalog.models import Asset, Batch, Grant, Licence, Version, new_id, utcnow
from dam.errors import BadInput
from dam.ingest import embedded

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.services import Services

RELEASES = ("not_needed", "signed", "missing")


def note(
    services: Services, session: Session, version: Version, batch: Batch, path: str, *, run: str | None = None
) -> bool:
    """Note the rights of a version whose asset has none yet, in ``session``; return whether a grant was made.

    The batch card goes before the file, the file before the sender's default. Where none of them says
    anything, nothing is noted, and the contract shows that the licence is missing.

    :param path: of the file in its batch.
    """
    if session.scalar(select(Grant.id).where(Grant.asset_id == version.asset_id).limit(1)):
        return False
    found = _from_card(batch, path) or _from_file(services, version) or _from_sender(services, batch)
    if found is None:
        return False
    terms, source = found
    grant_asset(session, asset_id=str(version.asset_id), terms=terms, source=source)
    audit.record(
        session,
        actor="airflow",
        action="rights.noted",
        subject_id=version.id,
        data={"licence": terms["licence"], "source": source},
        run=run,
    )
    return True


def _from_card(batch: Batch, path: str) -> tuple[dict[str, Any], str] | None:
    if not batch.rights.get("licence"):
        return None
    excluded = set(batch.rights.get("except") or [])
    if path in excluded or path.rsplit("/", 1)[-1] in excluded:
        return None
    return dict(batch.rights), "batch"


def _from_file(services: Services, version: Version) -> tuple[dict[str, Any], str] | None:
    schema = services.taxonomy.metadata
    said = " ".join(filter(None, (embedded.first(version.embedded, [key]) for key in schema.licence)))
    for known in services.taxonomy.rights.embedded:
        if said and known.pattern and re.search(known.pattern, said, re.IGNORECASE):
            return _terms(known.model_dump()), "embedded"
    return None


def _from_sender(services: Services, batch: Batch) -> tuple[dict[str, Any], str] | None:
    for sender in (batch.supplier, batch.sent_by):
        known = services.taxonomy.rights.senders.get(sender or "")
        if known is not None:
            return _terms(known.model_dump()), "sender"
    return None


def _terms(known: dict[str, Any]) -> dict[str, Any]:
    return {"licence": known["reference"], **{k: known[k] for k in ("holder", "kind", "territories", "channels")}}


def grant_asset(session: Session, *, asset_id: str, terms: dict[str, Any], source: str) -> None:
    """Grant a licence to an asset, or change the grant it has under that licence.

    :param terms: ``licence`` (its reference), ``holder``, ``kind``, ``territories``, ``channels``,
        ``starts_on``, ``ends_on`` (ISO dates), ``model_release``, ``property_release``.
    :raises BadInput: a field is missing or can't be read.
    """
    for needed in ("licence", "holder"):
        if not terms.get(needed):
            raise BadInput("is missing", where=f"rights.{needed}", remedy=f"Fill in the {needed}.")
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
    licence_id = session.scalars(select(Licence.id).where(Licence.reference == terms["licence"])).one()
    session.execute(select(Asset.id).where(Asset.id == asset_id).with_for_update()).one()
    grant = session.scalar(select(Grant).where(Grant.asset_id == asset_id, Grant.licence_id == licence_id))
    if grant is None:
        grant = Grant(asset_id=asset_id, licence_id=licence_id, starts_on=date(1970, 1, 1))
        grant.territories, grant.channels = ["*"], ["*"]
        session.add(grant)
    for name in ("territories", "channels"):
        if name in terms:
            setattr(grant, name, _words(name, terms[name]))
    for name in ("starts_on", "ends_on"):
        if name in terms:
            setattr(grant, name, _day(name, terms[name]) or (None if name == "ends_on" else date(1970, 1, 1)))
    for name in ("model_release", "property_release"):
        if name in terms:
            if terms[name] not in RELEASES:
                raise BadInput(
                    f"{terms[name]!r} is unknown", where=f"rights.{name}", remedy=f"Use: {', '.join(RELEASES)}."
                )
            setattr(grant, name, terms[name])
    if grant.ends_on and grant.ends_on < grant.starts_on:
        raise BadInput("is before starts_on", where="rights.ends_on", remedy="Put the last day after the first.")
    grant.source = source
    session.flush()


def _words(name: str, value: Any) -> list[str]:
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list) or not words or not all(isinstance(word, str) and word for word in words):
        raise BadInput(f"{value!r} is no list", where=f"rights.{name}", remedy='Write it like ["DE", "FR"].')
    return words


def _day(name: str, value: Any) -> date | None:
    if value in (None, ""):
        return None
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        raise BadInput(f"{value!r} is no date", where=f"rights.{name}", remedy="Write it as 2027-03-01.") from None
