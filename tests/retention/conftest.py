"""A library to put versions on the shelf in any state, and a public origin that serves what is live."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

import world
from dam import audit
from dam.catalog.models import (
    Asset,
    Batch,
    BatchFile,
    Campaign,
    Grant,
    Licence,
    Publication,
    Rendition,
    Tier,
    Version,
    utcnow,
)
from dam.origin import OriginServer
from dam.services import Services
from dam.storage.folder import FolderStore

TODAY = utcnow().date()
STORES = ("inbox", "vault", "renditions", "origin", "cold", "quarantine")


@dataclass
class Library:
    """Puts things into the catalogue and the stores as the stages before would have left them."""

    services: Services
    origin: OriginServer
    counter: Iterator[int] = field(default_factory=itertools.count)

    def campaign(self, slug: str = "spring-2027", *, ends_on: date = TODAY + timedelta(30), **more: Any) -> str:
        with self.services.session() as session:
            if session.scalar(select(Campaign.id).where(Campaign.slug == slug)) is None:
                values = {
                    "name": slug.title(),
                    "project": "SPRING27",
                    "client": "ACME",
                    "starts_on": min(TODAY, ends_on) - timedelta(60),
                    "markets": ["DE"],
                    "channels": ["web"],
                    "budget": 100,
                    "owners": {"marketing_lead": ["maya"], "designer": ["dario"]},
                }
                session.add(Campaign(slug=slug, ends_on=ends_on, **(values | more)))
        return slug

    def version(
        self,
        state: str = "approved",
        *,
        name: str = "HERO_ACME",
        campaign: str | None = "spring-2027",
        kind: str = "image",
        days_ago: float = 100,
        content: bytes | None = None,
    ) -> str:
        """Add the next version of an asset with bytes of its own; return its id."""
        content = content or f"bytes {next(self.counter)}".encode()
        tier = {"archived": Tier.COLD, "quarantined": Tier.QUARANTINE}.get(state, Tier.HOT)
        store = self.services.storage.store({"hot": "vault"}.get(tier, tier))
        stored = store.put_content(content, suffix=".jpg")
        if campaign:
            self.campaign(campaign)
        with self.services.session() as session:
            found = session.scalar(select(Campaign).where(Campaign.slug == campaign)) if campaign else None
            asset = session.scalar(select(Asset).where(Asset.name == name))
            number = None
            if state == "quarantined":
                asset = None
            else:
                asset = asset or Asset(campaign=found, name=name, kind=kind)
                session.add(asset)
                session.flush()
                number = len(session.scalars(select(Version).where(Version.asset_id == asset.id)).all()) + 1
            location = f"drops/{campaign}"
            batch = session.scalar(select(Batch).where(Batch.location == location))
            batch = batch or Batch(campaign=found, source="inbox", location=location, sent_by="dario")
            version = Version(
                asset=asset,
                number=number,
                batch=batch,
                filename=f"{name}_v{number or 0:02d}.jpg",
                sha256=stored.sha256,
                bytes=stored.bytes,
                media_type="image/jpeg",
                storage_uri=stored.uri,
                tier=tier,
                state_changed_at=utcnow() - timedelta(days=days_ago),
                made_by="dario",
            )
            world.bring_to(session, version, state)
            return version.id

    def get(self, version_id: str) -> Version:
        with self.services.session() as session:
            return session.get_one(Version, version_id)

    def asset(self, version_id: str) -> str:
        return str(self.get(version_id).asset_id)

    def grant(self, version_id: str, *, ends_on: date | None, reference: str = "") -> str:
        """Add a grant to the version's asset; return its id."""
        reference = reference or f"LIC-{next(self.counter)}"
        with self.services.session() as session:
            grant = Grant(
                asset_id=session.get_one(Version, version_id).asset_id,
                licence=Licence(reference=reference, holder="Northlight", kind="rights_managed"),
                territories=["DE"],
                channels=["web"],
                starts_on=TODAY - timedelta(400),
                ends_on=ends_on,
            )
            session.add(grant)
            session.flush()
            return grant.id

    def publication(self, version_id: str, *, status: str = "live", **more: Any) -> str:
        """Put a file at the origin and a publication into the catalogue; return its id."""
        key = f"spring/{version_id}-{next(self.counter)}.webp"
        content = f"rendition of {version_id}".encode()
        self.services.storage.origin.put(key, content)
        url = f"{self.origin.url}/{key}"
        with self.services.session() as session:
            publication = Publication(
                version_id=version_id,
                channel="web",
                idempotency_key=f"key {next(self.counter)}",
                status=status,
                starts_at=utcnow() - timedelta(days=200),
                live_url=url,
                probed_at=utcnow(),
                endpoints=[
                    {
                        "kind": "file",
                        "name": "webp",
                        "key": key,
                        "url": url,
                        "sha256": hashlib.sha256(content).hexdigest(),
                    }
                ],
                receipt={"probes": []},
            )
            for name, value in more.items():
                setattr(publication, name, value)
            session.add(publication)
            session.flush()
            return publication.id

    def rendition(self, version_id: str) -> str:
        """Add a rendition; return its URI."""
        stored = self.services.storage.renditions.put_content(f"small {version_id}".encode(), suffix=".webp")
        with self.services.session() as session:
            session.add(
                Rendition(
                    version_id=version_id,
                    recipe="webp",
                    key=stored.sha256,
                    imaging_version="1",
                    media_type="image/webp",
                    width=1,
                    height=1,
                    bytes=stored.bytes,
                    sha256=stored.sha256,
                    storage_uri=stored.uri,
                )
            )
        return stored.uri

    def still_in_inbox(self, version_id: str) -> str:
        """Leave the file a version came as in the inbox; return its key."""
        with self.services.session() as session:
            version = session.get_one(Version, version_id)
            session.add(
                BatchFile(
                    batch_id=version.batch_id,
                    path=version.filename,
                    bytes=version.bytes,
                    outcome="quarantined",
                    reason="damaged",
                    version_id=version_id,
                )
            )
            key = f"{version.batch.location}/{version.filename}"
        self.services.storage.inbox.put(key, b"as it came")
        return key

    def change(self, version_id: str, **values: Any) -> None:
        with self.services.session() as session:
            version = session.get_one(Version, version_id)
            for name, value in values.items():
                setattr(version, name, value)

    def strict(self) -> Services:
        """Return services as in production: a day that has not come is a rehearsal."""
        return Services(replace(self.services.settings, clock_may_run_ahead=False))

    def files(self, *stores: str) -> set[str]:
        """Return the URIs of everything in some stores, or in all that hold bytes of versions."""
        found = (self.services.storage.store(name) for name in stores or STORES)
        return {store.uri(entry.key) for store in found for entry in store.list()}

    def actions(self, subject_id: str) -> list[str]:
        with self.services.session() as session:
            return [event.action for event in audit.history(session, subject_id)]

    def rewrite(self, old: str, new: str, file: str = "taxonomy/retention.yaml") -> None:
        """Change a line of a file of include/ (of a copy of it, from now on)."""
        path = self.services.settings.include / file
        content = path.read_text()
        assert old in content
        path.write_text(content.replace(old, new))


@pytest.fixture
def library(services: Services, tmp_path: Path) -> Iterator[Library]:
    import shutil

    include = tmp_path / "include"
    shutil.copytree(services.settings.include, include)
    with OriginServer(
        store=FolderStore("origin", tmp_path / "storage" / "origin"), log=tmp_path / "access.log"
    ) as origin:
        settings = replace(services.settings, origin_url=origin.url, include=include, clock_may_run_ahead=True)
        made = Library(Services(settings), origin)
        yield made
        made.services.engine.dispose()


def midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
