"""A whole stack of its own for the end-to-end tests: PostgreSQL, Airflow, origin and mail, on free ports."""

from __future__ import annotations

import json
import shutil
import socket
import tempfile
from pathlib import Path

import pytest

from runtime.demo import play
from runtime.stack import Stack

CHROMIUM = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-sync", "--disable-quic"]  # fmt: skip


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def airflow_port() -> int:
    """Return a free port whose log-server neighbours are valid as well."""
    return next(port for port in (free_port() for _ in range(100)) if port < 60000)


@pytest.fixture(scope="session")
def stack():
    """A started stack; its state folder is removed at the end."""
    state = Path(tempfile.mkdtemp(prefix="dam-e2e-"))
    state.chmod(0o755)  # PostgreSQL runs as a user of its own when we are root
    made = Stack(state=state, port=airflow_port(), origin_port=free_port(), smtp_port=free_port())
    try:
        made.start(say=print)
        yield made
    finally:
        made.stop()
        shutil.rmtree(state, ignore_errors=True)


@pytest.fixture(scope="session")
def told(stack):
    """What the demo campaign on that stack came to: the content of demo.json."""
    return json.loads(play(stack, say=print).read_text())


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM)
        yield opened
        opened.close()
