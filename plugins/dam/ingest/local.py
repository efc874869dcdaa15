"""Files on this machine, taken in by the library alone: what ``dam ingest`` does, with or without Airflow."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import yaml
from sqlalchemy import select

from dam.catalog.models import Batch, BatchFile, Campaign, FileOutcome, utcnow
from dam.errors import BadInput
from dam.ingest import batches, drops, gate, paperwork, released
from dam.ingest.drops import DROPS
from dam.ingest.paperwork import BEGUN, CARD, MARKER, basename
from dam.storage.folder import FolderStore
from dam.storage.keys import checked

if TYPE_CHECKING:
    from dam.services import Services
    from dam.storage import Entry

#: Seconds between looks at a watched folder.
EVERY = 1.0


class Progress(Protocol):
    """Is told how far a batch is; see :class:`dam.progress.Bar`."""

    def begin(self, step: str, total: int) -> None:
        """Say that a step of so many files begins."""

    def advance(self) -> None:
        """Say that a file of the step is through."""


class Silent:
    """Tells nobody."""

    def begin(self, step: str, total: int) -> None:
        """Do nothing."""

    def advance(self) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sent the files, for which campaign (its slug), and the supplier they came from."""

    sent_by: str
    campaign: str | None = None
    supplier: str | None = None


@dataclass(slots=True)
class Found:
    """Files to take in by their name in the batch; names that are left out; why others can't be read, by name."""

    files: dict[str, Path] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a batch: its receipt's rows, versions that the librarian must complete, what was left out."""

    batch_id: str
    rows: list[dict[str, Any]]
    incomplete: int
    left_out: list[str]


def find(path: Path) -> Found:
    """Return the files of a path: one file, or everything below a folder but links and hidden files.

    :raises BadInput: there is nothing at the path, or nothing in it.
    """
    if path.is_file():
        return Found({path.name: path})
    if not path.is_dir():
        raise BadInput("is neither a file nor a folder", where=str(path), remedy="Name one that is there.")
    found = Found()
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path).as_posix()
        if file.is_dir() and not file.is_symlink():
            continue
        aside = basename(name) in (CARD, MARKER) and "/" in name  # each batch has one card, at its top
        hidden = any(part.startswith(".") for part in name.split("/"))
        if aside or hidden or file.is_symlink() or not file.is_file():
            found.left_out.append(name)
        else:
            found.files[name] = file
    if not found.files:
        raise BadInput("has no files", where=str(path), remedy="Put files into it.")
    return found


def take(services: Services, found: Found, sender: Sender, progress: Progress | None = None) -> Taken:
    """Take files in as one batch, through the gate and the contract to its end. The same files are the same batch.

    :raises BadInput: there is no such campaign, or no file can be read.
    """
    from dam.enrich import contracts

    progress = progress or Silent()
    _check_campaign(services, sender)
    _hash(found, progress)
    location = f"{DROPS}cli-{_fingerprint(found.digests)}"
    with services.session() as session:
        batch_id = session.scalar(select(Batch.id).where(Batch.location == location))
    if batch_id is None:
        _copy(services, location, found, sender, progress)
        batch_id = batches.register(
            services, location=location, source="cli", sent_by=sender.sent_by, supplier=sender.supplier,
            campaign_slug=sender.campaign,
        )  # fmt: skip
        services.storage.inbox.delete(f"{location}/{BEGUN}")
    if batches.card(services, batch_id=batch_id)["status"] != "done":
        chunks = batches.plan_chunks(services, batch_id=batch_id)
        progress.begin("Through the gate", sum(map(len, chunks)))
        for chunk in chunks:
            gate.ingest_chunk(services, batch_id=batch_id, file_ids=chunk, told=lambda _file_id: progress.advance())
        _finish(services, batch_id)
        _go_on(services)
    unreadable = [_unreadable(name, why) for name, why in found.unreadable.items()]
    rows = batches.receipt(services, batch_id=batch_id) + unreadable
    incomplete = len(contracts.missing(services, batch_id=batch_id))
    return Taken(batch_id, rows, incomplete, found.left_out)


def _finish(services: Services, batch_id: str) -> None:
    """Tag, check and close a batch that is through the gate."""
    from dam.enrich import contracts, tags

    for chunk in tags.plan_later(services, batch_id=batch_id):
        tags.tag_later(services, version_ids=chunk)
    contracts.hand_on(services, batch_id=batch_id)
    batches.close(services, batch_id=batch_id)


def rescan(services: Services) -> dict[str, int]:
    """Scan what waits for that, and take in what is clean. What came through here is checked here, too.

    Other batches are taken up again by their workflow.

    :returns: counts by outcome. :raises Refused: the scanner does not answer.
    """
    try:
        return gate.scan_again(services)
    finally:
        _go_on(services)


def _go_on(services: Services) -> None:
    """Finish batches of this machine again of which something was released since they were closed."""
    query = select(Batch.id).where(Batch.source == "cli", Batch.done_at.is_not(None), released.waits())
    with services.session() as session:
        waiting = session.scalars(query.order_by(Batch.id)).all()
    for batch_id in waiting:
        _finish(services, batch_id)


