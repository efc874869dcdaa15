"""The gate: every file of a batch becomes a version in the vault, or is set aside with its reason.

In order: checksum, size, exact duplicate, malware (:mod:`dam.ingest.scanner`), then a look inside
(:mod:`dam.ingest.look`: format by content, safety, full decode, fingerprints, embedded metadata, preview),
near-duplicates, vault, asset and version, tags and rights. A file is read once and decoded once. Each file is
one transaction that holds its row's lock: a worker that is killed leaves the file pending, and two workers at
one batch never take the same file.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from sqlalchemy import bindparam, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import joinedload

from dam import audit
from dam.catalog.lifecycle import change_state
from dam.catalog.models import (
    Asset,
    Batch,
    BatchFile,
    Campaign,
    Deliverable,
    Description,
    FileOutcome,
    Tier,
    Version,
    VersionState,
    new_id,
    utcnow,
)
from dam.errors import BadInput, NotFound, Refused
from dam.ingest import embedded, near, released, sandbox
from dam.ingest.contents import key_of
from dam.ingest.drops import filed_at
from dam.ingest.inspection import Inspection
from dam.ingest.paperwork import basename
from dam.ingest.scanner import AWAITED, INFECTED, NOT_SCANNED, Scan
from dam.taxonomy import naming

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.services import Services
    from dam.storage import Store


_BLOCK = 1 << 20
#: A longer XMP sidecar is not read.
SIDECAR = 16_000_000
#: A look at a file may take so many seconds, and one more for so many bytes of it.
_PATIENCE, _BYTES_A_SECOND = 60.0, 2_000_000
#: What plays may ask for so many times as long as it may play.
_LONGEST = 4


# What every file is asked by. Making a statement costs as much as sending it, so these are made once.
_PENDING = (
    select(BatchFile)
    .where(BatchFile.id == bindparam("id"), BatchFile.outcome == bindparam("outcome"))
    .options(joinedload(BatchFile.batch, innerjoin=True))
    .with_for_update(skip_locked=True, of=BatchFile)
)
_KNOWN = select(Version).where(Version.sha256 == bindparam("sha256"), Version.state != VersionState.DESTROYED)
_NEW_ASSET = insert(Asset).on_conflict_do_nothing().returning(Asset)
_NAMED = (
    select(Asset)
    .where(Asset.name == bindparam("name"), Asset.campaign_id.is_not_distinct_from(bindparam("campaign_id")))
    .with_for_update(of=Asset)
)
_NEWEST = select(func.max(Version.number)).where(Version.asset_id == bindparam("asset_id"))

_BEFORE = Scan(NOT_SCANNED, "set aside before it was scanned")


@dataclass
class _File:
    """One file on its way through the gate.

    :param staged: its bytes, on their way into the vault. :param digests: hex, by algorithm.
    :param waiting: the version of these bytes that was set aside until it is scanned.
    :param twins: names that several files of the batch have.
    """

    row: BatchFile
    batch: Batch
    staged: BinaryIO
    digests: dict[str, str]
    twins: frozenset[str] = frozenset()
    notes: list[str] = field(default_factory=list)
    scan: Scan = _BEFORE
    waiting: Version | None = None

    @property
    def path(self) -> Path:
        """Where its bytes are, until the gate is done with it."""
        return Path(self.staged.name)

    @property
    def sha256(self) -> str:
        return self.digests["sha256"]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the look inside told: its format, and what was found in it."""

    media_type: str
    kind: str
    extensions: tuple[str, ...]
    told: Inspection
    scratch: Path


class _Refusal(Exception):
    """The file is set aside; the message is for people."""

    def __init__(self, why: str, media_type: str = "application/octet-stream") -> None:
        super().__init__(why)
        self.media_type = media_type


class _Unknown(_Refusal):
    """The file is kept as it is until a person says what it is."""


