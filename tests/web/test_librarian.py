"""The librarian's table and the contract's page: as routes, and in a browser, by mouse and by keyboard alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sqlalchemy import select

import world
from dam.catalog.models import Description, Tag, Version
from dam.enrich import contracts, sheet
from dam.review import packages
from web.test_routes import airflow  # noqa: F401 - a fixture

pytestmark = pytest.mark.slow
LICENCE = {"licence": "NORTH-1", "holder": "Northlight", "territories": ["*"], "channels": ["*"]}


@pytest.fixture
def batch_id(services, tmp_path):
    """A checked batch: one complete version, two that lack much, one of them tags too, and one that is too small."""
    bare = {"Xmp.dc.title": {'lang="x-default"': "Only a title"}}
    files = [
        world.picture(tmp_path, "FULL_ACME_20270301_v01.jpg", seed=1),
        world.picture(tmp_path, "BARE_ACME_20270301_v01.jpg", seed=2, xmp=bare),
        world.picture(tmp_path, "ALSO_ACME_20270301_v01.jpg", seed=3, xmp={}),
        world.picture(tmp_path, "SMALL_ACME_20270301_v01.jpg", seed=4, size=(400, 300)),
    ]
    made = world.drop(services, "drops/north", files)
    world.ingest(services, made)
    with services.session() as session:
        also = session.scalar(select(Version.id).where(Version.filename.startswith("ALSO")))
    contracts.fill(services, version_id=also, values={"tags": []}, person="libby")  # the machine's colours are wrong
    contracts.check(services, batch_id=made)
    return made


@pytest.fixture
def rows(services, batch_id):
    """The versions that lack something, by asset."""
    return {row["asset"]: row["version_id"] for row in contracts.missing(services, batch_id=batch_id)}


def waits(services, batch_id, rows):
    """Let the librarian's seat wait; no run of Airflow does."""
    return packages.freeze(services, batch_id=batch_id, version_ids=list(rows.values()), purpose="metadata")


def signed(services, package_id):
    [seat] = packages.seats(services, package_id=package_id)
    return [(row["person"], row["verdict"], row["comment"], row["via"]) for row in seat["signatures"]]


# ---------------------------------------------------------------------------------------------- routes


def test_good_rows_are_saved_and_bad_ones_told(site, services, batch_id, rows):
    full = {
        "description": "Shapes.",
        "alt_text": "Soft shapes",
        "creator": "Dario",
        "copyright_notice": "© N",
    } | LICENCE
    given = {
        rows["BARE_ACME"]: full | LICENCE,
        rows["ALSO_ACME"]: {"title": "Kept by the page", "tags": ["unicorn dust"]},
        "ver_nowhere": {"title": "X"},
    }
    told = site("libby").post(f"/api/batches/{batch_id}/metadata", json={"rows": given}).json()
    assert told["saved"] == told["complete"] == [rows["BARE_ACME"]]
    assert told["refused"][rows["ALSO_ACME"]]["field"] == "tags"
    assert "no term of the vocabulary" in told["refused"][rows["ALSO_ACME"]]["what"]
    assert "no such version in this batch" in told["refused"]["ver_nowhere"]["what"]
    with services.session() as session:
        assert session.get(Description, rows["ALSO_ACME"]).title is None
    left = site("vic").get(f"/api/batches/{batch_id}/missing").json()
    assert {row["asset"] for row in left} == {"ALSO_ACME", "SMALL_ACME"}


def test_the_csv_goes_out_and_comes_back(site, batch_id, rows):
    out = site("libby").get(f"/api/batches/{batch_id}/metadata.csv")
    assert out.content.startswith(b"\xef\xbb\xbfid,file,")
    assert "attachment" in out.headers["content-disposition"]
    filled = "Datei;file;Creator\n;BARE_ACME_20270301_v01.jpg;Zoë\n".encode("cp1252")
    told = site("libby").post(f"/api/batches/{batch_id}/metadata.csv", content=filled).json()
    assert told["saved"] == [rows["BARE_ACME"]]
    assert [(fault["line"], fault["column"]) for fault in told["faults"]] == [(1, "Datei")]
    huge = b"x" * (sheet.MOST + 1)
    assert site("libby").post(f"/api/batches/{batch_id}/metadata.csv", content=huge).status_code == 422


def test_done_is_signed_under_the_librarians_name_when_all_is_complete(site, services, airflow, batch_id, rows):  # noqa: F811
    finish = f"/api/batches/{batch_id}/finish"
    assert site("libby").post(finish, json={"answer": "done"}).status_code == 409  # nothing waits
    package_id = waits(services, batch_id, rows)
    approvals = site("libby").get("/approvals").text
    assert "Fill in 3 versions of drops/north" in approvals
    assert f"/packages/{package_id}" in approvals
    assert site("ada").post(finish, json={"answer": "done"}).status_code == 409  # she may fill in, but has no seat
    assert site("bea").post(finish, json={"answer": "done"}).status_code == 403
    told = site("libby").post(finish, json={"answer": "done"})
    assert (told.status_code, told.json()["what"]) == (409, "3 versions are still incomplete")
    assert signed(services, package_id) == []
    told = site("libby").post(finish, json={"answer": "leave", "comment": "Too small."}).json()
    assert (told["signed"], told["left_out"]) == ([package_id], sorted(rows.values()))
    assert signed(services, package_id) == [("libby", "reject", "Too small.", "room")]
    assert site("libby").post(finish, json={"answer": "done"}).status_code == 409  # it is over


