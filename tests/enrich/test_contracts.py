"""Metadata contracts: what is missing is found, filled and found no more."""

from __future__ import annotations

import re
import shutil
from datetime import date

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

import world
from dam.catalog.lifecycle import HeldVersion, place_hold, release_hold
from dam.catalog.models import Batch, ContractResult, Grant, Tag, Version
from dam.enrich import contracts, expectations, results
from dam.errors import BadInput, NotFound
from dam.review import manifest, packages
from dam.settings import PROJECT
from dam.taxonomy import Taxonomy
from dam.taxonomy.contracts import FACTS, Contract, Rule, fields

BARE: dict = {"Xmp.dc.title": {'lang="x-default"': "Only a title"}}


@pytest.fixture
def batch_id(services, tmp_path):
    files = [
        world.picture(tmp_path, "FULL_ACME_20270301_v01.jpg", seed=1),
        world.picture(tmp_path, "BARE_ACME_20270301_v01.jpg", seed=2, xmp=BARE),
        world.picture(tmp_path, "SMALL_ACME_20270301_v01.jpg", seed=3, size=(400, 300)),
    ]
    made = world.drop(services, "drops/a", files)
    world.ingest(services, made)
    return made


def faults(services, batch_id):
    report = contracts.check(services, batch_id=batch_id)
    rows = {row["version_id"]: row["asset"] for row in contracts.missing(services, batch_id=batch_id)}
    return len(report.complete), {rows[key]: {f.field for f in found} for key, found in report.incomplete.items()}


def test_what_is_missing_is_found_row_by_row(services, batch_id):
    complete, found = faults(services, batch_id)
    assert complete == 1
    assert found == {
        "BARE_ACME": {"description", "alt_text", "creator", "copyright_notice", "licence"},
        "SMALL_ACME": {"width"},
    }
    with services.session() as session:
        assert session.get_one(Batch, batch_id).status == "waiting"
        assert len(session.scalars(select(ContractResult)).all()) == 3


def test_what_is_filled_in_is_missing_no_more(services, batch_id):
    contracts.check(services, batch_id=batch_id)
    row = next(r for r in contracts.missing(services, batch_id=batch_id) if r["asset"] == "BARE_ACME")
    contracts.fill(
        services,
        version_id=row["version_id"],
        values={
            "description": "Shapes.", "alt_text": "Soft shapes", "creator": "Dario", "copyright_notice": "© ACME",
            "licence": "ACME-OWNED", "holder": "ACME", "territories": ["*"], "channels": ["web"],
            "ends_on": "2030-01-01",
        },
        person="libby",
    )  # fmt: skip
    assert faults(services, batch_id)[1] == {"SMALL_ACME": {"width"}}
    with services.session() as session:
        grant = session.scalars(select(Grant).where(Grant.asset_id == row["asset_id"])).one()
        assert (grant.channels, grant.ends_on.year, grant.source) == (["web"], 2030, "person:libby")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"colour": "red"}, "is no field"),
        ({"tags": ["unicorn dust"]}, "no term of the vocabulary"),
        ({"title": 7}, "is no text"),
        ({"licence": "X"}, "holder"),
        ({"licence": "X", "holder": "Y", "ends_on": "someday"}, "is no date"),
        ({"licence": "X", "holder": "Y", "model_release": "maybe"}, "is unknown"),
        ({"title": "Good", "tags": ["unicorn dust"]}, "no term"),
    ],
)
def test_a_bad_value_is_refused_and_nothing_of_it_is_kept(services, batch_id, values, words):
    contracts.check(services, batch_id=batch_id)
    row = contracts.missing(services, batch_id=batch_id)[0]
    with pytest.raises(BadInput, match=words):
        contracts.fill(services, version_id=row["version_id"], values=values, person="libby")
    after = next(r for r in contracts.missing(services, batch_id=batch_id) if r["version_id"] == row["version_id"])
    assert after == row


def test_a_persons_tags_win_over_a_machines(services, batch_id):
    contracts.check(services, batch_id=batch_id)
    row = contracts.missing(services, batch_id=batch_id)[0]
    contracts.fill(services, version_id=row["version_id"], values={"tags": ["Katze"]}, person="libby")
    with services.session() as session:
        tags = session.scalars(select(Tag).where(Tag.version_id == row["version_id"])).all()
    assert {tag.term_id for tag in tags if tag.status == "applied"} == {"subject/cat"}
    assert all(tag.status == "refused" for tag in tags if tag.term_id != "subject/cat")


