"""External reviewers as they come: the real app over real HTTP, real mail, and a browser; and what attackers try."""

from __future__ import annotations

import io
import re
import shutil
import threading
from dataclasses import replace
from datetime import timedelta

import httpx
import numpy as np
import pytest
from PIL import Image
from sqlalchemy import select, update

import films
import world
from dam.catalog.models import AuditEvent, Guest, PackageVersion, Version, utcnow
from dam.enrich import contracts
from dam.renditions import render
from dam.review import annotations, guests, packages, record_check, seats
from dam.services import Services
from dam.settings import PROJECT
from postbox import postbox

pytestmark = pytest.mark.slow
EVA = "eva@studio.example"


@pytest.fixture
def box():
    with postbox() as made:
        yield made


@pytest.fixture
def services(services, box, tmp_path):
    """Services with a mail server, and a workflow whose seats of legal and of metadata are open to externals."""
    include = tmp_path / "include"
    shutil.copytree(PROJECT / "include", include)
    workflow = include / "templates" / "workflow.yaml"
    text = workflow.read_text()
    for role in ("legal_reviewer", "librarian"):
        text = text.replace(f"{{role: {role}, ", f"{{role: {role}, external: true, ")
    workflow.write_text(text)
    made = Services(replace(services.settings, include=include, smtp_url=box.url))
    world.limit(made, settle_seconds=0)
    yield made
    made.engine.dispose()


@pytest.fixture
def package(services, tmp_path):
    """Ids of a package under review with real proofs, and of another one."""
    batch_id, complete = world.designers_batch(services, tmp_path)
    render.proofs(services, version_ids=complete)
    files = [world.picture(tmp_path / "other", "OTHER_ACME_20270301_v01.jpg", seed=9)]
    other_batch = world.drop(services, "drops/other", files)
    world.ingest(services, other_batch)
    with services.session() as session:
        other = session.scalars(select(Version.id).where(Version.batch_id == other_batch)).one()
    package_id = packages.freeze(services, batch_id=batch_id, version_ids=complete)
    legal = next(row for row in packages.seats(services, package_id=package_id) if row["role"] == "legal_reviewer")
    return {
        "package_id": package_id, "version_id": complete[0], "seat_id": legal["seat_id"], "other_version_id": other,
        "other_package_id": packages.freeze(services, batch_id=other_batch, version_ids=[other]),
    }  # fmt: skip


@pytest.fixture
def address(site, serving, services):
    """The app on a port of its own, below /dam as the plugin puts it."""
    from fastapi import FastAPI

    outer = FastAPI()
    outer.mount("/dam", site.app)
    with serving(outer) as found:
        services.settings = replace(services.settings, web_url=found)
        yield found


@pytest.fixture
def started(monkeypatch):
    """Airflow's side, which does not run here: what was started."""
    from dam_web import inside

    found = []
    monkeypatch.setattr(inside, "waits", lambda task: False)
    monkeypatch.setattr(inside, "is_over", lambda task: True)
    monkeypatch.setattr(inside, "ask_again", lambda person, task: found.append((person, task["task_id"])))
    monkeypatch.setattr(inside, "start", lambda person, dag_id, conf: found.append((person, dag_id, conf)))
    return found


@pytest.fixture
def staff(auth, address):
    """Makes a client of somebody with a log-in."""

    def make(person):
        headers = {"X-Requested-With": "dam", "Authorization": f"Bearer {auth[person]}"}
        return httpx.Client(base_url=f"{address}/dam", headers=headers)

    return make


class Outsider:
    """Somebody with nothing but a link."""

    def __init__(self, link):
        self.link = link
        self.client = httpx.Client(headers={"X-Requested-With": "dam"})

    def get(self, path="", **more):
        return self.client.get(self.link + path, **more)

    def post(self, path, body=None, **more):
        return self.client.post(self.link + path, json=body or {}, **more)


@pytest.fixture
def invited(staff, package, box, address):
    """Invites somebody over HTTP and returns them at their door."""

    def make(email=EVA, package_id=None, **more):
        body = {"email": email, "name": "Eva Stein", "expires_at": (utcnow() + timedelta(days=7)).isoformat()} | more
        made = staff("maya").post(f"/api/packages/{package_id or package['package_id']}/guests", json=body)
        assert made.status_code == 200, made.text
        found = Outsider(box.link())
        found.guest_id = made.json()["guest_id"]
        return found

    return make


