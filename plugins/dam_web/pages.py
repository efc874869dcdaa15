"""The pages, rendered on the server; scripts only add to them."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from dam.enrich import contracts, retag
from dam.errors import DamError
from dam.ingest import batches
from dam.review import queries
from dam.review.packages import REOPENERS
from dam.workflow import STAGES
from dam_web import airflow_api, views
from dam_web.auth import Asking, Visitor
from dam_web.deps import services

router = APIRouter(default_response_class=HTMLResponse)
_markdown = MarkdownIt("js-default", {"html": False, "linkify": False})


def _when(text: str | None) -> str:
    """Return an ISO time as people read it, in UTC."""
    if not text:
        return "–"
    moment = datetime.fromisoformat(text)
    return f"{moment:%-d %b %Y}" if len(text) <= 10 else f"{moment:%-d %b %Y, %H:%M}"


def _size(length: int) -> str:
    """Return a length in bytes as people read it."""
    for unit, of in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if length >= of:
            return f"{length / of:.1f} {unit}"
    return f"{length} bytes"


def _words(text: str) -> str:
    return text.replace("_", " ")


def _all(values: list[str], every: str) -> str:
    """Return a list as people read it; ``*`` is said in words."""
    return every if "*" in values else ", ".join(values)


_environment = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters |= {
    "when": _when,
    "size": _size,
    "words": _words,
    "all": _all,
    # markdown-it escapes HTML in its input, so its output is ours
    "markdown": lambda text: Markup(_markdown.render(text)),  # noqa: S704
}


def _page(request: Request, person: Visitor | None, template: str, **values: Any) -> HTMLResponse:
    root = str(request.scope.get("root_path", "")).rstrip("/")
    text = _environment.get_template(template).render(root=root, person=person, path=request.url.path, **values)
    return HTMLResponse(text)


def error_page(request: Request, status: int, told: dict[str, str]) -> Response:
    """Return an error as a page in plain words."""
    page = _page(request, None, "error.html.j2", told=told, status=status)
    page.status_code = status
    return page


@router.get("/")
def board(request: Request, person: Asking) -> Response:
    """Campaigns across the stages, and who has the next move."""
    return _page(request, person, "board.html.j2", campaigns=queries.board(services()), stages=STAGES)


@router.get("/approvals")
def approvals(request: Request, person: Asking) -> Response:
    """What waits for me: seats, and Airflow's other questions."""
    problem = None
    asked: list[dict[str, Any]] = []
    try:
        asked = airflow_api.questions(person)
    except DamError as error:  # the seats are shown all the same
        problem = str(error)
    seats = queries.my_open_seats(services(), person=person.username)
    return _page(request, person, "approvals.html.j2", seats=seats, questions=asked, problem=problem)


@router.get("/packages/{package_id}")
def package(request: Request, package_id: str, person: Asking) -> Response:
    """The review room of one package."""
    shown = views.package(services(), package_id)
    mine = next(
        (
            seat
            for seat in shown["seats"]
            if seat["status"] == "open" and person.username in seat["eligible"] and shown["status"] == "in_review"
        ),
        None,
    )
    if any(decision["person"] == person.username for decision in shown["decisions"]):
        mine = None
    may_reopen = person.holds(*REOPENERS)
    return _page(request, person, "package.html.j2", package=shown, seat=mine, may_reopen=may_reopen)


@router.get("/assets")
def assets(request: Request, person: Asking, q: str = "", page: int = 1) -> Response:
    """The library."""
    page = max(1, page)
    found = views.search(services(), q, offset=(page - 1) * 60)
    return _page(request, person, "assets.html.j2", found=found, q=q, page=page)


@router.get("/assets/{asset_id}")
def asset(request: Request, asset_id: str, person: Asking) -> Response:
    """One asset."""
    return _page(request, person, "asset.html.j2", asset=views.asset(services(), asset_id))


@router.get("/batches")
def all_batches(request: Request, person: Asking) -> Response:
    """The newest batches."""
    return _page(request, person, "batches.html.j2", batches=views.batches(services()))


@router.get("/batches/{batch_id}")
def batch(request: Request, batch_id: str, person: Asking) -> Response:
    """A batch's receipt."""
    rows = batches.receipt(services(), batch_id=batch_id)
    return _page(request, person, "batch.html.j2", batch_id=batch_id, rows=rows)


@router.get("/librarian")
def librarian(request: Request, person: Asking) -> Response:
    """Batches that wait for the librarian."""
    return _page(request, person, "librarian.html.j2", batches=views.batches(services(), waiting=True))


@router.get("/librarian/{batch_id}")
def librarian_table(request: Request, batch_id: str, person: Asking) -> Response:
    """What is missing in one batch, to be filled in."""
    rows = contracts.missing(services(), batch_id=batch_id)
    fields = sorted({fault["field"] for row in rows for fault in row["faults"]})
    terms = contracts.vocabulary(services())
    return _page(request, person, "librarian_table.html.j2", batch_id=batch_id, rows=rows, fields=fields, terms=terms)


@router.get("/retags")
def retags(request: Request, person: Asking) -> Response:
    """Runs that propose other tags."""
    return _page(request, person, "retags.html.j2", runs=retag.runs(services()))


@router.get("/retags/{run_id}")
def retag_run(request: Request, run_id: str, person: Asking) -> Response:
    """A retag run: its figures and a sample, old tags beside new ones."""
    return _page(
        request,
        person,
        "retag.html.j2",
        run=retag.summary(services(), run_id=run_id),
        sample=retag.sample(services(), run_id=run_id),
        may_decide=person.holds(*retag.ROLES),
    )


@router.get("/upload")
def upload(request: Request, person: Asking) -> Response:
    """Upload files from the browser."""
    return _page(request, person, "upload.html.j2", campaigns=views.campaigns(services()))


@router.get("/reports")
def reports(request: Request, person: Asking) -> Response:
    """The KPI reports."""
    return _page(request, person, "reports.html.j2", reports=views.reports(services()))


@router.get("/reports/{report_id}")
def report(report_id: str) -> Response:
    """One KPI report, as it was stored; its style is inside it, so it gets a policy of its own."""
    store, key = services().storage.resolve(views.report_uri(services(), report_id))
    policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; sandbox"
    return HTMLResponse(store.read(key), headers={"Content-Security-Policy": policy})
