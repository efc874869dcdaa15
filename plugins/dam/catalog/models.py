"""The catalogue's tables as SQLAlchemy 2 typed models (PostgreSQL only).

Every rule that a row must obey on its own stands here as a constraint, so that it holds for every
writer; rules over several rows (allowed state changes, append-only tables, the audit chain) are
triggers made by the migrations. Identifiers are short prefixed strings (``ver_…``, ``pkg_…``)
that sort by creation time, so they can be shown to people, put in URLs and used as partition keys.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Computed,
    Date,
    DateTime,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    Numeric,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, TSVECTOR
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, validates

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford base 32, lower case


def new_id(prefix: str) -> str:
    """Return ``prefix_`` and 26 characters that sort by creation time (ULID layout, lower case)."""
    number = (int(time.time() * 1000) << 80) | int.from_bytes(os.urandom(10), "big")
    return prefix + "_" + "".join(_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))


def utcnow() -> datetime:
    """Return the current time, aware, in UTC."""
    return datetime.now(UTC)


class VersionState(StrEnum):
    """Where a version is in its life. Only :mod:`dam.catalog.lifecycle` changes it."""

    RECEIVED = "received"
    QUARANTINED = "quarantined"
    INGESTED = "ingested"
    IN_REVIEW = "in_review"
    APPROVED = "approved"
    CHANGES_REQUESTED = "changes_requested"
    REJECTED = "rejected"
    LIVE = "live"
    WITHDRAWN = "withdrawn"
    ARCHIVED = "archived"
    RESTORED = "restored"
    DESTROYED = "destroyed"


class Tier(StrEnum):
    """Which store holds a version's bytes."""

    HOT = "hot"
    COLD = "cold"
    QUARANTINE = "quarantine"
    GONE = "gone"


class FileOutcome(StrEnum):
    """What became of one file of a batch."""

    PENDING = "pending"
    INGESTED = "ingested"
    NEW_VERSION = "new_version"
    DUPLICATE = "duplicate"
    QUARANTINED = "quarantined"
    OPAQUE = "opaque"


class Purpose(StrEnum):
    """What signatures on a package are for.

    ``release``: its versions go out. ``brief``: the brief they show is signed. ``metadata``: what a batch's versions
    lacked is filled in; such a package binds their bytes alone, and leaves their state as it is.
    """

    RELEASE = "release"
    BRIEF = "brief"
    METADATA = "metadata"


class PackageStatus(StrEnum):
    """The state of a review package.

    ``void``: its manifest no longer describes its versions. ``expired``: a seat was not signed in time.
    """

    IN_REVIEW = "in_review"
    APPROVED = "approved"
    CHANGES_REQUESTED = "changes_requested"
    REJECTED = "rejected"
    VOID = "void"
    EXPIRED = "expired"


class Verdict(StrEnum):
    """What a seat says of a package or of one version in it."""

    APPROVE = "approve"
    REQUEST_CHANGES = "request_changes"
    REJECT = "reject"


class PublicationStatus(StrEnum):
    """The state of a publication at its channel."""

    SCHEDULED = "scheduled"
    LIVE = "live"
    WITHDRAWN = "withdrawn"
    FAILED = "failed"


def _one_of(column: str, values: type[StrEnum]) -> str:
    return f"{column} IN ({', '.join(repr(v.value) for v in values)})"


class Base(DeclarativeBase):
    """Declarative base: aware timestamps, JSONB for dicts and lists, predictable constraint names."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own idiom
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
        list[Any]: JSONB,
        list[str]: ARRAY(String),
        str: Text,
        int: Integer,
        Decimal: Numeric(14, 2),
        date: Date,
        float: Float,
    }


# ---------------------------------------------------------------------------------------------- plan


class Campaign(Base):
    """The unit of planning."""

    __tablename__ = "campaigns"
    __table_args__ = (
        CheckConstraint("slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$'", name="slug_shape"),
        CheckConstraint("ends_on >= starts_on", name="dates_in_order"),
        CheckConstraint("budget >= 0", name="budget_not_negative"),
        Index("ix_campaigns_open", "ends_on", postgresql_where=text("ended_at IS NULL")),
    )

    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("cmp"))
    slug: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    project: Mapped[str]  # the PROJECT part of the naming convention, e.g. SPRING27
    client: Mapped[str]  # the CLIENT part, e.g. ACME
    starts_on: Mapped[date]
    ends_on: Mapped[date]
    markets: Mapped[list[str]]
    channels: Mapped[list[str]]
    budget: Mapped[Decimal]
    currency: Mapped[str] = mapped_column(default="EUR")
    owners: Mapped[dict[str, Any]] = mapped_column(default=dict)  # role -> [username]
    kpi_targets: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime] = mapped_column(default=utcnow)
    ended_at: Mapped[datetime | None]


class Brief(Base):
    """One numbered edition of a campaign's brief; frozen and hashed when it is signed."""

    __tablename__ = "briefs"
    __table_args__ = (
        UniqueConstraint("campaign_id", "number"),
        UniqueConstraint("run"),
        CheckConstraint("status IN ('draft', 'returned', 'signed')", name="status"),
        CheckConstraint(
            "status <> 'signed' OR (sha256 IS NOT NULL AND signed_by IS NOT NULL AND signed_at IS NOT NULL)",
            name="signed_is_hashed",
        ),
    )

    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("brf"))
    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaigns.id"))
    number: Mapped[int]
    status: Mapped[str] = mapped_column(default="draft")
    content: Mapped[dict[str, Any]]
    sha256: Mapped[str | None] = mapped_column(String(64))
    drafted_by: Mapped[str]
    drafted_at: Mapped[datetime] = mapped_column(default=utcnow)
    signed_by: Mapped[str | None]
    signed_at: Mapped[datetime | None]
    return_reason: Mapped[str | None]
    run: Mapped[str | None]  # dag_id/run_id that drafted it: the same run drafts one brief

    campaign: Mapped[Campaign] = relationship()


class Deliverable(Base):
    """One thing a brief asks for; its ``project`` is the PROJECT part its files are named by."""

    __tablename__ = "deliverables"
    __table_args__ = (UniqueConstraint("campaign_id", "project"),)

    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("dlv"))
    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaigns.id"))
    brief_id: Mapped[str] = mapped_column(ForeignKey("briefs.id"))
    project: Mapped[str]  # e.g. SPRING27-HERO-A
    title: Mapped[str]
    kind: Mapped[str] = mapped_column(default="image")
    variant: Mapped[str | None]  # A, B … of one idea; None where there is one
    channels: Mapped[list[str]]
    markets: Mapped[list[str]]
    due_on: Mapped[date]


class CreatorTask(Base):
    """Work asked of a creator: a deliverable, or the answer to a change request."""

    __tablename__ = "creator_tasks"
    __table_args__ = (
        UniqueConstraint("deliverable_id", "round"),
        CheckConstraint("status IN ('open', 'done', 'cancelled')", name="status"),
        Index("ix_creator_tasks_open", "due_on", postgresql_where=text("status = 'open'")),
    )

    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("tsk"))
    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaigns.id"))
    deliverable_id: Mapped[str] = mapped_column(ForeignKey("deliverables.id"))
    batch_id: Mapped[str] = mapped_column(ForeignKey("batches.id"), index=True)
    round: Mapped[int] = mapped_column(default=1)
    answers_version_id: Mapped[str | None] = mapped_column(ForeignKey("versions.id"))
    assignee: Mapped[str]
    note: Mapped[str] = mapped_column(default="")
    status: Mapped[str] = mapped_column(default="open")
    due_on: Mapped[date]
    created_at: Mapped[datetime] = mapped_column(default=utcnow)
    done_at: Mapped[datetime | None]

    deliverable: Mapped[Deliverable] = relationship()


# -------------------------------------------------------------------------------------------- ingest


