"""Two versions side by side: what differs in words, what differs in the picture, which must-fixes were answered.

Mostly they are an older and a newer version of one asset; any two will do.
"""

from __future__ import annotations

import json
import threading
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Select, select
from sqlalchemy.orm import aliased

from dam.catalog.models import (
    Asset,
    Package,
    PackageVersion,
    Purpose,
    Rendition,
    Term,
    Version,
)
from dam.enrich.facts import value_of
from dam.errors import BadInput, NotFound
from dam.ingest.media import clock
from dam.renditions import imaging, keeping, render, tiles
from dam.review import annotations as notes
from dam.rights import risk, words
from dam.rights.policy import day, listed
from dam.taxonomy.contracts import label
from dam.taxonomy.vocabulary import shown

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.services import Services

#: What is not compared point by point: it plays.
PLAYS = frozenset({"video", "audio"})
#: Technical facts that are told when they differ, and what they are called.
TECHNICAL = {
    "icc_name": "colour profile", "colour_space": "colour space", "bits": "bits a channel",
    "transparent": "transparent parts", "dots_per_inch": "dots per inch", "pages": "pages",
    "frame_rate": "frames a second", "colour_transfer": "colour transfer", "hdr": "dynamic range",
    "loudness": "loudness",
}  # fmt: skip
#: A picture is measured once in a process, however many ask for it.
_one_at_a_time = threading.Lock()


def versions(services: Services, *, from_version: str, to_version: str) -> dict[str, Any]:
    """Return in words what differs between two versions.

    :param from_version: the older one. :param to_version: the newer one.
    :returns: ``{"from", "to", "same_asset", "same_bytes", "file", "metadata", "origin", "tags", "rights",
        "renditions", "must_fixes", "others", "said", "same"}``: rows of ``{"field", "label", "from", "to"}`` where
        something differs, ``said`` the whole in a few sentences, ``same`` in what nothing differs, ``others`` the
        versions of both assets, to choose from.
    :raises NotFound: there is no such version.
    """
    with services.session() as session:
        older, newer = (_version(session, version_id) for version_id in (from_version, to_version))
        told: dict[str, Any] = {
            "from": side(services, older),
            "to": side(services, newer),
            "same_asset": older.asset_id == newer.asset_id,
            "same_bytes": older.sha256 == newer.sha256,
            "file": _rows(_file(older), _file(newer)),
            "metadata": _rows(_described(services, older), _described(services, newer)),
            "origin": _rows(_origin(older), _origin(newer)),
            "tags": _apart(_tags(session, older), _tags(session, newer)),
            "rights": _rights(session, older, newer),
            "renditions": _apart(_renditions(older), _renditions(newer)),
            "others": _others(session, older, newer),
        }
    told["must_fixes"] = notes.answered(services, from_version=from_version, to_version=to_version)
    return told | {"said": _said(told), "same": _same(told)}


def side(services: Services, version: Version) -> dict[str, Any]:
    """Return what a page needs to show one of the versions; its session must be open."""
    assert version.asset is not None
    return {
        "version_id": version.id,
        "asset_id": version.asset_id,
        "asset": version.asset.name,
        "number": version.number,
        "label": f"{version.asset.name} v{version.number}",
        "kind": version.asset.kind,
        "state": version.state,
        "filename": version.filename,
        "media_type": version.media_type,
        "sha256": version.sha256,
        "width": version.width,
        "height": version.height,
        "seconds": version.seconds,
        "frame_rate": version.technical.get("frame_rate"),
        "made_by": version.made_by,
        "created_at": version.created_at.isoformat(),
        "alt_text": (version.description and version.description.alt_text) or "",
        "recipes": _renditions(version),
        "deep_zoom": version.id in tiles.offered(services, [version]),
    }


def previous(session: Session, version: Version) -> str | None:
    """Return the version of the same asset that came before; None where there is none."""
    return session.scalar(before(version))


