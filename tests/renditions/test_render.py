from __future__ import annotations

import hashlib
import shutil
import threading
from pathlib import Path

import pytest
import yaml
from sqlalchemy import func, select

import world
from dam.catalog.models import Asset, AuditEvent, Batch, Rendition, Version, VersionState
from dam.errors import BadInput, NotFound
from dam.renditions import render
from dam.renditions.recipes import Recipe
from dam.services import Services
from dam.settings import Settings


@pytest.fixture
def small(services: Services, recipes: dict[str, Recipe], tmp_path: Path) -> Services:
    """Services whose include folder holds the small recipes."""
    folder = tmp_path / "include" / "templates"
    folder.mkdir(parents=True)
    content = {}
    for name, recipe in recipes.items():
        told = recipe.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"name"})
        content[name] = told
    (folder / "recipes.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    known = services.settings
    made = Services(
        Settings(
            catalog_url=known.catalog_url,
            storage_url=known.storage_url,
            include=folder.parent,
            signing_key=known.signing_key,
        )
    )
    made.engine = services.engine
    return made


def add(
    services: Services,
    path: Path,
    *,
    media_type: str = "image/jpeg",
    kind: str = "image",
    filename: str = "SPRING27-HERO-A_ACME_20270301_v01.jpg",
) -> str:
    """Put a file into the vault and the catalogue; return its version id."""
    stored = services.storage.vault.put_content(path)
    with services.session() as session:
        asset = Asset(name=f"{filename}-{stored.sha256[:8]}", kind=kind)
        batch = Batch(source="cli", location=f"drops/{stored.sha256}", sent_by="dario", status="done")
        session.add_all([asset, batch])
        session.flush()
        version = Version(
            asset_id=asset.id,
            number=1,
            batch_id=batch.id,
            filename=filename,
            sha256=stored.sha256,
            bytes=stored.bytes,
            media_type=media_type,
            storage_uri=stored.uri,
            made_by="dario",
        )
        world.bring_to(session, version, VersionState.INGESTED)
        return version.id


def counts(services: Services) -> tuple[int, int]:
    """Number of rendition rows and of audit events about renditions."""
    with services.session() as session:
        rows = session.scalar(select(func.count()).select_from(Rendition)) or 0
        events = session.scalar(
            select(func.count()).select_from(AuditEvent).where(AuditEvent.action == "version.rendered")
        )
        return rows, events or 0


def test_renditions_are_stored_recorded_and_audited(
    small: Services, photograph: Path, recipes: dict[str, Recipe]
) -> None:
    version_id = add(small, photograph)
    results = render.render(small, version_ids=[version_id], run="activate_package/r1")
    assert [one["recipe"] for one in results] == list(recipes)
    for one in results:
        store, key = small.storage.resolve(one["storage_uri"])
        data = store.read(key)
        assert hashlib.sha256(data).hexdigest() == one["sha256"]
        assert len(data) == one["bytes"]
        assert one["made"]
        assert one["storage_uri"].startswith("renditions:")
    with small.session() as session:
        event = session.scalars(select(AuditEvent).where(AuditEvent.action == "version.rendered")).one()
        assert event.subject_id == version_id
        assert event.run == "activate_package/r1"
        assert event.data["renditions"] == {one["recipe"]: one["sha256"] for one in results}


def test_a_second_run_makes_nothing(small: Services, photograph: Path) -> None:
    version_id = add(small, photograph)
    first = render.render(small, version_ids=[version_id])
    second = render.render(small, version_ids=[version_id, version_id])
    assert second == [one | {"made": False} for one in first]
    assert counts(small) == (7, 1)


def test_lost_and_damaged_bytes_are_made_again_and_are_the_same(small: Services, photograph: Path) -> None:
    version_id = add(small, photograph)
    first = {one["recipe"]: one for one in render.render(small, version_ids=[version_id])}
    store, lost = small.storage.resolve(first["square"]["storage_uri"])
    before = store.read(lost)
    store.delete(lost)
    _, damaged = small.storage.resolve(first["avif"]["storage_uri"])
    store.put(damaged, b"rotten")
    again = {one["recipe"]: one for one in render.render(small, version_ids=[version_id])}
    assert {name for name, one in again.items() if one["made"]} == {"square", "avif"}
    assert store.read(lost) == before
    assert store.digest(damaged) == first["avif"]["sha256"]
    assert again["square"]["rendition_id"] == first["square"]["rendition_id"]
    assert counts(small) == (7, 1)


def test_proofs_are_made_first_and_not_again(small: Services, photograph: Path) -> None:
    version_id = add(small, photograph)
    proofs = render.proofs(small, version_ids=[version_id])
    assert [one["recipe"] for one in proofs] == ["preview", "thumbnail"]
    everything = {one["recipe"]: one for one in render.render(small, version_ids=[version_id])}
    for one in proofs:
        assert everything[one["recipe"]] == one | {"made": False}


def test_two_workers_at_once_make_one_row_each(small: Services, photograph: Path) -> None:
    version_id = add(small, photograph)
    start, answers = threading.Barrier(3), []

    def work() -> None:
        start.wait()
        answers.append(render.render(small, version_ids=[version_id], recipes=["preview", "square"]))

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    start.wait()
    for worker in workers:
        worker.join()
    ids = [[one["rendition_id"] for one in answer] for answer in answers]
    assert ids[0] == ids[1]
    assert counts(small) == (2, 1)


def test_a_changed_recipe_makes_a_new_rendition_beside_the_old(small: Services, photograph: Path) -> None:
    version_id = add(small, photograph)
    [old] = render.render(small, version_ids=[version_id], recipes=["square"])
    path = small.settings.include / "templates" / "recipes.yaml"
    content = yaml.safe_load(path.read_text())
    content["square"]["width"] = 90
    path.write_text(yaml.safe_dump(content))
    [new] = render.render(small, version_ids=[version_id], recipes=["square"])
    assert new["key"] != old["key"]
    assert new["width"] == 90
    assert counts(small)[0] == 2


def test_what_is_no_image_or_unusable_is_left_out_with_a_note(
    small: Services, photograph: Path, tmp_path: Path
) -> None:
    document = tmp_path / "price-list.pdf"
    document.write_bytes(b"%PDF-1.7 nothing")
    pdf = add(small, document, media_type="application/pdf", kind="document", filename="price-list.pdf")
    picture = add(small, photograph)
    [note, *made] = render.proofs(small, version_ids=[pdf, picture])
    assert note["version_id"] == pdf
    assert "price-list.pdf is application/pdf" in note["skipped"]
    assert [one["recipe"] for one in made] == ["preview", "thumbnail"]


def test_one_bad_picture_does_not_stop_the_others(small: Services, photograph: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(photograph.read_bytes()[:15_000])
    bad, good = add(small, cut), add(small, photograph)
    with pytest.raises(BadInput, match=rf"1 of 2 versions.*{bad}"):
        render.proofs(small, version_ids=[bad, good])
    with small.session() as session:
        assert set(session.scalars(select(Rendition.version_id))) == {good}


def test_unknown_names_are_told(small: Services, photograph: Path) -> None:
    version_id = add(small, photograph)
    with pytest.raises(BadInput, match=r"no recipe is named hero.*preview, thumbnail"):
        render.render(small, version_ids=[version_id], recipes=["hero"])
    with pytest.raises(NotFound, match="ver_nowhere"):
        render.render(small, version_ids=["ver_nowhere"])


def test_published_names_are_readable_stable_and_safe(small: Services, photograph: Path, tmp_path: Path) -> None:
    shutil.copy(photograph, tmp_path / "b.jpg")
    with (tmp_path / "b.jpg").open("ab") as stream:
        stream.write(b"\0")
    ids = [add(small, photograph), add(small, tmp_path / "b.jpg", filename="Ünïcode ../ name.JPG")]
    render.render(small, version_ids=ids, recipes=["preview", "square"])
    with small.session() as session:
        versions = [session.get_one(Version, version_id) for version_id in ids]
        names = [
            [render.url_name(version, row) for row in sorted(version.renditions, key=lambda row: row.recipe)]
            for version in versions
        ]
        digests = [
            [row.sha256[:16] for row in sorted(version.renditions, key=lambda row: row.recipe)] for version in versions
        ]
    assert names[0] == [
        f"spring27-hero-a-acme-20270301-v01-preview-{digests[0][0]}.jpg",
        f"spring27-hero-a-acme-20270301-v01-square-{digests[0][1]}.webp",
    ]
    assert names[1][0] == f"name-preview-{digests[1][0]}.jpg"