class Batch(Base):
    """Files that arrived together; unit of ingest. ``location`` is below the inbox store."""

    __tablename__ = "batches"
    __table_args__ = (
        UniqueConstraint("location"),
        CheckConstraint("source IN ('inbox', 'upload', 'cli', 'api', 'brief')", name="source"),
        CheckConstraint("status IN ('open', 'ingesting', 'waiting', 'done')", name="status"),
    )

    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("bat"))
    campaign_id: Mapped[str | None] = mapped_column(ForeignKey("campaigns.id"), index=True)
    source: Mapped[str]
    location: Mapped[str]  # key prefix in the inbox store, unique: the same drop is the same batch
    supplier: Mapped[str | None]
    sent_by: Mapped[str]  # username: who made or uploaded the files; can't take a seat on them
    rights: Mapped[dict[str, Any]] = mapped_column(default=dict)  # the batch card's rights statement
    status: Mapped[str] = mapped_column(default="open")
    notes: Mapped[list[Any]] = mapped_column(default=list)  # {"kind", "where", "what"}: for people to read
    papers: Mapped[list[str]] = mapped_column(default=list)  # paths of what lies in it beside its files
    received_at: Mapped[datetime] = mapped_column(default=utcnow)
    planned_at: Mapped[datetime | None]
    done_at: Mapped[datetime | None]

    campaign: Mapped[Campaign | None] = relationship()
    files: Mapped[list[BatchFile]] = relationship(back_populates="batch", order_by="BatchFile.path")


class BatchFile(Base):
    """One file of a batch and what became of it: the batch's receipt, never deleted."""

    __tablename__ = "batch_files"
    __table_args__ = (
        UniqueConstraint("batch_id", "path"),
        CheckConstraint(_one_of("outcome", FileOutcome), name="outcome"),
        CheckConstraint("outcome NOT IN ('quarantined', 'opaque') OR reason IS NOT NULL", name="refusal_has_reason"),
        Index("ix_batch_files_pending", "batch_id", postgresql_where=text("outcome = 'pending'")),
    )

    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("fil"))
    batch_id: Mapped[str] = mapped_column(ForeignKey("batches.id"), index=True)
    path: Mapped[str]  # relative to the batch's location, as sent; in an archive, archive.zip/inner/path
    archive: Mapped[str | None]  # the path of the archive that it came out of
    bytes: Mapped[int] = mapped_column(BigInteger)
    promised: Mapped[dict[str, Any]] = mapped_column(default=dict)  # algorithm -> hex; empty: self-attested
    sha256: Mapped[str | None] = mapped_column(String(64), index=True)
    outcome: Mapped[str] = mapped_column(default=FileOutcome.PENDING)
    reason: Mapped[str | None]
    notes: Mapped[list[str]] = mapped_column(default=list)  # e.g. a wrong extension that was mended
    sidecars: Mapped[list[str]] = mapped_column(default=list)  # paths of files that are about this one
    version_id: Mapped[str | None] = mapped_column(ForeignKey("versions.id"), index=True)
    seconds: Mapped[float | None]
    done_at: Mapped[datetime | None]

    batch: Mapped[Batch] = relationship(back_populates="files")
    version: Mapped[Version | None] = relationship()


class LateVersion(Base):
    """A version that was released from quarantine by a later scan, until a run over its batch has handed it on."""

    __tablename__ = "late_versions"
    __table_args__ = (
        CheckConstraint("closed_at IS NULL OR run IS NOT NULL", name="closed_by_a_run"),
        Index("ix_late_versions_batch", "batch_id"),
    )

    version_id: Mapped[str] = mapped_column(ForeignKey("versions.id"), primary_key=True)
    batch_id: Mapped[str] = mapped_column(ForeignKey("batches.id"))
    after: Mapped[list[str]] = mapped_column(default=list)  # runs that had checked the batch; none: who has it will see
    run: Mapped[str | None]  # the run that took it
    released_at: Mapped[datetime] = mapped_column(default=utcnow)
    closed_at: Mapped[datetime | None]


class Asset(Base):
    """The thing with a name and a life. ``name`` is PROJECT_CLIENT of the naming convention."""

    __tablename__ = "assets"
    __table_args__ = (Index("uq_assets_campaign_name", text("coalesce(campaign_id, '')"), "name", unique=True),)

    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("ast"))
    campaign_id: Mapped[str | None] = mapped_column(ForeignKey("campaigns.id"), index=True)
    deliverable_id: Mapped[str | None] = mapped_column(ForeignKey("deliverables.id"), index=True)
    name: Mapped[str]
    kind: Mapped[str]  # image, video, audio, document, font, model, opaque
    created_at: Mapped[datetime] = mapped_column(default=utcnow)

    campaign: Mapped[Campaign | None] = relationship()
    deliverable: Mapped[Deliverable | None] = relationship()
    versions: Mapped[list[Version]] = relationship(
        back_populates="asset", order_by="Version.number", foreign_keys="Version.asset_id"
    )
    grants: Mapped[list[Grant]] = relationship(back_populates="asset")


class Version(Base):
    """Immutable bytes of an asset, named by SHA-256; the unit of lifecycle state."""

    __tablename__ = "versions"
    __table_args__ = (
        UniqueConstraint("asset_id", "number"),
        Index(
            "uq_versions_sha256_kept",
            "sha256",
            unique=True,
            postgresql_where=text("state <> 'destroyed'"),
        ),
        CheckConstraint(_one_of("state", VersionState), name="state"),
        CheckConstraint(_one_of("tier", Tier), name="tier"),
        CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name="sha256_shape"),
        CheckConstraint("bytes >= 0", name="bytes_not_negative"),
        CheckConstraint("(state = 'destroyed') = (tier = 'gone')", name="destroyed_is_gone"),
        CheckConstraint(
            "asset_id IS NOT NULL OR state IN ('received', 'quarantined', 'destroyed')",
            name="accepted_has_asset",
        ),
        CheckConstraint("(asset_id IS NULL) = (number IS NULL)", name="numbered_in_asset"),
        CheckConstraint("scan IN ('clean', 'not_scanned', 'awaited', 'infected')", name="scan"),
        CheckConstraint(
            "scan NOT IN ('awaited', 'infected') OR state IN ('received', 'quarantined', 'destroyed')",
            name="unsafe_is_set_aside",
        ),
        CheckConstraint("merged_into_id IS NULL OR state IN ('archived', 'destroyed')", name="merged_is_archived"),
        CheckConstraint("merged_into_id <> id", name="merged_into_another"),
        Index("ix_versions_merged_into_id", "merged_into_id", postgresql_where=text("merged_into_id IS NOT NULL")),
        Index("ix_versions_pixel_hash", "pixel_hash"),
        *(
            Index(
                f"ix_versions_phash_{shift}",
                text(f"((phash >> {shift}) & 65535)"),
                postgresql_where=text("phash IS NOT NULL"),
                postgresql_include=["phash", "id"],  # what is looked at there is decided in the index
            )
            for shift in (0, 16, 32, 48)  # see dam.ingest.near.near_duplicates
        ),
        Index("ix_versions_state", "state", "state_changed_at"),
        Index("ix_versions_awaited", "created_at", postgresql_where=text("scan = 'awaited'")),
        Index(
            "ix_versions_to_archive",
            "state_changed_at",
            postgresql_where=text(
                "tier = 'hot' AND state IN"
                " ('approved','changes_requested','rejected','withdrawn','ingested','restored')"
            ),
        ),
        Index(
            "ix_versions_retention",
            "retain_until",
            postgresql_where=text("state IN ('archived', 'quarantined')"),
        ),
    )

    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("ver"))
    asset_id: Mapped[str | None] = mapped_column(ForeignKey("assets.id"), index=True)
    number: Mapped[int | None]
    batch_id: Mapped[str] = mapped_column(ForeignKey("batches.id"), index=True)
    filename: Mapped[str]  # the name it is served under; extension mended to the true format
    sha256: Mapped[str] = mapped_column(String(64))
    bytes: Mapped[int] = mapped_column(BigInteger)
    media_type: Mapped[str]
    storage_uri: Mapped[str]  # store:key, e.g. vault:ab/cd/abcd…; see dam.storage
    tier: Mapped[str] = mapped_column(default=Tier.HOT)
    state: Mapped[str] = mapped_column(default=VersionState.RECEIVED)
    state_changed_at: Mapped[datetime] = mapped_column(default=utcnow)
    state_reason: Mapped[str | None]
    width: Mapped[int | None]
    height: Mapped[int | None]
    seconds: Mapped[float | None]
    pixel_hash: Mapped[str | None] = mapped_column(String(32))  # XXH3 of the pixels: a hint, not an identity
    phash: Mapped[int | None] = mapped_column(BigInteger)  # 64 bits, signed as PostgreSQL stores it
    fingerprints: Mapped[dict[str, Any]] = mapped_column(default=dict)  # key_frames, cuts, chromaprint
    words: Mapped[str | None]  # text inside: pages, slides, drawings
    technical: Mapped[dict[str, Any]] = mapped_column(default=dict)
    embedded: Mapped[dict[str, Any]] = mapped_column(default=dict)
    scan: Mapped[str] = mapped_column(default="not_scanned")  # by the malware scanner; awaited: set aside until it is
    scan_note: Mapped[str | None]  # the scanner's version, the signature's name, or why it was not scanned
    made_by: Mapped[str]  # username of the uploader or maker; separation of duties
    retain_until: Mapped[date | None]
    merged_into_id: Mapped[str | None] = mapped_column(ForeignKey("versions.id"))  # counts as that one: see Merge
    created_at: Mapped[datetime] = mapped_column(default=utcnow)

    asset: Mapped[Asset | None] = relationship(back_populates="versions", foreign_keys=[asset_id])
    batch: Mapped[Batch] = relationship()
    description: Mapped[Description | None] = relationship(back_populates="version", uselist=False)
    tags: Mapped[list[Tag]] = relationship(back_populates="version")
    renditions: Mapped[list[Rendition]] = relationship(back_populates="version")
    publications: Mapped[list[Publication]] = relationship(back_populates="version")


