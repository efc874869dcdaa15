"""Sets Airflow's environment before anything imports it: a fresh home, no examples, our folders."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from dam.settings import PROJECT

HOME = Path(tempfile.mkdtemp(prefix="dam-airflow-"))
atexit.register(shutil.rmtree, HOME, ignore_errors=True)

os.environ |= {
    "AIRFLOW_HOME": str(HOME),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
    "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
    "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{HOME / 'airflow.db'}",
    # nothing runs here: a test that asks Airflow's API must be told so, not reach a stack of ours
    "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": "http://127.0.0.1:9/execution/",
    "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
    "DAM_SCHEDULES": "on",
    "PYTHONPATH": os.pathsep.join([str(PROJECT / "plugins"), str(PROJECT), os.environ.get("PYTHONPATH", "")]),
}
