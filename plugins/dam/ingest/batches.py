"""Batches: found in the inbox, registered once, planned in chunks, closed with a receipt."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import yaml
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from dam import audit
from dam.catalog.models import Batch, BatchFile, Campaign, FileOutcome, StageClaim, new_id, utcnow
from dam.errors import BadInput, NotFound
from dam.storage import Entry

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.services import Services
    from dam.storage import Moving

DROPS = "drops/"
#: How many chunks a batch is cut into at least, as far as none falls below so many bytes.
SPREAD, LEAST_CHUNK = 4, 64_000_000
MARKER, CARD = "_COMPLETE", "batch.yaml"
OVERWRITTEN = "The file in the inbox is another one by now: it was overwritten after it was ingested, and stays there."
#: The card of a browser's upload that is not complete yet.
BEGUN = ".card"
_SUMS = re.compile(r"(^|/)(SHA256SUMS|manifest-sha256\.txt|[^/]+\.sha256)$")
_SUM_LINE = re.compile(r"^([0-9a-fA-F]{64})[ \t]+\*?(.+?)\s*$")
_BAGIT = re.compile(r"(^|/)(bagit\.txt|bag-info\.txt|tagmanifest-[^/]+|manifest-[^/]+)$")


def discover(services: Services) -> list[str]:
    """Return the drops in the inbox that wait for somebody to take them up, as locations.

    They are complete drops without a batch; drops whose batch no workflow has taken up, because whoever
    registered it died before telling; and drops in which files lie that came after their batch was done
    (:func:`set_late_apart`).

    A drop is the folder below ``drops/`` (or below a folder that ``workflow.yaml`` lists under ``drops``)
    in which a marker ``_COMPLETE`` or a card ``batch.yaml`` lies, or the topmost such folder when nothing
    changed in it for the quiet time.
    """
    drops, marked = _drops(services)
    before = _quiet_before(services)
    complete = {
        location
        for location, entries in drops.items()
        if location in marked or all(entry.modified < before and _name(entry) != BEGUN for entry in entries)
    }
    untold = select(Batch.location).where(
        Batch.source == "inbox",
        Batch.status == "open",
        Batch.location.startswith(DROPS, autoescape=True),
        ~select(StageClaim.key).where(StageClaim.key == Batch.id).exists(),
    )
    with services.session() as session:
        known = set(session.scalars(select(Batch.location).where(Batch.location.in_(complete))))
        left = {location for location in known if not all(is_paperwork(entry.key) for entry in drops[location])}
        done = session.scalars(select(Batch).where(Batch.location.in_(left), Batch.status == "done")).all()
        late = {batch.location for batch in done if _quiet_late(session, batch, drops[batch.location], before)}
        return sorted((complete - known) | late | set(session.scalars(untold)))


def _drops(services: Services) -> tuple[dict[str, list[Entry]], set[str]]:
    """Return what lies below ``drops/`` by drop, and the drops with a marker or a card."""
    entries = list(services.storage.inbox.list(DROPS))
    marked = _marked(entries)
    drops: dict[str, list[Entry]] = {}
    for entry in entries:
        folders = (str(folder) for folder in PurePosixPath(entry.key).parents)
        location = next((folder for folder in folders if folder in marked), None) or _topmost(services, entry.key)
        if location:
            drops.setdefault(location, []).append(entry)
    return drops, marked


def _marked(entries: list[Entry]) -> set[str]:
    """Return the folders with a marker or a card in them; one that lies in ``drops/`` itself marks nothing."""
    found = {entry.key.rsplit("/", 1)[0] for entry in entries if _name(entry) in (MARKER, CARD)}
    return found - {DROPS.rstrip("/")}


def _quiet_before(services: Services) -> datetime:
    """Return the time after which a file may still be being written."""
    return utcnow() - timedelta(seconds=services.taxonomy.limits.quiet_seconds)


def _name(entry: Entry) -> str:
    return entry.key.rsplit("/", 1)[-1]


def _topmost(services: Services, key: str) -> str | None:
    """Return the drop that a file without marker belongs to; None for a file that lies in no folder."""
    parts = key.split("/")
    depth = 3 if parts[1] in services.workflow.drops else 2
    return "/".join(parts[:depth]) if len(parts) > depth else None


def register(
    services: Services,
    *,
    location: str,
    source: str,
    sent_by: str,
    supplier: str | None = None,
    campaign_slug: str | None = None,
    rights: dict[str, Any] | None = None,
    run: str | None = None,
) -> str:
    """Register a batch and return its id; the same location is the same batch.

    A card ``batch.yaml`` in it may say ``sent_by``, ``supplier``, ``campaign`` and ``rights``; it wins.

    :param location: below the inbox. :param source: ``inbox``, ``upload``, ``cli`` or ``api``.
    :param rights: ``{"licence", "holder", "kind", "territories", "channels", "starts_on", "ends_on",
        "model_release", "property_release", "except"}``; ``except`` lists files it does not cover.
    """
    card, faults = _card(services, location)
    campaign_slug = card.get("campaign") or campaign_slug
    with services.session() as session:
        known = session.scalar(select(Batch.id).where(Batch.location == location))
        if known:
            return known
        campaign_id = session.scalar(select(Campaign.id).where(Campaign.slug == campaign_slug))
        if campaign_slug and campaign_id is None:
            faults.append(f"there is no campaign {campaign_slug!r}")
        batch_id = new_id("bat")
        made = session.execute(
            insert(Batch)
            .values(
                id=batch_id,
                campaign_id=campaign_id,
                source=source,
                location=location,
                supplier=card.get("supplier") or supplier,
                sent_by=str(card.get("sent_by") or sent_by),
                rights=card.get("rights") or rights or {},
                status="open",
                received_at=utcnow(),
            )
            .on_conflict_do_nothing(index_elements=["location"])
            .returning(Batch.id)
        ).scalar()
        if made is None:
            return session.scalars(select(Batch.id).where(Batch.location == location)).one()
        audit.record(
            session,
            actor="airflow",
            action="batch.registered",
            subject_id=batch_id,
            data={"location": location, "source": source, "card": card, "faults": faults},
            run=run,
        )
        return batch_id


def _card(services: Services, location: str) -> tuple[dict[str, Any], list[str]]:
    """Return a drop's card and what is wrong with it; a card that can't be read counts as none."""
    key = f"{location}/{CARD}"
    if not services.storage.inbox.exists(key):
        return {}, []
    try:
        card = yaml.safe_load(services.storage.inbox.read(key))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        return {}, [f"{CARD} can't be read: {error}"]
    if not isinstance(card, dict):
        return {}, [f"{CARD} is no table"]
    plain: dict[str, Any] = audit.plain(card)
    return plain, []


def set_late_apart(services: Services, *, location: str) -> str:
    """Return the drop to register for a location: itself, or a new one with the files that came late.

    Late are the files that came after the location's batch was done. They move to a drop beside it
    (``<location>~2``, ``~3``, …) with the batch's card and its senders' checksums; each copy is read back
    before its source goes. Killed half-way and called again, the same drop gets the rest.
    """
    inbox = services.storage.inbox
    entries = _own(services, location)
    with services.session() as session:
        batch = session.scalar(select(Batch).where(Batch.location == location, Batch.status == "done"))
        late = _quiet_late(session, batch, entries, _quiet_before(services)) if batch else []
        if not batch or not late:
            return location
        beside = select(Batch.location).where(Batch.location.startswith(f"{location}~", autoescape=True))
        taken = set(session.scalars(beside))
        card = {
            "sent_by": batch.sent_by,
            "supplier": batch.supplier,
            "campaign": batch.campaign.slug if batch.campaign else None,
            "rights": batch.rights,
        }
    apart = next(drop for number in itertools.count(2) if (drop := f"{location}~{number}") not in taken)
    inbox.put(f"{apart}/{CARD}", yaml.safe_dump(card, allow_unicode=True).encode())
    for entry in entries:
        if _SUMS.search(entry.key):
            inbox.put(apart + entry.key.removeprefix(location), inbox.read(entry.key))
    for entry in late:
        with services.storage.moving() as moving:
            target = inbox.uri(apart + entry.key.removeprefix(location))
            moving.copy(inbox.uri(entry.key), target, sha256=inbox.digest(entry.key))
    return apart


def came_late(services: Services, *, batch_id: str) -> list[str]:
    """Return the files in a batch's folder that were not there when it was planned, by path.

    Below ``drops/`` they become a batch of their own when this one is done; see :func:`set_late_apart`.
    """
    with services.session() as session:
        batch = _batch(session, batch_id)
        if batch.status == "open":
            return []
        late = _late(session, batch, _own(services, batch.location))
        return [entry.key.removeprefix(f"{batch.location}/") for entry in late]


def _own(services: Services, location: str) -> list[Entry]:
    """Return what lies in a batch's folder, without the drops below it."""
    entries = list(services.storage.inbox.list(f"{location}/"))
    others = _marked(entries) - {location}
    return [entry for entry in entries if not any(entry.key.startswith(f"{other}/") for other in others)]


