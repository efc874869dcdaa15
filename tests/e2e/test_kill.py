"""``kill -9`` of the workers in the middle of every stage: the campaign ends as an undisturbed one does."""

from __future__ import annotations

import json
import random
import shutil
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psycopg
import pytest
from sqlalchemy import func, select

from dam import audit
from dam.catalog.models import (
    ArchiveConfirmation,
    Asset,
    AuditEvent,
    BatchFile,
    Brief,
    Decision,
    NearDuplicate,
    Package,
    Publication,
    Rendition,
    Tag,
    Version,
)
from dam.services import Services
from dam.settings import Settings
from e2e.compose import Composition
from e2e.conftest import airflow_port, free_port
from runtime.demo import play
from runtime.stack import Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

#: Where the workers are killed: stage → tasks, and how many seconds at most after such a task began.
KILLS = {
    "plan": ("plan_brief", "draft", 0.4),
    "create": ("create_assets", "open_tasks", 0.4),
    "ingest": ("ingest_batch", "ingest_chunk", 3.0),
    "review": ("review_package", "verdict", 0.4),
    "render": ("activate_package", "render", 2.5),
    "publish": ("activate_package", "publish", 1.5),
    "measure": ("measure_nightly", "kpi_report", 0.6),
    "expiry": ("licence_expiry_sweep", "takedown", 1.5),
    "archive": ("archive_nightly", "cold_storage", 0.6),
}
#: There, everything of Airflow is killed, not the workers alone.
EVERYTHING = "ingest"


@dataclass
class Killer(threading.Thread):
    """Watches Airflow's tasks while the campaign is played, and kills the workers once in every stage.

    :param composed: what is killed. :param seed: of the moments; a failure names it.
    """

    composed: Composition
    seed: int
    killed: dict[str, str] = field(default_factory=dict)
    over: threading.Event = field(default_factory=threading.Event)
    problem: Exception | None = None

    def __post_init__(self) -> None:
        super().__init__(daemon=True)
        self.moments = random.Random(self.seed)
        self.spared: set[tuple[str, int]] = set()

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        try:
            with psycopg.connect(self.composed.database("airflow"), autocommit=True) as connection:
                while not self.over.is_set() and len(self.killed) < len(KILLS):
                    for place, (dag_id, task_id, most) in KILLS.items():
                        if place not in self.killed:
                            self.look(connection, place, dag_id, task_id, most)
                    time.sleep(0.03)
        except Exception as error:  # noqa: BLE001 - told by the first test
            self.problem = error

    def look(self, connection: psycopg.Connection, place: str, dag_id: str, task_id: str, most: float) -> None:
        """Kill when such a task runs; one that ended just before the blow does not count."""
        running = (
            "SELECT id::text, try_number, run_id FROM task_instance"
            " WHERE dag_id = %s AND task_id = %s AND state = 'running' ORDER BY id"
        )
        rows = [row for row in connection.execute(running, [dag_id, task_id]) if row[:2] not in self.spared]
        if not rows:
            return
        time.sleep(self.moments.uniform(0, most))
        names = [name for name in self.composed.names if name.startswith("worker")]
        if place == EVERYTHING:
            names += ["scheduler", "triggerer", "dag-processor", "api-server"]
        for name in names:
            self.composed.stop_process(name, kill=True)
        hit = [row for row in connection.execute(running, [dag_id, task_id]) if row[:2] not in self.spared]
        if hit:
            self.killed[place] = hit[0][2]
        else:
            self.spared |= {row[:2] for row in rows}
        self.composed.start(say=lambda _: None)


def end_state(services: Services) -> dict[str, object]:
    """Return what a campaign came to, without the ids and times that differ between two campaigns."""
    with services.session() as session:
        said = (
            select(Asset.name, Version.number, Publication.channel, Publication.status, func.count())
            .select_from(Publication)
            .join(Version, Version.id == Publication.version_id)
            .join(Asset, Asset.id == Version.asset_id)
            .group_by(Asset.name, Version.number, Publication.channel, Publication.status)
        )
        named = select(Asset.name, Version.number, func.count()).join(Asset, Asset.id == Version.asset_id)
        return {
            "briefs": sorted(session.scalars(select(Brief.status))),
            "versions": sorted(
                map(tuple, session.execute(
                    select(func.coalesce(Asset.name, ""), Version.number, Version.state, Version.tier)
                    .select_from(Version).outerjoin(Asset, Asset.id == Version.asset_id)
                ))
            ),
            "files": sorted(map(tuple, session.execute(select(BatchFile.path, BatchFile.outcome)))),
            "near duplicates": session.scalar(select(func.count()).select_from(NearDuplicate)),
            "packages": sorted(map(tuple, session.execute(select(Package.round, Package.status)))),
            "decisions": sorted(map(tuple, session.execute(select(Decision.person, Decision.verdict)))),
            "publications": sorted(map(tuple, session.execute(said))),
            "renditions": sorted(map(tuple, session.execute(
                named.select_from(Rendition).join(Version, Version.id == Rendition.version_id)
                .group_by(Asset.name, Version.number)
            ))),
            "tags": sorted(map(tuple, session.execute(
                named.select_from(Tag).join(Version, Version.id == Tag.version_id)
                .group_by(Asset.name, Version.number)
            ))),
            "confirmations": session.scalar(select(func.count()).select_from(ArchiveConfirmation)),
            "audit": Counter(session.scalars(select(AuditEvent.action))),
        }  # fmt: skip


@pytest.fixture(scope="module")
def killed():
    """A composition whose workers were killed in every stage of the campaign; yields it and the killer."""
    state = Path(tempfile.mkdtemp(prefix="dam-kill-"))
    state.chmod(0o755)
    made = Composition(
        state=state, port=airflow_port(), origin_port=free_port(), smtp_port=free_port(),
        postgres_port=free_port(), redis_port=free_port(), s3_port=free_port(),
        # a dead worker is noticed sooner than in production
        extra_env={
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "10",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
        },
    )  # fmt: skip
    killer = Killer(made, seed=20261124)
    try:
        made.start(say=print)
        killer.start()
        play(made, say=print)
        yield made, killer
    finally:
        killer.over.set()
        if killer.is_alive():
            killer.join(60)
        print(f"killed with seed {killer.seed}: {killer.killed}; {killer.problem!r}")  # noqa: T201 - what a failure needs to be made again
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
            dag_id, task_id, _ = KILLS[place]
            tries = connection.execute(
                "SELECT max(try_number) FROM task_instance WHERE dag_id = %s AND run_id = %s AND task_id = %s",
                [dag_id, run_id, task_id],
            ).fetchone()
            assert tries is not None
            assert tries[0] >= 2, place


def test_the_end_is_that_of_an_undisturbed_campaign(survivor, stack: Stack, told):
    undisturbed = Services(Settings.from_env(environ=stack.env(stack.start_database())))
    expected, found = end_state(undisturbed), end_state(survivor)
    undisturbed.engine.dispose()
    for part, value in expected.items():
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
