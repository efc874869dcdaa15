"""Airflow's own REST API, asked with the person's own token: an answer here is the same act there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
from airflow.configuration import conf

from dam.errors import DamError, Refused
from dam_web.auth import Visitor

#: Questions asked for at a time; Airflow gives no more than its ``maximum_page_limit``, whatever is asked for.
PAGE = 100
#: Class of the tasks that ask for a seat, whatever a workflow calls them.
SEAT = "SeatOperator"
#: States of a task that asks nobody any more.
OVER = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})

#: State of a task that is parked until somebody answers.
PARKED = "awaiting_input"
#: What is said of a task that is not there: its run was deleted.
GONE = "gone"


class AirflowSaysNo(Refused):
    """Airflow refused the answer; ``status`` is its HTTP status."""

    def __init__(self, what: str, *, status: int, remedy: str = "") -> None:
        super().__init__(what, where="Airflow", remedy=remedy)
        self.status = status


def _base() -> str:
    """Return the api-server's address as its own network sees it."""
    internal = str(conf.get("core", "execution_api_server_url", fallback=""))
    if internal:
        return internal.rstrip("/").removesuffix("/execution")
    return str(conf.get("api", "base_url", fallback="http://localhost:8080")).rstrip("/")


def _ask(person: Visitor, method: str, path: str, **kwargs: Any) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {person.token}"}
    try:
        reply = httpx.request(method, _base() + path, headers=headers, timeout=30, **kwargs)
    except httpx.HTTPError as error:
        raise DamError("Airflow does not answer", where=_base(), remedy="Try again in a moment.") from error
    if reply.status_code == 409:
        raise AirflowSaysNo("Somebody has answered this already.", status=409, remedy="Reload the page.")
    if reply.status_code == 403:
        raise AirflowSaysNo("You are not asked here.", status=403, remedy="It is for the people it is assigned to.")
    if reply.status_code == 404:
        raise AirflowSaysNo("Airflow does not wait for this any more.", status=404, remedy="Reload the page.")
    if reply.status_code >= 400:
        raise AirflowSaysNo(f"Airflow refused it: {reply.text[:300]}", status=reply.status_code)
    return dict(reply.json())


def answer(person: Visitor, task: dict[str, Any], option: str, values: dict[str, Any]) -> None:
    """Answer a waiting human task under the person's own name.

    :param task: ``{"dag_id", "run_id", "task_id", "map_index"}``. :param option: one of its options.
    :param values: the values of its form.
    :raises AirflowSaysNo: not assigned, answered already, or not waiting any more.
    """
    _ask(person, "PATCH", _detail(task), json={"chosen_options": [option], "params_input": values})


def waits(person: Visitor, task: dict[str, Any]) -> bool:
    """Return whether a human task still waits in Airflow, or will when it is tried again.

    :param task: ``{"dag_id", "run_id", "task_id", "map_index"}``.
    """
    found = state(person, task)
    return found != GONE and found not in OVER


def state(person: Visitor, task: dict[str, Any]) -> str | None:
    """Return the state of a human task in Airflow; :data:`GONE` when there is no such task (any more).

    :param task: ``{"dag_id", "run_id", "task_id", "map_index"}``.
    """
    try:
        found = _ask(person, "GET", _detail(task))
    except AirflowSaysNo as error:
        if error.status == 404:
            return GONE
        raise
    known = found["task_instance"]["state"]
    return None if known is None else str(known)


def ask_again(person: Visitor, task: dict[str, Any]) -> None:
    """Clear a human task and what comes after it in its run, so that it looks again at what it asks for.

    :param task: ``{"dag_id", "run_id", "task_id", "map_index"}``.
    :raises AirflowSaysNo: the person may not, or there is no such task any more.
    """
    one = [task["task_id"], task["map_index"]] if task["map_index"] >= 0 else task["task_id"]
    body = {
        "dry_run": False,
        "only_failed": False,
        "reset_dag_runs": True,
        "include_downstream": True,
        "dag_run_id": task["run_id"],
        "task_ids": [one],
    }
    _ask(person, "POST", f"/api/v2/dags/{task['dag_id']}/clearTaskInstances", json=body)


def _detail(task: dict[str, Any]) -> str:
    return (
        f"/api/v2/dags/{task['dag_id']}/dagRuns/{task['run_id']}/taskInstances/{task['task_id']}"
        f"/{task['map_index']}/hitlDetails"
    )


def start(person: Visitor, dag_id: str, conf: dict[str, Any]) -> str:
    """Start a DAG under the person's own name and return the run's id.

    :raises AirflowSaysNo: the person may not start it.
    """
    body = {"logical_date": None, "conf": conf}
    return str(_ask(person, "POST", f"/api/v2/dags/{dag_id}/dagRuns", json=body)["dag_run_id"])


def questions(person: Visitor) -> list[dict[str, Any]]:
    """Return the human tasks that wait for this person, other than seats.

    :returns: rows of ``{"dag_id", "run_id", "task_id", "map_index", "subject", "body", "options", "params",
        "since"}``.
    """
    rows = []
    for detail in _waiting(person):
        task = detail["task_instance"]
        assigned = {user["id"] for user in detail["assigned_users"]}
        if person.username in assigned and task["operator"] != SEAT:
            rows.append(
                {
                    "dag_id": task["dag_id"],
                    "run_id": task["dag_run_id"],
                    "task_id": task["task_id"],
                    "map_index": task["map_index"],
                    "subject": detail["subject"],
                    "body": detail["body"] or "",
                    "options": detail["options"],
                    "params": sorted(detail["params"]),
                    "since": detail["created_at"],
                }
            )
    return rows


def _waiting(person: Visitor) -> Iterator[dict[str, Any]]:
    """Yield every human task that waits for anybody, oldest first; Airflow gives them in pages."""
    asked: dict[str, Any] = {"response_received": "false", "state": "awaiting_input", "order_by": "created_at"}
    offset, total = 0, 1
    while offset < total:
        path = "/api/v2/dags/~/dagRuns/~/hitlDetails"
        found = _ask(person, "GET", path, params=asked | {"limit": PAGE, "offset": offset})
        yield from found["hitl_details"]
        if not found["hitl_details"]:  # some were answered while we read
            return
        offset, total = offset + len(found["hitl_details"]), found["total_entries"]