class LifecycleTransition(Base):
    """A state change that the database lets pass; filled from :data:`dam.catalog.lifecycle.ALLOWED`."""

    __tablename__ = "lifecycle_transitions"

    from_state: Mapped[str] = mapped_column(primary_key=True)
    to_state: Mapped[str] = mapped_column(primary_key=True)


class FingerprintMark(Base):
    """A number that a film's or a sound's fingerprints gave, by which its copies are found; see :mod:`dam.ingest.near`.

    Versions that share some are candidates for near-duplicates, no more.
    """

    __tablename__ = "fingerprint_marks"

    mark: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    version_id: Mapped[str] = mapped_column(ForeignKey("versions.id"), primary_key=True)


class NearDuplicate(Base):
    """Two versions that look or sound alike; ``distance``, ``key_frames`` and ``sound`` say how, None: not by that.

    ``answer`` is what a librarian said of them: ``different`` things, or ``both`` are kept. None: not asked yet.
    """

    __tablename__ = "near_duplicates"
    __table_args__ = (
        CheckConstraint("version_id > other_id", name="ordered_pair"),
        CheckConstraint("num_nonnulls(distance, key_frames, sound) > 0", name="alike_in_some_way"),
        CheckConstraint("NOT same_pixels OR distance IS NOT NULL", name="same_pixels_have_a_distance"),
        CheckConstraint("answer IN ('different', 'both')", name="answer"),
        CheckConstraint(
            "(answer IS NULL) = (answered_by IS NULL) AND (answer IS NULL) = (answered_at IS NULL)",
            name="answer_is_signed",
        ),
    )

    version_id: Mapped[str] = mapped_column(ForeignKey("versions.id"), primary_key=True)
    other_id: Mapped[str] = mapped_column(ForeignKey("versions.id"), primary_key=True, index=True)
    distance: Mapped[int | None]  # bits of 64 in which the perceptual hashes differ; a film's is its poster's
    same_pixels: Mapped[bool] = mapped_column(default=False)
    key_frames: Mapped[float | None]  # which part of a film's key frames the other one shows
    sound: Mapped[float | None]  # how alike the sounds are, 1 the same
    found_at: Mapped[datetime] = mapped_column(default=utcnow)
    answer: Mapped[str | None]
    answered_by: Mapped[str | None]
    answered_at: Mapped[datetime | None]


class Merge(Base):
    """Two versions that show the same pixels made one: what the kept one took over, and what was before.

    ``changes`` is enough to undo it. A merge never changes but for being undone, once; see :mod:`dam.ingest.merges`.
    """

    __tablename__ = "merges"
    __table_args__ = (
        CheckConstraint("kept_version_id <> dropped_version_id", name="two_versions"),
        CheckConstraint("(undone_at IS NULL) = (undone_by IS NULL)", name="undo_is_signed"),
        Index("uq_merges_dropped", "dropped_version_id", unique=True, postgresql_where=text("undone_at IS NULL")),
        Index("ix_merges_merged_at", "merged_at"),
    )

    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("mrg"))
    kept_version_id: Mapped[str] = mapped_column(ForeignKey("versions.id"), index=True)
    dropped_version_id: Mapped[str] = mapped_column(ForeignKey("versions.id"))
    kept_asset_id: Mapped[str] = mapped_column(ForeignKey("assets.id"))
    dropped_asset_id: Mapped[str] = mapped_column(ForeignKey("assets.id"))
    state_before: Mapped[str]  # of the dropped one: an undo, and it alone, takes it back there
    changes: Mapped[dict[str, Any]]
    merged_by: Mapped[str]
    merged_at: Mapped[datetime] = mapped_column(default=utcnow)
    undone_by: Mapped[str | None]
    undone_at: Mapped[datetime | None]
    left: Mapped[list[Any]] = mapped_column(default=list)  # what an undo left: somebody changed it since


# -------------------------------------------------------------------------------------------- enrich


class Description(Base):
    """Descriptive metadata of one version (IPTC Photo Metadata names, snake case).

    ``search`` is the full-text document that the database keeps in step.
    """

    __tablename__ = "descriptions"
    __table_args__ = (Index("ix_descriptions_search", "search", postgresql_using="gin"),)

    version_id: Mapped[str] = mapped_column(ForeignKey("versions.id"), primary_key=True)
    title: Mapped[str | None]
    description: Mapped[str | None]
    alt_text: Mapped[str | None]
    creator: Mapped[str | None]
    credit_line: Mapped[str | None]
    copyright_notice: Mapped[str | None]
    language: Mapped[str | None]
    date_created: Mapped[datetime | None]
    custom: Mapped[dict[str, Any]] = mapped_column(default=dict)
    search: Mapped[Any] = mapped_column(
        TSVECTOR,
        Computed(
            "to_tsvector('simple', coalesce(title, '') || ' ' || coalesce(description, '') || ' ' ||"
            " coalesce(creator, '') || ' ' || coalesce(alt_text, ''))",
            persisted=True,
        ),
        deferred=True,
    )
    updated_by: Mapped[str]
    updated_at: Mapped[datetime] = mapped_column(default=utcnow, onupdate=utcnow)

    version: Mapped[Version] = relationship(back_populates="description")


class Term(Base):
    """A controlled-vocabulary term (SKOS concept), mirrored from ``include/taxonomy``."""

    __tablename__ = "terms"

    id: Mapped[str] = mapped_column(primary_key=True)  # facet/slug, e.g. subject/person
    facet: Mapped[str] = mapped_column(index=True)
    labels: Mapped[dict[str, Any]]  # language -> preferred label
    alt_labels: Mapped[dict[str, Any]] = mapped_column(default=dict)  # language -> [label]
    content: Mapped[dict[str, Any]] = mapped_column(default=dict)  # all the vocabulary says; {}: it left the files
    broader_id: Mapped[str | None] = mapped_column(ForeignKey("terms.id"))
    scope_note: Mapped[str | None]
    replaced_by_id: Mapped[str | None] = mapped_column(ForeignKey("terms.id"))
    deprecated: Mapped[bool] = mapped_column(default=False)


