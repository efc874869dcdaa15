"""An Airflow of one's own for the tests of one module, with the DAGs they name."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dam.settings import PROJECT


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
