"""Whatever people do in whatever order: no maker signs, nobody signs twice, nothing is approved unsigned."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from dam.catalog.models import Decision, Package, PackageStatus, VersionState, utcnow
from dam.enrich import contracts
from dam.errors import BadInput, Refused
from dam.review import packages, seats
from dam.workflow import SeatRule, Workflow

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
ANYBODY = st.sampled_from(sorted(ROLES))
#: What people do where seats take several signatures, in stages, and others stand in for them.
MORE_ACTIONS = st.one_of(
    ACTIONS,
    st.tuples(st.just("sign"), ANYBODY, SEAT, st.just("approve"), st.none()),
    st.tuples(st.just("undo"), ANYBODY, SEAT),
    st.tuples(st.just("delegate"), ANYBODY, ANYBODY, SEAT),
    st.tuples(st.just("away"), ANYBODY, ANYBODY),
    st.tuples(st.just("back")),
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


def frozen(services, drop):
    """Freeze a picture of dario's and return its batch, its version and its package."""
    batch_id, [version_id] = drop(services, "dario")
    return batch_id, version_id, packages.freeze(services, batch_id=batch_id, version_ids=[version_id])


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
        elif action == "undo":
            seats.undo(services, seat_id=rows[given_[1]]["seat_id"], person=given_[0])
        elif action == "delegate":
            seats.delegate(services, seat_id=rows[given_[2]]["seat_id"], person=given_[0], to=given_[1], why="Busy.")
        elif action == "away":
            now = utcnow()
            with suppress(BadInput):
                seats.away(services, person=given_[0], deputy=given_[1], start=now, until=now + timedelta(days=1))
        elif action == "back":
            for absence in seats.absences(services):
                seats.back(services, absence_id=absence["absence_id"], by=absence["person"])
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
            given_ = session.scalars(select(Decision).where(Decision.package_id == package.id)).all()
            decisions = [decision for decision in given_ if decision.withdrawal is None]
            # whom each signature binds: who gave it, and whom they stood in for
            people = [one for decision in decisions for one in (decision.person, decision.on_behalf_of) if one]
            assert "dario" not in people
            assert len(set(people)) == len(people)
            for decision in given_:
                assert decision.role in ROLES[decision.on_behalf_of or decision.person]
                others = {one for seat in package.seats for one in seat.eligible}
                assert decision.on_behalf_of is None or decision.person not in others
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
    batch_id, version_id, package_id = frozen(crowd, drop)
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


@pytest.fixture
def staged(crowd):
    """Two of the brand reviewers sign, then legal; more people hold the roles."""
    known = crowd.workflow
    rules = [
        SeatRule(role="brand_reviewer", signatures=2, due_hours=72),
        SeatRule(role="legal_reviewer", stage=2, due_hours=72),
    ]
    crowd.workflow = Workflow.model_validate(known.model_copy(update={"seats": rules}))
    return crowd


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=st.lists(MORE_ACTIONS, max_size=14))
def test_no_deputy_no_stage_and_no_undo_gets_around_them_either(staged, drop, actions):
    batch_id, version_id, package_id = frozen(staged, drop)
    for action in actions:
        package_id = act(staged, package_id, version_id, *action)
        check_rules(staged, batch_id)
        with staged.session() as session:
            package = session.get_one(Package, package_id)
            early, late = package.seats
            assert late.opens_at is None or early.status == "signed"
            assert len(early.signatures) <= early.needed
    check_rules(staged, batch_id)


@pytest.mark.parametrize("brand", ["approve", "request_changes", "reject"])
@pytest.mark.parametrize("legal", ["approve", "request_changes", "reject"])
def test_only_two_approvals_approve(crowd, drop, brand, legal):
    _, version_id, package_id = frozen(crowd, drop)
    act(crowd, package_id, version_id, "sign", "bea", 0, brand, None)
    act(crowd, package_id, version_id, "sign", "lena", 1, legal, None)
    strictest = max(brand, legal, key=["approve", "request_changes", "reject"].index)
    status = {"approve": "approved", "request_changes": "changes_requested", "reject": "rejected"}[strictest]
    assert packages.verdict(crowd, package_id=package_id)["status"] == status


@pytest.mark.parametrize("when", ["before", "between", "after"])
def test_an_approval_is_of_what_was_seen(crowd, drop, when):
    _, version_id, package_id = frozen(crowd, drop)
    steps = [("sign", "bea", 0, "approve", None), ("sign", "lena", 1, "approve", None)]
    steps.insert(["before", "between", "after"].index(when), ("change", 1))
    for step in steps:
        act(crowd, package_id, version_id, *step)
    told = packages.verdict(crowd, package_id=package_id)
    assert (told["status"], told["approved"]) == ("void", [])
    assert told["next_package_id"]
