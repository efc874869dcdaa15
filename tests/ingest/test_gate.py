"""The gate: every good file a version, every bad one a reason, whatever happens meanwhile."""

from __future__ import annotations

import hashlib
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from sqlalchemy import func, select, text

import world
from dam import audit
from dam.catalog.models import Asset, Batch, BatchFile, Description, NearDuplicate, Version
from dam.errors import BadInput
from dam.ingest import batches, gate, released
from dam.services import Services
from dam.storage import Corrupt


def rows(services, batch_id):
    return {row["path"]: row for row in batches.receipt(services, batch_id=batch_id)}


def count(services, model):
    with services.session() as session:
        return session.scalar(select(func.count()).select_from(model))


def test_a_good_file_becomes_a_version_with_all_that_is_in_it(services, tmp_path):
    path = world.picture(tmp_path, "CUP_ACME_20270301_v01.jpg")
    batch_id = world.drop(services, "drops/a", [path])
    assert world.ingest(services, batch_id) == {"ingested": 1}
    with services.session() as session:
        version = session.scalars(select(Version)).one()
        assert version.state == "ingested"
        assert version.asset.name == "CUP_ACME"
        assert (version.width, version.height) == (1300, 900)
        assert version.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert services.storage.vault.digest(version.storage_uri.removeprefix("vault:")) == version.sha256
        described = session.get_one(Description, version.id)
        assert (described.title, described.creator) == ("A red cup", "Rachel")
        assert "subject/coffee" in {tag.term_id for tag in version.tags}
        assert version.asset.grants[0].licence.reference == "CC0-1.0"


def test_a_batch_survives_its_worst_files(services, tmp_path):
    good = world.picture(tmp_path, "GOOD_ACME_20270301_v01.jpg", seed=1)
    cut = world.truncated(world.picture(tmp_path, "CUT_ACME_20270301_v01.jpg", seed=2), 0.5)
    empty = tmp_path / "EMPTY_ACME_20270301_v01.jpg"
    empty.write_bytes(b"")
    noise = tmp_path / "noise.bin"
    noise.write_bytes(b"\x01\x02\x03 nothing known")
    batch_id = world.drop(services, "drops/a", [good, cut, empty, noise])
    assert world.ingest(services, batch_id) == {"ingested": 1, "quarantined": 2, "opaque": 1}
    told = rows(services, batch_id)
    assert "cut off" in told[cut.name]["reason"]
    assert told[empty.name]["reason"] == "The file is empty."
    assert "kept as it is" in told[noise.name]["reason"]
    for name, path in ((cut.name, cut), (noise.name, noise)):
        key = f"{told[name]['sha256'][:2]}/{told[name]['sha256'][2:4]}/{told[name]['sha256']}"
        assert services.storage.quarantine.read(key) == path.read_bytes()


def test_a_wrong_extension_is_noted_and_mended(services, tmp_path):
    path = world.picture(tmp_path, "A_ACME_20270301_v01.jpg").rename(tmp_path / "A_ACME_20270301_v01.png")
    batch_id = world.drop(services, "drops/a", [path])
    world.ingest(services, batch_id)
    assert "was wrong: it is image/jpeg" in rows(services, batch_id)[path.name]["notes"][0]
    with services.session() as session:
        assert session.scalars(select(Version.filename)).one() == "A_ACME_20270301_v01.jpg"


def test_a_name_outside_the_convention_is_ingested_with_a_note(services, tmp_path):
    path = world.picture(tmp_path, "my holiday (1).jpg")
    batch_id = world.drop(services, "drops/a", [path])
    world.ingest(services, batch_id)
    row = rows(services, batch_id)[path.name]
    assert row["asset"] == "my-holiday--1-"
    assert "does not follow" in row["notes"][0]


def test_the_same_bytes_join_the_old_version(services, tmp_path):
    path = world.picture(tmp_path, "A_ACME_20270301_v01.jpg")
    copy = tmp_path / "B_ACME_20270301_v01.jpg"
    copy.write_bytes(path.read_bytes())
    first = world.drop(services, "drops/a", [path])
    world.ingest(services, first)
    second = world.drop(services, "drops/b", [copy])
    assert world.ingest(services, second) == {"duplicate": 1}
    assert "as A_ACME v1" in rows(services, second)[copy.name]["reason"]
    assert (count(services, Version), count(services, Asset)) == (1, 1)


def test_the_same_name_is_a_new_version(services, tmp_path):
    for number in (1, 2):
        path = world.picture(tmp_path, f"A_ACME_2027030{number}_v0{number}.jpg", seed=number)
        batch_id = world.drop(services, f"drops/{number}", [path])
        outcome = world.ingest(services, batch_id)
    assert outcome == {"new_version": 1}
    with services.session() as session:
        assert session.scalars(select(Version.number).order_by(Version.number)).all() == [1, 2]


