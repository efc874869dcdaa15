"""What a batch lacks is completed by seats: by their rules, and without ever standing for an approval."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

import world
from dam import audit
from dam.catalog.models import (
    AuditEvent,
    Batch,
    ContractResult,
    Decision,
    Package,
    PackageVersion,
    Seat,
    Version,
    VersionState,
)
from dam.channels import publish
from dam.enrich import contracts
from dam.errors import BadInput, Refused
from dam.review import completion, manifest, packages, queries, record, seats


@pytest.fixture
def batch(services, tmp_path):
    """A checked batch, sent by the librarian herself: one complete version, and two that lack much."""
    files = [
        world.picture(tmp_path, "FULL_ACME_20270301_v01.jpg", seed=1),
        world.picture(tmp_path, "BARE_ACME_20270301_v01.jpg", seed=2, xmp={}),
        world.picture(tmp_path, "ALSO_ACME_20270301_v01.jpg", seed=3, xmp={}),
    ]
    made = world.drop(services, "drops/north", files, sent_by="libby")
    world.ingest(services, made)
    return made


@pytest.fixture
def found(services, batch):
    return contracts.hand_on(services, batch_id=batch, run="ingest_batch/one")


@pytest.fixture
def lacking(services, found):
    """The incomplete versions by asset."""
    with services.session() as session:
        return {session.get_one(Version, version_id).asset.name: version_id for version_id in found.incomplete}


@pytest.fixture
def package_id(services, batch, lacking):
    return packages.freeze(services, batch_id=batch, version_ids=list(lacking.values()), purpose="metadata")


@pytest.fixture
def seat_id(services, package_id):
    [seat] = packages.seats(services, package_id=package_id)
    return seat["seat_id"]


def fill(services, version_id, person="libby", **values):
    contracts.fill(services, version_id=version_id, values=values or world.WHOLE, person=person)


def decide(services, seat_id, verdict, person="libby", **more):
    signed = seats.decide(services, seat_id=seat_id, person=person, verdict=verdict, **more)
    return packages.verdict(services, package_id=signed["package_id"])


def verdicts(services, package_id):
    with services.session() as session:
        rows = select(PackageVersion).where(PackageVersion.package_id == package_id)
        return {row.version.asset.name: row.verdict for row in session.scalars(rows)}


def test_the_librarian_may_complete_what_she_sent_and_siblings_do_not_wait(services, batch, found, package_id):
    [seat] = packages.seats(services, package_id=package_id)
    assert (seat["role"], seat["status"], seat["eligible"]) == ("librarian", "open", ["libby"])
    release = packages.freeze(services, batch_id=batch, version_ids=found.complete)
    with services.session() as session:
        rows = session.scalars(select(Package).order_by(Package.round, Package.purpose)).all()
        assert [(row.purpose, row.round) for row in rows] == [("metadata", 1), ("release", 1)]
        states = {version.state for version in session.scalars(select(Version).where(Version.id.in_(found.incomplete)))}
    assert states == {VersionState.INGESTED}
    assert release != package_id


def test_the_same_versions_twice_make_one_package(services, batch, lacking, package_id):
    again = packages.freeze(services, batch_id=batch, version_ids=list(lacking.values()), purpose="metadata")
    assert again == package_id


def test_done_is_refused_while_something_is_missing_and_changes_nothing(services, lacking, package_id, seat_id):
    fill(services, lacking["BARE_ACME"])
    for ask in (seats.check_decision, seats.decide):
        with pytest.raises(seats.SeatRefused, match="1 version is still incomplete") as refused:
            ask(services, seat_id=seat_id, person="libby", verdict="approve")
        assert "leave the rest out" in refused.value.remedy
    assert packages.verdict(services, package_id=package_id)["status"] is None
    with services.session() as session:
        assert session.scalars(select(Decision)).all() == []


def test_only_done_and_leave_the_rest_out_are_answers(services, lacking, seat_id):
    with pytest.raises(BadInput, match="no answer here"):
        decide(services, seat_id, "request_changes")
    for more in (
        {"conditions": "A better title"},
        {"versions": {lacking["BARE_ACME"]: {"verdict": "approve", "comment": ""}}},
    ):
        with pytest.raises(BadInput, match="for its contract to say"):
            decide(services, seat_id, "reject", **more)


def test_filled_in_and_done(services, batch, lacking, package_id, seat_id):
    """Filling in voids nothing; the signature keeps the contract's result, what was filled in, and a hash of it."""
    for version_id in lacking.values():
        fill(services, version_id)
    assert packages.revalidate(services, package_id=package_id) is None
    told = decide(services, seat_id, "approve")
    assert (told["status"], told["approved"]) == ("approved", sorted(lacking.values()))
    assert completion.completed(services, package_id=package_id) == sorted(lacking.values())
    with services.session() as session:
        [decision] = session.scalars(select(Decision)).all()
        said = decision.versions[lacking["ALSO_ACME"]]
        result = session.get_one(ContractResult, said["result"])
        assert (result.complete, result.version_id) == (True, lacking["ALSO_ACME"])
        assert said["contract"] == result.suite
        assert said["contract"].startswith("ingest/")
        assert set(world.WHOLE) <= set(said["filled"])
        entry = manifest.of(session, [lacking["ALSO_ACME"]])[lacking["ALSO_ACME"]]
        kept = {part: entry[part] for part in ("metadata", "tags", "rights")}
        assert said["metadata_sha256"] == manifest.sha256(kept)
        [event] = session.scalars(select(AuditEvent).where(AuditEvent.action == "seat.signed")).all()
        assert event.data["versions"] == decision.versions
        states = set(session.scalars(select(Version.state).where(Version.id.in_(lacking.values()))))
        assert states == {VersionState.INGESTED}
    assert audit.verify(services).ok


