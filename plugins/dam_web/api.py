"""The JSON API: what the pages do, for programs. Reads need a log-in, writes the role."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import Annotated, Any, Literal

from fastapi import APIRouter, BackgroundTasks, Request, Response
from fastapi.responses import JSONResponse
from pydantic import AwareDatetime, BaseModel, Field

from dam.catalog import claims
from dam.enrich import contracts, retag
from dam.errors import DamError
from dam.ingest import batches, duplicates, merges, suppliers
from dam.review import packages, purposes, queries, seats
from dam_web import airflow_api, room, views
from dam_web.auth import Asking, Visitor, may, sees_place
from dam_web.deps import services

router = APIRouter(prefix="/api")
#: Seconds that a task of Airflow is given to take the answer it is at.
LOOKS = 30
VerdictName = Literal["approve", "request_changes", "reject"]
Librarian = Annotated[Visitor, may("librarian", "dam_admin")]
Merger = Annotated[Visitor, may(*merges.MERGERS)]
Reopener = Annotated[Visitor, may(*packages.REOPENERS)]


class VersionAnswer(BaseModel):
    """A verdict on one version that differs from the package's."""

    verdict: VerdictName
    comment: str = Field("", max_length=4000)


class SeatAnswer(BaseModel):
    """A seat's answer: verdict on the package, comment, and single versions."""

    verdict: VerdictName
    comment: str = Field("", max_length=4000)
    conditions: str = Field("", max_length=4000)
    versions: dict[str, VersionAnswer] = {}


class Handing(BaseModel):
    """To whom a seat is handed, and why."""

    to: str = Field(max_length=100)
    why: str = Field(min_length=1, max_length=1000)


class Away(BaseModel):
    """When somebody is away, and who takes their seats meanwhile; the person is who asks when left out."""

    person: str | None = Field(None, max_length=100)
    deputy: str | None = Field(None, max_length=100)
    reason: str = Field("", max_length=seats.REASON)
    start: AwareDatetime = Field(alias="from")
    until: AwareDatetime


class Met(BaseModel):
    """What was done about the condition of an approval."""

    note: str = Field("", max_length=1000)


class Values(BaseModel):
    """Fields to fill in; see :func:`dam.enrich.contracts.fill`."""

    values: dict[str, Any]


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


class NewMerge(BaseModel):
    """Two versions that show the same pixels: the one to keep, the one to archive."""

    keep: str
    drop: str
    void_approvals: bool = False


class Undo(BaseModel):
    """Whether an undo may void approvals."""

    void_approvals: bool = False


class PairAnswer(BaseModel):
    """What a librarian says of two versions that are alike; null asks again."""

    answer: duplicates.Answer | None


@router.get("/board")
def board() -> list[dict[str, Any]]:
    """Return the campaigns across the stages."""
    return queries.board(services())


@router.get("/seats")
def my_seats(person: Asking) -> list[dict[str, Any]]:
    """Return the seats that wait for me."""
    return queries.my_open_seats(services(), person=person.username)


@router.get("/packages/{package_id}")
def package(package_id: str, person: Asking) -> dict[str, Any]:
    """Return a package."""
    return views.package(services(), package_id, person=person.username)


@router.get("/packages/{package_id}/room")
def in_the_room(package_id: str, person: Asking) -> dict[str, Any]:
    """Return a package as the review room shows it to me."""
    return room.shown(services(), package_id, person.username)


@router.get("/packages/{package_id}/versions/{version_id}")
def version_in_the_room(package_id: str, version_id: str) -> dict[str, Any]:
    """Return one version of a package with its metadata, tags and what it lacks."""
    return room.facts(services(), package_id, version_id)


@router.get("/assets")
def assets(q: str = "", limit: Annotated[int, Field(ge=1, le=200)] = 60, offset: int = 0) -> dict[str, Any]:
    """Find assets."""
    return views.search(services(), q, limit=limit, offset=offset)


@router.get("/assets/{asset_id}", response_model=None)
def asset(asset_id: str, person: Asking) -> dict[str, Any] | Response:
    """Return an asset; one that was merged away leads to the one that was kept."""
    if kept := views.leads_to(services(), asset_id):
        # 307, not 301: a merge can be undone, and a browser keeps a 301
        return JSONResponse({"merged_into": kept}, status_code=307, headers={"Location": kept})
    return views.asset(services(), asset_id, see_place=sees_place(person))


@router.get("/batches/{batch_id}")
def receipt(batch_id: str) -> list[dict[str, Any]]:
    """Return what became of every file of a batch."""
    return batches.receipt(services(), batch_id=batch_id)


@router.get("/duplicates")
def pairs(
    answered: bool = False, limit: Annotated[int, Field(ge=1, le=200)] = 25, offset: Annotated[int, Field(ge=0)] = 0
) -> dict[str, Any]:
    """Return pairs that look or sound alike."""
    return duplicates.pairs(services(), answered=answered, limit=limit, offset=offset)


