"""What others do in a review, told as it happens to whoever looks.

Triggers call ``pg_notify`` when a transaction that changed a review commits (migration 0017), so that every process of
every machine hears the same, whoever wrote: the room, a task of Airflow, the command line. One thread a process
listens and hands on to its subscriptions. An event says that something changed, never what: who hears it asks for what
they may read. Of a private note nobody hears but those who may read it.

Nothing is lost, because nothing is promised that is not kept: the last :data:`KEPT` events are kept, and who comes back
with the id of the last one they heard is told the rest. Where that is not known (another process, a line to PostgreSQL
that was cut, a queue that was full) they are told to read again.

Who looks at a package now is in the table ``presences``, a row for a person, a package and a process, confirmed now and
then by the process; what is not confirmed is over.

It needs a session of its own at PostgreSQL: a pooler must not share it between transactions.
"""

from __future__ import annotations

import contextlib
import json
import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError

from dam.catalog.models import Presence
from dam.review import annotations as notes

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.services import Services

log = logging.getLogger(__name__)
CHANNEL = "dam_review"
#: Events that are kept for who comes back, and events that wait for a slow client at most.
KEPT, WAITING = 2000, 200
#: Seconds: between looks at the clock; between confirmations of who is present; after which they are taken for gone;
#: without anybody listening, after which we stop; before PostgreSQL is asked again, at first and at most.
TICK, CONFIRM, GONE, IDLE, PAUSE, LONG_PAUSE = 1.0, 15.0, 45.0, 60.0, 0.2, 5.0


@dataclass(frozen=True, slots=True)
class Event:
    """Something changed: the ``kind`` is ``annotation``, ``seat``, ``decision`` or ``package``, ``id`` its row.

    :param position: ``epoch-number``; the number grows by one with each event of an epoch.
    :param audience: of a private note, with its ``author``: nobody else is told.
    """

    position: str
    package_id: str
    kind: str
    id: str
    audience: str | None = None
    author: str | None = None


@dataclass(slots=True)
class News:
    """What a subscription has not been told yet.

    :param events: in order. :param again: everything must be read again, whatever the events say.
    :param people: who looks now, ``{"username", "name"}``; None where that did not change.
    :param position: what to come back with.
    """

    events: list[Event]
    again: bool
    people: list[dict[str, str]] | None
    position: str


@dataclass(eq=False)
class Subscription:
    """One client's ear: what it was not told yet waits here, a little of it. Made by :meth:`Live.subscribe`.

    :param wake: called from any thread when there is something to take.
    """

    live: Live
    package_id: str
    person: str
    wake: Callable[[], None]
    _events: deque[Event] = field(default_factory=deque)
    _again: bool = False
    _people: list[dict[str, str]] | None = None

    def take(self) -> News:
        """Return what came since the last time."""
        return self.live._take(self)

    def enter(self) -> None:
        """Be seen by the others; waits for PostgreSQL. Without it one listens unseen."""
        self.live._enter(self)

    def close(self) -> None:
        """Hear and be seen no more; waits for PostgreSQL."""
        self.live._close(self)


