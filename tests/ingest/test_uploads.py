"""Uploads: cut off anywhere, gone on with, and what arrives is what was sent. In folders and on S3."""

from __future__ import annotations

import hashlib
import io
import os
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import world
from dam.catalog.models import Batch, BatchFile, Version
from dam.errors import BadInput, NotFound, Refused
from dam.ingest import batches, drops, generated, uploads

MB = 1 << 20


@pytest.fixture
def upload(anywhere):
    return uploads.begin(anywhere, person="dario", card={})


def declare(services, upload, path="a.jpg", length=10, fingerprint="1"):
    [told] = uploads.declare(
        services, upload=upload, files=[{"path": path, "bytes": length, "fingerprint": fingerprint}]
    )
    return told


def send(services, upload, told, data, *, part=4, until=None):
    """Send a file part by part, from where it is; return what the last part was answered."""
    at, answer = told["offset"], None
    while at < len(data) and (until is None or at < until):
        piece = data[at : at + part]
        answer = uploads.put_part(
            services, upload=upload, file=told["file"], offset=at, data=io.BytesIO(piece),
            sha256=hashlib.sha256(piece).hexdigest(),
        )  # fmt: skip
        at = answer["offset"]
    return answer


def take(services, location):
    batch_id = batches.register(services, location=location, source="inbox", sent_by="airflow")
    world.ingest(services, batch_id)
    return {row["path"]: row for row in batches.receipt(services, batch_id=batch_id)}, batch_id


def test_an_upload_becomes_a_batch_of_whoever_sent_it(anywhere, tmp_path):
    world.signed_brief(anywhere)
    rights = {"licence": "N-1", "holder": "North", "territories": ["DE"], "ends_on": "2030-01-01"}
    card = {"campaign": "spring-2027", "supplier": "Northlight", "rights": rights}
    upload = uploads.begin(anywhere, person="dario", card=card)
    data = {f"{n}/P{n}_ACME_20270301_v01.jpg": world.picture(tmp_path, f"{n}.jpg", seed=n).read_bytes() for n in (1, 2)}
    for path, whole in data.items():
        told = declare(anywhere, upload, path, len(whole))
        assert send(anywhere, upload, told, whole, part=len(whole) // 3)["done"]
    world.limit(anywhere, quiet_seconds=0)
    assert drops.discover(anywhere) == [], "it is not complete yet"
    location = uploads.complete(anywhere, upload=upload)
    assert drops.discover(anywhere) == [location]
    rows, batch_id = take(anywhere, location)
    assert {path: row["outcome"] for path, row in rows.items()} == dict.fromkeys(data, "ingested")
    assert not any(row["self_attested"] for row in rows.values()), "the gate holds them to what was sent"
    with anywhere.session() as session:
        batch = session.get_one(Batch, batch_id)
        assert (batch.sent_by, batch.source, batch.supplier, batch.rights) == ("dario", "upload", "Northlight", rights)
        assert batch.campaign.slug == "spring-2027"
        assert batch.notes == []
    batches.close(anywhere, batch_id=batch_id)
    assert list(anywhere.storage.inbox.list()) == []


def test_a_file_that_was_cut_off_is_gone_on_with(anywhere, upload):
    data = os.urandom(30)
    told = declare(anywhere, upload, length=30)
    send(anywhere, upload, told, data, until=12)
    again = declare(anywhere, upload, length=30)
    assert (again["file"], again["offset"], again["done"]) == (told["file"], 12, False)
    assert uploads.offset(anywhere, upload=upload, file=told["file"]) == {"offset": 12, "bytes": 30, "done": False}
    [mine] = uploads.unfinished(anywhere, person="dario")
    assert (mine["upload"], mine["files"], mine["done"], mine["bytes"], mine["there"]) == (upload, 1, 0, 30, 12)
    assert uploads.unfinished(anywhere, person="libby") == []
    with pytest.raises(Refused, match=r"a\.jpg is not there as a whole"):
        uploads.complete(anywhere, upload=upload)
    assert send(anywhere, upload, again, data)["done"]
    assert anywhere.storage.inbox.read(f"drops/{upload}/a.jpg") == data
    assert not [entry for entry in anywhere.storage.inbox.list(uploads.PARTS) if "/part-" in entry.key]
    [file] = uploads.state(anywhere, upload=upload)["files"]
    assert (file["path"], file["offset"], file["done"], file["fingerprint"]) == ("a.jpg", 30, True, "1")


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(min_size=1, max_size=60), cuts=st.lists(st.integers(1, 20), max_size=12), twice=st.booleans())
def test_however_it_is_cut_what_arrives_is_what_was_sent(services, data, cuts, twice):
    upload = uploads.begin(services, person="dario", card={})
    told = declare(services, upload, length=len(data))
    at = told["offset"]
    for cut in [*cuts, len(data)]:
        piece = io.BytesIO(data[at : at + cut])
        if at == len(data):
            break
        at = uploads.put_part(services, upload=upload, file=told["file"], offset=at, data=piece)["offset"]
        if twice:  # the answer was lost, so it comes again
            with pytest.raises(uploads.WrongOffset) as wrong:
                uploads.put_part(services, upload=upload, file=told["file"], offset=at - 1, data=io.BytesIO(b"x"))
            assert wrong.value.offset == at
    assert services.storage.inbox.read(f"drops/{upload}/a.jpg") == data
    uploads.discard(services, upload=upload)


