"""HTTP as channels need it: sending with bounded retries, and probing what the world can see."""

from __future__ import annotations

import hashlib
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import httpx

from dam.catalog.models import utcnow
from dam.channels import Request
from dam.errors import BadInput, DamError, Refused

AGENT = "airflow-dam-probe/1.0"
WAITS = (0.5, 1.0, 2.0, 4.0)  # seconds between tries; one try more than waits
TIMEOUT = httpx.Timeout(20.0, connect=5.0)
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})  # the server asks to come again, or broke
_PLACEHOLDER = re.compile(r"\{([a-z_0-9]+)\}")
Wait = Callable[[float], None]


class ChannelRefused(Refused):
    """A channel answered that it will not take the request; trying again would not help."""


class ChannelUnavailable(DamError):
    """A channel did not answer, or answered with errors, for as long as we tried."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What one URL answered to the public: status (``None``: no answer), the SHA-256 of its body."""

    url: str
    status: int | None
    sha256: str | None
    problem: str
    at: str
    agent: str = AGENT

    @property
    def dead(self) -> bool:
        """Whether the answer proves that nothing is served there any more (404 or 410)."""
        return self.status in (404, 410)

    def as_dict(self) -> dict[str, Any]:
        """Return the probe as a JSON-able dict."""
        return asdict(self)


@cache
def _tls() -> ssl.SSLContext:
    """Return the TLS settings, made once: loading the certificates takes longer than a request."""
    return httpx.create_ssl_context()


def fill(template: Any, values: Mapping[str, Any], *, where: str) -> Any:
    """Fill ``{placeholders}`` in a template of strings, lists and dicts.

    A string that is one placeholder and nothing else becomes the value itself, with its type.

    :raises BadInput: a placeholder has no value.
    """

    def value(name: str) -> Any:
        if name not in values:
            known = ", ".join(sorted(values))
            raise BadInput(f"{{{name}}} is not known.", where=where, remedy=f"Use one of: {known}.")
        return values[name]

    if isinstance(template, dict):
        return {key: fill(item, values, where=where) for key, item in template.items()}
    if isinstance(template, list):
        return [fill(item, values, where=where) for item in template]
    if not isinstance(template, str):
        return template
    if whole := _PLACEHOLDER.fullmatch(template):
        return value(whole[1])
    return _PLACEHOLDER.sub(lambda match: str(value(match[1])), template)


def send(
    request: Request,
    values: Mapping[str, Any],
    *,
    channel: str,
    key: str,
    wait: Wait,
    accept: frozenset[int] = frozenset(),
) -> httpx.Response:
    """Send a channel's request, again after 5xx, 408, 425, 429, timeouts and broken connections.

    :param key: sent as ``Idempotency-Key``, so that a request sent twice is done once.
    :param wait: called with the seconds to wait between tries.
    :param accept: statuses outside 2xx that mean success too.
    :raises ChannelRefused: any other answer; names channel, URL, status and the body's beginning.
    :raises ChannelUnavailable: the last try failed as the first.
    """
    where = f"channel {channel}"
    url = str(fill(request.url, values, where=where))
    if not url.startswith(("http://", "https://")):
        raise BadInput(
            f"{url!r} is not an HTTP address.",
            where=where,
            remedy="Set the channel's base URL (DAM_CMS_URL).",
        )
    headers = {**fill(request.headers, values, where=where), "Idempotency-Key": key}
    body = fill(request.body, values, where=where) if request.body is not None else None
    problem = ""
    with httpx.Client(timeout=TIMEOUT, verify=_tls()) as client:
        for pause in (*WAITS, None):
            try:
                answer = client.request(request.method, url, headers=headers, json=body)
            except httpx.TransportError as error:
                problem = f"{type(error).__name__}: {error}"
            else:
                if answer.is_success or answer.status_code in accept:
                    return answer
                problem = f"status {answer.status_code}: {answer.text[:200]!r}"
                if answer.status_code not in _RETRIED:
                    raise ChannelRefused(
                        f"{request.method} {url} was refused with {problem}.",
                        where=where,
                        remedy="Mend the channel's template or its account, then publish again.",
                    )
            if pause is not None:
                wait(pause)
    raise ChannelUnavailable(
        f"{request.method} {url} failed {len(WAITS) + 1} times, last with {problem}.",
        where=where,
        remedy="Publish again when the channel is back; nothing will be there twice.",
    )


def pointed(document: Any, pointer: str, *, where: str) -> str:
    """Return the value a JSON Pointer (RFC 6901) names in a document, as text.

    :raises BadInput: nothing is there.
    """
    value = document
    try:
        for part in pointer.split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            value = value[int(name)] if isinstance(value, list) else value[name]
    except (KeyError, IndexError, TypeError, ValueError):
        value = None
    if value is None:
        raise BadInput(
            f"the answer has nothing at {pointer}: {str(document)[:200]}.",
            where=where,
            remedy="Correct id_pointer or url_pointer in the channel's template.",
        )
    return str(value)


def probe(url: str) -> Probe:
    """Ask for a URL as the public would, past caches, without following redirects."""
    headers = {"User-Agent": AGENT, "Cache-Control": "no-cache, no-store", "Pragma": "no-cache"}
    digest = hashlib.sha256()
    status, problem = None, ""
    try:
        with (
            httpx.Client(timeout=TIMEOUT, verify=_tls(), follow_redirects=False) as client,
            client.stream("GET", url, headers=headers) as answer,
        ):
            for chunk in answer.iter_bytes():
                digest.update(chunk)
            status = answer.status_code
    except httpx.HTTPError as error:
        problem = f"no answer: {type(error).__name__}: {error}"
    return Probe(
        url=url,
        status=status,
        sha256=digest.hexdigest() if status is not None else None,
        problem=problem,
        at=utcnow().isoformat(),
    )


def probe_until(url: str, good: Callable[[Probe], bool], *, wait: Wait) -> Probe:
    """Probe a URL until the answer is good, a few times: caches and stores may lag. Return the last."""
    found = probe(url)
    for pause in WAITS:
        if good(found):
            break
        wait(pause)
        found = probe(url)
    return found
