"""`dam taxonomy test`: the vocabulary tried on a library."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

import world
from dam.catalog.models import Version
from dam.cli import app
from dam.enrich import contracts
from dam.enrich.pilot import pilot

FILES = {
    "GRASS_ACME_20270301_v01.jpg": ["lawn", "badger"],
    "TWO_ACME_20270301_v01.jpg": ["badger", "old oak"],
    "THREE_ACME_20270301_v01.jpg": ["coffee", "cup"],
    "FOUR_ACME_20270301_v01.jpg": [],
}


@pytest.fixture
def library(services, tmp_path):
    """Four pictures; a person keeps the coffee and refuses the grass. Returns version ids by file name."""
    paths = [
        world.picture(tmp_path, name, seed=at, xmp=world.METADATA | {"Xmp.dc.subject": words})
        for at, (name, words) in enumerate(FILES.items())
    ]
    world.ingest(services, world.drop(services, "drops/a", paths))
    with services.session() as session:
        found = dict(session.execute(select(Version.filename, Version.id)).all())
    contracts.fill(
        services, version_id=found["THREE_ACME_20270301_v01.jpg"], values={"tags": ["coffee"]}, person="libby"
    )
    contracts.fill(
        services, version_id=found["GRASS_ACME_20270301_v01.jpg"], values={"tags": ["brick"]}, person="libby"
    )
    return found


def test_coverage_and_terms_never_used(services, library):
    told = pilot(services)
    assert (told.versions, told.coverage["subject"], told.share) == (4, 2, 0.5)
    assert told.coverage["orientation"] == 4 - 2  # a person's word is the last: what they left out is refused
    assert told.kinds == {"image": (4, 2)}
    assert "subject/rocket" in told.unused
    assert "subject/coffee" not in told.unused
    assert told.below == ["subject/food-and-drink", "subject/material"]


def test_words_that_are_seen_and_missing_are_ranked_with_examples(services, library):
    told = pilot(services)
    words = {one.word: one for one in told.missing}
    assert told.missing[0].word in ("badger", "red", "cup")
    assert words["badger"].versions == 2
    assert words["badger"].where == {"keywords": 2}
    assert words["badger"].examples == ["GRASS_ACME", "TWO_ACME"]
    assert "old oak" in words
    assert "lawn" not in words  # the vocabulary has it
    assert "acme" not in words  # the client's code in a conventional name
    assert "the" not in words
    assert len(pilot(services, most=1).missing) == 1


def test_ambiguous_labels_name_their_terms(include, services, library):
    include.vocabulary(lambda told: told["facets"]["technique"].update(stage={"en": "stage"}))
    [label] = [one for one in pilot(include.services()).ambiguous if one["label"] == "stage"]
    assert label == {"label": "stage", "terms": ["technique/stage", "usage/hero"], "taken": "technique/stage"}


def test_taggers_are_held_against_what_people_decided_and_against_each_other(services, library):
    told = pilot(services)
    rows = {row["tagger"]: row for row in told.taggers}
    assert (rows["embedded"]["kept"], rows["embedded"]["refused"]) == (1, 1)
    assert rows["embedded"]["precision"] == 0.5
    assert rows["filename"]["refused"] == 1
    pairs = {(pair["one"], pair["other"]): pair for pair in told.agreement}
    assert pairs["embedded", "filename"] == {"one": "embedded", "other": "filename", "of": 1, "share": 1.0}


def test_terms_that_are_deprecated_since_are_found_on_their_versions(services, include, library):
    include.vocabulary(lambda told: told["facets"]["subject"]["coffee"].update(deprecated=True))
    assert pilot(include.services()).retired["subject/coffee"] == 2


def test_it_is_told_as_text_and_as_json(services, library, monkeypatch):
    monkeypatch.setenv("DAM_CATALOG_URL", services.settings.catalog_url)
    monkeypatch.setenv("DAM_STORAGE_URL", services.settings.storage_url)
    text = CliRunner().invoke(app, ["taxonomy", "test"]).stdout
    assert "Coverage: 50.0 % of 4 versions" in text
    assert "badger: 2 versions (2 in keywords), e.g. GRASS_ACME, TWO_ACME" in text
    assert "embedded: " in text
    as_json = json.loads(CliRunner().invoke(app, ["taxonomy", "test", "--json", "--most", "3"]).stdout)
    assert as_json["share"] == 0.5
    assert len(as_json["missing"]) == 3


def test_an_empty_library_is_told_plainly(services):
    told = pilot(services)
    assert list(told.lines()) == ["The library is empty: there is nothing to try the vocabulary on."]
    assert told.share is None