class VocabularyMirror(Base):
    """Which vocabulary the terms mirror; one row."""

    __tablename__ = "vocabulary_mirror"
    __table_args__ = (CheckConstraint("name = 'vocabulary'", name="one_row"),)

    name: Mapped[str] = mapped_column(primary_key=True, default="vocabulary")
    sha256: Mapped[str] = mapped_column(String(64))
    namespace: Mapped[str]
    facets: Mapped[list[Any]]  # [facet, what it says of itself], in order
    synced_at: Mapped[datetime] = mapped_column(default=utcnow)


class Tag(Base):
    """A term on a version: who or what said so, how sure it was (0..1), why, and what it cost."""

    __tablename__ = "tags"
    __table_args__ = (
        UniqueConstraint("version_id", "term_id", "source"),
        CheckConstraint("confidence BETWEEN 0 AND 1", name="confidence_range"),
        CheckConstraint("status IN ('applied', 'suggested', 'refused')", name="status"),
        CheckConstraint("cost >= 0", name="cost_not_negative"),
        Index("ix_tags_term", "term_id", postgresql_where=text("status = 'applied'")),
        Index("ix_tags_people", "version_id", "term_id", postgresql_where=text("source LIKE 'person:%'")),
    )

    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("tag"))
    version_id: Mapped[str] = mapped_column(ForeignKey("versions.id"), index=True)
    term_id: Mapped[str] = mapped_column(ForeignKey("terms.id"))
    source: Mapped[str]  # a tagger's name, or person:<username>
    model: Mapped[str] = mapped_column(default="")  # what in the tagger said so, e.g. labels, DetectLabels
    model_version: Mapped[str]
    confidence: Mapped[float]
    because: Mapped[str] = mapped_column(default="")
    cost: Mapped[Decimal] = mapped_column(Numeric(14, 6), default=Decimal(0))  # its share of what the call cost
    status: Mapped[str] = mapped_column(default="applied")
    created_at: Mapped[datetime] = mapped_column(default=utcnow)

    version: Mapped[Version] = relationship(back_populates="tags")
    term: Mapped[Term] = relationship()


class TaggerSpend(Base):
    """What a tagger took on one day (UTC): counted before a call is made, so that a budget is never passed."""

    __tablename__ = "tagger_spend"

    tagger: Mapped[str] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    calls: Mapped[int] = mapped_column(BigInteger, default=0)
    money: Mapped[Decimal] = mapped_column(Numeric(14, 6), default=Decimal(0))


class TaggerLook(Base):
    """That a slow or paid tagger looked at a version, so that nobody pays twice; or why it did not."""

    __tablename__ = "tagger_looks"
    __table_args__ = (
        CheckConstraint("outcome IN ('begun', 'done', 'skipped', 'failed')", name="outcome"),
        CheckConstraint("outcome NOT IN ('skipped', 'failed') OR note <> ''", name="reason_given"),
    )

    version_id: Mapped[str] = mapped_column(ForeignKey("versions.id"), primary_key=True)
    tagger: Mapped[str] = mapped_column(primary_key=True)
    model_version: Mapped[str]
    outcome: Mapped[str]
    note: Mapped[str] = mapped_column(default="")
    cost: Mapped[Decimal] = mapped_column(Numeric(14, 6), default=Decimal(0))
    looked_at: Mapped[datetime] = mapped_column(default=utcnow)


class TaggerModel(Base):
    """A model that a tagger learned here; the newest is in use."""

    __tablename__ = "tagger_models"

    tagger: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[str] = mapped_column(primary_key=True)  # SHA-256 of what it learned from
    trained_at: Mapped[datetime] = mapped_column(default=utcnow)
    examples: Mapped[int]
    measured: Mapped[dict[str, Any]] = mapped_column(default=dict)  # precision on examples it had not seen
    storage_uri: Mapped[str]


class RetagRun(Base):
    """New tags against old ones: proposed, looked at, applied as one or rolled back as one."""

    __tablename__ = "retag_runs"
    __table_args__ = (
        CheckConstraint("status IN ('comparing', 'proposed', 'applied', 'rolled_back')", name="status"),
        CheckConstraint("status <> 'applied' OR (applied_by IS NOT NULL AND applied_at IS NOT NULL)", name="signed"),
    )

    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("rtg"))
    taggers: Mapped[list[str]]
    since: Mapped[datetime | None]  # only versions that came in from then on
    vocabulary_sha256: Mapped[str] = mapped_column(String(64))
    status: Mapped[str] = mapped_column(default="comparing")
    cursor: Mapped[str] = mapped_column(default="")  # the last version that was compared
    looked_at: Mapped[int] = mapped_column(default=0)  # versions
    changed: Mapped[int] = mapped_column(default=0)  # versions among them that it changes
    notes: Mapped[list[str]] = mapped_column(default=list)  # e.g. a budget that was used up
    made_by: Mapped[str]
    made_at: Mapped[datetime] = mapped_column(default=utcnow)
    applied_by: Mapped[str | None]
    applied_at: Mapped[datetime | None]
    rolled_back_by: Mapped[str | None]
    rolled_back_at: Mapped[datetime | None]


class RetagChange(Base):
    """One tag that a retag run adds, removes or changes: the row as it was and as it would be."""

    __tablename__ = "retag_changes"
    __table_args__ = (
        CheckConstraint("kind IN ('added', 'removed', 'changed')", name="kind"),
        CheckConstraint("(kind = 'added') = (old IS NULL) AND (kind = 'removed') = (new IS NULL)", name="kind_fits"),
        CheckConstraint("outcome IN ('proposed', 'applied', 'left_out', 'rolled_back')", name="outcome"),
        CheckConstraint("outcome <> 'left_out' OR note <> ''", name="reason_given"),
    )

    run_id: Mapped[str] = mapped_column(ForeignKey("retag_runs.id"), primary_key=True)
    version_id: Mapped[str] = mapped_column(ForeignKey("versions.id"), primary_key=True, index=True)
    term_id: Mapped[str] = mapped_column(ForeignKey("terms.id"), primary_key=True)
    source: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    old: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    new: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    outcome: Mapped[str] = mapped_column(default="proposed")
    note: Mapped[str] = mapped_column(default="")


class RetagVerdict(Base):
    """What a person says of a retag run's changes to one version of its sample."""

    __tablename__ = "retag_verdicts"
    __table_args__ = (CheckConstraint("verdict IN ('accepted', 'refused')", name="verdict"),)

    run_id: Mapped[str] = mapped_column(ForeignKey("retag_runs.id"), primary_key=True)
    version_id: Mapped[str] = mapped_column(ForeignKey("versions.id"), primary_key=True)
    verdict: Mapped[str]
    person: Mapped[str]
    judged_at: Mapped[datetime] = mapped_column(default=utcnow)


class ContractResult(Base):
    """What a metadata contract (Great Expectations suite) said of one version, kept row by row."""

    __tablename__ = "contract_results"
    __table_args__ = (Index("ix_contract_results_version", "version_id", "checked_at"),)

    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("ctr"))
    version_id: Mapped[str] = mapped_column(ForeignKey("versions.id"))
    batch_id: Mapped[str] = mapped_column(ForeignKey("batches.id"), index=True)
    suite: Mapped[str]
    complete: Mapped[bool]
    faults: Mapped[list[Any]] = mapped_column(default=list)  # [{field, rule, remedy}]
    checked_at: Mapped[datetime] = mapped_column(default=utcnow)


