"""Whatever people do in whatever order: no maker signs, nobody signs twice, nothing is approved unsigned."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from dam.catalog.models import Decision, Package, PackageStatus, VersionState
from dam.enrich import contracts
from dam.errors import Refused
from dam.review import packages, seats
from dam.workflow import Workflow

#: Everybody holds more roles than the rules let them use: dario sent the files.
ROLES = {
    "dario": ["designer", "brand_reviewer", "legal_reviewer"],
    "bea": ["brand_reviewer", "legal_reviewer"],
    "lena": ["legal_reviewer", "brand_reviewer"],
    "maya": ["marketing_lead", "legal_reviewer"],
    "vic": ["viewer"],
}
VERDICTS = st.sampled_from(["approve", "approve", "approve", "request_changes", "reject"])
SEAT = st.integers(0, 1)
ACTIONS = st.one_of(
    st.tuples(st.just("sign"), st.sampled_from(sorted(ROLES)), SEAT, VERDICTS, st.none() | VERDICTS),
    # the two who may, each on a seat of their own, so that many packages are signed to the end
    st.tuples(st.just("sign"), st.just("bea"), st.just(0), VERDICTS, st.none() | VERDICTS),
    st.tuples(st.just("sign"), st.just("lena"), st.just(1), VERDICTS, st.none() | VERDICTS),
    st.tuples(st.just("change"), st.integers(0, 2)),
    st.tuples(st.just("verdict")),
    st.tuples(st.just("revalidate")),
    st.tuples(st.just("expire"), SEAT),
)


@pytest.fixture
def crowd(services):
    """The services of a team whose people hold many roles."""
    known = services.workflow
    people = {
        name: person.model_copy(update={"roles": ROLES.get(name, person.roles)})
        for name, person in known.people.items()
    }
    services.workflow = Workflow.model_validate(known.model_copy(update={"people": people}))
    return services


def act(services, package_id, version_id, action, *given_):
    """Do one thing to a package, as far as the rules let it; return the package to go on with."""
    rows = packages.seats(services, package_id=package_id)
    with suppress(Refused):
        if action == "sign":
            person, seat, verdict, own = given_
            seats.decide(
                services,
                seat_id=rows[seat]["seat_id"],
                person=person,
                verdict=verdict,
                comment="Why.",
                versions={version_id: {"verdict": own}} if own else None,
            )
        elif action == "change":
            contracts.fill(services, version_id=version_id, values={"title": f"Title {given_[0]}"}, person="libby")
        elif action == "expire":
            seats.expire(services, seat_id=rows[given_[0]]["seat_id"])
        elif action == "revalidate":
            return packages.revalidate(services, package_id=package_id) or package_id
        else:
            return concluded(services, package_id)
    return package_id


def concluded(services, package_id):
    """Ask for the verdict, reopen what expired, and return the package to go on with."""
    told = packages.verdict(services, package_id=package_id)
    if told["status"] == "expired":
        return packages.reopen_expired(services, package_id=package_id, person="maya")
    return told["next_package_id"] or package_id


def check_rules(services, batch_id):
    with services.session() as session:
        for package in session.scalars(select(Package).where(Package.batch_id == batch_id).order_by(Package.round)):
            decisions = session.scalars(select(Decision).where(Decision.package_id == package.id)).all()
            people = [decision.person for decision in decisions]
            assert "dario" not in people
            assert len(set(people)) == len(people)
            for decision in decisions:
                assert decision.role in ROLES[decision.person]
                assert decision.manifest_sha256 == package.manifest_sha256
            [entry] = package.entries
            approved = package.status == PackageStatus.APPROVED
            if approved:
                assert len(decisions) == sum(seat.needed for seat in package.seats)
                said = [d.versions.get(entry.version_id, {}).get("verdict", d.verdict) for d in decisions]
                assert set(said) == {"approve"}
        if entry.version.state == VersionState.APPROVED:  # the newest round's verdict, and none other, made it so
            assert approved


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=st.lists(ACTIONS, max_size=10))
def test_no_order_of_events_gets_around_the_rules(crowd, drop, actions):
    batch_id, [version_id] = drop(crowd, "dario")
    package_id = packages.freeze(crowd, batch_id=batch_id, version_ids=[version_id])
    for action in actions:
        package_id = act(crowd, package_id, version_id, *action)
        check_rules(crowd, batch_id)
    package_id = concluded(crowd, package_id)
    check_rules(crowd, batch_id)
    # what an approval says is true of what is there, or the next round is asked for at once
    following = packages.revalidate(crowd, package_id=package_id)
    with crowd.session() as session:
        package = session.get_one(Package, following or package_id)
        if package.status in (PackageStatus.APPROVED, PackageStatus.IN_REVIEW):
            assert packages.changed_versions(session, package) == []


@pytest.mark.parametrize("brand", ["approve", "request_changes", "reject"])
@pytest.mark.parametrize("legal", ["approve", "request_changes", "reject"])
def test_only_two_approvals_approve(crowd, drop, brand, legal):
    batch_id, [version_id] = drop(crowd, "dario")
    package_id = packages.freeze(crowd, batch_id=batch_id, version_ids=[version_id])
    act(crowd, package_id, version_id, "sign", "bea", 0, brand, None)
    act(crowd, package_id, version_id, "sign", "lena", 1, legal, None)
    strictest = max(brand, legal, key=["approve", "request_changes", "reject"].index)
    status = {"approve": "approved", "request_changes": "changes_requested", "reject": "rejected"}[strictest]
    assert packages.verdict(crowd, package_id=package_id)["status"] == status


@pytest.mark.parametrize("when", ["before", "between", "after"])
def test_an_approval_is_of_what_was_seen(crowd, drop, when):
    batch_id, [version_id] = drop(crowd, "dario")
    package_id = packages.freeze(crowd, batch_id=batch_id, version_ids=[version_id])
    steps = [("sign", "bea", 0, "approve", None), ("sign", "lena", 1, "approve", None)]
    steps.insert(["before", "between", "after"].index(when), ("change", 1))
    for step in steps:
        act(crowd, package_id, version_id, *step)
    told = packages.verdict(crowd, package_id=package_id)
    assert (told["status"], told["approved"]) == ("void", [])
    assert told["next_package_id"]
