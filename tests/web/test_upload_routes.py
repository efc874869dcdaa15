"""Uploads and generated art over HTTP: resumable, checked, and only their owner's."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest
import yaml
from sqlalchemy import select

import world
from dam.catalog.models import Batch, Version
from dam.ingest import batches, drops

pytestmark = pytest.mark.slow


def digest(data):
    return {"Content-Digest": f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"}


def taken(services, location):
    """Register and ingest what was uploaded; return the batch and its receipt's rows by path."""
    batch_id = batches.register(services, location=location, source="inbox", sent_by="airflow")
    world.ingest(services, batch_id)
    with services.session() as session:
        return session.get_one(Batch, batch_id), {
            row["path"]: row for row in batches.receipt(services, batch_id=batch_id)
        }


def test_an_upload_is_gone_on_with_after_a_cut_and_becomes_a_batch(site, services, tmp_path):
    client, other = site("dario"), site("libby")
    data = world.picture(tmp_path, "A.jpg").read_bytes()
    card = {"campaign": None, "supplier": "Northlight", "rights": {"licence": "N-1", "holder": "North"}}
    upload = client.post("/api/uploads", json=card).json()["upload"]
    files = [{"path": "shoot/A.jpg", "bytes": len(data), "fingerprint": "1"}]
    [told] = client.post(f"/api/uploads/{upload}/files", json={"files": files}).json()
    at = f"/api/uploads/{upload}/files/{told['file']}"
    half = len(data) // 2
    reply = client.put(f"{at}?offset=0", content=data[:half], headers=digest(data[:half]))
    assert reply.json() == {"offset": half, "bytes": len(data), "done": False}
    head = client.head(at)
    assert (head.headers["Upload-Offset"], head.headers["Upload-Length"]) == (str(half), str(len(data)))
    assert client.get(at).json()["offset"] == half
    [mine] = client.get("/api/uploads").json()
    assert (mine["upload"], mine["there"]) == (upload, half)
    assert other.get("/api/uploads").json() == []
    for method, path in (("GET", f"/api/uploads/{upload}"), ("GET", at), ("DELETE", f"/api/uploads/{upload}"),
                         ("PUT", f"{at}?offset={half}"), ("POST", f"/api/uploads/{upload}/complete")):  # fmt: skip
        assert other.request(method, path).status_code == 403, f"{method} {path}"
    wrong = client.put(f"{at}?offset=3", content=b"x")
    assert (wrong.status_code, wrong.json()["offset"]) == (409, half)
    changed = client.put(f"{at}?offset={half}", content=data[half:], headers=digest(b"other"))
    assert (changed.status_code, changed.json()["what"]) == (422, "the part was changed on its way")
    early = client.post(f"/api/uploads/{upload}/complete", json={})
    assert (early.status_code, early.json()["what"]) == (409, "shoot/A.jpg is not there as a whole")
    page = client.get("/upload").text
    assert "0 of 1 files" in page
    assert f'data-resume="{upload}"' in page
    assert f'data-resume="{upload}"' not in other.get("/upload").text
    assert client.put(f"{at}?offset={half}", content=data[half:], headers=digest(data[half:])).json()["done"]
    location = client.post(f"/api/uploads/{upload}/complete", json={}).json()["location"]
    assert drops.discover(services) == [location]
    batch, rows = taken(services, location)
    assert (batch.sent_by, batch.source, batch.supplier) == ("dario", "upload", "Northlight")
    assert (rows["shoot/A.jpg"]["outcome"], rows["shoot/A.jpg"]["self_attested"]) == ("ingested", False)


def test_a_small_file_is_put_at_once(site, services, tmp_path):
    client = site("dario")
    upload = client.post("/api/uploads", json={}).json()["upload"]
    picture = world.picture(tmp_path, "A.jpg")
    put = client.put(f"/api/uploads/{upload}/A.jpg", content=picture.read_bytes())
    assert put.json() == {
        "name": "A.jpg", "bytes": picture.stat().st_size, "sha256": hashlib.sha256(picture.read_bytes()).hexdigest(),
    }  # fmt: skip
    for name in ("batch.yaml", ".hidden", "_COMPLETE"):
        assert client.put(f"/api/uploads/{upload}/{name}", content=b"x").status_code == 422


def test_a_part_larger_than_any_is_not_taken(site, services, monkeypatch):
    from dam.ingest import uploads

    monkeypatch.setattr(uploads, "MOST", 10)
    client = site("dario")
    upload = client.post("/api/uploads", json={}).json()["upload"]
    [told] = client.post(f"/api/uploads/{upload}/files", json={"files": [{"path": "a", "bytes": 100}]}).json()
    reply = client.put(f"/api/uploads/{upload}/files/{told['file']}?offset=0", content=b"x" * 11)
    assert reply.status_code == 413


def test_an_upload_can_be_given_up(site, services):
    client = site("dario")
    upload = client.post("/api/uploads", json={}).json()["upload"]
    client.put(f"/api/uploads/{upload}/a.jpg", content=b"x")
    assert client.delete(f"/api/uploads/{upload}").json() == {"discarded": upload}
    assert list(services.storage.inbox.list()) == []
    assert client.get(f"/api/uploads/{upload}").status_code == 404


def test_a_fault_in_the_card_is_told_in_plain_words(site):
    reply = site("dario").post("/api/uploads", json={"rights": {"licence": "N-1"}})
    assert (reply.status_code, reply.json()["what"]) == (422, "rights.holder is missing.")


# --------------------------------------------------------------------------------------------- generated

