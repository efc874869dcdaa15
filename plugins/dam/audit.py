"""The audit trail: an append-only chain of hashes, anchored outside the database.

Each event holds the SHA-256 of the one before it, over canonical JSON (sorted keys, no spaces, UTF-8). The
events of a transaction are chained just before it commits, under one lock, so that writers wait for each
other only for that moment and there is one chain without gaps. A cut-off tail can't be seen in the chain
itself: the signed anchors in the reports store show it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import event, select, text
from sqlalchemy.orm import Session

from dam.catalog.models import AuditEvent, utcnow
from dam.errors import DamError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from dam.services import Services

GENESIS = "0" * 64
_LOCK = 7_316_420_001  # pg_advisory_xact_lock: the chain's head
_PENDING = "dam_audit_pending"
ANCHORS = "audit/anchors/"


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What verification found: ``first_bad_seq`` and ``problem`` are None while the chain holds."""

    ok: bool
    events: int
    first_bad_seq: int | None = None
    problem: str | None = None


def record(
    session: Session,
    *,
    actor: str,
    action: str,
    subject_id: str,
    data: dict[str, Any] | None = None,
    run: str | None = None,
) -> AuditEvent:
    """Add an event to the transaction of ``session``; it is chained when that commits.

    :param actor: username, or ``airflow``. :param action: ``noun.verb``, e.g. ``brief.signed``.
    :param subject_id: id of what it is about. :param data: JSON-able details. :param run: ``dag_id/run_id``.
    """
    made = AuditEvent(at=utcnow(), actor=actor, action=action, subject_id=subject_id, data=plain(data or {}), run=run)
    session.info.setdefault(_PENDING, []).append(made)
    return made


@event.listens_for(Session, "before_commit")
def _chain(session: Session) -> None:
    """Chain the transaction's events at the head, as late as possible, under the head's lock."""
    pending: list[AuditEvent] = session.info.pop(_PENDING, [])
    if not pending:
        return
    session.flush()
    session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    head = session.execute(
        select(AuditEvent.seq, AuditEvent.sha256).order_by(AuditEvent.seq.desc()).limit(1)
    ).one_or_none()
    seq, previous = (head.seq, head.sha256) if head else (0, GENESIS)
    for made in pending:
        seq += 1
        made.seq, made.previous_sha256 = seq, previous
        made.sha256 = previous = digest(made)
        session.add(made)
    session.flush()


@event.listens_for(Session, "after_soft_rollback")
def _forget(session: Session, _previous: Any) -> None:
    """Drop the events of a transaction that did not happen."""
    if not session.in_nested_transaction():
        session.info.pop(_PENDING, None)


def plain(value: Any) -> Any:
    """Return ``value`` as JSON gives it back, so that the hash is the same before and after the database."""
    return json.loads(json.dumps(value, default=str))


def digest(row: AuditEvent) -> str:
    """Return the SHA-256 (hex) an event must have."""
    body = {
        "seq": row.seq,
        "at": row.at.astimezone(UTC).isoformat(timespec="microseconds"),
        "actor": row.actor,
        "action": row.action,
        "subject_id": row.subject_id,
        "data": row.data,
        "run": row.run,
        "previous_sha256": row.previous_sha256,
    }
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def history(session: Session, subject_id: str, limit: int = 200) -> list[AuditEvent]:
    """Return what happened to one subject, newest first."""
    return list(
        session.scalars(
            select(AuditEvent).where(AuditEvent.subject_id == subject_id).order_by(AuditEvent.seq.desc()).limit(limit)
        )
    )


