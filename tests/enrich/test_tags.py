"""Taggers: what each says and why, what people said before, and budgets that are never passed."""

from __future__ import annotations

import sys
import threading
from datetime import date
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path

import boto3
import numpy as np
import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont
from sqlalchemy import select

import world
from dam.catalog.models import AuditEvent, Tag, TaggerLook, TaggerSpend, Version, new_id
from dam.enrich import budget, contracts, tags
from dam.enrich.taggers import Said, Tagger, detected, make, onnx, words
from dam.errors import BadInput
from dam.load import load
from dam.services import Services
from dam.taxonomy.taggers import TaggerData, TaggersData

KEYS = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}


class Sure(Tagger):
    """A tagger of somebody's own: slow, and sure of one term."""

    slow = True

    @property
    def version(self):
        return "7"

    def say(self, session, version, taxonomy):
        return [Said("subject/moon", 0.95, "it said so"), Said("subject/transport", 0.9), Said("subject/nothing", 1.0)]


class Broken(Sure):
    """One that stumbles."""

    def say(self, session, version, taxonomy):
        raise ValueError("my model is not there")


def one_version(services, tmp_path, name="A_ACME_20270301_v01.jpg", *, location="drops/a", folder="", **more):
    """Ingest one picture and return its version's id and its batch's."""
    path = world.picture(tmp_path / location.replace("/", "-"), name, **more)
    services.storage.inbox.put(f"{location}/{folder}{path.name}", path)
    from dam.ingest import batches

    batch_id = batches.register(services, location=location, source="inbox", sent_by="northlight")
    assert sum(world.ingest(services, batch_id).values()) == 1
    with services.session() as session:
        return session.scalars(select(Version.id).where(Version.batch_id == batch_id)).one(), batch_id


def said(services, version_id, **only):
    """Return (term, source) → tag of a version."""
    with services.session() as session:
        rows = session.scalars(select(Tag).where(Tag.version_id == version_id)).all()
    return {
        (tag.term_id, tag.source): tag
        for tag in rows
        if all(getattr(tag, name) == value for name, value in only.items())
    }


def subject(*keywords):
    """Return metadata whose keywords are these."""
    return world.METADATA | {"Xmp.dc.subject": list(keywords)}


# ---------------------------------------------------------------------------------------- in the gate


def test_every_tag_says_who_how_sure_and_why(services, tmp_path):
    version_id, _ = one_version(
        services, tmp_path, "GrassClose-up.jpg", folder="moon shots/", xmp=subject("Katzen", "a launch pad at dusk")
    )
    found = said(services, version_id)
    cat = found["subject/cat", "embedded"]
    assert (cat.status, cat.confidence, cat.model, cat.because) == ("applied", 0.9, "labels", "the keyword “Katzen”")
    assert found["subject/rocket", "embedded"].status == "suggested"  # only inside a keyword
    assert found["subject/grass", "filename"].status == "applied"
    assert found["usage/close-up", "filename"].status == "applied"
    assert found["subject/moon", "filename"].confidence < found["subject/grass", "filename"].confidence
    assert "folder's name “moon shots”" in found["subject/moon", "filename"].because
    assert found["orientation/landscape", "visible"].because == "1300 × 900 pixels"
    assert all(tag.cost == 0 and tag.model_version for tag in found.values())


def test_the_brief_and_the_campaign_are_words_too(services, tmp_path):
    from dam.create import deliverables

    brief = world.form()
    brief["deliverables"] = [brief["deliverables"][0] | {"title": "Rocket over the city"}]
    opened = deliverables.open_tasks(
        services, brief_id=world.signed_brief(services, **brief | {"goals": "Coffee for all"})
    )
    path = world.picture(tmp_path, "SPRING27-HERO-A_ACME_20270301_v01.jpg", xmp=subject())
    services.storage.inbox.put(f"{opened['location']}/{path.name}", path)
    deliverables.submit(services, batch_id=opened["batch_id"])
    world.ingest(services, opened["batch_id"])
    with services.session() as session:
        version_id = session.scalars(select(Version.id)).one()
    found = said(services, version_id)
    assert found["subject/rocket", "brief"].status == "applied"
    assert found["subject/coffee", "brief"].status == "suggested"
    assert found["subject/coffee", "brief"].because == "“coffee” in the brief's goals"


