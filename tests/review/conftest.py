"""Ingested versions of a campaign without the gate's work, which has tests of its own."""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC, datetime

import pytest

import world
from dam.catalog.models import Asset, Batch, Deliverable, Description, Grant, Licence, Version, VersionState
from dam.create import deliverables
from dam.review import packages


def _add(session, batch, names, deliverable_of=None):
    """Add one ingested version, described and granted, for each name; return their ids."""
    licence = Licence(reference=f"ACME-{batch.id}", holder="ACME", kind="owned")
    made = []
    for name in names:
        deliverable = (deliverable_of or {}).get(name)
        asset = Asset(
            campaign_id=batch.campaign_id, deliverable_id=deliverable, name=f"{name}_ACME_{batch.id}", kind="image"
        )
        version = Version(
            asset=asset,
            number=1,
            batch=batch,
            filename=f"{name}_ACME_20270301_v01.jpg",
            sha256=hashlib.sha256(f"{batch.id}/{name}".encode()).hexdigest(),
            bytes=1000,
            media_type="image/jpeg",
            storage_uri="vault:none",
            made_by="dario",
        )
        world.bring_to(session, version, VersionState.INGESTED)
        grant = Grant(asset=asset, licence=licence, territories=["*"], channels=["*"], starts_on=world.TODAY)
        description = Description(
            version=version, title=name, date_created=datetime(2027, 3, 1, tzinfo=UTC), updated_by="libby"
        )
        session.add_all([version, grant, description])
        made.append(version)
    session.flush()
    return [version.id for version in made]


@pytest.fixture(scope="session")
def drop():
    """Makes a supplier's batch with one version: ``drop(services, sent_by)`` returns both ids."""

    def make(services, sent_by):
        with services.session() as session:
            batch = Batch(source="inbox", location=f"drops/{uuid.uuid4()}", sent_by=sent_by)
            session.add(batch)
            session.flush()
            return batch.id, _add(session, batch, ["A"])

    return make


@pytest.fixture
def batch(services):
    """Batch and versions that answer a signed brief's two deliverables."""
    opened = deliverables.open_tasks(services, brief_id=world.signed_brief(services))
    with services.session() as session:
        of = {row.project: row.id for row in session.query(Deliverable)}
        made = _add(session, session.get_one(Batch, opened["batch_id"]), sorted(of), of)
    return opened["batch_id"], made


@pytest.fixture
def package_id(services, batch):
    return packages.freeze(services, batch_id=batch[0], version_ids=batch[1])
