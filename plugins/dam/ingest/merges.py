"""Lossless merge: two versions that show the same pixels become one, and can become two again.

The kept version takes over what only the dropped one knew: metadata, tags, grants. The dropped one is archived
and points to the kept one (``versions.merged_into_id``); queries resolve that link, so that its publications and
usage facts, which are never rewritten, count for the kept asset. What was changed is kept as data, and
:func:`undo` puts it back, all but what somebody changed since.

Decisions:

- Versions are merged, not assets. An asset leads to the kept one only while none of its versions stands by
  itself: another version of it, or one that arrives later, keeps its page.
- Campaigns may differ. Each asset stays in its own; the kept one takes over the dropped one's grants, which
  can only narrow what it may be used for, unless it had none.
- What answers a deliverable is not dropped in favour of what does not.
- Merges are undone in reverse order: a later one that touches one of the two assets goes first.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sqlalchemy import Table, delete, insert, or_, select, update

from dam import audit
from dam.catalog.lifecycle import HeldVersion, holds_on, take_back
from dam.catalog.models import (
    Asset,
    Description,
    Grant,
    Licence,
    Merge,
    Package,
    PackageStatus,
    PackageVersion,
    Publication,
    PublicationStatus,
    Purpose,
    RightsAlert,
    Tag,
    Verdict,
    Version,
    VersionState,
    new_id,
    utcnow,
)
from dam.errors import NotFound, Refused
from dam.ingest import compare
from dam.ingest.formats.known import HEIC, JXL, PSD, RAWS
from dam.retention import archive
from dam.review import packages
from dam.rights import terms

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.services import Services

#: Who may merge, undo and answer.
MERGERS = ("librarian", "dam_admin")
#: States of a version that nobody merges, and what to do first.
_BUSY = {
    VersionState.IN_REVIEW: "Wait for its review to end.",
    VersionState.LIVE: "Withdraw it first.",
    VersionState.RECEIVED: "Wait until it is ingested.",
    VersionState.QUARANTINED: "Release it first.",
    VersionState.DESTROYED: "There is nothing left to merge.",
}
#: Formats that carry more than the pixels that can be compared here: layers, sensor data, deeper values.
_MORE_THAN_PIXELS = frozenset({"image/heif", *(found.media_type for found in (PSD, HEIC, JXL, *RAWS))})


class VoidsApproval(Refused):
    """The change would void approvals, and the person did not say that it may.

    :param voids: ids of the packages.
    """

    def __init__(self, voids: list[str], where: str) -> None:
        super().__init__(
            f"it would void the approval of {len(voids)} package{'s' if len(voids) > 1 else ''}: {', '.join(voids)}",
            where=where,
            remedy="Say that this is meant; what is kept is reviewed again before it can be published.",
        )
        self.voids = voids


# ------------------------------------------------------------------------------------------------- merge


def merge(
    services: Services, *, keep: str, drop: str, person: str, void_approvals: bool = False, run: str | None = None
) -> dict[str, Any]:
    """Merge two versions that show the same pixels, all of it or nothing; the same pair again changes nothing.

    Both files are decoded in full before. Fields of the kept version that are empty are filled, tags and grants
    are united: a refused tag stays refused, and of two grants under one licence the strictest terms win.

    :param keep: version id. :param drop: version id of what is archived.
    :param void_approvals: whether approvals that it voids may be void.
    :returns: ``{"merge_id", "kept", "dropped", "changed", "conflicts", "voids"}``; ``kept`` and ``dropped`` are
        ``{"version_id", "asset_id", "asset", "number"}``, a conflict is ``{"field", "kept", "dropped"}``.
    :raises Refused: the pixels differ, a state or a deliverable forbids it, or the person may not.
    :raises HeldVersion: one is on hold. :raises VoidsApproval: see ``void_approvals``.
    """
    _may(services, person)
    with services.session() as session:
        known, kept, dropped = _look(session, keep, drop)
        if known is not None:
            return _told(session, known, changed=False)
        _mergeable(session, kept, dropped)
        uris = (kept.storage_uri, dropped.storage_uri)
    pixels = compare.prove(services, uris=uris)
    with services.storage.moving() as moving, services.session() as session:
        known, kept, dropped = _look(session, keep, drop, lock=True)
        if known is not None:  # another person was faster
            return _told(session, known, changed=False)
        _mergeable(session, kept, dropped)
        changes, voids = _unite(session, kept, dropped, person, void_approvals)
        changes |= {"pixels": pixels, "dropped": _where(dropped), "voids": voids}
        made = Merge(
            kept_version_id=kept.id,
            dropped_version_id=dropped.id,
            kept_asset_id=str(kept.asset_id),
            dropped_asset_id=str(dropped.asset_id),
            state_before=dropped.state,
            changes=changes,
            merged_by=person,
            merged_at=utcnow(),
        )
        if dropped.state != VersionState.ARCHIVED:
            why = f"merged into {_name(kept)}: the same pixels"
            archive.put_away(services, session, moving, dropped, reason=why, actor=person, run=run)
        dropped.merged_into_id = kept.id
        session.add(made)
        session.flush()
        told = {"merge_id": made.id, "kept": kept.id, "dropped": dropped.id, "changes": changes}
        for version_id in (kept.id, dropped.id):
            audit.record(session, actor=person, action="version.merged", subject_id=version_id, data=told, run=run)
        return _told(session, made, changed=True)


def _may(services: Services, person: str) -> None:
    if not any(services.workflow.has_role(person, role) for role in MERGERS):
        raise Refused(f"{person} may not merge versions", where="merge", remedy="Ask a librarian.")


def _look(session: Session, keep: str, drop: str, *, lock: bool = False) -> tuple[Merge | None, Version, Version]:
    """Return the merge of this pair that is in force, if one is, and the two versions, locked if so asked."""
    if lock:
        session.execute(select(Version.id).where(Version.id.in_([keep, drop])).order_by(Version.id).with_for_update())
    found = {row.id: row for row in session.scalars(select(Version).where(Version.id.in_([keep, drop])))}
    for version_id in (keep, drop):
        if version_id not in found or found[version_id].asset_id is None:
            raise NotFound("there is no such version, or it was not accepted", where=version_id)
    kept, dropped = found[keep], found[drop]
    if lock:
        _lock_assets(session, kept.asset_id, dropped.asset_id)
    known = session.scalar(
        select(Merge).where(Merge.kept_version_id == keep, Merge.dropped_version_id == drop, Merge.undone_at.is_(None))
    )
    return known, kept, dropped


def _lock_assets(session: Session, *asset_ids: str | None) -> None:
    session.execute(select(Asset.id).where(Asset.id.in_(asset_ids)).order_by(Asset.id).with_for_update())


def _mergeable(session: Session, kept: Version, dropped: Version) -> None:
    """Refuse what can't be merged, with the reason."""
    where = f"{_name(kept)} and {_name(dropped)}"
    if kept.asset_id == dropped.asset_id:
        raise Refused("they are versions of one asset already", where=where, remedy="Nothing is to be done.")
    for version in (kept, dropped):
        if version.merged_into_id is not None:
            into = session.get_one(Version, version.merged_into_id)
            raise Refused(
                f"{_name(version)} was merged into {_name(into)}", where=where, remedy=f"Take {_name(into)} instead."
            )
        if remedy := _BUSY.get(VersionState(version.state)):
            raise Refused(f"{_name(version)} is {_word(version.state)}", where=where, remedy=remedy)
        _not_held(session, version)
    if kept.state == VersionState.ARCHIVED:
        raise Refused(f"{_name(kept)} is archived", where=where, remedy="Restore it first, or keep the other one.")
    for version in (kept, dropped):
        if _asset(version).kind != "image":
            raise Refused(f"{_name(version)} is no picture", where=where, remedy="Only pictures can be compared.")
    if dropped.media_type in _MORE_THAN_PIXELS:
        raise Refused(
            f"{_name(dropped)} ({dropped.media_type}) may hold more than its pixels: layers, or what a sensor saw",
            where=where,
            remedy="Keep this one, and drop the other.",
        )
    _answers_nothing(kept, dropped, where)
    if session.scalar(
        select(Publication.id)
        .where(Publication.version_id == dropped.id, Publication.status == PublicationStatus.SCHEDULED)
        .limit(1)
    ):
        raise Refused(
            f"{_name(dropped)} is scheduled to go live", where=where, remedy="Keep this one, or withdraw it first."
        )


