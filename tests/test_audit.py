"""The audit chain: one chain whoever writes, and verification names the first bad row."""

from __future__ import annotations

import contextlib
import json
import threading
from dataclasses import replace
from threading import Barrier

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from dam import audit, merkle
from dam.catalog.models import AuditEvent, Batch
from dam.errors import DamError
from dam.services import Services


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


def anchors(services):
    return [entry.key for entry in services.storage.reports.list(audit.ANCHORS)]


def old_anchor(services, day, seq, sha256):
    """File an anchor as it was before anchors named each other."""
    body = {"seq": seq, "sha256": sha256, "at": f"{day}T02:30:00+00:00", "run": None}
    services.storage.reports.put(
        f"{audit.ANCHORS}{day}-{seq:012d}.json", json.dumps(audit.sign(services, body), indent=2).encode()
    )


def test_each_anchor_names_the_one_before_it_and_a_quiet_day_makes_none(services):
    write(services, 2)
    first = audit.anchor(services)
    assert first["previous_anchor"] is None
    assert audit.anchor(services) == first
    write(services, 2)
    assert len(audit.anchor(services)["previous_anchor"]) == 64
    assert len(anchors(services)) == 2
    assert audit.verify(services) == audit.AuditReport(True, 4)


@pytest.mark.parametrize("deleted", [0, 1, 2])
def test_an_anchor_that_was_deleted_is_found_and_nothing_is_anchored_on_top(services, deleted):
    for _ in range(3):
        write(services, 2)
        audit.anchor(services)
    services.storage.reports.delete(anchors(services)[deleted])
    report = audit.verify(services)
    assert (report.ok, report.first_bad_seq) == (False, None)
    assert "an anchor is missing" in report.problem
    write(services, 1)
    with pytest.raises(DamError, match="an anchor is missing"):
        audit.anchor(services)


def test_a_tail_that_was_cut_off_together_with_its_anchors_is_found(services):
    write(services, 3)
    audit.anchor(services)
    write(services, 3)
    audit.anchor(services)
    tamper(services, "DELETE FROM audit_events WHERE seq > 3")
    services.storage.reports.delete(anchors(services)[-1])
    report = audit.verify(services)
    assert (report.ok, report.first_bad_seq) == (False, 4)
    assert "cut off" in report.problem


def test_a_rewritten_chain_that_was_anchored_again_is_found(services):
    write(services, 3)
    audit.anchor(services)
    tamper(services, "TRUNCATE audit_events")
    write(services, 3, actor="eve")
    audit.anchor(services)
    assert audit.verify(services).first_bad_seq == 3


def test_anchors_of_before_verify_and_the_next_one_names_the_last_of_them(services):
    write(services, 4)
    with services.session() as session:
        hashes = {row.seq: row.sha256 for row in session.scalars(select(AuditEvent))}
    for seq in (2, 3):
        old_anchor(services, f"2026-01-0{seq}", seq, hashes[seq])
    assert audit.verify(services).ok
    audit.anchor(services)
    assert audit.verify(services).ok
    services.storage.reports.delete(anchors(services)[1])
    assert "an anchor is missing" in audit.verify(services).problem
    tamper(services, "UPDATE audit_events SET actor = 'eve' WHERE seq = 2")
    assert audit.verify(services).first_bad_seq == 2


def test_the_signing_key_is_for_its_owner_only(services):
    audit.anchor(services)
    assert services.settings.signing_key.stat().st_mode & 0o077 == 0


def test_the_public_key_is_enough_to_verify_and_verifying_makes_no_key(services):
    key = services.settings.signing_key
    write(services, 2)
    assert audit.verify(services).ok
    assert not key.exists()
    audit.anchor(services)
    private = key.read_bytes()
    key.unlink()
    assert audit.verify(services).ok
    key.with_suffix(".pub").unlink()
    with pytest.raises(DamError, match="no key to verify the audit anchors with"):
        audit.verify(services)
    assert not key.exists()
    key.write_bytes(private)
    assert audit.verify(services).ok