def test_pages_of_a_batch_that_is_not_there_say_so(site, airflow):  # noqa: F811
    for path in ("/librarian/bat_x", "/batches/bat_x/contract", "/api/batches/bat_x/contract"):
        assert site("libby").get(path).status_code == 404, path
    assert site("libby").post("/api/batches/bat_x/metadata", json={"rows": {}}).status_code == 404


def test_a_viewer_sees_what_is_missing_but_no_way_to_fill_it_in(site, airflow, batch_id):  # noqa: F811
    page = site("vic").get(f"/librarian/{batch_id}").text
    assert "BARE_ACME" in page
    assert "<textarea" not in page
    assert "librarian.js" not in page


def test_filling_in_works_while_airflow_is_down(site, services, batch_id, rows):
    package_id = waits(services, batch_id, rows)
    page = site("libby").get(f"/librarian/{batch_id}")
    assert page.status_code == 200
    assert "<textarea" in page.text
    assert f"/packages/{package_id}" in page.text
    assert "Leave the rest out" in page.text
    assert "drops/north" in site("libby").get("/librarian").text


def test_terms_are_told_with_their_words_in_all_languages(site):
    cat = next(term for term in site("libby").get("/api/terms").json() if term["id"] == "subject/cat")
    assert cat["label"] == "cat"
    assert {"cat", "Katze", "kitten"} <= set(cat["words"])


# --------------------------------------------------------------------------------------------- browser


@pytest.fixture
def served(site, serving):
    """Address of the app, served to browsers."""
    with serving(site.app) as found:
        yield found


def is_bad(message):
    """Tell an error on the console that is none of ours: a refusal is told to the person as well."""
    return message.type == "error" and "409 (Conflict)" not in message.text


@pytest.fixture
def page(served, auth, browser):
    """Libby's browser; anything on its console is an error."""
    from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN

    context = browser.new_context(viewport={"width": 1400, "height": 900}, accept_downloads=True)
    context.add_cookies([{"name": COOKIE_NAME_JWT_TOKEN, "value": auth["libby"], "url": served}])
    opened = context.new_page()
    problems = []
    opened.on("console", lambda message: problems.append(message.text) if is_bad(message) else None)
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("dialog", lambda dialog: dialog.accept())
    yield opened
    context.close()
    assert problems == []


def shot(page, name):
    """Keep a screenshot where DAM_SHOTS says."""
    if folder := os.environ.get("DAM_SHOTS"):
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


def said(page, words):
    page.wait_for_selector(f"#live.shown:has-text('{words}')", timeout=60000)


def described(services, version_id):
    with services.session() as session:
        found = session.get(Description, version_id)
        return {name: getattr(found, name) for name in ("title", "description", "alt_text", "creator")}


def test_many_are_filled_in_at_once_and_the_batch_goes_on(page, served, services, airflow, batch_id, rows):  # noqa: F811
    package_id = waits(services, batch_id, rows)
    page.goto(f"{served}/librarian/{batch_id}")
    shot(page, "table")
    assert page.locator("#fill tbody tr").count() == 3
    for field, value in (("creator", "Zoë"), ("copyright_notice", "© Northlight"), ("description", "Soft shapes.")):
        page.select_option("#bulk-field", field)
        page.fill(f"[data-bulk={field}] [name={field}]", value)
        page.click("#apply-all")
    page.select_option("#bulk-field", "licence")
    page.fill("[data-bulk=licence] [name=licence]", "NORTH-1")
    page.fill("[data-bulk=licence] [name=holder]", "Northlight")
    boxes = page.locator("#fill .select")
    boxes.nth(0).click()
    boxes.nth(1).click(modifiers=["Shift"])
    assert page.locator("#selected").inner_text() == "2"
    page.click("#apply-selected")
    also = page.locator(f"tr[data-version={rows['ALSO_ACME']}]")
    also.locator("[name=alt_text]").fill("Shapes")
    also.locator("[name=title]").fill("Also")
    also.locator("[name=ends_on]").fill("1969-01-01")
    also.locator("[role=combobox]").fill("Katz")
    page.locator("#suggestions li", has_text="cat").first.click()
    page.locator(f"tr[data-version={rows['BARE_ACME']}] [name=alt_text]").fill("Shapes, too")
    shot(page, "filled")
    page.click("#fill button:has-text('Save')")
    said(page, "could not be saved")
    shot(page, "refused")
    assert also.locator("[name=ends_on]").get_attribute("aria-invalid") == "true"
    assert page.evaluate("document.activeElement.name") == "ends_on"
    assert "is before starts_on" in also.locator(".wrong").inner_text()
    assert also.locator("[name=alt_text]").input_value() == "Shapes"
    assert page.locator(f"tr[data-version={rows['BARE_ACME']}].done").count() == 1
    page.click("#finish [value=done]")
    said(page, "Save first")
    also.locator("[name=ends_on]").fill("2031-12-31")
    page.click("#fill button:has-text('Save')")
    said(page, "Saved 1 version")
    assert also.locator(".wrong").count() == 0
    assert described(services, rows["ALSO_ACME"]) == {
        "title": "Also", "description": "Soft shapes.", "alt_text": "Shapes", "creator": "Zoë",
    }  # fmt: skip
    page.click("#finish [value=done]")
    said(page, "1 version is still incomplete")
    page.click("#finish [value=leave]")
    said(page, "1 left out")
    assert signed(services, package_id) == [("libby", "reject", "", "room")]
    page.wait_for_url("**/librarian")


