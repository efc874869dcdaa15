"""The review room in headless Chromium, as people use it: over the app alone, on real files, without Airflow."""

from __future__ import annotations

import os
import re
from pathlib import Path

import httpx
import pikepdf
import pytest
import trimesh
from fastapi import Request
from PIL import Image
from sqlalchemy import select

import films
import world
from dam.catalog.models import (
    Annotation,
    Asset,
    Batch,
    Brief,
    Decision,
    Description,
    Rendition,
    Version,
    VersionState,
)
from dam.plan import briefs, documents
from dam.review import annotations, packages, seats
from dam.settings import PROJECT

pytestmark = pytest.mark.slow
AXE = PROJECT / "web" / "node_modules" / "axe-core" / "axe.min.js"


@pytest.fixture
def address(site, serving, services, monkeypatch):
    """The app on a port of its own; whoever asks is who the header says. Airflow takes every run that is started."""
    from dam_web import auth as web_auth

    async def visitor(request: Request):
        return web_auth.Visitor(request.headers["x-person"], "")

    def airflow(request):
        return httpx.Response(200, json={"dag_run_id": "r", "hitl_details": [], "total_entries": 0})

    monkeypatch.setattr(httpx, "request", httpx.Client(transport=httpx.MockTransport(airflow)).request)
    site.app.dependency_overrides[web_auth.visitor] = visitor
    with serving(site.app, streams=True) as found:  # streams of events would go on for minutes
        yield found
    services.live.close()


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
            name = pikepdf.Name
            font = pikepdf.Dictionary(Type=name.Font, Subtype=name.Type1, BaseFont=name.Helvetica)
            page.Resources = pikepdf.Dictionary(Font=pikepdf.Dictionary(F1=font))
            page.Contents = made.make_stream(f"BT /F1 60 Tf 90 600 Td (Page {number}) Tj ET".encode())
        made.save(path)
    return path


def shot(page, name):
    """Keep a screenshot where DAM_SHOTS says."""
    if folder := os.environ.get("DAM_SHOTS"):
        page.screenshot(path=str(Path(folder) / f"room-{name}.png"))


def on_proof(page, x, y, size):
    """Return where a point of the proof, in percent, is on the screen: a proof of a size is fitted into the stage."""
    page.wait_for_selector(".stage svg.layer", state="attached")
    stage = page.locator("#stage").bounding_box()
    scale = min(stage["width"] / size[0], stage["height"] / size[1])
    width, height = size[0] * scale, size[1] * scale
    left, top = stage["x"] + (stage["width"] - width) / 2, stage["y"] + (stage["height"] - height) / 2
    return left + width * x / 100, top + height * y / 100


def drag(page, points):
    """Press at the first point, go through the others, and let go."""
    page.mouse.move(*points[0])
    page.mouse.down()
    for at in points[1:]:
        page.mouse.move(*at, steps=4)
    page.mouse.up()


def write(page, text):
    page.fill("#write textarea", text)
    page.click("#write button:has-text('Add note')")
    page.wait_for_selector(f".thread:has-text('{text}')")


def targets(services):
    """Return where every note points, by its text: the values of its selectors from the outside in."""
    found = {}
    with services.session() as session:
        for row in session.scalars(select(Annotation)):
            selector, values = (row.target or {}).get("selector"), []
            while selector:
                values.append(selector["value"])
                selector = selector.get("refinedBy")
            found[row.body] = values
    return found


def numbers(value):
    return [float(number) for number in re.findall(r"[\d.]+", value.split("100 100", 1)[-1])]


CUP, FILM, PAGE = (2600, 1800), (640, 360), (595, 842)


