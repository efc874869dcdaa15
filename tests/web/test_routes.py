"""Every route, as a stranger, a viewer, the wrong role and the right role; and what a write does."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import select, update

import world
from airflow_home import HOME
from dam.catalog.models import Batch, Version
from dam.enrich import retag
from dam.review import packages

pytestmark = pytest.mark.slow  # Airflow's auth manager takes its time to start
PEOPLE = ("maya", "dario", "bea", "lena", "libby", "ada", "vic")
#: Writes, and who may: (right role, wrong role). The body is one that passes the role check.
WRITES = {
    ("POST", "/api/questions"): ("maya", None),  # Airflow itself knows who is asked
    ("POST", "/api/seats/{seat_id}/decision"): ("bea", "libby"),
    ("POST", "/api/versions/{version_id}/metadata"): ("libby", "bea"),
    ("POST", "/api/packages/{package_id}/annotations"): ("bea", "vic"),
    ("POST", "/api/annotations/{annotation_id}/resolve"): ("bea", "vic"),
    ("POST", "/api/packages/{package_id}/reopen"): ("maya", "bea"),
    ("POST", "/api/retags/{run_id}/versions/{version_id}"): ("libby", "bea"),
    ("POST", "/api/retags/{run_id}/apply"): ("libby", "bea"),
    ("POST", "/api/retags/{run_id}/rollback"): ("libby", "bea"),
    ("POST", "/api/uploads"): ("dario", "bea"),
    ("PUT", "/api/uploads/{upload}/{name}"): ("dario", "bea"),
    ("POST", "/api/uploads/{upload}/complete"): ("dario", "bea"),
}


@pytest.fixture(scope="module")
def auth(airflow_home):
    """Airflow's simple auth manager with our people."""
    import os

    os.environ["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"] = ",".join(
        f"{name}:{'viewer' if name == 'vic' else 'admin' if name == 'ada' else 'user'}" for name in PEOPLE
    )
    os.environ["AIRFLOW__API_AUTH__JWT_SECRET"] = "x" * 64
    os.environ["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"] = str(HOME / "passwords.json")
    from airflow.api_fastapi.app import create_auth_manager, get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from airflow.utils.db import initdb

    initdb()
    create_auth_manager().init()
    manager = get_auth_manager()
    roles = dict(pair.split(":") for pair in os.environ["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"].split(","))
    return {
        name: manager.generate_jwt(SimpleAuthManagerUser(username=name, role=role, teams=None))
        for name, role in roles.items()
    }


@pytest.fixture
def site(auth, services, monkeypatch):
    """The app over this test's services, and a function that makes a client for a person."""
    from fastapi.testclient import TestClient

    from dam_web import api, app, deps, media, pages
    from dam_web import auth as web_auth

    for module in (deps, api, media, pages, web_auth):
        monkeypatch.setattr(module, "services", lambda: services)
    made = app.make_app()

    def client(person=None):
        headers = {"X-Requested-With": "dam"}
        if person:
            headers["Authorization"] = f"Bearer {auth[person]}"
        return TestClient(made, headers=headers, raise_server_exceptions=False, follow_redirects=False)

    client.app = made
    return client


@pytest.fixture
def package(services, tmp_path):
    """A package under review; ids of what belongs to it."""
    batch_id, complete = world.designers_batch(services, tmp_path)
    package_id = packages.freeze(services, batch_id=batch_id, version_ids=complete)
    from dam.renditions import render

    render.proofs(services, version_ids=complete)
    run_id = retag.propose(services, person="libby")
    with services.session() as session:
        version = session.get_one(Version, complete[0])
        return {
            "package_id": package_id,
            "run_id": run_id,
            "batch_id": batch_id,
            "version_id": version.id,
            "asset_id": version.asset_id,
            "seat_id": packages.seats(services, package_id=package_id)[0]["seat_id"],
        }


def routes(app):
    """Yield every method and path of the app."""
    from fastapi.routing import APIRoute
    from starlette.routing import Mount, Route

    for route in app.routes:
        assert not isinstance(route, Mount), "a mounted app escapes the log-in"
        assert isinstance(route, APIRoute), f"{route} escapes the log-in"
        assert isinstance(route, Route)
        for method in sorted(route.methods - {"HEAD"}):
            yield method, route.path


def concrete(path, package):
    """Fill in a path's parameters with ids that exist."""
    known = (
        {"run_id": "rtg_x"}
        | package
        | {
            "name": "dam.css" if path.startswith("/static") else "a.jpg",
            "recipe": "thumbnail",
            "report_id": "kpi_x",
            "annotation_id": "ann_x",
            "upload": "upload-up_" + "0" * 26,
        }
    )
    return re.sub(r"\{(\w+)\}", lambda match: known[match[1]], path)


