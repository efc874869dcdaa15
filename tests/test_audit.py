"""The audit chain: one chain whoever writes, and verification names the first bad row."""

from __future__ import annotations

import json
import threading

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError

from dam import audit
from dam.catalog.models import AuditEvent


def write(services, count, actor="ada"):
    for number in range(count):
        with services.session() as session:
            audit.record(session, actor=actor, action="test.done", subject_id="s", data={"n": number})


def tamper(services, statement):
    """Do as a database administrator could: switch the trigger off and write."""
    with services.session() as session:
        session.execute(text("ALTER TABLE audit_events DISABLE TRIGGER USER"))
        session.execute(text(statement))
        session.execute(text("ALTER TABLE audit_events ENABLE TRIGGER USER"))


def test_an_untouched_chain_verifies(services):
    write(services, 5)
    assert audit.verify(services) == audit.AuditReport(True, 5)


def test_an_empty_chain_verifies(services):
    assert audit.verify(services).ok


@pytest.mark.parametrize(
    ("statement", "first_bad", "words"),
    [
        ("UPDATE audit_events SET actor = 'eve' WHERE seq = 3", 3, "edited"),
        ("UPDATE audit_events SET data = '{\"n\": 9}' WHERE seq = 1", 1, "edited"),
        ("DELETE FROM audit_events WHERE seq = 3", 3, "deleted"),
        ("DELETE FROM audit_events WHERE seq = 1", 1, "deleted"),
        (
            "INSERT INTO audit_events (seq, at, actor, action, subject_id, data, previous_sha256, sha256)"
            " SELECT 6, at, 'eve', action, subject_id, data, sha256, repeat('a', 64) FROM audit_events WHERE seq = 5",
            6,
            "edited",
        ),
    ],
    ids=["edit", "edit-first", "deletion", "deletion-first", "insertion"],
)
def test_tampering_is_found_at_its_first_row(services, statement, first_bad, words):
    write(services, 5)
    tamper(services, statement)
    report = audit.verify(services)
    assert not report.ok
    assert report.first_bad_seq == first_bad
    assert words in report.problem


def test_an_insertion_between_that_renumbers_the_rest_is_found(services):
    write(services, 4)
    tamper(services, "UPDATE audit_events SET seq = seq + 100 WHERE seq > 2")
    tamper(services, "UPDATE audit_events SET seq = seq - 99 WHERE seq > 100")
    tamper(
        services,
        "INSERT INTO audit_events (seq, at, actor, action, subject_id, data, previous_sha256, sha256)"
        " SELECT 3, at, 'eve', action, subject_id, data, sha256, repeat('b', 64) FROM audit_events WHERE seq = 2",
    )
    assert audit.verify(services).first_bad_seq == 3


def test_a_cut_off_tail_is_found_by_the_anchor(services):
    write(services, 5)
    audit.anchor(services)
    tamper(services, "DELETE FROM audit_events WHERE seq > 3")
    report = audit.verify(services)
    assert (report.ok, report.first_bad_seq) == (False, 4)
    assert "cut off" in report.problem


def test_a_chain_that_was_rewritten_as_a_whole_is_found_by_the_anchor(services):
    write(services, 3)
    audit.anchor(services)
    tamper(services, "TRUNCATE audit_events")
    write(services, 3, actor="eve")
    assert audit.verify(services).first_bad_seq == 3


def test_an_edited_anchor_is_found(services):
    write(services, 3)
    audit.anchor(services)
    [entry] = services.storage.reports.list(audit.ANCHORS)
    signed = json.loads(services.storage.reports.read(entry.key))
    services.storage.reports.put(entry.key, json.dumps(signed | {"seq": 2}).encode())
    assert "not signed with our key" in audit.verify(services).problem


def test_the_signing_key_is_for_its_owner_only(services):
    audit.anchor(services)
    assert services.settings.signing_key.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("statement", ["UPDATE audit_events SET actor = 'x'", "DELETE FROM audit_events"])
def test_the_table_is_append_only(services, statement):
    write(services, 1)
    with pytest.raises(IntegrityError, match="append-only"), services.session() as session:
        session.execute(text(statement))


def test_concurrent_writers_keep_one_chain(services):
    threads = [threading.Thread(target=write, args=(services, 15, f"p{number}")) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert audit.verify(services) == audit.AuditReport(True, 90)


def test_what_was_rolled_back_leaves_no_event(services):
    def undone():
        with services.session() as session:
            audit.record(session, actor="ada", action="test.undone", subject_id="s")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        undone()
    write(services, 1)
    with services.session() as session:
        assert session.scalar(select(func.count()).select_from(AuditEvent)) == 1
    assert audit.verify(services).ok
