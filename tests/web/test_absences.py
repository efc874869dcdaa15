"""My absences: entered, told and called off by people in a browser, each under their own name."""

from __future__ import annotations

import os
from datetime import datetime, timedelta

import pytest

import world
from dam.catalog.models import utcnow
from dam.review import packages, seats
from dam.settings import PROJECT

pytestmark = pytest.mark.slow
AXE = PROJECT / "web" / "node_modules" / "axe-core" / "axe.min.js"


@pytest.fixture
def enter(site, serving, auth, browser):
    """Opens the page for somebody; what a browser complains of fails the test."""
    from fastapi import FastAPI

    outer = FastAPI()
    outer.mount("/dam", site.app)
    contexts, problems = [], []
    with serving(outer) as address:

        def make(person, path="/absences", width=1280, **more):
            headers = {"Authorization": f"Bearer {auth[person]}"}
            size = {"width": width, "height": 900}
            context = browser.new_context(
                extra_http_headers=headers, viewport=size, timezone_id="Europe/Berlin", **more
            )
            contexts.append(context)
            page = context.new_page()
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.goto(f"{address}/dam{path}")
            return page

        yield make
        for context in contexts:
            context.close()
    assert problems == []


def shot(page, name):
    """Keep a screenshot where DAM_SHOTS says."""
    if folder := os.environ.get("DAM_SHOTS"):
        page.screenshot(path=f"{folder}/absences-{name}.png", full_page=True)


def fill(page, start, until):
    page.fill("input[name=from]", start)
    page.fill("input[name=until]", until)


def test_one_enters_an_absence_and_the_deputy_signs_meanwhile(enter, services, tmp_path):
    batch_id, complete = world.designers_batch(services, tmp_path)
    package_id = packages.freeze(services, batch_id=batch_id, version_ids=complete)
    page = enter("bea", "/approvals")
    page.click("text=My absences")
    page.wait_for_selector("text=You are not away")
    offered = page.locator("select[name=deputy] option").all_inner_texts()
    assert offered[0] == "nobody"
    assert "Maya Lindqvist, marketing lead" in offered
    assert not any(name in " ".join(offered) for name in ("Bea Okafor", "Vic Hale"))  # herself; who only reads
    assert page.locator("select[name=person]").count() == 0
    fill(page, "2020-01-01T09:00", "2100-07-01T09:00")
    page.select_option("select[name=deputy]", "maya")
    page.fill("input[name=reason]", "Parental <b>leave</b>")
    page.click("button:has-text('Enter it')")
    page.wait_for_selector("li:has-text('Maya Lindqvist signs meanwhile'):has-text('Parental <b>leave</b>')")
    shot(page, "entered")
    [row] = seats.absences(services, person="bea")
    assert (row["person"], row["deputy"], row["entered_by"]) == ("bea", "maya", "bea")
    assert datetime.fromisoformat(row["until"]) == datetime.fromisoformat("2100-07-01T09:00:00+02:00")
    brand = packages.seats(services, package_id=package_id)[0]
    assert brand["deputies"] == {"maya": "bea"}
    seats.decide(services, seat_id=brand["seat_id"], person="maya", verdict="approve")
    page.click("text=End now")
    page.wait_for_selector("#live:has-text('It is called off.')")
    assert page.locator("[data-absence]").count() == 0
    assert seats.absences(services) == []


def test_what_is_wrong_is_said_in_plain_words_and_nothing_is_lost(enter, services):
    page = enter("bea")
    fill(page, "2100-07-02T09:00", "2100-07-01T09:00")
    page.fill("input[name=reason]", "Fair")
    page.click("button:has-text('Enter it')")
    problem = page.wait_for_selector("#problem:has-text('They must be back after they leave.')")
    assert problem.get_attribute("role") == "alert"
    until = page.locator("input[name=until]")
    assert (until.get_attribute("aria-invalid"), until.get_attribute("aria-errormessage")) == ("true", "problem")
    assert until.evaluate("it => it === document.activeElement")
    fill(page, "2020-07-01T09:00", "2020-07-02T09:00")
    page.click("button:has-text('Enter it')")
    page.wait_for_selector("#problem:has-text('An absence ends after it begins, and not in the past')")
    assert page.input_value("input[name=reason]") == "Fair"
    assert seats.absences(services) == []


def test_a_marketing_lead_enters_it_for_others_but_names_not_herself(enter, services):
    page = enter("maya")
    page.select_option("select[name=person]", "lena")
    fill(page, "2100-07-01T09:00", "2100-07-02T09:00")
    page.evaluate("document.querySelector('select[name=deputy]').add(new Option('Maya', 'maya'))")
    page.select_option("select[name=deputy]", "maya")
    page.click("button:has-text('Enter it')")
    page.wait_for_selector("#problem:has-text('Maya may not take the seats of lena by their own word')")
    page.select_option("select[name=deputy]", "ada")
    page.click("button:has-text('Enter it')")
    page.wait_for_selector("li:has-text('Lena Vogt'):has-text('Ada Brandt signs meanwhile')")
    shot(page, "for-others")
    [row] = seats.absences(services)
    assert (row["person"], row["deputy"], row["entered_by"]) == ("lena", "ada", "maya")
    assert "entered by Maya Lindqvist" in enter("lena").inner_text("main")


def test_a_reason_is_read_by_whom_it_may_concern_and_others_end_nothing(site, services):
    soon = {"start": utcnow() + timedelta(days=1), "until": utcnow() + timedelta(days=2)}
    made = seats.away(services, person="lena", deputy="ada", reason="An operation", **soon)
    told = {name: site(name).get("/api/absences").json()[0] for name in ("lena", "maya", "ada", "bea", "vic")}
    assert {name for name, row in told.items() if row["reason"]} == {"lena", "maya", "ada"}
    assert {name for name, row in told.items() if row["may_end"]} == {"lena", "maya", "ada"}
    for name in ("bea", "vic"):
        page = site(name).get("/absences").text
        assert "An operation" not in page
        assert made not in re_buttons(page)
        assert site(name).post(f"/api/absences/{made}/end", json={}).status_code == 409
    assert "you sign meanwhile" in site("ada").get("/absences").text
    long = {"from": "2100-01-01T00:00:00Z", "until": "2100-02-01T00:00:00Z", "reason": "x" * 301}
    assert site("bea").post("/api/absences", json=long).status_code == 422


def re_buttons(page):
    return [part.partition('"')[0] for part in page.split('data-end="')[1:]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_axe_finds_nothing_serious(enter, services, width, scheme):
    soon = {"start": utcnow() + timedelta(days=1), "until": utcnow() + timedelta(days=2)}
    seats.away(services, person="maya", deputy="ada", reason="Holiday", **soon)
    seats.away(services, person="lena", deputy="maya", **soon)
    page = enter("maya", width=width, color_scheme=scheme)
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    bad = [(rule["id"], [node["html"][:200] for node in rule["nodes"]]) for rule in found
           if rule["impact"] in ("serious", "critical")]  # fmt: skip
    assert bad == []
    shot(page, f"{width}-{scheme}")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
