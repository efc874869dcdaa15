"""The workflow template: who is who, what each stage is for, and where a fault is."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from dam.errors import BadInput
from dam.settings import PROJECT
from dam.workflow import STAGES, Workflow

PATH = PROJECT / "include" / "templates" / "workflow.yaml"

SEED = {
    "plan": ("marketing_lead", "brief signed off"),
    "create": ("designer", "files uploaded"),
    "review": ("brand_reviewer", "approved status applied"),
    "activate": ("digital_team", "live URL stored"),
    "measure": ("marketing_ops", "report logged"),
    "archive": ("dam_admin", "archive confirmation"),
}


@pytest.fixture
def workflow():
    return Workflow.load(PATH)


def test_the_seed_template(workflow):
    assert tuple(workflow.stages) == STAGES
    assert {name: (s.owner, s.exit_criterion) for name, s in workflow.stages.items() if name in SEED} == SEED
    assert [(seat.role, seat.veto) for seat in workflow.seats] == [("brand_reviewer", True), ("legal_reviewer", True)]


def test_every_role_is_held_by_somebody_with_an_address(workflow):
    roles = {role for person in workflow.people.values() for role in person.roles}
    assert roles == {
        "marketing_lead", "designer", "brand_reviewer", "legal_reviewer", "librarian", "digital_team",
        "marketing_ops", "dam_admin", "viewer",
    }  # fmt: skip
    assert all(person.email.endswith("@acme.example") for person in workflow.people.values())
    assert workflow.members("marketing_lead") == ["maya"]
    assert workflow.has_role("maya", "marketing_lead")
    assert not workflow.has_role("maya", "designer")
    assert not workflow.has_role("nobody", "designer")


def test_a_role_without_a_rule_has_a_veto(workflow):
    assert workflow.seat_rule("legal_reviewer") in workflow.seats
    rule = workflow.seat_rule("librarian")
    assert (rule.veto, rule.due_hours) == (True, workflow.stages["review"].deadline_hours)


FAULTS = {
    "typo in a key": ("consulted: [legal_reviewer, ", "consultd: [legal_reviewer, ", "consultd"),
    "role nobody holds": ("owner: designer", "owner: designers", "nobody holds the role designers"),
    "role in the RACI": ("informed: [designer]", "informed: [desinger]", "nobody holds the role desinger"),
    "role of a seat": ("{role: legal_reviewer,", "{role: lawyer,", "nobody holds the role lawyer"),
    "deadline": ("deadline_hours: 336", "deadline_hours: -1", "greater than 0"),
    "address": ("email: dario@acme.example", "email: dario", "email"),
    "log-in": ("roles: [viewer], airflow_role: viewer", "roles: [viewer], airflow_role: king", "airflow_role"),
    "stage": ("  measure:", "  mesure:", "measure"),
    "two deadlines": ("veto: true, due_days: 3}", "veto: true, due_days: 3, due_hours: 4}", "one deadline"),
    "no deadline": ("veto: true, due_days: 3}", "veto: true}", "one deadline"),
    "a calendar for hours": ("due_days: 3}", "due_hours: 3, calendar: house}", "only working days need a calendar"),
    "a calendar that is not there": ("due_days: 3}", "due_days: 3, calendar: haus}", "there is no calendar haus"),
    "more signatures than people": (
        "{role: brand_reviewer, veto: true",
        "{role: brand_reviewer, signatures: 2",
        "only bea may sign",
    ),
    "a role twice": ("{role: legal_reviewer, veto", "{role: brand_reviewer, stage: 2, veto", "has a seat already"),
    "a condition": ("due_days: 3}", "due_days: 3, when: {people: true}}", "people"),
    "a kind of media": ("due_days: 3}", "due_days: 3, when: {media: [film]}}", "media"),
    "time zone": ("Europe/Berlin", "Europe/Berlinn", "there is no time zone"),
    "hours": ("09:00-18:00", "18:00-09:00", "are no hours of a day"),
    "holidays": ("holidays: DE", "holidays: Germany", "holidays"),
    "a country without holidays": ("holidays: DE", "holidays: XX", "no holidays are known for 'XX'"),
    "the rest": ("rest: goes_on", "rest: goes", "rest"),
    "makers": ("makers_never_sign: true", "makers_never_sign: false", "makers_never_sign"),
}


@pytest.mark.parametrize(("good", "bad", "told"), FAULTS.values(), ids=FAULTS)
def test_a_fault_names_file_line_and_remedy(tmp_path, good, bad, told):
    text = PATH.read_text()
    assert good in text
    path = tmp_path / "workflow.yaml"
    path.write_text(text.replace(good, bad, 1))
    with pytest.raises(BadInput) as fault:
        Workflow.load_whole(path)
    file, _, line = fault.value.where.rpartition(":")
    assert file == str(path)
    assert told in fault.value.what
    assert fault.value.remedy
    changed = next(number for number, row in enumerate(path.read_text().splitlines(), 1) if bad in row)
    if bad != "  mesure:":  # a stage that is missing has no line of its own
        assert changed - 1 <= int(line) <= changed


def test_broken_yaml_and_a_missing_file_are_told(tmp_path):
    path = tmp_path / "workflow.yaml"
    with pytest.raises(BadInput, match="does not exist"):
        Workflow.load(path)
    path.write_text("people:\n  maya: [\n")
    with pytest.raises(BadInput, match=r"workflow\.yaml:3"):
        Workflow.load(path)


def test_a_changed_file_is_read_again_and_an_unchanged_one_is_not(tmp_path):
    path = tmp_path / "workflow.yaml"
    path.write_text(PATH.read_text())
    first = Workflow.load(path)
    assert Workflow.load(path) is first
    path.write_text(PATH.read_text().replace("deadline_hours: 72", "deadline_hours: 71"))
    os.utime(path, ns=(1, 1))
    assert Workflow.load(path).stages["plan"].deadline_hours == 71


def test_loading_at_dag_parse_time_imports_nothing_heavy():
    heavy = ["sqlalchemy", "pandas", "numpy", "pyvips", "PIL", "boto3", "great_expectations", "jinja2", "airflow"]
    code = f"import sys, dam.workflow; print([m for m in {heavy} if m in sys.modules])"
    told = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(PROJECT / "plugins")}, capture_output=True, text=True
    )
    assert (told.stdout, told.stderr) == ("[]\n", "")


def test_stages_and_deadlines_are_read_as_they_are_written(tmp_path):
    path = tmp_path / "workflow.yaml"
    text = PATH.read_text()
    path.write_text(
        text.replace(
            "{role: legal_reviewer, veto: true, due_days: 3}", "{role: legal_reviewer, stage: 3, due_hours: 5}"
        )
    )
    found = Workflow.load_whole(path)
    assert found.review_stages() == [1, 3]
    brand, legal = found.seats
    assert (brand.due, legal.due) == ({"days": 3, "calendar": None}, {"hours": 5})
    monday = datetime(2027, 3, 1, 10, tzinfo=UTC)
    assert found.due_at(legal.due, monday) == monday + timedelta(hours=5)
    assert found.due_at(brand.due, monday) == found.calendars["house"].add(monday, 3)
    assert found.due_at({"days": 1, "calendar": "gone"}, monday) == found.calendars["house"].add(monday, 1)
    assert found.due_at({}, monday) == monday + timedelta(hours=found.stages["review"].deadline_hours)


def test_the_terms_that_say_that_people_are_shown_are_in_the_vocabulary(workflow, services):
    vocabulary = services.taxonomy.vocabulary
    assert workflow.policy.people_shown
    assert all(term in vocabulary for term in workflow.policy.people_shown)