def test_pictures_that_look_alike_are_linked(services, tmp_path):
    from PIL import Image

    path = world.picture(tmp_path, "A_ACME_20270301_v01.jpg")
    small = tmp_path / "B_ACME_20270301_v01.jpg"
    Image.open(path).resize((650, 450)).save(small, quality=60)
    other = world.picture(tmp_path, "C_ACME_20270301_v01.jpg", seed=9)
    world.ingest(services, world.drop(services, "drops/a", [path, small, other]))
    with services.session() as session:
        pair = session.scalars(select(NearDuplicate)).one()
        names = {session.get_one(Version, one).asset.name for one in (pair.version_id, pair.other_id)}
    assert names == {"A_ACME", "B_ACME"}
    assert pair.distance <= 6


@pytest.mark.parametrize("manifest", ["SHA256SUMS", "manifest-sha256.txt"])
def test_a_promised_checksum_is_held_to(services, tmp_path, manifest):
    right = world.picture(tmp_path, "A_ACME_20270301_v01.jpg", seed=1)
    wrong = world.picture(tmp_path, "B_ACME_20270301_v01.jpg", seed=2)
    sums = tmp_path / manifest
    sums.write_text(f"{hashlib.sha256(right.read_bytes()).hexdigest()}  {right.name}\n{'0' * 64} *{wrong.name}\n")
    batch_id = world.drop(services, "drops/a", [right, wrong, sums])
    assert world.ingest(services, batch_id) == {"ingested": 1, "quarantined": 1}
    assert "not what the sender promised" in rows(services, batch_id)[wrong.name]["reason"]
    assert not rows(services, batch_id)[right.name]["self_attested"]


def test_a_decompression_bomb_is_refused_from_its_header(services, tmp_path):
    from PIL import Image

    bomb = tmp_path / "BOMB_ACME_20270301_v01.png"
    Image.new("1", (25000, 25000)).save(bomb)
    batch_id = world.drop(services, "drops/a", [bomb])
    assert world.ingest(services, batch_id) == {"quarantined": 1}
    assert "25000 × 25000" in rows(services, batch_id)[bomb.name]["reason"]


def test_the_same_batch_twice_changes_nothing(services, tmp_path):
    files = [world.picture(tmp_path, f"P{n}_ACME_20270301_v01.jpg", seed=n) for n in range(3)]
    batch_id = world.drop(services, "drops/a", files)
    world.ingest(services, batch_id)
    before = count(services, Version)
    assert world.drop(services, "drops/a", files) == batch_id
    assert world.ingest(services, batch_id) == {}
    assert count(services, Version) == before


