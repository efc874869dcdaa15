"""Pictures and static files, to logged-in people only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi import Path as InPath
from fastapi.responses import FileResponse, StreamingResponse
from sqlalchemy import select

from dam.catalog.models import Rendition, Version
from dam.errors import NotFound
from dam.ingest import embedded
from dam_web.auth import Asking, sees_place
from dam_web.deps import services

router = APIRouter()
STATIC = Path(__file__).parent / "static"
#: A browser may keep a rendition, but asks each time whether it still is the newest: recipes change.
KEEP = {"Cache-Control": "private, no-cache"}


@router.get("/static/{name}")
def static(name: Annotated[str, InPath(pattern=r"^[a-z0-9-]+\.(css|js|svg)$")]) -> FileResponse:
    """Return one of the pages' own files."""
    path = STATIC / name
    if not path.is_file():
        raise HTTPException(404, "There is no such file.")
    return FileResponse(path, headers={"Cache-Control": "private, max-age=300"})


@router.get("/media/{version_id}/{recipe}")
def rendition(request: Request, version_id: str, recipe: Annotated[str, InPath(pattern=r"^[a-z0-9_-]+$")]) -> Response:
    """Return a rendition of a version, for looking at; 304 when the browser has it."""
    with services().session() as session:
        found = session.scalar(
            select(Rendition)
            .where(Rendition.version_id == version_id, Rendition.recipe == recipe)
            .order_by(Rendition.created_at.desc())
            .limit(1)
        )
        if found is None:
            raise NotFound("there is no such rendition yet", where=f"version {version_id}, {recipe}")
        uri, media_type = found.storage_uri, found.media_type
        headers = KEEP | {"ETag": f'"{found.sha256}"'}
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    store, key = services().storage.resolve(uri)
    return StreamingResponse(_blocks(store.open(key)), media_type=media_type, headers=headers)


@router.get("/originals/{version_id}")
def original(version_id: str, person: Asking) -> Response:
    """Return a version's own bytes as a download; not to people who only read."""
    if person.only_reads:
        raise HTTPException(403, "Viewers see previews; ask the librarian for the original.")
    with services().session() as session:
        version = session.get(Version, version_id)
        if version is None or version.asset_id is None:
            raise NotFound("there is no such version", where=version_id)
        if embedded.tells_place(version.embedded) and not sees_place(person):
            raise HTTPException(403, "The original tells where it was taken; ask the librarian for it.")
        uri, name = version.storage_uri, version.filename
    store, key = services().storage.resolve(uri)
    ascii_name = "".join(
        letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "-" for letter in name
    )
    return StreamingResponse(
        _blocks(store.open(key)),
        media_type="application/octet-stream",
        headers={"Content-Disposition": f'attachment; filename="{ascii_name}"'},
    )


def _blocks(stream: BinaryIO) -> Iterator[bytes]:
    try:
        while block := stream.read(1 << 18):
            yield block
    finally:
        stream.close()
