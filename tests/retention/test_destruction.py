"""Destruction: due minus holds, signed by hash, certified, and gone from every store."""

from __future__ import annotations

import base64
import json
import threading
from datetime import timedelta

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from dam import audit
from dam.catalog.lifecycle import place_hold, release_hold
from dam.catalog.models import DestructionCertificate, Rendition, Version, utcnow
from dam.errors import DamError, NotFound, Refused
from dam.retention import archive, destruction
from dam.services import Services

TODAY = utcnow().date()
LATER = TODAY + timedelta(days=40 * 366)


def archived(library, state: str = "rejected", **more) -> str:
    version_id = library.version(state, **more)
    [row] = archive.archive(library.services, version_ids=[version_id])
    assert "error" not in row
    return version_id


def destroy(library, listed, *, person="ada"):
    """Sign a list and destroy what it names."""
    destruction.sign(library.services, list_id=listed["list_id"], person=person)
    return destruction.destroy(library.services, list_id=listed["list_id"], run="retention_sweep/1")


def ids(listed) -> set[str]:
    return {row["version_id"] for row in listed["due"]}


# ------------------------------------------------------------------------------------------------ list


def test_due_by_policy_and_explained(library):
    rejected, published = archived(library), archived(library, "approved", name="POSTER")
    broken = library.version("quarantined", name="BROKEN", days_ago=91)
    library.version("quarantined", name="RECENT", days_ago=89)
    library.version("live", name="LIVE")
    listed = destruction.due(library.services, today=TODAY)
    assert ids(listed) == {broken}
    [row] = listed["due"]
    assert row["policy"].startswith("refused files: kept 90 days from ")
    assert row["name"] == "BROKEN_v00.jpg"
    in_a_year = TODAY.replace(year=TODAY.year + 1)
    assert rejected not in ids(destruction.due(library.services, today=in_a_year - timedelta(1)))
    assert rejected in ids(destruction.due(library.services, today=in_a_year))
    assert published in ids(destruction.due(library.services, today=LATER))


def test_the_same_day_gives_the_same_list_filed_under_its_hash(library):
    archived(library)
    first, second = (destruction.due(library.services, today=LATER, run=run) for run in ("a/1", "b/2"))
    assert first == second | {"list_id": first["list_id"]}
    assert first["list_id"] != second["list_id"]
    filed = json.loads(library.services.storage.reports.read(f"destruction/lists/{first['sha256']}.json"))
    assert filed["due"] == first["due"]


def test_a_run_has_one_list_whatever_happens_after_it_was_made(library):
    """Somebody is shown that list; no other may take its place before it is signed."""
    first = destruction.due(library.services, today=LATER, run="a/1")
    version_id = archived(library)
    assert destruction.due(library.services, today=LATER, run="a/1") == first
    assert destruction.of_run(library.services, run="a/1") == first
    assert ids(destruction.due(library.services, today=LATER, run="b/2")) == {version_id}
    with pytest.raises(NotFound, match="made no destruction list"):
        destruction.of_run(library.services, run="c/3")


def test_holds_win_and_are_told(library):
    held = archived(library, name="HELD")
    free = archived(library, name="FREE", campaign="autumn")
    refused = library.version("quarantined", name="BROKEN", campaign="winter")
    place_hold(library.services, reason="claim 7", person="lena", asset_id=library.asset(held))
    by_campaign = place_hold(library.services, reason="claim 8", person="lena", campaign_slug="winter")
    listed = destruction.due(library.services, today=LATER)
    assert ids(listed) == {free}
    assert {row["version_id"]: row["reason"] for row in listed["held"]} == {held: "claim 7", refused: "claim 8"}
    release_hold(library.services, hold_id=by_campaign, person="lena")
    assert ids(destruction.due(library.services, today=LATER)) == {free, refused}


def test_the_longer_of_promise_and_policy_counts(library):
    version_id = archived(library)
    in_a_year = TODAY.replace(year=TODAY.year + 1)
    library.rewrite("keep_years: 1\n", "keep_years: 2\n")
    assert ids(destruction.due(library.services, today=in_a_year)) == set()
    library.rewrite("keep_years: 2\n    why: a year", "keep_days: 1\n    why: a year")
    assert ids(destruction.due(library.services, today=in_a_year - timedelta(1))) == set()
    assert ids(destruction.due(library.services, today=in_a_year)) == {version_id}


