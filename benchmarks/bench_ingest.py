"""Ingest of many photographs through Airflow against the same work called as a plain library.

    python benchmarks/bench_ingest.py [--photos 1000] [--workers 2] [--folder .dam/bench]

Both take the same files of 12 megapixels through the same gate with as many processes, and hold them to the
same contract; one has Airflow's scheduler, api-server and database around it, the other a process pool.
The plain run is made first, with Airflow down. What is compared is the time from the plan to the closed batch.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from datetime import date, datetime
from decimal import Decimal
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ["VIPS_CONCURRENCY"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "plugins"))

import psycopg
import yaml

from dam.catalog import session as catalog
from dam.catalog.models import Campaign
from dam.demo import photos
from dam.enrich import contracts
from dam.ingest import batches, gate
from dam.services import Services
from dam.settings import PROJECT, Settings
from runtime.client import Person, wait_for
from runtime.stack import Stack

WIDTH, HEIGHT = 4000, 3000
CARD = {
    "campaign": "bench",
    "supplier": "Northlight",
    "sent_by": "northlight",
    "rights": {
        "licence": "NORTHLIGHT-1", "holder": "Northlight Pictures", "kind": "rights_managed", "territories": ["*"],
        "channels": ["*"], "starts_on": "2027-01-01", "ends_on": "2028-01-01",
        "model_release": "signed", "property_release": "not_needed",
    },
}  # fmt: skip


def cut(job: tuple[int, str, str]) -> None:
    """Write one photograph: a part of another, turned and mirrored, of 12 MP, with its metadata."""
    import pyvips

    number, source, target = job
    chance = random.Random(number)
    image = pyvips.Image.new_from_file(source)
    width = min(image.width, int(image.width * chance.uniform(0.45, 0.95)))
    height = min(image.height, int(width * HEIGHT / WIDTH))
    left, top = chance.randint(0, image.width - width), chance.randint(0, image.height - height)
    part = image.crop(left, top, width, height).thumbnail_image(WIDTH, height=HEIGHT, size="force")
    if chance.random() < 0.5:
        part = part.fliphor()
    if chance.random() < 0.3:
        part = part.flipver()
    part = part.linear([chance.uniform(0.7, 1.2) for _ in range(part.bands)], chance.uniform(-20, 20)).cast("uchar")
    part.write_to_file(f"{target}.part.jpg", Q=95)
    Path(f"{target}.part.jpg").replace(target)


def make_photos(folder: Path, count: int) -> list[Path]:
    """Return ``count`` different photographs of 12 MP, made once."""
    base = [path for path in photos.make(folder / "base", today=date(2027, 3, 1)).good if path.suffix == ".jpg"]
    (folder / "photos").mkdir(parents=True, exist_ok=True)
    wanted = [folder / "photos" / f"BENCH-{number:05}_ACME_20270301_v01.jpg" for number in range(count)]
    jobs = [
        (number, str(base[number % len(base)]), str(path)) for number, path in enumerate(wanted) if not path.exists()
    ]
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        list(pool.map(cut, jobs, chunksize=8))
    return wanted


def drop(services: Services, files: Iterable[Path]) -> str:
    """Put the files into the inbox as a supplier's drop; return its location."""
    with services.session() as session:
        session.add(
            Campaign(
                slug="bench", name="Bench", project="BENCH", client="ACME", starts_on=date(2027, 1, 1),
                ends_on=date(2028, 1, 1), markets=["DE"], channels=["web"], budget=Decimal(0),
            )
        )  # fmt: skip
    location = "drops/bench"
    inbox = Path(services.storage.inbox.where(location))
    inbox.mkdir(parents=True)
    for path in files:
        os.link(path, inbox / path.name)
    services.storage.inbox.put(f"{location}/batch.yaml", yaml.safe_dump(CARD).encode())
    services.storage.inbox.put(f"{location}/_COMPLETE", b"")
    return location


def ingest(job: tuple[Settings, str, list[str]]) -> None:
    """Take one chunk through the gate, as the mapped task does."""
    settings, batch_id, file_ids = job
    gate.ingest_chunk(Services(settings), batch_id=batch_id, file_ids=file_ids)