def test_every_route_asks_for_a_log_in(site, package):
    for method, path in routes(site.app):
        reply = site().request(method, concrete(path, package))
        assert reply.status_code == 401, f"{method} {path} is open: {reply.status_code}"


def test_pages_send_strangers_to_the_log_in_and_back(site):
    reply = site().get("/approvals", headers={"accept": "text/html"})
    assert reply.status_code == 303
    assert "/auth/login" in reply.headers["location"]
    assert "approvals" in reply.headers["location"]


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/static/../app.py", "/nothing"])
def test_there_is_no_documentation_route(site, path):
    assert site("ada").get(path).status_code in (404, 422)


def test_every_read_is_for_everybody_who_is_logged_in(site, package):
    for method, path in routes(site.app):
        if method != "GET":
            continue
        reply = site("vic").get(concrete(path, package))
        allowed = {403} if path.startswith("/originals") else {200}
        if path in ("/api/questions",):  # asks Airflow, which is not running here
            allowed = {200, 500}
        if "report_id" in path:
            allowed = {404}
        assert reply.status_code in allowed, f"{path}: {reply.status_code} {reply.text[:300]}"


def test_every_write_is_in_the_table_of_roles(site):
    assert {(method, path) for method, path in routes(site.app) if method != "GET"} == set(WRITES)


@pytest.mark.parametrize(("method", "path"), sorted(WRITES))
def test_a_write_needs_the_role(site, package, method, path):
    right, wrong = WRITES[(method, path)]
    body = {
        "verdict": "accepted" if "retags" in path else "approve", "values": {"title": "New"},
        "version_id": package["version_id"], "body": "Nice.",
        "dag_id": "d", "run_id": "r", "task_id": "t", "option": "o",
    }  # fmt: skip
    for person in filter(None, ("vic", wrong)):
        if path == "/api/questions":
            continue
        reply = site(person).request(method, concrete(path, package), json=body)
        assert reply.status_code in (403, 409), f"{person}: {reply.status_code} {reply.text[:200]}"
    reply = site(right).request(method, concrete(path, package), json=body)
    assert reply.status_code not in (401,), reply.text
    if path.endswith(("/reopen", "/rollback")):
        assert reply.status_code == 409  # it did not expire, was not applied
    elif path not in ("/api/questions", "/api/uploads/{upload}/{name}", "/api/uploads/{upload}/complete"):
        assert reply.status_code in (200, 404), f"{right}: {reply.status_code} {reply.text[:200]}"


@pytest.mark.parametrize(("method", "path"), sorted(WRITES))
def test_a_write_from_another_site_is_refused(site, package, method, path):
    right, _ = WRITES[(method, path)]
    client = site(right)
    foreign = client.request(method, concrete(path, package), headers={"Sec-Fetch-Site": "cross-site"}, json={})
    assert foreign.status_code == 403
    del client.headers["X-Requested-With"]
    assert client.request(method, concrete(path, package), json={}).status_code == 403


def test_an_expired_review_is_asked_for_again_and_starts_in_airflow(site, services, package, monkeypatch):
    from dam.review import seats
    from dam_web import airflow_api

    started = []
    monkeypatch.setattr(airflow_api, "start", lambda person, *what: started.append((person.username, *what)))
    for seat in packages.seats(services, package_id=package["package_id"]):
        seats.expire(services, seat_id=seat["seat_id"])
    packages.verdict(services, package_id=package["package_id"])
    assert "data-reopen" in site("maya").get(f"/packages/{package['package_id']}").text
    assert "A marketing lead can ask again" in site("bea").get(f"/packages/{package['package_id']}").text
    told = site("maya").post(f"/api/packages/{package['package_id']}/reopen").json()
    assert started == [("maya", "review_package", {"key": told["next_package_id"]})]
    assert site("maya").post(f"/api/packages/{package['package_id']}/reopen").json() == told
    assert f"/packages/{told['next_package_id']}" in site("bea").get(f"/packages/{package['package_id']}").text


def test_a_decision_in_the_room_is_recorded_under_the_persons_name(site, services, package):
    reply = site("bea").post(f"/api/seats/{package['seat_id']}/decision", json={"verdict": "approve"})
    assert reply.json()["person"] == "bea"
    assert packages.seats(services, package_id=package["package_id"])[0]["signed_by"] == "bea"


def test_a_refusal_says_what_where_and_what_next(site, package):
    reply = site("dario").post(f"/api/seats/{package['seat_id']}/decision", json={"verdict": "approve"})
    assert reply.status_code == 409
    assert "made or sent" in reply.json()["what"]
    assert reply.json()["remedy"]


