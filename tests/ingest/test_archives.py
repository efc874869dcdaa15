"""Archives: everything comes out, nothing gets out, and nothing grows without end."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
import tarfile
import threading
import zipfile
import zlib

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import samples
import world
from dam.catalog.models import Batch, Version
from dam.errors import BadInput
from dam.ingest import archives, batches, contents
from dam.ingest.inspection import CantCheck, Unusable
from dam.load import load
from dam.settings import PROJECT
from dam.taxonomy import Limits

LIMITS = load(PROJECT / "include" / "taxonomy" / "limits.yaml", Limits).model_dump()
FILES = {"a.txt": b"first", "folder/b.bin": bytes(range(256)) * 40, "folder/deep/ü.txt": b"third"}
FUZZ = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
WAYS = {
    "zip": lambda files: samples.zipped(files),
    "tar": lambda files: samples.tar(files),
    "tgz": lambda files: samples.tar(files, "w:gz"),
    "tbz2": lambda files: samples.tar(files, "w:bz2"),
    "txz": lambda files: samples.tar(files, "w:xz"),
}


def written(tmp_path, data, name="drop.zip"):
    path = tmp_path / name
    path.write_bytes(data)
    return path


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(tmp_path, data, *words, **limits):
    """Assert that an archive is refused by a check and by unpacking, with nothing left behind."""
    path, out, known = written(tmp_path, data), tmp_path / "out", LIMITS | limits
    for act in (lambda: archives.check(path, known), lambda: archives.unpack(path, out, known)):
        with pytest.raises(Unusable) as caught:
            act()
        assert all(word in caught.value.what for word in words), caught.value.what
        assert caught.value.remedy
        assert sorted(each.name for each in tmp_path.iterdir()) == [path.name]


@pytest.mark.parametrize("way", WAYS)
def test_everything_comes_out_as_it_went_in(tmp_path, way):
    path = written(tmp_path, WAYS[way](FILES))
    assert [(entry.name, entry.bytes, entry.kind) for entry in archives.entries(path)] == [
        (name, len(data), "file") for name, data in FILES.items()
    ]
    assert "3 files, 0.0 MB unpacked." in archives.check(path, LIMITS)
    out = tmp_path / "out"
    assert archives.unpack(path, out, LIMITS) == sorted(out / name for name in FILES)
    assert content(out) == FILES


letters = st.characters(exclude_characters="/\\:\x7f", exclude_categories=("C", "Zl", "Zp"))
paths = st.lists(st.text(letters, min_size=1, max_size=12), min_size=1, max_size=3).map("/".join)


@FUZZ
@given(files=st.dictionaries(paths, st.binary(max_size=400), max_size=6), way=st.sampled_from(sorted(WAYS)))
def test_any_files_come_out_as_they_went_in(tmp_path_factory, files, way):
    import unicodedata

    plain = {unicodedata.normalize("NFC", name): data for name, data in files.items()}
    parts = [part for name in plain for part in name.split("/")]
    assume(len(plain) == len(files) and not {".", ".."} & set(parts))
    assume(not any(part.startswith("._") or part in ("__MACOSX", ".DS_Store", "Thumbs.db") for part in parts))
    assume(not any(other.startswith(f"{name}/") for name in plain for other in plain))
    assume(plain or way == "zip")
    folder = tmp_path_factory.mktemp("any")
    path = written(folder, WAYS[way](files))
    archives.unpack(path, folder / "out", LIMITS)
    assert content(folder / "out") == plain


def test_a_single_packed_file_is_named_like_its_archive(tmp_path):
    path = written(tmp_path, gzip.compress(b"a,b\n"), "table.csv.gz")
    out = tmp_path / "out"
    archives.unpack(path, out, LIMITS, "table.csv.gz")
    assert content(out) == {"table.csv": b"a,b\n"}


def test_names_are_read_in_their_letters_and_slashes(tmp_path):
    told = {"x": "größe.txt", "y": "back\\slash\\b.txt", "z": "./c.txt"}
    data = samples.zipped({letter * len(name.encode()): name for letter, name in told.items()})
    for letter, name in told.items():  # as macOS and Windows write them: without saying in which letters
        data = data.replace(letter.encode() * len(name.encode()), name.encode())
    archives.unpack(written(tmp_path, data), tmp_path / "out", LIMITS)
    assert sorted(content(tmp_path / "out")) == ["back/slash/b.txt", "c.txt", "größe.txt"]


def test_what_systems_leave_in_archives_stays_there(tmp_path):
    data = samples.zipped(
        {"a.txt": b"x", "__MACOSX/._a.txt": b"y", "b/.DS_Store": b"z", "b/._c.jpg": b"z", "Thumbs.db": b""}
    )
    archives.unpack(written(tmp_path, data), tmp_path / "out", LIMITS)
    assert content(tmp_path / "out") == {"a.txt": b"x"}


# ------------------------------------------------------------------------------------------------- escapes


@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/etc/evil", "..\\evil", "C:\\evil", "c:evil", "a/..", "\\\\host\\share\\evil"]
)
@pytest.mark.parametrize("way", ["zip", "tar", "tgz"])
def test_a_path_that_leads_out_is_refused(tmp_path, name, way):
    refused(tmp_path, WAYS[way]({"fine.txt": b"x", name: b"y"}), "would write outside its folder")
    with pytest.raises(Unusable, match="outside its folder"):
        archives.entries(written(tmp_path, WAYS[way]({name: b"y"})))


def member(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    "kind, word",
    [(tarfile.SYMTYPE, "link"), (tarfile.LNKTYPE, "link"), (tarfile.CHRTYPE, "device"), (tarfile.BLKTYPE, "device"),
     (tarfile.FIFOTYPE, "device")],
)  # fmt: skip
def test_links_and_devices_are_refused(tmp_path, kind, word):
    data = samples.tar({"fine.txt": b"x"}, members=[member("evil", kind, "/etc/passwd")])
    refused(tmp_path, data, f"holds a {word}")


def test_a_link_in_a_zip_is_refused(tmp_path):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as opened:
        info = zipfile.ZipInfo("evil")
        info.external_attr = 0o120777 << 16
        opened.writestr(info, "/etc/passwd")
    refused(tmp_path, out.getvalue(), "holds a link")


def test_a_file_can_not_be_written_through_a_link_that_came_before_it(tmp_path):
    through = tarfile.TarInfo("way/evil")
    refused(tmp_path, samples.tar({}, members=[member("way", tarfile.SYMTYPE, str(tmp_path)), through]), "holds a link")


def test_names_that_clash_or_cant_be_written_are_refused(tmp_path):
    twice = samples.zipped({"a.txt": "1", "b.txt": "2"}).replace(b"b.txt", b"a.txt")
    refused(tmp_path, twice, "two files of the same name")
    refused(tmp_path, samples.tar({"x" * 250: b"1"}), "can't be written")
    refused(tmp_path, samples.tar({"bell\a.txt": b"1"}), "can't be written")
    path = written(tmp_path, samples.tar({"a": b"1", "a/b": b"2"}))
    with pytest.raises(Unusable, match="a file and a folder of the same name"):
        archives.unpack(path, tmp_path / "out", LIMITS)


@FUZZ
@given(
    raw=st.lists(st.sampled_from(["..", ".", "a", "b", "", "/", "\\", "C:", "~", "ä"]), max_size=6).map("/".join),
    way=st.sampled_from(["zip", "tar"]),
)
def test_whatever_a_path_is_nothing_is_written_elsewhere(tmp_path_factory, raw, way):
    assume(raw)
    folder = tmp_path_factory.mktemp("escape")
    path = written(folder, WAYS[way]({raw: b"x"}))
    inner = folder / "deep" / "er"
    inner.mkdir(parents=True)
    try:
        made = archives.unpack(path, inner / "out", LIMITS)
    except BadInput:
        made = []
    assert all(file.is_relative_to(inner / "out") for file in made)
    assert {each.name for each in folder.iterdir()} == {"drop.zip", "deep"}
    assert {each.name for each in inner.iterdir()} <= {"out"}


# --------------------------------------------------------------------------------------------------- bombs


SMALL = {"archive_max_bytes": 3_000_000}


@pytest.mark.parametrize("way", WAYS)
def test_what_unpacks_to_too_much_is_refused(tmp_path, way):
    refused(
        tmp_path, WAYS[way]({f"{n}.bin": bytes(1_000_000) for n in range(4)}), "unpacks to more than 0.003 GB", **SMALL
    )


def test_a_single_packed_file_without_end_is_refused(tmp_path):
    refused(tmp_path, gzip.compress(bytes(4_000_000)), "unpacks to more than", **SMALL)


def test_a_zip_that_lies_about_its_sizes_gives_no_more_than_it_says(tmp_path):
    data = bytearray(samples.zipped({"a.bin": bytes(5_000_000)}))
    for signature, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        where = data.index(signature) + at
        data[where : where + 4] = struct.pack("<I", 10)
    refused(tmp_path, bytes(data), "damaged", **SMALL)


def test_a_name_of_megabytes_is_not_read(tmp_path):
    for options in (
        {"name": "x" * (3 << 20), "format": tarfile.GNU_FORMAT},
        {"name": "x", "format": tarfile.PAX_FORMAT, "pax_headers": {"comment": "x" * (3 << 20)}},
    ):
        out, name = io.BytesIO(), options.pop("name")
        with tarfile.open(fileobj=out, mode="w", **options) as made:
            made.addfile(tarfile.TarInfo(name))
        refused(tmp_path, out.getvalue(), "made to harm")


def test_a_tar_whose_skipped_part_swells_is_refused(tmp_path):
    sparse = tarfile.TarInfo("sparse")
    sparse.type, sparse.size = b"Z", 60_000_000  # of a kind that nobody knows
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as made:
        made.addfile(sparse, io.BytesIO(bytes(sparse.size)))
    refused(tmp_path, out.getvalue(), "holds a device")


def test_a_table_of_contents_larger_than_the_archive_is_refused(tmp_path):
    data = bytearray(samples.zipped({"a": b"x"}))
    at = data.rfind(b"PK\x05\x06")
    data[at + 12 : at + 16] = struct.pack("<I", 1 << 30)
    refused(tmp_path, bytes(data), "damaged")


def test_a_high_ratio_is_refused_only_where_it_fills_disks(tmp_path):
    assert archives.check(written(tmp_path, samples.zipped({"black.bmp": bytes(50_000_000)})), LIMITS)
    bomb = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = b"".join(bomb.compress(bytes(1 << 20)) for _ in range(300)) + bomb.flush()
    refused(tmp_path, packed, "made to fill disks")


def test_too_many_files_are_refused(tmp_path):
    refused(tmp_path, samples.zipped({f"{n}": b"" for n in range(30)}), "more than 20 files", max_unpacked_files=20)


def test_overlapping_entries_are_refused(tmp_path):
    """Fifield's bomb: every entry of the table of contents is the same packed bytes."""
    data = samples.zipped({"a": b"x" * 1000, "b": b"x" * 1000})
    central = data.index(b"PK\x01\x02")
    second = data.index(b"PK\x01\x02", central + 4)
    same = bytearray(data)
    same[second + 42 : second + 46] = struct.pack("<I", 0)
    refused(tmp_path, bytes(same), "overlap")


