"""What is released from quarantine after its batch was checked catches up with it: once, and whoever is killed."""

from __future__ import annotations

import itertools
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

import world
from clamd import clamd
from dam.catalog import claims
from dam.catalog.models import Asset, Batch, BatchFile, ContractResult, StageClaim, Version, VersionState
from dam.create import deliverables
from dam.enrich import contracts
from dam.ingest import batches, drops, gate, local, released
from dam.ingest.scanner import Scanner
from dam.review import packages

FIRST, SECOND, THIRD = (f"ingest_batch/r{number}" for number in (1, 2, 3))


@pytest.fixture
def waiting(services, tmp_path):
    """Services whose gate sets aside what was not scanned, and a scanner's address that nothing listens at yet."""
    world.limit(services, unscanned="block", settle_seconds=0)
    services.__dict__["scanner"] = Scanner(f"unix:{tmp_path}/clamd.ctl")
    return services


@contextmanager
def scanner(tmp_path):
    """Have the scanner answer."""
    (tmp_path / "clamd.ctl").unlink(missing_ok=True)
    with clamd(tmp_path / "clamd.ctl"):
        yield


def rescan(services, tmp_path):
    with scanner(tmp_path):
        return local.rescan(services)


def dropped(services, tmp_path, *, scanned=(), unscanned=("LATE",), bare=()):
    """Take a batch through the gate; some files are scanned, others wait for that. :param bare: without metadata."""
    files = [
        world.picture(
            tmp_path, f"{name}_ACME_20270301_v01.jpg", seed=sum(name.encode()), xmp={} if name in bare else None
        )
        for name in (*scanned, *unscanned)
    ]
    batch_id = world.drop(services, "drops/a", files)
    claims.claim(services, stage="ingest_batch", key=batch_id, run=FIRST)
    chunks = batches.plan_chunks(services, batch_id=batch_id)
    with services.session() as session:
        rows = session.execute(select(BatchFile.path, BatchFile.id).where(BatchFile.batch_id == batch_id)).all()
    clean = [file_id for path, file_id in rows if path.split("_")[0] in scanned]
    if clean:
        with scanner(tmp_path):
            gate.ingest_chunk(services, batch_id=batch_id, file_ids=clean)
    gate.ingest_chunk(services, batch_id=batch_id, file_ids=[file_id for chunk in chunks for file_id in chunk])
    return batch_id


def names(services, version_ids):
    with services.session() as session:
        found = session.scalars(select(Version).where(Version.id.in_(version_ids))).all()
        return sorted(version.asset.name.removesuffix("_ACME") for version in found)


def handed_on(services, batch_id, run):
    """Check as a run does; return the names of what goes to review, and of what goes to the librarian."""
    report = contracts.hand_on(services, batch_id=batch_id, run=run)
    return names(services, report.complete), names(services, report.incomplete)


def status(services, batch_id):
    return batches.card(services, batch_id=batch_id)["status"]


def taken_up(services, batch_id, run):
    """Take a batch up as the next run does that hears of it; False when it hears of nothing."""
    if not drops.discover(services):
        return False
    assert batches.register(services, location="drops/a", source="inbox", sent_by="airflow") == batch_id
    assert claims.claim(services, stage="ingest_batch", key=batch_id, run=run) == run
    assert batches.plan_chunks(services, batch_id=batch_id) == []
    return True


