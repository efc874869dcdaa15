"""Re-tagging as a diff: what the taggers would say today against the tags that are there.

A run compares and proposes; a person looks at a sample; then all of it is applied as one, or rolled back as one.
What people said (their own tags, their refusals, terms they decided on) is never touched. A version whose tags are
part of a manifest under review or approved is left out unless it is asked for, because the approval would be void;
one under a legal hold is always left out. Comparing goes on where it was killed; applying and rolling back are one
transaction each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from dam import audit
from dam.catalog.models import RetagChange, RetagRun, RetagVerdict, utcnow
from dam.enrich.retag.compare import propose
from dam.enrich.retag.figures import SAMPLE, runs, sample, summary
from dam.enrich.retag.turning import turn
from dam.errors import BadInput, NotFound, Refused

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.services import Services

__all__ = ["ROLES", "SAMPLE", "apply", "judge", "propose", "roll_back", "runs", "sample", "summary"]

#: Who may judge, apply and roll back.
ROLES = ("librarian", "dam_admin")


def judge(services: Services, *, run_id: str, version_id: str, verdict: str, person: str) -> dict[str, Any]:
    """Note what a person says of a run's changes to one version: ``accepted``, or ``refused`` (they are left out).

    :returns: the run's figures, see :func:`summary`.
    """
    _check_role(services, person, run_id)
    if verdict not in ("accepted", "refused"):
        raise BadInput(f"{verdict!r} is no verdict", where="verdict", remedy="Say accepted or refused.")
    with services.session() as session:
        found = _locked(session, run_id)
        if found.status != "proposed":
            raise Refused(f"the run is {found.status.replace('_', ' ')}", where=run_id)
        known = select(RetagChange.version_id).where(RetagChange.run_id == run_id, RetagChange.version_id == version_id)
        if session.scalar(known.limit(1)) is None:
            raise NotFound("the run changes no such version", where=version_id)
        told = {"verdict": verdict, "person": person, "judged_at": utcnow()}
        session.execute(
            insert(RetagVerdict)
            .values(run_id=run_id, version_id=version_id, **told)
            .on_conflict_do_update(index_elements=["run_id", "version_id"], set_=told)
        )
    return summary(services, run_id=run_id)


def _check_role(services: Services, person: str, where: str) -> None:
    if not any(services.workflow.has_role(person, role) for role in ROLES):
        raise Refused(f"{person} may not decide on tags", where=where, remedy="Ask a librarian.")


def _locked(session: Session, run_id: str) -> RetagRun:
    found = session.get(RetagRun, run_id, with_for_update=True)
    if found is None:
        raise NotFound("there is no such retag run", where=run_id)
    return found


def apply(
    services: Services,
    *,
    run_id: str,
    person: str,
    approved: bool = False,
    unsampled: bool = False,
    run: str | None = None,
) -> dict[str, Any]:
    """Apply a run as one: all of it, or nothing when it is killed. Applied again, it changes nothing.

    :param approved: also change versions in packages under review or approved; their signatures are void then.
    :param unsampled: although nobody looked at a sample.
    :returns: the run's figures, see :func:`summary`.
    :raises Refused: it is not proposed, the sample was not looked at, or the person is no librarian.
    """
    _check_role(services, person, run_id)
    with services.session() as session:
        found = _locked(session, run_id)
        if found.status != "applied":
            if found.status != "proposed":
                raise Refused(f"the run is {found.status.replace('_', ' ')}", where=run_id, remedy="Start a new one.")
            if not unsampled:
                _check_sampled(session, found)
            counts = turn(session, found, person, forwards=True, approved=approved, run=run)
            found.status, found.applied_by, found.applied_at = "applied", person, utcnow()
            _record(session, found, person, "retag.applied", counts | {"approved_too": approved}, run)
    return summary(services, run_id=run_id)


def roll_back(
    services: Services, *, run_id: str, person: str, approved: bool = False, run: str | None = None
) -> dict[str, Any]:
    """Undo an applied run as one; what people changed since stays. See :func:`apply`."""
    _check_role(services, person, run_id)
    with services.session() as session:
        found = _locked(session, run_id)
        if found.status != "rolled_back":
            if found.status != "applied":
                raise Refused(f"the run is {found.status}, not applied", where=run_id, remedy="Apply it first.")
            counts = turn(session, found, person, forwards=False, approved=approved, run=run)
            found.status, found.rolled_back_by, found.rolled_back_at = "rolled_back", person, utcnow()
            _record(session, found, person, "retag.rolled_back", counts | {"approved_too": approved}, run)
    return summary(services, run_id=run_id)


def _record(session: Session, found: RetagRun, person: str, action: str, data: dict[str, Any], run: str | None) -> None:
    audit.record(session, actor=person, action=action, subject_id=found.id, data=data, run=run)


def _check_sampled(session: Session, found: RetagRun) -> None:
    judged = session.scalar(select(func.count()).select_from(RetagVerdict).where(RetagVerdict.run_id == found.id))
    needed = min(SAMPLE, found.changed)
    if (judged or 0) < needed:
        raise Refused(
            f"{judged} of {needed} versions of the sample were looked at",
            where=found.id,
            remedy=f"Look at them under /retags/{found.id}, or say that you apply it unseen (--unsampled).",
        )