def verify(services: Services) -> AuditReport:
    """Walk the whole chain, then compare it with every signed anchor.

    Names the first bad row for an edit, an insertion, a deletion and a cut-off tail.
    """
    anchors, fault = _read_anchors(services)
    if fault:
        return AuditReport(False, 0, None, fault)
    count, previous, expected = 0, GENESIS, 1
    with services.session() as session:
        rows = session.scalars(select(AuditEvent).order_by(AuditEvent.seq).execution_options(yield_per=1000))
        for row in rows:
            problem = None
            if row.seq != expected:
                problem = f"event {expected} is missing: it was deleted"
            elif row.previous_sha256 != previous:
                problem = "it does not continue the event before it: one of them was inserted or edited"
            elif row.sha256 != digest(row):
                problem = "its content is not what was hashed: it was edited"
            elif anchors.get(row.seq, row.sha256) != row.sha256:
                problem = "it is not the event that was anchored: the chain was rewritten"
            if problem:
                return AuditReport(False, count, min(row.seq, expected), problem)
            count, previous, expected = count + 1, row.sha256, expected + 1
            session.expunge(row)
    last = max(anchors, default=0)
    if last > count:
        problem = f"the chain ends at {count} but {last} was anchored: its tail was cut off"
        return AuditReport(False, count, count + 1, problem)
    return AuditReport(True, count)


def anchor(services: Services, *, run: str | None = None) -> dict[str, Any]:
    """File the chain's head, signed (Ed25519), in the reports store, and return it.

    The key is ``settings.signing_key``; it is made (mode 0600) when it is not there yet. Keep it, and a
    copy of the anchors, where the database's administrators can't write.

    :returns: ``{"seq", "sha256", "at", "run", "signature", "public_key"}``.
    """
    with services.session() as session:
        head = session.execute(
            select(AuditEvent.seq, AuditEvent.sha256).order_by(AuditEvent.seq.desc()).limit(1)
        ).one_or_none()
    body: dict[str, Any] = {
        "seq": head.seq if head else 0,
        "sha256": head.sha256 if head else GENESIS,
        "at": utcnow().isoformat(timespec="seconds"),
        "run": run,
    }
    signed = sign(services, body)
    name = f"{ANCHORS}{datetime.now(UTC):%Y-%m-%d}-{body['seq']:012d}.json"
    services.storage.reports.put(name, json.dumps(signed, indent=2).encode(), media_type="application/json")
    return signed


def sign(services: Services, body: dict[str, Any]) -> dict[str, Any]:
    """Return a document with its Ed25519 signature over canonical JSON, and the public key, both base64.

    The key is ``settings.signing_key``; it is made (mode 0600) when it is not there yet.
    """
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = _signing_key(services.settings.signing_key)
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return body | {
        "signature": base64.b64encode(key.sign(_canonical(body))).decode(),
        "public_key": base64.b64encode(public).decode(),
    }


def _canonical(body: dict[str, Any]) -> bytes:
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _signing_key(path: Path) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        load_pem_private_key,
    )

    if not path.exists():
        made = Ed25519PrivateKey.generate()
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.touch(mode=0o600, exist_ok=False)
            path.write_bytes(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        except FileExistsError:  # another process made it at the same moment
            pass
    key = load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        remedy = "Remove it, or point DAM_SIGNING_KEY at one."
        raise DamError("is no Ed25519 key", where=str(path), remedy=remedy)
    return key


def _read_anchors(services: Services) -> tuple[dict[int, str], str | None]:
    """Return seq → SHA-256 of every anchor, and what is wrong with the first bad one, if any."""
    from cryptography.exceptions import InvalidSignature

    found: dict[int, str] = {}
    key = None
    for entry in services.storage.reports.list(ANCHORS):
        key = key or _signing_key(services.settings.signing_key).public_key()
        try:
            signed = json.loads(services.storage.reports.read(entry.key))
            body = {name: signed[name] for name in ("seq", "sha256", "at", "run")}
            key.verify(base64.b64decode(signed["signature"]), _canonical(body))
        except (InvalidSignature, KeyError, ValueError):
            return {}, f"the anchor {entry.key} was not signed with our key or was edited"
        if body["seq"]:
            found[int(body["seq"])] = str(body["sha256"])
    return found, None