def test_shapes_are_drawn_by_hand_and_shown_in_step_with_the_list(enter, services, package):
    page = enter("bea", "CUP")
    at = lambda x, y: on_proof(page, x, y, CUP)  # noqa: E731

    page.keyboard.press("p")
    page.mouse.click(*at(25, 50))
    assert page.evaluate("document.activeElement.matches('#write textarea')")
    write(page, "A crumb")
    page.keyboard.press("Escape")
    page.keyboard.press("b")
    drag(page, [at(10, 10), at(40, 30)])
    write(page, "Too dark")
    page.click("button[aria-label=Arrow]")
    drag(page, [at(80, 80), at(60, 70)])
    write(page, "This way")
    page.click("button[aria-label=Freehand]")
    drag(page, [at(50, 20), at(60, 25), at(70, 20)])
    write(page, "Wavy")
    page.click("button[aria-label=Polygon]")
    for corner in ((50, 50), (60, 50), (60, 60), (50, 50)):
        page.mouse.click(*at(*corner))
    write(page, "The handle")
    shot(page, "drawn")

    said = targets(services)
    assert numbers(said["A crumb"][0]) == pytest.approx([25, 50, 0, 0], abs=0.6)
    assert said["Too dark"][0].startswith("xywh=percent:")
    assert numbers(said["Too dark"][0]) == pytest.approx([10, 10, 30, 20], abs=0.6)
    assert '<line class="arrow"' in said["This way"][0]
    assert "<polyline" in said["Wavy"][0]
    assert numbers(said["Wavy"][0])[:2] == pytest.approx([50, 20], abs=0.6)
    assert "<polygon" in said["The handle"][0]
    assert numbers(said["The handle"][0]) == pytest.approx([50, 50, 60, 50, 60, 60], abs=0.6)
    with services.session() as session:
        sources = {row.target["source"] for row in session.scalars(select(Annotation))}
        assert sources == {f"urn:sha256:{session.get_one(Version, package['versions']['CUP']).sha256}"}

    assert page.locator(".layer .mark").count() == 5
    page.locator(".layer .mark .badge-mark").nth(1).click()
    assert "Too dark" in page.locator(".thread.active").inner_text()
    page.keyboard.press("n")
    assert "This way" in page.locator(".thread.active").inner_text()
    assert page.locator(".layer .mark.active .arrow").count() == 1
    page.keyboard.press("j")
    assert page.locator(".layer .mark").count() == 0  # another version has none
    other = enter("lena", "CUP")
    other.wait_for_selector(".layer .mark")
    assert other.locator(".layer .mark").count() == 5


def test_a_shape_keeps_its_place_when_the_proof_is_moved_and_zoomed(enter):
    page = enter("bea", "CUP")
    page.keyboard.press("b")
    drag(page, [on_proof(page, 20, 20, CUP), on_proof(page, 40, 40, CUP)])
    write(page, "Here")
    before = page.locator(".mark rect").bounding_box()
    page.focus("#stage")
    page.keyboard.press("+")
    page.wait_for_function(
        "w => document.querySelector('.mark rect').getBoundingClientRect().width > 1.45 * w", arg=before["width"]
    )
    page.keyboard.press("0")
    page.wait_for_function(
        "x => Math.abs(document.querySelector('.mark rect').getBoundingClientRect().x - x) < 2", arg=before["x"]
    )


def test_all_is_drawn_by_keys_alone(enter, services):
    page = enter("bea", "CUP")
    page.wait_for_selector(".stage svg.layer", state="attached")

    def press(*keys):
        for key in keys:
            page.keyboard.press(key)

    press("b", "Enter", *["Shift+ArrowRight"] * 2, "Shift+ArrowDown", "Enter")
    page.keyboard.type("By keys")
    press("Control+Enter")
    page.wait_for_selector(".thread:has-text('By keys')")
    press("Escape", "g", "Enter", "Shift+ArrowRight", "Enter", "Shift+ArrowDown", "Enter", "Enter")
    page.keyboard.type("A corner, @le")
    assert page.locator(".people [role=option]").first.inner_text().startswith("Lena Vogt")
    press("Enter")
    assert page.input_value("#write textarea") == "A corner, @lena "
    press("Control+Enter")
    page.wait_for_selector(".thread:has-text('A corner')")
    said = targets(services)
    assert numbers(said["By keys"][0]) == [50, 50, 10, 5]
    assert numbers(said["A corner, @lena"][0]) == [50, 50, 55, 50, 55, 55]
    press("Escape", "p")
    page.wait_for_selector("#live.shown:has-text('50 % across')")  # where the crosshair is, is told
    press("ArrowLeft", "Escape")
    assert page.locator(".crosshair").count() == 0


