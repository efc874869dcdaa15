"""A brief from its form to its signature, run by Airflow: drafted, checked, frozen, asked for in the room."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time

import pytest
from sqlalchemy import select

import world
from dam.catalog.models import Brief, Package, Seat
from dam.review import packages, seats
from dam.services import Services
from dam.settings import PROJECT

pytestmark = pytest.mark.slow  # Airflow runs the DAG

RUN = """
import sys, json
from airflow.dag_processing.dagbag import DagBag
done = DagBag(sys.argv[1]).dags["plan_brief"].test(run_conf=json.loads(sys.argv[2]))
print(json.dumps({"run": str(done.state)} | {
    (f"{task.task_id}/{task.map_index}" if task.map_index >= 0 else task.task_id): str(task.state)
    for task in done.get_task_instances()
}))
"""


@pytest.fixture(scope="module")
def home(airflow, tmp_path_factory):
    """The environment of an Airflow of its own, with the DAG."""
    dags = tmp_path_factory.mktemp("dags")
    shutil.copy(PROJECT / "dags" / "plan_brief.py", dags)
    return airflow(dags)


def run(home, services, form):
    env = home | {"DAM_CATALOG_URL": services.settings.catalog_url, "DAM_STORAGE_URL": services.settings.storage_url}
    done = subprocess.run(
        [sys.executable, "-c", RUN, home["AIRFLOW__CORE__DAGS_FOLDER"], json.dumps(form)],
        env=env, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"run"')]
    assert lines, done.stderr[-4000:]
    return json.loads(lines[-1])


def answer_when_asked(services, verdict):
    """Let maya answer as soon as there is a seat; Airflow then asks nobody, and draws the verdict."""

    def work():
        other = Services(services.settings)
        while True:
            with other.session() as session:
                if seat_id := session.scalar(select(Seat.id)):
                    break
            time.sleep(0.02)
        seats.decide(other, seat_id=seat_id, person="maya", verdict=verdict, comment="Read.")
        other.engine.dispose()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("verdict", "status", "told"), [("approve", "signed", "success"), ("request_changes", "returned", "skipped")]
)
def test_a_brief_is_signed_or_sent_back(home, services, verdict, status, told):
    answering = answer_when_asked(services, verdict)
    states = run(home, services, world.form())
    answering.join()
    assert states["run"] == "success", states
    assert (states["freeze"], states["proofs"], states["verdict"]) == ("success", "success", "success")
    assert (states["seat/0"], states["brief_signed"]) == ("skipped", told)
    assert (states["next_round"], states["freed"]) == ("skipped", "skipped")
    with services.session() as session:
        assert session.scalars(select(Brief.status)).one() == status
        package = session.scalars(select(Package)).one()
        assert package.purpose == "brief"
    assert packages.verdict(services, package_id=package.id)["purpose"] == "brief"


def test_a_brief_with_faults_is_no_package(home, services):
    states = run(home, services, world.form(deliverables=[]))
    assert (states["run"], states["check"], states["freeze"]) == ("failed", "failed", "upstream_failed")
    with services.session() as session:
        assert session.scalars(select(Package)).all() == []
