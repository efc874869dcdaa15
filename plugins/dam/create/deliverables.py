"""Creator tasks and their drop folders: opened by a signed brief or by a review that asked for changes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from datetime import time as clock
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from dam import audit
from dam.catalog.models import (
    Asset,
    Batch,
    Brief,
    Campaign,
    CreatorTask,
    Decision,
    Deliverable,
    Package,
    PackageVersion,
    Verdict,
    Version,
    utcnow,
)
from dam.errors import BadInput, NotFound, Refused
from dam.ingest import batches
from dam.taxonomy import naming

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.services import Services


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
    :raises BadInput: no changes were requested, or a version answers no deliverable.
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
            raise BadInput(
                "no version that answers a deliverable waits for changes",
                where=f"package {package_id}",
                remedy="Ask the supplier for a new drop instead.",
            )
        campaign = session.get_one(Campaign, package.campaign_id, with_for_update=True)
        return _open(services, session, campaign, f"campaigns/{campaign.slug}/{package_id}", wanted, run)


def arrived(services: Services, *, batch_id: str) -> dict[str, Any]:
    """Look into a batch's drop folder and say what is there.

    :returns: ``{"complete", "cancelled", "arrived", "missing", "misnamed"}``: names of files, of expected files,
        and ``{"name", "problem"}`` of files that answer no task. ``cancelled``: nobody waits for them any more.
    """
    with services.session() as session:
        batch = _batch(session, batch_id)
        expected = {
            (task.deliverable.project, _next_number(session, task)): task
            for task in session.scalars(
                select(CreatorTask).where(CreatorTask.batch_id == batch_id, CreatorTask.status != "cancelled")
            )
        }
        client = session.get_one(Campaign, batch.campaign_id).client
        location = batch.location
    found: dict[tuple[str, int], str] = {}
    misnamed = []
    for entry in services.storage.inbox.list(f"{location}/"):
        name = entry.key.rsplit("/", 1)[-1]
        if batches.is_paperwork(entry.key.removeprefix(f"{location}/")):
            continue
        try:
            parts = naming.parse(name)
        except BadInput as fault:
            misnamed.append({"name": name, "problem": f"{fault.what} {fault.remedy}"})
            continue
        key = (parts.project, parts.version)
        if key in found:
            misnamed.append({"name": name, "problem": f"It answers the same task as {found[key]}. Keep one of them."})
        elif key in expected and parts.client == client:
            found[key] = name
        else:
            wanted = ", ".join(f"{project}_{client}_…_v{number:02d}" for project, number in sorted(expected))
            misnamed.append({"name": name, "problem": f"It answers no open task. Open are: {wanted}."})
    missing = [f"{project}_{client}_…_v{number:02d}" for project, number in sorted(set(expected) - set(found))]
    return {
        "complete": bool(expected) and not missing,
        "cancelled": not expected,
        "arrived": sorted(found.values()),
        "missing": missing,
        "misnamed": misnamed,
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
        state = arrived(services, batch_id=batch_id)
        if not state["complete"]:
            raise Refused(
                f"{', '.join(state['missing'])} is missing",
                where=f"inbox/{batch.location}",
                remedy="Put the files there under these names.",
            )
        for task in tasks:
            task.status, task.done_at = "done", utcnow()
        audit.record(
            session,
            actor=batch.sent_by,
            action="batch.submitted",
            subject_id=batch_id,
            data={"files": state["arrived"]},
            run=run,
        )


# ------------------------------------------------------------------------------------------------ helpers


@dataclass(frozen=True)
class _Wanted:
    """A deliverable that is asked for, the version whose change request it answers, and the note."""

    deliverable: Deliverable
    answers: str | None = None
    note: str = ""


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
        select(Decision).where(Decision.package_id == package_id).order_by(Decision.decided_at)
    ):
        own = decision.versions.get(version_id, {})
        verdict = own.get("verdict", decision.verdict)
        comment = own.get("comment") or (decision.comment if verdict != Verdict.APPROVE else "")
        if comment and verdict != Verdict.APPROVE:
            lines.append(f"{decision.person} ({decision.role.replace('_', ' ')}): {comment}")
    return "\n".join(lines)
