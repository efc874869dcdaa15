"""The stores: the same promises over folders and over S3 on the wire."""

from __future__ import annotations

import hashlib
import io
import os
import threading
import uuid
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dam.errors import BadInput, NotFound
from dam.storage import Corrupt, Storage
from dam.storage.keys import checked
from dam.storage.s3 import S3Store
from dam.storage.store import StoreFailed

KEYS = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}


@pytest.fixture(params=["folder", "s3"])
def storage(request, tmp_path):
    if request.param == "folder":
        return Storage(str(tmp_path))
    url = request.getfixturevalue("s3_url")
    bucket = f"b-{uuid.uuid4().hex[:12]}"
    boto3.client("s3", endpoint_url=url, **KEYS).create_bucket(Bucket=bucket)
    return Storage(f"s3://{bucket}/dam", KEYS | {"endpoint_url": url})


@pytest.mark.parametrize("source", ["bytes", "path", "stream"])
def test_what_is_put_is_read_back(storage, tmp_path, source):
    data = b"picture" * 1000
    path = tmp_path / "in.bin"
    path.write_bytes(data)
    given_source = {"bytes": data, "path": path, "stream": io.BytesIO(data)}[source]
    stored = storage.vault.put("a/b c/ü.jpg", given_source)
    assert (stored.uri, stored.bytes) == ("vault:a/b c/ü.jpg", len(data))
    assert stored.sha256 == hashlib.sha256(data).hexdigest() == storage.vault.digest("a/b c/ü.jpg")
    assert storage.vault.read("a/b c/ü.jpg") == data
    assert storage.vault.size("a/b c/ü.jpg") == len(data)
    with storage.vault.local("a/b c/ü.jpg") as local:
        assert local.read_bytes() == data


def test_an_object_is_read_from_any_byte_on(storage):
    storage.renditions.put("film.mp4", bytes(range(200)))
    for start in (0, 1, 150, 199):
        stream = storage.renditions.open("film.mp4", start=start)
        assert stream.read() == bytes(range(200))[start:]
        stream.close()


def test_a_part_is_read_alone(storage):
    storage.renditions.put("tiles.zip", b"0123456789")
    for start, length, part in ((0, 3, b"012"), (4, 2, b"45"), (8, 9, b"89")):
        assert storage.renditions.part("tiles.zip", start=start, length=length) == part
    with pytest.raises(NotFound):
        storage.renditions.part("none.zip", start=0, length=1)


def test_what_is_not_there(storage):
    assert not storage.vault.exists("x")
    storage.vault.delete("x")
    for ask in (storage.vault.read, storage.vault.size, storage.vault.digest):
        with pytest.raises(NotFound):
            ask("x")
    with pytest.raises(NotFound), storage.vault.local("x"):
        pass


ASK = {
    "put": lambda store: store.put("k", b"x"),
    "open": lambda store: store.open("k"),
    "read": lambda store: store.read("k"),
    "digest": lambda store: store.digest("k"),
    "local": lambda store: store.local("k").__enter__(),
    "size": lambda store: store.size("k"),
    "exists": lambda store: store.exists("k"),
    "list": lambda store: list(store.list()),
    "delete": lambda store: store.delete("k"),
}


@pytest.mark.parametrize("ask", ASK.values(), ids=ASK)
@pytest.mark.parametrize("fault", ["refused", "down"])
def test_what_s3_will_not_do_is_told_as_ours(s3_url, ask, fault):
    def refuse(**_):
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "not yours"}}, "any")

    client = boto3.client(
        "s3",
        endpoint_url=s3_url if fault == "refused" else "http://127.0.0.1:9",
        config=Config(retries={"total_max_attempts": 1}),
        **KEYS,
    )
    if fault == "refused":
        client.meta.events.register("before-call.s3", refuse)
    with pytest.raises(StoreFailed, match=r"vault:k?: S3 did not do it: .*(AccessDenied|127\.0\.0\.1:9)"):
        ask(S3Store("vault", client, "bucket", "vault/"))


def test_an_answer_that_is_cut_off_is_told_as_ours():
    class Cut(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"only this")

        def log_message(self, *_):
            """Keep quiet."""

    with HTTPServer(("127.0.0.1", 0), Cut) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        store = Storage("s3://bucket/x", KEYS | {"endpoint_url": f"http://127.0.0.1:{server.server_port}"}).vault
        for ask in (store.read, store.digest):
            with pytest.raises(StoreFailed, match="vault:k: S3 did not do it"):
                ask("k")
        server.shutdown()


def test_a_listing_is_sorted_and_keeps_to_its_prefix_and_store(storage):
    for key in ("b/2", "b/1", "b/sub/3", "b.txt", "c", "b2/1"):
        storage.inbox.put(key, b"x")
    storage.vault.put("b/other", b"x")
    assert [entry.key for entry in storage.inbox.list("b/")] == ["b/1", "b/2", "b/sub/3"]
    assert [entry.key for entry in storage.inbox.list("b")] == ["b.txt", "b/1", "b/2", "b/sub/3", "b2/1"]
    assert len(list(storage.inbox.list())) == 6


