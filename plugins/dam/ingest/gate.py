"""The gate: every file of a batch becomes a version in the vault, or is set aside with its reason.

In order: checksum, size, exact duplicate, then a look inside (:mod:`dam.ingest.look`: format by content,
safety, full decode, fingerprints, embedded metadata, preview), near-duplicates, vault, asset and version, tags
and rights. A file is read once and decoded once. Each file is one transaction that holds its row's lock: a
worker that is killed leaves the file pending, and two workers at one batch never take the same file.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError

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
    NearDuplicate,
    Tier,
    Version,
    VersionState,
    new_id,
    utcnow,
)
from dam.errors import BadInput, NotFound
from dam.ingest import embedded, sandbox
from dam.ingest.inspection import Inspection
from dam.taxonomy import naming

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.services import Services
    from dam.storage import Store


_LOCK = 7_316_420_003  # pg_advisory_lock: one look for near-duplicates at a time
#: Files up to so many bytes are read into memory once; larger ones are read from disk.
IN_MEMORY = 256_000_000
_BLOCK = 1 << 20
#: A look at a file may take so many seconds, and one more for so many bytes of it.
_PATIENCE, _BYTES_A_SECOND = 60.0, 2_000_000


@dataclass
class _File:
    """One file on its way through the gate.

    :param path: of its bytes, valid until the gate is done with it. :param digests: hex, by algorithm.
    """

    row: BatchFile
    batch: Batch
    path: Path
    digests: dict[str, str]
    notes: list[str] = field(default_factory=list)

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


def ingest_chunk(services: Services, *, batch_id: str, file_ids: list[str], run: str | None = None) -> dict[str, int]:
    """Take files through the gate, tag them and note their rights; one bad file never stops the others.

    Files that are done, or that another worker has in hand, are left alone.

    :returns: counts by outcome of the files that this call brought to an end.
    """
    from dam.enrich import tags

    tags.get_ready(services)
    counts: Counter[str] = Counter()
    for file_id in file_ids:
        outcome = _ingest_file(services, batch_id, file_id, run)
        if outcome:
            counts[outcome] += 1
    return dict(counts)


def _ingest_file(services: Services, batch_id: str, file_id: str, run: str | None) -> str | None:
    """Take one file through; whatever about it can't be handled sets it aside, and it alone."""
    try:
        return _attempt(services, batch_id, file_id, run)
    except (BadInput, UnicodeError, ValueError) as error:
        with services.session() as session:
            row = _pending(session, file_id)
            if row is None:
                return None
            row.outcome, row.reason = FileOutcome.OPAQUE, f"It could not be taken in: {error} It stays in the inbox."
            _record(session, row, run)
            return str(row.outcome)


def _attempt(services: Services, batch_id: str, file_id: str, run: str | None) -> str | None:
    begun = time.monotonic()
    with services.session() as session:
        row = _pending(session, file_id)
        if row is None:
            return None
        batch = session.get_one(Batch, batch_id)
        key = f"{batch.location}/{row.path}"
        try:
            with _read_once(services.storage.inbox, key, set(row.promised)) as (path, digests):
                row.sha256, row.bytes = digests["sha256"], path.stat().st_size
                with sandbox.scratch() as scratch:
                    _through(services, session, _File(row, batch, path, digests), scratch, run)
        except NotFound:
            row.outcome, row.reason = FileOutcome.OPAQUE, "The file vanished from the inbox before it was read."
        row.seconds = round(time.monotonic() - begun, 3)
        _record(session, row, run)
        return str(row.outcome)


def _pending(session: Session, file_id: str) -> BatchFile | None:
    return session.scalar(
        select(BatchFile)
        .where(BatchFile.id == file_id, BatchFile.outcome == FileOutcome.PENDING)
        .with_for_update(skip_locked=True, of=BatchFile)
    )


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
def _read_once(store: Store, key: str, promised: set[str]) -> Iterator[tuple[Path, dict[str, str]]]:
    """Read a file from its store, once, and give a path to its bytes and their digests by algorithm.

    :param promised: algorithms beside SHA-256 that the sender promised a digest in.
    """
    digests = {name: hashlib.new(name, usedforsecurity=name.startswith("sha")) for name in {"sha256", *promised}}
    if store.size(key) > IN_MEMORY:
        with store.local(key) as path:
            with path.open("rb") as stream:
                while block := stream.read(_BLOCK):
                    for digest in digests.values():
                        digest.update(block)
            yield path, {name: digest.hexdigest() for name, digest in digests.items()}
        return
    # a nameless file in memory: the decoding process opens it by our number of it, nothing is read again
    number = os.memfd_create("file")
    try:
        with store.open(key) as stream:
            while block := stream.read(_BLOCK):
                for digest in digests.values():
                    digest.update(block)
                os.write(number, block)
        yield Path(f"/proc/{os.getpid()}/fd/{number}"), {name: digest.hexdigest() for name, digest in digests.items()}
    finally:
        os.close(number)


