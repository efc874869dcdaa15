"""A whole campaign under the real scheduler, with people's answers over HTTP."""

from __future__ import annotations

import email
from collections import Counter
from dataclasses import replace

import httpx
import pytest
from sqlalchemy import select

from dam import audit
from dam.catalog.models import (
    ArchiveConfirmation,
    AuditEvent,
    Decision,
    Package,
    Publication,
    StageClaim,
    Version,
)
from dam.services import Services
from runtime.client import Person, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
STAGES = ["plan", "create", "ingest", "review", "activate", "measure", "archive"]


@pytest.fixture
def library(stack, told, monkeypatch):
    """Services over the stack's catalogue and stores, after the campaign."""
    for key, value in stack.env(stack.start_database()).items():
        if key.startswith("DAM_"):
            monkeypatch.setenv(key, value)
    made = Services.from_env()
    yield made
    made.engine.dispose()


@pytest.fixture
def ada(stack, told):
    return Person(stack.url, "ada", stack.passwords()["ada"])


def test_all_seven_stages_succeed(told):
    assert list(told["stages"]) == STAGES
    for name, stage in told["stages"].items():
        assert stage["state"] == "success", name
        assert stage["dag_runs"], name
        assert stage["products"], name
        assert stage["seconds"] > 0, name


def test_the_picture_that_had_to_change_is_part_of_the_story(told):
    """Create and ingest ran once more after they had been told of."""
    create, ingest = told["stages"]["create"], told["stages"]["ingest"]
    assert (len(create["dag_runs"]), len(ingest["dag_runs"])) == (2, 3)
    assert create["products"][-1].endswith("one picture, version 2")
    assert "1 file: 1 new_version" in ingest["products"]


def test_every_refused_file_has_its_reason(told):
    reasons = {row["path"].split("_")[0]: (row["outcome"], row["reason"]) for row in told["refused"]}
    assert reasons["STOCK-CAT-CUT"][0] == "quarantined"
    assert "cut off" in reasons["STOCK-CAT-CUT"][1]
    assert reasons["STOCK-COFFEE-COPY"][0] == "duplicate"
    assert "SPRING27-HERO-A_ACME v1" in reasons["STOCK-COFFEE-COPY"][1]


def test_the_versions_end_where_they_should(told):
    states = Counter(version["state"] for version in told["versions"])
    assert states["live"] >= 6
    assert states["archived"] >= 1
    assert states["quarantined"] == 1
    cat = {row["version"]: row["state"] for row in told["versions"] if row["asset"] == "SPRING27-CAT_ACME"}
    assert cat == {1: "archived", 2: "live"}


def test_one_run_per_key(library):
    """No brief, batch or package was worked twice, and none was lost."""
    with library.session() as session:
        rows = session.execute(select(StageClaim.stage, StageClaim.key).where(~StageClaim.stage.like("answer:%"))).all()
        keys = Counter((row.stage, row.key) for row in rows)
        packages = set(session.scalars(select(Package.id)))
    assert set(keys.values()) == {1}
    assert packages == {key for stage, key in keys if stage == "review_package"}


def test_the_void_approval_was_asked_for_again(library):
    with library.session() as session:
        void = session.scalars(select(Package).where(Package.status == "void")).one()
        assert void.void_reason
        signed = session.scalars(select(Decision).where(Decision.package_id == void.id)).all()
        assert [decision.person for decision in signed] == ["bea"]
        later = session.scalars(select(Package).where(Package.follows_id == void.id)).one()
        assert later.status == "approved"
        assert later.manifest_sha256 != void.manifest_sha256


def test_every_signature_names_the_hash_it_was_given_for(library):
    with library.session() as session:
        for decision in session.scalars(select(Decision)):
            package = session.get_one(Package, decision.package_id)
            assert decision.manifest_sha256 == package.manifest_sha256
            signers = {"metadata": ("libby",), "brief": ("maya",), "release": ("bea", "lena")}
            assert decision.person in signers[package.purpose]


