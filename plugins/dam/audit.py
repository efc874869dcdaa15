"""The audit trail: an append-only chain of hashes, anchored outside the database.

Each event holds the SHA-256 of the one before it, over canonical JSON (sorted keys, no spaces, UTF-8). The
events of a transaction are chained just before it commits, under one lock, so that writers wait for each
other only for that moment and there is one chain without gaps. A cut-off tail can't be seen in the chain
itself: the signed anchors in the reports store show it. Each anchor names the one before it, and the newest
is kept beside the signing key as well, so that a deleted anchor shows too.

An anchor also signs the root of a Merkle tree over the events since the one before it. By that, a single event
can be proved to somebody who must not read the others: :func:`prove`.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import event, insert, select, text
from sqlalchemy.orm import Session, SessionTransaction

from dam import merkle
from dam.catalog.models import AuditEvent, utcnow
from dam.errors import DamError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

    from dam.services import Services

GENESIS = "0" * 64
_TURN = text("SELECT pg_advisory_xact_lock(7316420001)")  # the chain's head
_ANCHOR_LOCK = 7_316_420_004  # pg_advisory_xact_lock: the newest anchor
_TABLE = AuditEvent.metadata.tables["audit_events"]
_NEW = insert(_TABLE)
_PENDING = "dam_audit_pending"
_MARKS = "dam_audit_marks"
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
    if session.in_nested_transaction():  # only a savepoint is released: the transaction goes on
        return
    pending: list[AuditEvent] = session.info.pop(_PENDING, [])
    if not pending:
        return
    session.flush()
    session.execute(_TURN)
    seq, previous = _head(session)
    for made in pending:
        seq += 1
        made.seq, made.previous_sha256 = seq, previous
        made.sha256 = previous = digest(hashed(made))
    session.execute(_NEW, [{column.key: getattr(made, column.key) for column in _TABLE.columns} for made in pending])


_NEWEST = select(AuditEvent.seq, AuditEvent.sha256).order_by(AuditEvent.seq.desc()).limit(1)


def _head(session: Session) -> tuple[int, str]:
    """Return number and hash of the newest event."""
    head = session.execute(_NEWEST).one_or_none()
    return (head.seq, head.sha256) if head else (0, GENESIS)


@event.listens_for(Session, "after_transaction_create")
def _mark(session: Session, begun: SessionTransaction) -> None:
    """Note how many events there were when a savepoint was set."""
    if begun.nested:
        session.info.setdefault(_MARKS, {})[begun] = len(session.info.get(_PENDING, []))


@event.listens_for(Session, "after_soft_rollback")
def _forget(session: Session, undone: SessionTransaction) -> None:
    """Drop the events since the savepoint that was rolled back, or all: they did not happen."""
    while not undone.nested and undone.parent is not None:  # a flush failed: what is around it was rolled back
        undone = undone.parent
    del session.info.get(_PENDING, [])[session.info.get(_MARKS, {}).get(undone, 0) :]


@event.listens_for(Session, "after_transaction_end")
def _end(session: Session, ended: SessionTransaction) -> None:
    """Leave nothing to the session's next transaction, however this one ended."""
    if ended.parent is None:
        session.info.pop(_PENDING, None)
        session.info.pop(_MARKS, None)


def plain(value: Any) -> Any:
    """Return ``value`` as JSON gives it back, so that the hash is the same before and after the database."""
    return json.loads(json.dumps(value, default=str))


def hashed(row: AuditEvent) -> dict[str, Any]:
    """Return what an event's hash is over, as JSON has it."""
    return {
        "seq": row.seq,
        "at": row.at.astimezone(UTC).isoformat(timespec="microseconds"),
        "actor": row.actor,
        "action": row.action,
        "subject_id": row.subject_id,
        "data": row.data,
        "run": row.run,
        "previous_sha256": row.previous_sha256,
    }


def digest(told: dict[str, Any]) -> str:
    """Return the SHA-256 (hex) that an event must have. :param told: see :func:`hashed`."""
    return hashlib.sha256(_canonical(told)).hexdigest()


def history(session: Session, subject_id: str, limit: int = 200) -> list[AuditEvent]:
    """Return what happened to one subject, newest first."""
    return list(
        session.scalars(
            select(AuditEvent).where(AuditEvent.subject_id == subject_id).order_by(AuditEvent.seq.desc()).limit(limit)
        )
    )