MADE = {"model": "Imaginarium 4", "prompt": "a red cup", "seed": 42, "tool": "Studio", "title": "Cup"}


@pytest.mark.parametrize("way", ["json", "multipart"])
def test_generated_art_keeps_what_it_was_made_by_and_who_sent_it(site, services, way):
    data = world.png_bytes((80, 60))
    client = site("dario")
    if way == "json":
        body = MADE | {"filename": "CUP_ACME_20270301_v01.png", "data": base64.b64encode(data).decode()}
        reply = client.post("/api/generated", json=body | {"keywords": ["coffee"]})
    else:
        fields = {name: str(value) for name, value in MADE.items()} | {"keywords": json.dumps(["coffee"])}
        reply = client.post("/api/generated", data=fields, files={"file": ("CUP_ACME_20270301_v01.png", data)})
    assert reply.status_code == 202, reply.text
    assert reply.json()["sha256"] == hashlib.sha256(data).hexdigest()
    batch, rows = taken(services, reply.json()["location"])
    assert (batch.sent_by, batch.source) == ("dario", "api")
    with services.session() as session:
        version = session.scalars(select(Version)).one()
        assert version.id == rows["CUP_ACME_20270301_v01.png"]["version_id"]
        custom = version.description.custom
        assert custom["digital_source_type"].endswith("/trainedAlgorithmicMedia")
        assert (custom["ai_system"], custom["ai_prompt"], custom["ai_seed"]) == ("Imaginarium 4", "a red cup", "42")
        assert "subject/coffee" in {tag.term_id for tag in version.tags}
        assert version.made_by == "dario"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"model": ""}, "model"),
        ({"prompt": None}, "prompt"),
        ({"digital_source_type": "magic"}, "no digital source type"),
        ({"data": "%%%"}, "is no base64"),
        ({"filename": "../x.png"}, "is no key"),
        ({"campaign": "nowhere"}, "no campaign"),
    ],
)
def test_what_is_wrong_with_generated_art_is_told_and_nothing_is_kept(site, services, change, told):
    body = MADE | {"filename": "a.png", "data": base64.b64encode(world.png_bytes()).decode()} | change
    reply = site("dario").post("/api/generated", json=body)
    assert reply.status_code == 422
    assert told in reply.text
    assert list(services.storage.inbox.list()) == []


def test_generated_art_that_is_too_large_is_refused(site, services):
    world.limit(services, generated_bytes=100)
    client = site("dario")
    body = MADE | {"filename": "a.png", "data": base64.b64encode(b"x" * 2_000_000).decode()}
    assert client.post("/api/generated", json=body).status_code == 413
    assert client.post("/api/generated", json=body, headers={"Transfer-Encoding": "chunked"}).status_code in (411, 413)
    fields = {name: str(value) for name, value in MADE.items()}
    assert client.post("/api/generated", data=fields, files={"file": ("a.png", b"x" * 101)}).status_code == 413


def test_many_generated_files_go_through_the_upload_with_their_origin(site, services):
    client, data = site("dario"), world.png_bytes((80, 60))
    upload = client.post("/api/uploads", json={}).json()["upload"]
    files = [{"path": "a.png", "bytes": len(data), "generated": MADE}]
    [told] = client.post(f"/api/uploads/{upload}/files", json={"files": files}).json()
    client.put(f"/api/uploads/{upload}/files/{told['file']}?offset=0", content=data, headers=digest(data))
    _, rows = taken(services, client.post(f"/api/uploads/{upload}/complete", json={}).json()["location"])
    with services.session() as session:
        assert session.get_one(Version, rows["a.png"]["version_id"]).description.custom["ai_prompt"] == "a red cup"


# ------------------------------------------------------------------------------------- batches, suppliers


def test_a_batchs_page_is_its_card(site, services, tmp_path):
    inbox = services.storage.inbox
    card = {"sent_by": "north", "supplier": "North & Sons", "campagin": "x"}
    card["rights"] = {"licence": "N-1", "holder": "North", "territories": ["*"]}
    inbox.put("drops/x/batch.yaml", yaml.safe_dump(card).encode())
    inbox.put("drops/x/A_ACME_20270301_v01.jpg", world.picture(tmp_path, "a.jpg"))
    inbox.put("drops/x/MD5SUMS", f"{'0' * 32}  gone.jpg\n".encode())
    batch_id = batches.register(services, location="drops/x", source="inbox", sent_by="airflow")
    world.ingest(services, batch_id)
    page = site("vic").get(f"/batches/{batch_id}").text
    for words in ("North &amp; Sons", "N-1", "everywhere", "1 ingested", "files a second", "gone.jpg"):
        assert words in page, words
    assert "Did you mean campaign?" in page
    assert 'href="/suppliers/North%20%26%20Sons"' in page
    shown = site("vic").get("/suppliers/North%20%26%20Sons").text
    assert "North &amp; Sons" in shown
    assert "0 %" in shown
    assert "North &amp; Sons" in site("vic").get("/suppliers").text
    assert site("vic").get("/api/suppliers").json()[0]["missing"] == 1
    assert site("vic").get("/api/suppliers/North%20%26%20Sons").json()[0]["files"] == 1


def test_the_batches_page_names_what_nobody_can_take_up(site, services):
    services.storage.inbox.put("drops/_COMPLETE", b"")
    assert "It says nothing here" in site("vic").get("/batches").text


def test_the_upload_page_is_for_those_who_may(site):
    assert "Uploading is for designers and librarians" in site("bea").get("/upload").text
    assert 'name="model_release"' in site("dario").get("/upload").text