def ingest_chunk(
    services: Services,
    *,
    batch_id: str,
    file_ids: list[str],
    run: str | None = None,
    told: Callable[[str], None] | None = None,
) -> dict[str, int]:
    """Take files through the gate, tag them and note their rights; one bad file never stops the others.

    Files that are done, or that another worker has in hand, are left alone.

    :param told: is called with each file's id when it is through, for a progress bar.
    :returns: counts by outcome of the files that this call brought to an end.
    """
    _get_ready(services)
    twins = _twins(services, batch_id)
    files = [(file_id, twins) for file_id in file_ids]
    return _take_in(services, files, run, told=told)


def scan_again(services: Services, *, run: str | None = None) -> dict[str, int]:
    """Take what was set aside until it was scanned through the gate again.

    :returns: counts by outcome. :raises Refused: the scanner does not answer.
    """
    _get_ready(services)
    if not services.scanner.ping():
        raise Refused("the malware scanner does not answer", remedy="Start it, or set DAM_CLAMD to where it listens.")
    with services.session() as session:
        waiting = session.execute(
            select(BatchFile.batch_id, BatchFile.id)
            .join(Version, Version.id == BatchFile.version_id)
            .where(Version.scan == AWAITED, BatchFile.outcome == FileOutcome.QUARANTINED)
            .order_by(Version.created_at, BatchFile.id)
        ).all()
    twins = {batch_id: _twins(services, batch_id) for batch_id in {batch_id for batch_id, _ in waiting}}
    files = [(file_id, twins[batch_id]) for batch_id, file_id in waiting]
    return _take_in(services, files, run, again=True)


def _get_ready(services: Services) -> None:
    """Read all that people edit and the gate goes by: a fault in it is no file's fault and must set none aside.

    :raises BadInput: the first fault, with file and line.
    """
    from dam.enrich import tags
    from dam.renditions import recipes

    services.taxonomy.check()
    recipes.load(services)
    _ = services.scanner  # an address that makes no sense
    tags.get_ready(services)


def _twins(services: Services, batch_id: str) -> frozenset[str]:
    """Return the names that several files of a batch have, in different folders."""
    name = func.regexp_replace(BatchFile.path, "^.*/", "").label("basename")
    with services.session() as session:
        return frozenset(
            session.scalars(select(name).where(BatchFile.batch_id == batch_id).group_by(name).having(func.count() > 1))
        )


def _take_in(
    services: Services,
    files: list[tuple[str, frozenset[str]]],
    run: str | None,
    *,
    again: bool = False,
    told: Callable[[str], None] | None = None,
) -> dict[str, int]:
    """Take files through in their order: while one is written down, the next is read and looked into.

    :param files: ids, and the names that several files of the batch have.
    :param again: they are in quarantine, where they wait for the scanner.
    :returns: counts by outcome.
    """
    counts: Counter[str] = Counter()
    attempts = [_Attempt(services, *file, run, again) for file in files]
    ahead = ThreadPoolExecutor(1, "dam-look")
    try:
        coming = [ahead.submit(attempt.look) for attempt in attempts[:1]]
        for attempt, following in zip_longest(attempts, attempts[1:]):
            coming.pop().result()
            if following:
                coming.append(ahead.submit(following.look))
            if outcome := attempt.finish():
                counts[outcome] += 1
            if told:
                told(attempt.file_id)
    except BaseException:
        sandbox.shared().interrupt()  # nobody waits for what is looked into now
        raise
    finally:
        ahead.shutdown()
        for attempt in attempts:
            attempt.give_up()
    return dict(counts)


class _Attempt:
    """One file's transaction, in two parts: a look, in whatever thread, and the end of it.

    Whatever about the file can't be handled sets it aside, and it alone.
    """

    def __init__(self, services: Services, file_id: str, twins: frozenset[str], run: str | None, again: bool) -> None:
        self.file_id = file_id
        self._services, self._run = services, run
        self._begin = partial(_attempt, services, file_id, twins, run, again)
        self._parts: Generator[None, None, str | None] | None = None
        self._fault: Exception | None = None
        self._outcome: str | None = None

    def look(self) -> None:
        """Read the file and look into it; its row stays locked."""
        self._parts = self._begin()
        self._go_on()

    def finish(self) -> str | None:
        """Write down what became of the file. :returns: its outcome; None when another worker has it in hand."""
        try:
            self._go_on()
        except IntegrityError as error:
            if "uq_versions_sha256_kept" not in str(error.orig):
                raise
            self.look()  # the same bytes arrived meanwhile: they are in the library now
            self._go_on()
        if self._fault is not None:
            return _could_not(self._services, self.file_id, self._fault, self._run)
        return self._outcome

    def give_up(self) -> None:
        """Undo a look whose end never came."""
        if self._parts is not None:
            self._parts.close()

    def _go_on(self) -> None:
        if self._parts is None:
            return
        try:
            next(self._parts)
        except StopIteration as end:
            self._outcome, self._parts = end.value, None
        except (BadInput, UnicodeError, ValueError) as fault:
            self._fault, self._parts = fault, None


