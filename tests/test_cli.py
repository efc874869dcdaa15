"""The command line, as a person would use it."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import select, text
from typer.testing import CliRunner

import world
from dam import audit
from dam.catalog.models import Batch
from dam.cli import app
from dam.review import packages


@pytest.fixture
def dam(services, monkeypatch):
    """Return a function that runs a command."""
    monkeypatch.setenv("DAM_CATALOG_URL", services.settings.catalog_url)
    monkeypatch.setenv("DAM_STORAGE_URL", services.settings.storage_url)
    monkeypatch.setenv("DAM_SIGNING_KEY", str(services.settings.signing_key))
    monkeypatch.setenv("USER", "dario")
    return lambda *words: CliRunner().invoke(app, words)


def test_ingest_tells_each_file_and_the_same_again_changes_nothing(dam, tmp_path):
    folder = tmp_path / "drop"
    world.picture(folder, "A_ACME_20270301_v01.jpg", seed=1)
    world.truncated(world.picture(folder / "sub", "B_ACME_20270301_v01.jpg", seed=2), 0.5)
    first = dam("ingest", str(folder), "--json")
    assert first.exit_code == 0, first.output
    rows = {row["path"]: row for row in map(json.loads, first.stdout.splitlines())}
    assert rows["A_ACME_20270301_v01.jpg"]["outcome"] == "ingested"
    assert rows["sub/B_ACME_20270301_v01.jpg"]["outcome"] == "quarantined"
    assert dam("ingest", str(folder), "--json").stdout == first.stdout
    assert "1 ingested, 1 quarantined" in dam("ingest", str(folder)).stdout


@pytest.mark.parametrize(
    ("login", "words", "sender"),
    [("dario", [], "dario"), ("dario", ["--sent-by", "northlight"], "northlight"), ("root", [], None), ("", [], None)],
)
def test_ingest_knows_who_sent_the_files_or_asks(dam, services, tmp_path, monkeypatch, login, words, sender):
    monkeypatch.setenv("USER", login)
    path = world.picture(tmp_path, "A_ACME_20270301_v01.jpg")
    done = dam("ingest", str(path), *words)
    with services.session() as session:
        senders = session.scalars(select(Batch.sent_by)).all()
    assert senders == ([sender] if sender else [])
    assert done.exit_code == (0 if sender else 2)
    if not sender:
        assert f"--sent-by: the log-in '{login}' is nobody in workflow.yaml" in done.output


def test_a_missing_path_is_told_plainly(dam, tmp_path):
    done = dam("ingest", str(tmp_path / "nowhere"))
    assert done.exit_code == 2
    assert "neither a file nor a folder" in done.output
    assert "Traceback" not in done.output


def test_a_database_that_is_down_is_told_plainly(dam, monkeypatch):
    monkeypatch.setenv("DAM_CATALOG_URL", "postgresql+psycopg://dam@127.0.0.1:9/catalog")
    told = dam("audit", "verify")
    assert told.exit_code == 2
    assert "does not answer: connection" in told.stderr
    assert "make up" in told.stderr
    assert "Traceback" not in told.output


def test_audit_verify_names_the_first_bad_row(dam, services):
    for _ in range(3):
        with services.session() as session:
            audit.record(session, actor="ada", action="test.done", subject_id="thing")
    assert "3 events holds" in dam("audit", "verify").stdout
    assert "test.done" in dam("audit", "history", "thing").stdout
    with services.session() as session:
        session.execute(text("ALTER TABLE audit_events DISABLE TRIGGER USER"))
        session.execute(text("UPDATE audit_events SET actor = 'eve' WHERE seq = 2"))
    done = dam("audit", "verify")
    assert done.exit_code == 1
    assert "event 2" in done.output


def test_sign_hold_explain_and_ask(dam, services, tmp_path):
    batch_id, complete = world.designers_batch(services, tmp_path)
    package_id = packages.freeze(services, batch_id=batch_id, version_ids=complete)
    for seat in packages.seats(services, package_id=package_id):
        done = dam("decide", seat["seat_id"], "--person", seat["eligible"][0], "--verdict", "approve")
        assert done.exit_code == 0, done.output
    assert "approved" in done.stdout
    assert "state: approved" in dam("explain", complete[0]).stdout
    assert dam("explain", "ver_nothing").exit_code == 2
    asked = dam("rights", "ask", complete[0], "--channel", "web", "--territory", "DE")
    assert asked.exit_code == 0, asked.output
    assert "SPRING27-HERO-A_ACME v1" in dam("search", "espresso").stdout
    hold = dam("hold", "place", "--reason", "claim", "--person", "lena", "--campaign", "spring-2027").stdout.strip()
    assert hold in dam("hold", "list").stdout
    assert dam("hold", "release", hold, "--person", "lena").exit_code == 0
    assert dam("hold", "list").stdout == ""


def test_the_taxonomy_is_checked(dam):
    assert "9 people, 2 seats" in dam("taxonomy", "check").stdout
