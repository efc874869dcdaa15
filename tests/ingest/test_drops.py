"""The inbox: what is a drop, when it is complete, and that nothing in it stays unseen. In folders and on S3."""

from __future__ import annotations

import hashlib
import os
import shutil

import pytest
from sqlalchemy import select

import world
from dam.catalog.claims import claim
from dam.catalog.models import AuditEvent, Batch, BatchFile, Version
from dam.errors import NotFound
from dam.ingest import batches, contents, drops, uploads

CARD = b"sent_by: north\nsupplier: Northlight\nrights: {licence: NORTH-1, holder: Northlight}\n"
A, B = "A_ACME_20270301_v01.jpg", "B_ACME_20270301_v01.jpg"


@pytest.fixture
def inbox(anywhere):
    return anywhere.storage.inbox


@pytest.fixture
def picture(tmp_path):
    """Bytes of a picture."""
    return lambda seed=1: world.picture(tmp_path / "made", f"{seed}.jpg", seed=seed, size=(300, 200)).read_bytes()


def take(services, location, *, close=True):
    """Register a location, take it up, ingest and close it; return the batch's id."""
    batch_id = batches.register(services, location=location, source="inbox", sent_by="airflow")
    claim(services, stage="ingest_batch", key=batch_id, run=f"ingest_batch/{batch_id}")
    world.ingest(services, batch_id)
    if close:
        batches.close(services, batch_id=batch_id)
    return batch_id


def rows(services, batch_id):
    return {row["path"]: row for row in batches.receipt(services, batch_id=batch_id)}


def notes(services, batch_id):
    with services.session() as session:
        return session.get_one(Batch, batch_id).notes


# ------------------------------------------------------------------------------------------------ complete


def test_a_marker_ends_a_drop_at_once_and_it_is_told_until_it_is_taken_up(anywhere, inbox, picture):
    inbox.put(f"drops/x/{A}", picture())
    inbox.put(f"drops/partners/y/{A}", picture())
    assert drops.discover(anywhere) == []
    for folder in ("drops/x", "drops/partners/y"):
        inbox.put(f"{folder}/batch.yaml", CARD)
        inbox.put(f"{folder}/_COMPLETE", b"")
    assert drops.discover(anywhere) == ["drops/partners/y", "drops/x"]
    batch_id = batches.register(anywhere, location="drops/partners/y", source="inbox", sent_by="airflow")
    assert drops.discover(anywhere) == ["drops/partners/y", "drops/x"], "whoever registered it may have died"
    claim(anywhere, stage="partner_drop", key=batch_id, run="partner_drop/r1")
    assert drops.discover(anywhere) == ["drops/x"]
    with anywhere.session() as session:
        batch = session.get_one(Batch, batch_id)
        assert (batch.sent_by, batch.supplier) == ("north", "Northlight")


def test_a_card_alone_says_where_a_drop_is_but_not_that_it_is_complete(anywhere, inbox, picture):
    inbox.put("drops/supplier/monday/batch.yaml", CARD)
    inbox.put(f"drops/supplier/monday/{A}", picture())
    assert drops.discover(anywhere) == []
    world.limit(anywhere, quiet_seconds=0)
    assert drops.discover(anywhere) == ["drops/supplier/monday"]


def test_a_drop_is_complete_when_it_was_quiet(anywhere, inbox, picture):
    inbox.put(f"drops/card/DCIM/100CANON/{A}", picture())
    assert drops.discover(anywhere) == []
    world.limit(anywhere, quiet_seconds=0)
    assert drops.discover(anywhere) == ["drops/card"]


@pytest.mark.parametrize("name", ["SHA256SUMS", "MD5SUMS.txt", "photos.sha1"])
def test_a_manifest_ends_a_drop_when_every_file_is_there(anywhere, inbox, picture, name):
    algorithm = "sha256" if "256" in name else "md5" if "MD5" in name else "sha1"
    digest = {path: hashlib.new(algorithm, picture(seed)).hexdigest() for path, seed in ((A, 1), (f"sub/{B}", 2))}
    inbox.put(f"drops/x/{name}", "".join(f"{value}  {path}\n" for path, value in digest.items()).encode())
    inbox.put(f"drops/x/{A}", picture(1))
    assert drops.discover(anywhere) == []
    inbox.put(f"drops/x/sub/{B}", picture(2))
    assert drops.discover(anywhere) == ["drops/x"]
    inbox.put("drops/x/more.jpg", picture(3))
    assert drops.discover(anywhere) == [], "what it does not list may be only the first of many"


