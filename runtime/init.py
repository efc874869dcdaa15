"""First start of the production shape: both databases, both migrations, the people of ``workflow.yaml``.

Safe to run at every start: what is there is left as it is.
"""

from __future__ import annotations

import os
import subprocess
import sys

import psycopg

from dam.catalog import session as catalog
from dam.errors import BadInput
from dam.settings import PROJECT, catalog_url
from dam.workflow import Workflow

#: Roles of FAB by the role in workflow.yaml.
FAB_ROLES = {"viewer": "Viewer", "user": "User", "op": "Op", "admin": "Admin"}


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


def _make_people(password: str) -> None:
    """Create a FAB user for every person who has none; an existing one keeps role and password."""
    from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder

    with get_application_builder() as builder:
        manager = builder.sm
        for person in Workflow.load(PROJECT / "include" / "templates" / "workflow.yaml").people.values():
            if manager.find_user(username=person.username):
                continue
            first, _, last = person.name.partition(" ")
            role = manager.find_role(FAB_ROLES[person.airflow_role])
            if not manager.add_user(person.username, first, last, person.email, role, password):
                raise BadInput(f"{person.username} could not be created", where="FAB auth manager")


def main() -> None:
    """Prepare everything the other services wait for."""
    _make_databases(os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"])
    _airflow("db", "migrate")
    catalog.upgrade(catalog_url(os.environ["AIRFLOW_CONN_DAM_CATALOG"]))
    _airflow("fab-db", "migrate")
    _make_people(os.environ["DAM_PEOPLE_PASSWORD"])


if __name__ == "__main__":
    main()