def test_people_are_offered_however_soon_one_comes_back_to_writing(enter):
    page = enter("bea", "CUP")
    page.click("#write textarea")
    for key in ("Escape", "m"):
        page.keyboard.press(key)
    page.keyboard.type("@le")
    page.wait_for_timeout(300)
    assert page.locator(".people [role=option]").first.inner_text().startswith("Lena Vogt")


def test_a_note_begun_while_the_last_one_is_taken_stays(enter, services):
    page = enter("bea", "CUP")
    page.wait_for_selector(".stage svg.layer", state="attached")
    held = []

    def hold(route):
        if route.request.method == "POST":
            held.append((route, route.fetch()))
        else:
            route.continue_()

    page.route("**/annotations", hold)
    page.fill("#write textarea", "First")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".thread:has-text('First')")  # told by the server's event, before its answer
    page.fill("#write textarea", "")
    for key in ("Escape", "p", "Enter"):
        page.keyboard.press(key)
    page.keyboard.type("Second")
    [(route, answer)] = held
    route.fulfill(response=answer)
    page.wait_for_selector(".thread.active:has-text('First')")
    assert page.input_value("#write textarea") == "Second"
    page.unroute("**/annotations")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".thread:has-text('Second')")
    assert numbers(targets(services)["Second"][0])[:2] == [50, 50]


def test_a_film_is_stepped_by_frames_and_noted_by_time(enter, services):
    page = enter("bea", "SPOT")
    page.wait_for_function("() => document.querySelector('.film video').readyState >= 2")
    for _ in range(3):
        page.keyboard.press(".")
    page.wait_for_function("() => !document.querySelector('.film video').seeking")
    assert page.inner_text(".timecode") == "00:00:00:03"
    assert page.evaluate("Math.floor(document.querySelector('.film video').currentTime * 25)") == 3
    page.keyboard.press(",")
    assert page.inner_text(".timecode") == "00:00:00:02"
    page.keyboard.press("i")
    for _ in range(3):
        page.keyboard.press(">")
    page.keyboard.press("o")
    page.keyboard.press("b")
    drag(page, [on_proof(page, 10, 10, FILM), on_proof(page, 30, 30, FILM)])
    write(page, "The logo jumps")
    time_, box = targets(services)["The logo jumps"]
    assert time_ == "t=0.08,1.28"
    assert numbers(box) == pytest.approx([10, 10, 20, 20], abs=0.6)
    shot(page, "film")
    bar = page.locator(".timeline").bounding_box()
    page.mouse.click(bar["x"] + bar["width"] * 0.75, bar["y"] + bar["height"] * 0.8)
    page.keyboard.press("Escape")
    page.wait_for_selector(".layer .mark", state="detached")  # it is not there any more at three seconds
    page.click(".thread .number")
    page.wait_for_selector(".layer .mark")
    assert page.inner_text(".timecode") == "00:00:00:02"


def test_a_sound_is_noted_by_a_range_of_its_waveform(enter, services):
    page = enter("lena", "JINGLE")
    page.wait_for_function("() => document.querySelector('audio').readyState >= 1")
    bar = page.locator(".timeline").bounding_box()
    x, y = bar["x"], bar["y"] + bar["height"] * 0.7
    page.keyboard.down("Shift")
    drag(page, [(x + bar["width"] / 3, y), (x + bar["width"] * 2 / 3, y)])
    page.keyboard.up("Shift")
    write(page, "Too loud")
    start, end = numbers(targets(services)["Too loud"][0].removeprefix("t="))
    assert (start, end) == pytest.approx((1, 2), abs=0.05)
    shot(page, "sound")


