"""Re-tagging as a diff: proposed, sampled, applied as one, rolled back as one; people's words stay."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select
from typer.testing import CliRunner

import world
from dam.catalog.lifecycle import place_hold
from dam.catalog.models import AuditEvent, RetagChange, RetagRun, Tag, Version
from dam.cli import app
from dam.enrich import contracts, retag, tags
from dam.enrich.retag import compare, turning
from dam.enrich.taggers import Said, Tagger
from dam.errors import BadInput, NotFound, Refused
from dam.review import packages


class Paid(Tagger):
    """A paid tagger that says one thing."""

    slow = True

    @property
    def version(self):
        return "1"

    def say(self, session, version, taxonomy):
        return [Said("subject/moon", 0.9)]


@pytest.fixture
def library(services, tmp_path, include):
    """Five ingested pictures of coffee; then the vocabulary changes: cups are cups, espresso is gone.

    Returns services over the new vocabulary, and the versions' ids in the order of their names.
    """
    paths = [
        world.picture(tmp_path / "in", f"{name}.jpg", seed=at, xmp=world.METADATA | {"Xmp.dc.subject": ["cup", "cat"]})
        for at, name in enumerate("abcde")
    ]
    world.ingest(services, world.drop(services, "drops/a", paths))

    def edit(told):
        told["facets"]["subject"]["coffee"]["alt"]["en"].remove("cup")
        told["facets"]["subject"]["cup"] = {"en": "cup"}

    include.vocabulary(edit)
    with services.session() as session:
        ids = list(session.scalars(select(Version.id).order_by(Version.filename)))
    return include.services(), ids


def rows(services, **only):
    """Return every tag of the library, without its id and time."""
    with services.session() as session:
        found = session.scalars(select(Tag).order_by(Tag.version_id, Tag.term_id, Tag.source)).all()
    return [
        (tag.version_id, tag.term_id, tag.source, tag.status, tag.confidence, tag.model_version, tag.because)
        for tag in found
        if all(getattr(tag, name) == value for name, value in only.items())
    ]


def applied(services, version_id):
    return set(tags.terms_of(services, version_id=version_id))


def accept(services, run_id, but=()):
    for row in retag.sample(services, run_id=run_id):
        verdict = "refused" if row["version_id"] in but else "accepted"
        retag.judge(services, run_id=run_id, version_id=row["version_id"], verdict=verdict, person="libby")


def test_nothing_changes_where_nothing_changed(services, tmp_path):
    world.ingest(services, world.drop(services, "drops/a", [world.picture(tmp_path, "a.jpg")]))
    run_id = retag.propose(services, person="libby")
    told = retag.summary(services, run_id=run_id)
    assert (told["looked_at"], told["versions"], told["status"]) == (1, 0, "proposed")


def test_a_run_proposes_old_against_new_and_applies_nothing(library):
    services, _ = library
    before = rows(services)
    run_id = retag.propose(services, person="libby")
    told = retag.summary(services, run_id=run_id)
    assert (told["status"], told["looked_at"], told["versions"]) == ("proposed", 5, 5)
    assert told["tags"] == {"added": 5, "removed": 5, "changed": 0}
    assert {row["term_id"] for row in told["terms"]} == {"subject/cup", "subject/coffee"}
    first = retag.sample(services, run_id=run_id)[0]
    [more, less] = first["changes"]
    assert (more["kind"], more["label"], more["old"]) == ("added", "cup", None)
    assert (less["kind"], less["term_id"], less["new"]) == ("removed", "subject/coffee", None)
    assert more["new"]["because"] == "the keyword “cup”"
    assert less["old"]["confidence"] == 0.9
    assert first["has_thumbnail"]
    assert rows(services) == before


def test_a_changed_confidence_is_a_change(services, tmp_path, include):
    world.ingest(services, world.drop(services, "drops/a", [world.picture(tmp_path, "a.jpg")]))
    include.taggers(embedded={"threshold": 0.95})
    run_id = retag.propose(include.services(), person="libby", tagger_names=["embedded"])
    [change] = retag.sample(services, run_id=run_id)[0]["changes"]
    assert (change["kind"], change["old"]["status"], change["new"]["status"]) == ("changed", "applied", "suggested")


def test_it_is_applied_as_one_and_rolled_back_as_one(library):
    services, ids = library
    before = rows(services)
    run_id = retag.propose(services, person="libby")
    accept(services, run_id)
    told = retag.apply(services, run_id=run_id, person="libby")
    assert told["status"] == "applied"
    assert told["outcomes"] == {"applied": 10}
    assert all(
        "subject/cup" in applied(services, one) and "subject/coffee" not in applied(services, one) for one in ids
    )
    after = rows(services)
    assert retag.apply(services, run_id=run_id, person="libby")["outcomes"] == {"applied": 10}
    assert rows(services) == after
    told = retag.roll_back(services, run_id=run_id, person="libby")
    assert (told["status"], told["outcomes"]) == ("rolled_back", {"rolled_back": 10})
    assert rows(services) == before
    assert retag.roll_back(services, run_id=run_id, person="libby")["status"] == "rolled_back"
    with pytest.raises(Refused, match="rolled back"):
        retag.apply(services, run_id=run_id, person="libby")


def test_applying_and_undoing_are_in_the_audit_trail(library):
    from dam import audit

    services, ids = library
    run_id = retag.propose(services, person="libby")
    accept(services, run_id)
    retag.apply(services, run_id=run_id, person="libby")
    retag.roll_back(services, run_id=run_id, person="ada")
    with services.session() as session:
        own = [(event.actor, event.action) for event in reversed(audit.history(session, run_id))]
        of_version = audit.history(session, ids[0])
    assert own == [("libby", "retag.proposed"), ("libby", "retag.applied"), ("ada", "retag.rolled_back")]
    undone, done = of_version[:2]
    assert done.action == undone.action == "version.retagged"
    assert done.data["changes"] == ["-subject/coffee (embedded)", "+subject/cup (embedded)"]
    assert undone.data["undone"]
    assert audit.verify(services).ok


def test_what_people_said_is_never_touched(library):
    services, ids = library
    contracts.fill(services, version_id=ids[0], values={"tags": ["coffee", "cat"]}, person="libby")  # keeps it
    contracts.fill(services, version_id=ids[1], values={"tags": ["cat"]}, person="libby")  # refuses coffee
    contracts.fill(services, version_id=ids[2], values={"tags": ["cup"]}, person="libby")
    before = rows(services)
    run_id = retag.propose(services, person="libby")
    accept(services, run_id)
    retag.apply(services, run_id=run_id, person="libby")
    people = [row for row in before if row[2].startswith("person:") or row[3] == "refused"]
    assert [row for row in rows(services) if row[2].startswith("person:") or row[3] == "refused"] == people
    assert applied(services, ids[0]) == {"subject/coffee", "subject/cat"}
    assert applied(services, ids[1]) == {"subject/cat"}
    assert applied(services, ids[2]) == {"subject/cup"}
    assert "subject/cup" in applied(services, ids[3])


def test_what_a_person_decides_between_proposal_and_application_stays(library):
    services, ids = library
    run_id = retag.propose(services, person="libby")
    accept(services, run_id)
    contracts.fill(services, version_id=ids[0], values={"tags": ["coffee"]}, person="libby")
    told = retag.apply(services, run_id=run_id, person="libby")
    assert told["left_out"] == {"a person decided on the term since": 1, "a person tagged the version since": 1}
    assert applied(services, ids[0]) == {"subject/coffee"}


def test_what_a_person_decides_after_it_was_applied_survives_the_roll_back(library):
    services, ids = library
    run_id = retag.propose(services, person="libby")
    accept(services, run_id)
    retag.apply(services, run_id=run_id, person="libby")
    contracts.fill(services, version_id=ids[0], values={"tags": ["cat"]}, person="libby")  # refuses the cup
    told = retag.roll_back(services, run_id=run_id, person="libby")
    assert told["outcomes"] == {"rolled_back": 8, "applied": 2}
    assert applied(services, ids[0]) == {"subject/cat"}
    with services.session() as session:
        refused = session.scalars(
            select(Tag.status).where(Tag.version_id == ids[0], Tag.term_id == "subject/cup")
        ).all()
    assert refused == ["refused"]


def test_what_is_refused_in_the_sample_is_left_out(library):
    services, ids = library
    run_id = retag.propose(services, person="libby")
    accept(services, run_id, but={ids[3]})
    told = retag.apply(services, run_id=run_id, person="libby")
    assert told["outcomes"] == {"applied": 8, "left_out": 2}
    assert told["left_out"] == {"refused in the sample": 2}
    assert (told["judged"], told["accepted"]) == (5, 4)
    assert 0.3 < told["at_least"] < 0.8
    assert "subject/coffee" in applied(services, ids[3])


def test_a_sample_is_looked_at_first_unless_it_is_said_otherwise(library):
    services, ids = library
    run_id = retag.propose(services, person="libby")
    with pytest.raises(Refused, match="0 of 5 versions of the sample"):
        retag.apply(services, run_id=run_id, person="libby")
    assert retag.apply(services, run_id=run_id, person="libby", unsampled=True)["status"] == "applied"
    assert {row["version_id"] for row in retag.sample(services, run_id=run_id)} == set(ids)


@pytest.mark.parametrize("person", ["bea", "vic", "nobody"])
def test_only_librarians_decide(library, person):
    services, ids = library
    run_id = retag.propose(services, person="libby")
    for call in (
        lambda: retag.judge(services, run_id=run_id, version_id=ids[0], verdict="accepted", person=person),
        lambda: retag.apply(services, run_id=run_id, person=person, unsampled=True),
        lambda: retag.roll_back(services, run_id=run_id, person=person),
    ):
        with pytest.raises(Refused, match="Ask a librarian"):
            call()


def test_nonsense_is_refused(library):
    services, ids = library
    run_id = retag.propose(services, person="libby")
    with pytest.raises(NotFound):
        retag.apply(services, run_id="rtg_x", person="libby")
    with pytest.raises(BadInput):
        retag.judge(services, run_id=run_id, version_id=ids[0], verdict="perhaps", person="libby")
    with pytest.raises(NotFound):
        retag.judge(services, run_id=run_id, version_id="ver_x", verdict="accepted", person="libby")
    with pytest.raises(Refused, match="not applied"):
        retag.roll_back(services, run_id=run_id, person="libby")
    with pytest.raises(BadInput, match="no tagger"):
        retag.propose(services, person="libby", tagger_names=["nobody"])
    with pytest.raises(BadInput, match="not configured"):
        retag.propose(services, person="libby", tagger_names=["onnx"])


# --------------------------------------------------------------------------------- packages and holds


@pytest.fixture
def approved(services, tmp_path, include):
    """A package that everybody approved, and a vocabulary that would change its tags."""
    batch_id, complete = world.designers_batch(services, tmp_path)
    package_id = packages.freeze(services, batch_id=batch_id, version_ids=complete)
    world.sign_all(services, package_id)
    include.vocabulary(lambda told: told["facets"]["subject"].update(espresso={"en": "espresso"}))
    include.vocabulary(lambda told: told["facets"]["subject"]["coffee"]["alt"]["en"].clear())
    include.vocabulary(lambda told: told["facets"]["subject"]["coffee"].update(en="kaffee drink"))
    return include.services(), package_id, complete


def test_an_approval_is_not_voided_unless_it_is_asked_for(approved):
    services, package_id, ids = approved
    run_id = retag.propose(services, person="libby")
    told = retag.summary(services, run_id=run_id)
    assert told["protected"] == [{"version_id": one, "package_id": package_id} for one in sorted(ids)]
    told = retag.apply(services, run_id=run_id, person="libby", unsampled=True)
    assert set(told["outcomes"]) == {"left_out"}
    assert any(f"part of package {package_id}" in reason for reason in told["left_out"])
    assert packages.revalidate(services, package_id=package_id) is None
    again = retag.propose(services, person="libby")
    told = retag.apply(services, run_id=again, person="libby", unsampled=True, approved=True)
    assert set(told["outcomes"]) == {"applied"}
    assert packages.revalidate(services, package_id=package_id) is not None  # the next round


def test_a_package_under_review_is_protected_as_well(services, tmp_path, include):
    batch_id, complete = world.designers_batch(services, tmp_path)
    include.taggers(embedded={"threshold": 0.95})
    found = include.services()
    run_id = retag.propose(found, person="libby", tagger_names=["embedded"])
    package_id = packages.freeze(found, batch_id=batch_id, version_ids=complete)  # after it was proposed
    told = retag.apply(found, run_id=run_id, person="libby", unsampled=True)
    assert told["outcomes"] == {"left_out": 2}
    assert packages.revalidate(found, package_id=package_id) is None


def test_a_suggestion_changes_no_manifest_and_is_not_left_out(services, tmp_path, include):
    batch_id, complete = world.designers_batch(services, tmp_path)
    package_id = packages.freeze(services, batch_id=batch_id, version_ids=complete)
    include.vocabulary(lambda told: told["facets"]["usage"].update(picture={"en": "picture"}))
    include.taggers(brief={"threshold": 0.9})
    found = include.services()
    told = retag.apply(found, run_id=retag.propose(found, person="libby"), person="libby", unsampled=True)
    assert told["outcomes"]["applied"] >= 2
    assert packages.revalidate(found, package_id=package_id) is None


def test_what_is_under_a_legal_hold_stays_as_it_is(library):
    services, ids = library
    with services.session() as session:
        asset_id = session.get_one(Version, ids[0]).asset_id
    run_id = retag.propose(services, person="libby")
    place_hold(services, reason="claim", person="lena", asset_id=asset_id)
    told = retag.apply(services, run_id=run_id, person="libby", unsampled=True, approved=True)
    assert told["left_out"] == {"it is under a legal hold": 2}
    assert "subject/coffee" in applied(services, ids[0])


# -------------------------------------------------------------------------------- killed, and repeated


class Killed(Exception):
    """The process was killed here."""


def test_a_comparison_that_was_killed_goes_on_where_it_stopped(library, monkeypatch):
    services, ids = library
    monkeypatch.setattr(compare, "CHUNK", 2)
    looked = []
    original = compare.differences

    def differences(services, taxonomy, session, version, asked):
        looked.append(version.id)
        if len(looked) == 4:
            raise Killed
        return original(services, taxonomy, session, version, asked)

    monkeypatch.setattr(compare, "differences", differences)
    with pytest.raises(Killed):
        retag.propose(services, person="libby")
    run_id = retag.propose(services, person="libby")
    told = retag.summary(services, run_id=run_id)
    assert (told["looked_at"], told["versions"], told["tags"]["added"]) == (5, 5, 5)
    with services.session() as session:
        assert session.scalar(select(func.count()).select_from(RetagRun)) == 1
    assert sorted(set(looked)) == sorted(ids)
    assert len(looked) == 4 + 3  # the second chunk again, and the last


@pytest.mark.parametrize("step", ["apply", "roll_back"])
def test_a_kill_in_the_middle_leaves_all_or_nothing(library, monkeypatch, step):
    services, _ = library
    monkeypatch.setattr(turning, "CHUNK", 2)
    run_id = retag.propose(services, person="libby")
    if step == "roll_back":
        retag.apply(services, run_id=run_id, person="libby", unsampled=True)
    before = rows(services)
    original, parts = turning._write, []

    def write(session, effect):
        parts.append(1)
        if len(parts) == 2:
            raise Killed
        original(session, effect)

    monkeypatch.setattr(turning, "_write", write)
    more = {"unsampled": True} if step == "apply" else {}
    with pytest.raises(Killed):
        getattr(retag, step)(services, run_id=run_id, person="libby", **more)
    assert rows(services) == before
    monkeypatch.setattr(turning, "_write", original)
    told = getattr(retag, step)(services, run_id=run_id, person="libby", **more)
    assert told["outcomes"] == {"applied" if step == "apply" else "rolled_back": 10}
    assert rows(services) != before


def test_a_tag_that_changed_since_is_left_as_it_is(library):
    services, _ = library
    first, second = (retag.propose(services, person="libby") for _ in range(2))
    retag.apply(services, run_id=first, person="libby", unsampled=True)
    after = rows(services)
    told = retag.apply(services, run_id=second, person="libby", unsampled=True)
    assert told["left_out"] == {"the tag is not what it was compared with": 10}
    assert rows(services) == after


def test_only_what_came_in_since_is_looked_at(library):
    from datetime import timedelta

    from dam.catalog.models import utcnow

    services, _ = library
    run_id = retag.propose(services, person="libby", since=utcnow() + timedelta(days=1))
    assert retag.summary(services, run_id=run_id)["looked_at"] == 0


def test_a_run_is_cut_off_before_it_grows_too_large(library, monkeypatch):
    services, _ = library
    monkeypatch.setattr(compare, "CHUNK", 2)
    monkeypatch.setattr(compare, "MOST", 3)
    told = retag.summary(services, run_id=retag.propose(services, person="libby"))
    assert told["versions"] == 4
    assert "It stops at 3 changed versions" in told["notes"][0]


# ------------------------------------------------------------------------------------------ paid taggers


def test_a_paid_tagger_is_asked_within_its_budget_and_silence_removes_nothing(services, tmp_path, include):
    include.taggers(paid={"class": "test_retag:Paid", "cost": 1, "budget": {"money_a_day": 3}})
    found = include.services()
    paths = [world.picture(tmp_path / "in", f"{name}.jpg", seed=at) for at, name in enumerate("abcd")]
    batch_id = world.drop(found, "drops/a", paths)
    world.ingest(found, batch_id)
    [chunk] = tags.plan_later(found, batch_id=batch_id)
    tags.tag_later(found, version_ids=chunk[:2])
    run_id = retag.propose(found, person="libby", tagger_names=["paid"])
    told = retag.summary(found, run_id=run_id)
    assert told["notes"] == ["paid: its budget of 3 a day is used up"]
    assert told["tags"] == {"added": 0, "removed": 0, "changed": 0}  # asked about the first; the rest is silence
    assert len(rows(found, source="paid")) == 2


# --------------------------------------------------------------------------------------------- commands


def test_the_commands(library, monkeypatch):
    services, _ = library
    for name in ("catalog_url", "storage_url", "include", "signing_key"):
        monkeypatch.setenv(f"DAM_{name.upper()}", str(getattr(services.settings, name)))

    def dam(*words):
        return CliRunner().invoke(app, ["tags", *words])

    shown = dam("retag", "--person", "libby")
    assert "5 change: 5 added, 5 removed, 0 changed." in shown.stdout
    assert "Nobody has looked yet: 5 versions wait" in shown.stdout
    run_id = shown.stdout.split()[0]
    assert run_id in dam("runs").stdout
    assert dam("apply", run_id, "--person", "libby").exit_code == 2
    assert "Ask a librarian" in dam("apply", run_id, "--person", "vic", "--unsampled").output
    assert "is applied" in dam("apply", run_id, "--person", "libby", "--unsampled").stdout
    assert "is rolled back" in dam("rollback", run_id, "--person", "libby").stdout
    assert '"rolled_back_by": "libby"' in dam("show", run_id, "--json").stdout
    assert "no date" in dam("retag", "--since", "soon").output
    told = dam("taggers").stdout
    assert "rekognition: off, from 0.85 on it is applied; budget: 5 money a day, 50 money a month; took 0 calls" in told
    assert "learned: on, afterwards" in told
    assert "it has learned nothing yet" in told
    assert "it needs 100 versions" in dam("learn").output


def test_changes_are_kept_with_what_became_of_them(library):
    services, ids = library
    run_id = retag.propose(services, person="libby")
    accept(services, run_id, but={ids[0]})
    retag.apply(services, run_id=run_id, person="libby")
    with services.session() as session:
        kept = session.scalars(select(RetagChange).where(RetagChange.version_id == ids[0])).all()
        events = session.scalars(select(AuditEvent.subject_id).where(AuditEvent.action == "version.retagged")).all()
    assert {(change.outcome, change.note) for change in kept} == {("left_out", "refused in the sample")}
    assert sorted(events) == sorted(ids[1:])
