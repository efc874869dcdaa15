"""Drops: found when they are complete, told until somebody takes them up, and nothing stays behind unseen."""

from __future__ import annotations

import os
import time

import pytest
from sqlalchemy import select

import world
from dam.catalog.claims import claim
from dam.catalog.models import AuditEvent, Batch
from dam.ingest import batches
from dam.storage import Moving

CARD = b"sent_by: north\nsupplier: Northlight\nrights: {licence: NORTH-1, holder: Northlight}\n"


@pytest.fixture
def inbox(services):
    return services.storage.inbox


def calm(inbox, key):
    """Let a file have lain untouched for longer than the quiet time."""
    long_ago = time.time() - 3600
    os.utime(inbox.root / key, (long_ago, long_ago))


def done(services, tmp_path, location="drops/x"):
    """Take a supplier's drop of one picture through ingest; return its batch."""
    services.storage.inbox.put(f"{location}/batch.yaml", CARD)
    first = world.picture(tmp_path, "A_ACME_20270301_v01.jpg", seed=1)
    batch_id = world.drop(services, location, [first])
    claim(services, stage="ingest_batch", key=batch_id, run="ingest_batch/r1")
    assert world.ingest(services, batch_id) == {"ingested": 1}
    return batch_id


def late(services, tmp_path, location="drops/x", name="B_ACME_20270301_v01.jpg", seed=2):
    """Put another picture into the folder and let it lie; return its key."""
    key = f"{location}/{name}"
    services.storage.inbox.put(key, world.picture(tmp_path, name, seed=seed))
    calm(services.storage.inbox, key)
    return key


def test_a_drop_is_told_until_a_workflow_has_taken_it_up(services, inbox, tmp_path):
    inbox.put("drops/x/A.jpg", world.picture(tmp_path, "A.jpg"))
    inbox.put("drops/x/_COMPLETE", b"")
    batch_id = batches.register(services, location="drops/x", source="inbox", sent_by="airflow")
    assert batches.discover(services) == ["drops/x"], "whoever registered it may have died before telling"
    assert batches.register(services, location="drops/x", source="inbox", sent_by="airflow") == batch_id
    claim(services, stage="ingest_batch", key=batch_id, run="ingest_batch/r1")
    assert batches.discover(services) == []


@pytest.mark.parametrize(("source", "location"), [("cli", "drops/cli-1"), ("inbox", "campaigns/spring/brief-1")])
def test_what_no_drop_is_needed_for_is_not_told(services, source, location):
    batches.register(services, location=location, source=source, sent_by="dario")
    assert batches.discover(services) == []


def test_an_upload_that_pauses_is_not_taken_for_complete(services, inbox, tmp_path):
    location = batches.new_upload(services, person="dario", campaign_slug=None)
    inbox.put(f"{location}/A.jpg", world.picture(tmp_path, "A.jpg"))
    for name in ("A.jpg", ".card"):
        calm(inbox, f"{location}/{name}")
    assert batches.discover(services) == []
    batches.complete_upload(services, location=location)
    assert batches.discover(services) == [location]


def test_a_marker_beside_the_drops_marks_nothing(services, inbox, tmp_path):
    inbox.put("drops/_COMPLETE", b"")
    inbox.put("drops/x/A.jpg", world.picture(tmp_path, "A.jpg"))
    assert batches.discover(services) == []
    calm(inbox, "drops/x/A.jpg")
    assert batches.discover(services) == ["drops/x"]


