"""Notes on the versions of a package: must-fixes, suggestions and remarks, in threads, at a place of the picture.

Who may do what is decided here, whoever asks:

=======================  ===========================================================================================
read                     everybody; a private note only the holders of its role, and its author
write, reply             whoever holds another role than viewer, and guests, while the package is in review
edit, withdraw           its author, while it is open and the package in review; not what came from an earlier round,
                         and what was answered is not withdrawn
resolve, reopen          whoever may write; a guest only their own, and a must-fix never who made or sent the version.
                         Also after changes were requested, until the note has gone on to the next version
=======================  ===========================================================================================

A guest is written ``guest:<address>``: whoever lets guests in has checked their link. Every act is in the audit chain;
of a private note it holds the text's SHA-256 only, and what a note said before it was edited stays with it.

As JSON (what every route, stream and export gives)::

    {annotation_id, package_id, version_id, author, author_name, role, guest, body, target, kind, audience, reply_to,
     mentions, status: open | resolved, resolved_by, resolved_at, resolution, created_at, edited_at,
     origin: null | {annotation_id, package_id, version_id, number}, mine, may: [what the asking person may do to it]}

``may`` holds words of ``edit, withdraw, resolve, reopen, reply``. A reply's kind is always ``note``; it has no target.
How notes travel from one round to the next is in :mod:`dam.review.travel`, where they point in
:mod:`dam.review.targets`.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import aliased, selectinload

from dam import audit, mail
from dam.catalog.models import (
    Annotation,
    Batch,
    Package,
    PackageStatus,
    PackageVersion,
    Verdict,
    Version,
    utcnow,
)
from dam.errors import BadInput, NotFound, Refused
from dam.review import targets
from dam.review.travel import answered as answered
from dam.review.travel import carry as carry
from dam.review.travel import open_must_fixes as open_must_fixes

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.services import Services

log = logging.getLogger(__name__)
Kind = Literal["must_fix", "suggestion", "note"]
KINDS: tuple[Kind, ...] = ("must_fix", "suggestion", "note")
Act = Literal["edit", "withdraw", "resolve", "reopen", "reply"]
GUEST = "guest:"
#: Characters that a note has at most, and a resolution.
LENGTH, RESOLUTION = 8000, 2000
#: Who is named in a text: @username, not within an address.
_MENTION = re.compile(r"(?<![\w@.])@([A-Za-z][\w.-]*)", re.ASCII)
#: What keeps viewers and strangers from every act, and the remedy.
_READS_ONLY = ("viewers read notes and write none", "Ask the marketing lead for a role.")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


class ReviewOver(Refused):
    """The package is not in review any more; ``next_package_id`` is where its version, or the next one, went on."""

    def __init__(self, what: str, *, where: str, next_package_id: str | None) -> None:
        self.next_package_id = next_package_id
        remedy = f"Write in the next round: {next_package_id}." if next_package_id else "It is kept as it was."
        super().__init__(what, where=where, remedy=remedy)


# ------------------------------------------------------------------------------------------------------ acts


def add(
    services: Services,
    *,
    package_id: str,
    version_id: str,
    person: str,
    body: str,
    target: dict[str, Any] | None = None,
    kind: str = "note",
    audience: str | None = None,
    reply_to: str | None = None,
) -> dict[str, Any]:
    """Write a note and return it as JSON. Who is named in it is mailed by :func:`mail_mentions`.

    :param body: plain text. :param target: see :mod:`dam.review.targets`; None means the whole version.
    :param audience: a role of the person's, whose holders alone may read it. :param reply_to: the note it answers;
        its kind is ``note`` and its audience that one's, whatever is given.
    :raises BadInput: there is no text, no such place, kind or role, or the version is not in the package.
    :raises Refused: the person only reads. :raises ReviewOver: the package is decided.
    """
    text = _text(body, "body", LENGTH)
    with services.session() as session:
        view = _view(services, session, package_id, person, only=version_id)
        version = _version_in(session, package_id, version_id)
        _check_writes(view)
        _check_in_review(session, view, version)
        if reply_to is not None:
            first = _thread(session, view, reply_to, version_id, target)
            kind, audience, reply_to = "note", first.audience, first.id
        _check_kind(view, kind, audience)
        mentions = _mentions(services, text, person, audience)
        made = Annotation(
            package_id=package_id,
            version=version,
            author=person,
            role=_role(view, audience),
            body=text,
            target=_normal(version, target),
            kind=kind,
            audience=audience,
            reply_to_id=reply_to,
            mentions=mentions,
            to_mail=mentions,
        )
        session.add(made)
        session.flush()
        _record(session, made, "added", person, _content(made))
        return view.shown(made)


def edit(services: Services, *, annotation_id: str, person: str, changes: dict[str, Any]) -> dict[str, Any]:
    """Change one's own open note and return it; what it was is kept. Who is named anew is mailed.

    :param changes: any of ``body``, ``target`` and ``kind``.
    :raises NotFound: there is none that the person may read. :raises Refused: see the module.
    """
    with _opened(services, annotation_id, person, "edit") as (session, view, row):
        before = {"body": row.body, "target": row.target, "kind": row.kind}
        after = before | {name: changes[name] for name in before if name in changes}
        if "body" in changes:
            after["body"] = _text(changes["body"], "body", LENGTH)
        if "target" in changes:
            after["target"] = _normal(row.version, changes["target"])
        if row.reply_to_id is not None and (after["kind"], after["target"]) != ("note", None):
            raise BadInput("a reply has neither a place nor a kind of its own", where=f"note {row.id}")
        _check_kind(view, after["kind"], row.audience)
        if after != before:
            was = _content(row)
            now = utcnow()
            mentions = _mentions(services, after["body"], person, row.audience)
            row.to_mail = [*row.to_mail, *(name for name in mentions if name not in row.mentions)]
            row.mentions = mentions
            row.former = [*row.former, before | {"until": now.isoformat()}]
            row.body, row.target, row.kind, row.edited_at = after["body"], after["target"], after["kind"], now
            session.flush()
            _record(session, row, "edited", person, {"was": was} | _content(row))
        return view.shown(row)


def resolve(services: Services, *, annotation_id: str, person: str, resolution: str = "") -> dict[str, Any]:
    """Mark a note as answered and return it; one that is answered already is left as it is.

    :param resolution: how it was answered. :raises Refused: see the module.
    """
    text = _text(resolution, "resolution", RESOLUTION) if resolution.strip() else None
    with _opened(services, annotation_id, person, "resolve") as (session, view, row):
        if row.resolved_at is None:
            row.resolved_at, row.resolved_by, row.resolution = utcnow(), person, text
            session.flush()
            _record(session, row, "resolved", person, _private(row, {"resolution": text}))
        return view.shown(row)


def reopen(services: Services, *, annotation_id: str, person: str) -> dict[str, Any]:
    """Open an answered note again and return it; one that is open is left as it is. :raises Refused: see the module."""
    with _opened(services, annotation_id, person, "reopen") as (session, view, row):
        if row.resolved_at is not None:
            was = {"resolved_by": row.resolved_by, "resolution": row.resolution}
            row.resolved_at = row.resolved_by = row.resolution = None
            session.flush()
            _record(session, row, "reopened", person, _private(row, {"was": was}))
        return view.shown(row)


def withdraw(services: Services, *, annotation_id: str, person: str) -> None:
    """Take one's own open note back: nobody is shown it any more. :raises Refused: see the module."""
    with services.session() as session:
        found = session.get(Annotation, annotation_id)
        if found is not None and found.withdrawn_at is not None and found.author == person:
            return
    with _opened(services, annotation_id, person, "withdraw") as (session, _, row):
        row.withdrawn_at, row.to_mail = utcnow(), []
        session.flush()
        _record(session, row, "withdrawn", person)


