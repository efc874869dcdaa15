"""The JSON API: what the pages do, for programs. Reads need a log-in, writes the role."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field

from dam.enrich import contracts, retag
from dam.errors import BadInput
from dam.ingest import batches
from dam.review import packages, queries, remarks, seats
from dam_web import airflow_api, views
from dam_web.auth import Asking, Visitor, may
from dam_web.deps import services

router = APIRouter(prefix="/api")
OPTION = {"approve": "Approve", "request_changes": "Request changes", "reject": "Reject"}
VerdictName = Literal["approve", "request_changes", "reject"]
Librarian = Annotated[Visitor, may("librarian", "dam_admin")]
Reopener = Annotated[Visitor, may(*packages.REOPENERS)]
Uploader = Annotated[Visitor, may("designer", "librarian", "dam_admin")]
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


class RetagJudgement(BaseModel):
    """What a person says of a retag run's changes to one version."""

    verdict: Literal["accepted", "refused"]


class RetagDecision(BaseModel):
    """How a retag run is applied or undone; see :func:`dam.enrich.retag.apply`."""

    approved_too: bool = False
    unsampled: bool = False


class NewUpload(BaseModel):
    """An upload for a campaign, or for none."""

    campaign: str | None = None


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
def asset(asset_id: str) -> dict[str, Any]:
    """Return an asset."""
    return views.asset(services(), asset_id)


@router.get("/batches/{batch_id}")
def receipt(batch_id: str) -> list[dict[str, Any]]:
    """Return what became of every file of a batch."""
    return batches.receipt(services(), batch_id=batch_id)


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


@router.get("/retags/{run_id}")
def retag_run(run_id: str) -> dict[str, Any]:
    """Return a retag run's figures and its sample."""
    return retag.summary(services(), run_id=run_id) | {"versions_to_look_at": retag.sample(services(), run_id=run_id)}


@router.post("/retags/{run_id}/versions/{version_id}")
def judge_retag(run_id: str, version_id: str, given: RetagJudgement, person: Librarian) -> dict[str, Any]:
    """Accept or refuse a retag run's changes to one version of its sample."""
    return retag.judge(services(), run_id=run_id, version_id=version_id, verdict=given.verdict, person=person.username)


@router.post("/retags/{run_id}/apply")
def apply_retag(run_id: str, given: RetagDecision, person: Librarian) -> dict[str, Any]:
    """Apply a retag run as one."""
    return retag.apply(
        services(), run_id=run_id, person=person.username, approved=given.approved_too, unsampled=given.unsampled
    )


@router.post("/retags/{run_id}/rollback")
def roll_back_retag(run_id: str, given: RetagDecision, person: Librarian) -> dict[str, Any]:
    """Undo an applied retag run as one."""
    return retag.roll_back(services(), run_id=run_id, person=person.username, approved=given.approved_too)


@router.post("/uploads")
def new_upload(given: NewUpload, person: Uploader) -> dict[str, str]:
    """Begin an upload; put its files, then complete it."""
    location = batches.new_upload(services(), person=person.username, campaign_slug=given.campaign)
    return {"upload": location.removeprefix(batches.DROPS)}


@router.put("/uploads/{upload}/{name}")
async def put_file(upload: str, name: str, request: Request, person: Uploader) -> dict[str, Any]:
    """Put one file of an upload: the request's body is the file."""
    location = _location(upload)
    _check_owner(location, person)
    if not re.fullmatch(r"[^/\\\x00]{1,200}", name) or name.startswith((".", "_")) or name == batches.CARD:
        raise BadInput(f"{name!r} can't be a file's name here", where="upload", remedy="Rename the file.")
    import tempfile

    with tempfile.TemporaryFile() as spool:
        async for block in request.stream():
            await run_in_threadpool(spool.write, block)
        spool.seek(0)
        stored = await run_in_threadpool(services().storage.inbox.put, f"{location}/{name}", spool)
    return {"name": name, "sha256": stored.sha256, "bytes": stored.bytes}


@router.post("/uploads/{upload}/complete")
def complete(upload: str, person: Uploader) -> dict[str, str]:
    """Complete an upload: it becomes a batch, and ingest begins."""
    location = _location(upload)
    _check_owner(location, person)
    batches.complete_upload(services(), location=location)
    return {"location": location}


def _location(upload: str) -> str:
    if not re.fullmatch(r"upload-up_[0-9a-z]{26}", upload):
        raise HTTPException(404, "There is no such upload.")
    return batches.DROPS + upload


def _check_owner(location: str, person: Visitor) -> None:
    if batches.upload_owner(services(), location=location) != person.username:
        raise HTTPException(403, "This upload is somebody else's.")