class Live:
    """The process's ear at PostgreSQL, and the subscriptions that it tells. Thread-safe.

    It listens as long as anybody subscribes, and comes back when PostgreSQL does.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lock = threading.Lock()
        self._row = threading.Lock()  # one writes presences at a time, so that none comes back after it was taken away
        self._subscriptions: dict[str, set[Subscription]] = {}
        self._process = secrets.token_hex(8)
        self._epoch, self._number = "", 0
        self._kept: deque[Event] = deque(maxlen=KEPT)
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._idle_since = 0.0

    # ------------------------------------------------------------------------------------------ for subscribers

    def position(self) -> str:
        """Return the id of the newest event, to be asked *before* reading what is shown; empty while nobody listens."""
        with self._lock:
            return self._position()

    def subscribe(
        self, *, package_id: str, person: str, wake: Callable[[], None], since: str | None = None
    ) -> Subscription:
        """Listen to a package; waits for nothing.

        :param wake: called, from another thread, when there is something to :meth:`Subscription.take`.
        :param since: the id of the last event that is known (:meth:`position`, or what an earlier subscription was
            told). What came after it is told, or to read again where that can't be known.
        """
        made = Subscription(self, package_id, person, wake)
        with self._lock:
            missed = self._since(since)
            if missed is None:
                made._again = True
            else:
                for event in missed:
                    self._push(made, event)
            self._subscriptions.setdefault(package_id, set()).add(made)
            if self._thread is None or not self._thread.is_alive():
                self._stopping.clear()
                self._thread = threading.Thread(target=self._run, name="dam-live", daemon=True)
                self._thread.start()
        return made

    def close(self) -> None:
        """Stop listening, and let nobody of this process be seen any more."""
        self._stopping.set()
        thread = self._thread
        if thread is not None:
            thread.join()
        with self._presences("leave") as session:
            self._forget(session, Presence.process == self._process)

    # ----------------------------------------------------------------------------------------- of a subscription

    def _take(self, subscription: Subscription) -> News:
        with self._lock:
            news = News(list(subscription._events), subscription._again, subscription._people, self._position())
            subscription._events.clear()
            subscription._again, subscription._people = False, None
            return news

    def _enter(self, subscription: Subscription) -> None:
        package_id = subscription.package_id
        with self._presences("come") as session:
            row = {"package_id": package_id, "person": subscription.person, "process": self._process}
            come = insert(Presence).values(row | {"seen_at": func.now()}).on_conflict_do_nothing()
            if session.execute(come.returning(Presence.person)).all():
                self._announce(session, {package_id})
            people = self._people(session, {package_id})[package_id]
            with self._lock:
                subscription._people = people
            _call(subscription.wake)

    def _close(self, subscription: Subscription) -> None:
        package_id, person = subscription.package_id, subscription.person
        with self._lock:
            others = self._subscriptions.get(package_id, set())
            others.discard(subscription)
            if not others:
                self._subscriptions.pop(package_id, None)
                self._idle_since = time.monotonic()
        with self._presences("leave") as session:
            with self._lock:
                if any(other.person == person for other in self._subscriptions.get(package_id, ())):
                    return  # in another window
            one = (Presence.package_id == package_id) & (Presence.person == person)
            self._forget(session, one & (Presence.process == self._process))

    # ------------------------------------------------------------------------------------------------ the thread

    def _run(self) -> None:
        pause = PAUSE
        while not self._stopping.is_set():
            try:
                with self._connect() as connection:
                    connection.execute(f"LISTEN {CHANNEL}")
                    self._begin()
                    pause = PAUSE
                    self._listen(connection)
                    return
            except psycopg.Error as error:
                log.warning("Live events wait for PostgreSQL: %s", error)
            except Exception:  # whatever of ours it is: everybody would be deaf, and nobody would know
                log.exception("Live events begin again")
                pause = LONG_PAUSE  # it may come again at once, and everybody reads again each time
            finally:
                with self._lock:
                    if self._thread is threading.current_thread():  # not where another has taken our place
                        self._epoch = ""
            self._stopping.wait(pause)
            pause = min(2 * pause, LONG_PAUSE)

    def _connect(self) -> psycopg.Connection[Any]:
        engine = self._services.engine
        _, options = engine.dialect.create_connect_args(engine.url)
        ours = {"autocommit": True, "application_name": "dam-live", "connect_timeout": 10, "keepalives_idle": 10,
                "keepalives_interval": 5, "keepalives_count": 3}  # fmt: skip
        return psycopg.connect(**{**options, **ours})

    def _begin(self) -> None:
        """Begin an epoch: nobody knows what happened before it."""
        with self._lock:
            self._epoch, self._number = secrets.token_hex(4), 0
            self._kept.clear()
            told = self._all()
            for one in told:
                one._again = True
        for one in told:
            _call(one.wake)

    def _listen(self, connection: psycopg.Connection[Any]) -> None:
        """Hand on what is told until nobody has listened for a while, or we are stopped."""
        confirmed = 0.0
        while not self._stopping.is_set():
            if time.monotonic() - confirmed > CONFIRM:
                self._confirm()
                confirmed = time.monotonic()
            for told in connection.notifies(timeout=TICK):
                self._heard(told.payload)
            with self._lock:
                if not self._subscriptions and time.monotonic() - self._idle_since > IDLE:
                    self._thread, self._epoch = None, ""  # who subscribes from now on starts another
                    return

    def _heard(self, payload: str) -> None:
        try:
            told = json.loads(payload)
            package_id, kind = str(told["package_id"]), str(told["kind"])
        except (ValueError, KeyError, TypeError):
            log.warning("Something else speaks on the channel %s: %.100s", CHANNEL, payload)
            return
        if kind == "presence":
            self._tell_people({package_id})
            return
        with self._lock:
            self._number += 1
            event = Event(
                self._position(), package_id, kind, str(told.get("id")), told.get("audience"), told.get("author")
            )
            self._kept.append(event)
            told_to = [one for one in self._subscriptions.get(package_id, ()) if self._push(one, event)]
        for one in told_to:
            _call(one.wake)

    # -------------------------------------------------------------------------------------- under the lock

    def _position(self) -> str:
        return f"{self._epoch}-{self._number}" if self._epoch else ""

    def _all(self) -> list[Subscription]:
        return [one for some in self._subscriptions.values() for one in some]

    def _since(self, since: str | None) -> list[Event] | None:
        """Return the events after an id; None where it is not known what they were."""
        epoch, _, number = (since or "").partition("-")
        if not self._epoch or epoch != self._epoch or not number.isdecimal() or int(number) > self._number:
            return None
        missed = self._number - int(number)
        if missed > len(self._kept):
            return None
        return list(self._kept)[len(self._kept) - missed :]

    def _push(self, one: Subscription, event: Event) -> bool:
        """Put an event into a subscription that it is for; when it is full, it is told to read again instead."""
        if event.package_id != one.package_id or not notes.may_read(
            self._services, one.person, audience=event.audience, author=event.author
        ):
            return False
        if len(one._events) >= WAITING:
            one._events.clear()
            one._again = True
        one._events.append(event)
        return True

    # --------------------------------------------------------------------------------------------------- people

    @contextlib.contextmanager
    def _presences(self, what: str) -> Iterator[Session]:
        """Give a session to the presences; who looks is not worth an error. :param what: what they could not, if so."""
        try:
            with self._row, self._services.session() as session:
                yield session
        except SQLAlchemyError as error:
            log.warning("Who looks at a package could not %s: %s", what, error)

    def _confirm(self) -> None:
        """Say who looks through this process, and forget those whom nobody confirmed."""
        here: set[tuple[str, str]] = set()
        with self._presences("be confirmed") as session:
            with self._lock:
                here = {(one.package_id, one.person) for one in self._all()}
            rows = [{"package_id": package, "person": person, "process": self._process} for package, person in here]
            if rows:
                said = insert(Presence).values([row | {"seen_at": func.now()} for row in rows])
                session.execute(
                    said.on_conflict_do_update(
                        index_elements=["package_id", "person", "process"], set_={"seen_at": func.now()}
                    )
                )
            self._forget(session, Presence.seen_at < func.now() - timedelta(seconds=GONE))
        self._tell_people({package_id for package_id, _ in here})

    def _forget(self, session: Session, which: Any) -> None:
        gone = session.scalars(delete(Presence).where(which).returning(Presence.package_id)).all()
        self._announce(session, set(gone))

    @staticmethod
    def _announce(session: Session, package_ids: set[str]) -> None:
        for package_id in sorted(package_ids):
            payload = json.dumps({"package_id": package_id, "kind": "presence"})
            session.execute(select(func.pg_notify(CHANNEL, payload)))

    def _tell_people(self, package_ids: set[str]) -> None:
        with self._lock:
            asked = package_ids & set(self._subscriptions)
        if not asked:
            return
        with self._presences("be read") as session:
            people = self._people(session, asked)
            with self._lock:
                told = [one for package_id in asked for one in self._subscriptions.get(package_id, ())]
                for one in told:
                    one._people = people[one.package_id]
            for one in told:
                _call(one.wake)

    def _people(self, session: Session, package_ids: set[str]) -> dict[str, list[dict[str, str]]]:
        people: dict[str, list[dict[str, str]]] = {package_id: [] for package_id in package_ids}
        for package_id, person in session.execute(
            select(Presence.package_id, Presence.person)
            .where(Presence.package_id.in_(package_ids))
            .where(Presence.seen_at >= func.now() - timedelta(seconds=GONE))
            .group_by(Presence.package_id, Presence.person)
            .order_by(Presence.person)
        ):
            people[package_id].append({"username": person, "name": notes.name_of(self._services, person)})
        return people


def _call(wake: Callable[[], None]) -> None:
    """Wake a client; one that is going away just now must not end the thread."""
    try:
        wake()
    except Exception:
        log.exception("A client of live events could not be woken")
