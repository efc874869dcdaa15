"""The ingest of a batch that lacks metadata, run by Airflow: a seat is asked, and the complete ones do not wait."""

from __future__ import annotations

import pytest

import world
from dam.catalog.models import Batch, Package, Version
from dam.settings import PROJECT

pytestmark = pytest.mark.slow  # Airflow runs the DAG

#: Somebody acts in the room before Airflow asks, so that a test waits for nobody.
ACTING = """
from dam.enrich import contracts
from dam.review import packages, seats
from dam_operators.review import ProofsOperator

def fill(services, package_id, seat_id):
    for version_id in packages.versions(services, package_id=package_id):
        contracts.fill(services, version_id=version_id, values=WHOLE, person="libby")
    seats.decide(services, seat_id=seat_id, person="libby", verdict="approve")

def expire(services, package_id, seat_id):
    seats.expire(services, seat_id=seat_id)

work = ProofsOperator.work
def acting(self, context):
    [seat_id] = found = work(self, context)
    act(self.services, self.package_id, seat_id)
    return found
ProofsOperator.work = acting
"""


def acting(what):
    """Return the Python that lets somebody do something to the open seat."""
    return f"{ACTING}WHOLE = {world.WHOLE!r}\nact = {what}\n"


@pytest.fixture(scope="module")
def home(airflow):
    """The environment of an Airflow of its own."""
    return airflow(PROJECT / "dags")


@pytest.fixture
def batch_id(services, tmp_path):
    """A drop of a complete picture and a bare one."""
    files = [
        world.picture(tmp_path, "FULL_ACME_20270301_v01.jpg", seed=1),
        world.picture(tmp_path, "BARE_ACME_20270301_v01.jpg", seed=2, xmp={}),
    ]
    return world.drop(services, "drops/north", files)


def frozen(services, batch_id):
    with services.session() as session:
        rows = session.query(Package).filter(Package.batch_id == batch_id).order_by(Package.frozen_at)
        return [(row.purpose, [entry.version.asset.name for entry in row.entries]) for row in rows]


def test_what_was_filled_in_follows_as_a_package_of_its_own(services, play, batch_id):
    states = play("ingest_batch", {"key": batch_id}, before=acting("fill"))
    assert states["run"] == "success", states
    assert (states["librarian"], states["completed"], states["close"]) == ("skipped", "success", "success")
    assert states["package_complete"] == states["package_completed"] == "success"
    found = frozen(services, batch_id)
    assert sorted(found) == [
        ("metadata", ["BARE_ACME"]), ("release", ["BARE_ACME"]), ("release", ["FULL_ACME"])
    ]  # fmt: skip
    with services.session() as session:
        assert {version.state for version in session.query(Version)} == {"in_review"}


def test_what_nobody_signed_for_is_left_where_it_is(services, play, batch_id):
    states = play("ingest_batch", {"key": batch_id}, before=acting("expire"))
    assert states["run"] == "success", states
    assert (states["completed"], states["freeze_completed"], states["close"]) == ("success", "skipped", "success")
    assert sorted(frozen(services, batch_id)) == [("metadata", ["BARE_ACME"]), ("release", ["FULL_ACME"])]
    with services.session() as session:
        assert session.get_one(Batch, batch_id).status == "done"
        states = {version.filename.split("_")[0]: version.state for version in session.query(Version)}
    assert states == {"FULL": "in_review", "BARE": "ingested"}
