"""Deep zoom over HTTP: made when first asked for, known again by the browser, never the archive itself."""

from __future__ import annotations

import io
import re

import pytest
from PIL import Image
from sqlalchemy import select

import world
from dam.catalog.models import Version
from dam.renditions import tiles
from dam.review import packages

pytestmark = pytest.mark.slow  # Airflow's auth manager takes its time to start


@pytest.fixture
def large(services, tmp_path):
    path = world.picture(tmp_path, "A.jpg", size=(2200, 1200))
    world.ingest(services, world.drop(services, "drops/a", [path]))
    with services.session() as session:
        return session.scalars(select(Version.id)).one()


def test_tiles_are_made_when_a_viewer_first_asks(site, services, large):
    client = site("vic")
    assert client.get(f"/tiles/{large}_files/12/0_0.jpg").status_code == 404
    told = client.get(f"/tiles/{large}.dzi")
    assert told.headers["content-type"].startswith("application/xml")
    assert re.search(r'TileSize="256".*Width="2200" Height="1200"', told.text)
    tile = client.get(f"/tiles/{large}_files/12/8_4.jpg")
    assert tile.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(tile.content)).size == (2200 - 8 * 256 + 1, 1200 - 4 * 256 + 1)
    assert tile.headers["cache-control"] == "private, no-cache"
    again = client.get(f"/tiles/{large}_files/12/8_4.jpg", headers={"If-None-Match": tile.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get(f"/tiles/{large}_files/12/9_0.jpg").status_code == 404
    assert client.get(f"/tiles/{large}_files/12/a_0.jpg").status_code == 422


@pytest.mark.parametrize(("width", "zooms"), [(2040, False), (2060, True)])
def test_the_room_asks_for_the_tiles_that_there_are(site, services, tmp_path, width, zooms):
    batch_id = world.drop(services, "drops/a", [world.picture(tmp_path, "A_ACME_20270301_v01.jpg", size=(width, 900))])
    world.ingest(services, batch_id)
    with services.session() as session:
        version_id = session.scalars(select(Version.id)).one()
    package_id = packages.freeze(services, batch_id=batch_id, version_ids=[version_id])
    [told] = site("bea").get(f"/api/packages/{package_id}/room").json()["versions"]
    assert told["deep_zoom"] is zooms
    assert site("bea").get(f"/tiles/{version_id}.dzi").status_code == (200 if zooms else 404)


def test_the_archive_of_tiles_is_no_picture(site, services, large):
    tiles.make(services, version_id=large)
    assert site("vic").get(f"/media/{large}/tiles").status_code == 404
    with services.session() as session:
        asset_id = session.get_one(Version, large).asset_id
    [version] = site("vic").get(f"/api/assets/{asset_id}").json()["versions"]
    assert version["recipes"] == ["preview", "thumbnail"]


def test_nobody_sees_tiles_without_a_log_in(site, services, large):
    tiles.make(services, version_id=large)
    for path in (f"/tiles/{large}.dzi", f"/tiles/{large}_files/12/0_0.jpg"):
        assert site().get(path).status_code == 401
