"""A review in stages, run by Airflow: the second stage opens when the first has closed, or is passed over."""

from __future__ import annotations

import threading
import time

import pytest

import world
from dam.catalog.models import Seat
from dam.review import packages, seats
from dam.services import Services

pytestmark = pytest.mark.slow  # Airflow runs the DAG

DAG = """
from airflow.sdk import DAG
from dam_operators import groups, stage
from dam_operators.base import ClaimOperator

known = stage.workflow()
rules = [rule.model_copy(update={"stage": number}) for number, rule in enumerate(known.seats, start=1)]
groups.workflow = lambda: known.model_copy(update={"seats": rules})

with DAG(dag_id="staged", params=stage.KEY_PARAMS, **stage.dag_settings("review")):
    sign_off = groups.ReviewRound(ClaimOperator(task_id="claim").output)
"""


@pytest.fixture(scope="module")
def home(airflow, tmp_path_factory):
    """The environment of an Airflow of its own, with the staged DAG."""
    dags = tmp_path_factory.mktemp("dags")
    (dags / "staged.py").write_text(DAG)
    return airflow(dags)


@pytest.fixture
def staged(services, tmp_path):
    """A package whose second seat is of stage 2; its id and the seats' ids."""
    batch_id, complete = world.designers_batch(services, tmp_path)
    package_id = packages.freeze(services, batch_id=batch_id, version_ids=complete)
    first, second = (seat["seat_id"] for seat in packages.seats(services, package_id=package_id))
    with services.session() as session:
        later = session.get_one(Seat, second)
        later.status, later.stage, later.opens_at, later.reason = "waiting", 2, None, "It waits."
    return package_id, first, second


def sign_when_open(services, seat_id, person):
    """Let somebody sign as soon as the seat opens; Airflow then asks nobody."""

    def work():
        other = Services(services.settings)
        while seats.status(other, seat_id=seat_id) != "open":
            time.sleep(0.05)
        seats.decide(other, seat_id=seat_id, person=person, verdict="approve")
        other.engine.dispose()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_the_second_stage_opens_when_the_first_has_closed(play, services, staged):
    package_id, first, second = staged
    seats.decide(services, seat_id=first, person="bea", verdict="approve")
    signing = sign_when_open(services, second, "lena")
    states = play("staged", {"key": package_id})
    signing.join()
    assert states["run"] == "success", states
    assert (states["seat/0"], states["stage_2"], states["verdict"]) == ("skipped", "success", "success")
    assert states["seat_2/0"] == "skipped"  # it was signed before anybody was asked
    assert packages.verdict(services, package_id=package_id)["status"] == "approved"


def test_a_veto_in_the_first_stage_passes_the_second_over(play, services, staged):
    package_id, first, _ = staged
    seats.decide(services, seat_id=first, person="bea", verdict="reject", comment="Off brand.")
    states = play("staged", {"key": package_id})
    assert states["run"] == "success", states
    assert (states["stage_2"], states["verdict"], states["next_round"]) == ("skipped", "success", "skipped")
    assert packages.verdict(services, package_id=package_id)["status"] == "rejected"


def test_a_stage_whose_seat_is_not_needed_is_skipped_and_the_verdict_drawn(play, services, staged):
    package_id, first, second = staged
    with services.session() as session:
        later = session.get_one(Seat, second)
        later.status, later.reason = "not_needed", "No version of the package shows people."
    seats.decide(services, seat_id=first, person="bea", verdict="approve")
    states = play("staged", {"key": package_id})
    assert states["run"] == "success", states
    assert (states["verdict"], states["next_round"], states["freed"]) == ("success", "skipped", "skipped")
    assert packages.verdict(services, package_id=package_id)["status"] == "approved"