def before(version: Version | type[Version]) -> Select[str]:
    """Return the query of :func:`previous`; of the class, it stands beside each version that a query finds."""
    earlier = aliased(Version)
    return (
        select(earlier.id)
        .where(earlier.asset_id == version.asset_id, earlier.number < version.number)
        .where(earlier.merged_into_id.is_(None))
        .order_by(earlier.number.desc())
        .limit(1)
    )


# ---------------------------------------------------------------------------------------------- the file


def _version(session: Session, version_id: str) -> Version:
    version = session.get(Version, version_id)
    if version is None or version.asset is None:
        raise NotFound("there is no such version", where=version_id)
    return version


def _file(version: Version) -> dict[str, Any]:
    known: dict[str, Any] = {
        "filename": version.filename,
        "media_type": version.media_type,
        "size": _size(version.bytes),
        "dimensions": f"{version.width} × {version.height} px" if version.width and version.height else None,
        "duration": clock(version.seconds) if version.seconds else None,
    }
    return known | {name: _plain(version.technical.get(field)) for field, name in TECHNICAL.items()}


def _described(services: Services, version: Version) -> dict[str, Any]:
    described = version.description
    if described is None:
        return {}
    fields = dict.fromkeys([*services.taxonomy.metadata.fields, *described.custom])
    return {label(name): _plain(value_of(described, name)) for name in fields}


def _origin(version: Version) -> dict[str, Any]:
    custom = version.description.custom if version.description else {}
    credentials = version.embedded.get("C2PA")
    return {
        "made by": version.made_by,
        "supplier": version.batch.supplier,
        "Content Credentials": credentials.get("state") if isinstance(credentials, dict) else None,
        "made with AI": ", ".join(sorted(risk.source_types(version.embedded, custom))) or None,
    }