def test_a_document_is_noted_by_page(enter, services):
    page = enter("bea", "LEAFLET")
    page.wait_for_selector(".stage svg.layer", state="attached")
    page.keyboard.press("]")
    page.wait_for_function("() => document.querySelector('.pages input').value === '2'")
    page.wait_for_timeout(300)  # the page's picture is fetched
    page.keyboard.press("p")
    page.mouse.click(*on_proof(page, 20, 30, PAGE))
    write(page, "A typo")
    outer, inner = targets(services)["A typo"]
    assert outer == "page=2"
    assert numbers(inner) == pytest.approx([20, 30, 0, 0], abs=0.6)
    page.keyboard.press("Escape")
    page.click("[aria-label='Page before']")
    page.wait_for_selector(".layer .mark", state="detached")
    page.click(".thread .number")
    page.wait_for_selector(".layer .mark")
    assert page.input_value(".pages input") == "2"
    shot(page, "document")


def test_a_model_that_can_not_be_turned_shows_its_picture(enter):
    page = enter("vic", "STOOL")  # viewers get no originals
    page.click("text=Turn in 3D")
    page.wait_for_selector("#live.shown:has-text('The picture is shown instead')")
    page.wait_for_selector(".stage .openseadragon-canvas")


def test_verdicts_are_given_in_one_key_to_many_and_signed(enter, services, package):
    page = enter("bea", "CUP")
    page.wait_for_selector(".single")
    page.keyboard.press("c")
    page.wait_for_selector(".why input:focus")
    page.keyboard.type("Brighter, please")
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("s")
    page.keyboard.press("j")
    page.keyboard.press("s")
    page.keyboard.press("a")
    page.reload()  # what is marked stays
    page.wait_for_selector(".strip .given")
    assert page.locator(".strip .given").all_inner_texts() == ["Request changes", "Approve", "Approve"]
    page.keyboard.press("d")
    page.wait_for_selector("#differs:has-text('3 have verdicts of their own')")
    marks = {"CUP": "request_changes", "JINGLE": "approve", "LEAFLET": "approve"}
    shot(page, "deciding")
    page.fill("#decision textarea", "Not this time")
    page.keyboard.press("Escape")
    page.keyboard.press("Shift+R")
    page.wait_for_selector("#live.shown:has-text('Signed')")
    page.wait_for_selector("#signed")
    with services.session() as session:
        [decision] = session.scalars(select(Decision)).all()
        assert (decision.person, decision.verdict, decision.comment) == ("bea", "reject", "Not this time")
        told = {package["versions"][name]: verdict for name, verdict in marks.items()}
        assert {key: answer["verdict"] for key, answer in decision.versions.items()} == told
        assert decision.versions[package["versions"]["CUP"]]["comment"] == "Brighter, please"


def test_what_is_missing_is_said_at_its_place(enter):
    page = enter("lena")
    page.click("text=Sign the package")
    for verdict, said in (("reject", "Say why it is rejected."), ("request_changes", "Say what should change")):
        page.click(f"#decision button[value={verdict}]")
        problem = page.wait_for_selector(f"#decision-problem:has-text('{said}')")
        assert problem.get_attribute("role") == "alert"
        described = page.locator("#decision textarea:focus")
        assert described.get_attribute("aria-describedby") == "decision-problem"
    page.click("#tab-notes")
    page.click("#write button:has-text('Add note')")
    page.wait_for_selector("#write .wrong:has-text('Say what you see.')")
    write(page, "The claim is not proved")
    page.click("#tab-decide")
    assert "The claim is not proved" in page.inner_text(".mustfixes")  # it is what request changes freezes
    page.click("#decision button[value=request_changes]")
    page.wait_for_selector("#live.shown:has-text('Signed')")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1440])
def test_axe_finds_nothing_serious(enter, width, scheme):
    page = enter("bea", "SPOT", viewport={"width": width, "height": 800}, color_scheme=scheme, has_touch=width < 500)
    write(page, "Look at this, please")
    page.keyboard.press("Escape")
    page.evaluate(AXE.read_text())
    for state, key in (("notes", "m"), ("decide", "d"), ("details", None), ("help", "?")):
        if key:
            page.keyboard.press("Escape")
            page.keyboard.press(key)
        else:
            page.click("#tab-details")
            page.wait_for_selector(".details h3:has-text('Metadata')")
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        bad = [(rule["id"], [node["html"][:200] for node in rule["nodes"]]) for rule in found
               if rule["impact"] in ("serious", "critical")]  # fmt: skip
        assert bad == [], state
        shot(page, f"{state}-{width}-{scheme}")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), f"{state} is too wide"
    page.keyboard.press("Escape")


