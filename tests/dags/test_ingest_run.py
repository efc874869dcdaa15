"""The ingest of a batch that lacks metadata, run by Airflow: a seat is asked, and the complete ones do not wait."""

from __future__ import annotations

import subprocess
import sys

import pytest

import world
from dam.catalog.models import Batch, Package, Version
from dam.settings import PROJECT

pytestmark = pytest.mark.slow  # Airflow runs the DAG

RUN = """
import sys
from airflow.dag_processing.dagbag import DagBag
from dam.enrich import contracts
from dam.review import packages, seats
from dam_operators.review import ProofsOperator

WHOLE = {
    "title": "Shapes", "description": "Soft shapes.", "alt_text": "Soft shapes, blurred", "creator": "Zoë",
    "copyright_notice": "© Northlight", "licence": "NORTH-1", "holder": "Northlight", "kind": "owned",
    "territories": ["*"], "channels": ["*"], "tags": ["subject/coffee"],
}

def fill(services, package_id, seat_id):
    for version_id in packages.versions(services, package_id=package_id):
        contracts.fill(services, version_id=version_id, values=WHOLE, person="libby")
    seats.decide(services, seat_id=seat_id, person="libby", verdict="approve")

def expire(services, package_id, seat_id):
    seats.expire(services, seat_id=seat_id)

# somebody acts in the room before Airflow asks, so that a test waits for nobody
work = ProofsOperator.work
def acting(self, context):
    [seat_id] = found = work(self, context)
    globals()[sys.argv[3]](self.services, self.package_id, seat_id)
    return found
ProofsOperator.work = acting

done = DagBag(sys.argv[1]).dags["ingest_batch"].test(run_conf={"key": sys.argv[2]})
print("RUN", done.state)
for task in done.get_task_instances():
    print("TASK", task.task_id, task.state)
"""


@pytest.fixture(scope="module")
def home(airflow):
    """The environment of an Airflow of its own."""
    return airflow(PROJECT / "dags")


def run(home, services, batch_id, act):
    """Run the DAG, in which somebody does what ``act`` names to the open seat; return the states."""
    env = home | {"DAM_CATALOG_URL": services.settings.catalog_url, "DAM_STORAGE_URL": services.settings.storage_url}
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(PROJECT / "dags"), batch_id, act],
        env=env, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith(("RUN ", "TASK "))]
    assert lines, done.stderr[-4000:]
    return {words[-2]: words[-1] for words in lines}


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


def test_what_was_filled_in_follows_as_a_package_of_its_own(services, home, batch_id):
    states = run(home, services, batch_id, "fill")
    assert states["RUN"] == "success", states
    assert (states["librarian"], states["completed"], states["close"]) == ("skipped", "success", "success")
    assert states["package_complete"] == states["package_completed"] == "success"
    found = frozen(services, batch_id)
    assert sorted(found) == [
        ("metadata", ["BARE_ACME"]), ("release", ["BARE_ACME"]), ("release", ["FULL_ACME"])
    ]  # fmt: skip
    with services.session() as session:
        assert {version.state for version in session.query(Version)} == {"in_review"}


def test_what_nobody_signed_for_is_left_where_it_is(services, home, batch_id):
    states = run(home, services, batch_id, "expire")
    assert states["RUN"] == "success", states
    assert (states["completed"], states["freeze_completed"], states["close"]) == ("success", "skipped", "success")
    assert sorted(frozen(services, batch_id)) == [("metadata", ["BARE_ACME"]), ("release", ["FULL_ACME"])]
    with services.session() as session:
        assert session.get_one(Batch, batch_id).status == "done"
        states = {version.filename.split("_")[0]: version.state for version in session.query(Version)}
    assert states == {"FULL": "in_review", "BARE": "ingested"}
