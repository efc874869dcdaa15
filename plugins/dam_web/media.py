"""Pictures and static files, to logged-in people only."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

from fastapi import APIRouter, Header, HTTPException, Request, Response
from fastapi import Path as InPath
from fastapi.responses import FileResponse, StreamingResponse
from sqlalchemy import select

from dam.catalog.models import Rendition, Version
from dam.errors import NotFound
from dam.ingest import embedded
from dam.renditions.render import ASIDE
from dam_web.auth import Asking, sees_place
from dam_web.deps import services

router = APIRouter()
STATIC = Path(__file__).parent / "static"


def keep(sha256: str) -> dict[str, str]:
    """Return the headers by which a browser keeps what has this SHA-256 (hex).

    It asks each time whether that still is the newest: recipes change.
    """
    return {"Cache-Control": "private, no-cache", "ETag": f'"{sha256}"'}


def unless_known(request: Request, sha256: str) -> Response | None:
    """Return a 304 where the browser has what has this SHA-256 (hex); None where it must be sent."""
    headers = keep(sha256)
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return None


@router.get("/static/{name}")
def static(name: Annotated[str, InPath(pattern=r"^[a-z0-9-]+\.(css|js|svg)$")]) -> FileResponse:
    """Return one of the pages' own files."""
    path = STATIC / name
    if not path.is_file():
        raise HTTPException(404, "There is no such file.")
    return FileResponse(path, headers={"Cache-Control": "private, max-age=300"})


@router.get("/static/app/{name}")
def bundle(name: Annotated[str, InPath(pattern=r"^[A-Za-z0-9-]+\.(css|js)$")]) -> FileResponse:
    """Return a part of the front end, as ``runtime/web.sh`` built it from ``web/``."""
    path = STATIC / "app" / name
    if not path.is_file():
        raise HTTPException(404, "There is no such file. Build the front end: sh runtime/web.sh")
    # a chunk's name tells what is in it; an entry keeps its name when it changes
    keep = "max-age=31536000, immutable" if name.startswith("chunk-") else "max-age=300"
    return FileResponse(path, headers={"Cache-Control": f"private, {keep}"})


@router.get("/media/{version_id}/{recipe}")
def rendition(
    request: Request,
    version_id: str,
    recipe: Annotated[str, InPath(pattern=r"^[a-z0-9_-]+$")],
    wanted: Annotated[str | None, Header(alias="Range")] = None,
    unchanged: Annotated[str | None, Header(alias="If-Range")] = None,
) -> Response:
    """Return a rendition of a version, for looking at and listening to; or a part of it, as players ask for; 304
    when the browser has it."""
    with services().session() as session:
        found = session.scalar(
            select(Rendition)
            .where(Rendition.version_id == version_id, Rendition.recipe == recipe)
            .order_by(Rendition.created_at.desc())
            .limit(1)
        )
        if found is None or recipe in ASIDE:
            raise NotFound("there is no such rendition yet", where=f"version {version_id}, {recipe}")
        uri, media_type, size, sha256 = found.storage_uri, found.media_type, found.bytes, found.sha256
    if known := unless_known(request, sha256):
        return known
    headers = keep(sha256) | {"Accept-Ranges": "bytes"}
    store, key = services().storage.resolve(uri)
    part = span(wanted, size) if wanted and unchanged in (None, headers["ETag"]) else None
    if part is None:
        headers["Content-Length"] = str(size)
        return StreamingResponse(_blocks(store.open(key)), media_type=media_type, headers=headers)
    start, length = part
    headers |= {"Content-Length": str(length), "Content-Range": f"bytes {start}-{start + length - 1}/{size}"}
    blocks = _blocks(store.open(key, start=start), length)
    return StreamingResponse(blocks, status_code=206, media_type=media_type, headers=headers)


def span(wanted: str, size: int) -> tuple[int, int] | None:
    """Return first byte and length of the part that a ``Range`` header asks for (RFC 9110, 14.2).

    :param size: of the whole, in bytes.
    :returns: None where the whole is the right answer: several parts, other units, nonsense.
    :raises HTTPException: 416, the part lies beyond the end.
    """
    found = re.fullmatch(r"bytes=\s*(\d*)-(\d*)\s*", wanted)
    if found is None or found[1] == found[2] == "":
        return None
    if found[1]:
        start, end = int(found[1]), min(int(found[2] or size), size - 1)
        if found[2] and int(found[2]) < start:
            return None
    else:
        start, end = max(0, size - int(found[2])), size - 1
    if start >= size or start > end:
        raise HTTPException(416, "The file is shorter.", headers={"Content-Range": f"bytes */{size}"})
    return start, end - start + 1


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


def _blocks(stream: BinaryIO, length: int | None = None) -> Iterator[bytes]:
    """Yield what is in a stream, or its first ``length`` bytes, and close it."""
    left = length
    try:
        while block := stream.read(1 << 18 if left is None else min(1 << 18, left)):
            yield block
            left = None if left is None else left - len(block)
    finally:
        stream.close()