def _through(services: Services, session: Session, file: _File, scratch: Path, run: str | None) -> None:
    """Take one file through; whatever is wrong with it ends in quarantine with its reason."""
    known = session.scalar(
        select(Version).where(Version.sha256 == file.sha256, Version.state != VersionState.DESTROYED)
    )
    if known is not None:
        _join(file, known)
        return
    try:
        _check_bytes(services, file)
        seen = _look(services, file, scratch)
    except _Refusal as refusal:
        _set_aside(services, session, file, refusal, run)
        return
    _accept(services, session, file, seen, run)


def _check_bytes(services: Services, file: _File) -> None:
    limits = services.taxonomy.limits
    for name, promised in file.row.promised.items():
        if promised != file.digests[name]:
            raise _Refusal(
                "The checksum is not what the sender promised: the file was changed on its way. "
                f"(promised {name} {promised[:12]}…, got {file.digests[name][:12]}…)"
            )
    if file.row.bytes == 0:
        raise _Refusal("The file is empty.")
    if file.row.bytes > limits.max_bytes:
        raise _Refusal(f"The file is larger than {limits.max_bytes / 1e9:g} GB.")


def _look(services: Services, file: _File, scratch: Path) -> _Seen:
    """Look into a file, in the decoding process."""
    limits = services.taxonomy.limits
    answer = sandbox.shared().look(
        file.path,
        name=file.row.path,
        limits=limits.model_dump(),
        recipes=services.settings.include / "templates" / "recipes.yaml",
        scratch=scratch,
        bounds=sandbox.Bounds(limits.decoder_bytes, _PATIENCE + file.row.bytes / _BYTES_A_SECOND),
    )
    if "unusable" in answer:
        raise _Refusal(answer["unusable"], answer["media_type"])
    if "opaque" in answer:
        raise _Unknown(answer["opaque"], answer["media_type"])
    told = Inspection.from_dict(answer["told"])
    file.notes += told.notes
    return _Seen(answer["media_type"], answer["kind"], tuple(answer["extensions"]), told, scratch)


def _join(file: _File, known: Version) -> None:
    """Let a file whose bytes are in the library join that version: no second asset, both provenances."""
    file.row.version_id = known.id
    file.row.outcome = FileOutcome.DUPLICATE
    name = f"{known.asset.name} v{known.number}" if known.asset else f"the quarantined file {known.filename}"
    file.row.reason = f"The same bytes are in the library already, as {name}."


def _set_aside(services: Services, session: Session, file: _File, refusal: _Refusal, run: str | None) -> None:
    """Keep a refused file in quarantine, with its reason."""
    reason = str(refusal)
    stored = services.storage.quarantine.put_content(file.path, sha256=file.sha256)
    version = _insert(
        session,
        Version(
            asset_id=None,
            number=None,
            batch_id=file.batch.id,
            filename=file.row.path.rsplit("/", 1)[-1],
            sha256=file.sha256,
            bytes=file.row.bytes,
            media_type=refusal.media_type,
            storage_uri=stored.uri,
            tier=Tier.QUARANTINE,
            made_by=file.batch.sent_by,
        ),
    )
    if version is None:  # the same bad bytes arrived through another worker at the same moment
        known = session.scalars(select(Version).where(Version.sha256 == file.sha256)).one()
        _join(file, known)
        return
    change_state(session, version, VersionState.QUARANTINED, actor="airflow", why=reason, run=run)
    file.row.version_id = version.id
    file.row.reason = reason
    file.row.outcome = FileOutcome.OPAQUE if isinstance(refusal, _Unknown) else FileOutcome.QUARANTINED


