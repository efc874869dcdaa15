"""A brief as a document under review: signed, sent back, killed half-way; notes travel to the next draft."""

from __future__ import annotations

import hashlib
import io
import json
from datetime import timedelta

import pikepdf
import pypdfium2
import pytest
from sqlalchemy import func, select, update

import world
from clamd import clamd
from dam.catalog.models import (
    AuditEvent,
    Batch,
    Brief,
    Campaign,
    Deliverable,
    Package,
    Seat,
    Version,
    VersionState,
    utcnow,
)
from dam.errors import Refused
from dam.ingest import batches, drops, gate, local
from dam.ingest.scanner import Scanner
from dam.measure import kpis
from dam.plan import briefs, documents
from dam.retention import archive
from dam.review import annotations, packages, queries, record, record_check, record_pdf, seats
from dam.workflow import SeatRule, SignOffs, When

LEAD = SeatRule(role="marketing_lead", due_hours=72)


def drafted(services, by="momo", **changes):
    return str(briefs.draft(services, form=world.form(**changes), drafted_by=by)["brief_id"])


def brief(services, brief_id):
    with services.session() as session:
        return session.get_one(Brief, brief_id)


def the_version(services, package_id):
    [version_id] = packages.versions(services, package_id=package_id)
    with services.session() as session:
        version = session.get_one(Version, version_id)
        assert version.asset is not None
        return version


def the_seat(services, package_id):
    [seat] = packages.seats(services, package_id=package_id)
    return seat


def answer(services, package_id, verdict, *, person="maya", **more):
    seat = the_seat(services, package_id)
    seats.decide(services, seat_id=seat["seat_id"], person=person, verdict=verdict, **more)
    return packages.verdict(services, package_id=package_id)


def document_of(services, package_id):
    store, key = services.storage.resolve(the_version(services, package_id).storage_uri)
    return store.read(key)


def test_the_document_says_what_the_brief_says_and_carries_what_is_signed(services):
    goals = "Reach **20 %** more visits:\n\n- in shops | outlets\n- <b>online</b>"
    rows = world.form()["deliverables"]
    rows[0]["title"] = "Hero | wide"
    brief_id = drafted(services, goals=goals, deliverables=rows)
    content = document_of(services, documents.freeze(services, brief_id=brief_id))
    with pypdfium2.PdfDocument(content) as pdf:
        text = " ".join(page.get_textpage().get_text_bounded() for page in pdf)
    words = " ".join(text.split())
    for said in ("Spring 2027", "20 %", "in shops | outlets", "<b>online</b>", "City people", "48,000 EUR", "maya",
                 "Hero | wide", "Picture HERO-B", "SPRING27-HERO-A_ACME_…", "Momo Tanaka (momo)"):  # fmt: skip
        assert said in words, said
    with pikepdf.open(io.BytesIO(content)) as pdf:
        carried = bytes(pdf.attachments["brief.json"].get_file().read_bytes())
        assert pdf.Root.MarkInfo.Marked
    assert json.loads(carried) == brief(services, brief_id).content
    assert hashlib.sha256(carried).hexdigest() in text


def test_all_briefs_of_a_campaign_are_versions_of_one_asset_named_by_the_convention(services):
    first = the_version(services, documents.freeze(services, brief_id=drafted(services)))
    renamed = drafted(services, project="SPRING27B")
    second = the_version(services, documents.freeze(services, brief_id=renamed))
    assert first.asset.name == "SPRING27-BRIEF_ACME"
    assert (second.asset_id, first.number, second.number) == (first.asset_id, 1, 2)
    assert second.filename.startswith("SPRING27-BRIEF_ACME_")
    assert second.filename.endswith("_v02.pdf")
    [row] = batches.receipt(services, batch_id=second.batch_id)
    assert row["notes"] == ["It carries attached files: brief.json."]


def test_no_deliverable_is_named_as_the_brief_is(services):
    rows = world.form()["deliverables"]
    rows[0]["project"] = "BRIEF"
    [fault] = briefs.check(services, brief_id=drafted(services, deliverables=rows))
    assert fault.field == "deliverables[0].project"


