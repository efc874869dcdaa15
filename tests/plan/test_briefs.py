"""Briefs: every fault at once, signing freezes and hashes."""

from __future__ import annotations

import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

import world
from dam.catalog.models import Brief, Campaign, Deliverable
from dam.errors import BadInput, Refused
from dam.plan import briefs


def draft(services, **changes):
    return str(briefs.draft(services, form=world.form(**changes), drafted_by="maya")["brief_id"])


def test_a_good_form_has_no_fault(services):
    assert briefs.check(services, brief_id=draft(services)) == []


def test_the_same_run_drafts_the_same_brief(services):
    first = briefs.draft(services, form=world.form(), drafted_by="maya", run="plan_brief/1")
    assert briefs.draft(services, form=world.form(), drafted_by="maya", run="plan_brief/1") == first
    again = briefs.draft(services, form=world.form(), drafted_by="maya", run="plan_brief/2")
    assert again["number"] == first["number"] + 1


ROW = {"project": "A", "title": "t", "channels": ["web"], "markets": ["DE"], "due_on": world.TODAY.isoformat()}
FAULTS = {
    "goals": ({"goals": " "}, "goals"),
    "owner": ({"owners": {"marketing_lead": "vic", "designer": "dario"}}, "owners.marketing_lead"),
    "no designer": ({"owners": {"marketing_lead": "maya"}}, "owners.designer"),
    "none": ({"deliverables": []}, "deliverables"),
    "market": (
        {"deliverables": [ROW | {"markets": ["XX"]}]},
        "deliverables[0].markets",
    ),
    "late": (
        {"deliverables": [ROW | {"due_on": "2999-01-01"}]},
        "deliverables[0].due_on",
    ),
    "channel the campaign has not": ({"channels": ["cms"], "deliverables": [ROW]}, "deliverables[0].channels"),
    "market the campaign has not": ({"markets": ["FR"], "deliverables": [ROW]}, "deliverables[0].markets"),
    "same name twice": ({"deliverables": [ROW, ROW | {"title": "u"}]}, "deliverables[1].project"),
    "same idea twice": ({"deliverables": [ROW, ROW | {"project": "B"}]}, "deliverables[1].variant"),
    "variant": ({"deliverables": [ROW | {"variant": ["A"]}]}, "deliverables[0].variant"),
    "title": ({"deliverables": [ROW | {"title": ["t"]}]}, "deliverables[0].title"),
    "kind": ({"deliverables": [ROW | {"kind": "smell"}]}, "deliverables[0].kind"),
    "target": ({"kpi_targets": {"approval_hours": "soon"}}, "kpi_targets.approval_hours"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "field"), FAULTS.values(), ids=FAULTS)
def test_a_fault_names_its_field_and_the_remedy(services, changes, field):
    faults = briefs.check(services, brief_id=draft(services, **changes))
    assert {fault.field for fault in faults} == {field}
    assert all(fault.remedy for fault in faults)


def test_variants_of_one_idea_are_deliverables_of_their_own(services):
    rows = [ROW | {"project": f"HERO-{variant}", "variant": variant} for variant in "AB"]
    world.signed_brief(services, deliverables=rows)
    with services.session() as session:
        assert sorted((row.title, row.variant) for row in session.scalars(select(Deliverable))) == [
            ("t", "A"),
            ("t", "B"),
        ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
COLUMNS = ("project", "title", "kind", "variant", "channels", "markets", "due_on")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.dictionaries(st.sampled_from(sorted(briefs.FORM.keys() - {"template"})), JSON, min_size=1),
    row=st.dictionaries(st.sampled_from(COLUMNS), JSON),
)
def test_whatever_is_filled_in_is_answered_with_faults(services, changes, row):
    filled = world.form()
    filled["deliverables"][0].update(row)
    told = briefs.faults_of(services, {"currency": "EUR", "kpi_targets": {"hits": 1}} | filled | changes)
    assert all(fault.field and fault.problem and fault.remedy for fault in told)
    assert {fault.field.split(".")[0].split("[")[0] for fault in told} <= briefs.FORM.keys()


BROKEN = {"budget": "NaN", "owners": ["maya"], "kpi_targets": "many", "currency": 5, "channels": "web"}


@pytest.mark.parametrize(("field", "value"), [*BROKEN.items(), ("budget", float("inf")), ("budget", 10**30)])
def test_a_campaign_that_can_not_be_is_not_made(services, field, value):
    with pytest.raises(BadInput, match=f"  {field}"):
        draft(services, **{field: value})
    with services.session() as session:
        assert session.scalars(select(Campaign)).all() == []


def test_a_form_that_can_not_be_a_brief_lists_everything(services):
    with pytest.raises(BadInput) as refused:
        draft(services, slug="Not A Slug", starts_on="soon", channels=["fax"], budget=-1, goals="")
    for field in ("slug", "starts_on", "channels", "budget", "goals"):
        assert f"  {field}:" in str(refused.value)


def test_signing_freezes_and_hashes(services):
    brief_id = world.signed_brief(services)
    with services.session() as session:
        brief = session.get_one(Brief, brief_id)
        assert (brief.status, brief.signed_by, len(brief.sha256)) == ("signed", "maya", 64)
        assert sorted(session.scalars(select(Deliverable.project))) == ["SPRING27-HERO-A", "SPRING27-HERO-B"]
    with pytest.raises(IntegrityError, match="never changes"), services.session() as session:
        session.execute(text("UPDATE briefs SET content = '{}'"))
    world.send_brief_back(services, brief_id, reason="late thought")
    with services.session() as session:
        assert session.get_one(Brief, brief_id).status == "signed"


def test_a_brief_that_was_sent_back_gets_the_next_number(services):
    returned = draft(services)
    world.send_brief_back(services, returned)
    with pytest.raises(Refused, match="sent back"):
        world.sign_brief(services, returned)
    again = briefs.draft(services, form=world.form(budget=30000), drafted_by="momo")
    assert again["number"] == 2
    assert world.sign_brief(services, again["brief_id"])["status"] == "signed"
    with services.session() as session:
        assert session.scalars(select(Campaign.budget)).one() == 30000


def test_an_older_brief_is_not_signed_over_a_newer_one(services):
    older = draft(services)
    newer = world.signed_brief(services, budget=30000)
    with pytest.raises(Refused, match="brief 2 of spring-2027 is signed already"):
        world.sign_brief(services, older)
    assert world.sign_brief(services, newer)["status"] == "signed"


def test_two_workers_on_one_run_draft_one_brief(services):
    made = []
    threads = [
        threading.Thread(
            target=lambda: made.append(briefs.draft(services, form=world.form(), drafted_by="maya", run="plan/1"))
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [brief["number"] for brief in made] == [1, 1, 1, 1]


def test_the_same_content_has_the_same_hash_and_another_another(services):
    first, again, other = (
        world.sign_brief(services, draft(services, goals=goals))["sha256"]
        for goals in ("more visits", "more visits", "fewer visits")
    )
    assert first == again != other


def test_only_a_brief_without_faults_is_signed(services):
    faulty = draft(services, goals="")
    with pytest.raises(Refused, match="faults"):
        world.sign_brief(services, faulty)


def test_the_signer_reads_all_of_it(services):
    text_shown = "\n".join(text for _, text in briefs.sections(services, world.form(kpi_targets={}, currency="EUR")))
    for words in ("20 % more visits", "48,000 EUR", "SPRING27-HERO-A_ACME_…", "DE, FR"):
        assert words in text_shown