@pytest.mark.parametrize("scope", ["asset", "campaign"])
@pytest.mark.parametrize("values", [{"title": "Another"}, {"tags": ["coffee"]}, {"licence": "X", "holder": "Y"}])
def test_nothing_that_a_hold_covers_is_changed(services, tmp_path, scope, values):
    _, [version_id, _] = world.designers_batch(services, tmp_path)
    with services.session() as session:
        before = manifest.of(session, [version_id])
        asset_id = session.get_one(Version, version_id).asset_id
    covers = {"asset_id": asset_id} if scope == "asset" else {"campaign_slug": "spring-2027"}
    hold = place_hold(services, reason="claim 7", person="lena", **covers)
    with pytest.raises(HeldVersion, match=r"on legal hold \(claim 7\)"):
        contracts.fill(services, version_id=version_id, values=values, person="libby")
    with services.session() as session:
        assert manifest.of(session, [version_id]) == before
    release_hold(services, hold_id=hold, person="lena")
    assert contracts.fill(services, version_id=version_id, values=values, person="libby")["changed"]


# --------------------------------------------------------------------------------- rules and conditions


@pytest.fixture(scope="module")
def vocabulary():
    return Taxonomy.load(PROJECT / "include" / "taxonomy").vocabulary


def row(**values):
    """A row of facts of which nothing is known but these values."""
    empty = {name: [] if kind == "words" else None for name, kind in FACTS.items()}
    described = dict.fromkeys(("title", "alt_text", "credit_line", "date_created"))
    return empty | described | {"tags.subject": [], "tags.colour": []} | values


def holds(rule, facts, vocabulary):
    """What a rule means, in plain Python and nothing else."""
    value = facts[rule.field]
    if rule.rule == "present":
        return bool(value) if isinstance(value, list) else value is not None
    if rule.rule in ("at_least", "at_most"):
        size = len(value) if isinstance(value, list) else value
        return size is None or (size >= rule.value if rule.rule == "at_least" else size <= rule.value)
    if value is None or value == []:
        return True

    def is_term(word):
        return ((word if word in vocabulary else vocabulary.find(word)) or "").startswith(f"{rule.value}/")

    every = value if isinstance(value, list) else [value]
    return {
        "longest": lambda: len(value) <= rule.value,
        "shortest": lambda: len(value) >= rule.value,
        "matches": lambda: re.search(rule.value, value) is not None,
        "not_matches": lambda: re.search(rule.value, value) is None,
        "one_of": lambda: all(word in rule.value for word in every),
        "includes": lambda: rule.value in value,
        "term_of": lambda: all(map(is_term, every)),
    }[rule.rule]()


def is_there(value):
    return value is not None and value != []


def asked(rule, facts, vocabulary):
    if rule.when is None:
        return True
    counted = rule.when.rule in ("at_least", "at_most") and isinstance(facts[rule.when.field], list)
    return (counted or is_there(facts[rule.when.field])) and holds(rule.when, facts, vocabulary)


