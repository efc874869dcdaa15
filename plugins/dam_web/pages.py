"""The pages, rendered on the server; scripts only add to them."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from dam.catalog.models import utcnow
from dam.enrich import results, retag
from dam.errors import DamError
from dam.ingest import batches, drops, duplicates, suppliers, uploads
from dam.ingest.media import clock
from dam.ingest.merges import MERGERS
from dam.review import completion, queries, seats
from dam.review.packages import REOPENERS, RETURNING
from dam.rights.terms import DEEDS, OWED, RELEASES
from dam.taxonomy.contracts import label
from dam.workflow import STAGES
from dam_web import airflow_api, room, views
from dam_web.auth import Asking, Visitor, sees_place
from dam_web.deps import services
from dam_web.librarian import my_seats
from dam_web.uploads import PEOPLE

router = APIRouter(default_response_class=HTMLResponse)
#: Pairs of look-alikes on a page.
PAIRS = 20
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


def _span(seconds: float) -> str:
    """Return a span of time as people read it."""
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _share(share: float | None) -> str:
    """Return a share as people read it; a dash where there is nothing to share."""
    return "–" if share is None else f"{share * 100:.0f} %"


def _month(text: str) -> str:
    """Return ``2027-03`` as people read it."""
    return f"{datetime.fromisoformat(f'{text}-01'):%B %Y}"


def _words(text: str) -> str:
    return text.replace("_", " ")


def _all(values: list[str], every: str) -> str:
    """Return a list as people read it; ``*`` is said in words."""
    return every if "*" in values else ", ".join(values)


def _told(words: list[str], known: dict[str, str], none: str) -> str:
    """Return a licence's words as people read them, in the order they are known in."""
    return ", ".join(told for word, told in known.items() if word in words) or none


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
    "clock": clock,
    "span": _span,
    "share": _share,
    "month": _month,
    "words": _words,
    "label": label,
    "all": _all,
    "deeds": lambda words: "everything" if "*" in words else _told(words, DEEDS, "nothing"),
    "owed": lambda words: _told(words, OWED, "none"),
    # markdown-it escapes HTML in its input, so its output is ours
    "markdown": lambda text: Markup(_markdown.render(text)),  # noqa: S704
}


def page_of(request: Request, person: Visitor | None, template: str, **values: Any) -> HTMLResponse:
    """Return a page made of a template, for this module and others. :param values: what the template shows."""
    root = str(request.scope.get("root_path", "")).rstrip("/")
    text = _environment.get_template(template).render(root=root, person=person, path=request.url.path, **values)
    return HTMLResponse(text)


def error_page(request: Request, status: int, told: dict[str, Any]) -> Response:
    """Return an error as a page in plain words."""
    page = page_of(request, None, "error.html.j2", told=told, status=status)
    page.status_code = status
    return page


@router.get("/")
def board(request: Request, person: Asking) -> Response:
    """Campaigns across the stages, and who has the next move."""
    return page_of(request, person, "board.html.j2", campaigns=queries.board(services()), stages=STAGES)


@router.get("/approvals")
def approvals(request: Request, person: Asking) -> Response:
    """What waits for me: seats, and Airflow's other questions."""
    problem = None
    asked: list[dict[str, Any]] = []
    try:
        asked = airflow_api.questions(person)
    except DamError as error:  # the seats are shown all the same
        problem = str(error)
    waiting = queries.my_open_seats(services(), person=person.username)
    return page_of(request, person, "approvals.html.j2", seats=waiting, questions=asked, problem=problem)


@router.get("/absences")
def absences(request: Request, person: Asking) -> Response:
    """When I am away and who takes my seats; who else is, and for those who may, a form for them too."""
    workflow = services().workflow
    return page_of(
        request,
        person,
        "absences.html.j2",
        absences=seats.absences(services(), person=person.username),
        people=workflow.people,
        deputies=seats.deputies(services()),
        for_others=seats.may_enter_for_others(services(), person.username),
        seated=person.username in workflow.people,
        told=lambda text: workflow.calendar().told(datetime.fromisoformat(text)),
        now=utcnow().isoformat(),
        minders=seats.minders(services()),
        longest=seats.REASON,
    )


@router.get("/packages/{package_id}")
def package(request: Request, package_id: str, person: Asking) -> Response:
    """The review room of one package."""
    return page_of(request, person, "package.html.j2", package=room.shown(services(), package_id, person.username))


@router.get("/assets")
def assets(request: Request, person: Asking, q: str = "", page: int = 1) -> Response:
    """The library."""
    page = max(1, page)
    found = views.search(services(), q, offset=(page - 1) * 60)
    return page_of(request, person, "assets.html.j2", found=found, q=q, page=page)