def test_content_is_kept_once_and_named_by_itself(storage):
    first = storage.vault.put_content(b"same")
    threads = [threading.Thread(target=storage.vault.put_content, args=(b"same",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert storage.vault.put_content(b"same") == first
    sha256 = hashlib.sha256(b"same").hexdigest()
    assert [entry.key for entry in storage.vault.list()] == [f"{sha256[:2]}/{sha256[2:4]}/{sha256}"]


def test_a_put_that_dies_leaves_what_was_there(storage):
    storage.reports.put("r.json", b"old")

    class Dying(io.RawIOBase):
        def readable(self):
            return True

        def read(self, size=-1):
            raise OSError("the sender went away")

    with pytest.raises(OSError, match="went away"):
        storage.reports.put("r.json", Dying())
    assert storage.reports.read("r.json") == b"old"
    assert [entry.key for entry in storage.reports.list()] == ["r.json"]


def test_what_is_staged_is_kept_as_content_or_leaves_nothing(storage):
    sha256 = hashlib.sha256(b"staged").hexdigest()
    with storage.vault.staging() as staged:
        staged.write(b"staged")
        staged.flush()
        assert Path(staged.name).read_bytes() == b"staged"
        assert list(storage.vault.list()) == []
    assert not Path(staged.name).exists()
    for _ in range(2):  # the second finds it there
        with storage.vault.staging() as staged:
            staged.write(b"staged")
            stored = storage.vault.keep(staged, sha256=sha256)
        assert stored == storage.vault.put_content(b"staged")
        assert not Path(staged.name).exists()
    assert [entry.key for entry in storage.vault.list()] == [f"{sha256[:2]}/{sha256[2:4]}/{sha256}"]


def test_content_that_rotted_where_it_is_kept_is_put_again(storage):
    stored = storage.vault.put_content(b"original")
    _, key = storage.resolve(stored.uri)
    storage.vault.put(key, b"0riginal")
    assert storage.vault.put_content(b"original") == stored
    assert storage.vault.read(key) == b"original"


def move(storage, uri, to, sha256, transaction=lambda: None):
    """Move as archive, restore and the end of a batch do, with a transaction between copy and removal."""
    with storage.moving() as moving:
        moving.copy(uri, to, sha256=sha256)
        transaction()


def test_a_move_ends_with_one_verified_copy(storage):
    stored = storage.vault.put_content(b"original")
    for _ in range(2):  # run again, it ends in the same state
        move(storage, stored.uri, "cold:a/b", stored.sha256)
        assert storage.cold.read("a/b") == b"original"
        assert list(storage.vault.list()) == []


def test_what_stays_where_it_is_stays(storage):
    stored = storage.vault.put_content(b"original")
    move(storage, stored.uri, stored.uri, stored.sha256)
    with storage.moving() as moving:
        moving.leave(stored.uri, copy=stored.uri, sha256=stored.sha256)
    assert storage.vault.digest(storage.resolve(stored.uri)[1]) == stored.sha256


@pytest.mark.parametrize("step", ["put", "read back", "transaction", "delete"])
def test_a_move_killed_at_any_step_loses_nothing_and_ends_the_same(storage, monkeypatch, step):
    stored = storage.vault.put_content(b"original")
    _, key = storage.resolve(stored.uri)
    storage.cold.put("k", b"half a cop")  # what an earlier, killed try left there

    def killed(*_args, **_kwargs):
        raise KeyboardInterrupt

    def killed_at_the_second_look(*args, holds=storage.cold.holds):
        monkeypatch.setattr(storage.cold, "holds", killed)
        return holds(*args)

    with monkeypatch.context() as patch:
        if step == "put":
            patch.setattr(storage.cold, "put", killed)
        elif step == "read back":
            patch.setattr(storage.cold, "holds", killed_at_the_second_look)
        elif step == "delete":
            patch.setattr(storage.vault, "delete", killed)
        with pytest.raises(KeyboardInterrupt):
            move(storage, stored.uri, "cold:k", stored.sha256, killed if step == "transaction" else lambda: None)
    monkeypatch.undo()
    assert storage.vault.read(key) == b"original"
    move(storage, stored.uri, "cold:k", stored.sha256)
    assert storage.cold.read("k") == b"original"
    assert not storage.vault.exists(key)


def test_a_source_is_left_when_its_copy_was_made_before(storage):
    stored = storage.vault.put_content(b"original")
    storage.inbox.put("drop/a", b"original")
    for _ in range(2):  # run again, it ends in the same state
        with storage.moving() as moving:
            moving.leave("inbox:drop/a", copy=stored.uri, sha256=stored.sha256)
        assert list(storage.inbox.list()) == []


@pytest.mark.parametrize("copy", [b"0riginal", None])
def test_a_source_whose_copy_is_not_right_stays(storage, copy):
    stored = storage.vault.put_content(b"original")
    if copy:
        storage.cold.put("k", copy)
    with pytest.raises(Corrupt, match=f"{stored.uri} was left where it is"), storage.moving() as moving:
        moving.leave(stored.uri, copy="cold:k", sha256=stored.sha256)
    assert storage.vault.exists(storage.resolve(stored.uri)[1])


def test_a_copy_that_rots_on_the_way_keeps_the_source(storage, monkeypatch):
    stored = storage.vault.put_content(b"original")
    put = storage.cold.put
    monkeypatch.setattr(storage.cold, "put", lambda key, _source, **kwargs: put(key, b"0riginal", **kwargs))
    with pytest.raises(Corrupt, match="was left where it is"):
        move(storage, stored.uri, "cold:k", stored.sha256)
    assert storage.vault.exists(storage.resolve(stored.uri)[1])
    assert not storage.cold.exists("k")


def test_a_move_of_nothing_is_told(storage):
    with pytest.raises(NotFound, match="vault:x: is not there"):
        move(storage, "vault:x", "cold:x", "0" * 64)


def test_puts_and_deletes_in_one_folder_do_not_get_in_each_others_way(tmp_path):
    """A delete removes the folders that it leaves empty, also those that a put has just made."""
    store = Storage(str(tmp_path)).inbox
    faults = []

    def work(name):
        try:
            for _ in range(300):
                store.put(f"drops/deep/{name}", b"x")
                assert store.read(f"drops/deep/{name}") == b"x"
                store.delete(f"drops/deep/{name}")
        except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
            faults.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert list(store.list()) == []


def test_a_folder_that_is_new_is_durable_up_to_the_one_that_was_there(tmp_path, monkeypatch):
    synced, real = [], os.fsync

    def fsync(handle):
        synced.append(Path(f"/proc/self/fd/{handle}").readlink())
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    (tmp_path / "inbox").mkdir()
    Storage(str(tmp_path)).inbox.put("a/b/c", b"x")
    root = tmp_path / "inbox"
    assert {root, root / "a", root / "a" / "b"} <= set(synced)
    assert tmp_path not in synced


def test_a_large_file_goes_up_in_parts(storage):
    data = bytes(range(256)) * 80_000  # 20 MB
    stored = storage.vault.put("big", io.BytesIO(data))
    assert stored.sha256 == hashlib.sha256(data).hexdigest() == storage.vault.digest("big")


def test_cold_objects_have_a_cold_storage_class(s3_url):
    client = boto3.client("s3", endpoint_url=s3_url, **KEYS)
    client.create_bucket(Bucket="classes")
    Storage("s3://classes", KEYS | {"endpoint_url": s3_url}).cold.put("k", b"x")
    assert client.head_object(Bucket="classes", Key="cold/k")["StorageClass"] == "GLACIER_IR"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.text(max_size=40))
def test_no_key_escapes_the_root(tmp_path, key):
    folder = Storage(str(tmp_path / "root")).vault
    try:
        checked(key)
    except BadInput:
        with pytest.raises(BadInput, match="is no key"):
            folder.put(key, b"x")
        return
    try:
        folder.put(key, b"x")
    except (UnicodeEncodeError, OSError):  # a lone surrogate, or a file where a folder should be
        return
    assert (tmp_path / "root" / "vault" / key).resolve().is_relative_to((tmp_path / "root" / "vault").resolve())


@pytest.mark.parametrize(
    "key", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a\x00b", "a\\b", ".", "a/.", "x" * 300]
)
def test_refused_keys_say_why(key):
    with pytest.raises(BadInput, match="A key is a relative path"):
        checked(key)


def test_an_object_gets_another_key_and_its_bytes_stay(storage):
    storage.inbox.put("a/b/old", b"one")
    storage.inbox.put("c/new", b"what was there")
    storage.inbox.rename("a/b/old", "c/new")
    assert (storage.inbox.read("c/new"), storage.inbox.exists("a/b/old")) == (b"one", False)
    assert [entry.key for entry in storage.inbox.list()] == ["c/new"]
    with pytest.raises(NotFound):
        storage.inbox.rename("a/b/old", "d")


def test_a_stream_that_gives_little_at_a_time_is_put_as_a_whole(storage):
    class Dribble(io.RawIOBase):
        def __init__(self, data):
            self.rest = data

        def read(self, size=-1):
            part, self.rest = self.rest[:7], self.rest[7:]
            return part

    data = bytes(range(256)) * 4
    stored = storage.vault.put("x", Dribble(data))
    assert (stored.bytes, storage.vault.read("x")) == (len(data), data)


def test_a_name_in_another_encoding_is_no_key(storage):
    with pytest.raises(BadInput, match="not written in UTF-8"):
        storage.inbox.exists("caf\udce9.jpg")


def test_a_file_is_as_new_as_it_is_here_whatever_time_it_brought_along(tmp_path):
    storage = Storage(str(tmp_path))
    storage.inbox.put("old.jpg", b"x")
    os.utime(storage.inbox.root / "old.jpg", (0, 0))
    [entry] = storage.inbox.list()
    assert entry.modified.year > 2000
