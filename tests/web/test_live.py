"""Live events over real HTTP: two server processes over one PostgreSQL, clients at both."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import queue
import socket
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import httpx
import psycopg
import pytest
from sqlalchemy import select, text

import world
from dam.catalog.models import Presence, Version
from dam.review import packages
from dam.services import Services
from dam.settings import PROJECT, Settings

pytestmark = pytest.mark.slow  # two servers start, with Airflow's auth manager
SEEDS = itertools.count(1)  # the same picture would be the same version
LONG = 30  # seconds that a test waits for what must come, at most


@pytest.fixture(scope="module")
def house(pg_uri, catalog_template, tmp_path_factory):
    """Services over a catalogue that the servers share."""
    name = f"t_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(pg_uri, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {catalog_template}".encode())
    url = pg_uri.replace("postgresql://", "postgresql+psycopg://").replace("/postgres?", f"/{name}?")
    folder = tmp_path_factory.mktemp("house")
    made = Services(Settings(catalog_url=url, storage_url=str(folder), signing_key=folder / "anchor.pem"))
    world.limit(made, settle_seconds=0)  # tests put whole files
    yield made
    made.engine.dispose()
    with psycopg.connect(pg_uri, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@contextlib.contextmanager
def serving(house):
    """Start a server; yield its process and address once it answers."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = house.settings
    env = os.environ | {
        "DAM_CATALOG_URL": settings.catalog_url,
        "DAM_STORAGE_URL": settings.storage_url,
        "DAM_SIGNING_KEY": str(settings.signing_key),
        "PYTHONPATH": os.pathsep.join([str(PROJECT / "plugins"), str(PROJECT / "tests"), str(PROJECT)]),
    }
    script = Path(__file__).with_name("live_server.py")
    with subprocess.Popen([sys.executable, str(script), str(port)], env=env) as process:
        base = f"http://127.0.0.1:{port}/dam"
        try:
            for _ in range(600):
                with contextlib.suppress(httpx.TransportError):
                    if httpx.get(f"{base}/", timeout=5).status_code == 401:
                        break
                assert process.poll() is None, "the server did not start"
                time.sleep(0.1)
            yield process, base
        finally:
            process.kill()


@pytest.fixture(scope="module")
def servers(house, auth):
    with serving(house) as (_, one), serving(house) as (_, other):
        yield one, other


@pytest.fixture
def package(house, tmp_path):
    """A package under review, of its own for each test, and its version."""
    files = [world.picture(tmp_path, "A.jpg", seed=next(SEEDS))]
    batch_id = world.drop(house, f"drops/{uuid.uuid4()}", files)
    world.ingest(house, batch_id)
    with house.session() as session:
        version_id = session.scalars(select(Version.id).where(Version.batch_id == batch_id)).one()
    return packages.freeze(house, batch_id=batch_id, version_ids=[version_id]), version_id