def verify(services: Services) -> AuditReport:
    """Walk the whole chain and compare it with every signed anchor; the public key is enough for that.

    Names the first bad row for an edit, an insertion, a deletion and a cut-off tail; then an anchor that was
    edited or is missing.

    :raises DamError: there are anchors, but no key to verify them with.
    """
    anchors = _read_anchors(services)
    count, previous, expected = 0, GENESIS, 1
    with services.session() as session:
        rows = session.scalars(select(AuditEvent).order_by(AuditEvent.seq).execution_options(yield_per=1000))
        for row in rows:
            problem = None
            if row.seq != expected:
                problem = f"event {expected} is missing: it was deleted"
            elif row.previous_sha256 != previous:
                problem = "it does not continue the event before it: one of them was inserted or edited"
            elif row.sha256 != digest(hashed(row)):
                problem = "its content is not what was hashed: it was edited"
            elif anchors.heads.get(row.seq, row.sha256) != row.sha256:
                problem = "it is not the event that was anchored: the chain was rewritten"
            if problem:
                return AuditReport(False, count, min(row.seq, expected), problem)
            count, previous, expected = count + 1, row.sha256, expected + 1
            session.expunge(row)
    last = max(anchors.heads, default=0)
    if last > count:
        problem = f"the chain ends at {count} but {last} was anchored: its tail was cut off"
        return AuditReport(False, count, count + 1, problem)
    if anchors.fault:
        return AuditReport(False, count, None, anchors.fault)
    return AuditReport(True, count)


# ----------------------------------------------------------------------------------------------- anchors


def anchor(services: Services, *, run: str | None = None) -> dict[str, Any]:
    """File the chain's head, signed (Ed25519), in the reports store, and return it.

    When nothing happened since the newest anchor, that one is returned. Keep the folder of the signing key,
    where the newest anchor is kept too, and a copy of the anchors where the database's administrators can't
    write.

    :returns: ``{"seq", "sha256", "at", "run", "previous_anchor", "first", "root", "signature", "public_key"}``;
        ``root`` is that of a Merkle tree over the hashes of the events ``first`` to ``seq``.
    :raises DamError: an earlier anchor is missing or was edited; verify says the same.
    """
    with services.session() as session:
        session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _ANCHOR_LOCK})
        known = _read_anchors(services)
        if known.fault:
            raise DamError(known.fault, where="audit anchors", remedy=_RESTORE)
        seq, sha256 = _head(session)
        signed = known.newest
        if signed is None or (signed["seq"], signed["sha256"]) != (seq, sha256) or "root" not in signed:
            now = utcnow()
            first = signed["seq"] + 1 if signed and "root" in signed else 1
            body = {
                "seq": seq,
                "sha256": sha256,
                "at": now.isoformat(timespec="seconds"),
                "run": run,
                "previous_anchor": _name(signed) if signed else None,
                "first": first,
                "root": merkle.root(_hashes(session, first, seq)),
            }
            signed = sign(services, body)
            services.storage.reports.put(
                f"{ANCHORS}{now:%Y-%m-%d}-{seq:012d}-{_name(signed)[:8]}.json",
                json.dumps(signed, indent=2).encode(),
                media_type="application/json",
            )
        _write(_newest_file(services), json.dumps(signed, indent=2).encode())
    return signed


def _hashes(session: Session, first: int, last: int) -> Iterator[str]:
    """Yield the hashes of events by number, the last included."""
    wanted = select(AuditEvent.sha256).where(AuditEvent.seq.between(first, last)).order_by(AuditEvent.seq)
    return iter(session.scalars(wanted.execution_options(yield_per=10_000)))


@dataclass(frozen=True, slots=True)
class Proof:
    """That some events were anchored: the signed anchors, and for each event where it is below one of them.

    :param anchors: as they were signed, oldest first.
    :param places: event number → index of its anchor, and the Merkle path that leads to its root.
    """

    anchors: list[dict[str, Any]]
    places: dict[int, tuple[int, list[str]]]


