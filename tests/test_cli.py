"""The command line, as a person would use it."""

from __future__ import annotations

import json
import shutil

import pytest
from sqlalchemy import select, text
from typer.testing import CliRunner

import world
from dam import audit
from dam.catalog.models import Batch
from dam.cli import app
from dam.ingest import drops, local
from dam.review import packages
from dam.storage.folder import FolderStore


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


def test_the_summary_of_json_lines_goes_to_stderr(dam, tmp_path):
    world.picture(tmp_path / "drop", "A_ACME_20270301_v01.jpg")
    done = dam("ingest", str(tmp_path / "drop"), "--json", "--sent-by", "north")
    [line] = map(json.loads, done.stdout.splitlines())
    assert list(line) == ["path", "sha256", "outcome", "reason", "media_type", "asset"]
    assert "1 ingested" in done.stderr


@pytest.mark.parametrize("packed", ["zip", "tar.gz"])
def test_a_packed_folder_is_ingested_by_what_is_in_it(dam, services, tmp_path, packed):
    world.picture(tmp_path / "drop" / "in", "A_ACME_20270301_v01.jpg")
    kind = {"zip": "zip", "tar.gz": "gztar"}[packed]
    path = shutil.make_archive(str(tmp_path / "all"), kind, tmp_path / "drop")
    [line] = map(json.loads, dam("ingest", path, "--json", "--sent-by", "north").stdout.splitlines())
    assert (line["path"], line["outcome"]) == (f"all.{packed}/in/A_ACME_20270301_v01.jpg", "ingested")
    assert list(services.storage.inbox.list()) == []


def test_a_folder_with_its_card_and_things_of_no_use(dam, services, tmp_path):
    folder = tmp_path / "drop"
    world.picture(folder, "A_ACME_20270301_v01.jpg")
    world.picture(folder / "sub", "B_ACME_20270301_v01.jpg", seed=2)
    (folder / "batch.yaml").write_text("supplier: Northlight\n")
    (folder / "sub" / "batch.yaml").write_text("supplier: Other\n")
    (folder / ".DS_Store").write_text("x")
    (folder / "link.jpg").symlink_to(folder / "A_ACME_20270301_v01.jpg")
    done = dam("ingest", str(folder), "--sent-by", "north")
    assert "2 ingested; 0 incomplete; 3 left out" in done.stdout
    with services.session() as session:
        batch = session.scalars(select(Batch)).one()
        assert (batch.supplier, batch.sent_by, batch.source) == ("Northlight", "north", "cli")


def test_a_file_that_can_not_be_read_is_told_and_stops_no_other(dam, tmp_path):
    folder = tmp_path / "drop"
    world.picture(folder, "A_ACME_20270301_v01.jpg")
    (folder / "back\\slash.jpg").write_bytes(b"x")
    lines = map(json.loads, dam("ingest", str(folder), "--json", "--sent-by", "north").stdout.splitlines())
    rows = {row["path"]: row for row in lines}
    assert rows["A_ACME_20270301_v01.jpg"]["outcome"] == "ingested"
    assert rows["back\\slash.jpg"]["outcome"] == "opaque"
    assert "can't be read" in rows["back\\slash.jpg"]["reason"]
    (folder / "A_ACME_20270301_v01.jpg").unlink()
    done = dam("ingest", str(folder), "--sent-by", "north")
    assert done.exit_code == 2
    assert "no file can be read" in done.stderr


def test_an_unknown_campaign_is_told_before_anything_is_copied(dam, services, tmp_path):
    world.picture(tmp_path / "drop", "A_ACME_20270301_v01.jpg")
    world.signed_brief(services)
    done = dam("ingest", str(tmp_path / "drop"), "--campaign", "spring", "--sent-by", "north")
    assert done.exit_code == 2
    assert "there is no campaign 'spring' Use one of: spring-2027." in done.stderr
    assert list(services.storage.inbox.list()) == []