def test_leaving_the_rest_out_lets_the_complete_ones_go_on(services, lacking, package_id, seat_id):
    fill(services, lacking["BARE_ACME"])
    told = decide(services, seat_id, "reject")  # takes no reason: the contract has said why
    assert (told["status"], told["approved"]) == ("approved", [lacking["BARE_ACME"]])
    assert verdicts(services, package_id) == {"BARE_ACME": "approve", "ALSO_ACME": "reject"}
    assert completion.completed(services, package_id=package_id) == [lacking["BARE_ACME"]]
    with services.session() as session:
        [decision] = session.scalars(select(Decision)).all()
        assert "Title is missing." in decision.versions[lacking["ALSO_ACME"]]["comment"]
        assert session.get_one(Version, lacking["ALSO_ACME"]).state == VersionState.INGESTED


def test_all_left_out_completes_nothing(services, package_id, seat_id):
    assert decide(services, seat_id, "reject")["status"] == "rejected"
    assert completion.completed(services, package_id=package_id) == []


def test_silence_completes_nothing_but_holds_up_nothing_complete(services, lacking, package_id, seat_id):
    fill(services, lacking["BARE_ACME"])
    assert completion.completed(services, package_id=package_id) == []  # it is open yet
    seats.expire(services, seat_id=seat_id)
    assert packages.verdict(services, package_id=package_id)["status"] == "expired"
    assert set(verdicts(services, package_id).values()) == {None}
    assert completion.completed(services, package_id=package_id) == [lacking["BARE_ACME"]]


def test_what_expired_is_asked_again_without_what_went_on(services, batch, lacking, package_id, seat_id):
    fill(services, lacking["BARE_ACME"])
    seats.expire(services, seat_id=seat_id)
    packages.verdict(services, package_id=package_id)
    release = completion.release(services, package_id=package_id)
    assert packages.versions(services, package_id=release) == [lacking["BARE_ACME"]]
    assert completion.release(services, package_id=package_id) == release
    following = packages.reopen_expired(services, package_id=package_id, person="maya")
    assert packages.versions(services, package_id=following) == [lacking["ALSO_ACME"]]
    with services.session() as session:
        package = session.get_one(Package, following)
        assert (package.purpose, package.round, package.seats[0].role) == ("metadata", 2, "librarian")


def test_a_deputy_fills_in_and_signs_for_who_is_away(services, batch, lacking, package_id, seat_id):
    assert not completion.may_fill(services, batch_id=batch, person="dario")
    now = datetime.now(UTC)
    seats.away(services, person="libby", start=now - timedelta(hours=1), until=now + timedelta(days=2), deputy="dario")
    assert completion.may_fill(services, batch_id=batch, person="dario")
    assert [row["title"] for row in queries.my_open_seats(services, person="dario")] == [
        "Fill in 2 versions of drops/north"
    ]
    for version_id in lacking.values():
        fill(services, version_id, person="dario")
    signed = seats.decide(services, seat_id=seat_id, person="dario", verdict="approve")
    assert signed["on_behalf_of"] == "libby"
    with pytest.raises(Refused, match="has signed this seat already"):
        seats.decide(services, seat_id=seat_id, person="bea", verdict="approve")