def prove(services: Services, seqs: list[int]) -> Proof:
    """Prove events by their numbers; those that no anchor covers yet are anchored first.

    The same events are always proved by the same anchors.

    :raises DamError: an anchor is missing or was edited, or is needed and can't be signed here.
    """
    read = cache(partial(_filed_anchor, services))
    filed = _filed(services)
    if seqs and _covering(filed, read, max(seqs)) is None:
        anchor(services)
        filed = _filed(services)
    by_anchor: dict[str, list[int]] = {}
    for seq in sorted(seqs):
        key = _covering(filed, read, seq)
        if key is None:
            raise DamError("no anchor covers it: one is missing", where=f"audit event {seq}", remedy=_RESTORE)
        by_anchor.setdefault(key, []).append(seq)
    anchors = [read(key) for key in by_anchor]
    places: dict[int, tuple[int, list[str]]] = {}
    with services.session() as session:
        for index, (signed, below) in enumerate(zip(anchors, by_anchor.values(), strict=True)):
            first, last = signed["first"], signed["seq"]
            leaves = list(_hashes(session, first, last))
            for leaf, path in merkle.paths(leaves, [seq - first for seq in below]).items():
                places[leaf + first] = (index, path)
    return Proof(anchors, places)


def _filed(services: Services) -> list[tuple[int, str]]:
    """Return event number and key of every filed anchor, by what their names tell, in order."""
    return sorted((int(entry.key.rsplit("-", 2)[-2]), entry.key) for entry in services.storage.reports.list(ANCHORS))


def _filed_anchor(services: Services, key: str) -> dict[str, Any]:
    """Return a filed anchor. :raises DamError: our key did not sign it."""
    signed = _verified(_public_key(services.settings.signing_key), services.storage.reports.read(key))
    if signed is None:
        raise DamError("was not signed with our key or was edited", where=f"anchor {key}", remedy=_RESTORE)
    return signed


def _covering(filed: list[tuple[int, str]], read: Callable[[str], dict[str, Any]], seq: int) -> str | None:
    """Return the key of the anchor whose tree an event is in."""
    for last, key in filed:
        if last >= seq:
            signed = read(key)
            if "root" in signed and signed["first"] <= seq:
                return key
    return None


_RESTORE = "Restore it from a backup, then anchor again."


