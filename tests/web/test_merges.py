"""The duplicates page, merges through the API, and where links to a merged asset lead."""

from __future__ import annotations

import shutil

import pyexiv2
import pytest

import films
import world
from dam.catalog.models import Publication, UsageFact, Version, utcnow
from dam.ingest import batches
from dam.review import packages

pytestmark = pytest.mark.slow


@pytest.fixture
def twins(services, tmp_path):
    """Two assets that show the same pixels: version and asset ids by name."""
    found = {}
    first = world.picture(tmp_path, "CUP_ACME_20270301_v01.jpg")
    shutil.copy(first, tmp_path / "MUG_ACME_20270301_v01.jpg")
    with pyexiv2.Image(str(tmp_path / "MUG_ACME_20270301_v01.jpg")) as opened:
        opened.clear_xmp()
        opened.modify_xmp({"Xmp.photoshop.Credit": "<b>Photo</b>: Rachel"})
    for name, sender in (("CUP", "Northlight"), ("MUG", "Southlight")):
        files = [tmp_path / f"{name}_ACME_20270301_v01.jpg"]
        batch_id = world.drop(services, f"drops/{name}", files, supplier=sender)
        world.ingest(services, batch_id)
        [row] = batches.receipt(services, batch_id=batch_id)
        found[name] = (row["version_id"], row["asset_id"])
    return found


def merged(site, twins, **more):
    (keep, _), (drop, _) = twins["CUP"], twins["MUG"]
    return site("libby").post("/api/merges", json={"keep": keep, "drop": drop, **more})


def test_the_page_shows_both_sides_and_what_differs(site, twins):
    page = site("libby").get("/duplicates").text
    assert "the same pixels" in page
    assert page.count("data-keep=") == 2
    for version_id, _ in twins.values():
        assert f"/media/{version_id}/preview" in page
    assert "&lt;b&gt;Photo&lt;/b&gt;" in page
    assert "<b>Photo" not in page
    assert not [
        word for word in ("data-keep", "data-answer", "data-undo") if word in site("vic").get("/duplicates").text
    ]


def test_films_and_sounds_are_told_in_words(site, services, tmp_path):
    song, name = films.music(6, seed=3), "{}_ACME_20270301_v01.{}"
    first = films.write_wav(tmp_path / name.format("SONG", "wav"), song)
    again = films.write(tmp_path / name.format("SONG-AGAIN", "mp3"), video=None, audio="libmp3lame", sound=song)
    film = films.write(tmp_path / name.format("FILM", "mp4"), seconds=3)
    small = films.reencoded(film, tmp_path / name.format("FILM-AGAIN", "webm"), scale=0.5)
    batch_id = world.drop(services, "drops/a", [first, again, film, small])
    world.ingest(services, batch_id)
    page = site("libby").get("/duplicates").text
    assert page.count('<article class="card pair"') == 2
    assert '<span class="badge">same film: 100 % of its key frames, same sound: ' in page
    assert '<span class="badge">same sound: ' in page
    assert "None" not in page
    assert "data-keep=" not in page, "nothing here can be merged without loss"
    assets = {row["path"]: row["asset_id"] for row in batches.receipt(services, batch_id=batch_id)}
    assert "Sounds like" in site("vic").get(f"/assets/{assets[first.name]}").text
    assert "Looks like" in site("vic").get(f"/assets/{assets[small.name]}").text


def test_a_merged_asset_leads_to_the_kept_one_which_says_so(site, twins):
    (_, kept), (_, dropped) = twins["CUP"], twins["MUG"]
    assert merged(site, twins).json()["changed"]
    moved = site("vic").get(f"/assets/{dropped}")
    assert moved.status_code == 307
    page = site("vic").get(f"/assets/{moved.headers['location']}")
    assert page.status_code == 200
    assert page.url.path == f"/assets/{kept}"
    assert "“MUG_ACME” was merged into this asset" in page.text
    assert "Also delivered by" in page.text
    assert "Southlight" in page.text
    assert "data-undo" not in page.text
    assert "data-undo" in site("libby").get(f"/assets/{kept}").text
    assert "was merged into this asset" not in site("vic").get(f"/assets/{kept}").text
    assert "was merged into this asset" not in site("vic").get(f"/assets/{kept}?merged=ast_x").text
    told = site("vic").get(f"/api/assets/{dropped}")
    assert (told.status_code, told.json()) == (307, {"merged_into": kept})
    assert site("vic").get(f"/api/assets/{dropped}", follow_redirects=True).json()["asset_id"] == kept


