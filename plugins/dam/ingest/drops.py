"""Drops: which folders of the inbox are batches, when they are complete, and what came after.

A drop is a folder below ``drops/``, or below a folder that ``workflow.yaml`` lists under ``drops``: the nearest
one above a file with a marker ``_COMPLETE`` or a card ``batch.yaml`` in it, else a BagIt bag, else the topmost. It
is complete when its marker is there, when every file that its manifest lists is there, or when nothing changed in
it for the quiet time.

Files that lie in no folder, and files that came after their folder's batch was done, are set apart into a drop
of their own: whatever lies in the inbox ends in a batch.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import yaml
from sqlalchemy import select

from dam.catalog.claims import ASKING
from dam.catalog.models import Batch, BatchFile, StageClaim, utcnow
from dam.errors import BadInput, NotFound
from dam.ingest import bags, checksums, paperwork, released
from dam.ingest.paperwork import BAG, BEGUN, CARD, MARKER, basename
from dam.storage.keys import checked

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.services import Services
    from dam.storage import Entry

DROPS = "drops/"
#: Stands for the files that lie in no folder, where a drop's name would stand.
LOOSE = "_loose"
#: The list of the checksums that were promised of files that came late.
_PROMISED = ".promised.sha256"
#: An upload that was begun so long ago and not completed is told of.
_FORGOTTEN = timedelta(hours=24)


def discover(services: Services) -> list[str]:
    """Return the drops in the inbox that wait for somebody to take them up, as locations.

    They are complete drops without a batch; drops whose batch no workflow has taken up, because whoever registered
    it died before telling; those with files to be set apart (:func:`set_apart`); and batches of which something was
    released from quarantine since they were checked (:mod:`dam.ingest.released`), wherever they lie.
    """
    lying = _survey(services)
    with services.session() as session:
        known = {batch.location: batch for batch in session.scalars(select(Batch).where(Batch.location.in_(lying)))}
        found = {
            location
            for location, entries in lying.items()
            if (
                _to_set_apart(services, session, location, known.get(location), entries)
                if _is_loose(location) or location in known
                else _is_complete(services, location, entries)
            )
        }
        untold = select(Batch.location).where(
            Batch.source.not_in(("cli", "brief")),  # whoever made these goes on with them when they were scanned
            ((Batch.status == "open") & Batch.location.startswith(DROPS, autoescape=True)) | released.untaken(),
            ~select(StageClaim.key).where(StageClaim.key == Batch.id, StageClaim.stage != ASKING).exists(),
        )
        return sorted(found | set(session.scalars(untold)))


def set_apart(services: Services, *, location: str) -> str:
    """Return the drop to register for a location: itself, or a new one for the files that are set apart.

    Set apart are files that came after the location's batch was done, with that batch's card and checksums, and
    files that lie in no folder. They move to a drop beside it (``<location>~2``, ``~3``, …). Killed half-way and
    called again, the same drop gets the rest.

    :raises NotFound: nothing lies there that could be set apart.
    """
    inbox = services.storage.inbox
    entries = _loose(services, location) if _is_loose(location) else own(services, location)
    with services.session() as session:
        batch = session.scalar(select(Batch).where(Batch.location == location))
        moving = _to_set_apart(services, session, location, batch, entries)
        if not moving:
            if _is_loose(location):
                raise NotFound("nothing lies there that is whole", where=f"inbox/{location}")
            return location
        beside = select(Batch.location).where(Batch.location.startswith(f"{location}~", autoescape=True))
        taken = set(session.scalars(beside))
        card = _card_of(batch) if batch else None
    apart = next(drop for number in itertools.count(2) if (drop := f"{location}~{number}") not in taken)
    root = location.removesuffix(f"/{LOOSE}")
    if batch is not None:
        inbox.put(f"{apart}/{CARD}", yaml.safe_dump(card, allow_unicode=True).encode())
        promised = _promised(services, batch.id)
        paths = (entry.key.removeprefix(f"{root}/") for entry in moving)
        lines = [f"{digest}  {path}\n" for path in paths for digest in promised.get(path, {}).values()]
        if lines:
            inbox.put(f"{apart}/{_PROMISED}", "".join(lines).encode())
    for entry in moving:
        inbox.rename(entry.key, apart + entry.key.removeprefix(root))
    inbox.put(f"{apart}/{MARKER}", b"")
    return apart


def came_late(services: Services, *, batch_id: str) -> list[str]:
    """Return the files in a batch's folder that were not there when it was planned, by path.

    Below ``drops/`` they become a batch of their own when this one is done.
    """
    with services.session() as session:
        batch = session.get(Batch, batch_id)
        if batch is None:
            raise NotFound("there is no such batch", where=batch_id)
        if batch.status == "open":
            return []
        late = _late(services, session, batch, own(services, batch.location))
        return [entry.key.removeprefix(f"{batch.location}/") for entry in late]


def own(services: Services, location: str) -> list[Entry]:
    """Return what lies in a batch's folder, without the drops below it."""
    entries = list(services.storage.inbox.list(f"{location}/"))
    if not location.startswith(DROPS):
        return entries
    homes = _Homes(services, entries)
    return [entry for entry in entries if homes.of(entry.key, within=location) == location]