def test_two_workers_at_one_batch_make_no_doubles(services, tmp_path):
    files = [world.picture(tmp_path, f"P{n}_ACME_20270301_v01.jpg", seed=n % 4) for n in range(8)]
    batch_id = world.drop(services, "drops/a", files)
    [chunk] = batches.plan_chunks(services, batch_id=batch_id)
    counts = []

    def work(ids):
        counts.append(gate.ingest_chunk(services, batch_id=batch_id, file_ids=ids))

    threads = [threading.Thread(target=work, args=(ids,)) for ids in (chunk, chunk[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    world.ingest(services, batch_id)  # what one worker had in hand when the other came by
    assert sum(sum(each.values()) for each in counts) == 8
    assert count(services, Version) == 4
    outcomes = [row["outcome"] for row in rows(services, batch_id).values()]
    assert sorted(outcomes) == ["duplicate"] * 4 + ["ingested"] * 4


def test_two_alike_at_the_same_moment_are_linked(services, tmp_path, monkeypatch):
    """Both workers have inserted their version before either looks for others."""
    one = world.picture(tmp_path, "ONE_ACME_20270301_v01.jpg", seed=5)
    two = tmp_path / "TWO_ACME_20270301_v01.jpg"
    Image.open(one).save(two, quality=60)
    batch_id = world.drop(services, "drops/a", [one, two])
    together, link = threading.Barrier(2, timeout=20), gate._link_near

    def inserted(*args):
        together.wait()
        link(*args)

    monkeypatch.setattr(gate, "_link_near", inserted)
    [chunk] = batches.plan_chunks(services, batch_id=batch_id)
    known = {"services": services, "batch_id": batch_id}
    workers = [threading.Thread(target=gate.ingest_chunk, kwargs=known | {"file_ids": [file_id]}) for file_id in chunk]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert [row["outcome"] for row in batches.receipt(services, batch_id=batch_id)] == ["ingested"] * 2
    assert count(services, NearDuplicate) == 1


@pytest.mark.parametrize("step", ["_asset", "_write_down", "_link_near", "_look", "change_state"])
def test_killed_at_any_step_and_run_again_ends_the_same(services, tmp_path, monkeypatch, step):
    path = world.picture(tmp_path, "A_ACME_20270301_v01.jpg")
    batch_id = world.drop(services, "drops/a", [path])
    [[file_id]] = batches.plan_chunks(services, batch_id=batch_id)

    def killed(*_args, **_kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(gate, step, killed)
        with pytest.raises(KeyboardInterrupt):
            gate.ingest_chunk(services, batch_id=batch_id, file_ids=[file_id])
    assert rows(services, batch_id)[path.name]["outcome"] == "pending"
    assert world.ingest(services, batch_id) == {"ingested": 1}
    assert count(services, Version) == 1


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0.001, 0.97))
def test_a_picture_cut_off_anywhere_is_never_taken_for_a_whole_one(tmp_path, share):
    path = world.truncated(world.picture(tmp_path, "A.jpg", size=(160, 120)), share)
    assert "told" not in world.look(path)


def test_chunks_are_cut_by_bytes(services, tmp_path):
    files = [world.picture(tmp_path, f"P{n}_ACME_20270301_v01.jpg", seed=n) for n in range(4)]
    batch_id = world.drop(services, "drops/a", files)
    chunks = batches.plan_chunks(services, batch_id=batch_id, max_bytes=2 * batches.LEAST_FILE)
    assert [len(chunk) for chunk in chunks] == [2, 2]
    assert [len(chunk) for chunk in batches.plan_chunks(services, batch_id=batch_id, max_bytes=1)] == [1, 1, 1, 1]


def test_the_source_goes_only_after_its_copy_was_read_back(services, tmp_path):
    path = world.picture(tmp_path, "A_ACME_20270301_v01.jpg")
    batch_id = world.drop(services, "drops/a", [path])
    world.ingest(services, batch_id)
    with services.session() as session:
        uri = session.scalars(select(Version.storage_uri)).one()
    vault = services.storage.vault.root / uri.removeprefix("vault:")
    whole = vault.read_bytes()
    vault.write_bytes(whole[:-1] + b"x")
    with pytest.raises(Corrupt, match="was left where it is"):
        batches.close(services, batch_id=batch_id)
    assert services.storage.inbox.exists(f"drops/a/{path.name}"), "the only good copy was removed"
    with services.session() as session:
        assert session.get_one(Batch, batch_id).status != "done"
    vault.write_bytes(whole)
    batches.close(services, batch_id=batch_id)
    assert not services.storage.inbox.exists(f"drops/a/{path.name}")


def test_an_inbox_that_was_emptied_before_is_closed_as_any_other(services, tmp_path):
    """While metadata is checked the files leave already; what is not in the library stays, as when closing."""
    files = [world.picture(tmp_path, f"{name}_ACME_20270301_v01.jpg", seed=seed) for seed, name in enumerate("ABC")]
    batch_id = world.drop(services, "drops/a", files)
    world.ingest(services, batch_id)
    inbox = services.storage.inbox
    inbox.put(f"drops/a/{files[0].name}", b"a better one, sent too late")
    for _ in range(2):
        assert batches.empty_inbox(services, batch_id=batch_id) == 3
        assert [entry.key for entry in inbox.list()] == [f"drops/a/{files[0].name}"]
    assert not any(row["notes"] for row in rows(services, batch_id).values()), "that is for closing to say"
    assert batches.close(services, batch_id=batch_id) == {"ingested": 3}
    assert "overwritten" in rows(services, batch_id)[files[0].name]["notes"][0]
    inbox.put(f"drops/a/{files[1].name}", files[1])  # sent again: of another batch by now
    assert batches.empty_inbox(services, batch_id=batch_id) == 0
    assert inbox.exists(f"drops/a/{files[1].name}")


def test_no_file_leaves_the_inbox_where_one_copy_is_damaged(services, tmp_path):
    files = [world.picture(tmp_path, f"{name}_ACME_20270301_v01.jpg", seed=seed) for seed, name in enumerate("AB")]
    batch_id = world.drop(services, "drops/a", files)
    world.ingest(services, batch_id)
    with services.session() as session:
        uri = session.scalars(select(Version.storage_uri).order_by(Version.filename.desc())).first()
    vault = services.storage.vault.root / str(uri).removeprefix("vault:")
    vault.write_bytes(vault.read_bytes()[:-1] + b"x")
    with pytest.raises(Corrupt, match="was left where it is"):
        batches.empty_inbox(services, batch_id=batch_id)
    assert len(list(services.storage.inbox.list())) == 2


def test_a_file_that_was_overwritten_after_it_was_ingested_stays(services, tmp_path):
    files = [world.picture(tmp_path, f"{name}_ACME_20270301_v01.jpg", seed=seed) for seed, name in enumerate("AB")]
    batch_id = world.drop(services, "drops/a", files)
    world.ingest(services, batch_id)
    services.storage.inbox.put(f"drops/a/{files[0].name}", b"a better one, sent too late")
    for _ in range(2):  # run again, it says the same
        assert batches.close(services, batch_id=batch_id) == {"ingested": 2}
        assert [entry.key for entry in services.storage.inbox.list()] == [f"drops/a/{files[0].name}"]
        told = rows(services, batch_id)
        assert [len(told[path.name]["notes"]) for path in files] == [1, 0]
        assert "overwritten" in told[files[0].name]["notes"][0]
    with services.session() as session:
        [closed] = [event for event in audit.history(session, batch_id) if event.action == "batch.closed"]
        assert closed.data["overwritten"] == [files[0].name]


def test_closing_and_a_second_look_at_an_overwritten_file_wait_for_each_other(services, tmp_path):
    """Both lock the file before the batch; the other way round, one of them would be ended by the database."""
    path = world.picture(tmp_path, "A_ACME_20270301_v01.jpg")
    batch_id = world.drop(services, "drops/a", [path])
    world.ingest(services, batch_id)
    services.storage.inbox.put(f"drops/a/{path.name}", b"a better one, sent too late")
    with ThreadPoolExecutor(1) as pool, services.session() as looking:
        row = looking.scalars(select(BatchFile).with_for_update(of=BatchFile)).one()
        closing = pool.submit(batches.close, services, batch_id=batch_id)
        waits = text(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%batch_files%'"
        )
        for _ in range(500):
            with services.session() as watching:  # a session of its own: one sees who waits as it was at first
                if watching.scalar(waits):
                    break
            time.sleep(0.02)
        released.lock(looking, row.batch)
        looking.commit()
        assert closing.result(timeout=30) == {"ingested": 1}
    assert "overwritten" in rows(services, batch_id)[path.name]["notes"][0]


def test_closing_that_is_killed_at_any_step_is_finished_by_the_next(services, tmp_path, monkeypatch):
    files = [world.picture(tmp_path, f"{name}_ACME_20270301_v01.jpg", seed=seed) for seed, name in enumerate("AB")]
    batch_id = world.drop(services, "drops/a", files)
    world.ingest(services, batch_id)
    inbox, vault, record = services.storage.inbox, services.storage.vault, audit.record

    def killed(*_args, **_kwargs):
        raise KeyboardInterrupt

    def killed_after(key):
        monkeypatch.undo()
        inbox.delete(key)
        raise KeyboardInterrupt

    steps = [(inbox, "holds", killed), (vault, "holds", killed), (audit, "record", killed)]
    for where, name, kill in [*steps, (inbox, "delete", killed), (inbox, "delete", killed_after)]:
        monkeypatch.setattr(where, name, kill)
        with pytest.raises(KeyboardInterrupt):
            batches.close(services, batch_id=batch_id)
        monkeypatch.undo()
        assert len(list(inbox.list())) == (1 if kill is killed_after else 2)
    batches.close(services, batch_id=batch_id)
    assert list(inbox.list()) == []
    assert audit.record is record
    with services.session() as session:
        assert [event.action for event in audit.history(session, batch_id)].count("batch.closed") == 1


def test_closing_waits_for_every_file(services, tmp_path):
    batch_id = world.drop(services, "drops/a", [world.picture(tmp_path, "A_ACME_20270301_v01.jpg")])
    batches.plan_chunks(services, batch_id=batch_id)
    with pytest.raises(Exception, match="still pending"):
        batches.close(services, batch_id=batch_id)
    world.ingest(services, batch_id)
    assert batches.close(services, batch_id=batch_id) == {"ingested": 1}
    assert list(services.storage.inbox.list("drops/a/")) == []
    assert count(services, BatchFile) == 1


@pytest.mark.parametrize(
    "name", ["taxonomy/rights.yaml", "taxonomy/metadata.yaml", "taxonomy/limits.yaml", "templates/recipes.yaml"]
)
def test_a_fault_in_what_people_edit_is_no_files_fault(services, tmp_path, name):
    batch_id = world.drop(services, "drops/a", [world.picture(tmp_path, "A_ACME_20270301_v01.jpg")])
    [[file_id]] = batches.plan_chunks(services, batch_id=batch_id)
    folder = shutil.copytree(services.settings.include, tmp_path / "include")
    (folder / name).write_text("nonsense: [1, 2\n")
    faulty = Services(replace(services.settings, include=folder))
    with pytest.raises(BadInput, match=Path(name).name):
        gate.ingest_chunk(faulty, batch_id=batch_id, file_ids=[file_id])
    faulty.engine.dispose()
    assert [row["outcome"] for row in batches.receipt(services, batch_id=batch_id)] == ["pending"]
    assert gate.ingest_chunk(services, batch_id=batch_id, file_ids=[file_id]) == {"ingested": 1}
