"""The review room in headless Chromium, as people use it: over the app alone, on real files, without Airflow."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import httpx
import pikepdf
import pytest
import trimesh
from fastapi import Request
from sqlalchemy import select

import films
import world
from dam.catalog.models import Annotation, Asset, Decision, Version
from dam.review import packages
from dam.settings import PROJECT

pytestmark = pytest.mark.slow
AXE = PROJECT / "web" / "node_modules" / "axe-core" / "axe.min.js"
STOREY = "mountain"


@pytest.fixture
def address(site, monkeypatch):
    """The app on a port of its own; whoever asks is who the header says. Airflow takes every run that is started."""
    import uvicorn

    from dam_web import auth as web_auth

    async def visitor(request: Request):
        return web_auth.Visitor(request.headers["x-person"], "")

    def airflow(request):
        return httpx.Response(200, json={"dag_run_id": "r", "hitl_details": [], "total_entries": 0})

    monkeypatch.setattr(httpx, "request", httpx.Client(transport=httpx.MockTransport(airflow)).request)
    site.app.dependency_overrides[web_auth.visitor] = visitor
    server = uvicorn.Server(uvicorn.Config(site.app, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def enter(browser, address, package):
    """Opens the room as a person; the page keeps what went wrong in it as ``problems``."""
    contexts = []

    def open_room(name, asset=None, package_id=None, scripts=True, **options):
        context = browser.new_context(
            viewport=options.pop("viewport", {"width": 1440, "height": 900}),
            extra_http_headers={"x-person": name},
            java_script_enabled=scripts,
            **options,
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15000)
        page.problems = []
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on("console", lambda said: page.problems.append(said.text) if "Content Security" in said.text else None)
        at = f"#{package['versions'][asset]}" if asset else ""
        page.goto(f"{address}/packages/{package_id or package['package_id']}{at}")
        if scripts:
            page.wait_for_selector(".room")
        return page

    yield open_room
    for context in contexts:
        for page in context.pages:
            assert page.problems == []
        context.close()


@pytest.fixture
def package(services, tmp_path):
    """A supplier's package of two pictures, a film, a sound, a document and a model; version ids by asset."""
    made = [
        world.picture(tmp_path, "CUP_ACME_20270301_v01.jpg", seed=4, size=(2600, 1800)),
        world.picture(tmp_path, "TABLE_ACME_20270301_v01.jpg", seed=9),
        films.write(tmp_path / "SPOT_ACME_20270301_v01.mp4", seconds=4, size=(640, 360), metadata={}),
        films.write(tmp_path / "JINGLE_ACME_20270301_v01.mp3", video=None, audio="libmp3lame", seconds=3),
        document(tmp_path / "LEAFLET_ACME_20270301_v01.pdf"),
        tmp_path / "STOOL_ACME_20270301_v01.glb",
    ]
    trimesh.creation.icosphere(3).export(made[-1])
    batch_id = world.drop(services, "drops/room", made)
    world.ingest(services, batch_id)
    with services.session() as session:
        rows = session.execute(select(Asset.name, Version.id).join(Version, Version.asset_id == Asset.id)).all()
        versions = {name.split("_")[0]: version_id for name, version_id in rows}
    assert len(versions) == len(made)
    package_id = packages.freeze(services, batch_id=batch_id, version_ids=list(versions.values()))
    return {"package_id": package_id, "batch_id": batch_id, "versions": versions}


def document(path: Path) -> Path:
    """Write a document of three pages, each with other words."""
    with pikepdf.new() as made:
        for number in range(1, 4):
            page = made.add_blank_page(page_size=(595, 842))
            font = pikepdf.Dictionary(Type=pikepdf.Name.Font, Subtype=pikepdf.Name.Type1, BaseFont=pikepdf.Name.Helvetica)
            page.Resources = pikepdf.Dictionary(Font=pikepdf.Dictionary(F1=font))
            page.Contents = made.make_stream(f"BT /F1 60 Tf 90 600 Td (Page {number}) Tj ET".encode())
        made.save(path)
    return path


def shot(page, name):
    """Keep a screenshot where DAM_SHOTS says."""
    if folder := os.environ.get("DAM_SHOTS"):
        page.screenshot(path=str(Path(folder) / f"room-{name}.png"))


def proof_is_there(page):
    """Wait until the picture on the stage is drawn, so that the layer knows where it is."""
    page.wait_for_selector(".stage svg.layer", state="attached")


def point(page, x, y):
    """Return where a point of the proof, in percent, is on the screen; the picture fills the stage's height or width."""
    stage = page.locator("#stage").bounding_box()
    across, down = page.evaluate("document.querySelector('.film video')?.style.cssText || ''") or "", 0
    del across, down
    return stage["x"] + stage["width"] * x / 100, stage["y"] + stage["height"] * y / 100


def notes_of(services):
    with services.session() as session:
        return [
            (row.author, row.body, row.target) for row in session.scalars(select(Annotation).order_by(Annotation.id))
        ]


def write_note(page, text):
    page.fill("#write textarea", text)
    page.click("#write button:has-text('Add note')")
    page.wait_for_selector(f".thread:has-text('{text}')")


def test_shots(enter, services):
    page = enter("bea")
    proof_is_there(page)
    page.wait_for_timeout(800)
    shot(page, "first")
    for asset in ("SPOT", "JINGLE", "LEAFLET", "STOOL"):
        page = enter("bea", asset)
        page.wait_for_timeout(1000)
        shot(page, asset)