def _answers_nothing(kept: Version, dropped: Version, where: str) -> None:
    mine, other = _asset(kept).deliverable, _asset(dropped).deliverable
    if other is None or (mine is not None and mine.id == other.id):
        return
    raise Refused(
        f"{_name(dropped)} answers “{other.title}” of a brief, and {_name(kept)} does not",
        where=where,
        remedy="Keep this one, and drop the other." if mine is None else "Keep both: each answers a deliverable.",
    )


def _not_held(session: Session, version: Version) -> None:
    if holds := holds_on(session, version):
        raise HeldVersion(
            f"it is on legal hold ({holds[0].reason}), so nothing of it can be changed",
            where=_name(version),
            remedy="Release the hold first: dam hold release.",
        )


def _where(version: Version) -> dict[str, Any]:
    """Return where a version's bytes are and since when it is what it is, as an undo puts it back."""
    names = ("state", "state_changed_at", "state_reason", "tier", "storage_uri", "retain_until")
    return {name: _plain(getattr(version, name)) for name in names}


def _told(session: Session, made: Merge, *, changed: bool) -> dict[str, Any]:
    def of(version_id: str) -> dict[str, Any]:
        version = session.get_one(Version, version_id)
        asset = _asset(version)
        return {"version_id": version.id, "asset_id": asset.id, "asset": asset.name, "number": version.number}

    return {
        "merge_id": made.id,
        "kept": of(made.kept_version_id),
        "dropped": of(made.dropped_version_id),
        "changed": changed,
        "conflicts": made.changes["conflicts"],
        "voids": made.changes["voids"],
    }


