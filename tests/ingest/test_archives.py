"""Zip and tar: what is sound comes out whole, and what is made to harm does none."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import struct
import tarfile
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import world
from dam.catalog.models import Batch, Version
from dam.ingest import archives, batches, contents
from dam.ingest.inspection import CantCheck, Unusable

LIMITS = archives.Limits(files=100, bytes=50_000_000, ratio=100, depth=2)
ENDINGS = {"zip": "", "tar": "w", "tar.gz": "w:gz", "tar.bz2": "w:bz2", "tar.xz": "w:xz"}


def pack(path, files, *, ending=None):
    """Write an archive of the kind that its name says."""
    ending = ending or next(known for known in sorted(ENDINGS, key=len, reverse=True) if path.name.endswith(known))
    if ending == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
            for name, data in files.items():
                made.writestr(name, data)
    else:
        with tarfile.open(path, ENDINGS[ending]) as made:
            for name, data in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                made.addfile(member, io.BytesIO(data))
    return path


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def everything(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ------------------------------------------------------------------------------------------------- sound


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_was_packed_comes_out(tmp_path, out, ending):
    files = {"a.jpg": os.urandom(3000), "deep/er/größe.txt": b"x" * 5000, "empty": b""}
    path = pack(tmp_path / f"a.{ending}", files)
    assert archives.kind(path) == ("zip" if ending == "zip" else "tar")
    assert sorted(archives.unpack(path, out, LIMITS).paths) == sorted(files)
    assert everything(out) == files


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8", exclude_characters="\x00/\\:."), min_size=1, max_size=20),
        st.binary(),
        max_size=5,
    ),
    st.sampled_from(["zip", "tar"]),
)
def test_any_names_and_bytes_come_out_as_they_went_in(tmp_path_factory, files, ending):
    folder = tmp_path_factory.mktemp("any")
    out = folder / "out"
    out.mkdir()
    path = pack(folder / f"a.{ending}", {f"d/{name}": data for name, data in files.items()})
    if archives.kind(path) is None:
        assert not files
        return
    archives.unpack(path, out, LIMITS)
    assert everything(out) == {f"d/{name}": data for name, data in files.items()}


def test_names_that_mac_and_windows_wrote_are_read(tmp_path, out):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as made:
        for name in ("größe.jpg".encode().decode("cp437"), "folder\\b.jpg"):
            made.writestr(name, b"x")
    data = bytearray(path.read_bytes())
    for at in (data.find(b"PK\x03\x04"), data.find(b"PK\x01\x02")):  # take the flag away that says UTF-8
        flag = at + (6 if data[at + 2] == 3 else 8)
        data[flag : flag + 2] = b"\x00\x00"
    with zipfile.ZipFile(path) as made:
        names = [member.orig_filename for member in made.infolist()]
    assert len(names) == 2
    assert "folder/b.jpg" in archives.unpack(path, out, LIMITS).paths


def test_archives_inside_an_archive_come_out_as_deep_as_is_allowed(tmp_path, out):
    inner = pack(tmp_path / "3.zip", {"c.jpg": b"c"})
    middle = pack(tmp_path / "2.tar.gz", {"b.jpg": b"b", "3.zip": inner.read_bytes()})
    outer = pack(tmp_path / "1.zip", {"a.jpg": b"a", "2.tar.gz": middle.read_bytes()})
    assert sorted(archives.unpack(outer, out, LIMITS).paths) == ["2.tar.gz/3.zip", "2.tar.gz/b.jpg", "a.jpg"]
    assert everything(out)["2.tar.gz/3.zip"] == inner.read_bytes()


def test_documents_are_no_archives(tmp_path):
    for names in (["[Content_Types].xml", "word/document.xml"], ["mimetype", "content.xml"], ["META-INF/MANIFEST.MF"]):
        assert archives.kind(pack(tmp_path / "a.zip", dict.fromkeys(names, b"x"))) is None
    (tmp_path / "b.zip").write_bytes(b"no archive")
    assert archives.kind(tmp_path / "b.zip") is None


# ----------------------------------------------------------------------------------------- made to harm


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/evil", "a/../../evil", "C:/evil", "..\\evil", "a/..", "d/../../../evil"]
)
@pytest.mark.parametrize("ending", ["zip", "tar"])
def test_nothing_leaves_its_folder(tmp_path, out, name, ending):
    path = pack(tmp_path / f"a.{ending}", {"fine.jpg": b"x", name: b"evil"})
    with pytest.raises((Unusable, CantCheck)):
        archives.unpack(path, out, LIMITS)
    assert not list(tmp_path.rglob("evil*"))


def test_links_and_devices_are_left_out_and_told(tmp_path, out):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as made:
        for name, kind in (("soft", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE), ("pipe", tarfile.FIFOTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            made.addfile(member)
        made.addfile(tarfile.TarInfo("fine"), io.BytesIO())
    unpacked = archives.unpack(path, out, LIMITS)
    assert unpacked.paths == ["fine"]
    assert len(unpacked.notes) == 3
    link = zipfile.ZipInfo("soft")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        made.writestr(link, "/etc/passwd")
    (out / "zip").mkdir()
    assert archives.unpack(tmp_path / "a.zip", out / "zip", LIMITS).paths == []
    assert not any(path.is_symlink() for path in out.rglob("*"))


def test_a_file_can_not_be_written_through_a_link_that_came_before_it(tmp_path, out):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as made:
        member = tarfile.TarInfo("way")
        member.type, member.linkname = tarfile.SYMTYPE, str(tmp_path)
        made.addfile(member)
        member = tarfile.TarInfo("way/evil")
        member.size = 1
        made.addfile(member, io.BytesIO(b"x"))
    archives.unpack(path, out, LIMITS)
    assert everything(out) == {"way/evil": b"x"}
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("ending", ["zip", "tar.gz", "tar.bz2", "tar.xz"])
def test_a_bomb_is_told_from_its_ratio(tmp_path, out, ending):
    path = pack(tmp_path / f"a.{ending}", {"zeros": bytes(40_000_000)})
    with pytest.raises(Unusable, match="bomb"):
        archives.unpack(path, out, LIMITS)


def test_a_zip_that_lies_about_its_lengths_is_measured(tmp_path, out):
    path = pack(tmp_path / "a.zip", {"zeros": bytes(40_000_000)})
    data = bytearray(path.read_bytes())
    at = data.find(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", 10)
    path.write_bytes(data)
    with pytest.raises(Unusable):
        archives.unpack(path, out, LIMITS)
    assert sum(len(found) for found in everything(out).values()) < 20_000_000


def test_a_tar_whose_skipped_part_swells_is_measured(tmp_path, out):
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as made:
        member = tarfile.TarInfo("device")
        member.type, member.size = tarfile.CHRTYPE, 0
        made.addfile(member)
        member = tarfile.TarInfo("sparse")
        member.type, member.size = b"Z", 60_000_000  # of a kind that nobody knows
        made.addfile(member, io.BytesIO(bytes(60_000_000)))
    with pytest.raises(Unusable, match="bomb"):
        archives.unpack(path, out, LIMITS)


def test_a_name_of_megabytes_is_not_read(tmp_path, out):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as made:
        made.addfile(tarfile.TarInfo("x" * (3 << 20)))
    with pytest.raises(Unusable, match="made to harm"):
        archives.unpack(path, out, LIMITS)
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "x" * (3 << 20)}) as made:
        made.addfile(tarfile.TarInfo("x"))
    with pytest.raises(Unusable, match="made to harm"):
        archives.unpack(path, out, LIMITS)


def test_too_many_files_are_refused(tmp_path, out):
    path = pack(tmp_path / "a.zip", {f"{number}": b"" for number in range(101)})
    with pytest.raises(Unusable, match="more than 100 files"):
        archives.unpack(path, out, LIMITS)


def test_a_table_of_contents_larger_than_any_is_refused(tmp_path, out):
    path = pack(tmp_path / "a.zip", {"a": b"x"})
    data = bytearray(path.read_bytes())
    at = data.rfind(b"PK\x05\x06")
    data[at + 12 : at + 16] = struct.pack("<I", 1 << 30)
    path.write_bytes(data)
    with pytest.raises(Unusable, match="table of contents"):
        archives.unpack(path, out, LIMITS)


def test_two_files_of_one_name_are_refused(tmp_path, out):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("a", b"x")
        with pytest.warns(UserWarning, match="Duplicate"):
            made.writestr("a", b"x")
    with pytest.raises(Unusable, match="two files named a"):
        archives.unpack(path, out, LIMITS)


def test_a_password_is_no_damage(tmp_path, out):
    path = pack(tmp_path / "a.zip", {"a": b"x"})
    data = bytearray(path.read_bytes())
    for at, flag in ((data.find(b"PK\x03\x04"), 6), (data.find(b"PK\x01\x02"), 8)):
        data[at + flag] |= 1
    path.write_bytes(data)
    with pytest.raises(CantCheck, match="password"):
        archives.unpack(path, out, LIMITS)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(
    ending=st.sampled_from(sorted(ENDINGS)), at=st.floats(0, 1), flip=st.integers(1, 255), cut=st.booleans(),
)  # fmt: skip
def test_a_damaged_archive_is_told_and_writes_nothing_outside(tmp_path_factory, ending, at, flip, cut):
    folder = tmp_path_factory.mktemp("damaged")
    out = folder / "in" / "out"
    out.mkdir(parents=True)
    path = pack(folder / f"a.{ending}", {"a.jpg": b"a" * 3000, "b/c.jpg": os.urandom(1000)})
    data = bytearray(path.read_bytes())
    place = min(int(at * len(data)), len(data) - 1)
    if cut:
        del data[place:]
    else:
        data[place] ^= flip
    path.write_bytes(data)
    try:
        if archives.kind(path):
            archives.unpack(path, out, LIMITS)
    except (Unusable, CantCheck):
        pass
    assert {found.name for found in folder.iterdir()} == {path.name, "in"}
    assert [found.name for found in (folder / "in").iterdir()] == ["out"]


# ---------------------------------------------------------------------------------------------- in a drop


@pytest.fixture
def picture(tmp_path):
    return lambda seed=1: world.picture(tmp_path / "made", f"{seed}.jpg", seed=seed, size=(300, 200)).read_bytes()


def take(services):
    batch_id = batches.register(services, location="drops/x", source="inbox", sent_by="north")
    world.ingest(services, batch_id)
    found = {row["path"]: row for row in batches.receipt(services, batch_id=batch_id)}
    with services.session() as session:
        return batch_id, found, session.get_one(Batch, batch_id).notes


@pytest.mark.parametrize("ending", ["zip", "tar.gz"])
def test_an_archive_in_a_drop_is_unpacked_into_its_batch(anywhere, tmp_path, picture, ending):
    inbox = anywhere.storage.inbox
    sums = f"{hashlib.md5(picture(1)).hexdigest()}  a.jpg\n".encode()
    files = {"in/a.jpg": picture(1), "in/MD5SUMS": sums, "__MACOSX/in/._a.jpg": b"x", "b.jpg": picture(2)}
    packed = pack(tmp_path / f"all.{ending}", files)
    name = packed.name
    inbox.put(f"drops/x/{name}", packed)
    inbox.put(f"drops/x/{name}.sha1", hashlib.sha1(packed.read_bytes()).hexdigest().encode())
    inbox.put("drops/x/c.jpg", picture(3))
    batch_id, found, notes = take(anywhere)
    assert {path: row["outcome"] for path, row in found.items()} == {
        f"{name}/in/a.jpg": "ingested", f"{name}/b.jpg": "ingested", "c.jpg": "ingested",
    }  # fmt: skip
    assert not found[f"{name}/in/a.jpg"]["self_attested"]
    assert found[f"{name}/b.jpg"]["self_attested"]
    assert ("unpacked", name) in [(note["kind"], note["where"]) for note in notes]
    assert inbox.exists(f"drops/x/{name}"), "it stays until what came out of it is safe"
    batches.close(anywhere, batch_id=batch_id)
    assert list(inbox.list()) == []


def test_an_archive_that_can_not_be_unpacked_is_a_file_with_its_reason(services, tmp_path):
    services.storage.inbox.put("drops/x/evil.zip", pack(tmp_path / "evil.zip", {"../evil": b"x"}))
    services.storage.inbox.put("drops/x/empty.tar", pack(tmp_path / "empty.tar", {}).read_bytes() or bytes(10240))
    _, found, _ = take(services)
    assert "would leave its folder" in found["evil.zip"]["notes"][0]
    assert found["evil.zip"]["outcome"] in ("opaque", "quarantined")
    with services.session() as session:
        assert session.query(Version).filter_by(filename="evil.zip").one().tier == "quarantine"


def test_an_archive_that_was_changed_on_its_way_is_quarantined_whole(services, tmp_path, picture):
    services.storage.inbox.put("drops/x/a.zip", pack(tmp_path / "a.zip", {"a.jpg": picture()}))
    services.storage.inbox.put("drops/x/SHA256SUMS", f"{'0' * 64}  a.zip\n".encode())
    _, found, _ = take(services)
    assert found["a.zip"]["outcome"] == "quarantined"
    assert "not what the sender promised" in found["a.zip"]["reason"]
    assert list(services.storage.inbox.list(contents.UNPACKED)) == []


def test_planning_killed_while_unpacking_and_repeated_ends_the_same(services, tmp_path, picture, monkeypatch):
    services.storage.inbox.put("drops/x/a.zip", pack(tmp_path / "a.zip", {f"{n}.jpg": picture(n) for n in range(3)}))
    batch_id = batches.register(services, location="drops/x", source="inbox", sent_by="north")
    put = services.storage.inbox.put

    def killed(key, *args, **kwargs):
        if key.endswith("1.jpg"):
            raise KeyboardInterrupt
        return put(key, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(services.storage.inbox, "put", killed)
        with pytest.raises(KeyboardInterrupt):
            batches.plan_chunks(services, batch_id=batch_id)
    assert world.ingest(services, batch_id) == {"ingested": 3}