def test_a_part_that_was_changed_on_its_way_is_not_taken(anywhere, upload):
    told = declare(anywhere, upload)
    with pytest.raises(BadInput, match="changed on its way"):
        uploads.put_part(
            anywhere, upload=upload, file=told["file"], offset=0, data=io.BytesIO(b"01234"), sha256="0" * 64
        )
    assert uploads.offset(anywhere, upload=upload, file=told["file"])["offset"] == 0


def test_a_part_that_was_damaged_after_it_arrived_is_found_and_sent_again(anywhere, upload):
    data = os.urandom(10)
    told = declare(anywhere, upload)
    send(anywhere, upload, told, data, until=8)
    [first, *_] = [entry.key for entry in anywhere.storage.inbox.list(uploads.PARTS) if "/part-" in entry.key]
    anywhere.storage.inbox.put(first, b"evil")
    with pytest.raises(BadInput, match="damaged after it arrived"):
        send(anywhere, upload, told | {"offset": 8}, data)
    assert not anywhere.storage.inbox.exists(f"drops/{upload}/a.jpg")
    assert uploads.offset(anywhere, upload=upload, file=told["file"])["offset"] == 0
    assert send(anywhere, upload, told, data)["done"]


@pytest.mark.parametrize("length", [0, 11])
def test_a_part_of_another_length_than_is_asked_for_is_refused(anywhere, upload, length):
    told = declare(anywhere, upload)
    with pytest.raises(BadInput, match="not asked for"):
        uploads.put_part(anywhere, upload=upload, file=told["file"], offset=0, data=io.BytesIO(b"x" * length))


def test_an_empty_file_is_there_at_once(anywhere, upload):
    assert declare(anywhere, upload, length=0)["done"]
    assert anywhere.storage.inbox.exists(f"drops/{upload}/a.jpg")


def test_another_file_of_the_same_path_takes_the_place_of_the_first(anywhere, upload):
    send(anywhere, upload, declare(anywhere, upload), os.urandom(10), until=8)
    other = declare(anywhere, upload, fingerprint="2")
    assert other["offset"] == 0
    data = os.urandom(10)
    send(anywhere, upload, other, data)
    assert len(uploads.state(anywhere, upload=upload)["files"]) == 1
    uploads.complete(anywhere, upload=upload)
    assert anywhere.storage.inbox.read(f"drops/{upload}/a.jpg") == data


def test_several_parts_and_files_at_once_do_not_get_in_each_others_way(anywhere, upload):
    data = {f"d{n % 3}/{n}.bin": os.urandom(50) for n in range(12)}
    told = uploads.declare(anywhere, upload=upload, files=[{"path": path, "bytes": 50} for path in data])
    faults = []

    def work(one):
        try:
            send(anywhere, upload, one, data[one["path"]], part=17)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
            faults.append(error)

    threads = [threading.Thread(target=work, args=(one,)) for one in told]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    location = uploads.complete(anywhere, upload=upload)
    for path, whole in data.items():
        assert anywhere.storage.inbox.read(f"{location}/{path}") == whole


def test_a_large_file_goes_in_a_bounded_number_of_parts(services):
    upload = uploads.begin(services, person="dario", card={})
    assert declare(services, upload, length=10 * MB)["part_bytes"] == 8 * MB
    assert declare(services, upload, length=19_000 * MB)["part_bytes"] == 19 * MB


@pytest.mark.parametrize(
    "path",
    ["_COMPLETE", "sub/_COMPLETE", "batch.yaml", ".card", ".hidden", "../x", "/x", "a//b", "a\\b", "a\nb", "x" * 300],
)
def test_names_that_mean_something_or_leave_the_upload_are_refused(services, path):
    upload = uploads.begin(services, person="dario", card={})
    with pytest.raises(BadInput):
        declare(services, upload, path)


def test_a_file_that_is_too_large_is_refused_before_it_is_sent(services):
    world.limit(services, max_bytes=1000)
    upload = uploads.begin(services, person="dario", card={})
    with pytest.raises(BadInput, match="larger than"):
        declare(services, upload, length=1001)