@router.post("/duplicates/{version_id}/{other_id}/answer")
def answer_pair(version_id: str, other_id: str, given: PairAnswer, person: Merger) -> dict[str, Any]:
    """Say that two are different things, or that both are kept."""
    return duplicates.answer(services(), version_ids=(version_id, other_id), said=given.answer, person=person.username)


@router.get("/merges")
def all_merges() -> list[dict[str, Any]]:
    """Return the newest merges."""
    return duplicates.merged(services())


@router.post("/merges")
def merge(given: NewMerge, person: Merger) -> dict[str, Any]:
    """Merge two versions that show the same pixels."""
    return merges.merge(
        services(), keep=given.keep, drop=given.drop, person=person.username, void_approvals=given.void_approvals
    )


@router.post("/merges/{merge_id}/undo")
def undo_merge(merge_id: str, given: Undo, person: Merger) -> dict[str, Any]:
    """Undo a merge."""
    return merges.undo(services(), merge_id=merge_id, person=person.username, void_approvals=given.void_approvals)


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
def decide(seat_id: str, given: SeatAnswer, person: Asking, request: Request, later: BackgroundTasks) -> dict[str, Any]:
    """Sign a seat."""
    return sign(person, seat_id, given, request.client.host if request.client else None, later)


def sign(
    person: Visitor, seat_id: str, given: SeatAnswer, address: str | None, later: BackgroundTasks
) -> dict[str, Any]:
    """Sign a seat, whichever the door: the rules are asked, Airflow's task is answered, the signature is recorded.

    Airflow is answered before we record, so that of two answers at the same moment the first wins in both.
    A package that changed meanwhile is answered as well: its task ends, and the next round is asked for.
    Where no task of Airflow hears it, we see to it that a run takes the package on.
    """
    answer = given.model_dump()
    known = {"seat_id": seat_id, "person": person.username} | answer
    waiting = _waiting(person, seat_id)
    new = True
    with suppress(seats.PackageVoid):  # it is told below, when its next round is made
        new = seats.check_decision(services(), **known)
    again = not new and seats.status(services(), seat_id=seat_id) == "open"  # others are asked now
    heard = waiting is not None and not again and _answer(person, waiting, answer, seat_id)
    try:
        signed = seats.decide(services(), **known, via="room", address=address)
    except seats.PackageVoid as void:
        if not heard and void.next_package_id:
            _go_on(person, {"key": void.next_package_id})
        raise
    if new and not heard:  # a task that was just about to ask finds the seat signed, or is found by us
        later.add_task(_look_again, person, seat_id)
        if not waiting and (conf := to_start(signed["package_id"])):
            _go_on(person, conf)
    return signed


def _waiting(person: Visitor, seat_id: str) -> dict[str, Any] | None:
    """Return where Airflow waits for a seat; None when it doesn't, or does no more."""
    place = seats.hitl_of(services(), seat_id=seat_id)
    return place if place and airflow_api.waits(person, place) else None


def _answer(person: Visitor, waiting: dict[str, Any], answer: dict[str, Any], seat_id: str) -> bool:
    """Answer Airflow's waiting task; return whether it took the answer.

    It does not know a deputy who was named after it asked, and it takes one answer at a time, though a seat may need
    several signatures. In both cases the rules, which have been asked, let the person sign.
    """
    option, values = as_asked(seat_id, **answer)
    try:
        airflow_api.answer(person, waiting, option, values)
    except airflow_api.AirflowSaysNo as error:
        if error.status == 403 or (error.status == 409 and seats.needed(services(), seat_id=seat_id) > 1):
            return False
        raise
    return True


def as_asked(
    seat_id: str, *, verdict: str, comment: str, conditions: str, versions: dict[str, Any]
) -> tuple[str, dict[str, str]]:
    """Return an answer to a seat as Airflow's question for it takes it: the option, and what is filled in with it."""
    purpose = seats.purpose(services(), seat_id=seat_id)
    values = {"comment": comment}
    if purpose != "metadata":  # there the contract speaks of single versions
        values |= {"conditions": conditions, "versions": json.dumps(versions) if versions else ""}
    return purposes.words(purpose).answers[verdict], values


def _look_again(person: Visitor, seat_id: str) -> None:
    """Let a task that still asks for a seat which is signed by now look again; it then asks nobody."""
    for _ in range(LOOKS):
        if seats.status(services(), seat_id=seat_id) == "open":
            return  # it asks for the signatures that lack
        place = seats.asked_at(services(), seat_id=seat_id)
        state = airflow_api.state(person, place) if place else airflow_api.GONE
        if state == airflow_api.GONE or state in airflow_api.OVER:
            return
        if place and state == airflow_api.PARKED:
            airflow_api.ask_again(person, place)
            return
        time.sleep(1)  # it is at work on somebody's answer, and must not be disturbed


