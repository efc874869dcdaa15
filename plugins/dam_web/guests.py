"""External reviewers: their pages below ``/guest/{token}``, and where people with a log-in invite and revoke them.

``outside`` is the one router without Airflow's log-in. Each of its routes asks for the link's secret, and all but the
door (the page, its style and script, the one-time password) for the guest's own session. Whatever a guest may not see
is not there: 404, and never why. Nothing here is kept by a browser or a proxy.
"""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, BackgroundTasks, Depends, Request, Response
from fastapi import Path as InPath
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from pydantic import AwareDatetime, BaseModel, Field

from dam.errors import DamError, Refused
from dam.review import annotations as notes
from dam.review import guests, packages, record, seats
from dam.review.annotations import Kind
from dam_web import inside, pages
from dam_web.airflow_api import AirflowSaysNo
from dam_web.api import LOOKS, VerdictName, VersionAnswer, as_asked, to_start
from dam_web.auth import Asking, Visitor, may, same_site
from dam_web.deps import services
from dam_web.media import STATIC

router = APIRouter()
outside = APIRouter(prefix="/guest/{token}", dependencies=[Depends(same_site)])
#: Where the outside begins, below the app.
PREFIX = "/guest/"
SESSION, DEVICE = "dam_guest", "dam_guest_device"
#: Of every answer there, errors too.
HEADERS = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Robots-Tag": "noindex, nofollow"}
#: Files the guests' pages need; no other is served to them.
FILES = ("dam.css", "guest.css", "common.js", "guest.js", "icon.svg")
Inviter = Annotated[Visitor, may(*guests.INVITERS)]
Token = Annotated[str, InPath(pattern=r"^[\w-]{1,100}$")]


class Invitation(BaseModel):
    """Whom to invite, until when, and what they may."""

    email: str = Field(max_length=254)
    name: str = Field(max_length=100)
    expires_at: AwareDatetime
    may_comment: bool = True
    seat_id: str | None = Field(None, max_length=64)


class Code(BaseModel):
    """A one-time password as it was typed."""

    code: str = Field(max_length=40)


class GuestNote(BaseModel):
    """A guest's note on a version, or a reply to one."""

    version_id: str = Field(max_length=64)
    body: str = Field(max_length=notes.LENGTH)
    target: dict[str, Any] | None = None
    kind: Kind = "note"
    reply_to: str | None = Field(None, max_length=64)


class GuestVerdict(BaseModel):
    """A guest's verdict: a signature where they were given a seat, advice otherwise."""

    verdict: VerdictName
    comment: str = Field("", max_length=4000)
    conditions: str = Field("", max_length=4000)
    versions: dict[str, VersionAnswer] = {}


# ------------------------------------------------------------------------------------- people with a log-in


@router.get("/packages/{package_id}/record.{suffix}")
def signed_record(package_id: str, suffix: Literal["pdf", "json"], _person: Asking) -> Response:
    """Return the signed record of a package."""
    from dam.review import record_pdf  # ReportLab: not for an api-server's start

    document = record.build(services(), package_id=package_id)
    content = record_pdf.export(services(), document) if suffix == "pdf" else record.as_bytes(document)
    name = record.filename(document, suffix)
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "private, no-cache"}
    return Response(content, media_type=f"application/{suffix}", headers=headers)


@router.get("/packages/{package_id}/guests", response_class=HTMLResponse)
def guest_list(request: Request, package_id: str, person: Inviter) -> Response:
    """Show who was invited from outside, and let them be invited and revoked."""
    shown = {"guests": guests.of_package(services(), package_id=package_id)}
    shown["seats"] = guests.open_seats(services(), package_id=package_id)
    return pages.page_of(request, person, "guests.html.j2", package_id=package_id, longest=guests.LONGEST.days, **shown)


@router.post("/api/packages/{package_id}/guests")
def invite(package_id: str, given: Invitation, person: Inviter) -> dict[str, str]:
    """Invite somebody from outside; the link goes to them by mail."""
    made = guests.invite(services(), package_id=package_id, person=person.username, **given.model_dump())
    return {"guest_id": made}


@router.post("/api/guests/{guest_id}/revoke")
def revoke(guest_id: str, person: Inviter) -> dict[str, str]:
    """End a guest's link and sessions."""
    guests.revoke(services(), guest_id=guest_id, person=person.username)
    return {"revoked": guest_id}


# ------------------------------------------------------------------------------------------------- the door


def is_outside(request: Request) -> bool:
    """Return whether a request is for a guest's page."""
    return request.url.path.removeprefix(_root(request)).startswith(PREFIX)