def nested(depth):
    data, inner = b"core", "core.txt"
    for n in range(depth):
        data, inner = samples.zipped({inner: data}), f"{n}.zip"
    return data


def test_archives_in_archives_go_into_folders_of_their_names(tmp_path):
    data = samples.zipped(
        {"in/a.tgz": samples.tar({"x/b.txt": b"b"}, "w:gz"), "c.docx": samples.office(), "d.7z": samples.made("a.7z")}
    )
    archives.unpack(written(tmp_path, data), tmp_path / "out", LIMITS)
    assert content(tmp_path / "out") == {
        "in/a.tgz/x/b.txt": b"b", "c.docx": samples.office(), "d.7z": samples.made("a.7z"),
    }  # fmt: skip


def test_archives_in_archives_count_together_and_not_too_deep(tmp_path):
    assert archives.check(written(tmp_path, nested(3)), LIMITS)
    refused(tmp_path, nested(4), "archives in archives, 4 deep")
    inner = samples.zipped({"a.bin": bytes(1_000_000)})
    refused(tmp_path, samples.zipped({f"{n}.zip": inner for n in range(4)}), "unpacks to more than", **SMALL)


def test_a_bad_archive_among_good_files_stays_as_it_is(tmp_path):
    bad = {
        "cut.zip": samples.zipped(FILES)[:-30],
        "escape.zip": samples.zipped({"fine.txt": b"x", "../evil": b"x"}),
        "link.tar": samples.tar({"fine.txt": b"x"}, members=[member("evil", tarfile.SYMTYPE, "/")]),
    }
    path = written(tmp_path, samples.zipped({"good.txt": b"good"} | bad))
    archives.unpack(path, tmp_path / "out", LIMITS)
    assert content(tmp_path / "out") == {"good.txt": b"good"} | bad
    notes = " ".join(archives.check(path, LIMITS))
    assert all(f"“{name}” was not unpacked" in notes for name in bad)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["drop.zip", "out"]


