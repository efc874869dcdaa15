"""Players ask for parts of files: what they get, and the pages they stand on."""

from __future__ import annotations

import pytest
from fastapi import HTTPException
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

import films
import world
from dam.catalog.models import Rendition, Version
from dam.review import packages
from dam_web.media import span

pytestmark = pytest.mark.slow  # Airflow's auth manager takes its time to start


@given(st.integers(1, 1000), st.integers(0, 1200), st.integers(0, 1200))
def test_a_part_is_the_one_that_is_asked_for(size, first, last):
    whole = list(range(size))
    for wanted, expected in (
        (f"bytes={first}-{last}", whole[first : last + 1]),
        (f"bytes={first}-", whole[first:]),
        (f"bytes=-{last}", whole[max(0, size - last) :] if last else []),
    ):
        if not expected:
            if "-" in wanted and wanted != f"bytes={first}-" and last < first and not wanted.startswith("bytes=-"):
                assert span(wanted, size) is None  # nonsense, so the whole is sent
                continue
            with pytest.raises(HTTPException) as refused:
                span(wanted, size)
            assert refused.value.status_code == 416
            assert refused.value.headers == {"Content-Range": f"bytes */{size}"}
            continue
        start, length = span(wanted, size)
        assert whole[start : start + length] == expected


@pytest.mark.parametrize("wanted", ["bytes=-", "bytes=1-2,5-6", "lines=1-2", "bytes=a-b", "bytes 1-2", ""])
def test_what_is_no_single_part_gets_the_whole(wanted):
    assert span(wanted, 100) is None


@pytest.fixture
def film(services, tmp_path):
    """A film and a sound in the library; the bytes of the film's proxy, by version ids."""
    paths = [
        films.write(tmp_path / "SPOT_ACME_20270301_v01.mp4", seconds=1),
        films.write(tmp_path / "JINGLE_ACME_20270301_v01.mp3", video=None, audio="libmp3lame", seconds=1),
    ]
    batch_id = world.drop(services, "drops/a", paths)
    world.ingest(services, batch_id)
    with services.session() as session:
        versions = {version.asset.kind: version for version in session.scalars(select(Version))}
        proxy = session.scalars(
            select(Rendition).where(Rendition.version_id == versions["video"].id, Rendition.recipe == "proxy")
        ).one()
        store, key = services.storage.resolve(proxy.storage_uri)
        return {
            "batch_id": batch_id,
            "video": versions["video"].id,
            "audio": versions["audio"].id,
            "assets": {kind: version.asset_id for kind, version in versions.items()},
            "bytes": store.read(key),
        }


def test_a_player_gets_the_whole_and_every_part(site, film):
    url, whole = f"/media/{film['video']}/proxy", film["bytes"]
    client = site("vic")
    reply = client.get(url)
    assert (reply.status_code, reply.content, reply.headers["content-type"]) == (200, whole, "video/mp4")
    assert (reply.headers["accept-ranges"], reply.headers["content-length"]) == ("bytes", str(len(whole)))
    part = client.get(url, headers={"Range": "bytes=100-299"})
    assert (part.status_code, part.content) == (206, whole[100:300])
    assert part.headers["content-range"] == f"bytes 100-299/{len(whole)}"
    assert client.get(url, headers={"Range": "bytes=-50"}).content == whole[-50:]
    beyond = client.get(url, headers={"Range": f"bytes={len(whole)}-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{len(whole)}")
    same = client.get(url, headers={"Range": "bytes=0-9", "If-Range": reply.headers["etag"]})
    assert same.content == whole[:10]
    other = client.get(url, headers={"Range": "bytes=0-9", "If-Range": '"another"'})
    assert (other.status_code, other.content) == (200, whole)


def test_the_pages_play_films_and_sounds(site, services, film):
    client = site("vic")
    page = client.get(f"/assets/{film['assets']['video']}")
    assert f'src="/media/{film["video"]}/proxy" poster="/media/{film["video"]}/poster"' in page.text
    assert "320 × 180, 0:01.0, " in page.text
    assert "media-src 'self'" in page.headers["content-security-policy"]
    page = client.get(f"/assets/{film['assets']['audio']}")
    assert f'<audio controls preload="none" src="/media/{film["audio"]}/proxy"' in page.text
    assert "None ×" not in page.text
    package_id = packages.freeze(services, batch_id=film["batch_id"], version_ids=[film["video"], film["audio"]])
    page = client.get(f"/packages/{package_id}")
    assert page.text.count("<video ") == page.text.count("<audio ") == 1
    assert "data-zoom" not in page.text
