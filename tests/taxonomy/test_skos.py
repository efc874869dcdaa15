"""SKOS: what goes out comes back the same, in Turtle, JSON-LD and in the files people edit; others' is taken in."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rdflib import SKOS, Graph, URIRef

from dam.errors import BadInput
from dam.settings import PROJECT
from dam.taxonomy import edit, files, skos
from dam.taxonomy.changes import compare
from dam.taxonomy.vocabulary import Vocabulary, problems

NAMESPACE = "https://dam.example/terms/"
SLUGS = st.from_regex(r"[a-z][a-z0-9]{0,5}(-[a-z0-9]{1,3})?", fullmatch=True)
LANGUAGES = st.sampled_from(["en", "de", "pt-BR", "zh-Hans", "haw", "no", "alt", "uri", "und"])
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn", "Co"]), min_size=1, max_size=20).filter(str.strip)
URIS = st.from_regex(r"https://[a-z]{1,8}\.example/[A-Za-z0-9_#/-]{0,12}", fullmatch=True)


@st.composite
def vocabularies(draw):
    """Draw vocabularies that keep every rule, with everything a term may have."""
    facets = draw(st.lists(SLUGS, min_size=1, max_size=3, unique=True))
    slugs = {facet: draw(st.lists(SLUGS, max_size=5, unique=True)) for facet in facets}
    everything = [f"{facet}/{slug}" for facet in facets for slug in slugs[facet]]
    told = {}
    for facet in facets:
        told[facet] = {}
        for at, slug in enumerate(slugs[facet]):
            term = {
                "labels": draw(st.dictionaries(LANGUAGES, TEXT, min_size=1, max_size=3)),
                "alt": draw(st.dictionaries(LANGUAGES, st.lists(TEXT, max_size=2), max_size=2)),
                "hidden": draw(st.dictionaries(LANGUAGES, st.lists(TEXT, max_size=2), max_size=2)),
                "note": draw(st.dictionaries(LANGUAGES, st.text(TEXT.map(lambda t: t[:1]), max_size=20), max_size=2)),
                "definition": draw(st.dictionaries(LANGUAGES, TEXT.map(lambda t: f"{t}\n\t{t}"), max_size=1)),
                "matches": draw(st.lists(URIS, max_size=2)),
                "deprecated": draw(st.booleans()),
                # a term's broader ones stand before it, so that they never go round in a circle
                "broader": draw(st.lists(st.sampled_from(slugs[facet][:at]), max_size=2)) if at else [],
                "related": draw(st.lists(st.sampled_from(everything), max_size=2)),
                "replaced_by": draw(st.none() | st.sampled_from(everything)),
                "uri": draw(st.none() | URIS),
            }
            told[facet][slug] = {name: value for name, value in term.items() if value}
    about = {
        facet: {
            "labels": draw(st.dictionaries(LANGUAGES, TEXT, max_size=2)),
            "note": draw(st.dictionaries(LANGUAGES, TEXT, max_size=1)),
        }
        for facet in facets
    }
    return _tidy(Vocabulary.model_validate({"namespace": NAMESPACE, "about": about, "facets": told}), told, about)


def _tidy(made, told, about):
    """Take away whatever breaks a rule, until none does."""
    while found := problems(made):
        _, facet, slug, name, *rest = found[0].loc
        term = told[facet][slug]
        if name == "labels":
            term["labels"][rest[0]] = term["labels"][rest[0]] + " " + slug + facet
        elif name in ("alt", "hidden"):
            del term[name][rest[0]][rest[1]]
        else:
            del term[name]
        made = Vocabulary.model_validate({"namespace": NAMESPACE, "about": about, "facets": told})
    return made


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(vocabularies(), st.sampled_from([("turtle", ".ttl"), ("json-ld", ".jsonld")]))
def test_what_is_exported_comes_back_the_same(made, kind):
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"out{kind[1]}"
        path.write_text(skos.export(made, kind[0]), encoding="utf-8")
        if not made.terms:
            with pytest.raises(BadInput, match="no skos:Concept"):
                skos.read(path, namespace=NAMESPACE)
            return
        back = skos.read(path, namespace=NAMESPACE)
    assert back.left_out == {}
    assert back.vocabulary.contents == made.contents
    assert list(back.vocabulary.facet_contents.items()) == list(made.facet_contents.items())
    assert back.vocabulary.sha256 == made.sha256
    assert compare(made, back.vocabulary) == []


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(vocabularies(), vocabularies())
def test_what_is_written_into_the_files_is_read_back_the_same(old, new):
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "vocabulary.yaml").write_text("facets:\n  zz: {}  # begins empty\n", encoding="utf-8")
        for wanted in (old, new):
            current = files.read(folder)
            whole = edit.merged(current, wanted)
            if problems(whole):
                continue
            edit.write(folder, whole)
            assert files.read(folder).contents == whole.contents
            assert edit.write(folder, whole) == []


def test_ours_goes_out_as_skos_that_others_understand(tmp_path):
    ours = files.read(PROJECT / "include" / "taxonomy")
    graph = Graph().parse(data=skos.export(ours, "turtle"), format="turtle")
    cat, animal = URIRef(ours.uri("subject/cat")), URIRef(ours.uri("subject/animal"))
    assert (cat, SKOS.broader, animal) in graph
    assert (animal, SKOS.narrower, cat) in graph
    assert (cat, SKOS.exactMatch, URIRef("https://www.wikidata.org/entity/Q146")) in graph
    assert {label.language for label in graph.objects(cat, SKOS.prefLabel)} >= {"en", "de", "fr", "ja"}
    rocket, astronaut = URIRef(ours.uri("subject/rocket")), URIRef(ours.uri("subject/astronaut"))
    assert (rocket, SKOS.related, astronaut) in graph
    assert (astronaut, SKOS.related, rocket) in graph


FOREIGN = """
@prefix skos: <http://www.w3.org/2004/02/skos/core#> .
@prefix owl: <http://www.w3.org/2002/07/owl#> .
@prefix dct: <http://purl.org/dc/terms/> .
@prefix x: <http://their.example/code/> .
x:scheme a skos:ConceptScheme ; dct:title "Media topics"@en-GB .
x:01 a skos:Concept ; skos:inScheme x:scheme ; skos:prefLabel "arts, culture"@en-GB, "Kunst"@de, "?"@qq ;
  skos:broadMatch <http://elsewhere.example/1> ; skos:notation "01" .
