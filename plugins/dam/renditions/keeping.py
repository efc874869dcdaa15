"""Keeps what is made of versions outside a run over them, so that it never outlives one of them.

The row is written before the bytes: whoever destroys a version finds by its row what was stored, or would have
been, at whatever point this was killed. What has a row and no bytes is made again by who asks for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import select

from dam import audit
from dam.catalog.models import Rendition, Tier, Version
from dam.errors import BadInput, NotFound
from dam.renditions import imaging, render
from dam.storage import Stored
from dam.storage.store import CHUNK, content_key, reading

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.services import Services


@dataclass(frozen=True, slots=True)
class Kept:
    """A kept rendition: its size in pixels, where it lies, its SHA-256 and length in bytes."""

    width: int
    height: int
    storage_uri: str
    sha256: str
    bytes: int


def find(session: Session, version_id: str, *, recipe: str, key: str) -> Kept | None:
    """Return a rendition that was kept; its bytes may be missing, see :func:`is_stored`."""
    row = session.scalars(
        select(Rendition).where(Rendition.version_id == version_id, Rendition.recipe == recipe, Rendition.key == key)
    ).one_or_none()
    return Kept(row.width, row.height, row.storage_uri, row.sha256, row.bytes) if row else None


def is_stored(services: Services, kept: Kept) -> bool:
    """Return whether its bytes are there, all of them; they were verified when they were put there."""
    store, key = services.storage.resolve(kept.storage_uri)
    try:
        return store.size(key) == kept.bytes
    except NotFound:
        return False


def keep(
    services: Services,
    *,
    version_ids: Sequence[str],
    recipe: str,
    key: str,
    suffix: str,
    source: Path | bytes,
    media_type: str,
    size: tuple[int, int],
    run: str | None = None,
) -> Kept:
    """Keep a rendition of one version, or of several that it shows together: it goes with the first that goes.

    :param key: what names it; see :func:`dam.renditions.imaging.rendition_key`. :param size: width and height.
    :raises BadInput: a version's bytes may not be used: it is in quarantine, or was destroyed meanwhile.
    """
    place = content_key(key) + suffix
    with reading(source) as stream:
        digest = hashlib.sha256()
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
        stored = Stored(services.storage.renditions.uri(place), digest.hexdigest(), stream.tell())
    shape = imaging.Made(b"", media_type, *size)
    with services.session() as session:
        versions = usable(session, version_ids, lock=True)
        fresh = render.insert_rows(
            session, [render.row_of(version, recipe, key, shape, stored) for version in versions]
        )
        for version in versions if fresh else ():
            audit.record(
                session, actor=render.ACTOR, action="version.rendered", subject_id=version.id,
                data={"renditions": {recipe: stored.sha256}}, run=run,
            )  # fmt: skip
    with services.session() as session:
        usable(session, version_ids, lock=True)
        services.storage.renditions.put(place, source, media_type=media_type)
    return Kept(*size, stored.uri, stored.sha256, stored.bytes)


def usable(session: Session, version_ids: Sequence[str], *, lock: bool = False) -> list[Version]:
    """Return versions whose bytes may be used. :param lock: keep them from being destroyed until the end of it.

    :raises NotFound: there is no such version. :raises BadInput: it is in quarantine, or destroyed.
    """
    found = []
    for version_id in sorted(set(version_ids)):
        locked = {"read": True, "of": Version} if lock else None
        version = session.get(Version, version_id, populate_existing=True, with_for_update=locked)
        if version is None:
            raise NotFound("there is no such version", where=version_id)
        if version.tier in (Tier.QUARANTINE, Tier.GONE):
            raise BadInput(f"it is {version.state}; its bytes may not be used", where=f"version {version_id}")
        found.append(version)
    return found
