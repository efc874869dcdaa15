"""``docker-compose.yaml`` obeys the compose specification and defaults no secret."""

from __future__ import annotations

import json
import re
from pathlib import Path

import check_jsonschema
import pytest
import yaml
from jsonschema import Draft202012Validator

from dam.settings import PROJECT

TEXT = (PROJECT / "docker-compose.yaml").read_text()
COMPOSE = yaml.safe_load(TEXT)
SECRET = re.compile(r"PASSWORD|SECRET|FERNET|TOKEN|CONNECTION")


def schema() -> dict:
    """Return the compose specification's JSON schema, as check-jsonschema carries it."""
    folder = Path(check_jsonschema.__file__).parent / "builtin_schemas" / "vendor"
    return json.loads((folder / "compose-spec.json").read_text())


def test_obeys_the_compose_specification():
    faults = [f"{list(e.path)}: {e.message}" for e in Draft202012Validator(schema()).iter_errors(COMPOSE)]
    assert faults == []


def test_the_schema_would_notice_a_fault():
    broken = COMPOSE | {"services": {"api-server": {"imagee": "x"}}}
    assert list(Draft202012Validator(schema()).iter_errors(broken))


def test_has_every_service_of_the_production_shape():
    assert set(COMPOSE["services"]) == {
        "postgres", "redis", "init", "api-server", "scheduler", "dag-processor", "triggerer", "worker",
    }  # fmt: skip


def test_no_secret_has_a_default():
    for name, default in re.findall(r"\$\{(\w+):-([^}]*)\}", TEXT):
        if SECRET.search(name):
            assert default == "", f"{name} has a default"
    for service in COMPOSE["services"].values():
        for name, value in (service.get("environment") or {}).items():
            if SECRET.search(name) and value:
                assert str(value).startswith("${"), f"{name} is written into the file"


def test_every_variable_is_in_the_example_and_empty_there_the_needed_ones_first():
    lines = [line for line in (PROJECT / "compose.env.example").read_text().splitlines() if not line.startswith("#")]
    example = dict(line.split("=", 1) for line in lines if line)
    needed = set(re.findall(r"\$\{(\w+):\?", TEXT))
    assert set(list(example)[: len(needed)]) == needed
    # a site's own addresses and numbers stand in the file with their defaults
    network = {"DAM_IMAGE", "DAM_API_HOST", "DAM_API_PORT", "DAM_POSTGRES", "DAM_REDIS", "DAM_REDIS_PORT",
               "DAM_WORKER_CONCURRENCY", "DAM_WORKER_NAME", "DAM_SIGNING_KEY"}  # fmt: skip
    # $$NAME is the shell's in the container
    assert set(example) == set(re.findall(r"(?<!\$)\$\{(\w+)", TEXT)) - network
    secrets = [name for name in example if name != "DAM_STORAGE_CONNECTION"]
    assert {name: example[name] for name in secrets} == dict.fromkeys(secrets, "")
    assert json.loads(example["DAM_STORAGE_CONNECTION"])["password"] == ""


@pytest.mark.parametrize("service", ["api-server", "scheduler", "dag-processor", "triggerer", "worker", "init"])
def test_our_services_share_one_image_and_one_environment(service):
    ours = COMPOSE["services"][service]
    assert ours["image"] == "${DAM_IMAGE:-airflow-dam:latest}"
    shared = COMPOSE["x-airflow"]["environment"]
    assert shared.items() <= ours["environment"].items()


def test_the_access_log_is_in_a_folder_that_every_service_mounts():
    shared = COMPOSE["x-airflow"]
    folder = "/opt/airflow/access-log"
    assert shared["environment"]["DAM_ACCESS_LOG"] == f"${{DAM_ACCESS_LOG:-{folder}/access.log}}"
    assert f"${{DAM_ACCESS_LOG_FOLDER:-access-log}}:{folder}" in shared["volumes"]
    assert "access-log" in COMPOSE["volumes"]