# -------------------------------------------------------------------------------------------- rights


class Licence(Base):
    """A licence contract with a rights holder."""

    __tablename__ = "licences"

    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("lic"))
    reference: Mapped[str] = mapped_column(unique=True)  # e.g. CC0, ACME-2027-014
    holder: Mapped[str]
    kind: Mapped[str]  # owned, rights_managed, royalty_free, public_domain, creative_commons
    terms: Mapped[str] = mapped_column(default="")
    document_uri: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(default=utcnow)


class Grant(Base):
    """What a licence allows for one asset, in the words of ODRL 2.2 and RightsML.

    Permission, territory or channel ``*`` means all; ``ends_on`` is the last day of use, inclusive; ``None`` means
    without end. ``max_count`` is how many places the asset may be published at.
    """

    __tablename__ = "grants"
    __table_args__ = (
        CheckConstraint("ends_on IS NULL OR ends_on >= starts_on", name="dates_in_order"),
        CheckConstraint("model_release IN ('not_needed', 'signed', 'missing')", name="model_release"),
        CheckConstraint("property_release IN ('not_needed', 'signed', 'missing')", name="property_release"),
        CheckConstraint("max_count > 0", name="count_positive"),
        UniqueConstraint("asset_id", "licence_id"),
        Index("ix_grants_due", "ends_on", postgresql_where=text("ends_on IS NOT NULL AND closed_at IS NULL")),
    )

    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("grt"))
    asset_id: Mapped[str] = mapped_column(ForeignKey("assets.id"), index=True)
    licence_id: Mapped[str] = mapped_column(ForeignKey("licences.id"))
    territories: Mapped[list[str]]
    channels: Mapped[list[str]]
    starts_on: Mapped[date]
    ends_on: Mapped[date | None]
    model_release: Mapped[str] = mapped_column(default="not_needed")
    property_release: Mapped[str] = mapped_column(default="not_needed")
    permissions: Mapped[list[str]] = mapped_column(default=lambda: ["*"])  # distribute, modify, derive
    duties: Mapped[list[str]] = mapped_column(default=list)  # attribute, inform, compensate, obtainConsent
    max_count: Mapped[int | None]
    source: Mapped[str] = mapped_column(default="batch")  # batch, embedded, person:<username>
    closed_at: Mapped[datetime | None]  # the sweep has finished its takedown

    asset: Mapped[Asset] = relationship(back_populates="grants")
    licence: Mapped[Licence] = relationship()

    @validates("ends_on")
    def _reopen(self, _name: str, ends_on: date | None) -> date | None:
        """Open the grant again when its end is moved: a renewed licence is to be watched again."""
        if self.ends_on is not None and ends_on != self.ends_on:
            self.closed_at = None
        return ends_on


class RightsAlert(Base):
    """A licence-expiry alert that was sent: one per grant, end date and day mark."""

    __tablename__ = "rights_alerts"

    grant_id: Mapped[str] = mapped_column(ForeignKey("grants.id"), primary_key=True)
    ends_on: Mapped[date] = mapped_column(primary_key=True)
    days: Mapped[int] = mapped_column(primary_key=True)
    recipients: Mapped[list[str]]
    sent_at: Mapped[datetime] = mapped_column(default=utcnow)


class Hold(Base):
    """A legal hold on one asset or on a whole campaign, until it is released."""

    __tablename__ = "holds"
    __table_args__ = (
        CheckConstraint("(asset_id IS NULL) <> (campaign_id IS NULL)", name="one_scope"),
        CheckConstraint("(released_at IS NULL) = (released_by IS NULL)", name="release_is_signed"),
        Index("ix_holds_asset", "asset_id", postgresql_where=text("released_at IS NULL")),
        Index("ix_holds_campaign", "campaign_id", postgresql_where=text("released_at IS NULL")),
    )

    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("hld"))
    asset_id: Mapped[str | None] = mapped_column(ForeignKey("assets.id"))
    campaign_id: Mapped[str | None] = mapped_column(ForeignKey("campaigns.id"))
    reason: Mapped[str]
    placed_by: Mapped[str]
    placed_at: Mapped[datetime] = mapped_column(default=utcnow)
    released_by: Mapped[str | None]
    released_at: Mapped[datetime | None]


# -------------------------------------------------------------------------------------------- review


class Package(Base):
    """Versions reviewed together, frozen as a manifest with its own SHA-256."""

    __tablename__ = "packages"
    __table_args__ = (
        UniqueConstraint("batch_id", "purpose", "round"),
        UniqueConstraint("follows_id"),
        CheckConstraint(_one_of("purpose", Purpose), name="purpose"),
        CheckConstraint("(purpose = 'brief') = (brief_id IS NOT NULL)", name="brief_is_named"),
        CheckConstraint(_one_of("status", PackageStatus), name="status"),
        CheckConstraint("(status = 'in_review') = (closed_at IS NULL)", name="closed_when_decided"),
        CheckConstraint("rest IN ('goes_on', 'waits')", name="rest"),
        CheckConstraint("(released_by IS NULL) = (released_at IS NULL)", name="release_is_signed"),
        Index("ix_packages_open", "frozen_at", postgresql_where=text("status = 'in_review'")),
        Index("ix_packages_closed_at", "closed_at"),
    )

    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("pkg"))
    campaign_id: Mapped[str | None] = mapped_column(ForeignKey("campaigns.id"), index=True)
    batch_id: Mapped[str] = mapped_column(ForeignKey("batches.id"))
    purpose: Mapped[str] = mapped_column(default=Purpose.RELEASE)
    brief_id: Mapped[str | None] = mapped_column(ForeignKey("briefs.id"), index=True)
    round: Mapped[int] = mapped_column(default=1)  # of those of a batch that are for the same
    # the void or expired package whose next round this is
    follows_id: Mapped[str | None] = mapped_column(ForeignKey("packages.id"))
    status: Mapped[str] = mapped_column(default=PackageStatus.IN_REVIEW)
    manifest: Mapped[dict[str, Any]]
    manifest_sha256: Mapped[str] = mapped_column(String(64))
    channels: Mapped[list[str] | None]  # where it is to be published; None: what deliverable or campaign say
    void_reason: Mapped[str | None]
    # what becomes of the approved versions while others are asked for again: goes_on, or waits for their answers
    rest: Mapped[str] = mapped_column(default="goes_on")
    released_by: Mapped[str | None]  # who let the rest go although an answer is not approved
    released_at: Mapped[datetime | None]
    frozen_at: Mapped[datetime] = mapped_column(default=utcnow)
    closed_at: Mapped[datetime | None]

    campaign: Mapped[Campaign | None] = relationship()
    batch: Mapped[Batch] = relationship()
    brief: Mapped[Brief | None] = relationship()
    entries: Mapped[list[PackageVersion]] = relationship(back_populates="package")
    seats: Mapped[list[Seat]] = relationship(back_populates="package", order_by="Seat.ordinal")


class PackageVersion(Base):
    """One version of a package with the SHA-256 of its manifest entry and its own verdict."""

    __tablename__ = "package_versions"

    package_id: Mapped[str] = mapped_column(ForeignKey("packages.id"), primary_key=True)
    version_id: Mapped[str] = mapped_column(ForeignKey("versions.id"), primary_key=True, index=True)
    entry_sha256: Mapped[str] = mapped_column(String(64))
    verdict: Mapped[str | None]

    package: Mapped[Package] = relationship(back_populates="entries")
    version: Mapped[Version] = relationship()


class SeatStatus(StrEnum):
    """Where a seat stands.

    ``waiting``: an earlier stage has not closed. ``not_needed``: its conditions do not hold for the package.
    """

    WAITING = "waiting"
    OPEN = "open"
    SIGNED = "signed"
    EXPIRED = "expired"
    VOID = "void"
    NOT_NEEDED = "not_needed"


