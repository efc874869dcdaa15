"""Notes as W3C Web Annotations in JSON-LD, for other programs.

What W3C has no word for is told with its own means: must-fix and suggestion ask for a change (motivation ``editing``),
kind and status are bodies with the purpose ``tagging``; ``via`` is the note of the earlier round that it came from.

Standard: W3C Web Annotation Data Model (2017), 3, 4 and 5.2; agents by RFC 7565 (``acct:``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from sqlalchemy import select

from dam.catalog.models import PackageVersion, Version
from dam.review import annotations as notes
from dam.review import targets

if TYPE_CHECKING:
    from dam.services import Services

CONTEXT = "http://www.w3.org/ns/anno.jsonld"
MEDIA_TYPE = 'application/ld+json; profile="http://www.w3.org/ns/anno.jsonld"'


def page(services: Services, *, package_id: str, person: str | None = None) -> dict[str, Any]:
    """Return the notes of a package that a person may read, as the one page of a collection, oldest first.

    :raises NotFound: there is no such package.
    """
    rows = notes.of_package(services, package_id=package_id, person=person)
    with services.session() as session:
        versions = session.execute(
            select(Version.id, Version.sha256)
            .join(PackageVersion, PackageVersion.version_id == Version.id)
            .where(PackageVersion.package_id == package_id)
        )
        sources = dict(versions.all())
    here = f"{services.settings.web_url.rstrip('/')}/dam/api/packages/{package_id}/annotations.jsonld"
    return {
        "@context": CONTEXT,
        "id": here,
        "type": "AnnotationPage",
        "partOf": {
            "id": f"{here}#all",
            "type": "AnnotationCollection",
            "label": f"Notes on the package {package_id}",
            "total": len(rows),
        },
        "startIndex": 0,
        "items": [_annotation(services, row, sources[row["version_id"]]) for row in rows],
    }


def _annotation(services: Services, row: dict[str, Any], sha256: str) -> dict[str, Any]:
    motivation = "editing" if row["kind"] != "note" else "replying" if row["reply_to"] else "commenting"
    made: dict[str, Any] = {
        "id": _iri(services, row, row["annotation_id"]),
        "type": "Annotation",
        "motivation": motivation,
        "creator": _agent(services, row),
        "created": row["created_at"],
        "body": [
            {"type": "TextualBody", "value": row["body"], "format": "text/plain", "purpose": motivation},
            *(
                {"type": "TextualBody", "value": tag, "format": "text/plain", "purpose": "tagging"}
                for tag in (row["kind"], row["status"])
            ),
        ],
        "target": _iri(services, row, row["reply_to"]) if row["reply_to"] else _target(row["target"], sha256),
    }
    if row["edited_at"]:
        made["modified"] = row["edited_at"]
    if row["origin"]:
        made["via"] = _iri(services, row["origin"], row["origin"]["annotation_id"])
    if row["audience"]:
        made["audience"] = {"type": "Audience", "id": f"urn:dam:role:{row['audience']}"}
    return made


def _target(target: dict[str, Any] | None, sha256: str) -> str | dict[str, Any]:
    if target is None:
        return targets.source_of(sha256)
    return {"type": "SpecificResource", "source": target["source"], "selector": _selector(target["selector"])}


def _selector(selector: dict[str, Any]) -> dict[str, Any]:
    """Return a selector as it stands by itself: an SVG document needs its namespace."""
    made = dict(selector)
    if made["type"] == "SvgSelector":
        made["value"] = made["value"].replace("<svg ", f'<svg xmlns="{targets.SVG}" ', 1)
    if "refinedBy" in made:
        made["refinedBy"] = _selector(made["refinedBy"])
    return made


def _agent(services: Services, row: dict[str, Any]) -> dict[str, str]:
    if row["guest"]:
        address = row["author"].removeprefix(notes.GUEST)
        return {"id": f"mailto:{quote(address, safe='@+')}", "type": "Person", "name": row["author_name"]}
    host = urlsplit(services.settings.web_url).hostname or "localhost"
    account = f"acct:{quote(row['author'], safe='')}@{host}"
    return {"id": account, "type": "Person", "name": row["author_name"], "nickname": row["author"]}


def _iri(services: Services, place: dict[str, Any], annotation_id: str) -> str:
    return notes.link(
        services, package_id=place["package_id"], version_id=place["version_id"], annotation_id=annotation_id
    )
