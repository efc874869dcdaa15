"""Comparing two versions, and what stands beside a proof."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse

from dam.catalog.models import Version
from dam.errors import BadInput, NotFound
from dam.review import compare, context
from dam_web.auth import Asking
from dam_web.deps import services
from dam_web.media import keep, unless_known
from dam_web.pages import page_of

router = APIRouter()
From = Annotated[str, Query(alias="from", description="the older version; without it, the one before")]
To = Annotated[str, Query(alias="to", description="the newer version")]


@router.get("/compare", response_class=HTMLResponse)
def page(request: Request, person: Asking, to: To, older: From = "") -> Response:
    """Two versions side by side, over each other, and what differs in words."""
    told = compare.versions(services(), from_version=_older(older, to), to_version=to)
    return page_of(request, person, "compare.html.j2", told=told)


@router.get("/api/compare")
def told(to: To, older: From = "") -> dict[str, Any]:
    """Return what differs between two versions, in words and in the picture."""
    older = _older(older, to)
    words = compare.versions(services(), from_version=older, to_version=to)
    return words | {"pixels": compare.pixels(services(), from_version=older, to_version=to)}


@router.get("/api/compare/pixels")
def pixels(to: To, older: From = "") -> dict[str, Any]:
    """Return what differs in the picture; it is measured now unless it was before."""
    return compare.pixels(services(), from_version=_older(older, to), to_version=to)


@router.get("/compare/picture")
def picture(request: Request, to: To, older: From = "") -> Response:
    """Return the picture of the difference, as JPEG; 304 when the browser has it."""
    made = compare.picture(services(), from_version=_older(older, to), to_version=to)
    if known := unless_known(request, made.sha256):
        return known
    store, key = services().storage.resolve(made.storage_uri)
    return Response(store.read(key), media_type="image/jpeg", headers=keep(made.sha256))


@router.get("/api/packages/{package_id}/versions/{version_id}/context")
def beside(package_id: str, version_id: str) -> dict[str, Any]:
    """Return what stands beside a version's proof: brief, contract, rights, look-alikes, provenance."""
    return context.of_version(services(), version_id=version_id, package_id=package_id)


def _older(older: str, newer: str) -> str:
    """Return the version to compare with: the one that was named, else the one before."""
    if older:
        return older
    with services().session() as session:
        version = session.get(Version, newer)
        if version is None:
            raise NotFound("there is no such version", where=newer)
        found = compare.previous(session, version)
    if found is None:
        raise BadInput("it is the first version of its asset", where=newer, remedy="Choose another to compare it with.")
    return found
