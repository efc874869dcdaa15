"""Airflow from inside its own api-server, for what a guest does: they have no log-in there to do it with.

A guest who signs a seat answers its waiting task as ``guest:<address>``; that name stands in Airflow's record too.
Who they are and what they may was checked before by :mod:`dam.review.guests` and :mod:`dam.review.seats`.
"""

from __future__ import annotations

from typing import Any

from airflow.api.common.trigger_dag import trigger_dag
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.core_api.datamodels.hitl import UpdateHITLDetailPayload
from airflow.api_fastapi.core_api.datamodels.task_instances import ClearTaskInstancesBody
from airflow.api_fastapi.core_api.routes.public.hitl import update_hitl_detail
from airflow.api_fastapi.core_api.routes.public.task_instances import post_clear_task_instances
from airflow.models.dagbag import DBDagBag
from airflow.models.hitl import HITLDetail
from airflow.models.taskinstance import TaskInstance
from airflow.sdk.exceptions import AirflowException
from airflow.utils.session import create_session
from airflow.utils.types import DagRunTriggeredByType
from fastapi import HTTPException
from sqlalchemy import select
from sqlalchemy.orm import Session

from dam.errors import DamError
from dam_web.airflow_api import OVER, AirflowSaysNo


class _Outsider(BaseUser):
    """Somebody without a log-in, by the name they act in."""

    def __init__(self, name: str) -> None:
        self.name = name

    def get_id(self) -> str:
        """Return the name."""
        return self.name

    def get_name(self) -> str:
        """Return the name."""
        return self.name


def waits(task: dict[str, Any]) -> bool:
    """Return whether a human task still waits, or will when it is tried again.

    :param task: ``{"dag_id", "run_id", "task_id", "map_index"}``.
    """
    with create_session() as session:
        found = _asked(session, task)
        return found is not None and found[0].state not in OVER


def is_over(task: dict[str, Any]) -> bool:
    """Return whether a human task is there and asks nobody any more.

    :param task: as for :func:`waits`.
    """
    with create_session() as session:
        found = _asked(session, task)
        return found is not None and found[0].state in OVER


def answer(person: str, task: dict[str, Any], option: str, values: dict[str, Any]) -> None:
    """Answer a waiting human task in a guest's name, who is let in beside those it was assigned to.

    :param task: as for :func:`waits`. :param option: one of its options. :param values: of its form.
    :raises AirflowSaysNo: it was answered already, or does not wait any more.
    """
    with create_session() as session:
        found = _asked(session, task)
        if found is None:
            raise AirflowSaysNo("Airflow does not wait for this any more.", status=404, remedy="Reload the page.")
        detail = found[1]
        if not any(user["id"] == person for user in detail.assignees or []):
            detail.assignees = [*(detail.assignees or []), {"id": person, "name": person}]
            session.flush()
        try:
            update_hitl_detail(
                dag_id=task["dag_id"],
                dag_run_id=task["run_id"],
                task_id=task["task_id"],
                map_index=task["map_index"],
                update_hitl_detail_payload=UpdateHITLDetailPayload(chosen_options=[option], params_input=values),
                user=_Outsider(person),
                session=session,
            )
        except HTTPException as error:
            session.rollback()
            told = {409: "Somebody has answered this already.", 404: "Airflow does not wait for this any more."}
            what = told.get(error.status_code, f"Airflow refused it: {error.detail}")
            raise AirflowSaysNo(what, status=error.status_code, remedy="Reload the page.") from error


def ask_again(person: str, task: dict[str, Any]) -> None:
    """Clear a human task and what comes after it in its run, as :func:`dam_web.airflow_api.ask_again` does.

    :param person: who caused it. :param task: as for :func:`waits`.
    :raises AirflowSaysNo: Airflow refused it, or there is no such task any more.
    """
    one = (task["task_id"], task["map_index"]) if task["map_index"] >= 0 else task["task_id"]
    body = ClearTaskInstancesBody(
        dry_run=False,
        only_failed=False,
        reset_dag_runs=True,
        include_downstream=True,
        dag_run_id=task["run_id"],
        task_ids=[one],
    )
    with create_session() as session:
        try:
            post_clear_task_instances(
                dag_id=task["dag_id"], dag_bag=DBDagBag(), body=body, session=session, user=_Outsider(person)
            )
        except HTTPException as error:
            session.rollback()
            raise AirflowSaysNo(f"Airflow refused it: {error.detail}", status=error.status_code) from error


def start(person: str, dag_id: str, conf: dict[str, Any]) -> None:
    """Start a DAG because of what a guest did. :raises DamError: Airflow could not."""
    try:
        trigger_dag(dag_id=dag_id, triggered_by=DagRunTriggeredByType.REST_API, triggering_user_name=person, conf=conf)
    except AirflowException as error:
        raise DamError(f"it could not be started: {error}", where=f"DAG {dag_id}") from error


def _asked(session: Session, task: dict[str, Any]) -> tuple[TaskInstance, HITLDetail] | None:
    """Return a task and its question."""
    found = session.execute(
        select(TaskInstance, HITLDetail)
        .join(HITLDetail, HITLDetail.ti_id == TaskInstance.id)
        .where(TaskInstance.dag_id == task["dag_id"], TaskInstance.run_id == task["run_id"])
        .where(TaskInstance.task_id == task["task_id"], TaskInstance.map_index == task["map_index"])
    ).one_or_none()
    return (found[0], found[1]) if found else None