def watch(services: Services, folder: Path) -> Iterator[Found]:
    """Yield what becomes complete in a folder, for ever: each of its folders, and the files in none.

    A folder is complete with a marker ``_COMPLETE`` in it or when it was quiet, as in the inbox. Files that were
    taken in already, by this or an earlier call, are not yielded again unless they changed.

    :raises BadInput: it is no folder.
    """
    if not folder.is_dir():
        raise BadInput("is no folder", where=str(folder), remedy="Name one to watch.")
    store = FolderStore("watched", folder)
    seen: dict[str, Entry] = {}
    while True:
        groups: dict[str, list[Entry]] = {}
        for entry in store.list():
            groups.setdefault(entry.key.partition("/")[0] if "/" in entry.key else "", []).append(entry)
        for name, entries in sorted(groups.items()):
            fresh = [entry for entry in entries if seen.get(entry.key) != entry]
            if not fresh or not _is_complete(services, name, entries):
                continue
            seen |= {entry.key: entry for entry in fresh}
            found = _fresh(services, folder, name, fresh)
            if found.files:
                yield found
        time.sleep(EVERY)


def _is_complete(services: Services, name: str, entries: list[Entry]) -> bool:
    if name and any(entry.key == f"{name}/{MARKER}" for entry in entries):
        return True
    before = utcnow() - timedelta(seconds=services.taxonomy.limits.quiet_seconds)
    return all(entry.modified < before and not entry.key.lower().endswith(paperwork.UNFINISHED) for entry in entries)


def _fresh(services: Services, folder: Path, name: str, entries: list[Entry]) -> Found:
    """Return files of a watched folder that were not taken in before; its paperwork goes with them."""
    found = Found()
    for entry in entries:
        path = entry.key.removeprefix(f"{name}/") if name else entry.key
        aside = basename(path) in (CARD, MARKER) and (not name or "/" in path)
        if aside or any(part.startswith(".") for part in entry.key.split("/")):
            found.left_out.append(drops.printable(entry.key))
        else:
            found.files[path] = folder / entry.key
    _hash(found, Silent(), strict=False)
    known = _known(services, found.digests)
    files = {path: file for path, file in found.files.items() if (path, found.digests[path]) not in known}
    if all(paperwork.is_paperwork(path) for path in files):
        files = {}
    return Found(files, found.left_out, found.unreadable, {path: found.digests[path] for path in files})


def _known(services: Services, digests: dict[str, str]) -> set[tuple[str, str]]:
    """Return which files were taken in from this machine before, by name and SHA-256."""
    query = (
        select(BatchFile.path, BatchFile.sha256)
        .join(Batch, Batch.id == BatchFile.batch_id)
        .where(Batch.source == "cli", BatchFile.sha256.in_(set(digests.values())))
        .where(BatchFile.outcome != FileOutcome.PENDING)
    )
    with services.session() as session:
        return {(path, str(sha256)) for path, sha256 in session.execute(query)}


def _check_campaign(services: Services, sender: Sender) -> None:
    with services.session() as session:
        slugs = session.scalars(select(Campaign.slug).order_by(Campaign.slug)).all()
    if sender.campaign and sender.campaign not in slugs:
        raise BadInput(
            f"there is no campaign {sender.campaign!r}",
            where="--campaign",
            remedy=f"Use one of: {', '.join(slugs)}." if slugs else "Plan one first.",
        )


def _hash(found: Found, progress: Progress, *, strict: bool = True) -> None:
    """Hash the files; what can't be read is put aside with the reason."""
    progress.begin("Reading", len(found.files))
    for name, file in list(found.files.items()):
        if name not in found.digests:
            try:
                checked(f"{DROPS}cli-{'x' * 24}/{name}")
                with file.open("rb") as stream:
                    found.digests[name] = hashlib.file_digest(stream, "sha256").hexdigest()
            except (OSError, BadInput) as error:
                del found.files[name]
                found.unreadable[name] = f"It can't be read: {getattr(error, 'strerror', None) or error}"
        progress.advance()
    if strict and not found.files:
        why = "; ".join(f"{drops.printable(name)}: {reason}" for name, reason in found.unreadable.items())
        raise BadInput(f"no file can be read. {why}", where="the batch", remedy="See who may read them.")


def _copy(services: Services, location: str, found: Found, sender: Sender, progress: Progress) -> None:
    """Copy the files into the inbox, under a card that keeps everybody else away from them meanwhile."""
    card = {"sent_by": sender.sent_by, "supplier": sender.supplier, "campaign": sender.campaign}
    inbox = services.storage.inbox
    inbox.put(f"{location}/{BEGUN}", yaml.safe_dump(card, allow_unicode=True).encode())
    progress.begin("Copying", len(found.files))
    for name, file in found.files.items():
        inbox.put(f"{location}/{name}", file)
        progress.advance()


def _fingerprint(digests: dict[str, str]) -> str:
    """Return a name for exactly these files with exactly these bytes."""
    lines = "".join(f"{name}\0{digest}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()[:24]


def _unreadable(name: str, why: str) -> dict[str, Any]:
    """Return a row of a receipt for a file that never came into the inbox."""
    known = dict.fromkeys(("sha256", "media_type", "asset", "asset_id", "version_id", "version", "seconds"))
    return known | {
        "path": drops.printable(name), "bytes": 0, "outcome": str(FileOutcome.OPAQUE), "reason": why, "notes": [],
        "self_attested": True,
    }  # fmt: skip
