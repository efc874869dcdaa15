"""The compare page in headless Chromium: views in step, changes, keys, a phone; over the app alone."""

from __future__ import annotations

import time

import numpy as np
import pytest
from PIL import Image, ImageDraw
from sqlalchemy import select

import films
import world
from dam.catalog.models import Version
from dam.review import annotations as notes
from dam.review import packages

pytestmark = pytest.mark.slow


@pytest.fixture
def address(site, serving):
    """The app on a port of its own; whoever asks is bea."""
    from dam_web import auth as web_auth

    async def bea():
        return web_auth.Visitor("bea", "")

    site.app.dependency_overrides[web_auth.visitor] = bea
    with serving(site.app) as found:
        yield found


@pytest.fixture
def opened(browser, address):
    """Open a page of the app: ``opened(path, **context)``; what goes wrong in it fails the test."""
    contexts, problems = [], []

    def go(path, **options):
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
        page.goto(f"{address}{path}")
        return page

    yield go
    for context in contexts:
        context.close()
    assert problems == []


def scene(path, *, changed, size=(2400, 1600)):
    """Save a picture larger than its preview; changed: with a red box from 10 to 30 % across, 20 to 40 % down."""
    random = np.random.default_rng(5)
    picture = Image.fromarray(random.integers(40, 215, (20, 30, 3), dtype=np.uint8)).resize(
        size, Image.Resampling.BICUBIC
    )
    if changed:
        box = [part * side for part, side in zip((0.1, 0.2, 0.3, 0.4), size * 2, strict=True)]
        ImageDraw.Draw(picture).rectangle(box, fill=(230, 0, 0))
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, quality=90)
    return path


def take_in(services, path, location):
    batch_id = world.drop(services, location, [path], sent_by="dario")
    world.ingest(services, batch_id)
    with services.session() as session:
        return batch_id, session.scalars(select(Version.id).where(Version.batch_id == batch_id)).one()


@pytest.fixture
def pair(services, tmp_path):
    """Two versions of one picture; the first in a package with two must-fixes, one ticked off."""
    first_batch, first = take_in(services, scene(tmp_path / "A_ACME_20270301_v01.jpg", changed=False), "drops/one")
    package_id = packages.freeze(services, batch_id=first_batch, version_ids=[first])
    made = [
        notes.add(services, package_id=package_id, version_id=first, person="bea", body=body, kind="must_fix")[
            "annotation_id"
        ]
        for body in ("Add the <b>red</b> box.", "Brighter, please.")
    ]
    notes.resolve(services, annotation_id=made[0], person="bea")
    _, second = take_in(services, scene(tmp_path / "A_ACME_20270302_v02.jpg", changed=True), "drops/two")
    return first, second


@pytest.fixture
def page(opened, pair):
    page = opened(f"/compare?to={pair[1]}", viewport={"width": 1280, "height": 900})
    page.wait_for_selector("#stage[data-ready]")
    return page


def mode(page):
    return page.get_attribute("#stage", "data-mode")


def colours(page, selector):
    """Return the pixels of an element as they are on the screen."""
    import io

    return np.asarray(Image.open(io.BytesIO(page.locator(selector).screenshot())).convert("RGB")).astype(int)


def red(pixels):
    return ((pixels[..., 0] > 200) & (pixels[..., 1] < 60) & (pixels[..., 2] < 60)).mean()


def test_what_differs_is_on_the_page(page):
    assert page.inner_text("h1").endswith("version 1 and 2")
    words = page.inner_text("#pixels")
    assert "of the picture changed, in 1 place: top left" in words
    assert page.locator("#regions button").count() == 1
    fixes = page.locator(".fixes li")
    assert fixes.count() == 2
    assert "Add the <b>red</b> box." in fixes.nth(0).inner_text()
    assert "answered" in fixes.nth(0).inner_text()
    assert "not answered" in fixes.nth(1).inner_text()
    assert "1 of 2 must-fixes is answered." in page.inner_text(".said")


def test_both_are_seen_side_by_side_and_move_in_step(page):
    page.wait_for_timeout(800)
    assert red(colours(page, '[data-side="from"] .pane')) < 0.001
    before = red(colours(page, '[data-side="to"] .pane'))
    assert before > 0.01
    page.locator('[data-side="from"] .pane').hover()
    for _ in range(3):
        page.mouse.wheel(0, -300)
    page.wait_for_timeout(1500)
    left, right = (colours(page, f'[data-side="{name}"] .pane') for name in ("from", "to"))
    assert red(right) != pytest.approx(before, rel=0.05)  # the other one was zoomed with it
    same = red_free(right)
    apart = np.abs(left - right).max(axis=2)[same]
    assert np.quantile(apart, 0.95) < 12


def red_free(pixels):
    return ~((pixels[..., 0] > 180) & (pixels[..., 1] < 90))


