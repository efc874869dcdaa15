"""How reviews go, against figures computed by hand; 1 March 2027 is a Monday, work is from nine to five UTC."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, text
from typer.testing import CliRunner

import world
from dam.calendars import PLAIN, Calendar
from dam.catalog.models import (
    Absence,
    Annotation,
    Asset,
    Batch,
    Decision,
    KpiReport,
    Package,
    PackageVersion,
    Seat,
    Version,
    Withdrawal,
)
from dam.cli import app
from dam.measure import kpis, reviews
from dam.services import Services
from dam.settings import PROJECT
from dam.workflow import Workflow

START, END = datetime(2027, 3, 1, tzinfo=UTC), datetime(2027, 4, 1, tzinfo=UTC)
HASH = "0" * 64


def at(day: int, hour: float = 0) -> datetime:
    return START + timedelta(days=day - 1, hours=hour)


@dataclass
class Reviews:
    """Writes down reviews of March 2027."""

    services: Services
    assets: dict[str, str] = field(default_factory=dict)

    def version(self, asset: str) -> str:
        """Make the next version of an asset, in a batch of its own."""
        with self.services.session() as session:
            known = session.scalar(select(Asset).where(Asset.name == asset)) or Asset(name=asset, kind="image")
            session.add(known)
            session.flush()
            number = len(session.scalars(select(Version).where(Version.asset_id == known.id)).all()) + 1
            digest = hashlib.sha256(f"{asset} {number}".encode()).hexdigest()
            version = Version(
                asset=known, number=number, filename="x.jpg", sha256=digest, bytes=1, media_type="image/jpeg",
                batch=Batch(source="inbox", location=f"drops/{digest}", sent_by="dario"),
                storage_uri=f"vault:{digest}", made_by="dario",
            )  # fmt: skip
            world.bring_to(session, version, "in_review")
            return version.id

    def opened(self, versions: list[str], moment: datetime) -> str:
        with self.services.session() as session:
            batch_id = session.get_one(Version, versions[0]).batch_id
            number = len(session.scalars(select(Package).where(Package.batch_id == batch_id)).all()) + 1
            package = Package(
                batch_id=batch_id, round=number, manifest={"versions": {}}, manifest_sha256=HASH, frozen_at=moment
            )
            session.add(package)
            session.flush()
            session.add_all(
                PackageVersion(package_id=package.id, version_id=version_id, entry_sha256=HASH)
                for version_id in versions
            )
            return package.id

    def seat(
        self,
        package_id: str,
        role: str,
        people: list[str],
        *,
        due: datetime,
        signed: tuple[str, datetime] | None = None,
        status: str = "",
    ) -> str:
        """Add a seat that opened with its package and was signed, or expired (or has another status)."""
        with self.services.session() as session:
            package = session.get_one(Package, package_id)
            seat = Seat(
                package_id=package_id,
                ordinal=len(package.seats),
                role=role,
                eligible=people,
                due_at=due,
                status="open",
                opens_at=package.frozen_at,
            )
            session.add(seat)
            session.flush()
            if signed is not None:
                session.add(
                    Decision(
                        seat_id=seat.id, package_id=package_id, manifest_sha256=HASH, person=signed[0], role=role,
                        verdict="approve", via="room", decided_at=signed[1],
                    )
                )  # fmt: skip
                session.flush()
            seat.status = status or ("signed" if signed else "expired")
            return seat.id

    def closed(self, package_id: str, verdicts: dict[str, str], moment: datetime, *, status: str = "") -> None:
        said = set(verdicts.values())
        with self.services.session() as session:
            package = session.get_one(Package, package_id)
            package.status = status or ("approved" if "approve" in said else "changes_requested")
            package.closed_at = moment
            for entry in package.entries:
                entry.verdict = verdicts.get(entry.version_id)

    def noted(self, package_id: str, version_id: str, **more: Any) -> str:
        values = {"kind": "must_fix", "role": "brand_reviewer"} | more
        with self.services.session() as session:
            note = Annotation(package_id=package_id, version_id=version_id, author="bea", body="x", **values)
            session.add(note)
            session.flush()
            return note.id

    def report(self, **more: Any) -> dict[str, Any]:
        return kpis.make_report(self.services, **({"start": START, "end": END, "run": "measure_nightly/1"} | more))

    def kpi(self, name: str, **more: Any) -> dict[str, Any]:
        return next(kpi for kpi in self.report(**more)["kpis"] if kpi["name"] == name)

    def body(self, **more: Any) -> dict[str, Any]:
        store, key = self.services.storage.resolve(self.report(**more)["json_uri"])
        return dict(json.loads(store.read(key)))

    def page(self) -> str:
        store, key = self.services.storage.resolve(self.report()["html_uri"])
        return store.read(key).decode()


@pytest.fixture
def told(services: Services) -> Reviews:
    calendars = {"plain": Calendar(**PLAIN), "late": Calendar(time_zone="America/New_York", holidays="US")}
    services.__dict__["workflow"] = services.workflow.model_copy(update={"calendars": calendars})
    return Reviews(services)


@pytest.fixture
def march(told: Reviews) -> Reviews:
    """Three packages. Working hours of the seats: brand 2, 4 and 8 (unsigned); legal 10, 6 and 16 (unsigned)."""
    first = told.opened([told.version("A")], at(1, 9))  # Monday
    told.seat(first, "brand_reviewer", ["bea"], due=at(4, 9), signed=("bea", at(1, 11)))
    told.seat(first, "legal_reviewer", ["lena", "luis"], due=at(4, 9), signed=("lena", at(2, 11)))
    second = told.opened([told.version("B")], at(5, 13))  # Friday; the weekend is nobody's
    told.seat(second, "brand_reviewer", ["bea"], due=at(10, 9), signed=("bea", at(6, 20)))
    told.seat(second, "legal_reviewer", ["lena", "luis"], due=at(10, 9), signed=("luis", at(8, 11)))
    third = told.opened([told.version("C")], at(9, 9))  # Tuesday
    told.seat(third, "brand_reviewer", ["bea"], due=at(10, 9))
    told.seat(third, "legal_reviewer", ["lena", "luis"], due=at(11, 9))
    return told


# ------------------------------------------------------------------------------------------- time in a seat


def test_working_time_in_a_seat(march):
    kpi = march.kpi("seat_working_hours")
    # 2, 4, 6, 8, 10, 16
    assert (kpi["value"], kpi["median"], kpi["spread"]) == (7, 7, [2, 4.5, 7, 9.5, 16])
    assert kpi["p90"] == 13
    assert (kpi["shown"], kpi["inputs"]["rows"]) == ("7 h", 6)
    assert (kpi["inputs"]["from"], kpi["inputs"]["to"]) == (at(1, 9).isoformat(), at(11, 9).isoformat())
    assert (kpi["run"], kpi["section"]) == ("measure_nightly/1", "reviews")


def test_time_by_the_clock(march):
    kpi = march.kpi("seat_hours")
    # 2, 24, 26, 31, 48, 70
    assert kpi["spread"] == [2, 24.5, 28.5, 43.75, 70]
    assert (kpi["value"], kpi["p90"]) == (28.5, 59)


def test_overdue_share(march):
    kpi = march.kpi("overdue_share")
    assert (kpi["value"], kpi["part"], kpi["inputs"]["rows"]) == (pytest.approx(1 / 3), 2, 6)
    assert kpi["aim"] == "least"


def test_seats_that_nobody_need_sign_any_more_and_those_of_other_months_do_not_count(march):
    other = march.opened([march.version("D")], at(12, 9))
    march.seat(other, "brand_reviewer", ["bea"], due=at(15), status="void")
    march.seat(other, "legal_reviewer", ["lena"], due=at(40), status="open")
    march.seat(other, "digital_team", ["diego"], due=at(15), signed=("diego", at(35)))
    march.seat(other, "marketing_lead", ["maya"], due=at(15), signed=("maya", at(0)))
    assert march.kpi("overdue_share")["inputs"]["rows"] == 6
    # an open seat whose deadline is over is overdue although nothing closed it yet
    march.seat(other, "dam_admin", ["ada"], due=at(13, 9), status="open")
    kpi = march.kpi("overdue_share")
    assert (kpi["part"], kpi["inputs"]["rows"]) == (3, 7)


def test_a_seat_that_opened_long_before_the_period_keeps_its_time(told):
    package = told.opened([told.version("A")], at(-27, 9))  # Monday, 1 February
    told.seat(package, "brand_reviewer", ["bea"], due=at(9), signed=("bea", at(1, 10)))
    kpi = told.kpi("seat_working_hours")
    assert kpi["value"] == 4 * 5 * 8 + 1
    assert kpi["shown"] == "161 h"


# -------------------------------------------------------------------------------------- whom it waits for


def test_the_bottleneck_is_the_role_that_was_waited_for_longest(march):
    kpi = march.kpi("bottleneck")
    assert kpi["value"] == pytest.approx(32 / 46)
    assert (kpi["shown"], kpi["unit"]) == ("70 %", "of the waiting was for the legal reviewer")
    assert kpi["breakdown"] == [
        {"name": "legal_reviewer", "seats": 3, "hours": 32},
        {"name": "brand_reviewer", "seats": 3, "hours": 14},
    ]


def test_roles_and_people_are_told_fairly(march):
    waiting = march.body()["waiting"]
    legal, brand = waiting["roles"]["rows"]
    assert legal == {
        "role": "legal_reviewer", "seats": 3, "overdue": 1, "waited": 32,
        "median_working": 10, "p90_working": pytest.approx(14.8), "median": 48, "p90": pytest.approx(65.6),
    }  # fmt: skip
    assert (brand["role"], brand["waited"], brand["median"]) == ("brand_reviewer", 14, 24)
    # a seat of two waits for both alike: neither is blamed for signing, nor for what the other did
    people = waiting["people"]["rows"]
    assert [(row["person"], row["name"], row["waited"], row["median_working"]) for row in people] == [
        ("lena", "Lena Vogt", 16, 10), ("luis", "luis", 16, 10), ("bea", "Bea Okafor", 14, 4),
    ]  # fmt: skip
    assert [(row["seats"], row["signed"], row["overdue"]) for row in people] == [(3, 1, 1), (3, 1, 1), (3, 2, 1)]


def test_a_guest_is_named_by_their_address(told):
    package = told.opened([told.version("A")], at(1, 9))
    guest = "guest:eva@agency.example"
    told.seat(package, "legal_reviewer", [guest], due=at(4, 9), signed=(guest, at(1, 11)))
    [row] = told.body()["waiting"]["people"]["rows"]
    assert (row["person"], row["name"], row["signed"]) == (guest, "eva@agency.example", 1)


def test_waiting_before_a_seat_opens_is_not_counted(march):
    package = march.opened([march.version("D")], at(15, 9))  # Monday
    seat_id = march.seat(package, "legal_reviewer", ["lena"], due=at(20), signed=("lena", at(17, 11)))
    assert march.kpi("seat_working_hours")["spread"][4] == 18
    with march.services.session() as session:
        session.execute(text("UPDATE seats SET opens_at = :at WHERE id = :id"), {"at": at(17, 10), "id": seat_id})
    assert march.kpi("seat_working_hours")["spread"][0] == 1


def test_each_seats_time_is_that_of_its_own_calendar(march):
    package = march.opened([march.version("D")], at(15, 9))  # five in the morning in New York, which has summer time
    seat_id = march.seat(package, "legal_reviewer", ["lena"], due=at(20), signed=("lena", at(15, 16)))
    assert march.kpi("seat_working_hours")["spread"] == [2, 5, 7, 9, 16]  # 2, 4, 6, 7, 8, 10, 16
    with march.services.session() as session:
        due = {"due": '{"days": 2, "calendar": "late"}', "id": seat_id}
        session.execute(text("UPDATE seats SET due = CAST(:due AS jsonb) WHERE id = :id"), due)
    assert march.kpi("seat_working_hours")["spread"] == [2, 3.5, 6, 9, 16]  # 2, 3, 4, 6, 8, 10, 16
    with march.services.session() as session:  # a calendar that is not in the file any more
        session.execute(
            text("UPDATE seats SET due = CAST(:due AS jsonb) WHERE id = :id"),
            due | {"due": '{"days": 2, "calendar": "old"}'},
        )
    assert march.kpi("seat_working_hours")["spread"] == [2, 5, 7, 9, 16]


def test_nobody_is_waited_for_while_away(march):
    with march.services.session() as session:
        away = {"person": "lena", "deputy": "luis", "entered_by": "lena", "starts_at": at(9, 13), "ends_at": at(20)}
        session.add(Absence(**away))
    people = {row["person"]: row for row in march.body()["waiting"]["people"]["rows"]}
    # of the third seat's 16 hours she was there for 4; the waiting of who stayed is not more because of it
    assert (people["lena"]["waited"], people["lena"]["median_working"]) == (10, 6)
    assert (people["luis"]["waited"], people["luis"]["median_working"]) == (16, 10)


def test_a_signature_that_was_taken_back_does_not_count(march):
    package = march.opened([march.version("D")], at(15, 9))
    seat_id = march.seat(package, "legal_reviewer", ["lena", "luis"], due=at(17, 9), signed=("lena", at(15, 10)))
    assert march.kpi("overdue_share")["inputs"]["rows"] == 7
    with march.services.session() as session:
        decision = session.scalars(select(Decision).where(Decision.seat_id == seat_id)).one()
        session.add(Withdrawal(decision_id=decision.id, person="lena", via="room"))
        session.flush()
        session.get_one(Seat, seat_id).status = "expired"
    kpi = march.kpi("overdue_share")
    assert (kpi["part"], kpi["inputs"]["rows"]) == (3, 7)
    people = {row["person"]: row for row in march.body()["waiting"]["people"]["rows"]}
    assert (people["lena"]["signed"], people["lena"]["overdue"]) == (1, 2)


def test_a_quarter_in_which_nobody_waited_has_no_bottleneck(told):
    package = told.opened([told.version("A")], at(6, 9))  # Saturday
    told.seat(package, "brand_reviewer", ["bea"], due=at(9), signed=("bea", at(6, 10)))
    kpi = told.kpi("bottleneck")
    assert (kpi["value"], kpi["shown"]) == (None, "–")
    assert "none was waited for in working time" in kpi["explanation"]


# ------------------------------------------------------------------------------------------------ rounds


def test_rounds_to_an_approval(told):
    def reviewed(asset: str, verdict: str, day: int, status: str = "") -> None:
        version_id = told.version(asset)
        told.closed(told.opened([version_id], at(day)), {version_id: verdict}, at(day, 1), status=status)

    reviewed("GOOD", "approve", 2)
    for day, verdict in ((-3, "request_changes"), (3, "request_changes"), (4, "reject"), (5, "approve")):
        reviewed("HARD", verdict, day)  # its first round was in February
    reviewed("GOOD", "approve", 6)  # a new edition: its own count
    reviewed("GOOD", "request_changes", 7)  # not approved yet
    reviewed("LATE", "request_changes", 8)
    reviewed("LATE", "approve", 9, status="void")  # decided nothing
    reviewed("LATE", "approve", 10)
    kpi = told.kpi("rounds_per_asset")
    assert kpi["value"] == (1 + 4 + 1 + 2) / 4
    assert kpi["breakdown"] == [{"name": 1, "count": 2}, {"name": 2, "count": 1}, {"name": 4, "count": 1}]
    assert (kpi["shown"], kpi["inputs"]["rows"], kpi["inputs"]["from"]) == ("2", 4, at(-3).isoformat())


def test_must_fixes_per_version(told):
    versions = [told.version("A"), told.version("B"), told.version("C")]
    package = told.opened(versions, at(2))
    for _ in range(3):
        told.noted(package, versions[0])
    told.noted(package, versions[1])
    told.noted(package, versions[1], kind="suggestion")
    told.closed(package, dict.fromkeys(versions, "request_changes"), at(3))
    undecided = told.version("D")
    told.noted(told.opened([undecided], at(4)), undecided)
    kpi = told.kpi("must_fixes_per_version")
    assert (kpi["value"], kpi["shown"], kpi["inputs"]["rows"]) == (pytest.approx(4 / 3), "1.33", 3)
    assert kpi["breakdown"] == [{"name": 0, "count": 1}, {"name": 1, "count": 1}, {"name": 3, "count": 1}]


def test_a_must_fix_that_travelled_or_was_taken_back_counts_once_or_not(told):
    first = told.version("A")
    one = told.opened([first], at(2))
    note = told.noted(one, first)
    told.closed(one, {first: "request_changes"}, at(3))
    second = told.version("A")
    two = told.opened([second], at(4))
    told.noted(two, second, origin_id=note)
    told.noted(two, second, withdrawn_at=at(4))
    told.closed(two, {second: "approve"}, at(5))
    assert told.kpi("must_fixes_per_version")["value"] == 0.5


# ------------------------------------------------------------------------------------------ the report


def test_every_number_can_be_made_again_from_what_is_stored(march):
    with march.services.session() as session:
        package_id = session.scalars(select(Package.id).order_by(Package.frozen_at)).first()
        version_id = session.scalars(
            select(PackageVersion.version_id).where(PackageVersion.package_id == package_id)
        ).one()
    march.noted(package_id, version_id)
    march.closed(package_id, {version_id: "approve"}, at(2, 12))
    body = march.body()
    ours = [kpi for kpi in body["kpis"] if kpi["section"] == "reviews"]
    assert {kpi["name"] for kpi in ours} == {
        "seat_working_hours", "seat_hours", "overdue_share", "rounds_per_asset", "must_fixes_per_version", "bottleneck",
    }  # fmt: skip
    for kpi in ours:
        with march.services.session() as session:
            row = session.execute(text(kpi["query"]), kpi["parameters"]).mappings().one()
        assert float(row["value"]) == kpi["value"], kpi["name"]
        assert row["rows"] == kpi["inputs"]["rows"] > 0
        assert kpi["definition"].endswith(".")
    for table in ("roles", "people"):
        part = body["waiting"][table]
        with march.services.session() as session:
            rows = session.execute(text(part["query"]), body["waiting"]["parameters"]).mappings().all()
        assert [row["waited"] for row in rows] == [row["waited"] for row in part["rows"]]
    with march.services.session() as session:
        assert session.scalars(select(KpiReport)).one().kpis == body["kpis"]


def test_the_page_shows_them_and_an_empty_month_says_so(told, march):
    page = march.page()
    for said in (
        "Reviews",
        "70 %",
        "of the waiting was for the legal reviewer",
        "Lena Vogt",
        "Whom the work waits for",
    ):
        assert said in page
    store, key = told.services.storage.resolve(told.report(start=at(-60), end=at(-40))["html_uri"])
    empty = store.read(key).decode()
    assert "No seat closed in the period." in empty


def test_the_command_line_tells_each_number_and_where_it_comes_from(march, monkeypatch):
    known = march.services.settings
    for name in ("catalog_url", "storage_url"):
        monkeypatch.setenv(f"DAM_{name.upper()}", getattr(known, name))
    none = CliRunner().invoke(app, ["kpi", "list"])
    assert (none.exit_code, "there is no report yet" in none.output) == (2, True)
    report = march.report()
    listed = CliRunner().invoke(app, ["kpi", "list"]).stdout.splitlines()
    assert "made" in listed[0]
    assert "measure_nightly/1" in listed[0]
    told = dict(line.split(maxsplit=1) for line in listed[1:])
    assert told["bottleneck"] == "70 % of the waiting was for the legal reviewer"
    assert told["seat_working_hours"] == "7 h, nine of ten within 13 h"
    assert told["publish_hours"] == "–"
    assert json.loads(CliRunner().invoke(app, ["kpi", "list", "--json"]).stdout) == report["kpis"]
    explained = CliRunner().invoke(app, ["kpi", "explain", "overdue_share"]).stdout
    for said in (
        "Overdue seats: 33 %",
        "Computed from 6 inputs",
        "by measure_nightly/1",
        ":start = 2027-03-01T00:00:00+00:00",
    ):
        assert said in explained
    assert "SELECT avg(CASE WHEN overdue" in explained
    unknown = CliRunner().invoke(app, ["kpi", "explain", "nothing"])
    assert (unknown.exit_code, "Use one of: approval_hours" in unknown.output) == (2, True)


# ------------------------------------------------------------------------------------------ working time


@given(
    st.datetimes(datetime(2027, 1, 1), datetime(2027, 12, 1)).map(lambda moment: moment.replace(tzinfo=UTC)),
    st.integers(0, 60),
)
def test_working_times_are_whole_days_of_work_and_nothing_else(first, days):
    last = first + timedelta(days=days)

    workflow = Workflow.load(PROJECT / "include" / "templates" / "workflow.yaml").model_copy(update={"calendars": {}})
    times = json.loads(reviews.working_times(workflow, first, last))[""]
    found = [part.lstrip("[{") for part in times.strip("{}").split(")") if part]
    wanted = [day for n in range(days + 1) if (day := first.date() + timedelta(days=n)).weekday() < 5]
    assert [date.fromisoformat(part.lstrip(",[")[:10]) for part in found] == wanted
