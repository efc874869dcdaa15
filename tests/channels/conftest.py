"""Real HTTP servers: one that answers what a test tells it to, and a world with an origin and a CMS."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dam import audit
from dam.catalog.models import (
    Asset,
    Batch,
    Campaign,
    Description,
    Grant,
    Licence,
    Publication,
    Version,
    VersionState,
    utcnow,
)
from dam.channels import publish
from dam.origin import OriginServer
from dam.review import packages, seats
from dam.services import Services
from dam.storage.folder import FolderStore
from world import bring_to


class Scripted:
    """Answers each request with the next ``(status, body)`` of ``answers``, the last one for ever.

    Status ``0`` closes the connection without an answer. ``seen`` are the requests it got.
    """

    def __init__(self) -> None:
        self.answers: list[tuple[int, Any]] = [(200, {})]
        self.seen: list[dict[str, Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                outer.seen.append(
                    {
                        "method": self.command,
                        "path": self.path,
                        "headers": dict(self.headers),
                        "body": json.loads(self.rfile.read(length) or b"null"),
                    }
                )
                status, body = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                if status == 0:
                    self.close_connection = True
                    return
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                if status in (301, 302):
                    self.send_header("Location", "/elsewhere")
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_DELETE = answer

            def log_message(self, *args: Any) -> None:
                """Keep quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    server = Scripted()
    yield server
    server.close()


CAMPAIGNS = {"image": "spring-2027", "document": "booklets-2027"}
REFERENCES = {"image": "CC-ACME-014", "document": "CC-ACME-015"}


@dataclass
class World:
    """A campaign with a reviewed package of one photograph (and what a test adds), a public origin and a
    CMS, both real servers."""

    services: Services
    origin: OriginServer
    package_id: str
    version_id: str
    entries: Path

    def version(self) -> Version:
        with self.services.session() as session:
            return session.get_one(Version, self.version_id)

    def publication(self, publication_id: str) -> Publication:
        with self.services.session() as session:
            return session.get_one(Publication, publication_id)

    def planned(self, channel: str | None = "web", **kwargs: Any) -> str:
        """Plan one channel (None: what the package is for) and return its publication's id."""
        wanted = [channel] if channel else None
        answer = publish.plan(self.services, package_id=self.package_id, channels=wanted, **kwargs)
        [row] = answer["publications"]
        return str(row["publication_id"])

    def publish(self, publication_id: str, **kwargs: Any) -> dict[str, Any]:
        return publish.publish(self.services, publication_id=publication_id, wait=no_wait, **kwargs)

    def withdraw(self, publication_id: str, **kwargs: Any) -> dict[str, Any]:
        told = {"actor": "lena", "reason": "a claim", "wait": no_wait} | kwargs
        return publish.withdraw(self.services, publication_id=publication_id, **told)

    def actions(self, subject_id: str) -> list[str]:
        with self.services.session() as session:
            return [event.action for event in reversed(audit.history(session, subject_id))]

    def files(self) -> list[str]:
        """Return the keys of everything on the origin."""
        return [entry.key for entry in self.services.storage.origin.list()]

    def at(self, **changes: Any) -> None:
        """Change settings from now on: the CMS's or the origin's address."""
        self.services.engine.dispose()
        self.services = Services(replace(self.services.settings, **changes))

    def entry_urls(self) -> list[str]:
        """Return the URLs of all entries the CMS ever made."""
        if not self.entries.exists():
            return []
        return [f"{self.origin.url}/entries/{name}" for name in json.loads(self.entries.read_text())["entries"]]

    def next_version(self) -> None:
        """Put the next version of the world's asset through the review: from now on the world's package and version."""
        picture = io.BytesIO()
        Image.radial_gradient("L").resize((640, 480)).convert("RGB").save(picture, "JPEG")
        stored = self.services.storage.vault.put_content(picture.getvalue(), suffix=".jpg")
        with self.services.session() as session:
            old = session.get_one(Version, self.version_id)
            location = f"drops/round-{old.number}"
            version = Version(
                asset=old.asset,
                number=(old.number or 0) + 1,
                batch=Batch(campaign=old.batch.campaign, source="inbox", location=location, sent_by="dario"),
                filename=old.filename.replace("v01", "v02"),
                sha256=stored.sha256,
                bytes=stored.bytes,
                media_type=old.media_type,
                storage_uri=stored.uri,
                width=640,
                height=480,
                made_by="dario",
            )
            bring_to(session, version, VersionState.INGESTED)
            session.add(_described(version))
            session.flush()
            batch_id, self.version_id = version.batch_id, version.id
        self.package_id = approved(self.services, batch_id=batch_id, version_ids=[self.version_id])

    def beside(self, **described: dict[str, Any]) -> dict[str, str]:
        """Put pictures through the review as one package, from now on the world's; return version ids by asset name.

        :param described: by asset name, what is known of each beside its title, e.g. an alt text.
        """
        found = {}
        with self.services.session() as session:
            campaign = session.get_one(Version, self.version_id).batch.campaign
            batch = Batch(campaign=campaign, source="inbox", location="drops/beside", sent_by="dario")
            for shade, (name, fields) in enumerate(described.items()):
                picture = io.BytesIO()
                Image.new("RGB", (640, 480), (shade, 90, 200)).save(picture, "JPEG")
                stored = self.services.storage.vault.put_content(picture.getvalue(), suffix=".jpg")
                version = Version(
                    asset=Asset(campaign=campaign, name=name, kind="image"), number=1, batch=batch,
                    filename=f"{name}.jpg", sha256=stored.sha256, bytes=stored.bytes, media_type="image/jpeg",
                    storage_uri=stored.uri, width=640, height=480, made_by="dario",
                )  # fmt: skip
                bring_to(session, version, VersionState.INGESTED)
                grant = Grant(
                    asset=version.asset, licence=session.query(Licence).first(), territories=["*"], channels=["*"],
                    starts_on=utcnow().date(),
                )  # fmt: skip
                session.add_all([grant, Description(version=version, title=name, updated_by="libby", **fields)])
                session.flush()
                found[name] = version.id
            batch_id = batch.id
        self.package_id = approved(self.services, batch_id=batch_id, version_ids=list(found.values()))
        return found

    def review(self, content: bytes, *, filename: str, kind: str, media_type: str) -> None:
        """Put another file through the review: from now on the world's package and version."""
        self.package_id, self.version_id = _reviewed(
            self.services, content, filename=filename, kind=kind, media_type=media_type
        )


