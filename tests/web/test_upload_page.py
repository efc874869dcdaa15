"""The upload page in headless Chromium: folders, cuts, a reload; over the app alone, without Airflow."""

from __future__ import annotations

import os
import re
import threading

import pytest

from dam.ingest import drops, uploads

pytestmark = pytest.mark.slow


@pytest.fixture
def address(site, serving, monkeypatch):
    """The app on a port of its own; whoever asks is dario. Parts are small, so that a few bytes are several."""
    from dam_web import auth as web_auth

    async def dario():
        return web_auth.Visitor("dario", "")

    site.app.dependency_overrides[web_auth.visitor] = dario
    monkeypatch.setattr(uploads, "PART", 1000)
    with serving(site.app) as found:
        yield found


@pytest.fixture
def page(browser, address):
    context = browser.new_context()
    opened = context.new_page()
    opened.problems = []
    opened.on("pageerror", lambda error: opened.problems.append(str(error)))
    opened.goto(f"{address}/upload")
    yield opened
    context.close()


@pytest.fixture
def shoot(tmp_path):
    """A folder to upload, and its files' bytes by path."""
    files = {"shoot/day 1/größe.jpg": os.urandom(4500), "shoot/b.jpg": os.urandom(10), "shoot/empty.txt": b""}
    for path, data in {**files, "shoot/.DS_Store": b"x", "shoot/batch.yaml": b"x"}.items():
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return tmp_path / "shoot", files


def uploaded(services, page):
    """Wait for the upload's end; return what lies in it by path."""
    page.wait_for_selector("#live.shown:has-text('Uploaded')")
    [location] = drops.discover(services)
    assert page.problems == []
    inbox = services.storage.inbox
    names = (entry.key.removeprefix(f"{location}/") for entry in inbox.list(f"{location}/"))
    return {
        name: inbox.read(f"{location}/{name}")
        for name in names
        if name not in ("_COMPLETE", "batch.yaml", uploads.SUMS)
    }


@pytest.mark.parametrize("secure", [True, False])
def test_a_folder_is_uploaded_with_its_card(services, page, shoot, secure):
    folder, files = shoot
    if not secure:  # over plain http from another machine, browsers keep their own SHA-256 back
        page.evaluate("Object.defineProperty(crypto, 'subtle', { value: undefined })")
    page.set_input_files("input[name=folder]", str(folder))
    assert "2 files left out" in page.inner_text("#left-out")
    page.fill("input[name=supplier]", "Northlight")
    page.fill("input[name=licence]", "N-1")
    page.fill("input[name=holder]", "Northlight")
    page.fill("input[name=territories]", "DE, FR")
    page.click("button:has-text('Upload 3 files')")
    assert uploaded(services, page) == files
    [location] = drops.discover(services)
    card = services.storage.inbox.read(f"{location}/batch.yaml").decode()
    assert re.search(r"territories:\n  - DE\n  - FR\n", card)


def test_a_fault_in_the_card_is_told_and_nothing_is_lost(services, page, shoot):
    page.set_input_files("input[name=folder]", str(shoot[0]))
    page.fill("input[name=licence]", "N-1")
    page.click("[data-go]")
    page.wait_for_selector("#after:has-text('rights.holder is missing')")
    page.fill("input[name=holder]", "Northlight")
    page.click("[data-go]")
    assert uploaded(services, page) == shoot[1]


def test_a_cut_is_waited_out(services, page, shoot):
    cut = iter((True, True))

    def maybe(route):
        if "offset=2000" in route.request.url and next(cut, None):
            route.abort()
        else:
            route.continue_()

    page.route("**/files/*?offset=*", maybe)
    page.set_input_files("input[name=folder]", str(shoot[0]))
    page.click("[data-go]")
    assert uploaded(services, page) == shoot[1]


def test_after_a_reload_only_what_is_missing_is_sent(services, page, shoot):
    stop = threading.Event()

    def hold(route):
        if "offset=2000" in route.request.url:
            stop.set()
            route.abort()
        else:
            route.continue_()

    page.route("**/files/*?offset=*", hold)
    page.set_input_files("input[name=folder]", str(shoot[0]))
    page.click("[data-go]")
    page.wait_for_selector("li:has-text('Trying again')")
    assert stop.is_set()
    page.on("dialog", lambda dialog: dialog.accept())
    page.reload()
    page.unroute("**/files/*?offset=*")
    sent = []
    page.on("request", lambda request: sent.append(request.url) if request.method == "PUT" else None)
    page.click("[data-resume]")
    page.wait_for_selector("li:has-text('Choose it again')")
    page.set_input_files("input[name=folder]", str(shoot[0]))
    page.click("[data-go]")
    assert uploaded(services, page) == shoot[1]
    assert sorted(int(url.rsplit("=", 1)[1]) for url in sent) == [2000, 3000, 4000]


def test_files_that_are_dropped_are_taken_and_can_be_removed_by_keyboard(services, page):
    page.evaluate("""() => {
        const data = new DataTransfer();
        for (const name of ["a.txt", "b.txt"]) data.items.add(new File(["hello " + name], name));
        document.querySelector(".dropzone").dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true }));
    }""")
    page.wait_for_selector("button:has-text('Upload 2 files')")
    page.focus("[aria-label='Remove a.txt']")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Remove b.txt"
    page.focus("[data-go]")
    page.keyboard.press("Enter")
    assert uploaded(services, page) == {"b.txt": b"hello b.txt"}


def test_an_upload_is_discarded(services, page, address):
    upload = uploads.begin(services, person="dario", card={})
    uploads.declare(services, upload=upload, files=[{"path": "a", "bytes": 10}])
    page.reload()
    page.click("[data-discard]")
    page.wait_for_selector("#live.shown:has-text('Discarded')")
    assert list(services.storage.inbox.list()) == []
