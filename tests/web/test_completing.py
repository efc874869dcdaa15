"""Completing a batch's metadata in the room: filling in beside the proof, and one act by two doors."""

from __future__ import annotations

from datetime import timedelta

import pytest

import world
from dam.catalog.models import utcnow
from dam.enrich import contracts
from dam.review import packages, seats
from web.test_deciding import airflow  # noqa: F401 - a fixture
from web.test_room import AXE, address, enter, shot  # noqa: F401 - two are fixtures

pytestmark = pytest.mark.slow  # Airflow's auth manager takes its time to start


@pytest.fixture
def batch_id(services, tmp_path):
    """A checked batch of two bare pictures."""
    files = [
        world.picture(tmp_path, f"{name}_ACME_20270301_v01.jpg", seed=seed, xmp={})
        for seed, name in enumerate(("CUP", "TABLE"), start=2)
    ]
    made = world.drop(services, "drops/north", files)
    world.ingest(services, made)
    contracts.hand_on(services, batch_id=made)
    return made


@pytest.fixture
def versions(services, batch_id):
    return {row["asset"].split("_")[0]: row["version_id"] for row in contracts.missing(services, batch_id=batch_id)}


@pytest.fixture
def package_id(services, batch_id, versions):
    return packages.freeze(services, batch_id=batch_id, version_ids=list(versions.values()), purpose="metadata")


@pytest.fixture
def seat_id(services, package_id):
    [seat] = packages.seats(services, package_id=package_id)
    return seat["seat_id"]


@pytest.fixture
def asked(services, airflow, seat_id):  # noqa: F811
    """The seat waits in Airflow, too."""
    place = {"dag_id": "ingest_batch", "run_id": "r0", "task_id": "librarian", "map_index": 0}
    seats.attach(services, seat_id=seat_id, hitl=place)
    airflow.states["librarian"] = "awaiting_input"
    airflow.assigned["librarian"] = {"libby"}
    return airflow


def signatures(services, package_id):
    [seat] = packages.seats(services, package_id=package_id)
    return [(row["person"], row["verdict"]) for row in seat["signatures"]]


def fill(services, versions):
    for version_id in versions.values():
        contracts.fill(services, version_id=version_id, values=world.WHOLE, person="libby")


# ---------------------------------------------------------------------------------------------- routes


@pytest.mark.parametrize("door", ["room", "table"])
def test_either_door_signs_the_same_seat_and_airflow_hears_its_own_words(
    site, services, asked, batch_id, versions, package_id, seat_id, door
):
    room = (f"/api/seats/{seat_id}/decision", {"verdict": "approve"})
    table = (f"/api/batches/{batch_id}/finish", {"answer": "done"})
    path, body = room if door == "room" else table
    refused = site("libby").post(path, json=body)
    assert (refused.status_code, refused.json()["what"]) == (409, "2 versions are still incomplete")
    assert asked.answered == []
    fill(services, versions)
    assert site("libby").post(path, json=body).status_code == 200
    [(person, task, answer)] = asked.answered
    assert (person, task, answer["chosen_options"]) == ("libby", "librarian", ["Done"])
    assert answer["params_input"] == {"comment": ""}
    assert asked.started == []
    assert signatures(services, package_id) == [("libby", "approve")]
    other = table if door == "room" else room
    site("libby").post(other[0], json=other[1])
    assert signatures(services, package_id) == [("libby", "approve")]


def test_without_a_run_that_waits_the_review_takes_it_on(site, services, airflow, versions, package_id, batch_id):  # noqa: F811
    fill(services, versions)
    assert site("libby").post(f"/api/batches/{batch_id}/finish", json={"answer": "done"}).status_code == 200
    assert airflow.started == [{"key": package_id, "take_over": True}]


def test_changes_are_not_asked_for_here(site, airflow, seat_id):  # noqa: F811
    for verdict in ({"verdict": "request_changes"}, {"verdict": "reject", "conditions": "Soon."}):
        reply = site("libby").post(f"/api/seats/{seat_id}/decision", json=verdict)
        assert reply.status_code == 422, reply.text


def test_a_deputy_may_fill_in_and_sign_and_nobody_else(site, services, asked, batch_id, versions, package_id):
    rows = dict.fromkeys(versions.values(), world.WHOLE)
    path = f"/api/batches/{batch_id}/metadata"
    assert site("dario").post(path, json={"rows": rows}).status_code == 403
    assert "<textarea" not in site("dario").get(f"/librarian/{batch_id}").text
    start = utcnow()
    seats.away(services, person="libby", deputy="dario", start=start, until=start + timedelta(days=1))
    assert [row["title"] for row in site("dario").get("/api/seats").json()] == ["Fill in 2 versions of drops/north"]
    assert "<textarea" in site("dario").get(f"/librarian/{batch_id}").text
    told = site("dario").post(path, json={"rows": rows}).json()
    assert sorted(told["complete"]) == sorted(versions.values())
    assert site("dario").post(f"/api/batches/{batch_id}/finish", json={"answer": "done"}).status_code == 200
    assert signatures(services, package_id) == [("dario", "approve")]
    assert asked.answered == []  # Airflow did not know him
    assert len(asked.cleared) == 1  # its task looks again
    assert site("dario").post(path, json={"rows": rows}).status_code == 403


