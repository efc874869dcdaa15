"""What a batch holds: its files with what their senders promised of them, and what is told of the rest."""

from __future__ import annotations

import hashlib
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import select

from dam.catalog.models import Batch, BatchFile
from dam.errors import BadInput, NotFound
from dam.ingest import archives, bags, checksums, drops, formats, paperwork
from dam.ingest.bags import Bag
from dam.ingest.checksums import Sums
from dam.ingest.drops import filed_at
from dam.ingest.inspection import CantCheck, Unusable
from dam.storage.keys import checked

if TYPE_CHECKING:
    from dam.services import Services
    from dam.storage import Store

#: Where the inbox keeps what came out of archives, by batch, until the batch is closed.
UNPACKED = ".unpacked/"
#: Endings of what is unpacked. Other files that are archives inside (documents, models) stay whole.
PACKED = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
#: So many names are told of many.
_FEW = 5


@dataclass(frozen=True, slots=True)
class Lying:
    """A file that lies in the inbox.

    :param path: as it was sent, relative to the batch; in an archive, ``archive.zip/inner/path``.
    :param archive: the path of the archive that it came out of.
    """

    path: str
    key: str
    bytes: int
    archive: str | None = None


@dataclass(slots=True)
class File:
    """A file of a batch.

    :param promised: algorithm → hex. :param sidecars: paths of the files beside it that are about it.
    """

    lying: Lying
    promised: dict[str, str] = field(default_factory=dict)
    sidecars: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Contents:
    """What a batch holds.

    :param files: by path. :param papers: paths of what lies there beside them: card, manifests, sidecars, litter.
    :param notes: ``{"kind", "where", "what"}``; the kinds are ``missing``, ``left out``, ``unpacked``, ``bag`` and
        ``checksums``.
    """

    files: dict[str, File] = field(default_factory=dict)
    papers: list[str] = field(default_factory=list)
    notes: list[dict[str, str]] = field(default_factory=list)

    def note(self, kind: str, where: str, what: str) -> None:
        """Add a remark about the batch."""
        self.notes.append({"kind": kind, "where": where, "what": what})


def key_of(batch: Batch, row: BatchFile, path: str | None = None) -> str:
    """Return where a batch's file lies in the inbox. :param path: of a sidecar of it, instead of its own."""
    folder = f"{UNPACKED}{batch.id}" if row.archive else batch.location
    return f"{folder}/{path or row.path}"


def read(services: Services, *, batch_id: str, location: str) -> Contents:
    """Look through a batch's folder, unpack its archives, and return what it holds."""
    found = Contents()
    lying = _lying(services, found, location)
    sums, of_bags = _promises(services.storage.inbox, found, lying)
    packed = [path for path in lying if path.lower().endswith(PACKED)]
    for archive in packed:
        _unpack(services, found, lying, archive, batch_id, sums.promised.get(archive, {}))
    if packed:
        sums, of_bags = _promises(services.storage.inbox, found, lying)
    for bag in of_bags:
        _hold(services.storage.inbox, found, bag, lying)
    _tell_missing(found, sums, of_bags, lying)
    _sort(services, found, lying, sums, of_bags)
    return found


def file_away(services: Services, *, batch_id: str) -> None:
    """Let everything but its files leave the inbox when a batch is closed.

    Its paperwork goes to the reports store; an archive goes when everything that came out of it has gone.
    """
    inbox, reports = services.storage.inbox, services.storage.reports
    with services.session() as session:
        batch = session.get_one(Batch, batch_id)
        rows = session.execute(select(BatchFile.path, BatchFile.archive).where(BatchFile.batch_id == batch_id)).all()
    came_out, papers = f"{UNPACKED}{batch_id}/", set(batch.papers)
    for folder in (f"{batch.location}/", came_out):
        for entry in list(inbox.list(folder)):
            path = entry.key.removeprefix(folder)
            if path in papers:
                with inbox.open(entry.key) as stream:
                    stored = reports.put(filed_at(batch_id, path), stream)
                if reports.digest(filed_at(batch_id, path)) == stored.sha256:
                    inbox.delete(entry.key)
    for archive in {archive for _, archive in rows if archive}:
        if next(inbox.list(f"{came_out}{archive}/"), None) is None:
            inbox.delete(f"{batch.location}/{archive}")