@router.get("/assets/{asset_id}")
def asset(request: Request, asset_id: str, person: Asking, merged: str = "") -> Response:
    """One asset; one that was merged away leads to the one that was kept, which says so.

    :param merged: id of the asset that led here.
    """
    if kept := views.leads_to(services(), asset_id):
        # 307, not 301: a merge can be undone, and a browser keeps a 301
        return RedirectResponse(f"{kept}?merged={asset_id}", status_code=307)
    shown = views.asset(services(), asset_id, see_place=sees_place(person))
    returning = RETURNING if person.holds(*REOPENERS) else frozenset()
    came_from = views.name_of(services(), merged) if merged and views.leads_to(services(), merged) == asset_id else None
    return page_of(
        request,
        person,
        "asset.html.j2",
        asset=shown,
        returning=returning,
        came_from=came_from,
        may_merge=person.holds(*MERGERS),
    )


@router.get("/duplicates")
def all_duplicates(request: Request, person: Asking, answered: bool = False, page: int = 1) -> Response:
    """Pairs that look or sound alike, to be merged or told apart, and the newest merges."""
    page = max(1, page)
    found = duplicates.pairs(services(), answered=answered, limit=PAIRS, offset=(page - 1) * PAIRS)
    return page_of(
        request,
        person,
        "duplicates.html.j2",
        found=found,
        answered=answered,
        page=page,
        pages=-(-found["total"] // PAIRS),
        merges=duplicates.merged(services()) if page == 1 and not answered else [],
        may_merge=person.holds(*MERGERS),
    )


@router.get("/batches")
def all_batches(request: Request, person: Asking) -> Response:
    """The newest batches, and what lies in the inbox and needs a hand."""
    problems = drops.problems(services())
    return page_of(request, person, "batches.html.j2", batches=views.batches(services()), problems=problems)


@router.get("/batches/{batch_id}")
def batch(request: Request, batch_id: str, person: Asking) -> Response:
    """A batch's card and receipt."""
    card = batches.card(services(), batch_id=batch_id)
    rows = batches.receipt(services(), batch_id=batch_id)
    late = drops.came_late(services(), batch_id=batch_id)
    return page_of(request, person, "batch.html.j2", card=card, rows=rows, late=late)


@router.get("/suppliers")
def all_suppliers(request: Request, person: Asking) -> Response:
    """Every supplier's scorecard."""
    cards = suppliers.overview(services())
    return page_of(request, person, "suppliers.html.j2", cards=cards, shares=suppliers.SHARES)


@router.get("/suppliers/{supplier:path}")
def one_supplier(request: Request, supplier: str, person: Asking) -> Response:
    """A supplier's scorecard over time, and their newest batches."""
    months = suppliers.by_month(services(), supplier=supplier)
    newest = views.batches(services(), supplier=supplier)
    return page_of(
        request, person, "supplier.html.j2", supplier=supplier, months=months, batches=newest, shares=suppliers.SHARES
    )


@router.get("/librarian")
def librarian(request: Request, person: Asking) -> Response:
    """Batches that wait for somebody to complete them."""
    return page_of(request, person, "librarian.html.j2", batches=views.batches(services(), waiting=True))


@router.get("/librarian/{batch_id}")
def librarian_table(request: Request, batch_id: str, person: Asking) -> Response:
    """What is missing in one batch, to be filled in; its packages open in the review room as well."""
    may_fill = completion.may_fill(services(), batch_id=batch_id, person=person.username)
    return page_of(
        request,
        person,
        "librarian_table.html.j2",
        table=views.librarian_table(services(), batch_id),
        may_fill=may_fill,
        seats=my_seats(person, batch_id) if may_fill else [],
        packages=completion.open_packages(services(), batch_id=batch_id),
    )


@router.get("/batches/{batch_id}/contract")
def contract(request: Request, batch_id: str, person: Asking) -> Response:
    """What the metadata contracts said of a batch, rule by rule, and over time."""
    told = results.of_batch(services(), batch_id=batch_id)
    return page_of(request, person, "contract.html.j2", told=told)


@router.get("/retags")
def retags(request: Request, person: Asking) -> Response:
    """Runs that propose other tags."""
    return page_of(request, person, "retags.html.j2", runs=retag.runs(services()))


@router.get("/retags/{run_id}")
def retag_run(request: Request, run_id: str, person: Asking) -> Response:
    """A retag run: its figures and a sample, old tags beside new ones."""
    return page_of(
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
    return page_of(
        request,
        person,
        "upload.html.j2",
        campaigns=views.campaigns(services()),
        may_upload=person.holds(*PEOPLE),
        unfinished=uploads.unfinished(services(), person=person.username),
        releases=RELEASES,
        suppliers=[card["supplier"] for card in suppliers.overview(services())],
    )


@router.get("/reports")
def reports(request: Request, person: Asking) -> Response:
    """The KPI reports."""
    return page_of(request, person, "reports.html.j2", reports=views.reports(services()))


@router.get("/reports/{report_id}")
def report(report_id: str) -> Response:
    """One KPI report, as it was stored; its style is inside it, so it gets a policy of its own."""
    store, key = services().storage.resolve(views.report_uri(services(), report_id))
    policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; sandbox"
    return HTMLResponse(store.read(key), headers={"Content-Security-Policy": policy})