# -------------------------------------------------------------------------------------------------- damage


@pytest.mark.parametrize("way", WAYS)
@FUZZ
@given(share=st.floats(0, 0.999))
def test_an_archive_that_is_cut_off_is_never_taken_for_a_whole_one(tmp_path_factory, way, share):
    folder = tmp_path_factory.mktemp("cut")
    whole = WAYS[way](FILES)
    cut = whole[: int(len(whole) * share)]
    if way == "tar":
        assume(cut.rstrip(b"\x00") != whole.rstrip(b"\x00"))  # padding alone may be missing
    path = written(folder, cut)
    with pytest.raises(BadInput):
        archives.unpack(path, folder / "out", LIMITS)
    assert [each.name for each in folder.iterdir()] == ["drop.zip"]


@settings(FUZZ, max_examples=200)
@given(way=st.sampled_from(sorted(WAYS)), data=st.data())
def test_a_damaged_archive_is_unpacked_or_refused_and_never_crashes(tmp_path_factory, way, data):
    folder = tmp_path_factory.mktemp("damaged")
    damaged = bytearray(WAYS[way](FILES))
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path = written(folder, bytes(damaged))
    try:
        made = archives.unpack(path, folder / "out", LIMITS)
    except BadInput:
        made = []
    assert all(file.is_relative_to(folder / "out") for file in made)