@pytest.fixture
def entered(invited, box):
    """Invites somebody and brings them in."""

    def make(*args, **more):
        found = invited(*args, **more)
        assert found.post("/code").status_code == 200
        assert found.post("/enter", {"code": box.code()}).status_code == 200
        return found

    return make


def outside_routes(app):
    return [
        (method, route.path)
        for route in app.routes
        if route.path.startswith("/guest/")
        for method in sorted(route.methods - {"HEAD"})
    ]


def concrete(path, package):
    known = package | {"milliseconds": "0"} | {"recipe": "preview", "name": "guest.css", "annotation_id": "ann_x"}
    return re.sub(r"\{(\w+)\}", lambda match: known[match[1]], path.removeprefix("/guest/{token}"))


# --------------------------------------------------------------------------------------------- every route

#: Guests' routes that open without a session, to whoever has the link.
DOOR = {
    ("GET", "/guest/{token}"), ("GET", "/guest/{token}/static/{name}"),
    ("POST", "/guest/{token}/code"), ("POST", "/guest/{token}/enter"),
}  # fmt: skip


def test_no_guest_route_opens_without_a_link_and_only_the_door_without_a_session(
    site, address, package, invited, entered
):
    routes = outside_routes(site.app)
    assert set(routes) > DOOR
    stranger, waiting = Outsider(f"{address}/dam/guest/{'x' * 43}"), invited()
    body = {"code": "1", "version_id": package["version_id"], "body": "x", "verdict": "approve"}
    for method, path in routes:
        place = concrete(path, package)
        reply = stranger.client.request(method, stranger.link + place, json=body)
        assert reply.status_code == 404, f"{method} {path}: {reply.status_code}"
        reply = waiting.client.request(method, waiting.link + place, json=body)
        if (method, path) in DOOR:
            assert reply.status_code in (200, 409), f"{method} {path}: {reply.status_code}"  # 409: a wrong password
        else:
            assert (reply.status_code, "this link does not lead anywhere" in reply.text) == (404, True), path
        assert reply.headers["cache-control"] == "no-store"
        assert reply.headers["referrer-policy"] == "no-referrer"
        assert "unsafe" not in reply.headers["content-security-policy"]


