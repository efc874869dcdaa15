"""Live events: whoever writes, wherever they write, those who look hear of it, and of nothing they may not read."""

from __future__ import annotations

import threading

import psycopg
import pytest
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from dam.catalog.models import Presence, utcnow
from dam.review import annotations, live, packages, seats
from dam.services import Services


class Ear:
    """A client: hears a package, and waits for what it must hear."""

    def __init__(self, services, package_id, person, *, since=None, seen=False):
        self.rang = threading.Event()
        self.heard, self.people, self.again, self.position = [], None, 0, ""
        self.subscription = services.live.subscribe(
            package_id=package_id, person=person, wake=self.rang.set, since=since
        )
        if seen:
            self.subscription.enter()

    def take(self):
        self.rang.clear()
        news = self.subscription.take()
        self.heard += [(event.kind, event.id) for event in news.events]
        self.again += news.again
        self.people = self.people if news.people is None else [one["username"] for one in news.people]
        self.position = news.events[-1].position if news.events else news.position
        return news

    def until(self, done):
        """Take what comes until it is what is waited for; fail when it does not come."""
        for _ in range(200):
            self.take()
            if done(self):
                return self
            self.rang.wait(0.1)
        raise AssertionError(f"heard {self.heard}, {self.people}, {self.again} times to read again")


@pytest.fixture
def ears(services, package_id):
    """Makes clients of the package; each process has its own services over the same catalogue."""
    made = [services]

    def listen(person="bea", *, process=0, package=package_id, **more):
        while len(made) <= process:
            made.append(Services(services.settings))
        ear = Ear(made[process], package, person, **more)
        return ear.until(lambda one: made[process].live.position())

    listen.processes = made
    yield listen
    for one in made:
        one.live.close()
        if one is not services:
            one.engine.dispose()


@pytest.fixture
def write(services, batch, package_id):
    def made(person="bea", body="Too small.", **more):
        known = {"package_id": package_id, "version_id": batch[1][0]}
        return annotations.add(services, person=person, body=body, **known, **more)["annotation_id"]

    return made


def test_what_one_writes_the_others_hear_in_every_process(ears, services, write):
    near, far = ears("lena"), ears("maya", process=1)
    note = write("bea", kind="must_fix")
    for ear in (near, far):
        ear.until(lambda one: ("annotation", note) in one.heard)
    annotations.resolve(services, annotation_id=note, person="bea")
    annotations.reopen(services, annotation_id=note, person="bea")
    annotations.edit(services, annotation_id=note, person="bea", changes={"body": "Bigger."})
    annotations.withdraw(services, annotation_id=note, person="bea")
    for ear in (near, far):
        ear.until(lambda one: one.heard.count(("annotation", note)) == 5)


def test_seats_decisions_and_packages_are_heard_too(ears, services, package_id):
    ear = ears()
    for seat in packages.seats(services, package_id=package_id):
        seats.decide(services, seat_id=seat["seat_id"], person=seat["eligible"][0], verdict="approve")
        ear.until(lambda one, seat_id=seat["seat_id"]: ("seat", seat_id) in one.heard)
    packages.verdict(services, package_id=package_id)
    ear.until(lambda one: ("package", package_id) in one.heard)
    assert [kind for kind, _ in ear.heard].count("decision") == 2


def test_a_void_package_tells_of_its_next_round(ears, services, batch, package_id):
    from dam.catalog.models import Description

    ear = ears()
    with services.session() as session:
        session.get_one(Description, batch[1][0]).title = "Another"
    following = packages.revalidate(services, package_id=package_id)
    ear.until(lambda one: ("package", following) in one.heard)


def test_what_is_rolled_back_was_never_told(ears, services, write, package_id):
    ear = ears()
    with Session(services.engine) as session:
        session.execute(text("UPDATE packages SET void_reason = 'x'"))
        session.rollback()
    note = write()
    ear.until(lambda one: one.heard)
    assert ear.heard == [("annotation", note)]