def no_wait(seconds: float) -> None:
    """Wait for nothing."""


@pytest.fixture
def world(services: Services, tmp_path: Path) -> Iterator[World]:
    served = OriginServer(
        store=FolderStore("origin", tmp_path / "storage" / "origin"),
        log=tmp_path / "access.log",
        cms_token="t0p",
        cms_state=tmp_path / "cms.json",
    )
    with served as origin:
        settings = replace(services.settings, origin_url=origin.url, cms_url=origin.url, cms_token="t0p")
        picture = io.BytesIO()
        Image.linear_gradient("L").resize((640, 480)).convert("RGB").save(picture, "JPEG")
        made = World(Services(settings), origin, "", "", tmp_path / "cms.json")
        made.review(
            picture.getvalue(),
            filename="SPRING27-HERO-A_ACME_20270301_v01.jpg",
            kind="image",
            media_type="image/jpeg",
        )
        yield made
        made.services.engine.dispose()


def _reviewed(services: Services, content: bytes, *, filename: str, kind: str, media_type: str) -> tuple[str, str]:
    """Put one file of a new campaign through the review; return the approved package and the version."""
    suffix = Path(filename).suffix.lower()
    stored = services.storage.vault.put_content(content, suffix=suffix)
    today = utcnow().date()
    with services.session() as session:
        campaign = Campaign(
            slug=CAMPAIGNS[kind],
            name="Spring",
            project="SPRING27",
            client="ACME",
            starts_on=today - timedelta(3),
            ends_on=today + timedelta(90),
            markets=["DE"],
            channels=["web", "cms"],
            budget=1,
        )
        batch = Batch(campaign=campaign, source="inbox", location=f"drops/{kind}", sent_by="dario")
        version = Version(
            asset=Asset(campaign=campaign, name="SPRING27-HERO-A_ACME", kind=kind),
            number=1,
            batch=batch,
            filename=filename,
            sha256=stored.sha256,
            bytes=stored.bytes,
            media_type=media_type,
            storage_uri=stored.uri,
            width=640,
            height=480,
            made_by="dario",
        )
        bring_to(session, version, VersionState.INGESTED)
        grant = Grant(
            asset=version.asset,
            licence=Licence(reference=REFERENCES[kind], holder="Northlight", kind="rights_managed"),
            territories=["DE"],
            channels=["web", "cms", "social"],
            starts_on=today - timedelta(30),
            ends_on=today + timedelta(60),
        )
        session.add_all([version, grant, _described(version)])
        session.flush()
        batch_id, version_id = batch.id, version.id
    return approved(services, batch_id=batch_id, version_ids=[version_id]), version_id


def _described(version: Version) -> Description:
    return Description(version=version, title="Hero A", alt_text="Grey, from dark to light", updated_by="libby")


def approved(services: Services, *, batch_id: str, version_ids: list[str]) -> str:
    """Freeze a package and sign all its seats."""
    package_id = packages.freeze(services, batch_id=batch_id, version_ids=version_ids)
    for seat in packages.seats(services, package_id=package_id):
        seats.decide(services, seat_id=seat["seat_id"], person=seat["eligible"][0], verdict="approve")
    assert packages.verdict(services, package_id=package_id)["status"] == "approved"
    return package_id