def test_files_that_come_late_are_told_of_and_become_a_batch_of_their_own(services, inbox, tmp_path):
    first = done(services, tmp_path)
    key = late(services, tmp_path)
    assert batches.came_late(services, batch_id=first) == ["B_ACME_20270301_v01.jpg"]
    assert batches.discover(services) == [], "they wait for the batch's end"
    batches.close(services, batch_id=first)
    with services.session() as session:
        closed = session.scalars(select(AuditEvent).where(AuditEvent.action == "batch.closed")).one()
    assert closed.data == {"ingested": 1, "came_late": ["B_ACME_20270301_v01.jpg"]}

    assert batches.discover(services) == ["drops/x"]
    assert batches.set_late_apart(services, location="drops/x") == "drops/x~2"
    assert not inbox.exists(key)
    second = batches.register(services, location="drops/x~2", source="inbox", sent_by="airflow")
    with services.session() as session:
        old, new = (session.get_one(Batch, batch_id) for batch_id in (first, second))
        assert (new.sent_by, new.supplier, new.rights) == (old.sent_by, old.supplier, old.rights)
    assert world.ingest(services, second) == {"ingested": 1}
    assert batches.came_late(services, batch_id=first) == []
    claim(services, stage="ingest_batch", key=second, run="ingest_batch/r2")
    batches.close(services, batch_id=second)
    assert batches.discover(services) == []


def test_a_late_file_that_is_still_written_is_left_alone(services, inbox, tmp_path):
    first = done(services, tmp_path)
    batches.close(services, batch_id=first)
    inbox.put("drops/x/B.jpg", world.picture(tmp_path, "B.jpg"))
    assert batches.discover(services) == []
    assert batches.set_late_apart(services, location="drops/x") == "drops/x"
    assert inbox.exists("drops/x/B.jpg")


def test_the_same_name_put_there_again_later_is_late_too(services, inbox, tmp_path):
    first = done(services, tmp_path)
    batches.close(services, batch_id=first)
    with services.session() as session:
        batch = session.get_one(Batch, first)
        batch.done_at = batch.received_at.replace(year=2020)
    late(services, tmp_path, name="A_ACME_20270301_v01.jpg", seed=9)
    assert batches.set_late_apart(services, location="drops/x") == "drops/x~2"
    second = batches.register(services, location="drops/x~2", source="inbox", sent_by="airflow")
    assert world.ingest(services, second) == {"new_version": 1}


def test_setting_apart_killed_half_way_and_repeated_loses_nothing(services, inbox, tmp_path, monkeypatch):
    first = done(services, tmp_path)
    batches.close(services, batch_id=first)
    names = [f"{letter}_ACME_20270301_v01.jpg" for letter in "BCD"]
    keys = [late(services, tmp_path, name=name, seed=seed) for seed, name in enumerate(names, start=2)]
    copy = Moving.copy

    def killed(moving, uri, *args, **kwargs):
        if uri.endswith(keys[1]):
            raise KeyboardInterrupt
        return copy(moving, uri, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Moving, "copy", killed)
        with pytest.raises(KeyboardInterrupt):
            batches.set_late_apart(services, location="drops/x")
    assert batches.discover(services) == ["drops/x", "drops/x~2"]
    assert batches.set_late_apart(services, location="drops/x") == "drops/x~2"
    second = batches.register(services, location="drops/x~2", source="inbox", sent_by="airflow")
    assert world.ingest(services, second) == {"ingested": 3}


def test_a_late_file_is_held_to_the_senders_checksum(services, inbox, tmp_path):
    inbox.put("drops/x/SHA256SUMS", f"{'0' * 64}  B_ACME_20270301_v01.jpg\n".encode())
    first = done(services, tmp_path)
    batches.close(services, batch_id=first)
    late(services, tmp_path)
    location = batches.set_late_apart(services, location="drops/x")
    second = batches.register(services, location=location, source="inbox", sent_by="airflow")
    assert world.ingest(services, second) == {"quarantined": 1}


def test_late_files_in_a_campaigns_folder_are_named_and_left_there(services, tmp_path):
    batch_id, _ = world.designers_batch(services, tmp_path)
    with services.session() as session:
        location = session.get_one(Batch, batch_id).location
    key = late(services, tmp_path, location=location, name="EXTRA_ACME_20270301_v01.jpg")
    batches.close(services, batch_id=batch_id)
    assert batches.came_late(services, batch_id=batch_id) == ["EXTRA_ACME_20270301_v01.jpg"]
    assert services.storage.inbox.exists(key)
