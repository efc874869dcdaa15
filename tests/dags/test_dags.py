"""Every DAG parses and keeps the house rules."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dam.settings import PROJECT

FILES = sorted((PROJECT / "dags").glob("*.py"))
STAGES = {
    "plan_brief", "create_assets", "ingest_batch", "review_package", "activate_package", "measure_nightly",
    "archive_nightly", "licence_expiry_sweep", "retention_sweep", "review_reminders",
}  # fmt: skip


@pytest.fixture(scope="module")
def bag(airflow_home):
    """All DAGs, parsed once."""
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(PROJECT / "dags")


def test_all_parse(bag):
    assert bag.import_errors == {}
    assert set(bag.dags) >= STAGES


def test_one_file_a_dag_of_the_same_name(bag):
    assert {path.stem for path in FILES} == set(bag.dags)
    for dag_id, dag in bag.dags.items():
        assert Path(dag.fileloc).stem == dag_id


def test_every_dag_explains_itself(bag):
    for dag_id, dag in bag.dags.items():
        assert dag.doc_md, dag_id
        assert dag.doc_md.lstrip().startswith("### "), f"{dag_id}: the runbook has no title"
        assert "Idempotent" in dag.doc_md or "idempotent" in dag.doc_md, dag_id


def test_every_dag_has_owner_tags_and_retries(bag):
    from dam_operators.stage import workflow

    roles = {stage.owner for stage in workflow().stages.values()}
    for dag_id, dag in bag.dags.items():
        assert "dam" in dag.tags, dag_id
        assert len(dag.tags) >= 2, dag_id
        assert dag.catchup is False, dag_id
        for task in dag.tasks:
            assert task.owner in roles, f"{dag_id}.{task.task_id}"
            if task.task_id != "check":  # a brief with faults is not better at the second try
                assert task.retries >= 2, f"{dag_id}.{task.task_id}"


def test_people_are_given_time_and_silence_never_approves(bag):
    from dam_operators.human import PersonOperator, SeatOperator

    found = 0
    for dag in bag.dags.values():
        for task in dag.tasks:
            kind = getattr(task, "operator_class", type(task))
            if not (isinstance(kind, type) and issubclass(kind, PersonOperator)):
                continue
            found += 1
            asked = task if isinstance(task, PersonOperator) else task.unmap({"seat_id": "seat_x"})
            form = {"comment", "conditions", "versions"} if issubclass(kind, SeatOperator) else {"comment"}
            assert set(asked.serialized_params) == form, f"{dag.dag_id}.{task.task_id}"
            if isinstance(task, PersonOperator):
                assert task.response_timeout is not None
                assert task.response_timeout >= timedelta(hours=1)
                assert task.execution_timeout is None
                assert task.defaults is None, f"{task.task_id} would answer by itself"
    assert found >= 5


def test_waiting_runs_do_not_block_others(bag):
    from dam_operators.human import PersonOperator

    for dag_id, dag in bag.dags.items():
        kinds = [getattr(task, "operator_class", type(task)) for task in dag.tasks]
        if any(isinstance(kind, type) and issubclass(kind, PersonOperator) for kind in kinds):
            assert dag.max_active_runs >= 4, dag_id


def uris(condition):
    """Yield the URIs of an asset or of assets joined by and/or."""
    if hasattr(condition, "objects"):
        for part in condition.objects:
            yield from uris(part)
    else:
        yield condition.uri


def test_what_ends_at_midnight_is_withdrawn_right_after_it(bag):
    from croniter import croniter

    midnight = datetime(2027, 3, 4, tzinfo=UTC)
    first = croniter(bag.dags["licence_expiry_sweep"].timetable.expression, midnight).get_next(datetime)
    assert first - midnight <= timedelta(minutes=15)


def test_stages_are_joined_without_gaps(bag):
    """Every event that one DAG emits starts another, and every event-driven DAG has an emitter."""
    from dam_operators import events

    emitted, awaited = set(), set()
    for dag in bag.dags.values():
        condition = getattr(dag.timetable, "asset_condition", None)
        awaited |= set(uris(condition)) if condition else set()
        for task in dag.tasks:
            emitted |= {asset.uri for asset in task.outlets}
    watched = {events.INBOX.uri}
    assert emitted == awaited - watched


def test_the_readme_shows_the_workflow_that_is_tested_and_it_is_short():
    source = (PROJECT / "dags" / "partner_drop.py").read_text()
    assert len(source.splitlines()) < 40
    code = source.split('"""', 2)[2].strip()
    assert code in (PROJECT / "README.md").read_text()


