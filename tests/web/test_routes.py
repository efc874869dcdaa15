"""Every route, as a stranger, a viewer, the wrong role and the right role; and what a write does."""

from __future__ import annotations

import base64
import io
import json
import re
from datetime import timedelta

import httpx
import jwt
import pytest
from sqlalchemy import select, update

import world
from dam.catalog.models import Batch, Rendition, Version, utcnow
from dam.enrich import retag
from dam.ingest import batches, uploads
from dam.review import annotations, packages, seats

pytestmark = pytest.mark.slow  # Airflow's auth manager takes its time to start
#: Writes, and who may: (right role, wrong role). The body is one that passes the role check.
WRITES = {
    ("POST", "/api/questions"): ("maya", "bea"),  # Airflow itself knows who is asked
    ("POST", "/api/seats/{seat_id}/decision"): ("bea", "libby"),
    ("POST", "/api/seats/{seat_id}/undo"): ("bea", "libby"),
    ("POST", "/api/seats/{seat_id}/delegate"): ("bea", "libby"),
    ("POST", "/api/decisions/{decision_id}/met"): ("bea", "libby"),
    ("POST", "/api/absences"): ("bea", "libby"),
    ("POST", "/api/absences/{absence_id}/end"): ("bea", "libby"),
    ("POST", "/api/packages/{package_id}/let-go"): ("maya", "bea"),
    ("POST", "/api/versions/{version_id}/metadata"): ("libby", "bea"),
    ("POST", "/api/batches/{batch_id}/metadata"): ("libby", "bea"),
    ("POST", "/api/batches/{batch_id}/metadata.csv"): ("libby", "bea"),
    ("POST", "/api/batches/{batch_id}/finish"): ("libby", "bea"),
    ("POST", "/api/packages/{package_id}/annotations"): ("bea", "vic"),
    ("PATCH", "/api/annotations/{annotation_id}"): ("lena", "vic"),  # its author
    ("POST", "/api/annotations/{annotation_id}/resolve"): ("bea", "vic"),
    ("POST", "/api/annotations/{annotation_id}/reopen"): ("bea", "vic"),
    ("POST", "/api/annotations/{annotation_id}/withdraw"): ("lena", "vic"),
    ("POST", "/api/packages/{package_id}/reopen"): ("maya", "bea"),
    ("POST", "/api/versions/{version_id}/review"): ("ada", "libby"),
    ("POST", "/api/packages/{package_id}/guests"): ("maya", "bea"),
    ("POST", "/api/guests/{guest_id}/revoke"): ("ada", "lena"),
    ("POST", "/api/duplicates/{version_id}/{other_id}/answer"): ("libby", "bea"),
    ("POST", "/api/merges"): ("libby", "bea"),
    ("POST", "/api/merges/{merge_id}/undo"): ("ada", "lena"),
    ("POST", "/api/retags/{run_id}/versions/{version_id}"): ("libby", "bea"),
    ("POST", "/api/retags/{run_id}/apply"): ("libby", "bea"),
    ("POST", "/api/retags/{run_id}/rollback"): ("libby", "bea"),
    ("POST", "/api/uploads"): ("dario", "bea"),
    ("POST", "/api/uploads/{upload}/files"): ("dario", "bea"),
    ("PUT", "/api/uploads/{upload}/files/{file}"): ("dario", "bea"),
    ("PUT", "/api/uploads/{upload}/{name}"): ("dario", "bea"),
    ("POST", "/api/uploads/{upload}/complete"): ("dario", "bea"),
    ("DELETE", "/api/uploads/{upload}"): ("dario", "bea"),
    ("POST", "/api/generated"): ("dario", "bea"),
}

#: What everybody who is logged in may ask for, and the rules of seats decide.
OWN_RULES = ("/api/seats/", "/api/decisions/", "/api/absences")


