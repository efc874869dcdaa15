"""What a review of a brief's document does to the brief: it is signed, or sent back with what was said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dam import audit
from dam.catalog.models import Brief
from dam.errors import Refused
from dam.plan import briefs
from dam.review.annotations import name_of

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.catalog.models import Decision, Package
    from dam.services import Services

SILENCE = "Nobody signed before the deadline."


def frozen(session: Session, brief_id: str) -> dict[str, Any]:
    """Return what a package's manifest says of the brief that it is over."""
    brief = session.get_one(Brief, brief_id)
    return {"brief_id": brief.id, "number": brief.number, "sha256": briefs.sha256(brief.content)}


def read(services: Services, brief: Brief) -> list[str]:
    """Return a brief's text in Markdown, for who can't open its document."""
    parts = [f"## {brief.content['name']}, brief {brief.number}"]
    for heading, text in briefs.sections(services, brief.content):
        parts += ["", f"### {heading}", "", text]
    return parts


def approve(services: Services, session: Session, package: Package, *, run: str | None) -> str | None:
    """Sign the brief of a package that everybody approved, in the transaction of its verdict.

    Who gave the last signature signs it.

    :returns: None; or why it can't be signed, so that nothing is approved: it is not what was frozen, or a later
        brief is signed already.
    """
    brief = _locked(session, package)
    if briefs.sha256(brief.content) != package.manifest["brief"]["sha256"]:
        return "The brief is not what was frozen for the signatures. Draft it again."
    try:
        briefs.sign(services, session, brief, person=_last(package).person, run=run)
    except Refused as refusal:
        return str(refusal)
    return None


def refuse(services: Services, session: Session, package: Package, fixes: list[Any], *, run: str | None) -> None:
    """Send the brief of a package that its reviewers did not approve back, with what they said.

    :param fixes: the must-fixes that are open on its document, as :func:`dam.review.annotations.open_must_fixes`
        gives them.
    """
    person, reason = _last(package).person, _said(services, _signatures(package), fixes)
    briefs.send_back(session, _locked(session, package), person=person, reason=reason, run=run)


def drop(session: Session, package: Package, *, why: str, run: str | None) -> None:
    """Send the brief of a package that nobody decided on back."""
    briefs.send_back(session, _locked(session, package), person="airflow", reason=why, run=run)


def reopen(session: Session, package: Package, *, person: str, run: str | None) -> None:
    """Make a draft again of a brief that nobody signed in time, since its package is asked for again.

    :raises Refused: a later brief is signed or drafted already.
    """
    brief = _locked(session, package)
    if brief.status != "returned":
        return
    brief.status, brief.return_reason = "draft", None
    briefs.check_newest(session, brief)
    audit.record(session, actor=person, action="brief.reopened", subject_id=brief.id, run=run)


def _locked(session: Session, package: Package) -> Brief:
    return session.get_one(Brief, package.brief_id, with_for_update={"of": Brief}, populate_existing=True)


def _signatures(package: Package) -> list[Decision]:
    given = [decision for seat in package.seats for decision in seat.signatures]
    return sorted(given, key=lambda decision: decision.decided_at)


def _last(package: Package) -> Decision:
    return _signatures(package)[-1]


def _said(services: Services, signatures: list[Decision], fixes: list[Any]) -> str:
    """Return what was said against a brief, in one text."""
    said = []
    for decision in signatures:
        own = [answer.get("comment") or "" for answer in decision.versions.values()]
        comments = [comment.strip() for comment in (decision.comment, *own) if comment.strip()]
        if comments:
            said.append(f"{name_of(services, decision.person)}: {' '.join(comments)}")
    said += [f"Must be fixed: {fix['body']}" for fix in fixes]
    return "\n".join(said) or "No reason given."