TEXT = st.text(max_size=12) | st.sampled_from(
    ["Image of a cat", "cat", "Katze", "subject/cat", "colour/red", "red\ncat"]
)
SIZES, DAYS = st.integers(0, 3000), st.dates(min_value=date(2020, 1, 1), max_value=date(2030, 1, 1))
DUTIES = st.lists(st.sampled_from(["attribute", "inform", "attribute2"]), unique=True, max_size=3)
TERMS = st.lists(st.sampled_from(["subject/cat", "subject/coffee", "colour/red"]), unique=True, max_size=3)
ROWS = st.builds(
    row,
    title=st.none() | TEXT.filter(bool), alt_text=st.none() | TEXT.filter(bool),
    credit_line=st.none() | TEXT.filter(bool),
    width=st.none() | SIZES, seconds=st.none() | st.floats(0, 9, width=32), date_created=st.none() | DAYS,
    duties=DUTIES, tags=TERMS, made_by_ai=st.sampled_from(["yes", "no"]),
)  # fmt: skip
CHECKS = st.one_of(
    st.builds(lambda f: {"field": f, "rule": "present"},
              st.sampled_from(["title", "width", "duties", "tags", "date_created"])),
    st.builds(lambda f, r, v: {"field": f, "rule": r, "value": v}, st.sampled_from(["width", "seconds"]),
              st.sampled_from(["at_least", "at_most"]), SIZES),
    st.builds(lambda f, r, v: {"field": f, "rule": r, "value": v}, st.sampled_from(["duties", "tags"]),
              st.sampled_from(["at_least", "at_most"]), st.integers(0, 3)),
    st.builds(lambda r, v: {"field": "date_created", "rule": r, "value": v},
              st.sampled_from(["at_least", "at_most"]), DAYS),
    st.builds(lambda f, r, v: {"field": f, "rule": r, "value": v}, st.sampled_from(["title", "alt_text"]),
              st.sampled_from(["longest", "shortest"]), st.integers(0, 12)),
    st.builds(lambda r, v: {"field": "title", "rule": r, "value": v}, st.sampled_from(["matches", "not_matches"]),
              st.sampled_from([r"^\w+$", "(?i)^image of", r"\d", "a|b", "(?=.*c)(?=.*a)"])),
    st.builds(lambda v: {"field": "title", "rule": "one_of", "value": v}, st.lists(TEXT, min_size=1, max_size=3)),
    st.builds(lambda v: {"field": "width", "rule": "one_of", "value": v}, st.lists(SIZES, min_size=1, max_size=3)),
    st.builds(lambda v: {"field": "duties", "rule": "one_of", "value": v},
              DUTIES.filter(bool)),
    st.builds(lambda v: {"field": "duties", "rule": "includes", "value": v}, st.sampled_from(["attribute", "inform"])),
    st.builds(lambda f, v: {"field": f, "rule": "term_of", "value": v}, st.sampled_from(["title", "tags"]),
              st.sampled_from(["subject", "colour"])),
)  # fmt: skip
RULES = st.builds(
    lambda check, when, severity: Rule(**check, when=when, severity=severity, remedy="Mend it."),
    CHECKS, st.none() | CHECKS, st.sampled_from(["must", "should"]),
)  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(ROWS, min_size=1, max_size=6), rules=st.lists(RULES, min_size=1, max_size=6))
def test_great_expectations_and_plain_python_agree(vocabulary, rows, rules):
    contract = Contract(stage="ingest", kind="image", rules=rules)
    found = [(at, rules.index(rule)) for at, rule in expectations.broken(contract, rows, vocabulary)]
    meant = [
        (at, rules.index(rule))
        for rule in rules
        for at, facts in enumerate(rows)
        if asked(rule, facts, vocabulary) and not holds(rule, facts, vocabulary)
    ]
    assert sorted(found) == sorted(meant)


@pytest.fixture
def own(services, tmp_path):
    """Return a function that adds a contract to this test's own taxonomy; ``services`` use it from then on."""
    folder = shutil.copytree(PROJECT / "include" / "taxonomy", tmp_path / "taxonomy")

    def add(text, name="own.yaml"):
        (folder / "contracts" / name).write_text(text, encoding="utf-8")
        services.__dict__["taxonomy"] = Taxonomy.load(folder)

    return add


IMAGE = "stage: ingest\nkind: image\nrules:\n"


def test_a_rule_that_should_hold_is_shown_and_holds_nothing_up(services, batch_id, own):
    own(IMAGE + "  - {field: headline, rule: present, severity: should, remedy: Add a headline.}\n", "image.yaml")
    report = contracts.check(services, batch_id=batch_id)
    assert report.incomplete == {}
    assert len(report.advice) == len(report.complete) == 3
    told = results.of_batch(services, batch_id=batch_id)
    assert (told["complete"], told["share"]) == (3, 100)
    [rule] = told["contracts"][0]["rules"]
    assert (rule["rule"], rule["severity"], rule["failed"]) == ("Headline is there", "should", 3)


def test_a_rule_with_a_condition_is_asked_only_where_it_holds(services, batch_id, own):
    own(
        IMAGE + "  - {field: credit_line, rule: present, remedy: Credit it.,"
        " when: {field: duties, rule: includes, value: attribute}}\n",
        "image.yaml",
    )
    assert contracts.check(services, batch_id=batch_id).incomplete == {}
    with services.session() as session:
        version_id = session.scalar(select(Version.id).where(Version.filename.startswith("FULL")))
    licence = {"licence": "BY", "holder": "Rachel", "duties": ["attribute"]}
    contracts.fill(services, version_id=version_id, values=licence, person="libby")
    [(found, [fault])] = contracts.check(services, batch_id=batch_id).incomplete.items()
    assert found == version_id
    assert (fault.field, fault.rule) == ("credit_line", "When duties includes attribute: credit line is there")
    contracts.fill(services, version_id=version_id, values={"credit_line": "Rachel / ACME"}, person="libby")
    assert contracts.check(services, batch_id=batch_id).incomplete == {}


