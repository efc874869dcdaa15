"""The librarian's part of the JSON API: what a batch lacks, filling it in at once or by CSV, and going on."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel
from sqlalchemy import select

from dam.catalog.models import Term
from dam.enrich import contracts, results, sheet
from dam.errors import BadInput, Refused
from dam.taxonomy import sync_terms
from dam_web import airflow_api
from dam_web.api import Librarian
from dam_web.deps import services

router = APIRouter(prefix="/api")
ANSWERS = {"done": "Done", "leave": "Leave the rest out"}


class Rows(BaseModel):
    """Values to fill in by version; see :func:`dam.enrich.contracts.fill`."""

    rows: dict[str, dict[str, Any]]


class Finish(BaseModel):
    """How the librarian ends a batch, and a comment for the record."""

    answer: Literal["done", "leave"]
    comment: str = ""


@router.get("/batches/{batch_id}/contract")
def contract(batch_id: str) -> dict[str, Any]:
    """Return what the metadata contracts said of a batch, rule by rule, and over time."""
    return results.of_batch(services(), batch_id=batch_id)


@router.get("/batches/{batch_id}/missing")
def missing(batch_id: str) -> list[dict[str, Any]]:
    """Return what the versions of a batch lack."""
    return contracts.missing(services(), batch_id=batch_id)


@router.post("/batches/{batch_id}/metadata")
def fill(batch_id: str, given: Rows, person: Librarian) -> dict[str, Any]:
    """Fill in many versions; each is saved whole or told why not, and what was saved is checked at once."""
    return contracts.fill_many(services(), batch_id=batch_id, values=given.rows, person=person.username)


@router.get("/batches/{batch_id}/metadata.csv")
def download(batch_id: str) -> Response:
    """Return what a batch lacks as CSV."""
    headers = {"Content-Disposition": 'attachment; filename="missing.csv"', "Cache-Control": "no-store"}
    data = sheet.download(services(), batch_id=batch_id)
    return Response(data, media_type="text/csv; charset=utf-8", headers=headers)


@router.post("/batches/{batch_id}/metadata.csv")
async def upload(batch_id: str, request: Request, person: Librarian) -> dict[str, Any]:
    """Fill in versions from a CSV, the request's body; bad lines are told by line and column."""
    data = bytearray()
    async for block in request.stream():
        data += block
        if len(data) > sheet.MOST:
            raise BadInput("is too large", where="sheet", remedy="Send it in parts.")
    return await run_in_threadpool(
        sheet.upload, services(), batch_id=batch_id, data=bytes(data), person=person.username
    )


@router.post("/batches/{batch_id}/finish")
def finish(batch_id: str, given: Finish, person: Librarian) -> dict[str, Any]:
    """Answer Airflow's question about what a batch lacks under my own name, so that the batch goes on."""
    asked = airflow_api.librarians_question(person, batch_id)
    if asked is None:
        raise Refused(
            "Airflow does not ask you about this batch now",
            where=batch_id,
            remedy="What you saved is kept; it counts when the batch is checked again.",
        )
    lacking = [row["version_id"] for row in contracts.missing(services(), batch_id=batch_id)]
    left = (
        contracts.check_for(services(), stage="ingest", version_ids=lacking, keep=False).incomplete if lacking else {}
    )
    if left and given.answer == "done":
        raise Refused(
            f"{len(left)} versions are still incomplete" if len(left) > 1 else "1 version is still incomplete",
            where=batch_id,
            remedy="Fill them in, or leave the rest out.",
        )
    airflow_api.answer(person, asked, ANSWERS[given.answer], {"comment": given.comment})
    return {"answered": ANSWERS[given.answer], "left_out": sorted(left)}


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