def _could_not(services: Services, file_id: str, fault: Exception, run: str | None) -> str | None:
    with services.session() as session:
        row = _pending(session, file_id)
        if row is None:
            return None
        row.outcome, row.reason = FileOutcome.OPAQUE, f"It could not be taken in: {fault} It stays in the inbox."
        row.done_at = utcnow()
        _record(session, row, run)
        return str(row.outcome)


def _attempt(
    services: Services, file_id: str, twins: frozenset[str], run: str | None, again: bool
) -> Generator[None, None, str | None]:
    """Take one file through, in one transaction; pauses once it was looked into."""
    begun = time.monotonic()
    with services.session() as session:
        row = _pending(session, file_id, FileOutcome.QUARANTINED if again else FileOutcome.PENDING)
        if row is None:
            return None
        batch = row.batch
        store, key = services.storage.inbox, key_of(batch, row)
        if again and row.version:
            store, key = services.storage.resolve(row.version.storage_uri)
        try:
            with (
                _read_once(services, store, key, set(row.promised)) as (staged, digests),
                sandbox.scratch() as scratch,
            ):
                row.sha256, row.bytes = digests["sha256"], staged.tell()
                file = _File(row, batch, staged, digests, twins, list(row.notes))
                found = _look_into(services, session, file, scratch)
                looked = time.monotonic()
                yield
                waited = time.monotonic() - looked
                _write_down(services, session, file, found, run)
        except NotFound:
            waited = 0.0
            row.outcome, row.reason = FileOutcome.OPAQUE, "The file vanished from the inbox before it was read."
        row.seconds, row.done_at = round(time.monotonic() - begun - waited, 3), utcnow()
        _record(session, row, run)
        if again and row.outcome in (FileOutcome.INGESTED, FileOutcome.NEW_VERSION):
            released.note(session, row, run=run)
        return str(row.outcome)


def _pending(session: Session, file_id: str, outcome: str = FileOutcome.PENDING) -> BatchFile | None:
    return session.scalar(_PENDING, {"id": file_id, "outcome": outcome})


def _record(session: Session, row: BatchFile, run: str | None) -> None:
    audit.record(
        session,
        actor="airflow",
        action=f"file.{row.outcome}",
        subject_id=row.version_id or row.id,
        data={"batch_id": row.batch_id, "path": row.path, "sha256": row.sha256, "reason": row.reason},
        run=run,
    )


@contextmanager
def _read_once(
    services: Services, store: Store, key: str, promised: set[str]
) -> Iterator[tuple[BinaryIO, dict[str, str]]]:
    """Read a file from its store, once, into the vault's antechamber; give it and its digests by algorithm.

    :param promised: algorithms beside SHA-256 that the sender promised a digest in.
    """
    digests = {name: hashlib.new(name, usedforsecurity=name.startswith("sha")) for name in {"sha256", *promised}}
    with services.storage.vault.staging() as staged:
        with store.open(key) as stream:
            while block := stream.read(_BLOCK):
                for digest in digests.values():
                    digest.update(block)
                staged.write(block)
        staged.flush()
        yield staged, {name: digest.hexdigest() for name, digest in digests.items()}


