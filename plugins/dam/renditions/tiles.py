"""Deep zoom: a picture larger than its preview, cut into small tiles at every scale (Microsoft's DZI layout).

All tiles of a version lie in one archive, a ZIP that compresses nothing: one object to put, to destroy and to
verify in place of thousands, and a tile is a range of its bytes (``benchmarks/bench_tiles.py`` has the figures).
The archive is a rendition like any other, named by the version's bytes and the imaging version.

Originals are foreign bytes: they are decoded in the process that is made for that (:mod:`dam.ingest.sandbox`).
"""

from __future__ import annotations

import io
import logging
import threading
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, text

from dam.catalog.models import Tier, Version
from dam.errors import BadInput, NotFound
from dam.renditions import imaging, keeping, pictures, recipes

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.renditions.keeping import Kept
    from dam.services import Services
    from dam.storage import Store

log = logging.getLogger(__name__)

#: Name of the rendition that holds a version's tiles.
RECIPE = "tiles"
#: Pixels of a tile, pixels it shares with each neighbour, and its JPEG quality.
SIZE, OVERLAP, QUALITY = 256, 1, 82
#: First half of pg_advisory_xact_lock: who cuts a version's tiles; the second half is the version.
_CUTTING = 7_316_422
#: The decoding process takes one picture at a time anyway.
_one_at_a_time = threading.Lock()
#: Seconds that cutting may take: so many, and one for so many pixels.
_PATIENCE, _PIXELS_A_SECOND = 60.0, 1_000_000
#: Pictures of so many pixels are cut before anybody looks: a smaller one is cut while its viewer opens.
AHEAD = 50_000_000
#: More bytes than a ZIP's own header of one of our tiles takes.
_HEADER = 128
#: What a tile's place in the archive begins with.
_FOLDER = "tiles_files"


def descriptor(made: Kept) -> str:
    """Return the DZI file that viewers ask for first (Deep Zoom schema of 2008)."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<Image xmlns="http://schemas.microsoft.com/deepzoom/2008"'
        f' Format="jpg" Overlap="{OVERLAP}" TileSize="{SIZE}">'
        f'<Size Width="{made.width}" Height="{made.height}"/></Image>\n'
    )


def wanted(services: Services, versions: Iterable[Version]) -> set[str]:
    """Return the ids of those versions that are rasters and show more than their preview does."""
    preview = recipes.load(services)["preview"]
    return {
        version.id
        for version in versions
        if version.media_type.startswith("image/")
        and version.media_type != "image/svg+xml"
        and ((version.width or 0) > preview.width or (version.height or 0) > preview.height)
    }


def offered(services: Services, versions: Iterable[Version]) -> set[str]:
    """Return the ids of those versions that can be zoomed into: tiles are wanted of them and may be made."""
    return wanted(services, (version for version in versions if version.tier not in (Tier.QUARANTINE, Tier.GONE)))


def key_of(version: Version) -> str:
    """Return the SHA-256 that names a version's tiles."""
    return imaging.rendition_key(version.sha256, {RECIPE: {"size": SIZE, "overlap": OVERLAP, "quality": QUALITY}})


def find(services: Services, *, version_id: str) -> Kept:
    """Return a version's tiles. :raises NotFound: there is no such version, or it has none (yet)."""
    with services.session() as session:
        version = session.get(Version, version_id)
        made = _made(session, version) if version is not None and version.tier != Tier.GONE else None
    if made is None:
        raise NotFound("there are no tiles of it", where=f"version {version_id}", remedy="Look at its preview.")
    return made


def make(services: Services, *, version_id: str, run: str | None = None) -> Kept:
    """Cut a version's tiles, unless they are there. Whoever asks meanwhile waits, and takes what was made.

    Killed at any point, the next call does it again and ends in the same bytes at the same place.

    :raises NotFound: there is no such version, or it is no larger than its preview: it needs none.
    :raises BadInput: it can't be decoded, or its bytes may not be used.
    """
    with services.session() as session:
        version = session.get(Version, version_id)
        if version is None or not wanted(services, [version]):
            remedy = "Look at its preview: it shows every pixel."
            raise NotFound("there are no tiles of it", where=f"version {version_id}", remedy=remedy)
        if (made := _made(session, version)) and keeping.is_stored(services, made):
            return made
    with _one_at_a_time, services.session() as session:  # who waits here holds no connection
        session.execute(
            text("SELECT pg_advisory_xact_lock(:one, hashtext(:two))"), {"one": _CUTTING, "two": version_id}
        )
        [version] = keeping.usable(session, [version_id])
        if (made := _made(session, version)) and keeping.is_stored(services, made):
            return made
        return _cut(services, version, run)


def ahead(services: Services, *, version_ids: Sequence[str], run: str | None = None) -> None:
    """Cut the tiles of pictures that are so large that who opens one would wait for them.

    One that can't be cut keeps nobody from reviewing: its preview is there.
    """
    with services.session() as session:
        large = session.scalars(
            select(Version).where(Version.id.in_(version_ids), Version.width * Version.height >= AHEAD)
        ).all()
        worth_it = wanted(services, large)
        waiting = [version.id for version in large if version.id in worth_it]
    for version_id in waiting:
        try:
            make(services, version_id=version_id, run=run)
        except BadInput as error:
            log.warning("Version %s has no deep zoom: %s", version_id, error)


