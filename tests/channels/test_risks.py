"""Risky publications: nothing goes out before the digital team has put its name to it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from dam.catalog.lifecycle import place_hold
from dam.catalog.models import Asset, Grant, Licence, PublicationStatus, Version, utcnow
from dam.channels import publish
from dam.errors import Refused
from dam.review import packages, queries, seats
from dam.rights import risk
from dam.workflow import Risks


def ends(world, days):
    """Let the licence end so many days from now."""
    with world.services.session() as session:
        version = session.get_one(Version, world.version_id)
        for grant in session.scalars(select(Grant).where(Grant.asset_id == version.asset_id)):
            grant.ends_on = utcnow().date() + timedelta(days=days)


@pytest.fixture
def world(world):
    """The package of the channels' tests, approved again after its licence was shortened to ten days."""
    ends(world, 10)
    answer = publish.plan(world.services, package_id=world.package_id, channels=["web"])
    assert answer["void"]
    package_id = str(answer["next_package_id"])
    for seat in packages.seats(world.services, package_id=package_id):
        seats.decide(world.services, seat_id=seat["seat_id"], person=seat["eligible"][0], verdict="approve")
    packages.verdict(world.services, package_id=package_id)
    return replace(world, package_id=package_id)


def test_a_risky_publication_waits_for_the_digital_team(world):
    publication_id = world.planned()
    [row] = publish.risky(world.services, publication_ids=[publication_id])
    assert (row["publication_id"], row["channel"]) == (publication_id, "web")
    assert row["risks"] == [
        f"The licence CC-ACME-014 from Northlight ends on {risk.day(utcnow().date() + timedelta(days=10))}: "
        "what goes out must come back by then."
    ]
    [campaign] = queries.board(world.services)
    assert (campaign["next_move"]["who"], campaign["next_move"]["what"]) == (
        ["diego"],
        "clear the risks of 1 publication",
    )
    publish.clear(world.services, publication_ids=[publication_id], person="diego", run="activate/1")
    assert publish.risky(world.services, publication_ids=[publication_id]) == []
    assert publish.cleared(world.services, publication_ids=[publication_id]) == [
        {"publication_id": publication_id, "version_id": world.version_id, "cleared_by": "diego"}
    ]
    assert world.publish(publication_id)["status"] == "live"
    assert "publication.cleared" in world.actions(publication_id)


def test_it_can_not_go_out_uncleared(world):
    publication_id = world.planned()
    with pytest.raises(Refused, match="has not cleared it"):
        world.publish(publication_id)
    assert world.publication(publication_id).status == PublicationStatus.FAILED
    with pytest.raises(IntegrityError, match="live_is_cleared"), world.services.session() as session:
        session.execute(
            text("UPDATE publications SET status = 'live', live_url = 'x', probed_at = now() WHERE id = :id"),
            {"id": publication_id},
        )


def test_held_back_it_stays_in_until_it_is_asked_for_again(world):
    publication_id = world.planned()
    publish.hold_back(world.services, publication_ids=[publication_id], person="diego", reason="Too close.")
    row = world.publication(publication_id)
    assert (row.status, row.reason) == (PublicationStatus.FAILED, "Held back by diego: Too close.")
    assert publish.risky(world.services, publication_ids=[publication_id]) == []
    assert world.planned() == publication_id
    assert [row["publication_id"] for row in publish.risky(world.services, publication_ids=[publication_id])] == [
        publication_id
    ]


def test_only_the_digital_team_clears(world):
    publication_id = world.planned()
    for person in ("lena", "airflow", "nobody"):
        with pytest.raises(Refused, match="not of the digital team"):
            publish.clear(world.services, publication_ids=[publication_id], person=person)
    assert publish.risky(world.services, publication_ids=[publication_id])


def test_a_clearance_is_for_the_risks_it_was_given_for(world):
    publication_id = world.planned()
    publish.clear(world.services, publication_ids=[publication_id], person="diego")
    with world.services.session() as session:
        asset_id = session.get_one(Version, world.version_id).asset_id
    place_hold(world.services, reason="a lawsuit", person="ada", asset_id=asset_id)
    assert world.planned() == publication_id
    [row] = publish.risky(world.services, publication_ids=[publication_id])
    assert "a lawsuit" in row["risks"][1]


@pytest.mark.parametrize(
    ("rules", "days", "found"),
    [
        (Risks(days_left=30), 29, 1),
        (Risks(days_left=30), 30, 0),
        (Risks(days_left=0), 0, 0),
        (Risks(days_left=1), 0, 1),
        (Risks(days_left=0, licence_kinds=["rights_managed"]), 90, 1),
        (Risks(days_left=0, licence_kinds=["creative_commons"]), 90, 0),
    ],
)
def test_what_counts_as_a_risk_is_written_in_the_workflow(world, rules, days, found):
    ends(world, days)
    with world.services.session() as session:
        asset = session.get_one(Asset, session.get_one(Version, world.version_id).asset_id)
        for licence in session.scalars(select(Licence)):
            licence.kind = "rights_managed"
        session.flush()
        assert len(risk.of(session, asset=asset, rules=rules, on=utcnow().date())) == found


IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"Xmp.iptcExt.DigitalSourceType": f"{IPTC}/trainedAlgorithmicMedia"}, True),
        ({"C2PA": {"state": "valid", "source_types": ["https://x/compositeWithTrainedAlgorithmicMedia"]}}, True),
        ({"Xmp.iptcExt.DigitalSourceType": f"{IPTC}/digitalCapture"}, False),
        ({}, False),
    ],
)  # fmt: skip
def test_what_says_that_ai_made_it_is_looked_at_before_it_goes_out(world, said, told):
    with world.services.session() as session:
        version = session.get_one(Version, world.version_id)
        version.embedded = said
        session.flush()
        rules = Risks(days_left=0, licence_kinds=[], held=False)
        found = risk.of(session, asset=session.get_one(Asset, version.asset_id), rules=rules, on=utcnow().date())
        assert [sentence for sentence in found if "made with AI" in sentence] == found
        assert bool(found) is told
        silent = rules.model_copy(update={"made_by_ai": False})
        assert risk.of(session, asset=session.get_one(Asset, version.asset_id), rules=silent, on=utcnow().date()) == []
