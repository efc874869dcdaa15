"""Make a version's renditions and keep them: rendition = f(source SHA-256, recipe, imaging version)."""

from __future__ import annotations

import logging
import mimetypes
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert as plain_insert
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from dam import audit
from dam.catalog.models import Rendition, Tier, Version, new_id
from dam.errors import BadInput, NotFound
from dam.renditions import imaging
from dam.renditions.recipes import Recipe, load
from dam.services import Services
from dam.storage.store import content_key

if TYPE_CHECKING:
    from dam.ingest.inspection import Proof
    from dam.storage import Stored

log = logging.getLogger(__name__)

ACTOR = "dam"  # who the audit trail names where no person acted
PROOFS = ("preview", "thumbnail")  # what reviewers look at
#: Renditions that are no picture of a version to be looked at by itself: an archive of tiles, a picture of two.
ASIDE = ("tiles", "difference")


def render(
    services: Services,
    *,
    version_ids: Sequence[str],
    recipes: Sequence[str] | None = None,
    run: str | None = None,
) -> list[dict[str, Any]]:
    """Make the renditions of versions that are not there yet, each version decoded once.

    What exists with its bytes intact is left as it is; lost or damaged bytes are made again. One picture
    that can't be decoded doesn't stop the others.

    :param version_ids: the versions; any order, doubles are ignored.
    :param recipes: names of recipes; None for all.
    :param run: ``dag_id/run_id`` for the audit trail.
    :returns: one dict a rendition (``version_id``, ``recipe``, ``rendition_id``, ``key``, ``media_type``,
        ``width``, ``height``, ``bytes``, ``sha256``, ``storage_uri``, ``made``: whether this call made it),
        and for a version that is left out one with ``version_id`` and ``skipped``, a note.
    :raises NotFound: a version is unknown.
    :raises BadInput: a recipe is unknown, or pictures can't be decoded (raised after all others are made).
    """
    known = load(services)
    wanted = list(known) if recipes is None else list(dict.fromkeys(recipes))
    if unknown := [name for name in wanted if name not in known]:
        raise BadInput(
            f"no recipe is named {', '.join(unknown)}",
            where="recipes.yaml",
            remedy=f"Choose from {', '.join(known)}, or add the recipe.",
        )
    results: list[dict[str, Any]] = []
    unreadable: list[str] = []
    for version_id in dict.fromkeys(version_ids):
        try:
            results += _render_one(services, version_id, wanted, known, run)
        except imaging.Unreadable as error:
            log.error("Version %s: %s", version_id, error)
            unreadable.append(f"{version_id}: {error}")
    if unreadable:
        raise BadInput(
            f"{len(unreadable)} of {len(version_ids)} versions can't be rendered: {' | '.join(unreadable)}",
            remedy="Ask their sender for intact files; the renditions of the others are made.",
        )
    return results


def proofs(services: Services, *, version_ids: Sequence[str], run: str | None = None) -> list[dict[str, Any]]:
    """Make what reviewers look at, preview and thumbnail, and of very large pictures tiles. See :func:`render`."""
    from dam.renditions import tiles

    made = render(services, version_ids=version_ids, recipes=PROOFS, run=run)
    tiles.ahead(services, version_ids=version_ids, run=run)
    return made


def url_name(version: Version, rendition: Rendition) -> str:
    """Return the file name a rendition is published under, e.g. ``spring27-hero-a-acme-…-square-0c9f….webp``.

    Deterministic; the hash in it changes with the bytes, so that caches may keep it for ever.
    """
    stem = re.sub(r"[^a-z0-9]+", "-", PurePosixPath(version.filename).stem.lower()).strip("-") or "asset"
    suffix = rendition.media_type.partition("/")[2].replace("jpeg", "jpg")
    return f"{stem}-{rendition.recipe}-{rendition.sha256[:16]}.{suffix}"


def _render_one(
    services: Services, version_id: str, wanted: Sequence[str], known: dict[str, Recipe], run: str | None
) -> list[dict[str, Any]]:
    with services.session() as session:
        version = session.get(Version, version_id)
        if version is None:
            raise NotFound("is not in the catalogue", where=f"version {version_id}")
        rows = {
            (row.recipe, row.key): row
            for row in session.scalars(select(Rendition).where(Rendition.version_id == version_id))
        }
    if note := _why_not(version):
        log.info("Version %s is left out: %s", version_id, note)
        return [{"version_id": version_id, "skipped": note}]
    keys = {name: imaging.rendition_key(version.sha256, known[name].fingerprint(known)) for name in wanted}
    missing = [name for name in wanted if not _intact(services, rows.get((name, keys[name])))]
    if missing:
        store, source_key = services.storage.resolve(version.storage_uri)
        with store.local(source_key) as path:
            made = imaging.make(path, missing, known)
        rows |= _keep(services, version, known, keys, made, run)
    return [_told(rows[name, keys[name]], made=name in missing) for name in wanted]


