"""Deep zoom: pictures larger than their preview, tile by tile; to logged-in people only, as every picture."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request, Response
from fastapi import Path as InPath

from dam.renditions import tiles
from dam_web.deps import services
from dam_web.media import keep, unless_known

router = APIRouter()


@router.get("/tiles/{version_id}.dzi")
def descriptor(request: Request, version_id: str) -> Response:
    """Return what a viewer needs to know of a version's tiles, which are made now unless they are there."""
    made = tiles.make(services(), version_id=version_id)
    return unless_known(request, made.sha256) or Response(
        tiles.descriptor(made), media_type="application/xml", headers=keep(made.sha256)
    )


@router.get("/tiles/{version_id}_files/{level}/{tile}.jpg")
def tile(
    request: Request, version_id: str, level: int, tile: Annotated[str, InPath(pattern=r"^[0-9]{1,6}_[0-9]{1,6}$")]
) -> Response:
    """Return a tile, ``column_row``, of a version whose descriptor was asked for; 304 when the browser has it."""
    made = tiles.find(services(), version_id=version_id)
    if known := unless_known(request, made.sha256):
        return known
    column, _, row = tile.partition("_")
    data = tiles.tile(services(), made=made, level=level, column=int(column), row=int(row))
    return Response(data, media_type="image/jpeg", headers=keep(made.sha256))
