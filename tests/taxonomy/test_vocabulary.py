"""The vocabulary: what people may write, what they are told when they err, how words find terms, the mirror."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event, select, text

from dam.catalog.models import Term, VocabularyMirror
from dam.errors import BadInput
from dam.load import Mistake
from dam.services import Services
from dam.settings import PROJECT
from dam.taxonomy import Taxonomy, files, languages, sync_terms
from dam.taxonomy.mirror import mirrored
from dam.taxonomy.vocabulary import Vocabulary
from dam.taxonomy.words import forms, tokens

OURS = PROJECT / "include" / "taxonomy"


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a vocabulary file and reads it back."""

    def written(text, name="vocabulary.yaml"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return files.read(tmp_path)

    return written


def vocabulary(**facets):
    return Vocabulary.model_validate({"facets": facets})


# ----------------------------------------------------------------------------------------------- faults

#: Terms (| begins a line), what stands in the faulty line, what is said of it, and the remedy.
FAULTS = {
    "unknown language": ("a: {en: cat, xq: Katze}", "xq", "no known language", "ISO 639"),
    "long form of a language": ("a: {en: cat, deu: Katze}", "deu", "long form of 'de'", "Write de"),
    "unknown region": ("a: {en: cat, de-QQ: Katze}", "de-QQ", "unknown region", "de-CH"),
    "bare Norwegian": ("a: {en: cat, no: katt}", "no: katt", "reads a bare no as false", "in quotes"),
    "no label at all": ("a: {note: nothing}", "note", "labels", ""),
    "empty label": ('a: {en: " "}', "a:", "a label is empty", "Write a word"),
    "unknown broader": ("a: {en: cat, broader: animl} | animal: {en: animal}", "animl", "no term", "mean 'animal'"),
    "unknown related": ("a: {en: cat, related: other/thing}", "other/thing", "no term", "Use one of"),
    "circle": (
        "a: {en: a, broader: b} | b: {en: b, broader: c} | c: {en: c, broader: a}",
        "a: {en: a", "a → b → c → a", "Remove one",
    ),
    "broader than itself": ("a: {en: a, broader: a}", "a: {en", "names the term itself", "Remove it"),
    "related to itself": ("a: {en: a, related: a}", "a: {en", "names the term itself", "Remove it"),
    "related to an ancestor": (
        "a: {en: a, broader: b, related: c} | b: {en: b, broader: c} | c: {en: c}",
        "a: {en", "S27", "broader says it",
    ),
    "related to a descendant": (
        "b: {en: b, related: a} | a: {en: a, broader: b}", "b: {en", "S27", "broader says it",
    ),
    "the same preferred label": (
        "a: {en: Cat} | b: {en: cat}", "b: {en", "preferred label (en) of subject/a", "alternative",
    ),
    "a label twice": (
        "a: {en: cat, alt: {en: [tabby, cat]}}", "tabby", "a label of this term in en already", "Remove it",
    ),
    "replaced by a deprecated one": (
        "a: {en: a, replaced_by: b} | b: {en: b, replaced_by: c} | c: {en: c}",
        "a: {en", "deprecated itself", "Name subject/c",
    ),
    "replaced by itself": ("a: {en: a, replaced_by: a}", "a: {en", "names the term itself", "Remove it"),
    "no URI": ("a: {en: a, matches: nonsense}", "nonsense", "no URI", "https://"),
    "one URI twice": (
        "a: {en: a, uri: 'x:y'} | b: {en: b, uri: 'x:y'}", "b: {en", "same URI as subject/a", "of its own",
    ),
    "a key twice": ("a: {en: a} | a: {en: b}", "a: {en: b", "stands here and in line 3", "Mend the YAML"),
    "a misspelt field": ("a: {en: a, broder: b}", "broder", "Extra inputs", "Did you mean 'broader'"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_names_line_and_fix(write, tmp_path, name):
    terms, at, what, remedy = FAULTS[name]
    source = "facets:\n  subject:\n    " + terms.replace(" | ", "\n    ") + "\n"
    with pytest.raises(BadInput) as refused:
        write(source)
    line = next(number for number, line in enumerate(source.splitlines(), 1) if at in line)
    assert refused.value.where == f"{tmp_path / 'vocabulary.yaml'}:{line}"
    assert what in refused.value.what
    assert remedy in refused.value.remedy


def test_the_line_is_right_where_a_term_is_spread_over_several(write, tmp_path):
    with pytest.raises(BadInput) as refused:
        write("facets:\n  a:\n    cat:\n      en: cat\n      alt:\n        en:\n          - tabby\n        qq: [x]\n")
    assert refused.value.where.endswith(":8")


def test_a_facet_may_have_a_file_of_its_own_but_not_two(write, tmp_path):
    write("facets:\n  subject:\n    cat: {en: cat}\n")
    found = write("facets:\n  mood:\n    calm: {en: calm, related: subject/cat}\n", "vocabulary/mood.yaml")
    assert set(found.terms) == {"subject/cat", "mood/calm"}
    assert found.related == {"subject/cat": ["mood/calm"], "mood/calm": ["subject/cat"]}
    with pytest.raises(BadInput) as refused:
        write("facets:\n  mood:\n    wild: {en: wild}\n", "vocabulary/other.yaml")
    assert "stands in mood.yaml already" in refused.value.what
    assert refused.value.where.endswith("other.yaml:2")


def test_a_vocabulary_in_facet_files_alone_will_do(write):
    assert set(write("facets:\n  mood:\n    calm: {en: calm}\n", "vocabulary/mood.yaml").terms) == {"mood/calm"}


def test_an_edit_counts_at_once(write):
    assert "subject/dog" not in write("facets:\n  subject:\n    cat: {en: cat}\n")
    assert "subject/dog" in write("facets:\n  subject:\n    cat: {en: cat}\n    dog: {en: dog}\n")


# -------------------------------------------------------------------------------------------- languages


@pytest.mark.parametrize(
    ("given", "written"),
    [("EN", "en"), ("pt-br", "pt-BR"), ("zh-hans", "zh-Hans"), ("sr-latn-rs", "sr-Latn-RS"), ("haw", "haw"),
     ("es-419", "es-419"), ("de-x-corp", "de-x-corp"), ("tlh", "tlh"), ("und", "und")],
)  # fmt: skip
def test_any_language_may_be_used(given, written):
    assert languages.canonical(given) == written


@given(st.text(max_size=12))
def test_any_other_text_is_refused_with_a_remedy(text):
    try:
        tag = languages.canonical(text)
    except Mistake as refused:
        remedy = refused.remedy
    else:
        assert languages.canonical(tag) == tag
        return
    assert remedy


def test_labels_are_shown_in_the_language_asked_for_or_the_next_best():
    found = vocabulary(a={"t": {"de-CH": "Velo", "en": "bicycle"}, "u": {"ja": "猫"}})
    assert found.shown("a/t", "de") == "Velo"
    assert found.shown("a/t", "fr") == "bicycle"
    assert found.shown("a/u") == "猫"


# ---------------------------------------------------------------------------------------------- finding


@pytest.mark.parametrize(
    ("word", "term"),
    [
        ("Katze", "cat"), ("Katzen", "cat"), ("CATS", "cat"), ("chats", "cat"), ("猫", "cat"), ("kattens", None),
        ("Städte", "city"), ("cities", "city"), ("star", "space"), ("launch pads", "rocket"), ("coffe", "coffee"),
        ("ancient coin", "coin"), ("transport", "vehicle"), ("grass", "grass"), ("gibberish", None), ("", None),
        ("status", None),
    ],
)  # fmt: skip
def test_words_find_terms_in_any_language_and_form(word, term):
    assert Taxonomy.load(OURS).vocabulary.find(word) == (f"subject/{term}" if term else None)


def test_a_longer_label_wins_in_running_text_and_no_word_counts_twice():
    found = vocabulary(
        s={"pad": {"en": "pad"}, "rocket": {"en": "rocket", "alt": {"en": ["launch pad"]}}, "tea": {"en": "tea"}}
    )
    hits = found.matcher.search("Two launch pads; a tea-pad.")
    assert [(hit.term_id, hit.exact) for hit in hits] == [("s/rocket", False), ("s/tea", True), ("s/pad", True)]


def test_a_known_language_keeps_other_languages_small_words_out():
    found = vocabulary(s={"coin": {"en": "coin"}, "corner": {"fr": "coin"}, "nasa": {"en": "aeronautics"}})
    assert {hit.term_id for hit in found.matcher.search("au coin de la rue", "fr")} == {"s/corner"}
    assert {hit.term_id for hit in found.matcher.search("a coin", "en-GB")} == {"s/coin"}
    assert {hit.term_id for hit in found.matcher.search("Institut aeronautics", "fr")} == {"s/nasa"}


def test_words_are_found_in_scripts_without_spaces():
    found = vocabulary(s={"coffee": {"ja": "コーヒー"}, "cat": {"zh-Hans": "猫"}})
    assert [hit.term_id for hit in found.matcher.search("白い猫がコーヒーを飲む")] == ["s/cat", "s/coffee"]


def test_a_preferred_label_goes_before_others_then_the_order_of_facets():
    found = vocabulary(b={"x": {"en": "x", "alt": {"en": ["stage"]}}}, a={"y": {"en": "stage"}, "z": {"de": "x"}})
    assert found.matcher.named("stage") == ["a/y", "b/x"]
    assert found.matcher.named("x") == ["b/x", "a/z"]


def test_a_deprecated_term_leads_to_its_replacement_or_nowhere():
    found = vocabulary(
        s={"old": {"en": "auto", "replaced_by": "new"}, "new": {"en": "car"}, "gone": {"en": "fax", "deprecated": True}}
    )
    assert found.find("auto") == "s/new"
    assert found.find("fax") is None
    assert found.current("s/gone") is None


@given(st.text(max_size=40))
def test_any_text_can_be_searched(text):
    for hit in Taxonomy.load(OURS).vocabulary.matcher.search(text):
        assert hit.length >= 1
        assert tokens(text)[hit.at : hit.at + hit.length]


@given(
    st.sampled_from(["en", "de", "fr", "es", "it", "nl", "pt", "sv", "ja", "xx"]),
    st.from_regex(r"[a-zäöü]{1,14}", fullmatch=True),
)
def test_a_word_is_a_form_of_itself_and_forms_keep_a_stem(language, word):
    found = forms(word, language)
    assert word in found
    assert all(len(form) >= min(3, len(word)) for form in found)


# ----------------------------------------------------------------------------------------------- mirror


@pytest.fixture
def editable(services, tmp_path):
    """Services whose include folder may be edited, and its vocabulary file."""
    folder = shutil.copytree(PROJECT / "include", tmp_path / "include")
    made = Services(replace(services.settings, include=folder))
    yield made, folder / "taxonomy" / "vocabulary.yaml"
    made.engine.dispose()


def test_terms_are_mirrored_whole_and_gone_ones_deprecated(editable):
    services, path = editable
    assert sync_terms(services) == len(services.taxonomy.vocabulary.terms)
    with services.session() as session:
        assert session.get_one(Term, "subject/cat").broader_id == "subject/animal"
        assert session.get_one(Term, "subject/transport").replaced_by_id == "subject/vehicle"
        assert mirrored(session).sha256 == services.taxonomy.vocabulary.sha256
    path.write_text(path.read_text().replace("    grass:", "    lawn:"))
    sync_terms(services)
    with services.session() as session:
        assert session.get_one(Term, "subject/grass").deprecated
        assert not session.get_one(Term, "subject/lawn").deprecated
        assert session.get_one(Term, "subject/grass").labels["en"] == "grass"  # to be shown where it stands
        assert "subject/grass" not in mirrored(session)


def test_a_vocabulary_that_is_mirrored_already_costs_one_look(services):
    sync_terms(services)
    statements = []
    event.listen(services.engine, "before_cursor_execute", lambda *told: statements.append(told[2]))
    sync_terms(services)
    assert len(statements) == 1
    assert "vocabulary_mirror" in statements[0]


def test_many_processes_may_mirror_at_once(services):
    others = [Services(services.settings) for _ in range(6)]
    faults = []

    def sync(one):
        try:
            sync_terms(one)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
            faults.append(error)

    threads = [threading.Thread(target=sync, args=(one,)) for one in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in others:
        one.engine.dispose()
    assert faults == []
    with services.session() as session:
        assert session.scalars(select(VocabularyMirror.sha256)).all() == [services.taxonomy.vocabulary.sha256]
        assert session.scalar(text("SELECT count(*) FROM terms")) == len(services.taxonomy.vocabulary.terms)