def check_signature(signed: Any, public_key: str) -> bool:
    """Return whether an anchor, or another document of :func:`sign`, was signed by a public key (base64)."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key, validate=True))
    except (ValueError, TypeError):
        return False
    return isinstance(signed, dict) and _signature_holds(key, signed)


def known_key(path: Path) -> str | None:
    """Return the public key (base64) kept at a path: a public key's file, or a signing key with it beside.

    :returns: None where there is none. :raises DamError: what is there is no key.
    """
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    if not path.exists() and not _public_file(path).exists():
        return None
    return base64.b64encode(_public_key(path).public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()


@dataclass
class _Anchors:
    """What the anchors say: event number → hash, the newest document, and what is wrong with the first bad one."""

    heads: dict[int, str] = field(default_factory=dict)
    newest: dict[str, Any] | None = None
    fault: str | None = None


def _read_anchors(services: Services) -> _Anchors:
    """Read every anchor, and the copy of the newest that is kept beside the key."""
    read = _Anchors()
    reports, copy = services.storage.reports, _newest_file(services)
    # the copy first: it is made last, so what it names is there when the store is listed
    files = [(str(copy), copy.read_bytes())] if copy.exists() else []
    files += [(entry.key, reports.read(entry.key)) for entry in reports.list(ANCHORS)]
    if not files:
        return read
    key = _public_key(services.settings.signing_key)
    filed: dict[str, dict[str, Any]] = {}
    named: dict[str, str] = {}  # hash of an anchor that must be there -> what names it
    for place, content in files:
        signed = _verified(key, content)
        if signed is None:
            read.fault = read.fault or f"the anchor {place} was not signed with our key or was edited"
            continue
        if signed["seq"]:
            seq, sha256 = int(signed["seq"]), str(signed["sha256"])
            # where two anchors disagree, whatever is in the chain was rewritten
            read.heads[seq] = sha256 if read.heads.get(seq, sha256) == sha256 else ""
        if place == str(copy):
            named[_name(signed)] = place
            continue
        filed[_name(signed)] = signed
        if signed.get("previous_anchor"):  # none: the first of all; not there: made before anchors named each other
            named[signed["previous_anchor"]] = place
    for name, place in named.items():
        if name not in filed:
            read.fault = read.fault or f"an anchor is missing: {place} names it, so it was deleted"
    followed = {signed.get("previous_anchor") for signed in filed.values()}
    tails = [signed for name, signed in filed.items() if name not in followed]
    read.newest = max(tails, key=lambda signed: ("previous_anchor" in signed, signed["at"]), default=None)
    return read


def _name(signed: dict[str, Any]) -> str:
    """Return the SHA-256 by which the next anchor names this one."""
    return hashlib.sha256(_canonical(signed)).hexdigest()


def _verified(key: Ed25519PublicKey, content: bytes) -> dict[str, Any] | None:
    """Return an anchor when our key signed it."""
    try:
        signed: dict[str, Any] = json.loads(content)
    except ValueError:
        return None
    if not isinstance(signed, dict) or not _signature_holds(key, signed):
        return None
    return signed if {"seq", "sha256", "at"} <= set(signed) else None


def _signature_holds(key: Ed25519PublicKey, signed: dict[str, Any]) -> bool:
    from cryptography.exceptions import InvalidSignature

    body = {name: value for name, value in signed.items() if name not in ("signature", "public_key")}
    try:
        key.verify(base64.b64decode(signed["signature"], validate=True), _canonical(body))
    except (InvalidSignature, KeyError, TypeError, ValueError):
        return False
    return True


# -------------------------------------------------------------------------------------------------- keys


def sign(services: Services, body: dict[str, Any]) -> dict[str, Any]:
    """Return a document with its Ed25519 signature over canonical JSON, and the public key, both base64.

    The key is ``settings.signing_key``; it is made (mode 0600) when it is not there yet, and its public half
    is kept beside it as ``.pub``.

    :raises DamError: the public half is there, but not the private key.
    """
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    path = services.settings.signing_key
    # a second key would make all that was signed look forged; the public half is written after the private one, so it
    # is asked for first: whoever makes both at this moment is not in the way
    if _public_file(path).exists() and not path.exists():
        raise DamError(
            "the private key is not on this machine, so nothing can be signed here",
            where=str(path),
            remedy="Do it on the machine that holds the key, or point DAM_SIGNING_KEY at it.",
        )
    key = _signing_key(path)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    if not _public_file(path).exists() or _public_file(path).read_bytes() != public:
        _write(_public_file(path), public)
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return body | {
        "signature": base64.b64encode(key.sign(_canonical(body))).decode(),
        "public_key": base64.b64encode(raw).decode(),
    }


def _canonical(body: dict[str, Any]) -> bytes:
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _public_file(path: Path) -> Path:
    return path.with_suffix(".pub")


def _newest_file(services: Services) -> Path:
    return services.settings.signing_key.with_suffix(".newest.json")


def _signing_key(path: Path) -> Ed25519PrivateKey:
    """Return the private key; made when it is not there yet. Of several processes that make it, one wins."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    if not path.exists():
        made = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        _write(path, made, mode=0o600, replace=False)
    return _private_key(path)


def _private_key(path: Path) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except ValueError:
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        remedy = "Remove it, or point DAM_SIGNING_KEY at one."
        raise DamError("is no Ed25519 key", where=str(path), remedy=remedy)
    return key


def _public_key(path: Path) -> Ed25519PublicKey:
    """Return the key to verify with, never made here: the public half, or else that of the private key."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    public = _public_file(path)
    if not public.exists():
        if path.exists():
            return _private_key(path).public_key()
        raise DamError(
            "there is no key to verify the audit anchors with",
            where=str(public),
            remedy="Copy it from the machine that signs them, or point DAM_SIGNING_KEY at the key beside it.",
        )
    try:
        key = load_pem_public_key(public.read_bytes())
    except ValueError:
        key = None
    if not isinstance(key, Ed25519PublicKey):
        remedy = "Remove it when the private key is beside it, or copy the right one."
        raise DamError("is no Ed25519 public key", where=str(public), remedy=remedy)
    return key


def _write(path: Path, content: bytes, *, mode: int = 0o644, replace: bool = True) -> None:
    """Write a file so that nobody ever sees half of it; unless it may be replaced, one that is there stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, scratch = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(content)
            out.flush()
            os.fchmod(out.fileno(), mode)
            os.fsync(out.fileno())
        if replace:
            Path(scratch).replace(path)
        else:
            with contextlib.suppress(FileExistsError):  # another process made it at the same moment
                os.link(scratch, path)
    finally:
        Path(scratch).unlink(missing_ok=True)