# -------------------------------------------------------------------------------------------------- questions


def of_package(services: Services, *, package_id: str, person: str | None = None) -> list[dict[str, Any]]:
    """Return a package's notes that a person may read, oldest first, replies among them.

    :param person: username, or a guest; None is anybody, who is shown no private note.
    :raises NotFound: there is no such package.
    """
    with services.session() as session:
        view = _view(services, session, package_id, person or "", lock=False)
        rows = session.scalars(
            select(Annotation)
            .where(Annotation.package_id == package_id, Annotation.withdrawn_at.is_(None), view.readable())
            .options(selectinload(Annotation.origin).joinedload(Annotation.version))
            .order_by(Annotation.created_at, Annotation.id)
        ).all()
        return [view.shown(row) for row in rows]


def may_write(services: Services, person: str) -> bool:
    """Return whether a person may write notes at all: guests, and holders of another role than viewer."""
    return is_guest(person) or any(role != "viewer" for role in _roles(services, person))


def may_read(services: Services, person: str, *, audience: str | None, author: str | None) -> bool:
    """Return whether a person may read a note of this audience and author."""
    return audience is None or person == author or audience in _roles(services, person)


def is_guest(person: str) -> bool:
    """Return whether a person is somebody from outside, who came by a link."""
    return person.startswith(GUEST)