def error_page(request: Request, status: int, told: dict[str, Any]) -> Response:
    """Return an error as a page that needs nothing from inside."""
    page = pages.page_of(request, None, "guest_error.html.j2", told=told)
    page.status_code = status
    return page


def _root(request: Request) -> str:
    """Return the path that the app is mounted at."""
    return str(request.scope.get("root_path", "")).rstrip("/")


def _address(request: Request) -> str | None:
    return request.client.host if request.client else None


def _inside(request: Request, token: Token) -> guests.Visitor:
    """Return the guest whose session this is. :raises NoSuchLink: it is nobody's; more is not said."""
    secret = request.cookies.get(SESSION, "")
    found = guests.session_of(services(), token=token, secret=secret, address=_address(request))
    if found is None:
        raise guests.NoSuchLink
    return found


Guest = Annotated[guests.Visitor, Depends(_inside)]


def _keep(request: Request, response: Response, token: str, name: str, secret: str, seconds: float) -> None:
    """Set a cookie of a guest's: for this link only, out of reach of scripts and of other sites."""
    secure = request.url.scheme == "https" or services().settings.web_url.startswith("https:")
    response.set_cookie(
        name, secret, max_age=max(0, round(seconds)), path=f"{_root(request)}{PREFIX}{token}", secure=secure,
        httponly=True, samesite="strict",
    )  # fmt: skip


@outside.get("", response_class=HTMLResponse)
def door(request: Request, token: Token) -> Response:
    """Show the room to a guest, or ask for a one-time password in a browser that has given none.

    A link in a mail is opened from elsewhere, and then a browser keeps the guest's cookie back: the page asks it to
    come again from here.
    """
    knocked = guests.knock(services(), token=token, address=_address(request))
    secret = request.cookies.get(SESSION)
    if secret is None and request.headers.get("sec-fetch-site") == "cross-site":
        return HTMLResponse(
            '<!doctype html><title>Review</title><meta http-equiv="refresh" content="0"><p>One moment…',
            headers={"Refresh": "0"},
        )
    found = guests.session_of(services(), token=token, secret=secret, address=_address(request)) if secret else None
    if found is None:
        name, _, host = knocked.email.partition("@")
        return pages.page_of(request, None, "guest_door.html.j2", token=token, hint=f"{name[:1]}…@{host}")
    shown = guests.room(services(), found, address=_address(request))
    return pages.page_of(request, None, "guest.html.j2", token=token, guest=found, room=shown)


@outside.get("/static/{name}")
def static(request: Request, token: Token, name: str) -> FileResponse:
    """Return the pages' style and script."""
    guests.knock(services(), token=token, address=_address(request))
    if name not in FILES:
        raise guests.NoSuchLink
    return FileResponse(STATIC / name)


@outside.post("/code")
def send_code(request: Request, token: Token) -> Response:
    """Mail a one-time password for this browser."""
    device = guests.send_code(services(), token=token, address=_address(request))
    response = JSONResponse({"sent": True})
    _keep(request, response, token, DEVICE, device, guests.CODE_LIFE.total_seconds())
    return response


@outside.post("/enter")
def enter(request: Request, token: Token, given: Code) -> Response:
    """Take a one-time password, and begin a session."""
    secret = guests.enter(
        services(), token=token, device=request.cookies.get(DEVICE, ""), code=given.code, address=_address(request),
        browser=request.headers.get("user-agent", ""),
    )  # fmt: skip
    found = guests.knock(services(), token=token, address=_address(request))
    response = JSONResponse({"entered": True})
    left = found.expires_at - datetime.now(found.expires_at.tzinfo)
    _keep(request, response, token, SESSION, secret, left.total_seconds())
    _keep(request, response, token, DEVICE, "", 0)
    return response


# ------------------------------------------------------------------------------------------------- the room


@outside.post("/leave")
def leave(request: Request, token: Token, _guest: Guest) -> Response:
    """End this browser's session."""
    guests.leave(services(), token=token, secret=request.cookies[SESSION])
    response = JSONResponse({"left": True})
    _keep(request, response, token, SESSION, "", 0)
    return response


@outside.get("/proofs/{version_id}/{recipe}")
def proof(request: Request, version_id: str, recipe: str, guest: Guest) -> Response:
    """Return a proof with the guest's mark burnt into it."""
    data = guests.proof(services(), guest, version_id=version_id, recipe=recipe, address=_address(request))
    return Response(data, media_type="image/jpeg", headers={"Content-Disposition": "inline"})