def test_what_is_live_answers_and_what_was_withdrawn_is_dead(library):
    with library.session() as session:
        rows = session.scalars(select(Publication)).all()
        live = [row for row in rows if row.status == "live"]
        gone = [row for row in rows if row.status == "withdrawn"]
        assert live
        assert gone
        for row in live:
            assert httpx.get(row.live_url).status_code == 200
        for row in gone:
            assert row.takedown["endpoints"]
            for endpoint in row.endpoints:
                assert httpx.get(endpoint["url"]).status_code in (404, 410)


def test_the_owners_were_warned_before_the_licence_ended(stack, told):
    mails = [email.message_from_bytes(path.read_bytes()) for path in sorted((stack.state / "mail").glob("*.eml"))]
    subjects = [str(mail["Subject"]) for mail in mails]
    assert any("licence" in subject.lower() for subject in subjects), subjects


def test_archived_bytes_are_confirmed_and_where_they_are_said_to_be(library):
    with library.session() as session:
        rows = session.scalars(select(ArchiveConfirmation)).all()
        assert rows
        for row in rows:
            store, key = library.storage.resolve(row.to_uri)
            assert store.digest(key) == row.sha256
            assert session.get_one(Version, row.version_id).storage_uri == row.to_uri


def test_the_audit_chain_verifies(library):
    report = audit.verify(library)
    assert report.ok, report.problem
    assert report.events > 100


def test_an_event_told_twice_is_dropped(stack, ada, library):
    """A second event with a batch's key makes a run that ends at its first task and changes nothing."""
    with library.session() as session:
        key = session.scalars(select(StageClaim.key).where(StageClaim.stage == "ingest_batch")).first()
    run_id = ada.trigger("ingest_batch", {"key": key})
    ada.finished("ingest_batch", run_id)
    states = {task["task_id"]: task["state"] for task in ada.tasks("ingest_batch", run_id)}
    assert set(states.values()) == {"skipped"}
    with library.session() as session:
        done = session.scalars(select(AuditEvent.action).where(AuditEvent.run == f"ingest_batch/{run_id}")).all()
    assert done == []


def test_a_brief_with_faults_is_told_all_of_them(stack, ada):
    maya = Person(stack.url, "maya", stack.passwords()["maya"])
    run_id = maya.trigger(
        "plan_brief",
        {
            "name": "Bad", "slug": "bad-one", "project": "BAD", "client": "ACME", "goals": "g", "audience": "a",
            "channels": ["web"], "markets": ["DE"], "starts_on": "2027-01-01", "ends_on": "2027-02-01", "budget": 5,
            "owners": {"marketing_lead": "maya", "designer": "vic"},
            "deliverables": [{"project": "x", "title": "", "channels": ["fax"], "markets": ["XX"], "due_on": "soon"}],
        },
    )  # fmt: skip
    wait_for("the run's end", lambda: maya.run("plan_brief", run_id)["state"] == "failed" or None)
    log = maya.failure("plan_brief", run_id)
    for field in ("owners.designer", "deliverables[0].project", "deliverables[0].title", "deliverables[0].channels",
                  "deliverables[0].markets", "deliverables[0].due_on"):  # fmt: skip
        assert field in log


def test_the_clock_is_off_here_and_make_up_switches_it_on(stack, ada):
    """The last test here: what was due begins as soon as the clock is on."""

    def by_the_clock() -> set[str]:
        dags = ada.http.get("/api/v2/dags", params={"limit": 100}).json()["dags"]
        return {dag["dag_id"] for dag in dags if "*" in (dag["timetable_summary"] or "")}

    assert by_the_clock() == set()
    replace(stack, extra_env={}).start(say=print)
    nightly = {"measure_nightly", "archive_nightly", "licence_expiry_sweep", "retention_sweep"}
    wait_for("the schedules", lambda: by_the_clock() >= nightly or None)
    stack.start(say=print)
    assert by_the_clock() == set()