def name_of(services: Services, person: str) -> str:
    """Return a person's name as it is shown: in full where it is known."""
    known = services.workflow.people.get(person)
    return known.name if known else person.removeprefix(GUEST)


# ------------------------------------------------------------------------------------------------------ mail


def mail_mentions(services: Services, *, annotation_id: str | None = None) -> int:
    """Mail who is named in notes and was not mailed yet, with a link to that very proof; return how many mails went.

    Whoever serves the write calls it for that note; a sweep calls it for all, which finds what a killed process or
    a mail server that was down has left. Nobody is mailed twice, unless we are killed between server and catalogue.

    :param annotation_id: only this note's.
    """
    query = select(Annotation.id, func.unnest(Annotation.to_mail)).where(Annotation.to_mail != [])
    if annotation_id is not None:
        query = query.where(Annotation.id == annotation_id)
    with services.session() as session:
        waiting = [(one, person) for one, person in session.execute(query.order_by(Annotation.id))]
    return sum(_mail(services, one, person) for one, person in waiting)


def _mail(services: Services, annotation_id: str, person: str) -> bool:
    """Mail one person of one note; return whether a mail went out."""
    with services.session() as session:
        # a lock of its own, not the row's: a slow mail server keeps nobody from answering the note
        key = func.hashtextextended(f"{annotation_id} {person}", 0)
        if not session.scalar(select(func.pg_try_advisory_xact_lock(key))):
            return False
        row = session.get_one(Annotation, annotation_id)
        if person not in row.to_mail:
            return False
        try:
            sent = mail.send(services, to=[person], template="mentioned", context=_letter(services, session, row))
        except mail.MailFailed as error:
            log.warning("%s was named in note %s and is not mailed yet: %s", person, annotation_id, error)
            return False
        session.execute(
            update(Annotation)
            .where(Annotation.id == annotation_id)
            .values(to_mail=func.array_remove(Annotation.to_mail, person))
            .execution_options(synchronize_session=False)
        )
        return sent


def _letter(services: Services, session: Session, row: Annotation) -> dict[str, Any]:
    package = session.get_one(Package, row.package_id)
    asset = row.version.asset
    return {
        "author": name_of(services, row.author),
        "asset": f"{asset.name if asset else row.version.filename} v{row.version.number}",
        "campaign": package.campaign.name if package.campaign else "",
        "kind": row.kind.replace("_", " "),
        "where": targets.describe(row.target),
        "body": row.body,
        "private": row.audience.replace("_", " ") if row.audience else "",
        "link": link(services, package_id=row.package_id, version_id=row.version_id, annotation_id=row.id),
    }


def link(services: Services, *, package_id: str, version_id: str, annotation_id: str = "") -> str:
    """Return the address of a proof in the review room, and of a note on it."""
    note = f"&note={annotation_id}" if annotation_id else ""
    return f"{services.settings.web_url.rstrip('/')}/dam/packages/{package_id}?version={version_id}{note}"


# ------------------------------------------------------------------------------------------------ who may what