def test_other_packages_are_not_heard(ears, services, write, drop):
    batch_id, made = drop(services, "north")
    other = packages.freeze(services, batch_id=batch_id, version_ids=made)
    elsewhere, here = ears("lena", package=other), ears("lena")
    note = write()
    here.until(lambda one: one.heard == [("annotation", note)])
    last = annotations.add(services, package_id=other, version_id=made[0], person="bea", body="Mine.")
    elsewhere.until(lambda one: one.heard)
    assert elsewhere.heard == [("annotation", last["annotation_id"])]


def test_of_a_private_note_only_those_hear_who_may_read_it(ears, services, write):
    said = {person: ears(person) for person in ("lena", "maya", "vic", "guest:eva@agency.example")}
    private = write("lena", audience="legal_reviewer")
    annotations.resolve(services, annotation_id=private, person="lena")
    public = write("bea")
    for ear in said.values():
        ear.until(lambda one: ("annotation", public) in one.heard)
    assert said.pop("lena").heard == [("annotation", private)] * 2 + [("annotation", public)]
    assert all(ear.heard == [("annotation", public)] for ear in said.values())


# --------------------------------------------------------------------------------------------- who comes back


def test_who_comes_back_is_told_what_they_missed(ears, services, write):
    ear = ears("lena")
    first = write()
    ear.until(lambda one: one.heard)
    ear.subscription.close()
    private, second = write("bea", audience="brand_reviewer"), write()
    ears("maya").until(lambda one: services.live.position().endswith("-3"))
    back = ears("lena", since=ear.position)
    assert (back.heard, back.again) == ([("annotation", second)], 0)
    assert ("annotation", private) not in back.heard
    assert first not in [note for _, note in back.heard]
    assert ears("lena", since=back.position).heard == []


@pytest.mark.parametrize("since", [None, "", "nonsense", "0000-1", "{epoch}-99", "{epoch}-x", "{epoch}-"])
def test_who_comes_back_from_elsewhere_reads_again(ears, services, since):
    ears()
    epoch = services.live.position().partition("-")[0]
    back = ears("lena", since=since.replace("{epoch}", epoch) if since else since)
    assert back.again == 1


def test_who_was_away_for_too_long_reads_again(ears, services, write, monkeypatch):
    ear = ears("lena")
    ear.subscription.close()
    with services.session() as session:
        for number in range(live.KEPT + 1):
            told = f'{{"package_id": "x", "kind": "seat", "id": "{number}"}}'
            session.execute(text("SELECT pg_notify('dam_review', :told)"), {"told": told})
    last = f"-{live.KEPT + 1}"
    ears("maya").until(lambda one: services.live.position().endswith(last))
    assert ears("lena", since=ear.position).again == 1


def test_a_slow_client_is_told_to_read_again_and_costs_no_more(ears, services, package_id):
    slow = ears("lena")
    with services.session() as session:
        for number in range(3 * live.WAITING):
            told = f'{{"package_id": "{package_id}", "kind": "seat", "id": "{number}"}}'
            session.execute(text("SELECT pg_notify('dam_review', :told)"), {"told": told})
    ears("maya").until(lambda one: services.live.position().endswith(f"-{3 * live.WAITING}"))
    news = slow.take()
    assert news.again
    assert len(news.events) <= live.WAITING
    assert news.position == services.live.position()


# -------------------------------------------------------------------------------------- when PostgreSQL goes away


def _cut(services, *, allow=True):
    """End every listener's session, as a restart does; and let nobody in, unless it is allowed."""
    database = services.engine.url.database
    server = services.engine.url.set(database="postgres", drivername="postgresql")
    with psycopg.connect(server.render_as_string(hide_password=False), autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS {str(allow).lower()}".encode())
        ended = admin.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = %s", [database]
        ).fetchone()
    return ended[0]