def test_one_checksum_beside_its_file_does_not_end_a_drop(anywhere, inbox, picture):
    inbox.put(f"drops/x/{A}", picture())
    inbox.put(f"drops/x/{A}.md5", hashlib.md5(picture()).hexdigest().encode())
    assert drops.discover(anywhere) == []


def test_a_manifest_waits_for_what_is_still_being_written(services, picture):
    inbox = services.storage.inbox
    inbox.put(f"drops/x/{A}", picture()[:100])
    inbox.put("drops/x/SHA256SUMS", f"{hashlib.sha256(picture()).hexdigest()}  {A}\n".encode())
    world.limit(services, settle_seconds=30)
    assert drops.discover(services) == []
    inbox.put(f"drops/x/{A}", picture())
    world.limit(services, settle_seconds=0)
    assert drops.discover(services) == ["drops/x"]


def test_files_that_bring_their_old_time_along_are_as_new_as_they_are(services, tmp_path, picture):
    source = tmp_path / "old" / A
    source.parent.mkdir()
    source.write_bytes(picture())
    os.utime(source, (0, 0))
    target = services.storage.inbox.root / "drops" / "x" / A
    target.parent.mkdir(parents=True)
    shutil.copy2(source, target)
    assert target.stat().st_mtime == 0
    assert drops.discover(services) == [], "it was copied just now"


def test_an_upload_that_pauses_is_not_taken_for_complete(anywhere, inbox, picture):
    upload = uploads.begin(anywhere, person="dario", card={})
    inbox.put(f"drops/{upload}/mine/{A}", picture())
    inbox.put(f"drops/{upload}/mine/bagit.txt", b"")
    world.limit(anywhere, quiet_seconds=0)
    assert drops.discover(anywhere) == []


@pytest.mark.parametrize("name", ["B.jpg.part", "B.jpg.filepart", "B.jpg.crdownload"])
def test_a_file_that_a_program_has_not_ended_keeps_its_drop_waiting_and_is_told(anywhere, inbox, picture, name):
    inbox.put(f"drops/x/{A}", picture())
    inbox.put(f"drops/x/{name}", b"half")
    world.limit(anywhere, quiet_seconds=0)
    assert drops.discover(anywhere) == []
    assert [told["where"] for told in drops.problems(anywhere)] == [f"drops/x/{name}"]


@pytest.mark.parametrize(("source", "location"), [("cli", "drops/cli-1"), ("inbox", "campaigns/spring/brief-1")])
def test_what_nobody_need_take_up_is_not_told(services, source, location):
    batches.register(services, location=location, source=source, sent_by="dario")
    assert drops.discover(services) == []


# ------------------------------------------------------------------------------------------- strange things


def test_a_marker_beside_the_drops_marks_nothing_and_is_told(anywhere, inbox, picture):
    for name in ("_COMPLETE", "batch.yaml"):
        inbox.put(f"drops/{name}", CARD)
        inbox.put(f"drops/partners/{name}", CARD)
    inbox.put(f"drops/x/{A}", picture())
    assert drops.discover(anywhere) == []
    world.limit(anywhere, quiet_seconds=0)
    assert drops.discover(anywhere) == ["drops/x"]
    assert {told["where"] for told in drops.problems(anywhere)} == {
        "drops/_COMPLETE", "drops/batch.yaml", "drops/partners/_COMPLETE", "drops/partners/batch.yaml",
    }  # fmt: skip