@dataclass
class _View:
    """A package as one person sees it: what they may read, and what they may do.

    :param makers: version → who made or sent it. :param verdicts: version → its verdict.
    :param gone_on: notes that are in a later round too. :param answered: notes that have replies.
    """

    services: Services
    package: Package
    person: str
    roles: Sequence[str]
    makers: dict[str, set[str]] = field(default_factory=dict)
    verdicts: dict[str, str | None] = field(default_factory=dict)
    gone_on: frozenset[str] = frozenset()
    answered: frozenset[str] = frozenset()

    @cached_property
    def writes(self) -> bool:
        return may_write(self.services, self.person)

    @property
    def in_review(self) -> bool:
        return self.package.status == PackageStatus.IN_REVIEW

    def reads(self, row: Annotation) -> bool:
        return may_read(self.services, self.person, audience=row.audience, author=row.author)

    def readable(self) -> Any:
        """Return :meth:`reads` as a condition of a query."""
        return or_(
            Annotation.audience.is_(None), Annotation.author == self.person, Annotation.audience.in_(sorted(self.roles))
        )

    def why_not(self, act: Act, row: Annotation) -> tuple[str, str] | None:
        """Return what keeps the person from an act, and the remedy; None when they may."""
        if not self.writes:
            return _READS_ONLY
        if act in ("edit", "withdraw"):
            return self._not_theirs(act, row)
        if act in ("resolve", "reopen"):
            return self._not_to_resolve(row)
        return None if self.in_review else (self.over(), "")

    def _not_theirs(self, act: Act, row: Annotation) -> tuple[str, str] | None:
        if row.author != self.person:
            return f"it is {name_of(self.services, row.author)}'s note", "Reply to it."
        if not self.in_review:
            return self.over(), "It is kept as it was."
        if row.origin_id is not None:
            return "it came from an earlier round, where it stays as it was", "Reply to it, or resolve it."
        if row.resolved_at is not None:
            return "it is resolved", "Reopen it first."
        if act == "withdraw" and row.id in self.answered:
            return "it was answered, and the answers would be left without it", "Resolve it."
        return None

    def _not_to_resolve(self, row: Annotation) -> tuple[str, str] | None:
        if row.reply_to_id is not None:
            return "a reply is neither open nor resolved", "Resolve the note that it answers."
        if is_guest(self.person) and row.author != self.person:
            return "guests resolve their own notes only", "Reply to it."
        if row.kind == "must_fix" and self.person in self.makers.get(row.version_id, set()):
            return "who made a version does not tick off what must be fixed in it", "Reply to it; a reviewer looks."
        if self.in_review:
            return None
        if row.id in self.gone_on:
            return f"{self.over()}, and it has gone on to the next one", "Resolve it there."
        if self.verdicts.get(row.version_id) != Verdict.REQUEST_CHANGES:
            return self.over(), "It is kept as it was."
        return None

    def over(self) -> str:
        """Return that the review is over, and how it ended."""
        return f"the review is over: {self.package.status.replace('_', ' ')}"

    def shown(self, row: Annotation) -> dict[str, Any]:
        """Return a note as JSON."""
        origin = row.origin
        acts: list[Act] = ["edit", "withdraw", "reopen" if row.resolved_at else "resolve", "reply"]
        return {
            "annotation_id": row.id,
            "package_id": row.package_id,
            "version_id": row.version_id,
            "author": row.author,
            "author_name": name_of(self.services, row.author),
            "role": row.role,
            "guest": is_guest(row.author),
            "body": row.body,
            "target": row.target,
            "kind": row.kind,
            "audience": row.audience,
            "reply_to": row.reply_to_id,
            "mentions": list(row.mentions),
            "status": "resolved" if row.resolved_at else "open",
            "resolved_by": row.resolved_by,
            "resolved_at": _iso(row.resolved_at),
            "resolution": row.resolution,
            "created_at": _iso(row.created_at),
            "edited_at": _iso(row.edited_at),
            "origin": {
                "annotation_id": origin.id,
                "package_id": origin.package_id,
                "version_id": origin.version_id,
                "number": origin.version.number,
            }
            if origin
            else None,
            "mine": row.author == self.person,
            "may": [act for act in acts if self.why_not(act, row) is None],
        }


