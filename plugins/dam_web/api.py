"""The JSON API: what the pages do, for programs. Reads need a log-in, writes the role."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from dam.enrich import contracts
from dam.ingest import batches, suppliers
from dam.review import packages, queries, remarks, seats
from dam_web import airflow_api, views
from dam_web.auth import Asking, Visitor, may, sees_place
from dam_web.deps import services

router = APIRouter(prefix="/api")
OPTION = {"approve": "Approve", "request_changes": "Request changes", "reject": "Reject"}
VerdictName = Literal["approve", "request_changes", "reject"]
Librarian = Annotated[Visitor, may("librarian", "dam_admin")]
Reopener = Annotated[Visitor, may(*packages.REOPENERS)]
Reviewer = Annotated[
    Visitor, may("brand_reviewer", "legal_reviewer", "marketing_lead", "designer", "librarian", "dam_admin")
]


class VersionAnswer(BaseModel):
    """A verdict on one version that differs from the package's."""

    verdict: VerdictName
    comment: str = Field("", max_length=4000)


class SeatAnswer(BaseModel):
    """A seat's answer: verdict on the package, comment, and single versions."""

    verdict: VerdictName
    comment: str = Field("", max_length=4000)
    versions: dict[str, VersionAnswer] = {}


class Values(BaseModel):
    """Fields to fill in; see :func:`dam.enrich.contracts.fill`."""

    values: dict[str, Any]


class Remark(BaseModel):
    """A remark on a version."""

    version_id: str
    body: str = Field(min_length=1, max_length=8000)
    target: dict[str, Any] | None = None
    must_fix: bool = False


class QuestionAnswer(BaseModel):
    """An answer to a human task of Airflow."""

    dag_id: str = Field(pattern=r"^[\w.-]+$")
    run_id: str = Field(pattern=r"^[\w.:+-]+$")
    task_id: str = Field(pattern=r"^[\w.-]+$")
    map_index: int = -1
    option: str
    values: dict[str, Any] = {}


@router.get("/board")
def board() -> list[dict[str, Any]]:
    """Return the campaigns across the stages."""
    return queries.board(services())


@router.get("/seats")
def my_seats(person: Asking) -> list[dict[str, Any]]:
    """Return the seats that wait for me."""
    return queries.my_open_seats(services(), person=person.username)


@router.get("/packages/{package_id}")
def package(package_id: str) -> dict[str, Any]:
    """Return a package."""
    return views.package(services(), package_id)


@router.get("/assets")
def assets(q: str = "", limit: Annotated[int, Field(ge=1, le=200)] = 60, offset: int = 0) -> dict[str, Any]:
    """Find assets."""
    return views.search(services(), q, limit=limit, offset=offset)


@router.get("/assets/{asset_id}")
def asset(asset_id: str, person: Asking) -> dict[str, Any]:
    """Return an asset."""
    return views.asset(services(), asset_id, see_place=sees_place(person))


@router.get("/batches/{batch_id}")
def receipt(batch_id: str) -> list[dict[str, Any]]:
    """Return what became of every file of a batch."""
    return batches.receipt(services(), batch_id=batch_id)


@router.get("/suppliers")
def all_suppliers() -> list[dict[str, Any]]:
    """Return every supplier's scorecard over all time."""
    return suppliers.overview(services())


@router.get("/suppliers/{supplier:path}")
def one_supplier(supplier: str) -> list[dict[str, Any]]:
    """Return a supplier's scorecard by month."""
    return suppliers.by_month(services(), supplier=supplier)


@router.get("/vocabulary")
def vocabulary() -> list[dict[str, str]]:
    """Return the vocabulary's terms."""
    return contracts.vocabulary(services())


@router.get("/questions")
def questions(person: Asking) -> list[dict[str, Any]]:
    """Return Airflow's human tasks that wait for me, other than seats."""
    return airflow_api.questions(person)


@router.post("/questions")
def answer_question(given: QuestionAnswer, person: Asking) -> dict[str, str]:
    """Answer a human task under my own name; Airflow knows who is asked."""
    task = {"dag_id": given.dag_id, "run_id": given.run_id, "task_id": given.task_id, "map_index": given.map_index}
    airflow_api.answer(person, task, given.option, given.values)
    return {"answered": given.option}


@router.post("/seats/{seat_id}/decision")
def decide(seat_id: str, given: SeatAnswer, person: Asking) -> dict[str, Any]:
    """Sign a seat: the rules are asked, Airflow's waiting task is answered, the signature is recorded.

    Airflow is answered before we record, so that of two answers at the same moment the first wins in both.
    A package that changed meanwhile is answered as well: its task ends, and the next round is asked for.
    """
    versions = {key: value.model_dump() for key, value in given.versions.items()}
    known: dict[str, Any] = {
        "seat_id": seat_id,
        "person": person.username,
        "verdict": given.verdict,
        "versions": versions,
    }
    waiting = seats.hitl_of(services(), seat_id=seat_id)
    values = {"comment": given.comment, "versions": json.dumps(versions) if versions else ""}
    try:
        seats.check_decision(services(), **known)
    except seats.PackageVoid:
        if waiting:
            airflow_api.answer(person, waiting, OPTION[given.verdict], values)
        seats.decide(services(), **known, comment=given.comment, via="room")  # makes the next round, and says so
        raise
    if waiting:
        airflow_api.answer(person, waiting, OPTION[given.verdict], values)
    return seats.decide(services(), **known, comment=given.comment, via="room")


@router.post("/packages/{package_id}/reopen")
def reopen(package_id: str, person: Reopener) -> dict[str, str]:
    """Ask again for a package that nobody signed in time: its next round is frozen, and its review starts."""
    following = packages.reopen_expired(services(), package_id=package_id, person=person.username)
    airflow_api.start(person, "review_package", {"key": following})
    return {"next_package_id": following}


@router.post("/versions/{version_id}/metadata")
def fill(version_id: str, given: Values, person: Librarian) -> dict[str, Any]:
    """Fill in or change a version's metadata, tags and rights."""
    return contracts.fill(services(), version_id=version_id, values=given.values, person=person.username)


@router.post("/packages/{package_id}/annotations")
def annotate(package_id: str, given: Remark, person: Reviewer) -> dict[str, str]:
    """Add a remark."""
    made = remarks.add(
        services(),
        package_id=package_id,
        version_id=given.version_id,
        author=person.username,
        body=given.body,
        target=given.target,
        must_fix=given.must_fix,
    )
    return {"annotation_id": made}


@router.post("/annotations/{annotation_id}/resolve")
def resolve(annotation_id: str, person: Reviewer) -> dict[str, str]:
    """Mark a remark as answered."""
    remarks.resolve(services(), annotation_id=annotation_id, person=person.username)
    return {"resolved_by": person.username}