@router.post("/seats/{seat_id}/undo")
def undo(seat_id: str, person: Asking, request: Request) -> dict[str, Any]:
    """Take my signature back; Airflow's task, which has ended, asks again."""
    address = request.client.host if request.client else None
    told = seats.undo(services(), seat_id=seat_id, person=person.username, address=address)
    place = seats.hitl_of(services(), seat_id=seat_id)
    try:
        if place and airflow_api.state(person, place) in airflow_api.OVER:
            airflow_api.ask_again(person, place)
    except DamError as error:
        raise DamError(
            f"Your signature is taken back, but Airflow does not ask for it again: {error.what}",
            where=f"package {told['package_id']}",
            remedy="Sign in the room; or clear the seat's task in Airflow.",
        ) from error
    return told


@router.post("/seats/{seat_id}/delegate")
def delegate(seat_id: str, given: Handing, person: Asking) -> dict[str, str]:
    """Hand my seat of a package to somebody else."""
    seats.delegate(services(), seat_id=seat_id, person=person.username, to=given.to, why=given.why)
    return {"to": given.to}


@router.post("/decisions/{decision_id}/met")
def condition_met(decision_id: str, given: Met, person: Asking) -> dict[str, str]:
    """Tick off the condition of a conditional approval."""
    seats.condition_met(services(), decision_id=decision_id, person=person.username, note=given.note)
    return {"decision_id": decision_id}


@router.get("/absences")
def absences(person: Asking) -> list[dict[str, Any]]:
    """Return who is or will be away, and who stands in; why, only to whom it may concern."""
    return seats.absences(services(), person=person.username)


@router.post("/absences")
def away(given: Away, person: Asking) -> dict[str, str]:
    """Enter that I am away, and who takes my seats; DAM admins, and who is told of silence, may for everybody."""
    made = seats.away(
        services(),
        person=given.person or person.username,
        deputy=given.deputy,
        start=given.start,
        until=given.until,
        reason=given.reason,
        by=person.username,
    )
    return {"absence_id": made}


@router.post("/absences/{absence_id}/end")
def back(absence_id: str, person: Asking) -> dict[str, str]:
    """Call an absence off."""
    seats.back(services(), absence_id=absence_id, by=person.username)
    return {"absence_id": absence_id}


def to_start(package_id: str) -> dict[str, Any] | None:
    """Draw the verdict after a signature that no task heard of; return what a run that takes it on is started with.

    :returns: None where a run is at the package, and others have yet to sign.
    """
    if packages.verdict(services(), package_id=package_id)["status"]:
        return {"key": package_id, "take_over": True}
    if claims.owner(services(), stage=packages.STAGE, key=package_id) is None:
        return {"key": package_id}
    return None


def _go_on(person: Visitor, conf: dict[str, Any]) -> None:
    try:
        airflow_api.start(person, packages.STAGE, conf)
    except DamError as error:
        raise DamError(
            f"Your answer is recorded, but the review could not go on in Airflow: {error.what}",
            where=f"package {conf['key']}",
            remedy=f"Start the DAG {packages.STAGE} there with this configuration: {json.dumps(conf)}.",
        ) from error


@router.post("/packages/{package_id}/reopen")
def reopen(package_id: str, person: Reopener) -> dict[str, str]:
    """Ask again for a package that nobody signed in time: its next round is frozen, and its review starts."""
    following = packages.reopen_expired(services(), package_id=package_id, person=person.username)
    airflow_api.start(person, packages.STAGE, {"key": following})
    return {"next_package_id": following}


@router.post("/packages/{package_id}/let-go")
def let_go(package_id: str, person: Reopener) -> dict[str, str]:
    """Let what is approved go out although it waits for changes to the rest; it is activated."""
    packages.let_go(services(), package_id=package_id, person=person.username)
    airflow_api.start(person, "activate_package", {"key": package_id})
    return {"package_id": package_id}


@router.post("/versions/{version_id}/review")
def review_again(version_id: str, person: Reopener) -> dict[str, str]:
    """Send a version that was withdrawn or restored to review again: it is frozen, and its review starts."""
    package_id = packages.reopen_withdrawn(services(), version_id=version_id, person=person.username)
    airflow_api.start(person, packages.STAGE, {"key": package_id})
    return {"package_id": package_id}


@router.post("/versions/{version_id}/metadata")
def fill(version_id: str, given: Values, person: Librarian) -> dict[str, Any]:
    """Fill in or change a version's metadata, tags and rights."""
    return contracts.fill(services(), version_id=version_id, values=given.values, person=person.username)


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