def _view(
    services: Services, session: Session, package_id: str, person: str, *, only: str | None = None, lock: bool = True
) -> _View:
    """Return a package as a person sees it.

    :param only: the one version that is looked at. :param lock: keep it from being decided meanwhile; others may
        write at the same time.
    """
    package = session.get(Package, package_id, with_for_update={"read": True, "of": Package} if lock else None)
    if package is None:
        raise NotFound("there is no such package", where=package_id)
    view = _View(services, package, person, _roles(services, person))
    entries = (
        select(PackageVersion.version_id, PackageVersion.verdict, Version.made_by, Batch.sent_by)
        .join(Version, Version.id == PackageVersion.version_id)
        .join(Batch, Batch.id == Version.batch_id)
        .where(PackageVersion.package_id == package_id)
    )
    if only is not None:
        entries = entries.where(PackageVersion.version_id == only)
    for version_id, verdict, *makers in session.execute(entries):
        view.makers[version_id], view.verdicts[version_id] = set(makers), verdict
    reply = select(Annotation.reply_to_id).where(
        Annotation.package_id == package_id, Annotation.reply_to_id.is_not(None), Annotation.withdrawn_at.is_(None)
    )
    view.answered = frozenset(one for one in session.scalars(reply) if one)
    if not view.in_review:
        here, later = aliased(Annotation), aliased(Annotation)
        gone = (
            select(here.id)
            .join(later, later.origin_id == func.coalesce(here.origin_id, here.id))
            .join(Package, Package.id == later.package_id)
            .where(here.package_id == package_id, Package.frozen_at > package.frozen_at)
        )
        view.gone_on = frozenset(session.scalars(gone))
    return view


@contextmanager
def _opened(
    services: Services, annotation_id: str, person: str, act: Act
) -> Iterator[tuple[Session, _View, Annotation]]:
    """Give a note, locked, to do something to it in one transaction.

    :raises NotFound: there is none that the person may read. :raises Refused: they may not do this now.
    """
    with services.session() as session:
        place = session.execute(
            select(Annotation.package_id, Annotation.version_id).where(Annotation.id == annotation_id)
        ).one_or_none()
        if place is None:
            raise NotFound("there is no such note", where=annotation_id)
        view = _view(services, session, place.package_id, person, only=place.version_id)
        row = session.get_one(Annotation, annotation_id, with_for_update={"of": Annotation})
        if row.withdrawn_at is not None or not view.reads(row):
            raise NotFound("there is no such note", where=annotation_id)
        if (act == "resolve" and row.resolved_at) or (act == "reopen" and not row.resolved_at):
            _check_writes(view)  # it is as it is wanted: nothing else matters
        elif why := view.why_not(act, row):
            raise Refused(why[0], where=f"note {annotation_id}", remedy=why[1])
        yield session, view, row


def _roles(services: Services, person: str) -> Sequence[str]:
    known = services.workflow.people.get(person)
    return known.roles if known else ()


def _role(view: _View, audience: str | None) -> str:
    """Return as which role a person writes: that of a private note, or of a seat of the package, or their first."""
    if is_guest(view.person):
        return "guest"
    seats = {seat.role for seat in view.package.seats}
    return audience or next((role for role in view.roles if role in seats), next(iter(view.roles), ""))


def _check_writes(view: _View) -> None:
    if not view.writes:
        what, remedy = _READS_ONLY
        raise Refused(what, where=f"package {view.package.id}", remedy=remedy)


def _check_in_review(session: Session, view: _View, version: Version) -> None:
    if view.in_review:
        return
    later = session.scalar(
        select(Package.id)
        .join(PackageVersion, PackageVersion.package_id == Package.id)
        .join(Version, Version.id == PackageVersion.version_id)
        .where(Version.asset_id == version.asset_id, Package.frozen_at > view.package.frozen_at)
        .order_by(Package.frozen_at.desc())
        .limit(1)
    )
    raise ReviewOver(view.over(), where=f"package {view.package.id}", next_package_id=later)


# --------------------------------------------------------------------------------------------------- its parts


def _version_in(session: Session, package_id: str, version_id: str) -> Version:
    if session.get(PackageVersion, (package_id, version_id)) is None:
        raise BadInput("is not in this package", where=f"version {version_id}")
    return session.get_one(Version, version_id)


