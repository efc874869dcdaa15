"""Creator tasks: one for each deliverable, done when every file is there under its name."""

from __future__ import annotations

import pytest

import world
from dam.catalog.models import CreatorTask
from dam.create import deliverables
from dam.errors import BadInput, NotFound, Refused
from dam.ingest import batches
from dam.plan import briefs


@pytest.fixture
def brief_id(services):
    return world.signed_brief(services)


@pytest.fixture
def opened(services, brief_id):
    return deliverables.open_tasks(services, brief_id=brief_id)


def put(services, opened, *names):
    for name in names:
        services.storage.inbox.put(f"{opened['location']}/{name}", b"x")
    return deliverables.arrived(services, batch_id=opened["batch_id"])


HERO_A, HERO_B = (f"SPRING27-HERO-{variant}_ACME_20270301_v01.jpg" for variant in "AB")


def test_a_signed_brief_opens_one_task_for_each_deliverable(services, brief_id, opened):
    assert [(task["project"], task["assignee"]) for task in opened["tasks"]] == [
        ("SPRING27-HERO-A", "dario"),
        ("SPRING27-HERO-B", "dario"),
    ]
    assert opened["location"].startswith("campaigns/spring-2027/")
    assert deliverables.open_tasks(services, brief_id=brief_id) == opened


def test_a_brief_that_is_not_signed_opens_nothing(services):
    drafted = briefs.draft(services, form=world.form(), drafted_by="maya")["brief_id"]
    with pytest.raises(Refused, match="the brief is draft"):
        deliverables.open_tasks(services, brief_id=drafted)
    with pytest.raises(NotFound):
        deliverables.open_tasks(services, brief_id="brf_none")


def test_creators_are_told_what_is_missing_and_what_is_misnamed(services, brief_id, opened):
    state = put(
        services, opened, HERO_A, "hero b final FINAL.jpg", HERO_B.replace("v01", "v07"), HERO_B.replace("ACME", "EMCA")
    )
    assert (state["complete"], state["arrived"]) == (False, [HERO_A])
    assert state["missing"] == ["SPRING27-HERO-B_ACME_…_v01"]
    told = {row["name"]: row["problem"] for row in state["misnamed"]}
    assert "Name it like" in told["hero b final FINAL.jpg"]
    assert "answers no open task" in told[HERO_B.replace("v01", "v07")]
    assert "SPRING27-HERO-B_ACME_…_v01" in told[HERO_B.replace("ACME", "EMCA")]
    with pytest.raises(Refused, match="is missing"):
        deliverables.submit(services, batch_id=opened["batch_id"])
    assert put(services, opened, HERO_B)["complete"]


def test_paperwork_beside_the_files_is_nothing_misnamed(services, opened):
    state = put(services, opened, HERO_A, HERO_B, "SHA256SUMS", "batch.yaml", "_COMPLETE", "bagit.txt")
    assert (state["complete"], state["misnamed"]) == (True, [])


def test_two_files_for_one_task_are_told(services, opened):
    state = put(services, opened, HERO_A, HERO_A.replace(".jpg", ".tif"), HERO_B)
    assert state["complete"]
    [extra] = state["misnamed"]
    assert "answers the same task" in extra["problem"]


def test_submitting_closes_the_tasks_once(services, brief_id, opened):
    put(services, opened, HERO_A, HERO_B)
    for _ in range(2):
        deliverables.submit(services, batch_id=opened["batch_id"])
    with services.session() as session:
        assert {task.status for task in session.query(CreatorTask)} == {"done"}
    assert deliverables.open_tasks(services, brief_id=brief_id) == opened
    assert deliverables.arrived(services, batch_id=opened["batch_id"])["complete"]


def test_the_next_brief_asks_for_the_next_version(services, tmp_path):
    world.designers_batch(services, tmp_path)
    following = deliverables.open_tasks(services, brief_id=world.signed_brief(services, budget=50000))
    state = deliverables.arrived(services, batch_id=following["batch_id"])
    assert state["missing"] == ["SPRING27-HERO-A_ACME_…_v02", "SPRING27-HERO-B_ACME_…_v02"]


def statuses(services, batch_id):
    with services.session() as session:
        return [task.status for task in session.query(CreatorTask).filter(CreatorTask.batch_id == batch_id)]


def test_a_later_brief_cancels_what_is_still_owed_for_the_one_before(services, brief_id, opened):
    put(services, opened, HERO_A)
    later = world.signed_brief(services, budget=50000)
    assert statuses(services, opened["batch_id"]) == ["cancelled", "cancelled"]
    state = put(services, opened, HERO_B)
    assert (state["complete"], state["cancelled"], state["missing"]) == (False, True, [])
    with pytest.raises(deliverables.Cancelled):
        deliverables.submit(services, batch_id=opened["batch_id"])
    with pytest.raises(deliverables.Cancelled, match="brief 2 of spring-2027 took its place"):
        deliverables.open_tasks(services, brief_id=brief_id)
    following = deliverables.open_tasks(services, brief_id=later)
    state = put(services, following, HERO_A, HERO_B)
    assert (state["complete"], state["cancelled"]) == (True, False)
    deliverables.submit(services, batch_id=following["batch_id"])
    assert statuses(services, following["batch_id"]) == ["done", "done"]