class Seat(Base):
    """A role that a package asks, the signatures it needs, and where Airflow waits for them (if it does)."""

    __tablename__ = "seats"
    __table_args__ = (
        UniqueConstraint("package_id", "ordinal"),
        CheckConstraint(_one_of("status", SeatStatus), name="status"),
        CheckConstraint("stage >= 1 AND needed >= 1", name="counts"),
        CheckConstraint("status <> 'not_needed' OR reason IS NOT NULL", name="reason_why_not"),
        CheckConstraint("status NOT IN ('open', 'signed', 'expired') OR opens_at IS NOT NULL", name="opened"),
        Index("ix_seats_open", "due_at", postgresql_where=text("status = 'open'")),
        Index("ix_seats_unsigned", "due_at", postgresql_where=text("status IN ('open', 'expired')")),
    )

    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("sea"))
    package_id: Mapped[str] = mapped_column(ForeignKey("packages.id"), index=True)
    ordinal: Mapped[int]
    role: Mapped[str]
    veto: Mapped[bool] = mapped_column(default=True)
    status: Mapped[str] = mapped_column(default=SeatStatus.OPEN)
    stage: Mapped[int] = mapped_column(default=1)
    needed: Mapped[int] = mapped_column(default=1)  # signatures
    eligible: Mapped[list[str]]  # usernames who may take it; never the makers of its versions
    reason: Mapped[str | None]  # why it is not needed, or waits; plain words
    due: Mapped[dict[str, Any]] = mapped_column(default=dict)  # {hours} or {days, calendar}, counted from its opening
    opens_at: Mapped[datetime | None]  # when its stage was opened
    due_at: Mapped[datetime]  # while it waits: when it would be due if nobody before it used all the time there is
    hitl: Mapped[dict[str, Any] | None]  # {dag_id, run_id, task_id, map_index} while Airflow waits

    package: Mapped[Package] = relationship(back_populates="seats")
    decisions: Mapped[list[Decision]] = relationship(back_populates="seat", order_by="Decision.id")
    delegations: Mapped[list[Delegation]] = relationship(order_by="Delegation.id")

    @property
    def signatures(self) -> list[Decision]:
        """The signatures in force, the oldest first: those that were not taken back."""
        return [decision for decision in self.decisions if decision.withdrawal is None]


class Decision(Base):
    """A signature on a seat, over a manifest hash. Append-only; a trigger holds who may sign, and how often."""

    __tablename__ = "decisions"
    __table_args__ = (
        CheckConstraint(_one_of("verdict", Verdict), name="verdict"),
        CheckConstraint("on_behalf_of <> person", name="deputy_is_another"),
    )

    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("dec"))
    seat_id: Mapped[str] = mapped_column(ForeignKey("seats.id"), index=True)
    package_id: Mapped[str] = mapped_column(ForeignKey("packages.id"), index=True)
    manifest_sha256: Mapped[str] = mapped_column(String(64))
    person: Mapped[str]
    on_behalf_of: Mapped[str | None]  # whom a deputy or a delegate stands in for
    role: Mapped[str]
    verdict: Mapped[str]
    conditions: Mapped[str] = mapped_column(default="")  # of a conditional approval
    comment: Mapped[str] = mapped_column(default="")
    versions: Mapped[dict[str, Any]] = mapped_column(default=dict)  # version id -> {verdict, comment}
    must_fixes: Mapped[list[Any]] = mapped_column(default=list)  # remarks that were open: [{annotation_id, …}]
    via: Mapped[str]  # airflow, room, cli
    address: Mapped[str | None]  # network address it came from, where one is known
    decided_at: Mapped[datetime] = mapped_column(default=utcnow, index=True)  # when the answer was given

    seat: Mapped[Seat] = relationship(back_populates="decisions")
    withdrawal: Mapped[Withdrawal | None] = relationship(back_populates="decision", uselist=False)
    fulfilment: Mapped[Fulfilment | None] = relationship(uselist=False)


class Withdrawal(Base):
    """A signature that was taken back by the person who gave it. Append-only."""

    __tablename__ = "withdrawals"

    decision_id: Mapped[str] = mapped_column(ForeignKey("decisions.id"), primary_key=True)
    person: Mapped[str]
    via: Mapped[str]
    withdrawn_at: Mapped[datetime] = mapped_column(default=utcnow)

    decision: Mapped[Decision] = relationship(back_populates="withdrawal")


class Fulfilment(Base):
    """The condition of a conditional approval, ticked off. Append-only."""

    __tablename__ = "fulfilments"

    decision_id: Mapped[str] = mapped_column(ForeignKey("decisions.id"), primary_key=True)
    person: Mapped[str]
    note: Mapped[str] = mapped_column(default="")
    met_at: Mapped[datetime] = mapped_column(default=utcnow)


class Delegation(Base):
    """A seat that one of its people handed to somebody else, for this package only. Append-only."""

    __tablename__ = "delegations"
    __table_args__ = (
        UniqueConstraint("seat_id", "person", "deputy"),
        CheckConstraint("person <> deputy", name="deputy_is_another"),
    )

    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("dlg"))
    seat_id: Mapped[str] = mapped_column(ForeignKey("seats.id"))
    person: Mapped[str]
    deputy: Mapped[str]
    why: Mapped[str]
    delegated_at: Mapped[datetime] = mapped_column(default=utcnow)


class Absence(Base):
    """Somebody who is away, and the deputy who takes their seats meanwhile (if there is one)."""

    __tablename__ = "absences"
    __table_args__ = (
        CheckConstraint("ends_at > starts_at", name="in_order"),
        CheckConstraint("deputy <> person", name="deputy_is_another"),
        CheckConstraint("(ended_by IS NULL) = (ended_at IS NULL)", name="end_is_signed"),
        Index("ix_absences_person", "person", "ends_at"),
        Index("ix_absences_deputy", "deputy", "ends_at"),
    )

    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("abs"))
    person: Mapped[str]
    deputy: Mapped[str | None]
    reason: Mapped[str] = mapped_column(default="")  # for who may enter it; nobody else is shown it
    starts_at: Mapped[datetime]
    ends_at: Mapped[datetime]
    entered_by: Mapped[str]
    entered_at: Mapped[datetime] = mapped_column(default=utcnow)
    ended_by: Mapped[str | None]  # who called it off
    ended_at: Mapped[datetime | None]


class Reminder(Base):
    """One message about a seat's deadline to one person (or the chat room), claimed before it is sent."""

    __tablename__ = "reminders"
    __table_args__ = (
        UniqueConstraint("seat_id", "kind", "person", "due_at"),
        CheckConstraint("audience IN ('seat', 'escalation')", name="audience"),
        CheckConstraint("outcome IN ('sent', 'off', 'dropped')", name="outcome"),
        CheckConstraint("(outcome IS NULL) = (done_at IS NULL)", name="done_with_an_outcome"),
        CheckConstraint("outcome <> 'dropped' OR problem IS NOT NULL", name="dropped_for_a_reason"),
        Index("ix_reminders_pending", "tries", "id", postgresql_where=text("outcome IS NULL")),
    )

    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("rem"))
    seat_id: Mapped[str] = mapped_column(ForeignKey("seats.id"))
    due_at: Mapped[datetime]  # the seat's deadline that it speaks of; a new one is told anew
    kind: Mapped[str]  # before_48h, at, after_24h, escalate_4h: a mark of the policy
    audience: Mapped[str]
    minutes: Mapped[int]  # of its mark from the deadline: no earlier mark is told after a later one
    person: Mapped[str]  # username, or #chat
    claimed_at: Mapped[datetime]
    tries: Mapped[int] = mapped_column(default=0)
    outcome: Mapped[str | None]  # off: there is nothing to send it by; dropped: it was not to be sent any more
    problem: Mapped[str | None]  # why the last try failed, or why it was dropped
    done_at: Mapped[datetime | None]
    run: Mapped[str | None]  # dag_id/run_id that claimed it