def _quiet_late(session: Session, batch: Batch, entries: list[Entry], before: datetime) -> list[Entry]:
    """Return the late files that nobody is writing any more."""
    return [entry for entry in _late(session, batch, entries) if entry.modified < before]


def _late(session: Session, batch: Batch, entries: list[Entry]) -> list[Entry]:
    """Return a batch's files that were not planned, or that were put there again after it was done."""
    files = {entry.key.removeprefix(f"{batch.location}/"): entry for entry in entries}
    files = {path: entry for path, entry in files.items() if not is_paperwork(path)}
    if not files:
        return []
    planned = set(session.scalars(select(BatchFile.path).where(BatchFile.batch_id == batch.id)))
    return [
        entry
        for path, entry in files.items()
        if path not in planned or (batch.done_at is not None and entry.modified > batch.done_at)
    ]


def new_upload(services: Services, *, person: str, campaign_slug: str | None) -> str:
    """Return a fresh location for a browser upload; :func:`complete_upload` ends it."""
    location = f"{DROPS}upload-{new_id('up')}"
    card = {"sent_by": person, "campaign": campaign_slug}
    services.storage.inbox.put(f"{location}/{BEGUN}", yaml.safe_dump(card).encode())
    return location


def complete_upload(services: Services, *, location: str) -> None:
    """Say that an upload is complete: its card gets its name, and the drop is found.

    :raises NotFound: there is no such upload.
    """
    card = services.storage.inbox.read(f"{location}/{BEGUN}")
    services.storage.inbox.put(f"{location}/{CARD}", card)
    services.storage.inbox.delete(f"{location}/{BEGUN}")


