"""The README's own workflow, run by Airflow: a partner's picture, one signature, the CMS."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import world
from dam.catalog.models import Package, Publication
from dam.origin import OriginServer
from dam.review import packages, seats
from dam.services import Services
from dam.settings import PROJECT
from dam.storage.folder import FolderStore

pytestmark = pytest.mark.slow  # Airflow runs the DAG


@pytest.fixture(scope="module")
def home(airflow: Callable[[Path], dict[str, str]]) -> dict[str, str]:
    """The environment of an Airflow of its own."""
    return airflow(PROJECT / "dags")


@pytest.fixture
def site(services: Services, tmp_path: Path) -> Iterator[Services]:
    """Services with an origin and a CMS that answer over HTTP."""
    with OriginServer(
        store=FolderStore("origin", tmp_path / "storage" / "origin"), cms_token="t0p", cms_state=tmp_path / "cms.json"
    ) as origin:
        made = Services(replace(services.settings, origin_url=origin.url, cms_url=origin.url, cms_token="t0p"))
        yield made
        made.engine.dispose()


def sign_when_frozen(services: Services, batch_id: str, verdict: str) -> threading.Thread:
    """Let the brand reviewer sign as soon as the package is there; Airflow then asks nobody."""

    def work() -> None:
        other: Any = Services(services.settings)
        package_id = None
        while package_id is None:
            time.sleep(0.1)
            with other.session() as session:
                package_id = session.query(Package.id).filter(Package.batch_id == batch_id).scalar()
        [seat] = packages.seats(other, package_id=package_id)
        seats.decide(other, seat_id=seat["seat_id"], person="bea", verdict=verdict, comment="Seen.")
        other.engine.dispose()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize(("verdict", "published"), [("approve", [("cms", "live")]), ("reject", [])])
def test_one_signature_decides_and_either_answer_ends_well(site, play, tmp_path, verdict, published):
    rights = {"licence": "P-1", "holder": "Partner", "kind": "owned", "territories": ["*"], "channels": ["*"]}
    picture = world.picture(tmp_path, "CUP_ACME_20270301_v01.jpg")
    batch_id = world.drop(site, "drops/partners/spring", [picture], rights=rights)
    signing = sign_when_frozen(site, batch_id, verdict)
    states = play("partner_drop", {"key": batch_id}, on=site)
    signing.join()
    assert states["run"] == "success", states
    assert states["verdict_complete"] == "success"
    assert states["freeze_completed"] == "skipped"  # the librarian had nothing to do
    with site.session() as session:
        assert [(row.channel, row.status) for row in session.query(Publication)] == published