def test_it_is_no_approval(services, batch, lacking, package_id, seat_id):
    for version_id in lacking.values():
        fill(services, version_id)
    decide(services, seat_id, "approve")
    with services.session() as session:
        assert not any(packages.approves(session, package_id, version_id) for version_id in lacking.values())
        assert packages.newest(session, lacking["BARE_ACME"]) is None
    with pytest.raises(Refused, match="signed for its metadata, which releases nothing"):
        publish.plan(services, package_id=package_id, channels=["cms"])


def test_what_comes_late_has_a_round_of_its_own(services, batch, lacking, package_id, tmp_path):
    """Two packages of one batch are open at once, and each has its own seat."""
    with services.session() as session:
        other = world.picture(tmp_path, "LATE_ACME_20270301_v01.jpg", seed=9, xmp={})
    late = world.drop(services, "drops/late", [other], sent_by="libby")
    world.ingest(services, late)
    with services.session() as session:
        session.execute(update(Version).where(Version.batch_id == late).values(batch_id=batch))
        version_id = session.scalars(select(Version.id).where(Version.filename.startswith("LATE"))).one()
    following = packages.freeze(services, batch_id=batch, version_ids=[version_id], purpose="metadata")
    with services.session() as session:
        assert session.get_one(Package, following).round == 2
    assert completion.open_packages(services, batch_id=batch) == [package_id, following]
    assert {row["package_id"] for row in queries.my_open_seats(services, person="libby")} == {package_id, following}


def test_what_was_emptied_or_merged_away_since_does_not_go_on(services, lacking, package_id, seat_id):
    for version_id in lacking.values():
        fill(services, version_id)
    decide(services, seat_id, "approve")
    fill(services, lacking["BARE_ACME"], title="")
    assert completion.completed(services, package_id=package_id) == [lacking["ALSO_ACME"]]


def test_the_board_and_the_question_say_what_is_to_be_done(services, lacking, package_id, seat_id):
    asked = seats.attach(services, seat_id=seat_id, hitl={"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": 0})
    assert asked["subject"] == "Fill in 2 versions of drops/north"
    assert "**BARE_ACME** v1: Title is missing." in asked["summary"]
    assert asked["purpose"] == "metadata"


def test_its_record_proves_what_was_filled_in(services, lacking, package_id, seat_id, tmp_path):
    from dam.review import record_check, record_pdf

    for version_id in lacking.values():
        fill(services, version_id)
    decide(services, seat_id, "approve")
    document = record.build(services, package_id=package_id)
    events = {(row["subject_id"], row["action"]) for row in document["record"]["proof"]["events"]}
    assert {(version_id, "version.described") for version_id in lacking.values()} <= events
    for name, content in (("r.json", record.as_bytes(document)), ("r.pdf", record_pdf.export(services, document))):
        path = tmp_path / name
        path.write_bytes(content)
        assert [str(problem) for problem in record_check.verify(path).problems] == [], name


def test_a_stage_and_a_second_signature_by_workflow(services, batch, lacking):
    """Seats of this work are those of workflow.yaml, like any others."""
    rules = services.workflow.sign_offs.model_copy(
        update={"metadata": [services.workflow.seat_rule("legal_reviewer").model_copy(update={"veto": False})]}
    )
    services.__dict__["workflow"] = services.workflow.model_copy(update={"sign_offs": rules})
    package_id = packages.freeze(services, batch_id=batch, version_ids=list(lacking.values()), purpose="metadata")
    with services.session() as session:
        [seat] = session.scalars(select(Seat).where(Seat.package_id == package_id))
        assert (seat.role, seat.veto) == ("legal_reviewer", False)
        seat_id = seat.id
    fill(services, lacking["BARE_ACME"])
    decide(services, seat_id, "reject", person="lena")
    assert verdicts(services, package_id) == {"BARE_ACME": "approve", "ALSO_ACME": "reject"}
    with services.session() as session:
        assert session.get_one(Batch, batch).status in ("waiting", "ingesting")
