"""Creator tasks and their drop folders: opened by a signed brief or by a review that asked for changes."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from datetime import time as clock
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from dam import audit
from dam.catalog.models import (
    Asset,
    Batch,
    BatchFile,
    Brief,
    Campaign,
    CreatorTask,
    Decision,
    Deliverable,
    FileOutcome,
    Package,
    PackageVersion,
    Verdict,
    Version,
    Withdrawal,
    new_id,
    utcnow,
)
from dam.errors import BadInput, NotFound, Refused
from dam.ingest import drops, paperwork
from dam.ingest.scanner import AWAITED
from dam.review import verdicts
from dam.taxonomy import naming

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.services import Services
    from dam.storage import Entry

#: What a file ended as that is no version of its deliverable.
_NOT_TAKEN = (FileOutcome.QUARANTINED, FileOutcome.OPAQUE, FileOutcome.DUPLICATE)


class NoDeliverable(BadInput):
    """None of the versions for which changes were requested answers a deliverable: no creator of ours made them."""


class Cancelled(Refused):
    """Nobody waits for these deliverables any more: a later brief was signed."""

    def __init__(self, what: str, *, where: str) -> None:
        super().__init__(what, where=where, remedy="Deliver what the newest brief asks for, in its own folder.")


def open_tasks(services: Services, *, brief_id: str, run: str | None = None) -> dict[str, Any]:
    """Open one task for each deliverable of a signed brief, and the drop folder for their files.

    The same brief opens the same tasks.

    :returns: ``{"batch_id", "location", "tasks"}``; ``location`` is below the inbox, ``tasks`` has
        ``{"task_id", "project", "title", "assignee", "due_on", "note"}``.
    :raises Refused: the brief is not signed. :raises Cancelled: a later one is signed.
    """
    with services.session() as session:
        brief = session.get(Brief, brief_id)
        if brief is None:
            raise NotFound("there is no such brief", where=brief_id)
        if brief.status != "signed":
            raise Refused(f"the brief is {brief.status}", where=brief_id, remedy="Let it be signed first.")
        campaign = session.get_one(Campaign, brief.campaign_id, with_for_update=True)
        later = session.scalar(
            select(func.max(Brief.number)).where(
                Brief.campaign_id == campaign.id, Brief.status == "signed", Brief.number > brief.number
            )
        )
        if later is not None:
            raise Cancelled(f"brief {later} of {campaign.slug} took its place", where=brief_id)
        rows = session.scalars(
            select(Deliverable).where(Deliverable.brief_id == brief_id).order_by(Deliverable.project)
        ).all()
        wanted = [_Wanted(row) for row in rows]
        return _open(services, session, campaign, f"campaigns/{campaign.slug}/brief-{brief.number}", wanted, run)


def reopen(services: Services, *, package_id: str, run: str | None = None) -> dict[str, Any]:
    """Open tasks again, only for the versions of a package for which changes were requested.

    The reviewers' comments are the tasks' notes. The same package opens the same tasks.

    :returns: as :func:`open_tasks`.
    :raises NoDeliverable: no changes were requested, or of versions alone that answer no deliverable.
    """
    with services.session() as session:
        package = session.get(Package, package_id)
        if package is None:
            raise NotFound("there is no such package", where=package_id)
        wanted = []
        for version in session.scalars(
            select(Version)
            .join(PackageVersion, PackageVersion.version_id == Version.id)
            .where(PackageVersion.package_id == package_id)
            .where(PackageVersion.verdict == Verdict.REQUEST_CHANGES)
            .order_by(Version.id)
        ):
            asset = session.get_one(Asset, version.asset_id)
            if asset.deliverable is not None:
                wanted.append(_Wanted(asset.deliverable, version.id, _comments(session, package_id, version.id)))
        if not wanted or package.campaign_id is None:
            raise NoDeliverable(
                "no version that answers a deliverable waits for changes",
                where=f"package {package_id}",
                remedy="Ask the supplier for a new drop instead.",
            )
        campaign = session.get_one(Campaign, package.campaign_id, with_for_update=True)
        return _open(services, session, campaign, f"campaigns/{campaign.slug}/{package_id}", wanted, run)


def open_again(services: Services, *, batch_id: str, run: str | None = None) -> dict[str, Any]:
    """Open tasks again for the deliverables whose files the gate did not take; why it did not is their note.

    The same batch opens the same tasks.

    :returns: as :func:`open_tasks`. :raises BadInput: every deliverable of the batch was taken.
    """
    with services.session() as session:
        batch = _batch(session, batch_id)
        wanted = [_Wanted(task.deliverable, task.answers_version_id, why) for task, why in _refused(session, batch_id)]
        if not wanted or batch.campaign_id is None:
            raise BadInput(
                "every deliverable in it was taken", where=f"batch {batch_id}", remedy="Nothing is asked for again."
            )
        campaign = session.get_one(Campaign, batch.campaign_id, with_for_update=True)
        return _open(services, session, campaign, f"campaigns/{campaign.slug}/{batch_id}", wanted, run)


def refused(services: Services, *, batch_id: str) -> list[str]:
    """Return the ids of the tasks whose files went through the gate and were not taken: damaged, or known already."""
    with services.session() as session:
        return [task.id for task, _ in _refused(session, batch_id)]


def _refused(session: Session, batch_id: str) -> list[tuple[CreatorTask, str]]:
    """Return the tasks of a batch whose files the gate did not take, and why."""
    rows = session.scalars(select(BatchFile).where(BatchFile.batch_id == batch_id).order_by(BatchFile.path)).all()
    by_project: dict[str, list[BatchFile]] = {}
    for row in rows:
        with contextlib.suppress(BadInput):
            by_project.setdefault(naming.parse(paperwork.basename(row.path)).project, []).append(row)
    found = []
    tasks = select(CreatorTask).where(CreatorTask.batch_id == batch_id, CreatorTask.status == "done")
    for task in session.scalars(tasks.order_by(CreatorTask.id)):
        own = by_project.get(task.deliverable.project, [])
        if own and all(_is_refused(row) for row in own):
            found.append((task, "\n".join(f"{row.path}: {row.reason}" for row in own)))
    return found


def _is_refused(row: BatchFile) -> bool:
    """Return whether the gate did not take a file, and will not when the scanner is back."""
    return row.outcome in _NOT_TAKEN and not (row.version and row.version.scan == AWAITED)


def arrived(services: Services, *, batch_id: str) -> dict[str, Any]:
    """Look into a batch's drop folder and say what is there.

    :returns: ``{"complete", "cancelled", "arrived", "arriving", "missing", "misnamed"}``: names of files, of files that
        are still being written, of expected files, and ``{"name", "problem"}`` of files that answer no task.
        ``cancelled``: nobody waits for them any more.
    """
    with services.session() as session:
        state = _look(services, session, _batch(session, batch_id))
    return {
        "complete": state.complete,
        "cancelled": state.cancelled,
        "arrived": sorted(paperwork.basename(path) for path in state.arrived),
        "arriving": sorted(state.arriving),
        "missing": state.missing,
        "misnamed": [
            {"name": paperwork.basename(path), "problem": problem} for path, problem in state.misnamed.items()
        ],
    }


def deadline(services: Services, *, batch_id: str) -> datetime:
    """Return when the deliverables of a batch must be there: the stage's deadline after they were asked for,
    but not before the day is over on which the last of them is due."""
    with services.session() as session:
        batch = _batch(session, batch_id)
        due_on = session.scalar(select(func.max(CreatorTask.due_on)).where(CreatorTask.batch_id == batch_id))
        given = batch.received_at + timedelta(hours=services.workflow.stages["create"].deadline_hours)
    return max(given, datetime.combine(due_on + timedelta(days=1), clock.min, UTC)) if due_on else given


def submit(services: Services, *, batch_id: str, run: str | None = None) -> None:
    """Close the tasks of a batch whose files are all there.

    Exactly these files are taken from then on; the misnamed ones beside them stay where they are, with the reason.

    :raises Refused: something is still missing. :raises Cancelled: a later brief was signed.
    """
    with services.session() as session:
        batch = _batch(session, batch_id, lock=True)
        tasks = session.scalars(
            select(CreatorTask)
            .where(CreatorTask.batch_id == batch_id, CreatorTask.status != "done")
            .with_for_update(of=CreatorTask)
        ).all()
        if not tasks:
            return
        if any(task.status == "cancelled" for task in tasks):
            raise Cancelled("a later brief was signed", where=f"inbox/{batch.location}")
        state = _look(services, session, batch)
        if not state.complete:
            raise Refused(
                f"{', '.join(state.missing)} is missing",
                where=f"inbox/{batch.location}",
                remedy="Put the files there under these names.",
            )
        for task in tasks:
            task.status, task.done_at = "done", utcnow()
        session.execute(insert(BatchFile).values(_rows(batch_id, state)).on_conflict_do_nothing())
        audit.record(
            session,
            actor=batch.sent_by,
            action="batch.submitted",
            subject_id=batch_id,
            data={"files": sorted(state.arrived)},
            run=run,
        )


# ------------------------------------------------------------------------------------------------ helpers


@dataclass(frozen=True)
class _Wanted:
    """A deliverable that is asked for, the version whose change request it answers, and the note."""

    deliverable: Deliverable
    answers: str | None = None
    note: str = ""


@dataclass
class _State:
    """What lies in a drop folder: paths with their bytes, names, expected names, and paths with their problem.

    :param cancelled: nobody waits for any of its deliverables any more.
    """

    arrived: dict[str, int]
    arriving: list[str]
    missing: list[str]
    misnamed: dict[str, str]
    cancelled: bool

    @property
    def complete(self) -> bool:
        return bool(self.arrived) and not self.missing


def _look(services: Services, session: Session, batch: Batch) -> _State:
    """Look into a batch's drop folder."""
    expected = {
        (task.deliverable.project, _next_number(session, task)): task
        for task in session.scalars(
            select(CreatorTask).where(CreatorTask.batch_id == batch.id, CreatorTask.status != "cancelled")
        )
    }
    client = session.get_one(Campaign, batch.campaign_id).client
    wanted = ", ".join(f"{project}_{client}_…_v{number:02d}" for project, number in sorted(expected))
    found: dict[tuple[str, int], str] = {}
    state = _State({}, [], [], {}, cancelled=not expected)
    for path, entry in _lying(services, batch.location).items():
        name = paperwork.basename(path)
        try:
            parts = naming.parse(name)
        except BadInput as fault:
            state.misnamed[path] = f"{fault.what} {fault.remedy}"
            continue
        key = (parts.project, parts.version)
        if key in found:
            state.misnamed[path] = f"It answers the same task as {found[key]}. Keep one of them."
        elif key not in expected or parts.client != client:
            state.misnamed[path] = f"It answers no open task. Open are: {wanted}."
        elif drops.is_settled(services, [entry]):
            found[key] = name
            state.arrived[path] = entry.bytes
        else:
            state.arriving.append(name)
    state.missing = [f"{project}_{client}_…_v{number:02d}" for project, number in sorted(set(expected) - set(found))]
    return state


