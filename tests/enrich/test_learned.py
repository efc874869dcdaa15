"""The tagger that learns: from what people decided, with measured confidence, and reasons."""

from __future__ import annotations

import random
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from dam.catalog.models import Asset, Batch, Description, Tag, TaggerModel, Term, Version, VersionState, new_id, utcnow
from dam.enrich import tags
from dam.enrich.taggers import learned, named
from dam.enrich.taggers.learned import Model, train
from dam.taxonomy import sync_terms

WORDS = {
    "subject/coffee": ["barista", "beans", "roast", "milk", "morning"],
    "subject/rocket": ["countdown", "booster", "ignition", "pad39", "orbiter"],
    "subject/cat": ["whiskers", "purr", "paws", "litter", "mouse"],
}
FILLER = ["table", "light", "studio", "summer", "wide", "calm", "day", "street"]


@pytest.fixture
def library(services, include):
    """Make pictures with titles whose words go with terms; a person tags most of them.

    Returns services that ask the learning tagger alone, and a function that adds a version.
    """
    include.only(learned={"options": {"facets": ["subject"], "examples": 40}, "threshold": 0.8})
    found = include.services()
    sync_terms(found)
    chance = random.Random(1)
    with found.session() as session:
        batch = Batch(source="cli", location="drops/made", sent_by="maker")
        session.add(batch)
        session.flush()
        batch_id = batch.id

    def add(title, term_id=None, *, phash=None, source="person:libby", refused=None, colours=()):
        with found.session() as session:
            asset = Asset(name=new_id("n"), kind="image")
            session.add(asset)
            session.flush()
            version = Version(
                asset_id=asset.id, number=1, batch_id=batch_id, filename="x.jpg", sha256=_sha256(chance),
                bytes=1, media_type="image/jpeg", storage_uri="vault:x", made_by="maker", phash=phash,
                state=VersionState.RECEIVED, technical={"colours": list(colours)},
            )  # fmt: skip
            session.add(version)
            session.flush()
            session.add(Description(version_id=version.id, title=title, updated_by="airflow"))
            for term, status in ((term_id, "applied"), (refused, "refused")):
                if term:
                    session.add(
                        Tag(
                            version_id=version.id,
                            term_id=term,
                            source=source,
                            model_version="1",
                            confidence=1.0,
                            status=status,
                        )
                    )
            from dam.catalog.lifecycle import change_state

            change_state(session, version, VersionState.INGESTED, actor="t", why="made by a test")
            return version.id

    add.chance = chance
    return found, add


def _sha256(chance):
    return f"{chance.getrandbits(256):064x}"


def title(chance, term_id):
    return " ".join([*chance.sample(WORDS[term_id], 2), *chance.sample(FILLER, 3)])


def fill(add, count=120):
    """Add tagged versions: each term's words, and one in twelve that are somebody else's."""
    for at in range(count):
        term_id = list(WORDS)[at % 3]
        add(title(add.chance, term_id), term_id)


def asked(services, *version_ids):
    told = tags.tag_later(services, version_ids=list(version_ids))
    with services.session() as session:
        rows = session.scalars(select(Tag).where(Tag.version_id.in_(version_ids), Tag.source == "learned")).all()
    return told, {(tag.version_id, tag.term_id): tag for tag in rows}


def test_it_says_nothing_until_there_is_enough_to_learn_from(library):
    services, add = library
    fill(add, 30)
    new = add("barista and beans")
    assert asked(services, new) == ({}, {})
    [tagger] = named(services, ["learned"])
    assert "needs 40 versions" in tagger.unready()
    assert train(services, tagger) is None


def test_it_learns_says_why_and_applies_what_it_has_measured_to_be_right(library):
    services, add = library
    fill(add)
    new, other = add("barista roast in a studio"), add("summer table")
    told, found = asked(services, new, other)
    assert told["learned"]["done"] == 2
    tag = found[new, "subject/coffee"]
    assert tag.status == "applied"
    assert tag.confidence >= 0.8
    assert "because of the words" in tag.because
    assert "“barista”" in tag.because
    assert "“roast”" in tag.because
    assert (new, "subject/rocket") not in found
    assert [key for key, tag in found.items() if key[0] == other and tag.status == "applied"] == []
    with services.session() as session:
        row = session.scalars(select(TaggerModel)).one()
    assert row.examples == 120
    assert row.measured["precision"] >= 0.9
    assert row.measured["passes"]
    assert tag.model_version == row.version[:16]


