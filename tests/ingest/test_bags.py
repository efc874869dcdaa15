"""Checksums that senders promise, and BagIt bags, held to what they say of themselves."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

import world
from dam.catalog.models import Batch, BatchFile
from dam.ingest import bags, batches, checksums, drops

NAMES = st.text(st.characters(exclude_characters="\x00/\\", exclude_categories=["Cs"]), min_size=1, max_size=30)


@pytest.fixture
def picture(tmp_path):
    return lambda seed=1: world.picture(tmp_path / "made", f"{seed}.jpg", seed=seed, size=(300, 200)).read_bytes()


def take(services, location="drops/x"):
    batch_id = batches.register(services, location=location, source="inbox", sent_by="north")
    world.ingest(services, batch_id)
    found = {row["path"]: row for row in batches.receipt(services, batch_id=batch_id)}
    with services.session() as session:
        return found, session.get_one(Batch, batch_id).notes


def bag(files, *, root="drops/x", algorithms=("sha256",), oxum=None, manifest=None, **more):
    """Return the objects of a bag by key."""
    payload = {f"data/{name}": data for name, data in files.items()}
    made = {f"{root}/{name}": data for name, data in payload.items()}
    made[f"{root}/bagit.txt"] = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"
    for algorithm in algorithms:
        lines = "".join(f"{hashlib.new(algorithm, data).hexdigest()}  {name}\n" for name, data in payload.items())
        made[f"{root}/manifest-{algorithm}.txt"] = (manifest or lines).encode()
    oxum = oxum or f"{sum(map(len, files.values()))}.{len(files)}"
    made[f"{root}/bag-info.txt"] = f"Source-Organization: North\nPayload-Oxum: {oxum}\n".encode()
    return made | {f"{root}/{name}": data for name, data in more.items()}


def put(services, objects):
    for key, data in objects.items():
        services.storage.inbox.put(key, data)


# ------------------------------------------------------------------------------------------------- lists


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256", "sha512"])
@pytest.mark.parametrize(
    "line",
    [
        "{hex}  a b.jpg",
        "{hex} *a b.jpg",
        "{HEX}\ta b.jpg",
        "X ({name}) = {hex}",
        "{hex}  ./a b.jpg",
        "{hex} .\\a b.jpg",
    ],
)
def test_lists_are_read_as_every_tool_writes_them(algorithm, line):
    digest = hashlib.new(algorithm, b"x").hexdigest()
    text = "# made by hand\r\n\r\n" + line.format(hex=digest, HEX=digest.upper(), name="a b.jpg") + "\r\n"
    found = checksums.read("sub/SUMS", text)
    assert found.promised == {"sub/a b.jpg": {algorithm: digest}}
    assert found.faults == []


def test_a_checksum_alone_is_about_the_file_it_is_named_after():
    assert checksums.read("sub/a.jpg.md5", "0" * 32 + "\n").promised == {"sub/a.jpg": {"md5": "0" * 32}}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_lists_are_read_in_the_encodings_of_windows(encoding):
    data = f"{'0' * 32}  größe.jpg\n".encode(encoding)
    assert checksums.read("MD5SUMS", checksums.decode(data)).promised == {"größe.jpg": {"md5": "0" * 32}}


def test_lines_that_say_nothing_and_contradictions_are_told():
    found = checksums.read(
        "SUMS", f"hello\n{'0' * 32}  a\n{'1' * 32}  a\n{'0' * 32}  ../../etc/passwd\n{'0' * 33}  b\n"
    )
    assert found.promised == {"a": {"md5": "0" * 32}}
    assert found.faults == [
        "Two md5 checksums are promised for a; the first one counts.",
        "3 lines of SUMS can't be read as checksum and name.",
    ]


@given(NAMES)
def test_whatever_sha256sum_would_print_is_read(name):
    """coreutils escape backslash, newline and carriage return, and say so by a backslash before the line."""
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    line = ("\\" if escaped != name else "") + f"{'a' * 64}  {escaped}\n"
    found = checksums.read("SUMS", line).promised
    if name in (".", ".."):
        assert found == {}
    elif name.strip(" \t") == name and name.strip():
        assert found == {name: {"sha256": "a" * 64}}


@given(st.binary(max_size=300))
def test_no_list_breaks_the_reader_and_none_leaves_its_batch(data):
    for path in checksums.read("deep/SUMS", checksums.decode(data)).promised:
        assert not path.startswith(("/", ".."))


@pytest.mark.parametrize(
    "name",
    ["SHA256SUMS", "sha1sums.txt", "MD5SUMS", "a.jpg.md5", "photos.sha512", "manifest-sha256.txt", "checksums.sha1"],
)
def test_a_promise_is_held_to_whatever_its_algorithm(services, picture, name):
    algorithm = next(known for known in ("md5", "sha1", "sha256", "sha512") if known in name.lower())
    put(services, {"drops/x/a.jpg": picture(1), "drops/x/b.jpg": picture(2)})
    right, wrong = hashlib.new(algorithm, picture(1)).hexdigest(), hashlib.new(algorithm, b"other").hexdigest()
    lines = right if name == "a.jpg.md5" else f"{right}  a.jpg\n{wrong}  b.jpg\n"
    put(services, {f"drops/x/{name}": lines.encode()})
    found, _ = take(services)
    assert (found["a.jpg"]["outcome"], found["a.jpg"]["self_attested"]) == ("ingested", False)
    if name == "a.jpg.md5":
        assert (found["b.jpg"]["outcome"], found["b.jpg"]["self_attested"]) == ("ingested", True)
    else:
        assert found["b.jpg"]["outcome"] == "quarantined"
        assert f"promised {algorithm}" in found["b.jpg"]["reason"]
    with services.session() as session:
        row = session.query(BatchFile).filter_by(path="a.jpg").one()
        assert row.promised == {algorithm: right}


def test_a_broken_promise_is_told_even_when_the_bytes_are_known(services, picture):
    put(services, {"drops/first/a.jpg": picture()})
    take(services, "drops/first")
    put(services, {"drops/x/b.jpg": picture(), "drops/x/b.jpg.md5": b"0" * 32})
    found, _ = take(services)
    assert found["b.jpg"]["outcome"] == "quarantined"
    assert "not what the sender promised" in found["b.jpg"]["reason"]
    assert "in the library already, as a v1" in found["b.jpg"]["reason"]


def test_what_was_promised_and_is_not_there_is_told(services, picture):
    put(services, {"drops/x/a.jpg": picture(), "drops/x/MD5SUMS": f"{'0' * 32}  gone.jpg\n".encode()})
    _, notes = take(services)
    assert [(note["kind"], note["where"]) for note in notes] == [("missing", "gone.jpg")]


def test_s3s_own_checksums_are_held_to_where_the_sender_promised_none(anywhere, picture):
    inbox = anywhere.storage.inbox
    if not inbox.whole:
        assert inbox.promised("anything") == {}
        return
    known = {"Bucket": inbox.bucket, "Body": picture(1)}
    inbox.client.put_object(**known, Key=f"{inbox.prefix}drops/x/plain.jpg")
    inbox.client.put_object(
        **known | {"Body": picture(2)}, Key=f"{inbox.prefix}drops/x/sha.jpg", ChecksumAlgorithm="SHA256"
    )
    inbox.client.put_object(
        **known | {"Body": picture(3)},
        Key=f"{inbox.prefix}drops/x/locked.jpg",
        ServerSideEncryption="aws:kms",
        SSEKMSKeyId="k",
    )
    big = b"\x00" * (17 << 20)
    inbox.put("drops/x/parts.bin", big)
    put(
        anywhere,
        {"drops/x/sent.jpg": picture(4), "drops/x/sent.jpg.sha1": hashlib.sha1(picture(4)).hexdigest().encode()},
    )
    found, _ = take(anywhere)
    with anywhere.session() as session:
        promised = {row.path: row.promised for row in session.query(BatchFile)}
    assert promised == {
        "plain.jpg": {"md5": hashlib.md5(picture(1)).hexdigest()},
        "sha.jpg": {"sha256": hashlib.sha256(picture(2)).hexdigest()},
        "locked.jpg": {},
        "parts.bin": {},
        "sent.jpg": {"sha1": hashlib.sha1(picture(4)).hexdigest()},
    }
    assert {path for path, row in found.items() if row["outcome"] == "ingested"} == {
        "plain.jpg", "sha.jpg", "locked.jpg", "sent.jpg",
    }  # fmt: skip


# -------------------------------------------------------------------------------------------------- bags


def test_a_bag_is_complete_at_once_and_taken_with_its_promises(anywhere, picture):
    made = bag({"a.jpg": picture(1), "deep/b.jpg": picture(2)}, algorithms=("md5", "sha512"))
    last = made.pop("drops/x/data/deep/b.jpg")
    put(anywhere, made)
    assert drops.discover(anywhere) == []
    put(anywhere, {"drops/x/data/deep/b.jpg": last})
    assert drops.discover(anywhere) == ["drops/x"]
    found, notes = take(anywhere)
    assert {path: row["outcome"] for path, row in found.items()} == {
        "data/a.jpg": "ingested",
        "data/deep/b.jpg": "ingested",
    }
    assert not any(row["self_attested"] for row in found.values())
    assert notes == []
    with anywhere.session() as session:
        assert set(session.query(BatchFile).first().promised) == {"md5", "sha512"}


def test_a_bag_deep_in_a_suppliers_folder_is_a_drop_of_its_own(services, picture):
    put(services, bag({"a.jpg": picture(1)}, root="drops/north/spring/bag1"))
    put(services, {"drops/north/loose.jpg": picture(2)})
    assert drops.discover(services) == ["drops/north/spring/bag1"]


@pytest.mark.parametrize("missing", ["data/b.jpg", "bag-info.txt"])
def test_a_bag_waits_for_its_files_and_is_taken_without_them_when_it_was_quiet(services, picture, missing):
    made = bag({"a.jpg": picture(1), "b.jpg": picture(2)})
    tags = "".join(
        f"{hashlib.md5(made[f'drops/x/{name}']).hexdigest()} {name}\n" for name in ("bagit.txt", "bag-info.txt")
    )
    made["drops/x/tagmanifest-md5.txt"] = tags.encode()
    del made[f"drops/x/{missing}"]
    put(services, made)
    assert drops.discover(services) == []
    world.limit(services, quiet_seconds=0)
    assert drops.discover(services) == ["drops/x"]
    _, notes = take(services)
    assert ("missing", missing) in [(note["kind"], note["where"]) for note in notes]


def test_every_fault_of_a_bag_is_told(services, picture):
    made = bag({"a.jpg": picture(1)}, oxum="99.7")
    made["drops/x/data/extra.jpg"] = picture(2)
    made["drops/x/beside.jpg"] = picture(3)
    made["drops/x/bagit.txt"] = b"BagIt-Version: 9.0\nTag-File-Character-Encoding: martian\n"
    made["drops/x/tagmanifest-md5.txt"] = f"{'0' * 32}  bag-info.txt\n".encode()
    made["drops/x/fetch.txt"] = b"https://example.test/c.jpg 12 data/c%25.jpg\n"
    put(services, made)
    found, notes = take(services)
    told = {(note["kind"], note["where"]): note["what"] for note in notes}
    assert "7 files of 99 bytes" in told["bag", "bagit.txt"] or "no version" in told["bag", "bagit.txt"]
    words = " ".join(note["what"] for note in notes)
    for expected in ("7 files of 99 bytes", "no version of BagIt", "no encoding that is known"):
        assert expected in words
    assert "not what the bag's tag manifest says" in told["bag", "bag-info.txt"]
    assert "https://example.test/c.jpg" in told["missing", "data/c%.jpg"]
    assert found["data/extra.jpg"]["notes"][0] == "The bag's manifest does not list it."
    assert found["beside.jpg"]["notes"][0] == "It lies in the bag, but beside its payload."
    assert {row["outcome"] for row in found.values()} == {"ingested"}


def test_a_file_that_was_changed_in_its_bag_is_quarantined(services, picture):
    made = bag({"a.jpg": picture(1), "b.jpg": picture(2)})
    made["drops/x/data/b.jpg"] = picture(3)
    put(services, made)
    found, _ = take(services)
    assert {path: row["outcome"] for path, row in found.items()} == {
        "data/a.jpg": "ingested",
        "data/b.jpg": "quarantined",
    }


def test_names_that_a_mac_wrote_another_way_are_the_same_names(services, picture):
    composed, taken_apart = "gr\u00f6\u00dfe.jpg", "gro\u0308\u00dfe.jpg"
    lines = f"{hashlib.sha256(picture()).hexdigest()}  data/{taken_apart}\n"
    put(services, bag({composed: picture()}, manifest=lines))
    found, notes = take(services)
    assert not found[f"data/{composed}"]["self_attested"]
    assert notes == []


@given(st.lists(NAMES, max_size=4), st.binary(max_size=200), st.binary(max_size=200))
def test_no_bag_breaks_the_reader(names, manifest, info):
    files = {"bagit.txt": info, "manifest-md5.txt": manifest, "bag-info.txt": info, "fetch.txt": manifest}
    paths = [*files, *(f"data/{name}" for name in names)]
    read = bags.read("", paths, lambda path: files.get(path, b""))
    assert set(read.unlisted(paths)) <= set(paths)
    assert not set(read.missing(paths)) & set(paths)
