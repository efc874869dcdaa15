"""The workflow template: who is who, what each stage is for, and where a fault is."""

from __future__ import annotations

import os
import subprocess
import sys

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
    "makers": ("makers_never_sign: true", "makers_never_sign: false", "makers_never_sign"),
}


@pytest.mark.parametrize(("good", "bad", "told"), FAULTS.values(), ids=FAULTS)
def test_a_fault_names_file_line_and_remedy(tmp_path, good, bad, told):
    text = PATH.read_text()
    assert good in text
    path = tmp_path / "workflow.yaml"
    path.write_text(text.replace(good, bad, 1))
    with pytest.raises(BadInput) as fault:
        Workflow.load(path)
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