def _look_into(services: Services, session: Session, file: _File, scratch: Path) -> Version | _Refusal | _Seen:
    """Find out what a file is: bytes that are known, something to set aside with its reason, or an asset."""
    known = _known(session, file)
    if known is not None and known.scan == AWAITED:
        session.refresh(known, with_for_update={"of": Version})  # another worker may have it in hand
        file.waiting = known if known.scan == AWAITED else None
    if known is not None and file.waiting is None:
        return known
    try:
        if broken := _broken_promise(file):
            raise _Refusal(broken)
        _check_bytes(services, file)
        seen = _look(services, file, scratch)
        _read_sidecars(services, file, seen)
    except _Refusal as refusal:
        return refusal
    return seen


def _known(session: Session, file: _File) -> Version | None:
    with session.no_autoflush:
        return session.scalar(_KNOWN, {"sha256": file.sha256})


def _write_down(
    services: Services, session: Session, file: _File, found: Version | _Refusal | _Seen, run: str | None
) -> None:
    match found:
        case Version():
            _join(session, file, found)
            if broken := _broken_promise(file):
                file.row.outcome, file.row.reason = FileOutcome.QUARANTINED, f"{broken} {file.row.reason}"
        case _Refusal():
            _set_aside(services, session, file, found, run)
        case _Seen():
            _accept(services, session, file, found, run)


def _broken_promise(file: _File) -> str | None:
    """Return what is wrong when a checksum is not the one that the sender promised."""
    for name, promised in sorted(file.row.promised.items()):
        if promised != file.digests[name]:
            return (
                "The checksum is not what the sender promised: the file was changed on its way. "
                f"(promised {name} {promised[:12]}…, got {file.digests[name][:12]}…)"
            )
    return None


def _check_bytes(services: Services, file: _File) -> None:
    limits = services.taxonomy.limits
    if file.row.bytes == 0:
        raise _Refusal("The file is empty.")
    if file.row.bytes > limits.max_bytes:
        raise _Refusal(f"The file is larger than {limits.max_bytes / 1e9:g} GB.")


def _look(services: Services, file: _File, scratch: Path) -> _Seen:
    """Look into a file, in the decoding process."""
    _scan(services, file)
    limits = services.taxonomy.limits
    answer = sandbox.shared().look(
        file.path,
        name=file.row.path,
        limits=limits.model_dump(),
        recipes=services.settings.include / "templates" / "recipes.yaml",
        scratch=scratch,
        bounds=sandbox.Bounds(
            limits.decoder_bytes, _PATIENCE + file.row.bytes / _BYTES_A_SECOND, longest=_LONGEST * limits.max_seconds
        ),
    )
    if "unusable" in answer:
        raise _Refusal(answer["unusable"], answer["media_type"])
    if "opaque" in answer:
        raise _Unknown(answer["opaque"], answer["media_type"])
    told = Inspection.from_dict(answer["told"])
    file.notes += told.notes
    return _Seen(answer["media_type"], answer["kind"], tuple(answer["extensions"]), told, scratch)


def _scan(services: Services, file: _File) -> None:
    """Have a file scanned for malware; one that was not passes or waits, by ``unscanned`` in ``limits.yaml``."""
    limits = services.taxonomy.limits
    file.scan = services.scanner.scan(file.path, most_bytes=limits.scan_max_bytes)
    if file.scan.state == INFECTED:
        raise _Refusal(f"It carries malware: {file.scan.note}. Tell the sender; nobody should open it.")
    if file.scan.state == NOT_SCANNED and limits.unscanned == "block":
        file.scan = Scan(AWAITED, file.scan.note)
        raise _Refusal(f"It is set aside until it was scanned for malware: {file.scan.note}.")


def _read_sidecars(services: Services, file: _File, seen: _Seen) -> None:
    """Add what the file's XMP sidecars say to what it says itself; where both say something, the file is right."""
    for path in file.row.sidecars:
        name = basename(path)
        if not name.lower().endswith(".xmp"):
            file.notes.append(f"{name} is kept as its sidecar.")
            continue
        store, key = services.storage.inbox, key_of(file.batch, file.row, path)
        if not store.exists(key):  # the batch is closed, and only now its file was scanned
            store, key = services.storage.reports, filed_at(file.batch.id, path)
        try:
            found = {}
            if store.size(key) <= SIDECAR:
                with store.local(key) as local:
                    found = sandbox.shared().sidecar(
                        local, bounds=sandbox.Bounds(services.taxonomy.limits.decoder_bytes, _PATIENCE)
                    )
        except NotFound:
            file.notes.append(f"Its sidecar {name} vanished from the inbox before it was read.")
            continue
        if found:
            seen.told.embedded = found | seen.told.embedded
            file.notes.append(f"{len(found)} fields were read from its sidecar {name}.")
        else:
            file.notes.append(f"Its sidecar {name} can't be read as XMP.")