def _accept(services: Services, session: Session, file: _File, seen: _Seen, run: str | None) -> None:
    """Store an accepted file in the vault, give it its asset and number, its tags and its rights."""
    from dam.enrich import rights, tags
    from dam.renditions import render

    name, filename = _names(file, seen)
    stored = services.storage.vault.put_content(file.path, sha256=file.sha256)
    asset, is_new = _asset(session, file.batch, name, seen.kind)
    last = session.scalar(select(func.max(Version.number)).where(Version.asset_id == asset.id))
    version = _insert(session, _version(file, seen, asset, (last or 0) + 1, filename, stored.uri))
    if version is None:
        _join(file, session.scalars(select(Version).where(Version.sha256 == file.sha256)).one())
        return
    file.row.version_id = version.id
    file.row.outcome = FileOutcome.INGESTED if is_new else FileOutcome.NEW_VERSION
    file.row.notes = file.notes
    described = embedded.describe(seen.told.embedded, services.taxonomy.metadata)
    session.add(Description(version_id=version.id, updated_by="airflow", **described))
    render.keep_proofs(services, session, version, seen.told.proofs, seen.scratch)
    session.flush()
    tags.tag(services, session, version, run=run)
    rights.note(services, session, version, file.batch, file.row.path, run=run)
    change_state(
        session, version, VersionState.INGESTED, actor="airflow", why=f"ingested from {file.row.path}", run=run
    )
    if version.phash is not None:
        _link_near(services, session, version)


def _version(file: _File, seen: _Seen, asset: Asset, number: int, filename: str, uri: str) -> Version:
    told = seen.told
    fingerprints: dict[str, Any] = {"key_frames": told.key_frames, "chromaprint": told.chromaprint}
    return Version(
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
        pixel_sha256=told.pixel_sha256,
        phash=told.phash,
        fingerprints={name: value for name, value in fingerprints.items() if value},
        technical=told.technical | {"colours": told.colours},
        embedded=told.embedded,
        words=told.words or None,
        made_by=file.batch.sent_by,
    )


def _insert(session: Session, version: Version) -> Version | None:
    """Insert a version; None when another worker inserted the same bytes at the same moment."""
    try:
        with session.begin_nested():
            session.add(version)
            session.flush()
    except IntegrityError as error:
        if "uq_versions_sha256_kept" not in str(error.orig):
            raise
        return None
    return version


def _names(file: _File, found: _Seen) -> tuple[str, str]:
    """Return the asset's name and the name the file is served under, its extension mended."""
    given = file.row.path.rsplit("/", 1)[-1]
    stem, dot, extension = given.rpartition(".")
    if not dot:
        stem, extension = given, ""
    if extension.lower() not in found.extensions:
        right = found.extensions[0]
        file.notes.append(f"The extension .{extension or '(none)'} was wrong: it is {found.media_type}, now .{right}.")
        extension = right
    filename = f"{stem}.{extension}"
    try:
        return naming.parse(filename).asset, filename
    except BadInput as fault:
        file.notes.append(fault.what[0].upper() + fault.what[1:] + ".")
        safe = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in stem)
        return safe[:200] or "UNNAMED", filename


def _asset(session: Session, batch: Batch, name: str, kind: str) -> tuple[Asset, bool]:
    """Return the asset of that name, its row locked, and whether it is new."""
    deliverable = session.scalar(
        select(Deliverable)
        .join(Campaign, Campaign.id == Deliverable.campaign_id)
        .where(Deliverable.campaign_id == batch.campaign_id)
        .where(func.concat(Deliverable.project, "_", Campaign.client) == name)
    )
    made = session.execute(
        insert(Asset)
        .values(
            id=new_id("ast"),
            campaign_id=batch.campaign_id,
            deliverable_id=deliverable.id if deliverable else None,
            name=name,
            kind=kind,
            created_at=utcnow(),
        )
        .on_conflict_do_nothing()
        .returning(Asset.id)
    ).scalar()
    asset = session.scalars(
        select(Asset)
        .where(Asset.name == name, Asset.campaign_id.is_not_distinct_from(batch.campaign_id))
        .with_for_update(of=Asset)
    ).one()
    return asset, made is not None


def _link_near(services: Services, session: Session, version: Version) -> None:
    """Link a picture to those that look like it, other assets' only.

    One scan of the hashes in the database; at a million pictures it takes some tenths of a second. Workers
    take turns from here to the commit, so that of two alike at the same moment the second sees the first.
    """
    session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    rows = session.execute(
        text(
            "SELECT id, bit_count((phash # :phash)::bit(64)) AS distance, pixel_sha256 = :pixels AS same"
            " FROM versions WHERE phash IS NOT NULL AND id <> :id AND asset_id <> :asset"
            " AND bit_count((phash # :phash)::bit(64)) <= :bits ORDER BY distance, id LIMIT 20"
        ),
        {
            "phash": version.phash,
            "pixels": version.pixel_sha256,
            "id": version.id,
            "asset": version.asset_id,
            "bits": services.taxonomy.limits.near_duplicate_bits,
        },
    ).all()
    for other, distance, same in rows:
        later, earlier = max(version.id, other), min(version.id, other)
        session.execute(
            insert(NearDuplicate)
            .values(version_id=later, other_id=earlier, distance=distance, same_pixels=same, found_at=utcnow())
            .on_conflict_do_nothing()
        )