def test_a_changed_byte_of_a_file_in_a_zip_is_found(tmp_path):
    data = bytearray(samples.zipped(FILES, stored=tuple(FILES)))
    data[data.index(b"first")] ^= 1
    refused(tmp_path, bytes(data), "damaged")


def test_a_locked_archive_is_asked_for_without_its_password(tmp_path):
    data = bytearray(samples.zipped({"a.txt": b"x"}))
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + at] |= 1
    refused(tmp_path, bytes(data), "locked with a password")


def test_what_nothing_here_opens_is_told_as_that(tmp_path):
    for name in ("a.7z", "a.rar"):
        with pytest.raises(CantCheck, match="nothing here that opens such archives"):
            archives.unpack(written(tmp_path, samples.made(name)), tmp_path / "out", LIMITS)


# ----------------------------------------------------------------------------------------------- repetition


def test_killed_while_unpacking_and_run_again_ends_the_same(tmp_path, monkeypatch):
    path = written(tmp_path, samples.zipped(FILES))
    copied = []

    def killed(*args):
        copied.append(args)
        if len(copied) == 2:
            raise KeyboardInterrupt
        return copy(*args)

    copy = archives._copy
    with monkeypatch.context() as patch:
        patch.setattr(archives, "_copy", killed)
        with pytest.raises(KeyboardInterrupt):
            archives.unpack(path, tmp_path / "out", LIMITS)
    assert not (tmp_path / "out").exists()
    first = archives.unpack(path, tmp_path / "out", LIMITS)
    before = {file: file.stat().st_mtime_ns for file in first}
    assert archives.unpack(path, tmp_path / "out", LIMITS) == first
    assert {file: file.stat().st_mtime_ns for file in first} == before


def test_two_at_once_unpack_it_once(tmp_path):
    path = written(tmp_path, samples.zipped(FILES))
    made = []
    workers = [
        threading.Thread(target=lambda: made.append(archives.unpack(path, tmp_path / "out", LIMITS))) for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert made == [sorted(tmp_path / "out" / name for name in FILES)] * 4
    assert sorted(each.name for each in tmp_path.iterdir()) == ["drop.zip", "out"]


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


@pytest.mark.parametrize("way", ["zip", "tgz"])
def test_an_archive_in_a_drop_is_unpacked_into_its_batch(anywhere, picture, way):
    inbox = anywhere.storage.inbox
    sums = f"{hashlib.md5(picture(1)).hexdigest()}  a.jpg\n".encode()
    files = {"in/a.jpg": picture(1), "in/MD5SUMS": sums, "__MACOSX/in/._a.jpg": b"x", "b.jpg": picture(2)}
    packed, name = WAYS[way](files), f"all.{way}"
    inbox.put(f"drops/x/{name}", packed)
    inbox.put(f"drops/x/{name}.sha1", hashlib.sha1(packed).hexdigest().encode())
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


def test_an_archive_that_can_not_be_unpacked_is_a_file_with_its_reason(services):
    services.storage.inbox.put("drops/x/evil.zip", samples.zipped({"../evil": b"x"}))
    services.storage.inbox.put("drops/x/empty.tar", samples.tar({}))
    _, found, _ = take(services)
    assert "would write outside its folder" in found["evil.zip"]["notes"][0]
    assert found["evil.zip"]["outcome"] in ("opaque", "quarantined")
    with services.session() as session:
        assert session.query(Version).filter_by(filename="evil.zip").one().tier == "quarantine"


def test_an_archive_that_was_changed_on_its_way_is_quarantined_whole(services, picture):
    services.storage.inbox.put("drops/x/a.zip", samples.zipped({"a.jpg": picture()}))
    services.storage.inbox.put("drops/x/SHA256SUMS", f"{'0' * 64}  a.zip\n".encode())
    _, found, _ = take(services)
    assert found["a.zip"]["outcome"] == "quarantined"
    assert "not what the sender promised" in found["a.zip"]["reason"]
    assert list(services.storage.inbox.list(contents.UNPACKED)) == []


def test_planning_killed_while_unpacking_and_repeated_ends_the_same(services, picture, monkeypatch):
    services.storage.inbox.put("drops/x/a.zip", samples.zipped({f"{n}.jpg": picture(n) for n in range(3)}))
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
