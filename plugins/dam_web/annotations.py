"""Notes over HTTP. Who may do what is decided in :mod:`dam.review.annotations`; nothing here knows a rule.

For the page's script (see :mod:`dam_web.live` for what happens without asking):

- ``GET api/packages/{id}/annotations``: all notes one may read, oldest first, replies among them (``reply_to`` is the
  thread's first note). ``may`` says which of ``edit, withdraw, resolve, reopen, reply`` to offer.
- ``POST`` the same, ``{version_id, body, target?, kind, audience?, reply_to?}``: the note as it is now.
- ``PATCH api/annotations/{id}`` ``{body?, target?, kind?}``; ``target: null`` takes the place away.
- ``POST api/annotations/{id}/resolve`` ``{resolution?}``, ``/reopen``, ``/withdraw``.
- A refusal is ``{what, where, remedy}``: 409 a rule, 422 the input, 404 not there or not to be read by this person.
  Where the review is over and went on, ``next_package_id`` says where.
- Bodies are plain text: put them into the page by ``textContent``. A target's numbers are parsed, never its markup
  inserted; what is stored has the exact forms of :mod:`dam.review.targets`.
- ``?version={version_id}&note={annotation_id}`` on the room's page opens on that proof and note: mails link there.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, BackgroundTasks, Depends, HTTPException, Path, status
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from dam.review import annotations as notes
from dam.review import jsonld
from dam.review.annotations import Kind
from dam_web.auth import Asking, Visitor
from dam_web.deps import services

router = APIRouter(prefix="/api")
_WORD = r"^[a-z0-9_]{1,64}$"
Id = Annotated[str, Path(pattern=_WORD)]
Word = Annotated[str, Field(pattern=_WORD)]


async def _writing(person: Asking) -> Visitor:
    """Let those pass who may write notes at all; a log-in is nobody's guest, whatever its name."""
    if notes.is_guest(person.username) or not notes.may_write(services(), person.username):
        raise HTTPException(status.HTTP_403_FORBIDDEN, "Viewers read notes and write none.")
    return person


Writer = Annotated[Visitor, Depends(_writing)]


class Note(BaseModel):
    """A note, or a reply to one."""

    version_id: Word
    body: str
    target: dict[str, Any] | None = None
    kind: Kind = "note"
    audience: Word | None = None
    reply_to: Word | None = None


class Changes(BaseModel):
    """What is changed in a note; what is not named stays."""

    body: str = ""
    target: dict[str, Any] | None = None
    kind: Kind = "note"


class Resolution(BaseModel):
    """How a note was answered."""

    resolution: str = ""


class LinkedData(JSONResponse):
    """JSON-LD of W3C's annotation profile."""

    media_type = jsonld.MEDIA_TYPE


@router.get("/packages/{package_id}/annotations")
def of_package(package_id: Id, person: Asking) -> list[dict[str, Any]]:
    """Return a package's notes that I may read."""
    return notes.of_package(services(), package_id=package_id, person=person.username)


@router.get("/packages/{package_id}/annotations.jsonld", response_class=LinkedData)
def as_linked_data(package_id: Id, person: Asking) -> LinkedData:
    """Return a package's notes that I may read as a W3C annotation page."""
    return LinkedData(jsonld.page(services(), package_id=package_id, person=person.username))


@router.post("/packages/{package_id}/annotations")
def add(package_id: Id, given: Note, person: Writer, later: BackgroundTasks) -> dict[str, Any]:
    """Write a note; who is named in it is mailed when the answer is out."""
    made = notes.add(services(), package_id=package_id, person=person.username, **given.model_dump())
    return _mailed(made, later)


@router.patch("/annotations/{annotation_id}")
def edit(annotation_id: Id, given: Changes, person: Writer, later: BackgroundTasks) -> dict[str, Any]:
    """Change my own open note."""
    changes = given.model_dump(include=given.model_fields_set)
    made = notes.edit(services(), annotation_id=annotation_id, person=person.username, changes=changes)
    return _mailed(made, later)


@router.post("/annotations/{annotation_id}/resolve")
def resolve(annotation_id: Id, person: Writer, given: Resolution | None = None) -> dict[str, Any]:
    """Mark a note as answered."""
    said = given.resolution if given else ""
    return notes.resolve(services(), annotation_id=annotation_id, person=person.username, resolution=said)


@router.post("/annotations/{annotation_id}/reopen")
def reopen(annotation_id: Id, person: Writer) -> dict[str, Any]:
    """Open an answered note again."""
    return notes.reopen(services(), annotation_id=annotation_id, person=person.username)


@router.post("/annotations/{annotation_id}/withdraw")
def withdraw(annotation_id: Id, person: Writer) -> dict[str, str]:
    """Take my own open note back."""
    notes.withdraw(services(), annotation_id=annotation_id, person=person.username)
    return {"withdrawn": annotation_id}


def _mailed(made: dict[str, Any], later: BackgroundTasks) -> dict[str, Any]:
    if made["mentions"]:
        later.add_task(notes.mail_mentions, services(), annotation_id=made["annotation_id"])
    return made
