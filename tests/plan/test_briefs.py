"""Briefs: every fault at once, signing freezes and hashes."""

from __future__ import annotations

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

import world
from dam.catalog.models import Brief, Deliverable
from dam.create import deliverables
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
    "no designer": ({"owners": {"marketing_lead": "maya"}}, "owners"),
    "none": ({"deliverables": []}, "deliverables"),
    "market": (
        {"deliverables": [ROW | {"markets": ["XX"]}]},
        "deliverables[0].markets",
    ),
    "late": (
        {"deliverables": [ROW | {"due_on": "2999-01-01"}]},
        "deliverables[0].due_on",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "field"), FAULTS.values(), ids=FAULTS)
def test_a_fault_names_its_field_and_the_remedy(services, changes, field):
    faults = briefs.check(services, brief_id=draft(services, **changes))
    assert [fault.field for fault in faults] == [field]
    assert faults[0].remedy


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
    briefs.send_back(services, brief_id=brief_id, person="maya", reason="late thought")
    with services.session() as session:
        assert session.get_one(Brief, brief_id).status == "signed"


def test_only_a_marketing_lead_signs_and_only_a_brief_without_faults(services):
    brief_id = draft(services)
    with pytest.raises(Refused, match="no marketing lead"):
        briefs.sign(services, brief_id=brief_id, person="dario")
    faulty = draft(services, goals="")
    with pytest.raises(Refused, match="faults"):
        briefs.sign(services, brief_id=faulty, person="maya")


def test_the_signer_reads_all_of_it(services):
    text_shown = briefs.render(services, brief_id=draft(services))
    for words in ("20 % more visits", "48,000 EUR", "SPRING27-HERO-A_ACME_…", "DE, FR"):
        assert words in text_shown


def test_creators_are_told_what_is_missing_and_what_is_misnamed(services, tmp_path):
    opened = deliverables.open_tasks(services, brief_id=world.signed_brief(services))
    inbox, location = services.storage.inbox, opened["location"]
    inbox.put(f"{location}/SPRING27-HERO-A_ACME_20270301_v01.jpg", b"x")
    inbox.put(f"{location}/hero b final FINAL.jpg", b"x")
    inbox.put(f"{location}/SPRING27-HERO-B_ACME_20270301_v07.jpg", b"x")
    state = deliverables.arrived(services, batch_id=opened["batch_id"])
    assert not state["complete"]
    assert state["missing"] == ["SPRING27-HERO-B_ACME_…_v01"]
    assert {row["name"] for row in state["misnamed"]} == {
        "hero b final FINAL.jpg",
        "SPRING27-HERO-B_ACME_20270301_v07.jpg",
    }
    with pytest.raises(Refused, match="is missing"):
        deliverables.submit(services, batch_id=opened["batch_id"])
    inbox.put(f"{location}/SPRING27-HERO-B_ACME_20270301_v01.jpg", b"x")
    deliverables.submit(services, batch_id=opened["batch_id"])
    assert deliverables.open_tasks(services, brief_id=_only_brief(services)) == opened


def _only_brief(services):
    with services.session() as session:
        return session.scalars(select(Brief.id)).one()
