"""Applies a run's changes, or undoes them, version by version, in one transaction."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, delete, insert, or_, select, tuple_, update

from dam import audit
from dam.catalog.models import (
    Asset,
    Hold,
    Package,
    PackageStatus,
    PackageVersion,
    Purpose,
    RetagChange,
    RetagRun,
    RetagVerdict,
    Tag,
    Verdict,
    Version,
    VersionState,
)
from dam.enrich import tags
from dam.enrich.retag.compare import MOVED

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

#: So many versions at a time.
CHUNK = 200


@dataclass
class _Effect:
    """What applying or rolling back does to the tags, gathered for a part of the versions."""

    insert: list[dict[str, Any]] = field(default_factory=list)
    change: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    delete: list[str] = field(default_factory=list)


def turn(
    session: Session, found: RetagRun, person: str, *, forwards: bool, approved: bool, run: str | None
) -> dict[str, int]:
    """Apply a run's changes, or undo those that were applied, a part of the versions at a time."""
    from_state, to_state = ("proposed", "applied") if forwards else ("applied", "rolled_back")
    refused = set(
        session.scalars(
            select(RetagVerdict.version_id).where(RetagVerdict.run_id == found.id, RetagVerdict.verdict == "refused")
        )
    )
    counts = {"versions": 0, "tags": 0, "left_out": 0}
    last = ""
    while versions := session.scalars(
        select(RetagChange.version_id)
        .where(RetagChange.run_id == found.id, RetagChange.outcome == from_state, RetagChange.version_id > last)
        .distinct()
        .order_by(RetagChange.version_id)
        .limit(CHUNK)
    ).all():
        last = versions[-1]
        part = _Part(session, found.id, list(versions), from_state)
        effect = _Effect()
        for version_id in versions:
            why = (
                "refused in the sample"
                if forwards and version_id in refused
                else part.protected(version_id, forwards, approved)
            )
            done = part.turn(version_id, forwards, why, to_state, effect)
            counts["left_out"] += len(part.changes[version_id]) - len(done)
            if done:
                counts["versions"] += 1
                counts["tags"] += len(done)
                audit.record(
                    session, actor=person, action="version.retagged", subject_id=version_id,
                    data={"retag_run": found.id, "undone": not forwards, "changes": done}, run=run,
                )  # fmt: skip
        _write(session, effect)
        part.note(found.id)
    return counts


class _Part:
    """Some versions of a run: their changes, the tags that are there now, and what protects them."""

    def __init__(self, session: Session, run_id: str, version_ids: list[str], from_state: str) -> None:
        self.session = session
        # in order, as everybody who locks several does
        self.states: dict[str, str] = {
            row.id: row.state
            for row in session.execute(
                select(Version.id, Version.state)
                .where(Version.id.in_(version_ids))
                .order_by(Version.id)
                .with_for_update()
            )
        }
        self.tags: dict[str, dict[tuple[str, str], Tag]] = {version_id: {} for version_id in version_ids}
        for tag in session.scalars(
            select(Tag).where(Tag.version_id.in_(version_ids)).execution_options(populate_existing=True)
        ):
            self.tags[tag.version_id][tag.term_id, tag.source] = tag
        self.changes: dict[str, list[RetagChange]] = {version_id: [] for version_id in version_ids}
        for change in session.scalars(
            select(RetagChange)
            .where(RetagChange.run_id == run_id, RetagChange.version_id.in_(version_ids))
            .where(RetagChange.outcome == from_state)
            .order_by(RetagChange.version_id, RetagChange.term_id, RetagChange.source)
        ):
            self.changes[change.version_id].append(change)
        self.packages = packages_of(session, version_ids)
        self.held = held_of(session, version_ids)
        self.outcomes: list[tuple[RetagChange, str, str]] = []

    def protected(self, version_id: str, forwards: bool, approved: bool) -> str:
        """Return why a version is left out; empty when it is not."""
        if self.states[version_id] == VersionState.DESTROYED:
            return "the version is destroyed"
        if version_id in self.held:
            return "it is under a legal hold"
        if version_id in self.packages and not approved and self._changes_manifest(version_id, forwards):
            return f"its tags are part of package {self.packages[version_id]}, whose signatures would be void"
        return ""

    def _changes_manifest(self, version_id: str, forwards: bool) -> bool:
        """Return whether the terms that are applied to a version would be others."""
        now = {key: tag.status for key, tag in self.tags[version_id].items()}
        then = dict(now)
        for change in self.changes[version_id]:
            row = change.new if forwards else change.old
            if row is None:
                then.pop((change.term_id, change.source), None)
            else:
                then[change.term_id, change.source] = row["status"]

        def applied(states: dict[tuple[str, str], str]) -> set[str]:
            return {term_id for (term_id, _), status in states.items() if status == "applied"}

        return applied(now) != applied(then)

    def turn(self, version_id: str, forwards: bool, why: str, to_state: str, effect: _Effect) -> list[str]:
        """Gather what is to be done to a version's tags; returns it in words."""
        people = tags.people_of((key[0], key[1], tag.status) for key, tag in self.tags[version_id].items())
        done = []
        for change in self.changes[version_id]:
            before, after = (change.old, change.new) if forwards else (change.new, change.old)
            there = self.tags[version_id].get((change.term_id, change.source))
            reason = why
            if not reason and change.term_id in people.decided:
                reason = "a person decided on the term since"
            if not reason and people.tagged and _applies(before, after):
                reason = "a person tagged the version since"
            if not reason and not _same(there, before):
                reason = "the tag is not what it was compared with"
            if reason:
                self.outcomes.append((change, "left_out" if forwards else change.outcome, reason))
                continue
            self._do(change, there, after, effect)
            self.outcomes.append((change, to_state, ""))
            done.append(_in_words(change, before, after))
        return done

    @staticmethod
    def _do(change: RetagChange, there: Tag | None, after: dict[str, Any] | None, effect: _Effect) -> None:
        if after is None:
            effect.delete.append(there.id if there else "")
        elif there is None:
            known = {"version_id": change.version_id, "term_id": change.term_id, "source": change.source}
            effect.insert.append(known | _row(after))
        else:
            effect.change.append((there.id, {name: value for name, value in _row(after).items() if name != "id"}))

    def note(self, run_id: str) -> None:
        """Keep what became of each change."""
        grouped: dict[tuple[str, str], list[tuple[str, str, str]]] = {}
        for change, outcome, note in self.outcomes:
            grouped.setdefault((outcome, note), []).append((change.version_id, change.term_id, change.source))
        for (outcome, note), keys in grouped.items():
            self.session.execute(
                update(RetagChange)
                .where(RetagChange.run_id == run_id)
                .where(tuple_(RetagChange.version_id, RetagChange.term_id, RetagChange.source).in_(keys))
                .values(outcome=outcome, note=note)
                .execution_options(synchronize_session=False)
            )
        for change, _, _ in self.outcomes:
            self.session.expunge(change)
        for own in self.tags.values():
            for tag in own.values():
                self.session.expunge(tag)