x:02 a skos:Concept ; skos:topConceptOf x:scheme ; skos:prefLabel "Film"@en-GB, "Movie"@en-GB ;
  skos:broader x:01 ; skos:altLabel "cinema"@en-GB .
x:01 skos:narrower x:04 .
x:03 a skos:Concept ; skos:inScheme x:scheme ; skos:prefLabel "movies"@en-GB ; owl:deprecated true ;
  dct:isReplacedBy x:02 .
x:04 a skos:Concept ; skos:inScheme x:scheme ; skos:prefLabel "theatre"@en-GB .
x:05 a skos:Concept ; skos:prefLabel "homeless" .
"""


def test_what_others_made_is_taken_in_and_what_is_left_out_is_told(tmp_path):
    path = tmp_path / "theirs.ttl"
    path.write_text(FOREIGN)
    found = skos.read(path, namespace=NAMESPACE)
    terms = found.vocabulary.terms
    assert set(terms) == {"scheme/arts-culture", "scheme/film", "scheme/movies", "scheme/theatre", "imported/homeless"}
    assert terms["scheme/film"].broader == terms["scheme/theatre"].broader == ["arts-culture"]
    assert terms["scheme/film"].alt == {"en-GB": ["Movie", "cinema"]}
    assert terms["scheme/film"].uri == "http://their.example/code/02"
    assert found.vocabulary.find("movies") == "scheme/film"
    told = " ".join(found.left_out)
    for what in ("skos:broadMatch", "skos:notation", "unknown language", "second skos:prefLabel"):
        assert what in told


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.ttl", "this is no turtle", "is no turtle"),
        ("a.jsonld", "{", "is no JSON"),
        ("a.jsonld", json.dumps({"@context": "http://127.0.0.1:9/context"}), "on the network"),
        ("a.json", json.dumps([{"x": {"@context": [{"@import": "http://127.0.0.1:9/c"}]}}]), "on the network"),
        ("a.rdf", "<rdf/>", "no format that is read here"),
        ("a.ttl", "<x:a> <x:b> <x:c> .", "no skos:Concept"),
        ("a.ttl", FOREIGN.replace("x:02 a skos:Concept", "x:02 skos:related x:01 . x:02 a skos:Concept"), "S27"),
    ],
)
def test_what_can_not_be_taken_in_is_refused_plainly(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(BadInput, match=words):
        skos.read(path, namespace=NAMESPACE)


def test_writing_touches_only_what_changed_and_keeps_comments(tmp_path):
    folder = shutil.copytree(PROJECT / "include" / "taxonomy", tmp_path / "taxonomy")
    path = folder / "vocabulary.yaml"
    path.write_text(path.read_text().replace("    grass:", "    # kept: by hand\n    grass:"))
    before = path.read_text()
    current = files.read(folder)
    told = yaml.safe_load(before)
    told["facets"]["subject"]["dog"] = {"en": "dog", "broader": "animal"}
    told["facets"]["subject"]["cat"]["sv"] = "katt"
    del told["facets"]["subject"]["city"]
    wanted = Vocabulary.model_validate(told)
    assert edit.write(folder, edit.merged(current, wanted)) == [path]
    after = path.read_text()
    gone = [line for line in before.splitlines() if line not in after.splitlines()]
    assert [line for line in gone if "city" not in line and "alt:" not in line and "definition" not in line] == []
    assert "# kept: by hand" in after
    assert files.read(folder).terms["subject/cat"].labels["sv"] == "katt"


def test_the_files_stay_as_they_were_when_writing_fails(tmp_path, monkeypatch):
    folder = shutil.copytree(PROJECT / "include" / "taxonomy", tmp_path / "taxonomy")
    before = (folder / "vocabulary.yaml").read_text()
    current = files.read(folder)
    told = yaml.safe_load(before)
    told["facets"]["mood"] = {"calm": {"en": "calm"}}
    told["facets"]["subject"]["cat"]["sv"] = "katt"
    monkeypatch.setattr(edit, "_new_file", lambda *_: "facets: [broken")
    with pytest.raises(BadInput):
        edit.write(folder, edit.merged(current, Vocabulary.model_validate(told)))
    assert (folder / "vocabulary.yaml").read_text() == before
    assert not (folder / "vocabulary" / "mood.yaml").exists()