def test_it_comes_back_when_postgresql_does_and_everybody_reads_again(ears, services, write):
    ear = ears("lena", seen=True)
    ear.until(lambda one: one.people == ["lena"])
    ear.again = 0
    before = services.live.position()
    assert _cut(services, allow=False)
    ear.until(lambda one: services.live.position() == "")
    _cut(services)
    ear.until(lambda one: one.again == 1)
    services.engine.dispose()
    assert services.live.position().partition("-")[0] != before.partition("-")[0]
    note = write()
    ear.until(lambda one: ("annotation", note) in one.heard)
    ear.until(lambda one: one.people == ["lena"])  # still there


def test_it_stops_when_nobody_listens_and_begins_again(ears, services, write, monkeypatch):
    monkeypatch.setattr(live, "IDLE", 0.0)
    ear = ears("lena")
    since = ear.position
    ear.subscription.close()
    ear.until(lambda one: services.live.position() == "")
    monkeypatch.setattr(live, "IDLE", 60.0)
    again = ears("lena", since=since)
    assert again.again
    note = write()
    again.until(lambda one: ("annotation", note) in one.heard)


def test_a_fault_of_our_own_leaves_nobody_deaf(ears, services, write, monkeypatch):
    ear = ears("lena")
    ear.take()
    ear.again, before = 0, services.live.position()
    heard = live.Live._heard
    faults = [KeyError("ours")]

    def faulty(self, payload):
        if faults:
            raise faults.pop()
        heard(self, payload)

    monkeypatch.setattr(live.Live, "_heard", faulty)
    write()
    ear.until(lambda one: one.again == 1)
    assert services.live.position().partition("-")[0] != before.partition("-")[0]
    note = write()
    ear.until(lambda one: ("annotation", note) in one.heard)


def test_something_else_on_the_channel_harms_nobody(ears, services, write):
    ear = ears()
    with services.session() as session:
        for told in ("", "nonsense", "[]", "7", "{}", '{"package_id": null}'):
            session.execute(text("SELECT pg_notify('dam_review', :told)"), {"told": told})
    note = write()
    ear.until(lambda one: ("annotation", note) in one.heard)


# -------------------------------------------------------------------------------------------------- who is there


def test_who_looks_is_seen_in_every_process_once(ears):
    bea = ears("bea", seen=True)
    bea.until(lambda one: one.people == ["bea"])
    lena, twin = ears("lena", process=1, seen=True), ears("lena", seen=True)
    for ear in (bea, lena, twin):
        ear.until(lambda one: one.people == ["bea", "lena"])
    twin.subscription.close()
    bea.take()
    lena.subscription.close()
    bea.until(lambda one: one.people == ["bea"])


def test_two_windows_of_one_person_are_one_until_both_are_closed(ears):
    bea, first, second = ears("bea", seen=True), ears("lena", seen=True), ears("lena", seen=True)
    first.subscription.close()
    bea.until(lambda one: one.people == ["bea", "lena"])
    second.until(lambda one: one.people == ["bea", "lena"])
    second.subscription.close()
    bea.until(lambda one: one.people == ["bea"])


def test_a_killed_process_is_forgotten(ears, services, package_id, monkeypatch):
    monkeypatch.setattr(live, "CONFIRM", 0.1)
    bea = ears("bea", seen=True)
    with services.session() as session:
        session.add(Presence(package_id=package_id, person="lena", process="killed"))
    bea.until(lambda one: one.people == ["bea", "lena"])
    with services.session() as session:
        long_ago = utcnow().replace(year=2020)
        session.execute(update(Presence).where(Presence.process == "killed").values(seen_at=long_ago))
    bea.until(lambda one: one.people == ["bea"])

    def kept(_):
        with services.session() as session:
            return session.scalars(select(Presence.person)).all() == ["bea"]

    bea.until(kept)


def test_a_process_that_ends_leaves_nobody_behind(ears, services):
    bea = ears("bea", seen=True)
    ears("lena", process=1, seen=True)
    bea.until(lambda one: one.people == ["bea", "lena"])
    ears.processes[1].live.close()
    bea.until(lambda one: one.people == ["bea"])
