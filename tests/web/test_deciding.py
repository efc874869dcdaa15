"""The room and Airflow hear the same: undo, deputies Airflow does not know, second signatures, deleted runs."""

from __future__ import annotations

from datetime import timedelta

import pytest

import world
from dam.catalog.models import Seat, utcnow
from dam.review import packages, seats

pytestmark = pytest.mark.slow  # Airflow's auth manager takes its time to start


class Airflow:
    """Airflow's API as far as seats ask it: tasks with their states, who may answer, and what was asked of it."""

    def __init__(self) -> None:
        self.states: dict[str, str] = {}
        self.assigned: dict[str, set[str]] = {}
        self.answered: list[tuple[str, str, dict]] = []
        self.cleared: list[dict] = []
        self.started: list[dict] = []
        self.busy = False

    def ask(self, person, method, path, **kwargs):
        from dam_web import airflow_api

        if path.endswith("/dagRuns"):
            self.started.append(kwargs["json"]["conf"])
            return {"dag_run_id": "r1"}
        if path.endswith("/clearTaskInstances"):
            self.cleared.append(kwargs["json"])
            [[task, _]] = kwargs["json"]["task_ids"]
            self.states[task] = "scheduled"
            return {}
        task = path.split("/taskInstances/")[1].split("/")[0]
        if task not in self.states:
            raise airflow_api.AirflowSaysNo("no such task", status=404)
        if method == "GET":
            return {"task_instance": {"state": self.states[task]}}
        if self.busy:
            raise airflow_api.AirflowSaysNo("Somebody has answered this already.", status=409)
        if person.username not in self.assigned[task]:
            raise airflow_api.AirflowSaysNo("You are not asked here.", status=403)
        self.answered.append((person.username, task, kwargs["json"]))
        return {}


@pytest.fixture
def airflow(monkeypatch):
    from dam_web import airflow_api, api

    made = Airflow()
    monkeypatch.setattr(airflow_api, "_ask", made.ask)
    monkeypatch.setattr(api.time, "sleep", lambda seconds: None)
    return made


@pytest.fixture
def package_id(services, tmp_path, airflow):
    """A package whose two seats wait in Airflow."""
    batch_id, complete = world.designers_batch(services, tmp_path)
    made = packages.freeze(services, batch_id=batch_id, version_ids=complete)
    for number, seat in enumerate(packages.seats(services, package_id=made)):
        place = {"dag_id": "review_package", "run_id": "r0", "task_id": seat["role"], "map_index": number}
        seats.attach(services, seat_id=seat["seat_id"], hitl=place)
        airflow.states[seat["role"]] = "awaiting_input"
        airflow.assigned[seat["role"]] = set(seat["eligible"])
    return made


def row(services, package_id, number=0):
    return packages.seats(services, package_id=package_id)[number]


def decide(site, services, package_id, person, verdict="approve", number=0, **more):
    seat_id = row(services, package_id, number)["seat_id"]
    return site(person).post(f"/api/seats/{seat_id}/decision", json={"verdict": verdict} | more)


def test_a_conditional_approval_is_the_same_in_airflow_and_in_the_record(site, services, airflow, package_id):
    reply = decide(site, services, package_id, "bea", comment="Good.", conditions="Mend the title.")
    assert reply.json()["seat_status"] == "signed"
    [(person, task, answer)] = airflow.answered
    assert (person, task, answer["chosen_options"]) == ("bea", "brand_reviewer", ["Approve"])
    assert answer["params_input"] == {"comment": "Good.", "conditions": "Mend the title.", "versions": ""}
    [signature] = row(services, package_id)["signatures"]
    assert (signature["conditions"], signature["via"]) == ("Mend the title.", "room")
    met = site("bea").post(f"/api/decisions/{signature['decision_id']}/met", json={"note": "It is."})
    assert met.status_code == 200
    assert row(services, package_id)["signatures"][0]["condition_met"]["note"] == "It is."


