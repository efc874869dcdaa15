"""Deep zoom: tiles of pictures larger than their preview, in one archive a version."""

from __future__ import annotations

import io
import math
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from PIL import Image
from sqlalchemy import select

import world
from dam.catalog.models import Asset, AuditEvent, Batch, Rendition, Version, VersionState
from dam.errors import BadInput, NotFound
from dam.ingest import sandbox
from dam.renditions import render, tiles
from dam.renditions.keeping import Kept
from dam.services import Services


def add(services: Services, path: Path, *, size: tuple[int, int], media_type: str = "image/jpeg") -> str:
    """Put a picture into the vault and the catalogue; return its version id."""
    stored = services.storage.vault.put_content(path)
    with services.session() as session:
        batch = Batch(source="cli", location=f"drops/{path.name}-{media_type}", sent_by="dario", status="done")
        version = Version(
            asset=Asset(name=f"{path.stem}-{media_type}", kind="image"), number=1, batch=batch, filename=path.name,
            sha256=stored.sha256, bytes=stored.bytes, media_type=media_type, storage_uri=stored.uri, made_by="dario",
            width=size[0], height=size[1],
        )  # fmt: skip
        world.bring_to(session, version, VersionState.INGESTED)
        return version.id


def shades(width: int, height: int) -> pyvips.Image:
    """A picture whose red tells the column and whose green tells the row."""
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([x * 255 // width, y * 255 // height, np.full_like(x, 90)], axis=2).astype(np.uint8)
    return pyvips.Image.new_from_array(pixels).copy(interpretation="srgb")


def whole(services: Services, made: Kept) -> np.ndarray:
    """Put the tiles of the largest level together, as a viewer does."""
    level = math.ceil(math.log2(max(made.width, made.height)))
    canvas = Image.new("RGB", (made.width, made.height))
    for row in range(-(-made.height // tiles.SIZE)):
        for column in range(-(-made.width // tiles.SIZE)):
            data = tiles.tile(services, made=made, level=level, column=column, row=row)
            part = Image.open(io.BytesIO(data))
            left, top = (tiles.OVERLAP if at else 0 for at in (column, row))
            canvas.paste(part.crop((left, top, *part.size)), (column * tiles.SIZE, row * tiles.SIZE))
    return np.asarray(canvas).astype(int)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large.jpg"
    shades(2200, 700).jpegsave(str(path), Q=95)
    return path


def test_the_tiles_are_the_picture_and_are_made_once(anywhere: Services, large: Path) -> None:
    services = anywhere
    version_id = add(services, large, size=(2200, 700))
    with pytest.raises(NotFound):
        tiles.find(services, version_id=version_id)
    made = tiles.make(services, version_id=version_id)
    assert (made.width, made.height) == (2200, 700)
    assert 'Size Width="2200" Height="700"' in tiles.descriptor(made)
    seen = whole(services, made)
    assert np.abs(seen - shades(2200, 700).numpy().astype(int)).max() <= 12
    smallest = Image.open(io.BytesIO(tiles.tile(services, made=made, level=0, column=0, row=0)))
    assert smallest.size == (1, 1)
    assert tiles.make(services, version_id=version_id) == made == tiles.find(services, version_id=version_id)
    with services.session() as session:
        rows = session.scalars(select(Rendition).where(Rendition.recipe == "tiles")).all()
        events = session.scalars(select(AuditEvent).where(AuditEvent.action == "version.rendered")).all()
    assert (len(rows), len(events)) == (1, 1)


@pytest.mark.parametrize("place", [(12, 9, 0), (12, 0, 9), (13, 0, 0), (-1, 0, 0)])
def test_a_tile_that_is_not_there_is_told(services: Services, large: Path, place: tuple[int, int, int]) -> None:
    made = tiles.make(services, version_id=add(services, large, size=(2200, 700)))
    level, column, row = place
    with pytest.raises(NotFound, match="no such tile"):
        tiles.tile(services, made=made, level=level, column=column, row=row)


def test_tiles_stand_upright_in_srgb_and_on_white(services: Services, tmp_path: Path) -> None:
    image = shades(2200, 700)
    image.set_type(pyvips.GValue.gint_type, "orientation", 6)  # to be turned right
    image.jpegsave(str(tmp_path / "turned.jpg"), Q=95)
    made = tiles.make(services, version_id=add(services, tmp_path / "turned.jpg", size=(700, 2200)))
    assert (made.width, made.height) == (700, 2200)
    seen = whole(services, made)
    assert seen[20, 680, 0] < 30  # the left edge, dark in red, is on top now
    assert seen[2180, 680, 0] > 220
    wide = shades(2100, 300).icc_transform("p3", input_profile="srgb")
    wide.tiffsave(str(tmp_path / "wide.tif"))
    made = tiles.make(
        services, version_id=add(services, tmp_path / "wide.tif", media_type="image/tiff", size=(2100, 300))
    )
    assert np.abs(whole(services, made) - shades(2100, 300).numpy().astype(int)).max() <= 14
    clear = shades(2100, 300).bandjoin(0)
    clear.pngsave(str(tmp_path / "clear.png"))
    made = tiles.make(
        services, version_id=add(services, tmp_path / "clear.png", media_type="image/png", size=(2100, 300))
    )
    assert whole(services, made).min() >= 250


def test_only_rasters_larger_than_the_preview_have_tiles(services: Services, large: Path, tmp_path: Path) -> None:
    shades(1600, 900).jpegsave(str(tmp_path / "small.jpg"))
    for version_id in (
        add(services, tmp_path / "small.jpg", size=(1600, 900)),
        add(services, large, media_type="image/svg+xml", size=(2200, 700)),
        "ver_none",
    ):
        with pytest.raises(NotFound, match="preview"):
            tiles.make(services, version_id=version_id)


def test_two_who_ask_at_once_cut_once(services: Services, large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version_id = add(services, large, size=(2200, 700))
    cuts = []
    real = sandbox.Sandbox.tiles

    def counted(self: sandbox.Sandbox, *args: object, **kwargs: object) -> dict[str, object]:
        cuts.append(args)
        return real(self, *args, **kwargs)

    monkeypatch.setattr(sandbox.Sandbox, "tiles", counted)
    made: list[Kept] = []
    threads = [
        threading.Thread(target=lambda: made.append(tiles.make(services, version_id=version_id))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(cuts) == 1
    assert len(made) == 3
    assert len(set(made)) == 1


@pytest.mark.parametrize("after", ["nothing", "the row", "the bytes"])
def test_killed_at_any_point_it_ends_the_same_and_lost_bytes_are_made_again(
    services: Services, large: Path, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    version_id = add(services, large, size=(2200, 700))
    store, put = services.storage.renditions, services.storage.renditions.put

    def killed(*args: Any, **kwargs: Any) -> None:
        if after == "the bytes":
            put(*args, **kwargs)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(*((render, "insert_rows") if after == "nothing" else (store, "put")), killed)
        with pytest.raises(KeyboardInterrupt):
            tiles.make(services, version_id=version_id)
    with services.session() as session:  # what is stored has a row: who destroys the version finds it
        known = session.scalars(select(Rendition.storage_uri)).all()
    assert {f"renditions:{entry.key}" for entry in store.list()} <= set(known)
    made = tiles.make(services, version_id=version_id)
    [left] = store.list()
    assert (made.storage_uri, made.sha256) == (f"renditions:{left.key}", store.digest(left.key))
    store.delete(left.key)
    assert tiles.make(services, version_id=version_id) == made
    assert store.digest(left.key) == made.sha256


def test_a_damaged_or_destroyed_original_leaves_nothing(services: Services, large: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.png"
    shades(2200, 700).pngsave(str(cut))
    cut.write_bytes(cut.read_bytes()[:5000])
    with pytest.raises(BadInput, match="can't be cut into tiles"):
        tiles.make(services, version_id=add(services, cut, media_type="image/png", size=(2200, 700)))
    version_id = add(services, large, size=(2200, 700))
    real = sandbox.Sandbox.tiles

    def destroyed_meanwhile(self: sandbox.Sandbox, *args: object, **kwargs: object) -> dict[str, object]:
        told = real(self, *args, **kwargs)
        with services.session() as session:
            version = session.get_one(Version, version_id)
            for state, tier in ((VersionState.ARCHIVED, "cold"), (VersionState.DESTROYED, "gone")):
                version.state, version.tier = state, tier
                session.flush()
        return told

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sandbox.Sandbox, "tiles", destroyed_meanwhile)
        with pytest.raises(BadInput, match="may not be used"):
            tiles.make(services, version_id=version_id)
    assert list(services.storage.renditions.list()) == []