@outside.get("/proofs/{version_id}/at/{milliseconds}")
def moment(
    request: Request, version_id: str, milliseconds: Annotated[int, InPath(ge=0, le=86_400_000)], guest: Guest
) -> Response:
    """Return a frame of a film with the guest's mark burnt into it."""
    data = guests.moment(
        services(), guest, version_id=version_id, seconds=milliseconds / 1000, address=_address(request)
    )
    return Response(data, media_type="image/jpeg", headers={"Content-Disposition": "inline"})


@outside.get("/notes")
def read_notes(guest: Guest) -> list[dict[str, Any]]:
    """Return the notes that a guest may read."""
    return notes.of_package(services(), package_id=guest.package_id, person=guest.person)


@outside.post("/notes")
def comment(given: GuestNote, guest: Guest) -> dict[str, Any]:
    """Write a note."""
    return guests.comment(services(), guest, **given.model_dump())


@outside.post("/notes/{annotation_id}/withdraw")
def take_back(annotation_id: str, guest: Guest) -> dict[str, str]:
    """Take one's own note back."""
    guests.take_back(services(), guest, annotation_id=annotation_id)
    return {"withdrawn": annotation_id}


@outside.post("/verdict")
def decide(request: Request, given: GuestVerdict, guest: Guest, later: BackgroundTasks) -> dict[str, Any]:
    """Sign the guest's seat, or leave advice where they have none."""
    address = _address(request)
    if guest.seat_id is None:
        said = given.model_dump(exclude={"versions"})
        guests.advise(services(), guest, **said, address=address)
        return {"advised": given.verdict}
    return _sign(guest, given, address, later)


@outside.post("/undo")
def undo(request: Request, guest: Guest) -> dict[str, str]:
    """Take the guest's signature back; Airflow's task, which has ended, asks again."""
    told = guests.undo(services(), guest, address=_address(request))
    place = seats.hitl_of(services(), seat_id=told["seat_id"])
    try:
        if place and inside.is_over(place):
            inside.ask_again(guest.person, place)
    except DamError as error:
        raise DamError(
            "Your signature is taken back, but Airflow does not ask for it again",
            where="the review",
            remedy="Sign here all the same, or tell the person who invited you.",
        ) from error
    return {"taken_back": told["verdict"]}


def _sign(guest: guests.Visitor, given: GuestVerdict, address: str | None, later: BackgroundTasks) -> dict[str, Any]:
    """Sign as :func:`dam_web.api.decide` does for people with a log-in: rules, then Airflow, then the record."""
    seat_id = guests.seat_of(services(), guest)
    place = seats.hitl_of(services(), seat_id=seat_id)
    waiting = place if place and inside.waits(place) else None
    known = given.model_dump()
    new = True
    with suppress(seats.PackageVoid):  # it is told below, when its next round is made
        new = seats.check_decision(services(), seat_id=seat_id, person=guest.person, **known)
    heard = waiting is not None and new and _answer(guest, waiting, known, seat_id)
    try:
        signed = guests.sign(services(), guest, **known, address=address)
    except seats.PackageVoid as void:
        if not heard and void.next_package_id:
            _go_on(guest, {"key": void.next_package_id})
        raise Refused(
            "something was changed after this was shown to you, so it can't be signed any more",
            where="signature",
            remedy="Ask the person who invited you for a link to the next round.",
        ) from void
    if new and waiting and not heard:
        later.add_task(_answer_later, guest, waiting, known, seat_id)
    elif new and not waiting and (conf := to_start(guest.package_id)):
        _go_on(guest, conf)
    return {"signed": signed["verdict"], "manifest_sha256": signed["manifest_sha256"]}


def _answer(guest: guests.Visitor, waiting: dict[str, Any], known: dict[str, Any], seat_id: str) -> bool:
    """Answer Airflow's waiting task; return whether it took the answer: it takes one at a time."""
    option, values = as_asked(seat_id, **known)
    try:
        inside.answer(guest.person, waiting, option, values)
    except AirflowSaysNo as error:
        if error.status == 409 and seats.needed(services(), seat_id=seat_id) > 1:
            return False
        raise
    return True


def _answer_later(guest: guests.Visitor, waiting: dict[str, Any], known: dict[str, Any], seat_id: str) -> None:
    """Tell a task that was at work on somebody else's answer, once it asks again for a seat that is signed by now."""
    for _ in range(LOOKS):
        time.sleep(1)
        if seats.status(services(), seat_id=seat_id) == "open" or not inside.waits(waiting):
            return
        if _answer(guest, waiting, known, seat_id):
            return


def _go_on(guest: guests.Visitor, conf: dict[str, Any]) -> None:
    try:
        inside.start(guest.person, packages.STAGE, conf)
    except DamError as error:
        raise DamError(
            "Your answer is recorded, but what follows it did not start",
            where="the review",
            remedy="Tell the person who invited you.",
        ) from error