def test_undo_lets_the_task_that_has_ended_ask_again(site, services, airflow, package_id):
    decide(site, services, package_id, "bea")
    airflow.states["brand_reviewer"] = "success"
    seat_id = row(services, package_id)["seat_id"]
    assert site("bea").post(f"/api/seats/{seat_id}/undo", json={}).json()["seat_status"] == "open"
    [cleared] = airflow.cleared
    assert cleared["task_ids"] == [["brand_reviewer", 0]]
    assert (cleared["dag_run_id"], cleared["dry_run"], cleared["include_downstream"]) == ("r0", False, True)
    refused = site("bea").post(f"/api/seats/{seat_id}/undo", json={})
    assert (refused.status_code, refused.json()["what"]) == (409, "bea has not signed this seat")


@pytest.mark.parametrize("state", ["awaiting_input", "scheduled", None])
def test_undo_disturbs_no_task_that_still_asks_and_needs_none(site, services, airflow, package_id, state):
    decide(site, services, package_id, "bea")
    if state:
        airflow.states["brand_reviewer"] = state
    else:  # the run was deleted
        airflow.states.clear()
    seat_id = row(services, package_id)["seat_id"]
    assert site("bea").post(f"/api/seats/{seat_id}/undo", json={}).status_code == 200
    assert airflow.cleared == []
    assert decide(site, services, package_id, "bea", "request_changes", comment="Darker.").status_code == 200
    assert row(services, package_id)["verdict"] == "request_changes"


def test_a_deputy_whom_airflow_does_not_know_signs_and_its_task_learns_of_it(site, services, airflow, package_id):
    start = utcnow()
    seats.away(services, person="bea", deputy="libby", start=start, until=start + timedelta(days=1))
    reply = decide(site, services, package_id, "libby")
    assert reply.json()["on_behalf_of"] == "bea"
    assert airflow.answered == []
    assert [body["task_ids"] for body in airflow.cleared] == [[["brand_reviewer", 0]]]
    assert airflow.started == []  # the run that waits goes on


def test_somebody_whom_no_rule_lets_sign_is_refused_before_airflow_is_asked(site, services, airflow, package_id):
    assert decide(site, services, package_id, "libby").status_code == 409
    assert (airflow.answered, airflow.cleared) == ([], [])


@pytest.fixture
def two(services, package_id):
    """The brand seat needs two of three people."""
    with services.session() as session:
        first = session.get_one(Seat, row(services, package_id)["seat_id"])
        first.needed, first.eligible = 2, ["bea", "libby", "maya"]


def test_a_second_signature_does_not_wait_for_airflow_to_ask_again(site, services, airflow, package_id, two):
    airflow.assigned["brand_reviewer"] = {"bea", "libby", "maya"}
    assert decide(site, services, package_id, "bea").json()["seat_status"] == "open"
    airflow.busy = True  # it is at work on bea's answer
    assert decide(site, services, package_id, "libby").json()["seat_status"] == "signed"
    assert len(airflow.answered) == 1
    # it had parked again for the second signature, which is there already: it is asked to look
    assert [body["task_ids"] for body in airflow.cleared] == [[["brand_reviewer", 0]]]


@pytest.mark.parametrize("state", ["running", "success"])
def test_a_task_at_work_is_not_disturbed(site, services, airflow, package_id, two, state):
    airflow.assigned["brand_reviewer"] = {"bea", "libby", "maya"}
    decide(site, services, package_id, "bea")
    airflow.busy, airflow.states["brand_reviewer"] = True, "running"
    seen = []

    def read(seat_id, **_):
        seen.append(seat_id)
        if state == "success" and len(seen) > 2:
            airflow.states["brand_reviewer"] = "success"

    known = seats.status
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            seats, "status", lambda services, *, seat_id: (read(seat_id), known(services, seat_id=seat_id))[1]
        )
        assert decide(site, services, package_id, "libby").json()["seat_status"] == "signed"
    assert airflow.cleared == []
    assert len(seen) > 2


def test_of_two_answers_to_a_seat_of_one_signature_the_first_wins_in_both(site, services, airflow, package_id):
    airflow.busy = True
    reply = decide(site, services, package_id, "bea")
    assert (reply.status_code, reply.json()["what"]) == (409, "Somebody has answered this already.")
    assert row(services, package_id)["signatures"] == []


