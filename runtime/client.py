"""A person at the HTTP API: logs in, starts DAGs, answers questions, and waits for what should happen."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import httpx

from dam.errors import DamError

Answer = TypeVar("Answer")
DONE = {"success", "failed"}
#: States of a task instance that has taken its answer.
TAKEN = {"success", "failed", "skipped"}
#: Seconds a person takes to read a question. An answer in the very second in which Airflow parks the task
#: is not lost, but it costs a retry.
READING = 4.0
#: Seconds to wait for what Airflow does next: long, because killed workers or a busy machine take their time,
#: and because waiting costs nothing when all is well.
PATIENCE, AWAY = 600.0, 300.0


class TookTooLong(DamError):
    """Something that should have happened did not, in the time given."""


class RunFailed(DamError):
    """A DAG run failed; the message carries the failing task's log."""


def wait_for(what: str, look: Callable[[], Answer | None], seconds: float = PATIENCE, pause: float = 0.5) -> Answer:
    """Return the first answer of ``look`` that is not None.

    :param what: what is waited for, for the error. :param look: is called every ``pause`` seconds.
    :raises TookTooLong: after ``seconds``.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = look()
        if answer is not None:
            return answer
        time.sleep(pause)
    raise TookTooLong(f"{what} did not happen within {seconds:.0f} s")


class Patient(httpx.HTTPTransport):
    """Asks again for some minutes when the server is away, as people reload a page.

    Every request this module makes may be sent twice: answers, decisions and metadata come to the same, and
    a DAG run carries an id of our own.
    """

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; each try has a connection of its own when the last one broke."""
        end = time.monotonic() + AWAY
        while True:
            try:
                return super().handle_request(request)
            except httpx.TransportError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.5)