def test_without_scripts_proofs_seats_and_notes_are_shown(enter):
    page = enter("bea", "CUP")
    write(page, "A <b>bold</b> crumb")
    assert page.inner_text(".thread .body") == "A <b>bold</b> crumb"
    plain = enter("lena", scripts=False)
    assert plain.locator(".plain").count() == 6
    assert plain.locator(".seats li").count() == 2
    assert plain.locator("li:has-text('A <b>bold</b> crumb')").count() == 1
    assert plain.locator(".plain video").count() == 1


def test_what_stands_beside_a_proof_is_rendered_as_text(services, enter, tmp_path):
    path = tmp_path / "MUG_ACME_20270301_v01.jpg"
    Image.effect_noise((600, 400), 60).convert("RGB").save(path)  # it says nothing of its rights
    batch_id = world.drop(services, "drops/own", [path], sent_by="dario")
    world.ingest(services, batch_id)
    with services.session() as session:
        version_id = session.scalars(select(Version.id).where(Version.batch_id == batch_id)).one()
        session.get_one(Description, version_id).creator = "<img src=x onerror=alert(1)>"
    package_id = packages.freeze(services, batch_id=batch_id, version_ids=[version_id])
    page = enter("bea", package_id=package_id)
    page.click("#tab-details")
    page.wait_for_selector(".context details", state="attached")
    page.wait_for_selector(".details h3:has-text('Metadata')")
    page.evaluate("for (const part of document.querySelectorAll('.context details')) part.open = true")
    told = page.inner_text(".context")
    assert "No brief asked for it." in told
    assert "No licence is recorded for MUG_ACME" in told
    assert "<img src=x onerror=alert(1)>" in told
    assert page.locator("#panel img").count() == 0


def test_a_viewer_looks_and_nothing_more(enter):
    page = enter("vic")
    page.wait_for_selector(".stage svg.layer", state="attached")
    assert page.locator("#write, .single, [aria-label=Draw]").count() == 0
    page.keyboard.press("Shift+A")
    page.wait_for_selector("#live.shown:has-text('viewers look only')")


def test_a_thread_is_answered_resolved_and_opened_again(enter):
    page = enter("bea", "CUP")
    write(page, "Who signed the release?")
    page.click(".thread button:has-text('Reply')")
    page.wait_for_selector(".reply textarea:focus")
    page.keyboard.type("@lena do you know?")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".replies .mention:has-text('Lena Vogt')")
    other = enter("lena", "CUP")
    other.click(".thread button:has-text('Reply')")
    other.wait_for_selector(".reply textarea:focus")
    other.keyboard.type("Filed in March.")
    other.keyboard.press("Control+Enter")
    other.wait_for_selector(".replies li:has-text('Filed in March.')")
    page.reload()
    page.click(".thread button:has-text('Resolve')")
    page.wait_for_selector(".reply textarea:focus")
    page.keyboard.type("It is there")
    page.keyboard.press("Control+Enter")
    page.check("text=Show 1 resolved note")  # it is out of the way, not gone
    page.wait_for_selector(".thread.resolved:has-text('It is there')")
    page.click(".thread button:has-text('Reopen')")
    page.wait_for_selector(".thread:not(.resolved)")


def test_a_private_note_is_for_one_role(enter):
    page = enter("lena", "CUP")
    page.select_option(".audience select", "legal_reviewer")
    page.click(".kinds label:has-text('Suggestion')")
    write(page, "Ask counsel")
    assert page.locator(".thread .private").inner_text() == "only legal reviewer"
    assert enter("bea", "CUP").locator(".thread").count() == 0


def test_a_signature_is_taken_back_until_the_seat_is_closed(enter, services):
    page = enter("bea", "CUP")
    page.wait_for_selector(".single")
    page.keyboard.press("d")
    page.check("text=Approve with a condition")
    page.click("#decision button[value=approve]")
    page.wait_for_selector("#decision-problem:has-text('Say what the condition is')")
    page.keyboard.type("The logo in white by Friday")
    page.keyboard.press("Escape")
    page.keyboard.press("Shift+A")
    page.wait_for_selector("#signed")
    assert "The logo in white by Friday" in page.inner_text(".seats .condition")
    page.click("#live button:has-text('Undo')")
    page.wait_for_selector("#decision")
    page.keyboard.press("Shift+A")
    page.wait_for_selector("#signed")
    page.keyboard.press("z")
    page.wait_for_selector("#decision")


