"""A whole stack of its own for the end-to-end tests: PostgreSQL, Airflow, origin and mail, on free ports."""

from __future__ import annotations

import json
import random
import shutil
import socket
import tempfile
from pathlib import Path

import pytest

from dam.services import Services
from dam.settings import Settings
from e2e.ending import end_state
from runtime.demo import play
from runtime.stack import Stack


def free_port(beside: tuple[int, ...] = ()) -> int:
    """Return a port that nobody has now, nor those so far above it.

    It lies below the ports that the kernel gives to outgoing connections: one of those would take it again.
    """
    ports = (random.randrange(12_000, 30_000) for _ in range(1_000))
    return next(port for port in ports if all(is_free(port + above) for above in (0, *beside)))


def is_free(port: int) -> bool:
    """Return whether a server could listen on a port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
        return True


def airflow_port() -> int:
    """Return a free port whose log-server neighbours are free as well."""
    return free_port(beside=(713, 714))


@pytest.fixture(scope="session")
def stack():
    """A started stack; its state folder is removed at the end."""
    state = Path(tempfile.mkdtemp(prefix="dam-e2e-"))
    state.chmod(0o755)  # PostgreSQL runs as a user of its own when we are root
    made = Stack(
        state=state, port=airflow_port(), origin_port=free_port(), smtp_port=free_port(),
        extra_env={"DAM_SCHEDULES": "off"},  # the tests come out alike at any hour
    )  # fmt: skip
    try:
        made.start(say=print)
        yield made
    finally:
        made.stop()
        shutil.rmtree(state, ignore_errors=True)


@pytest.fixture(scope="session")
def played(stack):
    """The demo campaign, played on that stack: the content of demo.json, and the end state just then."""
    story = json.loads(play(stack, say=print).read_text())
    library = Services(Settings.from_env(environ=stack.env(stack.start_database())))
    ending = end_state(library)
    library.engine.dispose()
    return story, ending


@pytest.fixture(scope="session")
def told(played):
    """What the demo campaign on that stack came to: the content of demo.json."""
    return played[0]


@pytest.fixture(scope="session")
def ending(played):
    """The end state of the demo campaign on that stack, before any test changed it."""
    return played[1]