def problems(services: Services) -> list[dict[str, str]]:
    """Return what lies in the inbox and can't be taken up as it is, for people: ``{"where", "what"}``."""
    found = []
    for entry in services.storage.inbox.list(DROPS):
        name, folder = basename(entry.key), entry.key.rpartition("/")[0]
        told = None
        if not _usable(entry.key):
            told = "Its name, or that of a folder above it, can't be kept. Rename it."
        elif name in (MARKER, CARD) and _depth(services, entry.key) == entry.key.count("/"):
            told = "It says nothing here. Put it into the folder that it is about."
        elif name == BEGUN and entry.modified < utcnow() - _FORGOTTEN:
            told = f"It was begun on {entry.modified:%Y-%m-%d %H:%M} UTC, and is not complete. Go on, or discard it."
        elif name.lower().endswith(paperwork.UNFINISHED) and entry.modified < _quiet_since(services):
            told = "Whoever sends it has not ended. Until then its folder waits."
        if told:
            found.append({"where": printable(folder if name == BEGUN else entry.key), "what": told})
    return found


def printable(path: str) -> str:
    """Return a path as it can be shown and kept, whatever bytes are in it."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


# -------------------------------------------------------------------------------------------- whose is it


def _survey(services: Services) -> dict[str, list[Entry]]:
    """Return what lies below ``drops/`` by location."""
    entries = list(services.storage.inbox.list(DROPS))
    homes = _Homes(services, entries)
    lying: dict[str, list[Entry]] = {}
    for entry in entries:
        location = homes.of(entry.key)
        if _usable(location):
            lying.setdefault(location, []).append(entry)
    return lying


class _Homes:
    """To which drop each file belongs."""

    def __init__(self, services: Services, entries: Iterable[Entry]) -> None:
        keys = [entry.key for entry in entries]
        self._services = services
        self._marked = {key.rpartition("/")[0] for key in keys if basename(key) in (MARKER, CARD, BEGUN)}
        self._bags = {key.rpartition("/")[0] for key in keys if basename(key) == BAG}
        folders = {folder for key in keys for folder in self._folders(key) if _usable(folder)}
        with services.session() as session:
            self._marked |= set(session.scalars(select(Batch.location).where(Batch.location.in_(folders))))

    def of(self, key: str, *, within: str | None = None) -> str:
        """Return the location that a file belongs to. :param within: a drop that it lies in for certain."""
        folders = self._folders(key)
        if within is not None:
            folders = [folder for folder in folders if folder == within or folder.startswith(f"{within}/")]
        marked = next((folder for folder in folders if folder in self._marked), None)
        bag = next((folder for folder in reversed(folders) if folder in self._bags), None)
        if not folders:
            return f"{key.rpartition('/')[0]}/{LOOSE}"
        return marked or bag or folders[-1]

    def _folders(self, key: str) -> list[str]:
        """Return the folders above a file that may be drops, the nearest first."""
        parts = key.split("/")
        return ["/".join(parts[:end]) for end in range(len(parts) - 1, _depth(self._services, key), -1)]


def _depth(services: Services, key: str) -> int:
    """Return how many folders are above a file's drop: ``drops``, or a workflow's folder in it as well."""
    parts = key.split("/")
    return 2 if len(parts) > 2 and parts[1] in services.workflow.drops else 1


def _usable(key: str) -> bool:
    try:
        checked(key)
    except BadInput:
        return False
    return True


# ------------------------------------------------------------------------------------------- is it complete


def _is_complete(services: Services, location: str, entries: list[Entry]) -> bool:
    names = {entry.key.removeprefix(f"{location}/"): entry for entry in entries}
    if MARKER in names:
        return True
    if BEGUN in names or any(name.lower().endswith(paperwork.UNFINISHED) for name in names):
        return False
    if all(entry.modified < _quiet_since(services) for entry in entries):
        return True
    try:
        return is_settled(services, entries) and _is_as_listed(services, location, names)
    except NotFound:  # somebody removed its manifest while it was looked for
        return False


def _quiet_since(services: Services) -> datetime:
    return utcnow() - timedelta(seconds=services.taxonomy.limits.quiet_seconds)


def is_settled(services: Services, entries: Iterable[Entry]) -> bool:
    """Return whether every file of the inbox is whole, as far as its time of change tells."""
    if services.storage.inbox.whole:
        return True
    since = utcnow() - timedelta(seconds=services.taxonomy.limits.settle_seconds)
    return all(entry.modified <= since for entry in entries)


def _is_as_listed(services: Services, location: str, names: dict[str, Entry]) -> bool:
    """Return whether a manifest lists every file of a drop, and every file that it lists is there."""
    usable = {name: entry for name, entry in names.items() if _usable(entry.key)}

    def content(name: str) -> bytes:
        return services.storage.inbox.read(f"{location}/{name}") if usable[name].bytes <= checksums.LONGEST else b""

    if BAG in usable:
        bag = bags.read("", usable, content)
        sizes = {name: entry.bytes for name, entry in usable.items()}
        return not (bag.missing(usable) or bag.unlisted(usable) or bag.oxum_fault(sizes))
    listed: set[str] = set()
    for name in usable:
        if "/" not in name and paperwork.is_sums(name) and not _is_about_one(name, usable):
            listed |= set(checksums.read(name, checksums.decode(content(name))).promised)
    litter = services.taxonomy.limits.litter
    files = {name for name in names if not paperwork.is_paperwork(name) and not paperwork.is_litter(name, litter)}
    return bool(listed) and listed <= set(names) and files <= listed


def _is_about_one(name: str, names: Iterable[str]) -> bool:
    """Return whether a list is the checksum of the one file that it is named after."""
    return name.rpartition(".")[0] in names


# ------------------------------------------------------------------------------------------- what came after


def _is_loose(location: str) -> bool:
    return basename(location) == LOOSE


def _loose(services: Services, location: str) -> list[Entry]:
    """Return the files that lie in no folder."""
    root = location.removesuffix(LOOSE)
    return [entry for entry in services.storage.inbox.list(root) if "/" not in entry.key.removeprefix(root)]


def _to_set_apart(
    services: Services, session: Session, location: str, batch: Batch | None, entries: list[Entry]
) -> list[Entry]:
    """Return what is to be set apart of a location, its checksums with it; nothing when no file is ready."""
    if _is_loose(location):
        ready = [entry for entry in entries if basename(entry.key) not in (MARKER, CARD, BEGUN)]
    elif batch is not None and batch.status == "done":
        late = {entry.key for entry in _late(services, session, batch, entries)}
        ready = [entry for entry in entries if entry.key in late or paperwork.is_paperwork(entry.key)]
        if any(entry.key == f"{location}/{MARKER}" for entry in entries):
            return [entry for entry in ready if basename(entry.key) != MARKER] if late else []
    else:
        return []
    ready = [entry for entry in ready if _is_ready(services, entry)]
    return ready if any(_is_file(services, entry.key) for entry in ready) else []


def _is_ready(services: Services, entry: Entry) -> bool:
    """Return whether nobody writes a file any more."""
    unfinished = entry.key.lower().endswith(paperwork.UNFINISHED)
    return _usable(entry.key) and not unfinished and entry.modified < _quiet_since(services)


def _is_file(services: Services, key: str) -> bool:
    return not paperwork.is_paperwork(key) and not paperwork.is_litter(key, services.taxonomy.limits.litter)


def _late(services: Services, session: Session, batch: Batch, entries: list[Entry]) -> list[Entry]:
    """Return a batch's files that were not planned, or that were put there again after it was done."""
    files = {entry.key.removeprefix(f"{batch.location}/"): entry for entry in entries if _is_file(services, entry.key)}
    if not files:
        return []
    planned = set(batch.papers)
    for path, archive in session.execute(
        select(BatchFile.path, BatchFile.archive).where(BatchFile.batch_id == batch.id)
    ):
        planned.add(archive or path)
    return [
        entry
        for path, entry in files.items()
        if _usable(entry.key)
        and (path not in planned or (batch.done_at is not None and entry.modified > batch.done_at))
    ]


def _card_of(batch: Batch) -> dict[str, Any]:
    return {
        "sent_by": batch.sent_by,
        "supplier": batch.supplier,
        "campaign": batch.campaign.slug if batch.campaign else None,
        "rights": batch.rights,
    }


def _promised(services: Services, batch_id: str) -> dict[str, dict[str, str]]:
    """Return the checksums that came with a batch that is done: they may be those of files that came late."""
    filed, reports = filed_at(batch_id), services.storage.reports
    found = checksums.Sums()
    for entry in reports.list(filed):
        if paperwork.is_sums(entry.key) and entry.bytes <= checksums.LONGEST:
            path = entry.key.removeprefix(filed)
            found.include(checksums.read(path, checksums.decode(reports.read(entry.key))))
    return found.promised


def filed_at(batch_id: str, path: str = "") -> str:
    """Return where the reports store keeps the paperwork of a batch that is done."""
    return f"batches/{batch_id}/paperwork/{path}"