# --------------------------------------------------------------------------------------------- destroy


def test_everything_is_gone_and_certified(library):
    first, broken = archived(library), library.version("quarantined", name="BROKEN")
    library.rendition(first)
    kept = library.rendition(library.version("live", name="KEPT"))
    leftover = library.publication(first, status="failed")
    as_it_came = library.still_in_inbox(broken)
    before = library.get(first)
    listed = destruction.due(library.services, today=LATER)
    rows = destroy(library, listed)
    assert {row["version_id"] for row in rows} == {first, broken}
    version = library.get(first)
    assert (version.state, version.tier) == ("destroyed", "gone")
    assert library.files() == {library.get(listed_live(library)).storage_uri, kept}
    with library.services.session() as session:
        assert session.scalars(select(Rendition).where(Rendition.version_id == first)).all() == []
        certificate = session.scalars(
            select(DestructionCertificate).where(DestructionCertificate.version_id == first)
        ).one()
    assert (certificate.signed_by, certificate.sha256) == ("ada", before.sha256)
    assert before.storage_uri in certificate.destroyed_uris
    document = json.loads(library.services.storage.reports.read(f"destruction/certificates/{first}.json"))
    assert document["list_sha256"] == listed["sha256"]
    assert document["policy"].startswith("rejected versions: kept 1 year")
    assert f"inbox:{as_it_came}" in json.dumps(
        json.loads(library.services.storage.reports.read(f"destruction/certificates/{broken}.json"))
    )
    assert leftover
    assert library.actions(first)[0] == "version.destroyed"
    assert destroy(library, listed) == rows  # run again, it answers the same
    assert audit.verify(library.services).ok


def listed_live(library) -> str:
    with library.services.session() as session:
        return session.scalars(select(Version.id).where(Version.state == "live")).one()


def test_a_certificate_is_signed_and_an_edit_shows(library):
    version_id = archived(library)
    destroy(library, destruction.due(library.services, today=LATER))
    document = json.loads(library.services.storage.reports.read(f"destruction/certificates/{version_id}.json"))
    signature, public = (base64.b64decode(document.pop(name)) for name in ("signature", "public_key"))
    key = Ed25519PublicKey.from_public_bytes(public)

    def canonical() -> bytes:
        return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    key.verify(signature, canonical())
    document["signed_by"] = "vic"
    with pytest.raises(InvalidSignature):
        key.verify(signature, canonical())


def test_only_a_dam_admin_signs_or_keeps(library):
    archived(library)
    listed = destruction.due(library.services, today=LATER)
    for decide in (destruction.sign, destruction.keep):
        with pytest.raises(Refused, match="maya is no DAM admin"):
            decide(library.services, list_id=listed["list_id"], person="maya")
        with pytest.raises(NotFound, match="no such destruction list"):
            decide(library.services, list_id="dst_none", person="ada")
    assert destruction.signer(library.services, list_id=listed["list_id"]) is None


def test_what_nobody_signed_is_not_destroyed(library):
    version_id = archived(library)
    listed, other = (destruction.due(library.services, today=LATER, run=run) for run in ("a/1", "b/2"))
    destruction.sign(library.services, list_id=other["list_id"], person="ada")
    destruction.keep(library.services, list_id=listed["list_id"], person="ada", reason="a lawsuit may come")
    with pytest.raises(Refused, match="nobody has signed it"):
        destruction.destroy(library.services, list_id=listed["list_id"])
    with pytest.raises(NotFound, match="no such destruction list"):
        destruction.destroy(library.services, list_id="dst_none")
    assert library.get(version_id).state == "archived"
    assert "destruction.kept" in library.actions(listed["sha256"])