def _lying(services: Services, location: str) -> dict[str, Entry]:
    """Return the files in a drop folder by path, without what lies there beside them."""
    litter = services.taxonomy.limits.litter
    lying = {entry.key.removeprefix(f"{location}/"): entry for entry in drops.own(services, location)}
    asides = {aside for of_one in paperwork.sidecars(lying).values() for aside in of_one}
    return {
        path: entry
        for path, entry in lying.items()
        if not (paperwork.is_paperwork(path) or paperwork.is_litter(path, litter) or path in asides)
    }


def _rows(batch_id: str, state: _State) -> list[dict[str, Any]]:
    """Return the rows of a batch's receipt: what was asked for is pending, what answers no task stays outside."""
    known: dict[str, Any] = {"batch_id": batch_id, "promised": {}, "sidecars": [], "notes": []}
    rows = [
        known | {"id": new_id("fil"), "path": path, "bytes": length, "outcome": FileOutcome.PENDING, "reason": None}
        for path, length in state.arrived.items()
    ]
    return rows + [
        known
        | {
            "id": new_id("fil"),
            "path": drops.printable(path),
            "bytes": 0,
            "outcome": FileOutcome.OPAQUE,
            "reason": f"{problem} It stays in the inbox.",
        }
        for path, problem in state.misnamed.items()
    ]