def _asset(version: Version) -> Asset:
    assert version.asset is not None  # what was not accepted is refused before
    return version.asset


def _name(version: Version) -> str:
    return f"{_asset(version).name} v{version.number}"


def _word(state: str) -> str:
    return state.replace("_", " ")


# ------------------------------------------------------------------------------------------------- unite


def _unite(
    session: Session, kept: Version, dropped: Version, person: str, void_approvals: bool
) -> tuple[dict[str, Any], list[str]]:
    """Let the kept version take over what only the dropped one knew; return what changed and which approvals go."""
    before = _stale(session, kept)
    conflicts: list[dict[str, Any]] = []
    changes = {
        "description": _describe(session, kept, dropped, person, conflicts),
        "tags": _tag(session, kept, dropped, conflicts),
        "grants": _grant(session, kept, dropped, conflicts),
        "repointed": list(
            session.scalars(
                update(Version)
                .where(Version.merged_into_id == dropped.id)
                .values(merged_into_id=kept.id)
                .returning(Version.id)
            )
        ),
        "conflicts": conflicts,
    }
    session.flush()
    return changes, _voided(session, kept, before, void_approvals, _approved_in(session, dropped))


def _describe(
    session: Session, kept: Version, dropped: Version, person: str, conflicts: list[dict[str, Any]]
) -> dict[str, Any]:
    """Fill the kept one's empty fields from the other; list those that differ."""
    theirs = session.get(Description, dropped.id)
    done: dict[str, Any] = {"created": False, "filled": {}, "custom": {}}
    if theirs is None:
        return done
    mine = session.get(Description, kept.id, with_for_update=True)
    done["created"] = mine is None
    if mine is None:
        mine = Description(version_id=kept.id, custom={}, updated_by=person)
    for name in _FIELDS:
        ours, other = getattr(mine, name), getattr(theirs, name)
        if other in (None, "") or ours == other:
            continue
        if ours in (None, ""):
            done["filled"][name] = {"before": ours, "after": _plain(other)}
            setattr(mine, name, other)
        else:
            conflicts.append({"field": name, "kept": _plain(ours), "dropped": _plain(other)})
    for key, other in sorted(theirs.custom.items()):
        ours = mine.custom.get(key)
        if other in _EMPTY or ours == other:
            continue
        if ours in _EMPTY:
            done["custom"][key] = {"there": key in mine.custom, "before": ours, "after": other}
        else:
            conflicts.append({"field": key, "kept": ours, "dropped": other})
    if done["filled"] or done["custom"]:
        mine.custom = mine.custom | {key: told["after"] for key, told in done["custom"].items()}
        done["before"] = {"updated_by": mine.updated_by, "updated_at": _plain(mine.updated_at)}
        mine.updated_by, mine.updated_at = person, utcnow()
        done["after"] = {"updated_by": mine.updated_by, "updated_at": _plain(mine.updated_at)}
        session.add(mine)
    else:
        done["created"] = False
    session.flush()
    return done