class StubAirflow:
    """Airflow's API as far as we ask it: a list of questions, and who answered what."""

    def __init__(self) -> None:
        self.waiting: list[dict] = []
        self.answers: list[tuple[str, dict]] = []
        self.pages = 0

    def ask(self, task_id, *people, **more):
        """Let a task wait for these people."""
        operator = "SeatOperator" if task_id == "seat" else "SignDestructionOperator"
        task = {
            "dag_id": "d", "dag_run_id": f"r{len(self.waiting)}", "task_id": task_id, "map_index": -1,
            "operator": operator,
        }  # fmt: skip
        detail = {
            "task_instance": task, "assigned_users": [{"id": name, "name": name} for name in people],
            "subject": f"Question {len(self.waiting)}", "body": None, "options": ["Yes"],
            "params": {"comment": {}}, "created_at": "2027-01-01T00:00:00Z",
        }  # fmt: skip
        self.waiting.append(detail | more)
        return task

    def __call__(self, request):
        token = request.headers["Authorization"].removeprefix("Bearer ")
        person = jwt.decode(token, options={"verify_signature": False})["sub"]
        if request.method == "POST" and request.url.path.endswith("/dagRuns"):
            return httpx.Response(200, json={"dag_run_id": "r"})
        if request.method == "GET":
            self.pages += 1
            assert request.url.params["state"] == "awaiting_input"
            offset, limit = (int(request.url.params[name]) for name in ("offset", "limit"))
            page = self.waiting[offset : offset + min(limit, 100)]
            return httpx.Response(200, json={"hitl_details": page, "total_entries": len(self.waiting)})
        for detail in self.waiting:
            task = detail["task_instance"]
            path = f"/dags/d/dagRuns/{task['dag_run_id']}/taskInstances/{task['task_id']}/-1/hitlDetails"
            if request.url.path.endswith(path):
                if person not in {user["id"] for user in detail["assigned_users"]}:
                    return httpx.Response(403)
                self.answers.append((person, json.loads(request.content)))
                return httpx.Response(200, json={})
        return httpx.Response(404)


@pytest.fixture
def airflow(monkeypatch):
    """Airflow's API behind a stub transport; a real one answers in tests/e2e."""
    stub = StubAirflow()
    monkeypatch.setattr(httpx, "request", httpx.Client(transport=httpx.MockTransport(stub)).request)
    return stub


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
            "annotation_id": annotations.add(
                services, package_id=package_id, version_id=version.id, person="lena", body="Too dark?"
            )["annotation_id"],
        }


def routes(app):
    """Yield every method and path of the app."""
    from fastapi.routing import APIRoute
    from starlette.routing import Mount, Route

    for route in app.routes:
        assert not isinstance(route, Mount), "a mounted app escapes the log-in"
        assert isinstance(route, APIRoute), f"{route} escapes the log-in"
        assert isinstance(route, Route)
        if route.path.startswith("/guest/{token}"):  # a log-in of their own: see below, and test_guests.py
            continue
        for method in sorted(route.methods - {"HEAD"}):
            yield method, route.path


def asked_by(dependant):
    """Return the functions a route depends on."""
    return {dependant.call} | {call for part in dependant.dependencies for call in asked_by(part)}


def test_all_routes_ask_for_a_log_in_but_the_guests_which_ask_for_their_own(site):
    from dam_web import auth, guests

    own = {route.path for route in guests.outside.routes}
    assert own
    for route in site.app.routes:
        calls = asked_by(route.dependant)
        assert auth.same_site in calls, route.path
        assert (auth.visitor in calls) == (route.path not in own), f"{route.path} escapes the log-in"
        if route.path in own:
            assert route.path.startswith("/guest/{token}")
            assert "token" in {field.name for field in route.dependant.path_params} or guests._inside in calls, (
                route.path
            )


def concrete(path, package):
    """Fill in a path's parameters with ids that exist."""
    known = {
        "name": "room.js" if path.startswith("/static/app") else "dam.css" if path.startswith("/static") else "a.jpg",
        "recipe": "thumbnail",
        "suffix": "json",
        "guest_id": "gst_x",
        "report_id": "kpi_x",
        "annotation_id": "ann_x",
        "other_id": "ver_x",
        "run_id": "rtg_x",
        "merge_id": "mrg_x",
        "upload": "upload-up_" + "0" * 26,
        "file": "0" * 32,
        "supplier": "North/light",
        "decision_id": "dec_x",
        "absence_id": "abs_x",
        "level": "0",
        "tile": "0_0",
    } | package
    pair = "?from={version_id}&to={version_id}" if "/compare" in path else ""
    return re.sub(r"\{(\w+)(?::path)?\}", lambda match: known[match[1]], path + pair)


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


