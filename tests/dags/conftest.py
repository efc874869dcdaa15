"""An Airflow of one's own for the tests of one module, with the DAGs they name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dam.services import Services
from dam.settings import PROJECT

RUN = """
import sys, json
from airflow.dag_processing.dagbag import DagBag
done = DagBag(sys.argv[1]).dags[sys.argv[2]].test(run_conf=json.loads(sys.argv[3]))
tasks = done.get_task_instances()
states = {task.task_id: str(task.state) for task in tasks}
states |= {f"{task.task_id}/{task.map_index}": str(task.state) for task in tasks if task.map_index >= 0}
print(json.dumps({"run": str(done.state)} | states))
"""


@pytest.fixture(scope="module")
def airflow(tmp_path_factory) -> Callable[[Path], dict[str, str]]:
    """Returns a function that makes an Airflow with a folder of DAGs and returns its environment."""

    def make(dags: Path) -> dict[str, str]:
        folder = tmp_path_factory.mktemp("airflow")
        env = os.environ | {
            "AIRFLOW_HOME": str(folder),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder / 'airflow.db'}",
            "PYTHONPATH": os.pathsep.join([str(PROJECT / "plugins"), str(PROJECT)]),
        }
        for command in (["db", "migrate"], ["dags", "reserialize"]):
            subprocess.run([sys.executable, "-m", "airflow", *command], env=env, check=True, capture_output=True)
        return env

    return make


@pytest.fixture
def play(home: dict[str, str], services: Services) -> Callable[..., dict[str, str]]:
    """Returns a function that runs a DAG in the module's ``home`` and returns the state of the run and of each task.

    It takes the DAG's id and the run's conf; ``before``: Python that is run there first; ``on``: other services. A
    mapped task's states are there by ``id/index``, too.
    """

    def work(dag_id: str, conf: dict[str, Any], *, before: str = "", on: Services = services) -> dict[str, str]:
        told = on.settings
        env = home | {
            "DAM_CATALOG_URL": told.catalog_url,
            "DAM_STORAGE_URL": told.storage_url,
            "DAM_ORIGIN_URL": told.origin_url,
            "DAM_CMS_URL": told.cms_url,
            "DAM_CMS_TOKEN": told.cms_token,
        }
        done = subprocess.run(
            [sys.executable, "-c", before + RUN, home["AIRFLOW__CORE__DAGS_FOLDER"], dag_id, json.dumps(conf)],
            env=env, capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        lines = [line for line in done.stdout.splitlines() if line.startswith('{"run"')]
        assert lines, done.stderr[-4000:]
        states: dict[str, str] = json.loads(lines[-1])
        return states

    return work