_FIELDS = tuple(
    name
    for name in Description.__table__.columns.keys()  # noqa: SIM118 - a column collection iterates over columns
    if name not in ("version_id", "custom", "search", "updated_by", "updated_at")
)
_EMPTY: tuple[Any, ...] = (None, "", [], {})


def _tag(session: Session, kept: Version, dropped: Version, conflicts: list[dict[str, Any]]) -> dict[str, Any]:
    """Give the kept one the other's tags, each with its source; what was refused on either is refused."""
    mine, theirs = (
        list(session.scalars(select(Tag).where(Tag.version_id == version.id).order_by(Tag.id)))
        for version in (kept, dropped)
    )
    refused = {tag.term_id for tag in (*mine, *theirs) if tag.status == "refused"}
    applied = {tag.term_id for tag in mine if tag.status == "applied"}
    conflicts += [
        {"field": f"tag {term_id}", "kept": "applied", "dropped": "refused"} for term_id in sorted(refused & applied)
    ]
    by_word = {(tag.term_id, tag.source): tag for tag in mine}
    added, changed = [], []
    for tag in theirs:
        values = _values(tag, without=("id", "version_id"))
        if tag.term_id in refused:
            values["status"] = "refused"
        known = by_word.get((tag.term_id, tag.source))
        if known is None:
            values |= {"id": new_id("tag"), "version_id": kept.id}
            added.append(_as_json(values))
            session.execute(insert(Tag).values(**values))
        elif known.status == "suggested" and values["status"] == "applied":  # the surer word of the same tagger
            changed.append(_change(session, known, _values(tag, without=("id", "version_id"))))
    for tag in mine:
        if tag.term_id in refused and tag.status != "refused":
            changed.append(_change(session, tag, {"status": "refused"}))
    return {"added": added, "changed": changed}


def _grant(session: Session, kept: Version, dropped: Version, conflicts: list[dict[str, Any]]) -> dict[str, Any]:
    """Grant the kept asset what the other's bytes came with; under one licence the strictest terms win."""
    mine, theirs = (
        list(session.scalars(select(Grant).where(Grant.asset_id == version.asset_id).order_by(Grant.id)))
        for version in (kept, dropped)
    )
    by_licence = {grant.licence_id: grant for grant in mine}
    added, changed = [], []
    for grant in theirs:
        known = by_licence.get(grant.licence_id)
        if known is None:
            values = _values(grant, without=("id", "asset_id"))
            values |= {"id": new_id("grt"), "asset_id": kept.asset_id, "closed_at": None}
            added.append(_as_json(values))
            session.execute(insert(Grant).values(**values))
            continue
        both = _strictest(known, grant)
        differs = {name: value for name, value in both.items() if value != getattr(known, name)}
        conflicts += [
            {"field": f"{known.licence.reference}: {name}", "kept": _plain(getattr(known, name)),
             "dropped": _plain(getattr(grant, name))}
            for name in sorted(both) if getattr(known, name) != getattr(grant, name)
        ]  # fmt: skip
        if differs:
            if "ends_on" in differs:
                differs["closed_at"] = None  # another end is to be watched again
            changed.append(_change(session, known, differs))
    return {"added": added, "changed": changed}


