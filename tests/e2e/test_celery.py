"""The composition in docker-compose.yaml, as processes: FAB log-ins, S3, Redis, Celery, two workers."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import httpx
import pytest
from celery import Celery
from sqlalchemy import select

from dam import audit
from dam.catalog.models import Decision, Publication, Version
from dam.services import Services
from dam.settings import Settings
from e2e.compose import Composition
from e2e.conftest import airflow_port, free_port
from runtime.client import Person
from runtime.demo import play

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def composed():
    state = Path(tempfile.mkdtemp(prefix="dam-celery-"))
    state.chmod(0o755)  # PostgreSQL runs as a user of its own when we are root
    made = Composition(
        state=state, port=airflow_port(), origin_port=free_port(), smtp_port=free_port(),
        postgres_port=free_port(), redis_port=free_port(), s3_port=free_port(), extra_env={"DAM_SCHEDULES": "off"},
    )  # fmt: skip
    try:
        made.start(say=print)
        yield made
    finally:
        made.stop()
        shutil.rmtree(state, ignore_errors=True)


@pytest.fixture(scope="module")
def told(composed):
    """What the demo campaign came to on the composition."""
    return json.loads(play(composed, say=print).read_text())


@pytest.fixture(scope="module")
def library(composed, told):
    made = Services(Settings.from_env(environ=composed.outside()))
    yield made
    made.engine.dispose()


def test_the_campaign_passes_all_stages(told):
    assert {name: stage["state"] for name, stage in told["stages"].items()} == dict.fromkeys(
        ["plan", "create", "ingest", "review", "activate", "measure", "archive"], "success"
    )


def test_both_workers_did_some_of_it(composed, told):
    broker = composed.service("worker")["environment"]["AIRFLOW__CELERY__BROKER_URL"]
    stats = Celery(broker=broker).control.inspect(timeout=10).stats()
    assert {name.partition("@")[0] for name in stats} == {"worker-1", "worker-2"}
    for name, worker in stats.items():
        assert sum(worker["total"].values()) > 10, name


def test_everything_is_in_the_bucket(library):
    with library.session() as session:
        for version in session.scalars(select(Version).where(Version.state.in_(["live", "archived"]))):
            store, key = library.storage.resolve(version.storage_uri)
            assert store.where(key).startswith("s3://acme-dam/dam/")
            assert store.digest(key) == version.sha256


def test_signatures_carry_the_names_of_the_people_who_logged_in(library):
    with library.session() as session:
        assert set(session.scalars(select(Decision.person))) == {"maya", "libby", "bea", "lena"}


def test_what_is_live_answers_and_what_was_withdrawn_is_dead(library):
    with library.session() as session:
        rows = session.scalars(select(Publication)).all()
    assert {row.status for row in rows} == {"live", "withdrawn"}
    for row in rows:
        status = httpx.get(row.live_url).status_code
        assert status == 200 if row.status == "live" else status in (404, 410)


def test_the_audit_chain_verifies(library):
    report = audit.verify(library)
    assert report.ok, report.problem


def test_roles_hold_under_fab(composed, told):
    """A viewer logs in with FAB, reads, and may not write; a stranger sees nothing."""
    vic = Person(composed.url, "vic", composed.passwords()["vic"])
    assert vic.http.get("/dam/").status_code == 200
    upload = vic.http.post("/dam/api/uploads", json={"campaign": told["campaign"]})
    assert upload.status_code == 403
    assert vic.http.post("/api/v2/dags/retention_sweep/dagRuns", json={"logical_date": None}).status_code == 403
    assert httpx.get(f"{composed.url}/dam/api/board").status_code == 401
    page = httpx.get(f"{composed.url}/dam/", headers={"Accept": "text/html"})
    assert page.status_code in (302, 303, 307)
    assert "/auth/login" in page.headers["location"]


def test_init_again_changes_nothing(composed, told):
    """The init service runs at every start: people keep the passwords they chose."""
    import subprocess

    from dam.settings import PROJECT

    passwords = composed.passwords()
    assert len(set(passwords.values())) == len(composed.workflow.people)
    asked = composed.service("init")
    done = subprocess.run(
        asked["command"], env=composed.container("init", asked["environment"]), cwd=PROJECT,
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert composed.passwords() == passwords
    assert Person(composed.url, "maya", passwords["maya"]).http.get("/dam/").status_code == 200


def test_a_person_logs_in_through_fabs_page(composed, told, browser):
    page = browser.new_page()
    page.goto(f"{composed.url}/dam/")
    page.get_by_label("Username").fill("maya")
    page.get_by_label("Password").fill(composed.passwords()["maya"])
    page.get_by_role("button", name="Sign In").click()
    page.wait_for_url("**/dam/")
    assert page.get_by_role("heading", level=1).is_visible()
    page.close()
