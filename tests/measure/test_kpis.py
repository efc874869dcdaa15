"""KPIs against hand-counted histories; every stored number can be made again from its own query."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from sqlalchemy import select, text

import world
from dam.catalog.models import (
    Asset,
    Batch,
    Campaign,
    KpiReport,
    Package,
    PackageVersion,
    Publication,
    UsageFact,
    Version,
)
from dam.errors import BadInput
from dam.measure import kpis
from dam.services import Services

START, END = datetime(2027, 3, 1, tzinfo=UTC), datetime(2027, 4, 1, tzinfo=UTC)


def at(day: int, hour: int = 0) -> datetime:
    return START + timedelta(days=day - 1, hours=hour)


@dataclass
class History:
    """Writes down what happened, in March 2027."""

    services: Services

    def campaign(self, slug: str, budget: int = 1000, currency: str = "EUR", **more: Any) -> None:
        values = {"starts_on": date(2027, 3, 1), "ends_on": date(2027, 5, 1), "kpi_targets": {}} | more
        with self.services.session() as session:
            session.add(
                Campaign(
                    slug=slug,
                    name=slug.title(),
                    project="P",
                    client="C",
                    markets=["DE"],
                    channels=["web"],
                    budget=budget,
                    currency=currency,
                    **values,
                )
            )

    def version(self, asset: str, *, campaign: str | None = None, state: str = "approved", day: int = 1) -> str:
        with self.services.session() as session:
            found = session.scalar(select(Campaign).where(Campaign.slug == campaign))
            known = session.scalar(select(Asset).where(Asset.name == asset)) or Asset(
                name=asset, kind="image", campaign=found
            )
            session.add(known)
            session.flush()
            number = len(session.scalars(select(Version).where(Version.asset_id == known.id)).all()) + 1
            digest = hashlib.sha256(f"{asset} {number}".encode()).hexdigest()
            location = f"drops/{asset}/{number}"
            version = Version(
                asset=known,
                number=number,
                batch=Batch(source="inbox", location=location, sent_by="dario", received_at=at(day)),
                filename="x.jpg",
                sha256=digest,
                bytes=1,
                media_type="image/jpeg",
                storage_uri=f"vault:{digest}",
                made_by="dario",
            )
            world.bring_to(session, version, state)
            return version.id

    def decided(self, verdicts: dict[str, str], *, day: int, hours: float = 1, status: str = "") -> None:
        said = set(verdicts.values())
        status = status or ("approved" if said == {"approve"} else "changes_requested")
        with self.services.session() as session:
            batch_id = session.get_one(Version, next(iter(verdicts))).batch_id
            number = len(session.scalars(select(Package).where(Package.batch_id == batch_id)).all()) + 1
            package = Package(
                batch_id=batch_id,
                round=number,
                manifest={},
                manifest_sha256="0" * 64,
                status=status,
                frozen_at=at(day) - timedelta(hours=hours),
                closed_at=at(day),
            )
            for version_id, verdict in verdicts.items():
                session.add(
                    PackageVersion(package=package, version_id=version_id, entry_sha256="0" * 64, verdict=verdict)
                )

    def published(self, version_id: str, channel: str = "web", *, day: int, hour: int = 0) -> str:
        with self.services.session() as session:
            publication = Publication(
                version_id=version_id,
                channel=channel,
                idempotency_key=f"{version_id} {channel} {day}",
                status="live",
                starts_at=at(day),
                live_url="https://x/y",
                probed_at=at(day, hour),
                endpoints=[],
            )
            session.add(publication)
            session.flush()
            return publication.id

    def used(self, publication_id: str, *, day: int, hits: int, length: int = 1000) -> None:
        with self.services.session() as session:
            session.add(
                UsageFact(day=at(day).date(), publication_id=publication_id, path="/x", hits=hits, bytes=hits * length)
            )

    def report(self, **more: Any) -> dict[str, Any]:
        told = {"start": START, "end": END, "run": "measure_nightly/1"} | more
        return kpis.make_report(self.services, **told)

    def kpi(self, name: str, **more: Any) -> dict[str, Any]:
        return next(kpi for kpi in self.report(**more)["kpis"] if kpi["name"] == name)

    def body(self, report: dict[str, Any]) -> dict[str, Any]:
        store, key = self.services.storage.resolve(report["json_uri"])
        return dict(json.loads(store.read(key)))

    def page(self, report: dict[str, Any]) -> str:
        store, key = self.services.storage.resolve(report["html_uri"])
        return store.read(key).decode()


@pytest.fixture
def history(services: Services) -> History:
    return History(services)


# --------------------------------------------------------------------------------------------- numbers


def test_an_empty_period_explains_itself(history):
    report = history.report()
    assert [kpi["value"] for kpi in report["kpis"]] == [None] * len(kpis.KPIS)
    assert all(kpi["explanation"] and kpi["shown"] == "–" for kpi in report["kpis"])
    page = history.page(report)
    assert "Nothing was decided in the period." in page
    assert "No request for a published file in the period." in page


def test_approval_time_is_of_approved_packages(history):
    for hours, day in ((2, 3), (4, 4), (12, 5)):
        history.decided({history.version(f"A{day}"): "approve"}, day=day, hours=hours)
    history.decided({history.version("SENT-BACK"): "request_changes"}, day=6, hours=100)
    history.decided({history.version("VOID"): "approve"}, day=6, hours=100, status="void")
    history.decided({history.version("EARLIER"): "approve"}, day=-3, hours=100)
    history.decided({history.version("LATER"): "approve"}, day=32, hours=100)
    kpi = history.kpi("approval_hours")
    assert (kpi["value"], kpi["median"], kpi["spread"]) == (6, 4, [2, 3, 4, 8, 12])
    assert (kpi["unit"], kpi["shown"], kpi["explanation"]) == ("hours", "6 h", None)
    assert kpi["inputs"] == {
        "rows": 3,
        "from": (at(3) - timedelta(hours=2)).isoformat(),
        "to": at(5).isoformat(),
    }
    assert (kpi["run"], kpi["parameters"]["start"]) == ("measure_nightly/1", START.isoformat())


def test_first_time_right(history):
    first = history.version("GOOD")
    history.decided({first: "approve"}, day=2)
    sent_back = history.version("MENDED")
    history.decided({sent_back: "request_changes", history.version("BAD"): "reject"}, day=3)
    history.decided({history.version("MENDED"): "approve"}, day=4)
    history.decided({history.version("GOOD"): "approve"}, day=5)  # a new edition, right again
    kpi = history.kpi("first_time_right")
    assert (kpi["value"], kpi["part"], kpi["inputs"]["rows"]) == (2 / 5, 2, 5)
    void = history.version("VOID")
    history.decided({void: "approve"}, day=6, status="void")
    history.decided({void: "approve"}, day=7)  # reviewed again because a package was void: still the first time
    kpi = history.kpi("first_time_right")
    assert (kpi["part"], kpi["inputs"]["rows"]) == (3, 6)
    early = history.kpi("first_time_right", end=at(3))
    assert (early["value"], early["inputs"]["rows"]) == (1, 1)


def test_time_to_publish_is_of_the_first_publication(history):
    version_id = history.version("A", day=2)
    history.published(version_id, "web", day=3)
    history.published(version_id, "cms", day=9)
    history.published(history.version("B", day=4), day=4, hour=12)
    history.published(history.version("OLD", day=-9), day=-5)
    kpi = history.kpi("publish_hours")
    assert (kpi["value"], kpi["inputs"]["rows"], kpi["median"]) == (18, 2, 18)


def test_reuse_counts_channels_not_repetitions(history):
    both = history.version("BOTH")
    history.published(both, "web", day=2)
    history.published(both, "cms", day=3)
    history.published(history.version("TWICE"), "web", day=4)
    history.published(history.version("TWICE"), "web", day=5)
    history.published(history.version("ONCE"), "web", day=6)
    kpi = history.kpi("reuse_ratio")
    assert (kpi["value"], kpi["part"], kpi["inputs"]["rows"]) == (pytest.approx(1 / 3), 1, 3)


def test_cost_per_asset(history):
    history.campaign("spring", budget=9000)
    history.campaign("idle", budget=5000)
    history.campaign("past", budget=5000, starts_on=date(2026, 1, 1), ends_on=date(2027, 2, 28))
    for asset, state in (("A", "live"), ("B", "approved"), ("B", "rejected"), ("C", "archived"), ("D", "rejected")):
        history.version(asset, campaign="spring", state=state)
    history.version("P", campaign="past", state="live")
    assert history.kpi("cost_per_asset")["value"] == 4500
    with history.services.session() as session:
        archived = session.scalars(select(Version.id).where(Version.state == "archived")).one()
    history.published(archived, day=4)  # it was live before it was archived
    kpi = history.kpi("cost_per_asset")
    assert (kpi["value"], kpi["unit"], kpi["shown"]) == (3000, "EUR per asset", "3,000.00")
    assert kpi["breakdown"] == [
        {"slug": "spring", "campaign": "Spring", "currency": "EUR", "budget": 9000, "assets": 3, "cost": 3000}
    ]
    history.campaign("us", budget=100, currency="USD")
    history.version("U", campaign="us")
    kpi = history.kpi("cost_per_asset")
    assert kpi["value"] is None
    assert kpi["explanation"].startswith("The budgets are in EUR and USD")
    assert [row["cost"] for row in kpi["breakdown"]] == [3000, 100]


def test_targets_of_the_briefs(history):
    history.campaign("spring", kpi_targets={"approval_hours": 5, "first_time_right": 0.8, "other": "x"})
    history.decided({history.version("A"): "approve"}, day=3, hours=6)
    told = {kpi["name"]: kpi["targets"] for kpi in history.report()["kpis"]}
    assert told["approval_hours"] == [{"campaign": "Spring", "target": 5, "shown": "5 h", "met": False}]
    assert [target["met"] for target in told["first_time_right"]] == [True]
    assert told["cost_per_asset"] == []


@pytest.mark.parametrize(
    ("form", "value", "text_"),
    [
        ("hours", None, "–"),
        ("hours", 0.001, "3.6 s"),
        ("hours", 0.25, "15 min"),
        ("hours", 30, "30 h"),
        ("hours", 96, "4 days"),
        ("hours", 47.06, "47.1 h"),
        ("hours", -1, "0 s"),
        ("share", 0.666, "67 %"),
        ("money", 4800, "4,800.00"),
    ],
)
def test_values_as_people_read_them(form, value, text_):
    assert kpis.shown(form, value) == text_


# ----------------------------------------------------------------------------------------------- usage


def test_usage_by_day_and_asset(history):
    web = history.published(history.version("A"), "web", day=2)
    cms = history.published(history.version("B"), "cms", day=2)
    history.used(web, day=2, hits=5)
    history.used(web, day=31, hits=1)
    history.used(cms, day=3, hits=9)
    history.used(cms, day=32, hits=100)
    body = history.body(history.report())
    assert [(row["asset"], row["channel"], row["hits"]) for row in body["most_used"]["rows"]] == [
        ("B", "cms", 9),
        ("A", "web", 6),
    ]
    days = body["by_time"]["rows"]
    assert (len(days), days[0], days[-1]["hits"]) == (31, {"from": "2027-03-01", "hits": 0, "bytes": 0}, 1)
    for end, step in ((START + timedelta(days=400), "week"), (START + timedelta(days=2000), "month")):
        long = history.body(history.report(end=end))["by_time"]
        assert long["step"] == step
        assert sum(row["hits"] for row in long["rows"]) == 115


# ------------------------------------------------------------------------------------------- the report


def test_every_number_can_be_made_again_from_what_is_stored(history):
    history.campaign("spring")
    version_id = history.version("A", campaign="spring", state="live")
    history.decided({version_id: "approve"}, day=3)
    history.published(version_id, day=4)
    report = history.report()
    assert history.body(report)["kpis"] == report["kpis"]
    for kpi in [kpi for kpi in report["kpis"] if not kpi["section"]]:  # those of reviews: see test_reviews.py
        with history.services.session() as session:
            row = session.execute(text(kpi["query"]), kpi["parameters"]).mappings().one()
        assert float(row["value"]) == kpi["value"]
        assert row["rows"] == kpi["inputs"]["rows"] > 0
        assert kpi["definition"].endswith(".")


def test_the_same_period_replaces_its_report(history):
    first = history.report()
    history.decided({history.version("A"): "approve"}, day=3)
    second = history.report(run="measure_nightly/2")
    assert first["report_id"] == second["report_id"]
    assert first["html_uri"] == second["html_uri"]
    assert history.report(end=END + timedelta(microseconds=1))["html_uri"] != second["html_uri"]
    with history.services.session() as session:
        row = session.get_one(KpiReport, second["report_id"])
        assert (row.run_id, row.kpis) == ("measure_nightly/2", second["kpis"])
        assert len(session.scalars(select(KpiReport)).all()) == 2


@pytest.mark.parametrize(("start", "end"), [(END, START), (START, START), (START.replace(tzinfo=None), END)])
def test_a_period_that_is_none_is_refused(history, start, end):
    with pytest.raises(BadInput, match="is no period"):
        history.report(start=start, end=end)


class _Page(HTMLParser):
    """Collects what a page loads and whether its tags are closed in order."""

    VOID = frozenset({"meta", "link", "br", "img"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.pictures: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        if tag in ("script", "link", "img", "iframe") or "src" in told or any(name[:2] == "on" for name in told):
            self.loads.append(tag)
        if tag == "svg":
            self.pictures.append(told)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A tag that closes itself needs nothing."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_loads_nothing_and_escapes_names(history):
    history.campaign("spring", kpi_targets={"approval_hours": 5, "first_time_right": 0.8})
    version_id = history.version("<script>alert(1)</script>", campaign="spring", state="live")
    history.decided({version_id: "approve"}, day=3, hours=6)
    history.used(history.published(version_id, day=4), day=5, hits=1234)
    page = history.page(history.report())
    parsed = _Page()
    parsed.feed(page)
    assert (parsed.open, parsed.loads) == ([], [])
    assert "url(" not in page
    assert "&lt;script&gt;" in page
    assert "1,234" in page
    assert 'class="missed"' in page
    assert 'class="met"' in page
    assert len(parsed.pictures) >= 5
    assert all(told.get("aria-label") or told.get("aria-hidden") for told in parsed.pictures)
    assert "prefers-color-scheme: dark" in page


def test_links_lead_to_the_web_address(history):
    services = Services(replace(history.services.settings, web_url="https://dam.example/"))
    there = History(services)
    there.used(there.published(there.version("A"), day=4), day=5, hits=1)
    assert 'href="https://dam.example/dam/assets/ast_' in there.page(there.report())
    services.engine.dispose()