def _strictest(one: Grant, other: Grant) -> dict[str, Any]:
    """Return the terms that both grants under a licence allow.

    :raises Refused: they have no day, territory, channel or permission in common: one of them must be wrong.
    """
    both = terms.together(terms.of(one), terms.of(other))
    nothing = [name for name in ("territories", "channels", "permissions") if not both[name]]
    if terms.no_day(both):
        nothing.append("days")
    if nothing:
        raise Refused(
            f"their grants under {one.licence.reference} have no {' and no '.join(nothing)} in common",
            where=f"{one.asset.name} and {other.asset.name}",
            remedy="Correct the wrong one first; merged, nothing could be published.",
        )
    return both


# --------------------------------------------------------------------------------------------- approvals


def _stale(session: Session, version: Version) -> set[tuple[str, str]]:
    """Return (package, version) of the asset's versions that are under review or approved, but not as frozen."""
    found = set()
    for package in _packages(session, version):
        found |= {(package.id, version_id) for version_id in packages.changed_versions(session, package)}
    return found


def _packages(session: Session, version: Version) -> list[Package]:
    """Return the packages in which a version of this one's asset waits for, or has, an approval."""
    return list(
        session.scalars(
            select(Package)
            .join(PackageVersion, PackageVersion.package_id == Package.id)
            .join(Version, Version.id == PackageVersion.version_id)
            .where(Version.asset_id == version.asset_id)
            .where(Package.status.in_([PackageStatus.IN_REVIEW, PackageStatus.APPROVED]))
            .distinct()
            .order_by(Package.id)
        )
    )


def _approved_in(session: Session, version: Version) -> set[str]:
    """Return the packages that a version is approved in: archived, it can't be published from them."""
    if version.state != VersionState.APPROVED:
        return set()
    return set(
        session.scalars(
            select(PackageVersion.package_id)
            .join(Package, Package.id == PackageVersion.package_id)
            .where(PackageVersion.version_id == version.id, PackageVersion.verdict == Verdict.APPROVE)
            .where(Package.status == PackageStatus.APPROVED, Package.purpose == Purpose.RELEASE)
        )
    )


def _voided(
    session: Session, version: Version, before: set[tuple[str, str]], meant: bool, also: Iterable[str] = ()
) -> list[str]:
    """Return the packages whose approval the change voids; refuse where that is not meant, or must not be."""
    voids = set(also)
    for package_id, version_id in sorted(_stale(session, version) - before):
        changed = session.get_one(Version, version_id)
        if changed.state in (VersionState.IN_REVIEW, VersionState.LIVE):
            raise Refused(
                f"it would change the metadata or the rights of {_name(changed)}, which is {_word(changed.state)}",
                where=f"package {package_id}",
                remedy=_BUSY[VersionState(changed.state)],
            )
        if changed.state not in (VersionState.ARCHIVED, VersionState.DESTROYED):
            voids.add(package_id)
    if voids and not meant:
        raise VoidsApproval(sorted(voids), _name(version))
    return sorted(voids)


# -------------------------------------------------------------------------------------------------- undo