def test_an_approval_signs_the_brief_with_its_verdict(services):
    brief_id = drafted(services)
    package_id = documents.freeze(services, brief_id=brief_id)
    seat = the_seat(services, package_id)
    assert (seat["role"], seat["eligible"], seat["status"]) == ("marketing_lead", ["maya"], "open")
    assert answer(services, package_id, "approve")["status"] == "approved"
    signed = brief(services, brief_id)
    assert (signed.status, signed.signed_by) == ("signed", "maya")
    assert signed.sha256 == hashlib.sha256(briefs.canonical(signed.content)).hexdigest()
    with services.session() as session:
        assert session.scalar(select(func.count()).select_from(Deliverable)) == 2
        package = session.get_one(Package, package_id)
        assert package.manifest["brief"] == {"brief_id": brief_id, "number": 1, "sha256": signed.sha256}
        # what approves a brief lets nothing out
        assert not packages.approves(session, package_id, package.entries[0].version_id)


def test_who_drafted_it_signs_no_brief(services):
    with pytest.raises(Refused, match="nobody may take the seat of the marketing lead"):
        documents.freeze(services, brief_id=drafted(services, by="maya"))


def test_a_deputy_signs_in_the_place_of_who_is_away(services):
    package_id = documents.freeze(services, brief_id=drafted(services))
    seat = the_seat(services, package_id)
    seats.delegate(services, seat_id=seat["seat_id"], person="maya", to="ada", why="on holiday")
    answer(services, package_id, "approve", person="ada")
    with services.session() as session:
        [signed] = session.scalars(select(Brief))
        assert (signed.status, signed.signed_by) == ("signed", "ada")


@pytest.mark.parametrize("verdict", ["request_changes", "reject"])
def test_it_is_sent_back_with_what_was_said(services, verdict):
    brief_id = drafted(services)
    package_id = documents.freeze(services, brief_id=brief_id)
    version = the_version(services, package_id)
    for body, kind in (("Name a number", "must_fix"), ("Nice", "note")):
        annotations.add(services, package_id=package_id, version_id=version.id, person="maya", body=body, kind=kind)
    answer(services, package_id, verdict, comment="Too dear.")
    back = brief(services, brief_id)
    assert back.status == "returned"
    assert back.return_reason == "Maya Lindqvist: Too dear.\nMust be fixed: Name a number"
    with services.session() as session:
        event = session.scalars(select(AuditEvent).where(AuditEvent.action == "brief.returned")).one()
        assert event.actor == "maya"


def test_silence_sends_it_back_and_it_can_be_asked_for_again(services):
    brief_id = drafted(services)
    package_id = documents.freeze(services, brief_id=brief_id)
    seats.expire(services, seat_id=the_seat(services, package_id)["seat_id"])
    assert packages.verdict(services, package_id=package_id)["status"] == "expired"
    assert brief(services, brief_id).return_reason == "Nobody signed before the deadline."
    again = packages.reopen_expired(services, package_id=package_id, person="ada")
    assert brief(services, brief_id).status == "draft"
    assert documents.freeze(services, brief_id=brief_id) == again
    answer(services, again, "approve")
    assert brief(services, brief_id).status == "signed"


def test_an_expired_brief_is_not_asked_for_again_when_a_later_one_is_signed(services):
    older = documents.freeze(services, brief_id=drafted(services))
    seats.expire(services, seat_id=the_seat(services, older)["seat_id"])
    packages.verdict(services, package_id=older)
    answer(services, documents.freeze(services, brief_id=drafted(services)), "approve")
    with pytest.raises(Refused, match="brief 2 of spring-2027 is signed already"):
        packages.reopen_expired(services, package_id=older, person="maya")
    with services.session() as session:
        assert sorted(session.scalars(select(Brief.status))) == ["returned", "signed"]


def test_the_next_draft_takes_over_what_must_be_fixed_and_ends_the_round_before(services):
    first_id = drafted(services)
    first = documents.freeze(services, brief_id=first_id)
    version = the_version(services, first)
    annotations.add(
        services, package_id=first, version_id=version.id, person="maya", body="Name a number", kind="must_fix"
    )
    second_id = drafted(services, goals="30 % more visits by May")
    second = documents.freeze(services, brief_id=second_id)
    with services.session() as session:
        assert session.get_one(Package, first).status == "void"
    back = brief(services, first_id)
    assert back.status == "returned"
    assert back.return_reason == "A newer version took its place: SPRING27-BRIEF_ACME v2."
    [note] = annotations.of_package(services, package_id=second, person="maya")
    assert (note["body"], note["origin"]["version_id"]) == ("Name a number", version.id)
    answer(services, second, "approve")
    assert brief(services, second_id).status == "signed"
    with pytest.raises(Refused, match="signed already"):
        world.sign_brief(services, first_id)