def test_what_another_does_appears_and_what_is_typed_stays(enter):
    bea, lena = enter("bea", "CUP"), enter("lena", "CUP")
    bea.wait_for_selector(".here:has-text('Lena Vogt')")
    bea.fill("#write textarea", "I was about to say")
    write(lena, "The claim is too strong")
    bea.wait_for_selector(".thread:has-text('The claim is too strong')")
    assert bea.input_value("#write textarea") == "I was about to say"
    lena.keyboard.press("Escape")
    lena.keyboard.press("Shift+C")
    lena.wait_for_selector("#signed")
    bea.keyboard.press("Escape")
    bea.keyboard.press("d")
    bea.wait_for_selector(".seat:has-text('Legal reviewer') .badge:has-text('Changes requested')")
    assert "The claim is too strong" in bea.locator(".seat:has-text('Legal reviewer')").text_content()  # frozen


def test_a_void_round_shows_what_changed_and_leads_on(enter, services, package):
    with services.session() as session:
        version = session.get_one(Version, package["versions"]["CUP"])
        version.description.title = "Another cup"
    following = packages.revalidate(services, package_id=package["package_id"])
    page = enter("bea", "CUP")
    notice = page.inner_text(".notice[role=alert]")
    assert "This round is void" in notice
    assert "Another cup" in notice
    assert page.locator("#write, #decision, .single").count() == 0
    page.click("text=Go to the next round")
    page.wait_for_url(f"**/{following}")
    page.click("summary:has-text('What changed since')")
    assert "Another cup" in page.inner_text(".changes")


RENDITION = ("recipe", "key", "imaging_version", "media_type", "width", "height", "bytes", "sha256", "storage_uri")


def many(services, package, count):
    """Freeze as many versions that look like one of a package's, each of an asset of its own; return the package."""
    with services.session() as session:
        batch = Batch(source="inbox", location="drops/many", sent_by="northlight")
        session.add(batch)
        session.flush()
        batch_id = batch.id
        like = session.get_one(Version, package["versions"]["TABLE"])
        shown = session.scalars(select(Rendition).where(Rendition.version_id == like.id)).all()
        made = []
        for number in range(count):
            version = Version(
                asset=Asset(name=f"PROOF-{number:03}_ACME", kind="image"), number=1, batch_id=batch_id,
                filename=f"PROOF-{number:03}.jpg", sha256=f"{number:064x}", bytes=like.bytes, made_by=like.made_by,
                media_type=like.media_type, storage_uri=like.storage_uri, width=like.width, height=like.height,
            )  # fmt: skip
            world.bring_to(session, version, VersionState.INGESTED)
            session.add_all(
                Rendition(version_id=version.id, **{name: getattr(row, name) for name in RENDITION}) for row in shown
            )
            made.append(version.id)
    return packages.freeze(services, batch_id=batch_id, version_ids=made)


def test_many_proofs_open_at_once_and_load_as_they_come_into_sight(enter, services, package):
    package_id = many(services, package, 200)
    page = enter("bea", package_id=package_id)
    page.wait_for_selector(".stage svg.layer", state="attached")
    told = "() => performance.getEntriesByType('resource').map(one => [one.name, one.responseEnd])"
    page.wait_for_timeout(500)
    asked = dict(page.evaluate(told))
    assert page.locator(".frame").count() == 200
    assert 1 <= sum(url.endswith("/thumbnail") for url in asked) < 60
    assert 1 <= sum(url.endswith("/preview") for url in asked) <= 2  # the first, and what comes next
    last = page.locator(".frame").last
    last.scroll_into_view_if_needed()
    last.locator("button").click()
    page.wait_for_selector(".frame.shown:last-child img")
    shot(page, "many")


