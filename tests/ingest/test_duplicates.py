"""Duplicates: the same pixels merged without loss and undone exactly, look-alikes answered, names and kinds."""

from __future__ import annotations

import shutil
import threading
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyexiv2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.exc import IntegrityError

import world
from dam import audit
from dam.catalog import lifecycle
from dam.catalog.models import (
    ArchiveConfirmation,
    Asset,
    Batch,
    Campaign,
    Description,
    Grant,
    Licence,
    Merge,
    NearDuplicate,
    Package,
    Publication,
    Tag,
    UsageFact,
    Version,
    new_id,
    utcnow,
)
from dam.enrich import contracts, rights
from dam.errors import BadInput, NotFound, Refused
from dam.ingest import batches, compare, duplicates, merges
from dam.measure import kpis
from dam.retention import archive
from dam.review import packages
from dam.rights import policy
from dam.taxonomy import sync_terms

TABLES = ("versions", "assets", "descriptions", "tags", "grants", "licences", "near_duplicates", "publications",
          "usage_facts", "batch_files", "batches")  # fmt: skip


def twins(services, tmp_path, names=("A_ACME", "B_ACME"), *, seed=1, xmp=None, **card):
    """Ingest a picture, and the same with other metadata inside, each in a batch; return their version ids."""
    found = []
    first = world.picture(tmp_path / "twins", f"{names[0]}_20270301_v01.jpg", seed=seed)
    for number, name in enumerate(names):
        path = first.with_name(f"{name}_20270301_v01.jpg")
        if number:
            shutil.copy(first, path)
            with pyexiv2.Image(str(path)) as opened:
                opened.clear_xmp()
                opened.modify_xmp({"Xmp.dc.subject": ["galaxy", "cup"], **(xmp or {})})
        batch_id = world.drop(services, f"drops/{name}-{seed}", [path], supplier=f"Supplier {number}", **card)
        assert world.ingest(services, batch_id) == {"ingested": 1}
        found.append(batches.receipt(services, batch_id=batch_id)[0]["version_id"])
    return found


def rows(services):
    """Return every row of the tables that a merge may touch."""
    with services.session() as session:
        return {
            table: sorted((dict(row) for row in session.execute(text(f"SELECT * FROM {table}")).mappings()), key=repr)
            for table in TABLES
        }


def version(services, version_id):
    with services.session() as session:
        found = session.get_one(Version, version_id)
        _ = found.asset.name, found.description
        return found


def in_review(services, version_id):
    with services.session() as session:
        batch_id = session.get_one(Version, version_id).batch_id
    return packages.freeze(services, batch_id=batch_id, version_ids=[version_id])


def is_refused(services, keep, drop, words, kind=Refused, **more):
    before = rows(services)
    with pytest.raises(kind, match=words) as caught:
        merges.merge(services, keep=keep, drop=drop, person="libby", **more)
    assert rows(services) == before
    return caught.value


# -------------------------------------------------------------------------------------------- the proof


def noise(seed=1, size=(640, 480)):
    coarse = np.random.default_rng(seed).integers(0, 255, (9, 12, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def profile(name):
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()


@pytest.mark.parametrize("way", ["tiff", "webp lossless", "srgb profile", "turned", "16 pages"])
def test_the_same_pixels_are_the_same_in_any_wrapping(tmp_path, way):
    one, image = tmp_path / "one.png", noise()
    image.save(one)
    other = tmp_path / "other.tif"
    if way == "tiff":
        image.save(other, compression="tiff_lzw")
    elif way == "webp lossless":
        image.save(other := tmp_path / "other.webp", lossless=True)
    elif way == "srgb profile":
        image.save(other, icc_profile=profile("sRGB"))
    elif way == "turned":
        image.transpose(Image.Transpose.ROTATE_90).save(other, tiffinfo={274: 6})
    else:
        pages = [noise(seed) for seed in range(16)]
        for path, packing in ((one := tmp_path / "one.tif", "raw"), (other, "tiff_lzw")):
            pages[0].save(path, save_all=True, append_images=pages[1:], compression=packing)
    told = compare.compare(one, other, tmp_path)
    assert told == {"width": 640, "height": 480, "bands": 3, "format": "uchar", "pages": 16 if "16" in way else 1}


def test_one_value_of_one_pixel_makes_the_difference(tmp_path):
    noise().save(tmp_path / "one.png")
    image = noise()
    red, green, blue = image.getpixel((639, 479))
    image.putpixel((639, 479), (red, green, blue ^ 1))
    image.save(tmp_path / "other.png")
    told = compare.compare(tmp_path / "one.png", tmp_path / "other.png", tmp_path)
    assert told == {"problem": "their pixels differ, the first time between row 256 and row 479."}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda image: image.resize((320, 240)), "640 × 480 pixels, the other 320 × 240"),
        (lambda image: image.convert("RGBA"), "transparency"),
        (lambda image: image.convert("L"), "colour space"),
        (lambda image: image.convert("I;16"), "depth"),
    ],
)
def test_pictures_of_another_shape_differ_in_plain_words(tmp_path, change, words):
    noise().convert("L" if words == "depth" else "RGB").save(tmp_path / "one.png")
    image = noise().convert("L") if words == "depth" else noise()
    change(image).save(tmp_path / "other.png")
    assert words in compare.compare(tmp_path / "one.png", tmp_path / "other.png", tmp_path)["problem"]


def test_the_same_values_under_another_profile_are_other_colours(tmp_path):
    import pyvips

    noise().save(tmp_path / "one.png")
    pixel = pyvips.Image.black(1, 1, bands=3).copy(interpretation="srgb")
    wide = bytes(pixel.icc_transform("p3", input_profile="srgb").get("icc-profile-data"))
    noise().save(tmp_path / "other.png", icc_profile=wide)
    told = compare.compare(tmp_path / "one.png", tmp_path / "other.png", tmp_path)
    assert "colour profiles differ" in told["problem"]