def _join(session: Session, file: _File, known: Version) -> None:
    """Let a file whose bytes are in the library join that version: no second asset, both provenances."""
    file.row.version_id = known.id
    file.row.outcome = FileOutcome.DUPLICATE
    name = f"{known.asset.name} v{known.number}" if known.asset else f"the quarantined file {known.filename}"
    if known.merged_into_id is not None:
        kept = session.get_one(Version, known.merged_into_id)
        name += f", which was merged into {kept.asset.name} v{kept.number}" if kept.asset else ""
    file.row.reason = f"The same bytes are in the library already, as {name}."


def _set_aside(services: Services, session: Session, file: _File, refusal: _Refusal, run: str | None) -> None:
    """Keep a refused file in quarantine, with its reason."""
    reason = str(refusal)
    file.row.reason = reason
    file.row.outcome = FileOutcome.OPAQUE if isinstance(refusal, _Unknown) else FileOutcome.QUARANTINED
    if file.waiting is not None:  # it is there already; what is known of it now is kept
        file.row.version_id = file.waiting.id
        file.waiting.scan, file.waiting.scan_note = file.scan.state, file.scan.note
        file.waiting.state_reason, file.waiting.media_type = reason, refusal.media_type
        return
    stored = services.storage.quarantine.put_content(file.path, sha256=file.sha256)
    version = Version(
        asset_id=None,
        number=None,
        batch_id=file.batch.id,
        filename=basename(file.row.path),
        sha256=file.sha256,
        bytes=file.row.bytes,
        media_type=refusal.media_type,
        storage_uri=stored.uri,
        tier=Tier.QUARANTINE,
        scan=file.scan.state,
        scan_note=file.scan.note,
        made_by=file.batch.sent_by,
    )
    session.add(version)
    change_state(session, version, VersionState.QUARANTINED, actor="airflow", why=reason, run=run)
    file.row.version_id = version.id


def _accept(services: Services, session: Session, file: _File, seen: _Seen, run: str | None) -> None:
    """Store an accepted file in the vault, give it its asset and number, its tags and its rights."""
    from dam.enrich import rights, tags
    from dam.renditions import render

    if file.waiting is not None:
        released.lock(session, file.batch)
    name, filename, claimed = _names(file, seen)
    stored = services.storage.vault.keep(file.staged, sha256=file.sha256)
    asset, number = _asset(session, file.batch, name, seen.kind)
    if asset.kind != seen.kind:
        # a film of that name is no version of a picture: another contract holds, and another eye reviews it
        own = f"{name}-{seen.kind.upper()}"
        file.notes.append(f"{name} is of the kind {asset.kind} and this is {seen.kind}, so it is kept as {own}.")
        asset, number = _asset(session, file.batch, own, seen.kind)
    if claimed not in (None, number):
        file.notes.append(f"Its name claims version {claimed}; the next one of {asset.name} here is version {number}.")
    described = embedded.describe(seen.told.embedded, services.taxonomy.metadata)
    version = _version(file, seen, asset, number, filename, stored.uri)
    if file.waiting:
        version = _released(file.waiting, version)
    version.description = _description(described.fields)
    session.add(version)
    file.row.version_id, file.row.reason = version.id, None
    file.row.outcome = FileOutcome.INGESTED if number == 1 else FileOutcome.NEW_VERSION
    change_state(
        session, version, VersionState.INGESTED, actor="airflow", why=f"ingested from {file.row.path}", run=run
    )
    render.keep_proofs(services, session, version, seen.told.proofs, seen.scratch)
    tags.tag(services, session, version, people=tags.NOBODY, run=run)
    remarks = rights.note(services, session, version, file.batch, file.row.path, run=run)
    if version.phash is not None or version.fingerprints:
        _link_near(services, session, version)
    file.row.notes = [*file.notes, *described.remarks, *remarks]