def _rows(older: dict[str, Any], newer: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each field that differs, in order."""
    return [
        {
            "field": name.replace(" ", "_"),
            "label": name[0].upper() + name[1:],
            "from": older.get(name),
            "to": newer.get(name),
        }
        for name in dict.fromkeys([*older, *newer])
        if older.get(name) != newer.get(name)
    ]


def _plain(value: Any) -> str | None:
    """Return a value as people read it; None for what says nothing."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime | date):
        return day(value)
    if isinstance(value, list | tuple):
        return ", ".join(filter(None, map(_plain, value))) or None
    if isinstance(value, dict):
        return ", ".join(f"{key} {told}" for key, item in value.items() if (told := _plain(item))) or None
    return (str(value).strip() or None) if value is not None else None


def _size(length: int) -> str:
    for unit, of in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if length >= of:
            return f"{length / of:.1f} {unit} ({length:,} bytes)"
    return f"{length} bytes"


def _tags(session: Session, version: Version) -> list[str]:
    wanted = {tag.term_id for tag in version.tags if tag.status == "applied"}
    return [shown(term.labels) for term in session.scalars(select(Term).where(Term.id.in_(wanted)).order_by(Term.id))]


def _renditions(version: Version) -> list[str]:
    return sorted({rendition.recipe for rendition in version.renditions}.difference(render.ASIDE))


def _apart(older: list[str], newer: list[str]) -> dict[str, list[str]]:
    return {
        "added": [one for one in newer if one not in older],
        "removed": [one for one in older if one not in newer],
    }


def _others(session: Session, older: Version, newer: Version) -> list[dict[str, Any]]:
    rows = session.execute(
        select(Version.id, Version.number, Version.state, Asset.name)
        .join(Asset, Asset.id == Version.asset_id)
        .where(Version.asset_id.in_({older.asset_id, newer.asset_id}), Version.merged_into_id.is_(None))
        .order_by(Asset.name, Version.number)
    )
    return [{"version_id": row.id, "label": f"{row.name} v{row.number}", "state": row.state} for row in rows]


# ------------------------------------------------------------------------------------------------ rights


def _rights(session: Session, older: Version, newer: Version) -> dict[str, Any]:
    """Return how the rights differ. Of one asset, the older version's are those that were frozen for its review."""
    before, frozen = _grants(older), None
    if older.asset_id == newer.asset_id:
        package = session.scalar(
            select(Package)
            .join(PackageVersion, PackageVersion.package_id == Package.id)
            .where(PackageVersion.version_id == older.id, Package.purpose != Purpose.METADATA)
            .order_by(Package.round.desc(), Package.frozen_at.desc())
            .limit(1)
        )
        if package is not None:
            before = {grant["licence"]: grant for grant in package.manifest["versions"][older.id]["rights"]}
            frozen = f"as frozen for review on {day(package.frozen_at)}, round {package.round}"
    after = _grants(newer)
    rows = []
    for licence in dict.fromkeys([*before, *after]):
        one, other = before.get(licence), after.get(licence)
        if one is None and other is not None:
            rows.append({"licence": licence, "how": "added", "said": words.sentences(other)})
        elif other is None and one is not None:
            rows.append({"licence": licence, "how": "removed", "said": words.sentences(one)})
        elif one is not None and other is not None and (said := words.changes(one, other)):
            rows.append({"licence": licence, "how": "changed", "said": said})
    return {"frozen": frozen, "rows": rows}


def _grants(version: Version) -> dict[str, dict[str, Any]]:
    grants = version.asset.grants if version.asset else []
    return {grant.licence.reference: words.of(grant) for grant in sorted(grants, key=lambda grant: grant.id)}


# ---------------------------------------------------------------------------------------------- in words


def _said(told: dict[str, Any]) -> list[str]:
    """Return the whole in a few sentences."""
    if told["from"]["version_id"] == told["to"]["version_id"]:
        return ["This is one and the same version."]
    said = ["The files are the same, byte by byte."] if told["same_bytes"] else []
    for name, of in (("file", "The file"), ("metadata", "The metadata"), ("origin", "The origin")):
        if told[name]:
            said.append(f"{of} differs in {listed(row['label'].lower() for row in told[name])}.")
    for how, verb in (("added", "came"), ("removed", "went")):
        if told["tags"][how]:
            said.append(f"Tags that {verb}: {', '.join(told['tags'][how])}.")
    if told["rights"]["rows"]:
        said.append(
            f"The rights differ: {listed(row['licence'] + ' ' + row['how'] for row in told['rights']['rows'])}."
        )
    elif told["same_asset"]:
        said.append("The rights are the same.")
    fixes = told["must_fixes"]
    if fixes:
        answered = sum(fix["status"] == "resolved" for fix in fixes)
        said.append(f"{answered} of {len(fixes)} must-fixes {'is' if answered == 1 else 'are'} answered.")
    return said


def _same(told: dict[str, Any]) -> list[str]:
    """Return in what nothing differs."""
    differs = {name: told[name] for name in ("metadata", "file", "origin")}
    differs |= {name: [*told[name]["added"], *told[name]["removed"]] for name in ("tags", "renditions")}
    differs["rights"] = told["rights"]["rows"]
    return [name for name, rows in differs.items() if not rows]


# ------------------------------------------------------------------------------------------- the picture


def pixels(services: Services, *, from_version: str, to_version: str) -> dict[str, Any]:
    """Return what differs in the picture; it is measured once, and kept with the picture of the difference.

    :returns: ``{"compared", "share", "boxes", "more", "reshaped", "common", "cropped", "lighter", "tinted", "said"}``;
        see :class:`dam.review.difference.Difference`. Where nothing was compared, ``compared`` is false and ``said``
        tells why.
    :raises NotFound: there is no such version.
    """
    try:
        kept = picture(services, from_version=from_version, to_version=to_version)
    except BadInput as error:
        return {"compared": False, "said": [error.what]}
    store, key = services.storage.resolve(kept.storage_uri)
    with store.open(key) as stream:
        head = stream.read(6)
        figures = json.loads(stream.read(int.from_bytes(head[4:6], "big") - 2))
    return {"compared": True, **figures, "said": _seen(figures)}


def picture(services: Services, *, from_version: str, to_version: str) -> keeping.Kept:
    """Return the picture of the difference, a JPEG as large as the newer version's preview; made once.

    :raises NotFound: there is no such version. :raises BadInput: they can't be compared as pictures; says why.
    """
    from dam.review import difference

    with services.session() as session:
        older, newer = (_version(session, version_id) for version_id in (from_version, to_version))
        key = imaging.rendition_key(newer.sha256, {"difference": difference.EDITION, "from": older.sha256})
        uris = [_preview(session, version) for version in (older, newer)]
    if known := _known(services, to_version, key):
        return known
    with _one_at_a_time:
        if known := _known(services, to_version, key):  # who waited here takes what was made meanwhile
            return known
        one, other = (_read(services, uri) for uri in uris)
        told, drawn = difference.between(one, other)
        figures = json.dumps(told.as_dict() | {"cropped": told.cropped}).encode()
        # the figures go into the picture as its comment, so that they can't be apart
        data = drawn[:2] + b"\xff\xfe" + (len(figures) + 2).to_bytes(2, "big") + figures + drawn[2:]
        return keeping.keep(
            services, version_ids=[from_version, to_version], recipe="difference", key=key, suffix=".jpg", source=data,
            media_type="image/jpeg", size=difference.size_of(drawn),
        )  # fmt: skip


def _known(services: Services, version_id: str, key: str) -> keeping.Kept | None:
    with services.session() as session:
        kept = keeping.find(session, version_id, recipe="difference", key=key)
    return kept if kept is not None and keeping.is_stored(services, kept) else None


def _preview(session: Session, version: Version) -> str:
    """Return where a version's preview is stored. :raises BadInput: it has none, or plays; says so in plain words."""
    assert version.asset is not None
    name = f"{version.asset.name} v{version.number}"
    if version.asset.kind in PLAYS:
        raise BadInput(f"{name} plays: watch or listen to both in step.", where=f"version {version.id}")
    keeping.usable(session, [version.id])
    uri = session.scalar(
        select(Rendition.storage_uri)
        .where(Rendition.version_id == version.id, Rendition.recipe == "preview", Rendition.media_type == "image/jpeg")
        .order_by(Rendition.created_at.desc())
        .limit(1)
    )
    if uri is None:
        raise BadInput(f"{name} has no preview to compare.", where=f"version {version.id}")
    return uri


def _read(services: Services, uri: str) -> bytes:
    store, key = services.storage.resolve(uri)
    return store.read(key)


def _seen(figures: dict[str, Any]) -> list[str]:
    """Return in words what differs in the picture."""
    said = ["Its shape changed."] if figures["reshaped"] else []
    if figures["share"] is None:
        return [*said, "No part of one was found in the other, so that they can't be compared point by point."]
    if figures["cropped"]:
        part = _share(figures["common"][figures["cropped"]])
        if figures["cropped"] == "from":
            said.append(f"The newer one is cut out of the older: it shows {part} of it.")
        else:
            said.append(f"The newer one shows more around: the older is {part} of it.")
    within = " of what both show" if figures["cropped"] else " of the picture"
    share = figures["share"]
    if share == 0:
        return [*said, f"Nothing{within} changed that an eye could see."]
    told = "Less than 0.1 %" if share < 0.001 else f"{share * 100:.1f} %"
    places = [_where(box) for box in figures["boxes"]]
    count = len(places) + figures["more"]
    where = ""
    if share > 0.9:
        where = ": nearly everything"
    elif count:
        where = f", in {count} {'place' if count == 1 else 'places'}: {listed(dict.fromkeys(places[:6]))}"
    said.append(f"{told}{within} changed{where}.")
    if abs(figures["lighter"]) >= 2:
        said.append(f"On the whole it is {'lighter' if figures['lighter'] > 0 else 'darker'}.")
    return said


def _share(box: list[float]) -> str:
    return f"{box[2] * box[3] / 100:.0f} %"


def _where(box: list[float]) -> str:
    """Return in words where a box lies, for who can't see it."""
    x, y, width, height = box
    if width * height > 6000:
        return "over the whole"
    across = ("left", "", "right")[min(2, int((x + width / 2) / 100 * 3))]
    down = ("top", "", "bottom")[min(2, int((y + height / 2) / 100 * 3))]
    return " ".join(filter(None, (down, across))) or "middle"
