"""A brief from its form to its signature, run by Airflow: drafted, checked, frozen, asked for in the room."""

from __future__ import annotations

import shutil
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


@pytest.fixture(scope="module")
def home(airflow, tmp_path_factory):
    """The environment of an Airflow of its own, with the DAG."""
    dags = tmp_path_factory.mktemp("dags")
    shutil.copy(PROJECT / "dags" / "plan_brief.py", dags)
    return airflow(dags)


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
def test_a_brief_is_signed_or_sent_back(play, services, verdict, status, told):
    answering = answer_when_asked(services, verdict)
    states = play("plan_brief", world.form())
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


def test_a_brief_with_faults_is_no_package(play, services):
    states = play("plan_brief", world.form(deliverables=[]))
    assert (states["run"], states["check"], states["freeze"]) == ("failed", "failed", "upstream_failed")
    with services.session() as session:
        assert session.scalars(select(Package)).all() == []