def undo(
    services: Services, *, merge_id: str, person: str, void_approvals: bool = False, run: str | None = None
) -> dict[str, Any]:
    """Undo a merge: both versions are what they were; what somebody changed since is left, and listed.

    A merge that is undone already is answered as it is.

    :param void_approvals: whether approvals that it voids may be void.
    :returns: ``{"merge_id", "kept", "dropped", "changed", "left", "voids"}``; ``left`` are sentences.
    :raises NotFound: there is no such merge. :raises HeldVersion: one of the two is on hold.
    :raises Refused: a later merge must be undone first, the dropped bytes are gone, the kept one is live or in
        review, or the person may not. :raises VoidsApproval: see ``void_approvals``.
    """
    _may(services, person)
    with services.storage.moving() as moving, services.session() as session:
        found = session.get(Merge, merge_id)
        if found is None:
            raise NotFound("there is no such merge", where=merge_id)
        _, kept, dropped = _look(session, found.kept_version_id, found.dropped_version_id, lock=True)
        session.refresh(found, with_for_update=True)
        if found.undone_at is not None:
            return _undone(session, found, [], changed=False)
        _undoable(session, found, kept, dropped)
        before, changes = _stale(session, kept), found.changes
        left = [
            *_undescribe(session, kept, changes["description"]),
            *_put_back(session, Tag, changes["tags"]),
            *_put_back(session, Grant, changes["grants"]),
        ]
        session.flush()
        session.expire_all()
        voids = _voided(session, kept, before, void_approvals)
        dropped.merged_into_id = None
        why = f"its merge into {_name(kept)} was undone"
        if found.state_before != VersionState.ARCHIVED:
            uri = changes["dropped"]["storage_uri"]
            moving.copy(dropped.storage_uri, uri, sha256=dropped.sha256)
            take_back(session, dropped, found, actor=person, why=why, run=run)
            _set(session, Version, dropped.id, changes["dropped"])
        session.execute(
            update(Version)
            .where(Version.id.in_(changes["repointed"]), Version.merged_into_id == kept.id)
            .values(merged_into_id=dropped.id)
        )
        found.undone_by, found.undone_at, found.left = person, utcnow(), left
        told = {"merge_id": found.id, "kept": kept.id, "dropped": dropped.id, "left": left, "voids": voids}
        for version_id in (kept.id, dropped.id):
            audit.record(session, actor=person, action="version.unmerged", subject_id=version_id, data=told, run=run)
        session.flush()
        return _undone(session, found, voids, changed=True)


def _undone(session: Session, found: Merge, voids: list[str], *, changed: bool) -> dict[str, Any]:
    told = _told(session, found, changed=changed) | {"left": found.left, "voids": voids}
    told.pop("conflicts")
    return told


def _undoable(session: Session, found: Merge, kept: Version, dropped: Version) -> None:
    """Refuse what can't be undone, with the reason."""
    where = f"merge {found.id}"
    assets = (found.kept_asset_id, found.dropped_asset_id)
    later = session.scalar(
        select(Merge)
        .where(Merge.undone_at.is_(None), Merge.merged_at > found.merged_at)
        .where(or_(Merge.kept_asset_id.in_(assets), Merge.dropped_asset_id.in_(assets)))
        .order_by(Merge.merged_at.desc())
        .limit(1)
    )
    if later is not None:
        one, other = (session.get_one(Version, at) for at in (later.dropped_version_id, later.kept_version_id))
        raise Refused(
            f"{_name(one)} was merged into {_name(other)} since", where=where, remedy=f"Undo that first: {later.id}."
        )
    if dropped.state == VersionState.DESTROYED:
        raise Refused(f"{_name(dropped)} is destroyed since", where=where, remedy="Its bytes can't be brought back.")
    if kept.state in (VersionState.IN_REVIEW, VersionState.LIVE):
        remedy = _BUSY[VersionState(kept.state)]
        raise Refused(f"{_name(kept)} is {_word(kept.state)}", where=where, remedy=remedy)
    for version in (kept, dropped):
        _not_held(session, version)