def test_large_pictures_are_zoomed_into_by_tiles(page, opened, pair):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.click('[data-do="in"]')
    page.click('[data-do="in"]')
    page.wait_for_timeout(1500)
    assert any(f"/tiles/{pair[1]}_files/" in url for url in asked)
    assert any(f"/tiles/{pair[0]}_files/" in url for url in asked)


def test_every_view_by_key_and_by_screen_reader(page):
    for key, name in (("2", "swipe"), ("3", "overlay"), ("4", "difference"), ("1", "sides")):
        page.keyboard.press(key)
        assert mode(page) == name
        assert page.get_by_role("radio", checked=True).get_attribute("data-mode") == name
    page.get_by_role("radio", name="Side by side").focus()
    page.keyboard.press("ArrowRight")
    assert mode(page) == "swipe"
    assert page.evaluate("document.activeElement.dataset.mode") == "swipe"
    assert page.get_by_role("slider", name="Swipe").is_visible()


def test_swiping_shows_the_newer_to_the_right_of_the_line(page):
    page.keyboard.press("2")
    page.wait_for_timeout(800)
    assert red(colours(page, ".panes")) < 0.001  # the box lies in the left half, where the older one is
    for _ in range(25):
        page.keyboard.press("ArrowLeft")
    page.wait_for_timeout(300)
    assert red(colours(page, ".panes")) > 0.01
    bar = page.locator(".handle").bounding_box()
    page.mouse.move(bar["x"] + bar["width"] / 2, bar["y"] + bar["height"] / 2)
    page.mouse.down()
    page.mouse.move(1000, bar["y"] + 50, steps=5)
    page.mouse.up()
    assert float(page.input_value('[data-for="swipe"] input')) > 70
    assert red(colours(page, ".panes")) < 0.001


@pytest.mark.parametrize("key", ["2", "3", "4"])
def test_the_names_of_both_are_read_while_one_lies_over_the_other(page, key):
    page.keyboard.press(key)
    older = page.locator('[data-side="from"] figcaption .badge').bounding_box()
    newer = page.locator('[data-side="to"] figcaption strong').bounding_box()
    assert older["x"] + older["width"] < newer["x"]


@pytest.mark.parametrize("zoomed", [False, True])
def test_overlay_blends_by_the_slider_with_both_at_the_same_place(page, zoomed):
    if zoomed:
        page.click('[data-do="in"]')
        page.wait_for_timeout(800)
    page.keyboard.press("3")
    page.wait_for_timeout(1200)
    half = red(colours(page, ".panes"))
    slider = page.get_by_role("slider", name="Newer over older")
    slider.press("End")
    page.wait_for_timeout(300)
    newer = colours(page, ".panes")
    assert half < 0.005 < red(newer)
    slider.press("Home")
    page.wait_for_timeout(300)
    older = colours(page, ".panes")
    assert red(older) < 0.001
    apart = np.abs(newer - older).max(axis=2)[red_free(newer)]
    assert np.quantile(apart, 0.95) < 12
    page.keyboard.press("b")
    assert page.get_by_role("button", name="Blink").get_attribute("aria-pressed") == "true"


def test_the_difference_is_shown_and_its_places_are_gone_through(page):
    page.keyboard.press("4")
    page.wait_for_timeout(1200)
    seen = colours(page, ".panes")
    pink = (seen[..., 0] > 150) & (seen[..., 1] < 40) & (seen[..., 2] > 60)
    assert pink.mean() > 0.01
    page.keyboard.press("n")
    page.wait_for_timeout(1200)
    assert page.locator("#regions button").get_attribute("aria-pressed") == "true"
    closer = colours(page, ".panes")
    assert ((closer[..., 0] > 150) & (closer[..., 1] < 40) & (closer[..., 2] > 60)).mean() > 2 * pink.mean()
    assert page.inner_text("#live") == "Change 1 of 1"


def test_the_other_way_round_by_key(page, pair):
    page.keyboard.press("x")
    page.wait_for_url(f"**/compare?from={pair[1]}&to={pair[0]}")