@pytest.fixture
def brief(services):
    """A brief that momo drafted again, since maya had asked for a number; its package's id, and the brief's."""

    def frozen(**changes):
        form = world.form(**changes)
        drafted = briefs.draft(services, form=form, drafted_by="momo")
        return documents.freeze(services, brief_id=drafted["brief_id"]), drafted["brief_id"]

    first, _ = frozen(goals="More visits")
    [version_id] = packages.versions(services, package_id=first)
    annotations.add(
        services, package_id=first, version_id=version_id, person="maya", body="Name a number", kind="must_fix"
    )
    [seat] = packages.seats(services, package_id=first)
    seats.decide(services, seat_id=seat["seat_id"], person="maya", verdict="request_changes", comment="How many?")
    packages.verdict(services, package_id=first)
    return frozen(goals="20 % more visits by May")


def test_a_brief_is_read_and_signed_in_the_same_room(enter, services, brief, tmp_path):
    package_id, brief_id = brief
    page = enter("maya", package_id=package_id)
    assert page.inner_text("h1").startswith("Spring 2027: brief 2, round 1")
    page.wait_for_selector(".stage svg.layer", state="attached")
    page.click("#tab-notes")
    page.wait_for_selector(".thread:has-text('Name a number')")  # it travelled from the draft before
    page.keyboard.press("a")  # one document, one verdict
    page.wait_for_selector("#live.shown:has-text('A brief is signed as one')")
    page.click("text=Sign it or send it back")
    told = page.inner_text("#differs")
    assert "its deliverables are asked for" in told
    assert "goes back to Momo Tanaka" in told
    labels = [label.split("⇧")[0].strip() for label in page.locator("#decision .verdicts button").all_inner_texts()]
    assert labels == ["Sign the brief", "Send back for changes", "Reject"]
    page.wait_for_timeout(500)  # the page's picture is fetched
    shot(page, "brief")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("() => axe.run()")["violations"]
    assert [row["id"] for row in found if row["impact"] in ("serious", "critical")] == []
    page.click("#decision button[value=approve]")
    page.wait_for_selector("#signed")
    with services.session() as session:
        [decision] = session.scalars(select(Decision).where(Decision.package_id == package_id))
        assert (decision.person, decision.verdict) == ("maya", "approve")
    assert packages.verdict(services, package_id=package_id)["status"] == "approved"
    with services.session() as session:
        signed = session.get_one(Brief, brief_id)
        assert (signed.status, signed.signed_by) == ("signed", "maya")


def test_a_brief_goes_nowhere_so_nobody_is_told_where_it_may_go(enter, brief):
    page = enter("vic", package_id=brief[0])
    page.click("#tab-details")
    page.wait_for_selector(".context summary")
    assert page.locator(".context summary").all_inner_texts() == ["Brief", "Where it comes from"]
    assert "20 % more visits by May" in page.inner_text(".context")
    assert "number 2" in page.inner_text(".context")


def test_two_drafts_of_a_brief_are_compared(browser, address, services, brief):
    context = browser.new_context(extra_http_headers={"x-person": "maya"}, viewport={"width": 1440, "height": 900})
    page = context.new_page()
    [version_id] = packages.versions(services, package_id=brief[0])
    page.goto(f"{address}/compare?to={version_id}")
    page.wait_for_selector("text=Name a number")
    page.wait_for_timeout(1000)
    shot(page, "brief-compared")
    context.close()


def test_my_approvals_names_a_brief_as_one(browser, address, brief):
    context = browser.new_context(extra_http_headers={"x-person": "maya"})
    page = context.new_page()
    page.goto(f"{address}/approvals")
    assert page.inner_text(".list .title") == "Spring 2027: brief 2"
    assert page.inner_text(".list .button") == "Read and sign"
    shot(page, "brief-approvals")
    page.goto(f"{address}/")
    assert page.inner_text(".campaign .move").startswith("Next maya: sign brief 2")
    counts = page.locator(".campaign .stages .count").all_inner_texts()
    assert counts == ["1", "0", "0", "0", "0", "0", "0"]  # its document is no creators' work
    page.goto(f"{address}/batches")
    assert "briefs/" not in page.content()
    context.close()