def test_words_inside_count_the_more_the_oftener(services, tmp_path):
    version_id, _ = one_version(services, tmp_path, xmp=subject())
    with services.session() as session:
        session.get_one(Version, version_id).words = "Rockets! " * 4 + "One bicycle and a motorbike. It is in a wall."
    tags.tag_versions(services, version_ids=[version_id])
    found = said(services, version_id, source="text")
    assert found["subject/rocket", "text"].status == "applied"
    assert found["subject/motorcycle", "text"].status == "suggested"
    assert found["subject/rocket", "text"].because == "“rocket” 4 times in the text inside"


def test_a_language_that_is_known_keeps_others_small_words_out(services, tmp_path):
    version_id, _ = one_version(services, tmp_path, xmp=subject())
    with services.session() as session:
        version = session.get_one(Version, version_id)
        version.words, version.description.language = "Il est au coin de la rue. Une fusée.", "fr"
    tags.tag_versions(services, version_ids=[version_id])
    assert {key[0] for key in said(services, version_id, source="text")} == {"subject/rocket"}


@pytest.mark.parametrize(
    ("name", "spaced"),
    [("SunnyBeach_launch-pad02", "Sunny Beach launch pad 02"), ("IMG_0001", "IMG 0001"), ("x", "x"), ("", "")],
)
def test_names_are_read_as_words(name, spaced):
    assert words.spaced(name) == spaced


def test_tagging_again_changes_nothing(services, tmp_path):
    version_id, _ = one_version(services, tmp_path)
    before = {key: tag.id for key, tag in said(services, version_id).items()}
    assert tags.tag_versions(services, version_ids=[version_id]) == 0
    assert {key: tag.id for key, tag in said(services, version_id).items()} == before


def test_what_a_person_refused_is_not_said_again_and_machines_only_suggest(services, tmp_path, include):
    version_id, _ = one_version(services, tmp_path)
    contracts.fill(services, version_id=version_id, values={"tags": ["cat"]}, person="libby")
    with services.session() as session:
        version = session.get_one(Version, version_id)
        version.words = "coffee " * 5 + "rocket " * 5
    tags.tag_versions(services, version_ids=[version_id])
    assert tags.terms_of(services, version_id=version_id) == ["subject/cat"]
    found = said(services, version_id, source="text")
    assert found["subject/rocket", "text"].status == "suggested"
    assert ("subject/coffee", "text") not in found


def test_a_tagger_that_stumbles_holds_no_file_up(tmp_path, include, monkeypatch):
    monkeypatch.setattr(Broken, "slow", False)
    include.taggers(mine={"class": "test_tags:Broken"})
    found = include.services()
    version_id, _ = one_version(found, tmp_path)
    assert ("subject/coffee", "embedded") in said(found, version_id)


def test_a_fault_in_the_taggers_ends_the_chunk_and_no_file_is_set_aside(services, tmp_path, include):
    include.taggers(embeded={})
    with pytest.raises(BadInput, match="Did you mean 'embedded'"):
        one_version(include.services(), tmp_path)
    version_id, _ = one_version(services, tmp_path)
    assert said(services, version_id)


# ------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cost": 0.001}, "costs money and has no budget"),
        ({"threshold": 2}, "less than or equal to 1"),
        ({"name": "text"}, "stands there twice"),
        ({"budjet": {}}, "Did you mean 'budget'"),
    ],
)
def test_a_fault_in_the_settings_is_told_with_its_line(include, change, words):
    include.taggers(visible=change)
    with pytest.raises(BadInput, match=words) as refused:
        include.services().taxonomy.check()
    assert "taggers.yaml:" in refused.value.where


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"options": {"texts": True}}, "options.texts"),
        ({"class": "no.such:Thing"}, "can't be loaded"),
        ({"options": {"text": "perhaps"}}, "options.text"),
    ],
)
def test_options_that_do_not_fit_are_told(include, change, words):
    include.taggers(detected=change | {"enabled": True})
    with pytest.raises(BadInput, match=words):
        _ = include.services().taggers