def test_an_older_draft_takes_no_newer_ones_place(services):
    older, newer = drafted(services), drafted(services)
    open_round = documents.freeze(services, brief_id=newer)
    with pytest.raises(Refused, match="brief 2 of spring-2027 is being reviewed, which is newer"):
        documents.freeze(services, brief_id=older)
    assert the_seat(services, open_round)["status"] == "open"


def test_content_that_is_not_what_was_frozen_is_never_signed(services):
    brief_id = drafted(services)
    package_id = documents.freeze(services, brief_id=brief_id)
    with services.session() as session:  # no door does this
        row = session.get_one(Brief, brief_id)
        session.execute(update(Brief).values(content=row.content | {"budget": 1}))
    assert answer(services, package_id, "approve")["status"] == "changes_requested"
    back = brief(services, brief_id)
    assert (back.status, back.sha256) == ("returned", None)
    assert "not what was frozen" in back.return_reason
    assert the_version(services, package_id).state == VersionState.CHANGES_REQUESTED


class Killed(Exception):
    """Stands for a process that is killed."""


STEPS = [
    (documents, "_put"),
    (batches, "register"),
    (batches, "plan_chunks"),
    (gate, "ingest_chunk"),
    (batches, "close"),
    (packages, "freeze"),
]


@pytest.mark.parametrize(("module", "step"), STEPS, ids=[step for _, step in STEPS])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_between_two_steps_it_ends_in_the_same(services, monkeypatch, module, step, after):
    brief_id, whole = drafted(services), getattr(module, step)

    def killed(*args, **kwargs):
        if after:
            whole(*args, **kwargs)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(module, step, killed)
        with pytest.raises(Killed):
            documents.freeze(services, brief_id=brief_id, run="plan_brief/1")
    package_id = documents.freeze(services, brief_id=brief_id, run="plan_brief/1")
    assert documents.freeze(services, brief_id=brief_id, run="plan_brief/1") == package_id
    with services.session() as session:
        for table in (Package, Batch, Version, Seat):
            assert session.scalar(select(func.count()).select_from(table)) == 1, table
        assert session.scalars(select(Batch.status)).one() == "done"
    assert list(services.storage.inbox.list("briefs/")) == []
    assert drops.discover(services) == []


def test_a_document_that_waits_for_the_scanner_is_frozen_once_it_was_scanned(services, tmp_path):
    world.limit(services, unscanned="block")
    services.__dict__["scanner"] = Scanner(f"unix:{tmp_path}/clamd.ctl")
    brief_id, run = drafted(services), "plan_brief/1"
    for _ in range(2):
        with pytest.raises(Refused, match="not taken in: It is set aside until it was scanned"):
            documents.freeze(services, brief_id=brief_id, run=run)
    with clamd(tmp_path / "clamd.ctl"):
        assert local.rescan(services)["ingested"] == 1
    assert drops.discover(services) == []  # no other workflow takes it up
    package_id = documents.freeze(services, brief_id=brief_id, run=run)
    assert the_seat(services, package_id)["status"] == "open"
    with services.session() as session:
        assert session.scalars(select(Batch.status)).one() == "done"
    assert drops.discover(services) == []


def test_the_same_brief_gives_the_same_bytes(services, monkeypatch):
    with services.session() as session:
        row = session.get_one(Brief, drafted(services))
        from dam.plan import brief_pdf

        facts = documents._facts(services, row)
        assert brief_pdf.render(facts) == brief_pdf.render(facts)


def test_a_brief_with_faults_is_no_document(services):
    brief_id = drafted(services, goals=" ")
    with pytest.raises(Refused, match="1 faults, first goals"):
        documents.freeze(services, brief_id=brief_id)
    with services.session() as session:
        assert session.scalar(select(func.count()).select_from(Batch)) == 0