def test_of_two_signatures_the_first_one_stands_and_is_audited_once(library):
    version_id = archived(library)
    listed = destruction.due(library.services, today=LATER)
    library.rewrite("roles: [viewer]", "roles: [dam_admin]", "templates/workflow.yaml")
    services = Services(library.services.settings)
    for person in ("ada", "ada", "vic"):
        assert destruction.sign(services, list_id=listed["list_id"], person=person) == "ada"
    destruction.destroy(library.services, list_id=listed["list_id"])
    assert library.actions(listed["sha256"]) == ["destruction.signed", "destruction.listed"]
    with library.services.session() as session:
        [event] = [row for row in audit.history(session, version_id) if row.action == "version.destroyed"]
    assert event.actor == "ada"


def test_a_signer_who_is_no_dam_admin_any_more_signed_in_vain(library):
    version_id = archived(library)
    listed = destruction.due(library.services, today=LATER)
    destruction.sign(library.services, list_id=listed["list_id"], person="ada")
    for old, new in (
        ("roles: [viewer]", "roles: [dam_admin]"),
        ("[dam_admin], airflow_role: admin", "[viewer], airflow_role: admin"),
    ):
        library.rewrite(old, new, "templates/workflow.yaml")
    with pytest.raises(Refused, match="ada is no DAM admin"):
        destruction.destroy(Services(library.services.settings), list_id=listed["list_id"])
    assert library.get(version_id).state == "archived"


def test_a_day_that_has_not_come_is_a_rehearsal_that_nobody_can_sign(library):
    version_id = archived(library)
    ahead = destruction.due(library.services, today=LATER)
    destruction.sign(library.services, list_id=ahead["list_id"], person="ada")
    strict = library.strict()
    listed = destruction.due(strict, today=LATER)
    assert (listed["rehearsal"], ids(listed)) == (True, {version_id})
    with pytest.raises(Refused, match="has not come: it is a rehearsal"):
        destruction.sign(strict, list_id=listed["list_id"], person="ada")
    with pytest.raises(Refused, match="has not come: it is a rehearsal"):  # not even what a demo had signed
        destruction.destroy(strict, list_id=ahead["list_id"])
    assert library.get(version_id).state == "archived"
    assert destruction.due(strict, today=TODAY)["rehearsal"] is False


def test_a_list_that_changed_is_refused_with_what_changed(library):
    one, two = (archived(library, name=name) for name in ("ONE", "TWO"))
    library.grant(one, ends_on=None)
    listed = destruction.due(library.services, today=LATER)
    hold = place_hold(library.services, reason="claim 7", person="lena", asset_id=library.asset(two))
    with pytest.raises(Refused, match=r"TWO v1 is on legal hold \(claim 7\)"):
        destroy(library, listed)
    release_hold(library.services, hold_id=hold, person="lena")
    archive.restore(library.services, version_id=one, person="libby", reason="a book")
    with pytest.raises(Refused, match="ONE v1 is restored and not due"):
        destroy(library, listed)
    assert {library.get(one).storage_uri, library.get(two).storage_uri} <= library.files()
    library.rewrite("why: a year to appeal", "why: another reason")
    with pytest.raises(Refused, match="TWO v1 has another policy"):
        destroy(library, listed)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE destruction_lists SET due = '[]'", "changed after it was hashed"),
        ("UPDATE destruction_lists SET today = today + 1", "changed after it was hashed"),
        ("UPDATE destruction_signatures SET list_sha256 = repeat('0', 64)", "not the list that was signed"),
    ],
)
def test_a_list_or_a_signature_that_was_tampered_with_destroys_nothing(library, statement, words):
    version_id = archived(library)
    listed = destruction.due(library.services, today=LATER)
    destruction.sign(library.services, list_id=listed["list_id"], person="ada")
    table = statement.split()[1]
    with pytest.raises(IntegrityError, match="append-only"), library.services.session() as session:
        session.execute(text(statement))
    with library.services.session() as session:  # as a database administrator could
        session.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
        session.execute(text(statement))
    with pytest.raises(Refused, match=words):
        destruction.destroy(library.services, list_id=listed["list_id"])
    assert library.get(version_id).state == "archived"