def test_a_package_that_changed_is_answered_with_its_next_round(site, services, package):
    filled = site("libby").post(
        f"/api/versions/{package['version_id']}/metadata", json={"values": {"title": "Another title"}}
    )
    assert filled.json()["changed"] == ["title"]
    reply = site("bea").post(f"/api/seats/{package['seat_id']}/decision", json={"verdict": "approve"})
    assert reply.status_code == 409
    following = reply.json()["next_package_id"]
    assert following
    assert "round is void" in site("bea").get(f"/packages/{package['package_id']}").text
    assert packages.seats(services, package_id=following)[0]["status"] == "open"


def test_an_upload_becomes_a_drop(site, services, tmp_path):
    from dam.ingest import batches

    client = site("dario")
    upload = client.post("/api/uploads", json={"campaign": None}).json()["upload"]
    picture = world.picture(tmp_path, "A.jpg")
    put = client.put(f"/api/uploads/{upload}/A.jpg", content=picture.read_bytes())
    assert put.json()["bytes"] == picture.stat().st_size
    assert site("libby").put(f"/api/uploads/{upload}/B.jpg", content=b"x").status_code == 403
    for name in ("batch.yaml", ".hidden", "_COMPLETE"):
        assert client.put(f"/api/uploads/{upload}/{name}", content=b"x").status_code == 422
    assert batches.discover(services) == []
    client.post(f"/api/uploads/{upload}/complete", json={})
    [location] = batches.discover(services)
    batch_id = batches.register(services, location=location, source="upload", sent_by="airflow")
    with services.session() as session:
        assert session.scalar(select(Batch.sent_by).where(Batch.id == batch_id)) == "dario"
    assert world.ingest(services, batch_id) == {"ingested": 1}


def test_comments_can_not_bring_markup_into_the_page(site, package):
    evil = "<img src=x onerror=alert(1)>"
    client = site("bea")
    client.post(
        f"/api/packages/{package['package_id']}/annotations",
        json={"version_id": package["version_id"], "body": evil},
    )
    page = client.get(f"/packages/{package['package_id']}")
    assert evil not in page.text
    assert "&lt;img src=x" in page.text
    assert "unsafe-inline" not in page.headers["content-security-policy"]
    assert not re.search(r"<script(?![^>]* src=)|<[^>]*\s(style|on\w+)=", page.text)


def test_a_retag_run_is_sampled_applied_and_rolled_back_in_the_browser(site, services, tmp_path):
    from dam.catalog.models import Tag

    files = [world.picture(tmp_path, "A.jpg")]
    world.ingest(services, world.drop(services, "drops/a", files))
    with services.session() as session:
        version_id = session.scalars(select(Version.id)).one()
        session.execute(update(Tag).where(Tag.term_id == "subject/coffee").values(confidence=0.3, status="suggested"))
    run_id = retag.propose(services, person="libby")
    client = site("libby")
    assert run_id in client.get("/retags").text
    page = client.get(f"/retags/{run_id}").text
    assert "1 of 1 versions change: 0 tags added, 0 removed, 1 changed" in page
    assert "30 % suggested" in page
    assert "90 % applied" in page
    assert f"/media/{version_id}/thumbnail" in page
    assert 'data-does="apply"' in page
    assert 'data-does="apply"' not in site("bea").get(f"/retags/{run_id}").text
    refused = client.post(f"/api/retags/{run_id}/apply", json={})
    assert refused.status_code == 409
    assert "0 of 1 versions of the sample" in refused.json()["what"]
    judged = client.post(f"/api/retags/{run_id}/versions/{version_id}", json={"verdict": "accepted"}).json()
    assert (judged["accepted"], judged["judged"]) == (1, 1)
    assert client.post(f"/api/retags/{run_id}/apply", json={}).json()["outcomes"] == {"applied": 1}
    assert 'data-does="rollback"' in client.get(f"/retags/{run_id}").text
    assert client.post(f"/api/retags/{run_id}/rollback", json={}).json()["status"] == "rolled_back"
    page = client.get(f"/retags/{run_id}").text
    assert "data-does" not in page
    assert not re.search(r"<script(?![^>]* src=)|<[^>]*\s(style|on\w+)=", page)


def test_the_library_is_found_by_a_tag_in_any_language_and_by_what_is_above_it(site, services, tmp_path):
    files = [world.picture(tmp_path, "A.jpg", xmp=world.METADATA | {"Xmp.dc.subject": ["tabby"]})]
    world.ingest(services, world.drop(services, "drops/a", files))
    for words, count in (("Katze", 1), ("chats", 1), ("animal", 1), ("Rakete", 0)):
        assert site("vic").get("/api/assets", params={"q": words}).json()["total"] == count