def test_a_write_from_another_site_is_refused(site, package, entered):
    guest = entered()
    for method, path in outside_routes(site.app):
        if method == "GET":
            continue
        place = guest.link + concrete(path, package)
        assert guest.client.post(place, json={}, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
        bare = httpx.Client(cookies=guest.client.cookies)
        assert bare.post(place, json={}).status_code == 403


def test_a_guests_session_opens_nothing_of_the_rest(site, package, address, entered):
    guest = entered()
    secret = guest.client.cookies["dam_guest"]
    for route in site.app.routes:
        if route.path.startswith("/guest/"):
            continue
        for method in route.methods - {"HEAD"}:
            path = re.sub(r"\{\w+(:path)?\}", package["version_id"], route.path)
            headers = {"Cookie": f"dam_guest={secret}", "Authorization": f"Bearer {secret}"}
            reply = guest.client.request(method, f"{address}/dam{path}", headers=headers, json={})
            assert reply.status_code in (401, 404), f"{method} {path}: {reply.status_code}"
    for more in (
        "/packages",
        "/../../packages/x",
        "/originals/" + package["version_id"],
        "/media/x/preview",
        "/record.json",
    ):
        assert guest.get(more).status_code in (401, 404)


# --------------------------------------------------------------------------------------------- the way in


def test_the_way_in(services, package, invited, box):
    guest = invited()
    door = guest.get(headers={"accept": "text/html"})
    assert door.status_code == 200
    assert "one-time password" in door.text
    assert not any(word in door.text for word in ("Spring", EVA, package["version_id"], "HERO"))
    sent = guest.post("/code")
    cookie = sent.headers["set-cookie"].lower()
    assert all(part in cookie for part in ("httponly", "samesite=strict", f"path={httpx.URL(guest.link).path}".lower()))
    assert "secure" not in cookie  # over http; below over https
    wrong = guest.post("/enter", {"code": "00000000"})
    assert wrong.status_code == 409
    assert "one-time password" in wrong.json()["what"]
    entered = guest.post("/enter", {"code": box.code()})
    cookie = next(value.lower() for value in entered.headers.get_list("set-cookie") if value.startswith("dam_guest="))
    assert all(part in cookie for part in ("httponly", "samesite=strict", f"path={httpx.URL(guest.link).path}".lower()))
    room = guest.get(headers={"accept": "text/html"})
    assert "Spring 2027, round 1" in room.text
    assert "For Eva Stein only" in room.text
    assert not re.search(r"<[^>]*\s(style|on\w+)=", room.text)
    assert guest.post("/leave").status_code == 200
    assert "one-time password" in guest.get().text


def test_over_https_the_cookies_are_secure(services, invited):
    guest = invited()
    services.settings = replace(services.settings, web_url="https://dam.example")
    assert "; secure" in guest.post("/code").headers["set-cookie"].lower()


def test_a_link_opened_from_a_mail_comes_again_from_here(invited):
    guest = invited()
    first = guest.get(headers={"Sec-Fetch-Site": "cross-site", "accept": "text/html"})
    assert (first.status_code, first.headers["refresh"]) == (200, "0")
    assert "one-time password" in guest.get(headers={"Sec-Fetch-Site": "same-origin"}).text


def test_a_proof_is_marked_streamed_and_kept_by_nobody(services, package, entered):
    guest = entered()
    path = f"/proofs/{package['version_id']}/preview"
    reply = guest.get(path)
    assert reply.status_code == 200
    assert (reply.headers["content-type"], reply.headers["cache-control"]) == ("image/jpeg", "no-store")
    assert "etag" not in reply.headers
    with services.session() as session:
        uri = next(row for row in session.get_one(Version, package["version_id"]).renditions if row.recipe == "preview")
        store, key = services.storage.resolve(uri.storage_uri)
        clean = store.read(key)
    plain, marked = (
        np.asarray(Image.open(io.BytesIO(data)).convert("L"), dtype=int) for data in (clean, reply.content)
    )
    assert plain.shape == marked.shape
    assert np.abs(plain - marked).max() > 60
    with Image.open(io.BytesIO(reply.content)) as opened:
        assert not opened.info.keys() & {"exif", "xmp", "icc_profile"}


# ------------------------------------------------------------------------------------------------- attacks


def test_another_packages_version_asset_and_note_are_not_there(services, package, entered):
    note = annotations.add(
        services, package_id=package["other_package_id"], version_id=package["other_version_id"], person="bea", body="X"
    )
    guest = entered()
    other = package["other_version_id"]
    assert guest.get(f"/proofs/{other}/preview").status_code == 404
    assert guest.post("/notes", {"version_id": other, "body": "x"}).status_code == 404
    answer = {"version_id": package["version_id"], "body": "x", "reply_to": note["annotation_id"]}
    assert guest.post("/notes", answer).status_code == 422
    assert guest.post(f"/notes/{note['annotation_id']}/withdraw").status_code == 404
    for recipe in ("original", "webp", "..%2Fpreview", "preview%00"):
        assert guest.get(f"/proofs/{package['version_id']}/{recipe}").status_code == 404
    assert other not in guest.get().text


def test_a_session_is_good_for_its_own_link_only(package, entered, invited, address):
    eva, max_ = entered(), entered("max@studio.example")
    thief = invited("kim@studio.example", package_id=package["other_package_id"])
    for stolen in (eva, max_):
        cookie = {"Cookie": f"dam_guest={stolen.client.cookies['dam_guest']}"}
        assert "one-time password" in thief.get(headers=cookie).text
        assert thief.get(f"/proofs/{package['other_version_id']}/preview", headers=cookie).status_code == 404
    swapped = {"Cookie": f"dam_guest={max_.client.cookies['dam_guest']}"}
    bare = Outsider(eva.link)
    assert bare.get("/notes", headers=swapped).status_code == 404
    assert eva.get("/notes").status_code == 200


def test_passwords_can_be_neither_guessed_nor_replayed(invited, box):
    guest = invited()
    guest.post("/code")
    code = box.code()
    device = guest.client.cookies["dam_guest_device"]
    thief = Outsider(guest.link)  # has the link and the password, but not the browser
    assert thief.post("/enter", {"code": code}).status_code == 409
    assert guest.post("/enter", {"code": code}).status_code == 200
    replay = Outsider(guest.link)
    assert replay.post("/enter", {"code": code}, headers={"Cookie": f"dam_guest_device={device}"}).status_code == 409
    brute = Outsider(guest.link)
    brute.post("/code")
    replies = [brute.post("/enter", {"code": f"{number:08d}"}).status_code for number in range(25)]
    assert replies == [409] * 17 + [429] * 8  # three were tried before
    assert brute.post("/enter", {"code": box.code()}).status_code == 429


def test_a_stranger_who_tries_links_is_held_up(address, entered):
    stranger = Outsider(f"{address}/dam/guest/nothing")
    replies = {stranger.get().status_code for _ in range(guests.BAD_LINKS + 5)}
    assert replies == {404, 429}


def test_expired_revoked_and_closed_links_lead_nowhere(services, package, staff, entered):
    guest = entered()
    with services.session() as session:
        session.execute(update(Guest).values(expires_at=utcnow() - timedelta(seconds=1)))
    page = guest.get(headers={"accept": "text/html"})
    assert page.status_code == 404
    assert "Ask the person who sent it" in page.text
    assert "/static/" not in page.text
    again = entered()
    assert again.get(f"/proofs/{package['version_id']}/preview").status_code == 200
    assert staff("maya").post(f"/api/guests/{again.guest_id}/revoke").status_code == 200
    assert {again.get(path).status_code for path in ("", "/notes", f"/proofs/{package['version_id']}/preview")} == {404}
    third = entered()
    world.sign_all(services, package["package_id"])
    assert third.get().status_code == 404


# --------------------------------------------------------------------------------------------------- acts


def test_a_guest_comments_signs_and_all_of_it_is_in_the_audit_chain(services, package, staff, started, entered):
    guest = entered(seat_id=package["seat_id"])
    with services.session() as session:
        sha256 = session.get_one(Version, package["version_id"]).sha256
    box = {
        "type": "FragmentSelector",
        "conformsTo": "http://www.w3.org/TR/media-frags/",
        "value": "xywh=percent:1,2,3,4",
    }
    note = {"version_id": package["version_id"], "body": "<b>Crop</b> it.", "kind": "must_fix",
            "target": {"source": f"urn:sha256:{sha256}", "selector": box}}  # fmt: skip
    made = guest.post("/notes", note)
    assert made.json()["author"] == f"guest:{EVA}"
    assert "<b>Crop" not in guest.get().text
    guest.get(f"/proofs/{package['version_id']}/preview")
    assert guest.post("/verdict", {"verdict": "reject"}).status_code == 422  # to reject takes a reason
    signed = guest.post("/verdict", {"verdict": "approve", "comment": "Cleared."})
    assert signed.json()["signed"] == "approve"
    assert started == [(f"guest:{EVA}", "review_package", {"key": package["package_id"]})]
    seat = next(
        row for row in packages.seats(services, package_id=package["package_id"]) if row["role"] == "legal_reviewer"
    )
    assert (seat["signed_by"], seat["status"]) == (f"guest:{EVA}", "signed")
    with services.session() as session:
        rows = session.scalars(
            select(AuditEvent).where(AuditEvent.actor == f"guest:{EVA}").order_by(AuditEvent.seq)
        ).all()
    assert [row.action for row in rows if row.action != "guest.visited"] == [
        "guest.password_sent", "guest.entered", "annotation.added", "guest.looked", "seat.signed",
    ]  # fmt: skip
    assert {row.data.get("address") for row in rows if row.action.startswith(("guest.", "seat."))} == {"127.0.0.1"}
    told = staff("vic").get(f"/packages/{package['package_id']}/record.json")
    assert f"guest:{EVA}" in told.text


def seat_of(services, package):
    rows = packages.seats(services, package_id=package["package_id"])
    return next(row for row in rows if row["seat_id"] == package["seat_id"])


def test_a_guest_signs_on_a_condition_and_takes_it_back(services, package, started, entered):
    guest = entered(seat_id=package["seat_id"])
    assert guest.post("/undo").status_code == 409  # there is nothing to take back
    wrong = guest.post("/verdict", {"verdict": "request_changes", "conditions": "Name her."})
    assert (wrong.status_code, wrong.json()["what"]) == (422, "only an approval has conditions")
    signed = guest.post("/verdict", {"verdict": "approve", "conditions": "Name <i>her</i>."})
    assert signed.status_code == 200
    [own] = seat_of(services, package)["signatures"]
    assert (own["person"], own["conditions"]) == (f"guest:{EVA}", "Name <i>her</i>.")
    page = guest.get().text
    assert "Name &lt;i&gt;her&lt;/i&gt;." in page
    assert "Take my signature back" in page
    assert guest.post("/undo").json() == {"taken_back": "approve"}
    assert started[-1] == (f"guest:{EVA}", "review_package", {"key": package["package_id"]})
    assert "You sign as legal reviewer" in guest.get().text
    assert guest.post("/verdict", {"verdict": "approve"}).status_code == 200
    with services.session() as session:
        rows = session.scalars(select(AuditEvent).where(AuditEvent.action == "seat.withdrawn")).all()
    assert [(row.actor, row.data["via"], row.data["address"]) for row in rows] == [
        (f"guest:{EVA}", "guest", "127.0.0.1")
    ]


def test_the_task_of_a_seat_that_a_guest_takes_back_asks_again(services, package, started, entered):
    guest = entered(seat_id=package["seat_id"])
    place = {"dag_id": "review_package", "run_id": "r", "task_id": "seat", "map_index": 1}
    seats.attach(services, seat_id=package["seat_id"], hitl=place)
    guest.post("/verdict", {"verdict": "approve"})
    assert guest.post("/undo").status_code == 200
    assert started[-1] == (f"guest:{EVA}", "seat")


def test_airflow_is_answered_by_what_it_asked_of_metadata(services, monkeypatch, started, entered, tmp_path):
    from dam_web import inside

    batch_id = world.drop(services, "drops/bare", [world.picture(tmp_path, "BARE_ACME_20270301_v01.jpg", xmp={})])
    world.ingest(services, batch_id)
    [version_id] = contracts.hand_on(services, batch_id=batch_id).incomplete
    package_id = packages.freeze(services, batch_id=batch_id, version_ids=[version_id], purpose="metadata")
    [seat] = packages.seats(services, package_id=package_id)
    place = {"dag_id": "ingest_batch", "run_id": "r", "task_id": "librarian", "map_index": 0}
    seats.attach(services, seat_id=seat["seat_id"], hitl=place)
    answers = []
    monkeypatch.setattr(inside, "waits", lambda task: True)
    monkeypatch.setattr(
        inside, "answer", lambda person, task, *given: answers.append((person, task["task_id"], *given))
    )
    guest = entered(package_id=package_id, seat_id=seat["seat_id"])
    contracts.fill(services, version_id=version_id, values=world.WHOLE, person="libby")
    assert guest.post("/verdict", {"verdict": "approve", "comment": "All there."}).status_code == 200
    assert answers == [(f"guest:{EVA}", "librarian", "Done", {"comment": "All there."})]


def test_a_guest_takes_back_nobody_elses_signature(services, package, started, entered):
    eva, max_, kim = (
        entered(seat_id=package["seat_id"]), entered("max@studio.example", seat_id=package["seat_id"]),
        entered("kim@studio.example"),
    )  # fmt: skip
    assert eva.post("/verdict", {"verdict": "approve"}).status_code == 200
    for other in (max_, kim):
        assert other.post("/undo").status_code == 409
        assert "Take my signature back" not in other.get().text
    assert seat_of(services, package)["signed_by"] == f"guest:{EVA}"


def test_a_guest_replies_only_where_they_may_read_and_write(services, package, entered):
    known = {"package_id": package["package_id"], "version_id": package["version_id"]}
    open_note = annotations.add(services, **known, person="bea", body="Too dark?")["annotation_id"]
    private = annotations.add(services, **known, person="lena", body="Sue them.", audience="legal_reviewer")
    reply = {"version_id": package["version_id"], "body": "It is at dusk."}
    guest, looker = entered(), entered("kim@studio.example", may_comment=False)
    assert guest.post("/notes", reply | {"reply_to": open_note}).json()["reply_to"] == open_note
    hidden = guest.post("/notes", reply | {"reply_to": private["annotation_id"]})
    none = guest.post("/notes", reply | {"reply_to": "ann_x"})
    assert hidden.status_code == none.status_code >= 400
    assert hidden.json()["what"] == none.json()["what"]  # nor is it told that there is one
    assert looker.post("/notes", reply | {"reply_to": open_note}).status_code == 409


def test_the_record_is_for_everybody_who_sees_the_package(services, package, staff, tmp_path):
    for suffix, media_type in (("pdf", "application/pdf"), ("json", "application/json")):
        reply = staff("vic").get(f"/packages/{package['package_id']}/record.{suffix}")
        assert (reply.status_code, reply.headers["content-type"]) == (200, media_type)
        name = re.search(
            r'filename="(record-spring-2027-round-1-[0-9a-f]{12}\.\w+)"', reply.headers["content-disposition"]
        )
        path = tmp_path / name[1]
        path.write_bytes(reply.content)
        assert record_check.verify(path).ok
        assert (
            f"/packages/{package['package_id']}/record.{suffix}"
            in staff("vic").get(f"/packages/{package['package_id']}").text
        )
    assert staff("vic").get(f"/packages/{package['package_id']}/record.xml").status_code == 422
    assert staff("vic").get("/packages/pkg_x/record.json").status_code == 404


def test_advice_binds_nobody_and_is_shown_to_who_invited(services, package, staff, entered):
    guest = entered()
    assert guest.post("/verdict", {"verdict": "request_changes", "comment": "Warmer."}).json() == {
        "advised": "request_changes"
    }
    page = staff("maya").get(f"/packages/{package['package_id']}/guests")
    assert "advice: request changes" in page.text
    assert "Warmer." in page.text
    assert staff("bea").get(f"/packages/{package['package_id']}/guests").status_code == 403
    assert all(seat["status"] == "open" for seat in packages.seats(services, package_id=package["package_id"]))


# ----------------------------------------------------------------------------------------------- a browser


def test_a_guest_in_a_browser(services, package, started, staff, browser, box, invited, shots):
    note = {"package_id": package["package_id"], "version_id": package["version_id"], "person": "bea"}
    annotations.add(services, **note, body="Is the cup's <i>handle</i> right?")
    invited(seat_id=package["seat_id"])
    context = browser.new_context(viewport={"width": 1360, "height": 860})
    page = context.new_page()
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.goto(box.link())
    shots(page, "door")
    page.click("text=Mail me the password")
    page.wait_for_selector("input[name=code]:visible")
    page.fill("input[name=code]", "0000 0000")
    page.click("text=Open the review")
    page.wait_for_selector("#problem:has-text('not the one-time password')")
    shots(page, "wrong")
    assert any("409" in problem for problem in problems)  # the browser's own word for the wrong password
    problems.clear()
    page.fill("input[name=code]", box.code())
    page.click("text=Open the review")
    page.wait_for_selector(".sheet img")
    page.wait_for_load_state("networkidle")
    assert page.inner_text("#notes") == "Bea Okafor Is the cup's <i>handle</i> right? Reply"
    picture = page.locator(".sheet img").first.bounding_box()
    x, y = picture["x"] + picture["width"] * 0.2, picture["y"] + picture["height"] * 0.3
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + picture["width"] * 0.3, y + picture["height"] * 0.25, steps=4)
    page.mouse.up()
    page.fill("#note textarea", "Warmer here, please.")
    page.select_option("#note select", "must_fix")
    page.click("text=Add the note")
    page.wait_for_selector("#notes li:has-text('Warmer here')")
    shots(page, "room")
    [_, mine] = annotations.of_package(services, package_id=package["package_id"])
    numbers = [float(number) for number in mine["target"]["selector"]["value"].split(":")[1].split(",")]
    assert numbers == pytest.approx([20, 30, 30, 25], abs=1)
    page.fill("#verdict textarea", "Cleared for Germany.")
    page.click("#verdict button[value=approve]")
    page.wait_for_selector("text=Your signature")
    shots(page, "signed")
    assert problems == []
    phone = context.new_page()
    phone.set_viewport_size({"width": 390, "height": 800})
    phone.goto(box.link())
    phone.wait_for_selector("text=Your signature")
    assert phone.evaluate("document.documentElement.scrollWidth <= innerWidth")
    shots(phone, "phone")
    context.close()


