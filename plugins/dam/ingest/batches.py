"""Batches: registered once, planned in chunks, closed with a receipt. :mod:`dam.ingest.drops` finds them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert

from dam import audit
from dam.catalog.models import Batch, BatchFile, Campaign, FileOutcome, Version, new_id, utcnow
from dam.errors import BadInput, NotFound
from dam.ingest import cards, contents, drops, paperwork, released
from dam.ingest.contents import Contents

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.services import Services
    from dam.storage import Moving

#: Most bytes in a chunk: some 300 photographs, half a minute's work. Memory does not depend on it.
MAX_BYTES = 1_000_000_000
#: How many chunks a batch is cut into at least, as far as none falls below so many bytes.
SPREAD, LEAST_CHUNK = 4, 64_000_000
#: A file costs at least as much as so many bytes of a photograph, however small it is.
LEAST_FILE = 500_000
_CLOSING = 7_316_421  # first half of pg_advisory_xact_lock: who closes a batch; the second half is the batch
#: So many files are read back at the same time: hashing lets other threads run, and S3 answers when it pleases.
READERS = 4
#: So many rows go to the database in one statement.
_ROWS = 1000
OVERWRITTEN = "The file in the inbox is another one by now: it was overwritten after it was ingested, and stays there."


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

    Files that came after that batch was done, and files that lie in no folder, are set apart first, and are a batch
    of their own (:func:`dam.ingest.drops.set_apart`). A card ``batch.yaml`` may say ``sent_by``, ``supplier``,
    ``campaign`` and ``rights``; it wins.

    :param location: below the inbox. :param source: ``inbox``, ``upload``, ``cli``, ``api`` or ``brief``.
    :param rights: ``{"licence", "holder", "kind", "territories", "channels", "starts_on", "ends_on",
        "model_release", "property_release", "except"}``; ``except`` lists files it does not cover.
    :raises NotFound: nothing lies there that is whole.
    """
    location = drops.set_apart(services, location=location)
    card, faults = cards.read(services, location)
    campaign_slug = card.get("campaign") or campaign_slug
    with services.session() as session:
        known = session.scalar(select(Batch.id).where(Batch.location == location))
        if known:
            return known
        campaign_id = session.scalar(select(Campaign.id).where(Campaign.slug == campaign_slug))
        if campaign_slug and campaign_id is None:
            faults.append(
                f"There is no campaign {campaign_slug!r}: the files belong to none until somebody says which."
            )
        batch_id = new_id("bat")
        made = session.execute(
            insert(Batch)
            .values(
                id=batch_id,
                campaign_id=campaign_id,
                source=card["source"] if card.get("source") in ("upload", "api") else source,
                location=location,
                supplier=card.get("supplier") or supplier,
                sent_by=card.get("sent_by") or sent_by,
                rights=card.get("rights") or rights or {},
                status="open",
                received_at=utcnow(),
                notes=[{"kind": "card", "where": paperwork.CARD, "what": fault} for fault in faults],
                papers=[],
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


def plan_chunks(services: Services, *, batch_id: str, max_bytes: int | None = None) -> list[list[str]]:
    """List a batch's files and return chunks of pending file ids, each of at most ``max_bytes``.

    A small file counts as :data:`LEAST_FILE`, so that thousands of them are shared, too. A batch too small to fill
    several chunks is shared among :data:`SPREAD` all the same, so that workers share it, but not into chunks so
    small that starting a task costs more than the work in it.

    Archives are unpacked, promised checksums and sidecars noted with their files; what was promised and is not
    there is noted with the batch (:mod:`dam.ingest.contents`). Planned again, only what is still pending is in a
    chunk: files that came meanwhile are a batch of their own, later.

    :param max_bytes: :data:`MAX_BYTES` when None; a larger file is a chunk of its own.
    """
    with services.session() as session:
        batch = _batch(session, batch_id)
        location, is_open = batch.location, batch.status == "open"
    if is_open:
        _note_contents(services, batch_id, contents.read(services, batch_id=batch_id, location=location))
    with services.session() as session:
        pending = session.execute(
            select(BatchFile.id, BatchFile.bytes)
            .where(BatchFile.batch_id == batch_id, BatchFile.outcome == FileOutcome.PENDING)
            .order_by(BatchFile.path)
        ).all()
    costs = {file_id: max(length, LEAST_FILE) for file_id, length in pending}
    # with room for one file more than its share, so that what is left at each end makes no chunk of its own
    share = sum(costs.values()) // SPREAD + max(costs.values(), default=0)
    share = min(max_bytes or MAX_BYTES, max(LEAST_CHUNK, share))
    chunks: list[list[str]] = []
    room = 0
    for file_id, cost in costs.items():
        if not chunks or cost > room:
            chunks.append([])
            room = share
        chunks[-1].append(file_id)
        room -= cost
    return chunks


def _note_contents(services: Services, batch_id: str, found: Contents) -> None:
    """Write down what a batch holds. Of one that answers creators' tasks, only what was submitted is taken."""
    with services.session() as session:
        batch = _batch(session, batch_id, lock=True)
        if batch.status != "open":
            return
        submitted = set(session.scalars(select(BatchFile.path).where(BatchFile.batch_id == batch_id)))
        rows = [
            {
                "id": new_id("fil"),
                "batch_id": batch_id,
                "path": path,
                "archive": file.lying.archive,
                "bytes": file.lying.bytes,
                "promised": file.promised,
                "sidecars": file.sidecars,
                "outcome": FileOutcome.PENDING,
                "notes": file.notes,
            }
            for path, file in found.files.items()
            if not submitted or path in submitted
        ]
        for start in range(0, len(rows), _ROWS):
            statement = insert(BatchFile).values(rows[start : start + _ROWS])
            told = {name: statement.excluded[name] for name in ("bytes", "promised", "sidecars", "notes")}
            session.execute(
                statement.on_conflict_do_update(
                    index_elements=["batch_id", "path"], set_=told, where=BatchFile.outcome == FileOutcome.PENDING
                )
            )
        batch.status, batch.planned_at = "ingesting", utcnow()
        batch.notes, batch.papers = [*batch.notes, *found.notes], found.papers
        audit.record(
            session,
            actor="airflow",
            action="batch.planned",
            subject_id=batch_id,
            data={"files": len(rows), "notes": found.notes},
        )


def empty_inbox(services: Services, *, batch_id: str) -> int:
    """Let a batch's files leave the inbox once their copies were read back, and return how many rows that concerned.

    :func:`close` does it for what is left then; a batch that was closed before is left alone. A file that its sender
    overwrote after it was ingested stays, and so does everything that has no copy in the library.

    :raises Corrupt: a copy in the library is not what was ingested; all files stay.
    """
    with _turn(services, batch_id):
        with services.session() as session:
            batch = _batch(session, batch_id)
            if batch.done_at is not None:  # what lies there now is a batch of its own
                return 0
            kept = _kept(session, batch)
        with services.storage.moving() as moving:
            _leave(services, moving, kept)
    return len(kept)


def close(services: Services, *, batch_id: str, run: str | None = None) -> dict[str, int]:
    """Close a batch: its files leave the inbox once their copies were read back; return counts by outcome.

    A file that its sender overwrote after it was ingested is not the one in the library: it stays in the inbox,
    with a note in the receipt. A run that took nothing but what was released late closes the batch only where the
    run before it has done so; what was released since is left to the next one (:mod:`dam.ingest.released`).

    :raises BadInput: files are still pending; plan and ingest them first.
    :raises Corrupt: a copy in the library is not what was ingested; the batch stays open, and all files stay.
    """
    with _turn(services, batch_id):
        return _close(services, batch_id, run)


@contextmanager
def _turn(services: Services, batch_id: str) -> Iterator[None]:
    """Let one worker alone empty a batch's inbox: another waits, and finds nothing left to do."""
    with services.session() as turn:
        turn.execute(
            text("SELECT pg_advisory_xact_lock(:lock, hashtext(:batch))"), {"lock": _CLOSING, "batch": batch_id}
        )
        yield


def _kept(session: Session, batch: Batch) -> list[tuple[BatchFile, str, str]]:
    """Return the files of a batch that have a copy in the library: row, key in the inbox, URI of the copy."""
    rows = session.execute(
        select(BatchFile, Version.storage_uri)
        .join(Version, Version.id == BatchFile.version_id)
        .where(BatchFile.batch_id == batch.id)
        .order_by(BatchFile.path)
    )
    return [(row, contents.key_of(batch, row), copy) for row, copy in rows]


def _close(services: Services, batch_id: str, run: str | None) -> dict[str, int]:
    with services.session() as session:
        batch = _batch(session, batch_id)
        counts = Counter(session.scalars(select(BatchFile.outcome).where(BatchFile.batch_id == batch_id)))
        if counts[FileOutcome.PENDING]:
            raise BadInput(
                f"{counts[FileOutcome.PENDING]} files are still pending",
                where=f"batch {batch_id}",
                remedy="Run the ingest again; it goes on where it stopped.",
            )
        kept = _kept(session, batch)
        if batch.done_at is None and released.is_late(session, batch, run):
            _settle(services, batch_id, run)
            return {str(outcome): count for outcome, count in sorted(counts.items())}
    with services.storage.moving() as moving:
        stay = _leave(services, moving, kept)
        if batch.done_at is not None:
            stay = []  # another file of that name came since: it is a batch of its own
        _note_closed(services, batch_id, counts, stay, run)
    contents.file_away(services, batch_id=batch_id)
    return {str(outcome): count for outcome, count in sorted(counts.items())}


def _settle(services: Services, batch_id: str, run: str | None) -> None:
    with services.session() as session:
        released.settle(session, _batch(session, batch_id, lock=True), run)


def _leave(services: Services, moving: Moving, kept: list[tuple[BatchFile, str, str]]) -> list[BatchFile]:
    """Let files leave the inbox; return those that stay, because they are not what was ingested any more."""
    inbox = services.storage.inbox

    def leave(of: tuple[BatchFile, str, str]) -> BatchFile | None:
        row, key, copy = of
        sha256 = str(row.sha256)
        if not inbox.exists(key):
            return None
        if not inbox.holds(key, sha256):
            return row
        moving.leave(inbox.uri(key), copy=copy, sha256=sha256)
        return None

    with ThreadPoolExecutor(READERS) as pool:
        return [row for row in pool.map(leave, kept) if row is not None]


def _note_closed(
    services: Services, batch_id: str, counts: Counter[str], overwritten: list[BatchFile], run: str | None
) -> None:
    """Write down that a batch is closed, and which of its files stay in the inbox."""
    told: dict[str, Any] = {str(outcome): count for outcome, count in counts.items()}
    if overwritten:
        told["overwritten"] = [row.path for row in overwritten]
    if late := drops.came_late(services, batch_id=batch_id):
        told["came_late"] = late
    with services.session() as session:
        # files before their batch: who looks at a file again locks them in this order
        changed = session.scalars(
            select(BatchFile)
            .where(BatchFile.id.in_([row.id for row in overwritten]))
            .order_by(BatchFile.id)
            .with_for_update(of=BatchFile)
        ).all()
        batch = _batch(session, batch_id, lock=True)
        released.settle(session, batch, run)
        if batch.status == "done":
            return
        batch.done_at = batch.done_at or utcnow()
        released.close(session, batch, run)
        for row in changed:
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


def card(services: Services, *, batch_id: str) -> dict[str, Any]:
    """Return a batch's card: who sent it, what came of it, and how long it took.

    :returns: ``{"batch_id", "location", "source", "status", "sent_by", "supplier", "campaign", "rights", "notes",
        "received_at", "planned_at", "done_at", "files", "bytes", "outcomes", "seconds", "files_per_second"}``.
        ``seconds`` are those from planning to the last file through the gate; None before that.
    """
    with services.session() as session:
        batch = _batch(session, batch_id)
        counted = session.execute(
            select(BatchFile.outcome, func.count(), func.coalesce(func.sum(BatchFile.bytes), 0))
            .where(BatchFile.batch_id == batch_id)
            .group_by(BatchFile.outcome)
            .order_by(BatchFile.outcome)
        ).all()
        last = session.scalar(select(func.max(BatchFile.done_at)).where(BatchFile.batch_id == batch_id))
        outcomes = {str(outcome): count for outcome, count, _ in counted}
        seconds = (last - batch.planned_at).total_seconds() if last and batch.planned_at else None
        through = sum(outcomes.values()) - outcomes.get(FileOutcome.PENDING, 0)
        return {
            "batch_id": batch.id,
            "location": batch.location,
            "source": batch.source,
            "status": batch.status,
            "sent_by": batch.sent_by,
            "supplier": batch.supplier,
            "campaign": batch.campaign.name if batch.campaign else None,
            "rights": batch.rights,
            "notes": list(batch.notes),
            "received_at": batch.received_at.isoformat(),
            "planned_at": batch.planned_at.isoformat() if batch.planned_at else None,
            "done_at": batch.done_at.isoformat() if batch.done_at else None,
            "files": sum(outcomes.values()),
            "bytes": int(sum(length for _, _, length in counted)),
            "outcomes": outcomes,
            "seconds": seconds,
            "files_per_second": through / seconds if seconds else None,
        }


def _batch(session: Session, batch_id: str, *, lock: bool = False) -> Batch:
    found = session.get(Batch, batch_id, with_for_update={"of": Batch} if lock else None)
    if found is None:
        raise NotFound("there is no such batch", where=batch_id)
    return found