def test_the_clock_starts_the_nightly_work_and_the_sweeps_unless_it_is_switched_off(bag):
    """Rehearsals and tests are played with ``DAM_SCHEDULES=off``: a schedule that ignores it makes them differ."""
    by_the_clock = {dag_id for dag_id, dag in bag.dags.items() if "Cron" in type(dag.timetable).__name__}
    assert by_the_clock >= {"measure_nightly", "archive_nightly", "licence_expiry_sweep", "retention_sweep"}
    code = (
        "from airflow.dag_processing.dagbag import DagBag\n"
        f"bag = DagBag({str(PROJECT / 'dags')!r})\n"
        "print(bag.import_errors, *{type(dag.timetable).__name__ for dag in bag.dags.values()})"
    )
    off = os.environ | {"DAM_SCHEDULES": "off"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=off)
    errors, *kinds = done.stdout.splitlines()[-1].split()
    assert errors == "{}", done.stdout
    assert "PartitionedAssetTimetable" in kinds
    assert not [kind for kind in kinds if kind.startswith(("Cron", "Delta"))]


def test_the_clock_is_on_or_off_and_nothing_else(monkeypatch):
    from dam.errors import BadInput
    from dam_operators.stage import clock

    for given, schedule in (("on", "0 4 * * *"), ("", "0 4 * * *"), ("off", None)):
        monkeypatch.setenv("DAM_SCHEDULES", given)
        assert clock("0 4 * * *") == schedule
    monkeypatch.setenv("DAM_SCHEDULES", "no")
    with pytest.raises(BadInput, match="DAM_SCHEDULES"):
        clock("0 4 * * *")


def test_dags_md_is_fresh():
    from runtime.docs import TARGET, text

    assert TARGET.read_text() == text(), "run: make docs"