AXE = PROJECT / "web" / "node_modules" / "axe-core" / "axe.min.js"


def come_in(page, box):
    page.goto(box.link())
    page.click("text=Mail me the password")
    page.wait_for_selector("input[name=code]:visible")
    page.fill("input[name=code]", box.code())
    page.keyboard.press("Enter")
    page.wait_for_selector("#leave")


def check_axe(page, state):
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    bad = [(rule["id"], [node["html"][:200] for node in rule["nodes"]]) for rule in found
           if rule["impact"] in ("serious", "critical")]  # fmt: skip
    assert bad == [], state
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{state} is too wide"


@pytest.mark.parametrize(("width", "scheme"), [(1360, "light"), (360, "dark")])
def test_a_guest_replies_signs_on_a_condition_and_takes_it_back_by_keyboard(
    services, package, started, browser, box, invited, shots, width, scheme
):
    known = {"package_id": package["package_id"], "version_id": package["version_id"]}
    annotations.add(services, **known, person="bea", body="Is the cup's <i>handle</i> right?")
    invited(seat_id=package["seat_id"])
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, has_touch=width < 500)
    page = context.new_page()
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    come_in(page, box)
    reply = page.locator("#notes >> role=button[name^='Reply to: Is the cup']")
    reply.focus()
    page.keyboard.press("Enter")
    assert reply.get_attribute("aria-expanded") == "true"
    page.keyboard.type("It is the <b>new</b> one")
    check_axe(page, "replying")
    shots(page, f"reply-{width}")
    page.keyboard.press("Escape")  # nothing is sent, and one is where one was
    assert reply.evaluate("it => it === document.activeElement")
    page.keyboard.press("Enter")
    page.keyboard.type("It is the <b>new</b> one.")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector("#notes .reply:has-text('It is the <b>new</b> one.')")
    assert page.locator("#notes >> role=button[name^='Reply to: Is the cup']").evaluate(
        "it => it === document.activeElement"
    )
    thread = annotations.of_package(services, package_id=package["package_id"])
    assert [(row["author"], row["body"], row["reply_to"]) for row in thread][1:] == [
        (f"guest:{EVA}", "It is the <b>new</b> one.", thread[0]["annotation_id"])
    ]
    page.focus("#verdict button[value=reject]")
    page.keyboard.press("Enter")
    problem = page.wait_for_selector("#verdict-problem:visible")
    assert (problem.inner_text(), problem.get_attribute("role")) == ("Say why it is rejected.", "alert")
    assert page.locator("#verdict textarea:focus").get_attribute("aria-describedby") == "verdict-problem"
    page.focus("#verdict input[name=conditional]")
    page.keyboard.press("Space")
    assert page.locator("textarea[name=conditions]").evaluate("it => it === document.activeElement")
    page.focus("#verdict button[value=approve]")
    page.keyboard.press("Enter")
    page.wait_for_selector("#verdict-problem:has-text('Say what the condition is.')")
    check_axe(page, "a condition")
    page.keyboard.type("Name the photographer.")
    shots(page, f"condition-{width}")
    page.click("#verdict >> text=Approve with the condition")
    page.wait_for_selector("h2:has-text('Your signature')")
    assert "Name the photographer." in page.inner_text("aside")
    check_axe(page, "signed")
    shots(page, f"signed-{width}")
    [own] = seat_of(services, package)["signatures"]
    assert (own["verdict"], own["conditions"]) == ("approve", "Name the photographer.")
    page.focus("text=Take my signature back")
    page.keyboard.press("Enter")
    page.wait_for_selector("#verdict")
    assert seat_of(services, package)["signatures"] == []
    assert problems == []
    context.close()


