"""The access log is read exactly once: by block, across rotation, by two readers, in two formats."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, func, select, text

from dam.catalog.models import (
    Asset,
    Batch,
    Publication,
    UsageCursor,
    UsageFact,
    Version,
    VersionState,
    new_id,
    utcnow,
)
from dam.measure import usage
from dam.services import Services

HERO, LEAF = "spring/hero-web-0123.webp", "spring/leaf-web-4567.webp"
ENTRY = "/entries/42"
BROWSER = 'Mozilla/5.0 (X11; Linux x86_64) \\"quoted\\" Safari'


@pytest.fixture
def site(services: Services) -> Iterator[Services]:
    """Services whose origin serves two publications, and a CMS an entry."""
    made = Services(
        replace(services.settings, origin_url="https://cdn.example/assets", cms_url="https://cms.example/api")
    )
    with made.session() as session:
        batch = Batch(source="inbox", location="drops/one", sent_by="dario")
        for name, endpoints in {
            "HERO": [{"kind": "file", "key": HERO, "url": f"https://cdn.example/assets/{HERO}"}],
            "LEAF": [
                {"kind": "file", "key": LEAF, "url": f"https://cdn.example/assets/{LEAF}"},
                {"kind": "entry", "url": f"https://cms.example{ENTRY}"},
            ],
        }.items():
            digest = hashlib.sha256(name.encode()).hexdigest()
            version = Version(
                asset=Asset(name=name, kind="image"),
                number=1,
                batch=batch,
                filename=f"{name}.jpg",
                sha256=digest,
                bytes=1,
                media_type="image/jpeg",
                storage_uri=f"vault:{digest}",
                state=VersionState.RECEIVED,
                made_by="dario",
            )
            session.add(
                Publication(
                    id=f"pub_{name}",
                    version=version,
                    channel="web",
                    idempotency_key=name,
                    starts_at=utcnow(),
                    endpoints=endpoints,
                )
            )
    yield made
    made.engine.dispose()


def line(path: str, *, status: int = 200, length: int | str = 10, agent: str = BROWSER, **more: str) -> str:
    at = more.get("at", "02/Mar/2027:10:11:12 +0000")
    method = more.get("method", "GET")
    return f'192.0.2.7 - - [{at}] "{method} {path} HTTP/1.1" {status} {length} "-" "{agent}"\n'


def hero(**more: object) -> str:
    return line(f"/assets/{HERO}", **more)  # type: ignore[arg-type]


def write(services: Services, *lines: str, name: str = "") -> Path:
    path = Path(services.settings.access_log + name)
    with path.open("a", newline="") as stream:
        stream.writelines(lines)
    return path


def facts(services: Services) -> dict[tuple[str, str], tuple[int, int]]:
    """Return (day, publication) → hits, bytes."""
    with services.session() as session:
        rows = session.execute(
            select(
                UsageFact.day, UsageFact.publication_id, func.sum(UsageFact.hits), func.sum(UsageFact.bytes)
            ).group_by(UsageFact.day, UsageFact.publication_id)
        )
        return {(str(day), name): (int(hits), int(length)) for day, name, hits, length in rows}


def hits(services: Services) -> int:
    return sum(count for count, _ in facts(services).values())


# ----------------------------------------------------------------------------------------- what counts


def test_what_counts(site):
    write(
        site,
        hero(length=700),
        hero(length=300).replace(f"{HERO} ", f"{HERO}?utm_source=mail "),
        line(f"https://cdn.example/assets/{LEAF}", status=206),  # a proxy's absolute form
        line(f"/assets/{LEAF}".replace("leaf", "%6Ceaf"), length="-"),
        line(ENTRY),
        hero(agent="airflow-dam-probe/1.0"),
        hero(agent="Mozilla/5.0 (not airflow-dam-probe)"),
        hero(status=404),
        hero(status=304),
        hero(method="HEAD"),
        line("/assets/nobody-knows.webp"),
        line("/robots.txt"),
        "what is this?\n",
        '192.0.2.7 - - [32/Mar/2027:10:11:12 +0000] "GET / HTTP/1.1" 200 5 "-" "x"\n',
    )
    assert usage.read_log(site, run="measure_nightly/1") == {
        "lines": 14,
        "counted": 6,
        "probes": 1,
        "failed": 2,
        "other_methods": 1,
        "unknown": 2,
        "bad": 2,
        "first_bad": "what is this?",
    }
    assert facts(site) == {
        ("2027-03-02", "pub_HERO"): (3, 1010),
        ("2027-03-02", "pub_LEAF"): (3, 20),
    }


def test_days_are_days_in_utc(site):
    write(site, hero(at="02/Mar/2027:23:30:00 -0100"), hero(at="02/Mar/2027:00:30:00 +0100"))
    usage.read_log(site)
    assert facts(site) == {("2027-03-03", "pub_HERO"): (1, 10), ("2027-03-01", "pub_HERO"): (1, 10)}


def test_a_common_log_line_has_no_agent(site):
    write(site, hero().rsplit(' "-"', 1)[0] + "\n")
    assert usage.read_log(site)["counted"] == 1


def test_without_a_log(site, services):
    assert usage.read_log(site)["lines"] == 0
    assert usage.read_log(Services(replace(services.settings, access_log="")))["lines"] == 0


def test_a_path_that_was_published_again_belongs_to_the_later_publication(site):
    with site.session() as session:
        old = session.get_one(Publication, "pub_HERO")
        session.add(
            Publication(
                id=new_id("pub_Z"),
                version_id=old.version_id,
                channel="web",
                idempotency_key="again",
                starts_at=utcnow(),
                endpoints=old.endpoints,
            )
        )
    write(site, hero())
    usage.read_log(site)
    [(_, publication)] = facts(site)
    assert publication.startswith("pub_Z")


# ------------------------------------------------------------------------------------------------- W3C

W3C = (
    "#Version: 1.0\n#Date: 2027-03-02 00:00:00\n"
    "#Fields: date time cs-method cs-uri-stem sc-status sc-bytes cs(User-Agent)\n"
)


def w3c(path: str, *, agent: str = "Mozilla/5.0+(X11)", status: int = 200) -> str:
    return f"2027-03-02 10:11:12 GET {path} {status} 10 {agent}\n"


def test_w3c_with_fields_remembered_between_runs(site):
    write(site, W3C, w3c(f"/assets/{HERO}"), w3c(f"/assets/{LEAF}", agent="airflow-dam-probe/1.0"))
    assert usage.read_log(site)["counted"] == 1
    write(site, w3c(f"/assets/{HERO}"), w3c("/x", status=500), w3c(f"/assets/{LEAF}", agent='"Two words"'))
    second = usage.read_log(site)
    assert (second["counted"], second["failed"], second["bad"]) == (2, 1, 0)
    write(
        site,
        "#Fields: date time sc-status cs-uri-stem\n",
        f"2027-03-03 00:00:01 200 /assets/{HERO}\n",
        "2027-03-03 200\n",
    )
    third = usage.read_log(site)
    assert (third["counted"], third["bad"], third["first_bad"]) == (1, 1, "2027-03-03 200")
    assert hits(site) == 4


def test_two_w3c_logs_begin_alike(site):
    log = write(site, W3C, w3c(f"/assets/{HERO}"))
    usage.read_log(site)
    log.rename(f"{log}.1")
    write(site, W3C, w3c(f"/assets/{HERO}?other"), w3c(f"/assets/{HERO}"))
    usage.read_log(site)
    assert hits(site) == 3


# ------------------------------------------------------------------------------------------ exactly once


def test_a_line_that_is_being_written_waits(site):
    whole = hero()
    write(site, hero(), whole[:40])
    assert usage.read_log(site)["lines"] == 1
    write(site, whole[40:])
    assert usage.read_log(site)["lines"] == 1
    assert usage.read_log(site)["lines"] == 0
    assert hits(site) == 2


def test_rotation_by_rename_once_and_twice(site):
    log = write(site, hero(at="01/Mar/2027:10:00:00 +0000"))
    usage.read_log(site)
    write(site, hero())  # after the last reading, before the rotation
    log.rename(f"{log}.1")
    write(site, hero(at="03/Mar/2027:10:00:00 +0000"))
    assert usage.read_log(site)["counted"] == 2
    write(site, hero(at="03/Mar/2027:11:00:00 +0000"))
    Path(f"{log}.1").rename(f"{log}.2")
    log.rename(f"{log}.1")
    write(site, hero(at="04/Mar/2027:10:00:00 +0000"))
    assert usage.read_log(site)["counted"] == 2
    assert usage.read_log(site)["counted"] == 0
    assert hits(site) == 5


def test_two_rotations_between_two_readings(site):
    log = write(site, hero(at="01/Mar/2027:10:00:00 +0000"))
    usage.read_log(site)
    log.rename(f"{log}.2")
    write(site, hero(at="02/Mar/2027:10:00:00 +0000"), name=".1")
    write(site, hero(at="03/Mar/2027:10:00:00 +0000"))
    assert usage.read_log(site)["counted"] == 2
    assert hits(site) == 3


def test_rotation_by_copying_and_truncating(site):
    log = write(site, hero(at="01/Mar/2027:10:00:00 +0000"))
    usage.read_log(site)
    write(site, hero())
    write(site, log.read_text(), name=".1")
    log.write_text("")
    assert usage.read_log(site)["counted"] == 1
    write(site, *[hero(at="03/Mar/2027:10:00:00 +0000")] * 5)  # longer than what was read before
    assert usage.read_log(site)["counted"] == 5
    assert hits(site) == 7


def test_a_truncated_log_that_begins_with_the_same_line(site):
    log = write(site, hero(), hero())
    usage.read_log(site)
    log.write_text("")
    write(site, hero())
    assert usage.read_log(site)["counted"] == 1
    assert hits(site) == 3


def test_blocks_cut_lines_and_an_endless_line_does_not_stop_us(site, monkeypatch):
    monkeypatch.setattr(usage, "BLOCK", 300)
    write(site, *[hero() for _ in range(20)])
    assert usage.read_log(site)["counted"] == 20
    write(site, "x" * 1000 + "\n", hero())
    after = usage.read_log(site)
    assert after["bad"] >= 1
    assert (after["counted"], hits(site)) == (1, 21)


def test_killed_between_two_blocks(site, monkeypatch):
    monkeypatch.setattr(usage, "BLOCK", 600)
    write(site, *[hero() for _ in range(20)])
    store, calls = usage._store, []

    def killed(session, rows):
        store(session, rows)
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(usage, "_store", killed)
    with pytest.raises(KeyboardInterrupt):
        usage.read_log(site)
    assert 0 < hits(site) < 20
    monkeypatch.setattr(usage, "_store", store)
    usage.read_log(site)
    assert hits(site) == 20


def test_readers_at_once_count_each_line_once(site, monkeypatch):
    monkeypatch.setattr(usage, "BLOCK", 2000)
    write(site, *[hero() for _ in range(200)])
    counted = []
    threads = [threading.Thread(target=lambda: counted.append(usage.read_log(site)["counted"])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (sum(counted), hits(site)) == (200, 200)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["write", "part", "read", "rotate", "truncate_after_read"]), max_size=25))
def test_whatever_happens_to_the_log_each_line_counts_once(site, steps):
    log = Path(site.settings.access_log)
    for old in log.parent.glob("access.log*"):
        old.unlink()
    with site.session() as session:
        session.execute(delete(UsageFact))
        session.execute(delete(UsageCursor))
    written, rest = 0, ""
    for number, step in enumerate(steps):
        if step == "write":
            write(site, rest, hero(length=number))
            written, rest = written + 1 + bool(rest), ""
        elif step == "part" and not rest:
            whole = hero(length=number)
            write(site, whole[:30])
            rest = whole[30:]
        elif step == "read":
            usage.read_log(site)
        elif step == "rotate" and log.exists() and not rest:
            for old in sorted(log.parent.glob("access.log.*"), reverse=True):
                old.rename(f"{log}.{int(old.suffix[1:]) + 1}")
            log.rename(f"{log}.1")
        elif step == "truncate_after_read" and log.exists() and not rest:
            usage.read_log(site)
            log.write_text("")
    usage.read_log(site)
    assert hits(site) == written


@pytest.mark.slow
def test_only_paths_that_were_asked_for_are_looked_up(site):
    """Twenty thousand other publications cost nothing: the look-up goes through the index."""
    with site.session() as session:
        version_id = session.scalars(select(Version.id).limit(1)).one()
        session.execute(
            Publication.__table__.insert(),
            [
                {
                    "id": f"pub_{number:06d}",
                    "version_id": version_id,
                    "channel": "web",
                    "idempotency_key": str(number),
                    "starts_at": utcnow(),
                    "endpoints": [{"kind": "file", "key": f"other/{number}.webp", "url": f"https://x/{number}"}],
                }
                for number in range(20_000)
            ],
        )
    with site.session() as session:
        session.execute(text("SELECT gin_clean_pending_list('ix_publications_endpoints')"))
        session.execute(text("ANALYZE publications"))
        plan = session.execute(
            text(f"EXPLAIN {usage._PUBLISHED.text}"),
            {"paths": ["/assets/" + HERO], "names": [f'[{{"key": "{HERO}"}}]']},
        ).scalars()
        told = "\n".join(plan)
    assert "ix_publications_endpoints" in told
    assert "Seq Scan on publications" not in told


def test_day_is_a_date(site):
    write(site, hero())
    usage.read_log(site)
    with site.session() as session:
        assert session.scalars(select(UsageFact.day)).one() == date(2027, 3, 2)