def test_a_closed_batch_is_taken_up_again_for_what_was_released(waiting, tmp_path):
    batch_id = dropped(
        waiting, tmp_path, scanned=("ONE", "BARE"), unscanned=("LATE", "LATEBARE"), bare=("BARE", "LATEBARE")
    )
    assert handed_on(waiting, batch_id, FIRST) == (["ONE"], ["BARE"])
    batches.close(waiting, batch_id=batch_id, run=FIRST)
    assert drops.discover(waiting) == []

    assert rescan(waiting, tmp_path) == {"ingested": 2}
    assert rescan(waiting, tmp_path) == {}
    assert drops.discover(waiting) == drops.discover(waiting) == ["drops/a"]  # told until somebody takes it up
    assert taken_up(waiting, batch_id, SECOND)
    assert drops.discover(waiting) == []
    for _ in range(2):  # killed and run again
        assert handed_on(waiting, batch_id, SECOND) == (["LATE"], ["LATEBARE"])
    assert status(waiting, batch_id) == "waiting"
    assert "LATEBARE_ACME" in {row["asset"] for row in contracts.missing(waiting, batch_id=batch_id)}
    with waiting.session() as session:
        checked = session.scalars(select(ContractResult.version_id).where(ContractResult.batch_id == batch_id)).all()
        [late] = names_of(session, "LATE")
    assert late in checked
    assert packages.freeze(waiting, batch_id=batch_id, version_ids=[late])
    for _ in range(2):
        batches.close(waiting, batch_id=batch_id, run=SECOND)
        assert status(waiting, batch_id) == "done"
    assert (drops.discover(waiting), rescan(waiting, tmp_path)) == ([], {})
    told = {row["asset"]: " ".join(row["notes"]) for row in batches.receipt(waiting, batch_id=batch_id)}
    assert {name for name, notes in told.items() if "goes the way of the others" in notes} == {
        "LATE_ACME", "LATEBARE_ACME",
    }  # fmt: skip


def names_of(session, name):
    return session.scalars(select(Version.id).join(Version.asset).where(Asset.name == f"{name}_ACME")).all()


def test_what_is_released_does_not_wait_for_the_librarian_who_has_others_to_fill_in(waiting, tmp_path):
    batch_id = dropped(waiting, tmp_path, scanned=("ONE", "BARE"), bare=("BARE",))
    assert handed_on(waiting, batch_id, FIRST) == (["ONE"], ["BARE"])
    rescan(waiting, tmp_path)
    assert handed_on(waiting, batch_id, FIRST) == (["ONE"], ["BARE"])  # its task was killed and is run again
    assert taken_up(waiting, batch_id, SECOND)
    assert handed_on(waiting, batch_id, SECOND) == (["LATE"], [])
    assert status(waiting, batch_id) == "waiting"
    batches.close(waiting, batch_id=batch_id, run=SECOND)
    assert status(waiting, batch_id) == "waiting", "the librarian still has a question open"
    assert waiting.storage.inbox.list("drops/a/"), "and the files are the first run's to let go"
    batches.close(waiting, batch_id=batch_id, run=FIRST)
    assert status(waiting, batch_id) == "done"
    assert list(waiting.storage.inbox.list("drops/a/")) == []
    assert drops.discover(waiting) == []


def test_the_first_run_may_end_while_the_second_is_still_at_it(waiting, tmp_path):
    batch_id = dropped(waiting, tmp_path, scanned=("BARE",), bare=("BARE", "LATE"))
    handed_on(waiting, batch_id, FIRST)
    rescan(waiting, tmp_path)
    taken_up(waiting, batch_id, SECOND)
    assert handed_on(waiting, batch_id, SECOND) == ([], ["LATE"])
    batches.close(waiting, batch_id=batch_id, run=FIRST)
    assert status(waiting, batch_id) == "waiting"
    batches.close(waiting, batch_id=batch_id, run=SECOND)
    assert status(waiting, batch_id) == "done"


def test_what_is_released_before_the_check_is_checked_with_the_others(waiting, tmp_path):
    batch_id = dropped(waiting, tmp_path, scanned=("ONE",))
    assert rescan(waiting, tmp_path) == {"ingested": 1}
    assert drops.discover(waiting) == []
    assert handed_on(waiting, batch_id, FIRST) == (["LATE", "ONE"], [])
    batches.close(waiting, batch_id=batch_id, run=FIRST)
    assert (status(waiting, batch_id), drops.discover(waiting)) == ("done", [])