def upload_owner(services: Services, *, location: str) -> str | None:
    """Return who began an upload that is not complete yet; None when there is no such upload."""
    key = f"{location}/{BEGUN}"
    if not services.storage.inbox.exists(key):
        return None
    return str(yaml.safe_load(services.storage.inbox.read(key))["sent_by"])


def plan_chunks(services: Services, *, batch_id: str, max_bytes: int = 512_000_000) -> list[list[str]]:
    """List a batch's files and return chunks of pending file ids, each of at most ``max_bytes``.

    A batch too small to fill several chunks is shared among :data:`SPREAD` all the same, so that workers
    share it, but not into chunks so small that starting a task costs more than the work in it.

    Checksums that the sender promised (``SHA256SUMS``, ``*.sha256``, BagIt) are noted; a promised file that
    is not there is noted as well. Planned again, only what is still pending is in a chunk.
    """
    with services.session() as session:
        batch = _batch(session, batch_id)
        prefix = f"{batch.location}/"
    entries = list(services.storage.inbox.list(prefix))
    promised = _promised(services, prefix, entries)
    rows: list[dict[str, Any]] = [
        {
            "id": new_id("fil"),
            "batch_id": batch_id,
            "path": path,
            "bytes": entry.bytes,
            "promised": {"sha256": promised[path]} if path in promised else {},
            "outcome": FileOutcome.PENDING,
            "notes": [],
        }
        for entry in entries
        if not is_paperwork(path := entry.key.removeprefix(prefix))
    ]
    gone = sorted(set(promised) - {str(row["path"]) for row in rows})
    with services.session() as session:
        if rows:
            session.execute(insert(BatchFile).values(rows).on_conflict_do_nothing())
        batch = _batch(session, batch_id)
        if batch.status == "open":
            batch.status = "ingesting"
            audit.record(
                session,
                actor="airflow",
                action="batch.planned",
                subject_id=batch_id,
                data={"files": len(rows), "promised_but_missing": gone},
            )
        pending = session.execute(
            select(BatchFile.id, BatchFile.bytes)
            .where(BatchFile.batch_id == batch_id, BatchFile.outcome == FileOutcome.PENDING)
            .order_by(BatchFile.path)
        ).all()
    share = min(max_bytes, max(LEAST_CHUNK, -(-sum(row.bytes for row in pending) // SPREAD)))
    chunks: list[list[str]] = []
    room = 0
    for file_id, length in pending:
        if not chunks or length > room:
            chunks.append([])
            room = share
        chunks[-1].append(file_id)
        room -= length
    return chunks


def is_paperwork(path: str) -> bool:
    """Return whether a file is about the batch rather than of it."""
    name = path.rsplit("/", 1)[-1]
    return name in (MARKER, CARD, BEGUN) or bool(_SUMS.search(path) or _BAGIT.search(path))


def _promised(services: Services, prefix: str, entries: list[Entry]) -> dict[str, str]:
    """Return path → SHA-256 as the sender's checksum files say; paths relative to the batch."""
    found: dict[str, str] = {}
    for entry in entries:
        path = entry.key.removeprefix(prefix)
        if not _SUMS.search(path) or entry.bytes > 64_000_000:
            continue
        folder = path.rpartition("/")[0]
        for line in services.storage.inbox.read(entry.key).decode("utf-8", "replace").splitlines():
            if match := _SUM_LINE.match(line):
                name = match[2].removeprefix("./")
                found[f"{folder}/{name}" if folder else name] = match[1].lower()
    return found


def close(services: Services, *, batch_id: str, run: str | None = None) -> dict[str, int]:
    """Close a batch: its files leave the inbox once their copies were read back; return counts by outcome.

    A file that its sender overwrote after it was ingested is not the one in the library: it stays in the inbox,
    with a note in the receipt.

    :raises BadInput: files are still pending; plan and ingest them first.
    :raises Corrupt: a copy in the library is not what was ingested; the batch stays open, and all files stay.
    """
    with services.session() as session:
        batch = _batch(session, batch_id)
        rows = session.scalars(select(BatchFile).where(BatchFile.batch_id == batch_id).order_by(BatchFile.path)).all()
        counts = Counter(row.outcome for row in rows)
        if counts[FileOutcome.PENDING]:
            raise BadInput(
                f"{counts[FileOutcome.PENDING]} files are still pending",
                where=f"batch {batch_id}",
                remedy="Run the ingest again; it goes on where it stopped.",
            )
        kept = [(row, row.version.storage_uri) for row in rows if row.version]
    with services.storage.moving() as moving:
        overwritten = [row for row, copy in kept if not _leave(services, moving, f"{batch.location}/", row, copy)]
        _note_closed(services, batch_id, counts, overwritten, run)
    return {str(outcome): count for outcome, count in sorted(counts.items())}


def _leave(services: Services, moving: Moving, prefix: str, row: BatchFile, copy: str) -> bool:
    """Let a file leave the inbox, unless it is not the one that was ingested any more."""
    inbox, key, sha256 = services.storage.inbox, prefix + row.path, str(row.sha256)
    if not inbox.exists(key):
        return True
    if not inbox.holds(key, sha256):
        return False
    moving.leave(inbox.uri(key), copy=copy, sha256=sha256)
    return True


def _note_closed(
    services: Services, batch_id: str, counts: Counter[str], overwritten: list[BatchFile], run: str | None
) -> None:
    """Write down that a batch is closed, and which of its files stay in the inbox."""
    told: dict[str, Any] = {str(outcome): count for outcome, count in counts.items()}
    if overwritten:
        told["overwritten"] = [row.path for row in overwritten]
    if late := came_late(services, batch_id=batch_id):
        told["came_late"] = late
    with services.session() as session:
        batch = _batch(session, batch_id, lock=True)
        if batch.status == "done":
            return
        batch.status, batch.done_at = "done", utcnow()
        for row in session.scalars(select(BatchFile).where(BatchFile.id.in_([row.id for row in overwritten]))):
            row.notes = [*row.notes, OVERWRITTEN]
        audit.record(session, actor="airflow", action="batch.closed", subject_id=batch_id, data=told, run=run)


def receipt(services: Services, *, batch_id: str) -> list[dict[str, Any]]:
    """Return what became of every file of a batch.

    :returns: rows of ``{"path", "bytes", "sha256", "outcome", "reason", "notes", "media_type", "asset",
        "asset_id", "version_id", "version", "self_attested", "scan", "scan_note", "seconds"}``.
    """
    with services.session() as session:
        _batch(session, batch_id)
        rows = session.scalars(select(BatchFile).where(BatchFile.batch_id == batch_id).order_by(BatchFile.path)).all()
        return [
            {
                "path": row.path,
                "bytes": row.bytes,
                "sha256": row.sha256,
                "outcome": row.outcome,
                "reason": row.reason,
                "notes": list(row.notes),
                "media_type": row.version.media_type if row.version else None,
                "asset": row.version.asset.name if row.version and row.version.asset else None,
                "asset_id": row.version.asset_id if row.version else None,
                "version_id": row.version_id,
                "version": row.version.number if row.version else None,
                "self_attested": not row.promised,
                "scan": row.version.scan if row.version else None,
                "scan_note": row.version.scan_note if row.version else None,
                "seconds": row.seconds,
            }
            for row in rows
        ]


def _batch(session: Session, batch_id: str, *, lock: bool = False) -> Batch:
    found = session.get(Batch, batch_id, with_for_update={"of": Batch} if lock else None)
    if found is None:
        raise NotFound("there is no such batch", where=batch_id)
    return found