def test_a_name_that_can_not_be_kept_stops_no_other_and_is_told(services, picture):
    root = services.storage.inbox.root / "drops"
    for folder in (b"back\\slash", b"\xff\xfe", b"fine"):
        (root / os.fsdecode(folder)).mkdir(parents=True)
        (root / os.fsdecode(folder) / "A.jpg").write_bytes(picture())
    (root / "fine" / os.fsdecode(b"caf\xe9.jpg")).write_bytes(picture(2))
    world.limit(services, quiet_seconds=0)
    assert drops.discover(services) == ["drops/fine"]
    assert {told["where"] for told in drops.problems(services)} == {
        "drops/back\\slash/A.jpg", "drops/\\xff\\xfe/A.jpg", "drops/fine/caf\\xe9.jpg",
    }  # fmt: skip
    batch_id = take(services, "drops/fine")
    assert {path: row["outcome"] for path, row in rows(services, batch_id).items()} == {"A.jpg": "ingested"}
    [told] = notes(services, batch_id)
    assert (told["kind"], told["where"]) == ("left out", "caf\\xe9.jpg")


def test_files_that_lie_in_no_folder_become_a_batch(anywhere, inbox, picture):
    inbox.put(f"drops/{A}", picture(1))
    inbox.put(f"drops/{A}.md5", hashlib.md5(picture(1)).hexdigest().encode())
    inbox.put("drops/.DS_Store", b"x")
    inbox.put(f"drops/partners/{B}", picture(2))
    assert drops.discover(anywhere) == []
    world.limit(anywhere, quiet_seconds=0)
    assert drops.discover(anywhere) == ["drops/_loose", "drops/partners/_loose"]
    first, second = (take(anywhere, location) for location in drops.discover(anywhere))
    assert rows(anywhere, first)[A]["outcome"] == "ingested"
    assert not rows(anywhere, first)[A]["self_attested"]
    assert list(rows(anywhere, second)) == [B]
    with anywhere.session() as session:
        assert session.get_one(Batch, second).location == "drops/partners/_loose~2"
    assert drops.discover(anywhere) == []
    inbox.put("drops/C.jpg", picture(3))
    assert list(rows(anywhere, take(anywhere, "drops/_loose"))) == ["C.jpg"]
    assert list(inbox.list("drops/")) == []


def test_what_systems_leave_in_the_drops_folder_is_no_batch(anywhere, inbox):
    inbox.put("drops/.DS_Store", b"x")
    world.limit(anywhere, quiet_seconds=0)
    assert drops.discover(anywhere) == []
    with pytest.raises(NotFound, match="nothing lies there"):
        batches.register(anywhere, location="drops/_loose", source="inbox", sent_by="airflow")


def test_a_folder_that_s3_consoles_make_is_no_file(s3_url, anywhere, inbox, picture):
    if not inbox.whole:
        return  # only S3 has such objects
    inbox.client.put_object(Bucket=inbox.bucket, Key=f"{inbox.prefix}drops/x/", Body=b"")
    world.limit(anywhere, quiet_seconds=0)
    assert drops.discover(anywhere) == []
    assert drops.problems(anywhere) == []


# ------------------------------------------------------------------------------------------------- later


def test_files_that_come_after_their_batch_is_done_become_a_further_one(anywhere, inbox, picture):
    inbox.put("drops/hot/batch.yaml", CARD)
    inbox.put(f"drops/hot/{A}", picture(1))
    sums = {A: picture(1), f"sub/{B}": picture(2)}
    listed = "".join(f"{hashlib.sha256(data).hexdigest()}  {path}\n" for path, data in sums.items())
    inbox.put("drops/hot/SHA256SUMS", listed.encode())
    inbox.put("drops/hot/_COMPLETE", b"")
    first = take(anywhere, "drops/hot", close=False)
    inbox.put(f"drops/hot/sub/{B}", picture(2))
    assert drops.came_late(anywhere, batch_id=first) == [f"sub/{B}"]
    assert drops.discover(anywhere) == [], "they wait for the batch's end"
    batches.close(anywhere, batch_id=first)
    assert drops.discover(anywhere) == [], "they may still be coming"
    world.limit(anywhere, quiet_seconds=0)
    assert drops.discover(anywhere) == ["drops/hot"]
    second = take(anywhere, "drops/hot")
    assert second != first
    assert rows(anywhere, second)[f"sub/{B}"]["outcome"] == "ingested"
    assert not rows(anywhere, second)[f"sub/{B}"]["self_attested"], "the sender's checksums went along"
    assert ([note["where"] for note in notes(anywhere, first)], notes(anywhere, second)) == ([f"sub/{B}"], [])
    with anywhere.session() as session:
        old, new = (session.get_one(Batch, batch_id) for batch_id in (first, second))
        assert (new.sent_by, new.supplier, new.rights) == (old.sent_by, old.supplier, old.rights)
        assert new.location == "drops/hot~2"
    assert drops.came_late(anywhere, batch_id=first) == []
    assert drops.discover(anywhere) == []
    assert list(inbox.list()) == []


