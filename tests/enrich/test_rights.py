"""Rights are noted from card, file, brief and sender; a new word can only narrow what was granted."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

import world
from dam.catalog.models import Grant, Version
from dam.enrich import rights
from dam.errors import BadInput
from dam.rights import policy

CARD: dict[str, Any] = {"licence": "NL-1", "holder": "Northlight", "kind": "rights_managed"}
BARE = {key: value for key, value in world.METADATA.items() if key != "Xmp.xmpRights.WebStatement"}
V1, V2 = "A_ACME_20270301_v01.jpg", "A_ACME_20270302_v02.jpg"


def deliver(services, tmp_path, name, *, seed=1, xmp=None, location="", **batch):
    path = world.picture(tmp_path / name, name, seed=seed, xmp=BARE if xmp is None else xmp)
    batch_id = world.drop(services, location or f"drops/{name[:-4]}", [path], **batch)
    world.ingest(services, batch_id)
    from dam.ingest import batches

    return batches.receipt(services, batch_id=batch_id)[0]


def grants(services):
    with services.session() as session:
        return list(session.scalars(select(Grant).order_by(Grant.id)))


def test_a_stricter_licence_of_a_new_version_is_added_and_counts(services, tmp_path):
    deliver(services, tmp_path, V1, rights=CARD)
    second = deliver(
        services, tmp_path, V2, seed=2,
        rights=CARD | {"licence": "NL-2", "territories": ["DE"], "ends_on": "2027-06-30"},
    )  # fmt: skip
    assert [grant.territories for grant in grants(services)] == [["*"], ["DE"]]
    with services.session() as session:
        answer = policy.ask(session, version_id=second["version_id"], channel="web", territories=["FR"], on=world.TODAY)
    assert not answer.allowed


def test_other_terms_of_the_same_licence_narrow_it_and_the_receipt_says_so(services, tmp_path):
    deliver(services, tmp_path, V1, rights=CARD | {"territories": ["DE", "FR"], "ends_on": "2027-12-31"})
    second = deliver(
        services, tmp_path, V2, seed=2,
        rights=CARD | {"territories": ["FR", "US"], "ends_on": "2028-12-31", "duties": ["attribute"], "max_count": 3},
    )  # fmt: skip
    [grant] = grants(services)
    assert (grant.territories, grant.ends_on.isoformat(), grant.duties, grant.max_count) == (
        ["FR"], "2027-12-31", ["attribute"], 3,
    )  # fmt: skip
    assert second["notes"] == ["The licence NL-1 of this asset became narrower: territories, duties, max count."]


def test_days_that_have_nothing_in_common_allow_no_use_until_a_person_says_which_hold(services, tmp_path):
    deliver(services, tmp_path, V1, rights=CARD | {"ends_on": "2027-12-31"})
    second = deliver(services, tmp_path, V2, seed=2, rights=CARD | {"starts_on": "2028-01-01"})
    [grant] = grants(services)
    assert (grant.territories, grant.ends_on.isoformat()) == ([], "2027-12-31")
    assert second["outcome"] == "new_version"
    assert second["notes"] == ["The licence NL-1 of this asset became narrower: territories."]


@pytest.mark.parametrize(
    "bad", [{"holder": ""}, {"ends_on": "31.12.2027"}, {"territories": 7}, {"max_count": "many"}, {"duties": ["pray"]}]
)
def test_a_card_that_cannot_be_used_costs_its_rights_and_nothing_else(bad, services, tmp_path):
    row = deliver(services, tmp_path, V1, rights=CARD | bad)
    assert row["outcome"] == "ingested"
    assert row["notes"][0].startswith("The rights in the batch card can't be used: rights.")
    assert grants(services) == []


def test_releases_that_the_file_tells_are_noted(services, tmp_path):
    xmp = world.METADATA | {"Xmp.plus.ModelReleaseStatus": "http://ns.useplus.org/ldf/vocab/MR-LMR"}
    deliver(services, tmp_path, V1, xmp=xmp)
    [grant] = grants(services)
    assert (grant.source, grant.model_release, grant.property_release) == ("embedded", "missing", "not_needed")


def test_what_a_campaigns_own_people_make_is_the_brands(services, tmp_path):
    world.signed_brief(services)
    deliver(services, tmp_path, V1, sent_by="dario", campaign_slug="spring-2027")
    deliver(services, tmp_path, "B_ACME_20270301_v01.jpg", seed=2, sent_by="stranger", campaign_slug="spring-2027")
    [grant] = grants(services)
    assert (grant.source, grant.licence_id is not None) == ("brief", True)


LISTS = {
    "territories": ["DE", "FR", "US", "*"],
    "channels": ["web", "cms", "*"],
    "permissions": [*rights.PERMISSIONS, "*"],
}
TERMS = st.fixed_dictionaries(
    {},
    optional={
        **{name: st.lists(st.sampled_from(words), min_size=1, unique=True) for name, words in LISTS.items()},
        "duties": st.lists(st.sampled_from(rights.DUTIES), unique=True),
        "max_count": st.integers(1, 9),
        "starts_on": st.dates(min_value=world.TODAY.replace(year=2020), max_value=world.TODAY).map(str),
        "ends_on": st.dates(min_value=world.TODAY, max_value=world.TODAY.replace(year=2035)).map(str),
        "model_release": st.sampled_from(rights.RELEASES),
    },
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=TERMS, second=TERMS, place=st.sampled_from(["DE", "US", "*"]), action=st.sampled_from(rights.PERMISSIONS))
def test_no_later_word_allows_what_an_earlier_one_did_not(services, tmp_path, first, second, place, action):
    """Whatever is said later of an asset, under the same licence, what is allowed then was allowed before."""
    with services.session() as session:
        version_id = session.scalar(select(Version.id))
    if version_id is None:
        version_id = deliver(services, tmp_path, V1)["version_id"]

    def allowed(session):
        return policy.ask(
            session, version_id=version_id, channel="web", territories=[place], on=world.TODAY, actions=[action]
        ).allowed

    with services.session() as session:
        asset_id = session.get_one(Version, version_id).asset_id
        for grant in session.scalars(select(Grant)):
            session.delete(grant)
        session.flush()
        rights._grant_or_narrow(session, asset_id, rights._grants(session, asset_id), CARD | first, "batch")
        before = allowed(session)
        rights._grant_or_narrow(session, asset_id, rights._grants(session, asset_id), CARD | second, "batch")
        assert before or not allowed(session)
        session.rollback()


def test_a_person_may_widen_what_the_library_only_narrows(services, tmp_path):
    from dam.enrich import contracts

    row = deliver(services, tmp_path, V1, rights=CARD | {"territories": ["DE"]})
    contracts.fill(
        services, version_id=row["version_id"], person="libby",
        values=CARD | {"territories": ["*"], "permissions": ["distribute"], "max_count": 5},
    )  # fmt: skip
    [grant] = grants(services)
    assert (grant.territories, grant.permissions, grant.max_count) == (["*"], ["distribute"], 5)
    with pytest.raises(BadInput, match="permissions"):
        contracts.fill(services, version_id=row["version_id"], person="libby", values=CARD | {"permissions": ["fly"]})