def test_on_a_phone_both_are_there_and_nothing_runs_over_the_edge(opened, pair):
    page = opened(f"/compare?to={pair[1]}", viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page.wait_for_selector("#stage[data-ready]")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    one, other = (page.locator(f'[data-side="{name}"] .pane').bounding_box() for name in ("from", "to"))
    assert one["y"] + one["height"] <= other["y"]
    page.get_by_role("radio", name="Swipe").tap()
    assert mode(page) == "swipe"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_without_scripts_both_are_there(opened, pair):
    page = opened(f"/compare?to={pair[1]}", java_script_enabled=False)
    for name in ("from", "to"):
        assert page.locator(f'[data-side="{name}"] img').evaluate("image => image.naturalWidth") > 0
    assert page.get_by_text("Show the picture of the difference").is_visible()


def test_axe_finds_nothing_serious(page):
    from dam.settings import PROJECT

    page.evaluate((PROJECT / "web/node_modules/axe-core/axe.min.js").read_text())
    for key in "1234":
        page.keyboard.press(key)
        found = page.evaluate("axe.run()")["violations"]
        serious = [
            (rule["id"], rule["nodes"][0]["html"]) for rule in found if rule["impact"] in ("serious", "critical")
        ]
        assert serious == []


def test_a_crop_lies_where_it_was_cut(services, opened, tmp_path):
    whole = scene(tmp_path / "A_ACME_20270301_v01.jpg", changed=True, size=(1500, 1000))
    part = tmp_path / "A_ACME_20270302_v02.jpg"
    Image.open(whole).crop((0, 100, 1000, 900)).save(part, quality=90)
    versions = [take_in(services, path, f"drops/{path.stem}")[1] for path in (whole, part)]
    page = opened(f"/compare?from={versions[0]}&to={versions[1]}", viewport={"width": 1280, "height": 900})
    page.wait_for_selector("#stage[data-ready]")
    words = page.inner_text("#pixels")
    assert "Its shape changed." in words
    assert "cut out of the older: it shows 53 % of it." in words
    page.keyboard.press("3")
    slider = page.get_by_role("slider", name="Newer over older")
    places = []
    for key in ("Home", "End"):
        slider.press(key)
        page.wait_for_timeout(600)
        seen = colours(page, ".panes")
        rows, columns = np.nonzero((seen[..., 0] > 200) & (seen[..., 1] < 60) & (seen[..., 2] < 60))
        places.append([rows.min(), rows.max(), columns.min(), columns.max()])
    assert places[0] == pytest.approx(places[1], abs=4)


def test_films_play_in_step(services, opened, tmp_path):
    versions = []
    for number in (1, 2):
        path = tmp_path / f"F_ACME_2027030{number}_v0{number}.mp4"
        films.write(path, seconds=4, seed=number)
        versions.append(take_in(services, path, f"drops/film-{number}")[1])
    page = opened(f"/compare?from={versions[0]}&to={versions[1]}", viewport={"width": 1280, "height": 900})
    page.wait_for_selector("#stage[data-ready]")

    def until(condition):
        """Wait for both; Playwright's own way to wait is an eval, which the site's policy forbids."""
        ends = time.monotonic() + 20
        while not page.evaluate(f"[...document.querySelectorAll('#stage video')].every(v => {condition})"):
            assert time.monotonic() < ends, condition
            page.wait_for_timeout(50)

    def times():
        return page.evaluate("[...document.querySelectorAll('#stage video')].map(v => v.currentTime)")

    until("v.readyState >= 2")
    page.keyboard.press(".")
    until("v.currentTime > 0 && !v.seeking")
    first, second = times()
    assert first == pytest.approx(second, abs=0.001)
    page.keyboard.press(" ")
    page.wait_for_timeout(1200)
    page.keyboard.press(" ")
    first, second = times()
    assert second > 0.3
    assert first == pytest.approx(second, abs=0.25)
    page.keyboard.press("4")
    assert mode(page) == "difference"
    assert page.evaluate("[...document.querySelectorAll('video')].filter(v => !v.muted).length") == 1


def test_pages_are_turned_in_step(services, opened, tmp_path):
    versions = []
    for number, colour in ((1, "navy"), (2, "green")):
        path = tmp_path / f"P_ACME_2027030{number}_v0{number}.pdf"
        first, second = Image.new("RGB", (300, 400), "white"), Image.new("RGB", (300, 400), colour)
        first.save(path, save_all=True, append_images=[second])
        versions.append(take_in(services, path, f"drops/pdf-{number}")[1])
    page = opened(f"/compare?from={versions[0]}&to={versions[1]}", viewport={"width": 1280, "height": 900})
    page.wait_for_selector("#stage[data-ready]")
    assert page.inner_text("[data-page]") == "Page 1 of 2"
    page.keyboard.press("]")
    page.wait_for_timeout(1000)
    assert page.inner_text("[data-page]") == "Page 2 of 2"
    middle = [colours(page, f'[data-side="{name}"] .pane')[250, 300].tolist() for name in ("from", "to")]
    assert middle[0] == pytest.approx([0, 0, 128], abs=12)
    assert middle[1] == pytest.approx([0, 128, 0], abs=12)
    page.keyboard.press("]")  # there is no third
    assert page.inner_text("[data-page]") == "Page 2 of 2"
    page.keyboard.press("[")
    assert page.inner_text("[data-page]") == "Page 1 of 2"


def test_the_asset_page_leads_here(services, opened, pair):
    with services.session() as session:
        asset_id = session.get_one(Version, pair[1]).asset_id
    page = opened(f"/assets/{asset_id}")
    page.get_by_role("link", name="Compare with version 1").click()
    page.wait_for_url("**/compare?from=*")
    page.wait_for_selector("#stage[data-ready]")