def _open(
    services: Services,
    session: Session,
    campaign: Campaign,
    location: str,
    wanted: list[_Wanted],
    run: str | None,
) -> dict[str, Any]:
    batch = session.scalar(select(Batch).where(Batch.location == location))
    if batch is None:
        maker = _maker(services, campaign)
        batch = Batch(campaign_id=campaign.id, source="inbox", location=location, sent_by=maker)
        session.add(batch)
        session.flush()
        for item in wanted:
            last = session.scalar(
                select(func.max(CreatorTask.round)).where(CreatorTask.deliverable_id == item.deliverable.id)
            )
            session.add(
                CreatorTask(
                    campaign_id=campaign.id,
                    deliverable_id=item.deliverable.id,
                    batch_id=batch.id,
                    round=(last or 0) + 1,
                    answers_version_id=item.answers,
                    assignee=maker,
                    note=item.note,
                    due_on=item.deliverable.due_on,
                )
            )
        session.flush()
        audit.record(
            session,
            actor="airflow",
            action="batch.opened",
            subject_id=batch.id,
            data={"location": location, "deliverables": [item.deliverable.project for item in wanted]},
            run=run,
        )
    tasks = session.scalars(select(CreatorTask).where(CreatorTask.batch_id == batch.id).order_by(CreatorTask.id)).all()
    return {
        "batch_id": batch.id,
        "location": location,
        "tasks": [
            {
                "task_id": task.id,
                "project": task.deliverable.project,
                "title": task.deliverable.title,
                "assignee": task.assignee,
                "due_on": task.due_on.isoformat(),
                "note": task.note,
            }
            for task in tasks
        ],
    }


