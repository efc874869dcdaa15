"""What contracts look at: one row of facts a version, read from the catalogue in a few queries."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.orm import selectinload

from dam.catalog.models import Asset, Description, Grant, Tag, Version
from dam.errors import BadInput
from dam.rights import risk
from dam.rights.terms import RELEASES
from dam.taxonomy import naming

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.services import Services


def rows(services: Services, session: Session, version_ids: Sequence[str], *, today: date) -> list[dict[str, Any]]:
    """Return a row for each version: ``version_id``, ``kind``, and every field that contracts can look at.

    Texts, numbers and dates are ``None`` where nothing is known, lists are empty.

    :param today: the day ``days_left`` is counted from.
    """
    versions = session.scalars(
        select(Version)
        .where(Version.id.in_(version_ids), Version.asset_id.is_not(None))
        .options(
            selectinload(Version.description),
            selectinload(Version.asset).selectinload(Asset.grants).selectinload(Grant.licence),
        )
        .order_by(Version.id)
    ).all()
    tags: dict[str, list[str]] = {}
    for version_id, term_id in session.execute(
        select(Tag.version_id, Tag.term_id)
        .where(Tag.version_id.in_(version_ids), Tag.status == "applied")
        .distinct()
        .order_by(Tag.term_id)
    ):
        tags.setdefault(version_id, []).append(term_id)
    fields = list(services.taxonomy.metadata.fields)
    facets = list(services.taxonomy.vocabulary.facets)
    return [
        {
            "version_id": version.id,
            "kind": version.asset.kind if version.asset else "*",
            **_described(version.description, fields),
            **_technical(version),
            **_rights(list(version.asset.grants) if version.asset else [], today),
            **_tags(tags.get(version.id, []), facets),
        }
        for version in versions
    ]


def _described(described: Description | None, fields: list[str]) -> dict[str, Any]:
    """Return the descriptive fields, those without a column of their own as well."""
    if described is None:
        return dict.fromkeys(fields)
    return {name: _filled(value_of(described, name)) for name in fields}


def value_of(described: Description, name: str) -> Any:
    """Return a descriptive field's value, wherever it is kept."""
    return getattr(described, name) if name in Description.__table__.columns else described.custom.get(name)


def _filled(value: Any) -> Any:
    """Return a date for a moment, text for anything else, and ``None`` for what says nothing."""
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    return (str(value).strip() or None) if value is not None else None


def _technical(version: Version) -> dict[str, Any]:
    custom = version.description.custom if version.description else {}
    return {
        "filename": version.filename,
        "named_by_convention": "yes" if _is_conventional(version.filename) else "no",
        "media_type": version.media_type,
        "scan": version.scan,
        "made_by_ai": "yes" if risk.source_types(version.embedded, custom) else "no",
        "width": version.width,
        "height": version.height,
        "seconds": version.seconds,
        "pages": version.technical.get("pages"),
        "bytes": version.bytes,
    }


def _is_conventional(filename: str) -> bool:
    try:
        naming.parse(filename)
    except BadInput:
        return False
    return True


def _rights(grants: list[Grant], today: date) -> dict[str, Any]:
    """Return what the grants of an asset say together; the strictest of them counts where there are several."""
    ends = [grant.ends_on for grant in grants if grant.ends_on]

    def words(name: str) -> list[str]:
        return sorted({word for grant in grants for word in getattr(grant, name)})

    def worst(name: str) -> str | None:
        return max((getattr(grant, name) for grant in grants), key=RELEASES.index, default=None)

    return {
        "licence": sorted(grant.licence.reference for grant in grants),
        "licence_kind": sorted({grant.licence.kind for grant in grants}),
        "starts_on": max((grant.starts_on for grant in grants), default=None),
        "ends_on": min(ends, default=None),
        "days_left": (min(ends) - today).days if ends else None,
        **{name: words(name) for name in ("territories", "channels", "permissions", "duties")},
        **{name: worst(name) for name in ("model_release", "property_release")},
    }


def _tags(term_ids: list[str], facets: list[str]) -> dict[str, list[str]]:
    by_facet = {f"tags.{facet}": [term for term in term_ids if term.startswith(f"{facet}/")] for facet in facets}
    return {"tags": term_ids} | by_facet