def _thread(session: Session, view: _View, reply_to: str, version_id: str, target: Any) -> Annotation:
    """Return the first note of the thread that a reply goes to."""
    found = session.get(Annotation, reply_to)
    if found is not None and found.reply_to_id is not None:
        found = session.get_one(Annotation, found.reply_to_id)
    there = found is not None and found.package_id == view.package.id and found.withdrawn_at is None
    if found is None or not there or not view.reads(found):
        raise BadInput("there is no such note in this package", where=f"reply_to {reply_to}", remedy="Reload the page.")
    if found.version_id != version_id:
        raise BadInput("the note that it answers is on another version", where=f"reply_to {reply_to}")
    if target is not None:
        raise BadInput("a reply has no place of its own", where="target", remedy="Write a new note at that place.")
    return found


def _check_kind(view: _View, kind: str, audience: str | None) -> None:
    if kind not in KINDS:
        raise BadInput(f"{kind!r} is no kind of note", where="kind", remedy=f"Use: {', '.join(KINDS)}.")
    if audience is None:
        return
    if is_guest(view.person):
        raise BadInput("a guest's note is for everybody", where="audience")
    if audience not in view.roles:
        raise BadInput(
            f"a private note is for a role of your own, and you are no {audience.replace('_', ' ')}",
            where="audience",
            remedy=f"Use: {', '.join(sorted(view.roles))}.",
        )
    if kind == "must_fix":
        raise BadInput(
            "what must be fixed is for everybody: who is to fix it must see it",
            where="kind",
            remedy="Write it to everybody, or make it a suggestion.",
        )


def _normal(version: Version, target: Any) -> dict[str, Any] | None:
    pages = version.technical.get("pages")
    return targets.normalise(
        target,
        sha256=version.sha256,
        seconds=version.seconds,
        pages=pages if isinstance(pages, int) else None,
    )


def _text(given: Any, where: str, length: int) -> str:
    """Return plain text as it is kept: one kind of line end, nothing that is no character."""
    if not isinstance(given, str):
        raise BadInput("is no text", where=where)
    text = given.replace("\r\n", "\n").replace("\r", "\n")
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # half a character is none
    text = _CONTROL.sub("", text).strip()
    if not text:
        raise BadInput("the note is empty", where=where, remedy="Say what you see.")
    if len(text) > length:
        raise BadInput(f"the note has {len(text)} characters; {length} are the most", where=where)
    return text


def _mentions(services: Services, text: str, author: str, audience: str | None) -> list[str]:
    """Return who is named in a text, each once; a name that nobody has is only a word. Guests name nobody.

    :raises BadInput: somebody is named in a private note who may not read it.
    """
    if is_guest(author):
        return []
    people = services.workflow.people
    named = []
    for found in _MENTION.findall(text):
        name = found.lower()
        while name and name not in people and name[-1] in ".-_":
            name = name[:-1]  # the sentence's full stop is no part of it
        if name in people and name != author and name not in named:
            named.append(name)
    for name in named:
        if not may_read(services, name, audience=audience, author=author):
            raise BadInput(
                f"{name} holds not the role of the {str(audience).replace('_', ' ')} and would not see this note",
                where="body",
                remedy="Write it to everybody, or do not name them.",
            )
    return named


def _content(row: Annotation) -> dict[str, Any]:
    """Return what the audit chain says of a note's content."""
    if row.audience is not None:
        digest = hashlib.sha256(row.body.encode()).hexdigest()
        return {"kind": row.kind, "audience": row.audience, "body_sha256": digest}
    return {"kind": row.kind, "body": row.body, "target": row.target, "mentions": list(row.mentions)}


def _private(row: Annotation, data: dict[str, Any]) -> dict[str, Any]:
    return {} if row.audience is not None else data


def _record(session: Session, row: Annotation, verb: str, person: str, more: dict[str, Any] | None = None) -> None:
    data = {"annotation_id": row.id, "version_id": row.version_id, "reply_to": row.reply_to_id} | (more or {})
    audit.record(session, actor=person, action=f"annotation.{verb}", subject_id=row.package_id, data=data)


def _iso(moment: Any) -> str | None:
    return moment.isoformat() if moment else None
