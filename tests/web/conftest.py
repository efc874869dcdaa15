"""The site over a test's services, with Airflow's own log-ins."""

from __future__ import annotations

import subprocess
import threading
from contextlib import contextmanager

import pytest

from airflow_home import HOME
from dam.settings import PROJECT

PEOPLE = ("maya", "dario", "bea", "lena", "libby", "ada", "vic")


@pytest.fixture(scope="session", autouse=True)
def front_end():
    """The front end, built from ``web/``; a moment where nothing changed since."""
    subprocess.run(["sh", "runtime/web.sh"], check=True, cwd=PROJECT)


@pytest.fixture(scope="session")
def serving():
    """Serves an app to browsers, on a port of its own: ``with serving(app) as address:``."""
    import uvicorn

    @contextmanager
    def serve(app, *, streams=False):
        """:param streams: it answers without an end, so that it has to be cut off when all is over."""
        server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            thread.join(0.05)
        try:
            yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        finally:
            server.should_exit = True
            server.force_exit = streams
            thread.join()

    return serve


@pytest.fixture(scope="module")
def auth(airflow_home):
    """Airflow's simple auth manager with our people."""
    import os

    os.environ["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"] = ",".join(
        f"{name}:{'viewer' if name == 'vic' else 'admin' if name == 'ada' else 'user'}" for name in PEOPLE
    )
    os.environ["AIRFLOW__API_AUTH__JWT_SECRET"] = "x" * 64
    os.environ["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"] = str(HOME / "passwords.json")
    from airflow.api_fastapi.app import create_auth_manager, get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from airflow.utils.db import initdb

    initdb()
    create_auth_manager().init()
    manager = get_auth_manager()
    roles = dict(pair.split(":") for pair in os.environ["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"].split(","))
    return {
        name: manager.generate_jwt(SimpleAuthManagerUser(username=name, role=role, teams=None))
        for name, role in roles.items()
    }


@pytest.fixture
def site(auth, services, monkeypatch):
    """The app over this test's services, and a function that makes a client for a person."""
    from fastapi.testclient import TestClient

    from dam_web import annotations, api, app, compare, deps, guests, librarian, live, media, pages, tiles
    from dam_web import auth as web_auth
    from dam_web import uploads as web_uploads

    patched = (deps, annotations, api, compare, guests, librarian, live, media, pages, tiles, web_auth, web_uploads)
    for module in patched:
        monkeypatch.setattr(module, "services", lambda: services)
    made = app.make_app()

    def client(person=None):
        headers = {"X-Requested-With": "dam"}
        if person:
            headers["Authorization"] = f"Bearer {auth[person]}"
        return TestClient(made, headers=headers, raise_server_exceptions=False, follow_redirects=False)

    client.app = made
    return client