def _lying(services: Services, found: Contents, location: str) -> dict[str, Lying]:
    """Return what lies in a batch's folder by path, without what is of no use to anybody."""
    lying: dict[str, Lying] = {}
    for entry in drops.own(services, location):
        path = entry.key.removeprefix(f"{location}/")
        try:
            checked(entry.key)
        except BadInput as fault:
            found.note("left out", drops.printable(path), f"It stays in the inbox: {fault.what}. Rename it.")
            continue
        lying[path] = Lying(path, entry.key, entry.bytes)
    return lying


# --------------------------------------------------------------------------------------------- archives


def _unpack(
    services: Services, found: Contents, lying: dict[str, Lying], archive: str, batch_id: str, promised: dict[str, str]
) -> None:
    """Replace an archive by what is in it, or leave it and note on it why."""
    inbox, folder = services.storage.inbox, f"{UNPACKED}{batch_id}/{archive}/"
    if problem := _unpack_into(services, lying[archive], folder, promised, found):
        found.files[archive] = File(lying[archive], notes=[problem])
        return
    inside = {entry.key.removeprefix(f"{UNPACKED}{batch_id}/"): entry for entry in inbox.list(folder)}
    if inside:
        del lying[archive]
        lying |= {path: Lying(path, entry.key, entry.bytes, archive) for path, entry in inside.items()}


def _unpack_into(services: Services, lying: Lying, folder: str, promised: dict[str, str], found: Contents) -> str:
    """Put an archive's files into the inbox; return why that could not be done, else nothing.

    What only has an archive's name is left alone without a word: the gate says what it is.
    """
    limits, inbox = services.taxonomy.limits.model_dump(), services.storage.inbox
    with inbox.local(lying.key) as path, tempfile.TemporaryDirectory(prefix="dam-unpack-") as scratch:
        name = paperwork.basename(lying.path)
        if formats.identify(path, name).kind != "archive" or not _as_promised(path, promised):
            return ""  # the gate says what is wrong
        out = Path(scratch) / "out"
        try:
            unpacked = archives.unpack(path, out, limits, name)
        except (Unusable, CantCheck) as error:
            return f"It was not unpacked. {error.what}"
        if not unpacked:
            return "There is nothing in it."
        for file in unpacked:
            inbox.put(folder + file.relative_to(out).as_posix(), file)
    found.note("unpacked", lying.path, f"{len(unpacked)} files came out of it.")
    return ""


def _as_promised(path: Path, promised: dict[str, str]) -> bool:
    for algorithm, digest in promised.items():
        with path.open("rb") as stream:
            if (
                hashlib.file_digest(stream, partial(hashlib.new, algorithm, usedforsecurity=False)).hexdigest()
                != digest
            ):
                return False
    return True


# -------------------------------------------------------------------------------------------- checksums


def _promises(inbox: Store, found: Contents, lying: dict[str, Lying]) -> tuple[Sums, list[Bag]]:
    """Return what the lists of checksums in a batch promise, and its bags."""
    found.notes = [note for note in found.notes if note["kind"] not in ("bag", "checksums")]

    def content(path: str) -> bytes:
        if lying[path].bytes > checksums.LONGEST:
            found.note("checksums", path, f"It is longer than {checksums.LONGEST / 1e6:g} MB, and was not read.")
            return b""
        return inbox.read(lying[path].key)

    of_bags = [bags.read(root, lying, content) for root in bags.roots(lying)]
    sums = Sums()
    for bag in of_bags:
        sums.include(Sums(bag.payload.promised))
        for fault in bag.faults:
            found.note("bag", bag.root.rstrip("/") or paperwork.BAG, fault)
    for path in lying:
        if paperwork.is_sums(path) and not any(_is_tag(bag, path) for bag in of_bags):
            sums.include(checksums.read(path, checksums.decode(content(path))))
    sums.meet(lying)
    for fault in sums.faults:
        found.note("checksums", "", fault)
    return sums, of_bags


