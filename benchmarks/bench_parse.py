"""Parsing our DAG files against parsing a trivial one.

    python benchmarks/bench_parse.py [--rounds 5]

Each file is parsed as the dag-processor does it: in a process of its own that has Airflow loaded (and frozen
from garbage collection) and nothing of ours, so that what a file imports counts as its own. Rounds alternate;
the median counts. "Whole process" adds starting Python and loading Airflow, which is what a fresh worker pays
before each task.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
TRIVIAL = '''"""A trivial DAG."""

from airflow.sdk import DAG
from airflow.providers.standard.operators.empty import EmptyOperator

with DAG(dag_id="trivial", schedule=None):
    EmptyOperator(task_id="nothing")
'''
PARSE = """
import gc, json, sys, time
began = time.perf_counter()
import airflow.sdk, airflow.models.serialized_dag
import airflow.providers.standard.operators.empty, airflow.providers.standard.operators.trigger_dagrun
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization
gc.freeze()
loaded = time.perf_counter()
bag = DagBag(sys.argv[1], collect_dags=False)
bag.process_file(sys.argv[1])
assert bag.dags, bag.import_errors
for dag in bag.dags.values():
    DagSerialization.to_dict(dag)
ended = time.perf_counter()
print(json.dumps([ended - loaded, ended - began]))
"""


def once(file: Path, env: dict[str, str]) -> tuple[float, float]:
    """Return the seconds of parsing a file, and of the whole process."""
    done = subprocess.run(
        [sys.executable, "-c", PARSE, str(file)], env=env, stdout=subprocess.PIPE, text=True, check=True
    )
    parse, whole = json.loads(done.stdout.splitlines()[-1])
    return parse, whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        trivial = Path(folder) / "trivial.py"
        trivial.write_text(TRIVIAL)
        env = os.environ | {
            "AIRFLOW_HOME": folder,
            "PYTHONPATH": f"{PROJECT / 'plugins'}{os.pathsep}{PROJECT}",
            "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        }
        files = [trivial, *sorted((PROJECT / "dags").glob("*.py"))]
        for file in files:
            once(file, env)
        seconds: dict[Path, list[tuple[float, float]]] = {file: [] for file in files}
        for _ in range(rounds):
            for file in files:
                seconds[file].append(once(file, env))
    middle = {
        file: tuple(statistics.median(column) for column in zip(*found, strict=True)) for file, found in seconds.items()
    }
    print(f"{'':26} {'parse':>8}    ratio   whole process   ratio")
    for file, (parse, whole) in middle.items():
        print(
            f"{file.name:26} {parse * 1000:6.0f} ms   {parse / middle[trivial][0]:5.2f} × "
            f"{whole * 1000:10.0f} ms   {whole / middle[trivial][1]:5.2f} ×"
        )


if __name__ == "__main__":
    main()
