"""The pages in headless Chromium, over the real Airflow, after the demo campaign."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml
from sqlalchemy import select

import world
from dam.catalog.models import Batch, BatchFile, Decision, Package, Publication, Version
from dam.services import Services
from dam.settings import Settings
from runtime.client import Person, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


@pytest.fixture
def as_person(browser, stack, told):
    """After the campaign: return a function that logs a person in through Airflow's own form, and returns a page."""
    contexts = []

    def open_page(name, **viewport):
        context = browser.new_context(viewport=viewport or {"width": 1400, "height": 900})
        contexts.append(context)
        page = context.new_page()
        page.goto(f"{stack.url}/dam/")
        page.fill("input[name=username]", name)
        page.fill("input[name=password]", stack.passwords()[name])
        page.click("button[type=submit]")
        page.wait_for_url("**/dam/**")
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture
def library(stack, told):
    """Services over the stack's catalogue and stores, after the campaign."""
    made = Services(Settings.from_env(environ=stack.env(stack.start_database())))
    yield made
    made.engine.dispose()


def shot(page, name):
    """Keep a screenshot where DAM_SHOTS says."""
    if folder := os.environ.get("DAM_SHOTS"):
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


def test_a_stranger_logs_in_and_comes_back_to_the_page(as_person):
    page = as_person("vic")
    assert page.title() == "Board · DAM"
    assert page.locator("h2", has_text="Spring 2027").count() >= 1
    shot(page, "board")


def test_the_board_shows_all_seven_stages(as_person):
    page = as_person("maya")
    assert page.locator(".campaign").first.locator(".stages li").count() == 7


def test_dam_is_in_airflows_navigation(as_person, stack):
    page = as_person("ada")
    page.goto(stack.url)
    page.get_by_text("DAM", exact=True).first.wait_for(timeout=30000)


def test_the_library_finds_and_an_asset_tells_its_story(as_person, stack):
    page = as_person("libby")
    page.goto(f"{stack.url}/dam/assets?q=cat")
    assert page.locator(".tile").count() >= 1
    shot(page, "library")
    page.locator(".tile", has_text="SPRING27-CAT").click()
    assert page.locator("h3", has_text="Version 2").count() == 1
    assert page.locator("text=Publications").count() == 1
    assert page.locator(".history li").count() > 3
    assert page.locator("img").first.evaluate("image => image.complete && image.naturalWidth > 0")
    shot(page, "asset")


def test_the_room_shows_proofs_and_moves_by_keyboard(as_person, stack, library):
    with library.session() as session:
        package_id = session.query(Package).filter_by(status="approved", round=2).first().id
    page = as_person("bea")
    problems = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.goto(f"{stack.url}/dam/packages/{package_id}")
    page.wait_for_selector(".stage svg.layer", state="attached")  # the proof is drawn, and can be drawn on
    first = page.inner_text(".toolbar .title")
    page.keyboard.press("j")
    assert page.inner_text(".toolbar .title") != first
    page.click("[aria-label='Zoom in']")
    assert problems == []
    shot(page, "review")


def test_a_phone_needs_no_sideways_scrolling(as_person, stack, told):
    page = as_person("lena", width=360, height=740)
    for path in ("/dam/", "/dam/approvals", "/dam/assets", "/dam/batches", "/dam/reports", "/dam/librarian"):
        page.goto(stack.url + path)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), path
    shot(page, "phone")


def test_a_designer_uploads_and_a_viewer_can_not(as_person, stack, library, tmp_path):
    page = as_person("dario")
    page.goto(f"{stack.url}/dam/upload")
    page.set_input_files("input[name=files]", str(world.picture(tmp_path, "UPLOAD_ACME_20270301_v01.jpg", seed=77)))
    page.click("button:has-text('Upload')")
    page.wait_for_selector("#live.shown:has-text('Uploaded')", timeout=20000)

    def ingested() -> BatchFile | None:
        with library.session() as session:
            return session.scalar(
                select(BatchFile)
                .join(Version, Version.id == BatchFile.version_id)
                .where(BatchFile.path == "UPLOAD_ACME_20270301_v01.jpg", Version.made_by == "dario")
            )

    assert wait_for("the upload's ingest", ingested).outcome == "ingested"
    viewer = as_person("vic")
    viewer.goto(f"{stack.url}/dam/upload")
    assert viewer.locator("input[type=file]").count() == 0


def test_the_report_opens(as_person, stack):
    page = as_person("momo")
    page.goto(f"{stack.url}/dam/reports")
    page.locator("tbody a").first.click()
    page.wait_for_url("**/dam/reports/kpi_*")
    assert page.title().startswith("KPI report")
    assert page.locator("h1").count() == 1
    shot(page, "report")


def decide(page, stack, package_id, verdict, comment):
    """Go from My approvals into the review room and decide there, as a person does."""
    page.goto(f"{stack.url}/dam/approvals")
    page.locator(f"a.button[href$='/packages/{package_id}']").click()
    page.click("#tab-decide")
    button = page.locator(f"#decision button[value={verdict}]")
    if verdict != "approve":
        button.click()
        page.wait_for_selector("#decision-problem:has-text('Say')")  # nobody is sent back without a word
    page.fill("#decision textarea", comment)
    shot(page, f"decision-{verdict}")
    button.click()
    page.wait_for_selector("#live.shown:has-text('Signed')", timeout=30000)
    page.goto(f"{stack.url}/dam/approvals")
    assert page.locator(f"a[href$='/packages/{package_id}']").count() == 0