def test_the_settings_that_come_along_are_sound(services):
    assert [tagger.name for tagger in services.taggers] == [
        "embedded",
        "filename",
        "brief",
        "text",
        "visible",
        "learned",
    ]
    path = services.settings.include / "taxonomy" / "taggers.yaml"
    for data in load(path, TaggersData).taggers:
        make(services, data)


# -------------------------------------------------------------------------------------------- later


def test_a_slow_tagger_is_asked_afterwards_once(services, tmp_path, include):
    include.taggers(mine={"class": "test_tags:Sure"})
    found = include.services()
    version_id, batch_id = one_version(found, tmp_path)
    assert said(found, version_id, source="mine") == {}
    assert tags.plan_later(found, batch_id=batch_id) == [[version_id]]
    assert tags.tag_later(found, version_ids=[version_id])["mine"] == {"done": 1, "skipped": 0, "failed": 0, "tags": 2}
    assert set(said(found, version_id, source="mine")) == {("subject/moon", "mine"), ("subject/vehicle", "mine")}
    assert said(found, version_id)["subject/moon", "mine"].because == "it said so"
    assert tags.plan_later(found, batch_id=batch_id) == []
    assert tags.tag_later(found, version_ids=[version_id])["mine"]["done"] == 0
    assert tags.plan_later(services, batch_id=batch_id) == []  # nothing slow is switched on there


def test_what_is_in_review_is_left_alone(services, tmp_path, include):
    from dam.review import packages

    include.taggers(mine={"class": "test_tags:Sure"})
    found = include.services()
    batch_id, complete = world.designers_batch(found, tmp_path)
    packages.freeze(found, batch_id=batch_id, version_ids=complete)
    assert tags.tag_later(found, version_ids=complete)["mine"]["done"] == 0
    assert said(found, complete[0], source="mine") == {}


def test_what_goes_into_review_while_a_tagger_thinks_is_left_alone(tmp_path, include, monkeypatch):
    from dam.review import packages

    include.taggers(mine={"class": "test_tags:Sure"})
    found = include.services()
    batch_id, complete = world.designers_batch(found, tmp_path)
    original = Sure.say

    def say(self, session, version, taxonomy):
        packages.freeze(found, batch_id=batch_id, version_ids=complete)
        return original(self, session, version, taxonomy)

    monkeypatch.setattr(Sure, "say", say)
    assert tags.tag_later(found, version_ids=complete[:1])["mine"] == {"done": 0, "skipped": 1, "failed": 0, "tags": 0}
    assert said(found, complete[0], source="mine") == {}


def test_a_slow_tagger_that_stumbles_is_noted_and_tried_again(services, tmp_path, include):
    include.taggers(mine={"class": "test_tags:Broken", "budget": {"calls_a_day": 9}}, yours={"class": "test_tags:Sure"})
    found = include.services()
    version_id, batch_id = one_version(found, tmp_path)
    told = tags.tag_later(found, version_ids=[version_id])
    assert told["mine"]["failed"] == told["yours"]["done"] == 1
    with found.session() as session:
        look = session.get_one(TaggerLook, (version_id, "mine"))
    assert (look.outcome, look.note) == ("failed", "ValueError: my model is not there")
    assert tags.plan_later(found, batch_id=batch_id) == [[version_id]]


# ------------------------------------------------------------------------------------------- budgets


def data(**budget):
    return TaggerData.model_validate({"name": "paid", "cost": "0.3", "budget": budget or {"money_a_day": 1}})


@pytest.mark.parametrize(
    ("budget_of", "calls"),
    [({"money_a_day": 1}, 3), ({"calls_a_day": 2, "money_a_day": 9}, 2), ({"money_a_month": "0.6"}, 2),
     ({"calls_a_month": 0, "money_a_day": 1}, 0)],
)  # fmt: skip
def test_no_call_is_made_beyond_a_budget(services, budget_of, calls):
    made = 0
    for _ in range(5):
        with services.session() as session:
            made += budget.reserve(session, data(**budget_of)) is None
    assert made == calls


