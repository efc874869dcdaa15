"""The manifest of a package: what its versions are, so that a signature can name it by a hash.

It holds, for each version, its bytes, its metadata and its rights. Whatever of these changes, changes the hash; a
signature names the hash it was given for, so it can't outlive a change. What changed is told in words.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.orm import joinedload

from dam.catalog.models import Asset, Description, Grant, Purpose, Tag, Term, Version
from dam.plan.briefs import canonical
from dam.rights import words
from dam.taxonomy.vocabulary import shown

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

DESCRIBED = (
    "title", "description", "alt_text", "creator", "credit_line", "copyright_notice", "language", "date_created",
    "custom",
)  # fmt: skip
#: What an entry says of a version's bytes, and of which version they are.
BYTES = ("asset", "number", "sha256", "bytes", "media_type")
#: Ids that one query names at most; PostgreSQL takes 65,535 parameters.
IN_ONE_QUERY = 10_000


def of(session: Session, version_ids: list[str], purpose: str = Purpose.RELEASE) -> dict[str, Any]:
    """Return the manifest entries of versions by id: bytes, metadata, applied tags and grants.

    A few queries for all of them, however many there are: every publication asks for its whole package's.

    :param purpose: of the package. Whose metadata is to be filled in has its bytes in the manifest, and no more; a
        brief is its bytes as well, whatever is said of its document.
    """
    entries: dict[str, Any] = {}
    for start in range(0, len(version_ids), IN_ONE_QUERY):
        entries |= _entries(session, version_ids[start : start + IN_ONE_QUERY])
    if purpose == Purpose.BRIEF:
        nothing: dict[str, Any] = {"metadata": {}, "tags": [], "rights": []}
        return {version_id: {part: entry[part] for part in BYTES} | nothing for version_id, entry in entries.items()}
    if purpose == Purpose.METADATA:
        return {version_id: {part: entry[part] for part in BYTES} for version_id, entry in entries.items()}
    return entries


def _entries(session: Session, version_ids: list[str]) -> dict[str, Any]:
    fresh = {"populate_existing": True}
    rows = session.execute(
        select(Version, Asset.name)
        .join(Asset, Asset.id == Version.asset_id)
        .where(Version.id.in_(version_ids))
        .order_by(Version.id)
        .execution_options(**fresh)
    ).all()
    described = {
        row.version_id: row
        for row in session.scalars(
            select(Description).where(Description.version_id.in_(version_ids)).execution_options(**fresh)
        )
    }
    tags: dict[str, set[str]] = {}
    for version_id, term_id in session.execute(
        select(Tag.version_id, Tag.term_id).where(Tag.version_id.in_(version_ids), Tag.status == "applied")
    ):
        tags.setdefault(version_id, set()).add(term_id)
    grants: dict[str, list[Grant]] = {}
    for grant in session.scalars(
        select(Grant)
        .where(Grant.asset_id.in_({version.asset_id for version, _ in rows}))
        .options(joinedload(Grant.licence))
        .order_by(Grant.id)
        .execution_options(**fresh)
    ):
        grants.setdefault(grant.asset_id, []).append(grant)
    return {
        version.id: {
            "asset": name,
            "number": version.number,
            "sha256": version.sha256,
            "bytes": version.bytes,
            "media_type": version.media_type,
            "metadata": _described(described.get(version.id)),
            "tags": sorted(tags.get(version.id, ())),
            "rights": [words.of(grant) for grant in grants.get(str(version.asset_id), [])],
        }
        for version, name in rows
    }


def _described(row: Description | None) -> dict[str, Any]:
    return {name: _plain(getattr(row, name)) for name in DESCRIBED} if row else {}


def _plain(value: Any) -> Any:
    # in UTC: the same moment must have the same hash whatever zone a connection speaks in
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value


def sha256(value: Any) -> str:
    """Return the SHA-256 of a value's canonical JSON."""
    return hashlib.sha256(canonical(value)).hexdigest()


# ------------------------------------------------------------------------------------------------ in words


def differences(session: Session, before: dict[str, Any], after: dict[str, Any] | None) -> dict[str, list[str]]:
    """Say in plain words what differs between two manifest entries of one version.

    :param after: None when the version is not there any more.
    :returns: sentences by part: ``bytes``, ``metadata``, ``tags``, ``rights``; only parts that differ.
    """
    if after is None:
        return {"bytes": ["It is not there any more."]}
    found = {"bytes": _bytes(before, after)}
    if "metadata" in before:
        found |= {
            "metadata": _metadata(before["metadata"], after["metadata"]),
            "tags": _tags(session, before["tags"], after["tags"]),
            "rights": _rights(before["rights"], after["rights"]),
        }
    return {part: said for part, said in found.items() if said}


def _bytes(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    if before["sha256"] != after["sha256"]:
        return [f"Its bytes are others: {before['bytes']:,} before, {after['bytes']:,} now."]
    return [
        f"The {name.replace('_', ' ')} was {before[name]} and is {after[name]} now."
        for name in ("asset", "number", "media_type")
        if before[name] != after[name]
    ]


def _metadata(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Tell the fields that differ; those of a team's own stand by their own names."""
    old, new = ({**known, **(known.get("custom") or {})} for known in (before, after))
    said = []
    for name in sorted((old.keys() | new.keys()) - {"custom"}):
        was, is_ = old.get(name), new.get(name)
        if was != is_ and (was or is_):
            said.append(f"The {name.replace('_', ' ')} {_turned(was, is_)}.")
    return said


def _tags(session: Session, before: list[str], after: list[str]) -> list[str]:
    changed = set(before) ^ set(after)
    labels = {row.id: shown(row.labels) for row in session.scalars(select(Term).where(Term.id.in_(changed)))}
    said = []
    for verb, ids in (("added", set(after) - set(before)), ("removed", set(before) - set(after))):
        if ids:
            names = ", ".join(sorted(labels.get(term_id, term_id) for term_id in ids))
            said.append(f"{'Tags were' if len(ids) > 1 else 'A tag was'} {verb}: {names}.")
    return said


def _rights(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[str]:
    old, new = ({grant["licence"]: grant for grant in grants} for grants in (before, after))
    said = [f"The licence {name} was added." for name in sorted(new.keys() - old.keys())]
    said += [f"The licence {name} was taken away." for name in sorted(old.keys() - new.keys())]
    for name in sorted(old.keys() & new.keys()):
        for term in sorted(old[name]):
            was, is_ = old[name][term], new[name].get(term)
            if was != is_:
                said.append(f"Under licence {name} the {term.replace('_', ' ')} {_turned(was, is_)}.")
    return said


def _turned(was: Any, is_: Any) -> str:
    """Say what something was and is; long texts are cut."""
    if was in (None, "", [], {}):
        return f"is {_short(is_)} now; there was none"
    if is_ in (None, "", [], {}):
        return f"was {_short(was)} and is taken away"
    return f"was {_short(was)} and is {_short(is_)} now"


def _short(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join("all" if one == "*" else str(one) for one in value)
    text = str(value)
    text = text if len(text) <= 80 else f"{text[:77]}…"
    return f"“{text}”" if isinstance(value, str) else text