def _maker(services: Services, campaign: Campaign) -> str:
    """Return who makes a campaign's deliverables: its owner in the role that owns making."""
    role = services.workflow.stages["create"].owner
    return str((campaign.owners.get(role) or services.workflow.members(role))[0])


def _batch(session: Session, batch_id: str, *, lock: bool = False) -> Batch:
    found = session.get(Batch, batch_id, with_for_update=lock or None)
    if found is None:
        raise NotFound("there is no such batch", where=batch_id)
    return found


def _next_number(session: Session, task: CreatorTask) -> int:
    """Return the version number the file of a task must carry."""
    if task.status == "done":  # its file may have been ingested already: the number it had
        versions = (
            select(func.max(Version.number))
            .join(Asset)
            .where(Asset.deliverable_id == task.deliverable_id, Version.batch_id == task.batch_id)
        )
        if (ingested := session.scalar(versions)) is not None:
            return ingested
    last = session.scalar(
        select(func.max(Version.number)).join(Asset).where(Asset.deliverable_id == task.deliverable_id)
    )
    return (last or 0) + 1


def _comments(session: Session, package_id: str, version_id: str) -> str:
    """Return what the reviewers said of one version, a line each."""
    lines = []
    for decision in session.scalars(
        select(Decision)
        .outerjoin(Withdrawal, Withdrawal.decision_id == Decision.id)
        .where(Decision.package_id == package_id, Withdrawal.decision_id.is_(None))
        .order_by(Decision.decided_at)
    ):
        comment = decision.versions.get(version_id, {}).get("comment") or decision.comment
        if comment and verdicts.said(decision, version_id) != Verdict.APPROVE:
            lines.append(f"{decision.person} ({decision.role.replace('_', ' ')}): {comment}")
        lines += [f"Must fix: {fix['body']}" for fix in decision.must_fixes if fix["version_id"] == version_id]
    return "\n".join(lines)
