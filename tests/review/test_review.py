"""Approvals belong to a content hash, and nobody signs what they made or signs twice."""

from __future__ import annotations

import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

import world
from dam import audit
from dam.catalog.models import Package, Version
from dam.create import deliverables
from dam.enrich import contracts
from dam.errors import BadInput, Refused
from dam.review import packages, queries, seats


@pytest.fixture
def batch(services, tmp_path):
    return world.designers_batch(services, tmp_path)


@pytest.fixture
def package_id(services, batch):
    return packages.freeze(services, batch_id=batch[0], version_ids=batch[1])


def seat(services, package_id, role):
    return next(s["seat_id"] for s in packages.seats(services, package_id=package_id) if s["role"] == role)


def states(services):
    with services.session() as session:
        return {version.asset.name: version.state for version in session.scalars(select(Version))}


def sign(services, package_id, role, person, verdict="approve", **more):
    return seats.decide(services, seat_id=seat(services, package_id, role), person=person, verdict=verdict, **more)


def test_freezing_is_the_same_however_often(services, batch):
    made = []
    threads = [
        threading.Thread(target=lambda: made.append(packages.freeze(services, batch_id=batch[0], version_ids=batch[1])))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 4
    assert len(set(made)) == 1
    assert set(states(services).values()) == {"in_review"}


def test_all_seats_approve(services, package_id):
    sign(services, package_id, "brand_reviewer", "bea")
    assert packages.verdict(services, package_id=package_id)["status"] is None
    sign(services, package_id, "legal_reviewer", "lena")
    verdict = packages.verdict(services, package_id=package_id)
    assert verdict["status"] == "approved"
    assert len(verdict["approved"]) == 2
    assert set(states(services).values()) == {"approved"}
    assert packages.verdict(services, package_id=package_id) == verdict


def test_one_version_is_asked_for_again_and_the_rest_goes_on(services, batch, package_id):
    first = batch[1][0]
    sign(services, package_id, "brand_reviewer", "bea")
    own = {first: {"verdict": "request_changes", "comment": "Too dark."}}
    sign(services, package_id, "legal_reviewer", "lena", versions=own)
    verdict = packages.verdict(services, package_id=package_id)
    assert (verdict["changes_requested"], len(verdict["approved"])) == ([first], 1)
    opened = deliverables.reopen(services, package_id=package_id)
    assert deliverables.reopen(services, package_id=package_id) == opened
    [task] = opened["tasks"]
    assert task["note"] == "lena (legal reviewer): Too dark."
    state = deliverables.arrived(services, batch_id=opened["batch_id"])
    assert state["missing"][0].endswith("_v02")


def test_a_veto_ends_it_at_once(services, package_id):
    sign(services, package_id, "legal_reviewer", "lena", "reject", comment="No release.")
    assert packages.verdict(services, package_id=package_id)["status"] == "rejected"
    with pytest.raises(seats.PackageClosed):
        sign(services, package_id, "brand_reviewer", "bea")
    assert set(states(services).values()) == {"rejected"}


CHANGES = {
    "metadata": {"title": "Another title"},
    "tags": {"tags": ["cat"]},
    "rights": {"licence": "ACME-1", "holder": "ACME", "territories": ["DE"]},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_voids_what_is_being_signed(services, batch, package_id, change):
    sign(services, package_id, "brand_reviewer", "bea")
    contracts.fill(services, version_id=batch[1][0], values=change, person="libby")
    with pytest.raises(seats.PackageVoid) as refused:
        sign(services, package_id, "legal_reviewer", "lena")
    verdict = packages.verdict(services, package_id=package_id)
    assert verdict["status"] == "void"
    assert verdict["next_package_id"] == refused.value.next_package_id
    assert [s["status"] for s in packages.seats(services, package_id=verdict["next_package_id"])] == ["open", "open"]


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_voids_what_was_approved(services, batch, package_id, change):
    world.sign_all(services, package_id)
    assert packages.revalidate(services, package_id=package_id) is None
    contracts.fill(services, version_id=batch[1][0], values=change, person="libby")
    following = packages.revalidate(services, package_id=package_id)
    assert following
    assert packages.revalidate(services, package_id=package_id) == following
    assert set(states(services).values()) == {"in_review"}
    with services.session() as session:
        assert "changed after it was frozen" in session.get_one(Package, package_id).void_reason


def test_the_maker_can_not_sign(services, package_id):
    with pytest.raises(seats.SeatRefused, match="made or sent"):
        sign(services, package_id, "brand_reviewer", "dario")


def test_nobody_takes_two_seats(services, package_id):
    both = ["bea", "lena"]
    with services.session() as session:
        session.execute(text("UPDATE seats SET eligible = :both"), {"both": both})
    sign(services, package_id, "brand_reviewer", "bea")
    with pytest.raises(seats.SeatRefused, match="two seats"):
        sign(services, package_id, "legal_reviewer", "bea")


def test_who_is_not_eligible_can_not_sign(services, package_id):
    with pytest.raises(seats.SeatRefused, match="may not take the seat"):
        sign(services, package_id, "brand_reviewer", "maya")


def test_the_same_answer_again_changes_nothing(services, package_id):
    first = sign(services, package_id, "brand_reviewer", "bea")
    assert sign(services, package_id, "brand_reviewer", "bea", via="airflow") == first
    with services.session() as session:
        signed = [e for e in audit.history(session, package_id) if e.action == "seat.signed"]
    assert len(signed) == 1


def test_silence_never_approves(services, package_id):
    sign(services, package_id, "brand_reviewer", "bea")
    seats.expire(services, seat_id=seat(services, package_id, "legal_reviewer"))
    verdict = packages.verdict(services, package_id=package_id)
    assert (verdict["status"], verdict["approved"]) == ("expired", [])
    assert set(states(services).values()) == {"in_review"}
    with pytest.raises(Refused, match="may not reopen"):
        packages.reopen_expired(services, package_id=package_id, person="dario")
    following = packages.reopen_expired(services, package_id=package_id, person="maya")
    assert world.sign_all(services, following)["status"] == "approved"


def test_a_seat_that_only_its_maker_could_take_is_refused(services, tmp_path):
    batch_id = world.drop(services, "drops/a", [world.picture(tmp_path, "A_ACME_20270301_v01.jpg")], sent_by="bea")
    world.ingest(services, batch_id)
    complete = contracts.check(services, batch_id=batch_id).complete
    with pytest.raises(Refused, match="nobody may take the seat of the brand reviewer"):
        packages.freeze(services, batch_id=batch_id, version_ids=complete)
    assert set(states(services).values()) == {"ingested"}


def test_a_verdict_on_a_version_that_is_not_there_is_refused(services, package_id):
    with pytest.raises(BadInput, match="not in this package"):
        sign(services, package_id, "brand_reviewer", "bea", versions={"ver_x": {"verdict": "approve"}})


def test_signatures_are_append_only(services, package_id):
    sign(services, package_id, "brand_reviewer", "bea", "reject", comment="no")
    with pytest.raises(IntegrityError, match="append-only"), services.session() as session:
        session.execute(text("UPDATE decisions SET verdict = 'approve'"))


def test_my_list_and_the_board_say_who_has_the_next_move(services, package_id):
    assert [row["role"] for row in queries.my_open_seats(services, person="bea")] == ["brand_reviewer"]
    assert queries.my_open_seats(services, person="dario") == []
    [campaign] = queries.board(services)
    assert campaign["stage_counts"]["review"] == 2
    assert campaign["next_move"]["stage"] == "review"
    sign(services, package_id, "brand_reviewer", "bea")
    assert queries.my_open_seats(services, person="bea") == []


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    answers=st.lists(
        st.tuples(
            st.sampled_from(["dario", "bea", "lena", "maya", "vic"]),
            st.sampled_from(["brand_reviewer", "legal_reviewer"]),
            st.sampled_from(["approve", "request_changes", "reject"]),
        ),
        max_size=8,
    )
)
def test_no_order_of_answers_gets_around_the_rules(services, tmp_path_factory, answers):
    unique = tmp_path_factory.mktemp("p")
    seed = int(unique.name[1:]) + 100
    picture = world.picture(unique, f"P{seed}_ACME_20270301_v01.jpg", seed=seed)
    batch_id = world.drop(services, f"drops/{seed}", [picture], sent_by="dario")
    world.ingest(services, batch_id)
    [version_id] = contracts.check(services, batch_id=batch_id).complete
    package_id = packages.freeze(services, batch_id=batch_id, version_ids=[version_id])
    signed = {}
    for person, role, verdict in answers:
        try:
            sign(services, package_id, role, person, verdict)
            signed.setdefault(role, (person, verdict))
        except Refused:
            continue
    assert all(
        person == {"brand_reviewer": "bea", "legal_reviewer": "lena"}[role] for role, (person, _) in signed.items()
    )
    approved = packages.verdict(services, package_id=package_id)["status"] == "approved"
    assert approved == (len(signed) == 2 and all(verdict == "approve" for _, verdict in signed.values()))
