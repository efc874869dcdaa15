"""What 500 approvals cost while they wait for people.

    python benchmarks/bench_waiting.py [--seats 500] [--seconds 60]

Freezes packages and opens their two seats each as human tasks under the real scheduler, one run a package as
in ``review_package``. Compares the CPU time of all of Airflow's processes and of the database over a minute with none
waiting, with 40, and with all, and counts worker slots and triggers in use. 40 seats are 20 open runs: so many does
Airflow's scheduler look at once a second, however many there are.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "plugins"))

import numpy
import psutil
import psycopg
from PIL import Image

from dam.ingest import batches, gate
from dam.review import packages
from dam.services import Services
from dam.settings import PROJECT, Settings
from runtime.client import Person, wait_for
from runtime.stack import Stack

#: Open runs that the scheduler looks at in one pass (``max_dagruns_per_loop_to_schedule``).
LOOKED_AT = 20
WAITING = "SELECT count(*) FROM task_instance WHERE task_id = 'seat' AND state = 'awaiting_input'"
DAG = '''"""The seats of a package."""

from airflow.sdk import DAG, Param, task

from dam_operators.human import SeatOperator

with DAG(
    dag_id="waiting", schedule=None, params={"seats": Param([], type="array")}, max_active_tasks=1000,
    max_active_runs=1000,
):

    @task
    def seats(params=None):
        return params["seats"]

    SeatOperator.partial(task_id="seat").expand(seat_id=seats())
'''


def open_seats(services: Services, folder: Path, count: int) -> list[list[str]]:
    """Ingest small pictures, freeze a package of each, and return the ids of each one's seats."""
    folder.mkdir()
    dice = numpy.random.default_rng(1)
    location = "campaigns/bench"
    for number in range(-(-count // 2)):
        pixels = dice.integers(0, 255, (6, 8, 3), dtype=numpy.uint8)
        path = folder / f"WAIT-{number:04}_ACME_20270301_v01.png"
        Image.fromarray(pixels).resize((64, 48)).save(path)
        services.storage.inbox.put(f"{location}/{path.name}", path)
    batch_id = batches.register(services, location=location, source="inbox", sent_by="dario")
    for chunk in batches.plan_chunks(services, batch_id=batch_id):
        gate.ingest_chunk(services, batch_id=batch_id, file_ids=chunk)
    seats: list[list[str]] = []
    for row in batches.receipt(services, batch_id=batch_id):
        package = packages.freeze(services, batch_id=batch_id, version_ids=[row["version_id"]])
        seats.append([seat["seat_id"] for seat in packages.seats(services, package_id=package)])
    return seats


def by_process(stack: Stack) -> dict[str, float]:
    """Return the CPU seconds that each part has used so far, its children and those that ended included."""
    roots = {name: stack.process(name) for name in ("api-server", "scheduler", "dag-processor", "triggerer")}
    database = int((stack.state / "postgres" / "postmaster.pid").read_text().split()[0])
    roots["PostgreSQL"] = psutil.Process(database)
    used = dict.fromkeys(roots, 0.0)
    for name, root in roots.items():
        for process in [root, *root.children(recursive=True)] if root else []:
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            used[name] += times.user + times.system + times.children_user + times.children_system
    return used


def over(stack: Stack, seconds: float) -> float:
    """Return the share of one core that all of them use, watched for so long."""
    began, used = time.monotonic(), sum(by_process(stack).values())
    time.sleep(seconds)
    return (sum(by_process(stack).values()) - used) / (time.monotonic() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seats", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--folder", type=Path, default=PROJECT / ".dam" / "bench-waiting")
    given = parser.parse_args()
    state = given.folder.resolve()
    shutil.rmtree(state, ignore_errors=True)
    (state / "dags").mkdir(parents=True)
    (state / "dags" / "waiting.py").write_text(DAG)
    stack = Stack(
        state=state, port=18580, origin_port=18588, smtp_port=0,
        dags=state / "dags",
    )  # fmt: skip
    try:
        env = stack.start(say=lambda _: None)
        services = Services(Settings.from_env(environ=env))
        seats = open_seats(services, state / "pictures", given.seats)
        ada = Person(stack.url, "ada", wait_for("the log-ins", lambda: stack.passwords().get("ada"), 60))
        counts, shares = [0], []
        time.sleep(20)
        shares.append(over(stack, given.seconds))
        with psycopg.connect(stack.start_database().replace("/postgres?", "/airflow?"), autocommit=True) as airflow:

            def counted(what: str) -> int:
                row = airflow.execute(what.encode()).fetchone()
                return int(row[0]) if row else 0

            began = time.monotonic()
            for batch in (seats[:LOOKED_AT], seats[LOOKED_AT:]):
                for asked in batch:
                    ada.trigger("waiting", {"seats": asked})
                count = counts[-1] + sum(map(len, batch))
                wait_for("all seats", lambda count=count: counted(WAITING) == count or None, 1800, 2.0)
                opened = time.monotonic() - began
                time.sleep(20)
                parts = by_process(stack)
                shares.append(over(stack, given.seconds))
                parts = {name: seconds - parts[name] for name, seconds in by_process(stack).items()}
                counts.append(count)
            slots = counted("SELECT count(*) FROM task_instance WHERE state IN ('queued', 'running')")
            triggers = counted("SELECT count(*) FROM task_instance WHERE state = 'deferred'")
        print(f"{count} seats of {len(seats)} packages opened in {opened - given.seconds - 20:.0f} s")
        print(f"worker slots in use: {slots}; tasks in the triggerer: {triggers}")
        print("CPU of Airflow and PostgreSQL: " + ", ".join(
            f"{share * 100:.1f} % of a core with {count} waiting" for count, share in zip(counts, shares, strict=True)
        ))  # fmt: skip
        print("with all waiting: " + ", ".join(
            f"{name} {seconds / given.seconds * 100:.1f} %" for name, seconds in parts.items()
        ))  # fmt: skip
    finally:
        stack.stop()
        shutil.rmtree(state, ignore_errors=True)


if __name__ == "__main__":
    main()