def test_every_read_is_for_everybody_who_is_logged_in(site, services, airflow, package):
    batches.register(services, location="drops/x", source="inbox", sent_by="north", supplier="North/light")
    for method, path in routes(site.app):
        if method != "GET" or path.endswith("/events"):  # that goes on: tests/web/test_live.py reads it
            continue
        reply = site("vic").get(concrete(path, package))
        allowed = {403} if path.startswith("/originals") or path.endswith("/guests") else {200}
        # there is none of that name; the picture is no larger than its preview
        if "report_id" in path or "{upload}" in path or path.startswith("/tiles"):
            allowed = {404}
        assert reply.status_code in allowed, f"{path}: {reply.status_code} {reply.text[:300]}"


def test_every_write_is_in_the_table_of_roles(site):
    assert {(method, path) for method, path in routes(site.app) if method != "GET"} == set(WRITES)


@pytest.mark.parametrize(("method", "path"), sorted(WRITES))
def test_a_write_needs_the_role(site, services, airflow, package, method, path):
    right, wrong = WRITES[(method, path)]
    asked = airflow.ask("sign", right)
    if path.endswith("/undo"):
        seats.decide(services, seat_id=package["seat_id"], person="bea", verdict="approve")
    elif path.endswith("/met"):
        signed = seats.decide(
            services, seat_id=package["seat_id"], person="bea", verdict="approve", conditions="Mend the title."
        )
        package["decision_id"] = signed["decision_id"]
    elif path.endswith("/end"):
        package["absence_id"] = seats.away(services, person="bea", start=utcnow(), until=utcnow() + timedelta(days=1))
    body = {
        "verdict": "accepted" if "retags" in path else "approve", "values": {"title": "New"},
        "version_id": package["version_id"], "body": "Nice.",
        "dag_id": "d", "run_id": asked["dag_run_id"], "task_id": "sign", "option": "Yes",
        "drop": "ver_x", "keep": package["version_id"], "rows": {package["version_id"]: {"title": "New"}},
        "answer": "both" if "/duplicates/" in path else "done",
        "files": [{"path": "more.jpg", "bytes": 3}],
        "person": "bea", "from": "2027-01-01T00:00:00Z", "until": "2100-01-01T00:00:00Z", "to": "maya", "why": "Away.",
        "email": "eva@studio.example", "name": "Eva", "expires_at": (utcnow() + timedelta(days=1)).isoformat(),
        "model": "M", "prompt": "a cup", "filename": "made.png", "data": base64.b64encode(world.png_bytes()).decode(),
    }  # fmt: skip

    def ask(person):
        """Each asks for an upload that is their own, so that it is the role that is looked at."""
        upload = uploads.begin(services, person=person, card={})
        uploads.put_file(services, upload=upload, path="whole.jpg", data=io.BytesIO(b"x"))
        file = {"upload": upload, "file": "0" * 32}
        if path.endswith("/{file}"):
            length = len(json.dumps(body, separators=(",", ":")).encode()) + 100
            [told] = uploads.declare(services, upload=upload, files=[{"path": "part.jpg", "bytes": length}])
            file["file"] = told["file"]
        return site(person).request(method, concrete(path, package | file), json=body)

    for person in ("vic", wrong):
        reply = ask(person)
        refused = 409 if path.startswith(OWN_RULES) else 403  # a seat has rules of its own
        assert reply.status_code == refused, f"{person}: {reply.status_code} {reply.text[:200]}"
    assert airflow.answers == []
    reply = ask(right)
    # the package did not expire, and waits for nothing; the body is no sheet; nobody asks about the batch; no mail
    # can be sent, and there is no such guest
    allowed = {
        "reopen": 409,
        "let-go": 409,
        "metadata.csv": 422,
        "finish": 409,
        "generated": 202,
        "rollback": 409,
        "guests": 409,
        "revoke": 404,
    }.get(path.rsplit("/", 1)[-1], 200)
    if "/annotations/" in path:
        allowed = 200  # it is open: opening it again changes nothing
    # there is no such pair, version or merge; the run changes nothing of this version
    if "/duplicates/" in path or "/merges" in path or path.startswith("/api/retags/{run_id}/versions"):
        allowed = 404
    assert reply.status_code == allowed, f"{right}: {reply.status_code} {reply.text[:200]}"
    if path.endswith("/review"):
        assert reply.json() == {"package_id": package["package_id"]}  # it is in review