class DeadlineInvitation(Base):
    """The entry of a seat's deadline in one person's calendar, as the mails have put it there."""

    __tablename__ = "deadline_invitations"
    __table_args__ = (Index("ix_deadline_invitations_standing", "due_at", postgresql_where=text("standing")),)

    seat_id: Mapped[str] = mapped_column(ForeignKey("seats.id"), primary_key=True)
    person: Mapped[str] = mapped_column(primary_key=True)
    due_at: Mapped[datetime]
    sequence: Mapped[int] = mapped_column(default=0)  # RFC 5545: one more with each change and with the end
    standing: Mapped[bool] = mapped_column(default=True)  # not taken back
    changed_at: Mapped[datetime]


class Annotation(Base):
    """What somebody notes on a version under review: see :mod:`dam.review.annotations`, which alone writes it.

    A note that travelled here from an earlier round has the first of its kind as ``origin``.
    """

    __tablename__ = "annotations"
    __table_args__ = (
        CheckConstraint("kind IN ('must_fix', 'suggestion', 'note')", name="kind"),
        CheckConstraint("audience IS NULL OR kind <> 'must_fix'", name="must_fix_is_for_all"),
        CheckConstraint("(resolved_at IS NULL) = (resolved_by IS NULL)", name="resolved_by_somebody"),
        CheckConstraint("reply_to_id IS NULL OR (kind = 'note' AND target IS NULL)", name="reply_has_no_place"),
        Index(
            "uq_annotations_origin",
            "package_id",
            "version_id",
            "origin_id",
            unique=True,
            postgresql_where=text("origin_id IS NOT NULL"),
        ),
        Index("ix_annotations_to_mail", "id", postgresql_where=text("to_mail <> '{}'")),
    )

    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("ann"))
    package_id: Mapped[str] = mapped_column(ForeignKey("packages.id"), index=True)
    version_id: Mapped[str] = mapped_column(ForeignKey("versions.id"), index=True)
    author: Mapped[str]  # username, or guest:<address>
    role: Mapped[str]  # the author's, as which it was written
    body: Mapped[str]  # plain text
    target: Mapped[dict[str, Any] | None] = mapped_column(
        JSONB(none_as_null=True)
    )  # as dam.review.targets writes it; None: the whole version
    kind: Mapped[str] = mapped_column(default="note")
    audience: Mapped[str | None]  # the one role whose holders may read it; None: everybody
    reply_to_id: Mapped[str | None] = mapped_column(ForeignKey("annotations.id"), index=True)  # a thread's first note
    mentions: Mapped[list[str]] = mapped_column(default=list)  # usernames
    to_mail: Mapped[list[str]] = mapped_column(default=list)  # those of them who were not mailed yet
    former: Mapped[list[Any]] = mapped_column(default=list)  # {body, target, kind, until}: what it was before
    origin_id: Mapped[str | None] = mapped_column(ForeignKey("annotations.id"), index=True)
    resolved_by: Mapped[str | None]
    resolved_at: Mapped[datetime | None]
    resolution: Mapped[str | None]
    withdrawn_at: Mapped[datetime | None]
    edited_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=utcnow)

    version: Mapped[Version] = relationship()
    origin: Mapped[Annotation | None] = relationship(remote_side="Annotation.id", foreign_keys=[origin_id])
    thread: Mapped[Annotation | None] = relationship(remote_side="Annotation.id", foreign_keys=[reply_to_id])


class Presence(Base):
    """Who looks at a package now, and through which process; forgotten when it is not confirmed."""

    __tablename__ = "presences"
    __table_args__ = ({"prefixes": ["UNLOGGED"]},)  # what a crash forgets was over anyway

    package_id: Mapped[str] = mapped_column(ForeignKey("packages.id"), primary_key=True)
    person: Mapped[str] = mapped_column(primary_key=True)
    process: Mapped[str] = mapped_column(primary_key=True)
    seen_at: Mapped[datetime] = mapped_column(default=utcnow)


class Guest(Base):
    """Somebody without a log-in who may look at one package by a link, until it expires, is revoked or decided."""

    __tablename__ = "guests"
    __table_args__ = (
        CheckConstraint("(revoked_by IS NULL) = (revoked_at IS NULL)", name="revocation_is_signed"),
        CheckConstraint("(advice IS NULL) = (advised_at IS NULL)", name="advice_has_a_time"),
        CheckConstraint(f"advice IS NULL OR {_one_of('advice', Verdict)}", name="advice"),
        CheckConstraint("email = lower(email)", name="email"),
        Index("uq_guests_one_link", "package_id", "email", unique=True, postgresql_where=text("revoked_at IS NULL")),
    )

    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("gst"))
    package_id: Mapped[str] = mapped_column(ForeignKey("packages.id"), index=True)
    email: Mapped[str]
    name: Mapped[str]
    token_sha256: Mapped[str] = mapped_column(String(64), unique=True)  # of the link's secret
    may_comment: Mapped[bool] = mapped_column(default=True)
    seat_id: Mapped[str | None] = mapped_column(ForeignKey("seats.id"))  # the seat they may sign
    invited_by: Mapped[str]
    invited_at: Mapped[datetime] = mapped_column(default=utcnow)
    linked_at: Mapped[datetime] = mapped_column(default=utcnow)  # when the link that is valid was made
    expires_at: Mapped[datetime]
    revoked_by: Mapped[str | None]
    revoked_at: Mapped[datetime | None]
    advice: Mapped[str | None]  # a verdict that binds nobody
    advice_comment: Mapped[str] = mapped_column(default="")
    advised_at: Mapped[datetime | None]

    @property
    def person(self) -> str:
        """As whom they act, beside the usernames."""
        return f"guest:{self.email}"


class GuestCode(Base):
    """A one-time password that was mailed to a guest, for the browser that asked for it."""

    __tablename__ = "guest_codes"

    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("gco"))
    guest_id: Mapped[str] = mapped_column(ForeignKey("guests.id"), index=True)
    device_sha256: Mapped[str] = mapped_column(String(64))  # of the secret in that browser's cookie
    code_sha256: Mapped[str] = mapped_column(String(64))  # over that secret and the password
    tries: Mapped[int] = mapped_column(default=0)
    made_at: Mapped[datetime] = mapped_column(default=utcnow)
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class GuestSession(Base):
    """A browser in which a guest has given a one-time password."""

    __tablename__ = "guest_sessions"

    secret_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    guest_id: Mapped[str] = mapped_column(ForeignKey("guests.id"), index=True)
    address: Mapped[str | None]
    browser: Mapped[str] = mapped_column(default="")
    begun_at: Mapped[datetime] = mapped_column(default=utcnow)
    seen_at: Mapped[datetime] = mapped_column(default=utcnow)
    ended_at: Mapped[datetime | None]


class RateLimit(Base):
    """How often something was done since a moment; see :mod:`dam.limits`."""

    __tablename__ = "rate_limits"

    key: Mapped[str] = mapped_column(primary_key=True)
    since: Mapped[datetime] = mapped_column(index=True)
    count: Mapped[int]


# ------------------------------------------------------------------------------------------ activate


class Rendition(Base):
    """Bytes made from a version: rendition = f(source SHA-256, recipe, imaging version)."""

    __tablename__ = "renditions"
    __table_args__ = (UniqueConstraint("version_id", "recipe", "key"),)

    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("ren"))
    version_id: Mapped[str] = mapped_column(ForeignKey("versions.id"), index=True)
    recipe: Mapped[str]
    key: Mapped[str] = mapped_column(String(64))  # SHA-256 over source, recipe and imaging version
    imaging_version: Mapped[str]
    media_type: Mapped[str]
    width: Mapped[int]
    height: Mapped[int]
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    storage_uri: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=utcnow)

    version: Mapped[Version] = relationship(back_populates="renditions")


