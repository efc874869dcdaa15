"""Metadata contracts: what is missing is found, filled and found no more."""

from __future__ import annotations

import pytest
from sqlalchemy import select

import world
from dam.catalog.lifecycle import HeldVersion, place_hold, release_hold
from dam.catalog.models import Batch, ContractResult, Grant, Tag, Version
from dam.enrich import contracts
from dam.errors import BadInput
from dam.review.packages import manifest

BARE: dict = {"Xmp.dc.title": {'lang="x-default"': "Only a title"}}


@pytest.fixture
def batch_id(services, tmp_path):
    files = [
        world.picture(tmp_path, "FULL_ACME_20270301_v01.jpg", seed=1),
        world.picture(tmp_path, "BARE_ACME_20270301_v01.jpg", seed=2, xmp=BARE),
        world.picture(tmp_path, "SMALL_ACME_20270301_v01.jpg", seed=3, size=(400, 300)),
    ]
    made = world.drop(services, "drops/a", files)
    world.ingest(services, made)
    return made


def faults(services, batch_id):
    report = contracts.check(services, batch_id=batch_id)
    rows = {row["version_id"]: row["asset"] for row in contracts.missing(services, batch_id=batch_id)}
    return len(report.complete), {rows[key]: {f.field for f in found} for key, found in report.incomplete.items()}


def test_what_is_missing_is_found_row_by_row(services, batch_id):
    complete, found = faults(services, batch_id)
    assert complete == 1
    assert found == {
        "BARE_ACME": {"description", "alt_text", "creator", "copyright_notice", "licence"},
        "SMALL_ACME": {"width"},
    }
    with services.session() as session:
        assert session.get_one(Batch, batch_id).status == "waiting"
        assert len(session.scalars(select(ContractResult)).all()) == 3


def test_what_is_filled_in_is_missing_no_more(services, batch_id):
    contracts.check(services, batch_id=batch_id)
    row = next(r for r in contracts.missing(services, batch_id=batch_id) if r["asset"] == "BARE_ACME")
    contracts.fill(
        services,
        version_id=row["version_id"],
        values={
            "description": "Shapes.", "alt_text": "Soft shapes", "creator": "Dario", "copyright_notice": "© ACME",
            "licence": "ACME-OWNED", "holder": "ACME", "territories": ["*"], "channels": ["web"],
            "ends_on": "2030-01-01",
        },
        person="libby",
    )  # fmt: skip
    assert faults(services, batch_id)[1] == {"SMALL_ACME": {"width"}}
    with services.session() as session:
        grant = session.scalars(select(Grant).where(Grant.asset_id == row["asset_id"])).one()
        assert (grant.channels, grant.ends_on.year, grant.source) == (["web"], 2030, "person:libby")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"colour": "red"}, "is no field"),
        ({"tags": ["unicorn dust"]}, "no term of the vocabulary"),
        ({"title": 7}, "is no text"),
        ({"licence": "X"}, "holder"),
        ({"licence": "X", "holder": "Y", "ends_on": "someday"}, "is no date"),
        ({"licence": "X", "holder": "Y", "model_release": "maybe"}, "is unknown"),
        ({"title": "Good", "tags": ["unicorn dust"]}, "no term"),
    ],
)
def test_a_bad_value_is_refused_and_nothing_of_it_is_kept(services, batch_id, values, words):
    contracts.check(services, batch_id=batch_id)
    row = contracts.missing(services, batch_id=batch_id)[0]
    with pytest.raises(BadInput, match=words):
        contracts.fill(services, version_id=row["version_id"], values=values, person="libby")
    after = next(r for r in contracts.missing(services, batch_id=batch_id) if r["version_id"] == row["version_id"])
    assert after == row


def test_a_persons_tags_win_over_a_machines(services, batch_id):
    contracts.check(services, batch_id=batch_id)
    row = contracts.missing(services, batch_id=batch_id)[0]
    contracts.fill(services, version_id=row["version_id"], values={"tags": ["Katze"]}, person="libby")
    with services.session() as session:
        tags = session.scalars(select(Tag).where(Tag.version_id == row["version_id"])).all()
    assert {tag.term_id for tag in tags if tag.status == "applied"} == {"subject/cat"}
    assert all(tag.status == "refused" for tag in tags if tag.term_id != "subject/cat")


@pytest.mark.parametrize("scope", ["asset", "campaign"])
@pytest.mark.parametrize("values", [{"title": "Another"}, {"tags": ["coffee"]}, {"licence": "X", "holder": "Y"}])
def test_nothing_that_a_hold_covers_is_changed(services, tmp_path, scope, values):
    _, [version_id, _] = world.designers_batch(services, tmp_path)
    with services.session() as session:
        before = manifest(session, [version_id])
        asset_id = session.get_one(Version, version_id).asset_id
    covers = {"asset_id": asset_id} if scope == "asset" else {"campaign_slug": "spring-2027"}
    hold = place_hold(services, reason="claim 7", person="lena", **covers)
    with pytest.raises(HeldVersion, match=r"on legal hold \(claim 7\)"):
        contracts.fill(services, version_id=version_id, values=values, person="libby")
    with services.session() as session:
        assert manifest(session, [version_id]) == before
    release_hold(services, hold_id=hold, person="lena")
    assert contracts.fill(services, version_id=version_id, values=values, person="libby")["changed"]