def test_a_marker_put_again_ends_what_came_later_at_once_with_its_own_card(anywhere, inbox, picture):
    inbox.put(f"drops/hot/{A}", picture(1))
    inbox.put("drops/hot/_COMPLETE", b"")
    take(anywhere, "drops/hot")
    inbox.put(f"drops/hot/{B}", picture(2))
    inbox.put("drops/hot/batch.yaml", b"sent_by: south\n")
    assert drops.discover(anywhere) == []
    inbox.put("drops/hot/_COMPLETE", b"")
    assert drops.discover(anywhere) == ["drops/hot"]
    second = take(anywhere, "drops/hot")
    with anywhere.session() as session:
        assert session.get_one(Batch, second).sent_by == "south"


def test_the_same_name_put_there_again_later_is_late_too(anywhere, inbox, picture):
    inbox.put(f"drops/x/{A}", picture(1))
    inbox.put("drops/x/_COMPLETE", b"")
    first = take(anywhere, "drops/x")
    with anywhere.session() as session:  # S3 tells times by the second
        batch = session.get_one(Batch, first)
        batch.done_at = batch.received_at.replace(year=2020)
    inbox.put(f"drops/x/{A}", picture(2))
    world.limit(anywhere, quiet_seconds=0)
    second = take(anywhere, "drops/x")
    assert rows(anywhere, second)[A]["outcome"] == "new_version"


