"""The gate: every file of a batch becomes a version in the vault, or is set aside with its reason.

In order: checksum, size, format by content, exact duplicate, full decode, fingerprints, near-duplicates,
embedded metadata, vault, asset and version. Each file is one transaction that holds its row's lock: a
worker that is killed leaves the file pending, and two workers at one batch never take the same file.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

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
from dam.ingest import embedded, formats
from dam.taxonomy import naming

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.ingest.pixels import Picture
    from dam.services import Services


_LOCK = 7_316_420_003  # pg_advisory_lock: one look for near-duplicates at a time


@dataclass
class _File:
    """One file on its way through the gate."""

    row: BatchFile
    batch: Batch
    path: Path
    sha256: str
    notes: list[str] = field(default_factory=list)


class _Refusal(Exception):
    """The file is set aside; the message is for people."""


class _Unknown(_Refusal):
    """The file is kept as it is until a person says what it is."""


def ingest_and_enrich(
    services: Services, *, batch_id: str, file_ids: list[str], run: str | None = None
) -> dict[str, int]:
    """Take files through the gate, then tag what came through and note its rights.

    :returns: counts by outcome.
    """
    from dam.enrich.rights import apply_rights
    from dam.enrich.tags import tag_versions

    counts = ingest_chunk(services, batch_id=batch_id, file_ids=file_ids, run=run)
    with services.session() as session:
        version_ids = list(
            session.scalars(
                select(BatchFile.version_id)
                .where(BatchFile.id.in_(file_ids), BatchFile.version_id.is_not(None))
                .where(BatchFile.outcome.in_([FileOutcome.INGESTED, FileOutcome.NEW_VERSION]))
            )
        )
    ids = [version_id for version_id in version_ids if version_id]
    tag_versions(services, version_ids=ids, run=run)
    apply_rights(services, batch_id=batch_id, version_ids=ids, run=run)
    return counts


def ingest_chunk(services: Services, *, batch_id: str, file_ids: list[str], run: str | None = None) -> dict[str, int]:
    """Take files through the gate; one bad file never stops the others.

    Files that are done, or that another worker has in hand, are left alone.

    :returns: counts by outcome of the files that this call brought to an end.
    """
    counts: Counter[str] = Counter()
    for file_id in file_ids:
        outcome = _ingest_file(services, batch_id, file_id, run)
        if outcome:
            counts[outcome] += 1
    return dict(counts)


def _ingest_file(services: Services, batch_id: str, file_id: str, run: str | None) -> str | None:
    begun = time.monotonic()
    with services.session() as session:
        row = session.scalar(
            select(BatchFile)
            .where(BatchFile.id == file_id, BatchFile.outcome == FileOutcome.PENDING)
            .with_for_update(skip_locked=True, of=BatchFile)
        )
        if row is None:
            return None
        batch = session.get_one(Batch, batch_id)
        key = f"{batch.location}/{row.path}"
        try:
            with services.storage.inbox.local(key) as path, path.open("rb") as stream:
                sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
                _through(services, session, _File(row, batch, path, sha256), run)
        except NotFound:
            row.outcome, row.reason = FileOutcome.OPAQUE, "The file vanished from the inbox before it was read."
        row.seconds = round(time.monotonic() - begun, 3)
        audit.record(
            session,
            actor="airflow",
            action=f"file.{row.outcome}",
            subject_id=row.version_id or row.id,
            data={"batch_id": batch_id, "path": row.path, "sha256": row.sha256, "reason": row.reason},
            run=run,
        )
        return str(row.outcome)


def _through(services: Services, session: Session, file: _File, run: str | None) -> None:
    """Take one file through; whatever is wrong with it ends in quarantine with its reason."""
    row = file.row
    row.sha256 = file.sha256
    row.bytes = file.path.stat().st_size
    known = session.scalar(
        select(Version).where(Version.sha256 == file.sha256, Version.state != VersionState.DESTROYED)
    )
    if known is not None:
        _join(file, known)
        return
    found = formats.OPAQUE
    try:
        _check_bytes(services, file)
        found = formats.identify(file.path)
        if found.kind == "opaque":
            raise _Unknown("The format is not known here, so the file was kept as it is; a person must say what it is.")
        picture = _decode(services, file, found)
    except _Refusal as refusal:
        _set_aside(services, session, file, found, refusal, run)
        return
    _accept(services, session, file, found, picture, run)


def _check_bytes(services: Services, file: _File) -> None:
    limits = services.taxonomy.limits
    if file.row.promised_sha256 and file.row.promised_sha256 != file.sha256:
        raise _Refusal(
            "The checksum is not what the sender promised: the file was changed on its way. "
            f"(promised {file.row.promised_sha256[:12]}…, got {file.sha256[:12]}…)"
        )
    if file.row.bytes == 0:
        raise _Refusal("The file is empty.")
    if file.row.bytes > limits.max_bytes:
        raise _Refusal(f"The file is larger than {limits.max_bytes / 1e9:g} GB.")


def _decode(services: Services, file: _File, found: formats.Format) -> Picture | None:
    if found.kind != "image":
        return None
    from dam.ingest import pixels

    try:
        return pixels.decode(file.path, max_megapixels=services.taxonomy.limits.max_megapixels)
    except BadInput as error:
        raise _Refusal(f"{error.what} {error.remedy}".strip()) from error


def _join(file: _File, known: Version) -> None:
    """Let a file whose bytes are in the library join that version: no second asset, both provenances."""
    file.row.version_id = known.id
    file.row.outcome = FileOutcome.DUPLICATE
    name = f"{known.asset.name} v{known.number}" if known.asset else f"the quarantined file {known.filename}"
    file.row.reason = f"The same bytes are in the library already, as {name}."


def _set_aside(
    services: Services, session: Session, file: _File, found: formats.Format, refusal: _Refusal, run: str | None
) -> None:
    """Keep a refused file in quarantine, with its reason."""
    reason = str(refusal)
    stored = services.storage.quarantine.put_content(file.path)
    version = _insert(
        session,
        Version(
            asset_id=None,
            number=None,
            batch_id=file.batch.id,
            filename=file.row.path.rsplit("/", 1)[-1],
            sha256=file.sha256,
            bytes=file.row.bytes,
            media_type=found.media_type,
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


def _accept(
    services: Services,
    session: Session,
    file: _File,
    found: formats.Format,
    picture: Picture | None,
    run: str | None,
) -> None:
    """Store an accepted file in the vault, and give it its asset and number."""
    name, filename = _names(file, found)
    stored = services.storage.vault.put_content(file.path)
    raw = embedded.read(file.path) if found.kind == "image" else {}
    asset, is_new = _asset(session, file.batch, name, found.kind)
    last = session.scalar(select(func.max(Version.number)).where(Version.asset_id == asset.id))
    version = _insert(
        session,
        Version(
            asset_id=asset.id,
            number=(last or 0) + 1,
            batch_id=file.batch.id,
            filename=filename,
            sha256=file.sha256,
            bytes=file.row.bytes,
            media_type=found.media_type,
            storage_uri=stored.uri,
            tier=Tier.HOT,
            width=picture.width if picture else None,
            height=picture.height if picture else None,
            pixel_sha256=picture.pixel_sha256 if picture else None,
            phash=picture.phash if picture else None,
            technical=(picture.technical | {"colours": picture.colours}) if picture else {},
            embedded=raw,
            made_by=file.batch.sent_by,
        ),
    )
    if version is None:
        _join(file, session.scalars(select(Version).where(Version.sha256 == file.sha256)).one())
        return
    described = embedded.describe(raw, services.taxonomy.metadata)
    session.add(Description(version_id=version.id, updated_by="airflow", **described))
    change_state(
        session, version, VersionState.INGESTED, actor="airflow", why=f"ingested from {file.row.path}", run=run
    )
    if picture:
        _link_near(services, session, version)
    file.row.version_id = version.id
    file.row.notes = file.notes
    file.row.outcome = FileOutcome.INGESTED if is_new else FileOutcome.NEW_VERSION


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


def _names(file: _File, found: formats.Format) -> tuple[str, str]:
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
