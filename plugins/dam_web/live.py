"""Live events over HTTP: ``GET /api/packages/{id}/events``, a stream of server-sent events (HTML Standard, 9.2).

For the page's script::

    const source = new EventSource(`${root}/api/packages/${id}/events?since=${room.live}`);
    for (const kind of ["annotation", "seat", "decision", "package", "presence"])
      source.addEventListener(kind, (event) => heard(kind, JSON.parse(event.data)));

- ``annotation``, ``seat``, ``decision``, ``package``: ``{kind, id}``. Something of it changed: read again what one
  shows of it (``GET api/packages/{id}/annotations`` for notes, ``GET api/packages/{id}`` for the rest). Several may
  come for one act: wait some tenths of a second, then read once. An event has no content, and one's own acts come too.
- With ``all: true`` (a ``package`` and an ``annotation`` event) it is not known what changed: read everything again.
  It comes when the line was cut, when a client was too slow, and at the beginning when ``since`` is not given.
- ``since`` is ``views.package()["live"]``, the moment at which what is shown was read. The browser comes back by itself
  when a stream ends, with ``Last-Event-ID``, which counts more than ``since``.
- ``presence``: ``{kind, people: [{username, name}]}``, who looks now, oneself among them.
- A comment comes every :data:`HEARTBEAT` seconds, so that nobody on the way takes the line for dead. A stream ends
  after :data:`LONGEST` seconds: who comes back is asked for their log-in again. 401, 403 and 404 end an
  ``EventSource`` for good; what it shows stays as it was.

Other doors (guests') stream :func:`told` for their own people, once they have checked who asks.

Over HTTP/1.1 a browser opens six lines to a server at most, streams among them: one tab, one stream.
"""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Header, Query
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event
from starlette.concurrency import run_in_threadpool

from dam.catalog.models import Package
from dam.errors import NotFound
from dam.review.live import News, Subscription
from dam_web.annotations import Id
from dam_web.auth import Asking
from dam_web.deps import services

router = APIRouter(prefix="/api")
#: Seconds between signs of life, and that a stream lasts at most. Milliseconds before a browser comes back.
HEARTBEAT, LONGEST, RETRY = 15.0, 600.0, 1000
Place = Annotated[str | None, Query(max_length=64)]


@router.get("/packages/{package_id}/events", response_class=StreamingResponse)
async def events(
    package_id: Id,
    person: Asking,
    since: Place = None,
    last_event_id: Annotated[str | None, Header(max_length=64)] = None,
) -> StreamingResponse:
    """Stream what changes in a package, as it changes."""
    await run_in_threadpool(_check, package_id)
    stream = told(package_id, person.username, last_event_id or since)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(stream, media_type="text/event-stream", headers=headers)


def _check(package_id: str) -> None:
    with services().session() as session:
        if session.get(Package, package_id) is None:
            raise NotFound("there is no such package", where=package_id)


async def told(package_id: str, person: str, since: str | None) -> AsyncIterator[bytes]:
    """Yield a package's events for a person on the wire, until they go, the server stops, or it was long enough."""
    loop = asyncio.get_running_loop()
    woken = asyncio.Event()

    def wake() -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(woken.set)

    _ends.hear(wake)
    subscription = services().live.subscribe(package_id=package_id, person=person, wake=wake, since=since)
    try:
        yield format_sse_event(comment="The review room listens.", retry=RETRY)
        await run_in_threadpool(subscription.enter)
        ends_at = loop.time() + LONGEST
        while not _ends.stopping and loop.time() < ends_at:
            woken.clear()
            for block in _blocks(subscription, package_id):
                yield block
            try:
                async with asyncio.timeout(HEARTBEAT):
                    await woken.wait()
            except TimeoutError:
                yield format_sse_event(comment="still here")
    finally:
        _ends.forget(wake)
        with anyio.CancelScope(shield=True):  # also when the client is gone, which cancels us
            await run_in_threadpool(subscription.close)


def _blocks(subscription: Subscription, package_id: str) -> list[bytes]:
    """Return what is to be told now, each with the place to come back to."""
    news: News = subscription.take()
    blocks = []
    if news.again:
        for kind in ("package", "annotation"):
            blocks.append(_block(kind, {"id": package_id, "all": True}, news.position))
    else:
        blocks += [_block(event.kind, {"id": event.id}, event.position) for event in news.events]
    if news.people is not None:
        blocks.append(_block("presence", {"people": news.people}, None))
    return blocks


def _block(kind: str, data: dict[str, Any], position: str | None) -> bytes:
    return format_sse_event(event=kind, data_str=json.dumps({"kind": kind} | data), id=position or None)


@dataclass(frozen=True)
class _Handler:
    """Hears a signal before the handler that was there.

    :param stop: is called first. :param own: the handler that was there.
    """

    stop: Callable[[], None]
    own: Callable[[int, FrameType | None], Any]

    def __call__(self, received: int, frame: FrameType | None) -> Any:
        """Handle the signal."""
        self.stop()
        return self.own(received, frame)


class _Ends:
    """Tells streams that the server was asked to stop: it waits for them, and they would go on for minutes.

    A mounted app is told nothing of the server's life, so the signals are heard as well, before the server's own
    handlers, which are called as if we were not there.
    """

    def __init__(self) -> None:
        self.stopping = False
        self._wakes: set[Callable[[], None]] = set()

    def hear(self, wake: Callable[[], None]) -> None:
        """Wake this stream when the server is to stop."""
        self._wakes.add(wake)
        if threading.current_thread() is threading.main_thread():  # only there signals can be asked for
            for number in (signal.SIGTERM, signal.SIGINT):
                self._stand_before(number)

    def forget(self, wake: Callable[[], None]) -> None:
        """The stream has ended."""
        self._wakes.discard(wake)

    def _stand_before(self, number: signal.Signals) -> None:
        own = signal.getsignal(number)
        if callable(own) and not isinstance(own, _Handler):
            signal.signal(number, _Handler(self._stop, own))

    def _stop(self) -> None:
        self.stopping = True
        for wake in list(self._wakes):
            wake()


_ends = _Ends()