def _is_tag(bag: Bag, path: str) -> bool:
    """Return whether a file is a bag's paperwork: it lies in it, beside its payload."""
    return bag.holds(path) and not bag.is_payload(path)


def _hold(inbox: Store, found: Contents, bag: Bag, lying: dict[str, Lying]) -> None:
    """Hold a bag to what it says of itself; its payload's checksums are for the gate."""
    where = bag.root.rstrip("/") or paperwork.BAG
    if fault := bag.oxum_fault({path: one.bytes for path, one in lying.items()}):
        found.note("bag", where, fault)
    for path, promised in bag.tags.promised.items():
        if path in lying and lying[path].bytes <= checksums.LONGEST:
            data = inbox.read(lying[path].key)
            if any(
                hashlib.new(name, data, usedforsecurity=False).hexdigest() != digest
                for name, digest in promised.items()
            ):
                found.note("bag", path, "Its checksum is not what the bag's tag manifest says.")


def _tell_missing(found: Contents, sums: Sums, of_bags: list[Bag], lying: dict[str, Lying]) -> None:
    """Name the files that were promised and are not there."""
    archived = {one.archive for one in lying.values()}
    listed = dict.fromkeys(sums.promised, "") | {
        path: bag.elsewhere.get(path, "") for bag in of_bags for path in bag.missing(lying)
    }
    for path, address in sorted(listed.items()):
        if path not in lying and path not in archived:
            at = f" It is said to be at {address}, from where nothing is fetched." if address else ""
            found.note("missing", path, f"It was promised, but it is not here.{at} Ask the sender for it.")


# ------------------------------------------------------------------------------------------------ files


def _sort(services: Services, found: Contents, lying: dict[str, Lying], sums: Sums, of_bags: list[Bag]) -> None:
    """Sort files from paperwork, sidecars and litter, and give each file what was promised of it."""
    litter = [path for path in lying if paperwork.is_litter(path, services.taxonomy.limits.litter)]
    if litter:
        found.note("left out", "", f"{_counted(litter)} of systems and cameras: {_listed(litter)}.")
    papers = {path for path in lying if paperwork.is_paperwork(path)} | set(litter)
    papers |= {path for bag in of_bags for path in bag.tags.promised if _is_tag(bag, path)}
    asides = paperwork.sidecars(path for path in lying if path not in papers)
    papers |= {aside for of_one in asides.values() for aside in of_one}
    found.papers = sorted(papers)
    extra = {path for bag in of_bags for path in bag.unlisted(lying)}
    noted = {path: file.notes for path, file in found.files.items()}
    found.files = {}
    for path, one in lying.items():
        if path in papers:
            continue
        file = File(one, dict(sums.promised.get(path, {})), asides.get(path, []), noted.get(path, []))
        if path in extra:
            file.notes.append("The bag's manifest does not list it.")
        elif any(_is_tag(bag, path) for bag in of_bags):
            file.notes.append("It lies in the bag, but beside its payload.")
        found.files[path] = file
    _ask_store(
        services.storage.inbox, [file for file in found.files.values() if not (file.promised or file.lying.archive)]
    )


def _ask_store(inbox: Store, files: list[File]) -> None:
    """Take the store's own checksums for the files that their sender promised nothing of."""
    if not inbox.whole:  # a folder keeps none
        return

    def ask(file: File) -> dict[str, str]:
        try:
            return inbox.promised(file.lying.key)
        except NotFound:
            return {}

    with ThreadPoolExecutor(16) as pool:
        for file, promised in zip(files, pool.map(ask, files), strict=True):
            file.promised |= promised


def _counted(paths: list[str]) -> str:
    return f"{len(paths)} file{'s' if len(paths) > 1 else ''}"


def _listed(paths: list[str]) -> str:
    more = f" and {len(paths) - _FEW} more" if len(paths) > _FEW else ""
    return ", ".join(paths[:_FEW]) + more