def test_killed_while_copying_nobody_else_takes_it_up_and_again_ends_the_same(dam, services, tmp_path, monkeypatch):
    for seed, name in enumerate("AB", 1):
        world.picture(tmp_path / "drop", f"{name}_ACME_20270301_v01.jpg", seed=seed)
    put = FolderStore.put

    def killed(self, key, *args, **kwargs):
        if key.endswith("B_ACME_20270301_v01.jpg"):
            raise KeyboardInterrupt
        return put(self, key, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(FolderStore, "put", killed)
        assert dam("ingest", str(tmp_path / "drop"), "--sent-by", "north").exit_code != 0
    world.limit(services, quiet_seconds=0)
    assert drops.discover(services) == []
    assert "2 ingested" in dam("ingest", str(tmp_path / "drop"), "--sent-by", "north").stdout


def test_a_watched_folder_is_taken_in_as_it_fills_until_ctrl_c(dam, services, tmp_path, monkeypatch):
    folder = tmp_path / "hot"
    world.picture(folder / "old", "A_ACME_20270301_v01.jpg", seed=1)
    (folder / "old" / "_COMPLETE").touch()
    (folder / "old" / "batch.yaml").write_text("supplier: Northlight\n")
    world.picture(folder, "LOOSE_ACME_20270301_v01.jpg", seed=2)
    looks = []

    def sleep(_seconds):
        looks.append(None)
        if len(looks) == 1:
            world.picture(folder / "new", "B_ACME_20270301_v01.jpg", seed=3)
        elif len(looks) == 2:
            (folder / "new" / "_COMPLETE").touch()
            world.picture(folder / "old", "C_ACME_20270301_v01.jpg", seed=4)
        elif len(looks) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(local.time, "sleep", sleep)
    done = dam("ingest", str(folder), "--watch", "--json", "--sent-by", "north")
    assert done.exit_code == 0, done.output
    names = [json.loads(line)["path"] for line in done.stdout.splitlines()]
    assert names == [f"{name}_ACME_20270301_v01.jpg" for name in "ABC"], "the loose one may still be written"
    assert "3 batches" in done.stderr
    with services.session() as session:
        assert session.scalars(select(Batch.supplier).order_by(Batch.received_at)).all() == ["Northlight", None, None]
    looks.clear()
    again = dam("ingest", str(folder), "--watch", "--json", "--sent-by", "north")
    assert (again.exit_code, again.stdout) == (0, ""), "what was taken in is not taken in again"


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


def test_seats_are_signed_taken_back_and_handed_on(dam, services, tmp_path):
    batch_id, complete = world.designers_batch(services, tmp_path)
    package_id = packages.freeze(services, batch_id=batch_id, version_ids=complete)
    brand, legal = (seat["seat_id"] for seat in packages.seats(services, package_id=package_id))
    signing = ("decide", brand, "--person", "bea", "--verdict", "approve")
    assert dam(*signing, "--version", complete[0]).exit_code == 2
    assert dam(*signing, "--version", f"{complete[0]}=reject").exit_code == 2  # it takes a reason
    assert dam(*signing, "--conditions", "Mend it.", "--version", f"{complete[0]}=reject:Too dark.").exit_code == 0
    listed = dam("seat", "list", package_id).stdout
    assert "brand_reviewer: signed, 1 of 1 signed" in listed
    assert "bea: approve, on condition: Mend it." in listed
    decision = next(line.split()[0] for line in listed.splitlines() if "dec_" in line)
    assert dam("seat", "met", decision, "--person", "bea").exit_code == 0
    assert "Taken back: approve. The seat is open." in dam("seat", "undo", brand, "--person", "bea").stdout
    assert dam("seat", "undo", brand, "--person", "bea").exit_code == 2
    handed = dam("seat", "delegate", legal, "--person", "lena", "--to", "vic", "--why", "On a train.")
    assert "vic may sign for lena" in handed.stdout
    told = dam("decide", legal, "--person", "vic", "--verdict", "approve")
    assert "Signed for lena over" in told.stdout
    made = dam("seat", "away", "--person", "bea", "--from", "2027-01-01", "--until", "2099-01-01", "--deputy", "maya")
    assert made.stdout.startswith("abs_"), made.output
    assert dam("seat", "back", made.stdout.strip(), "--person", "bea").exit_code == 0


def test_the_taxonomy_is_checked(dam):
    assert "9 people, 2 seats" in dam("taxonomy", "check").stdout


def test_what_a_batch_lacks_is_written_as_csv_and_filled_in(dam, services, tmp_path):
    path = world.picture(tmp_path, "A_ACME_20270301_v01.jpg", xmp={"Xmp.dc.title": {'lang="x-default"': "A"}})
    assert dam("ingest", str(path)).exit_code == 0
    with services.session() as session:
        batch_id = session.scalars(select(Batch.id)).one()
    written = dam("batch", "missing", batch_id)
    assert written.exit_code == 0
    assert written.stdout_bytes.startswith(b"\xef\xbb\xbfid,file,description,alt_text,creator")
    _head, line = written.stdout_bytes.decode("utf-8-sig").splitlines()
    version_id = line.split(",")[0]
    filled = tmp_path / "filled.csv"
    filled.write_text(f"id;creator;ends_on\n{version_id};Zoë;\nver_x;Zoë;\n", encoding="cp1252")
    refused = dam("batch", "fill", batch_id, str(filled), "--person", "bea")
    assert (refused.exit_code, "neither librarian nor DAM admin" in refused.output) == (2, True)
    told = dam("batch", "fill", batch_id, str(filled), "--person", "libby")
    assert told.exit_code == 1
    assert "line 3, id: 'ver_x' is no version of this batch." in told.output
    assert "1 versions saved, 0 of them complete." in told.output
    filled.write_text(f"id;creator\n{version_id};Zoe\n")
    assert dam("batch", "fill", batch_id, str(filled), "--person", "libby").exit_code == 0
    assert "creator" not in dam("batch", "missing", batch_id).stdout