def test_another_page_is_found(tmp_path):
    for name, last in (("one.tif", 2), ("other.tif", 3)):
        noise(1).save(tmp_path / name, save_all=True, append_images=[noise(last)])
    told = compare.compare(tmp_path / "one.tif", tmp_path / "other.tif", tmp_path)
    assert told["problem"].endswith("(page 2).")


def test_a_hash_is_only_a_hint(services, tmp_path):
    """A picture that differs in one pixel is no twin, whatever the link between the two says."""
    noise().save(tmp_path / "A_ACME_20270301_v01.png")
    image = noise()
    image.putpixel((0, 0), (1, 2, 3))
    image.save(tmp_path / "B_ACME_20270301_v01.png")
    batch_id = world.drop(services, "drops/a", sorted(tmp_path.glob("*.png")))
    world.ingest(services, batch_id)
    keep, drop = [row["version_id"] for row in batches.receipt(services, batch_id=batch_id)]
    with services.session() as session:
        session.execute(update(NearDuplicate).values(same_pixels=True))
        session.execute(update(Version).values(pixel_hash="0" * 32))
    is_refused(services, keep, drop, "pixels differ, the first time between row 0")


def test_the_decoder_of_the_proof_may_crash_or_hang_and_is_told(services, tmp_path, monkeypatch):
    keep, drop = twins(services, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(compare, "_PATIENCE", 0.0)
        patch.setattr(compare, "_BYTES_A_SECOND", 1e12)
        is_refused(services, keep, drop, "took longer")
    with services.session() as session:
        uri = session.get_one(Version, drop).storage_uri
    store, key = services.storage.resolve(uri)
    whole = store.read(key)
    (store.root / key).write_bytes(whole[: len(whole) // 2])
    is_refused(services, keep, drop, "can't be decoded in full")


# -------------------------------------------------------------------------------------------- the merge


def test_a_merge_unites_what_both_knew_and_archives_the_other(services, tmp_path):
    keep, drop = twins(services, tmp_path, xmp={"Xmp.photoshop.Credit": "Photo: Rachel", "Xmp.dc.creator": ["Ruth"]})
    told = merges.merge(services, keep=keep, drop=drop, person="libby")
    assert told["changed"]
    assert (told["kept"]["asset"], told["dropped"]["asset"]) == ("A_ACME", "B_ACME")
    assert {row["field"]: row["dropped"] for row in told["conflicts"]} == {"creator": "Ruth"}
    with services.session() as session:
        kept, dropped = session.get_one(Version, keep), session.get_one(Version, drop)
        described = session.get_one(Description, keep)
        assert (described.credit_line, described.creator, described.title) == ("Photo: Rachel", "Rachel", "A red cup")
        assert {"subject/space", "subject/coffee"} <= {tag.term_id for tag in kept.tags if tag.source == "embedded"}
        assert (dropped.state, dropped.merged_into_id, dropped.tier) == ("archived", keep, "cold")
        assert "A_ACME v1" in dropped.state_reason
        assert session.scalars(select(ArchiveConfirmation.version_id)).all() == [drop]
        assert services.storage.cold.digest(dropped.storage_uri.removeprefix("cold:")) == dropped.sha256
        assert kept.state == "ingested"
        actions = [event.action for event in audit.history(session, drop)]
        assert actions[:2] == ["version.merged", "version.archived"]
        assert "version.merged" in [event.action for event in audit.history(session, keep)]
    assert audit.verify(services).ok


def test_the_same_pair_again_changes_nothing_and_the_reverse_is_refused(services, tmp_path):
    keep, drop = twins(services, tmp_path)
    first = merges.merge(services, keep=keep, drop=drop, person="libby")
    before = rows(services)
    again = merges.merge(services, keep=keep, drop=drop, person="ada")
    assert again == first | {"changed": False}
    assert rows(services) == before
    is_refused(services, drop, keep, "B_ACME v1 was merged into A_ACME v1")


@pytest.mark.parametrize("reverse", [False, True])
def test_of_two_people_at_once_one_wins(services, tmp_path, monkeypatch, reverse):
    keep, drop = twins(services, tmp_path)
    together, prove = threading.Barrier(2, timeout=30), compare.prove
    results = []

    def proved(*args, **kwargs):
        told = prove(*args, **kwargs)
        together.wait()
        return told

    monkeypatch.setattr(compare, "prove", proved)

    def work(person, one, other):
        try:
            results.append(merges.merge(services, keep=one, drop=other, person=person))
        except Refused as error:
            results.append(error)

    pairs = [("libby", keep, drop), ("ada", *((drop, keep) if reverse else (keep, drop)))]
    threads = [threading.Thread(target=work, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(results) == 2
    done = [result for result in results if isinstance(result, dict)]
    assert [result["changed"] for result in done].count(True) == 1
    assert len(done) == (1 if reverse else 2)
    with services.session() as session:
        assert len(session.scalars(select(Merge.id)).all()) == 1


@pytest.mark.parametrize("step", ["_unite", "_told"])
def test_killed_in_between_nothing_is_changed_and_the_next_ends_it(services, tmp_path, monkeypatch, step):
    keep, drop = twins(services, tmp_path)
    before = rows(services)

    def killed(*_args, **_kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(merges, step, killed)
        with pytest.raises(KeyboardInterrupt):
            merges.merge(services, keep=keep, drop=drop, person="libby")
    assert rows(services) == before
    assert merges.merge(services, keep=keep, drop=drop, person="libby")["changed"]
    store, key = services.storage.resolve(version(services, drop).storage_uri)
    assert store.holds(key, version(services, drop).sha256)


def test_only_the_librarian_and_the_dam_admin_may(services, tmp_path):
    keep, drop = twins(services, tmp_path)
    for person in ("bea", "dario", "vic", "nobody"):
        with pytest.raises(Refused, match="may not merge"):
            merges.merge(services, keep=keep, drop=drop, person=person)
        with pytest.raises(Refused, match="may not answer"):
            duplicates.answer(services, version_ids=(keep, drop), said="both", person=person)
    told = merges.merge(services, keep=keep, drop=drop, person="ada")
    with pytest.raises(Refused, match="may not merge"):
        merges.undo(services, merge_id=told["merge_id"], person="bea")


def test_what_can_not_be_merged_is_refused_with_its_reason(services, tmp_path):
    keep, drop = twins(services, tmp_path)
    is_refused(services, keep, "ver_x", "no such version", NotFound)
    is_refused(services, keep, keep, "versions of one asset")
    hold = lifecycle.place_hold(services, reason="a law suit", person="ada", asset_id=version(services, drop).asset_id)
    for one, other in ((keep, drop), (drop, keep)):
        is_refused(services, one, other, "legal hold", lifecycle.HeldVersion)
    lifecycle.release_hold(services, hold_id=hold, person="ada")
    in_review(services, keep)
    for one, other in ((keep, drop), (drop, keep)):
        is_refused(services, one, other, "A_ACME v1 is in review")


@pytest.mark.parametrize("state", ["live", "destroyed", "archived", "scheduled"])
def test_what_is_out_or_gone_is_not_merged(services, tmp_path, state):
    keep, drop = twins(services, tmp_path)
    package_id = in_review(services, drop)
    world.sign_all(services, package_id)
    with services.session() as session:
        found = session.get_one(Version, drop)
        steps = {"live": ["live"], "archived": ["archived"], "destroyed": ["archived", "destroyed"], "scheduled": []}
        for step in steps[state]:
            lifecycle.change_state(session, found, lifecycle.S(step), actor="ada", why="so")
        if state == "scheduled":
            session.add(Publication(version_id=drop, channel="web", idempotency_key="k", starts_at=utcnow()))
    if state == "archived":
        is_refused(services, drop, keep, "Restore it first")
        assert merges.merge(services, keep=keep, drop=drop, person="libby")["changed"]
        return
    is_refused(services, keep, drop, state)
    if state != "scheduled":
        is_refused(services, drop, keep, state)


@pytest.mark.parametrize("suffix", ["psd", "raw", "nef", "dng"])
def test_what_holds_more_than_pixels_is_not_dropped(services, tmp_path, suffix):
    keep, drop = twins(services, tmp_path)
    with services.session() as session:
        kind = {
            "psd": "image/vnd.adobe.photoshop", "raw": "image/x-raw", "nef": "image/x-nikon-nef",
            "dng": "image/x-adobe-dng",
        }[suffix]  # fmt: skip
        session.execute(update(Version).where(Version.id == drop).values(media_type=kind))
    is_refused(services, keep, drop, "more than its pixels")
    assert merges.merge(services, keep=drop, drop=keep, person="libby")["changed"]


def test_a_film_is_not_merged(services, tmp_path):
    keep, drop = twins(services, tmp_path)
    with services.session() as session:
        session.execute(update(Asset).where(Asset.name == "B_ACME").values(kind="video"))
    is_refused(services, keep, drop, "B_ACME v1 is no picture")


def test_what_answers_a_deliverable_is_kept(services, tmp_path):
    _, complete = world.designers_batch(services, tmp_path)
    answers = next(one for one in complete if version(services, one).asset.name == "SPRING27-HERO-A_ACME")
    path = tmp_path / "COPY_ACME_20270301_v01.jpg"
    shutil.copy(tmp_path / "made" / "SPRING27-HERO-A_ACME_20270301_v01.jpg", path)
    with pyexiv2.Image(str(path)) as opened:
        opened.clear_xmp()
    second = world.drop(services, "drops/copy", [path])
    world.ingest(services, second)
    copy = batches.receipt(services, batch_id=second)[0]["version_id"]
    is_refused(services, copy, answers, "answers “Picture HERO-A” of a brief")
    assert merges.merge(services, keep=answers, drop=copy, person="libby")["changed"]


# ---------------------------------------------------------------------------------------------- approvals


def test_a_merge_that_would_void_an_approval_says_so_first(services, tmp_path):
    keep, drop = twins(services, tmp_path, xmp={"Xmp.photoshop.Credit": "Photo: Rachel"})
    package_id = in_review(services, keep)
    world.sign_all(services, package_id)
    error = is_refused(services, keep, drop, "void the approval of 1 package", merges.VoidsApproval)
    assert error.voids == [package_id]
    told = merges.merge(services, keep=keep, drop=drop, person="libby", void_approvals=True)
    assert told["voids"] == [package_id]
    following = packages.revalidate(services, package_id=package_id)
    with services.session() as session:
        assert session.get_one(Package, following).status == "in_review"
        assert session.get_one(Version, keep).state == "in_review"
    with pytest.raises(Refused, match="is in review"):
        merges.undo(services, merge_id=told["merge_id"], person="libby")


def test_dropping_what_is_approved_says_so_first(services, tmp_path):
    keep, drop = twins(services, tmp_path)
    package_id = in_review(services, drop)
    world.sign_all(services, package_id)
    assert is_refused(services, keep, drop, "would void", merges.VoidsApproval).voids == [package_id]
    merge_id = merges.merge(services, keep=keep, drop=drop, person="libby", void_approvals=True)["merge_id"]
    merges.undo(services, merge_id=merge_id, person="libby")
    assert version(services, drop).state == "approved"
    assert packages.revalidate(services, package_id=package_id) is None, "the approval holds again"


def test_a_merge_that_changes_nothing_of_what_was_approved_needs_no_word(services, tmp_path):
    keep, drop = twins(services, tmp_path)
    with services.session() as session:
        session.execute(delete(Tag).where(Tag.version_id == drop))
        session.execute(delete(Description).where(Description.version_id == drop))
    package_id = in_review(services, keep)
    world.sign_all(services, package_id)
    assert merges.merge(services, keep=keep, drop=drop, person="libby")["voids"] == []
    assert packages.revalidate(services, package_id=package_id) is None


def test_rights_of_a_sibling_that_is_in_review_are_not_changed_behind_its_back(services, tmp_path):
    keep, drop = twins(services, tmp_path)
    path = world.picture(tmp_path, "A_ACME_20270302_v02.jpg", seed=7)
    world.ingest(services, batch := world.drop(services, "drops/second", [path]))
    [row] = batches.receipt(services, batch_id=batch)
    package_id = in_review(services, row["version_id"])
    with services.session() as session:
        terms = {"licence": "STOCK-1", "holder": "Stock", "territories": ["DE"]}
        rights.grant_asset(session, asset_id=session.get_one(Version, drop).asset_id, terms=terms, source="batch")
    is_refused(services, keep, drop, "rights of A_ACME v2, which is in review")
    world.sign_all(services, package_id)
    assert is_refused(services, keep, drop, "would void", merges.VoidsApproval).voids == [package_id]


def test_under_one_licence_duties_add_up_and_the_smaller_count_holds(services, tmp_path):
    keep, drop = twins(services, tmp_path)
    stock = {"licence": "STOCK-1", "holder": "Stock"}
    with services.session() as session:
        for version_id, terms in (
            (keep, {"permissions": ["distribute", "modify"], "duties": ["inform"], "max_count": 5}),
            (drop, {"permissions": ["distribute"], "duties": ["compensate"], "max_count": 2}),
        ):
            asset_id = session.get_one(Version, version_id).asset_id
            rights.grant_asset(session, asset_id=asset_id, terms=stock | terms, source="batch")
    merges.merge(services, keep=keep, drop=drop, person="libby")
    with services.session() as session:
        asset_id = session.get_one(Version, keep).asset_id
        [grant] = [
            grant
            for grant in session.scalars(select(Grant).where(Grant.asset_id == asset_id))
            if grant.licence.reference == "STOCK-1"
        ]
        assert (grant.permissions, grant.duties, grant.max_count) == (["distribute"], ["inform", "compensate"], 2)


# --------------------------------------------------------------------------------------------- properties

WORDS = st.sampled_from([None, "", "one", "two"])
PLACES = st.sampled_from([["*"], ["DE"], ["DE", "FR"], ["FR", "US"]])
DAYS = st.sampled_from([date(1970, 1, 1), date(2026, 5, 1), date(2027, 2, 1)])
ENDS = st.sampled_from([None, date(2027, 2, 1), date(2027, 6, 1)])
RELEASES = st.sampled_from(["not_needed", "signed", "missing"])
DESCRIBED = st.none() | st.fixed_dictionaries(
    {
        "title": WORDS, "creator": WORDS, "language": WORDS,
        "date_created": st.sampled_from([None, datetime(2026, 1, 2, 3, 4, tzinfo=UTC)]),
        "custom": st.dictionaries(st.sampled_from(["city", "event"]), st.sampled_from(["", "one", ["two"], None])),
    }
)  # fmt: skip
TAGS = st.dictionaries(
    st.tuples(
        st.sampled_from(["subject/coffee", "subject/space", "colour/red"]),
        st.sampled_from(["embedded", "person:libby"]),
    ),
    st.tuples(st.sampled_from(["applied", "suggested", "refused"]), st.sampled_from([0.5, 0.9])),
)  # fmt: skip
GRANTS = st.dictionaries(
    st.sampled_from(["L-1", "L-2", "L-3"]),
    st.fixed_dictionaries(
        {"territories": PLACES, "channels": st.sampled_from([["*"], ["web"], ["web", "cms"]]), "starts_on": DAYS,
         "ends_on": ENDS, "model_release": RELEASES, "property_release": RELEASES,
         "permissions": st.sampled_from([["*"], ["distribute"], ["distribute", "modify"], ["derive"]]),
         "duties": st.lists(st.sampled_from(["inform", "compensate"]), unique=True),
         "max_count": st.sampled_from([None, 1, 5]),
         "closed_at": st.sampled_from([None, datetime(2027, 7, 1, tzinfo=UTC)])}
    ).filter(lambda grant: grant["ends_on"] is None or grant["ends_on"] >= grant["starts_on"]),
)  # fmt: skip
SIDE = st.fixed_dictionaries({"described": DESCRIBED, "tags": TAGS, "grants": GRANTS})


def dress(services, version_id, side):
    """Make a version's metadata, tags and grants just these."""
    with services.session() as session:
        asset_id = session.get_one(Version, version_id).asset_id
        session.execute(delete(Description).where(Description.version_id == version_id))
        session.execute(delete(Tag).where(Tag.version_id == version_id))
        session.execute(delete(Grant).where(Grant.asset_id == asset_id))
        if side["described"] is not None:
            session.add(
                Description(version_id=version_id, updated_by="airflow", updated_at=datetime(2026, 9, 9, tzinfo=UTC),
                            **side["described"])
            )  # fmt: skip
        for (term_id, source), (status, confidence) in side["tags"].items():
            session.add(
                Tag(version_id=version_id, term_id=term_id, source=source, status=status, confidence=confidence,
                    model_version="1")
            )  # fmt: skip
        for reference, terms in side["grants"].items():
            licence = session.scalars(select(Licence).where(Licence.reference == reference)).one()
            session.execute(insert(Grant).values(id=new_id("grt"), asset_id=asset_id, licence_id=licence.id,
                                                 source="batch", **terms))  # fmt: skip


def allowed(services, version_id):
    """Return which uses the rights policy allows."""
    with services.session() as session:
        return {
            (channel, place, day, action)
            for action in ("distribute", "modify")
            for channel in ("web", "cms", "print")
            for place in ("DE", "FR", "US")
            for day in (date(2026, 4, 30), date(2026, 6, 1), date(2027, 2, 1), date(2027, 6, 2))
            if policy.ask(
                session, version_id=version_id, channel=channel, territories=[place], on=day, actions=[action]
            ).allowed
        }


def contradict(mine, theirs):
    """Return whether two grants under one licence allow nothing together."""
    for one, other in ((mine[licence], theirs[licence]) for licence in mine.keys() & theirs.keys()):
        for name in ("territories", "channels", "permissions"):
            if "*" not in one[name] + other[name] and not set(one[name]) & set(other[name]):
                return True
        ends = [grant["ends_on"] or date.max for grant in (one, other)]
        if min(ends) < max(one["starts_on"], other["starts_on"]):
            return True
    return False


@pytest.fixture
def pair(services, tmp_path):
    keep, drop = twins(services, tmp_path)
    sync_terms(services)
    with services.session() as session:
        session.add_all(Licence(reference=f"L-{n}", holder="H", kind="owned") for n in (1, 2, 3))
    return keep, drop


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(mine=SIDE, theirs=SIDE)
def test_a_merge_loses_nothing_widens_nothing_and_is_undone_exactly(services, pair, mine, theirs):
    keep, drop = pair
    dress(services, keep, mine)
    dress(services, drop, theirs)
    before, could, other_could = rows(services), allowed(services, keep), allowed(services, drop)
    if contradict(mine["grants"], theirs["grants"]):
        is_refused(services, keep, drop, "in common")
        return
    told = merges.merge(services, keep=keep, drop=drop, person="libby")
    with services.session() as session:
        kept = session.get_one(Version, keep)
        tags = {(tag.term_id, tag.source): tag.status for tag in kept.tags}
        licences = {grant.licence.reference for grant in kept.asset.grants}
        described = {name: getattr(kept.description, name, None) for name in ("title", "creator", "date_created")}
        custom = kept.description.custom if kept.description else {}
    refused = {term for (term, _), (status, _) in [*mine["tags"].items(), *theirs["tags"].items()]
               if status == "refused"}  # fmt: skip
    assert set(tags) == {*mine["tags"], *theirs["tags"]}
    for key, status in tags.items():
        said = {side["tags"][key][0] for side in (mine, theirs) if key in side["tags"]}
        assert status == ("refused" if key[0] in refused else "applied" if "applied" in said else "suggested")
    assert licences == {*mine["grants"], *theirs["grants"]}
    now = allowed(services, keep)
    assert now <= could or not mine["grants"]
    assert now <= other_could or not theirs["grants"]
    for name, value in described.items():
        values = [(side["described"] or {}).get(name) for side in (mine, theirs)]
        assert (value or None) == (values[0] or values[1] or None)
    for side in (theirs, mine):
        for key, value in ((side["described"] or {}).get("custom") or {}).items():
            assert not value or custom[key]
    told = merges.undo(services, merge_id=told["merge_id"], person="libby")
    assert told["left"] == []
    assert rows(services) == before


# -------------------------------------------------------------------------------------------------- undo


def test_undo_brings_the_bytes_back_and_is_done_once(services, tmp_path):
    keep, drop = twins(services, tmp_path)
    before = rows(services)
    merge_id = merges.merge(services, keep=keep, drop=drop, person="libby")["merge_id"]
    first = merges.undo(services, merge_id=merge_id, person="ada")
    assert first["changed"]
    assert rows(services) == before
    found = version(services, drop)
    assert services.storage.vault.digest(found.storage_uri.removeprefix("vault:")) == found.sha256
    assert list(services.storage.cold.list()) == []
    assert merges.undo(services, merge_id=merge_id, person="libby") == first | {"changed": False}
    with services.session() as session:
        assert session.get_one(Merge, merge_id).undone_by == "ada"
        assert [event.action for event in audit.history(session, drop)][:2] == ["version.unmerged", "version.ingested"]
    again = merges.merge(services, keep=keep, drop=drop, person="libby")
    assert again["changed"]
    assert again["merge_id"] != merge_id
    assert audit.verify(services).ok


def test_undo_leaves_what_somebody_changed_since_and_lists_it(services, tmp_path):
    keep, drop = twins(services, tmp_path, xmp={"Xmp.photoshop.Credit": "Photo: Rachel"})
    with services.session() as session:
        session.execute(update(Description).where(Description.version_id == keep).values(alt_text=None))
        session.execute(update(Description).where(Description.version_id == drop).values(alt_text="A cup"))
        terms = {"licence": "STOCK-1", "holder": "Stock", "territories": ["DE"]}
        rights.grant_asset(session, asset_id=session.get_one(Version, drop).asset_id, terms=terms, source="batch")
    merge_id = merges.merge(services, keep=keep, drop=drop, person="libby")["merge_id"]
    values = {"credit_line": "Photo: R. Miller", "licence": "STOCK-1", "holder": "Stock", "territories": ["FR"]}
    contracts.fill(services, version_id=keep, values=values, person="libby")
    told = merges.undo(services, merge_id=merge_id, person="libby")
    assert told["left"] == ["credit_line was changed since", "the grant under STOCK-1 was changed since"]
    with services.session() as session:
        described = session.get_one(Description, keep)
        assert (described.credit_line, described.alt_text) == ("Photo: R. Miller", None)
        grants = {grant.licence.reference: grant for grant in session.get_one(Version, keep).asset.grants}
        assert grants["STOCK-1"].territories == ["FR"]
        assert session.get_one(Version, drop).state == "ingested"
    assert duplicates.merged(services)[0]["left"] == told["left"]


def test_a_grant_that_was_alerted_about_can_be_taken_back(services, tmp_path):
    from dam.catalog.models import RightsAlert

    keep, drop = twins(services, tmp_path)
    day = world.TODAY + timedelta(7)
    with services.session() as session:
        terms = {"licence": "STOCK-1", "holder": "Stock", "ends_on": day.isoformat()}
        rights.grant_asset(session, asset_id=session.get_one(Version, drop).asset_id, terms=terms, source="batch")
    before = rows(services)
    merge_id = merges.merge(services, keep=keep, drop=drop, person="libby")["merge_id"]
    with services.session() as session:
        added = session.get_one(Merge, merge_id).changes["grants"]["added"]
        session.add(RightsAlert(grant_id=added[0]["id"], ends_on=day, days=7, recipients=["maya"]))
    assert merges.undo(services, merge_id=merge_id, person="libby")["left"] == []
    assert rows(services) == before


def test_merges_are_undone_in_reverse_order(services, tmp_path):
    one, two = twins(services, tmp_path)
    path = tmp_path / "twins" / "C_ACME_20270301_v01.jpg"
    shutil.copy(tmp_path / "twins" / "A_ACME_20270301_v01.jpg", path)
    with pyexiv2.Image(str(path)) as opened:
        opened.clear_xmp()
        opened.modify_xmp({"Xmp.dc.subject": ["book"]})
    batch_id = world.drop(services, "drops/c", [path])
    world.ingest(services, batch_id)
    three = batches.receipt(services, batch_id=batch_id)[0]["version_id"]
    start = rows(services)
    first = merges.merge(services, keep=two, drop=three, person="libby")["merge_id"]
    middle = rows(services)
    second = merges.merge(services, keep=one, drop=two, person="libby")["merge_id"]
    assert version(services, three).merged_into_id == one, "what was merged into the dropped one goes on"
    with pytest.raises(Refused, match=f"B_ACME v1 was merged into A_ACME v1 since.*{second}"):
        merges.undo(services, merge_id=first, person="libby")
    merges.undo(services, merge_id=second, person="libby")
    assert rows(services) == middle
    merges.undo(services, merge_id=first, person="libby")
    assert rows(services) == start


def test_undo_is_refused_on_hold_and_when_the_bytes_are_destroyed(services, tmp_path):
    keep, drop = twins(services, tmp_path)
    merge_id = merges.merge(services, keep=keep, drop=drop, person="libby")["merge_id"]
    hold = lifecycle.place_hold(services, reason="a law suit", person="ada", asset_id=version(services, keep).asset_id)
    with pytest.raises(lifecycle.HeldVersion):
        merges.undo(services, merge_id=merge_id, person="libby")
    lifecycle.release_hold(services, hold_id=hold, person="ada")
    with services.session() as session:
        found = session.get_one(Version, drop)
        lifecycle.change_state(session, found, lifecycle.S.DESTROYED, actor="ada", why="due")
    with pytest.raises(Refused, match="destroyed since"):
        merges.undo(services, merge_id=merge_id, person="libby")
    with pytest.raises(NotFound):
        merges.undo(services, merge_id="mrg_x", person="libby")


def test_the_way_back_stands_open_to_an_undo_alone(services, tmp_path):
    keep, drop = twins(services, tmp_path)
    merge_id = merges.merge(services, keep=keep, drop=drop, person="libby")["merge_id"]
    with pytest.raises(Refused, match="merged into version"):
        archive.restore(services, version_id=drop, person="libby", reason="wanted")
    with pytest.raises(Refused, match="merged into another"):
        contracts.fill(services, version_id=drop, values={"title": "x"}, person="libby")
    for values in ({"state": "approved"}, {"state": "ingested"}):
        with pytest.raises(IntegrityError), services.session() as session:
            session.execute(update(Version).where(Version.id == drop).values(**values))
    for statement in (
        update(Merge).values(changes={}), update(Merge).values(merged_by="x"), delete(Merge),
    ):  # fmt: skip
        with pytest.raises(IntegrityError), services.session() as session:
            session.execute(statement)
    merges.undo(services, merge_id=merge_id, person="libby")
    with pytest.raises(IntegrityError), services.session() as session:
        session.execute(update(Merge).values(undone_by="x"))
    with services.session() as session:
        other = session.get_one(Version, keep)
        lifecycle.change_state(session, other, lifecycle.S.ARCHIVED, actor="ada", why="over")
        with pytest.raises(lifecycle.IllegalTransition):
            lifecycle.take_back(session, other, session.get_one(Merge, merge_id), actor="ada", why="no")
    with pytest.raises(IntegrityError), services.session() as session:
        session.execute(update(Version).where(Version.id == keep).values(state="ingested"))


# ------------------------------------------------------------------------------ assets, campaigns, usage


def test_an_asset_leads_on_only_while_none_of_its_versions_stands_by_itself(services, tmp_path):
    keep, drop = twins(services, tmp_path)
    one, other = version(services, keep).asset_id, version(services, drop).asset_id
    merge_id = merges.merge(services, keep=keep, drop=drop, person="libby")["merge_id"]
    with services.session() as session:
        assert duplicates.leads_to(session, other) == one
        assert duplicates.leads_to(session, one) is None
    path = world.picture(tmp_path, "B_ACME_20270302_v02.jpg", seed=9)
    world.ingest(services, world.drop(services, "drops/later", [path]))
    with services.session() as session:
        assert duplicates.leads_to(session, other) is None, "its second version needs its page"
        assert [row.number for row in session.get_one(Asset, other).versions] == [1, 2]
    merges.undo(services, merge_id=merge_id, person="libby")
    assert version(services, drop).merged_into_id is None


def test_assets_of_two_campaigns_stay_in_theirs_and_rights_are_united(services, tmp_path):
    for slug in ("spring-2027", "autumn-2027"):
        world.signed_brief(services, name=slug, slug=slug, project=slug.upper().replace("-", ""))
    [keep] = twins(services, tmp_path, ("SPRING_ACME",), campaign_slug="spring-2027")
    path = tmp_path / "AUTUMN_ACME_20270301_v01.jpg"
    shutil.copy(tmp_path / "twins" / "SPRING_ACME_20270301_v01.jpg", path)
    with pyexiv2.Image(str(path)) as opened:
        opened.clear_xmp()
    card = {"licence": "ACME-9", "holder": "ACME", "territories": ["FR"], "channels": ["*"]}
    batch_id = world.drop(services, "drops/autumn", [path], campaign_slug="autumn-2027", rights=card)
    world.ingest(services, batch_id)
    drop = batches.receipt(services, batch_id=batch_id)[0]["version_id"]
    merges.merge(services, keep=keep, drop=drop, person="libby")
    with services.session() as session:
        slugs = [session.get_one(Campaign, version(services, one).asset.campaign_id).slug for one in (keep, drop)]
        assert slugs == ["spring-2027", "autumn-2027"]
        found = session.get_one(Version, keep).asset.grants
        assert {grant.licence.reference for grant in found} == {"CC0-1.0", "ACME-9"}
        answer = policy.ask(session, version_id=keep, channel="web", territories=["DE"], on=world.TODAY)
    assert not answer.allowed
    assert "ACME-9" in answer.explanation


def test_usage_of_the_dropped_one_counts_for_the_kept_one(services, tmp_path):
    keep, drop = twins(services, tmp_path)
    moment = datetime(2027, 3, 5, tzinfo=UTC)
    with services.session() as session:
        session.execute(update(Batch).values(received_at=moment - timedelta(hours=4)))
        for n, (version_id, channel) in enumerate(((keep, "web"), (drop, "cms"))):
            out = Publication(
                id=f"pub_{n}", version_id=version_id, channel=channel, idempotency_key=str(n), status="withdrawn",
                starts_at=moment, live_url="https://x/y", probed_at=moment + timedelta(hours=n), takedown={},
                withdrawn_at=moment,
            )  # fmt: skip
            session.add(out)
            session.flush()
            session.add(UsageFact(day=moment.date(), publication_id=out.id, path=f"/{n}", hits=10 + n, bytes=1))
    period = {"start": datetime(2027, 3, 1, tzinfo=UTC), "end": datetime(2027, 4, 1, tzinfo=UTC)}

    def numbers():
        body = kpis.make_report(services, **period)
        found = {row["name"]: row for row in body["kpis"]}
        with services.session() as session:
            used = kpis._usage(session, *period.values())["most_used"]["rows"]
        return found["reuse_ratio"], found["publish_hours"], sorted((row["asset"], row["hits"]) for row in used)

    before = numbers()
    assert (before[0]["value"], before[1]["inputs"]["rows"]) == (0, 2)
    assert before[2] == [("A_ACME", 10), ("B_ACME", 11)]
    merge_id = merges.merge(services, keep=keep, drop=drop, person="libby")["merge_id"]
    reuse, hours, used = numbers()
    assert (reuse["value"], reuse["inputs"]["rows"]) == (1, 1)
    assert (hours["value"], hours["inputs"]["rows"]) == (4, 1)
    assert used == [("A_ACME", 10), ("A_ACME", 11)]
    with services.session() as session:
        assert duplicates.requests(session, [keep]) == 21
    merges.undo(services, merge_id=merge_id, person="libby")
    after = numbers()
    assert (after[0]["value"], after[1]["inputs"]["rows"], after[2]) == (0, 2, before[2])


def test_the_cost_of_a_campaign_is_shared_by_its_assets_after_the_merge(services, tmp_path):
    world.signed_brief(services)
    keep, drop = twins(services, tmp_path, campaign_slug="spring-2027")
    for one in (keep, drop):
        world.sign_all(services, in_review(services, one))
    now = utcnow()
    with services.session() as session:
        session.execute(update(Campaign).values(starts_on=now.date() - timedelta(2)))
        session.add(
            Publication(version_id=drop, channel="web", idempotency_key="1", status="withdrawn", starts_at=now,
                        live_url="https://x/y", probed_at=now, takedown={}, withdrawn_at=now)
        )  # fmt: skip

    def assets():
        body = kpis.make_report(services, start=now - timedelta(1), end=now + timedelta(1))
        return next(row["inputs"]["rows"] for row in body["kpis"] if row["name"] == "cost_per_asset")

    assert assets() == 2
    merges.merge(services, keep=keep, drop=drop, person="libby", void_approvals=True)
    assert assets() == 1


# -------------------------------------------------------------------------------------------------- pairs


def test_pairs_show_what_differs_the_same_pixels_first(services, tmp_path):
    first, second = twins(services, tmp_path)
    smaller = tmp_path / "C_ACME_20270301_v01.jpg"
    Image.open(tmp_path / "twins" / "A_ACME_20270301_v01.jpg").resize((650, 450)).save(smaller, quality=60)
    world.ingest(services, world.drop(services, "drops/c", [smaller]))
    told = duplicates.pairs(services)
    assert told["total"] == 3
    top = told["pairs"][0]
    assert (top["same_pixels"], top["distance"], top["alike"]) == (True, 0, 1.0)
    assert [pair["how"].partition(":")[0] for pair in told["pairs"]] == ["the same pixels", *["same picture"] * 2]
    assert [side["version_id"] for side in top["versions"]] == [first, second]
    differs = {row["field"]: row["values"] for row in top["differs"]}
    assert differs["title"] == ["A red cup", ""]
    assert "format" not in differs
    assert not any(pair["same_pixels"] for pair in told["pairs"][1:])
    merges.merge(services, keep=first, drop=second, person="libby")
    assert duplicates.pairs(services)["total"] == 1, "what was merged is no pair any more"


def test_an_answer_is_remembered_and_can_be_asked_again(services, tmp_path):
    ids = tuple(twins(services, tmp_path))
    for said in duplicates.ANSWERS:
        duplicates.answer(services, version_ids=ids, said=said, person="libby")
        assert duplicates.pairs(services)["total"] == 0
        [pair] = duplicates.pairs(services, answered=True)["pairs"]
        assert (pair["answer"], pair["answered_by"]) == (said, "libby")
        duplicates.answer(services, version_ids=ids[::-1], said=None, person="ada")
        assert duplicates.pairs(services)["total"] == 1
    with pytest.raises(BadInput):
        duplicates.answer(services, version_ids=ids, said="perhaps", person="libby")
    with pytest.raises(NotFound):
        duplicates.answer(services, version_ids=(ids[0], "ver_x"), said="both", person="libby")


# --------------------------------------------------------------------------------------- bytes and names


def test_the_same_bytes_tell_every_delivery(services, tmp_path):
    keep, drop = twins(services, tmp_path)
    again = tmp_path / "twins" / "AGAIN_ACME_20270301_v01.jpg"
    shutil.copy(tmp_path / "twins" / "B_ACME_20270301_v01.jpg", again)
    merges.merge(services, keep=keep, drop=drop, person="libby")
    batch_id = world.drop(services, "drops/again", [again], supplier="Third")
    assert world.ingest(services, batch_id) == {"duplicate": 1}
    [row] = batches.receipt(services, batch_id=batch_id)
    assert row["reason"].endswith("as B_ACME v1, which was merged into A_ACME v1.")
    with services.session() as session:
        told = duplicates.deliveries(session, keep)
    assert [(one["sender"], one["first"], one["as"]) for one in told] == [
        ("Supplier 0", True, None), ("Supplier 1", False, "B_ACME v1"), ("Third", False, "B_ACME v1"),
    ]  # fmt: skip
    assert told[2]["path"] == again.name


def test_a_number_that_is_taken_becomes_the_next_one_with_a_note(services, tmp_path):
    for n, (claimed, number) in enumerate((("v01", 1), ("v01", 2), ("v07", 3), ("v04", 4))):
        path = world.picture(tmp_path, f"A_ACME_20270301_{claimed}.jpg", seed=n)
        batch_id = world.drop(services, f"drops/{n}", [path])
        world.ingest(services, batch_id)
        [row] = batches.receipt(services, batch_id=batch_id)
        assert row["version"] == number
        notes = [note for note in row["notes"] if "claims" in note]
        expected = f"Its name claims version {int(claimed[1:])}; the next one of A_ACME here is version {number}."
        assert notes == ([] if int(claimed[1:]) == number else [expected])


def test_another_kind_of_the_same_name_is_an_asset_of_its_own(services, tmp_path):
    """A drawing of a picture's name: its own asset, and its next version goes there as well."""
    path = world.picture(tmp_path, "A_ACME_20270301_v01.jpg")
    world.ingest(services, world.drop(services, "drops/0", [path]))
    with services.session() as session:
        session.execute(update(Asset).values(kind="video"))
    for n in (2, 3):
        path = world.picture(tmp_path, f"A_ACME_2027030{n}_v0{n - 1}.jpg", seed=n)
        batch_id = world.drop(services, f"drops/{n}", [path])
        assert world.ingest(services, batch_id) == {"ingested" if n == 2 else "new_version": 1}
        [row] = batches.receipt(services, batch_id=batch_id)
        assert (row["asset"], row["version"]) == ("A_ACME-IMAGE", n - 1)
        assert "A_ACME is of the kind video and this is image, so it is kept as A_ACME-IMAGE." in row["notes"]
    with services.session() as session:
        kinds = dict(session.execute(select(Asset.name, Asset.kind)).all())
    assert kinds == {"A_ACME": "video", "A_ACME-IMAGE": "image"}


def test_how_alike_two_are_is_told_by_what_they_have_most_in_common():
    def told(*kinds, **known):
        pair = NearDuplicate(**known)
        return duplicates.alike(pair), duplicates.how(pair, *kinds)

    assert told("image", "image", distance=0, same_pixels=True) == (1, "the same pixels")
    assert told("image", "image", distance=1) == (1 - 1 / 64, "same picture: 1 of 64 bits differ")
    assert told("video", "image", distance=2)[1] == "same picture as the film's poster: 2 of 64 bits differ"
    assert told("video", "video", distance=2)[1] == "same poster: 2 of 64 bits differ"
    assert told("video", "video", key_frames=0.949) == (0.949, "same film: 94 % of its key frames")
    assert told("video", "video", key_frames=0.996, sound=0.97)[1].endswith(" 99 % of its key frames, same sound: 97 %")
    assert told("video", "video", key_frames=1.0, sound=0.1) == (1, "same film: 100 % of its key frames, another sound")
    assert told("audio", "audio", sound=0.97) == (0.97, "same sound: 97 %")


def test_what_a_batch_waits_for_may_be_merged_away(services, tmp_path):
    """The librarian merges a version that lacks metadata instead of filling it in: it is not asked for any more."""
    keep, drop = twins(services, tmp_path)
    batch_id = version(services, drop).batch_id
    assert drop in contracts.check(services, batch_id=batch_id).incomplete
    merges.merge(services, keep=keep, drop=drop, person="libby")
    assert contracts.missing(services, batch_id=batch_id) == []
    report = contracts.check(services, batch_id=batch_id)
    assert (report.complete, report.incomplete) == ([], {})