@pytest.mark.parametrize(
    ("card", "told"),
    [({"campaign": "nowhere"}, "no campaign"), ({"rights": {"licence": "N-1"}}, "holder is missing")],
)
def test_a_card_with_a_fault_begins_nothing(services, card, told):
    with pytest.raises(BadInput, match=told):
        uploads.begin(services, person="dario", card=card)
    assert list(services.storage.inbox.list()) == []


def test_an_upload_that_is_given_up_leaves_nothing(anywhere, upload):
    send(anywhere, upload, declare(anywhere, upload), os.urandom(10), until=4)
    uploads.put_file(anywhere, upload=upload, path="b.jpg", data=io.BytesIO(b"x"))
    uploads.discard(anywhere, upload=upload)
    assert list(anywhere.storage.inbox.list()) == []
    with pytest.raises(NotFound):
        uploads.discard(anywhere, upload=upload)


def test_nothing_can_be_put_into_an_upload_that_is_complete_or_never_was(anywhere, upload):
    uploads.put_file(anywhere, upload=upload, path="b.jpg", data=io.BytesIO(b"x"))
    uploads.complete(anywhere, upload=upload)
    for name in (upload, "upload-up_" + "0" * 26, "../../etc"):
        with pytest.raises(NotFound):
            declare(anywhere, name)
        with pytest.raises(NotFound):
            uploads.complete(anywhere, upload=name)


@pytest.mark.parametrize("step", range(6))
def test_completing_killed_at_any_step_and_repeated_ends_the_same(services, monkeypatch, step):
    upload = uploads.begin(services, person="dario", card={})
    uploads.put_file(services, upload=upload, path="b.jpg", data=io.BytesIO(b"x"))
    inbox, calls = services.storage.inbox, []

    def dying(name):
        real = getattr(inbox, name)

        def call(*args, **kwargs):
            calls.append(name)
            if len(calls) > step:
                raise KeyboardInterrupt
            return real(*args, **kwargs)

        return call

    with monkeypatch.context() as patch:
        for name in ("put", "delete"):
            patch.setattr(inbox, name, dying(name))
        with pytest.raises(KeyboardInterrupt):
            uploads.complete(services, upload=upload)
    done = {"b.jpg", ".upload.sha256", "batch.yaml", "_COMPLETE"}
    if drops.discover(services) != [f"drops/{upload}"] or inbox.exists(f"drops/{upload}/.card"):
        uploads.complete(services, upload=upload)
    assert {entry.key.removeprefix(f"drops/{upload}/") for entry in inbox.list()} == done


# --------------------------------------------------------------------------------------------- generated


def test_what_a_generator_made_keeps_what_it_was_made_by(anywhere):
    upload = uploads.begin(anywhere, person="dario", card={}, source="api")
    origin = generated.Origin(
        model="Imaginarium 4 <XL>", prompt="a red cup & a “saucer”", seed="0042", model_version="4.1",
        prompt_writer="Ann", tool="Studio", title="Cup", keywords=["coffee", "red"],
    )  # fmt: skip
    data = io.BytesIO(world.png_bytes((80, 60)))
    generated.put(anywhere, upload=upload, path="CUP_ACME_20270301_v01.png", data=data, origin=origin)
    rows, batch_id = take(anywhere, uploads.complete(anywhere, upload=upload))
    [row] = rows.values()
    assert row["outcome"] == "ingested"
    with anywhere.session() as session:
        version = session.get_one(Version, row["version_id"])
        custom = version.description.custom
        assert custom["digital_source_type"].endswith("digitalsourcetype/trainedAlgorithmicMedia")
        assert (custom["ai_system"], custom["ai_system_version"]) == ("Imaginarium 4 <XL>", "4.1")
        assert (custom["ai_prompt"], custom["ai_prompt_writer"]) == ("a red cup & a “saucer”", "Ann")
        assert custom["ai_seed"] == "0042"
        assert version.embedded["Xmp.xmp.CreatorTool"] == "Studio"
        assert version.description.title == "Cup"
        assert "subject/coffee" in {tag.term_id for tag in version.tags}
        assert session.get_one(Batch, batch_id).source == "api"
        assert session.query(BatchFile).count() == 1


def test_a_digital_source_type_is_one_of_iptcs():
    known = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeSynthetic"
    assert generated.Origin("m", "p", known).source_type == generated.Origin("m", "p", "compositeSynthetic").source_type
    with pytest.raises(BadInput, match="no digital source type"):
        _ = generated.Origin("m", "p", "magic").source_type


@given(st.text(max_size=50), st.text(max_size=50))
def test_any_words_make_xmp_that_can_be_read(model, prompt):
    from xml.etree import ElementTree

    ElementTree.fromstring(generated.packet(generated.Origin(model, prompt)))