def test_its_record_says_which_brief_was_signed_and_holds(services, tmp_path):
    brief_id = drafted(services)
    package_id = documents.freeze(services, brief_id=brief_id)
    answer(services, package_id, "approve", comment="Clear.")
    path = tmp_path / "record.pdf"
    path.write_bytes(record_pdf.export(services, record.build(services, package_id=package_id)))
    assert [str(problem) for problem in record_check.verify(path).problems] == []
    with pypdfium2.PdfDocument(path) as pdf:
        words = pdf[0].get_textpage().get_text_bounded().replace("\r\n", " ")
    assert "Spring 2027, brief 1" in words
    assert brief(services, brief_id).sha256 in words


def test_its_document_is_counted_as_no_work_of_creators(services):
    package_id = documents.freeze(services, brief_id=drafted(services))
    [row] = queries.board(services)
    assert row["stage_counts"] == dict.fromkeys(row["stage_counts"], 0) | {"plan": 1}
    assert (row["next_move"]["stage"], row["next_move"]["who"]) == ("plan", ["maya"])
    [mine] = queries.my_open_seats(services, person="maya")
    assert (mine["package_id"], mine["title"], mine["purpose"]) == (package_id, "Spring 2027: brief 1", "brief")
    assert queries.my_open_seats(services, person="momo") == []
    answer(services, package_id, "approve")
    now = utcnow()
    report = kpis.make_report(services, start=now - timedelta(days=1), end=now + timedelta(days=1))
    counted = {kpi["name"]: kpi["inputs"]["rows"] for kpi in report["kpis"]}
    assert [counted[name] for name in ("cost_per_asset", "first_time_right", "approval_hours")] == [0, 0, 0]
    assert archive.due(services, now=now + timedelta(days=4000)) == []
    assert the_version(services, package_id).phash is None  # or every brief would look like every other


def test_conditions_of_seats_ask_what_the_brief_says(services, monkeypatch):
    american = SeatRule(role="legal_reviewer", due_hours=24, when=When(markets=["US"]))
    rules = services.workflow.model_copy(update={"sign_offs": SignOffs(brief=[LEAD, american])})
    monkeypatch.setitem(services.__dict__, "workflow", rules)
    german = documents.freeze(services, brief_id=drafted(services))
    assert [seat["status"] for seat in packages.seats(services, package_id=german)] == ["open", "not_needed"]
    wider = drafted(services, markets=["DE", "FR", "US"])  # the campaign itself knows of it when it is signed
    package_id = documents.freeze(services, brief_id=wider)
    assert [seat["status"] for seat in packages.seats(services, package_id=package_id)] == ["open", "open"]


def test_one_of_two_seats_sends_it_back(services, monkeypatch):
    legal = SeatRule(role="legal_reviewer", due_hours=24)
    rules = services.workflow.model_copy(update={"sign_offs": SignOffs(brief=[LEAD, legal])})
    monkeypatch.setitem(services.__dict__, "workflow", rules)
    brief_id = drafted(services)
    package_id = documents.freeze(services, brief_id=brief_id)
    lead, counsel = packages.seats(services, package_id=package_id)
    seats.decide(services, seat_id=lead["seat_id"], person="maya", verdict="approve", comment="Mine is done.")
    assert packages.verdict(services, package_id=package_id)["status"] is None
    assert brief(services, brief_id).status == "draft"
    seats.decide(services, seat_id=counsel["seat_id"], person="lena", verdict="request_changes", comment="Not legal.")
    assert packages.verdict(services, package_id=package_id)["status"] == "changes_requested"
    assert brief(services, brief_id).return_reason == "Maya Lindqvist: Mine is done.\nLena Vogt: Not legal."


def test_a_lapsed_seat_of_a_brief_counts_as_silence(services):
    package_id = documents.freeze(services, brief_id=drafted(services))
    with services.session() as session:
        session.execute(update(Seat).values(due_at=utcnow() - packages.LAPSE))
    assert packages.verdict(services, package_id=package_id)["status"] == "expired"
    with services.session() as session:
        assert session.scalars(select(Campaign)).one().slug == "spring-2027"
        assert session.scalars(select(Brief.status)).one() == "returned"