def test_setting_apart_killed_half_way_and_repeated_loses_nothing(anywhere, inbox, picture, monkeypatch):
    inbox.put(f"drops/x/{A}", picture(1))
    inbox.put("drops/x/_COMPLETE", b"")
    take(anywhere, "drops/x")
    for seed, name in enumerate("BCD", 2):
        inbox.put(f"drops/x/{name}_ACME_20270301_v01.jpg", picture(seed))
    world.limit(anywhere, quiet_seconds=0)
    rename = inbox.rename

    def killed(key, to):
        if key.endswith("C_ACME_20270301_v01.jpg"):
            raise KeyboardInterrupt
        rename(key, to)

    with monkeypatch.context() as patch:
        patch.setattr(inbox, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            drops.set_apart(anywhere, location="drops/x")
    assert drops.set_apart(anywhere, location="drops/x") == "drops/x~2"
    assert drops.set_apart(anywhere, location="drops/x~2") == "drops/x~2"
    second = batches.register(anywhere, location="drops/x~2", source="inbox", sent_by="airflow")
    assert world.ingest(anywhere, second) == {"ingested": 3}


def test_late_files_in_a_campaigns_folder_are_named_and_left_there(services, tmp_path):
    batch_id, _ = world.designers_batch(services, tmp_path)
    with services.session() as session:
        location = session.get_one(Batch, batch_id).location
    key = f"{location}/EXTRA_ACME_20270301_v01.jpg"
    services.storage.inbox.put(key, world.picture(tmp_path, "extra.jpg", seed=9))
    batches.close(services, batch_id=batch_id)
    assert drops.came_late(services, batch_id=batch_id) == ["EXTRA_ACME_20270301_v01.jpg"]
    with services.session() as session:
        closed = session.scalars(select(AuditEvent).where(AuditEvent.action == "batch.closed")).one()
    assert closed.data == {"ingested": 2, "came_late": ["EXTRA_ACME_20270301_v01.jpg"]}
    assert services.storage.inbox.exists(key)


def test_planned_again_a_batch_takes_nothing_that_came_meanwhile(anywhere, inbox, picture):
    inbox.put(f"drops/x/{A}", picture(1))
    batch_id = batches.register(anywhere, location="drops/x", source="inbox", sent_by="north")
    [[one]] = batches.plan_chunks(anywhere, batch_id=batch_id)
    inbox.put(f"drops/x/{B}", picture(2))
    assert batches.plan_chunks(anywhere, batch_id=batch_id) == [[one]]
    assert drops.came_late(anywhere, batch_id=batch_id) == [B]


def test_a_drop_inside_a_drop_is_its_own(anywhere, inbox, picture):
    inbox.put(f"drops/x/{A}", picture(1))
    inbox.put(f"drops/x/inner/{B}", picture(2))
    inbox.put("drops/x/inner/_COMPLETE", b"")
    assert drops.discover(anywhere) == ["drops/x/inner"]
    inner = take(anywhere, "drops/x/inner", close=False)
    world.limit(anywhere, quiet_seconds=0)
    assert drops.discover(anywhere) == ["drops/x"]
    outer = take(anywhere, "drops/x")
    assert (list(rows(anywhere, inner)), list(rows(anywhere, outer))) == ([B], [A])


def test_a_batch_of_many_files_is_planned(services):
    root = services.storage.inbox.root / "drops" / "big"
    root.mkdir(parents=True)
    for number in range(10_000):
        (root / f"{number:05d}.jpg").write_bytes(b"x")
    batch_id = batches.register(services, location="drops/big", source="inbox", sent_by="north")
    chunks = batches.plan_chunks(services, batch_id=batch_id)
    assert sum(map(len, chunks)) == 10_000
    assert max(map(len, chunks)) <= batches.MAX_BYTES // batches.LEAST_FILE


# ------------------------------------------------------------------------------------------- camera cards


def test_a_camera_card_with_sidecars_and_litter(anywhere, inbox, tmp_path, picture):
    bare = world.picture(tmp_path, "bare.jpg", seed=5, size=(300, 200), xmp={}).read_bytes()
    sidecar = tmp_path / "side.xmp"
    sidecar.write_text(XMP)
    inbox.put("drops/card/DCIM/100CANON/IMG_0001.JPG", bare)
    inbox.put("drops/card/DCIM/100CANON/IMG_0001.xmp", sidecar)
    inbox.put("drops/card/DCIM/100CANON/IMG_0001.THM", b"\xff\xd8\xff thumbnail")
    inbox.put("drops/card/DCIM/101CANON/IMG_0001.JPG", picture(6))
    for name in (".DS_Store", "DCIM/Thumbs.db", "__MACOSX/._IMG_0001.JPG", "CANONMSC/M0100.CTG"):
        inbox.put(f"drops/card/{name}", b"x")
    batch_id = take(anywhere, "drops/card")
    found = rows(anywhere, batch_id)
    assert {path: row["outcome"] for path, row in found.items()} == {
        "DCIM/100CANON/IMG_0001.JPG": "ingested",
        "DCIM/101CANON/IMG_0001.JPG": "ingested",
    }, "pictures that a camera gave the same name are no versions of each other"
    told = " ".join(found["DCIM/100CANON/IMG_0001.JPG"]["notes"])
    assert "fields were read from its sidecar IMG_0001.xmp" in told
    assert "IMG_0001.THM is kept as its sidecar" in told
    [note] = notes(anywhere, batch_id)
    assert "4 files of systems and cameras" in note["what"]
    with anywhere.session() as session:
        version = session.get_one(Version, found["DCIM/100CANON/IMG_0001.JPG"]["version_id"])
        assert version.description.title == "From the sidecar"
        assert version.embedded["Xmp.dc.creator"] == ["Ann"]
    assert list(inbox.list()) == []
    filed = [entry.key for entry in anywhere.storage.reports.list(drops.filed_at(batch_id))]
    assert drops.filed_at(batch_id, "DCIM/100CANON/IMG_0001.xmp") in filed


XMP = """<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/">
<dc:title><rdf:Alt><rdf:li xml:lang="x-default">From the sidecar</rdf:li></rdf:Alt></dc:title>
<dc:creator><rdf:Seq><rdf:li>Ann</rdf:li></rdf:Seq></dc:creator>
</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>"""


def test_what_the_file_says_itself_goes_before_its_sidecar(services, picture):
    inbox = services.storage.inbox
    inbox.put(f"drops/x/{A}", picture())
    inbox.put(f"drops/x/{A}.xmp", XMP.encode())
    batch_id = take(services, "drops/x")
    with services.session() as session:
        version = session.get_one(Version, rows(services, batch_id)[A]["version_id"])
        assert (version.description.title, version.description.creator) == ("A red cup", "Rachel")


@pytest.mark.parametrize("bad", [b"no xml", b"<x:xmpmeta", b"\x00" * 100])
def test_a_sidecar_that_is_damaged_is_told_and_stops_nothing(services, picture, bad):
    services.storage.inbox.put(f"drops/x/{A}", picture())
    services.storage.inbox.put(f"drops/x/{A}.xmp", bad)
    row = rows(services, take(services, "drops/x"))[A]
    assert row["outcome"] == "ingested"
    assert row["notes"] == [f"Its sidecar {A}.xmp can't be read as XMP."]


def test_a_sidecar_without_its_file_is_a_file(services):
    services.storage.inbox.put("drops/x/alone.xmp", XMP.encode())
    assert list(rows(services, take(services, "drops/x"))) == ["alone.xmp"]


def test_files_of_one_name_in_several_folders_are_several_assets(services, picture):
    for seed, folder in enumerate(("DE", "FR"), 1):
        services.storage.inbox.put(f"drops/x/{folder}/banner.jpg", picture(seed))
    found = rows(services, take(services, "drops/x"))
    assert {row["asset"] for row in found.values()} == {"DE-banner", "FR-banner"}


# ------------------------------------------------------------------------------------------------- cards


@pytest.mark.parametrize(
    ("card", "told"),
    [
        (b"- a list", "no table"),
        (b"sent_by: [", "can't be read as YAML"),
        (b"\xff\xfe", "not written in UTF-8"),
        (b"a: &a [x]\nrights: *a", "alias"),
        (b"rights: free for all", "no table of fields"),
        (b"rights: {licence: N-1}", "rights.holder is missing"),
        (b"rights: {holder: North}", "rights.licence is missing"),
        (b"rights: {licence: N-1, holder: N, ends_on: someday}", "is no date"),
        (b"rights: {licence: N-1, holder: N, ends_on: 2027-02-30}", "YAML"),
        (b"rights: {licence: N-1, holder: N, starts_on: 2027-03-02, ends_on: 2027-03-01}", "before starts_on"),
        (b"rights: {licence: N-1, holder: N, territories: {de: yes}}", "is no list"),
        (b"rights: {licence: N-1, holder: N, model_release: maybe}", "is unknown"),
        (b"rights: {license: N-1, holder: N}", "Did you mean licence?"),
        (b"sent_by: {name: north}", "sent_by is no text"),
        (b"campagin: spring", "Did you mean campaign?"),
        (b"campaign: nowhere", "no campaign 'nowhere'"),
        (b'supplier: "a\\0b"', "can't be kept"),
    ],
)
def test_what_is_wrong_with_a_card_is_noted_and_the_batch_goes_on(services, picture, card, told):
    services.storage.inbox.put("drops/x/batch.yaml", card)
    services.storage.inbox.put(f"drops/x/{A}", picture())
    batch_id = take(services, "drops/x")
    assert rows(services, batch_id)[A]["outcome"] == "ingested"
    assert told in " ".join(note["what"] for note in notes(services, batch_id) if note["kind"] == "card")
    with services.session() as session:
        assert session.get_one(Batch, batch_id).rights == {}


def test_a_good_card_has_no_note(services, picture):
    services.storage.inbox.put("drops/x/batch.yaml", CARD + b"campaign:\n")
    services.storage.inbox.put(f"drops/x/{A}", picture())
    batch_id = take(services, "drops/x")
    assert notes(services, batch_id) == []
    with services.session() as session:
        batch = session.get_one(Batch, batch_id)
        assert batch.rights == {"licence": "NORTH-1", "holder": "Northlight"}
        assert batch.planned_at <= session.scalars(select(BatchFile.done_at)).one() <= batch.done_at


def test_where_a_file_lies_is_told_for_what_came_out_of_an_archive(services):
    batch = Batch(id="bat_1", location="drops/x")
    assert contents.key_of(batch, BatchFile(path="a/b.jpg")) == "drops/x/a/b.jpg"
    assert contents.key_of(batch, BatchFile(path="a.zip/b.jpg", archive="a.zip")) == ".unpacked/bat_1/a.zip/b.jpg"