class Person:
    """One logged-in person.

    :param url: base URL of Airflow. :param username: of the person. :param password: theirs.
    """

    def __init__(self, url: str, username: str, password: str) -> None:
        self.username = username
        self.http = httpx.Client(base_url=url, timeout=60, headers={"X-Requested-With": "dam"}, transport=Patient())
        reply = self.http.post("/auth/token", json={"username": username, "password": password})
        reply.raise_for_status()
        self.http.headers["Authorization"] = f"Bearer {reply.json()['access_token']}"

    def _get(self, path: str, **params: Any) -> dict[str, Any]:
        reply = self.http.get(path, params=params)
        reply.raise_for_status()
        return dict(reply.json())

    # ------------------------------------------------------------------------------------ DAG runs

    def trigger(self, dag_id: str, conf: dict[str, Any] | None = None) -> str:
        """Start a DAG by hand and return the run's id."""
        run_id = f"manual__{datetime.now(UTC).isoformat()}"
        asked = {"dag_run_id": run_id, "logical_date": None, "conf": conf or {}}
        reply = self.http.post(f"/api/v2/dags/{dag_id}/dagRuns", json=asked)
        if reply.status_code >= 400 and reply.status_code != 409:  # 409: an answer was lost, the run is there
            raise RunFailed(f"{dag_id} could not be started: {reply.text}", where=self.username)
        return run_id

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        """Return the DAG's newest runs."""
        return list(self._get(f"/api/v2/dags/{dag_id}/dagRuns", limit=100, order_by="-run_after")["dag_runs"])

    def run_of(self, dag_id: str, key: str, seconds: float = PATIENCE) -> str:
        """Wait for the run that an event with this key started, and return its id.

        An event that was told twice starts a second run, which finds the key claimed and ends; of several runs,
        it is the one that claimed the key.
        """

        def claimed(run_id: str) -> bool:
            tasks = self.tasks(dag_id, run_id)
            return any(task["task_id"] == "claim" and task["state"] == "success" for task in tasks)

        def look() -> str | None:
            found = [str(run["dag_run_id"]) for run in self.runs(dag_id) if run["partition_key"] == key]
            return found[0] if len(found) == 1 else next(filter(claimed, found), None)

        return wait_for(f"{dag_id} for {key}", look, seconds)

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """Return one run."""
        return self._get(f"/api/v2/dags/{dag_id}/dagRuns/{run_id}")

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return a run's task instances."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
        return list(self._get(path, limit=500)["task_instances"])

    def finished(self, dag_id: str, run_id: str, seconds: float = PATIENCE) -> dict[str, Any]:
        """Wait for a run's end and return it.

        :raises RunFailed: it failed; the message carries the failing task's log.
        """

        def look() -> dict[str, Any] | None:
            run = self.run(dag_id, run_id)
            return run if run["state"] in DONE else None

        run = wait_for(f"the end of {dag_id} {run_id}", look, seconds)
        if run["state"] == "failed":
            raise RunFailed(f"{dag_id} {run_id} failed.\n{self.failure(dag_id, run_id)}")
        return run

    def failure(self, dag_id: str, run_id: str) -> str:
        """Return the log of the first failed task of a run."""
        for task in self.tasks(dag_id, run_id):
            if task["state"] == "failed":
                log = self.http.get(
                    f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task['task_id']}/logs/{task['try_number']}",
                    params={"map_index": task["map_index"]},
                    headers={"Accept": "application/x-ndjson"},
                )
                return f"{task['task_id']} [{task['map_index']}]\n{log.text[-6000:]}"
        return "no task failed"

    def result(self, dag_id: str, run_id: str, task_id: str, *, key: str = "return_value") -> Any:
        """Return a task's XCom result, or None when there is none."""
        reply = self.http.get(
            f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}",
            params={"map_index": -1, "deserialize": "true"},
        )
        return reply.json()["value"] if reply.status_code == 200 else None

    def wait_result(self, dag_id: str, run_id: str, task_id: str, seconds: float = PATIENCE) -> Any:
        """Wait until a task has a result, and return it; a run that failed before raises."""

        def look() -> Any:
            found = self.result(dag_id, run_id, task_id)
            if found is None and self.run(dag_id, run_id)["state"] == "failed":
                raise RunFailed(f"{dag_id} {run_id} failed.\n{self.failure(dag_id, run_id)}")
            return found

        return wait_for(f"the result of {dag_id}.{task_id}", look, seconds)

    # ----------------------------------------------------------------------------------- questions

    def question(self, dag_id: str, run_id: str, task_id: str, seconds: float = PATIENCE) -> dict[str, Any]:
        """Wait for a question this person may answer, and return it (Airflow's HITL detail)."""

        def look() -> dict[str, Any] | None:
            path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/hitlDetails"
            for detail in self._get(path)["hitl_details"]:
                task = detail["task_instance"]
                asked = {user["id"] for user in detail["assigned_users"]}
                if (
                    task["task_id"] == task_id
                    and self.username in asked
                    and not detail["response_received"]
                    and task["state"] == "awaiting_input"
                ):
                    return dict(detail)
            if self.run(dag_id, run_id)["state"] in DONE:
                raise RunFailed(
                    f"{dag_id} {run_id} ended before {self.username} was asked.\n" + self.failure(dag_id, run_id)
                )
            return None

        question = wait_for(f"the question {dag_id}.{task_id} to {self.username}", look, seconds)
        time.sleep(READING)
        return question

    def answer(self, question: dict[str, Any], option: str, **values: Any) -> None:
        """Answer a question on Airflow's own API, as the Required Actions page does, and see it taken.

        An answer that comes while Airflow is still busy parking the task makes it retry the task, which
        may ask again; a person then answers again, and so does this.

        :raises RunFailed: Airflow refused the answer.
        """
        task = question["task_instance"]
        path = f"/api/v2/dags/{task['dag_id']}/dagRuns/{task['dag_run_id']}/taskInstances/{task['task_id']}"
        place = f"/{task['map_index']}"
        body = {"chosen_options": [option], "params_input": values}
        answered = 0

        def look() -> bool | None:
            nonlocal answered
            now = self._get(path + (place if task["map_index"] >= 0 else ""))
            if now["state"] in TAKEN:
                return True
            if now["state"] == "awaiting_input" and now["try_number"] > answered:
                time.sleep(READING if answered else 0)
                reply = self.http.patch(f"{path}{place}/hitlDetails", json=body)
                if reply.status_code >= 400:
                    raise RunFailed(f"{self.username} could not answer: {reply.text}", where=task["task_id"])
                answered = now["try_number"]
            return None

        wait_for(f"{task['dag_id']}.{task['task_id']} taking the answer", look)