class Publication(Base):
    """A version at a channel, with its live URL, window and receipt."""

    __tablename__ = "publications"
    __table_args__ = (
        CheckConstraint(_one_of("status", PublicationStatus), name="status"),
        CheckConstraint("status <> 'live' OR (live_url IS NOT NULL AND probed_at IS NOT NULL)", name="live_is_probed"),
        CheckConstraint("status <> 'withdrawn' OR takedown IS NOT NULL", name="withdrawn_is_proved"),
        CheckConstraint("ends_at IS NULL OR ends_at > starts_at", name="window_in_order"),
        CheckConstraint("(cleared_by IS NULL) = (cleared_at IS NULL)", name="clearance_is_signed"),
        CheckConstraint("status <> 'live' OR risks = '[]'::jsonb OR cleared_by IS NOT NULL", name="live_is_cleared"),
        Index("ix_publications_due", "starts_at", postgresql_where=text("status = 'scheduled'")),
        Index(
            "ix_publications_ending",
            "ends_at",
            postgresql_where=text("status = 'live' AND ends_at IS NOT NULL"),
        ),
        Index("ix_publications_live", "version_id", postgresql_where=text("status = 'live'")),
        Index(
            "ix_publications_endpoints",
            "endpoints",
            postgresql_using="gin",
            postgresql_ops={"endpoints": "jsonb_path_ops"},
        ),
    )

    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("pub"))
    version_id: Mapped[str] = mapped_column(ForeignKey("versions.id"), index=True)
    package_id: Mapped[str | None] = mapped_column(ForeignKey("packages.id"), index=True)
    channel: Mapped[str] = mapped_column(index=True)
    idempotency_key: Mapped[str] = mapped_column(unique=True)  # SHA-256 of version, channel, package
    attempt: Mapped[int] = mapped_column(default=1)  # one more after each takedown of a failed delivery
    status: Mapped[str] = mapped_column(default=PublicationStatus.SCHEDULED)
    starts_at: Mapped[datetime]
    ends_at: Mapped[datetime | None]
    live_url: Mapped[str | None]
    endpoints: Mapped[list[Any]] = mapped_column(default=list)  # every URL to be probed
    remote_id: Mapped[str | None]
    receipt: Mapped[dict[str, Any] | None]
    probed_at: Mapped[datetime | None]
    withdrawn_at: Mapped[datetime | None]
    takedown: Mapped[dict[str, Any] | None]  # the proof: each endpoint, its status, when
    reason: Mapped[str | None]
    risks: Mapped[list[Any]] = mapped_column(default=list)  # sentences; what the digital team must clear
    cleared_by: Mapped[str | None]
    cleared_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=utcnow)

    version: Mapped[Version] = relationship(back_populates="publications")


# ------------------------------------------------------------------------------------------- measure


class UsageFact(Base):
    """Requests for one published path on one day, read from the origin's access log."""

    __tablename__ = "usage_facts"

    day: Mapped[date] = mapped_column(primary_key=True)
    publication_id: Mapped[str] = mapped_column(ForeignKey("publications.id"), primary_key=True, index=True)
    path: Mapped[str] = mapped_column(primary_key=True)
    hits: Mapped[int] = mapped_column(BigInteger)
    bytes: Mapped[int] = mapped_column(BigInteger)


class UsageCursor(Base):
    """How far an access log was read, so that no line counts twice."""

    __tablename__ = "usage_cursors"

    log: Mapped[str] = mapped_column(primary_key=True)  # path, inode and SHA-256 of the first line
    head: Mapped[str] = mapped_column(default="")  # that SHA-256; names a copy of the log too
    offset: Mapped[int] = mapped_column(BigInteger, default=0)
    fields: Mapped[str] = mapped_column(default="")  # W3C: the #Fields directive in force at the offset
    read_at: Mapped[datetime] = mapped_column(default=utcnow, onupdate=utcnow)


class KpiReport(Base):
    """A stored KPI report; ``kpis`` holds each number with its query, inputs' range and run."""

    __tablename__ = "kpi_reports"
    __table_args__ = (UniqueConstraint("period_start", "period_end"),)

    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("kpi"))
    period_start: Mapped[datetime]
    period_end: Mapped[datetime]
    run_id: Mapped[str | None]
    kpis: Mapped[list[Any]]
    html_uri: Mapped[str]
    json_uri: Mapped[str]
    made_at: Mapped[datetime] = mapped_column(default=utcnow)


# ------------------------------------------------------------------------------------------- archive


class ArchiveConfirmation(Base):
    """Proof that a version's bytes were moved, read back and matched."""

    __tablename__ = "archive_confirmations"

    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("arc"))
    version_id: Mapped[str] = mapped_column(ForeignKey("versions.id"), index=True)
    from_uri: Mapped[str]
    to_uri: Mapped[str]
    sha256: Mapped[str] = mapped_column(String(64))
    bytes: Mapped[int] = mapped_column(BigInteger)
    reason: Mapped[str]
    confirmed_at: Mapped[datetime] = mapped_column(default=utcnow)


class DestructionList(Base):
    """What was due for destruction when a run looked, frozen with its SHA-256. Append-only."""

    __tablename__ = "destruction_lists"

    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("dst"))
    run: Mapped[str | None] = mapped_column(unique=True)  # dag_id/run_id: the same run has one list
    sha256: Mapped[str] = mapped_column(String(64))  # over today and due
    today: Mapped[date]  # the day it looks from
    due: Mapped[list[Any]]
    held: Mapped[list[Any]]
    listed_at: Mapped[datetime] = mapped_column(default=utcnow)


class DestructionSignature(Base):
    """A DAM admin's signature over a destruction list's hash. Append-only; one a list."""

    __tablename__ = "destruction_signatures"

    list_id: Mapped[str] = mapped_column(ForeignKey("destruction_lists.id"), primary_key=True)
    list_sha256: Mapped[str] = mapped_column(String(64))
    person: Mapped[str]
    signed_at: Mapped[datetime] = mapped_column(default=utcnow)
    run: Mapped[str | None]


class DestructionCertificate(Base):
    """What was destroyed, under which policy, who signed, and that every copy is gone."""

    __tablename__ = "destruction_certificates"

    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("crt"))
    version_id: Mapped[str] = mapped_column(ForeignKey("versions.id"), unique=True)
    sha256: Mapped[str] = mapped_column(String(64))
    policy: Mapped[str]
    signed_by: Mapped[str]
    destroyed_uris: Mapped[list[str]]
    certificate_uri: Mapped[str]
    destroyed_at: Mapped[datetime] = mapped_column(default=utcnow)


# -------------------------------------------------------------------------------------------- stages


class StageClaim(Base):
    """Which DAG run works a stage for a brief, batch or package, so that a doubled event does nothing."""

    __tablename__ = "stage_claims"

    stage: Mapped[str] = mapped_column(primary_key=True)  # dag_id
    key: Mapped[str] = mapped_column(primary_key=True)  # partition key: brief, batch or package id
    run: Mapped[str]  # dag_id/run_id
    claimed_at: Mapped[datetime] = mapped_column(default=utcnow)


# --------------------------------------------------------------------------------------------- audit


class AuditEvent(Base):
    """One link of the audit chain; see :mod:`dam.audit`. Update and delete are refused by trigger."""

    __tablename__ = "audit_events"
    __table_args__ = (Index("ix_audit_events_subject", "subject_id", "seq"),)

    seq: Mapped[int] = mapped_column(BigInteger, Identity(always=False), primary_key=True)
    at: Mapped[datetime]
    actor: Mapped[str]
    action: Mapped[str]  # e.g. version.approved, brief.signed
    subject_id: Mapped[str]
    data: Mapped[dict[str, Any]] = mapped_column(default=dict)
    run: Mapped[str | None]  # dag_id/run_id
    previous_sha256: Mapped[str] = mapped_column(String(64))
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
