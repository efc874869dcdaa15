"""A guest's answer reaches Airflow: rows in a real metadata database, and Airflow's own code that resumes a task."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow
GUEST = "guest:eva@studio.example"


@pytest.fixture
def asked(auth):
    """A task that waits for lena; its place, and a function that reads its row and its question."""
    import uuid

    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.hitl import HITLDetail
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.models.taskinstance import TaskInstance
    from airflow.providers.standard.operators.hitl import HITLOperator
    from airflow.sdk import DAG
    from airflow.serialization.serialized_objects import LazyDeserializedDAG
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState, TaskInstanceState
    from airflow.utils.types import DagRunTriggeredByType, DagRunType
    from sqlalchemy import select

    dag_id, run_id = f"d_{uuid.uuid4().hex[:8]}", "r1"
    with DAG(dag_id, schedule=None) as dag:
        HITLOperator(task_id="seat", subject="Review", options=["Approve", "Reject"])
    from airflow._shared.timezones import timezone

    with create_session() as session:
        if session.get(DagBundleModel, "dags-folder") is None:
            session.add(DagBundleModel(name="dags-folder"))
            session.flush()
        from airflow.models.dag import DagModel

        session.add(DagModel(dag_id=dag_id, bundle_name="dags-folder", fileloc="d.py", is_paused=False))
        session.flush()
        SerializedDagModel.write_dag(LazyDeserializedDAG.from_dag(dag), bundle_name="dags-folder", session=session)
        session.flush()
        from airflow.models.dagbag import DBDagBag

        known = DBDagBag().get_latest_version_of_dag(dag_id, session=session)
        known.create_dagrun(
            run_id=run_id,
            run_after=timezone.utcnow(),
            run_type=DagRunType.MANUAL,
            state=DagRunState.RUNNING,
            triggered_by=DagRunTriggeredByType.TEST,
            session=session,
        )
        session.flush()
        ti = session.scalar(select(TaskInstance).where(TaskInstance.dag_id == dag_id))
        ti.state = TaskInstanceState.AWAITING_INPUT
        session.add(
            HITLDetail(
                ti_id=ti.id,
                options=["Approve", "Reject"],
                subject="Review",
                body="",
                defaults=None,
                multiple=False,
                params={},
                assignees=[{"id": "lena", "name": "lena"}],
            )
        )
    place = {"dag_id": dag_id, "run_id": run_id, "task_id": "seat", "map_index": -1}

    def read():
        with create_session() as session:
            ti = session.scalar(select(TaskInstance).where(TaskInstance.dag_id == dag_id))
            return ti.state, session.get(HITLDetail, ti.id), dict(ti.next_kwargs or {})

    return place, read


def test_a_guest_answers_a_task_that_waits_for_others(asked):
    from dam_web import inside
    from dam_web.airflow_api import AirflowSaysNo

    place, read = asked
    assert inside.waits(place)
    inside.answer(GUEST, place, "Approve", {"comment": "Fine."})
    state, detail, resumed = read()
    assert state == "scheduled"
    assert detail.responded_by == {"id": GUEST, "name": GUEST}
    assert (detail.chosen_options, detail.params_input) == (["Approve"], {"comment": "Fine."})
    assert "Approve" in str(resumed)
    with pytest.raises(AirflowSaysNo) as refused:
        inside.answer("guest:max@studio.example", place, "Reject", {})
    assert refused.value.status == 409
    assert read()[1].responded_by["id"] == GUEST


def test_an_answer_that_is_none_changes_nothing(asked):
    from dam_web import inside
    from dam_web.airflow_api import AirflowSaysNo

    place, read = asked
    with pytest.raises(AirflowSaysNo) as refused:
        inside.answer(GUEST, place, "Perhaps", {})
    assert refused.value.status == 400
    state, detail, _ = read()
    assert (state, detail.responded_at, [user["id"] for user in detail.assignees]) == ("awaiting_input", None, ["lena"])


def test_what_does_not_wait_is_told(asked):
    from dam_web import inside
    from dam_web.airflow_api import AirflowSaysNo

    gone = asked[0] | {"run_id": "r2"}
    assert not inside.waits(gone)
    with pytest.raises(AirflowSaysNo) as refused:
        inside.answer(GUEST, gone, "Approve", {})
    assert refused.value.status == 404


def test_a_run_is_started_in_a_guests_name(asked):
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select

    from dam.errors import DamError
    from dam_web import inside

    dag_id = asked[0]["dag_id"]
    inside.start(GUEST, dag_id, {"key": "pkg_x"})
    with create_session() as session:
        runs = session.scalars(select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id != "r1")).all()
        assert [(run.triggering_user_name, run.conf) for run in runs] == [(GUEST, {"key": "pkg_x"})]
    with pytest.raises(DamError, match="could not be started"):
        inside.start(GUEST, "no_such_dag", {})


def test_a_task_that_is_over_asks_again_and_its_run_goes_on(asked):
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select

    from dam_web import inside
    from dam_web.airflow_api import AirflowSaysNo

    place, _ = asked
    assert not inside.is_over(place)
    with create_session() as session:
        session.scalar(select(TaskInstance).where(TaskInstance.dag_id == place["dag_id"])).state = "success"
        session.scalar(select(DagRun).where(DagRun.dag_id == place["dag_id"])).state = "success"
    assert inside.is_over(place)
    inside.ask_again(GUEST, place)
    with create_session() as session:
        ti = session.scalar(select(TaskInstance).where(TaskInstance.dag_id == place["dag_id"]))
        assert (ti.state, session.scalar(select(DagRun.state).where(DagRun.dag_id == place["dag_id"]))) == (
            None, "queued",
        )  # fmt: skip
    gone = place | {"run_id": "r2"}
    assert not inside.is_over(gone)
    with pytest.raises(AirflowSaysNo) as refused:
        inside.ask_again(GUEST, gone)
    assert refused.value.status == 404
