"""Parsing our DAG files against parsing a trivial one, as Airflow's dag-processor measures it.

    python benchmarks/bench_parse.py [--rounds 7] [--folder .dam/bench-parse]

A dag-processor of its own parses our files and a trivial one over and over, one at a time, each in a process of
its own; Airflow keeps how long each took, from the start of that process to its end. The median counts.

A file with 38 tasks costs Airflow more than one with a single task, whoever wrote it. So each of ours is also held
against a plain file: as many empty tasks in a row, and as many fields in its trigger form.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "plugins"))

import psycopg

from runtime.stack import OF_PROCESS, PROJECT, Stack

TRIVIAL = '''"""A trivial DAG."""

from airflow.sdk import DAG
from airflow.providers.standard.operators.empty import EmptyOperator

with DAG(dag_id="trivial", schedule=None):
    EmptyOperator(task_id="nothing")
'''

PLAIN = '''"""As many tasks as {name}, of Airflow's own."""

from airflow.sdk import DAG, Param, chain
from airflow.providers.standard.operators.empty import EmptyOperator

with DAG(
    dag_id="plain_{name}", schedule=None,
    params={{f"field_{{n}}": Param("", type="string", title="A", description="A field") for n in range({params})}},
):
    chain(*[EmptyOperator(task_id=f"task_{{n}}") for n in range({tasks})])
'''
SHAPES = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
print(json.dumps({dag.relative_fileloc: [len(dag.tasks), len(dag.params)] for dag in bag.dags.values()}))
"""


def add_plain(folder: Path, env: dict[str, str]) -> None:
    """Write a plain file beside each of ours."""
    done = subprocess.run(
        [sys.executable, "-c", SHAPES, str(folder)], env=env, stdout=subprocess.PIPE, text=True, check=True
    )
    for file, (tasks, params) in json.loads(done.stdout.splitlines()[-1]).items():
        name = Path(file).stem
        (folder / f"plain_{name}.py").write_text(PLAIN.format(name=name, tasks=tasks, params=params))


def parsed(database: str, rounds: int, files: int) -> dict[str, list[float]]:
    """Return, by file, how many seconds each of its parses took, once every file has been parsed so often."""
    found: dict[str, list[float]] = defaultdict(list)
    seen: set[tuple[str, str]] = set()
    end = time.monotonic() + 60 + 10 * rounds
    with psycopg.connect(database, autocommit=True) as airflow:
        while time.monotonic() < end:
            for name, when, seconds in airflow.execute(
                "SELECT relative_fileloc, last_parsed_time::text, last_parse_duration FROM dag"
                " WHERE last_parse_duration IS NOT NULL"
            ):
                if (name, when) not in seen:
                    seen.add((name, when))
                    found[name].append(seconds)
            if len(found) == files and min(map(len, found.values())) > rounds:
                return {name: seconds[1:] for name, seconds in found.items()}  # the first one compiles
            time.sleep(0.05)
    raise SystemExit(f"not every file was parsed {rounds} times: { {n: len(s) for n, s in found.items()} }")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path, default=PROJECT / ".dam" / "bench-parse")
    given = parser.parse_args()
    state = given.folder.resolve()
    shutil.rmtree(state, ignore_errors=True)
    shutil.copytree(PROJECT / "dags", state / "dags", ignore=shutil.ignore_patterns("__pycache__"))
    stack = Stack(
        state=state, port=18680, origin_port=18688, smtp_port=0, dags=state / "dags",
        extra_env={
            "DAM_SCHEDULES": "off",
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "0",
            "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
        },
    )  # fmt: skip
    processor = None
    try:
        uri = stack.start_database()
        env = os.environ | stack.env(uri)
        airflow = [sys.executable, "-m", "airflow"]
        subprocess.run([*airflow, "db", "migrate"], env=env, check=True, capture_output=True)
        add_plain(state / "dags", env)
        (state / "dags" / "trivial.py").write_text(TRIVIAL)
        with (state / "dag-processor.log").open("wb") as log:
            env |= OF_PROCESS["dag-processor"]
            processor = subprocess.Popen([*airflow, "dag-processor"], env=env, stdout=log, stderr=log)
        files = len(list((state / "dags").glob("*.py")))
        found = parsed(uri.replace("/postgres?", "/airflow?"), given.rounds, files)
    finally:
        if processor:
            processor.kill()  # SIGTERM can get lost in it
            processor.wait()
        stack.stop()
    middle = {name: statistics.median(seconds) for name, seconds in found.items()}
    print(f"{'':26} {'parse':>9}   / trivial   / plain of its shape")
    shares = []
    for name, seconds in sorted(middle.items(), key=lambda pair: pair[1]):
        if name != "trivial.py" and not name.startswith("plain_"):
            shares.append((seconds / middle["trivial.py"], seconds / middle[f"plain_{name}"]))
            print(f"{name:26} {seconds * 1000:6.0f} ms   {shares[-1][0]:7.2f} x   {shares[-1][1]:7.2f} x")
    trivial, plain = (statistics.median(column) for column in zip(*shares, strict=True))
    print(f"{'the median of ours':26} {'':9}   {trivial:7.2f} x   {plain:7.2f} x")
    print(f"{'trivial':26} {middle['trivial.py'] * 1000:6.0f} ms")
    shutil.rmtree(state)


if __name__ == "__main__":
    main()
