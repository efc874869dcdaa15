"""Approvals belong to a content hash, and nobody signs what they made or signs twice."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

import world
from dam import audit
from dam.catalog.lifecycle import change_state
from dam.catalog.models import Package, Version, VersionState, utcnow
from dam.create import deliverables
from dam.enrich import contracts
from dam.errors import BadInput, NotFound, Refused
from dam.plan import briefs, documents
from dam.review import annotations as notes
from dam.review import manifest, packages, queries, seats


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


def test_only_fresh_versions_of_the_batch_are_frozen(services, batch, package_id):
    batch_id, version_ids = batch
    with pytest.raises(Refused, match="it is in_review"):
        packages.freeze(services, batch_id=batch_id, version_ids=version_ids[:1])
    world.sign_all(services, package_id)
    with pytest.raises(Refused, match="it is approved"):
        packages.freeze(services, batch_id=batch_id, version_ids=version_ids[1:])
    with pytest.raises(NotFound, match="no such version in the batch"):
        packages.freeze(services, batch_id=batch_id, version_ids=["ver_none"])
    with pytest.raises(NotFound, match="no such batch"):
        packages.freeze(services, batch_id="bat_none", version_ids=version_ids)
    with pytest.raises(BadInput, match="needs versions"):
        packages.freeze(services, batch_id=batch_id, version_ids=[])
    assert packages.freeze(services, batch_id=batch_id, version_ids=version_ids) == package_id


def test_the_real_thing_from_brief_to_approval(services, tmp_path):
    batch_id, version_ids = world.designers_batch(services, tmp_path)
    package_id = packages.freeze(services, batch_id=batch_id, version_ids=version_ids)
    assert sorted(world.sign_all(services, package_id)["approved"]) == sorted(version_ids)


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


def test_the_creator_reads_what_must_be_fixed_and_nothing_that_was_taken_back(services, batch, package_id):
    first = batch[1][0]
    notes.add(services, package_id=package_id, version_id=first, person="bea", body="Straighten it.", kind="must_fix")
    wrong = {first: {"verdict": "request_changes", "comment": "Wrong logo."}}
    seat_id = sign(services, package_id, "brand_reviewer", "bea", versions=wrong)["seat_id"]
    seats.undo(services, seat_id=seat_id, person="bea")
    sign(services, package_id, "brand_reviewer", "bea", comment="Lovely.")
    own = {first: {"verdict": "request_changes", "comment": "Too dark."}}
    sign(services, package_id, "legal_reviewer", "lena", versions=own)
    assert packages.verdict(services, package_id=package_id)["changes_requested"] == [first]
    [task] = deliverables.reopen(services, package_id=package_id)["tasks"]
    assert task["note"].splitlines() == ["lena (legal reviewer): Too dark.", "Must fix: Straighten it."]


def test_a_veto_ends_it_at_once(services, package_id):
    sign(services, package_id, "legal_reviewer", "lena", "reject", comment="No release.")
    assert packages.verdict(services, package_id=package_id)["status"] == "rejected"
    with pytest.raises(seats.PackageClosed):
        sign(services, package_id, "brand_reviewer", "bea")
    assert set(states(services).values()) == {"rejected"}


def test_a_veto_on_one_version_waits_for_the_others(services, batch, package_id):
    first, second = batch[1]
    spared = {second: {"verdict": "approve"}}
    sign(services, package_id, "legal_reviewer", "lena", "reject", comment="No release.", versions=spared)
    assert packages.verdict(services, package_id=package_id)["status"] is None
    sign(services, package_id, "brand_reviewer", "bea")
    verdict = packages.verdict(services, package_id=package_id)
    assert (verdict["rejected"], verdict["approved"]) == ([first], [second])


def test_a_seat_without_a_veto_can_only_ask_for_changes(services, package_id):
    with services.session() as session:
        session.execute(text("UPDATE seats SET veto = false"))
    sign(services, package_id, "legal_reviewer", "lena", "reject", comment="No release.")
    assert packages.verdict(services, package_id=package_id)["status"] is None
    sign(services, package_id, "brand_reviewer", "bea")
    assert packages.verdict(services, package_id=package_id)["status"] == "changes_requested"


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


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_every_part_of_the_manifest_has_its_share_in_the_hash(services, batch, package_id, change):
    with services.session() as session:
        before = manifest.of(session, batch[1])
    contracts.fill(services, version_id=batch[1][0], values=change, person="libby")
    with services.session() as session:
        assert packages.changed_versions(session, session.get_one(Package, package_id)) == [batch[1][0]]
        assert manifest.of(session, batch[1])[batch[1][1]] == before[batch[1][1]]


def test_bytes_that_changed_under_the_catalogue_void_too(services, batch, package_id):
    with services.session() as session:
        session.execute(text("ALTER TABLE versions DISABLE TRIGGER versions_rules"))
        session.execute(
            text("UPDATE versions SET sha256 = :sha256 WHERE id = :id"), {"sha256": "0" * 64, "id": batch[1][0]}
        )
        session.execute(text("ALTER TABLE versions ENABLE TRIGGER versions_rules"))
    with pytest.raises(seats.PackageVoid):
        sign(services, package_id, "brand_reviewer", "bea")


def test_the_hash_does_not_depend_on_who_reads_it(services, batch):
    read = []
    for zone in ("UTC", "Asia/Tokyo"):
        with services.session() as session:
            session.execute(text(f"SET LOCAL TIME ZONE '{zone}'"))
            read.append(manifest.of(session, batch[1]))
    assert read[0] == read[1]


def test_a_change_after_the_last_signature_is_noticed(services, batch, package_id):
    for role, person in (("brand_reviewer", "bea"), ("legal_reviewer", "lena")):
        sign(services, package_id, role, person)
    contracts.fill(services, version_id=batch[1][0], values={"title": "Late"}, person="libby")
    verdict = packages.verdict(services, package_id=package_id)
    assert (verdict["status"], verdict["approved"]) == ("void", [])
    assert set(states(services).values()) == {"in_review"}
    assert world.sign_all(services, verdict["next_package_id"])["status"] == "approved"


@pytest.mark.parametrize("live", [1, 2])
def test_what_is_live_stays_live_when_its_approval_is_void(services, batch, package_id, live):
    world.sign_all(services, package_id)
    with services.session() as session:
        for version_id in batch[1][:live]:
            version = session.get_one(Version, version_id)
            change_state(session, version, VersionState.LIVE, actor="airflow", why="published")
    contracts.fill(services, version_id=batch[1][0], values={"title": "Another"}, person="libby")
    following = packages.revalidate(services, package_id=package_id)
    assert sorted(states(services).values()) == sorted(["live"] * live + ["in_review"] * (2 - live))
    assert packages.verdict(services, package_id=package_id)["status"] == "void"
    if live == 2:
        assert following is None
    else:
        assert packages.versions(services, package_id=following) == batch[1][1:]
    with services.session() as session:
        [event] = [e for e in audit.history(session, package_id) if e.action == "package.void"]
        assert sorted(event.data["still_live"]) == sorted(batch[1][:live])


@pytest.mark.parametrize("last", [VersionState.WITHDRAWN, VersionState.RESTORED])
def test_what_was_live_comes_back_by_a_new_review(services, batch, package_id, last):
    world.sign_all(services, package_id)
    first, second = batch[1]
    through = [VersionState.LIVE, VersionState.WITHDRAWN, VersionState.ARCHIVED, VersionState.RESTORED]
    with pytest.raises(Refused, match="the version is approved"):
        packages.reopen_withdrawn(services, version_id=first, person="maya")
    with services.session() as session:
        for state in through[: through.index(last) + 1]:
            change_state(session, session.get_one(Version, first), state, actor="airflow", why="told")
    with pytest.raises(Refused, match="may not reopen"):
        packages.reopen_withdrawn(services, version_id=first, person="bea")
    with pytest.raises(NotFound):
        packages.reopen_withdrawn(services, version_id="ver_none", person="ada")
    again = packages.reopen_withdrawn(services, version_id=first, person="ada")
    assert packages.reopen_withdrawn(services, version_id=first, person="maya") == again
    assert packages.versions(services, package_id=again) == [first]
    with services.session() as session:  # the old approval is of the other version only, from now on
        assert [packages.approves(session, package_id, one) for one in (first, second)] == [False, True]
    assert world.sign_all(services, again)["approved"] == [first]
    # a change of the version that was not reviewed again makes the first package's own next round
    contracts.fill(services, version_id=second, values={"title": "Another"}, person="libby")
    for _ in range(2):
        assert packages.versions(services, package_id=packages.revalidate(services, package_id=package_id)) == [second]


def test_a_version_is_asked_for_again_by_the_seats_that_decided_before(services, drop):
    batch_id, [version_id] = drop(services, "northlight")
    first = packages.freeze(services, batch_id=batch_id, version_ids=[version_id], seats=["brand_reviewer"])
    world.sign_all(services, first)
    with services.session() as session:
        for state in (VersionState.LIVE, VersionState.WITHDRAWN):
            change_state(session, session.get_one(Version, version_id), state, actor="airflow", why="told")
    again = packages.reopen_withdrawn(services, version_id=version_id, person="maya")
    assert [row["role"] for row in packages.seats(services, package_id=again)] == ["brand_reviewer"]


def test_the_maker_can_not_sign(services, package_id):
    with pytest.raises(seats.SeatRefused, match="made or sent"):
        sign(services, package_id, "brand_reviewer", "dario")


def test_nobody_takes_two_seats(services, package_id):
    both = ["bea", "lena"]
    with services.session() as session:
        session.execute(text("UPDATE seats SET eligible = :both"), {"both": both})
    sign(services, package_id, "brand_reviewer", "bea")
    with pytest.raises(seats.SeatRefused, match="has signed as brand reviewer already"):
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


def overdue(services, package_id, hours):
    with services.session() as session:
        for row in session.get_one(Package, package_id).seats:
            row.due_at = utcnow() - timedelta(hours=hours)


def test_after_its_deadline_a_seat_is_not_signed(services, package_id):
    overdue(services, package_id, 0.01)
    with pytest.raises(seats.SeatRefused, match="was to be signed by"):
        sign(services, package_id, "brand_reviewer", "bea")
    early = utcnow() - timedelta(hours=1)
    sign(services, package_id, "brand_reviewer", "bea", at=early)  # given in time, and heard of now
    assert packages.verdict(services, package_id=package_id)["status"] is None
    with pytest.raises(Refused, match="in_review, not expired"):
        packages.reopen_expired(services, package_id=package_id, person="maya")


def test_a_seat_that_no_run_closed_lapses(services, package_id):
    overdue(services, package_id, 2)
    following = packages.reopen_expired(services, package_id=package_id, person="maya")
    assert packages.verdict(services, package_id=package_id) == {
        "purpose": "release", "brief_id": None, "status": "expired", "approved": [], "changes_requested": [],
        "rejected": [], "next_package_id": following, "waits_for": [], "freed": [],
    }  # fmt: skip
    assert world.sign_all(services, following)["status"] == "approved"


def test_the_board_asks_for_an_expired_review_to_be_reopened(services, package_id):
    for role in ("brand_reviewer", "legal_reviewer"):
        seats.expire(services, seat_id=seat(services, package_id, role))
    packages.verdict(services, package_id=package_id)
    [campaign] = queries.board(services)
    assert campaign["next_move"]["who"] == ["maya", "ada"]
    assert campaign["next_move"]["what"] == "reopen review 1: nobody signed in time"
    packages.reopen_expired(services, package_id=package_id, person="ada")
    [campaign] = queries.board(services)
    assert campaign["next_move"]["what"] == "sign as brand reviewer"


def test_the_board_follows_a_brief(services):
    drafted = briefs.draft(services, form=world.form(), drafted_by="momo")["brief_id"]
    [campaign] = queries.board(services)
    assert campaign["next_move"]["who"] == ["momo"]  # it was not asked for yet: perhaps it has faults
    package_id = documents.freeze(services, brief_id=drafted)
    [campaign] = queries.board(services)
    assert (campaign["next_move"]["who"], campaign["next_move"]["what"]) == (["maya"], "sign brief 1")
    assert campaign["next_move"]["due_at"]
    world.sign_all(services, package_id, "request_changes")
    [campaign] = queries.board(services)
    assert (campaign["next_move"]["who"], campaign["stage_counts"]["plan"]) == (["momo"], 0)
    assert campaign["next_move"]["what"] == "draft brief 1 again: No reason given."
    deliverables.open_tasks(services, brief_id=world.signed_brief(services))
    [campaign] = queries.board(services)
    assert (campaign["next_move"]["stage"], campaign["stage_counts"]["create"]) == ("create", 2)


def test_a_seat_that_only_its_maker_could_take_is_refused(services, drop):
    batch_id, version_ids = drop(services, "bea")
    with pytest.raises(Refused, match="nobody may take the seat of the brand reviewer"):
        packages.freeze(services, batch_id=batch_id, version_ids=version_ids)
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


def test_of_two_people_on_one_seat_one_signs(services, package_id):
    with services.session() as session:
        session.execute(text("UPDATE seats SET eligible = :both"), {"both": ["bea", "maya"]})
    seat_id = seat(services, package_id, "brand_reviewer")
    told = []

    def answer(person):
        try:
            told.append(seats.decide(services, seat_id=seat_id, person=person, verdict="approve")["person"])
        except seats.SeatRefused as refused:
            told.append(refused.what)

    threads = [threading.Thread(target=answer, args=(person,)) for person in ("bea", "maya")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(word in ("bea", "maya") for word in told) == 1
    assert sum("has signed this seat already" in word for word in told) == 1


def test_airflow_is_told_where_it_waits_until_the_seat_is_signed(services, package_id):
    where = {"dag_id": "review_package", "run_id": "r", "task_id": "seat", "map_index": 0}
    seat_id = seat(services, package_id, "brand_reviewer")
    shown = seats.attach(services, seat_id=seat_id, hitl=where)
    assert shown["subject"] == "Spring 2027: 2 versions for the brand reviewer, round 1"
    assert "SPRING27-HERO-A" in shown["summary"]
    assert seats.hitl_of(services, seat_id=seat_id) == where
    assert queries.my_open_seats(services, person="bea")[0]["hitl"] == where
    sign(services, package_id, "brand_reviewer", "bea")
    assert seats.hitl_of(services, seat_id=seat_id) is None