def test_every_field_can_be_looked_at(services, batch_id, own):
    wanted = fields(services.taxonomy.metadata, services.taxonomy.vocabulary)
    rules = "".join(f"  - {{field: {name}, rule: present, severity: should, remedy: Fill it.}}\n" for name in wanted)
    own(IMAGE + rules, "image.yaml")
    report = contracts.check(services, batch_id=batch_id)
    assert len(report.complete) == 3
    with services.session() as session:
        full = session.scalar(select(Version.id).where(Version.filename.startswith("FULL")))
    lacking = {fault.field for fault in report.advice[full]}
    there = {"title", "width", "height", "bytes", "filename", "licence", "licence_kind", "tags", "tags.subject", "scan"}
    assert not there & lacking
    assert {"seconds", "ends_on", "days_left", "headline"} <= lacking


def test_an_own_field_is_filled_in_and_found(services, batch_id, own):
    own(IMAGE + "  - {field: headline, rule: shortest, value: 5, remedy: Say more.}\n", "image.yaml")
    with services.session() as session:
        version_id = session.scalar(select(Version.id).where(Version.filename.startswith("FULL")))
    contracts.fill(services, version_id=version_id, values={"headline": "Hi"}, person="libby")
    assert [f.problem for f in contracts.check(services, batch_id=batch_id).incomplete[version_id]] == [
        "is shorter than 5 characters."
    ]
    filled = {"headline": "Spring is here", "date_created": "2027-03-01"}
    told = contracts.fill(services, version_id=version_id, values=filled, person="libby")
    assert sorted(told["changed"]) == ["date_created", "headline"]
    assert contracts.fill(services, version_id=version_id, values=filled, person="libby")["changed"] == []
    assert contracts.check(services, batch_id=batch_id).incomplete == {}


def test_tags_of_one_facet_leave_the_others_alone(services, batch_id):
    with services.session() as session:
        version_id = session.scalar(select(Version.id).where(Version.filename.startswith("FULL")))
        colours = set(
            session.scalars(select(Tag.term_id).where(Tag.version_id == version_id, Tag.term_id.startswith("colour/")))
        )
    contracts.fill(services, version_id=version_id, values={"tags.subject": ["Katze"]}, person="libby")
    with pytest.raises(BadInput, match="no term of the facet subject"):
        contracts.fill(services, version_id=version_id, values={"tags.subject": ["red"]}, person="libby")
    with services.session() as session:
        tags = set(session.scalars(select(Tag.term_id).where(Tag.version_id == version_id, Tag.status == "applied")))
    assert {tag for tag in tags if tag.startswith("subject/")} == {"subject/cat"}
    assert colours
    assert colours <= tags


@pytest.mark.parametrize(
    ("rule", "words", "remedy"),
    [
        ("field: titel, rule: present", "no field", "Did you mean 'title'?"),
        ("field: width, rule: longest, value: 3", "can't be asked", "Use one of"),
        ("field: width, rule: at_least, value: many", "'many' can't be used", "Write a number."),
        ("field: width, rule: at_least", "None can't be used", "Write a number."),
        ("field: date_created, rule: at_least, value: 7", "7 can't be used", "a date, like 2027-03-01"),
        ("field: tags, rule: at_least, value: 1.5", "1.5 can't be used", "how many"),
        ("field: title, rule: matches, value: '('", "no regular expression", "Mend it."),
        ("field: title, rule: one_of, value: red", "can't be used", "a list"),
        ("field: tags, rule: term_of, value: subjekt", "no facet", "Did you mean 'subject'?"),
        ("field: tags.colours, rule: present", "no field", "Did you mean 'tags.colour'?"),
        ("field: title, rule: present, value: 3", "needs none", "Remove it."),
        ("field: title, rule: present, when: {field: dutys, rule: present}", "no field", "Did you mean 'duties'?"),
    ],
)
def test_a_faulty_contract_names_file_line_and_fix(services, own, rule, words, remedy):
    own(f"{IMAGE}  - {{field: title, rule: present, remedy: Fine.}}\n  - {{{rule}, remedy: Mend it.}}\n", "image.yaml")
    with pytest.raises(BadInput, match=words) as refused:
        services.taxonomy.check()
    assert refused.value.where.endswith("contracts/image.yaml:5")
    assert remedy in refused.value.remedy