class Client:
    """A browser's ``EventSource``, as far as we need it: reads a stream in a thread of its own."""

    def __init__(self, base, token, package_id, *, since=None, last=None):
        self.base, self.headers = base, {"Authorization": f"Bearer {token}"}
        self.told = queue.Queue()
        self.ended = threading.Event()
        self.id = None
        self.raw = ""
        asked = self.headers | {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
        self._http = httpx.Client(timeout=LONG)
        request = self._http.build_request(
            "GET", f"{base}/api/packages/{package_id}/events", headers=asked, params={"since": since} if since else {}
        )
        self.reply = self._http.send(request, stream=True)
        assert self.reply.status_code == 200
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        event = {}
        with contextlib.suppress(httpx.HTTPError):
            for line in self.reply.iter_lines():
                self.raw += line + "\n"
                name, _, value = line.partition(": ")
                if line == "" and event:
                    self.id = event.get("id", self.id)
                    if "data" in event:
                        self.told.put((event["event"], json.loads(event["data"])))
                    event = {}
                elif line.startswith(":"):
                    self.told.put(("heartbeat", {"words": value}))
                elif line:
                    event[name] = value
        self.ended.set()

    def until(self, kind, fits=lambda data: True):
        """Return the first event of a kind that fits, and what came before it."""
        before = []
        while True:
            try:
                event, data = self.told.get(timeout=LONG)
            except queue.Empty:
                raise AssertionError(f"no {kind} came, but {before}") from None
            if event == kind and fits(data):
                return data, before
            before.append((event, data))

    def close(self):
        """Go away, as a browser does: the line is cut."""
        self._http.close()
        self.reply.close()


@pytest.fixture
def listen(servers, auth, package):
    """Opens a stream: ``listen(person, server)``. Unless told otherwise, all that it begins with is left out."""
    opened = []

    def made(person, server=0, *, base=None, whole=False, **more):
        client = Client(base or servers[server], auth[person], package[0], **more)
        opened.append(client)
        if not whole:
            client.until("presence", lambda data: person in {one["username"] for one in data["people"]})
        return client

    yield made
    for client in opened:
        client.close()


@pytest.fixture
def write(servers, auth, package):
    """Writes a note over HTTP: ``write(person, server)``; returns its JSON."""

    def made(person, server=0, body="The logo is too small.", **more):
        reply = httpx.post(
            f"{servers[server]}/api/packages/{package[0]}/annotations",
            json={"version_id": package[1], "body": body} | more,
            headers={"Authorization": f"Bearer {auth[person]}", "X-Requested-With": "dam"},
            timeout=LONG,
        )
        assert reply.status_code == 200, reply.text
        return reply.json()

    return made


def test_what_one_reviewer_writes_the_other_sees_without_a_reload(listen, write, package):
    bea, lena, maya = listen("bea", 0), listen("lena", 0), listen("maya", 1)
    made = write("bea", 0, kind="must_fix")
    for client in (bea, lena, maya):
        data, _ = client.until("annotation", lambda data: not data.get("all"))
        assert data == {"kind": "annotation", "id": made["annotation_id"]}
    path = f"{maya.base}/api/packages/{package[0]}/annotations"
    [note] = httpx.get(path, headers=maya.headers, timeout=LONG).json()
    assert (note["body"], note["author_name"]) == ("The logo is too small.", "Bea Okafor")
    assert lena.reply.headers["content-type"].startswith("text/event-stream")
    assert "content-encoding" not in lena.reply.headers
    assert lena.reply.headers["cache-control"] == "no-store"
    assert "default-src 'self'" in lena.reply.headers["content-security-policy"]


def test_a_private_note_reaches_nobody_else_in_any_form(listen, write):
    clients = {person: listen(person, server) for server, person in enumerate(("lena", "vic"))}
    secret = write("lena", 1, "Contract ends early", audience="legal_reviewer")
    public = write("bea", 0)
    for client in clients.values():
        client.until("annotation", lambda data: data["id"] == public["annotation_id"])
    assert secret["annotation_id"] in clients["lena"].raw
    assert secret["annotation_id"] not in clients["vic"].raw
    assert all("Contract" not in client.raw for client in clients.values())


def test_who_comes_back_hears_what_they_missed_and_elsewhere_reads_again(listen, write):
    bea, lena = listen("bea", 0), listen("lena", 0)
    first = write("bea")
    lena.until("annotation", lambda data: data["id"] == first["annotation_id"])
    lena.close()
    missed = write("bea", 1)
    bea.until("annotation", lambda data: data["id"] == missed["annotation_id"])
    data, before = listen("lena", 0, last=lena.id, whole=True).until("annotation")
    assert data == {"kind": "annotation", "id": missed["annotation_id"]}
    assert not any(told.get("all") for _, told in before)
    data, _ = listen("lena", 1, last=lena.id, whole=True).until("annotation")
    assert data["all"] is True


def test_a_page_goes_on_from_the_moment_it_was_read(listen, write, package):
    bea = listen("bea")
    page = httpx.get(f"{bea.base}/api/packages/{package[0]}", headers=bea.headers, timeout=LONG).json()
    made = write("lena", 1)
    bea.until("annotation", lambda data: data["id"] == made["annotation_id"])
    data, before = listen("bea", since=page["live"], whole=True).until("annotation")
    assert data == {"kind": "annotation", "id": made["annotation_id"]}
    assert not any(told.get("all") for _, told in before)


def test_signs_of_life_come_and_everybody_is_seen(listen):
    bea = listen("bea", 0)
    bea.until("heartbeat", lambda data: data["words"] == "still here")
    lena = listen("lena", 1)
    told, _ = bea.until("presence", lambda data: len(data["people"]) == 2)
    assert told["people"] == [
        {"username": "bea", "name": "Bea Okafor"}, {"username": "lena", "name": "Lena Vogt"},
    ]  # fmt: skip
    lena.close()
    told, _ = bea.until("presence", lambda data: len(data["people"]) == 1)
    assert [one["username"] for one in told["people"]] == ["bea"]


def test_a_stream_needs_a_log_in_and_a_package(servers, auth, package):
    for path, token, status in (
        (package[0], None, 401), (package[0], "nonsense", 401), ("pkg_none", auth["vic"], 404),
        ("a%00b", auth["vic"], 422),
    ):  # fmt: skip
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        reply = httpx.get(f"{servers[0]}/api/packages/{path}/events", headers=headers, timeout=LONG)
        assert reply.status_code == status


def test_a_cut_line_to_postgresql_is_mended_and_everybody_reads_again(listen, write, house):
    bea = listen("bea")
    with house.session() as session:
        ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'dam-live'"
        assert session.scalar(text(ended)) >= 1
    bea.until("package", lambda data: data.get("all"))
    bea.until("annotation", lambda data: data.get("all"))
    made = write("lena")
    bea.until("annotation", lambda data: data["id"] == made["annotation_id"])


def test_a_server_that_is_stopped_ends_its_streams_and_leaves_nobody_behind(house, auth, package, listen):
    with serving(house) as (process, base):
        client = listen("bea", base=base)
        process.terminate()
        assert client.ended.wait(LONG), "the stream goes on, and the server waits for it"
        assert process.wait(LONG) in (0, -15, 143)
    with house.session() as session:
        here = select(Presence.person).where(Presence.package_id == package[0])
        assert session.scalars(here).all() == []