@pytest.mark.parametrize("after", [1, 2, 3])
def test_killed_and_run_again(library, monkeypatch, after):
    versions = [archived(library, name=name) for name in ("A", "B")]
    for version_id in versions:
        library.rendition(version_id)
    listed = destruction.due(library.services, today=LATER)
    real, calls = destruction.change_state, []

    def killed(*args, **kwargs):
        calls.append(1)
        if len(calls) == after:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(destruction, "change_state", killed)
    if after <= 2:
        with pytest.raises(KeyboardInterrupt):
            destroy(library, listed)
    rows = destroy(library, listed)
    assert {row["version_id"] for row in rows} == set(versions)
    assert library.files() == set()
    with library.services.session() as session:
        assert len(session.scalars(select(DestructionCertificate)).all()) == 2


def test_one_copy_that_stays_does_not_stop_the_others(library, monkeypatch):
    stays, goes = archived(library, name="A"), archived(library, name="B")
    uri = library.get(stays).storage_uri
    listed = destruction.due(library.services, today=LATER)
    cold = library.services.storage.cold
    real = cold.delete
    monkeypatch.setattr(cold, "delete", lambda key: None if cold.uri(key) == uri else real(key))
    with pytest.raises(DamError, match=r"1 of 2 versions could not be destroyed: A v1: .*still there"):
        destroy(library, listed)
    assert (library.get(stays).state, library.get(goes).state) == ("archived", "destroyed")
    monkeypatch.undo()
    assert len(destroy(library, listed)) == 2
    assert library.files() == set()


def test_a_hold_waits_for_a_destruction_that_has_begun(library, monkeypatch):
    version_id = archived(library)
    listed = destruction.due(library.services, today=LATER)
    asset_id = library.asset(version_id)
    placed = threading.Event()

    def place() -> None:
        place_hold(library.services, reason="late", person="lena", asset_id=asset_id)
        placed.set()

    thread = threading.Thread(target=place)
    real = destruction.change_state

    def slow(*args, **kwargs):
        thread.start()
        assert not placed.wait(0.2)  # it is kept out until the certificate is there
        return real(*args, **kwargs)

    monkeypatch.setattr(destruction, "change_state", slow)
    destroy(library, listed)
    thread.join()
    assert placed.is_set()
    assert library.get(version_id).state == "destroyed"


# ---------------------------------------------------------------------------------------- the invariant

STATES = ["rejected", "approved", "changes_requested", "withdrawn", "live", "quarantined"]


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shelf=st.lists(
        st.tuples(
            st.sampled_from(STATES), st.sampled_from(["p", "q"]), st.sampled_from(["image", "document"]), st.booleans()
        ),
        max_size=6,
    ),
    held_campaign=st.sampled_from([None, "p", "q"]),
    years=st.integers(0, 40),
)
def test_due_and_held_never_meet_and_what_is_destroyed_is_certified_and_gone(library, shelf, held_campaign, years):
    """The library grows over the examples; the invariant must hold for all of it."""
    for state, campaign, kind, hold in shelf:
        version_id = library.version(state, name=f"N{next(library.counter)}", campaign=campaign, kind=kind)
        if state not in ("live", "quarantined"):
            archive.archive(library.services, version_ids=[version_id])
            library.rendition(version_id)
        if hold and state != "quarantined":
            place_hold(library.services, reason="one", person="lena", asset_id=library.asset(version_id))
    library.campaign(held_campaign or "p")
    hold_id = (
        place_hold(library.services, reason="all", person="lena", campaign_slug=held_campaign)
        if held_campaign
        else None
    )
    listed = destruction.due(library.services, today=TODAY + timedelta(days=years * 366))
    held = {row["version_id"] for row in listed["held"]}
    assert not ids(listed) & held
    destroy(library, listed)
    with library.services.session() as session:
        versions = session.scalars(select(Version)).all()
        certified = {row.version_id for row in session.scalars(select(DestructionCertificate))}
        files = library.files()
        for version in versions:
            if version.state == "destroyed":
                assert version.id in certified
                assert not [uri for uri in files if version.sha256 in uri]
            else:
                assert version.id not in certified
                assert version.storage_uri in files
        assert held <= {version.id for version in versions if version.state != "destroyed"}
        assert ids(listed) <= certified
    if hold_id:
        release_hold(library.services, hold_id=hold_id, person="lena")
