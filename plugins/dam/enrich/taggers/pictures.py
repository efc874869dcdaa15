"""The picture that taggers look at: the preview that ingest made, upright and in sRGB."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select

from dam.catalog.models import Rendition
from dam.enrich.taggers import Failed
from dam.errors import NotFound

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.catalog.models import Version
    from dam.services import Services

#: What stands in for a version that is no picture, in this order.
NAMES = ("preview", "poster")


@dataclass(frozen=True, slots=True)
class Preview:
    """An encoded picture."""

    data: bytes
    media_type: str


def preview(services: Services, session: Session, version: Version) -> Preview:
    """Return a version's preview. :raises Failed: it has none, or its bytes are not there; nothing was called."""
    rows = {
        row.recipe: row
        for row in session.scalars(
            select(Rendition)
            .where(Rendition.version_id == version.id, Rendition.recipe.in_(NAMES))
            .order_by(Rendition.created_at)
        )
    }
    row = next((rows[name] for name in NAMES if name in rows), None)
    if row is None:
        raise Failed("There is no preview to look at.", billed=False)
    store, key = services.storage.resolve(row.storage_uri)
    try:
        return Preview(store.read(key), row.media_type)
    except NotFound as error:
        raise Failed("The preview's bytes are not in their store.", billed=False) from error