def test_the_room_is_told_what_lacks_and_how_it_is_filled_in(site, services, versions, package_id, batch_id):
    room = site("libby").get(f"/api/packages/{package_id}/room").json()
    assert (room["purpose"], room["batch_id"], room["may_fill"], room["of"]) == (
        "metadata", batch_id, True, "drops/north",
    )  # fmt: skip
    assert "Title is missing." in " ".join(room["lacks"][versions["CUP"]])
    assert site("vic").get(f"/api/packages/{package_id}/room").json()["may_fill"] is False
    path = f"/api/packages/{package_id}/versions/{versions['CUP']}/missing"
    told = site("vic").get(path).json()
    assert {"title", "alt_text", "licence"} <= {column["key"] for column in told["columns"]}
    assert told["row"]["version_id"] == versions["CUP"]
    fill(services, versions)
    contracts.check(services, batch_id=batch_id)
    assert site("libby").get(path).json() == {"columns": [], "row": None}
    assert site("libby").get(f"/api/packages/{package_id}/versions/ver_x/missing").status_code == 404


# --------------------------------------------------------------------------------------------- browser


@pytest.fixture
def package(package_id, batch_id, versions):
    return {"package_id": package_id, "batch_id": batch_id, "versions": versions}


def said(page, words):
    page.wait_for_selector(f"#live.shown:has-text('{words}')", timeout=60000)


def complete(page):
    """Fill in every field that is asked for, by the keyboard alone."""
    page.keyboard.press("Escape")
    page.keyboard.press("e")
    page.wait_for_selector("#fill :focus")
    for _ in range(60):
        name = page.evaluate("document.activeElement.closest('#fill') ? document.activeElement.name : null")
        if name is None:
            break
        if page.evaluate("document.activeElement.tagName") == "BUTTON":
            page.keyboard.press("Enter")
            return
        words = {"tags": "Espre", "kind": "owned", "territories": "*", "channels": "*", "starts_on": "", "ends_on": ""}
        if page.evaluate("document.activeElement.getAttribute('role')") == "combobox":
            page.keyboard.type("Espre")
            page.keyboard.press("ArrowDown")
            page.keyboard.press("Enter")
        elif text := words.get(name, f"Some {name}"):
            page.keyboard.type(text)
        page.keyboard.press("Tab")
    raise AssertionError("the form has no button")


def axe(page):
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")]


def test_a_batch_is_completed_by_keyboard_beside_its_proofs(enter, services, package, versions):  # noqa: F811
    page = enter("libby")
    page.wait_for_selector("#fill [name=title]")
    shot(page, "fill")
    assert page.locator("h1").inner_text().startswith("Fill in drops/north")
    assert page.locator(".frame .lacks").count() == 2
    assert page.locator(".single").count() == 0  # no verdicts on single versions here
    page.keyboard.press("Escape")
    page.keyboard.press("A")
    page.wait_for_selector("#decision-problem:has-text('2 versions are still incomplete')", timeout=60000)
    shot(page, "fill-refused")
    assert axe(page) == []
    complete(page)
    said(page, "1 version left")
    assert page.locator(".frame .lacks.none").count() == 1
    complete(page)
    said(page, "Everything is complete")
    page.wait_for_selector("#decision")
    shot(page, "fill-done")
    assert signatures(services, package["package_id"]) == []
    page.keyboard.press("Escape")
    page.keyboard.press("A")
    said(page, "What is complete goes on")
    assert signatures(services, package["package_id"]) == [("libby", "approve")]
    page.wait_for_selector(".frame .given.approve:has-text('Complete')")


def test_on_a_phone_what_is_refused_is_said_at_its_field(enter, services, package, versions):  # noqa: F811
    page = enter("libby", viewport={"width": 360, "height": 740})
    page.wait_for_selector("#fill [name=title]")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.fill("#fill [name=ends_on]", "1969-01-01")
    page.fill("#fill [name=licence]", "N-1")
    page.fill("#fill [name=holder]", "Northlight")
    page.click("#fill button:has-text('Save')")
    page.wait_for_selector("#fill [name=ends_on][aria-invalid=true]")
    assert "is before starts_on" in page.locator("#wrong-ends_on").inner_text()
    shot(page, "fill-phone")
    assert axe(page) == []
    page.locator(".strip .frame button").nth(1).click()
    page.locator(".strip .frame button").nth(0).click()
    page.wait_for_selector("#fill [name=ends_on]")
    assert page.input_value("#fill [name=licence]") == "N-1"  # what was typed is kept
    page.click("#tab-decide")
    page.click("#decision [value=approve]")
    said(page, "Save first")


def test_who_has_no_seat_sees_what_lacks_and_no_way_to_fill_it_in(enter, package):  # noqa: F811
    page = enter("bea")
    page.wait_for_selector("#fill")
    assert page.locator("#fill :is(input, textarea, select):not([disabled])").count() == 0
    assert page.locator("#fill button:has-text('Save')").count() == 0
