"""Completing a batch, as JSON: what it lacks, filling it in one by one, at once or by CSV, and signing that it is done.

It is signed as in the review room: the table's buttons and the room's are the same act on the same seat.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, BackgroundTasks, Depends, HTTPException, Request, Response, status
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field
from sqlalchemy import select

from dam.catalog.models import Term
from dam.enrich import contracts, results, sheet
from dam.errors import BadInput, Refused
from dam.review import completion, queries, seats
from dam.taxonomy import sync_terms
from dam_web import api, views
from dam_web.auth import Asking, Visitor
from dam_web.deps import services

router = APIRouter(prefix="/api")
ANSWERS: dict[str, api.VerdictName] = {"done": "approve", "leave": "reject"}


def _filler(batch_id: str, person: Asking) -> Visitor:
    if not completion.may_fill(services(), batch_id=batch_id, person=person.username):
        raise HTTPException(
            status.HTTP_403_FORBIDDEN, "This is for the librarian or dam admin, and for whoever signs this batch."
        )
    return person


#: Who may fill in the batch that a route names.
Filler = Annotated[Visitor, Depends(_filler)]


class Rows(BaseModel):
    """Values to fill in by version; see :func:`dam.enrich.contracts.fill`."""

    rows: dict[str, dict[str, Any]]


class Finish(BaseModel):
    """How the work on a batch ends, and a comment for the record."""

    answer: Literal["done", "leave"]
    comment: str = Field("", max_length=4000)


@router.get("/batches/{batch_id}/contract")
def contract(batch_id: str) -> dict[str, Any]:
    """Return what the metadata contracts said of a batch, rule by rule, and over time."""
    return results.of_batch(services(), batch_id=batch_id)


@router.get("/batches/{batch_id}/missing")
def missing(batch_id: str) -> list[dict[str, Any]]:
    """Return what the versions of a batch lack."""
    return contracts.missing(services(), batch_id=batch_id)


@router.post("/batches/{batch_id}/metadata")
def fill(batch_id: str, given: Rows, person: Filler) -> dict[str, Any]:
    """Fill in many versions; each is saved whole or told why not, and what was saved is checked at once."""
    told = contracts.fill_many(services(), batch_id=batch_id, values=given.rows, person=person.username)
    completion.tell(services(), batch_id=batch_id)
    return told


@router.get("/batches/{batch_id}/metadata.csv")
def download(batch_id: str) -> Response:
    """Return what a batch lacks as CSV."""
    headers = {"Content-Disposition": 'attachment; filename="missing.csv"', "Cache-Control": "no-store"}
    data = sheet.download(services(), batch_id=batch_id)
    return Response(data, media_type="text/csv; charset=utf-8", headers=headers)


@router.post("/batches/{batch_id}/metadata.csv")
async def upload(batch_id: str, request: Request, person: Filler) -> dict[str, Any]:
    """Fill in versions from a CSV, the request's body; bad lines are told by line and column."""
    data = bytearray()
    async for block in request.stream():
        data += block
        if len(data) > sheet.MOST:
            raise BadInput("is too large", where="sheet", remedy="Send it in parts.")
    told = await run_in_threadpool(
        sheet.upload, services(), batch_id=batch_id, data=bytes(data), person=person.username
    )
    await run_in_threadpool(completion.tell, services(), batch_id=batch_id)
    return told


@router.get("/packages/{package_id}/versions/{version_id}/missing")
def missing_of(package_id: str, version_id: str) -> dict[str, Any]:
    """Return what one version of a package lacks, and how each of it is filled in."""
    return views.to_fill(services(), package_id, version_id)


@router.post("/batches/{batch_id}/finish")
def finish(batch_id: str, given: Finish, person: Filler, request: Request, later: BackgroundTasks) -> dict[str, Any]:
    """Sign my seats of what a batch lacked: it is done, or the rest is left out. All of them, or none."""
    mine = my_seats(person, batch_id)
    if not mine:
        raise Refused(
            "no seat of this batch waits for you now",
            where=batch_id,
            remedy="What you saved is kept; it counts when the batch is checked again.",
        )
    answer = api.SeatAnswer(verdict=ANSWERS[given.answer], comment=given.comment)
    left: list[str] = []
    for seat in mine:
        known = {"seat_id": seat["seat_id"], "person": person.username, "verdict": answer.verdict}
        seats.check_decision(services(), **known, comment=answer.comment)
        found = completion.look(services(), seat_id=seat["seat_id"], keep=False)
        left += found.lacks if found else []
    address = request.client.host if request.client else None
    signed = [api.sign(person, seat["seat_id"], answer, address, later) for seat in mine]
    return {"signed": [row["package_id"] for row in signed], "left_out": sorted(left)}


def my_seats(person: Visitor, batch_id: str) -> list[dict[str, Any]]:
    """Return the seats of a batch's metadata that wait for a person."""
    packages = completion.open_packages(services(), batch_id=batch_id)
    return [
        seat
        for seat in queries.my_open_seats(services(), person=person.username)
        if seat["package_id"] in packages and seat["purpose"] == "metadata"
    ]


@router.get("/terms")
def terms() -> list[dict[str, Any]]:
    """Return every term in use with all its words in all languages, for look-up: ``{"id", "facet", "label",
    "words"}``."""
    sync_terms(services())
    with services().session() as session:
        found = session.scalars(select(Term).where(Term.deprecated.is_(False)).order_by(Term.id)).all()
        return [
            {
                "id": term.id,
                "facet": term.facet,
                "label": str(term.labels.get("en") or next(iter(term.labels.values()), term.id)),
                "words": [*map(str, term.labels.values()), *(w for words in term.alt_labels.values() for w in words)],
            }
            for term in found
        ]