@pytest.mark.parametrize(("method", "path"), sorted(WRITES))
def test_a_write_from_another_site_is_refused(site, package, method, path):
    right, _ = WRITES[(method, path)]
    client = site(right)
    foreign = client.request(method, concrete(path, package), headers={"Sec-Fetch-Site": "cross-site"}, json={})
    assert foreign.status_code == 403
    del client.headers["X-Requested-With"]
    assert client.request(method, concrete(path, package), json={}).status_code == 403


def test_my_approvals_finds_every_question_however_many_wait_for_others(site, airflow):
    for number in range(250):
        airflow.ask("seat" if number % 2 else "sign", "dario")
    airflow.ask("seat", "maya")  # a seat is answered in the room
    mine = [airflow.ask("group.sign", "maya", "ada")["dag_run_id"], airflow.ask("sign", "maya")["dag_run_id"]]
    found = site("maya").get("/api/questions").json()
    assert [question["run_id"] for question in found] == mine
    assert airflow.pages == 3
    assert "Question 252" in site("maya").get("/approvals").text
    assert site("libby").get("/api/questions").json() == []


def test_reading_questions_ends_although_they_are_answered_meanwhile(site, airflow):
    class Fewer(list):
        def __len__(self):
            return 1000

    airflow.ask("sign", "maya")
    airflow.waiting = Fewer(airflow.waiting)
    assert len(site("maya").get("/api/questions").json()) == 1


def test_an_answer_is_given_under_the_persons_own_name(site, airflow):
    asked = airflow.ask("sign", "maya")
    task = {"dag_id": "d", "run_id": asked["dag_run_id"], "task_id": "sign"}
    answer = task | {"option": "Yes", "values": {"comment": "Go."}}
    told = site("bea").post("/api/questions", json=answer)
    assert told.status_code == 403
    assert told.json()["what"] == "You are not asked here."
    assert site("maya").post("/api/questions", json=answer).json() == {"answered": "Yes"}
    assert airflow.answers == [("maya", {"chosen_options": ["Yes"], "params_input": {"comment": "Go."}})]
    assert site("maya").post("/api/questions", json=answer | {"run_id": "gone"}).status_code == 404


def test_an_airflow_that_is_down_keeps_nobody_from_their_seats(site, package):
    page = site("bea").get("/approvals")
    assert page.status_code == 200
    assert "Airflow does not answer" in page.text
    assert package["package_id"] in page.text


def test_an_expired_review_is_asked_for_again_and_starts_in_airflow(site, services, package, monkeypatch):
    from dam.review import seats
    from dam_web import airflow_api

    started = []
    monkeypatch.setattr(airflow_api, "start", lambda person, *what: started.append((person.username, *what)))
    for seat in packages.seats(services, package_id=package["package_id"]):
        seats.expire(services, seat_id=seat["seat_id"])
    packages.verdict(services, package_id=package["package_id"])
    shown = {name: site(name).get(f"/api/packages/{package['package_id']}/room").json() for name in ("maya", "bea")}
    assert {told["status"] for told in shown.values()} == {"expired"}
    assert (shown["maya"]["me"]["reopens"], shown["bea"]["me"]["reopens"]) == (True, False)
    told = site("maya").post(f"/api/packages/{package['package_id']}/reopen").json()
    assert started == [("maya", "review_package", {"key": told["next_package_id"]})]
    assert site("maya").post(f"/api/packages/{package['package_id']}/reopen").json() == told
    assert f"/packages/{told['next_package_id']}" in site("bea").get(f"/packages/{package['package_id']}").text


def test_a_withdrawn_version_is_sent_to_review_again_and_that_starts_in_runs(site, services, package, runs):
    from dam.catalog.lifecycle import change_state
    from dam.catalog.models import VersionState

    world.sign_all(services, package["package_id"])
    page, button = f"/assets/{package['asset_id']}", "data-review-again"
    assert button not in site("maya").get(page).text
    assert site("maya").post(f"/api/versions/{package['version_id']}/review", json={}).status_code == 409
    with services.session() as session:
        version = session.get_one(Version, package["version_id"])
        for state in (VersionState.LIVE, VersionState.WITHDRAWN):
            change_state(session, version, state, actor="runs", why="test")
    assert button in site("maya").get(page).text
    assert button not in site("bea").get(page).text
    told = site("maya").post(f"/api/versions/{package['version_id']}/review", json={}).json()
    assert packages.versions(services, package_id=told["package_id"]) == [package["version_id"]]
    assert [row["conf"] for row in runs.started] == [{"key": told["package_id"]}]
    assert site("maya").post(f"/api/versions/{package['version_id']}/review", json={}).json() == told