def test_yesterday_counts_for_the_month_and_last_month_for_nothing(services, monkeypatch):
    monkeypatch.setattr(budget, "today", lambda: date(2027, 3, 10))
    with services.session() as session:
        for day in (date(2027, 2, 28), date(2027, 3, 9)):
            session.add(TaggerSpend(tagger="paid", day=day, calls=2, money=Decimal("0.6")))
    with services.session() as session:
        assert budget.reserve(session, data(money_a_day="0.3", money_a_month="0.9")) is None
    with services.session() as session:
        assert "a day is used up" in budget.reserve(session, data(money_a_day="0.3"))
        assert "a month is used up" in budget.reserve(session, data(money_a_month="0.9"))


def test_workers_at_the_same_moment_can_not_overspend(services):
    others = [Services(services.settings) for _ in range(5)]
    made = []

    def work(one):
        for _ in range(6):
            with one.session() as session:
                if budget.reserve(session, data(calls_a_day=11, money_a_day=99)) is None:
                    made.append(1)

    threads = [threading.Thread(target=work, args=(one,)) for one in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in others:
        one.engine.dispose()
    assert len(made) == 11
    with services.session() as session:
        row = session.scalars(select(TaggerSpend)).one()
        assert (row.calls, row.money) == (11, Decimal("3.3"))


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.booleans(), max_size=12), most=st.integers(0, 4))
def test_whatever_is_asked_and_given_back_the_count_never_passes_the_budget(services, steps, most):
    paid = TaggerData.model_validate({"name": new_id("t"), "cost": 1, "budget": {"money_a_day": most}})
    counted = 0
    for ask in steps:
        with services.session() as session:
            if ask:
                allowed = budget.reserve(session, paid) is None
                assert allowed == (counted < most)
                counted += allowed
            elif counted:
                budget.release(session, paid, budget.today())
                counted -= 1
        with services.session() as session:
            assert budget.spent(session, paid)["today"] == {"calls": counted, "money": counted}


def test_a_budget_that_is_used_up_skips_and_says_so(services, tmp_path, include):
    include.taggers(mine={"class": "test_tags:Sure", "cost": 0.01, "budget": {"money_a_day": 0.01}})
    found = include.services()
    first, _ = one_version(found, tmp_path, seed=1)
    second, _ = one_version(found, tmp_path, "B_ACME_20270301_v01.jpg", location="drops/b", seed=2)
    told = tags.tag_later(found, version_ids=[first, second])["mine"]
    assert told == {"done": 1, "skipped": 1, "failed": 0, "tags": 2}
    assert sum(tag.cost for tag in said(found, first, source="mine").values()) == Decimal("0.01")
    with found.session() as session:
        look = session.get_one(TaggerLook, (second, "mine"))
        assert (look.outcome, look.note) == ("skipped", "Not asked: its budget of 0.01 a day is used up.")


# ----------------------------------------------------------------------------------------- rekognition


