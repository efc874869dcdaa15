"""The signed record of a review: who decided what, when, from where, on which content, and the proof of it.

One document, the same bytes whenever the same review is exported: what the catalogue keeps of the package, its
seats, signatures and notes (private ones are left out), its manifest, the rounds before it, and its audit
events with the path from each to a signed anchor. The whole is signed with the key that signs the anchors, and
carries a seal of every single value, so that :mod:`dam.review.record_check` can name what was edited.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import or_, select

from dam import audit
from dam.catalog.models import Annotation, AuditEvent, Decision, Guest, Package, Purpose, Rendition, Seat
from dam.errors import NotFound
from dam.plan.briefs import canonical
from dam.review import completion

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.catalog.models import Base
    from dam.services import Services

FORMAT = "dam-review-record/1"
#: Columns that say nothing of the review: where Airflow waits, who is still to be mailed.
INNER = frozenset({"hitl", "to_mail"})
#: Recipe of the pictures a printed record shows.
PICTURE = "thumbnail"


def build(services: Services, *, package_id: str) -> dict[str, Any]:
    """Return a package's record: ``{"record", "sha256", "signature", "public_key"}``.

    Events that no anchor covers yet are anchored first. :func:`as_bytes` gives the file.

    :raises NotFound: there is no such package.
    :raises DamError: the audit anchors are not whole, or this machine can't sign.
    """
    with services.session() as session:
        package = session.get(Package, package_id)
        if package is None:
            raise NotFound("there is no such package", where=package_id)
        notes, private = _notes(session, package_id)
        events = [row for row in _events(session, package) if not _tells(row, private)]
        record: dict[str, Any] = {
            "format": FORMAT,
            "package": _row(package, "manifest") | {"campaign": package.campaign.name if package.campaign else None},
            "manifest": package.manifest,
            "pictures": _pictures(session, package),
            "verdicts": {entry.version_id: entry.verdict for entry in package.entries},
            "seats": [_row(seat) | {"delegations": [_row(row) for row in seat.delegations]} for seat in package.seats],
            "decisions": _decisions(session, package_id),
            "notes": notes,
            "guests": _guests(session, package_id),
            "rounds_before": [_round(session, row) for row in _rounds_before(session, package)],
            "names": {},
        }
        record["names"] = _names(services, record)
        record["proof"] = {"events": [_event(row) for row in events]}
    proof = audit.prove(services, [row["seq"] for row in record["proof"]["events"]])
    for row in record["proof"]["events"]:
        row["anchor"], row["path"] = proof.places[row["seq"]]
    record["proof"]["anchors"] = proof.anchors
    record["seals"] = {path: seal(path, value) for path, value in leaves(record)}
    sha256 = hashlib.sha256(canonical(record)).hexdigest()
    signed = audit.sign(services, {"format": FORMAT, "sha256": sha256})
    return {"record": record} | {name: signed[name] for name in ("sha256", "signature", "public_key")}


def as_bytes(document: dict[str, Any]) -> bytes:
    """Return the file of a record: canonical JSON (sorted keys, no spaces, UTF-8)."""
    return canonical(document)


def filename(document: dict[str, Any], suffix: str) -> str:
    """Return a name for a record's file, ``record-spring-2027-round-1-ab12cd34ef56.pdf``."""
    package = document["record"]["package"]
    campaign = re.sub(r"[^a-z0-9]+", "-", str(package["campaign"] or "package").lower()).strip("-")
    return f"record-{campaign or 'package'}-round-{package['round']}-{document['sha256'][:12]}.{suffix}"


# ------------------------------------------------------------------------------------------------- seals


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value of a record that holds no others, with its path, ``/decisions/0/verdict``.

    Empty lists and dicts count as values. A name's own slashes are written as JSON pointers do (RFC 6901).
    """
    if isinstance(value, dict) and value:
        for name, part in value.items():
            yield from leaves(part, f"{path}/{str(name).replace('~', '~0').replace('/', '~1')}")
    elif isinstance(value, list) and value:
        for index, part in enumerate(value):
            yield from leaves(part, f"{path}/{index}")
    else:
        yield path, value


def seal(path: str, value: Any) -> str:
    """Return 12 hex digits that name an edit; what holds against forgery is the signature over the whole."""
    return hashlib.sha256(canonical([path, value])).hexdigest()[:12]


# --------------------------------------------------------------------------------------------- what is kept


def plain(value: Any) -> Any:
    """Return a column's value as JSON has it; times in UTC, so that the same moment has the same hash."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    return value.isoformat() if isinstance(value, date) else audit.plain(value)