def test_what_is_released_between_check_and_close_is_found_by_closing(waiting, tmp_path):
    batch_id = dropped(waiting, tmp_path, scanned=("ONE",))
    assert handed_on(waiting, batch_id, FIRST) == (["ONE"], [])
    rescan(waiting, tmp_path)
    for _ in range(2):
        batches.close(waiting, batch_id=batch_id, run=FIRST)
        assert drops.discover(waiting) == ["drops/a"]
    assert taken_up(waiting, batch_id, SECOND)
    assert handed_on(waiting, batch_id, SECOND) == (["LATE"], [])
    batches.close(waiting, batch_id=batch_id, run=SECOND)
    assert (status(waiting, batch_id), drops.discover(waiting)) == ("done", [])


@pytest.mark.parametrize("step", ["note", "_take_up_again"])
def test_killed_while_it_is_noted_it_is_not_released_either(waiting, tmp_path, monkeypatch, step):
    batch_id = dropped(waiting, tmp_path)
    handed_on(waiting, batch_id, FIRST)
    batches.close(waiting, batch_id=batch_id, run=FIRST)

    def killed(*_args, **_kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(released, step, killed)
        with pytest.raises(KeyboardInterrupt):
            rescan(waiting, tmp_path)
    with waiting.session() as session:
        assert session.scalars(select(Version)).one().state == VersionState.QUARANTINED
        assert session.scalars(select(StageClaim.run)).all() == [FIRST]
    assert (status(waiting, batch_id), drops.discover(waiting)) == ("done", [])
    assert rescan(waiting, tmp_path) == {"ingested": 1}
    assert drops.discover(waiting) == ["drops/a"]


def test_whoever_was_asked_to_send_again_stays_asked_once(waiting, tmp_path):
    batch_id = dropped(waiting, tmp_path)
    claims.claim(waiting, stage=claims.ASKING, key=batch_id, run="create_assets/r1")
    handed_on(waiting, batch_id, FIRST)
    batches.close(waiting, batch_id=batch_id, run=FIRST)
    rescan(waiting, tmp_path)
    assert taken_up(waiting, batch_id, SECOND)
    assert claims.owner(waiting, stage=claims.ASKING, key=batch_id) == "create_assets/r1"


def test_a_deliverable_goes_on_although_its_folder_is_no_drop(waiting, tmp_path):
    batch_id, _ = world.designers_batch(waiting, tmp_path)
    claims.claim(waiting, stage="ingest_batch", key=batch_id, run=FIRST)
    batches.close(waiting, batch_id=batch_id, run=FIRST)
    rescan(waiting, tmp_path)
    [location] = drops.discover(waiting)
    assert batches.register(waiting, location=location, source="inbox", sent_by="airflow") == batch_id
    assert not location.startswith(drops.DROPS)
    assert deliverables.refused(waiting, batch_id=batch_id) == []


def test_what_the_command_line_took_in_is_checked_by_it(waiting, tmp_path):
    folder = tmp_path / "own"
    world.picture(folder, "LATE_ACME_20270301_v01.jpg", xmp={})
    taken = local.take(waiting, local.find(folder), local.Sender("libby"))
    assert ([row["outcome"] for row in taken.rows], taken.incomplete) == (["quarantined"], 0)
    assert rescan(waiting, tmp_path) == {"ingested": 1}
    assert drops.discover(waiting) == []
    assert [row["asset"] for row in contracts.missing(waiting, batch_id=taken.batch_id)] == ["LATE_ACME"]
    assert status(waiting, taken.batch_id) == "done"
    with waiting.session() as session:
        results = len(session.scalars(select(ContractResult)).all())
    assert rescan(waiting, tmp_path) == {}
    with waiting.session() as session:
        assert len(session.scalars(select(ContractResult)).all()) == results


def test_the_command_line_makes_good_what_died_before_its_check(waiting, tmp_path):
    folder = tmp_path / "own"
    world.picture(folder, "LATE_ACME_20270301_v01.jpg", xmp={})
    taken = local.take(waiting, local.find(folder), local.Sender("libby"))
    with scanner(tmp_path):
        assert gate.scan_again(waiting) == {"ingested": 1}  # and then it died
    assert contracts.missing(waiting, batch_id=taken.batch_id) == []
    assert rescan(waiting, tmp_path) == {}
    assert [row["asset"] for row in contracts.missing(waiting, batch_id=taken.batch_id)] == ["LATE_ACME"]
    assert status(waiting, taken.batch_id) == "done"


# ------------------------------------------------------------------------------------------------ any order

_MANY = itertools.count()


def _version(session, batch, number):
    name = f"{batch.location}-{number}"
    version = Version(
        asset=Asset(name=name, kind="image"), number=1, batch=batch, filename=f"{number}.jpg",
        sha256=f"{next(_MANY):064x}", bytes=1, media_type="image/jpeg", storage_uri="vault:none", made_by="dario",
    )  # fmt: skip
    world.bring_to(session, version, VersionState.INGESTED)
    row = BatchFile(batch=batch, path=version.filename, bytes=1, outcome="ingested", version=version)
    session.add(row)
    session.flush()
    return row


class _Runs:
    """A batch, the runs over it, and what each of them handed on last."""

    def __init__(self, services, waits):
        self.services, self.waits, self.runs, self.closed, self.at_work = services, waits, {}, set(), []
        with services.session() as session:
            batch = Batch(source="inbox", location=f"drops/{next(_MANY)}", sent_by="dario", status="ingesting")
            session.add(batch)
            self.versions = {_version(session, batch, 0).version_id}
            self.batch_id = batch.id
        self.location = batches.card(services, batch_id=self.batch_id)["location"]
        self.start()

    def start(self):
        run = f"ingest_batch/r{len(self.runs)}"
        claims.claim(self.services, stage="ingest_batch", key=self.batch_id, run=run)
        self.runs[run] = None
        self.at_work.append(run)

    def hear(self):
        if self.location in drops.discover(self.services):
            self.start()
            self.take(len(self.at_work) - 1)

    def release(self):
        with self.services.session() as session:
            batch = session.get_one(Batch, self.batch_id)
            released.lock(session, batch)
            row = _version(session, batch, len(self.versions))
            released.note(session, row)
            self.versions.add(row.version_id)

    def take(self, number):
        if self.at_work:
            run = self.at_work[number % len(self.at_work)]
            with self.services.session() as session:
                batch = session.get_one(Batch, self.batch_id, with_for_update={"of": Batch})
                self.runs[run], late = released.take(session, batch, run)
                if self.waits and not late:
                    batch.status = "waiting"

    def close(self, number):
        if self.at_work:
            run = self.at_work[number % len(self.at_work)]
            if self.runs[run] is not None:
                self.at_work.remove(run)
                for _ in range(2):
                    batches.close(self.services, batch_id=self.batch_id, run=run)

    def end(self):
        for _ in range(20):
            for number in range(len(self.at_work)):
                if self.runs[self.at_work[number]] is None:
                    self.take(number)
            while self.at_work:
                self.close(0)
            self.hear()
            if not self.at_work:
                return


_STEPS = st.lists(
    st.sampled_from(["release", "hear"]) | st.tuples(st.sampled_from(["take", "close"]), st.integers(0, 2)), max_size=9
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_STEPS, waits=st.booleans())
@example(steps=[("take", 0), "release", "hear", ("close", 1), ("take", 0)], waits=True)
def test_whatever_happens_when_each_version_is_handed_on_by_one_run(services, steps, waits):
    runs = _Runs(services, waits)
    for step in steps:
        runs.release() if step == "release" else runs.hear() if step == "hear" else getattr(runs, step[0])(step[1])
    runs.end()
    handed = sorted(version_id for taken in runs.runs.values() for version_id in taken)
    assert handed == sorted(runs.versions)
    assert status(services, runs.batch_id) == "done"
    assert runs.location not in drops.discover(services)