def plain(settings: Settings, files: list[Path], workers: int) -> float:
    """Return the seconds of the plain library."""
    services = Services(settings)
    batch_id = batches.register(services, location=drop(services, files), source="inbox", sent_by="bench")
    began = time.perf_counter()
    chunks = batches.plan_chunks(services, batch_id=batch_id)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        list(pool.map(ingest, [(settings, batch_id, chunk) for chunk in chunks]))
    report = contracts.check(services, batch_id=batch_id)
    counts = batches.close(services, batch_id=batch_id)
    seconds = time.perf_counter() - began
    assert not report.incomplete, "the photographs are made to be complete"
    print(
        f"plain library        {seconds:7.1f} s   {len(files) / seconds:5.2f} files/s   {counts}, {len(chunks)} chunks"
    )
    return seconds


def through_airflow(stack: Stack, services: Services, files: list[Path]) -> float:
    """Return the seconds from the claim of the batch to its end, as Airflow recorded them."""
    ada = Person(stack.url, "ada", wait_for("the log-ins", lambda: stack.passwords().get("ada"), 60))
    drop(services, files)
    run = wait_for("the batch", lambda: next(iter(ada.runs("ingest_batch")), None), 120)
    run_id = str(run["dag_run_id"])
    tasks: dict[str, list[dict[str, Any]]] = {}

    def closed() -> bool | None:
        tasks.clear()
        for task in ada.tasks("ingest_batch", run_id):
            tasks.setdefault(task["task_id"], []).append(task)
        if any(task["state"] == "failed" for found in tasks.values() for task in found):
            raise SystemExit(ada.failure("ingest_batch", run_id))
        return tasks["close"][0]["state"] == "success" or None

    wait_for("the end of the batch", closed, 3600, 2.0)
    moment = datetime.fromisoformat
    began, ended = moment(tasks["plan_chunks"][0]["start_date"]), moment(tasks["close"][0]["end_date"])
    seconds = (ended - began).total_seconds()
    print(f"through Airflow      {seconds:7.1f} s   {len(files) / seconds:5.2f} files/s")
    for name in ("plan_chunks", "ingest_chunk", "plan_tags", "metadata_contract", "empty_inbox", "close"):
        spans = [(moment(task["start_date"]), moment(task["end_date"])) for task in tasks[name]]
        first, last = min(start for start, _ in spans), max(end for _, end in spans)
        busy = sum((end - start).total_seconds() for start, end in spans)
        print(
            f"  {name:18} {(last - first).total_seconds():7.1f} s from {(first - began).total_seconds():6.1f} s on,"
            f" {len(spans)} tasks, {busy:.1f} s in them"
        )
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--photos", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=PROJECT / ".dam" / "bench")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    files = make_photos(given.folder.resolve(), given.photos)
    print(
        f"{len(files)} photographs, {sum(path.stat().st_size for path in files) / 1e9:.2f} GB, {given.workers} workers"
    )
    state = given.folder.resolve() / "state"
    stack = Stack(
        state=state, port=18480, origin_port=18488, smtp_port=0,
        extra_env={
            "AIRFLOW__CORE__PARALLELISM": str(given.workers),
            "VIPS_CONCURRENCY": "1",
            "DAM_SCHEDULES": "off",
        },
    )  # fmt: skip
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir()
    try:
        server = stack.start_database()
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute("CREATE DATABASE plain")
        settings = Settings(
            catalog_url=server.replace("postgresql://", "postgresql+psycopg://").replace("/postgres?", "/plain?"),
            storage_url=str(state / "plain"),
        )
        catalog.upgrade(settings.catalog_url)
        alone = plain(settings, files, given.workers)
        env = stack.start(say=lambda _: None)
        through = through_airflow(stack, Services(Settings.from_env(environ=env)), files)
        print(f"orchestration adds {(through / alone - 1) * 100:.1f} %")
    finally:
        stack.stop()
        shutil.rmtree(state, ignore_errors=True)


if __name__ == "__main__":
    main()
