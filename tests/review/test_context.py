"""What stands beside a proof."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

import world
from dam.catalog.models import Brief, Deliverable, Description, Grant, NearDuplicate, Package, Version, utcnow
from dam.enrich import contracts
from dam.errors import NotFound
from dam.review import context, packages


@pytest.fixture
def shown(services, tmp_path):
    """Look at HERO-A in its package: ``shown()`` returns its context; with the ids of both."""
    batch_id, complete = world.designers_batch(services, tmp_path)
    package_id = packages.freeze(services, batch_id=batch_id, version_ids=complete)
    with services.session() as session:
        version_id, other_id = (
            session.scalars(select(Version.id).where(Version.filename.contains(name))).one()
            for name in ("HERO-A", "HERO-B")
        )

    def look():
        return context.of_version(services, version_id=version_id, package_id=package_id)

    look.version_id, look.other_id, look.package_id = version_id, other_id, package_id
    return look


def lines(rows):
    return {row["label"]: row["text"] for row in rows}


def test_the_briefs_relevant_lines(services, shown):
    told = lines(shown()["brief"])
    assert told["Deliverable"].startswith("Picture HERO-A (image), due ")
    assert (told["Channels"], told["Markets"]) == ("web", "DE")
    assert (told["Goals"], told["Audience"]) == ("20 % more visits by May", "City people")
    assert "signed by maya" in told["Brief"]
    assert "48" not in " ".join(told.values()).replace(told["Brief"], "")  # the budget is nobody's business here


def test_what_else_a_brief_holds_is_told_too(services, shown):
    with services.session() as session:
        old = session.scalars(select(Brief)).one()
        own = {"message": "Warm", "dos": ["Show steam", "Show hands"], "donts": ["No logos"]}
        new = Brief(campaign_id=old.campaign_id, number=2, content=old.content | own, drafted_by="maya")
        session.add(new)
        session.flush()
        session.scalars(select(Deliverable).where(Deliverable.project.contains("HERO-A"))).one().brief_id = new.id
    told = lines(shown()["brief"])
    assert (told["Message"], told["Do"], told["Don't"]) == ("Warm", "Show steam, Show hands", "No logos")


def test_the_contract_in_words(services, shown):
    told = shown()["contract"]
    review = told["review"]
    assert review["complete"] is True
    assert review["said"].startswith("Complete, checked on ")
    assert all(rule["met"] for rule in review["rules"] if rule["severity"] == "must")
    assert (told["activate"]["complete"], told["activate"]["checked_at"]) == (None, None)
    assert "not checked yet" in told["activate"]["said"]
    assert [rule["met"] for rule in told["activate"]["rules"]] == [None] * len(told["activate"]["rules"])
    contracts.fill(services, version_id=shown.version_id, values={"alt_text": ""}, person="libby")
    assert "edited since" in shown()["contract"]["review"]["said"]
    contracts.check_for(services, stage="activate", version_ids=[shown.version_id])
    activate = shown()["contract"]["activate"]
    assert activate["complete"] is False
    [broken] = [rule for rule in activate["rules"] if rule["met"] is False and rule["severity"] == "must"]
    assert broken["said"].startswith("Alt text is missing.")


def test_rights_per_planned_channel_in_plain_words(services, shown):
    told = shown()
    assert [(row["channel"], row["allowed"], row["said"]) for row in told["rights"]] == [
        ("web", True, "web in DE: Allowed without end.")
    ]
    assert "lets you do everything with it, everywhere, on every channel, from" in told["grants"][0]
    with services.session() as session:
        asset_id = session.get_one(Version, shown.version_id).asset_id
        grant = session.scalars(select(Grant).where(Grant.asset_id == asset_id)).one()
        grant.territories, grant.duties, grant.max_count = ["FR"], ["attribute"], 2
        grant.ends_on, grant.model_release = world.TODAY + timedelta(9), "missing"
        session.get_one(Package, shown.package_id).channels = ["cms", "social"]
    told = shown()
    assert [(row["channel"], row["allowed"]) for row in told["rights"]] == [("cms", False), ("social", False)]
    assert "does not cover DE; it covers FR." in told["rights"][0]["said"]
    assert "in FR" in told["grants"][0]
    assert told["grants"][1:] == [
        "It is for 2 places.", "It asks you to credit its maker.", "The model release is missing.",
    ]  # fmt: skip


def test_near_duplicates_but_those_told_apart(services, shown):
    one, other = sorted((shown.version_id, shown.other_id), reverse=True)
    with services.session() as session:
        session.add(NearDuplicate(version_id=one, other_id=other, distance=3))
    [near] = shown()["near"]
    assert near["version_id"] == shown.other_id
    assert near["how"] == "same picture: 3 of 64 bits differ"
    with services.session() as session:
        pair = session.get_one(NearDuplicate, (one, other))
        pair.answer, pair.answered_by, pair.answered_at = "different", "libby", utcnow()
    assert shown()["near"] == []


def test_provenance(services, shown):
    told = lines(shown()["provenance"])
    assert told["Made by"] == "dario"
    assert told["Content Credentials"] == "It carries none."
    assert told["AI"] == "Nothing says that AI made it."
    assert told["File"].endswith("HERO-A_ACME_20270301_v01.jpg")
    kind = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    with services.session() as session:
        version = session.get_one(Version, shown.version_id)
        credentials = {"state": "invalid", "signed_by": "Adobe", "problems": ["assertion.dataHash.mismatch"]}
        version.embedded = version.embedded | {"C2PA": credentials}
        session.get_one(Description, version.id).custom = {"digital_source_type": kind, "ai_system": "Dreamer 3"}
    told = lines(shown()["provenance"])
    assert (told["AI"], told["Model"]) == ("It was made with AI.", "Dreamer 3")
    assert told["Content Credentials"] == (
        "They do not hold: the file was changed after it was signed; signed by Adobe (assertion.dataHash.mismatch)."
    )


def test_a_version_of_another_package_is_refused(services, shown):
    with pytest.raises(NotFound):
        context.of_version(services, version_id="ver_none", package_id=shown.package_id)
    with pytest.raises(NotFound):
        context.of_version(services, version_id=shown.version_id, package_id="pkg_none")
