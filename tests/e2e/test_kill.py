"""``kill -9`` of the workers in the middle of every stage: the campaign ends as an undisturbed one does."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psycopg
import pytest
from sqlalchemy import select

from dam import audit
from dam.catalog.models import Publication, Version
from dam.services import Services
from dam.settings import Settings
from e2e.compose import Composition
from e2e.conftest import airflow_port, free_port
from e2e.ending import end_state
from runtime.demo import play

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

#: Where the workers are killed: in the stage's task, when it is about to write down what it did.
KILLS = {
    "plan": ("plan_brief", "draft"),
    "create": ("create_assets", "open_tasks"),
    "inbox": ("inbox_watch", "register"),
    "ingest": ("ingest_batch", "ingest_chunk"),
    "review": ("review_package", "seat"),
    "render": ("activate_package", "render"),
    "publish": ("activate_package", "publish"),
    "measure": ("measure_nightly", "kpi_report"),
    "expiry": ("licence_expiry_sweep", "takedown"),
    "archive": ("archive_nightly", "cold_storage"),
}
#: There, everything of Airflow is killed, not the workers alone.
EVERYTHING = "ingest"


@dataclass
class Killer(threading.Thread):
    """Watches Airflow's tasks while the campaign is played, and kills the workers once in every stage.

    So that a blow falls in the middle of a task and not by luck, the audit trail is locked as soon as the
    task is due: it does its work, files and HTTP included, and hangs before it can commit. Then it is killed.
    """

    composed: Composition
    killed: dict[str, str] = field(default_factory=dict)
    over: threading.Event = field(default_factory=threading.Event)
    problem: Exception | None = None

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        try:
            airflow, catalog = (self.composed.database(name) for name in ("airflow", "catalog"))
            with psycopg.connect(airflow, autocommit=True) as tasks, psycopg.connect(catalog) as lock:
                while not self.over.is_set() and len(self.killed) < len(KILLS):
                    for place in set(KILLS) - set(self.killed):
                        self.look(tasks, lock, place)
                    time.sleep(0.05)
        except Exception as error:  # noqa: BLE001 - told by the first test
            self.problem = error

    def look(self, tasks: psycopg.Connection, lock: psycopg.Connection, place: str) -> None:
        """Kill when the place's task is in the middle of its work; one that slips through is let go."""
        due = self.states(tasks, place, ("scheduled", "queued", "running"))
        if not due:
            return
        lock.execute("LOCK TABLE audit_events IN SHARE ROW EXCLUSIVE MODE")
        end = time.monotonic() + 60
        while time.monotonic() < end:
            running = self.states(tasks, place, ("running",))
            hangs = lock.execute(
                "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'audit_events'::regclass"
            ).fetchone()
            if running and hangs and hangs[0]:
                break
            if not self.states(tasks, place, ("scheduled", "queued", "running")):
                lock.rollback()
                return
            time.sleep(0.05)
        time.sleep(0.3)
        names = [name for name in self.composed.names if name.startswith("worker")]
        if place == EVERYTHING:
            names += ["scheduler", "triggerer", "dag-processor", "api-server"]
        for name in names:
            self.composed.stop_process(name, kill=True)
        # what ran beside it was killed as well, and may get no second chance
        for other in set(KILLS) - set(self.killed) - ({EVERYTHING} - {place}):
            if hit := self.states(tasks, other, ("running",)):
                self.killed[other] = hit[0]
        lock.rollback()
        self.composed.start(say=lambda _: None)

    @staticmethod
    def states(tasks: psycopg.Connection, place: str, states: tuple[str, ...]) -> list[str]:
        """Return the runs in which the place's task is in one of these states, at its first try."""
        rows = tasks.execute(
            "SELECT run_id FROM task_instance WHERE dag_id = %s AND task_id = %s AND state = ANY(%s)"
            " AND try_number <= 1 ORDER BY run_id",
            [*KILLS[place], list(states)],
        )
        return [row[0] for row in rows]


@pytest.fixture(scope="module")
def killed():
    """A composition whose workers were killed in every stage of the campaign; yields it and the killer."""
    state = Path(tempfile.mkdtemp(prefix="dam-kill-"))
    state.chmod(0o755)
    made = Composition(
        state=state, port=airflow_port(), origin_port=free_port(), smtp_port=free_port(),
        postgres_port=free_port(), redis_port=free_port(), s3_port=free_port(),
        # the dead are noticed sooner than in production, and no nightly DAG comes between
        extra_env={
            "DAM_SCHEDULES": "off",
            "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "15",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
        },
    )  # fmt: skip
    killer = Killer(made)
    try:
        made.start(say=print)
        killer.start()
        play(made, say=print)
        yield made, killer
    finally:
        killer.over.set()
        if killer.is_alive():
            killer.join(60)
        print(f"killed: {killer.killed}; {killer.problem!r}")  # noqa: T201 - what a failure needs
        made.stop()
        shutil.rmtree(state, ignore_errors=True)


@pytest.fixture(scope="module")
def survivor(killed):
    made = Services(Settings.from_env(environ=killed[0].outside()))
    yield made
    made.engine.dispose()


def test_the_workers_were_killed_in_the_middle_of_every_stage(killed):
    composed, killer = killed
    assert killer.problem is None
    assert set(killer.killed) == set(KILLS)
    with psycopg.connect(composed.database("airflow")) as connection:
        for place, run_id in killer.killed.items():
            dag_id, task_id = KILLS[place]
            tries = connection.execute(
                "SELECT max(try_number) FROM task_instance WHERE dag_id = %s AND run_id = %s AND task_id = %s",
                [dag_id, run_id, task_id],
            ).fetchone()
            assert tries is not None
            assert tries[0] >= 2, place


def test_the_end_is_that_of_an_undisturbed_campaign(survivor, ending):
    found = end_state(survivor)
    for part, value in ending.items():
        assert found[part] == value, part


def test_nothing_is_published_twice(killed, survivor):
    """Each live publication has its own address, and the CMS holds one entry for each, no more."""
    entries = json.loads((killed[0].state / "cms.json").read_text())["entries"]
    with survivor.session() as session:
        rows = session.scalars(select(Publication)).all()
    cms = [row for row in rows if row.channel == "cms"]
    assert len(entries) == len(cms)
    assert sum(entry is not None for entry in entries.values()) == sum(row.status == "live" for row in cms)
    urls = [row.live_url for row in rows if row.live_url]
    assert len(urls) == len(set(urls))
    for row in rows:
        assert (httpx.get(row.live_url).status_code == 200) == (row.status == "live")


def test_every_byte_is_where_the_catalogue_says(survivor):
    with survivor.session() as session:
        for version in session.scalars(select(Version)):
            store, key = survivor.storage.resolve(version.storage_uri)
            assert store.digest(key) == version.sha256, version.storage_uri


def test_the_audit_chain_still_verifies(survivor):
    report = audit.verify(survivor)
    assert report.ok, report.problem
