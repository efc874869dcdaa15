"""What is over goes to cold storage, verified; what is needed comes back; kills and corruption lose nothing."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from sqlalchemy import select, text

from dam.catalog.lifecycle import place_hold
from dam.catalog.models import ArchiveConfirmation, Campaign, Version, utcnow
from dam.errors import NotFound, Refused
from dam.retention import archive
from dam.retention.policies import policies

TODAY = utcnow().date()


def due(library) -> dict[str, str]:
    return {row["version_id"]: row["reason"] for row in archive.due(library.services)}


def confirmations(library, version_id: str) -> list[ArchiveConfirmation]:
    with library.services.session() as session:
        return list(
            session.scalars(
                select(ArchiveConfirmation)
                .where(ArchiveConfirmation.version_id == version_id)
                .order_by(ArchiveConfirmation.id)
            )
        )


# ------------------------------------------------------------------------------------------------- due


def test_what_is_due_and_why(library):
    old = library.version("approved")
    changed = library.version("changes_requested", days_ago=31)
    live = library.version("live")
    rejected = library.version("rejected", name="OTHER")
    asked = library.version("changes_requested", name="OPEN", days_ago=29)
    given_up = library.version("changes_requested", name="GIVEN-UP", days_ago=31)
    withdrawn = library.version("withdrawn", name="GONE", days_ago=8)
    just_withdrawn = library.version("withdrawn", name="JUST", days_ago=6)
    fresh = library.version("approved", name="FRESH")
    in_review = library.version("in_review", name="REVIEWED")
    library.campaign("winter-2026", ends_on=TODAY - timedelta(1))
    ended = library.version("approved", name="WINTER", campaign="winter-2026")
    ended_live = library.version("live", name="WINTER-LIVE", campaign="winter-2026")
    no_campaign = library.version("approved", name="LOOSE", campaign=None)
    assert due(library) == {
        old: "a later version took its place",
        changed: "a later version took its place",
        rejected: "it was rejected",
        given_up: "its changes were never made",
        withdrawn: "it was withdrawn",
        ended: "its campaign has ended",
    }
    for version_id in (live, asked, just_withdrawn, fresh, in_review, ended_live, no_campaign):
        assert version_id not in due(library)


def test_a_campaign_that_was_ended_early(library):
    version_id = library.version("approved")
    assert due(library) == {}
    with library.services.session() as session:
        session.scalars(select(Campaign)).one().ended_at = utcnow()
    assert due(library) == {version_id: "its campaign has ended"}


def test_the_last_day_of_a_campaign_is_a_day_of_it(library):
    library.campaign(ends_on=TODAY)
    library.version("approved")
    assert due(library) == {}


def test_what_is_held_or_about_to_go_live_stays(library):
    held, planned = library.version("rejected"), library.version("rejected", name="SECOND", campaign="autumn")
    library.publication(planned, status="scheduled")
    place_hold(library.services, reason="a claim", person="lena", campaign_slug="spring-2027")
    assert due(library) == {}
    [row] = archive.archive(library.services, version_ids=[held])
    assert "on legal hold (a claim)" in row["error"]
    assert library.get(held).state == "rejected"
    assert library.get(held).storage_uri in library.files("vault")


@pytest.mark.slow
def test_the_sweep_reads_what_may_be_due_not_the_library(library):
    template = library.version("live")
    with library.services.session() as session:
        for statement in (
            "INSERT INTO assets (id, name, kind, created_at)"
            " SELECT 'ast_' || n, 'BULK' || n, 'image', now() FROM generate_series(1, 20000) n",
            "INSERT INTO versions SELECT (jsonb_populate_record(v, jsonb_build_object("
            " 'id', 'ver_' || n, 'asset_id', 'ast_' || n, 'sha256', lpad(n::text, 64, '0'), 'state', 'received'))).*"
            f" FROM versions v, generate_series(1, 20000) n WHERE v.id = '{template}'",
            *(
                f"UPDATE versions SET state = '{state}' WHERE id ~ '^ver_[0-9]+$'"
                for state in ("ingested", "in_review", "approved", "live")
            ),
            "ANALYZE",
        ):
            session.execute(text(statement))
    rejected = library.version("rejected", name="OTHER")
    with library.services.session() as session:
        query = archive._over(library.services, utcnow()).compile(
            session.get_bind(), compile_kwargs={"literal_binds": True}
        )
        plan = "\n".join(session.execute(text(f"EXPLAIN {query}".replace(":", "\\:"))).scalars())
    assert "ix_versions_to_archive" in plan
    assert "Seq Scan on versions" not in plan
    assert due(library) == {rejected: "it was rejected"}


# --------------------------------------------------------------------------------------------- archive


def test_archive_moves_verifies_and_confirms(library):
    version_id = library.version("rejected")
    before = library.get(version_id)
    [row] = archive.archive(library.services, version_ids=[version_id], run="archive_nightly/1")
    version = library.get(version_id)
    assert (version.state, version.tier) == ("archived", "cold")
    assert version.storage_uri == row["uri"] == before.storage_uri.replace("vault:", "cold:")
    assert library.files("vault", "cold") == {row["uri"]}
    assert version.retain_until == TODAY.replace(year=TODAY.year + 1)
    [confirmation] = confirmations(library, version_id)
    assert (confirmation.id, confirmation.sha256, confirmation.bytes) == (
        row["confirmation_id"],
        before.sha256,
        before.bytes,
    )
    document = json.loads(library.services.storage.reports.read(f"archive/{version_id}/01.json"))
    assert document["confirmation_id"] == confirmation.id
    assert document["policy"].startswith("rejected versions: kept 1 year from ")
    assert document["kept_until"] == version.retain_until.isoformat()
    assert (document["reason"], document["run"]) == ("it was rejected", "archive_nightly/1")
    assert library.actions(version_id) == ["version.archived"]
    assert archive.archive(library.services, version_ids=[version_id, version_id]) == [row]
    assert len(confirmations(library, version_id)) == 1
    assert due(library) == {}


def test_kind_and_campaign_decide_how_long(library):
    contract = library.version("approved", name="CONTRACT", kind="document")
    library.rewrite("tier: cold\n    keep_years: 10", "tier: cold\n    campaigns: [autumn-*]\n    keep_years: 10")
    for_ever = library.version("approved", name="POSTER")
    archive.archive(library.services, version_ids=[contract, for_ever])
    assert library.get(contract).retain_until >= TODAY + timedelta(days=30 * 365)
    assert library.get(for_ever).retain_until is None
    document = json.loads(library.services.storage.reports.read(f"archive/{for_ever}/01.json"))
    assert (document["policy"], document["kept_until"]) == ("no policy fits it: kept for ever", None)


STEPS = ["put", "read back", "change_state", "delete"]


def kill(library, monkeypatch, step, source, target):
    """Let the next move from one store to another be killed at a step."""

    def killed(*_args, **_kwargs):
        raise KeyboardInterrupt

    real = target.holds
    where, name = {
        "put": (target, "put"),
        "read back": (target, "holds"),
        "change_state": (archive, "change_state"),
        "delete": (source, "delete"),
    }[step]
    # the first look is whether a copy is there already
    looked = []
    monkeypatch.setattr(
        where, name, killed if step != "read back" else lambda *args: killed() if looked else looked.append(real(*args))
    )


@pytest.mark.parametrize("step", STEPS)
def test_killed_and_run_again_ends_the_same(library, monkeypatch, step):
    version_id = library.version("rejected")
    storage = library.services.storage
    kill(library, monkeypatch, step, storage.vault, storage.cold)
    with pytest.raises(KeyboardInterrupt):
        archive.archive(library.services, version_ids=[version_id])
    monkeypatch.undo()
    version = library.get(version_id)
    store, key = library.services.storage.resolve(version.storage_uri)
    assert store.digest(key) == version.sha256  # at every moment the catalogue names bytes that are there
    [row] = archive.archive(library.services, version_ids=[version_id])
    assert library.files("vault", "cold") == {row["uri"]}
    assert library.get(version_id).state == "archived"
    assert len(confirmations(library, version_id)) == 1
    documents = [entry.key for entry in library.services.storage.reports.list("archive/")]
    assert documents == [f"archive/{version_id}/01.json"]


def test_a_source_that_a_killed_run_left_stays_when_its_copy_rotted_since(library, monkeypatch):
    version_id = library.version("rejected")
    storage = library.services.storage
    kill(library, monkeypatch, "delete", storage.vault, storage.cold)
    with pytest.raises(KeyboardInterrupt):
        archive.archive(library.services, version_ids=[version_id])
    monkeypatch.undo()
    version = library.get(version_id)
    store, key = storage.resolve(version.storage_uri)
    store.put(key, b"rot")
    [row] = archive.archive(library.services, version_ids=[version_id])
    assert "was left where it is" in row["error"]
    assert storage.vault.digest(key) == version.sha256


def test_one_that_fails_does_not_stop_the_others(library):
    live, rotten, lost, fine = (
        library.version(state, name=name)
        for state, name in [("live", "A"), ("rejected", "B"), ("rejected", "C"), ("rejected", "D")]
    )
    _, key = library.services.storage.resolve(library.get(rotten).storage_uri)
    library.services.storage.vault.put(key, b"other bytes")
    _, key = library.services.storage.resolve(library.get(lost).storage_uri)
    library.services.storage.vault.delete(key)
    rows = archive.archive(library.services, version_ids=[live, rotten, lost, "ver_none", fine])
    assert ["error" in row for row in rows] == [True, True, True, True, False]
    assert "it is live" in rows[0]["error"]
    assert "compare it with a backup" in rows[1]["error"]
    assert library.get(rotten).state == "rejected"
    assert library.get(rotten).storage_uri in library.files("vault")
    assert library.files("cold") == {rows[4]["uri"]}


# --------------------------------------------------------------------------------------------- restore


def test_restore_brings_it_back_and_archives_again_after_its_grace(library):
    version_id = library.version("rejected")
    library.grant(version_id, ends_on=TODAY)
    archive.archive(library.services, version_ids=[version_id])
    answer = archive.restore(library.services, version_id=version_id, person="libby", reason="a book")
    version = library.get(version_id)
    assert (version.state, version.tier, version.retain_until) == ("restored", "hot", None)
    assert library.files("vault", "cold") == {answer["uri"]} == {version.storage_uri}
    assert archive.restore(library.services, version_id=version_id, person="libby", reason="a book") == answer
    library.campaign("x")
    library.change(version_id, state_changed_at=utcnow() - timedelta(days=29))
    later = library.version("live")
    assert due(library) == {}
    library.change(version_id, state_changed_at=utcnow() - timedelta(days=31))
    assert due(library) == {version_id: "a later version took its place"}
    archive.archive(library.services, version_ids=[version_id])
    assert [row.from_uri[:6] for row in confirmations(library, version_id)] == ["vault:", "vault:"]
    assert len(list(library.services.storage.reports.list(f"archive/{version_id}/"))) == 2
    assert library.get(later).state == "live"


def test_restore_asks_the_rights(library):
    version_id = library.version("archived")
    with pytest.raises(Refused, match="No licence is recorded"):
        archive.restore(library.services, version_id=version_id, person="libby", reason="a book")
    library.grant(version_id, ends_on=None)
    library.grant(version_id, ends_on=TODAY - timedelta(1), reference="MODEL-7")
    with pytest.raises(Refused, match="MODEL-7 from Northlight ended on"):
        archive.restore(library.services, version_id=version_id, person="libby", reason="a book")
    assert library.get(version_id).state == "archived"
    loose = library.version("archived", name="LOOSE", campaign=None)
    library.grant(loose, ends_on=TODAY)
    archive.restore(library.services, version_id=loose, person="libby", reason="a book")
    with pytest.raises(Refused, match="not archived"):
        archive.restore(library.services, version_id=library.version("live"), person="libby", reason="x")
    with pytest.raises(NotFound):
        archive.restore(library.services, version_id="ver_none", person="libby", reason="x")


@pytest.mark.parametrize("step", STEPS)
def test_restore_killed_and_run_again(library, monkeypatch, step):
    version_id = library.version("archived")
    library.grant(version_id, ends_on=None)
    storage = library.services.storage
    kill(library, monkeypatch, step, storage.cold, storage.vault)
    with pytest.raises(KeyboardInterrupt):
        archive.restore(library.services, version_id=version_id, person="libby", reason="a book")
    monkeypatch.undo()
    version = library.get(version_id)
    store, key = storage.resolve(version.storage_uri)
    assert store.digest(key) == version.sha256
    archive.restore(library.services, version_id=version_id, person="libby", reason="a book")
    assert library.files("vault", "cold") == {library.get(version_id).storage_uri}
    assert library.get(version_id).state == "restored"


# ---------------------------------------------------------------------------------------------- fixity


def test_fixity_names_what_rotted_and_what_is_lost(library, monkeypatch):
    fine, rotten, lost = library.version("live"), library.version("archived"), library.version("approved")
    assert archive.fixity(library.services, sample=10) == {"checked": 3, "bad": []}
    assert archive.fixity(library.services, sample=2)["checked"] == 2
    store, key = library.services.storage.resolve(library.get(rotten).storage_uri)
    store.put(key, b"rot")
    store, key = library.services.storage.resolve(library.get(lost).storage_uri)
    store.delete(key)
    bad = {row["version_id"]: row["problem"] for row in archive.fixity(library.services, sample=10)["bad"]}
    assert set(bad) == {rotten, lost}
    assert bad[lost] == "it is not there"
    with library.services.session() as session:
        session.execute(text("ANALYZE versions"))
    monkeypatch.setattr(archive, "SMALL", 1)  # a large library is sampled by pages
    assert archive.fixity(library.services, sample=10)["checked"] == 3
    assert library.get(fine).state == "live"


def test_every_state_that_may_be_over_is_in_the_index(library):
    with library.services.session() as session:
        predicate = session.execute(text("SELECT pg_get_indexdef('ix_versions_to_archive'::regclass)")).scalar_one()
    for state in archive.CANDIDATES:
        assert f"'{state}'" in predicate
    assert set(policies(library.services).grace_days) <= set(archive.CANDIDATES)
    assert Version.__tablename__ == "versions"