def test_a_mails_link_leads_to_its_proof(services, package, browser, box, invited):
    with services.session() as session:
        ids = session.scalars(
            select(PackageVersion.version_id).where(PackageVersion.package_id == package["package_id"])
        ).all()
    assert len(ids) > 1
    invited()
    context = browser.new_context()
    page = context.new_page()
    come_in(page, box)
    for version_id in ids:
        page.goto("about:blank")
        page.goto(f"{box.link()}#{version_id}")
        page.wait_for_selector(f"[id='{version_id}']:visible")
        assert page.locator(f"[data-show='{version_id}']").get_attribute("aria-current") == "true"
    context.close()


def test_a_film_is_looked_at_frame_by_frame_and_never_given_out(
    services, tmp_path, staff, browser, box, invited, entered, shots
):
    batch_id = world.drop(services, "drops/film", [films.write(tmp_path / "SPOT_ACME_20270301_v01.mp4", seconds=3)])
    world.ingest(services, batch_id)
    with services.session() as session:
        version_id = session.scalars(select(Version.id).where(Version.batch_id == batch_id)).one()
    package_id = packages.freeze(services, batch_id=batch_id, version_ids=[version_id])
    guest = entered(package_id=package_id)
    assert guest.get(f"/proofs/{version_id}/proxy").status_code == 404
    seen = [guest.get(f"/proofs/{version_id}/at/{moment}") for moment in (0, 1500, 2960, 99_000)]
    assert {(reply.status_code, reply.headers["content-type"]) for reply in seen} == {(200, "image/jpeg")}
    pixels = [np.asarray(Image.open(io.BytesIO(reply.content)).convert("L"), dtype=int) for reply in seen]
    assert np.abs(pixels[0] - pixels[1]).mean() > 5
    assert np.abs(pixels[2] - pixels[3]).mean() < 1
    for moment in ("-1", "x", "1.5", "1e3"):
        assert guest.get(f"/proofs/{version_id}/at/{moment}").status_code == 422
    invited(package_id=package_id)
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    page = context.new_page()
    page.goto(box.link())
    page.click("text=Mail me the password")
    page.wait_for_selector("input[name=code]:visible")
    page.fill("input[name=code]", box.code())
    page.click("text=Open the review")
    page.wait_for_selector("#nonotes", state="visible")  # the script has begun
    with page.expect_response(lambda reply: "/at/1520" in reply.url):
        page.evaluate(
            "const it = document.querySelector('[data-moment]'); it.value = 1.52;"
            "it.dispatchEvent(new Event('input', {bubbles: true}))"
        )
    page.wait_for_selector("#place:has-text('It is for 1.52 s')")
    picture = page.locator(".sheet img").bounding_box()
    page.mouse.click(picture["x"] + picture["width"] / 2, picture["y"] + picture["height"] / 2)
    page.fill("#note textarea", "Cut here.")
    page.click("text=Add the note")
    page.wait_for_selector("#notes .when:has-text('at 1.52 s')")
    page.wait_for_selector(".spot.point")
    shots(page, "film")
    [note] = annotations.of_package(services, package_id=package_id)
    assert note["target"]["selector"]["value"] == "t=1.52"
    assert note["target"]["selector"]["refinedBy"]["value"] == "xywh=percent:50,50,0,0"
    context.close()