def test_search_shows_one_by_either_name(site, twins):
    assert site("vic").get("/api/assets").json()["total"] == 2
    merged(site, twins)
    for words in ("", "CUP", "MUG", "Photo"):
        found = site("vic").get("/api/assets", params={"q": words}).json()["assets"]
        assert [row["name"] for row in found] == ([] if words == "Photo" else ["CUP_ACME"]), words


def test_undo_shows_two_again(site, twins):
    merge_id = merged(site, twins).json()["merge_id"]
    assert site("vic").get("/api/merges").json()[0]["merge_id"] == merge_id
    assert f'data-undo="{merge_id}"' in site("libby").get("/duplicates").text
    told = site("ada").post(f"/api/merges/{merge_id}/undo", json={}).json()
    assert (told["changed"], told["left"]) == (True, [])
    assert site("vic").get(f"/assets/{twins['MUG'][1]}").status_code == 200
    assert site("vic").get("/api/assets").json()["total"] == 2
    assert "Undone by ada" in site("libby").get("/duplicates").text


def test_an_approval_is_named_before_it_is_void(site, services, twins):
    version_id, _ = twins["CUP"]
    with services.session() as session:
        batch_id = session.get_one(Version, version_id).batch_id
    package_id = packages.freeze(services, batch_id=batch_id, version_ids=[version_id])
    world.sign_all(services, package_id)
    refused = merged(site, twins)
    assert refused.status_code == 409
    assert refused.json()["voids"] == [package_id]
    assert merged(site, twins, void_approvals=True).json()["voids"] == [package_id]


def test_an_answer_takes_the_pair_from_the_page(site, twins):
    (one, _), (other, _) = twins["CUP"], twins["MUG"]
    path = f"/api/duplicates/{one}/{other}/answer"
    assert site("bea").post(path, json={"answer": "both"}).status_code == 403
    assert site("libby").post(path, json={"answer": "perhaps"}).status_code == 422
    assert site("libby").post(path, json={"answer": "different"}).json()["answer"] == "different"
    assert "data-one" not in site("libby").get("/duplicates").text
    assert "not a duplicate" in site("libby").get("/duplicates?answered=true").text
    assert "Looks like" not in site("libby").get(f"/assets/{twins['CUP'][1]}").text
    site("libby").post(path, json={"answer": None})
    assert "Looks like" in site("libby").get(f"/assets/{twins['CUP'][1]}").text


def test_the_same_bytes_from_another_sender_show_on_the_asset(site, services, twins, tmp_path):
    batch_id = world.drop(services, "drops/again", [tmp_path / "CUP_ACME_20270301_v01.jpg"], supplier="Third & Co")
    assert world.ingest(services, batch_id) == {"duplicate": 1}
    page = site("vic").get(f"/assets/{twins['CUP'][1]}").text
    assert f'Also delivered by <a href="/batches/{batch_id}">Third &amp; Co</a>' in page


def test_usage_of_what_was_merged_shows_on_the_kept_asset(site, services, twins):
    (_, kept), (drop, _) = twins["CUP"], twins["MUG"]
    with services.session() as session:
        out = Publication(
            version_id=drop, channel="web", idempotency_key="k", status="withdrawn", starts_at=utcnow(), takedown={
                "endpoints": []
            }, withdrawn_at=utcnow(),
        )  # fmt: skip
        session.add(out)
        session.flush()
        session.add(UsageFact(day=utcnow().date(), publication_id=out.id, path="/a", hits=1234, bytes=1))
    merged(site, twins)
    page = site("vic").get(f"/assets/{kept}").text
    assert "<td>MUG_ACME v1</td>" in page
    assert "Asked for 1,234 times in all, what was merged into it included." in page