def test_an_asset_shows_what_its_licences_permit_and_ask_for(site, services, package):
    from dam.catalog.models import Grant, Publication
    from dam.enrich.rights import grant_asset

    terms = {
        "licence": "FEW-1", "holder": "East", "permissions": ["modify", "distribute"], "max_count": 3,
        "duties": ["compensate", "attribute"],
    }  # fmt: skip
    with services.session() as session:
        free = session.query(Grant).filter(Grant.asset_id == package["asset_id"]).one().licence.reference
        grant_asset(session, asset_id=package["asset_id"], terms=terms, source="person:libby")
        for channel, status in (("web", "live"), ("cms", "withdrawn"), ("social", "scheduled")):
            told = {"idempotency_key": channel, "starts_at": utcnow(), "endpoints": []}
            if status != "scheduled":
                told |= {"live_url": "https://x.example/a", "probed_at": utcnow()}
            if status == "withdrawn":
                told |= {"withdrawn_at": utcnow(), "takedown": {"endpoints": []}}
            session.add(Publication(version_id=package["version_id"], channel=channel, status=status, **told))
    page = site("vic").get(f"/assets/{package['asset_id']}").text
    rows = {row.partition("<")[0]: row for row in page.partition("<h2>Rights</h2>")[2].split('<th scope="row">')[1:3]}
    few, free_row = rows["FEW-1"], rows[free]
    assert "<td>publish it, cut or recolour it</td><td>credit its maker, pay for each use</td><td>2 of 3</td>" in few
    assert "<td>everything</td><td>none</td><td>2, no limit</td>" in free_row
    told = site("vic").get(f"/api/assets/{package['asset_id']}").json()
    assert told["places"] == 2
    [grant] = [grant for grant in told["versions"][0]["grants"] if grant["licence"] == "FEW-1"]
    assert (grant["permissions"], grant["max_count"]) == (["modify", "distribute"], 3)


def test_what_was_not_let_out_says_so_on_its_pages(site, services, package):
    from dam.enrich import contracts

    contracts.fill(services, version_id=package["version_id"], values={"alt_text": ""}, person="libby")
    contracts.check_for(services, stage="activate", version_ids=[package["version_id"]])
    told = "Alt text is missing. Describe it for people who can't see it."
    asset, room = f"/assets/{package['asset_id']}", "/api/packages/{package_id}/versions/{version_id}".format(**package)
    assert "did not let it out. " + told.replace("'", "&#39;") in site("bea").get(asset).text
    assert site("bea").get(room).json()["lacks"] == [told]
    contracts.fill(services, version_id=package["version_id"], values={"alt_text": "A cup"}, person="libby")
    contracts.check_for(services, stage="activate", version_ids=[package["version_id"]])
    assert "did not let it out" not in site("bea").get(asset).text
    assert site("bea").get(room).json()["lacks"] == []


@pytest.fixture
def runs(monkeypatch):
    """Airflow's side, which does not run here: what was started, what was answered, the task's state."""
    from dam_web import airflow_api

    class Airflow:
        started, answered, state = [], [], None

        def ask(self, person, method, path, **kwargs):
            if method == "GET":
                if self.state is None:
                    raise airflow_api.AirflowSaysNo("no such task", status=404)
                return {"task_instance": {"state": self.state}}
            (self.started if path.endswith("/dagRuns") else self.answered).append(kwargs["json"])
            return {"dag_run_id": "r1"}

    made = Airflow()
    made.started, made.answered = [], []
    monkeypatch.setattr(airflow_api, "_ask", made.ask)
    return made


def sign_in_the_room(site, services, package_id, verdict="approve"):
    """Sign every seat in the room; return the replies."""
    replies = []
    for seat in packages.seats(services, package_id=package_id):
        client = site(seat["eligible"][0])
        replies.append(client.post(f"/api/seats/{seat['seat_id']}/decision", json={"verdict": verdict}))
    return replies


def test_signatures_that_no_run_waits_for_settle_the_package_and_start_one(site, services, package, runs):
    from dam.catalog.models import Package

    package_id = package["package_id"]
    assert [reply.status_code for reply in sign_in_the_room(site, services, package_id)] == [200, 200]
    with services.session() as session:
        assert session.get_one(Package, package_id).status == "approved"
    assert [row["conf"] for row in runs.started] == [{"key": package_id}, {"key": package_id, "take_over": True}]
    sign_in_the_room(site, services, package_id)  # again: nothing new is said, so nothing is started
    assert len(runs.started) == 2


