"""The pages in headless Chromium, over the real Airflow, after the demo campaign."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sqlalchemy import select

from dam.catalog.models import BatchFile, Version
from dam.services import Services
from dam.settings import Settings
from runtime.client import wait_for

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


def test_the_room_shows_proofs_and_moves_by_keyboard(as_person, stack, told):
    from dam.catalog.models import Package
    from dam.services import Services
    from dam.settings import Settings

    env = stack.env(stack.start_database())
    services = Services(Settings(catalog_url=env["DAM_CATALOG_URL"], storage_url=env["DAM_STORAGE_URL"]))
    with services.session() as session:
        package_id = session.query(Package).filter_by(status="approved", round=2).first().id
    services.engine.dispose()
    page = as_person("bea")
    problems = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.goto(f"{stack.url}/dam/packages/{package_id}")
    page.wait_for_load_state("networkidle")
    assert page.locator(".proof:visible").count() == 1
    first = page.locator(".proof:visible").get_attribute("id")
    page.keyboard.press("j")
    assert page.locator(".proof:visible").get_attribute("id") != first
    page.locator(".proof:visible [data-zoom=in]").click()
    assert "zoomed" in page.locator(".proof:visible .viewer").get_attribute("class")
    assert page.locator(".proof:visible .viewer img").evaluate("image => image.naturalWidth > 500")
    assert problems == []
    shot(page, "review")


def test_a_phone_needs_no_sideways_scrolling(as_person, stack, told):
    page = as_person("lena", width=360, height=740)
    for path in ("/dam/", "/dam/approvals", "/dam/assets", "/dam/batches", "/dam/reports", "/dam/librarian"):
        page.goto(stack.url + path)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), path
    shot(page, "phone")


def test_a_designer_uploads_and_a_viewer_can_not(as_person, stack, tmp_path):
    import world

    page = as_person("dario")
    page.goto(f"{stack.url}/dam/upload")
    page.set_input_files("input[type=file]", str(world.picture(tmp_path, "UPLOAD_ACME_20270301_v01.jpg", seed=77)))
    page.click("button:has-text('Upload')")
    page.wait_for_selector("#live.shown:has-text('Uploaded')", timeout=20000)

    services = Services(Settings.from_env(environ=stack.env(stack.start_database())))

    def ingested() -> BatchFile | None:
        with services.session() as session:
            return session.scalar(
                select(BatchFile)
                .join(Version, Version.id == BatchFile.version_id)
                .where(BatchFile.path == "UPLOAD_ACME_20270301_v01.jpg", Version.made_by == "dario")
            )

    assert wait_for("the upload's ingest", ingested).outcome == "ingested"
    services.engine.dispose()
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
