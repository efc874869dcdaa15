"""What the review room reads: light enough to be read again whenever somebody does something."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from dam.catalog.models import Asset, Description, Package, PackageVersion, Purpose, Rendition, Version
from dam.errors import NotFound
from dam.renditions import tiles
from dam.review import compare, completion, packages, seating
from dam.services import Services
from dam_web import views

#: What the format says of itself that a viewer needs.
TECHNICAL = ("frame_rate", "timecode", "pages", "storyboard")


def shown(services: Services, package_id: str, username: str) -> dict[str, Any]:
    """Return a package as the room shows it to a person; a few queries, however many versions it has.

    :returns: the package with ``versions`` (what is shown of each, without metadata and rights: see :func:`facts`),
        ``seats``, ``annotations``, ``me`` and ``people`` (for mentions). Where metadata is to be completed also
        ``lacks``, sentences by version, and ``may_fill``.
    """
    told: dict[str, Any] = {"live": services.live.position()}  # before anything is read
    with services.session() as session:
        package = session.get(Package, package_id, options=seating.SIGNED)
        if package is None:
            raise NotFound("there is no such package", where=package_id)
        makers = packages.makers_of(session, package)
        told |= views.standing(session, package, makers) | {
            "previous_package_id": package.follows_id,
            "versions": _versions(services, session, package_id),
            "makers": sorted(makers),
        }
        if package.purpose == Purpose.METADATA:
            told["lacks"] = completion.left(session, package)
    if told["purpose"] == Purpose.METADATA:
        told["may_fill"] = completion.may_fill(services, batch_id=told["batch_id"], person=username)
    told |= views.said(services, package_id, told["status"], told["previous_package_id"], username)
    return told | _people(services, username)


def facts(services: Services, package_id: str, version_id: str) -> dict[str, Any]:
    """Return one version of a package with its metadata, tags and what it lacks; rights are asked of its context."""
    with services.session() as session:
        entry = session.get(PackageVersion, (package_id, version_id))
        if entry is None:
            raise NotFound("the version is not in this package", where=f"version {version_id}")
        return views.version_row(services, entry.version)


def _versions(services: Services, session: Session, package_id: str) -> list[dict[str, Any]]:
    previous = compare.before(Version).correlate(Version).scalar_subquery()
    shown_with = (Asset.name, Asset.kind, Description.title, Description.alt_text, PackageVersion.verdict, previous)
    rows = session.execute(
        select(Version, *shown_with)
        .join(PackageVersion, PackageVersion.version_id == Version.id)
        .join(Asset, Asset.id == Version.asset_id)
        .outerjoin(Description, Description.version_id == Version.id)
        .where(PackageVersion.package_id == package_id)
        .order_by(Asset.name, Version.number)
    ).all()
    recipes: dict[str, list[str]] = {}
    for version_id, recipe in session.execute(
        select(Rendition.version_id, Rendition.recipe)
        .where(Rendition.version_id.in_([row[0].id for row in rows]))
        .order_by(Rendition.recipe)
    ):
        recipes.setdefault(version_id, []).append(recipe)
    zoomed_into = tiles.offered(services, [row[0] for row in rows])
    return [
        {
            "version_id": version.id,
            "asset_id": version.asset_id,
            "asset": name,
            "kind": kind,
            "metadata": {"title": title, "alt_text": alt_text},
            "verdict": verdict,
            "previous": before_id,
            "number": version.number,
            "filename": version.filename,
            "state": version.state,
            "media_type": version.media_type,
            "bytes": version.bytes,
            "width": version.width,
            "height": version.height,
            "seconds": version.seconds,
            "sha256": version.sha256,
            "made_by": version.made_by,
            "recipes": recipes.get(version.id, []),
            "deep_zoom": version.id in zoomed_into,
            "technical": {key: version.technical[key] for key in TECHNICAL if key in version.technical},
        }
        for version, name, kind, title, alt_text, verdict, before_id in rows
    ]


def _people(services: Services, username: str) -> dict[str, Any]:
    people = services.workflow.people
    mine = people.get(username)
    roles = list(mine.roles) if mine else []
    return {
        "me": {
            "username": username,
            "name": mine.name if mine else username,
            "roles": roles,
            "writes": bool(set(roles) - {"viewer"}),
            "reopens": bool(set(roles) & set(packages.REOPENERS)),
        },
        "people": [
            {"username": name, "name": person.name, "roles": list(person.roles)} for name, person in people.items()
        ],
    }