def test_the_keyboard_alone_is_enough(page, served, services, airflow, batch_id, rows):  # noqa: F811
    page.goto(f"{served}/librarian/{batch_id}")
    page.wait_for_load_state("networkidle")
    unnamed = """() => [...document.querySelectorAll("main :is(input, textarea, select, button, meter, a)")]
        .filter((one) => !one.getAttribute("aria-label") && !(one.labels && one.labels.length))
        .filter((one) => !one.textContent.trim()).map((one) => one.outerHTML)"""
    assert page.evaluate(unnamed) == []
    row = f"tr[data-version={rows['ALSO_ACME']}]"
    page.focus(f"{row} [name=title]")
    page.keyboard.type("By keyboard")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.getAttribute('role')") == "combobox":
            break
    page.keyboard.type("Espre")
    page.keyboard.press("ArrowDown")
    combobox = page.locator(f"{row} [role=combobox]")
    assert combobox.get_attribute("aria-expanded") == "true"
    active = combobox.get_attribute("aria-activedescendant")
    assert "coffee" in page.locator(f"#{active}").inner_text()
    shot(page, "combobox")
    page.keyboard.press("Enter")
    page.keyboard.type("brick")
    page.keyboard.press("Escape")
    assert page.locator("#suggestions").is_hidden()
    page.keyboard.press("Backspace")
    for _ in range(4):
        page.keyboard.press("Backspace")
    assert page.locator(f"{row} .chips button").count() == 1
    page.focus("#fill button:has-text('Save')")
    page.keyboard.press("Enter")
    said(page, "Saved 1 version")
    with services.session() as session:
        tags = session.scalars(
            select(Tag.term_id).where(Tag.version_id == rows["ALSO_ACME"], Tag.source == "person:libby")
        ).all()
    assert tags == ["subject/coffee"]
    assert described(services, rows["ALSO_ACME"])["title"] == "By keyboard"


def test_a_sheet_is_downloaded_filled_and_uploaded(page, served, services, airflow, batch_id, rows, tmp_path):  # noqa: F811
    page.goto(f"{served}/librarian/{batch_id}")
    with page.expect_download() as started:
        page.click("a[download]")
    path = tmp_path / "missing.csv"
    started.value.save_as(path)
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    assert lines[0].startswith("id,file,title,description")
    at = {name: number for number, name in enumerate(lines[0].split(","))}
    filled = [lines[0]]
    for line in lines[1:]:
        cells = line.split(",")
        cells[at["creator"]] = "Zoë"
        cells[at["starts_on"]] = "99.99.2027" if rows["BARE_ACME"] in line else ""
        filled.append(",".join(cells))
    path.write_text("\n".join(filled), encoding="utf-16")
    page.set_input_files("#sheet input[type=file]", str(path))
    said(page, "1 fault")
    assert "starts_on: '99.99.2027' is no date" in page.locator("#sheet-faults").inner_text()
    shot(page, "sheet")
    assert described(services, rows["ALSO_ACME"])["creator"] == "Zoë"
    assert described(services, rows["BARE_ACME"])["creator"] is None


def test_the_contracts_page_tells_rule_by_rule(page, served, services, airflow, batch_id, rows):  # noqa: F811
    contracts.fill(services, version_id=rows["ALSO_ACME"], values={"title": "Also"}, person="libby")
    contracts.check(services, batch_id=batch_id)
    page.goto(f"{served}/batches/{batch_id}")
    page.click("a:has-text('Metadata contract')")
    assert "1 of 4" in page.locator(".lead").inner_text()
    rule = page.locator("tr", has_text="Width: at least 1200")
    assert rule.locator(".number").all_inner_texts() == ["3", "1"]
    assert rule.locator("a").inner_text() == "SMALL_ACME_20270301_v01.jpg"
    assert page.locator("section:has(#checks) tbody tr").count() == 2
    shot(page, "contract")
    page.set_viewport_size({"width": 360, "height": 740})
    for path in (f"/batches/{batch_id}/contract", f"/librarian/{batch_id}"):
        page.goto(served + path)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), path
    shot(page, "phone")