def tile(services: Services, *, made: Kept, level: int, column: int, row: int) -> bytes:
    """Return one tile as JPEG.

    :param level: 0 is one pixel, each next one twice as large. :param column: from the left, 0 the first.
    :param row: from the top. :raises NotFound: there is none.
    """
    store, key = services.storage.resolve(made.storage_uri)
    at = _index(store, key, made.bytes, made.sha256).get(f"{_FOLDER}/{level}/{column}_{row}.jpg")
    if at is None:
        raise NotFound("there is no such tile", where=f"level {level}, column {column}, row {row}")
    start, length = at
    # before a file's bytes, a ZIP says its name and more, in two parts of lengths of their own
    data = store.part(key, start=start, length=length + _HEADER)
    begin = 30 + int.from_bytes(data[26:28], "little") + int.from_bytes(data[28:30], "little")
    return data[begin : begin + length]


# ------------------------------------------------------------------------------------------------- making


def _made(session: Session, version: Version) -> Kept | None:
    return keeping.find(session, version.id, recipe=RECIPE, key=key_of(version))


def _cut(services: Services, version: Version, run: str | None) -> Kept:
    from dam.ingest import sandbox

    limits = services.taxonomy.limits
    pixels = (version.width or 0) * (version.height or 0)
    store, key = services.storage.resolve(version.storage_uri)
    with store.local(key) as path, sandbox.scratch() as scratch:
        told = sandbox.shared().tiles(
            path,
            target=scratch / "tiles.zip",
            most_megapixels=limits.max_megapixels,
            bounds=sandbox.Bounds(limits.decoder_bytes, _PATIENCE + pixels / _PIXELS_A_SECOND),
        )
        if problem := told.get("unusable"):
            raise BadInput(
                f"it can't be cut into tiles: {problem}", where=f"version {version.id}", remedy="Look at its preview."
            )
        return keeping.keep(
            services, version_ids=[version.id], recipe=RECIPE, key=key_of(version), suffix=".zip",
            source=scratch / "tiles.zip", media_type="application/zip", size=(told["width"], told["height"]), run=run,
        )  # fmt: skip


# ------------------------------------------------------------------------------------------------ reading


class _Ranges(io.RawIOBase):
    """A stored object that can be read at any place, as a ZIP's table of contents must be, at its end."""

    def __init__(self, store: Store, key: str, size: int) -> None:
        self._store, self._key, self._size, self._at = store, key, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        if self._at >= self._size:
            return 0
        data = self._store.part(self._key, start=self._at, length=min(len(buffer), self._size - self._at))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


@lru_cache(maxsize=64)
def _index(store: Store, key: str, size: int, _sha256: str) -> Mapping[str, tuple[int, int]]:
    """Return where each tile's header begins in an archive, and the tile's length. It never changes: see its key."""
    with zipfile.ZipFile(io.BufferedReader(_Ranges(store, key, size), 1 << 18)) as archive:
        return {entry.filename: (entry.header_offset, entry.file_size) for entry in archive.infolist()}


# ------------------------------------------------------------------------------------ the decoding process


def cut(path: Path, target: Path, *, most_megapixels: float) -> dict[str, Any]:
    """Cut a picture into tiles: upright, in sRGB, transparent parts white, without metadata. For the sandbox.

    :param target: of the archive.
    :returns: ``{"width", "height"}`` of the upright picture, or ``{"unusable": why}``.
    """
    import pyvips

    pyvips.concurrency_set(1)
    pyvips.cache_set_max(0)
    try:
        image = pictures.open_picture(path)
        if image.width * image.height > most_megapixels * 1e6:
            return {"unusable": f"The picture claims to be {image.width} × {image.height} pixels."}
        image = imaging.to_srgb(imaging.shrunk(_upright(image, target.with_suffix(".v")), 1))
        if image.hasalpha():
            image = image.flatten(background=255)
        loose = target.with_suffix(".loose")
        image.dzsave(
            str(loose), basename=_FOLDER.removesuffix("_files"), container="zip", compression=0, tile_size=SIZE,
            overlap=OVERLAP, suffix=f".jpg[Q={QUALITY}]", keep="none",
        )  # fmt: skip
        _in_order(loose, target)
    except (pyvips.Error, pictures.Broken, pictures.NoDecoder) as error:
        return {"unusable": imaging.first_line(error)}
    except MemoryError:
        return {"unusable": "Opening it needs more memory than is allowed here."}
    return {"width": image.width, "height": image.height}


def _in_order(loose: Path, target: Path) -> None:
    """Write an archive's tiles in the order of their names: libvips writes them as its threads get ready."""
    with zipfile.ZipFile(loose) as source, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as made:
        for name in sorted(source.namelist()):
            if name.endswith(".jpg"):
                made.writestr(zipfile.ZipInfo(name), source.read(name))


def _upright(image: Any, scratch: Path) -> Any:
    """Return a picture turned upright; one that has to be turned goes through a file, so that memory stays small."""
    import pyvips

    if not image.get_typeof("orientation") or image.get("orientation") <= 1:
        return image
    image.write_to_file(str(scratch))
    return pyvips.Image.new_from_file(str(scratch)).autorot()