def _description(fields: dict[str, Any]) -> Description:
    """Return a description; what has no column of its own is kept as ``custom``."""
    columns = {name: value for name, value in fields.items() if name in Description.__table__.columns}
    custom = {name: value for name, value in fields.items() if name not in columns}
    return Description(updated_by="airflow", custom=custom, **columns)


def _version(file: _File, seen: _Seen, asset: Asset, number: int, filename: str, uri: str) -> Version:
    told = seen.told
    fingerprints: dict[str, Any] = {
        "key_frames": told.key_frames, "cuts": told.cuts, "chromaprint": told.chromaprint,
    }  # fmt: skip
    return Version(
        id=new_id("ver"),
        asset_id=asset.id,
        number=number,
        batch_id=file.batch.id,
        filename=filename,
        sha256=file.sha256,
        bytes=file.row.bytes,
        media_type=seen.media_type,
        storage_uri=uri,
        tier=Tier.HOT,
        width=told.width,
        height=told.height,
        seconds=told.seconds,
        pixel_hash=told.pixel_hash,
        phash=None if file.batch.source == "brief" else told.phash,  # a brief looks like every other
        fingerprints={name: value for name, value in fingerprints.items() if value},
        technical=told.technical | {"colours": told.colours},
        embedded=told.embedded,
        words=told.words or None,
        scan=file.scan.state,
        scan_note=file.scan.note,
        made_by=file.batch.sent_by,
    )


def _released(waiting: Version, made: Version) -> Version:
    """Fill the version that waited in quarantine with what is known now. Its bytes stay there, too."""
    for column in Version.__mapper__.column_attrs:
        if column.key in made.__dict__ and column.key != "id":
            setattr(waiting, column.key, getattr(made, column.key))
    return waiting


def _names(file: _File, found: _Seen) -> tuple[str, str, int | None]:
    """Return the asset's name, the name the file is served under (its extension mended), and the number it claims."""
    given = basename(file.row.path)
    stem, dot, extension = given.rpartition(".")
    if not dot:
        stem, extension = given, ""
    if extension.lower() not in found.extensions:
        right = found.extensions[0]
        file.notes.append(f"The extension .{extension or '(none)'} was wrong: it is {found.media_type}, now .{right}.")
        extension = right
    filename = f"{stem}.{extension}"
    try:
        told = naming.parse(filename)
        return told.asset, filename, told.version
    except BadInput as fault:
        file.notes.append(fault.what[0].upper() + fault.what[1:] + ".")
        return naming.asset_name(file.row.path, sha256=file.sha256, twins=file.twins), filename, None


def _asset(session: Session, batch: Batch, name: str, kind: str) -> tuple[Asset, int]:
    """Return the asset of that name, its row locked, and the number of its next version."""
    with session.no_autoflush:
        return _named(session, batch, name, kind)


def _named(session: Session, batch: Batch, name: str, kind: str) -> tuple[Asset, int]:
    deliverable_id = None
    if batch.campaign_id is not None:
        deliverable_id = session.scalar(
            select(Deliverable.id)
            .join(Campaign, Campaign.id == Deliverable.campaign_id)
            .where(Deliverable.campaign_id == batch.campaign_id)
            .where(func.concat(Deliverable.project, "_", Campaign.client) == name)
        )
    new = {
        "id": new_id("ast"),
        "campaign_id": batch.campaign_id,
        "deliverable_id": deliverable_id,
        "name": name,
        "kind": kind,
        "created_at": utcnow(),
    }
    made = session.scalars(_NEW_ASSET, [new]).one_or_none()
    if made is not None:
        return made, 1
    asset = session.scalars(_NAMED, {"name": name, "campaign_id": batch.campaign_id}).one()
    return asset, (session.scalar(_NEWEST, {"asset_id": asset.id}) or 0) + 1


def _link_near(services: Services, session: Session, version: Version) -> None:
    near.link(session, version, bits=services.taxonomy.limits.near_duplicate_bits)