def _row(row: Base, *left_out: str) -> dict[str, Any]:
    """Return all that the catalogue keeps of a row: what a later migration adds is never left out by mistake."""
    names = [column.key for column in row.__table__.columns]
    return {name: plain(getattr(row, name)) for name in names if name not in INNER and name not in left_out}


def _pictures(session: Session, package: Package) -> dict[str, str | None]:
    """Return the SHA-256 of each version's picture: the first that was made, so that it stays the same."""
    found: dict[str, str | None] = {entry.version_id: None for entry in package.entries}
    for version_id, sha256 in session.execute(
        select(Rendition.version_id, Rendition.sha256)
        .where(Rendition.version_id.in_(found), Rendition.recipe == PICTURE)
        .order_by(Rendition.created_at.desc(), Rendition.id.desc())
    ):
        found[version_id] = sha256
    return found


def _decisions(session: Session, package_id: str) -> list[dict[str, Any]]:
    """Return the signatures of a package, also those that were taken back, and whether conditions were met."""
    rows = session.scalars(
        select(Decision)
        .where(Decision.package_id == package_id)
        .join(Seat, Seat.id == Decision.seat_id)
        .order_by(Seat.ordinal, Decision.id)
    )
    return [
        _row(row)
        | {
            "withdrawal": _row(row.withdrawal) if row.withdrawal else None,
            "fulfilment": _row(row.fulfilment) if row.fulfilment else None,
        }
        for row in rows
    ]


def _guests(session: Session, package_id: str) -> list[dict[str, Any]]:
    rows = session.scalars(select(Guest).where(Guest.package_id == package_id).order_by(Guest.id))
    return [_row(row, "token_sha256") for row in rows]


def _notes(session: Session, package_id: str) -> tuple[list[dict[str, Any]], set[str]]:
    """Return a package's notes, oldest first, and the ids of the private ones, which are not among them."""
    rows = session.scalars(
        select(Annotation).where(Annotation.package_id == package_id).order_by(Annotation.created_at, Annotation.id)
    ).all()
    private = {row.id for row in rows if row.audience is not None}
    return [_row(row) for row in rows if row.audience is None and row.withdrawn_at is None], private


def _rounds_before(session: Session, package: Package) -> list[Package]:
    """Return the earlier rounds of a package's batch, and whatever it follows, the first round first."""
    found = set(
        session.scalars(
            select(Package).where(
                or_(
                    (Package.batch_id == package.batch_id)
                    & (Package.purpose == package.purpose)
                    & (Package.round < package.round),
                    Package.id == package.follows_id,
                )
            )
        )
    )
    return sorted(found, key=lambda row: (row.round, row.id))


def _round(session: Session, package: Package) -> dict[str, Any]:
    return _row(package, "manifest") | {
        "versions": {entry.version_id: entry.verdict for entry in package.entries},
        "decisions": _decisions(session, package.id),
    }


def _names(services: Services, record: dict[str, Any]) -> dict[str, str]:
    """Return the full names of those who act in a record, where they are known."""
    asked = {row["person"] for row in record["decisions"]} | {row["author"] for row in record["notes"]}
    asked |= {row["person"] for earlier in record["rounds_before"] for row in earlier["decisions"]}
    asked |= {row["on_behalf_of"] for row in record["decisions"] if row.get("on_behalf_of")}
    known = {username: person.name for username, person in services.workflow.people.items()}
    known |= {f"guest:{row['email']}": row["name"] for row in record["guests"]}
    return {person: known[person] for person in sorted(asked & set(known))}


# ------------------------------------------------------------------------------------------------- proof


def _events(session: Session, package: Package) -> list[AuditEvent]:
    """Return a package's events, and what was filled in while it was open where it is about that."""
    found = list(session.scalars(select(AuditEvent).where(AuditEvent.subject_id == package.id)))
    if package.purpose == Purpose.METADATA:
        found += session.scalars(completion.filled_in(package))
    return sorted(found, key=lambda row: row.seq)


def _tells(event: AuditEvent, private: set[str]) -> bool:
    """Return whether an event is of a private note."""
    return bool(event.data.get("audience")) or event.data.get("annotation_id") in private


def _event(row: AuditEvent) -> dict[str, Any]:
    """Return an event with all that its hash is over."""
    return audit.hashed(row) | {"sha256": row.sha256}
