"""The malware scanner: clean, infected, or not scanned with the reason; and what the gate makes of it."""

from __future__ import annotations

import dataclasses
import shutil
import socket
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

import samples
import world
from clamd import VERSION, clamd
from dam.catalog.models import Version
from dam.create import deliverables
from dam.errors import BadInput, Refused
from dam.ingest import batches, gate
from dam.ingest.scanner import Scan, Scanner
from dam.services import Services
from dam.settings import PROJECT, Settings

MOST = 10_000_000


@pytest.fixture(params=["unix", "tcp"])
def daemon(request, tmp_path):
    with clamd(tmp_path / "clamd.ctl" if request.param == "unix" else None) as running:
        yield running


def file(tmp_path, data):
    path = tmp_path / "scanned"
    path.write_bytes(data)
    return path


def test_a_clean_file_is_clean_and_says_by_whom(tmp_path, daemon):
    scanner = Scanner(daemon.address)
    assert scanner.scan(file(tmp_path, b"harmless"), most_bytes=MOST) == Scan("clean", VERSION)
    assert scanner.ping()
    assert scanner.version() == VERSION


def test_the_test_signature_is_found_and_named(tmp_path, daemon):
    found = Scanner(daemon.address).scan(file(tmp_path, b"x" * 5000 + samples.EICAR), most_bytes=MOST)
    assert found == Scan("infected", "Eicar-Test-Signature")


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(length=st.sampled_from([0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3_500_000]))
def test_every_byte_is_sent_once_and_in_order(tmp_path, length):
    data = bytes(range(256)) * (length // 256 + 1)
    with clamd() as running:
        Scanner(running.address).scan(file(tmp_path, data[:length]), most_bytes=MOST)
        assert running.scanned == [data[:length]]


def test_the_version_is_not_asked_for_every_file(tmp_path, daemon):
    scanner = Scanner(daemon.address)
    for _ in range(3):
        scanner.scan(file(tmp_path, b"harmless"), most_bytes=MOST)
    assert daemon.seen.count(b"zVERSION") == 1


def test_without_a_scanner_nothing_counts_as_clean(tmp_path):
    assert Scanner("").scan(file(tmp_path, b"x"), most_bytes=MOST) == Scan("not_scanned", "no scanner is configured")
    assert not Scanner("unix:/nowhere/clamd.ctl").ping()


def test_what_is_too_large_is_not_sent(tmp_path, daemon):
    told = Scanner(daemon.address).scan(file(tmp_path, bytes(2_000_001)), most_bytes=2_000_000)
    assert told == Scan("not_scanned", "larger than the 2 MB that are sent to the scanner")
    assert daemon.scanned == []


@pytest.mark.parametrize("length", [1_500_000, 60_000_000])
def test_what_is_too_large_for_the_scanner_is_told_as_that(tmp_path, length):
    """It answers and hangs up in the middle of the stream; how much of that arrives depends on the socket."""
    with clamd(tmp_path / "clamd.ctl", most=1_000_000) as running:
        told = Scanner(running.address).scan(file(tmp_path, bytes(length)), most_bytes=100_000_000)
    assert told.state == "not_scanned"
    assert "too large for the scanner" in told.note or "hung up before the end" in told.note


@pytest.mark.parametrize(
    "says, note",
    [
        ("Heuristics.Limits.Exceeded.MaxFileSize FOUND", "could not look through all of it"),
        ("Heuristics.Encrypted.Zip FOUND", "could not look through all of it"),
        ("Can't allocate memory ERROR", "gave no verdict"),
        ("something else", "gave no verdict (something else)"),
    ],
)
def test_an_answer_that_is_no_verdict_is_not_taken_for_one(tmp_path, says, note):
    with clamd(tmp_path / "clamd.ctl", says=says) as running:
        told = Scanner(running.address).scan(file(tmp_path, b"x"), most_bytes=MOST)
    assert told.state == "not_scanned"
    assert note in told.note


def test_a_scanner_that_is_down_hangs_up_or_talks_nonsense_is_told(tmp_path):
    for address in (f"unix:{tmp_path}/nothing.ctl", "tcp:127.0.0.1:1"):
        told = Scanner(address).scan(file(tmp_path, b"x"), most_bytes=MOST)
        assert told.state == "not_scanned"
        assert "does not answer" in told.note
    with socket.create_server(("127.0.0.1", 0)) as rude:
        thread = threading.Thread(target=lambda: rude.accept()[0].close())
        thread.start()
        told = Scanner(f"tcp:127.0.0.1:{rude.getsockname()[1]}").scan(file(tmp_path, bytes(9_000_000)), most_bytes=MOST)
        thread.join()
    assert told.state == "not_scanned"


@pytest.mark.parametrize(
    "address", ["clamd", "unix:relative", "tcp:host", "tcp:host:http", "tcp:host:99999", "udp:h:1"]
)
def test_an_address_that_makes_no_sense_is_told_at_once(address):
    with pytest.raises(BadInput, match="DAM_CLAMD"):
        Scanner.from_settings(Settings("", "", clamd=address))


def test_the_address_comes_from_the_environment():
    environ = {"DAM_CATALOG_URL": "x", "DAM_STORAGE_URL": "y", "DAM_CLAMD": "tcp:[::1]:3310"}
    assert Scanner.from_settings(Settings.from_env(environ=environ)).address == "tcp:[::1]:3310"


# ---------------------------------------------------------------------------------------------------- gate


@pytest.fixture
def scanned(services, tmp_path):
    """Services with a scanner's address, which nothing listens at yet; as many as are asked for share the rest."""
    address = f"unix:{tmp_path}/clamd.ctl"
    made = Services(dataclasses.replace(services.settings, clamd=address))
    yield made
    made.engine.dispose()


@pytest.fixture
def blocking(scanned, tmp_path):
    """The same with the policy to wait for a scan."""
    include = shutil.copytree(PROJECT / "include", tmp_path / "include")
    limits = include / "taxonomy" / "limits.yaml"
    told = limits.read_text().replace("settle_seconds: 5", "settle_seconds: 0")
    limits.write_text(told.replace("unscanned: pass", "unscanned: block"))
    made = Services(dataclasses.replace(scanned.settings, include=include))
    yield made
    made.engine.dispose()


def rows(services, batch_id):
    return {row["path"]: row for row in batches.receipt(services, batch_id=batch_id)}


def states(services):
    with services.session() as session:
        return sorted((version.state, version.scan) for version in session.scalars(select(Version)))


def test_the_gate_scans_before_it_decodes_and_tells_in_the_receipt(scanned, tmp_path):
    good = world.picture(tmp_path, "GOOD_ACME_20270301_v01.jpg")
    bad = tmp_path / "BAD_ACME_20270301_v01.txt"
    bad.write_bytes(samples.EICAR)
    with clamd(tmp_path / "clamd.ctl"):
        batch_id = world.drop(scanned, "drops/a", [good, bad])
        assert world.ingest(scanned, batch_id) == {"ingested": 1, "quarantined": 1}
    told = rows(scanned, batch_id)
    assert (told[good.name]["scan"], told[good.name]["scan_note"]) == ("clean", VERSION)
    assert "carries malware: Eicar-Test-Signature" in told[bad.name]["reason"]
    assert (told[bad.name]["scan"], told[bad.name]["scan_note"]) == ("infected", "Eicar-Test-Signature")
    assert states(scanned) == [("ingested", "clean"), ("quarantined", "infected")]


def test_what_was_not_scanned_passes_by_policy_and_says_so(services, tmp_path):
    path = world.picture(tmp_path, "GOOD_ACME_20270301_v01.jpg")
    batch_id = world.drop(services, "drops/a", [path])
    assert world.ingest(services, batch_id) == {"ingested": 1}
    told = rows(services, batch_id)[path.name]
    assert (told["scan"], told["scan_note"]) == ("not_scanned", "no scanner is configured")


def test_what_was_not_scanned_waits_by_policy_and_is_taken_later(blocking, tmp_path):
    paths = [world.picture(tmp_path, f"P{n}_ACME_20270301_v01.jpg", seed=n) for n in range(2)]
    batch_id = world.drop(blocking, "drops/a", paths)
    assert world.ingest(blocking, batch_id) == {"quarantined": 2}
    assert "set aside until it was scanned for malware: the scanner does not answer" in rows(blocking, batch_id)[
        paths[0].name]["reason"]  # fmt: skip
    assert states(blocking) == [("quarantined", "awaited")] * 2
    batches.close(blocking, batch_id=batch_id)
    with pytest.raises(Refused, match="does not answer"):
        gate.scan_again(blocking)
    with clamd(tmp_path / "clamd.ctl"):
        assert gate.scan_again(blocking) == {"ingested": 2}
        assert gate.scan_again(blocking) == {}
    told = rows(blocking, batch_id)
    assert {(row["outcome"], row["reason"], row["scan"], row["asset"]) for row in told.values()} == {
        ("ingested", None, "clean", "P0_ACME"), ("ingested", None, "clean", "P1_ACME"),
    }  # fmt: skip
    with blocking.session() as session:
        for version in session.scalars(select(Version)):
            assert version.phash is not None
            store, key = blocking.storage.resolve(version.storage_uri)
            assert store.name == "vault"
            assert store.digest(key) == version.sha256


def test_the_sidecar_of_what_waited_is_read_after_its_batch_was_closed(blocking, tmp_path):
    picture = world.picture(tmp_path, "P_ACME_20270301_v01.jpg", seed=1, xmp={})
    sidecar = tmp_path / "P_ACME_20270301_v01.xmp"
    sidecar.write_text(
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title><rdf:Alt>'
        '<rdf:li xml:lang="x-default">Aside</rdf:li></rdf:Alt></dc:title></rdf:Description></rdf:RDF></x:xmpmeta>'
    )
    batch_id = world.drop(blocking, "drops/a", [picture, sidecar])
    assert world.ingest(blocking, batch_id) == {"quarantined": 1}
    batches.close(blocking, batch_id=batch_id)
    with clamd(tmp_path / "clamd.ctl"):
        assert gate.scan_again(blocking) == {"ingested": 1}
    with blocking.session() as session:
        assert session.scalars(select(Version)).one().description.title == "Aside"


def test_a_deliverable_that_waits_to_be_scanned_is_not_asked_for_again(blocking, tmp_path):
    batch_id, _ = world.designers_batch(blocking, tmp_path)
    assert {scan for _, scan in states(blocking)} == {"awaited"}
    assert deliverables.refused(blocking, batch_id=batch_id) == []
    with clamd(tmp_path / "clamd.ctl"):
        assert gate.scan_again(blocking) == {"ingested": 2}


def test_what_waits_and_turns_out_infected_stays(blocking, tmp_path):
    bad = tmp_path / "BAD_ACME_20270301_v01.txt"
    bad.write_bytes(samples.EICAR)
    batch_id = world.drop(blocking, "drops/a", [bad])
    world.ingest(blocking, batch_id)
    with clamd(tmp_path / "clamd.ctl"):
        assert gate.scan_again(blocking) == {"quarantined": 1}
        assert gate.scan_again(blocking) == {}
    assert states(blocking) == [("quarantined", "infected")]
    assert "carries malware" in rows(blocking, batch_id)[bad.name]["reason"]


def test_what_waits_and_is_sent_again_is_taken_when_it_was_scanned(blocking, tmp_path):
    path = world.picture(tmp_path, "GOOD_ACME_20270301_v01.jpg")
    world.ingest(blocking, world.drop(blocking, "drops/a", [path]))
    with clamd(tmp_path / "clamd.ctl"):
        assert world.ingest(blocking, world.drop(blocking, "drops/b", [path])) == {"ingested": 1}
        assert world.ingest(blocking, world.drop(blocking, "drops/c", [path])) == {"duplicate": 1}
    assert states(blocking) == [("ingested", "clean")]


def test_two_workers_take_what_waits_once(blocking, tmp_path):
    paths = [world.picture(tmp_path, f"P{n}_ACME_20270301_v01.jpg", seed=n) for n in range(4)]
    world.ingest(blocking, world.drop(blocking, "drops/a", paths))
    counts = []
    with clamd(tmp_path / "clamd.ctl"):
        workers = [threading.Thread(target=lambda: counts.append(gate.scan_again(blocking))) for _ in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        gate.scan_again(blocking)
    assert sum(count.get("ingested", 0) for count in counts) <= 4
    assert states(blocking) == [("ingested", "clean")] * 4


@pytest.mark.parametrize("step", ["_look", "_accept", "_released", "change_state"])
def test_killed_while_it_is_taken_again_it_still_waits(blocking, tmp_path, monkeypatch, step):
    path = world.picture(tmp_path, "GOOD_ACME_20270301_v01.jpg")
    world.ingest(blocking, world.drop(blocking, "drops/a", [path]))

    def killed(*_args, **_kwargs):
        raise KeyboardInterrupt

    with clamd(tmp_path / "clamd.ctl"):
        with monkeypatch.context() as patch:
            patch.setattr(gate, step, killed)
            with pytest.raises(KeyboardInterrupt):
                gate.scan_again(blocking)
        assert states(blocking) == [("quarantined", "awaited")]
        assert gate.scan_again(blocking) == {"ingested": 1}


def test_the_database_lets_nothing_unsafe_out(services, tmp_path):
    from sqlalchemy.exc import IntegrityError

    path = world.picture(tmp_path, "GOOD_ACME_20270301_v01.jpg")
    world.ingest(services, world.drop(services, "drops/a", [path]))
    with pytest.raises(IntegrityError, match="unsafe_is_set_aside"), services.session() as session:
        session.scalars(select(Version)).one().scan = "infected"