def test_people_fill_in_answer_and_decide_in_the_browser(as_person, stack, library, told, tmp_path):
    """A supplier's two pictures: one goes to review at once, one when the librarian has described it."""
    ada, bea, lena, libby = (
        Person(stack.url, name, stack.passwords()[name]) for name in ("ada", "bea", "lena", "libby")
    )
    location = "drops/eastlight"
    for seed, (name, xmp) in enumerate({"EAST": None, "BARE": {}}.items(), start=300):
        path = world.picture(tmp_path, f"{name}_ACME_20270301_v01.jpg", seed=seed, xmp=xmp)
        library.storage.inbox.put(f"{location}/{path.name}", path)
    card = {"campaign": told["campaign"], "supplier": "Eastlight", "sent_by": "eastlight"}
    library.storage.inbox.put(f"{location}/batch.yaml", yaml.safe_dump(card).encode())
    library.storage.inbox.put(f"{location}/_COMPLETE", b"")

    def registered():
        with library.session() as session:
            return session.scalar(select(Batch.id).where(Batch.location == location))

    batch_id = wait_for("the supplier's batch", registered)
    ingest_run = ada.run_of("ingest_batch", batch_id)

    def review_of(task_id):
        """Wait until a package of the batch waits for both seats; return it and its run."""
        package_id = str(ada.wait_result("ingest_batch", ingest_run, task_id))
        run_id = ada.run_of("review_package", package_id)
        for person in (bea, lena):
            person.question("review_package", run_id, "seat")
        return package_id, run_id

    def seats_of(run_id):
        """Wait for the end of the review's run; return how its seats' tasks ended."""
        ada.finished("review_package", run_id)
        return sorted(task["state"] for task in ada.tasks("review_package", run_id) if task["task_id"] == "seat")

    def decisions(package_id):
        with library.session() as session:
            rows = session.scalars(select(Decision).where(Decision.package_id == package_id).order_by(Decision.role))
            return [(row.role, row.person, row.verdict, row.comment) for row in rows]

    # what is complete: brand and legal approve it in the room, and it goes live
    package_id, run_id = review_of("freeze_complete")
    decide(as_person("bea"), stack, package_id, "approve", "On brand.")
    decide(as_person("lena"), stack, package_id, "approve", "Cleared.")
    assert seats_of(run_id) == ["success", "success"]
    assert decisions(package_id) == [
        ("brand_reviewer", "bea", "approve", "On brand."),
        ("legal_reviewer", "lena", "approve", "Cleared."),
    ]
    ada.finished("activate_package", ada.run_of("activate_package", package_id))
    with library.session() as session:
        assert session.get_one(Package, package_id).status == "approved"
        live = session.scalars(
            select(Publication.status).join(Version).where(Version.batch_id == batch_id, Version.state == "live")
        ).all()
    assert set(live) == {"live"}

    # what was incomplete: the librarian fills in the table, and signs in the room that My approvals leads to
    libby.question("ingest_batch", ingest_run, "librarian")
    page = as_person("libby")
    page.goto(f"{stack.url}/dam/librarian")
    page.click(f"a.title:has-text('{location}')")
    values = {
        "title": "A bare cup", "description": "A cup.", "alt_text": "A cup", "creator": "East",
        "tags": "subject/coffee",
        "copyright_notice": "East", "licence": "EAST-1", "holder": "Eastlight", "territories": "*", "channels": "*",
    }  # fmt: skip
    for field in page.locator("#fill tbody :is(input, textarea)").all():
        if (name := field.get_attribute("name")) in values:
            field.fill(values[name])
    shot(page, "librarian")
    page.click("#fill button:has-text('Save')")
    page.wait_for_selector("#live.shown:has-text('Saved 1')", timeout=20000)
    page.goto(f"{stack.url}/dam/approvals")
    shot(page, "approvals")
    page.locator("li", has_text="Fill in 1 version of").get_by_role("link", name="Fill in", exact=True).click()
    page.wait_for_selector("#left:has-text('Every version is complete')")
    page.click("#tab-decide")
    page.fill("#decision textarea", "By phone.")
    shot(page, "completing")
    page.click("#decision [value=approve]")
    page.wait_for_selector("#live.shown:has-text('Signed')", timeout=20000)
    package_id, run_id = review_of("freeze_completed")
    librarian = next(task for task in ada.tasks("ingest_batch", ingest_run) if task["task_id"] == "librarian")
    assert librarian["state"] == "success"

    # brand has a veto: its rejection ends the review, and nobody else is asked any more
    decide(as_person("bea"), stack, package_id, "reject", "Not our cup.")
    assert seats_of(run_id) == ["skipped", "success"]
    assert decisions(package_id) == [("brand_reviewer", "bea", "reject", "Not our cup.")]
    with library.session() as session:
        assert session.get_one(Package, package_id).status == "rejected"
    page = as_person("lena")
    page.goto(f"{stack.url}/dam/packages/{package_id}")
    page.click("#tab-decide")
    assert page.locator(".seats blockquote:has-text('Not our cup.')").count() == 1
    assert page.locator("#decision").count() == 0