def test_it_only_suggests_while_it_is_not_good_enough(library):
    services, add = library
    terms = list(WORDS)
    for _ in range(120):  # words say nothing of the terms
        add(title(add.chance, add.chance.choice(terms)), add.chance.choice(terms))
    _, found = asked(services, add("barista roast"))
    assert {tag.status for tag in found.values()} <= {"suggested"}
    with services.session() as session:
        assert not session.scalars(select(TaggerModel)).one().measured["passes"]


def test_what_people_refused_of_its_tags_counts_against_it(library):
    services, add = library
    fill(add)
    for _ in range(30):  # its own tags, refused
        add("something", None, refused="subject/cat", source="learned")
    [tagger] = named(services, ["learned"])
    measured = train(services, tagger).measured
    assert (measured["kept"], measured["refused"]) == (0, 30)
    assert not measured["passes"]


def test_colours_are_a_reason(library):
    services, add = library
    for at in range(120):
        term_id = list(WORDS)[at % 3]
        colours = ["brown"] if term_id == "subject/coffee" else ["blue"]
        add(" ".join(add.chance.sample(FILLER, 3)), term_id, colours=colours)
    new = add("a day", colours=["brown"])
    _, found = asked(services, new)
    assert found[new, "subject/coffee"].because == "because of the colour brown"


def test_what_looks_alike_is_a_reason(library):
    services, add = library
    for at in range(90):
        term_id = list(WORDS)[at % 3]
        look = 0x0F0F0F0F0F0F0F0F if term_id == "subject/cat" else add.chance.getrandbits(63)
        add(" ".join(add.chance.sample(FILLER, 3)), term_id, phash=look ^ (1 << at % 60))
    new = add("a day", phash=0x0F0F0F0F0F0F0F0F)
    _, found = asked(services, new)
    tag = found[new, "subject/cat"]
    assert "it looks like" in tag.because
    assert "more" in tag.because
    assert tag.confidence > 0.6


def test_it_learns_at_most_daily_and_the_same_makes_the_same(library):
    services, add = library
    fill(add)
    [tagger] = named(services, ["learned"])
    first = train(services, tagger)
    fill(add, 12)
    assert train(services, tagger).version == first.version  # not a day old
    with services.session() as session:
        session.get_one(TaggerModel, ("learned", first.version)).trained_at = utcnow() - timedelta(days=2)
    second = train(services, tagger)
    assert second.version != first.version
    assert second.examples == first.examples + 12
    assert train(services, tagger, now=True).version == second.version
    with services.session() as session:
        assert len(session.scalars(select(TaggerModel)).all()) == 2


def test_terms_that_left_the_vocabulary_are_not_said(library, include):
    _, add = library
    fill(add)
    include.vocabulary(lambda told: told["facets"]["subject"]["coffee"].update(deprecated=True))
    new = add("barista roast")
    _, found = asked(include.services(), new)
    assert (new, "subject/coffee") not in found


def test_a_model_is_stored_as_plain_arrays_and_read_back_the_same(library):
    services, add = library
    fill(add)
    [tagger] = named(services, ["learned"])
    row = train(services, tagger)
    store, key = services.storage.resolve(row.storage_uri)
    model = learned._unpacked(store.read(key))
    assert learned._unpacked(learned._packed(model)).with_both.tolist() == model.with_both.tolist()
    assert sorted(model.term_ids) == sorted(WORDS)
    assert model.version == row.version
    with services.session() as session:
        assert session.get(Term, model.term_ids[0])


@given(
    st.lists(st.tuples(st.floats(-30, 30), st.booleans()), max_size=300),
    st.lists(st.floats(-40, 40), min_size=1, max_size=20),
)
def test_confidence_never_falls_as_scores_rise(points, asked_scores):
    scores, right = np.array([p[0] for p in points]), np.array([p[1] for p in points], dtype=bool)
    known, precisions = learned._calibrated(scores, right)
    none = np.empty(0)
    model = Model("", [], [], none, none, none, 0, [], none, [], 0.0, known, precisions)
    told = model.confidence(np.sort(np.array(asked_scores)))
    assert (np.diff(told) >= 0).all()
    assert ((told >= 0) & (told < 1)).all()
