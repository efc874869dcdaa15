"""Two versions side by side: words, pixels, must-fixes; with real files through the real gate."""

from __future__ import annotations

import io
import threading
from datetime import date

import numpy as np
import pytest
from PIL import Image, ImageDraw
from sqlalchemy import select, update

import world
from dam.catalog.models import Description, Grant, Rendition, Tag, Version, VersionState
from dam.enrich import contracts
from dam.errors import NotFound
from dam.renditions import keeping, render
from dam.review import annotations as notes
from dam.review import compare, difference, packages
from dam_web import room


def scene(size=(900, 600)):
    """A picture with detail everywhere, so that every part of it can be found again."""
    random = np.random.default_rng(7)
    picture = Image.fromarray(random.integers(0, 255, (40, 60, 3), dtype=np.uint8)).resize(
        size, Image.Resampling.BICUBIC
    )
    draw = ImageDraw.Draw(picture)
    for _ in range(60):
        x, y = random.integers(0, size[0]), random.integers(0, size[1])
        draw.ellipse((x, y, x + 40, y + 25), fill=tuple(random.integers(0, 255, 3).tolist()))
    return picture


def jpeg(picture, quality=88):
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return out.getvalue()


def painted(picture, box=(90, 60, 270, 180)):
    changed = picture.copy()
    ImageDraw.Draw(changed).rectangle(box, fill=(255, 0, 255))
    return changed


# ----------------------------------------------------------------------------------------------- pixels


@pytest.mark.parametrize("size", [(900, 600), (450, 300), (1200, 800)])
@pytest.mark.parametrize("quality", [90, 55])
def test_another_size_or_encoder_is_no_change(size, quality):
    other = scene().resize(size, Image.Resampling.LANCZOS)
    told, drawn = difference.between(jpeg(scene()), jpeg(other, quality))
    assert told.share == 0
    assert (told.boxes, told.reshaped, told.cropped) == ([], False, "")
    assert Image.open(io.BytesIO(drawn)).size == size


def test_what_changed_is_told_with_its_place_and_shown_in_colour():
    changed = painted(painted(scene()), (720, 480, 810, 570)).resize((600, 400), Image.Resampling.LANCZOS)
    told, drawn = difference.between(jpeg(scene()), jpeg(changed))
    area = (180 * 120 + 90 * 90) / (900 * 600)
    assert told.share == pytest.approx(area, rel=0.25)
    assert told.boxes == [
        pytest.approx([10, 10, 20, 20], abs=2.5),
        pytest.approx([80, 80, 10, 15], abs=2.5),
    ]
    seen = np.asarray(Image.open(io.BytesIO(drawn)).convert("RGB")).astype(int)
    colourful = seen.max(axis=2) - seen.min(axis=2) > 60
    assert colourful[80, 120]
    assert colourful.mean() == pytest.approx(area, rel=0.25)


@pytest.mark.parametrize("shape", [(200, 100, 800, 500), (200, 100, 600, 500), (0, 0, 700, 600)])
def test_a_crop_is_told_as_a_crop(shape):
    part = scene().crop(shape).resize((500, round(500 * (shape[3] - shape[1]) / (shape[2] - shape[0]))))
    told, _ = difference.between(jpeg(scene()), jpeg(part))
    width, height = shape[2] - shape[0], shape[3] - shape[1]
    assert told.cropped == "from"
    assert told.reshaped == (width * 600 != height * 900)
    assert told.common["from"] == pytest.approx([shape[0] / 9, shape[1] / 6, width / 9, height / 6], abs=0.7)
    assert told.common["to"] == [0, 0, 100, 100]
    assert told.share < 0.02
    back, _ = difference.between(jpeg(part), jpeg(scene()))
    assert back.cropped == "to"


def test_a_change_inside_a_crop_is_found_and_placed_in_the_newer_picture():
    told, _ = difference.between(jpeg(scene()), jpeg(painted(scene(), (300, 200, 400, 300)).crop((200, 100, 800, 500))))
    assert told.boxes[0] == pytest.approx([100 / 6, 25, 100 / 6, 25], abs=3)


def test_pictures_with_nothing_in_common_are_not_compared_point_by_point():
    random = np.random.default_rng(3)
    noise = Image.fromarray(random.integers(0, 255, (500, 500, 3), dtype=np.uint8))
    told, drawn = difference.between(jpeg(scene()), jpeg(noise))
    assert (told.share, told.common, told.reshaped) == (None, None, True)
    assert Image.open(io.BytesIO(drawn)).size == (500, 500)