def _applies(before: dict[str, Any] | None, after: dict[str, Any] | None) -> bool:
    """Return whether a tag would be applied that was not."""
    return bool(after and after["status"] == "applied" and (before is None or before["status"] != "applied"))


def _same(tag: Tag | None, row: dict[str, Any] | None) -> bool:
    if tag is None or row is None:
        return tag is None and row is None
    return bool(tag.status == row["status"] and abs(tag.confidence - row["confidence"]) < MOVED)


def _row(kept: dict[str, Any]) -> dict[str, Any]:
    return kept | {"cost": Decimal(str(kept["cost"])), "created_at": datetime.fromisoformat(kept["created_at"])}


def _in_words(change: RetagChange, before: dict[str, Any] | None, after: dict[str, Any] | None) -> str:
    mark = "+" if before is None else "-" if after is None else "~"
    return f"{mark}{change.term_id} ({change.source})"


def _write(session: Session, effect: _Effect) -> None:
    if effect.delete:
        session.execute(delete(Tag).where(Tag.id.in_(effect.delete)).execution_options(synchronize_session=False))
    for tag_id, values in effect.change:
        session.execute(
            update(Tag).where(Tag.id == tag_id).values(**values).execution_options(synchronize_session=False)
        )
    if effect.insert:
        session.execute(insert(Tag), effect.insert)


def packages_of(session: Session, version_ids: Any) -> dict[str, str]:
    """Return, of versions whose tags somebody is asked to sign or has signed, the package.

    :param version_ids: a list of ids, or a query for them.
    """
    rows = session.execute(
        select(PackageVersion.version_id, Package.id)
        .join(Package, Package.id == PackageVersion.package_id)
        .where(PackageVersion.version_id.in_(version_ids), Package.purpose == Purpose.RELEASE)
        .where(
            or_(
                Package.status == PackageStatus.IN_REVIEW,
                and_(Package.status == PackageStatus.APPROVED, PackageVersion.verdict == Verdict.APPROVE),
            )
        )
        .order_by(Package.id)
    )
    return dict(rows.all())


def held_of(session: Session, version_ids: list[str]) -> set[str]:
    """Return the versions that a legal hold covers."""
    return set(
        session.scalars(
            select(Version.id)
            .join(Asset, Asset.id == Version.asset_id)
            .join(Hold, or_(Hold.asset_id == Asset.id, Hold.campaign_id == Asset.campaign_id))
            .where(Version.id.in_(version_ids), Hold.released_at.is_(None))
        )
    )