def _why_not(version: Version) -> str | None:
    """Say why a version has no renditions, or None when it has."""
    if not version.media_type.startswith("image/"):
        return f"{version.filename} is {version.media_type}; renditions are made of images only."
    if version.tier in (Tier.QUARANTINE, Tier.GONE):
        return f"{version.filename} is {version.state}; its bytes may not be used."
    return None


_NEW = plain_insert(Rendition.metadata.tables["renditions"])


def keep_proofs(services: Services, session: Session, version: Version, proofs: Sequence[Proof], folder: Path) -> None:
    """Keep what ingest made of a version for people to look at, in the transaction of ``session``.

    :param folder: where the proofs' files are.
    """
    values = []
    for proof in proofs:
        key = imaging.rendition_key(version.sha256, proof.recipe or {"proof": proof.name})
        suffix = mimetypes.guess_extension(proof.media_type) or ""
        stored = services.storage.renditions.put(
            content_key(key) + suffix, folder / proof.file, media_type=proof.media_type
        )
        values.append(row_of(version, proof.name, key, proof, stored))
    if values:  # the version is new, so nobody else has made any
        session.execute(_NEW, values)


def _intact(services: Services, row: Rendition | None) -> bool:
    """Tell whether a rendition's bytes are stored and are the ones its row names."""
    if row is None:
        return False
    store, key = services.storage.resolve(row.storage_uri)
    return bool(store.exists(key) and store.digest(key) == row.sha256)


def _keep(
    services: Services,
    version: Version,
    known: Mapping[str, Recipe],
    keys: Mapping[str, str],
    made: Mapping[str, imaging.Made],
    run: str | None,
) -> dict[tuple[str, str], Rendition]:
    """Store bytes, then rows: killed in between, the next call finds no row and does it again."""
    values = []
    for name, one in made.items():
        key = keys[name]
        place = content_key(key) + known[name].suffix
        stored = services.storage.renditions.put(place, one.data, media_type=one.media_type)
        values.append(row_of(version, name, key, one, stored))
    with services.session() as session:
        fresh = insert_rows(session, values)
        if fresh:
            audit.record(
                session,
                actor=ACTOR,
                action="version.rendered",
                subject_id=version.id,
                data={"renditions": {row["recipe"]: row["sha256"] for row in values if row["id"] in fresh}},
                run=run,
            )
        found = session.scalars(
            select(Rendition).where(Rendition.version_id == version.id, Rendition.key.in_(keys.values()))
        )
        return {(row.recipe, row.key): row for row in found}


def row_of(version: Version, recipe: str, key: str, one: imaging.Made | Proof, stored: Stored) -> dict[str, Any]:
    """Return a rendition's columns, for :func:`insert_rows`."""
    return {
        "id": new_id("ren"),
        "version_id": version.id,
        "recipe": recipe,
        "key": key,
        "imaging_version": imaging.imaging_version(),
        "media_type": one.media_type,
        "width": one.width,
        "height": one.height,
        "bytes": stored.bytes,
        "sha256": stored.sha256,
        "storage_uri": stored.uri,
    }


def insert_rows(session: Session, values: list[dict[str, Any]]) -> set[str]:
    """Insert rows; where another worker was first, take its row, mending it only if the bytes differ.

    :returns: ids of the rows that were inserted or mended.
    """
    new = insert(Rendition).values(values)
    told = {column: new.excluded[column] for column in ("sha256", "bytes", "width", "height", "storage_uri")}
    statement = new.on_conflict_do_update(
        index_elements=["version_id", "recipe", "key"],
        set_=told,
        where=Rendition.sha256 != new.excluded.sha256,
    ).returning(Rendition.id)
    return set(session.scalars(statement))


def _told(row: Rendition, *, made: bool) -> dict[str, Any]:
    return {
        "version_id": row.version_id,
        "recipe": row.recipe,
        "rendition_id": row.id,
        "key": row.key,
        "media_type": row.media_type,
        "width": row.width,
        "height": row.height,
        "bytes": row.bytes,
        "sha256": row.sha256,
        "storage_uri": row.storage_uri,
        "made": made,
    }