def test_two_contracts_for_one_kind_are_refused(services, own):
    own(f"{IMAGE}  - {{field: title, rule: present, remedy: Fine.}}\n")
    with pytest.raises(BadInput, match="ingest/image has two contracts"):
        services.taxonomy.check()


# ------------------------------------------------------------------------------------ stages and results


def test_before_it_is_published_an_alt_text_must_fit(services, tmp_path):
    _, version_ids = world.designers_batch(services, tmp_path)
    assert contracts.check_for(services, stage="activate", version_ids=version_ids).incomplete == {}
    contracts.fill(services, version_id=version_ids[0], values={"alt_text": "Image of a cup" * 20}, person="libby")
    report = contracts.check_for(services, stage="activate", version_ids=version_ids)
    assert {key: [f.field for f in found] for key, found in report.incomplete.items()} == {version_ids[0]: ["alt_text"]}
    assert [f.severity for f in report.advice[version_ids[0]]] == ["should"]
    with services.session() as session:
        kept = session.scalars(
            select(ContractResult.complete).where(ContractResult.suite.startswith("activate/image@"))
        )
        assert sorted(kept) == [False, True, True, True]


def test_what_an_activation_lacks_is_not_the_librarians(services, batch_id):
    contracts.check(services, batch_id=batch_id)
    before = contracts.missing(services, batch_id=batch_id)
    contracts.check_for(services, stage="activate", version_ids=[row["version_id"] for row in before])
    assert contracts.missing(services, batch_id=batch_id) == before


def test_results_are_kept_rule_by_rule_and_over_time(services, batch_id, own):
    assert results.of_batch(services, batch_id=batch_id)["share"] is None
    contracts.check(services, batch_id=batch_id)
    bare = next(r for r in contracts.missing(services, batch_id=batch_id) if r["asset"] == "BARE_ACME")
    values = {
        "description": "S.",
        "alt_text": "S",
        "creator": "D",
        "copyright_notice": "©",
        "licence": "L",
        "holder": "A",
    }
    told = contracts.fill_many(services, batch_id=batch_id, values={bare["version_id"]: values}, person="libby")
    assert told["complete"] == [bare["version_id"]]
    told = results.of_batch(services, batch_id=batch_id)
    assert (told["versions"], told["complete"], told["share"]) == (3, 2, 66)
    assert [(check["versions"], check["complete"]) for check in told["history"]] == [(1, 1), (3, 1)]
    [contract] = told["contracts"]
    failed = {rule["rule"]: (rule["passed"], rule["failed"]) for rule in contract["rules"] if rule["failed"]}
    assert failed == {"Width: at least 1200": (2, 1)}
    assert not contract["changed"]
    own(IMAGE + "  - {field: title, rule: present, remedy: Fine.}\n", "image.yaml")
    [contract] = results.of_batch(services, batch_id=batch_id)["contracts"]
    assert contract["changed"]
    assert [rule["rule"] for rule in contract["rules"]] == ["Title is there", "Width: at least 1200"]
    with pytest.raises(NotFound):
        results.of_batch(services, batch_id="bat_x")


def test_complete_siblings_do_not_wait(services, batch_id):
    report = contracts.check(services, batch_id=batch_id)
    package_id = packages.freeze(services, batch_id=batch_id, version_ids=report.complete)
    with services.session() as session:
        states = dict(session.execute(select(Version.id, Version.state)).all())
        assert session.get_one(Batch, batch_id).status == "waiting"
    assert {key for key, state in states.items() if state == "in_review"} == set(report.complete)
    assert {states[key] for key in report.incomplete} == {"ingested"}
    bare = next(r for r in contracts.missing(services, batch_id=batch_id) if r["asset"] == "BARE_ACME")
    values = {
        "description": "S.",
        "alt_text": "S",
        "creator": "D",
        "copyright_notice": "©",
        "licence": "L",
        "holder": "A",
    }
    contracts.fill(services, version_id=bare["version_id"], values=values, person="libby")
    again = contracts.check(services, batch_id=batch_id)
    assert again.complete == [bare["version_id"]]  # what went on is not looked at again
    assert packages.freeze(services, batch_id=batch_id, version_ids=again.complete) != package_id