def test_signing_again_cancels_nothing(services, brief_id, opened):
    world.sign_brief(services, brief_id)
    assert statuses(services, opened["batch_id"]) == ["open", "open"]


def test_a_later_brief_leaves_what_was_delivered(services, tmp_path):
    batch_id, _ = world.designers_batch(services, tmp_path)
    world.signed_brief(services, budget=50000)
    assert statuses(services, batch_id) == ["done", "done"]
    deliverables.submit(services, batch_id=batch_id)


def test_reopening_needs_a_package_that_asked_for_changes(services):
    with pytest.raises(NotFound, match="no such package"):
        deliverables.reopen(services, package_id="pkg_none")


def test_reopening_an_approved_package_is_refused(services, tmp_path):
    batch_id, version_ids = world.designers_batch(services, tmp_path)
    from dam.review import packages

    package_id = packages.freeze(services, batch_id=batch_id, version_ids=version_ids)
    world.sign_all(services, package_id)
    with pytest.raises(BadInput, match="waits for changes"):
        deliverables.reopen(services, package_id=package_id)


# ------------------------------------------------------------------------------------------ what arrives


def test_a_file_that_is_still_being_written_has_not_arrived(services, opened):
    world.limit(services, settle_seconds=30)
    state = put(services, opened, HERO_A, HERO_B)
    assert (state["complete"], state["arrived"], state["arriving"]) == (False, [], [HERO_A, HERO_B])
    with pytest.raises(Refused, match="is missing"):
        deliverables.submit(services, batch_id=opened["batch_id"])
    world.limit(services, settle_seconds=0)
    assert deliverables.arrived(services, batch_id=opened["batch_id"])["complete"]


def test_what_systems_leave_and_sidecars_are_nothing_misnamed(services, opened):
    state = put(services, opened, HERO_A, HERO_B, ".DS_Store", HERO_A.replace(".jpg", ".xmp"))
    assert (state["complete"], state["misnamed"]) == (True, [])


def deliver(services, opened, tmp_path, **files):
    """Put files under their names, submit and ingest them; return the receipt's rows by name."""
    for name, data in files.items():
        services.storage.inbox.put(f"{opened['location']}/{name}", data)
    deliverables.submit(services, batch_id=opened["batch_id"])
    world.ingest(services, opened["batch_id"])
    return {row["path"]: row for row in batches.receipt(services, batch_id=opened["batch_id"])}


def test_misnamed_files_are_not_ingested_but_told_in_the_receipt(services, opened, tmp_path):
    good = [world.picture(tmp_path, f"{n}.jpg", seed=n).read_bytes() for n in range(4)]
    files = {HERO_A: good[0], HERO_B: good[1], "hero final.jpg": good[2], HERO_A.replace("v01", "v07"): good[3]}
    rows = deliver(services, opened, tmp_path, **files)
    assert {name: row["outcome"] for name, row in rows.items()} == {
        HERO_A: "ingested", HERO_B: "ingested", "hero final.jpg": "opaque", HERO_A.replace("v01", "v07"): "opaque",
    }  # fmt: skip
    assert "Name it like" in rows["hero final.jpg"]["reason"]
    assert rows["hero final.jpg"]["reason"].endswith("It stays in the inbox.")
    batches.close(services, batch_id=opened["batch_id"])
    left = {entry.key.rsplit("/", 1)[1] for entry in services.storage.inbox.list()}
    assert left == {"hero final.jpg", HERO_A.replace("v01", "v07")}


def test_the_task_of_a_file_that_the_gate_refused_opens_again_with_the_reason(services, opened, tmp_path):
    damaged = world.truncated(world.picture(tmp_path, "a.jpg", seed=1), 0.5).read_bytes()
    known = world.picture(tmp_path, "b.jpg", seed=2)
    world.ingest(services, world.drop(services, "drops/before", [known]))
    rows = deliver(services, opened, tmp_path, **{HERO_A: damaged, HERO_B: known.read_bytes()})
    assert {row["outcome"] for row in rows.values()} == {"quarantined", "duplicate"}
    assert len(deliverables.refused(services, batch_id=opened["batch_id"])) == 2
    again = deliverables.open_again(services, batch_id=opened["batch_id"])
    assert again["batch_id"] != opened["batch_id"]
    assert deliverables.open_again(services, batch_id=opened["batch_id"]) == again
    notes = {task["project"]: task["note"] for task in again["tasks"]}
    assert "cut off" in notes["SPRING27-HERO-A"]
    assert "in the library already" in notes["SPRING27-HERO-B"]
    with services.session() as session:
        open_tasks = session.query(CreatorTask).filter_by(status="open").all()
        assert {(task.round, task.batch_id) for task in open_tasks} == {(2, again["batch_id"])}
    new = {name: world.picture(tmp_path, name, seed=seed).read_bytes() for seed, name in enumerate((HERO_A, HERO_B), 7)}
    rows = deliver(services, again, tmp_path, **new)
    assert {row["outcome"] for row in rows.values()} == {"ingested"}
    assert deliverables.refused(services, batch_id=again["batch_id"]) == []


def test_nothing_opens_again_when_every_deliverable_was_taken(services, tmp_path):
    batch_id, _ = world.designers_batch(services, tmp_path)
    assert deliverables.refused(services, batch_id=batch_id) == []
    with pytest.raises(BadInput, match="every deliverable in it was taken"):
        deliverables.open_again(services, batch_id=batch_id)