def test_parsing_imports_nothing_heavy():
    heavy = ("great_expectations", "pandas", "PIL", "pyvips", "numpy", "boto3", "sqlalchemy.orm.decl_api")
    code = (
        "import sys, runpy, airflow.sdk\n"
        "from airflow.providers.standard.operators import hitl\n"
        # making any Airflow Asset loads the providers' URI checkers, boto3 among them
        "airflow.sdk.Asset('baseline', uri='x://baseline')\n"
        "before = set(sys.modules)\n"
        f"for path in {[str(path) for path in FILES]!r}: runpy.run_path(path)\n"
        f"print([name for name in {heavy!r} if name in set(sys.modules) - before])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert re.search(r"\[\]\s*$", done.stdout), done.stdout


def test_the_plugin_brings_the_operators_and_nothing_that_people_edit():
    """The dag-processor loads it before it forks: what was read then would never be read again."""
    code = (
        "import sys, airflow.sdk, dam_plugin\n"
        "from dam_operators import stage\n"
        "print('dam_operators.groups' in sys.modules, stage.workflow.cache_info().currsize)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert re.search(r"True 0\s*$", done.stdout), done.stdout


def test_a_partner_drop_takes_both_its_packages_to_the_cms(bag):
    dag = bag.dags["partner_drop"]
    assert dag.get_task("claim").drop == "partners"
    for name, source in (("complete", "metadata_contract"), ("completed", "completed")):
        freeze = dag.get_task(f"freeze_{name}")
        assert (freeze.seats, freeze.channels) == (["brand_reviewer"], ["cms"])
        assert source in freeze.upstream_task_ids
        steps = ["freeze", "proofs", "seat", "verdict", "preflight", "render", "publish", "review_again"]
        for before, after in itertools.pairwise(f"{step}_{name}" for step in steps):
            assert before in dag.get_task(after).upstream_task_ids
        # what becomes void at any step goes on in review_package
        for told, by in (("next_round", "verdict"), ("review_instead", "preflight")):
            assert dag.get_task(f"{told}_{name}").upstream_task_ids == {f"{by}_{name}"}


def test_what_is_told_after_a_failure_does_not_hide_it(bag):
    """A task that runs whatever became of the ones before is a teardown: else it alone would decide the run."""
    found = [task for dag in bag.dags.values() for task in dag.tasks if task.task_id.startswith("review_again")]
    assert found
    for task in found:
        assert task.is_teardown
        assert not task.on_failure_fail_dagrun
        [publish] = task.upstream_list
        assert publish.task_id.startswith("publish")


def test_people_are_reminded_every_quarter_of_an_hour_by_one_run_at_a_time(bag):
    from dam_operators.reminders import RemindOperator

    dag = bag.dags["review_reminders"]
    assert dag.timetable.expression == "*/15 * * * *"
    assert dag.max_active_runs == 1
    [task] = dag.tasks
    assert isinstance(task, RemindOperator)


@pytest.mark.parametrize("dag_id", ["ingest_batch", "partner_drop"])
def test_a_run_without_a_chunk_is_checked_and_closed_all_the_same(bag, dag_id):
    """A batch that is taken up again has nothing for the gate: its chunks are skipped, and nothing may be with them."""
    dag = bag.dags[dag_id]
    for task_id in ("plan_tags", "metadata_contract", "empty_inbox", "close"):
        task = dag.get_task(task_id)
        assert task.trigger_rule == "none_failed_min_one_success"
        assert "claim" in task.upstream_task_ids


def test_what_is_loaded_before_tasks_are_forked_starts_no_thread_of_ours():
    """A thread or a connection that is made by an import would not live on in the forked process."""
    told = subprocess.run(
        [sys.executable, "-c", "import dam_operators.preload, threading; print(threading.active_count())"],
        env=os.environ | {"PYTHONPATH": str(PROJECT / "plugins")}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert told.stdout.split()[-1] == "1"


STAGED = """
import sys, json, shutil, pathlib
from airflow.sdk import DAG
from dam.workflow import Workflow
from dam_operators import groups, stage
known = stage.workflow()
rules = [rule.model_copy(update={"stage": number}) for rule, number in zip(known.seats, json.loads(sys.argv[1]))]
groups.workflow = lambda: known.model_copy(update={"seats": rules})
from dam_operators.base import ClaimOperator
with DAG(dag_id="x"):
    claim = ClaimOperator(task_id="claim")
    sign_off = groups.ReviewRound(claim.output, suffix="_a")
    groups.activate(sign_off.approved)
dag = claim.dag
print(json.dumps({
    "seats": sorted(task.task_id for task in dag.tasks if task.task_id.startswith(("seat", "stage"))),
    "above": {task.task_id: sorted(task.upstream_task_ids) for task in dag.tasks},
    "triggers": [task.task_id for task in dag.tasks if task.task_type.endswith("Sensor")],
}))
"""


@pytest.mark.parametrize("stages", [[1, 1], [1, 2], [2, 5]])
def test_stages_are_wired_in_order_from_the_workflow(stages):
    import json

    done = subprocess.run(
        [sys.executable, "-c", STAGED, json.dumps(stages)], capture_output=True, text=True, check=True
    )
    told = json.loads(done.stdout.splitlines()[-1])
    later = sorted(set(stages))[1:]
    names = ["seat_a", *(f"{kind}_{number}_a" for number in later for kind in ("seat", "stage"))]
    assert told["seats"] == sorted(names)
    assert told["above"]["seat_a"] == ["proofs_a"]
    before = "seat_a"
    for number in later:
        assert before in told["above"][f"stage_{number}_a"]
        assert told["above"][f"seat_{number}_a"] == [f"stage_{number}_a"]
        before = f"seat_{number}_a"
    assert before in told["above"]["verdict_a"]
    assert "proofs_a" in told["above"]["verdict_a"]  # so that a review whose seats are all skipped has a verdict
    assert "verdict_a" in told["above"]["preflight"]
    assert told["triggers"] == []