def test_the_same_answer_again_takes_no_place_of_a_second_signature(site, services, airflow, package_id, two):
    airflow.assigned["brand_reviewer"] = {"bea", "libby", "maya"}
    for _ in range(2):
        assert decide(site, services, package_id, "bea").json()["seat_status"] == "open"
    assert [person for person, _, _ in airflow.answered] == ["bea"]


def test_a_deleted_run_takes_no_signature_with_it(site, services, airflow, package_id):
    from dam.catalog.claims import claim

    claim(services, stage=packages.STAGE, key=package_id, run="review_package/r0")
    decide(site, services, package_id, "bea")
    airflow.states.clear()
    assert decide(site, services, package_id, "lena", number=1).json()["seat_status"] == "signed"
    assert packages.verdict(services, package_id=package_id)["status"] == "approved"
    assert airflow.started == [{"key": package_id, "take_over": True}]


def test_a_task_that_begins_to_ask_while_somebody_signs_looks_again(site, services, airflow, package_id, monkeypatch):
    """The room finds nobody waiting, and by the time it has recorded the signature somebody does."""
    decided = seats.decide

    def decide_while_it_parks(*args, **kwargs):
        signed = decided(*args, **kwargs)
        airflow.states["brand_reviewer"] = "awaiting_input"
        return signed

    airflow.states["brand_reviewer"] = "success"  # of an earlier try
    monkeypatch.setattr(seats, "decide", decide_while_it_parks)
    assert decide(site, services, package_id, "bea").json()["seat_status"] == "signed"
    assert airflow.answered == []
    assert [body["task_ids"] for body in airflow.cleared] == [[["brand_reviewer", 0]]]


def test_seats_are_handed_on_and_absences_entered_over_the_api(site, services, airflow, package_id):
    seat_id = row(services, package_id, 1)["seat_id"]
    handed = site("lena").post(f"/api/seats/{seat_id}/delegate", json={"to": "libby", "why": "On a train."})
    assert handed.json() == {"to": "libby"}
    assert row(services, package_id, 1)["deputies"] == {"libby": "lena"}
    given = {"deputy": "maya", "from": "2027-01-01T00:00:00+01:00", "until": "2100-01-01T00:00:00Z"}
    made = site("bea").post("/api/absences", json=given).json()["absence_id"]
    [told] = site("vic").get("/api/absences").json()
    assert (told["absence_id"], told["person"], told["deputy"]) == (made, "bea", "maya")
    assert site("lena").post("/api/absences", json=given | {"person": "bea"}).status_code == 409
    assert site("bea").post("/api/absences", json=given | {"from": "2027-01-01T00:00:00"}).status_code == 422
    assert site("ada").post(f"/api/absences/{made}/end", json={}).status_code == 200
    assert site("vic").get("/api/absences").json() == []


def test_what_waits_for_changes_is_let_go_and_activated(site, services, airflow, package_id):
    first = packages.versions(services, package_id=package_id)[0]
    with services.session() as session:
        for seat in session.query(Seat):
            seat.package.rest = "waits"
    for number, person in enumerate(("bea", "lena")):
        versions = {first: {"verdict": "request_changes", "comment": "Darker."}}
        assert decide(site, services, package_id, person, number=number, versions=versions).status_code == 200
    packages.verdict(services, package_id=package_id)
    assert site("vic").get(f"/api/packages/{package_id}").json()["waits_for"]
    assert site("bea").post(f"/api/packages/{package_id}/let-go", json={}).status_code == 403
    assert site("maya").post(f"/api/packages/{package_id}/let-go", json={}).json() == {"package_id": package_id}
    assert airflow.started == [{"key": package_id}]


def test_the_package_says_what_changed_since_the_round_before(site, services, airflow, package_id):
    from dam.enrich import contracts

    version_id = packages.versions(services, package_id=package_id)[0]
    contracts.fill(services, version_id=version_id, values={"title": "Another"}, person="libby")
    following = packages.revalidate(services, package_id=package_id)
    for shown, part in ((package_id, "changes"), (following, "changed_since")):
        [told] = site("bea").get(f"/api/packages/{shown}").json()[part]
        assert told["version_id"] == version_id
        assert told["changes"] == {"metadata": ["The title was “A red cup” and is “Another” now."]}
