"""First start of the production shape: both databases, both migrations, the people of ``workflow.yaml``.

Safe to run at every start: what is there is left as it is. Everybody gets a password of their own, written
once to ``first-passwords.json`` in the keys volume, for whoever hands them out.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import psycopg

from dam.catalog import session as catalog
from dam.errors import BadInput, DamError
from dam.settings import PROJECT, catalog_url
from dam.workflow import Workflow

#: Roles of FAB by the role in workflow.yaml.
FAB_ROLES = {"viewer": "Viewer", "user": "User", "op": "Op", "admin": "Admin"}
#: Passwords that stand in URLs: RFC 3986 lets these characters stand there as they are.
IN_URLS = ("POSTGRES_PASSWORD", "REDIS_PASSWORD")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]+")


def check_settings(given: Mapping[str, str]) -> None:
    """Look at what was written into ``.env``.

    :raises BadInput: a password that stands in URLs has characters that end it there, such as ``@`` or ``/``.
    """
    for name in IN_URLS:
        if not _UNRESERVED.fullmatch(given.get(name, "")):
            raise BadInput(
                "is empty or has characters other than letters, digits, '.', '_', '~' and '-'",
                where=f"{name} in .env",
                remedy='Take the output of: python -c "import secrets; print(secrets.token_urlsafe(24))"',
            )


def first_passwords(file: Path, usernames: Iterable[str]) -> dict[str, str]:
    """Return everybody's first password; new people get one, and the file (mode 0600) keeps it.

    What the file says already is never changed, so that a start that was killed goes on with the same.
    """
    kept: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}
    fresh = {name: secrets.token_urlsafe(12) for name in usernames if name not in kept}
    if fresh:
        file.parent.mkdir(parents=True, exist_ok=True)
        scratch = file.with_suffix(".part")
        scratch.unlink(missing_ok=True)
        scratch.touch(mode=0o600)
        scratch.write_text(json.dumps(kept | fresh, indent=2))
        scratch.replace(file)
    return kept | fresh


def _make_databases(url: str) -> None:
    """Create the databases ``airflow`` and ``catalog`` on the server that ``url`` points at."""
    server = url.replace("postgresql+psycopg2://", "postgresql://").rsplit("/", 1)[0] + "/postgres"
    with psycopg.connect(server, autocommit=True) as connection:
        there = {row[0] for row in connection.execute("SELECT datname FROM pg_database")}
        for name in ("airflow", "catalog"):
            if name not in there:
                connection.execute(f"CREATE DATABASE {name}".encode())


def _airflow(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "airflow", *arguments], check=True, cwd=PROJECT)


def _make_people(file: Path) -> None:
    """Create a FAB user for every person who has none; an existing one keeps role and password."""
    from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder

    with get_application_builder() as builder:
        manager = builder.sm
        people = Workflow.load(PROJECT / "include" / "templates" / "workflow.yaml").people.values()
        new = [person for person in people if not manager.find_user(username=person.username)]
        passwords = first_passwords(file, [person.username for person in new])
        for person in new:
            first, _, last = person.name.partition(" ")
            role = manager.find_role(FAB_ROLES[person.airflow_role])
            if not manager.add_user(person.username, first, last, person.email, role, passwords[person.username]):
                raise BadInput(f"{person.username} could not be created", where="FAB auth manager")


def main() -> None:
    """Prepare everything the other services wait for."""
    check_settings(os.environ)
    _make_databases(os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"])
    _airflow("db", "migrate")
    catalog.upgrade(catalog_url(os.environ["AIRFLOW_CONN_DAM_CATALOG"]))
    _airflow("fab-db", "migrate")
    _make_people(Path(os.environ["AIRFLOW_HOME"]) / "keys" / "first-passwords.json")


if __name__ == "__main__":
    try:
        main()
    except DamError as error:
        sys.exit(str(error))