@pytest.fixture(scope="module")
def aws_url():
    """AWS over HTTP on this machine."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def test_rekognition_is_asked_with_the_preview_and_its_labels_are_words_of_ours(tmp_path, include, aws_url):
    include.only(rekognition={})
    include.vocabulary(
        lambda told: told["facets"]["subject"].update(phone={"en": "phone", "alt": {"en": ["mobile phone"]}})
    )
    found = include.services(aws=lambda name: boto3.client(name, endpoint_url=aws_url, **KEYS))
    version_id, _ = one_version(found, tmp_path)
    assert tags.tag_later(found, version_ids=[version_id])["rekognition"]["done"] == 1
    tag = said(found, version_id)["subject/phone", "rekognition"]
    assert (tag.status, tag.model, tag.model_version) == ("applied", "Rekognition DetectLabels", "3.0")
    assert tag.because == "it saw “Mobile Phone”"
    assert 0.99 < tag.confidence <= 1
    assert tag.cost == Decimal("0.001")
    with found.session() as session:
        assert session.scalars(select(TaggerSpend.calls)).one() == 1


class Client:
    """Stands for Rekognition where it refuses: nothing on this machine does."""

    def __init__(self, *codes):
        self.codes, self.asked = list(codes), []

    def detect_labels(self, **asked):
        self.asked.append(asked)
        if self.codes and (code := self.codes.pop(0)):
            raise ClientError({"Error": {"Code": code, "Message": f"{code} it is"}}, "DetectLabels")
        return {
            "Labels": [{"Name": "Feline", "Confidence": 91.0, "Aliases": [{"Name": "Cat"}]}],
            "LabelModelVersion": "3.0",
        }


@pytest.mark.parametrize(
    ("codes", "outcome", "asked", "spent"),
    [
        (["AccessDeniedException"], "failed", 1, 0),
        (["ThrottlingException", "ThrottlingException", None], "done", 3, 1),
        (["ThrottlingException"] * 9, "failed", 5, 0),
    ],
)
def test_a_refusal_is_not_billed_and_a_busy_service_is_asked_again(
    tmp_path, include, monkeypatch, codes, outcome, asked, spent
):
    from dam.enrich.taggers import rekognition

    monkeypatch.setattr(rekognition.time, "sleep", lambda _: None)
    include.only(rekognition={})
    client = Client(*codes)
    found = include.services(aws=lambda _: client)
    version_id, _ = one_version(found, tmp_path)
    assert tags.tag_later(found, version_ids=[version_id])["rekognition"][outcome] == 1
    assert len(client.asked) == asked
    assert len(client.asked[0]["Image"]["Bytes"]) <= 5 << 20
    assert client.asked[0]["MinConfidence"] == pytest.approx(55)
    with found.session() as session:
        assert session.scalars(select(TaggerSpend.calls)).one() == spent
    if outcome == "done":
        assert ("subject/cat", "rekognition") in said(found, version_id)


def test_what_has_no_preview_is_not_sent_anywhere(tmp_path, include):
    include.only(rekognition={})
    client = Client()
    found = include.services(aws=lambda _: client)
    version_id, _ = one_version(found, tmp_path)
    with found.session() as session:
        for rendition in session.get_one(Version, version_id).renditions:
            session.delete(rendition)
    assert tags.tag_later(found, version_ids=[version_id])["rekognition"]["failed"] == 1
    assert client.asked == []
    with found.session() as session:
        assert session.scalars(select(TaggerSpend.calls)).one() == 0


# -------------------------------------------------------------------------------- lettering, faces, OCR


def lettered(path, text, size=90):
    """Write letters on a picture."""
    image = Image.open(path).convert("RGB")
    ImageDraw.Draw(image).text((80, 300), text, font=ImageFont.load_default(size), fill="white")
    image.save(path)
    return path


@pytest.mark.parametrize("seed", range(4))
def test_lettering_is_seen_where_there_is_some(tmp_path, seed):
    import pyvips

    from dam.enrich.taggers import lettering

    def letters(path):
        return lettering.letters(pyvips.Image.thumbnail(str(path), 640, height=640).colourspace("b-w")[0].cast("uchar"))

    path = world.picture(tmp_path, "a.png", seed=seed)
    assert letters(path) == 0
    assert letters(lettered(path, "Summer sale: 30 % off")) >= 10
    noise = np.random.default_rng(seed).integers(0, 255, (600, 800, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    assert letters(tmp_path / "noise.png") == 0


def test_lettering_becomes_a_tag(tmp_path, include):
    include.only(detected={})
    found = include.services()
    path = lettered(world.picture(tmp_path, "A.png", seed=1), "Open daily from nine")
    batch_id = world.drop(found, "drops/a", [path])
    world.ingest(found, batch_id)
    [[version_id]] = tags.plan_later(found, batch_id=batch_id)
    tags.tag_later(found, version_ids=[version_id])
    tag = said(found, version_id)["technique/with-text", "detected"]
    assert tag.status == "applied"
    assert "letters stand in rows" in tag.because


@pytest.mark.skipif(find_spec("skimage") is None, reason="the face detector comes inside scikit-image")
def test_faces_are_counted_and_other_things_are_not():
    import pyvips
    import skimage.data

    folder = Path(skimage.data.__file__).parent
    counts = {
        name: detected.faces(pyvips.Image.new_from_file(str(folder / name)))
        for name in ("astronaut.png", "coffee.png", "brick.png", "chelsea.png")
    }
    assert counts == {"astronaut.png": 1, "coffee.png": 0, "brick.png": 0, "chelsea.png": 0}


def test_a_program_reads_lettering_and_its_words_are_tagged(tmp_path, include):
    reader = tmp_path / "reader.py"
    reader.write_text(
        "import sys\nfrom PIL import Image\nImage.open(sys.argv[1]).verify()\nprint('Coffee, coffee, COFFEE')\n"
    )
    include.only(ocr={"options": {"command": [sys.executable, str(reader), "{file}"], "seconds": 60}})
    found = include.services()
    version_id, _ = one_version(found, tmp_path, xmp=subject())
    tags.tag_later(found, version_ids=[version_id])
    tag = said(found, version_id)["subject/coffee", "ocr"]
    assert tag.status == "applied"
    assert "3 times" in tag.because


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("raise SystemExit('no eyes')", "ended with 1: no eyes"),
        ("import time; time.sleep(60)", "more than 0.5 seconds"),
    ],
)
def test_a_program_that_fails_or_hangs_is_noted(tmp_path, include, code, words):
    include.only(ocr={"options": {"command": [sys.executable, "-c", code], "seconds": 0.5}})
    found = include.services()
    version_id, _ = one_version(found, tmp_path)
    assert tags.tag_later(found, version_ids=[version_id])["ocr"]["failed"] == 1
    with found.session() as session:
        assert words in session.get_one(TaggerLook, (version_id, "ocr")).note


# ------------------------------------------------------------------------------------------------ ONNX


def tagger(include, name, **options):
    include.taggers(**{name: {"enabled": True, "options": options}})
    return next(one for one in include.services().taggers if one.name == name)


def test_a_tagger_that_is_not_configured_says_what_it_lacks(include, tmp_path):
    model = tmp_path / "model.onnx"
    assert "options.model names no file" in tagger(include, "onnx").unready()
    assert "is not there" in tagger(include, "onnx", model=str(model), labels="x").unready()
    model.write_bytes(b"x")
    lacks = tagger(include, "onnx", model=str(model), labels=str(model)).unready()
    assert (lacks is None) == (find_spec("onnxruntime") is not None)
    assert "not installed" in tagger(include, "ocr", command=["no-such-program"]).unready()


def test_labels_are_as_likely_as_their_vectors_are_close(tmp_path):
    path = tmp_path / "labels.npz"
    np.savez(path, labels=np.array(["cat", "rocket"]), vectors=np.array([[2.0, 0.0], [0.0, 5.0]]), scale=10.0)
    labels = onnx.Labels.read(path)
    shares = labels.shares(np.array([3.0, 0.3], dtype=np.float32))
    assert labels.words[int(np.argmax(shares))] == "cat"
    assert shares.sum() == pytest.approx(1)


def test_a_small_model_of_our_own_tags(tmp_path, include):
    pytest.importorskip("onnxruntime")
    helper = pytest.importorskip("onnx").helper
    graph = helper.make_graph(
        [helper.make_node("GlobalAveragePool", ["in"], ["pooled"]), helper.make_node("Flatten", ["pooled"], ["out"])],
        "mean colour",
        [helper.make_tensor_value_info("in", 1, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("out", 1, [1, 3])],
    )
    model = tmp_path / "model.onnx"
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    model.write_bytes(made.SerializeToString())
    np.savez(
        tmp_path / "labels.npz", labels=np.array(["moon", "grass"]), vectors=np.array([[1, 0, 0], [0, 1, 0]]),
        mean=np.zeros(3), std=np.ones(3), scale=20.0,
    )  # fmt: skip
    include.only(onnx={"options": {"model": str(model), "labels": str(tmp_path / "labels.npz")}})
    found = include.services()
    path = tmp_path / "red.png"
    Image.new("RGB", (1300, 900), (250, 10, 10)).save(path)
    batch_id = world.drop(found, "drops/a", [path])
    world.ingest(found, batch_id)
    [[version_id]] = tags.plan_later(found, batch_id=batch_id)
    tags.tag_later(found, version_ids=[version_id])
    tag = said(found, version_id)["subject/moon", "onnx"]
    assert tag.status == "applied"
    assert tag.because == "it looks like “moon”"


# -------------------------------------------------------------------------------------------- the rest


def test_tagging_is_in_the_audit_trail(services, tmp_path):
    version_id, _ = one_version(services, tmp_path)
    with services.session() as session:
        event = session.scalars(select(AuditEvent).where(AuditEvent.action == "version.tagged")).one()
    assert event.subject_id == version_id
    assert "subject/coffee" in event.data["terms"]
