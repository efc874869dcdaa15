"""Who is asking, and what they may do. The only module here that knows Airflow's log-ins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import quote

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN
from airflow.api_fastapi.core_api.security import bearer_scheme, get_user
from fastapi import Depends, HTTPException, Request, status

from dam_web.deps import services

#: A header that no form of another site can send.
HEADER, VALUE = "x-requested-with", "dam"


@dataclass(frozen=True)
class Visitor:
    """A logged-in person: username, and the token their browser or program came with."""

    username: str
    token: str

    def holds(self, *roles: str) -> bool:
        """Return whether the person holds one of these roles of ``workflow.yaml``."""
        return any(services().workflow.has_role(self.username, role) for role in roles)

    @property
    def name(self) -> str:
        """The person's full name where it is known."""
        person = services().workflow.people.get(self.username)
        return person.name if person else self.username

    @property
    def only_reads(self) -> bool:
        """Whether the person holds no role but viewer."""
        person = services().workflow.people.get(self.username)
        return person is None or set(person.roles) <= {"viewer"}


class LoginNeeded(Exception):
    """Send the browser to the log-in page and back."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.url = url


async def visitor(request: Request) -> Visitor:
    """Return who is asking; every route depends on it.

    Browsers that open a page are sent to Airflow's log-in and come back; programs get 401.
    """
    credentials = await bearer_scheme(request)
    try:
        user: Any = await get_user(request, None, credentials)
    except HTTPException as error:
        if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
            base = get_auth_manager().get_url_login(next_url=quote(str(request.url), safe=":/?&="))
            raise LoginNeeded(base) from error
        raise HTTPException(status.HTTP_401_UNAUTHORIZED, "Log in first.") from error
    token = credentials.credentials if credentials else request.cookies.get(COOKIE_NAME_JWT_TOKEN, "")
    return Visitor(str(user.get_name()), token)


async def same_site(request: Request) -> None:
    """Refuse a write that another site's page started (cross-site request forgery)."""
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return
    site = request.headers.get("sec-fetch-site", "same-origin")
    if site not in ("same-origin", "none") or request.headers.get(HEADER) != VALUE:
        raise HTTPException(status.HTTP_403_FORBIDDEN, f"Send the header {HEADER}: {VALUE}, from this site.")


Asking = Annotated[Visitor, Depends(visitor)]


def sees_place(person: Visitor) -> bool:
    """Return whether a person may see by coordinates where a picture was taken (``policy.see_place``)."""
    return person.holds(*services().workflow.policy.see_place)


def may(*roles: str) -> Any:
    """Return a dependency that lets only holders of these roles pass."""

    async def check(person: Asking) -> Visitor:
        if not person.holds(*roles):
            needed = " or ".join(role.replace("_", " ") for role in roles)
            raise HTTPException(status.HTTP_403_FORBIDDEN, f"This is for the {needed}.")
        return person

    return Depends(check)