def _undescribe(session: Session, kept: Version, done: dict[str, Any]) -> list[str]:
    """Empty the fields that the merge filled, unless somebody wrote into them since; return those as sentences."""
    if not done["filled"] and not done["custom"]:
        return []
    mine = session.get(Description, kept.id, with_for_update=True, populate_existing=True)
    if mine is None:
        return ["the description of the kept version is gone"]
    left = []
    for name, told in done["filled"].items():
        if getattr(mine, name) == _typed(Description.__table__, name, told["after"]):
            setattr(mine, name, told["before"])
        else:
            left.append(f"{name} was changed since")
    custom = dict(mine.custom)
    for key, told in done["custom"].items():
        if custom.get(key) != told["after"]:
            left.append(f"{key} was changed since")
        elif told["there"]:
            custom[key] = told["before"]
        else:
            del custom[key]
    mine.custom = custom
    if mine.updated_at == _typed(Description.__table__, "updated_at", done["after"]["updated_at"]):
        if done["created"] and not left:
            session.delete(mine)
            return left
        mine.updated_by = done["before"]["updated_by"]
        mine.updated_at = _typed(Description.__table__, "updated_at", done["before"]["updated_at"])
    return left


def _put_back(session: Session, model: type[Tag | Grant], done: dict[str, Any]) -> list[str]:
    """Remove the rows that the merge added and change back those it changed, unless somebody changed them since."""
    left = []
    table = _table(model)
    for values in done["added"]:
        row: Any = session.get(model, values["id"], with_for_update=True, populate_existing=True)
        if row is None:
            continue
        if _differs(row, values):
            left.append(f"{_called(session, values)} was changed since")
            continue
        if model is Grant:  # the audit trail keeps that they were sent
            session.execute(delete(RightsAlert).where(RightsAlert.grant_id == values["id"]))
        session.execute(delete(table).where(table.c.id == values["id"]))
    for told in done["changed"]:
        row = session.get(model, told["id"], with_for_update=True, populate_existing=True)
        if row is None or _differs(row, told["after"]):
            left.append(f"{_called(session, told['row'])} was changed since")
        else:
            _set(session, model, told["id"], told["before"])
    return left


def _called(session: Session, values: dict[str, Any]) -> str:
    """Return what people call a tag or a grant, by its plain values."""
    if "term_id" in values:
        return f"the tag {values['term_id']}"
    return f"the grant under {session.get_one(Licence, values['licence_id']).reference}"


def _differs(row: Tag | Grant, values: dict[str, Any]) -> bool:
    """Return whether a row is not what the merge made of it; a sweep's note that it is through does not count."""
    table = _table(type(row))
    return any(
        getattr(row, name) != _typed(table, name, value) for name, value in values.items() if name != "closed_at"
    )


# -------------------------------------------------------------------------------------------------- rows


def _table(model: type[Any]) -> Table:
    table = model.__table__
    assert isinstance(table, Table)
    return table


def _values(row: Tag | Grant, *, without: Iterable[str]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in _table(type(row)).columns.keys() if name not in without}  # noqa: SIM118


def _as_json(values: dict[str, Any]) -> dict[str, Any]:
    return {name: _plain(value) for name, value in values.items()}


def _change(session: Session, row: Tag | Grant, values: dict[str, Any]) -> dict[str, Any]:
    """Change a row and return what it was and is, so that it can be put back."""
    known = _values(row, without=())
    told: dict[str, Any] = {
        "id": row.id,
        "row": _as_json({name: known[name] for name in known if name.endswith("_id")}) | {"id": row.id},
        "before": _as_json({name: known[name] for name in values}),
        "after": _as_json(values),
    }
    _set(session, type(row), row.id, told["after"])
    return told


def _set(session: Session, model: type[Any], row_id: str, values: dict[str, Any]) -> None:
    """Write plain values into a row, past the rules that react to single attributes."""
    table = _table(model)
    session.flush()
    typed = {name: _typed(table, name, value) for name, value in values.items()}
    session.execute(update(table).where(table.c.id == row_id).values(**typed))
    for known in session.identity_map.values():
        if isinstance(known, model) and known.id == row_id:
            session.expire(known)


def _plain(value: Any) -> Any:
    if isinstance(value, date):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal) else value


def _typed(table: Any, name: str, value: Any) -> Any:
    """Return a plain value as the column has it."""
    kind = table.c[name].type.python_type if isinstance(value, str) else str
    if kind in (date, datetime):
        return kind.fromisoformat(value)
    return Decimal(value) if kind is Decimal else value