@pytest.mark.parametrize("state", [None, "failed", "awaiting_input"])
def test_a_run_that_is_over_waits_for_nobody(site, services, package, runs, state):
    from dam.catalog.claims import claim
    from dam.review import seats

    package_id, runs.state = package["package_id"], state
    claim(services, stage="review_package", key=package_id, run="review_package/r0")
    for number, seat in enumerate(packages.seats(services, package_id=package_id)):
        place = {"dag_id": "review_package", "run_id": "r0", "task_id": "seat", "map_index": number}
        seats.attach(services, seat_id=seat["seat_id"], hitl=place)
    assert [reply.status_code for reply in sign_in_the_room(site, services, package_id)] == [200, 200]
    heard = state == "awaiting_input"
    assert len(runs.answered) == (2 if heard else 0)
    assert [row["conf"] for row in runs.started] == ([] if heard else [{"key": package_id, "take_over": True}])


def test_the_next_round_of_a_void_package_gets_a_run_where_none_waits(site, services, package, runs):
    from dam.enrich import contracts

    contracts.fill(services, version_id=package["version_id"], values={"title": "Another"}, person="libby")
    reply = site("bea").post(f"/api/seats/{package['seat_id']}/decision", json={"verdict": "approve"})
    assert reply.status_code == 409
    assert [row["conf"] for row in runs.started] == [{"key": reply.json()["next_package_id"]}]


def test_an_airflow_that_is_down_loses_no_signature_and_says_what_to_do(site, services, package):
    reply = site("bea").post(f"/api/seats/{package['seat_id']}/decision", json={"verdict": "approve"})
    assert reply.status_code == 500
    assert "Your answer is recorded" in reply.json()["what"]
    assert "review_package" in reply.json()["remedy"]
    assert packages.seats(services, package_id=package["package_id"])[0]["signed_by"] == "bea"


def test_a_decision_in_the_room_is_recorded_under_the_persons_name(site, services, package, runs):
    reply = site("bea").post(f"/api/seats/{package['seat_id']}/decision", json={"verdict": "approve"})
    assert reply.json()["person"] == "bea"
    assert packages.seats(services, package_id=package["package_id"])[0]["signed_by"] == "bea"


def test_a_refusal_says_what_where_and_what_next(site, package):
    reply = site("dario").post(f"/api/seats/{package['seat_id']}/decision", json={"verdict": "approve"})
    assert reply.status_code == 409
    assert "made or sent" in reply.json()["what"]
    assert reply.json()["remedy"]


def test_a_package_that_changed_is_answered_with_its_next_round(site, services, package, runs):
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


def test_a_batchs_page_names_the_files_that_came_late(site, services, package):
    with services.session() as session:
        location = session.get_one(Batch, package["batch_id"]).location
    page = f"/batches/{package['batch_id']}"
    assert "came after" not in site("vic").get(page).text
    services.storage.inbox.put(f"{location}/LATE_ACME_20270301_v01.jpg", b"late")
    assert "1 file came after this batch was planned: LATE_ACME" in site("vic").get(page).text


def test_a_picture_is_asked_for_again_only_when_its_recipe_made_another(site, services, package):
    path = f"/media/{package['version_id']}/thumbnail"
    first = site("vic").get(path)
    assert "no-cache" in first.headers["cache-control"]
    known = {"If-None-Match": first.headers["etag"]}
    again = site("vic").get(path, headers=known)
    assert (again.status_code, again.content) == (304, b"")
    stored = services.storage.renditions.put("another.jpg", b"made by another recipe")
    with services.session() as session:
        old = session.scalars(select(Rendition).where(Rendition.recipe == "thumbnail").limit(1)).one()
        made = {"sha256": stored.sha256, "bytes": stored.bytes, "storage_uri": stored.uri, "key": "f" * 64}
        kept = ("recipe", "imaging_version", "media_type", "width", "height")
        session.add(Rendition(version_id=package["version_id"], **made, **{name: getattr(old, name) for name in kept}))
    assert site("vic").get(path, headers=known).content == b"made by another recipe"


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
    assert not re.search(r"<script(?![^>]* (src=|type=\"application/json\"))|<[^>]*\s(style|on\w+)=", page.text)


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