def test_a_lighter_picture_is_told_as_lighter():
    lighter = scene().point(lambda value: min(255, value + 30))
    told, _ = difference.between(jpeg(scene()), jpeg(lighter))
    assert told.lighter > 5
    assert told.share > 0.5


# ------------------------------------------------------------------------------------- two real versions


@pytest.fixture
def pair(services, tmp_path):
    """Two versions of HERO-A: the first is in a package with two must-fixes, the second answers it; and the package."""
    batch_id, complete = world.designers_batch(services, tmp_path)
    package_id = packages.freeze(services, batch_id=batch_id, version_ids=complete)
    first = next(version_id for version_id in complete if "HERO-A" in name_of(services, version_id))
    made = [
        notes.add(
            services,
            package_id=package_id,
            version_id=first,
            person="bea",
            body=body,
            kind="must_fix" if must_fix else "note",
        )["annotation_id"]
        for body, must_fix in (("The logo is too small.", True), ("The sky is grey.", True), ("Lovely.", False))
    ]
    notes.resolve(services, annotation_id=made[0], person="bea")
    xmp = world.METADATA | {"Xmp.dc.title": {'lang="x-default"': "A redder cup"}, "Xmp.dc.subject": ["tabby"]}
    path = world.picture(tmp_path / "next", "SPRING27-HERO-A_ACME_20270302_v02.jpg", seed=9, size=(1200, 900), xmp=xmp)
    second_batch = world.drop(services, "drops/next", [path], sent_by="dario", campaign_slug="spring-2027")
    world.ingest(services, second_batch)
    with services.session() as session:
        second = session.scalars(select(Version.id).where(Version.batch_id == second_batch)).one()
    return first, second, package_id


def name_of(services, version_id):
    with services.session() as session:
        return session.get_one(Version, version_id).filename


def test_what_differs_is_told_in_words(services, pair):
    first, second, _ = pair
    told = compare.versions(services, from_version=first, to_version=second)
    assert told["same_asset"]
    assert [told[end]["number"] for end in ("from", "to")] == [1, 2]
    rows = {row["field"]: (row["from"], row["to"]) for row in told["file"]}
    assert rows["dimensions"] == ("1300 × 900 px", "1200 × 900 px")
    assert {"filename", "size"} <= set(rows)
    assert "rights" in told["same"]
    assert not {"file", "metadata", "tags"} & set(told["same"])
    assert "media_type" not in rows
    assert [(row["label"], row["from"], row["to"]) for row in told["metadata"]] == [
        ("Title", "A red cup", "A redder cup")
    ]
    assert any("cat" in tag.lower() for tag in told["tags"]["added"])
    assert any("coffee" in tag.lower() for tag in told["tags"]["removed"])
    assert not set(told["tags"]["removed"]) & set(told["tags"]["added"])
    assert [(fix["body"], fix["status"], fix["resolved_by"]) for fix in told["must_fixes"]] == [
        ("The logo is too small.", "resolved", "bea"),
        ("The sky is grey.", "open", None),
    ]
    assert "1 of 2 must-fixes is answered." in told["said"]
    assert "The metadata differs in title." in told["said"]
    assert [other["label"].rsplit(" ", 1)[1] for other in told["others"]] == ["v1", "v2"]


def test_the_rights_are_held_against_those_that_were_frozen(services, pair):
    first, second, _ = pair
    told = compare.versions(services, from_version=first, to_version=second)
    assert told["rights"]["rows"] == []
    assert "round 1" in told["rights"]["frozen"]
    with services.session() as session:
        grant = session.scalars(
            select(Grant).join(Version, Version.asset_id == Grant.asset_id).where(Version.id == second)
        ).one()
        grant.ends_on, grant.territories, grant.model_release = date(2031, 3, 3), ["DE"], "missing"
        reference = grant.licence.reference
    [row] = compare.versions(services, from_version=first, to_version=second)["rights"]["rows"]
    assert (row["licence"], row["how"]) == (reference, "changed")
    assert row["said"] == [
        "Where: everywhere became in DE.",
        "Last day: without end became 3 March 2031.",
        "Model release: is not needed became is missing.",
    ]


def test_a_version_that_says_nothing_is_compared_all_the_same(services, pair):
    first, second, _ = pair
    with services.session() as session:
        session.execute(Description.__table__.delete().where(Description.version_id == second))
        session.execute(update(Tag).where(Tag.version_id == second).values(status="refused"))
    told = compare.versions(services, from_version=first, to_version=second)
    assert {"field": "title", "label": "Title", "from": "A red cup", "to": None} in told["metadata"]


def test_a_version_is_the_same_as_itself(services, pair):
    told = compare.versions(services, from_version=pair[0], to_version=pair[0])
    assert told["said"] == ["This is one and the same version."]
    assert not any(told[part] for part in ("file", "metadata", "origin"))
    assert compare.pixels(services, from_version=pair[0], to_version=pair[0])["share"] == 0


