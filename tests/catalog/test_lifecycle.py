"""The life of a version: only allowed changes, each with its audit event, and holds win."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from dam import audit
from dam.catalog.lifecycle import (
    ALLOWED,
    HELD_BACK,
    HeldVersion,
    IllegalTransition,
    change_state,
    place_hold,
    release_hold,
)
from dam.catalog.models import Asset, Batch, Package, Version, VersionState, new_id, utcnow

S = VersionState


def make(services):
    """Add a received version with an asset and return its id."""
    with services.session() as session:
        batch = Batch(source="cli", location=f"drops/{new_id('x')}", sent_by="dario")
        asset = Asset(name=new_id("NAME"), kind="image")
        session.add_all([batch, asset])
        session.flush()
        unique = new_id("x").encode().hex()[-64:].rjust(64, "0")
        version = Version(
            asset_id=asset.id, number=1, batch_id=batch.id, filename="a.jpg", sha256=unique, bytes=1,
            media_type="image/jpeg", storage_uri="vault:a", made_by="dario",
        )  # fmt: skip
        session.add(version)
        session.flush()
        return version.id


def move(services, version_id, to):
    with services.session() as session:
        change_state(session, session.get_one(Version, version_id), to, actor="ada", why="test")


def state(services, version_id):
    with services.session() as session:
        return VersionState(session.get_one(Version, version_id).state)


def test_an_illegal_change_raises_and_changes_nothing(services):
    version_id = make(services)
    with pytest.raises(IllegalTransition, match="received can't become live"):
        move(services, version_id, S.LIVE)
    assert state(services, version_id) == S.RECEIVED
    with services.session() as session:
        assert audit.history(session, version_id) == []


def test_the_same_state_again_is_no_change(services):
    version_id = make(services)
    move(services, version_id, S.INGESTED)
    move(services, version_id, S.INGESTED)
    with services.session() as session:
        assert [event.action for event in audit.history(session, version_id)] == ["version.ingested"]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(st.sampled_from(list(S)), st.sampled_from(["hold", "release"])), max_size=25))
def test_random_walks_follow_the_table(services, steps):
    version_id = make(services)
    with services.session() as session:
        asset_id = session.get_one(Version, version_id).asset_id
    expected, trail, hold = S.RECEIVED, [], None
    for step in steps:
        if step == "hold":
            hold = hold or place_hold(services, reason="claim", person="lena", asset_id=asset_id)
        elif step == "release":
            if hold:
                release_hold(services, hold_id=hold, person="lena")
            hold = None
        elif step == expected:
            move(services, version_id, step)
        elif step not in ALLOWED[expected]:
            with pytest.raises(IllegalTransition):
                move(services, version_id, step)
        elif step in HELD_BACK and hold:
            with pytest.raises(HeldVersion):
                move(services, version_id, step)
        else:
            move(services, version_id, step)
            trail.append((expected, step))
            expected = step
        assert state(services, version_id) == expected
    with services.session() as session:
        events = [e for e in reversed(audit.history(session, version_id)) if e.action.startswith("version.")]
    assert [(event.data["from"], event.data["to"]) for event in events] == trail


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE versions SET state = 'live' WHERE id = :id",
        "UPDATE versions SET sha256 = repeat('0', 64) WHERE id = :id",
        "UPDATE versions SET number = 7 WHERE id = :id",
    ],
)
def test_the_database_refuses_what_goes_around_the_function(services, statement):
    version_id = make(services)
    with pytest.raises(IntegrityError), services.session() as session:
        session.execute(text(statement), {"id": version_id})


def test_a_hold_is_kept_by_the_database_too(services):
    version_id = make(services)
    move(services, version_id, S.INGESTED)
    with services.session() as session:
        asset_id = session.get_one(Version, version_id).asset_id
    place_hold(services, reason="claim", person="lena", asset_id=asset_id)
    with pytest.raises(IntegrityError, match="legal hold"), services.session() as session:
        session.execute(text("UPDATE versions SET state = 'archived' WHERE id = :id"), {"id": version_id})


def refused(services, statement, words, **values):
    """Do as somebody with the catalogue's password could, and be refused."""
    with pytest.raises(IntegrityError, match=words), services.session() as session:
        session.execute(text(statement), values)


@pytest.mark.parametrize("beginning", sorted(set(S) - {S.RECEIVED, S.DESTROYED}))
def test_a_version_begins_as_received_and_as_nothing_else(services, beginning):
    template = make(services)
    refused(
        services,
        "INSERT INTO versions SELECT (jsonb_populate_record(v, jsonb_build_object("
        " 'id', 'ver_x', 'number', 2, 'sha256', repeat('1', 64), 'state', CAST(:state AS text)))).*"
        " FROM versions v WHERE v.id = :id",
        "a version begins as received",
        id=template,
        state=beginning,
    )


@pytest.mark.parametrize("table", ["versions", "holds"])
def test_versions_and_holds_are_never_deleted(services, table):
    version_id = make(services)
    with services.session() as session:
        asset_id = session.get_one(Version, version_id).asset_id
    hold = place_hold(services, reason="claim", person="lena", asset_id=asset_id)
    release_hold(services, hold_id=hold, person="lena")
    refused(services, f"DELETE FROM {table}", f"rows of {table} are never deleted")
    refused(services, f"TRUNCATE {table} CASCADE", f"rows of {table} are never deleted: TRUNCATE is refused")


@pytest.mark.parametrize("change", ["manifest = '{}'", "manifest_sha256 = repeat('1', 64)"])
def test_what_a_package_froze_never_changes(services, change):
    version_id = make(services)
    with services.session() as session:
        batch_id = session.get_one(Version, version_id).batch_id
        session.add(Package(batch_id=batch_id, manifest={version_id: {}}, manifest_sha256="0" * 64))
    refused(services, f"UPDATE packages SET {change}", "its manifest never changes")
    with services.session() as session:
        package = session.scalars(select(Package)).one()
        package.status, package.closed_at = "void", utcnow()
