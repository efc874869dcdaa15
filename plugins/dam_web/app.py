"""The app: every route needs a logged-in person, every write the role and a request of our own pages.

But for the guests' pages, ``guests.outside``, which have a log-in of their own.
"""

from __future__ import annotations

from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from starlette.middleware.base import RequestResponseEndpoint

from dam.errors import BadInput, DamError, NotFound, Refused
from dam.limits import TooOften
from dam_web import annotations as notes
from dam_web import api, compare, guests, librarian, live, media, pages, tiles, uploads
from dam_web.airflow_api import AirflowSaysNo
from dam_web.auth import LoginNeeded, same_site, visitor

POLICY = (
    "default-src 'self'; img-src 'self' data:; media-src 'self'; style-src 'self'; script-src 'self';"
    " object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
)


def make_app() -> FastAPI:
    """Return the app; its documentation routes are switched off, so that nothing is open to strangers."""
    app = FastAPI(
        title="airflow-dam",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        dependencies=[Depends(visitor), Depends(same_site)],
    )
    for part in (pages, librarian, media, api, uploads, notes, live, compare, tiles, guests):
        app.include_router(part.router)
    # not included: what is, asks for Airflow's log-in. The guests' own is asked for in each of these routes
    app.router.routes.extend(guests.outside.routes)
    app.add_exception_handler(DamError, _plainly)
    app.add_exception_handler(LoginNeeded, _to_login)

    @app.middleware("http")
    async def guard(request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        response.headers.setdefault("Content-Security-Policy", POLICY)
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "same-origin"
        if guests.is_outside(request):
            response.headers.update(guests.HEADERS)
        return response

    return app


async def _plainly(request: Request, error: Exception) -> Response:
    """Tell a known error in plain words: as JSON to programs, as a page to people."""
    assert isinstance(error, DamError)
    status = 500
    if isinstance(error, AirflowSaysNo):
        status = error.status
    else:
        for kind, code in ((NotFound, 404), (Refused, 409), (BadInput, 422), (TooOften, 429)):
            if isinstance(error, kind):
                status = code
    told: dict[str, Any] = {"what": error.what, "where": error.where, "remedy": error.remedy}
    for name in ("next_package_id", "voids", "offset"):  # what a program needs to go on
        if (value := getattr(error, name, None)) is not None:
            told[name] = value
    if "text/html" in request.headers.get("accept", ""):
        if guests.is_outside(request):
            return guests.error_page(request, status, told)
        return pages.error_page(request, status, told)
    return JSONResponse(told, status_code=status)


async def _to_login(_request: Request, error: Exception) -> Response:
    assert isinstance(error, LoginNeeded)
    return RedirectResponse(error.url, status_code=303)