def test_processes_that_make_the_key_at_once_agree_on_one(services, tmp_path):
    def sign(settings, barrier, made):
        barrier.wait()
        try:
            made.append(audit.sign(Services(settings), {"n": 1})["public_key"])
        except Exception as error:  # noqa: BLE001 - the test shows it
            made.append(error)

    for attempt in range(20):
        settings, barrier, made = replace(services.settings, signing_key=tmp_path / f"{attempt}.pem"), Barrier(6), []
        threads = [threading.Thread(target=sign, args=(settings, barrier, made)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert made == [made[0]] * 6


def test_a_file_that_is_no_key_is_told_plainly(services):
    services.settings.signing_key.write_bytes(b"")
    with pytest.raises(DamError, match="is no Ed25519 key"):
        audit.anchor(services)


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


def recorded(services):
    with services.session() as session:
        return session.scalars(select(AuditEvent.action).order_by(AuditEvent.seq)).all()


def note(session, action):
    audit.record(session, actor="ada", action=action, subject_id="s")


def test_a_savepoint_that_is_released_holds_nobody_up_and_chains_nothing_yet(services):
    with services.session() as session:
        note(session, "test.before")
        with session.begin_nested():
            note(session, "test.inside")
        others = threading.Thread(target=write, args=(services, 1))
        others.start()
        others.join(timeout=20)
        assert not others.is_alive()  # the chain's head is free until the transaction commits
        note(session, "test.after")
    assert recorded(services) == ["test.done", "test.before", "test.inside", "test.after"]
    assert audit.verify(services).ok


def undo(session, *actions):
    """Set a savepoint, note something in it, and roll it back."""
    with contextlib.suppress(ZeroDivisionError), session.begin_nested():
        for action in actions:
            note(session, action)
        raise ZeroDivisionError


def test_a_savepoint_that_is_rolled_back_takes_only_its_own_events_along(services):
    with services.session() as session:
        note(session, "test.before")
        undo(session, "test.undone", "test.undone")
        note(session, "test.between")
        with session.begin_nested():
            note(session, "test.inside")
            undo(session, "test.undone")
            note(session, "test.inside-after")
        undo(session)
        note(session, "test.after")
    assert recorded(services) == ["test.before", "test.between", "test.inside", "test.inside-after", "test.after"]
    assert audit.verify(services).ok


def test_a_savepoint_that_the_database_refused_takes_only_its_own_events_along(services):
    write(services, 1)
    with services.session() as session:
        note(session, "test.before")
        with contextlib.suppress(IntegrityError), session.begin_nested():
            note(session, "test.undone")
            with session.begin_nested():
                note(session, "test.undone")
            session.add(Batch(source="nowhere", location="drops/x", sent_by="ada"))
            session.flush()
        note(session, "test.after")
    assert recorded(services) == ["test.done", "test.before", "test.after"]


def test_a_session_that_is_closed_and_used_again_brings_no_old_event(services):
    session = Session(services.engine)
    note(session, "test.undone")
    session.execute(text("SELECT 1"))
    session.close()
    note(session, "test.done")
    session.commit()
    session.close()
    assert recorded(services) == ["test.done"]


def test_an_event_is_proved_without_the_others_and_always_by_the_same_anchor(services):
    write(services, 3)
    audit.anchor(services)
    write(services, 4)
    proof = audit.prove(services, [2, 5, 7])
    assert [anchor["first"] for anchor in proof.anchors] == [1, 4]
    with services.session() as session:
        hashes = dict(session.execute(select(AuditEvent.seq, AuditEvent.sha256)).all())
    for seq, (index, path) in proof.places.items():
        anchor = proof.anchors[index]
        assert audit.check_signature(anchor, anchor["public_key"])
        size = anchor["seq"] - anchor["first"] + 1
        assert merkle.climb(hashes[seq], seq - anchor["first"], size, path) == anchor["root"]
    write(services, 2)
    audit.anchor(services)
    assert audit.prove(services, [2, 5, 7]) == proof


def test_events_of_before_anchors_had_roots_are_proved_by_the_next_one(services):
    write(services, 3)
    with services.session() as session:
        sha256 = session.scalar(select(AuditEvent.sha256).where(AuditEvent.seq == 3))
    old_anchor(services, "2026-01-03", 3, sha256)
    proof = audit.prove(services, [1])
    assert [(anchor["first"], anchor["seq"]) for anchor in proof.anchors] == [(1, 3)]
    assert audit.verify(services).ok


def test_what_an_edited_anchor_covers_is_not_proved(services):
    write(services, 3)
    audit.anchor(services)
    [key] = anchors(services)
    edited = json.loads(services.storage.reports.read(key)) | {"root": "0" * 64}
    services.storage.reports.delete(key)
    services.storage.reports.put(key, json.dumps(edited).encode())
    with pytest.raises(DamError, match="edited"):
        audit.prove(services, [1])


def test_a_machine_without_the_private_key_makes_no_second_one(services):
    write(services, 1)
    audit.anchor(services)
    services.settings.signing_key.unlink()
    write(services, 1)
    with pytest.raises(DamError, match="not on this machine"):
        audit.anchor(services)
    assert not services.settings.signing_key.exists()