def test_an_unknown_version_is_told(services, pair):
    with pytest.raises(NotFound):
        compare.versions(services, from_version=pair[0], to_version="ver_none")
    with pytest.raises(NotFound):
        compare.pixels(services, from_version="ver_none", to_version=pair[0])


def test_the_difference_is_measured_once_and_goes_with_either_version(services, pair, monkeypatch):
    first, second, _ = pair
    told = compare.pixels(services, from_version=first, to_version=second)
    assert told["compared"]
    assert told["said"][0] == "Its shape changed."
    kept = compare.picture(services, from_version=first, to_version=second)
    data = services.storage.renditions.read(kept.storage_uri.partition(":")[2])
    assert Image.open(io.BytesIO(data)).size == (kept.width, kept.height)
    monkeypatch.setattr(difference, "between", None)  # it is not measured again
    assert compare.pixels(services, from_version=first, to_version=second) == told
    with services.session() as session:
        rows = session.scalars(select(Rendition).where(Rendition.recipe == "difference")).all()
    assert {(row.version_id, row.storage_uri) for row in rows} == {
        (first, kept.storage_uri),
        (second, kept.storage_uri),
    }
    monkeypatch.undo()
    services.storage.renditions.delete(kept.storage_uri.partition(":")[2])
    assert compare.pixels(services, from_version=first, to_version=second) == told


def test_two_who_ask_at_once_measure_once(services, pair, monkeypatch):
    first, second, _ = pair
    looked, calls, answers = threading.Semaphore(0), [], []
    between, find = difference.between, keeping.find

    def ask():
        answers.append(compare.pixels(services, from_version=first, to_version=second))

    other = threading.Thread(target=ask)

    def finding(*args, **kwargs):
        found = find(*args, **kwargs)
        looked.release()
        return found

    def measured(*args):
        calls.append(args)
        if len(calls) == 1:
            while looked.acquire(blocking=False):
                pass
            other.start()
            assert looked.acquire(timeout=60)  # the other one has found nothing, and waits for this one
        return between(*args)

    monkeypatch.setattr(keeping, "find", finding)
    monkeypatch.setattr(difference, "between", measured)
    ask()
    other.join()
    assert len(calls) == 1
    assert answers[0] == answers[1]
    assert answers[0]["compared"]


def test_the_difference_is_no_picture_of_the_version(services, pair):
    first, second, _ = pair
    compare.pixels(services, from_version=first, to_version=second)
    told = compare.versions(services, from_version=first, to_version=second)
    assert told["to"]["recipes"] == ["preview", "thumbnail"]
    assert [row["recipe"] for row in render.proofs(services, version_ids=[second])] == ["preview", "thumbnail"]


def test_what_has_no_preview_or_was_destroyed_is_not_compared(services, pair):
    first, second, _ = pair
    with services.session() as session:
        session.execute(Rendition.__table__.delete().where(Rendition.version_id == first))
    told = compare.pixels(services, from_version=first, to_version=second)
    assert not told["compared"]
    assert "no preview" in told["said"][0]
    with services.session() as session:
        version = session.get_one(Version, second)
        for state, tier in ((VersionState.ARCHIVED, "cold"), (VersionState.DESTROYED, "gone")):
            version.state, version.tier = state, tier
            session.flush()
    told = compare.pixels(services, from_version=second, to_version=second)
    assert told == {"compared": False, "said": ["it is destroyed; its bytes may not be used"]}


def test_metadata_edited_later_counts(services, pair):
    first, second, _ = pair
    contracts.fill(services, version_id=second, values={"alt_text": "Another text"}, person="libby")
    told = compare.versions(services, from_version=first, to_version=second)
    assert {row["field"] for row in told["metadata"]} == {"title", "alt_text"}


def test_what_was_merged_away_is_no_version_before(services, pair):
    first, second, _ = pair
    with services.session() as session:
        batch_id = session.get_one(Version, second).batch_id
        other = session.scalars(select(Version.id).where(Version.filename.contains("HERO-B"))).one()
    package_id = packages.freeze(services, batch_id=batch_id, version_ids=[second])

    def before():
        with services.session() as session:
            told = compare.previous(session, session.get_one(Version, second))
        [shown] = room.shown(services, package_id, "bea")["versions"]
        assert shown["previous"] == told
        return told

    assert before() == first
    with services.session() as session:
        merged = session.get_one(Version, first)
        merged.state, merged.tier, merged.merged_into_id = VersionState.ARCHIVED, "cold", other
    assert before() is None