def test_a_known_browser_that_comes_from_a_mail_asks_for_no_second_password(package, browser, box, invited, tmp_path):
    import http.server

    invited()
    context = browser.new_context()
    page = context.new_page()
    page.goto(box.link())
    page.click("text=Mail me the password")
    page.wait_for_selector("input[name=code]:visible")
    page.fill("input[name=code]", box.code())
    page.click("text=Open the review")
    page.wait_for_selector("text=For Eva Stein only")

    class Webmail(http.server.BaseHTTPRequestHandler):
        """Another site, with the link in a page."""

        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(f'<a href="{box.link()}">Open the review</a>'.encode())

    elsewhere = http.server.HTTPServer(("127.0.0.1", 0), Webmail)
    threading.Thread(target=elsewhere.serve_forever, daemon=True).start()
    page.goto(f"http://localhost:{elsewhere.server_port}/")
    page.click("text=Open the review")
    page.wait_for_selector("text=For Eva Stein only")
    elsewhere.shutdown()
    context.close()


def test_inviting_and_revoking_in_a_browser(services, package, auth, address, browser, box, shots):
    context = browser.new_context(extra_http_headers={"Authorization": f"Bearer {auth['maya']}"})
    page = context.new_page()
    page.goto(f"{address}/dam/packages/{package['package_id']}/guests")
    page.fill("input[name=email]", EVA)
    page.fill("input[name=name]", "Eva Stein")
    page.select_option("select[name=seat_id]", label="sign as legal reviewer")
    page.select_option("select[name=days]", "30")
    page.click("text=Send the link")
    page.wait_for_selector("td:has-text('sign as legal reviewer')")
    assert box.mails[-1][0] == [EVA]
    page.click("text=Revoke")
    page.wait_for_selector(".badge:has-text('revoked')")
    shots(page, "invite")
    context.close()


@pytest.fixture
def shots(tmp_path):
    """Takes a picture of a page, and keeps it where DAM_SHOTS says."""
    import os

    def take(page, name):
        page.screenshot(path=f"{os.environ.get('DAM_SHOTS', tmp_path)}/guest-{name}.png", full_page=True)

    return take
